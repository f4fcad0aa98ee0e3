"""SHA512SUMS: coreutils checks it, and our reader reads what was written and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings

from support.shelves import folder, image, shelf, shelves, two_lists, with_patch
from vmkeeper.lists.checksums import path, read, write
from vmkeeper.lists.shelf import Shelf

SUMS = pytest.mark.skipif(shutil.which("sha512sum") is None, reason="sha512sum (coreutils) is not here")


def check(at: Path, *options: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(["sha512sum", "-c", *options, "SHA512SUMS"], cwd=at, env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def public(tmp_path: Path) -> Path:
    made = two_lists()[0]
    folder(tmp_path, made)
    (tmp_path / path(made)).write_bytes(write(made))
    return tmp_path


@SUMS
def test_sha512sum_finds_every_image_patch_and_compressed_file(public: Path) -> None:
    done = check(public / "science", "--strict")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == sorted(f"{name}: OK" for name in read((public / "science/SHA512SUMS").read_bytes()))
    assert len(done.stdout.splitlines()) == 6


@SUMS
def test_sha512sum_works_wherever_the_folder_was_put(public: Path, tmp_path: Path) -> None:
    (public / "science").rename(tmp_path / "mirrored copy")
    assert check(tmp_path / "mirrored copy", "--strict", "--quiet").returncode == 0


@SUMS
@pytest.mark.parametrize("number", range(6))
def test_sha512sum_finds_a_damaged_file(public: Path, number: int) -> None:
    name = sorted(read((public / "science/SHA512SUMS").read_bytes()))[number]
    (public / "science" / name).write_bytes(b"other")
    done = check(public / "science", "--quiet")
    assert done.returncode == 1
    assert done.stdout == f"{name}: FAILED\n"


@SUMS
def test_it_is_what_sha512sum_itself_writes(public: Path) -> None:
    names = sorted(read((public / "science/SHA512SUMS").read_bytes()))
    done = subprocess.run(["sha512sum", *names], cwd=public / "science", capture_output=True, timeout=60, check=True)
    assert done.stdout == (public / "science/SHA512SUMS").read_bytes()


@given(shelves())
@settings(max_examples=40, deadline=None)
def test_what_is_written_is_read_back(made: tuple[Shelf, ...]) -> None:
    for one in made:
        found = read(write(one))
        assert {f"{one.name}/{name}": digest for name, digest in found.items()} == {
            file.path: file.sha512 for held in one.images for file in (held, *held.patches, *([held.compressed] if held.compressed else []))
        }
        assert list(found) == sorted(found)


def test_a_list_at_the_top_of_the_folder_has_its_sums_there() -> None:
    assert path(shelf("science", path="imagelist.signed")) == "SHA512SUMS"


def test_a_file_that_two_images_share_stands_there_once() -> None:
    one = with_patch(image(), "1")
    other = with_patch(image("other"), "1")
    shared = [held.__class__(**{**{name: getattr(held, name) for name in held.__slots__}, "compressed": one.compressed}) for held in (one, other)]
    assert len(read(write(shelf("science", *shared)))) == 5


GOOD = "0" * 128


@pytest.mark.parametrize(
    "text",
    [
        f"{GOOD}  a",
        f"{GOOD} a\n",
        f"{GOOD} *a\n",
        f"{GOOD[:-1]}  a\n",
        f"{'A' * 128}  a\n",
        f"\\{GOOD}  a\\nb\n",
        f"{GOOD}  \n",
        f"{GOOD}  a\r\n",
        f"{GOOD}  a\n\n",
        f"{GOOD}  a\n{GOOD}  a\n",
        f"SHA512 (a) = {GOOD}\n",
        "\n",
    ],
)
def test_other_lines_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="line"):
        read(text.encode())


def test_an_empty_list_has_an_empty_file() -> None:
    assert write(shelf("empty")) == b""
    assert read(b"") == {}
