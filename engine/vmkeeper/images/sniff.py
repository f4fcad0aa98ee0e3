"""What an image file really is, told from its bytes before any program that understands it comes near (rule R26).

Refused: another format than declared, a backing, parent or data file, encryption, VMDK subformats that name other
files, a virtual size beyond the cap, a raw file without a boot sector, two formats in one file.
"""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from oslo_utils.imageutils import format_inspector

from vmkeeper.errors import Refused
from vmkeeper.images.files import reported
from vmkeeper.values import Size

SniffedFormat = Literal["raw", "qcow2", "vmdk", "vdi", "vhd", "vhdx"]
MAX_VIRTUAL = Size.parse("2TiB")
_STEP = 64 << 10
_SECTOR = 512
_BOOTS = b"\x55\xaa"
_VHD = b"conectix"
_FILE_PARAMETERS = "CAA16737-FA36-4D43-B3B6-33F0AA44E76B"

# The inspectors log each thing that they refuse; the refusal says it.
logging.getLogger("oslo_utils.imageutils.format_inspector").setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a file, such as a member of an archive: its first byte and its length."""

    start: int
    size: int


class Window:
    """The bytes of a part of a file as a file of their own, for reading."""

    def __init__(self, file: BinaryIO, span: Span | None = None) -> None:
        self._file = file
        self._start, self.size = (span.start, span.size) if span else (0, os.fstat(file.fileno()).st_size)
        self.seek(0)

    def seek(self, at: int) -> None:
        """The next read begins at this byte."""
        self._at = at
        self._file.seek(self._start + at)

    def read(self, size: int) -> bytes:
        """At most `size` bytes; empty at the end."""
        data = self._file.read(max(0, min(size, self.size - self._at)))
        self._at += len(data)
        return data


@dataclass(frozen=True, slots=True)
class Sniffed:
    """What a file is: its format, the bytes that a guest sees, and the VMDK subformat or ""."""

    format: SniffedFormat
    virtual_size: Size
    subformat: str = ""


def recognised(path: Path, span: Span | None = None) -> str | None:
    """The format that a file seems to have, by which it may then be judged; None where it is none of them. Raises Refused (R26)."""
    with reported("read the image", path), path.open("rb") as file:
        window = Window(file, span)
        found = _matching(window)
        if found is None or found.NAME not in ("raw", *_FORMATS):
            return None
        name, head = _name(found, window), _head(window)
    return None if name == "raw" and head[510:512] != _BOOTS else name


def sniff(path: Path, declared: str, *, max_virtual: int = MAX_VIRTUAL, span: Span | None = None) -> Sniffed:
    """Check that a file is what it is declared to be and holds nothing that reaches outside of it.

    declared: raw, qcow2, vmdk, vdi, vhd or vhdx. max_virtual: bytes. span: the part of the file that is the image.
    Raises Refused (R26).
    """
    with reported("read the image", path), path.open("rb") as file:
        window = Window(file, span)
        found = _inspect(window, path)
        name = _name(found, window)
        if name != declared:
            raise _refused(path, f"declared as {declared}, it is {name if name != 'raw' or found.NAME == 'gpt' else 'nothing that is known'}")
        reason = _CHECKS[name](found, window)
    if reason:
        raise _refused(path, reason)
    virtual = _virtual_size(name, found, window.size)
    if not 0 < virtual <= max_virtual:
        raise _refused(path, f"a guest would see {Size(virtual).human}, at most {Size(max_virtual).human} are allowed")
    return Sniffed(cast(SniffedFormat, name), Size(virtual), getattr(found, "vmdktype", "") if name == "vmdk" else "")


def _refused(path: Path, why: str) -> Refused:
    return Refused("R26", "this image file is not accepted", where=path.name, why=why)


def _name(found: Any, window: Window) -> str:
    """Our name of what was found; a fixed VHD has no header, only a footer, and begins like a raw disk."""
    if found.NAME in ("raw", "gpt"):
        return "vhd" if _footer(window).startswith(_VHD) else "raw"
    return str(found.NAME)


def _partitions(window: Window) -> bytes:
    """The partition table of a boot sector; a disk without partitions has zeros there."""
    return _head(window)[446:510]


def _virtual_size(name: str, found: Any, size: int) -> int:
    if name == "raw":
        return size
    return size - _SECTOR if name != found.NAME else int(found.virtual_size)


def _head(window: Window) -> bytes:
    window.seek(0)
    return window.read(_STEP)


def _footer(window: Window) -> bytes:
    window.seek(max(0, window.size - _SECTOR))
    return window.read(_SECTOR)


def _inspect(file: Window, path: Path) -> Any:
    """The one inspector that matches, its own checks passed."""
    try:
        found = _matching(file)
        if found is None or found.NAME not in ("raw", *_FORMATS):
            raise _refused(path, f"{getattr(found, 'NAME', 'it')} is no format for virtual disks here")
        found.safety_check()
    except format_inspector.SafetyCheckFailed as error:
        if found.NAME == "gpt" and not any(_partitions(file)):
            return found
        raise _refused(path, "; ".join(f"{name}: {failure}" for name, failure in sorted(error.failures.items()))) from None
    except (format_inspector.ImageFormatError, struct.error, IndexError, ValueError, OverflowError) as error:
        raise _refused(path, f"its header cannot be read: {error}") from None
    return found


def _matching(file: Window) -> Any:
    wrapper = format_inspector.InspectWrapper(cast(BinaryIO, _OnlyRead(file)))
    while wrapper.format is None and wrapper.read(_STEP):
        pass
    # A VMDK may end in a footer that counts more than its header, and a VHDX has its size far inside.
    while getattr(wrapper.format, "NAME", "") in ("vmdk", "vhdx") and wrapper.read(_STEP):
        pass
    wrapper.close()
    return wrapper.format


class _OnlyRead:
    """A file that the inspectors cannot close."""

    def __init__(self, file: Window) -> None:
        self.read = file.read


def _raw(_found: Any, window: Window) -> str:
    """A raw disk has no header of its own; what boots has a boot sector."""
    if _head(window)[510:512] != _BOOTS:
        return "it has no boot sector"
    return "" if window.size % _SECTOR == 0 else "its size is not a whole number of sectors"


def _qcow2(_found: Any, window: Window) -> str:
    """qemu docs/interop/qcow2.txt: crypt_method at 32, corrupt bit 1 of the incompatible features at 72."""
    head = _head(window)
    (version,) = struct.unpack_from(">I", head, 4)
    (encryption,) = struct.unpack_from(">I", head, 32)
    incompatible = struct.unpack_from(">Q", head, 72)[0] if version >= 3 else 0
    if encryption:
        return "it is encrypted"
    if incompatible & 2:
        return "it is marked as corrupt"
    return "it names an external data file" if _has_extension(head, version, 0x44415441) else ""


def _has_extension(head: bytes, version: int, wanted: int) -> bool:
    at = struct.unpack_from(">I", head, 100)[0] if version >= 3 else 72
    while at + 8 <= len(head):
        kind, length = struct.unpack_from(">II", head, at)
        if kind == wanted:
            return True
        if kind == 0:
            return False
        at += 8 + (length + 7) // 8 * 8
    return False


def _vmdk(found: Any, _window: Window) -> str:
    """The descriptor of a delta disk names its parent (VMware Virtual Disk Format 5.0)."""
    fields = dict(line.split("=", 1) for line in (found.desc_text or "").splitlines() if "=" in line)
    plain = {key.strip(): value.strip().strip('"') for key, value in fields.items()}
    if plain.get("parentcid", "ffffffff") != "ffffffff" or "parentfilenamehint" in plain:
        return "it has a parent"
    extents = [line for line in (found.desc_text or "").splitlines() if line.strip().startswith(("rw ", "rdonly ", "noaccess "))]
    return "" if len(extents) == 1 and " sparse " in extents[0] else "it does not have exactly one sparse extent"


def _vdi(_found: Any, window: Window) -> str:
    """qemu block/vdi.c: image type at 76 (1 dynamic, 2 static), first data at 344, block size at 376, blocks allocated at 388."""
    head = _head(window)
    if struct.unpack_from("<I", head, 76)[0] not in (1, 2):
        return "it has a parent"
    data, block, allocated = (struct.unpack_from("<I", head, at)[0] for at in (344, 376, 388))
    return "it is truncated" if allocated and window.size <= data + (allocated - 1) * block else ""


def _vhd(found: Any, window: Window) -> str:
    """Microsoft VHD specification: disk type at 60, 2 fixed, 3 dynamic, 4 differencing; current size at 48. A fixed disk has a footer only."""
    if found.NAME == "vhd":
        return "" if struct.unpack_from(">I", _head(window), 60)[0] == 3 else "it is not a dynamic disk without a parent"
    size, kind = struct.unpack_from(">Q4xI", _footer(window), 48)
    return "" if kind == 2 and size == window.size - _SECTOR else "its footer is not that of a fixed disk of this size"


def _vhdx(found: Any, window: Window) -> str:
    """MS-VHDX 2.6.2: metadata item "file parameters", bit 1 of its second word says that there is a parent."""
    region = found._find_meta_entry(_FILE_PARAMETERS) if found.has_region("metadata") else None
    if region is None:
        return "its metadata cannot be read"
    window.seek(region.offset)
    data = window.read(8)
    return "it has a parent" if len(data) < 8 or struct.unpack("<II", data)[1] & 2 else ""


_CHECKS: dict[str, Callable[[Any, Window], str]] = {"raw": _raw, "qcow2": _qcow2, "vmdk": _vmdk, "vdi": _vdi, "vhd": _vhd, "vhdx": _vhdx}
_FORMATS = ("gpt", *_CHECKS)
