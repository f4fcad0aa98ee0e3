"""Archives with one disk: read where they lie, and refused with a reason whatever is in them."""

from __future__ import annotations

import io
import tarfile
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.trust.cases_images import FIXTURES, OVF, STREAM, appliance, descriptor, entry, made, manifest, raw, tar
from vmkeeper.errors import Refused
from vmkeeper.images import ovf
from vmkeeper.images.archive import is_tar, members, read
from vmkeeper.images.examine import examine
from vmkeeper.images.ova import open_archive
from vmkeeper.images.sniff import Span, sniff
from vmkeeper.values import Size


@pytest.fixture
def box(tmp_path: Path) -> Path:
    path = tmp_path / "box.ova"
    path.write_bytes(tar(appliance(manifest())))
    return path


def refused(path: Path, rule: str) -> str:
    with pytest.raises(Refused) as error:
        open_archive(path)
    assert error.value.rule == rule, str(error.value)
    return error.value.why


def test_the_disk_is_found_where_it_lies(box: Path) -> None:
    found = open_archive(box)
    assert (found.kind, found.disk.name, found.format) == ("ova", "disk.vmdk", "vmdk")
    assert (found.cpus, found.memory) == (2, Size.parse("512MiB"))
    start, size = found.disk.span.start, found.disk.span.size
    assert box.read_bytes()[start : start + size] == made(*STREAM)
    assert sniff(box, "vmdk", span=found.disk.span).virtual_size == len(raw())


def test_nothing_is_extracted(box: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    assert examine(box, "ova").virtual_size == len(raw())
    assert [path.name for path in tmp_path.iterdir()] == ["box.ova"]


def test_what_is_unpacked_is_gone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gzip

    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "image.gz").write_bytes(gzip.compress(tar(appliance())))
    found = examine(tmp_path / "image.gz")
    assert (found.format, found.compression, found.disk, found.disk_format) == ("ova", "gz", "disk.vmdk", "vmdk")
    (tmp_path / "image.gz").write_bytes(gzip.compress(b"no image"))
    with pytest.raises(Refused):
        examine(tmp_path / "image.gz")
    assert list((tmp_path / "scratch").iterdir()) == []


def test_cloudkeepers_sound_archive_has_one_member_of_each_kind() -> None:
    assert [member.name for member in members(FIXTURES / "image.ova")] == ["image.ovf", "image.vmdk"]
    assert "not XML" in refused(FIXTURES / "image.ova", "R26")


@pytest.mark.parametrize(("name", "said"), [("fake-image01.ova", "0 disks"), ("fake-image06.ova", "2 disks"), ("fake-image04.ova", "truncated")])
def test_cloudkeepers_other_archives_are_refused(name: str, said: str) -> None:
    assert said in refused(FIXTURES / name, "R26")


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_are_read_in_every_form(tmp_path: Path, form: int) -> None:
    long = "folder/" + "x" * 90 + ("/" + "y" * 60 if form != tarfile.USTAR_FORMAT else ".raw")
    (tmp_path / "a.tar").write_bytes(tar([(long, b"data"), ("é.txt", b"more")], form=form))
    found = members(tmp_path / "a.tar")
    assert [member.name for member in found] == [long, "é.txt"]
    assert read(tmp_path / "a.tar", found[0], 10) == b"data"
    with pytest.raises(Refused, match="at most 3"):
        read(tmp_path / "a.tar", found[0], 3)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b"31 GNU.sparse.realsize=9999999\n", "GNU.sparse"),
        (b"13 size=-500\n", "no number"),
        (b"99 path=x\n", "damaged"),
        (b"3 x\n", "damaged"),
        (b"11 path=\xff\xfe\n", "cannot be read"),
        (b"18 size=999999999\n", "longer than the archive"),
    ],
)
def test_pax_headers_that_mislead_are_refused(tmp_path: Path, header: bytes, said: str) -> None:
    out = io.BytesIO()
    for name, kind, data in (("pax", tarfile.XHDTYPE, header), ("a", tarfile.REGTYPE, b"x")):
        info = entry(name, kind)
        info.size = len(data)
        out.write(info.tobuf(tarfile.USTAR_FORMAT) + data.ljust(512, b"\0"))
    (tmp_path / "a.tar").write_bytes(out.getvalue() + bytes(1024))
    with pytest.raises(Refused) as error:
        members(tmp_path / "a.tar")
    assert said in str(error.value)


def test_a_very_long_pax_header_is_not_read(tmp_path: Path) -> None:
    info = entry("pax", tarfile.XHDTYPE)
    info.size = 1 << 40
    with (tmp_path / "a.tar").open("wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.truncate((1 << 40) + 2048)
    with pytest.raises(Refused, match="too long"):
        members(tmp_path / "a.tar")


def test_many_members_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar([(f"f{number}", b"") for number in range(257)]))
    with pytest.raises(Refused, match="more than 256"):
        members(tmp_path / "a.tar")


def test_a_disk_is_no_archive() -> None:
    assert is_tar(tar([("a", b"x")]))
    assert not is_tar(raw())
    assert not is_tar(b"")


# -- the descriptor


def parsed(old: str = "", new: str = "") -> ovf.Descriptor:
    return ovf.parse(descriptor(old, new))


@pytest.mark.parametrize(
    ("units", "quantity", "memory"),
    [
        ("byte * 2^20", "512", "512MiB"),
        ("byte * 2^30", "2", "2GiB"),
        ("MegaBytes", "1024", "1GiB"),
        ("GB", "4", "4GiB"),
        ("KB", "1048576", "1GiB"),
        ("byte", "1073741824", "1GiB"),
        ("bushels", "5", None),
        ("byte * 2^99", "5", None),
        ("byte * 2^20", "-5", None),
        ("byte * 2^20", "0", None),
        ("byte * 2^20", "9" * 40, None),
    ],
)
def test_memory_is_a_hint_in_many_units(units: str, quantity: str, memory: str | None) -> None:
    text = OVF.format(size=1).replace("byte * 2^20</rasd", f"{units}</rasd").replace(">512<", f">{quantity}<")
    assert ovf.parse(text.encode()).memory == (Size.parse(memory) if memory else None)


def test_hints_may_be_missing() -> None:
    text = OVF.format(size=1)
    start, end = text.index("<VirtualHardwareSection>"), text.index("</VirtualSystem>")
    found = ovf.parse((text[:start] + text[end:]).encode())
    assert (found.cpus, found.memory, found.disk, found.disk_size) == (None, None, "disk.vmdk", 1)


def test_the_descriptor_may_have_any_namespace_of_its_versions() -> None:
    text = OVF.format(size=1).replace("schemas.dmtf.org/ovf/envelope/1", "www.vmware.com/schema/ovf/1/envelope")
    assert ovf.parse(text.encode()).disk == "disk.vmdk"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("<Envelope", "<!DOCTYPE Envelope><Envelope", "document type"),
        ('encoding="UTF-8"?>', 'encoding="UTF-8"?><!DOCTYPE x [<!ENTITY a "b">]>', "document type"),
        ("<VirtualSystem ", '<VirtualSystem ovf:id="other"/><VirtualSystem ', "one virtual system"),
        ("</Envelope>", "<VirtualSystemCollection/></Envelope>", "one virtual system"),
        ('<Disk ovf:diskId="disk1"', '<Disk ovf:diskId="disk0"/><Disk ovf:diskId="disk1"', "2 disks"),
        ('ovf:fileRef="file1"', "", "no file"),
        ('ovf:fileRef="file1"', 'ovf:fileRef="file2"', "no file"),
        ('ovf:fileRef="file1"', 'ovf:fileRef="file1" ovf:parentRef="x"', "parent"),
        ('ovf:id="file1"', 'ovf:id="file1" ovf:chunkSize="100"', "pieces"),
        ("<Envelope", "<Envelop", "not XML"),
        ("<Info>Disks</Info>", "<Info>" * 100 + "</Info>" * 100, "too deep"),
        ("<Info>Disks</Info>", "<Info/>" * 30_000, "too many"),
    ],
)
def test_descriptors_that_surprise_are_refused(old: str, new: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parsed(old, new)


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"<x/>", b"<?xml version='1.0' encoding='UTF-16'?><x/>", "<x/>".encode("utf-16"), b"\xff\xfe<", b"<" * 9999]
)
def test_what_is_no_descriptor_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="it "):
        ovf.parse(data)


# -- whatever the bytes are

_BOX = tar(appliance(manifest()))


@given(changes=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=4), cut=st.integers(0, 3))
@settings(max_examples=150)
def test_a_changed_archive_is_read_or_refused(changes: list[tuple[int, int]], cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    data = bytearray(_BOX[: len(_BOX) - cut * 700])
    for at, byte in changes:
        data[at] = byte
    path = tmp_path_factory.getbasetemp() / "changed.ova"
    path.write_bytes(data)
    with suppress(Refused):
        open_archive(path)


@given(st.binary(max_size=60), st.integers(0, len(OVF) - 1))
def test_a_changed_descriptor_is_read_or_refused(new: bytes, at: int) -> None:
    data = descriptor()
    with suppress(ValueError):
        ovf.parse(data[:at] + new + data[at + len(new) :])


def test_random_bytes_after_a_good_header_are_refused(tmp_path: Path) -> None:
    source = Random(3)
    for _ in range(50):
        (tmp_path / "a").write_bytes(_BOX[:512] + source.randbytes(4096))
        with pytest.raises(Refused):
            open_archive(tmp_path / "a")


def test_a_span_beyond_the_file_is_no_disk(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(raw())
    with pytest.raises(Refused):
        sniff(tmp_path / "a", "raw", span=Span(len(raw()) - 512, 1 << 40))
