"""What handlers hear of a run: which events, in which order, of what; and what becomes of handlers that do not take them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from support.sitescenario import uuid_of
from support.telling import JournalSite, TellingSite, handler, image_file, lines, told, write_program
from vmkeeper.execute.spool import Spool
from vmkeeper.execute.walk import Blocked, Failed, failures
from vmkeeper.plan.actions import Action

UUID = uuid_of("debian-12")

ORDERS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "an image that was never here": (
        (),
        ("register debian-12 1",),
        ("SubscriptionImageNew debian-12 1", "AvailablePrefix debian-12 1", "AvailablePostfix debian-12 1"),
    ),
    "an update leaves no gap": (
        ("debian-12 1",),
        ("register debian-12 2", "hide debian-12 1 after register debian-12 2"),
        ("AvailablePrefix debian-12 2", "AvailablePostfix debian-12 2", "ExpirePrefix debian-12 1", "ExpirePostfix debian-12 1"),
    ),
    "an expiry": (("debian-12 1",), ("hide debian-12 1",), ("ExpirePrefix debian-12 1", "ExpirePostfix debian-12 1")),
    "what is shown is available": (("debian-12 1 hidden",), ("show debian-12 1",), ("AvailablePrefix debian-12 1", "AvailablePostfix debian-12 1")),
    "a deletion expires nothing more": (("debian-12 1 hidden",), ("delete debian-12 1",), ()),
    "an attribute is no event": (("debian-12 1",), ("update debian-12 1",), ()),
    "the same image twice goes once": (("debian-12 1", "debian-12 1"), ("hide debian-12 1",), ()),
    "an update in a site that keeps two": (
        ("debian-12 1", "debian-12 2"),
        ("register debian-12 3", "hide debian-12 1 after register debian-12 3"),
        ("AvailablePrefix debian-12 3", "AvailablePostfix debian-12 3", "ExpirePrefix debian-12 1", "ExpirePostfix debian-12 1"),
    ),
    "of two versions the newer goes: the older is what is available": (
        ("debian-12 1", "debian-12 2"),
        ("hide debian-12 2",),
        ("ExpirePrefix debian-12 2", "ExpirePostfix debian-12 2", "AvailablePrefix debian-12 1", "AvailablePostfix debian-12 1"),
    ),
    "back to an older version, step by step": (
        ("debian-12 1 hidden", "debian-12 2"),
        ("hide debian-12 2", "show debian-12 1 after hide debian-12 2"),
        ("ExpirePrefix debian-12 2", "ExpirePostfix debian-12 2", "AvailablePrefix debian-12 1", "AvailablePostfix debian-12 1"),
    ),
    "nothing to do": (("debian-12 1",), (), ()),
}


def site(folder: Path, *handlers: Any, there: tuple[str, ...] = ()) -> TellingSite:
    made = TellingSite(folder, *(handlers or (handler(),)))
    for number, words in enumerate(there):
        name, version, *state = words.split()
        made.put(f"i{number}", f"{name} {version}", *state)
    return made


@pytest.mark.parametrize("name", ORDERS)
def test_the_order(name: str, tmp_path: Path) -> None:
    there, actions, expected = ORDERS[name]
    here = site(tmp_path, there=there)
    outcomes, notes = here.run(*actions)
    assert (failures(outcomes), notes) == ((), ())
    assert told(tmp_path) == (["ProcessPrefix", *expected, "ProcessPostfix"] if expected else [])
    assert here.waiting() == []
    assert len({line["data"]["session"] for line in lines(tmp_path)}) == (1 if expected else 0)
    assert len({line["id"] for line in lines(tmp_path)}) == len(lines(tmp_path))


def test_without_handlers_nothing_is_written(tmp_path: Path) -> None:
    here = TellingSite(tmp_path)
    here.run("register debian-12 1")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache"]


def test_a_run_with_nothing_to_do_tells_nothing_and_keeps_nothing(tmp_path: Path) -> None:
    here = site(tmp_path)
    here.run("register debian-12 1")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "events").rglob("*") if path.is_file() and path.name != "lock"}
    assert here.run() == ((), ())
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_many_appliances_in_three_threads_each_in_its_order(tmp_path: Path) -> None:
    names = [f"image-{number}" for number in range(12)]
    here = site(tmp_path, handler("list"), handler("also"), there=tuple(f"{name} 1" for name in names))
    words = [word for name in names for word in (f"register {name} 2", f"hide {name} 1 after register {name} 2")]
    outcomes, notes = here.run(*words, workers=3)
    assert (failures(outcomes), notes) == ((), ())
    for file in ("list.jsonl", "also.jsonl"):
        heard = told(tmp_path, file)
        assert (heard[0], heard[-1], len(heard)) == ("ProcessPrefix", "ProcessPostfix", 2 + 4 * len(names))
        for name in names:
            assert [one for one in heard if f" {name} " in one] == [
                f"AvailablePrefix {name} 2", f"AvailablePostfix {name} 2", f"ExpirePrefix {name} 1", f"ExpirePostfix {name} 1",
            ]  # fmt: skip


@pytest.mark.parametrize("first", ["show", "hide"])
def test_back_to_an_older_version_in_two_threads_ends_with_it_available(first: str, tmp_path: Path) -> None:
    here = site(tmp_path, there=("debian-12 1 hidden", "debian-12 2"))
    done = {"show": threading.Event(), "hide": threading.Event()}
    other = {"show": "hide", "hide": "show"}[first]

    def perform(action: Action) -> str:
        if action.kind == other:
            assert done[first].wait(60)
        text = here.perform(action)
        done[action.kind].set()
        return text

    here.run("hide debian-12 2", "show debian-12 1", perform=perform)
    heard = told(tmp_path)
    assert {"ExpirePrefix debian-12 2", "ExpirePostfix debian-12 2"} <= set(heard)
    last = max(index for index, one in enumerate(heard) if one.startswith("AvailablePostfix"))
    assert heard[last] == "AvailablePostfix debian-12 1"
    assert last > heard.index("ExpirePostfix debian-12 2")


# -- what fails


def test_what_fails_is_begun_once_and_ended_when_it_succeeds(tmp_path: Path) -> None:
    here = site(tmp_path)
    here.fails = {"register:debian-12 1"}
    for _ in range(3):
        (outcome,), notes = here.run("register debian-12 1")
        assert isinstance(outcome, Failed)
        assert notes == ()
    begun = ["ProcessPrefix", "SubscriptionImageNew debian-12 1", "AvailablePrefix debian-12 1", "ProcessPostfix"]
    assert told(tmp_path) == begun
    here.fails.clear()
    here.run("register debian-12 1")
    assert told(tmp_path) == [*begun, "ProcessPrefix", "AvailablePostfix debian-12 1", "ProcessPostfix"]


def test_what_failed_and_is_not_wanted_any_more_is_forgotten(tmp_path: Path) -> None:
    here = site(tmp_path)
    here.fails = {"register:debian-12 1"}
    here.run("register debian-12 1")
    here.run()
    here.fails.clear()
    here.run("register debian-12 1")
    assert Counter(told(tmp_path))["AvailablePrefix debian-12 1"] == 2
    assert Counter(told(tmp_path))["AvailablePostfix debian-12 1"] == 1
    assert here.spool.begun() == {}


def test_an_expiry_that_is_blocked_is_not_told(tmp_path: Path) -> None:
    here = site(tmp_path, there=("debian-12 1",))
    here.fails = {"register:debian-12 2"}
    outcomes, _ = here.run("register debian-12 2", "hide debian-12 1 after register debian-12 2")
    assert isinstance(outcomes[1], Blocked)
    assert told(tmp_path) == ["ProcessPrefix", "AvailablePrefix debian-12 2", "ProcessPostfix"]


def test_a_full_disk_below_the_events_keeps_no_image_from_being_hidden(tmp_path: Path) -> None:
    here = site(tmp_path, there=("debian-12 1",))
    spool = tmp_path / "events" / "spool"
    spool.parent.mkdir()
    spool.write_text("a file where the folder should be")
    outcomes, notes = here.run("hide debian-12 1")
    assert failures(outcomes) == ()
    assert here.world.images["i0"].state == "hidden"
    assert any("handlers may not hear of all that this run did" in note.why for note in notes)


# -- handlers


def test_a_broken_handler_keeps_its_events_in_order_and_the_others_have_theirs(tmp_path: Path) -> None:
    here = site(tmp_path, handler("good"), handler("bad", program="bad"))
    outcomes, notes = here.run("register debian-12 1")
    assert failures(outcomes) == ()
    (note,) = notes
    assert note.subject == "handler bad"
    assert "5 events wait since 2026-11-20T10:00:00Z, tried 1 time" in note.why
    assert "there is no such handler" in note.why
    here.now += timedelta(hours=1)
    _, notes = here.run("register debian-12 2", "hide debian-12 1 after register debian-12 2")
    assert "11 events wait since 2026-11-20T10:00:00Z, tried 2 times" in notes[0].why
    write_program(tmp_path, "bad", f'#!/bin/sh\necho "$VMCATCHER_EVENT_TYPE $VMCATCHER_EVENT_HV_VERSION" >> {tmp_path}/heard\n')
    assert here.run() == ((), ())
    assert [one.split() for one in (tmp_path / "heard").read_text().splitlines()] == [
        [words.split()[0], *words.split()[2:]] for words in told(tmp_path, "good.jsonl")
    ]
    assert here.waiting() == []


def test_a_handler_that_fails_twice_then_works_hears_each_event_in_order(tmp_path: Path) -> None:
    text = f"""#!/bin/sh
echo "$VMCATCHER_EVENT_TYPE" >> {tmp_path}/tried
[ "$VMCATCHER_EVENT_TYPE" != AvailablePostfix ] || [ "$(grep -c AvailablePostfix {tmp_path}/tried)" -gt 2 ]
"""
    write_program(tmp_path, "moody", text)
    here = site(tmp_path, handler("moody", program="moody"))
    _, notes = here.run("register debian-12 1")
    assert "2 events wait" in notes[0].why
    assert "moody ended with status 1" in notes[0].why
    assert "tried 2 times" in here.run()[1][0].why
    assert here.run()[1] == ()
    assert (tmp_path / "tried").read_text().split() == [
        "ProcessPrefix", "SubscriptionImageNew", "AvailablePrefix", *["AvailablePostfix"] * 3, "ProcessPostfix",
    ]  # fmt: skip


def test_a_handler_that_is_taken_out_loses_its_queue_with_a_word(tmp_path: Path) -> None:
    here = site(tmp_path, handler("good"), handler("bad", program="bad"))
    here.run("register debian-12 1")
    here.handlers = here.handlers[:1]
    (note,) = here.run()[1]
    assert (note.subject, note.why) == ("handler bad", "the site's file does not have it any more; 5 events that it had not taken are dropped")
    assert (here.waiting(), here.run()[1]) == ([], ())
    here.handlers = ()
    (note,) = here.run()[1]
    assert note.subject == "handler good"
    assert not (tmp_path / "events" / "spool").exists()


def test_a_new_handler_hears_what_happens_from_then_on(tmp_path: Path) -> None:
    here = site(tmp_path, handler("first"), handler("bad", program="bad"))
    here.run("register debian-12 1")
    here.handlers = (*here.handlers, handler("second"))
    here.run("hide debian-12 1")
    assert told(tmp_path, "second.jsonl") == ["ProcessPrefix", "ExpirePrefix debian-12 1", "ExpirePostfix debian-12 1", "ProcessPostfix"]


def test_wishes_are_kept_to(tmp_path: Path) -> None:
    here = site(tmp_path, handler("some", events=["AvailablePostfix", "ExpirePostfix"]), handler("uuid", replaced=False), there=("debian-12 1",))
    here.run("register debian-12 2", "hide debian-12 1 after register debian-12 2")
    assert told(tmp_path, "some.jsonl") == ["AvailablePostfix debian-12 2", "ExpirePostfix debian-12 1"]
    assert told(tmp_path, "uuid.jsonl") == ["ProcessPrefix", "AvailablePrefix debian-12 2", "AvailablePostfix debian-12 2", "ProcessPostfix"]
    here.run("hide debian-12 2")
    assert told(tmp_path, "uuid.jsonl")[-3:] == ["ExpirePrefix debian-12 2", "ExpirePostfix debian-12 2", "ProcessPostfix"]


def test_a_slow_handler_does_not_hold_up_the_others(tmp_path: Path) -> None:
    text = f"#!/bin/sh\nuntil grep -q ProcessPostfix {tmp_path}/events/list.jsonl; do sleep 0.05; done\n"
    write_program(tmp_path, "slow", text)
    here = site(tmp_path, handler("slow", program="slow"), handler("list"))
    assert here.run("register debian-12 1")[1] == ()


INTERRUPTED = """
import sys
from pathlib import Path
from support.telling import JournalSite, handler
here = JournalSite(Path(sys.argv[1]), handler("stuck", program="stuck"), handler("list"))
try:
    here.reach("debian-12 1")
except KeyboardInterrupt:
    print("interrupted")
"""


def test_a_person_who_interrupts_does_not_wait_for_a_handler(tmp_path: Path) -> None:
    write_program(tmp_path, "stuck", f"#!/bin/sh\necho $$ > {tmp_path}/pid\nkill -INT $PPID\nexec sleep 3600\n")
    paths = os.pathsep.join(str(path) for path in (Path(__file__).parents[1], *map(Path, sys.path)))
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, tmp_path],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=500,
        check=True,
    )
    assert done.stdout == "interrupted\n"
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()
    write_program(tmp_path, "stuck", f"#!/bin/sh\necho $VMCATCHER_EVENT_TYPE >> {tmp_path}/heard\n")
    JournalSite(tmp_path, handler("stuck", program="stuck"), handler("list")).reach("debian-12 1")
    expected = ["ProcessPrefix", "SubscriptionImageNew", "AvailablePrefix", "AvailablePostfix", "ProcessPostfix"]
    assert (tmp_path / "heard").read_text().split() == expected
    assert [one.split()[0] for one in told(tmp_path)] == expected


def test_while_another_process_delivers_events_are_written_down_and_heard_later(tmp_path: Path) -> None:
    here = site(tmp_path)
    with Spool(here.post.spool).delivering() as ours:
        assert ours
        _, notes = here.run("register debian-12 1")
        assert notes[0].subject == "handlers"
        assert told(tmp_path) == []
    assert here.run()[1] == ()
    assert len(told(tmp_path)) == 5


def test_a_run_that_breaks_off_leaves_what_it_told_and_the_next_one_goes_on(tmp_path: Path) -> None:
    here = site(tmp_path)

    def broken(_: Action) -> str:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError):
        here.run("register debian-12 1", perform=broken)
    here.run("register debian-12 1")
    assert told(tmp_path) == [
        "ProcessPrefix",
        "SubscriptionImageNew debian-12 1",
        "AvailablePrefix debian-12 1",
        "AvailablePostfix debian-12 1",
        "ProcessPostfix",
    ]


# -- the folder of images


@pytest.fixture
def program(tmp_path: Path) -> TellingSite:
    """A site with a program that tells what it finds under FILENAME in the cache's and in the expired files' folder."""
    text = f"""#!/bin/sh
for folder in "$VMCATCHER_CACHE_DIR_CACHE" "$VMCATCHER_CACHE_DIR_EXPIRE"; do
  [ -n "$VMCATCHER_EVENT_FILENAME" ] && [ -f "$folder/$VMCATCHER_EVENT_FILENAME" ] && found="$found $(basename $folder)=$(cat $folder/$VMCATCHER_EVENT_FILENAME)"
done
echo "$VMCATCHER_EVENT_TYPE:$found" >> {tmp_path}/heard
"""
    write_program(tmp_path, "look", text)
    return site(tmp_path, handler("look", program="look", events=["AvailablePostfix", "ExpirePostfix"]))


def heard(here: TellingSite) -> list[str]:
    return (here.home / "heard").read_text().splitlines()


def test_the_file_is_there_when_an_image_is_available_and_is_the_newest(program: TellingSite) -> None:
    file = program.home / "images" / UUID
    program.run("register debian-12 1")
    assert file.read_bytes() == image_file("debian-12 1")
    assert file.stat().st_nlink == 2
    program.run("register debian-12 2", "hide debian-12 1 after register debian-12 2")
    assert file.read_bytes() == image_file("debian-12 2")
    program.run("hide debian-12 2")
    assert not file.exists()
    assert [path.name for path in (program.home / "images").rglob("*") if path.is_file()] == []
    assert heard(program) == [
        "AvailablePostfix: images=debian-12 1 qcow2 ",
        "AvailablePostfix: images=debian-12 2 qcow2 ",
        "ExpirePostfix: images=debian-12 2 qcow2 ",
        "ExpirePostfix: expired=debian-12 2 qcow2 ",
    ]


def test_an_older_version_that_comes_later_does_not_take_the_place_of_the_newer(program: TellingSite) -> None:
    program.run("register debian-12 2")
    program.run("register debian-12 1")
    assert (program.home / "images" / UUID).read_bytes() == image_file("debian-12 2")
    program.run("hide debian-12 2")
    assert (program.home / "images" / UUID).read_bytes() == image_file("debian-12 1")


def test_a_file_that_a_handler_moves_is_there_again_when_the_event_is_told_again(tmp_path: Path) -> None:
    text = f"""#!/bin/sh
[ "$VMCATCHER_EVENT_TYPE" = AvailablePostfix ] || exit 0
mv "$VMCATCHER_CACHE_DIR_CACHE/$VMCATCHER_EVENT_FILENAME" {tmp_path}/taken-$(ls {tmp_path} | grep -c taken) && [ -e {tmp_path}/taken-1 ]
"""
    write_program(tmp_path, "mover", text)
    here = site(tmp_path, handler("mover", program="mover"))
    assert "mover ended with status 1" in here.run("register debian-12 1")[1][0].why
    assert here.run()[1] == ()
    assert (tmp_path / "taken-1").read_bytes() == image_file("debian-12 1")
    assert here.find(here.spec("debian-12 1").sha512) is not None
    here.run("hide debian-12 1")
    assert list((tmp_path / "images").rglob(f"{UUID}*")) == []


def test_what_handlers_put_beside_the_files_is_left_alone(program: TellingSite) -> None:
    program.run("register debian-12 1")
    theirs = program.home / "images" / "templates" / "one.txt"
    theirs.parent.mkdir()
    theirs.write_text("mine")
    program.run("hide debian-12 1")
    assert theirs.read_text() == "mine"


def test_an_expired_file_stays_until_every_handler_has_heard_of_it(program: TellingSite) -> None:
    program.run("register debian-12 1")
    program.handlers = (*program.handlers, handler("bad", program="bad"))
    program.run("hide debian-12 1")
    assert len(list((program.home / "images" / "expired").iterdir())) == 1
    program.handlers = program.handlers[:1]
    program.run()
    assert list((program.home / "images" / "expired").iterdir()) == []


def test_an_image_whose_file_the_site_has_no_more_is_told_without_one(program: TellingSite) -> None:
    program.put("i0", "debian-12 1", "hidden")
    program.run("show debian-12 1")
    program.run("hide debian-12 1")
    assert heard(program) == ["AvailablePostfix:", "ExpirePostfix: expired="]


def test_with_the_last_program_its_files_go(program: TellingSite) -> None:
    program.run("register debian-12 1")
    program.handlers = (handler(),)
    program.run()
    assert list((program.home / "images").rglob(f"{UUID}*")) == []


def test_where_no_link_can_be_made_the_file_is_copied(program: TellingSite, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    program.run("register debian-12 1")
    file = program.home / "images" / UUID
    assert (file.read_bytes(), file.stat().st_nlink) == (image_file("debian-12 1"), 1)


def test_images_of_others_are_nobodys_business(tmp_path: Path) -> None:
    here = site(tmp_path, there=("debian-12 1",))
    here.world.images["i9"] = replace(here.world.images["i0"], id="i9", owner="vmkeeper:there")
    here.run("hide debian-12 1")
    assert told(tmp_path)[1:3] == ["ExpirePrefix debian-12 1", "ExpirePostfix debian-12 1"]
