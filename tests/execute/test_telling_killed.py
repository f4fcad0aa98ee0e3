"""Runs that tell handlers are killed with SIGKILL wherever they change a file: every event is told, in order, the same ones again at most."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.killpoints import killed_at
from support.sitescenario import uuid_of
from support.telling import JournalSite, handler, image_file, lines, write_program
from vmkeeper.execute import spool
from vmkeeper.images.files import Temporary, temporary

UUID = uuid_of("debian-12")


@pytest.fixture(autouse=True)
def no_power_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process loses nothing that it wrote, so nothing has to reach the disk."""
    monkeypatch.setattr(os, "fsync", lambda _file: None)


@pytest.fixture
def fast() -> Iterator[Path]:
    """A folder in memory where there is such."""
    with TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        yield Path(folder)


def once(home: Path, file: str = "list.jsonl") -> list[str]:
    """What was told, each happening once, in the order of its first telling; telling again must not change anything of it."""
    first: dict[str, tuple[str, str]] = {}
    for line in lines(home, file):
        name = " ".join([line["type"].removeprefix("vmkeeper."), line["data"].get("appliance", ""), line["data"].get("hv:version", "")]).strip()
        assert first.setdefault(line["id"], (name, line["data"]["session"]))[0] == name
    return [name for name, _ in first.values()]


def each_kill(folder: Path, before: JournalSite, run: Callable[[JournalSite], object], check: Callable[[JournalSite], None], step: int = 1) -> int:
    """Kill a run at its first, second, … change (every `step`th), run it again each time, and check; how many changes there were."""
    number = 0
    while True:
        # A folder of its own: a program that a killed run had just started may still write into the one before.
        home = folder / f"work-{number}"
        shutil.copytree(before.home, home)
        here = JournalSite(home, *before.handlers)
        killed = killed_at(number, lambda here=here: run(here))  # type: ignore[misc]
        run(here)
        check(here)
        shutil.rmtree(home, ignore_errors=True)
        if not killed:
            return number
        number += step


def nothing_left(here: JournalSite) -> None:
    assert here.waiting() == []
    assert here.spool.begun() == {}
    left = [path for path in here.home.rglob("*") if "vmkeeper-new" in path.name or path.parent.name == "expired"]
    assert left == []


def test_an_update_that_is_killed_anywhere(fast: Path) -> None:
    before = JournalSite(fast / "before", handler())
    before.home.mkdir()
    before.reach("debian-12 1")
    said = once(before.home)

    def check(here: JournalSite) -> None:
        assert once(here.home) == [
            *said,
            "ProcessPrefix",
            "AvailablePrefix debian-12 2",
            "AvailablePostfix debian-12 2",
            "ExpirePrefix debian-12 1",
            "ExpirePostfix debian-12 1",
            "ProcessPostfix",
        ]
        nothing_left(here)

    assert each_kill(fast, before, lambda here: here.reach("debian-12 2"), check) > 40


def test_several_appliances_in_two_threads_killed_anywhere(fast: Path) -> None:
    before = JournalSite(fast / "before", handler(), handler("also"))
    before.home.mkdir()
    before.reach("a 1", "b 1")

    def check(here: JournalSite) -> None:
        for file in ("list.jsonl", "also.jsonl"):
            heard = once(here.home, file)
            for name in ("a", "b"):
                assert [one for one in heard if f" {name} " in one][3:] == [
                    f"AvailablePrefix {name} 2", f"AvailablePostfix {name} 2", f"ExpirePrefix {name} 1", f"ExpirePostfix {name} 1",
                ]  # fmt: skip
            assert (heard.count("ProcessPrefix"), heard.count("ProcessPostfix"), heard[-1]) == (2, 2, "ProcessPostfix")
        nothing_left(here)

    assert each_kill(fast, before, lambda here: here.reach("a 2", "b 2", workers=2), check, 3) > 80


PROGRAM = {
    "it comes": ((), ("debian-12 1",), ["AvailablePostfix images=debian-12 1 qcow2"]),
    "it changes": (
        ("debian-12 1",),
        ("debian-12 2",),
        ["AvailablePostfix images=debian-12 2 qcow2", "ExpirePostfix images=debian-12 2 qcow2"],
    ),
    "it goes": (("debian-12 1",), (), ["ExpirePostfix expired=debian-12 1 qcow2"]),
}


@pytest.mark.parametrize(("there", "wanted", "expected"), PROGRAM.values(), ids=PROGRAM)
def test_a_program_and_its_files_killed_anywhere(there: tuple[str, ...], wanted: tuple[str, ...], expected: list[str], fast: Path) -> None:
    before = JournalSite(fast / "before", handler("look", program="look", events=["AvailablePostfix", "ExpirePostfix"]))
    before.home.mkdir()
    text = """#!/bin/sh
for folder in "$VMCATCHER_CACHE_DIR_CACHE" "$VMCATCHER_CACHE_DIR_EXPIRE"; do
  [ -f "$folder/$VMCATCHER_EVENT_FILENAME" ] && found="$found $(basename $folder)=$(cat $folder/$VMCATCHER_EVENT_FILENAME)"
done
echo "$VMCATCHER_EVENT_ID $VMCATCHER_EVENT_TYPE$found" >> "${0%/handlers/*}/heard"
"""
    write_program(before.home, "look", text)
    before.reach(*there)
    said = (before.home / "heard").read_text() if there else ""

    def check(here: JournalSite) -> None:
        heard = [line.split(" ", 1) for line in (here.home / "heard").read_text().removeprefix(said).splitlines()]
        assert [one.strip() for one in dict(heard).values()] == expected
        file = here.home / "images" / UUID
        assert (file.read_bytes() if file.exists() else b"") == (image_file(wanted[0]) if wanted else b"")
        nothing_left(here)

    assert each_kill(fast, before, lambda here: here.reach(*wanted), check, 2) > 30


@pytest.mark.parametrize("wanted", [("debian-12 1",), ()])
def test_back_to_an_older_version_killed_anywhere(wanted: tuple[str, ...], fast: Path) -> None:
    before = JournalSite(fast / "before", handler())
    before.home.mkdir()
    before.reach("debian-12 1", "debian-12 2")

    def check(here: JournalSite) -> None:
        heard = [one for one in once(here.home) if one.startswith(("AvailablePostfix", "ExpirePostfix"))]
        if wanted:
            assert heard[-2:] == ["ExpirePostfix debian-12 2", "AvailablePostfix debian-12 1"]
        else:
            assert {*heard[-2:]} == {"ExpirePostfix debian-12 2", "ExpirePostfix debian-12 1"}
        nothing_left(here)

    each_kill(fast, before, lambda here: here.reach(*wanted), check, 2)


def test_a_disk_that_is_full_for_a_moment_anywhere(fast: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The images are as they should be all the same; the next run tells what this one could not write down."""
    number, failed = 0, True
    while failed:
        home = fast / str(number)
        home.mkdir()
        here = JournalSite(home, handler())
        here.reach("debian-12 1")
        said = once(home)
        left = [number]

        @contextmanager
        def full(folder: Path, left: list[int] = left) -> Iterator[Temporary]:
            left[0] -= 1
            if left[0] == -1:
                raise OSError(errno.ENOSPC, "No space left on device")
            with temporary(folder) as made:
                yield made

        with monkeypatch.context() as patch:
            patch.setattr(spool, "temporary", full)
            notes = here.reach("debian-12 2")
        failed = left[0] < 0
        assert here.changes()[1:] == [("active", "debian-12 2"), ("hidden", "debian-12 1")]
        assert any("No space left" in note.why for note in notes) == failed
        assert here.reach("debian-12 2") == ()
        heard = [one for one in once(home)[len(said) :] if "debian" in one]
        assert heard == ["AvailablePrefix debian-12 2", "AvailablePostfix debian-12 2", "ExpirePrefix debian-12 1", "ExpirePostfix debian-12 1"]
        nothing_left(here)
        number += 1
    assert number > 10


VERSIONS = st.integers(1, 3)
STEPS = st.lists(st.tuples(st.sets(st.tuples(st.sampled_from("ab"), VERSIONS), max_size=3), st.integers(0, 120)), min_size=1, max_size=5)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_however_often_runs_are_killed_every_change_is_told_once_and_in_order(steps: list[tuple[set[tuple[str, int]], int]]) -> None:
    """Each step wants other images, and is killed at some change; only the last run is left alone."""
    with TemporaryDirectory() as folder:
        here = JournalSite(Path(folder), handler())
        wanted: list[str] = []
        for images, number in steps:
            wanted = sorted(f"{name} {version}" for name, version in images)
            killed_at(number, lambda wanted=wanted: here.reach(*wanted))  # type: ignore[misc]
        here.reach(*wanted)
        nothing_left(here)
        heard = once(here.home)
        again = {line["id"] for line in lines(here.home) if line["type"] == "vmkeeper.AvailablePostfix"}
        changes = [f"{'AvailablePostfix' if state == 'active' else 'ExpirePostfix'} {words}" for state, words in here.changes()]
        ends = [one for one in heard if one.startswith(("AvailablePostfix", "ExpirePostfix"))]
        assert _is_part(changes, ends)
        assert len(again) == sum(one.startswith("AvailablePostfix") for one in ends)
        for name in {words.split()[0] for words in wanted}:
            newest = max(words for words in wanted if words.startswith(name))
            last = max(index for index, one in enumerate(ends) if one == f"AvailablePostfix {newest}")
            assert f"ExpirePostfix {newest}" not in ends[last:]
        depth = 0
        for one in heard:
            depth += {"ProcessPrefix": 1, "ProcessPostfix": -1}.get(one, 0)
            assert depth in (0, 1)
            assert depth == 1 or one == "ProcessPostfix"
        assert depth == 0
        _every_end_has_its_beginning(heard)


def _is_part(part: list[str], whole: list[str]) -> bool:
    """Whether all of `part` is in `whole`, in its order."""
    rest = iter(whole)
    return all(one in rest for one in part)


def _every_end_has_its_beginning(heard: list[str]) -> None:
    for index, one in enumerate(heard):
        kind, _, words = one.partition(" ")
        if kind.endswith("Postfix"):
            assert f"{kind.removesuffix('Postfix')}Prefix {words}".strip() in heard[:index], json.dumps(heard)
