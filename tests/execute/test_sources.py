"""Following a remote endorser list: what it has in force is verified and written down, whom it drops goes here too."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pygit2
import pytest

from support.endorserlists import ALICE, ARMOURED, BOB
from support.keys import ssh_key, ssh_public
from support.killer import dies_at, in_child, tree
from support.producer import NOW, Producer
from support.repo import Repo
from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.catalogue.check import check
from vmkeeper.errors import Refused, UserError
from vmkeeper.execute.sources import Synchronised, derived_lists, synchronise
from vmkeeper.execute.verification import own_pins, sight
from vmkeeper.model.endorser import EndorserList
from vmkeeper.repository.tree import Repository
from vmkeeper.trust.keys.certificates import Authorities
from vmkeeper.trust.pins import to_yaml

DERIVED = """\
# Who may endorse for us.
title: Ours
community: "ours"  # quoted on purpose
policy: We looked twice.
based_on:
  list: team
  source: grid
  maximum_lag: 3d  # we look often
endorsers:
  # the first one
  - name: alice
    full_name: Alice Example
    email: alice@example.org
    keys:
      - {type: openpgp, fingerprint: %s, file: keys/alice.asc}  # her key
  - name: bob
    full_name: Bob Example
    email: bob@example.org
    keys:
      - {type: openpgp, fingerprint: %s, file: sources/grid/keys/bob.asc}
      - {type: ssh, key: %s}
""" % (ALICE, BOB, "SSHKEY")  # noqa: UP031  braces are YAML's here


class Place:
    """A remote repository with a policy in force, and a clone of ours that has a list based on one of its."""

    def __init__(self, tmp_path: Path) -> None:
        self.remote = Producer(tmp_path / "web", "https://images.example.org", tmp_path / "remote")
        (tmp_path / "bob").mkdir()
        self.ssh = ssh_public(ssh_key(tmp_path / "bob"))
        self.folder = tmp_path / "ours"
        pygit2.init_repository(str(self.folder), initial_head="main")
        self.repository = Repository.open(self.folder)
        self.enact()
        self.write("endorsers/ours.yaml", DERIVED.replace("SSHKEY", self.ssh))
        self.write("endorsers/keys/alice.asc", ARMOURED[ALICE])
        self.pin()

    def pin(self, **changes: object) -> None:
        seen = sight(self.remote.repo.repository, self.remote.repo.repository.head())
        pins = own_pins(self.remote.repo.repository, seen).model_copy(update={"source": str(self.remote.repo.folder), **changes})
        self.write("endorsers/sources/grid/pins.yaml", to_yaml(pins))

    def write(self, path: str, text: str) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(text)

    def read(self, path: str) -> str:
        return (self.folder / path).read_text()

    def enact(self, change: Callable[[dict[str, Any]], Any] = lambda _: None, *people: str, issued: datetime = NOW - timedelta(days=1)) -> None:
        """Have the remote list name alice and bob (or whom it is told), with whatever else, and sign it."""
        keys = {
            "alice": [{"type": "openpgp", "fingerprint": ALICE, "file": "keys/alice.asc"}],
            "bob": [{"type": "openpgp", "fingerprint": BOB, "file": "keys/bob.asc"}, {"type": "ssh", "key": self.ssh}],
            "carol": [{"type": "x509", "subject": "/CN=Carol", "issuer": "/CN=CA"}],
        }
        named = people or ("alice", "bob")
        made = [{"name": one, "full_name": f"{one.title()} Example", "email": f"{one}@example.org", "keys": keys[one]} for one in named]
        value: dict[str, Any] = {"title": "Team", "community": "grid", "policy": "None.", "endorsers": made}
        change(value)
        self.remote.repo.commit(
            {
                "endorsers/team.yaml": json.dumps(value),
                "endorsers/keys/alice.asc": ARMOURED[ALICE],
                "endorsers/keys/bob.asc": ARMOURED[BOB],
            },
            "another list",
        )
        self.remote.enact(issued)

    def sync(self, now: datetime = NOW) -> Synchronised:
        return synchronise(self.repository, "ours", Authorities(()), now)

    def problems(self, now: datetime = NOW) -> list[str]:
        return [str(problem) for problem in check(Catalogue(self.repository, self.repository.worktree()), now)]

    def ours(self) -> EndorserList:
        found = Catalogue(self.repository, self.repository.worktree()).endorser_list("ours")
        assert found is not None
        return found


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


HEAD = DERIVED[: DERIVED.index("endorsers:\n")]


def test_a_source_that_says_the_same_leaves_the_list_as_it_is(place: Place) -> None:
    done = place.sync()
    assert (done.name, done.source, done.policy, done.narrowed, done.proposed, done.problems) == ("ours", "grid", 2, (), (), ())
    assert sorted(done.written) == [
        "endorsers/ours.yaml",
        "endorsers/sources/grid/keys/alice.asc",
        "endorsers/sources/grid/keys/bob.asc",
        "endorsers/sources/grid/list.yaml",
    ]
    text = place.read("endorsers/ours.yaml").splitlines()
    position = text.pop(8)
    assert text == DERIVED.replace("SSHKEY", place.ssh).splitlines()
    assert position.startswith('  synchronised: {policy: 2, list: "')
    assert position.endswith('", at: "2026-11-20T10:00:00Z"}')
    assert place.problems() == []


def test_a_second_look_changes_nothing_but_its_time(place: Place) -> None:
    place.sync()
    assert place.sync().written == ()
    before = place.read("endorsers/ours.yaml")
    assert place.sync(NOW + timedelta(hours=1)).written == ("endorsers/ours.yaml",)
    assert place.read("endorsers/ours.yaml") == before.replace("T10:00:00Z", "T11:00:00Z")
    assert place.problems(NOW + timedelta(days=3)) == []
    assert "not looked at since 2026-11-20T11:00:00Z, longer than 3d" in place.problems(NOW + timedelta(days=4))[0]


def test_whom_the_source_drops_goes_and_whom_it_gains_is_told(place: Place) -> None:
    place.sync()
    place.enact(lambda _: None, "alice", "carol", issued=NOW - timedelta(hours=20))
    done = place.sync()
    assert done.policy == 3
    assert done.narrowed == ("bob is taken off: they are not on the source",)
    assert done.proposed == ("carol (Carol Example) is on the source: add them to have them endorse here too",)
    assert [one.name for one in place.ours().endorsers] == ["alice"]
    assert "  # her key" in place.read("endorsers/ours.yaml")
    assert not (place.folder / "endorsers/sources/grid/keys/bob.asc").exists()
    assert place.problems() == []
    assert place.sync().proposed == ()


def test_a_source_without_people_leaves_nobody(place: Place) -> None:
    place.enact(lambda v: v.update(endorsers=[]), issued=NOW - timedelta(hours=20))
    assert place.sync().narrowed == ("bob is taken off: they are not on the source", "alice is taken off: they are not on the source")
    assert place.ours().endorsers == ()
    assert place.problems() == []


def of(value: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = {one["name"]: one for one in value["endorsers"]}[name]
    return found


PGP = f"openpgp:{ALICE}"
CHANGES: dict[str, tuple[Callable[[dict[str, Any]], Any], list[str]]] = {
    "a criterion": (lambda v: v.update(criteria=["Looked."]), ["the criterion is added: Looked."]),
    "a quorum": (lambda v: v.update(quorum=2), ["quorum becomes 2"]),
    "rebuilds": (lambda v: v.update(rebuilds=1), ["rebuilds becomes 1"]),
    "a lifetime": (lambda v: v.update(maximum_lifetime="30d"), ["maximum_lifetime becomes 30d"]),
    "a key less": (lambda v: of(v, "bob")["keys"].pop(0), [f"the key openpgp:{BOB} of bob is taken off: the source does not have it"]),
    "other keys": (
        lambda v: of(v, "alice").update(keys=[{"type": "x509", "subject": "/CN=Alice", "issuer": "/CN=CA"}]),
        [f"the key {PGP} of alice is taken off: the source does not have it", "alice is taken off: nothing is left to them"],
    ),
    "a retired key": (
        lambda v: of(v, "alice")["keys"][0].update(retired="2026-11-01T00:00:00Z"),
        [f"the key {PGP} of alice is retired since 2026-11-01T00:00:00Z"],
    ),
    "a stolen key": (
        lambda v: of(v, "alice")["keys"][0].update(compromised_since={"serial": 7, "sha512": "a" * 128}),
        [f"the key {PGP} of alice was stolen after serial 7"],
    ),
    "a key void from the beginning": (
        lambda v: of(v, "alice")["keys"][0].update(compromised_since={}),
        [f"the key {PGP} of alice was stolen after serial 0"],
    ),
    "a scope": (
        lambda v: of(v, "alice").update(scope={"appliances": ["debian-*", "slurm"], "communities": ["ours"]}),
        ["alice may answer for debian-*, slurm", "alice may answer for ours"],
    ),
    "a term": (
        lambda v: of(v, "alice").update(not_before="2026-01-01T00:00:00Z", expires="2027-01-01T00:00:00Z"),
        ["alice is an endorser since 2026-01-01T00:00:00Z", "alice is an endorser until 2027-01-01T00:00:00Z"],
    ),
}


@pytest.mark.parametrize(("change", "narrowed"), CHANGES.values(), ids=CHANGES)
def test_what_the_source_takes_away_is_taken_away_here(place: Place, change: Callable[[dict[str, Any]], Any], narrowed: list[str]) -> None:
    place.sync()
    place.enact(change, issued=NOW - timedelta(hours=20))
    done = place.sync()
    assert (list(done.narrowed), done.problems) == (narrowed, ())
    assert place.problems() == []
    assert place.sync().narrowed == ()


def test_a_scope_that_has_nothing_in_common_leaves_nobody(place: Place) -> None:
    text = place.read("endorsers/ours.yaml")
    place.write("endorsers/ours.yaml", text.replace("    email: bob@", "    scope: {appliances: [slurm-*, debian-12]}\n    email: bob@"))
    place.enact(lambda v: of(v, "bob").update(scope={"appliances": ["debian-*"]}), issued=NOW - timedelta(hours=20))
    assert place.sync().narrowed == ("bob may answer for debian-12",)
    place.enact(lambda v: of(v, "bob").update(scope={"appliances": ["x"]}), issued=NOW - timedelta(hours=19))
    assert place.sync().narrowed == ("bob may answer for no appliances", "bob is taken off: nothing is left to them")
    assert place.problems() == []


def test_one_certificate_is_carried_over(place: Place) -> None:
    x509 = {"type": "x509", "subject": "/CN=Carol", "issuer": "/CN=CA"}
    place.write("endorsers/ours.yaml", HEAD + "endorsers:\n- name: carol\n  full_name: Carol Example\n  email: carol@example.org\n"
                "  keys:\n  - {type: x509, subject: /CN=Carol, issuer: /CN=CA}\n")  # fmt: skip
    place.enact(lambda v: of(v, "carol").update(keys=[{**x509, "certificate": "c" * 64}]), "carol", issued=NOW - timedelta(hours=20))
    assert place.sync().narrowed == (f"carol signs with the certificate {'c' * 64} only",)
    assert place.problems() == []


def test_a_key_file_that_changed_is_read_from_the_source(place: Place) -> None:
    place.sync()
    place.remote.repo.commit({"endorsers/keys/alice.asc": f"\n{ARMOURED[ALICE]}"}, "her key again")
    place.remote.enact(NOW - timedelta(hours=20))
    done = place.sync()
    assert done.narrowed == (f"the key {PGP} of alice is read from endorsers/sources/grid/keys/alice.asc",)
    assert place.problems() == []


def test_a_quorum_that_nobody_can_reach_any_more_is_a_problem_to_mend(place: Place) -> None:
    place.write("endorsers/ours.yaml", place.read("endorsers/ours.yaml").replace("policy: We", "quorum: 2\npolicy: We"))
    place.enact(lambda _: None, "alice", issued=NOW - timedelta(hours=20))
    done = place.sync()
    assert done.narrowed == ("bob is taken off: they are not on the source",)
    assert [problem.what for problem in done.problems] == ["2 of 1 endorsers can never be reached"]
    assert "bob" not in place.read("endorsers/ours.yaml")


def test_what_nobody_signed_does_not_count(place: Place) -> None:
    place.sync()
    before = place.read("endorsers/sources/grid/list.yaml")
    place.remote.repo.commit({"endorsers/team.yaml": before.replace("Bob Example", "Bob Other")}, "a proposal")
    done = place.sync()
    assert (done.policy, done.narrowed, done.written) == (2, (), ())
    assert place.read("endorsers/sources/grid/list.yaml") == before


# -- sources that cannot be believed: nothing is written


def refused(place: Place, rule: str, now: datetime = NOW) -> Refused:
    before = tree(place.folder / "endorsers")
    with pytest.raises(Refused) as caught:
        place.sync(now)
    assert caught.value.rule == rule
    assert tree(place.folder / "endorsers") == before
    return caught.value


def test_a_policy_that_went_back_is_refused_by_what_the_list_says(place: Place) -> None:
    place.sync()
    text = place.read("endorsers/ours.yaml")
    place.write("endorsers/ours.yaml", text.replace("{policy: 2", "{policy: 3"))
    assert "policy 2 is in force there, policy 3 was before" in str(refused(place, "R3"))


def test_another_list_of_the_same_policy_is_refused(place: Place) -> None:
    place.sync()
    text = place.read("endorsers/ours.yaml")
    at = text.index('list: "') + 7
    place.write("endorsers/ours.yaml", f"{text[:at]}{'0' if text[at] != '0' else '1'}{text[at + 1 :]}")
    refused(place, "R3")


def test_a_remote_branch_that_went_back_is_refused_by_what_was_seen(place: Place) -> None:
    place.sync()
    git = place.remote.repo.git
    git.references["refs/heads/main"].set_target(git.revparse_single("main~1").id)
    git.references.delete("refs/tags/policy/2/alice")
    assert refused(place, "R8")


def test_a_policy_that_has_expired_is_refused(place: Place) -> None:
    refused(place, "R13", NOW + timedelta(days=400))


def test_another_repository_than_the_pinned_one_is_refused(place: Place, tmp_path: Path) -> None:
    other = Producer(tmp_path / "w", "https://images.example.org", tmp_path / "other")
    place.pin(source=str(other.repo.folder))
    refused(place, "R1")


def test_a_list_that_the_source_no_longer_has_is_refused(place: Place) -> None:
    place.write("endorsers/ours.yaml", place.read("endorsers/ours.yaml").replace("list: team", "list: gone"))
    assert "policy 2 of the source has no list gone" in str(refused(place, "R4"))


def test_a_remote_list_that_outruns_its_own_source_is_refused(place: Place) -> None:
    place.enact(lambda v: v.update(based_on={"list": "team"}), issued=NOW - timedelta(hours=20))
    refused(place, "R5")


# -- what a person has to mend


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda place: (place.folder / "endorsers/sources/grid/pins.yaml").unlink(), "the source is not pinned"),
        (lambda place: place.pin(source=None), "do not say where the repository is"),
        (
            lambda place: place.write("endorsers/ours.yaml", place.read("endorsers/ours.yaml").replace("  source: grid\n", "")),
            "is not based on a list",
        ),
        (lambda place: (place.folder / "endorsers/ours.yaml").unlink(), "there is no endorser list ours"),
        (
            lambda place: place.enact(lambda v: of(v, "alice")["keys"][0].update(file="alice.asc"), issued=NOW - timedelta(hours=20)),
            "there is no such key file",
        ),
    ],
)
def test_what_is_missing_is_said_with_the_way_out(place: Place, change: Callable[[Place], object], words: str) -> None:
    change(place)
    if words == "there is no such key file":  # such a policy never came into force
        assert place.sync().policy == 2
        return
    with pytest.raises(UserError, match=words) as caught:
        place.sync()
    assert caught.value.hint


def test_a_key_file_in_an_odd_place_is_not_taken(place: Place) -> None:
    place.remote.repo.commit({"endorsers/alice.txt": ARMOURED[ALICE]}, "oddly placed")
    place.enact(lambda v: of(v, "alice")["keys"][0].update(file="alice.txt"), issued=NOW - timedelta(hours=20))
    with pytest.raises(UserError, match=r"keeps the key file alice\.txt where none can be taken from"):
        place.sync()


def test_a_bare_repository_has_no_lists_to_write(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "bare")
    with pytest.raises(UserError, match="no work tree"):
        synchronise(repo.repository, "ours", Authorities(()), NOW)


def test_the_lists_to_synchronise_are_those_of_other_repositories(place: Place) -> None:
    place.write("endorsers/here.yaml", "title: x\ncommunity: x\npolicy: x\nendorsers: []\nbased_on: {list: ours}\n")
    place.write("endorsers/policy.yaml", "title: x\n")
    assert derived_lists(place.folder) == ("ours",)


# -- killed


def test_a_run_that_was_killed_is_finished_by_the_next(place: Place, tmp_path: Path) -> None:
    place.sync()
    place.enact(lambda v: of(v, "alice")["keys"][0].update(retired="2026-11-01T00:00:00Z"), "alice", "carol", issued=NOW - timedelta(hours=20))
    saved = tmp_path / "saved"
    shutil.copytree(place.folder, saved)

    def run() -> None:
        synchronise(Repository.open(place.folder), "ours", Authorities(()), NOW)

    def killed(step: int) -> None:
        dies_at(step)
        run()

    assert in_child(run) == 0
    wanted = tree(place.folder / "endorsers")
    step = 0
    while True:
        step += 4
        shutil.rmtree(place.folder)
        shutil.copytree(saved, place.folder)
        if in_child(partial(killed, step)) == 0:
            break
        assert in_child(run) == 0, f"after a kill at change {step}"
        assert tree(place.folder / "endorsers") == wanted, f"after a kill at change {step}"
    assert step > 10
