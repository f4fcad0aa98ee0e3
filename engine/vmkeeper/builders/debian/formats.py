"""A raw disk in the formats that clouds take, the same bytes every time.

qemu-img writes random identifiers and the time into some formats; they are set to values of the recipe afterwards.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from uuid import UUID

from vmkeeper.builders.debian.tools import Tools
from vmkeeper.images.ovfwrite import descriptor
from vmkeeper.images.settle import settle
from vmkeeper.model.appliance import Format

_QEMU: Mapping[Format, tuple[str, ...]] = {
    "qcow2": ("-O", "qcow2", "-o", "compat=1.1"),
    "vmdk": ("-O", "vmdk", "-o", "subformat=monolithicSparse"),
    "vdi": ("-O", "vdi"),
    "vhd": ("-O", "vpc", "-o", "subformat=dynamic,force_size=on"),
    "ova": ("-O", "vmdk", "-o", "subformat=streamOptimized"),
}


def convert(raw: Path, wanted: Format, identifier: UUID, date: datetime, tools: Tools, folder: Path, *, title: str) -> Path:
    """The disk in another format. Not compressed inside where the format allows: files travel compressed or as patches.

    identifier, date: what the format says of itself. title: the name that an OVA shows.
    """
    target = folder / f"disk.{'vmdk' if wanted == 'ova' else wanted}"
    tools.run("qemu-img", "convert", "-f", "raw", *_QEMU[wanted], raw, target)
    settle(target, "vmdk" if wanted == "ova" else wanted, identifier, date)
    return _pack_ova(target, raw.stat().st_size, title, date, folder) if wanted == "ova" else target


def _pack_ova(vmdk: Path, capacity: int, title: str, date: datetime, folder: Path) -> Path:
    """An OVA: a tar of the description and the disk, the description first (DMTF DSP0243, section 5)."""
    target = folder / "disk.ova"
    name = f"{title}.vmdk"
    description = descriptor(title=title, disk=name, size=vmdk.stat().st_size, capacity=capacity)
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as tar, vmdk.open("rb") as disk:
        for member, size, data in ((f"{title}.ovf", len(description), io.BytesIO(description)), (name, vmdk.stat().st_size, disk)):
            info = tarfile.TarInfo(member)
            info.size, info.mtime = size, int(date.timestamp())
            tar.addfile(info, data)
    vmdk.unlink()
    return target
