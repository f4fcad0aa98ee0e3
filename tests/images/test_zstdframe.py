"""What our reader of zstd's frames says is what zstd says, and bytes that are not one frame are refused without being taken apart."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmkeeper.errors import Refused
from vmkeeper.images.zstdframe import Frame, read_frame

needs_zstd = pytest.mark.skipif(shutil.which("zstd") is None, reason="the program zstd is not on this machine")
MAGIC = b"\x28\xb5\x2f\xfd"
LAST_EMPTY = b"\x01\0\0"


def frame(folder: Path, data: bytes) -> Frame:
    (folder / "frame").write_bytes(data)
    return read_frame(folder / "frame")


@needs_zstd
@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 65_535, 65_791, 65_792, 131_072, 131_073, 3_000_000])
@pytest.mark.parametrize("words", ["-1", "-3 --no-check", "-19", "--no-content-size", "--long=27", "-T2 -B65536", "--ultra -22"])
def test_what_zstd_writes_is_read_as_zstd_reads_it(size: int, words: str, tmp_path: Path) -> None:
    data = Random(size).randbytes(size // 2) + bytes(size - size // 2)
    source, packed = tmp_path / "source", tmp_path / "source.zst"
    source.write_bytes(data)
    subprocess.run(["zstd", "-q", *words.split(), source], check=True)
    said = subprocess.run(["zstd", "-lv", packed], check=True, capture_output=True, text=True).stdout
    found = read_frame(packed)
    (window,) = re.findall(r"Window Size: .*\((\d+) B\)", said)
    content = re.findall(r"Decompressed Size: .*\((\d+) B\)", said)
    assert found.window == int(window)
    assert found.content == (int(content[0]) if content else None) or (found.content, content) == (0, [])
    assert found.checksum == ("XXH64" in said)


@needs_zstd
def test_patches_header_says_the_whole_result(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).write_bytes(Random(1).randbytes(5_000_000) + name.encode())
    subprocess.run(["zstd", "-q", "--no-check", f"--patch-from={tmp_path / 'old'}", tmp_path / "new", "-o", tmp_path / "patch"], check=True)
    found = read_frame(tmp_path / "patch")
    assert (found.window, found.content, found.checksum) == (5_000_003, 5_000_003, False)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"\xe0" + (1 << 40).to_bytes(8, "little"), (1 << 40, 1 << 40)),
        (b"\xc0\x00" + (7).to_bytes(8, "little"), (1024, 7)),
        (b"\x00\xff", ((1 << 41) // 8 * 15, None)),
        (b"\x20\x00", (0, 0)),
        (b"\x60\x00\x00", (256, 256)),
        (b"\x40\x08\xff\xff", (2048, 65_791)),
    ],
)
def test_headers_of_every_form(header: bytes, expected: tuple[int, int | None], tmp_path: Path) -> None:
    """Widths and values as RFC 8878, 3.1.1.1, has them."""
    found = frame(tmp_path, MAGIC + header + LAST_EMPTY)
    assert (found.window, found.content) == expected


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_one_frame_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes, begun: bool) -> None:
    try:
        found = frame(tmp_path_factory.getbasetemp(), MAGIC + data if begun else data)
    except Refused as refused:
        assert refused.rule == "R25"  # noqa: PT017
    else:
        assert begun
        assert found.start + 3 <= len(MAGIC + data)


@needs_zstd
@given(at=st.integers(0, 1 << 20), flip=st.integers(1, 255))
def test_frame_that_zstd_takes_for_more_than_one_is_refused(tmp_path_factory: pytest.TempPathFactory, at: int, flip: int) -> None:
    """A changed byte may move the end of the frame; what we take for one frame zstd takes for one, too, or for damaged."""
    folder = tmp_path_factory.getbasetemp()
    data = bytearray(subprocess.run(["zstd", "-q", "-c", "--no-check"], input=Random(5).randbytes(3000), check=True, capture_output=True).stdout)
    data[at % len(data)] ^= flip
    (folder / "changed.zst").write_bytes(data)
    try:
        read_frame(folder / "changed.zst")
    except Refused:
        return
    listed = subprocess.run(["zstd", "-lv", folder / "changed.zst"], check=False, capture_output=True, text=True)
    assert listed.returncode != 0 or "Zstandard Frames: 1" in listed.stdout
