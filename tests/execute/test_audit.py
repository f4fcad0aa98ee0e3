"""`vmkeeper verify` on repositories as they lie: verdicts as JSON, what is remembered, exit codes, and damage of every kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from support.producer import NOW, Producer
from support.repo import Repo
from vmkeeper.cli import app, session
from vmkeeper.errors import UserError, VmkeeperError
from vmkeeper.execute.audit import Judged, audit
from vmkeeper.execute.verification import own_pins, sight
from vmkeeper.repository.tags import delete_tag
from vmkeeper.trust.memory import read_memory
from vmkeeper.trust.pins import to_yaml


@pytest.fixture
def producer(tmp_path: Path) -> Producer:
    """One release that is endorsed, one that is not."""
    made = Producer(tmp_path / "www", "https://images.example.org", tmp_path)
    made.release("debian-12", "2026.11.1")
    made.endorse("debian-12", "2026.11.1")
    made.release("worker", "2026.11.1")
    return made


@pytest.fixture
def pins(producer: Producer, tmp_path: Path) -> Path:
    file = tmp_path / "pins.yaml"
    repository = producer.repo.repository
    file.write_text(to_yaml(own_pins(repository, sight(repository, repository.head()))))
    return file


def judged(producer: Producer, pins: Path, memory: Path | None = None, after: timedelta = timedelta()) -> dict[str, Judged]:
    return {f"{one.appliance} {one.version}": one for one in audit(producer.repo.folder, pins, memory, NOW + after)}


def rules(found: Judged) -> set[str]:
    return {one.rule for one in found.refusals}


def test_each_release_has_a_verdict(producer: Producer, pins: Path) -> None:
    found = judged(producer, pins)
    assert list(found) == ["debian-12 2026.11.1", "worker 2026.11.1"]
    assert found["debian-12 2026.11.1"].as_json() == {"appliance": "debian-12", "version": "2026.11.1", "accepted": True, "refusals": []}
    worker = found["worker 2026.11.1"].as_json()
    assert worker["accepted"] is False
    (refusal,) = worker["refusals"]  # type: ignore[misc]
    assert (refusal["rule"], set(refusal) >= {"rule", "why", "evidence"}) == ("R20", True)


def test_the_memory_is_made_kept_and_read_again(producer: Producer, pins: Path, tmp_path: Path) -> None:
    memory = tmp_path / "memory.json"
    judged(producer, pins, memory)
    first = memory.read_bytes()
    held = read_memory(first, "")
    assert (held.newest, held.head, set(held.tags)) == (
        NOW,
        producer.repo.repository.head(),
        {"policy/1/alice", "endorse/debian-12/2026.11.1/alice/1"},
    )
    assert memory.stat().st_mode & 0o777 == 0o600
    judged(producer, pins, memory)
    assert memory.read_bytes() == first
    delete_tag(producer.repo.repository, "endorse/debian-12/2026.11.1/alice/1")
    found = judged(producer, pins, memory, timedelta(hours=1))
    assert {rule for one in found.values() for rule in rules(one)} == {"R8"}
    assert memory.read_bytes() == first
    assert [one.name for one in tmp_path.iterdir() if "memory" in one.name] == ["memory.json"]


def test_without_a_memory_nothing_is_written(producer: Producer, pins: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    judged(producer, pins)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_time_is_an_argument_and_does_not_go_back(producer: Producer, pins: Path, tmp_path: Path) -> None:
    memory = tmp_path / "memory.json"
    assert "R13" in rules(judged(producer, pins, None, timedelta(days=61))["debian-12 2026.11.1"])
    assert judged(producer, pins, memory)["debian-12 2026.11.1"].accepted
    early = judged(producer, pins, memory, -timedelta(minutes=6))
    assert {rule for one in early.values() for rule in rules(one)} == {"R13"}


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"format": 2}', b'{"format": 1, "format": 1}', b"\xff", b'{"format":1,"tags":[]}'])
def test_a_damaged_memory_is_no_memory_and_stays_as_it_is(producer: Producer, pins: Path, tmp_path: Path, damage: bytes) -> None:
    memory = tmp_path / "memory.json"
    memory.write_bytes(damage)
    found = judged(producer, pins, memory)
    assert list(found) == ["* *"]
    assert rules(found["* *"]) == {"R30"}
    assert memory.read_bytes() == damage


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text + "extra: 1\n",
        lambda text: text.replace("quorum: 1", "quorum: 2"),
        lambda text: text.replace("version: 1", "version: 2"),
        lambda text: text.replace("principals:", "principals: &p"),
        lambda text: text[: len(text) // 2],
    ],
)
def test_damaged_pins_are_an_error_that_names_the_file(producer: Producer, pins: Path, change: Callable[[str], str]) -> None:
    pins.write_text(change(pins.read_text()))
    with pytest.raises(VmkeeperError) as error:
        judged(producer, pins)
    assert str(pins) in str(error.value)


def test_pins_that_are_not_there_are_said(producer: Producer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read") as error:
        judged(producer, tmp_path / "absent.yaml")
    assert "site init" in error.value.hint


def test_a_repository_without_a_branch_and_a_folder_that_is_none(producer: Producer, pins: Path, tmp_path: Path) -> None:
    Repo(tmp_path / "empty.git")
    with pytest.raises(UserError, match="no branch main"):
        audit(tmp_path / "empty.git", pins, None, NOW)
    (tmp_path / "plain").mkdir()
    with pytest.raises(UserError):
        audit(tmp_path / "plain", pins, None, NOW)


def test_another_repository_is_refused_as_a_whole(producer: Producer, pins: Path, tmp_path: Path) -> None:
    other = Repo(tmp_path / "other.git")
    other.commit({"README.md": "x"})
    (found,) = audit(other.folder, pins, None, NOW)
    assert (found.appliance, found.version, rules(found)) == ("*", "*", {"R1"})


@pytest.mark.parametrize("record", [b"", b"{", b"title: x\n", b"appliance: &a worker\n"])
def test_a_record_of_the_head_that_is_broken_is_refused_and_the_others_are_judged(producer: Producer, pins: Path, record: bytes) -> None:
    producer.repo.commit({"appliances/worker/release.yaml": record})
    found = judged(producer, pins)
    assert found["debian-12 2026.11.1"].accepted
    assert rules(found["worker *"]) <= {"R14", "R21", "R22"}
    assert not found["worker *"].accepted


def test_an_endorsed_release_whose_record_is_gone_from_the_head_is_judged_by_its_tag(producer: Producer, pins: Path) -> None:
    producer.repo.commit({"appliances/debian-12/release.yaml": None})
    assert judged(producer, pins)["debian-12 2026.11.1"].accepted


@pytest.fixture
def typed(producer: Producer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    monkeypatch.chdir(producer.repo.folder)
    monkeypatch.setattr(session.Session, "now", NOW)

    def run(*words: str | Path) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["vmkeeper", "verify", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            app.main()
        return int(ended.value.code or 0), capsys.readouterr().out

    return run


def test_the_exit_code_is_0_only_if_all_are_accepted(producer: Producer, pins: Path, typed: Callable[..., tuple[int, str]]) -> None:
    status, out = typed("--pins", pins, "--output", "json")
    assert status == 1
    assert [(one["appliance"], one["accepted"]) for one in json.loads(out)] == [("debian-12", True), ("worker", False)]
    producer.endorse("worker", "2026.11.1")
    status, out = typed("--pins", pins, "--output", "json")
    assert (status, [one["accepted"] for one in json.loads(out)]) == (0, [True, True])
    status, out = typed("--pins", pins)
    assert (status, "accepted  worker 2026.11.1" in out) == (0, True)
    status, out = typed("--pins", pins, "--at", "2027-11-20T10:00:00Z", "--output", "json")
    assert (status, [one["accepted"] for one in json.loads(out)]) == (1, [False, False])


def test_what_cannot_be_judged_is_a_verdict_too(producer: Producer, pins: Path, typed: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    for words in (("--pins", tmp_path / "absent"), ("--pins", pins, "--memory", pins), ("--pins", pins, "-C", tmp_path)):
        status, out = typed(*words, "--output", "json")
        (one,) = json.loads(out)
        assert (status, one["appliance"], one["accepted"], bool(one["refusals"][0]["why"])) == (1, "*", False, True)


def test_nothing_released_is_nothing_accepted(tmp_path: Path, typed: Callable[..., tuple[int, str]]) -> None:
    made = Producer(tmp_path / "www2", "https://images.example.org", tmp_path / "two")
    repository = made.repo.repository
    file = tmp_path / "pins2.yaml"
    file.write_text(to_yaml(own_pins(repository, sight(repository, repository.head()))))
    status, out = typed("--pins", file, "-C", made.repo.folder, "--output", "json")
    assert (status, json.loads(out)) == (1, [])
