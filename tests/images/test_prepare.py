"""Every input in every form: what comes out shows a guest the same, is what it is said to be, and is the same every time."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import shutil
import struct
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.trust.cases_images import FIXTURES, MIB, STREAM, appliance, backing, created, flat_vmdk, made, manifest, patched, raw, tar, zstd
from vmkeeper.errors import Refused, UserError
from vmkeeper.images.convert import DISK_FORMS, Disk, format_of, same_content
from vmkeeper.images.examine import examine
from vmkeeper.images.files import hash_file
from vmkeeper.images.ova import open_archive
from vmkeeper.images.prepare import FORMS, Form, move, prepared
from vmkeeper.model.release import Blob
from vmkeeper.values import Size

DISKS: dict[str, Callable[[], bytes]] = {
    "raw": raw,
    "qcow2": lambda: made("qcow2"),
    "vmdk": lambda: made("vmdk", "subformat=monolithicSparse"),
    "vmdk-stream": lambda: made(*STREAM),
    "vdi": lambda: made("vdi"),
    "vhd": lambda: made("vpc", "force_size=on"),
    "vhd-fixed": lambda: made("vpc", "subformat=fixed,force_size=on"),
    "vhdx": lambda: made("vhdx"),
    "ova": lambda: tar(appliance(manifest())),
    "tar": lambda: tar([("disk.qcow2", made("qcow2"))]),
}
PACKINGS: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd}
DECLARED = {"vmdk-stream": "vmdk", "vhd-fixed": "vhd"}


def source(folder: Path, kind: str, packing: str = "") -> tuple[Path, str]:
    """An input and what it is declared to be."""
    data = DISKS[kind]()
    path = folder / "image"
    path.write_bytes(PACKINGS[packing](data) if packing else data)
    return path, DECLARED.get(kind, kind) + (f".{packing}" if packing else "")


def disk_of(path: Path, form: str) -> Disk:
    if form == "ova":
        archive = open_archive(path)
        return Disk(path, archive.format, archive.disk.span)
    return Disk(path, format_of(form))  # type: ignore[arg-type]


def prepare(path: Path, declared: str | None, form: Form | None, folder: Path, **more: object) -> tuple[Path, object]:
    with prepared(path, hash_file(path), folder / "work", declared=declared, wanted=form, **more) as made_:  # type: ignore[arg-type]
        target = folder / "result"
        assert hash_file(made_.path) == made_.blob
        move(made_, target)
    assert [one.name for one in (folder / "work").iterdir()] == []
    return target, made_


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", DISKS)
def test_every_input_in_every_form(kind: str, form: Form, tmp_path: Path) -> None:
    path, declared = source(tmp_path, kind)
    before = path.read_bytes()
    target, made_ = prepare(path, declared, form, tmp_path)
    (tmp_path / "raw").write_bytes(raw())
    assert same_content(Disk(tmp_path / "raw", "raw"), disk_of(target, form))
    found = examine(target, made_.format, sha512=made_.sha512, size=made_.size)
    assert (found.virtual_size, found.format) == (made_.virtual_size, "ova" if form == "ova" else format_of(form)) == (len(raw()), made_.format)
    assert made_.source == declared
    assert path.read_bytes() == before


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("kind", ["raw", "qcow2", "ova", "tar", "vdi"])
def test_every_compression_on_top(kind: str, packing: str, tmp_path: Path) -> None:
    path, declared = source(tmp_path, kind, packing)
    for form in ("raw", "qcow2"):
        target, made_ = prepare(path, declared, form, tmp_path)
        (tmp_path / "raw").write_bytes(raw())
        assert same_content(Disk(tmp_path / "raw", "raw"), Disk(target, form))
        assert (made_.source, made_.itself) == (declared, False)
    assert not list(tmp_path.glob("**/.vmkeeper-*"))


@pytest.mark.parametrize(("kind", "form"), [("raw", "raw"), ("qcow2", "qcow2"), ("vdi", "vdi"), ("vhd", "vhd"), ("ova", "ova"), ("vmdk", "vmdk")])
def test_what_has_the_form_already_is_left_as_it_is(kind: str, form: Form, tmp_path: Path) -> None:
    path, declared = source(tmp_path, kind)
    target, made_ = prepare(path, declared, form, tmp_path)
    assert made_.itself
    assert target.read_bytes() == path.read_bytes() == DISKS[kind]()
    target, made_ = prepare(path, declared, None, tmp_path)
    assert made_.itself
    path, declared = source(tmp_path, kind, "gz")
    target, made_ = prepare(path, declared, form, tmp_path)
    assert target.read_bytes() == DISKS[kind]()


def test_a_disk_that_has_the_form_is_taken_out_of_its_archive_as_it_is(tmp_path: Path) -> None:
    path, declared = source(tmp_path, "ova")
    target, made_ = prepare(path, declared, "vmdk-stream", tmp_path)
    assert (target.read_bytes(), made_.format, made_.itself) == (made(*STREAM), "vmdk", False)
    path, declared = source(tmp_path, "tar")
    target, made_ = prepare(path, declared, None, tmp_path)
    assert (target.read_bytes(), made_.format) == (made("qcow2"), "qcow2")


def test_what_no_cloud_takes_needs_a_form(tmp_path: Path) -> None:
    path, declared = source(tmp_path, "vhdx")
    with pytest.raises(UserError, match="as it comes") as error:
        prepare(path, declared, None, tmp_path)
    assert "qcow2" in error.value.hint


@pytest.mark.parametrize("form", FORMS)
def test_the_same_source_gives_the_same_file(form: Form, tmp_path: Path) -> None:
    path, declared = source(tmp_path, "raw" if form == "qcow2" else "qcow2")
    first, _ = prepare(path, declared, form, tmp_path)
    bytes_ = first.read_bytes()
    second, _ = prepare(path, declared, form, tmp_path)
    assert second.read_bytes() == bytes_


def test_hints_of_an_archive_are_handed_on_and_written_into_ours(tmp_path: Path) -> None:
    path, declared = source(tmp_path, "ova")
    _, made_ = prepare(path, declared, "raw", tmp_path)
    assert (made_.cpus, made_.memory) == (2, Size.parse("512MiB"))
    path, declared = source(tmp_path, "qcow2")
    target, made_ = prepare(path, declared, "ova", tmp_path, title="debian 12/../x")
    assert (made_.cpus, made_.memory) == (None, None)
    ours = open_archive(target)
    assert (ours.cpus, ours.memory, ours.disk.name) == (1, Size.parse("1GiB"), "debian-12-..-x.vmdk")


def test_our_ova_is_read_by_other_programs(tmp_path: Path) -> None:
    path, declared = source(tmp_path, "qcow2")
    target, _ = prepare(path, declared, "ova", tmp_path, title="box")
    listed = subprocess.run(["tar", "-tf", target], check=True, capture_output=True, text=True).stdout.split()
    assert listed == ["box.ovf", "box.vmdk", "box.mf"]
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run(["tar", "-xf", target, "-C", out], check=True)
    said = json.loads(subprocess.run(["qemu-img", "info", "--output=json", out / "box.vmdk"], check=True, capture_output=True).stdout)
    assert (said["format"], said["virtual-size"]) == ("vmdk", len(raw()))
    assert said["format-specific"]["data"]["create-type"] == "streamOptimized"
    for line in (out / "box.mf").read_text().splitlines():
        name = line.partition("(")[2].partition(")")[0]
        (digest,) = subprocess.run(["sha256sum", out / name], check=True, capture_output=True, text=True).stdout.split()[:1]
        assert line == f"SHA256({name})= {digest}"
    if shutil.which("xmllint"):
        subprocess.run(["xmllint", "--noout", out / "box.ovf"], check=True)


def test_compressed_inside(tmp_path: Path) -> None:
    path, declared = tmp_path / "image", "raw"
    path.write_bytes(raw()[:512] + b"text, text " * 200_000 + bytes(600))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 512 * 512])
    small, _ = prepare(path, declared, "qcow2", tmp_path, compress=True)
    size = small.stat().st_size
    large, _ = prepare(path, declared, "qcow2", tmp_path)
    assert size < large.stat().st_size


# -- what is refused


def bomb() -> bytes:
    return gzip.compress(bytes(64 * MIB))


REFUSED: dict[str, tuple[str, Callable[[Path], object], str, str]] = {
    # name: (file's name, what makes it, declared, rule)
    "a-backing-file": ("image", backing, "qcow2", "R26"),
    "a-data-file": ("image", lambda d: created(d, "-f", "qcow2", "-o", "data_file=data,data_file_raw=on", "image", "1M"), "qcow2", "R26"),
    "a-flat-vmdk": ("image", lambda d: (d / "image").write_bytes(flat_vmdk()), "vmdk", "R26"),
    "a-bomb": ("image", lambda d: (d / "image").write_bytes(bomb()), "raw.gz", "R25"),
    "two-disks": ("image", lambda d: (d / "image").write_bytes(tar([*appliance(), ("more.vmdk", made(*STREAM))])), "ova", "R26"),
    "no-disk": ("image", lambda d: (d / "image").write_bytes(tar([("box.ovf", b"<x/>")])), "ova", "R26"),
    "another-manifest": ("image", lambda d: (d / "image").write_bytes(tar(appliance(manifest("0" * 64)))), "ova", "R14"),
    "a-cut-archive": ("image", lambda d: (d / "image").write_bytes(tar(appliance())[: 700 << 10]), "ova", "R26"),
    "a-cut-stream": ("image", lambda d: (d / "image").write_bytes(gzip.compress(raw())[:-9]), "raw.gz", "R25"),
    "a-cut-qcow2": ("image", lambda d: (d / "image").write_bytes(made("qcow2")[: 900 << 10]), "qcow2", "R26"),
    "no-boot-sector": ("image", lambda d: (d / "image").write_bytes(bytes(MIB)), "raw", "R26"),
    "another-format": ("image", lambda d: (d / "image").write_bytes(made("qcow2")), "vdi", "R26"),
    "a-huge-disk": ("image", lambda d: created(d, "-f", "qcow2", "image", "60T"), "qcow2", "R26"),
    "a-folder": ("image", lambda d: (d / "image").mkdir(), "raw", ""),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_leaves_nothing(name: str, tmp_path: Path) -> None:
    file, make, declared, rule = REFUSED[name]
    make(tmp_path)
    wanted = Blob(size=Size(1), sha512="0" * 128)
    with pytest.raises((Refused, UserError)) as error, prepared(tmp_path / file, wanted, tmp_path / "work", declared=declared, wanted="raw"):
        pass
    assert getattr(error.value, "rule", "") == rule, str(error.value)
    assert list((tmp_path / "work").iterdir()) == []


def linked(folder: Path, kind: bytes) -> Path:
    path = folder / "image"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("disk.vmdk")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    return path


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_archives_with_anything_but_files_are_refused(kind: bytes, tmp_path: Path) -> None:
    path = linked(tmp_path, kind)
    with pytest.raises(Refused) as error, prepared(path, hash_file(path), tmp_path / "work", wanted="raw"):
        pass
    assert error.value.rule == "R23"


@pytest.mark.parametrize("name", ["../disk.vmdk", "/disk.vmdk", "a/../../disk.vmdk", "-rf.vmdk", "a\\b.vmdk"])
def test_archives_whose_names_lead_outside_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(tar([(name, made(*STREAM))]))
    with pytest.raises(Refused) as error, prepared(path, hash_file(path), tmp_path / "work", wanted="raw"):
        pass
    assert error.value.rule in ("R23", "R26")


@pytest.mark.parametrize(
    ("name", "said"), [("fake-image01.ova", "0 disks"), ("fake-image04.ova", "no archive"), ("fake-image06.ova", "2 disks"), ("image.ova", "not XML")]
)
def test_cloudkeepers_archives(name: str, said: str, tmp_path: Path) -> None:
    path = FIXTURES / name
    with pytest.raises(Refused, match=said), prepared(path, hash_file(path), tmp_path / "work", declared="ova", wanted="raw"):
        pass


def test_a_sound_archive_whose_disk_is_text(tmp_path: Path) -> None:
    """As cloudkeeper's image.ova, with a descriptor that can be read."""
    path = tmp_path / "image.ova"
    from conformance.trust.cases_images import descriptor

    path.write_bytes(tar(appliance(ovf=descriptor(f'ovf:size="{len(made(*STREAM))}"', 'ovf:size="11"'), disk=b"dummy vmdk\n")))
    assert open_archive(path).disk.name == "disk.vmdk"
    with pytest.raises(Refused) as error, prepared(path, hash_file(path), tmp_path / "work", declared="ova", wanted="raw"):
        pass
    assert error.value.rule == "R26"
    assert "declared as vmdk" in str(error.value)


def test_a_damaged_cluster_is_found_out(tmp_path: Path) -> None:
    """A qcow2 whose second level table leads behind the end of the file."""
    data = made("qcow2")
    table = struct.unpack_from(">Q", data, struct.unpack_from(">Q", data, 40)[0])[0] & 0x00FFFFFFFFFFFE00
    first = next(at for at in range(table, table + 65536, 8) if data[at : at + 8] != bytes(8))
    path = tmp_path / "image"
    path.write_bytes(patched(data, (first, struct.pack(">Q", (1 << 63) | (1 << 40)))))
    with pytest.raises(Refused) as error, prepared(path, hash_file(path), tmp_path / "work", declared="qcow2", wanted="raw"):
        pass
    assert error.value.rule == "R26"


# -- room and memory


def test_no_room_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands for a full disk: writing fails in the same way."""
    path, declared = source(tmp_path, "qcow2", "xz")
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from vmkeeper.errors import UserError\n"
        "from vmkeeper.images.files import hash_file\n"
        "from vmkeeper.images.prepare import prepared\n"
        "path, work = Path(sys.argv[1]), Path(sys.argv[2])\n"
        "blob = hash_file(path)\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({MIB}, {MIB}))\n"
        "try:\n"
        f"    with prepared(path, blob, work, declared={declared!r}, wanted='raw'):\n"
        "        pass\n"
        "except UserError as error:\n"
        "    print(error, error.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path, tmp_path / "work"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "make room" in done.stdout
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system takes root")
@pytest.mark.parametrize("form", ["raw", "qcow2", "vmdk-stream", "ova"])
def test_a_full_disk_is_said_and_leaves_nothing(form: Form, tmp_path: Path) -> None:
    path, declared = source(tmp_path, "vdi")
    work = tmp_path / "work"
    work.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", work], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        with pytest.raises(UserError) as error, prepared(path, hash_file(path), work, declared=declared, wanted=form):
            pass
        assert "room" in error.value.hint
        assert list(work.iterdir()) == []
    finally:
        subprocess.run(["umount", work], check=True)


@pytest.mark.parametrize(("packing", "form"), [("", "qcow2"), ("zst", "qcow2"), ("", "ova")])
def test_memory_does_not_grow_with_the_image(packing: str, form: Form, tmp_path: Path) -> None:
    path = tmp_path / "image"
    with path.open("wb") as file:
        file.write(raw()[: 2 * MIB])
        for at in range(64):
            file.seek(at * 24 * MIB)
            file.write(raw()[:MIB] if at == 0 else os.urandom(MIB // 4))
        file.truncate(3 << 29)
    declared = "raw"
    if packing:
        subprocess.run(["zstd", "-q", "--rm", path], check=True)
        path, declared = path.with_suffix(".zst"), "raw.zst"
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from vmkeeper.images.files import hash_file\n"
        "from vmkeeper.images.prepare import prepared\n"
        "path = Path(sys.argv[1])\n"
        f"with prepared(path, hash_file(path), Path(sys.argv[2]), declared={declared!r}, wanted={form!r}) as made:\n"
        "    assert made.virtual_size == 3 << 29\n"
        "own = next(int(line.split()[1]) for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(own + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path, tmp_path / "work"], check=True, capture_output=True, text=True)
    assert int(done.stdout) * 1024 < 150 * MIB


def test_every_form_has_a_test() -> None:
    assert set(DISK_FORMS) | {"ova"} == set(FORMS)
