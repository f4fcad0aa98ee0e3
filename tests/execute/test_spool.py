"""Events that wait: kept in order, for each handler, in bounds, through restarts and crashes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.killpoints import killed_at
from support.sitescenario import NOW
from support.telling import handler
from vmkeeper.errors import Transient, UserError
from vmkeeper.execute import spool as spools
from vmkeeper.execute.delivery import Delivery, waiting
from vmkeeper.execute.post import Post
from vmkeeper.execute.spool import Entry, Queue, Spool, target_of
from vmkeeper.lists.events import Event, make
from vmkeeper.model.handler import Handler
from vmkeeper.plan.wanted import Note
from vmkeeper.progress import Silent

SESSION = "3f0c5a44-6c8a-4f0e-9d70-6f2f0f7f2c11"
LIST, OTHER = handler("list"), handler("other")


def event(number: int) -> Event:
    return make("ProcessPrefix", SESSION, "here", datetime.fromtimestamp(NOW.timestamp() + number, UTC), key=str(number))


def index(told: Event) -> int:
    return int(told.time.timestamp() - NOW.timestamp())


class Recorder:
    """Takes events into a list; refuses those it is told to refuse."""

    def __init__(self, batch: int = 1, refuses: tuple[int, ...] = ()) -> None:
        self.batch = batch
        self.refuses = refuses
        self.got: list[int] = []

    def take(self, events: Sequence[Event]) -> None:
        assert 0 < len(events) <= self.batch
        for one in events:
            if index(one) in self.refuses:
                raise Transient(f"not {index(one)}")
        self.got += [index(one) for one in events]


def deliver(spool: Spool, takers: dict[str, Recorder], *handlers: Handler) -> tuple[Note, ...]:
    for one in handlers:
        spool.enrol(one)
    turn = Delivery(spool, handlers, lambda one, _stop: takers[one.name], forget=lambda _event: None, clock=lambda: NOW, progress=Silent())
    turn.start()
    return turn.finish()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def test_each_handler_gets_every_event_once_and_in_order_and_then_it_is_gone(spool: Spool) -> None:
    takers = {"list": Recorder(), "other": Recorder(batch=7)}
    deliver(spool, takers, LIST, OTHER)
    for number in range(20):
        spool.add(event(number))
    assert deliver(spool, takers, LIST, OTHER) == ()
    assert takers["list"].got == takers["other"].got == list(range(20))
    assert spool.numbers() == []
    assert deliver(spool, takers, LIST, OTHER) == ()
    assert takers["list"].got == list(range(20))


def test_numbers_go_on_after_everything_was_taken(spool: Spool) -> None:
    takers = {"list": Recorder()}
    deliver(spool, takers, LIST)
    spool.add(event(1))
    deliver(spool, takers, LIST)
    again = Spool(spool.folder)
    again.add(event(2))
    assert again.numbers() == [2]
    deliver(again, takers, LIST)
    assert takers["list"].got == [1, 2]


def test_what_is_not_taken_is_kept_through_restarts_and_stops_what_comes_after_it(spool: Spool) -> None:
    bad, good = Recorder(refuses=(3,)), Recorder()
    deliver(spool, {"list": bad, "other": good}, LIST, OTHER)
    for number in range(6):
        spool.add(event(number))
    for tries in (1, 2):
        (note,) = deliver(Spool(spool.folder), {"list": bad, "other": good}, LIST, OTHER)
        assert note.why == f"3 events wait since 2026-11-20T10:00:03Z, tried {tries} time{'s' if tries > 1 else ''}: not 3"
    assert (bad.got, good.got, len(spool.numbers())) == ([0, 1, 2], list(range(6)), 3)
    bad.refuses = ()
    assert deliver(spool, {"list": bad, "other": good}, LIST, OTHER) == ()
    assert (bad.got, spool.numbers()) == (list(range(6)), [])
    assert spool.queues()["list"] == Queue(target=target_of(LIST), taken=6)


def test_an_event_that_a_listing_leaves_out_is_not_passed_over(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is listed while files are added may show a later one without an earlier one."""
    listings = iter([[6, 8], [6, 7, 8, 9], [7, 8]])
    monkeypatch.setattr(Spool, "_listed", lambda _self, _after: next(listings))
    assert spool.numbers(5) == [6, 7, 8]
    assert spool.numbers(6) == [7, 8]


def test_events_that_are_added_while_others_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _file: None)
    with TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        spool = Spool(Path(folder) / "spool")
        takers = {"list": Recorder(), "other": Recorder(batch=5)}
        for one in (LIST, OTHER):
            spool.enrol(one)
        turn = Delivery(spool, (LIST, OTHER), lambda one, _stop: takers[one.name], forget=lambda _: None, clock=lambda: NOW, progress=Silent())
        turn.start()
        for number in range(1000):
            spool.add(event(number))
        assert turn.finish() == ()
        assert takers["list"].got == takers["other"].got == list(range(1000))


def test_ten_thousand_events_that_wait(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _file: None)
    takers = {"list": Recorder(batch=500), "other": Recorder(refuses=(0,))}
    deliver(spool, takers, LIST, OTHER)
    spool.add(event(0))
    first = spool.folder / "log" / "000000000001.json"
    for number in range(1, 9_999):
        first.with_name(f"{number + 1:012d}.json").write_text(Entry(event=event(number)).model_dump_json(exclude_defaults=True))
    Spool(spool.folder).add(event(9_999))
    (note,) = deliver(spool, takers, LIST, OTHER)
    assert takers["list"].got == list(range(10_000))
    assert "more than 1000 events wait since 2026-11-20T10:00:00Z" in note.why
    assert len(spool.numbers()) == 10_000
    takers["other"] = Recorder(batch=100, refuses=(9_999,))
    (note,) = deliver(spool, takers, LIST, OTHER)
    assert "100 events wait" in note.why
    assert takers["other"].got == list(range(9_900))
    assert len(spool.numbers()) == 100


def test_a_handler_that_fails_for_ever_fills_no_disk_and_is_told_loudly(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spools, "LIMIT", 20)
    takers = {"list": Recorder(refuses=tuple(range(1000)))}
    deliver(spool, takers, LIST)
    loud = []
    for number in range(95):
        spool.add(event(number))
        loud += [note.why for note in deliver(spool, takers, LIST) if "LOST" in note.why]
        assert len(spool.numbers()) <= 20
    assert len(loud) == 7
    assert "the oldest 11 of them are LOST to it" in loud[0]
    assert spool.queues()["list"].lost == 77
    takers["list"].refuses = ()
    deliver(spool, takers, LIST)
    assert takers["list"].got == list(range(77, 95))


def test_a_handler_that_changes_keeps_its_queue(spool: Spool) -> None:
    deliver(spool, {"list": Recorder()}, LIST)
    spool.add(event(1))
    changed = handler("list", timeout="1h")
    taker = Recorder()
    deliver(spool, {"list": taker}, changed)
    assert taker.got == [1]
    assert spool.queues()["list"].target == target_of(changed)


def test_a_file_that_cannot_be_read_is_told_and_nothing_is_skipped(spool: Spool) -> None:
    takers = {"list": Recorder()}
    deliver(spool, takers, LIST)
    for number in range(3):
        spool.add(event(number))
    broken = spool.folder / "log" / "000000000002.json"
    good = broken.read_bytes()
    broken.write_bytes(b'{"event": {}}')
    (note,) = deliver(spool, takers, LIST)
    assert "cannot be read" in note.why
    assert takers["list"].got == [0]
    broken.write_bytes(good)
    deliver(spool, takers, LIST)
    assert takers["list"].got == [0, 1, 2]


def test_a_queue_that_cannot_be_read_is_an_error_and_never_an_empty_one(spool: Spool) -> None:
    deliver(spool, {"list": Recorder()}, LIST)
    (spool.folder / "queues" / "list" / "queue.json").write_text("{}")
    with pytest.raises(UserError, match="cannot be read"):
        deliver(spool, {"list": Recorder()}, LIST)


def test_an_end_joins_the_log_once(spool: Spool) -> None:
    spool.enrol(LIST)
    spool.begin("one", Entry(event=event(5), before=(event(4),)))
    assert spool.begun()["one"].before == (event(4),)
    spool.add(event(4))
    spool.close("one", event(5))
    assert [index(spool.read(number)) for number in spool.numbers()] == [4, 5]
    assert spool.begun() == {}


def test_one_process_delivers(spool: Spool) -> None:
    with spool.delivering() as first, Spool(spool.folder).delivering() as second:
        assert (first, second) == (True, False)
    with spool.delivering() as again:
        assert again


def test_skipping_leaves_out_one_event_of_one_handler(tmp_path: Path) -> None:
    post = Post(tmp_path, "here", (LIST, OTHER), lambda _sha512: None)
    spool = Spool(post.spool)
    for one in post.handlers:
        spool.enrol(one)
    for number in range(3):
        spool.add(event(number))
    assert post.skip(spool, LIST) == event(0)
    assert (waiting(spool, LIST).count, waiting(spool, OTHER).count) == (2, 3)
    with spool.delivering(), pytest.raises(Transient, match="another run delivers"):
        post.skip(spool, LIST)
    assert [post.skip(spool, LIST), post.skip(spool, LIST), post.skip(spool, LIST)] == [event(1), event(2), None]


class Disk:
    """Takes events into a file, one line each, as a program would: what was taken before a crash may come again."""

    batch = 1

    def __init__(self, path: Path) -> None:
        self.path = path

    def take(self, events: Sequence[Event]) -> None:
        with self.path.open("a") as file:
            file.write("".join(f"{index(one)}\n" for one in events))

    def got(self) -> list[int]:
        return [int(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(kills=st.lists(st.integers(0, 60), max_size=6), count=st.integers(1, 6))
def test_whatever_crashes_each_handler_gets_all_at_least_once_and_in_order(kills: list[int], count: int) -> None:
    with TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        spool, disks = Spool(Path(folder) / "spool"), {name: Disk(Path(folder) / name) for name in ("list", "other")}
        for one in (LIST, OTHER):
            spool.enrol(one)

        def run() -> None:
            """Adds what is not there yet, as one that knows what it has added, and delivers."""
            mine = Spool(spool.folder)
            marks = Path(folder) / "added"
            for number in range(len(marks.read_text()) if marks.exists() else 0, count):
                mine.add(event(number))
                with marks.open("a") as file:
                    file.write(".")
            turn = Delivery(mine, (LIST, OTHER), lambda one, _stop: disks[one.name], forget=lambda _: None, clock=lambda: NOW, progress=Silent())
            turn.start()
            turn.finish()

        for number in kills:
            killed_at(number, run)
        run()
        for disk in disks.values():
            assert list(dict.fromkeys(disk.got())) == list(range(count))
            assert len(disk.got()) <= count + 2 * len(kills)
        assert Spool(spool.folder).numbers() == []
