"""Large images are compared part by part: the parts cover the whole disk, and one that differs decides."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmkeeper.images.convert import Disk, _parts, same_content

MIB = 1 << 20
SIZE = 300 * MIB + 512


@given(st.integers(1, 1 << 40), st.integers(1, 8))
def test_the_parts_cover_the_disk_once(size: int, count: int) -> None:
    parts = [part for part in _parts(size, count) if part is not None]
    assert [part.start for part in parts] == [0, *(part.start + part.size for part in parts[:-1])]
    assert parts[-1].start + parts[-1].size == size
    assert 1 <= len(parts) <= count
    assert all(part.start % MIB == 0 and part.size > 0 for part in parts)


@pytest.mark.parametrize("at", [None, 0, 150 * MIB, SIZE - 1], ids=["the same", "first byte", "middle", "last byte"])
def test_a_byte_that_differs_anywhere_is_found(tmp_path: Path, at: int | None) -> None:
    raw, other = tmp_path / "raw", tmp_path / "other"
    with raw.open("wb") as file:
        file.truncate(SIZE)
        file.seek(7 * MIB)
        file.write(b"data")
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, other], check=True)
    if at is not None:
        with raw.open("r+b") as file:
            file.seek(at)
            file.write(b"x")
    for one, two in ((Disk(raw, "raw"), Disk(other, "qcow2")), (Disk(other, "qcow2"), Disk(raw, "raw"))):
        assert same_content(one, two, virtual_size=SIZE) == (at is None)
        assert same_content(one, two) == (at is None)
