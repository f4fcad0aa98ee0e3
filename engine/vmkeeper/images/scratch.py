"""Folders for what is made and thrown away, beside where its result goes: locked while they are used, removed by the next one if not.

qemu-img writes a file's own name into some formats, so what it makes has the same name every time, in a folder of its own.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = ".vmkeeper-work-"


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A new folder in `parent`, which is made if it is not there; it goes when the context ends. Leftovers are removed first."""
    parent.mkdir(parents=True, exist_ok=True)
    remove_scratch(parent)
    folder, lock = _locked(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def remove_scratch(parent: Path) -> None:
    """Remove the folders in `parent` that no running process uses."""
    for folder in parent.glob(f"{PREFIX}*") if parent.is_dir() else ():
        with suppress(FileNotFoundError, NotADirectoryError, BlockingIOError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(lock)


def _locked(parent: Path) -> tuple[Path, int]:
    while True:
        folder = parent / f"{PREFIX}{secrets.token_hex(8)}"
        folder.mkdir(mode=0o700)
        with suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Between creation and lock a cleaner may have taken the folder for a leftover.
            if folder.is_dir() and os.path.samestat(folder.stat(), os.fstat(lock)):
                return folder, lock
            os.close(lock)
