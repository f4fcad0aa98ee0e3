"""A partial download: `SHA512[:32].part` beside the file that it is to become, with a note of where it came from.

One process at a time writes it; it has its final name only when all its bytes are the right ones.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Collection
from contextlib import suppress
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

from vmkeeper.errors import Transient, UserError
from vmkeeper.images.arriving import Arriving, Digest
from vmkeeper.images.files import CHUNK, LACK_OF_ROOM, remove_leftovers, sync_folder, write_file
from vmkeeper.model.release import Blob
from vmkeeper.values import Size, canonical_json, sha256_hex

_BLOCK = 1 << 20
_PIECES = 512
_MOMENT = 1.0
"""Of what comes this many bytes, or pieces, or what came in so many seconds, are written at once."""


class Part:
    """The partial file: locked, hashed as far as it goes, with the validator of the answer that it came from."""

    def __init__(self, folder: Path, wanted: Blob, arriving: Arriving | None = None) -> None:
        """`arriving` is told how far it is."""
        self.wanted = wanted
        self.path = folder / f"{wanted.sha512[:32]}.part"
        self._note = self.path.with_suffix(".part.json")
        self._arriving = arriving or Arriving()
        self.resumed = False

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self.path.parent)
        self._file = self._locked()
        try:
            self._take_up()
        except BaseException:
            self._digest.close()
            if not self.size:
                self.path.unlink(missing_ok=True)
            self._file.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._arriving.end()
        self._digest.close()
        if isinstance(error, OSError) and error.errno in LACK_OF_ROOM:
            self.restart()
        elif self._pieces:
            with suppress(OSError):
                self._flush()
        if not self.size:
            self.path.unlink(missing_ok=True)
            self._note.unlink(missing_ok=True)
        self._file.close()

    def _locked(self) -> FileIO:
        while True:
            file = FileIO(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                raise Transient("another run is fetching this file", where=str(self.path)) from None
            # Another run may have given the file its final name between the two calls.
            with suppress(FileNotFoundError):
                if os.path.samestat(self.path.stat(), os.fstat(file.fileno())):
                    return file
            file.close()

    def _take_up(self) -> None:
        self._begin()
        if os.fstat(self._file.fileno()).st_size > self.wanted.size:
            self._file.truncate(0)
        while chunk := self._file.read(CHUNK):
            self._digest.update([chunk])
            self.size += len(chunk)
        self.resumed = self.size > 0
        self._arriving.begin(self.path, self.size)
        free, missing = shutil.disk_usage(self.path.parent).free, self.wanted.size - self.size
        if free < missing:
            raise UserError(
                f"{Size(missing).human} are to come and {Size(free).human} are free",
                where=str(self.path.parent),
                hint="make room there, then run again",
            )

    def restart(self) -> None:
        """Forget what is there."""
        self._arriving.restart()
        self._file.seek(0)
        self._file.truncate(0)
        self._note.unlink(missing_ok=True)
        self._digest.close()
        self._begin()
        self.resumed = False

    def _begin(self) -> None:
        self._digest, self.size = Digest(), 0
        self._pieces: list[bytes] = []
        self._held, self._flushed = 0, time.monotonic()

    def append(self, chunk: bytes) -> None:
        """Hash it, and write it together with what comes next."""
        self._pieces.append(chunk)
        self._held += len(chunk)
        self.size += len(chunk)
        if self._held >= _BLOCK or len(self._pieces) >= _PIECES or time.monotonic() - self._flushed >= _MOMENT:
            self._flush()

    def _flush(self) -> None:
        """Write what is held; a short write of the system is completed."""
        if self._pieces:
            pieces, self._pieces, self._held, self._flushed = self._pieces, [], 0, time.monotonic()
            self._digest.update(pieces)
            written, length = os.writev(self._file.fileno(), pieces), sum(map(len, pieces))
            rest = memoryview(b"".join(pieces))[written:] if written < length else memoryview(b"")
            while rest:
                rest = rest[self._file.write(rest) :]
            self._arriving.advance(self.size)

    def matches(self) -> bool:
        """Whether all bytes are there and are the right ones."""
        self._flush()
        return self.size == self.wanted.size and self._digest.hexdigest() == self.wanted.sha512

    def keep(self, target: Path, *, durable: bool = True) -> None:
        """Give it its final name. durable: have its bytes on the disk before."""
        os.fchmod(self._file.fileno(), 0o644)
        if durable:
            os.fsync(self._file.fileno())
        self.path.rename(target)
        self._note.unlink(missing_ok=True)
        if durable:
            sync_folder(target.parent)

    def validator(self, url: str) -> str | None:
        """What identifies the version of `url` that the bytes came from, for If-Range."""
        with suppress(FileNotFoundError, ValueError):
            note = json.loads(self._note.read_bytes())
            if note.get("url") == sha256_hex(url.encode()):
                return str(note["validator"])
        return None

    def remember(self, url: str, validator: str | None) -> None:
        """Note the validator; the address only as a digest, for its query may be a secret."""
        if validator is None:
            self._note.unlink(missing_ok=True)
        else:
            write_file(self._note, canonical_json({"url": sha256_hex(url.encode()), "validator": validator}), durable=False)


def drop_parts(folder: Path, keep: Collection[str] = ()) -> tuple[Path, ...]:
    """Remove partial downloads in `folder` whose SHA-512 is not in `keep` and which nobody is writing; returns them."""
    kept, removed = {digest[:32] for digest in keep}, []
    remove_leftovers(folder)
    for path in sorted(folder.glob("*.part")):
        with suppress(BlockingIOError, FileNotFoundError), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.stem not in kept:
                path.with_suffix(".part.json").unlink(missing_ok=True)
                path.unlink()
                removed.append(path)
    return tuple(removed)
