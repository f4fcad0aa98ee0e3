"""Everything about an image file as it came, before a site takes it: digest, compression, archive, format, virtual size.

The one place where rules R14, R23, R25 and R26 meet; a file passes all of them or is refused.
"""

from __future__ import annotations

import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vmkeeper.errors import Refused
from vmkeeper.images.archive import is_tar
from vmkeeper.images.convert import Disk, check_whole, info
from vmkeeper.images.files import hash_file, reported
from vmkeeper.images.ova import Archive, open_archive
from vmkeeper.images.scratch import scratch
from vmkeeper.images.sniff import MAX_VIRTUAL, recognised
from vmkeeper.images.unpack import COMPRESSIONS, Compression, compression_of, unpack
from vmkeeper.model.release import Blob
from vmkeeper.values import Size

FORMATS = ("qcow2", "raw", "vmdk", "vdi", "vhd", "vhdx", "ova", "tar")
_ALIASES = {"vpc": "vhd", "img": "raw"}
ARCHIVES = ("ova", "tar")
_SLACK = 64 << 20


@dataclass(frozen=True, slots=True)
class Examined:
    """What an image file is. `size` and `sha512` are of the file as it came; the disk is the archive's, where it is one."""

    format: str
    virtual_size: Size
    size: Size
    sha512: str
    compression: Compression | None = None
    disk: str | None = None
    disk_format: str = ""
    cpus: int | None = None
    memory: Size | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """An image that was judged and can be read: what the file is, and where its one disk lies."""

    format: str
    """One of FORMATS."""
    disk: Disk
    virtual_size: Size
    compression: Compression | None
    plain: Blob | None
    """The unpacked file, where it was compressed."""
    archive: Archive | None
    subformat: str = ""
    """Of a VMDK."""

    @property
    def form(self) -> str:
        """How the file came: `raw.xz`, `ova`."""
        return f"{self.format}.{self.compression}" if self.compression else self.format


def examine(
    path: Path, declared: str | None = None, *, max_virtual: int = MAX_VIRTUAL, sha512: str | None = None, size: int | None = None
) -> Examined:
    """Judge an image file. None: not declared, not known beforehand.

    declared: one of FORMATS in any case, or with a compression after it (`qcow2.gz`). max_virtual: bytes that a guest may see.
    Raises Refused: R14 (digest, size), R23 (no regular file), R25 (compression), R26 (format), R32; UserError (cannot be read).
    """
    split(declared)
    check_file(path, size, max_virtual)
    blob = hash_file(path)
    if sha512 is not None and blob.sha512 != sha512.lower():
        raise Refused("R14", "the file's SHA-512 is not the one that is expected", where=path.name, why=blob.sha512)
    with opened(path, declared, max_virtual=max_virtual) as found:
        name, cpus, memory = (found.archive.disk.name, found.archive.cpus, found.archive.memory) if found.archive else (None, None, None)
        return Examined(found.format, found.virtual_size, blob.size, blob.sha512, found.compression, name, found.disk.format, cpus, memory)


def check_file(path: Path, size: int | None, max_virtual: int) -> None:
    """Before a file is read: that it is one, has the size that is expected and none beyond measure. Raises Refused (R14, R23, R25)."""
    with reported("read the image", path):
        if not stat.S_ISREG(path.stat().st_mode):
            raise Refused("R23", "this is no regular file", where=path.name)
        actual = path.stat().st_size
    if size is not None and actual != size:
        raise Refused("R14", f"the file has {actual} bytes, not {size}", where=path.name)
    if actual > most_bytes(max_virtual):
        raise Refused("R25", f"the file has {actual} bytes, more than an image of {Size(max_virtual).human} can have", where=path.name)


def most_bytes(max_virtual: int) -> int:
    """The most bytes that a file may have whose guest sees so many."""
    return max_virtual + max_virtual // 64 + _SLACK


@contextmanager
def opened(path: Path, declared: str | None = None, *, max_virtual: int = MAX_VIRTUAL, folder: Path | None = None) -> Iterator[Opened]:
    """Judge an image file by its bytes, and give where its disk lies for as long as the context lasts.

    declared, max_virtual: see `examine`. folder: where a compressed file is unpacked; None: with the temporary files.
    Raises Refused (R23, R25, R26, R32), UserError (it cannot be read, no room).
    """
    wanted, packing = split(declared)
    compression = compression_of(_head(path))
    if packing is not None and compression != packing:
        raise Refused("R26", f"declared as compressed with {packing}, it is not", where=path.name)
    with _plain(path, compression, most_bytes(max_virtual), folder) as (plain, blob):
        kind = wanted or _kind(plain)
        if kind not in ARCHIVES and is_tar(_head(plain)):
            raise Refused("R26", "this image file is not accepted", where=path.name, why=f"declared as {kind}, it is an archive too")
        archive = _archive(plain, kind, path) if kind in ARCHIVES else None
        inner, span = (archive.format, archive.disk.span) if archive else (kind, None)
        found = info(plain, inner, max_virtual=max_virtual, span=span)
        check_whole(plain, inner, span=span)
        yield Opened(kind, Disk(plain, inner, span), found.virtual_size, compression, blob, archive, found.subformat)


def split(declared: str | None) -> tuple[str | None, str | None]:
    """The format and the compression of `qcow2.gz`. Raises Refused (R26) for what is neither."""
    return (None, None) if declared is None else _declared(declared)


def _declared(text: str) -> tuple[str, str | None]:
    name, _, packing = text.strip().lower().removeprefix(".").partition(".")
    name = _ALIASES.get(name, name)
    if name not in FORMATS or packing not in ("", *COMPRESSIONS):
        raise Refused("R26", f"{text!r} is no format for images here", hint=f"formats are {', '.join(FORMATS)}, and {', '.join(COMPRESSIONS)} on top")
    return name, packing or None


def _head(path: Path) -> bytes:
    with reported("read the image", path), path.open("rb") as file:
        return file.read(512)


@contextmanager
def _plain(path: Path, compression: Compression | None, most: int, folder: Path | None) -> Iterator[tuple[Path, Blob | None]]:
    """The file itself, or unpacked for the time being."""
    if compression is None:
        yield path, None
        return
    with scratch(folder or Path(tempfile.gettempdir())) as work:
        plain = work / "image"
        blob = unpack(path, compression, plain, most)
        yield plain, blob


def _kind(path: Path) -> str:
    """What a file that nobody declared seems to be."""
    if is_tar(_head(path)):
        return "ova" if open_archive(path).kind == "ova" else "tar"
    kind = recognised(path)
    if kind is None:
        raise Refused("R26", "this image file is not accepted", where=path.name, why="it is no format for virtual disks that is known here")
    return kind


def _archive(plain: Path, kind: str, path: Path) -> Archive:
    if not is_tar(_head(plain)):
        raise Refused("R26", "this image file is not accepted", where=path.name, why=f"declared as {kind}, it is no archive")
    archive = open_archive(plain)
    if archive.kind != kind:
        raise Refused("R26", "this image file is not accepted", where=path.name, why=f"declared as {kind}, it is {archive.kind}")
    return archive
