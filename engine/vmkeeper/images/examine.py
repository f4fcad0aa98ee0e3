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
from vmkeeper.images.convert import check_whole, info
from vmkeeper.images.files import hash_file, reported
from vmkeeper.images.ova import Archive, open_archive
from vmkeeper.images.sniff import MAX_VIRTUAL, recognised
from vmkeeper.images.unpack import COMPRESSIONS, Compression, compression_of, unpack
from vmkeeper.values import Size

FORMATS = ("qcow2", "raw", "vmdk", "vdi", "vhd", "vhdx", "ova", "tar")
_ALIASES = {"vpc": "vhd", "img": "raw"}
_ARCHIVES = ("ova", "tar")
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


def examine(
    path: Path, declared: str | None = None, *, max_virtual: int = MAX_VIRTUAL, sha512: str | None = None, size: int | None = None
) -> Examined:
    """Judge an image file. None: not declared, not known beforehand.

    declared: one of FORMATS in any case, or with a compression after it (`qcow2.gz`). max_virtual: bytes that a guest may see.
    Raises Refused: R14 (digest, size), R23 (no regular file), R25 (compression), R26 (format), R32; UserError (cannot be read).
    """
    wanted, packing = _declared(declared)
    with reported("read the image", path):
        if not stat.S_ISREG(path.stat().st_mode):
            raise Refused("R23", "this is no regular file", where=path.name)
        actual = path.stat().st_size
    if size is not None and actual != size:
        raise Refused("R14", f"the file has {actual} bytes, not {size}", where=path.name)
    most = max_virtual + max_virtual // 64 + _SLACK
    if actual > most:
        raise Refused("R25", f"the file has {actual} bytes, more than an image of {Size(max_virtual).human} can have", where=path.name)
    blob = hash_file(path)
    if sha512 is not None and blob.sha512 != sha512.lower():
        raise Refused("R14", "the file's SHA-512 is not the one that is expected", where=path.name, why=blob.sha512)
    compression = compression_of(_head(path))
    if packing is not None and compression != packing:
        raise Refused("R26", f"declared as compressed with {packing}, it is not", where=path.name)
    with _plain(path, compression, most) as plain:
        kind = wanted or _kind(plain)
        if kind not in _ARCHIVES and is_tar(_head(plain)):
            raise Refused("R26", "this image file is not accepted", where=path.name, why=f"declared as {kind}, it is an archive too")
        archive = _archive(plain, kind, path) if kind in _ARCHIVES else None
        inner, span = (archive.format, archive.disk.span) if archive else (kind, None)
        found = info(plain, inner, max_virtual=max_virtual, span=span)
        check_whole(plain, inner, span=span)
    name, cpus, memory = (archive.disk.name, archive.cpus, archive.memory) if archive else (None, None, None)
    return Examined(kind, found.virtual_size, blob.size, blob.sha512, compression, name, inner, cpus, memory)


def _declared(text: str | None) -> tuple[str | None, str | None]:
    if text is None:
        return None, None
    name, _, packing = text.strip().lower().removeprefix(".").partition(".")
    name = _ALIASES.get(name, name)
    if name not in FORMATS or packing not in ("", *COMPRESSIONS):
        raise Refused("R26", f"{text!r} is no format for images here", hint=f"formats are {', '.join(FORMATS)}, and {', '.join(COMPRESSIONS)} on top")
    return name, packing or None


def _head(path: Path) -> bytes:
    with reported("read the image", path), path.open("rb") as file:
        return file.read(512)


@contextmanager
def _plain(path: Path, compression: Compression | None, most: int) -> Iterator[Path]:
    """The file itself, or unpacked for the time being."""
    if compression is None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="vmkeeper-unpacked-") as folder:
        plain = Path(folder) / "image"
        unpack(path, compression, plain, most)
        yield plain


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
