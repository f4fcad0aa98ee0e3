"""`vmkeeper demo`: the whole loop on one machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vmkeeper.cli.session import HERE, Directory, Session


def demo(
    directory: Directory = HERE,
    folder: Annotated[Path, typer.Option("--folder", help="Where everything goes; must not be there yet.")] = Path("demo"),
    keep: Annotated[bool, typer.Option("--keep", help="Leave the folder with images and keys in place at the end.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Take every appliance, also those that no cluster here needs.")] = False,
) -> int:
    """Take the repository's own appliances from a commit to a virtual machine that runs an endorsed and approved image."""
    from vmkeeper.cli.demo_run import run_demo

    run_demo(Session(directory), folder, keep=keep, everything=everything)
    return 0
