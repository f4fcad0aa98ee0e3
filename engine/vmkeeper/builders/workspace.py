"""Temporary folders and locks of builds. A folder is locked while its process lives; what has no lock is a leftover and goes."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LOCK = ".lock"


@contextmanager
def locked(path: Path, *, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a lock among threads and processes; `waiting` is called once if somebody else has it. The file stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting:
                waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def workspace(work: Path, name: str, *, remove: Callable[[Path], None] = shutil.rmtree) -> Iterator[Path]:
    """A new folder `work/NAME-RANDOM`, removed at the end, with the leftovers of builds that were killed.

    remove: takes a folder away, also one with files that belong to subordinate users.
    """
    work.mkdir(parents=True, exist_ok=True)
    clean(work, remove=remove)
    while True:
        folder = work / f"{name}-{secrets.token_hex(6)}"
        folder.mkdir(mode=0o700)
        with (folder / _LOCK).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Between creation and lock another process may have taken the folder for a leftover.
            with suppress(FileNotFoundError):
                if (folder / _LOCK).stat().st_ino == os.fstat(lock.fileno()).st_ino:
                    try:
                        yield folder
                    finally:
                        remove(folder)
                    return


def clean(work: Path, *, remove: Callable[[Path], None] = shutil.rmtree) -> tuple[Path, ...]:
    """Remove the folders below `work` that no process holds; returns them."""
    removed = []
    for folder in sorted(path for path in work.iterdir() if path.is_dir()) if work.is_dir() else ():
        with suppress(FileNotFoundError, BlockingIOError), (folder / _LOCK).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove(folder)
            removed.append(folder)
    return tuple(removed)
