"""The command that carries a followed repository with its lists and images to sites without a network: bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vmkeeper.cli.session import HERE, Directory, Output, OutputOption, Session
from vmkeeper.values import Size


def bundle(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write, such as one on a disk; completed where it is there already.")],
    lists: Annotated[list[str] | None, typer.Option("--list", help="An image list to take along; default: all.", show_default=False)] = None,
    public: Annotated[
        str | None,
        typer.Option("--public", help="A folder or address where the lists were published. Default: each list's own address.", show_default=False),
    ] = None,
    allow: Annotated[
        list[str] | None, typer.Option("--allow-host", help="A host that may be fetched from although its address is not public.", show_default=False)
    ] = None,
    directory: Directory = HERE,
    output: OutputOption = Output.text,
) -> int:
    """Write the repository, the published lists and their images into a folder for sites without a network."""
    from vmkeeper.execute.bundle import write_bundle

    session = Session(directory)
    repository = session.repository
    branch = repository.config("vmkeeper.mainline") or "main"
    made = write_bundle(
        repository, branch, folder, lists=tuple(lists or ()), public=public, allowed_hosts=tuple(allow or ()), progress=session.progress()
    )
    if output is Output.json:
        session.json(made.contents.model_dump(mode="json"))
        return 0
    total = Size(sum(held.size for held in made.contents.files))
    session.say(
        f"{folder} holds commit {made.contents.head[:12]}, {', '.join(made.lists()) or 'no list'}: {len(made.contents.files)} files, {total.human}."
    )
    session.say(f"At the site: vmkeeper reconcile NAME --bundle {folder}")
    return 0
