"""Disks and image formats by the real programs of a tools root: sound, the same bytes every time, without root or mounts."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID
from xml.etree import ElementTree

import pytest

from support.recipes import DATE, Files, layer, recipe
from vmkeeper.builders.debian.disk import BIOS_START, EFI_SECTORS, EFI_START, ROOT_START, SECTOR, make_disk, sha512_sparse
from vmkeeper.builders.debian.finish import identifier
from vmkeeper.builders.debian.formats import convert
from vmkeeper.builders.debian.tools import Tools, unpack_tools
from vmkeeper.builders.interface import LockRequest
from vmkeeper.builders.registry import BUILDERS
from vmkeeper.errors import UserError
from vmkeeper.images.files import hash_file
from vmkeeper.images.store import Store
from vmkeeper.model.appliance import Archive, Disk, Format
from vmkeeper.model.recipe import Recipe, layer_keys
from vmkeeper.progress import Silent
from vmkeeper.run import ProgramFailed
from vmkeeper.values import Size

BUILDER = BUILDERS["debian"]
PACKAGES = ("dosfstools", "e2fsprogs", "fdisk", "grub-common", "grub-efi-amd64-bin", "grub-pc-bin", "libarchive13t64", "mtools", "qemu-utils")
IDENTIFIER = UUID("0b9c2f6e-5d0e-4c2c-9c57-0a1b2c3d4e5f")


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tools]:
    if lacks := BUILDER.lacks():
        pytest.skip("; ".join(map(str, lacks)))
    folder = tmp_path_factory.mktemp("tools")
    store = Store(folder / "store")
    archive = Archive(name="trixie", uri="http://deb.debian.org/debian", suite="trixie")
    lock = BUILDER.refresh(LockRequest("tools", "x86_64", (archive,), PACKAGES), store, folder / "cache", Silent())
    layers = (layer("tools", lock.packages, archives=(archive,), requested=PACKAGES, date=lock.date),)
    built = BUILDER.build(recipe(*layers), Files(), store, folder / "work", Silent())
    yield unpack_tools(layer_keys(layers, BUILDER.version)[-1], built.rootfs, "x86_64", store, folder / "work")
    shutil.rmtree(folder)


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    path = tmp_path / "root.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in ("etc", "usr", "usr/bin"):
            info = tarfile.TarInfo(f"./{name}")
            info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o755, int(DATE.timestamp())
            tar.addfile(info)
        for name, mode, gid, headers in (
            ("etc/shadow", 0o640, 42, {}),
            ("usr/bin/chage", 0o2755, 42, {}),
            (
                "usr/bin/ping",
                0o755,
                0,
                {"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"},
            ),
        ):
            info = tarfile.TarInfo(f"./{name}")
            info.size, info.mode, info.gid, info.mtime, info.pax_headers = 4, mode, gid, int(DATE.timestamp()), headers
            tar.addfile(info, io.BytesIO(b"text"))
    return path


def disk_recipe(size: str = "256MiB") -> Recipe:
    made = recipe(layer(), disk=True)
    return made.model_copy(update={"disk": Disk(size=Size.parse(size), boot=("bios", "uefi"), label="root")})


def partition(disk: Path, start: int, sectors: int, target: Path) -> Path:
    with disk.open("rb") as file:
        file.seek(start * SECTOR)
        target.write_bytes(file.read(sectors * SECTOR))
    return target


@pytest.mark.machine
@pytest.mark.network
def test_disk_is_sound_and_has_the_owners_of_the_tar(tools: Tools, rootfs: Path, tmp_path: Path) -> None:
    made = disk_recipe()
    disk = make_disk(made, rootfs, DATE, tools, tmp_path)
    table = json.loads(tools.run("sfdisk", "--json", disk.path).text)["partitiontable"]
    assert table["label"] == "gpt"
    assert table["id"].lower() == str(identifier(made.digest(), "disk"))
    assert {part["name"]: part["start"] for part in table["partitions"]} == {"root": ROOT_START, "bios": BIOS_START, "efi": EFI_START}
    assert max(table["partitions"], key=lambda part: part["start"])["name"] == "root"
    root = partition(disk.path, ROOT_START, next(part["size"] for part in table["partitions"] if part["name"] == "root"), tmp_path / "root.ext4")
    tools.run("e2fsck", "-fn", root)
    assert str(identifier(made.digest(), "root")) in tools.run("dumpe2fs", "-h", root).text
    shown = tools.run("debugfs", "-R", "stat /usr/bin/chage", root).text
    assert "Mode:  02755" in shown
    assert "Group:    42" in shown
    assert "security.capability" in tools.run("debugfs", "-R", "stat /usr/bin/ping", root).text
    efi = partition(disk.path, EFI_START, EFI_SECTORS, tmp_path / "efi.fat")
    tools.run("fsck.fat", "-n", efi)
    assert "BOOTX64" in tools.run("mdir", "-i", efi, "::/EFI/BOOT").text
    assert disk.path.read_bytes()[510:512] == b"\x55\xaa"


@pytest.mark.machine
@pytest.mark.network
def test_same_recipe_makes_the_same_disk(tools: Tools, rootfs: Path, tmp_path: Path) -> None:
    digests = set()
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        digests.add(sha512_sparse(make_disk(disk_recipe(), rootfs, DATE, tools, folder).path))
    assert len(digests) == 1


@pytest.mark.machine
@pytest.mark.network
@pytest.mark.parametrize("wanted", ["qcow2", "vmdk", "vdi", "vhd", "ova"])
def test_format_holds_the_disk_and_is_the_same_every_time(tools: Tools, tmp_path: Path, wanted: Format) -> None:
    raw = tmp_path / "disk.raw"
    with raw.open("wb") as file:
        file.truncate(64 << 20)
        file.seek(5 << 20)
        file.write(bytes(range(256)) * 1024)
    made = set()
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = convert(raw, wanted, IDENTIFIER, DATE, tools, folder, title="app")
        made.add(hash_file(path).sha512)
    assert len(made) == 1
    kind = {"vhd": "vpc", "ova": "vmdk"}.get(wanted, wanted)
    if wanted == "ova":
        with tarfile.open(path) as tar:
            assert tar.getnames() == ["app.ovf", "app.vmdk"]
            tar.extractall(tmp_path, filter="data")
        assert ElementTree.parse(tmp_path / "app.ovf").getroot().tag.endswith("Envelope")
        path = tmp_path / "app.vmdk"
    assert "identical" in tools.run("qemu-img", "compare", "-f", "raw", "-F", kind, raw, path).text


@pytest.mark.machine
@pytest.mark.network
def test_root_file_system_that_does_not_fit_is_explained(tools: Tools, tmp_path: Path) -> None:
    big = tmp_path / "big.tar"
    with tarfile.open(big, "w") as tar:
        info = tarfile.TarInfo("./big")
        info.size = 120 << 20
        tar.addfile(info, io.BytesIO(bytes(range(256)) * (info.size // 256)))
    with pytest.raises(UserError, match="does not fit") as caught:
        make_disk(disk_recipe("128MiB"), big, DATE, tools, tmp_path)
    assert "disk.size" in caught.value.hint


@pytest.mark.machine
@pytest.mark.network
def test_program_that_the_tools_lack_is_named(tools: Tools) -> None:
    with pytest.raises(UserError, match=r"mkfs\.none"):
        tools.run("mkfs.none")
    with pytest.raises(ProgramFailed):
        tools.run("mke2fs", "--no-such-option")


@pytest.mark.parametrize("size", ["1MiB", "64MiB"])
def test_disk_too_small_for_its_partitions(tmp_path: Path, size: str) -> None:
    with pytest.raises(UserError, match="too small"):
        make_disk(disk_recipe(size), tmp_path / "none.tar", DATE, Tools(tmp_path, "x86_64"), tmp_path)


def test_digest_of_a_file_with_holes(tmp_path: Path) -> None:
    for name, pieces in {
        "empty": [],
        "hole": [(5 << 20, b"")],
        "mixed": [(3 << 20, b"abc"), (9 << 20, b"d" * 70000), (12 << 20, b"")],
        "full": [(0, b"xyz" * 999)],
    }.items():
        path = tmp_path / name
        with path.open("wb") as file:
            for at, data in pieces:
                file.truncate(at)
                file.seek(at)
                file.write(data)
        assert sha512_sparse(path) == hash_file(path).sha512
