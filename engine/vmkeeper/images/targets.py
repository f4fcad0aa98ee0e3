"""Where a publication goes: a few methods over any place that a web server gives files from, and what they all share.

Nothing here knows what an image list is. A place that cannot do what a method says raises; it never does half of it.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol

from vmkeeper.errors import Refused
from vmkeeper.images.files import CHUNK
from vmkeeper.model.release import Blob
from vmkeeper.values import Size, sha512_hex

SMALL = 8 << 20
"""Bytes up to which a file is sent in one request where that is how names appear whole."""


class Target(Protocol):
    """A place for public files by path (`science/imagelist.signed`), and `name`, its address without credentials.

    Methods raise UserError (no right, no room, no such place), Transient (the place may answer later), EnvironmentLacks. Only
    `put` and `remove` change what others see, and only `alone` writes beside them.
    """

    @property
    def name(self) -> str:
        """The address, for people."""

    def files(self, below: str = "") -> dict[str, int]:
        """Path → bytes of each file below a folder (`science/images`), everything without one; what is half written is not there."""

    def read(self, path: str, limit: int) -> bytes | None:
        """A small file's first `limit` bytes, None where it is not there."""

    def put(self, path: str, source: BinaryIO, blob: Blob) -> None:
        """Write a file from `source`, read to its end, in place of one that is there. It has its name only once it is whole.

        Raises Refused (R14), leaving what was there, where the bytes are not those of `blob`, and what reading raises.
        """

    def remove(self, path: str) -> None:
        """Remove a file; nothing where there is none."""

    def alone(self) -> AbstractContextManager[None]:
        """Keep other publishers out, as well as the place can, and clear what a killed one left. Raises Transient where one is at work."""

    def leftovers(self) -> bool:
        """Whether there is something to clear. Only reads."""

    def close(self) -> None:
        """End its connections."""


def put_bytes(target: Target, path: str, data: bytes) -> None:
    """Write a small file whole or not at all."""
    target.put(path, io.BytesIO(data), Blob(size=Size(len(data)), sha512=sha512_hex(data)))


def verified(source: BinaryIO, blob: Blob, where: str, chunk: int = CHUNK) -> Iterator[bytes]:
    """The bytes of `source` in pieces. The last piece comes only once all are known to be those of `blob`; else raises Refused (R14)."""
    digest, size, last = hashlib.sha512(), 0, b""
    while (data := source.read(chunk)) and size <= blob.size:
        if last:
            yield last
        digest.update(data)
        size, last = size + len(data), data
    if size != blob.size or digest.hexdigest() != blob.sha512:
        why = f"{size} bytes where {int(blob.size)} are meant" if size != blob.size else "another SHA-512"
        raise Refused("R14", "what is to be published is not what was signed for", where=where, why=why)
    if last:
        yield last
