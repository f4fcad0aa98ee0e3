"""Files that appear whole or not at all: temporary, hashed while written, fsync, rename.

A temporary file is locked by the process that writes it. What has no lock is left over from a crash
and is removed by the next writer in that folder, so nothing here depends on process numbers or clocks.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol

from vmkeeper.errors import UserError
from vmkeeper.model.release import Blob
from vmkeeper.values import Size

CHUNK = 1 << 20
PREFIX = ".vmkeeper-new-"
_ZEROS = bytes(CHUNK)
LACK_OF_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Readable(Protocol):
    """What bytes are copied from."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; empty at the end."""


@contextmanager
def reported(doing: str, where: str | Path) -> Iterator[None]:
    """Turn an OSError into a UserError that says what could not be done and why."""
    try:
        yield
    except OSError as error:
        hint = "make room there, then run again" if error.errno in LACK_OF_ROOM else ""
        raise UserError(f"could not {doing}", where=str(where), why=error.strerror or type(error).__name__, hint=hint) from error


def copy_hashed(source: Readable, target: BinaryIO, *, limit: int | None = None, told: Callable[[int], None] | None = None) -> Blob:
    """Copy to the end of `source`, hashing each byte once; runs of zeros become holes in `target`.

    limit: most bytes to take; one more raises OverflowError. told: called with the bytes so far after each MiB.
    """
    digest, size, hole = hashlib.sha512(), 0, False
    while chunk := source.read(CHUNK):
        size += len(chunk)
        if limit is not None and size > limit:
            raise OverflowError(size)
        digest.update(chunk)
        hole = chunk == _ZEROS[: len(chunk)] if len(chunk) != CHUNK else chunk == _ZEROS
        if hole:
            target.seek(len(chunk), os.SEEK_CUR)
        else:
            target.write(chunk)
        if told is not None:
            told(size)
    if hole:
        target.truncate()
    return Blob(size=Size(size), sha512=digest.hexdigest())


def hash_file(path: Path, *, stop: Callable[[], bool] = lambda: False) -> Blob:
    """Size and SHA-512 of a file, or of as much of it as was read when `stop` said so."""
    digest, size = hashlib.sha512(), 0
    with path.open("rb") as file:
        while not stop() and (chunk := file.read(CHUNK)):
            digest.update(chunk)
            size += len(chunk)
    return Blob(size=Size(size), sha512=digest.hexdigest())


def sync_file(path: Path) -> None:
    """Have a file's bytes on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder last through a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Temporary:
    """An open, locked temporary file; `keep` gives it its name, leaving the `with` without it removes it."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.file = file
        self.kept = False

    def keep(self, target: Path, *, mode: int = 0o644, durable: bool = True) -> None:
        """Write out and rename to `target`, on the same file system; replaces what is there. durable: it outlives a power cut."""
        self.file.flush()
        os.fchmod(self.file.fileno(), mode)
        if durable:
            os.fsync(self.file.fileno())
        self.path.rename(target)
        self.kept = True
        if durable:
            sync_folder(target.parent)


@contextmanager
def temporary(folder: Path) -> Iterator[Temporary]:
    """A new temporary file in `folder`, which is made if it is not there; leftovers in it are removed first."""
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    with _locked_file(folder) as (path, file):
        new = Temporary(path, file)
        try:
            yield new
        finally:
            if not new.kept:
                path.unlink(missing_ok=True)


@contextmanager
def _locked_file(folder: Path) -> Iterator[tuple[Path, BinaryIO]]:
    while True:
        path = folder / f"{PREFIX}{secrets.token_hex(8)}"
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w+b")
        fcntl.flock(file, fcntl.LOCK_EX)
        # Between creation and lock a cleaner may have taken the file for a leftover.
        with suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                break
        file.close()
    with file:
        yield path, file


def write_file(target: Path, data: bytes, *, mode: int = 0o644, durable: bool = True) -> None:
    """Write a small file whole or not at all. durable: it outlives a power cut; what can be had again need not."""
    with temporary(target.parent) as new:
        new.file.write(data)
        new.keep(target, mode=mode, durable=durable)


def remove_leftovers(folder: Path) -> tuple[Path, ...]:
    """Remove temporary files in `folder` that no running process writes; returns them."""
    removed = []
    for path in folder.glob(f"{PREFIX}*") if folder.is_dir() else ():
        with suppress(FileNotFoundError, BlockingIOError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
            removed.append(path)
    return tuple(removed)
