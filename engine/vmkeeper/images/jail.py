"""Programs that read what nobody vouches for yet: without network, with no files but those of one folder (Linux: Landlock, namespaces)."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from vmkeeper.run import program, run

_CHILD = Path(__file__).with_name("jailed.py")


def jailed(folder: Path, command: Sequence[str]) -> list[str]:
    """The command that runs another one, named by its path, so that it reaches nothing but `folder` and the system's libraries."""
    return [sys.executable, "-I", "-S", str(_CHILD), str(folder.resolve()), *command]


@cache
def can_jail() -> bool:
    """Whether this system has the means; tried once."""
    with tempfile.TemporaryDirectory() as folder:
        return run(jailed(Path(folder), [program("true", package="coreutils")]), check=False, timeout=60).status == 0
