"""Compressed image files (gz, bz2, xz, zst) unpacked within caps on output, ratio and memory (rule R25).

Refused: more output than the caps, a truncated or damaged file, bytes after its end, dictionaries that need much memory.
Nothing here trusts a size that a file states of itself.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Literal, Protocol, get_args

from vmkeeper.errors import Refused
from vmkeeper.images.files import CHUNK, copy_hashed, hash_file, reported
from vmkeeper.model.release import Blob
from vmkeeper.run import Limits, ProgramFailed, program, run

Compression = Literal["gz", "bz2", "xz", "zst"]
COMPRESSIONS: tuple[Compression, ...] = get_args(Compression)
_MAGIC: dict[bytes, Compression] = {b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zst"}
RATIO = 500
"""Bytes out for a byte in. Disks with much empty space reach some hundreds; gzip's bombs 1029, xz's 7000."""
FREE = 16 << 20
"""Bytes out that need no ratio: a small disk is mostly zeros."""
_MEMORY = 100 << 20
"""xz -9 needs 65 MiB."""


def compression_of(head: bytes) -> Compression | None:
    """How a file is compressed by its first bytes; None where it is not."""
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)


def output_cap(size: int, most: int) -> int:
    """How many bytes a compressed file of `size` bytes may unpack to, where `most` are ever wanted."""
    return min(most, max(FREE, RATIO * size))


def unpack(source: Path, kind: Compression, target: Path, most: int) -> Blob:
    """Unpack a file into `target`, which gets holes for zeros. Raises Refused R25 (caps, damage), UserError (no room)."""
    cap = output_cap(source.stat().st_size, most)
    if kind == "zst":
        return _unpack_zst(source, target, cap)
    with reported("unpack the image", target), source.open("rb") as packed, target.open("wb") as file:
        stream: _Reads = gzip.GzipFile(fileobj=packed) if kind == "gz" else _Stream(packed, _DECOMPRESSORS[kind])
        try:
            return copy_hashed(stream, file, limit=cap)
        except OverflowError:
            raise _too_much(source, cap) from None
        except (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, _Damaged) as error:
            raise Refused("R25", "the compressed file cannot be unpacked", where=source.name, why=str(error)) from None


def _too_much(source: Path, cap: int) -> Refused:
    return Refused("R25", f"the compressed file unpacks to more than {cap} bytes", where=source.name, hint="a site takes it uncompressed, if at all")


def _unpack_zst(source: Path, target: Path, cap: int) -> Blob:
    """Ask zstd, for Python has no reader of it before 3.14. The cap is the system's, so that no byte beyond it is written."""
    command: list[str | Path] = [program("zstd"), "-d", "-q", "-f", "--sparse", f"--memory={_MEMORY}", "-o", target, "--", source.absolute()]
    with reported("unpack the image", target):
        try:
            result = run(command, check=False, limits=Limits(memory=1 << 30, file_size=cap, cpu=3600), timeout=7200)
        except ProgramFailed as error:
            raise Refused("R25", "the compressed file cannot be unpacked", where=source.name, why=error.what) from None
        said = result.stderr.decode(errors="replace").strip()
        if "No space left" in said:
            raise OSError(28, "No space left on device")
        if result.status < 0 or "File too large" in said:
            raise _too_much(source, cap)
        if result.status != 0:
            raise Refused("R25", "the compressed file cannot be unpacked", where=source.name, why=said.rpartition(": ")[2][-300:])
        return hash_file(target)


class _Damaged(Exception):
    """What is compressed does not go on as it should."""


class _Reads(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Decompressor(Protocol):
    """What bz2 and lzma have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Stream:
    """One or more compressed streams, one after the other, and nothing after them but padding of zeros."""

    def __init__(self, file: BinaryIO, make: Callable[[], _Decompressor]) -> None:
        self._file = file
        self._make = make
        self._one = make()
        self._ahead = b""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; empty at the end."""
        while not self._one.eof or self._next():
            data = self._ahead
            self._ahead = b""
            if self._one.needs_input and not data:
                data = self._file.read(CHUNK)
                if not data:
                    raise _Damaged("it ends too early")
            try:
                made = self._one.decompress(data, size)
            except (OSError, ValueError, MemoryError) as error:
                raise _Damaged(str(error)) from None
            if made:
                return made
        return b""

    def _next(self) -> bool:
        """Whether another stream follows."""
        rest = self._one.unused_data or self._file.read(CHUNK)
        while rest and not rest.strip(b"\0"):
            rest = self._file.read(CHUNK)
        rest = rest.lstrip(b"\0")
        if not rest:
            return False
        self._one, self._ahead = self._make(), rest
        return True


_DECOMPRESSORS: dict[str, Callable[[], _Decompressor]] = {
    "bz2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_MEMORY),
}
