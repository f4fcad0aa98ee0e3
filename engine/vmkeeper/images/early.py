"""A conversion that runs while its source is still coming, so that both take as long as the longer of them.

What qemu-img reads then is not verified, so it runs confined (`images.jail`), gets the bytes from us alone, and of a header
that was judged before it saw it; and what it makes counts only if the whole file turns out to be the signed one and then
shows a guest the same. Anything else, and the conversion is done again afterwards, in the ordinary way.
"""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from vmkeeper.errors import VmkeeperError
from vmkeeper.images.arriving import Arriving
from vmkeeper.images.convert import DiskForm, Streamed, convert_streamed, identifier_of
from vmkeeper.images.following import FollowingDigest
from vmkeeper.images.jail import can_jail
from vmkeeper.images.nbd import Server, send_file
from vmkeeper.images.scratch import scratch
from vmkeeper.images.sniff import Span, sniff
from vmkeeper.model.release import Blob

SOURCES = ("qcow2", "raw")
"""Formats whose header says all that must be known before the rest is there."""
_HEAD = 2 << 20
"""Bytes that are judged first and served as they were judged: the largest cluster, and so the largest header, of a qcow2."""
SMALLEST = 64 << 20
"""A smaller file is converted in a moment, when it is there."""


@dataclass(frozen=True, slots=True)
class Early:
    """What was made: a file, and how many bytes a guest would see."""

    path: Path
    virtual_size: int
    blob: Blob | None = None
    """The file as content, where that was found out on the way."""


class EarlyConversion:
    """A conversion of what `arriving` tells of. Entering begins it, leaving ends it and takes away what was not moved."""

    def __init__(self, wanted: Blob, declared: str, form: DiskForm, folder: Path, *, max_virtual: int) -> None:
        self.arriving = Arriving()
        self.form = form
        self._wanted, self._declared, self._max_virtual, self._folder = wanted, declared, max_virtual, folder
        self._made: Early | None = None
        self.why = ""
        """Why there is no result."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="early", daemon=True)

    @staticmethod
    def serves(wanted: Blob, declared: str) -> bool:
        """Whether such a file can be converted while it comes, on this system, and it is worth it."""
        return declared in SOURCES and wanted.size >= SMALLEST and can_jail()

    def __enter__(self) -> EarlyConversion:
        self._stack = ExitStack()
        self._scratch = self._stack.enter_context(scratch(self._folder))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.arriving.abandon()
        self._stop.set()
        self._thread.join()
        self._stack.close()

    def result(self) -> Early | None:
        """What was made of the whole file; None where nothing was. Waits for the conversion, not for the file."""
        self.arriving.end()
        self._thread.join()
        return self._made

    def _work(self) -> None:
        try:
            self._made = self._converted()
        except (VmkeeperError, OSError) as error:
            self.why = str(error)

    def _converted(self) -> Early | None:
        size = self._wanted.size
        if not self.arriving.wait(min(_HEAD, size)) or self.arriving.path is None:
            return None
        with self.arriving.path.open("rb") as file, (self._scratch / "head").open("w+b") as head:
            head.write(file.read(min(_HEAD, size)))
            head.flush()
            found = sniff(self._scratch / "head", self._declared, max_virtual=self._max_virtual, span=Span(0, size))
            source = _Coming(file.fileno(), head.fileno(), size, self.arriving)
            ours, theirs = socket.socketpair()
            with ours, theirs, Server(source, ours):
                streamed = Streamed(theirs.fileno(), self._declared, found.virtual_size, self._stop)
                blob = self._written(streamed, self._scratch / "disk")
            return Early(self._scratch / "disk", found.virtual_size, blob)

    def _written(self, streamed: Streamed, target: Path) -> Blob | None:
        """Convert; the digest where it can be had on the way: a raw disk is written in order."""
        identifier = identifier_of(self._wanted.sha512)
        if self.form != "raw":
            convert_streamed(streamed, target, self.form, identifier=identifier)
            return None
        with FollowingDigest(target) as digest:
            convert_streamed(streamed, target, self.form, identifier=identifier)
            return digest.finish()


class _Coming:
    """The source, as far as it has come."""

    def __init__(self, file: int, head: int, size: int, arriving: Arriving) -> None:
        self._file, self._head, self.size, self._arriving = file, head, size, arriving

    def ready(self, upto: int) -> bool:
        return self._arriving.wait(upto)

    def send(self, connection: socket.socket, at: int, length: int) -> None:
        judged = max(0, min(length, _HEAD - at))
        send_file(connection, self._head, at, judged)
        send_file(connection, self._file, at + judged, length - judged)
