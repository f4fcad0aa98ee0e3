"""Messages about runs: what is told when, once and not again; the apprise library for real; what fails or hangs stops nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.postbox import Postbox
from support.producer import NOW
from vmkeeper.errors import Transient
from vmkeeper.execute import notifying
from vmkeeper.execute.home import SiteHome
from vmkeeper.execute.notifying import notify
from vmkeeper.execute.occasions import AGAIN, Item, Told, ToldAll, after_telling, items, to_tell
from vmkeeper.model.service import Notifier, Occasion
from vmkeeper.model.status import ActionStatus, Drifted, Remark, Run, Status, Suspended, Trouble
from vmkeeper.values import Version

EVERYTHING: tuple[Occasion, ...] = ("failed", "recovered", "registered", "retired", "waiting", "drift", "refused", "suspended")
ANN = Notifier(name="ann", credentials="ann", on=EVERYTHING)
MINUTES = timedelta(minutes=5)
BROKEN = Trouble(subject="run", what="the cloud does not answer", why="refused after 3.2 s")


def status(**more: Any) -> Status:
    run = {"began": NOW, "ended": NOW, "result": "failed" if "error" in more else "done"}
    for name in ("error", "actions"):
        if name in more:
            run[name] = more.pop(name)
    return Status(**{"site": "here", "program": "1", "at": NOW, "run": Run(**run), "failures": int(run["result"] == "failed"), **more})


def drifted() -> Drifted:
    return Drifted(appliance="debian-12", version=Version("1"), what=("name is other",))


class Sent:
    def __init__(self, home: SiteHome) -> None:
        self.home = home
        self.texts: list[str] = []
        self.fails = False

    def __call__(self, urls: tuple[str, ...], title: str, text: str, kind: str) -> None:
        if self.fails:
            raise Transient("no way")
        self.texts.append(text)

    def tell(self, said: Status, at: Any = NOW, notifier: Notifier = ANN) -> list[str]:
        """What is sent for a status."""
        before = len(self.texts)
        self.notes = notify(self.home, (notifier,), said, at, self)
        return self.texts[before:]


@pytest.fixture
def sent(tmp_path: Path) -> Sent:
    credentials(tmp_path, "json://127.0.0.1:1")
    return Sent(SiteHome(tmp_path))


def credentials(home: Path, *urls: str, name: str = "ann") -> None:
    (home / "credentials").mkdir(exist_ok=True)
    file = home / "credentials" / f"{name}.yaml"
    file.write_text(json.dumps({"type": "apprise", "urls": urls}))
    file.chmod(0o600)


# What is told when


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (status(error=BROKEN), "The run did not come to its end: the cloud does not answer"),
        (status(error=Trouble(subject="run", what="clock", rule="R13")), "clock"),
        (
            status(actions=(ActionStatus(kind="register", subject="debian-12 1", place="north", outcome="failed", text="no room"),)),
            "register debian-12 1 at north failed: no room",
        ),
        (status(troubles=(Trouble(subject="place north", what="no answer"),)), "place north could not be listed: no answer"),
        (status(refused=(Trouble(subject="list main", what="it cannot be used", why="old"),)), "list main: it cannot be used: old"),
        (status(waiting=(Remark(subject="debian-12 2", why="endorsed by bob"),)), "debian-12 2 waits for a decision: endorsed by bob"),
        (status(drifted=(drifted(),)), "debian-12 1 was changed at the cloud: name is other"),
        (status(suspended=Suspended(since=NOW, reason="new disks")), "new disks"),
    ],
)
def test_what_lasts_is_told_once_a_day(sent: Sent, said: Status, words: str) -> None:
    assert [words in text for text in sent.tell(said)] == [True]
    for number in range(1, 5):
        assert sent.tell(said, NOW + number * MINUTES) == []
    assert len(sent.tell(said, NOW + AGAIN)) == 1
    assert sent.tell(said, NOW + AGAIN + MINUTES) == []


def test_what_ended_and_comes_back_is_told_again(sent: Sent) -> None:
    waiting = status(waiting=(Remark(subject="debian-12 2", why="x"),))
    assert len(sent.tell(waiting)) == 1
    assert sent.tell(status(), NOW + MINUTES) == []
    assert len(sent.tell(waiting, NOW + 2 * MINUTES)) == 1


def test_a_failure_whose_numbers_change_is_the_same_failure(sent: Sent) -> None:
    assert len(sent.tell(status(error=BROKEN))) == 1
    assert sent.tell(status(error=BROKEN.model_copy(update={"why": "refused after 4.1 s"})), NOW + MINUTES) == []


def test_a_failed_run_does_not_make_one_forget_what_waits(sent: Sent) -> None:
    waiting = (Remark(subject="debian-12 2", why="x"),)
    assert len(sent.tell(status(waiting=waiting))) == 1
    assert len(sent.tell(status(error=BROKEN), NOW + MINUTES)) == 1
    assert sent.tell(status(waiting=waiting), NOW + 2 * MINUTES) == ["Runs succeed again."]


def test_the_first_good_run_after_failures_is_told_once(sent: Sent) -> None:
    assert sent.tell(status()) == []
    sent.tell(status(error=BROKEN))
    sent.tell(status(error=BROKEN), NOW + MINUTES)
    assert sent.tell(status(), NOW + 2 * MINUTES) == ["Runs succeed again."]
    assert sent.tell(status(), NOW + 3 * MINUTES) == []


def test_only_what_is_new_is_told_of_several_things(sent: Sent) -> None:
    one, two = Remark(subject="debian-12 2", why="x"), Remark(subject="rocky-9 2", why="y")
    sent.tell(status(waiting=(one,)))
    assert sent.tell(status(waiting=(one, two)), NOW + MINUTES) == ["rocky-9 2 waits for a decision: y"]


def test_images_that_come_and_go_are_one_message(sent: Sent) -> None:
    actions = (
        ActionStatus(kind="register", subject="debian-12 2", outcome="done", reason="endorsed"),
        ActionStatus(kind="hide", subject="debian-12 1", outcome="done", reason="replaced by 2"),
    )
    assert sent.tell(status(actions=actions)) == ["debian-12 2 is usable: endorsed\ndebian-12 1 is no longer usable: replaced by 2"]
    assert sent.tell(status(), NOW + MINUTES) == []


def test_a_notifier_hears_only_of_its_occasions(sent: Sent) -> None:
    deaf = ANN.model_copy(update={"on": ("waiting",)})
    assert sent.tell(status(error=BROKEN), notifier=deaf) == []
    assert len(sent.tell(status(waiting=(Remark(subject="x", why="y"),)), notifier=deaf)) == 1


def test_what_could_not_be_sent_is_sent_by_the_next_run(sent: Sent) -> None:
    came = status(actions=(ActionStatus(kind="register", subject="debian-12 2", outcome="done"),), waiting=(Remark(subject="x", why="y"),))
    sent.fails = True
    assert sent.tell(came) == []
    assert [note.subject for note in sent.notes] == ["notifier ann"]
    sent.fails = False
    assert sent.tell(status(waiting=came.waiting), NOW + MINUTES) == ["debian-12 2 is usable\nx waits for a decision: y"]
    assert sent.tell(status(waiting=came.waiting), NOW + 2 * MINUTES) == []


def test_a_damaged_record_of_what_was_told_tells_again(sent: Sent) -> None:
    sent.tell(status(error=BROKEN))
    (sent.home.folder / "told.json").write_text("{")
    assert len(sent.tell(status(error=BROKEN), NOW + MINUTES)) == 1


LISTED = st.lists(st.sampled_from(["a", "b", "c", "d"]), unique=True)


@given(st.lists(st.tuples(LISTED, st.booleans()), max_size=12))
def test_nothing_is_told_twice_a_day_and_nothing_is_forgotten(rounds: list[tuple[list[str], bool]]) -> None:
    told, now = Told(), NOW
    heard: dict[str, int] = {}
    for names, works in rounds:
        found = [Item(occasion="waiting", key=name, text=name) for name in names]
        due = to_tell(ANN, told, found, now)
        assert not works or {one.key for one in due} == {name for name in names if name not in heard}
        told = after_telling(told, found, due, now, delivered=works, over=True)
        heard = {name: 1 for name in names if name in heard or works}
        now += MINUTES


@given(st.lists(st.integers(0, 30), max_size=20))
def test_what_is_kept_for_one_who_hears_nothing_is_bounded(sizes: list[int]) -> None:
    told = Told()
    for number, size in enumerate(sizes):
        found = [Item(occasion="registered", key=f"{number}.{one}", text="x" * 50 + f"{number}.{one}") for one in range(size)]
        told = after_telling(told, found, to_tell(ANN, told, found, NOW), NOW, delivered=False, over=True)
    assert len(told.pending) <= 200


def test_a_suspended_site_says_only_that() -> None:
    said = status(suspended=Suspended(since=NOW, reason="x"), waiting=(Remark(subject="x", why="y"),))
    assert [one.occasion for one in items(said, ToldAll(failing=True))] == ["suspended"]


# The library for real


@pytest.fixture
def box() -> Iterator[Postbox]:
    with Postbox() as made:
        yield made


def test_a_message_reaches_a_server_through_apprise(tmp_path: Path, box: Postbox) -> None:
    credentials(tmp_path, f"{box.address}/s3cret-path-of-ann", f"{box.address}/another")
    assert notify(SiteHome(tmp_path), (ANN,), status(error=BROKEN), NOW) == ()
    assert sorted(letter["_path"] for letter in box.letters) == ["/another", "/s3cret-path-of-ann"]
    (first, _) = box.letters
    assert first["title"] == "vmkeeper, site here: a run failed"
    assert "the cloud does not answer" in first["message"]
    assert first["type"] == "failure"


def test_one_address_that_fails_keeps_no_other_from_hearing_and_is_named_by_its_number(tmp_path: Path, box: Postbox) -> None:
    credentials(tmp_path, "json://127.0.0.1:1/s3cret-path", f"{box.address}/works", "nonsense://s3cret")
    (note,) = notify(SiteHome(tmp_path), (ANN,), status(error=BROKEN), NOW)
    assert len(box.letters) == 1
    assert "not address 1, 3 of 3" in note.why
    assert "s3cret" not in note.why


def test_a_server_that_never_answers_is_left_alone(tmp_path: Path, box: Postbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifying, "TIMEOUT", 3.0)
    box.status = None
    credentials(tmp_path, box.address)
    bob = ANN.model_copy(update={"name": "bob", "credentials": "bob"})
    with Postbox() as other:
        credentials(tmp_path, other.address, name="bob")
        (note,) = notify(SiteHome(tmp_path), (ANN, bob), status(error=BROKEN), NOW)
        assert len(other.letters) == 1
    assert note.subject == "notifier ann"
    assert "was not sent within" in note.why


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("type: basic\nuser: x\npassword: s3cret\n", "not addresses for messages"),
        ("type: apprise\nurls: []\n", "not the right form"),
        ("type: apprise\nurls: [1]\n", "not the right form"),
        ("- s3cret", "not the right form"),
    ],
)
def test_credentials_that_are_no_addresses_are_a_note(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "credentials").mkdir()
    file = tmp_path / "credentials/ann.yaml"
    file.write_text(text)
    file.chmod(0o600)
    (note,) = notify(SiteHome(tmp_path), (ANN,), status(error=BROKEN), NOW)
    assert words in note.why
    assert "s3cret" not in note.why


def test_without_credentials_the_way_out_is_said(tmp_path: Path) -> None:
    (note,) = notify(SiteHome(tmp_path), (ANN,), status(error=BROKEN), NOW)
    assert "type: apprise with urls" in note.why
