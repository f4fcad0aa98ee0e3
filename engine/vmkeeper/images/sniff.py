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

SniffedFormat = Literal["raw", "qcow2", "vmdk", "vdi", "vhd"]
MAX_VIRTUAL = Size.parse("2TiB")
_STEP = 64 << 10
_SECTOR = 512

# The inspectors log each thing that they refuse; the refusal says it.
logging.getLogger("oslo_utils.imageutils.format_inspector").setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class Sniffed:
    """What a file is: its format, the bytes that a guest sees, and the VMDK subformat or ""."""

    format: SniffedFormat
    virtual_size: Size
    subformat: str = ""


def sniff(path: Path, declared: str, *, max_virtual: int = MAX_VIRTUAL) -> Sniffed:
    """Check that a file is what it is declared to be and holds nothing that reaches outside of it.

    declared: raw, qcow2, vmdk, vdi or vhd. max_virtual: bytes. Raises Refused (R26).
    """
    with reported("read the image", path), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        found = _inspect(file, path)
        name = "raw" if found.NAME == "gpt" else found.NAME
        if name != declared:
            raise _refused(path, f"declared as {declared}, it is {found.NAME if found.NAME != 'raw' else 'nothing that is known'}")
        file.seek(0)
        head = file.read(_STEP)
    if reason := _CHECKS[name](found, head, size):
        raise _refused(path, reason)
    virtual = size if name == "raw" else int(found.virtual_size)
    if not 0 < virtual <= max_virtual:
        raise _refused(path, f"a guest would see {Size(virtual).human}, at most {Size(max_virtual).human} are allowed")
    return Sniffed(cast(SniffedFormat, name), Size(virtual), getattr(found, "vmdktype", "") if name == "vmdk" else "")


def _refused(path: Path, why: str) -> Refused:
    return Refused("R26", "this image file is not accepted", where=path.name, why=why)


def _inspect(file: BinaryIO, path: Path) -> Any:
    """The one inspector that matches, its own checks passed."""
    try:
        found = _matching(file)
        if found is None or found.NAME not in ("raw", *_FORMATS):
            raise _refused(path, f"{getattr(found, 'NAME', 'it')} is no format for virtual disks here")
        found.safety_check()
    except format_inspector.SafetyCheckFailed as error:
        raise _refused(path, "; ".join(f"{name}: {failure}" for name, failure in sorted(error.failures.items()))) from None
    except (format_inspector.ImageFormatError, struct.error, IndexError, ValueError, OverflowError) as error:
        raise _refused(path, f"its header cannot be read: {error}") from None
    return found


def _matching(file: BinaryIO) -> Any:
    wrapper = format_inspector.InspectWrapper(cast(BinaryIO, _OnlyRead(file)))
    while wrapper.format is None and wrapper.read(_STEP):
        pass
    # A VMDK may end in a footer that counts more than its header: the inspector has to see the end.
    while getattr(wrapper.format, "NAME", "") == "vmdk" and wrapper.read(_STEP):
        pass
    wrapper.close()
    return wrapper.format


class _OnlyRead:
    """A file that the inspectors cannot close."""

    def __init__(self, file: BinaryIO) -> None:
        self.read = file.read


def _raw(_found: Any, head: bytes, size: int) -> str:
    """A raw disk has no header of its own; what boots has a boot sector."""
    if head[510:512] != b"\x55\xaa":
        return "it has no boot sector"
    return "" if size % _SECTOR == 0 else "its size is not a whole number of sectors"


def _qcow2(_found: Any, head: bytes, _size: int) -> str:
    """qemu docs/interop/qcow2.txt: crypt_method at 32, corrupt bit 1 of the incompatible features at 72."""
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


def _vmdk(found: Any, _head: bytes, _size: int) -> str:
    """The descriptor of a delta disk names its parent (VMware Virtual Disk Format 5.0)."""
    fields = dict(line.split("=", 1) for line in (found.desc_text or "").splitlines() if "=" in line)
    plain = {key.strip(): value.strip().strip('"') for key, value in fields.items()}
    if plain.get("parentcid", "ffffffff") != "ffffffff" or "parentfilenamehint" in plain:
        return "it has a parent"
    extents = [line for line in (found.desc_text or "").splitlines() if line.strip().startswith(("rw ", "rdonly ", "noaccess "))]
    return "" if len(extents) == 1 and " sparse " in extents[0] else "it does not have exactly one sparse extent"


def _vdi(_found: Any, head: bytes, _size: int) -> str:
    """qemu block/vdi.c: image type at 76, 1 dynamic, 2 static."""
    return "" if struct.unpack_from("<I", head, 76)[0] in (1, 2) else "it has a parent"


def _vhd(_found: Any, head: bytes, _size: int) -> str:
    """Microsoft VHD specification: disk type at 60, 3 dynamic, 4 differencing."""
    return "" if struct.unpack_from(">I", head, 60)[0] == 3 else "it is not a dynamic disk without a parent"


_CHECKS: dict[str, Callable[[Any, bytes, int], str]] = {"raw": _raw, "qcow2": _qcow2, "vmdk": _vmdk, "vdi": _vdi, "vhd": _vhd}
_FORMATS = ("gpt", *_CHECKS)
