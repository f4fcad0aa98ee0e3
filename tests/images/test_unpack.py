"""Compressed images: unpacked byte for byte, with holes, or refused before they fill anything."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import subprocess
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmkeeper.errors import Refused
from vmkeeper.images.files import hash_file
from vmkeeper.images.unpack import COMPRESSIONS, FREE, RATIO, Compression, compression_of, output_cap, unpack

MIB = 1 << 20
DATA = Random(5).randbytes(MIB // 2) + bytes(2 * MIB) + Random(6).randbytes(MIB // 4 + 7)


def zstd(data: bytes) -> bytes:
    if shutil.which("zstd") is None:
        pytest.skip("the program zstd is not on this machine")
    return subprocess.run(["zstd", "-q", "-c"], input=data, check=True, capture_output=True).stdout


PACK: dict[Compression, Callable[[bytes], bytes]] = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd}


def unpacked(data: bytes, kind: Compression, folder: Path, most: int = 1 << 30) -> bytes:
    (folder / "packed").write_bytes(data)
    blob = unpack(folder / "packed", kind, folder / "plain", most)
    assert blob == hash_file(folder / "plain")
    return (folder / "plain").read_bytes()


@pytest.mark.parametrize("kind", COMPRESSIONS)
def test_what_is_packed_is_unpacked(kind: Compression, tmp_path: Path) -> None:
    packed = PACK[kind](DATA)
    assert compression_of(packed[:512]) == kind
    assert unpacked(packed, kind, tmp_path) == DATA


@pytest.mark.parametrize("kind", COMPRESSIONS)
def test_zeros_take_no_room(kind: Compression, tmp_path: Path) -> None:
    unpacked(PACK[kind](bytes(6 * MIB) + b"end"), kind, tmp_path)
    assert (tmp_path / "plain").stat().st_blocks * 512 < 2 * MIB


@pytest.mark.parametrize("kind", COMPRESSIONS)
def test_the_cap_is_exact(kind: Compression, tmp_path: Path) -> None:
    packed = PACK[kind](DATA)
    assert len(unpacked(packed, kind, tmp_path, len(DATA))) == len(DATA)
    with pytest.raises(Refused, match="more than") as error:
        unpacked(packed, kind, tmp_path, len(DATA) - 1)
    assert error.value.rule == "R25"
    assert (tmp_path / "plain").stat().st_size <= len(DATA)


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_memory_does_not_grow_with_the_file(kind: Compression, tmp_path: Path) -> None:
    (tmp_path / "packed").write_bytes(PACK[kind](bytes(30 * MIB) + DATA))
    tracemalloc.start()
    try:
        unpack(tmp_path / "packed", kind, tmp_path / "plain", 1 << 30)
        assert tracemalloc.get_traced_memory()[1] < 12 * MIB
    finally:
        tracemalloc.stop()


def test_caps() -> None:
    assert output_cap(10, 1 << 40) == FREE
    assert output_cap(MIB, 1 << 40) == RATIO * MIB
    assert output_cap(1 << 40, 5) == 5


def test_what_is_not_compressed_is_not_taken_for_it() -> None:
    assert [compression_of(head) for head in (b"", b"QFI\xfb", b"\x1f", b"BZ")] == [None] * 4


@pytest.mark.parametrize("kind", COMPRESSIONS)
@pytest.mark.parametrize("cut", [1, 5, 100, 5000])
def test_every_cut_is_refused(kind: Compression, cut: int, tmp_path: Path) -> None:
    with pytest.raises(Refused) as error:
        unpacked(PACK[kind](DATA)[:-cut], kind, tmp_path)
    assert error.value.rule == "R25"


_SMALL = {kind: pack(DATA[: MIB // 32] + bytes(MIB // 8)) for kind, pack in PACK.items() if kind != "zst"}


@given(kind=st.sampled_from(sorted(_SMALL)), at=st.floats(0, 0.999), new=st.binary(min_size=1, max_size=5))
@settings(max_examples=100)
def test_changed_bytes_are_unpacked_or_refused(kind: Compression, at: float, new: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    data = _SMALL[kind]
    place = int(at * len(data))
    folder = tmp_path_factory.getbasetemp()
    with suppress(Refused):
        unpacked(data[:place] + new + data[place + len(new) :], kind, folder, 8 * MIB)
    assert (folder / "plain").stat().st_size <= 8 * MIB
