"""Appliance archives: an OVA, or a tar, that holds exactly one disk, which is read where it lies.

Refused: more or fewer disks, a descriptor that speaks of other files, a manifest that does not fit (rules R14, R23, R26).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vmkeeper.images import ovf
from vmkeeper.images.archive import Member, members, read, refused
from vmkeeper.images.files import CHUNK, reported
from vmkeeper.images.sniff import recognised
from vmkeeper.values import Size

_SUFFIXES = {".vmdk": "vmdk", ".qcow2": "qcow2", ".vdi": "vdi", ".vhd": "vhd", ".vhdx": "vhdx", ".raw": "raw", ".img": "raw", ".iso": "iso"}
_MAX_MANIFEST = 64 << 10
_DIGEST = re.compile(r"(SHA1|SHA256|SHA512) ?\(([^()]+)\) ?= ?([0-9A-Fa-f]{40,128})")


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive with one disk: which member it is and what it is declared to be; hints, None where it gives none."""

    kind: Literal["ova", "tar"]
    disk: Member
    format: str
    cpus: int | None = None
    memory: Size | None = None


def open_archive(path: Path) -> Archive:
    """Read an archive's outline. The disk itself is then judged as every image is. Raises Refused (R14, R23, R25, R26)."""
    found = members(path)
    descriptors = [member for member in found if member.name.lower().endswith(".ovf")]
    if len(descriptors) > 1:
        raise refused(path, "it has more than one OVF descriptor")
    return _ova(path, found, descriptors[0]) if descriptors else _tar(path, found)


def _ova(path: Path, found: tuple[Member, ...], descriptor: Member) -> Archive:
    disks = [member for member in found if _declared(member)]
    if len(disks) != 1:
        raise refused(path, f"it holds {len(disks)} disks; there must be exactly one")
    try:
        said = ovf.parse(read(path, descriptor, ovf.MAX_BYTES))
    except ValueError as error:
        raise refused(path, f"{descriptor.name}: {error}") from None
    names = {member.name for member in found}
    if missing := [name for name in said.files if name not in names]:
        raise refused(path, f"its descriptor names {missing[0]!r}, which is not in the archive")
    if said.disk != disks[0].name:
        raise refused(path, f"its descriptor names {said.disk!r} as the disk, not {disks[0].name}")
    if said.disk_size is not None and said.disk_size != disks[0].span.size:
        raise refused(path, f"its descriptor says that the disk has {said.disk_size} bytes, not {disks[0].span.size}", rule="R14")
    _check_manifest(path, found)
    return Archive("ova", disks[0], _declared(disks[0]), said.cpus, said.memory)


def _tar(path: Path, found: tuple[Member, ...]) -> Archive:
    """Without a descriptor a member's bytes tell whether it is a disk."""
    disks = {member: kind for member in found if (kind := recognised(path, member.span))}
    if len(disks) != 1:
        raise refused(path, f"it holds {len(disks)} disks; there must be exactly one")
    ((disk, kind),) = disks.items()
    return Archive("tar", disk, kind)


def _declared(member: Member) -> str:
    return _SUFFIXES.get(Path(member.name).suffix.lower(), "")


def _check_manifest(path: Path, found: tuple[Member, ...]) -> None:
    """The manifest's digests (DSP0243, 5.1): an OVA that has one must fit it."""
    manifests = [member for member in found if member.name.lower().endswith(".mf")]
    for manifest in manifests:
        by_name = {member.name: member for member in found}
        for line in filter(None, map(str.strip, read(path, manifest, _MAX_MANIFEST).decode(errors="replace").splitlines())):
            parts = _DIGEST.fullmatch(line)
            member = by_name.get(parts[2]) if parts else None
            if parts is None or member is None or _digest(path, member, parts[1].lower()) != parts[3].lower():
                raise refused(path, f"its manifest does not fit: {line[:200]!r}", rule="R14")


def _digest(path: Path, member: Member, name: str) -> str:
    digest, left = hashlib.new(name, usedforsecurity=False), member.span.size
    with reported("read the archive", path), path.open("rb") as file:
        file.seek(member.span.start)
        while left and (data := file.read(min(CHUNK, left))):
            digest.update(data)
            left -= len(data)
    return digest.hexdigest()
