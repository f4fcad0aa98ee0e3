"""The digest that follows a file while it is written."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from vmkeeper.images import following
from vmkeeper.images.files import CHUNK, hash_file
from vmkeeper.images.following import FollowingDigest, tells_holes

PIECES = [os.urandom(CHUNK) if number % 3 else None for number in range(12)]


@pytest.fixture(autouse=True)
def _close_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_BEHIND", 4 * CHUNK)


def write(path: Path, pieces: list[bytes | None], tail: bytes = b"", *, wait: float = 0.0) -> None:
    """As qemu-img does: the whole length first, then from the start to the end, zeros left out."""
    with path.open("wb", buffering=0) as file:
        file.truncate(len(pieces) * CHUNK + len(tail))
        for number, piece in enumerate(pieces):
            if piece is not None:
                os.pwrite(file.fileno(), piece, number * CHUNK)
            threading.Event().wait(wait)
        os.pwrite(file.fileno(), tail, len(pieces) * CHUNK)


@pytest.mark.parametrize("tail", [b"", b"x", os.urandom(CHUNK - 1)], ids=["even", "one byte", "odd"])
@pytest.mark.parametrize("wait", [0.0, 0.06])
def test_the_digest_is_that_of_the_file(tmp_path: Path, tail: bytes, wait: float) -> None:
    path = tmp_path / "disk"
    with FollowingDigest(path) as digest:
        write(path, PIECES * 2, tail, wait=wait)
        assert digest.finish() == hash_file(path)


def test_it_reads_while_the_file_is_written(tmp_path: Path) -> None:
    if not tells_holes(tmp_path):
        pytest.skip("this file system does not tell holes from data")
    path = tmp_path / "disk"
    with FollowingDigest(path) as digest:
        write(path, [os.urandom(CHUNK) for _ in range(32)], wait=0.02)
        for _ in range(200):
            if digest._size:
                break
            threading.Event().wait(0.05)
        assert 0 < digest._size < 32 * CHUNK
        assert digest.finish() == hash_file(path)


def test_a_piece_that_comes_late_is_not_read_before_it_is_there(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    data = os.urandom(CHUNK)
    with FollowingDigest(path) as digest, path.open("wb", buffering=0) as file:
        file.truncate(40 * CHUNK)
        for number in (0, 1, 3, 4, 5, 6, 7):  # 2 is in flight
            os.pwrite(file.fileno(), data, number * CHUNK)
            threading.Event().wait(0.06)
        os.pwrite(file.fileno(), data, 2 * CHUNK)
        for number in range(8, 40):
            os.pwrite(file.fileno(), data, number * CHUNK)
        assert digest.finish().sha512 == hashlib.sha512(data * 40).hexdigest()


def test_an_empty_file_and_one_that_never_came(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with FollowingDigest(tmp_path / "empty") as digest:
        assert digest.finish().size == 0
    with FollowingDigest(tmp_path / "absent") as digest, pytest.raises(FileNotFoundError):
        digest.finish()


def test_where_holes_are_not_told_all_is_read_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "tells_holes", lambda _folder: False)
    path = tmp_path / "disk"
    with FollowingDigest(path) as digest:
        write(path, PIECES * 2)
        threading.Event().wait(0.2)
        assert digest._size == 0
        assert digest.finish() == hash_file(path)
