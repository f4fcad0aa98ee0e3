"""What a plan says about a change of endorsers/: who has to sign it, and what it takes away, judged on real signed tags."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pygit2
import pytest

from support.keys import ssh_key, ssh_public
from support.producer import NOW, Producer
from vmkeeper.execute.trustplan import with_trust
from vmkeeper.plan.actions import Action
from vmkeeper.plan.plan import Plan
from vmkeeper.plan.render import as_json, as_text
from vmkeeper.repository.tree import Repository
from vmkeeper.trust.keys.certificates import Authorities
from vmkeeper.values import sha512_hex

CLUSTER = {
    "name": "one",
    "services": {"node": {"fixed": True, "appliance": {"name": "web"}, "context": "plain"}},
    "placement": [{"site": "here"}],
}


class World:
    """A repository with two endorsed releases of one appliance, a list, a site, a cluster, and a policy in force."""

    def __init__(self, tmp_path: Path) -> None:
        self.made = Producer(tmp_path / "web", "https://images.example.org", tmp_path / "work")
        self.repository = self.made.repo.repository
        for version in ("1", "2"):
            self.made.all("web", version)
        self.commit({"imagelists/main.yaml": self.made.list_document(), "clusters/one.yaml": json.dumps(CLUSTER)})
        (tmp_path / "other").mkdir()
        self.other = ssh_public(ssh_key(tmp_path / "other"))
        self.base = self.repository.head()

    def commit(self, files: dict[str, str | None]) -> str:
        return self.made.repo.commit(files, "a change")

    def listed(self, change: Callable[[dict[str, Any]], Any]) -> None:
        value = json.loads(self.made.endorser_document())
        change(value)
        self.commit({"endorsers/team.yaml": json.dumps(value)})

    def plan(self, base: str | None = None, head: str | None = None) -> Plan:
        before = Plan(self.base if base is None else base, self.repository.head() if head is None else head)
        return with_trust(self.repository, before, Authorities(()), NOW)

    def actions(self) -> dict[str, Action]:
        return {action.id: action for action in self.plan().actions}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def alice(value: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = value["endorsers"][0]
    return found


LOST = ["enact:policy", "unlist:main/web 2", "hide:here/web 2", "stop:one/node at here"]


def test_without_a_change_of_trust_the_plan_is_the_same(world: World) -> None:
    world.commit({"README.md": "hello", "endorsers/README.md": "hello"})
    plan = Plan(world.base, world.repository.head())
    assert with_trust(world.repository, plan, Authorities(()), NOW) is plan


def test_who_has_to_sign_and_what_goes_when_an_endorser_leaves(world: World) -> None:
    other = {"name": "bob", "full_name": "Bob", "email": "bob@example.org", "keys": [{"type": "ssh", "key": world.other}]}
    world.listed(lambda v: v.update(endorsers=[other]))
    found = world.actions()
    assert list(found) == LOST
    enact = found["enact:policy"]
    assert enact.reason == "alice leaves team; bob joins team: this counts once it is signed by 1 of alice"
    assert enact.cause is not None
    assert (enact.cause.commit, enact.cause.path) == (world.repository.head(), "endorsers")
    hide = found["hide:here/web 2"]
    assert hide.reason == "alice leaves team; no other web may run there"
    assert hide.cause is not None
    assert (hide.cause.commit, hide.cause.path) == (world.repository.head(), "endorsers/team.yaml")
    assert hide.needs == ("enact:policy",)


def test_a_key_stolen_at_a_serial_leaves_the_version_before(world: World) -> None:
    mark = {"serial": 1, "sha512": sha512_hex(world.made.chain[0])}
    world.listed(lambda v: alice(v)["keys"][0].update(compromised_since=mark))
    found = world.actions()
    assert list(found) == [
        "enact:policy",
        "unlist:main/web 2",
        "publish:main/web 1",
        "hide:here/web 2",
        "register:here/web 1",
        "replace:one/node at here",
    ]
    assert (
        found["hide:here/web 2"].reason
        == f"the key {world.made.alice.id} of alice was stolen after serial 1; the nearest that still may run there is 1"
    )


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda v: alice(v).update(scope={"appliances": ["debian-*"]}), "alice may answer for debian-*, not *"),
        (lambda v: v.update(maximum_lifetime="30d"), "an endorsement on team may last 30d, not 180d"),
        (lambda v: v.update(rebuilds=1), "team asks for rebuilds 1, not 0"),
        (lambda v: alice(v).update(expires="2026-11-01T00:00:00Z"), "alice is an endorser until 2026-11-01T00:00:00Z"),
        (lambda v: alice(v)["keys"][0].update(compromised_since={}), "was stolen after serial 0"),
    ],
)
def test_what_takes_everything_is_named(world: World, change: Callable[[dict[str, Any]], Any], why: str) -> None:
    world.listed(change)
    found = world.actions()
    assert list(found) == LOST
    assert why in found["hide:here/web 2"].reason


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.update(title="Another title"),
        lambda v: v.update(criteria=["Looked."]),
        lambda v: alice(v)["keys"][0].update(retired="2026-11-20T09:00:00Z"),
        lambda v: v.update(maximum_lifetime="60d"),
    ],
)
def test_what_takes_nothing_only_has_to_be_signed(world: World, change: Callable[[dict[str, Any]], Any]) -> None:
    world.listed(change)
    assert list(world.actions()) == ["enact:policy"]


def test_a_quorum_that_rises_takes_what_one_alone_endorsed(world: World) -> None:
    bob = {"name": "bob", "full_name": "Bob", "email": "bob@example.org", "keys": [{"type": "ssh", "key": world.other}]}
    world.listed(lambda v: v.update(quorum=2, endorsers=[*v["endorsers"], bob]))
    assert list(world.actions()) == LOST
    assert world.actions()["unlist:main/web 2"].reason == "team asks for quorum 2, not 1; it will name no web"


def test_a_list_that_is_emptied_takes_everything(world: World) -> None:
    world.listed(lambda v: v.update(endorsers=[]))
    assert list(world.actions()) == LOST


def test_a_new_principal_is_asked_to_sign_too(world: World) -> None:
    bob = {"name": "bob", "full_name": "Bob", "email": "bob@example.org", "keys": [{"type": "ssh", "key": world.other}]}
    value = json.loads(world.made.policy_document())
    world.commit({"endorsers/policy.yaml": json.dumps({**value, "quorum": 2, "principals": [*value["principals"], bob]})})
    found = world.actions()
    assert list(found) == ["enact:policy"]
    asked = "this counts once it is signed by 1 of alice and by 2 of alice, bob"
    assert found["enact:policy"].reason == f"2 principals must sign a policy, not 1; bob joins the principals: {asked}"


def test_what_cannot_be_a_policy_is_said(world: World) -> None:
    world.listed(lambda v: alice(v)["keys"].append({"type": "openpgp", "fingerprint": "A" * 40, "file": "keys/none.asc"}))
    found = world.actions()
    assert list(found) == ["enact:policy"]
    assert "this cannot be signed: " in found["enact:policy"].reason
    assert "no such key file" in found["enact:policy"].reason


def test_a_document_that_cannot_be_read_is_named(world: World) -> None:
    world.commit({"endorsers/team.yaml": "title: x\n"})
    reason = world.actions()["enact:policy"].reason
    assert reason.startswith("the endorser list team is removed: this cannot be signed: endorsers/team.yaml:1:1")


def test_a_policy_that_is_gone_cannot_be_signed(world: World) -> None:
    world.commit({"endorsers/policy.yaml": None})
    assert "this cannot be signed: " in world.actions()["enact:policy"].reason


def test_files_that_are_not_committed_only_ask_for_signatures(world: World, tmp_path: Path) -> None:
    clone = pygit2.clone_repository(str(world.made.repo.folder), str(tmp_path / "clone"))
    (tmp_path / "clone/endorsers/team.yaml").write_text(world.made.endorser_document().replace("Team", "Crew"))
    made = with_trust(Repository(clone), Plan(world.base, ""), Authorities(()), NOW)
    assert [action.id for action in made.actions] == ["enact:policy"]
    assert made.actions[0].cause is None


def test_where_nothing_was_before_nothing_is_lost(world: World) -> None:
    world.listed(lambda v: v.update(title="Another title"))
    made = world.plan(base="")
    assert [action.id for action in made.actions if action.destroys] == []
    assert made.actions[0].id == "enact:policy"


def test_a_policy_that_is_signed_is_not_foretold(world: World) -> None:
    assert "enact:policy" not in [action.id for action in world.plan(base="").actions]


def test_what_is_foretold_is_no_part_of_the_digest(world: World) -> None:
    world.listed(lambda v: v.update(endorsers=[]))
    made = world.plan()
    assert made.digest() == Plan(made.base, made.head).digest()
    shown = as_json(made)
    assert [action["kind"] for action in shown["actions"]] == ["unlist", "hide", "stop", "enact"]
    assert "hide      here/web 2" in as_text(made)
