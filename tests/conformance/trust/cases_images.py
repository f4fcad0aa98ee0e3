"""Image files: digests, compression, archives and formats, sound and hostile."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import struct
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

from conformance.trust.case import Case

MIB = 1 << 20
FIXTURES = Path(__file__).parents[2] / "fixtures" / "cloudkeeper" / "ova"
_DATA = Random(7).randbytes(MIB)
Files = list[tuple[str, bytes]]


# -- images


@cache
def raw() -> bytes:
    """A disk of 4 MiB with a protective MBR, some data and zeros."""
    disk = bytearray(4 * MIB)
    disk[446:462] = struct.pack("<B3BB3BII", 0, 0, 2, 0, 0xEE, 0xFF, 0xFF, 0xFF, 1, 8191)
    disk[510:512] = b"\x55\xaa"
    disk[2 * MIB : 3 * MIB] = _DATA
    return bytes(disk)


@cache
def made(kind: str, *options: str) -> bytes:
    """The same disk in another of qemu's formats."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "disk", Path(folder) / "image"
        source.write_bytes(raw())
        words = ["qemu-img", "convert", "-f", "raw", "-O", kind, *(word for option in options for word in ("-o", option)), source, target]
        subprocess.run([str(word) for word in words], check=True, capture_output=True)
        return target.read_bytes()


def created(folder: Path, *words: str) -> list[str]:
    """What `qemu-img create` makes, called image."""
    subprocess.run(["qemu-img", "create", "-q", *words], cwd=folder, check=True, capture_output=True)
    return ["verify", "image", "image"]


STREAM = ("vmdk", "subformat=streamOptimized")


def patched(data: bytes, *patches: tuple[int, bytes]) -> bytes:
    changed = bytearray(data)
    for at, new in patches:
        changed[at : at + len(new)] = new
    return bytes(changed)


def zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-q", "-c"], input=data, check=True, capture_output=True).stdout


@cache
def xz_of_zeros(count: int) -> bytes:
    """Zeros, compressed a piece at a time."""
    packer, pieces = lzma.LZMACompressor(), []
    pieces = [packer.compress(bytes(MIB)) for _ in range(count // MIB)]
    return b"".join([*pieces, packer.flush()])


def large_dictionary() -> bytes:
    return lzma.compress(raw(), filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30}])


# -- archives

OVF = """<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
 xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData">
 <References><File ovf:href="disk.vmdk" ovf:id="file1" ovf:size="{size}"/></References>
 <DiskSection><Info>Disks</Info><Disk ovf:diskId="disk1" ovf:fileRef="file1" ovf:capacity="4" ovf:capacityAllocationUnits="byte * 2^20"/></DiskSection>
 <VirtualSystem ovf:id="vm"><VirtualHardwareSection>
  <Item><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>2</rasd:VirtualQuantity></Item>
  <Item><rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits><rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>512</rasd:VirtualQuantity></Item>
 </VirtualHardwareSection></VirtualSystem>
</Envelope>
"""


def descriptor(old: str = "", new: str = "") -> bytes:
    text = OVF.format(size=len(made(*STREAM)))
    assert old in text
    return text.replace(old, new, 1).encode()


def tar(files: Files, *extra: tarfile.TarInfo, form: int = tarfile.USTAR_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for info in extra:
            archive.addfile(info)
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def entry(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def appliance(*more: tuple[str, bytes], ovf: bytes | None = None, disk: bytes | None = None, name: str = "disk.vmdk") -> Files:
    return [("box.ovf", ovf or descriptor()), (name, disk or made(*STREAM)), *more]


def both_raw_and_archive() -> bytes:
    """An archive whose first header ends as a boot sector does, its checksum mended (the sum of the header's bytes, as octal digits)."""
    archive = bytearray(tar([("x", raw())]))
    archive[510:512] = b"\x55\xaa"
    archive[148:156] = b" " * 8
    archive[148:155] = f"{sum(archive[:512]):06o}\0".encode()
    return bytes(archive)


def manifest(digest: str = "") -> tuple[str, bytes]:
    right = hashlib.sha256(made(*STREAM)).hexdigest()
    return "box.mf", f"SHA256(box.ovf)= {hashlib.sha256(descriptor()).hexdigest()}\nSHA256(disk.vmdk)= {digest or right}\n".encode()


def entities() -> bytes:
    bomb = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    return descriptor('encoding="UTF-8"?>', f'encoding="UTF-8"?><!DOCTYPE x [<!ENTITY a0 "lol">{bomb}]>').replace(b"Disks", b"&a11;")


# -- commands


def of(make: Callable[[], bytes], *more: str, name: str = "image") -> Callable[[Path], list[str]]:
    def write(folder: Path) -> list[str]:
        (folder / name).write_bytes(make())
        return ["verify", "image", name, *more]

    return write


def ova(make: Callable[[], Files], *extra: tarfile.TarInfo, form: int = tarfile.USTAR_FORMAT) -> Callable[[Path], list[str]]:
    return of(lambda: tar(make(), *extra, form=form), "--format", "ova")


def with_digest(*more: str, change: str = "") -> Callable[[Path], list[str]]:
    return of(raw, "--sha512", change or hashlib.sha512(raw()).hexdigest(), *more)


def linked(folder: Path) -> list[str]:
    (folder / "real").write_bytes(raw())
    (folder / "image").symlink_to("real")
    return ["verify", "image", "image"]


def fixture(name: str) -> Callable[[Path], list[str]]:
    return of((FIXTURES / name).read_bytes, "--format", "ova")


def backing(folder: Path) -> list[str]:
    (folder / "secret").write_bytes(bytes(MIB))
    return created(folder, "-f", "qcow2", "-b", "secret", "-F", "raw", "image", "1M")


def endless(folder: Path) -> list[str]:
    with (folder / "image").open("wb") as file:
        file.truncate(8 << 40)
    return ["verify", "image", "image", "--format", "raw"]


def flat_vmdk() -> bytes:
    text = '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 8 FLAT "/etc/passwd" 0\n'
    return text.ljust(2048).encode()


_SPARSE = ("vmdk", "subformat=monolithicSparse")

CASES = [
    # digest and size
    Case("digest-fits", "R14", "accept", with_digest("--size", str(4 * MIB))),
    Case("digest-in-capitals", "R14", "accept", with_digest(change=hashlib.sha512(raw()).hexdigest().upper())),
    Case("another-digest", "R14", "refuse", with_digest(change="ab" * 64)),
    Case("no-digest-at-all", "R14", "refuse", with_digest(change="0")),
    Case("file-of-another-size", "R14", "refuse", with_digest("--size", str(4 * MIB - 1))),
    Case("a-byte-more", "R14", "refuse", of(lambda: raw() + b"x", "--size", str(4 * MIB))),
    Case("manifest-fits", "R14", "accept", ova(lambda: appliance(manifest()))),
    Case("manifest-with-another-digest", "R14", "refuse", ova(lambda: appliance(manifest("ab" * 32)))),
    Case("manifest-of-another-file", "R14", "refuse", ova(lambda: appliance(("box.mf", b"SHA256(other)= " + b"ab" * 32)))),
    Case("descriptor-with-another-size", "R14", "refuse", ova(lambda: appliance(ovf=descriptor(f'ovf:size="{len(made(*STREAM))}"', 'ovf:size="9"')))),
    # what a file is
    Case("a-link-to-a-file", "R23", "accept", linked),
    Case("a-device", "R23", "refuse", lambda _: ["verify", "image", "/dev/zero"]),
    Case("a-folder", "R23", "refuse", lambda _: ["verify", "image", "."]),
    # compression
    Case("gz", "R25", "accept", of(lambda: gzip.compress(raw()))),
    Case("bz2", "R25", "accept", of(lambda: bz2.compress(raw()), "--format", "raw")),
    Case("xz", "R25", "accept", of(lambda: lzma.compress(raw()), "--format", "raw.xz")),
    Case("zst", "R25", "accept", of(lambda: zstd(raw()))),
    Case("qcow2-in-gz", "R25", "accept", of(lambda: gzip.compress(made("qcow2")), "--format", "qcow2")),
    Case("two-gz-streams", "R25", "accept", of(lambda: gzip.compress(raw()[:MIB]) + gzip.compress(raw()[MIB:]))),
    Case("two-xz-streams", "R25", "accept", of(lambda: lzma.compress(raw()[:MIB]) + bytes(4) + lzma.compress(raw()[MIB:]))),
    Case("gz-bomb", "R25", "refuse", of(lambda: gzip.compress(bytes(64 * MIB)))),
    Case("bz2-bomb", "R25", "refuse", of(lambda: bz2.compress(bytes(64 * MIB)))),
    Case("xz-bomb", "R25", "refuse", of(lambda: xz_of_zeros(128 * MIB))),
    Case("zst-bomb", "R25", "refuse", of(lambda: zstd(bytes(64 * MIB)))),
    Case("gz-beyond-the-virtual-size", "R25", "refuse", of(lambda: gzip.compress(_DATA * 80), "--max-virtual", "8MiB")),
    Case("endless", "R25", "refuse", endless),
    Case("gz-cut", "R25", "refuse", of(lambda: gzip.compress(raw())[:-9])),
    Case("bz2-cut", "R25", "refuse", of(lambda: bz2.compress(raw())[:5000])),
    Case("xz-cut", "R25", "refuse", of(lambda: lzma.compress(raw())[:5000])),
    Case("zst-cut", "R25", "refuse", of(lambda: zstd(raw())[:5000])),
    Case("gz-with-a-wrong-sum", "R25", "refuse", of(lambda: patched(gzip.compress(raw()), (len(gzip.compress(raw())) - 8, b"abcd")))),
    Case("xz-with-a-large-dictionary", "R25", "refuse", of(large_dictionary)),
    Case("xz-with-something-after-it", "R25", "refuse", of(lambda: lzma.compress(raw()) + b"more")),
    Case("gz-with-something-after-it", "R25", "refuse", of(lambda: gzip.compress(raw()) + b"more")),
    Case("gz-in-gz", "R26", "refuse", of(lambda: gzip.compress(gzip.compress(raw())))),
    Case("gz-declared-xz", "R26", "refuse", of(lambda: gzip.compress(raw()), "--format", "raw.xz")),
    Case("not-compressed-but-declared", "R26", "refuse", of(raw, "--format", "raw.gz")),
    # formats
    Case("raw", "R26", "accept", of(raw, "--format", "raw")),
    Case("raw-without-partitions", "R26", "accept", of(lambda: patched(raw(), (446, bytes(16))), "--format", "raw")),
    Case("qcow2", "R26", "accept", of(lambda: made("qcow2"), "--format", "QCOW2")),
    Case("old-qcow2", "R26", "accept", of(lambda: made("qcow2", "compat=0.10"))),
    Case("vmdk-stream", "R26", "accept", of(lambda: made(*STREAM), "--format", "vmdk")),
    Case("vmdk-sparse", "R26", "accept", of(lambda: made(*_SPARSE), "--format", "vmdk")),
    Case("vdi", "R26", "accept", of(lambda: made("vdi"), "--format", "vdi")),
    Case("vhd", "R26", "accept", of(lambda: made("vpc", "force_size=on"), "--format", "vhd")),
    Case("vhd-fixed", "R26", "accept", of(lambda: made("vpc", "subformat=fixed,force_size=on"), "--format", "vhd")),
    Case("vhdx", "R26", "accept", of(lambda: made("vhdx"), "--format", "vhdx")),
    Case("qcow2-declared-raw", "R26", "refuse", of(lambda: made("qcow2"), "--format", "raw")),
    Case("raw-declared-qcow2", "R26", "refuse", of(raw, "--format", "qcow2")),
    Case("vmdk-declared-qcow2", "R26", "refuse", of(lambda: made(*_SPARSE), "--format", "qcow2")),
    Case("vhd-fixed-declared-raw", "R26", "refuse", of(lambda: made("vpc", "subformat=fixed,force_size=on"), "--format", "raw")),
    Case("unknown-format", "R26", "refuse", of(raw, "--format", "parallels")),
    Case("backing-file", "R26", "refuse", backing),
    Case("data-file", "R26", "refuse", lambda folder: created(folder, "-f", "qcow2", "-o", "data_file=data,data_file_raw=on", "image", "1M")),
    Case("encrypted", "R26", "refuse", of(lambda: patched(made("qcow2"), (32, struct.pack(">I", 2))))),
    Case("marked-corrupt", "R26", "refuse", of(lambda: patched(made("qcow2"), (79, b"\x02")))),
    Case("unknown-features", "R26", "refuse", of(lambda: patched(made("qcow2"), (72, b"\x80")))),
    Case("60-tib", "R26", "refuse", lambda folder: created(folder, "-f", "qcow2", "image", "60T")),
    Case("beyond-the-sites-limit", "R26", "refuse", of(lambda: made("qcow2"), "--max-virtual", "2MiB")),
    Case("at-the-sites-limit", "R26", "accept", of(lambda: made("qcow2"), "--max-virtual", "4MiB")),
    Case("qcow2-cut", "R26", "refuse", of(lambda: made("qcow2")[: 700 << 10])),
    Case("vmdk-cut", "R26", "refuse", of(lambda: made(*STREAM)[: 700 << 10])),
    Case("vhdx-cut", "R26", "refuse", of(lambda: made("vhdx")[: 3 * MIB])),
    Case("vdi-with-a-parent", "R26", "refuse", of(lambda: patched(made("vdi"), (76, struct.pack("<I", 4))))),
    Case("vhd-with-a-parent", "R26", "refuse", of(lambda: patched(made("vpc", "force_size=on"), (60, struct.pack(">I", 4))))),
    Case("vmdk-with-a-parent", "R26", "refuse", of(lambda: made(*_SPARSE).replace(b"parentCID=ffffffff", b"parentCID=00000001"))),
    Case("flat-vmdk-naming-a-file", "R26", "refuse", of(flat_vmdk, "--format", "vmdk")),
    Case("flat-vmdk-declared-raw", "R26", "refuse", of(flat_vmdk, "--format", "raw")),
    Case("luks", "R26", "refuse", of(lambda: b"LUKS\xba\xbe\0\1" + bytes(MIB))),
    Case("iso", "R26", "refuse", of(lambda: bytes(32769) + b"CD001\1" + bytes(MIB))),
    Case("text", "R26", "refuse", of(lambda: b"plain text\n" * 1000)),
    Case("zeros", "R26", "refuse", of(lambda: bytes(MIB))),
    Case("empty", "R26", "refuse", of(lambda: b"")),
    Case("raw-and-archive", "R26", "refuse", of(both_raw_and_archive, "--format", "raw")),
    # archives
    Case("ova", "R26", "accept", ova(appliance)),
    Case("ova-found-out", "R26", "accept", of(lambda: tar(appliance()))),
    Case("ova-pax", "R26", "accept", ova(appliance, form=tarfile.PAX_FORMAT)),
    Case("ova-gnu", "R26", "accept", ova(appliance, form=tarfile.GNU_FORMAT)),
    Case("ova-in-gz", "R26", "accept", of(lambda: gzip.compress(tar(appliance())), "--format", "ova")),
    Case("ova-with-a-dot-folder", "R26", "accept", ova(lambda: [(f"./{name}", data) for name, data in appliance()], entry("./", tarfile.DIRTYPE))),
    Case("tar-with-one-disk", "R26", "accept", of(lambda: tar([("README", b"x"), ("disk.qcow2", made("qcow2"))]), "--format", "tar")),
    Case("ova-without-a-disk", "R26", "refuse", ova(lambda: appliance()[:1])),
    Case("ova-with-two-disks", "R26", "refuse", ova(lambda: appliance(("other.vmdk", made(*STREAM))))),
    Case("ova-with-an-iso-too", "R26", "refuse", ova(lambda: appliance(("cd.iso", b"x")))),
    Case("ova-without-descriptor", "R26", "refuse", ova(lambda: appliance()[1:])),
    Case("ova-with-two-descriptors", "R26", "refuse", ova(lambda: appliance(("b.ovf", descriptor())))),
    Case("tar-with-two-disks", "R26", "refuse", of(lambda: tar([("a", raw()), ("b", made("qcow2"))]))),
    Case("tar-without-disks", "R26", "refuse", of(lambda: tar([("a", b"x")]))),
    Case(
        "disk-is-qcow2",
        "R26",
        "refuse",
        ova(lambda: appliance(disk=made("qcow2"), ovf=descriptor(f'size="{len(made(*STREAM))}"', f'size="{len(made("qcow2"))}"'))),
    ),
    Case("disk-is-flat", "R26", "refuse", ova(lambda: appliance(disk=flat_vmdk(), ovf=descriptor(f'ovf:size="{len(made(*STREAM))}"')))),
    Case("descriptor-is-no-xml", "R26", "refuse", ova(lambda: appliance(ovf=b"dummy ovf"))),
    Case("entity-bomb", "R26", "refuse", ova(lambda: appliance(ovf=entities()))),
    Case(
        "external-entity", "R26", "refuse", ova(lambda: appliance(ovf=descriptor('"UTF-8"?>', '"UTF-8"?><!DOCTYPE x SYSTEM "file:///etc/passwd">')))
    ),
    Case("names-a-file-elsewhere", "R26", "refuse", ova(lambda: appliance(ovf=descriptor('href="disk.vmdk"', 'href="https://x/disk.vmdk"')))),
    Case("names-a-file-outside", "R26", "refuse", ova(lambda: appliance(ovf=descriptor('href="disk.vmdk"', 'href="../disk.vmdk"')))),
    Case(
        "disk-with-a-parent", "R26", "refuse", ova(lambda: appliance(ovf=descriptor('ovf:fileRef="file1"', 'ovf:fileRef="file1" ovf:parentRef="p"')))
    ),
    Case("compressed-disk", "R26", "refuse", ova(lambda: appliance(ovf=descriptor('ovf:id="file1"', 'ovf:id="file1" ovf:compression="gzip"')))),
    Case("very-long-descriptor", "R25", "refuse", ova(lambda: appliance(ovf=descriptor() + b" " * (2 * MIB)))),
    Case("cut", "R26", "refuse", of(lambda: tar(appliance())[: 600 << 10], "--format", "ova")),
    Case("without-an-end", "R26", "refuse", of(lambda: tar(appliance())[:-10240].rstrip(b"\0"), "--format", "ova")),
    Case("something-after-the-end", "R26", "refuse", of(lambda: tar(appliance()) + tar([("x", b"y")]), "--format", "ova")),
    Case("not-an-archive", "R26", "refuse", of(raw, "--format", "ova")),
    Case("plain-names", "R23", "accept", of(lambda: tar([("a folder/disk_1.qcow2", made("qcow2"))]))),
    Case("name-that-leads-outside", "R23", "refuse", ova(lambda: appliance(("../x", b"")))),
    Case("absolute-name", "R23", "refuse", ova(lambda: appliance(("/etc/cron.d/x", b"")))),
    Case("name-like-an-option", "R23", "refuse", ova(lambda: appliance(("-rf", b"")))),
    Case("name-twice", "R23", "refuse", ova(lambda: appliance(("disk.vmdk", made(*STREAM))))),
    Case("name-twice-but-for-case", "R23", "refuse", ova(lambda: appliance(("BOX.OVF", b"")))),
    Case("name-with-an-escape", "R23", "refuse", ova(lambda: appliance(("\x1b[31mx", b"")), form=tarfile.PAX_FORMAT)),
    Case("name-with-hidden-characters", "R23", "refuse", ova(lambda: appliance(("x\u200cy", b"")), form=tarfile.PAX_FORMAT)),
    Case("symbolic-link", "R23", "refuse", ova(appliance, entry("link", tarfile.SYMTYPE, "/etc/passwd"))),
    Case("hard-link", "R23", "refuse", ova(appliance, entry("link", tarfile.LNKTYPE, "box.ovf"))),
    Case("device-inside", "R23", "refuse", ova(appliance, entry("sda", tarfile.BLKTYPE))),
    Case("fifo-inside", "R23", "refuse", ova(appliance, entry("pipe", tarfile.FIFOTYPE))),
    Case("cloudkeepers-without-a-disk", "R26", "refuse", fixture("fake-image01.ova")),
    Case("cloudkeepers-no-archive", "R26", "refuse", fixture("fake-image04.ova")),
    Case("cloudkeepers-two-disks", "R26", "refuse", fixture("fake-image06.ova")),
]
