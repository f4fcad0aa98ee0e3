"""What image files are taken for: sound ones of every format, and those made to reach outside or to mislead."""

import json
import struct
import subprocess
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmkeeper.errors import Refused
from vmkeeper.images.convert import Disk, info, same_content
from vmkeeper.images.files import hash_file
from vmkeeper.images.prepare import prepared
from vmkeeper.images.sniff import sniff
from vmkeeper.values import Size

MIB = 1 << 20


def qemu_img(*words):
    subprocess.run(["qemu-img", *map(str, words)], check=True, capture_output=True)


@pytest.fixture(scope="session")
def disk(tmp_path_factory):
    """A raw disk with a protective MBR, some data and holes."""
    path = tmp_path_factory.mktemp("disk") / "disk.raw"
    sector = bytearray(512)
    sector[446:462] = struct.pack("<B3BB3BII", 0, 0, 2, 0, 0xEE, 0xFF, 0xFF, 0xFF, 1, 16383)
    sector[510:] = b"\x55\xaa"
    with path.open("wb") as file:
        file.write(sector)
        file.seek(3 * MIB)
        file.write(bytes(range(256)) * 4096)
        file.truncate(8 * MIB)
    return path


FORMATS = {
    "raw": ["-O", "raw"],
    "qcow2": ["-O", "qcow2"],
    "qcow2-old": ["-O", "qcow2", "-o", "compat=0.10"],
    "qcow2-zstd": ["-O", "qcow2", "-c", "-o", "compression_type=zstd"],
    "vmdk": ["-O", "vmdk", "-o", "subformat=monolithicSparse"],
    "vmdk-stream": ["-O", "vmdk", "-o", "subformat=streamOptimized"],
    "vdi": ["-O", "vdi"],
    "vhd": ["-O", "vpc", "-o", "force_size=on"],
}


def image(disk, folder, kind):
    path = folder / f"image.{kind}"
    qemu_img("convert", "-f", "raw", *FORMATS[kind], disk, path)
    return path


def refuses(path, declared, **how):
    with pytest.raises(Refused) as caught:
        sniff(path, declared, **how)
    assert caught.value.rule == "R26"
    return caught.value.why


@pytest.mark.parametrize("kind", FORMATS)
def test_sound_images_are_what_they_are_declared_to_be(disk, tmp_path, kind):
    found = sniff(image(disk, tmp_path, kind), kind.split("-")[0])
    assert (found.format, found.virtual_size) == (kind.split("-")[0], 8 * MIB)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_other_declaration_is_refused(disk, tmp_path, kind):
    path = image(disk, tmp_path, kind)
    for declared in {"raw", "qcow2", "vmdk", "vdi", "vhd"} - {kind.split("-")[0]}:
        assert "declared as" in refuses(path, declared)


def test_backing_file_is_refused(disk, tmp_path):
    (tmp_path / "secret").write_bytes(bytes(MIB))
    qemu_img("create", "-f", "qcow2", "-b", tmp_path / "secret", "-F", "raw", tmp_path / "x.qcow2", "1M")
    assert "backing" in refuses(tmp_path / "x.qcow2", "qcow2")


def test_data_file_is_refused(tmp_path):
    qemu_img("create", "-f", "qcow2", "-o", f"data_file={tmp_path / 'data'},data_file_raw=on", tmp_path / "x.qcow2", "1M")
    assert "data_file" in refuses(tmp_path / "x.qcow2", "qcow2")


def test_data_file_by_header_extension_alone_is_refused(tmp_path):
    qemu_img("create", "-f", "qcow2", "-o", f"data_file={tmp_path / 'data'}", tmp_path / "x.qcow2", "1M")
    data = bytearray((tmp_path / "x.qcow2").read_bytes())
    data[72:80] = bytes(8)
    (tmp_path / "x.qcow2").write_bytes(data)
    assert "data file" in refuses(tmp_path / "x.qcow2", "qcow2")


@pytest.mark.parametrize(
    ("at", "data", "said"),
    [(32, struct.pack(">I", 2), "encrypted"), (79, b"\x02", "corrupt"), (72, b"\x80", "features"), (4, struct.pack(">I", 9), "ersion")],
)
def test_qcow2_headers_that_are_refused(disk, tmp_path, at, data, said):
    path = image(disk, tmp_path, "qcow2")
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)
    assert said in refuses(path, "qcow2")


@pytest.mark.parametrize("subformat", ["monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"])
def test_vmdk_of_several_files_is_refused(disk, tmp_path, subformat):
    qemu_img("convert", "-f", "raw", "-O", "vmdk", "-o", f"subformat={subformat}", disk, tmp_path / "x.vmdk")
    refuses(tmp_path / "x.vmdk", "vmdk")


def test_flat_vmdk_that_names_a_host_file_is_refused(tmp_path):
    text = '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 8 FLAT "/etc/passwd" 0\n'
    (tmp_path / "x.vmdk").write_text(text + " " * 2048)
    refuses(tmp_path / "x.vmdk", "vmdk")
    refuses(tmp_path / "x.vmdk", "raw")


def test_vmdk_with_a_parent_is_refused(disk, tmp_path):
    path = image(disk, tmp_path, "vmdk")
    data = path.read_bytes()
    assert b"parentCID=ffffffff" in data
    path.write_bytes(data.replace(b"parentCID=ffffffff", b"parentCID=00000001"))
    assert "parent" in refuses(path, "vmdk")


def with_footer(path, descriptor_sector):
    """A streamed VMDK keeps its grain directory's place in a footer: marker, header again, end of stream."""
    data = bytearray(path.read_bytes())
    header = bytearray(data[:512])
    header[28:36] = struct.pack("<Q", descriptor_sector)
    data[56:64] = b"\xff" * 8
    marker, end = struct.pack("<QII496x", 1, 0, 3), struct.pack("<QII496x", 0, 0, 0)
    path.write_bytes(data + marker + header + end)


def test_vmdk_whose_footer_differs_from_its_header_is_refused(disk, tmp_path):
    path = image(disk, tmp_path, "vmdk-stream")
    with_footer(path, 1)
    assert sniff(path, "vmdk").subformat == "streamoptimized"
    path = image(disk, tmp_path, "vmdk-stream")
    with_footer(path, 77)
    assert "ooter" in refuses(path, "vmdk")


def test_differencing_vhd_is_refused(disk, tmp_path):
    path = image(disk, tmp_path, "vhd")
    data = bytearray(path.read_bytes())
    data[60:64] = struct.pack(">I", 4)
    path.write_bytes(data)
    assert "parent" in refuses(path, "vhd")


def test_vdi_with_a_parent_is_refused(disk, tmp_path):
    path = image(disk, tmp_path, "vdi")
    data = bytearray(path.read_bytes())
    data[76:80] = struct.pack("<I", 4)
    path.write_bytes(data)
    assert "parent" in refuses(path, "vdi")


@pytest.mark.parametrize("kind", ["qcow2", "vdi"])
def test_huge_virtual_size_is_refused(tmp_path, kind):
    qemu_img("create", "-f", kind, tmp_path / "x", "60T" if kind == "qcow2" else "3T")
    assert "TiB" in refuses(tmp_path / "x", kind)
    assert "GiB" in refuses(tmp_path / "x", kind, max_virtual=1 << 30)


def test_virtual_size_may_be_the_cap(disk, tmp_path):
    path = image(disk, tmp_path, "qcow2")
    assert sniff(path, "qcow2", max_virtual=8 * MIB).virtual_size == Size(8 * MIB)
    refuses(path, "qcow2", max_virtual=8 * MIB - 1)


@pytest.mark.parametrize(
    "data", [b"", b"x", b"plain text\n" * 1000, bytes(MIB), b"\x1f\x8b" + bytes(2048), b"PK\3\4" + bytes(2048), b"QFI\xfb", b"KDMV" + bytes(600)]
)
def test_what_is_no_disk_is_refused(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    for declared in ("raw", "qcow2", "vmdk", "vdi", "vhd"):
        refuses(tmp_path / "x", declared)


def test_two_formats_in_one_file_are_refused(disk, tmp_path):
    path = image(disk, tmp_path, "qcow2")
    data = bytearray(path.read_bytes())
    data[446:512] = disk.read_bytes()[446:512]
    path.write_bytes(data)
    assert "Multiple" in refuses(path, "qcow2")


def test_raw_of_half_a_sector_is_refused(disk, tmp_path):
    (tmp_path / "x").write_bytes(disk.read_bytes() + b"x")
    assert "sectors" in refuses(tmp_path / "x", "raw")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["qcow2", "vmdk", "vdi", "vhd"]), st.integers(0, 700), st.binary(min_size=1, max_size=16))
def test_damaged_headers_never_raise_anything_but_a_refusal(disk, tmp_path_factory, kind, at, data):
    folder = tmp_path_factory.getbasetemp()
    path = folder / f"image.{kind}"
    if not path.exists():
        image(disk, folder, kind)
    changed = bytearray(path.read_bytes())
    changed[at : at + len(data)] = data
    other = folder / f"changed.{kind}"
    other.write_bytes(changed)
    with suppress(Refused):
        sniff(other, kind)


def test_different_content_is_told(disk, tmp_path):
    changed = bytearray(disk.read_bytes())
    changed[5 * MIB] ^= 1
    (tmp_path / "x.raw").write_bytes(changed)
    assert not same_content(Disk(disk, "raw"), Disk(tmp_path / "x.raw", "raw"))


def test_info_is_what_was_sniffed(disk, tmp_path):
    assert info(image(disk, tmp_path, "qcow2"), "qcow2").virtual_size == 8 * MIB


def test_names_that_qemu_would_read_as_options(disk, tmp_path):
    path = tmp_path / 'a"b,backing=x:json:{}.raw'
    path.write_bytes(disk.read_bytes())
    assert info(path, "raw").virtual_size == 8 * MIB
    assert json.dumps(path.name)


def test_refused_source_is_never_converted(tmp_path):
    (tmp_path / "secret").write_bytes(b"secret" * 100_000)
    qemu_img("create", "-f", "qcow2", "-b", tmp_path / "secret", "-F", "raw", tmp_path / "x.qcow2", "1M")
    blob = hash_file(tmp_path / "x.qcow2")
    with pytest.raises(Refused), prepared(tmp_path / "x.qcow2", blob, tmp_path / "work", declared="qcow2", wanted="raw"):
        pass
    assert list((tmp_path / "work").iterdir()) == []
