"""`vmkeeper policy sync` as a user meets it."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pygit2
import pytest

from support.producer import NOW, Producer
from support.repo import Repo
from vmkeeper.cli.policy_sync import sync
from vmkeeper.cli.session import Output, Session
from vmkeeper.errors import Problems
from vmkeeper.execute.verification import own_pins, sight
from vmkeeper.repository.tree import Repository
from vmkeeper.trust.pins import to_yaml

LIST = "title: Ours\ncommunity: ours\npolicy: We looked.\nquorum: {quorum}\nbased_on: {{list: team, source: {source}}}\nendorsers: {people}\n"


class Place:
    """A work tree with lists that are based on a producer's."""

    def __init__(self, tmp_path: Path) -> None:
        self.remote = Producer(tmp_path / "web", "https://images.example.org", tmp_path / "remote")
        self.folder = tmp_path / "ours"
        pygit2.init_repository(str(self.folder), initial_head="main")
        (self.folder / "endorsers/sources/grid").mkdir(parents=True)
        repository = self.remote.repo.repository
        pins = own_pins(repository, sight(repository, repository.head())).model_copy(update={"source": str(self.remote.repo.folder)})
        (self.folder / "endorsers/sources/grid/pins.yaml").write_text(to_yaml(pins))

    def write(self, name: str, source: str = "grid", quorum: int = 1, people: str = "[]") -> None:
        (self.folder / f"endorsers/{name}.yaml").write_text(LIST.format(source=source, quorum=quorum, people=people))

    def read(self, name: str) -> str:
        return (self.folder / f"endorsers/{name}.yaml").read_text()

    def sync(self, *names: str, output: Output = Output.text) -> int:
        return sync(list(names), self.folder, output)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(Session, "now", NOW)
    return Place(tmp_path)


def test_every_list_that_is_based_on_a_remote_one_is_synchronised(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        place.write(name)
    assert place.sync() == 0
    said = capsys.readouterr().out
    assert "one: policy 1 of grid is in force there." in said
    assert "two: policy 1 of grid is in force there." in said
    assert "to decide   alice (Alice) is on the source" in said
    assert "changed     endorsers/one.yaml" in said
    assert "vmkeeper policy sign" in said
    assert 'at: "2026-11-20T10:00:00Z"' in place.read("one")


def test_lists_can_be_named(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        place.write(name)
    assert place.sync("two") == 0
    assert "one:" not in capsys.readouterr().out
    assert "synchronised" not in place.read("one")


def test_one_that_cannot_be_synchronised_stops_no_other(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.write("one", source="gird")
    place.write("two")
    assert place.sync() == 1
    said = capsys.readouterr()
    assert "one could not be synchronised" in said.err
    assert "the source is not pinned" in said.err
    assert "two: policy 1" in said.out
    assert "synchronised" in place.read("two")


def test_what_was_taken_away_is_said_and_what_is_left_to_mend_fails(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    key = "{type: x509, subject: /CN=Bob, issuer: /CN=CA}"
    people = "".join(f"\n- {{name: {name}, full_name: X, email: x@y, keys: [{each}]}}" for name, each in (("bob", key), ("alice", "KEY")))
    alice = json.loads(place.remote.endorser_document())["endorsers"][0]["keys"][0]["key"]
    place.write("one", quorum=2, people=people.replace("KEY", f"{{type: ssh, key: {alice}}}"))
    with pytest.raises(Problems, match="2 of 1 endorsers can never be reached"):
        place.sync("one")
    assert "taken away  bob is taken off: they are not on the source" in capsys.readouterr().out


def test_json_has_it_all(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.write("one")
    place.write("two", source="gird")
    assert place.sync(output=Output.json) == 1
    said = json.loads(capsys.readouterr().out)
    (one,) = said["lists"]
    assert {key: one[key] for key in ("name", "source", "policy", "narrowed", "problems")} == {
        "name": "one", "source": "grid", "policy": 1, "narrowed": [], "problems": []
    }  # fmt: skip
    assert one["written"] == ["endorsers/sources/grid/list.yaml", "endorsers/one.yaml"]
    assert [(each["name"], bool(each["hint"])) for each in said["failed"]] == [("two", True)]
    assert said["version"] == 1


def test_without_such_lists_there_is_nothing_to_do(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert place.sync() == 0
    assert "No endorser list here is based on" in capsys.readouterr().out
    bare = Repo(tmp_path / "bare")
    assert sync([], bare.folder, Output.text) == 0
    assert isinstance(bare.repository, Repository)


def test_a_source_that_has_expired_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(Session, "now", NOW + timedelta(days=400))
    place.write("one")
    assert place.sync() == 1
    assert "expired" in capsys.readouterr().err
