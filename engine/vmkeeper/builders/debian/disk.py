"""A root file system tar becomes a disk: GPT, GRUB for BIOS and UEFI, one ext4 file system.

No loop device, no mount, no root: mke2fs reads the tar, mtools writes the EFI system partition, and GRUB's two
parts for BIOS go where grub-install would put them. All identifiers derive from the recipe digest; what only seeds the file
system's checksums and its inodes' change times is the same in all images of a family, so that an update changes few blocks.
"""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vmkeeper.builders.debian.finish import identifier
from vmkeeper.builders.debian.tools import Tools
from vmkeeper.errors import UserError
from vmkeeper.model.recipe import Recipe
from vmkeeper.run import ProgramFailed
from vmkeeper.values import Sha512, Size, sha256_hex

SECTOR = 512
_CHUNK = 1 << 20
_MIB = 2048
"""Sectors in a MiB."""

_CHANGED = 1767225600
"""The change time of every inode, 2026-01-01. Nothing in an image was changed since it was made; files keep their own times."""

BIOS_START, BIOS_SECTORS = 1 * _MIB, 1 * _MIB
EFI_START, EFI_SECTORS = 2 * _MIB, 16 * _MIB
ROOT_START = 18 * _MIB
_TAIL = 1 * _MIB
"""Room at the end for the backup partition table."""

_TYPES = {
    "bios": "21686148-6449-6E6F-744E-656564454649",
    "efi": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
    "root": "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",
}
"""GPT partition types: BIOS boot, EFI system, Linux root x86-64 (UEFI specification; Discoverable Partitions Specification)."""

_MODULES = ("normal", "configfile", "linux", "part_gpt", "ext2", "search", "search_fs_uuid", "serial", "terminal", "echo", "test", "reboot", "halt")
_CORE_ADDRESS, _CORE_NEXT, _CORE_LENGTH = 0x5C, 0x1F4, 0x1FC


@dataclass(frozen=True, slots=True)
class Disk:
    """A raw disk."""

    path: Path
    size: Size


def make_disk(recipe: Recipe, rootfs: Path, date: datetime, tools: Tools, folder: Path) -> Disk:
    """Assemble the raw disk (a sparse file) of a finished root file system tar.

    Raises UserError where the root file system does not fit the disk.
    """
    if recipe.disk is None or recipe.disk.size is None:
        raise UserError(
            "the appliance has no disk size", where=f"appliances/{recipe.appliance}", hint="give disk.size in appliance.yaml, such as 2GiB"
        )
    size, digest = recipe.disk.size, recipe.digest()
    firmware = recipe.disk.boot or ("bios", "uefi")
    disk = Disk(folder / "disk.raw", size)
    sectors = size // SECTOR // _MIB * _MIB
    root_sectors = sectors - ROOT_START - _TAIL
    if root_sectors < 64 * _MIB:
        raise UserError(f"a disk of {size} is too small", where=f"appliances/{recipe.appliance}", hint="give disk.size at least 128MiB")
    with disk.path.open("wb") as file:
        file.truncate(size)
    root = str(identifier(digest, "root"))
    _make_root(disk, recipe, rootfs, root_sectors, root, tools)
    _partition(disk, digest, root_sectors, tools)
    (folder / "early.cfg").write_text(f"search.fs_uuid {root} root\nset prefix=($root)/boot/grub\nconfigfile ($root)/boot/grub/grub.cfg\n")
    if "uefi" in firmware:
        _make_efi(disk, digest, date, tools, folder)
    if "bios" in firmware:
        _make_bios(disk, tools, folder)
    return disk


def _make_root(disk: Disk, recipe: Recipe, rootfs: Path, sectors: int, uuid: str, tools: Tools) -> None:
    """The checksum seed is that of the UUID at making, which the family shares; the image's own UUID is set afterwards and leaves it."""
    assert recipe.disk is not None
    family = sha256_hex(recipe.layers[0].appliance.encode())
    epoch = {"SOURCE_DATE_EPOCH": str(_CHANGED)}
    options = [
        f"hash_seed={identifier(family, 'hash')}",
        "lazy_itable_init=0",
        "lazy_journal_init=0",
        "root_owner=0:0",
        "nodiscard",
        f"offset={ROOT_START * SECTOR}",
    ]
    words: list[str | Path] = [
        "-q",
        "-F",
        "-t",
        "ext4",
        "-b",
        "4096",
        "-O",
        "metadata_csum,metadata_csum_seed",
        "-U",
        str(identifier(family, "checksums")),
        "-L",
        recipe.disk.label or "root",
        "-E",
        ",".join(options),
        "-d",
        rootfs,
    ]
    try:
        tools.run("mke2fs", *words, disk.path, f"{sectors // 2}k", env=epoch)
        tools.run("tune2fs", "-U", uuid, f"{disk.path}?offset={ROOT_START * SECTOR}", env=epoch)
    except ProgramFailed as failed:
        if "allocate" in failed.why or "No space" in failed.why or "no free" in failed.why:
            where = f"appliances/{recipe.appliance}"
            raise UserError(
                f"the root file system does not fit a disk of {disk.size}", where=where, hint="raise disk.size in appliance.yaml"
            ) from None
        raise


def _partition(disk: Disk, digest: str, root_sectors: int, tools: Tools) -> None:
    """Numbers as Debian's cloud images have them: 1 is the root, last on the disk so that it can grow."""
    lines = ["label: gpt", f"label-id: {identifier(digest, 'disk')}", "unit: sectors", f"first-lba: {BIOS_START}"]
    for number, name, start, sectors in (
        (1, "root", ROOT_START, root_sectors),
        (14, "bios", BIOS_START, BIOS_SECTORS),
        (15, "efi", EFI_START, EFI_SECTORS),
    ):
        lines.append(f"{disk.path}{number} : start={start}, size={sectors}, type={_TYPES[name]}, uuid={identifier(digest, name)}, name={name}")
    tools.run("sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", disk.path, stdin="\n".join(lines).encode() + b"\n")


def _make_efi(disk: Disk, digest: str, date: datetime, tools: Tools, folder: Path) -> None:
    """The EFI system partition with GRUB at the path for removable media, which needs no variables in the firmware."""
    program, partition = folder / "BOOTX64.EFI", folder / "efi.fat"
    _grub_image("x86_64-efi", "/EFI/BOOT", ("fat", "all_video", "gfxterm"), program, tools, folder)
    with partition.open("wb") as file:
        file.truncate(EFI_SECTORS * SECTOR)
    epoch = {"SOURCE_DATE_EPOCH": str(int(date.timestamp()))}
    tools.run("mkfs.fat", "--invariant", "-F", "16", "-S", "512", "-n", "EFI", "-i", identifier(digest, "fat").hex[:8], partition, env=epoch)
    tools.run("mmd", "-i", partition, "::/EFI", "::/EFI/BOOT", env=epoch)
    tools.run("mcopy", "-i", partition, program, "::/EFI/BOOT/BOOTX64.EFI", env=epoch)
    _write_at(disk.path, EFI_START, partition.read_bytes())


def _make_bios(disk: Disk, tools: Tools, folder: Path) -> None:
    """GRUB's boot sector and, in the BIOS boot partition, its core (the fields of boot.S and diskboot.S that grub-install sets)."""
    _grub_image("i386-pc", "/boot/grub", ("biosdisk",), folder / "core.img", tools, folder)
    core = bytearray((folder / "core.img").read_bytes())
    core += bytes(-len(core) % SECTOR)
    if len(core) > BIOS_SECTORS * SECTOR:
        raise AssertionError("GRUB's core image is larger than its partition")
    struct.pack_into("<Q", core, _CORE_NEXT, BIOS_START + 1)
    struct.pack_into("<H", core, _CORE_LENGTH, len(core) // SECTOR - 1)
    boot = bytearray(tools.file("usr/lib/grub/i386-pc/boot.img").read_bytes()[:440])
    struct.pack_into("<Q", boot, _CORE_ADDRESS, BIOS_START)
    _write_at(disk.path, 0, bytes(boot))
    _write_at(disk.path, BIOS_START, bytes(core))


def _grub_image(platform: str, prefix: str, modules: tuple[str, ...], target: Path, tools: Tools, folder: Path) -> None:
    folder_of_modules = tools.file(f"usr/lib/grub/{platform}")
    tools.run("grub-mkimage", "-O", platform, "-d", folder_of_modules, "-p", prefix, "-c", folder / "early.cfg", "-o", target, *_MODULES, *modules)


def _write_at(path: Path, sector: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(sector * SECTOR)
        file.write(data)


def sha512_sparse(path: Path) -> Sha512:
    """SHA-512 of a whole file, without reading its holes."""
    digest, zeros = hashlib.sha512(), bytes(_CHUNK)
    with path.open("rb", buffering=0) as file:
        end, at = os.fstat(file.fileno()).st_size, 0
        while at < end:
            try:
                data = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                data = end
            while at < data:
                digest.update(zeros[: min(_CHUNK, data - at)])
                at += min(_CHUNK, data - at)
            hole = os.lseek(file.fileno(), at, os.SEEK_HOLE) if at < end else end
            file.seek(at)
            while at < hole:
                chunk = file.read(min(_CHUNK, hole - at))
                digest.update(chunk)
                at += len(chunk)
    return digest.hexdigest()
