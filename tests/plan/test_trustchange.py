"""What a change of endorsers/ says in sentences, and whether it can take trust away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from support.endorserlists import ALICE, BOB, SSH
from vmkeeper.model.endorser import EndorserList
from vmkeeper.model.policy import Policy
from vmkeeper.plan.trustchange import Trust, TrustChange, trust_changes

OTHER = SSH.replace("IHUr", "IHUs")
CI = {"name": "ci", "id": "https://ci.example.org/b", "keys": [{"type": "ssh", "key": OTHER}]}
X509 = {"type": "x509", "subject": "/CN=Alice", "issuer": "/CN=CA"}
Edit = Callable[[dict[str, Any]], Any]


def person(name: str, *keys: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "full_name": name.title(), "email": f"{name}@example.org", "keys": list(keys)}


def alice() -> dict[str, Any]:
    return person("alice", {"type": "openpgp", "fingerprint": ALICE, "file": "keys/alice.asc"}, dict(X509))


def listed() -> dict[str, Any]:
    bob = person("bob", {"type": "openpgp", "fingerprint": BOB, "file": "keys/bob.asc"})
    return {"title": "x", "community": "science", "policy": "x", "endorsers": [alice(), bob]}


def policy() -> dict[str, Any]:
    return {"title": "x", "quorum": 1, "principals": [alice()]}


def first(value: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = value["endorsers"][0]
    return found


def told(one: TrustChange) -> tuple[str, bool, str, str]:
    return one.what, one.takes, one.name, one.key


PGP = f"openpgp:{ALICE}"
OF_LIST: dict[str, tuple[Edit, list[tuple[str, bool, str, str]]]] = {
    "nothing": (lambda v: v.update(title="y", policy="y"), []),
    "a person's address": (lambda v: first(v).update(email="a@b", full_name="A", url="https://a.example.org"), []),
    "the file of a key": (lambda v: first(v)["keys"][0].update(file="keys/a.asc"), []),
    "community": (lambda v: v.update(community="grid"), [("x speaks for grid, not science", True, "", "")]),
    "criteria": (lambda v: v.update(criteria=["One."]), [("the criteria of x are others", False, "", "")]),
    "base": (lambda v: v.update(based_on={"list": "y"}), [("x is based on y", True, "", "")]),
    "a higher quorum": (lambda v: v.update(quorum=2), [("x asks for quorum 2, not 1", True, "", "")]),
    "more rebuilds": (lambda v: v.update(rebuilds=1), [("x asks for rebuilds 1, not 0", True, "", "")]),
    "a shorter lifetime": (lambda v: v.update(maximum_lifetime="30d"), [("an endorsement on x may last 30d, not 180d", True, "", "")]),
    "somebody leaves": (lambda v: v["endorsers"].pop(0), [("alice leaves x", True, "alice", "")]),
    "a key goes": (lambda v: first(v)["keys"].pop(0), [(f"alice has the key {PGP} no longer", True, "alice", PGP)]),
    "a key of any certificate goes": (
        lambda v: first(v)["keys"].pop(1),
        [("alice has the key x509:/CN=Alice by /CN=CA no longer", True, "alice", "")],
    ),
    "a key is stolen": (
        lambda v: first(v)["keys"][0].update(compromised_since={"serial": 7}),
        [(f"the key {PGP} of alice was stolen after serial 7", True, "alice", PGP)],
    ),
    "a key is retired": (
        lambda v: first(v)["keys"][0].update(retired="2026-01-01T00:00:00Z"),
        [(f"alice retires the key {PGP} at 2026-01-01T00:00:00Z", True, "alice", PGP)],
    ),
    "one certificate": (
        lambda v: first(v)["keys"][1].update(certificate="a" * 64),
        [(f"alice signs with the certificate {'a' * 64}", True, "alice", "")],
    ),
    "a narrower scope": (
        lambda v: first(v).update(scope={"appliances": ["debian-*"], "communities": ["science"]}),
        [
            ("alice may answer for debian-*, not *", True, "alice", ""),
            ("alice may answer for the communities science, not *", True, "alice", ""),
        ],
    ),
    "a begin": (
        lambda v: first(v).update(not_before="2026-01-01T00:00:00Z"),
        [("alice is an endorser since 2026-01-01T00:00:00Z", True, "alice", "")],
    ),
    "an end": (
        lambda v: first(v).update(expires="2026-01-01T00:00:00Z"),
        [("alice is an endorser until 2026-01-01T00:00:00Z", True, "alice", "")],
    ),
}
BACK = {
    "base": [("x is based on no other list", False, "", "")],
    "criteria": [("the criteria of x are others", False, "", "")],
    "a higher quorum": [("x asks for quorum 1, not 2", False, "", "")],
    "more rebuilds": [("x asks for rebuilds 0, not 1", False, "", "")],
    "a shorter lifetime": [("an endorsement on x may last 180d, not 30d", False, "", "")],
    "somebody leaves": [("alice joins x", False, "alice", "")],
    "a key goes": [(f"alice has the key {PGP} too", False, "alice", PGP)],
    "a key is stolen": [(f"the key {PGP} of alice was not stolen", False, "alice", PGP)],
    "a key is retired": [(f"alice uses the key {PGP} again", False, "alice", PGP)],
    "one certificate": [("alice signs with any certificate of their name", False, "alice", "")],
    "a narrower scope": [
        ("alice may answer for *, not debian-*", False, "alice", ""),
        ("alice may answer for the communities *, not science", False, "alice", ""),
    ],
    "a begin": [("alice is an endorser from the beginning", False, "alice", "")],
    "an end": [("alice is an endorser without an end", False, "alice", "")],
}


def of_list(value: dict[str, Any]) -> Trust:
    return Trust(None, {"x": EndorserList.model_validate(value)})


def edited(edit: Edit) -> dict[str, Any]:
    value = listed()
    edit(value)
    return value


@pytest.mark.parametrize(("edit", "wanted"), OF_LIST.values(), ids=OF_LIST)
def test_a_list_s_change_in_sentences(edit: Edit, wanted: list[tuple[str, bool, str, str]]) -> None:
    found = trust_changes(of_list(listed()), of_list(edited(edit)))
    assert [told(one) for one in found] == wanted
    assert {(one.path, one.list) for one in found} <= {("endorsers/x.yaml", "x")}


@pytest.mark.parametrize("name", BACK)
def test_the_same_change_backwards(name: str) -> None:
    found = trust_changes(of_list(edited(OF_LIST[name][0])), of_list(listed()))
    assert [told(one) for one in found] == BACK[name]


def test_lists_come_and_go() -> None:
    one = EndorserList.model_validate(listed())
    found = trust_changes(Trust(None, {"b": one, "c": one}), Trust(None, {"a": one, "c": one}))
    assert [(one.path, one.list, *told(one)) for one in found] == [
        ("endorsers/a.yaml", "a", "the endorser list a is new", False, "", ""),
        ("endorsers/b.yaml", "b", "the endorser list b is removed", True, "", ""),
    ]


FRESH = {"builders": [CI], "freshness": {"signers": ["ci"]}}
OF_POLICY: dict[str, tuple[dict[str, Any] | None, dict[str, Any] | None, list[tuple[str, bool]]]] = {
    "none": (None, None, []),
    "new": (None, policy(), [("the policy is new", False)]),
    "removed": (policy(), None, [("the policy is removed", True)]),
    "the same": (policy(), {**policy(), "title": "y", "maximum_lifetime": "10d"}, []),
    "quorum": (
        {**policy(), "principals": [alice(), person("bob", {"type": "ssh", "key": SSH})]},
        {**policy(), "principals": [alice(), person("bob", {"type": "ssh", "key": SSH})], "quorum": 2},
        [("2 principals must sign a policy, not 1", False)],
    ),
    "principals": (
        policy(),
        {**policy(), "principals": [person("bob", {"type": "ssh", "key": SSH})]},
        [("alice leaves the principals", True), ("bob joins the principals", False)],
    ),
    "a builder": (
        policy(),
        {**policy(), "builders": [CI]},
        [("ci joins the builders", False), ("every release needs provenance signed by a builder", True)],
    ),
    "another builder": (
        {**policy(), "builders": [CI]},
        {**policy(), "builders": [CI, {**CI, "name": "cd", "keys": [{"type": "ssh", "key": SSH}]}]},
        [("cd joins the builders", False)],
    ),
    "no builder": ({**policy(), "builders": [CI]}, policy(), [("ci leaves the builders", True)]),
    "a builder's key": (
        {**policy(), "builders": [CI]},
        {**policy(), "builders": [{**CI, "keys": [{"type": "ssh", "key": OTHER, "compromised_since": {}}]}]},
        [("the key ssh:SHA256:", True)],
    ),
    "freshness": ({**policy(), "builders": [CI]}, {**policy(), **FRESH}, [("statements of freshness are made by ci every 2d", True)]),
    "no freshness": ({**policy(), **FRESH}, {**policy(), "builders": [CI]}, [("statements of freshness are made by nobody", False)]),
}


@pytest.mark.parametrize(("old", "new", "wanted"), OF_POLICY.values(), ids=OF_POLICY)
def test_the_policy_s_change_in_sentences(old: dict[str, Any] | None, new: dict[str, Any] | None, wanted: list[tuple[str, bool]]) -> None:
    before, after = (Trust(Policy.model_validate(value) if value else None, {}) for value in (old, new))
    found = trust_changes(before, after)
    assert [(one.what[: len(what)], one.takes) for one, (what, _) in zip(found, wanted, strict=True)] == wanted
    assert {(one.path, one.list) for one in found} <= {("endorsers/policy.yaml", "")}
