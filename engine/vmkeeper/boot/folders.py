"""Folders that appear whole or not at all, and go at once: made aside under a lock and renamed; renamed aside and removed.

A folder aside whose maker was killed has no lock any more, and `clean` removes it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MAKING = ".vmkeeper-making-"
REMOVING = ".vmkeeper-removing-"


@contextmanager
def held(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a folder's lock. Raises BlockingIOError where somebody else does and `wait` is False, FileNotFoundError where it is not there."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


@contextmanager
def aside(parent: Path, *, prefix: str = MAKING) -> Iterator[Path]:
    """A new private folder in `parent`, locked; it is removed at the end unless it was renamed."""
    parent.mkdir(parents=True, exist_ok=True)
    while True:
        path = parent / (prefix + secrets.token_hex(8))
        path.mkdir(mode=0o700)
        with suppress(FileNotFoundError), held(path):
            # Between mkdir and lock a cleaner may have taken it for a leftover.
            if not path.exists():
                continue
            try:
                yield path
            finally:
                shutil.rmtree(path, ignore_errors=True)
            return


def discard(folder: Path) -> None:
    """Take a folder away: gone under its name at once, then removed."""
    gone = folder.with_name(REMOVING + secrets.token_hex(8))
    folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def clean(parent: Path) -> tuple[Path, ...]:
    """Remove what killed commands left half made or half removed in `parent`; returns it. What somebody still makes stays."""
    removed = []
    for folder in [*parent.glob(f"{MAKING}*"), *parent.glob(f"{REMOVING}*")] if parent.is_dir() else ():
        with suppress(FileNotFoundError, BlockingIOError), held(folder, wait=False):
            shutil.rmtree(folder)
            removed.append(folder)
    return tuple(removed)
