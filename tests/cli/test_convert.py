"""`vmkeeper convert`: what it writes, what it prints, what it refuses."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from conformance.trust.cases_images import FIXTURES, appliance, backing, made, manifest, raw, tar
from vmkeeper.cli.convert import To
from vmkeeper.cli.session import LiveProgress
from vmkeeper.images.prepare import FORMS
from vmkeeper.lists.descriptor import read


def vmkeeper(*words: object, status: int = 0) -> tuple[str, str]:
    done = subprocess.run([sys.executable, "-m", "vmkeeper", *map(str, words)], check=False, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    return done.stdout, done.stderr


@pytest.fixture
def box(tmp_path: Path) -> Path:
    path = tmp_path / "box.ova"
    path.write_bytes(tar(appliance(manifest())))
    return path


def test_an_archive_becomes_a_disk(box: Path, tmp_path: Path) -> None:
    out = tmp_path / "disk.raw"
    said = json.loads(vmkeeper("convert", box, "--to", "raw", out, "--output", "json")[0])
    assert out.read_bytes() == raw()
    assert said["converted"]
    assert (said["format"], said["size"], said["virtual_size"]) == ("raw", len(raw()), len(raw()))
    assert said["sha512"] == hashlib.sha512(raw()).hexdigest()
    assert said["source"] == {
        "file": str(box),
        "format": "ova",
        "size": box.stat().st_size,
        "sha512": hashlib.sha512(box.read_bytes()).hexdigest(),
    }
    assert said["hints"] == {"cpus": 2, "memory": 512 << 20}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["box.ova", "disk.raw"]


def test_it_says_so_in_words(box: Path, tmp_path: Path) -> None:
    out, err = vmkeeper("convert", box, "--to", "qcow2", tmp_path / "disk.qcow2", "--descriptor")
    assert "qcow2 made of ova" in out
    assert "2 processors, memory 512.0 MiB" in out
    assert "converting ova to qcow2" in err
    described = read((tmp_path / "disk.qcow2.json").read_bytes())
    assert (described.cpu, described.memory, described.disks[0].format, described.disks[0].path) == (2, 512, "qcow2", str(tmp_path / "disk.qcow2"))


def test_what_is_there_is_not_replaced_unless_it_is_said(box: Path, tmp_path: Path) -> None:
    out = tmp_path / "disk.raw"
    out.write_bytes(b"mine")
    _, err = vmkeeper("convert", box, "--to", "raw", out, status=1)
    assert "--force" in err
    assert out.read_bytes() == b"mine"
    vmkeeper("convert", box, "--to", "raw", out, "--force")
    assert out.read_bytes() == raw()
    _, err = vmkeeper("convert", box, "--to", "raw", box, "--force", status=1)
    assert "there is a file of this name" in err


def test_what_is_in_the_form_already_is_copied(tmp_path: Path) -> None:
    (tmp_path / "disk.qcow2").write_bytes(made("qcow2"))
    vmkeeper("convert", tmp_path / "disk.qcow2", "--to", "qcow2", tmp_path / "copy.qcow2")
    assert (tmp_path / "copy.qcow2").read_bytes() == (tmp_path / "disk.qcow2").read_bytes() == made("qcow2")


def test_refusals_are_told_with_their_rule(tmp_path: Path) -> None:
    backing(tmp_path)
    said = json.loads(vmkeeper("convert", tmp_path / "image", "--to", "raw", tmp_path / "out", "--output", "json", status=1)[0])
    assert not said["converted"]
    assert [one["rule"] for one in said["refusals"]] == ["R26"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["image.ova", "fake-image01.ova", "fake-image04.ova", "fake-image06.ova"])
def test_cloudkeepers_archives_are_refused_with_their_reasons(name: str, tmp_path: Path) -> None:
    _, err = vmkeeper("convert", FIXTURES / name, "--format", "ova", "--to", "qcow2", tmp_path / "out", status=1)
    assert "R26" in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--max-virtual", "1MiB"], "are allowed"),
        (["--max-virtual", "much"], "is not a size"),
        (["--format", "parallels"], "is no format"),
        (["--format", "qcow2"], "declared as qcow2"),
    ],
)
def test_what_was_asked_is_held_to(words: list[str], said: str, box: Path, tmp_path: Path) -> None:
    _, err = vmkeeper("convert", box, "--to", "raw", tmp_path / "out", *words, status=1)
    assert said in err


def test_a_folder_that_is_not_there(box: Path, tmp_path: Path) -> None:
    _, err = vmkeeper("convert", box, "--to", "raw", tmp_path / "none" / "out", status=1)
    assert "no such folder" in err


def test_every_form_can_be_asked_for() -> None:
    assert {one.value for one in To} == set(FORMS)


def test_progress_tells_rate_and_time_left() -> None:
    now = 0.0
    console = Console(record=True, width=200, force_terminal=False)
    progress = LiveProgress(console, lambda: now)
    for moment, done in ((0.0, 0), (10.0, 10 << 20), (20.0, 20 << 20), (40.0, 60 << 20), (60.0, 10 << 20), (80.0, 10 << 20), (100.0, 100 << 20)):
        now = moment
        progress.amount("debian-12 1", done, 100 << 20, "B")
    lines = [line.strip().split("  ", 1)[1] for line in console.export_text().splitlines()]
    assert lines == [
        "debian-12 1  20.0 MiB of 100.0 MiB, 1.0 MiB/s, 1m21s left",
        "debian-12 1  60.0 MiB of 100.0 MiB, 2.0 MiB/s, 21s left",
        "debian-12 1  10.0 MiB of 100.0 MiB",
        "debian-12 1  100.0 MiB of 100.0 MiB, 4.5 MiB/s",
    ]
