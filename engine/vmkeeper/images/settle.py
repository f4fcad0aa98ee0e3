"""Disk images whose random identifiers and times are set to given ones, so that one content gives one file every time.

qemu-img writes them into vmdk, vdi and vhd; in qcow2 and raw there are none.
"""

from __future__ import annotations

import re
import struct
from datetime import datetime
from pathlib import Path
from uuid import UUID

_VDI_IDENTIFIERS = 0x188
_VHD_FOOTER, _VHD_TIME, _VHD_SUM, _VHD_IDENTIFIER = 512, 24, 64, 68
_VHD_EPOCH = 946684800
"""VHD counts seconds from 2000-01-01 (Virtual Hard Disk Image Format Specification 1.0)."""


def settle(path: Path, form: str, identifier: UUID, date: datetime) -> None:
    """Set what qemu-img chose at random or took from the clock. form: vmdk, vdi or vhd; every other is left as it is."""
    match form:
        case "vmdk":
            _vmdk(path, identifier)
        case "vdi":
            _write(path, _VDI_IDENTIFIERS, identifier.bytes_le + UUID(int=identifier.int ^ 1).bytes_le)
        case "vhd":
            _vhd(path, identifier, date)


def _write(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def _vmdk(path: Path, identifier: UUID) -> None:
    """Set the content id in the descriptor, a text that lies in the first sectors and ends with zeros."""
    with path.open("rb") as file:
        head = file.read(64 << 10)
    match = re.search(rb"# Disk DescriptorFile\n[^\0]*", head)
    if match is None:
        raise AssertionError("qemu-img wrote a vmdk without a descriptor")
    descriptor = re.sub(rb"(?m)^CID=[0-9a-f]{1,8}$", b"CID=%08x" % (identifier.int & 0x7FFFFFFF), match[0])
    _write(path, match.start(), descriptor + b"\0")


def _vhd(path: Path, identifier: UUID, date: datetime) -> None:
    """Set time and identifier in the footer and in its copy at the start."""
    with path.open("rb") as file:
        footer = bytearray(file.read(_VHD_FOOTER))
    struct.pack_into(">I", footer, _VHD_TIME, int(date.timestamp()) - _VHD_EPOCH)
    footer[_VHD_IDENTIFIER : _VHD_IDENTIFIER + 16] = identifier.bytes
    struct.pack_into(">I", footer, _VHD_SUM, 0)
    struct.pack_into(">I", footer, _VHD_SUM, ~sum(footer) & 0xFFFFFFFF)
    _write(path, 0, bytes(footer))
    _write(path, path.stat().st_size - _VHD_FOOTER, bytes(footer))
