"""What a change of trust means for lists, sites and clusters, said before anybody signs it. Scenarios as data."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.endorserlists import ALICE, BOB, SSH
from vmkeeper.model.cluster import Cluster
from vmkeeper.model.endorser import Endorser, EndorserList
from vmkeeper.model.imagelist import ImageList
from vmkeeper.model.policy import Policy
from vmkeeper.model.site import Site
from vmkeeper.plan.actions import Action, Cause
from vmkeeper.plan.impact import Change, Users, impact, nearest, signatures
from vmkeeper.plan.plan import ordered
from vmkeeper.plan.trustchange import Trust, TrustChange, trust_changes
from vmkeeper.trust.approval import Decision
from vmkeeper.trust.keys.interface import SignedBy
from vmkeeper.trust.people import key_id
from vmkeeper.trust.refusal import Refusal
from vmkeeper.trust.said import Endorsement
from vmkeeper.trust.verify import Accepted
from vmkeeper.values import Version

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
COMMIT = "c" * 40
ALICES, BOBS = f"openpgp:{ALICE}", f"openpgp:{BOB}"
OTHER = SSH.replace("IHUr", "IHUs")
PLACES = {"type": "openstack", "cloud": "c", "places": [{"name": "north"}, {"name": "south"}]}


# -- a world: one endorser list, two appliances with two versions each, a list, two sites, a cluster


def person(name: str, *keys: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "full_name": name.title(), "email": f"{name}@example.org", "keys": list(keys), **more}


def openpgp(fingerprint: str) -> dict[str, Any]:
    return {"type": "openpgp", "fingerprint": fingerprint, "file": "keys/x.asc"}


def endorsers() -> dict[str, Any]:
    return {
        "title": "Science",
        "community": "science",
        "policy": "We looked.",
        "maximum_lifetime": "180d",
        "endorsers": [person("alice", openpgp(ALICE)), person("bob", openpgp(BOB))],
    }


def principals() -> dict[str, Any]:
    return {"title": "Policy", "quorum": 1, "principals": [person("alice", openpgp(ALICE)), person("paula", {"type": "ssh", "key": SSH})]}


@dataclass(frozen=True)
class Said:
    """An endorsement: of what, by whom, with which key and serial, for how long, rebuilt or not."""

    appliance: str
    version: str
    endorser: str
    key: str
    serial: int
    days: int = 90
    rebuilt: bool = False


SAID = (
    Said("base", "1", "alice", ALICES, 1),
    Said("base", "2", "alice", ALICES, 2, days=30),
    Said("base", "2", "bob", BOBS, 1, rebuilt=True),
    Said("base", "3", "alice", ALICES, 3),
    Said("web", "1", "bob", BOBS, 2),
)
IMAGES = ImageList.model_validate(
    {
        "uuid": "5b0f4a0e-6b1c-4f2e-9d3a-2f1e0d9c8b7a",
        "title": "Images",
        "description": "Images",
        "source": "Example",
        "url": "https://images.example.org",
        "owner": {"name": "Example", "email": "images@example.org"},
        "appliances": [{"appliance": "base"}, {"appliance": "web"}],
        "endorsed_by": "science",
    }
)


def site(**more: Any) -> Site:
    return Site.model_validate(
        {"title": "x", "platform": {"type": "local"}, "subscribe": [{"list": "images"}], "approve": [{"appliance": "*"}], **more}
    )


def cluster(*sites: str, version: str = "*") -> Cluster:
    service = {"fixed": True, "appliance": {"name": "base", "version": version}, "context": "plain"}
    return Cluster.model_validate({"name": "one", "services": {"node": service}, "placement": [{"site": name} for name in sites]})


USERS = Users({"images": IMAGES}, {"here": site(), "two": site(keep=2)}, {"one": cluster("here", "elsewhere")})


def decisions(lists: Mapping[str, EndorserList], said: tuple[Said, ...] = SAID) -> dict[str, tuple[Decision, ...]]:
    """What the verifier would decide, as far as these scenarios go."""
    found: dict[str, tuple[Decision, ...]] = {}
    for name, listed in lists.items():
        counted = [one for one in said if any(_counts(one, endorser, listed) for endorser in listed.endorsers)]
        made = []
        for appliance, version in sorted({(one.appliance, one.version) for one in said}):
            good = [one for one in counted if (one.appliance, one.version) == (appliance, version)]
            enough = len(good) >= listed.quorum and sum(one.rebuilt for one in good) >= listed.rebuilds
            refusals = () if enough else (Refusal("R20", f"{len(good)} of {listed.quorum} endorsers of {name} endorse it"),)
            made.append(Decision(appliance, Version(version), refusals, tuple(map(_accepted, good)) if enough else ()))
        found[name] = tuple(made)
    return found


def _counts(one: Said, endorser: Endorser, listed: EndorserList) -> bool:
    key = next((key for key in endorser.keys if key_id(key) == one.key), None)
    return (
        endorser.name == one.endorser
        and key is not None
        and (key.compromised_since is None or one.serial <= key.compromised_since.serial)
        and any(fnmatchcase(one.appliance, pattern) for pattern in endorser.scope.appliances)
        and one.days * 86400 <= listed.maximum_lifetime
        and (endorser.expires is None or endorser.expires > NOW)
    )


def _accepted(one: Said) -> Accepted:
    statement = Endorsement.model_construct(appliance=one.appliance, version=one.version, endorser=one.endorser, serial=one.serial)
    return Accepted(f"endorse/{one.appliance}/{one.version}/{one.endorser}/{one.serial}", "0" * 128, statement, SignedBy(one.key, one.key))


def cause(path: str) -> Cause:
    return Cause(commit=COMMIT, path=path)


def trust(lists: Mapping[str, dict[str, Any]], policy: dict[str, Any] | None = None) -> Trust:
    made = Policy.model_validate(policy) if policy else None
    return Trust(made, {name: EndorserList.model_validate(value) for name, value in lists.items()})


def foretold(old: Trust, new: Trust, users: Users = USERS) -> tuple[Action, ...]:
    change = Change.of(decisions(old.lists), decisions(new.lists), trust_changes(old, new), cause)
    return impact(change, users, NOW)


# -- scenarios

Edit = Callable[[dict[str, Any]], Any]
LOSES_BASE_3 = ["unlist:images/base 3", "publish:images/base 2", "hide:here/base 3", "register:here/base 2", "hide:two/base 3"]
ROLLS = ["replace:one/node at here"]


def edited(edit: Edit) -> dict[str, Any]:
    value = endorsers()
    edit(value)
    return value


def first(value: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = value["endorsers"][0]
    return found


SCENARIOS: dict[str, tuple[Edit, list[str], str]] = {
    "an endorser leaves": (
        lambda v: v["endorsers"].pop(0),
        [*LOSES_BASE_3, *ROLLS],
        "alice leaves science; it will name 2",
    ),
    "a key is retired": (lambda v: first(v)["keys"][0].update(retired="2026-11-20T00:00:00Z"), [], ""),
    "a key was stolen at a serial": (
        lambda v: first(v)["keys"][0].update(compromised_since={"serial": 2}),
        [*LOSES_BASE_3, *ROLLS],
        f"the key {ALICES} of alice was stolen after serial 2; it will name 2",
    ),
    "a key was stolen before all that it signed": (
        lambda v: first(v)["keys"][0].update(compromised_since={}),
        [*LOSES_BASE_3, *ROLLS],
        f"the key {ALICES} of alice was stolen after serial 0; it will name 2",
    ),
    "a key is another one": (
        lambda v: first(v).update(keys=[{"type": "ssh", "key": OTHER}]),
        [*LOSES_BASE_3, *ROLLS],
        f"alice has the key {ALICES} no longer; it will name 2",
    ),
    "the quorum rises": (
        lambda v: v.update(quorum=2),
        ["unlist:images/base 3", "publish:images/base 2", "unlist:images/web 1", "hide:here/base 3", "register:here/base 2", "hide:here/web 1",
         "hide:two/base 3", "hide:two/web 1", *ROLLS],
        "science asks for quorum 2, not 1; it will name 2",
    ),
    "a scope becomes narrower": (
        lambda v: v["endorsers"][1].update(scope={"appliances": ["base"]}),
        ["unlist:images/web 1", "hide:here/web 1", "hide:two/web 1"],
        "bob may answer for base, not *; it will name no web",
    ),
    "rebuilds are asked for": (
        lambda v: v.update(rebuilds=1),
        ["unlist:images/base 3", "publish:images/base 2", "unlist:images/web 1", "hide:here/base 3", "register:here/base 2", "hide:here/web 1",
         "hide:two/base 3", "hide:two/web 1", *ROLLS],
        "science asks for rebuilds 1, not 0; it will name 2",
    ),
    "endorsements may last for less": (
        lambda v: v.update(maximum_lifetime="60d"),
        ["unlist:images/base 3", "publish:images/base 2", "unlist:images/web 1", "hide:here/base 3", "register:here/base 2", "hide:here/web 1",
         "hide:two/base 3", "hide:two/web 1", *ROLLS],
        "an endorsement on science may last 60d, not 180d; it will name 2",
    ),
    "an endorser's term ends": (
        lambda v: first(v).update(expires="2026-11-01T00:00:00Z"),
        [*LOSES_BASE_3, *ROLLS],
        "alice is an endorser until 2026-11-01T00:00:00Z; it will name 2",
    ),
    "an endorser joins": (lambda v: v["endorsers"].append(person("carol", {"type": "ssh", "key": OTHER})), [], ""),
    "a key is added": (lambda v: first(v)["keys"].append({"type": "ssh", "key": OTHER}), [], ""),
    "the quorum falls": (lambda v: v.update(quorum=1), [], ""),
    "the criteria are others": (lambda v: v.update(criteria=["Looked twice."]), [], ""),
}  # fmt: skip


@pytest.mark.parametrize(("edit", "ids", "reason"), SCENARIOS.values(), ids=SCENARIOS)
def test_what_a_change_of_the_list_takes_away(edit: Edit, ids: list[str], reason: str) -> None:
    found = foretold(trust({"science": endorsers()}), trust({"science": edited(edit)}))
    assert [action.id for action in found] == ids
    assert len(ordered(found)) == len(found)
    unlisted = [action for action in found if action.kind == "unlist"]
    assert [action.reason for action in unlisted[:1]] == ([reason] if reason else [])
    for action in found:
        if action.destroys or action.kind == "replace":
            assert action.cause == cause("endorsers/science.yaml")


def test_a_list_that_is_removed_takes_everything_with_it() -> None:
    found = foretold(trust({"science": endorsers()}), trust({}))
    assert [action.id for action in found] == [
        "unlist:images/base 3",
        "unlist:images/web 1",
        "hide:here/base 3",
        "hide:here/web 1",
        "hide:two/base 3",
        "hide:two/base 2",
        "hide:two/web 1",
        "stop:one/node at here",
    ]
    said = {action.id: action.reason for action in found}
    assert said["unlist:images/web 1"] == "the endorser list science is removed; it will name no web"
    assert said["hide:two/base 2"] == "the endorser list science is removed; no other base may run there"
    assert said["stop:one/node at here"] == "the endorser list science is removed; no base is left that the service takes"


def test_root_principals_that_rotate_lose_nothing() -> None:
    new = {**principals(), "principals": [person("paula", {"type": "ssh", "key": SSH}), person("quentin", {"type": "ssh", "key": OTHER})]}
    old_trust, new_trust = trust({"science": endorsers()}, principals()), trust({"science": endorsers()}, {**new, "quorum": 2})
    assert foretold(old_trust, new_trust) == ()
    assert [one.what for one in trust_changes(old_trust, new_trust)] == [
        "2 principals must sign a policy, not 1",
        "alice leaves the principals",
        "quentin joins the principals",
    ]
    action = signatures(old_trust.policy, new_trust.policy, cause("endorsers/policy.yaml"))
    assert (action.id, action.who) == ("enact:policy", "principal")
    assert action.reason == "endorsers/ changes: this counts once it is signed by 1 of alice, paula and by 2 of paula, quentin"


def test_a_list_of_its_own_is_not_touched() -> None:
    users = Users({"images": IMAGES.model_copy(update={"endorsed_by": "other"})}, USERS.sites, USERS.clusters)
    both = {"science": endorsers(), "other": endorsers()}
    assert foretold(trust(both), trust({**both, "science": edited(lambda v: v.update(quorum=2))}), users) == ()


def test_the_site_and_its_cluster_say_what_is_left() -> None:
    found = foretold(trust({"science": endorsers()}), trust({"science": edited(lambda v: v["endorsers"].pop(0))}))
    said = {action.id: action.reason for action in found}
    assert said["hide:here/base 3"] == "alice leaves science; the nearest that still may run there is 2"
    assert said["register:here/base 2"] == "it takes the place of one that no longer may run"
    assert said["publish:images/base 2"] == "it is the newest that counts on science then"
    assert said["replace:one/node at here"] == "alice leaves science; it rolls from 3 to 2"


def test_a_service_that_takes_only_what_is_lost_stops() -> None:
    users = Users(USERS.image_lists, USERS.sites, {"one": cluster("here", version=">=3")})
    found = foretold(trust({"science": endorsers()}), trust({"science": edited(lambda v: v["endorsers"].pop(0))}), users)
    assert found[-1].id == "stop:one/node at here"
    assert found[-1].destroys


def test_a_site_gets_only_what_a_list_will_name() -> None:
    choosy = site(approve=[{"appliance": "base", "version": "!=2"}])
    users = Users(USERS.image_lists, {"here": choosy}, {"one": cluster("here")})
    found = foretold(
        trust({"science": endorsers()}), trust({"science": edited(lambda v: first(v)["keys"][0].update(compromised_since={"serial": 2}))}), users
    )
    assert [action.id for action in found] == ["unlist:images/base 3", "publish:images/base 2", "hide:here/base 3", "stop:one/node at here"]
    assert found[2].reason.endswith("; no other base may run there")


def test_a_service_that_takes_another_version_goes_on() -> None:
    users = Users(USERS.image_lists, USERS.sites, {"one": cluster("two", version="<3")})
    assert not [
        action
        for action in foretold(trust({"science": endorsers()}), trust({"science": edited(lambda v: v["endorsers"].pop(0))}), users)
        if action.kind in ("stop", "replace")
    ]


@pytest.mark.parametrize(
    ("more", "ids"),
    [
        ({"approve": []}, []),
        ({"approve": [{"appliance": "web"}]}, []),
        ({"approve": [{"appliance": "base", "version": "<3"}]}, []),
        ({"approve": [{"appliance": "base", "endorser": "bob"}]}, []),
        ({"block": [{"appliance": "base", "version": "==3", "reason": "x"}]}, []),
        ({"subscribe": []}, []),
        ({"subscribe": [{"list": "gone"}]}, []),
        ({"subscribe": [{"list": "images", "appliances": ["web"]}]}, []),
        ({"approve": [{"appliance": "ba*", "endorser": "alice"}]}, ["hide:x/base 3"]),
        ({"block": [{"appliance": "base", "version": "==2", "reason": "x"}]}, ["hide:x/base 3"]),
        ({"approve": [{"list": "images"}]}, ["hide:x/base 3"]),
        ({"approve": [{"list": "other"}]}, []),
        ({"approve": [{"tag": "endorse/base/*/alice/*"}]}, ["hide:x/base 3"]),
        ({"approve": [{"tag": "endorse/base/*/bob/*"}]}, []),
        ({"approve": [{"community": "science"}]}, []),
        ({"approve": [{"digest": "0" * 128}]}, []),
        ({"approve": [{"appliance": "*", "until": NOW}]}, []),
        ({"approve": [{"appliance": "*", "not_before": NOW}]}, ["hide:x/base 3"]),
        ({"approve": [{"appliance": "*", "not_before": NOW + timedelta(1)}]}, []),
        ({"block": [{"appliance": "*", "until": NOW, "reason": "x"}]}, ["hide:x/base 3"]),
        ({"block": [{"list": "images", "reason": "x"}]}, []),
        ({"platform": PLACES, "approve": [{"appliance": "*", "places": ["north"]}]}, ["hide:x/base 3"]),
        ({"platform": PLACES, "block": [{"appliance": "*", "places": ["north"], "reason": "x"}]}, ["hide:x/base 3"]),
        ({"platform": PLACES, "block": [{"appliance": "*", "places": ["north", "south"], "reason": "x"}]}, []),
    ],
)
def test_a_site_hides_only_what_it_took(more: dict[str, Any], ids: list[str]) -> None:
    users = Users(USERS.image_lists, {"x": site(**more)}, {})
    found = foretold(trust({"science": endorsers()}), trust({"science": edited(lambda v: v["endorsers"].pop(0))}), users)
    assert [action.id for action in found if action.kind == "hide"] == ids


def test_what_another_list_still_vouches_for_stays() -> None:
    again = IMAGES.model_copy(update={"endorsed_by": "other"})
    users = Users({"images": IMAGES, "again": again}, {"x": site(subscribe=[{"list": "images"}, {"list": "again"}])}, {})
    both = {"science": endorsers(), "other": endorsers()}
    found = foretold(trust(both), trust({"other": endorsers()}), users)
    assert [action.id for action in found] == ["unlist:images/base 3", "unlist:images/web 1"]


def test_what_counts_anew_is_published_and_registered() -> None:
    one = edited(lambda v: v["endorsers"].pop(0))
    found = foretold(trust({"science": one}), trust({"science": endorsers()}))
    assert [action.id for action in found] == ["publish:images/base 3", "register:here/base 3", "register:two/base 3"]
    assert found[-1].reason == "it counts on science then"
    assert not any(action.destroys for action in found)


def test_what_follows_needs_what_must_be_signed() -> None:
    old, new = trust({"science": endorsers()}), trust({})
    change = Change.of(decisions(old.lists), {}, trust_changes(old, new), cause)
    found = impact(change, USERS, NOW, ("enact:policy",))
    assert found
    assert {action.needs for action in found} == {("enact:policy",)}


def test_where_no_sentence_fits_the_verifier_speaks() -> None:
    before = decisions(trust({"science": endorsers()}).lists)
    refused = tuple(Decision(one.appliance, one.version, (Refusal("R12", "the key was revoked", "keys/x.asc"),)) for one in before["science"])
    elsewhere = (TrustChange("endorsers/other.yaml", "x", True, "other"), TrustChange("endorsers/science.yaml", "y", True, "science", "carol"))
    found = impact(Change.of(before, {"science": refused}, elsewhere, cause), USERS, NOW)
    assert found[0].reason == "R12: the key was revoked (keys/x.asc); it will name no base"
    assert found[0].cause == cause("endorsers")
    found = impact(Change.of(before, {}, (), lambda _: None), USERS, NOW)
    assert found[0].reason == "nothing vouches for it any more; it will name no base"
    assert found[0].cause is None


def test_a_change_of_the_policy_is_named_where_the_list_has_not_changed() -> None:
    before = decisions(trust({"science": endorsers()}).lists)
    new = {**principals(), "builders": [{"name": "ci", "id": "https://ci.example.org", "keys": [{"type": "ssh", "key": OTHER}]}]}
    sentences = trust_changes(trust({"science": endorsers()}, principals()), trust({"science": endorsers()}, new))
    found = impact(Change.of(before, {}, sentences, cause), USERS, NOW)
    assert found[0].reason == "every release needs provenance signed by a builder; it will name no base"
    assert found[0].cause == cause("endorsers/policy.yaml")


def test_of_many_changes_three_are_named() -> None:
    sentences = [TrustChange("endorsers/science.yaml", word, True, "science") for word in "abcd"]
    found = impact(Change.of(decisions(trust({"science": endorsers()}).lists), {}, sentences, cause), USERS, NOW)
    assert found[0].reason == "a; b; c; it will name no base"


# -- who has to sign


def policy(quorum: int, *names: str) -> Policy:
    keys = {name: {"type": "ssh", "key": SSH.replace("IHUr", f"IHU{name[0]}")} for name in names}
    return Policy.model_validate({"title": "x", "quorum": quorum, "principals": [person(name, keys[name]) for name in names]})


@pytest.mark.parametrize(("old", "new", "said"), [
    (None, policy(1, "a"), "endorsers/ changes: this counts once it is signed by 1 of a"),
    (policy(2, "a", "b"), policy(2, "a", "b"), "endorsers/ changes: this counts once it is signed by 2 of a, b"),
    (policy(1, "a", "b"), policy(1, "b"), "endorsers/ changes: this counts once it is signed by 1 of a, b and by 1 of b"),
    (policy(1, "a"), None, "endorsers/ changes: this cannot be signed: there is no endorsers/policy.yaml"),
])  # fmt: skip
def test_who_has_to_sign(old: Policy | None, new: Policy | None, said: str) -> None:
    assert signatures(old, new, None).reason == said


def test_what_cannot_be_signed_is_said() -> None:
    assert (
        signatures(policy(1, "a"), policy(1, "a"), None, (), "the list is damaged").reason
        == "endorsers/ changes: this cannot be signed: the list is damaged"
    )


@pytest.mark.parametrize(("count", "said"), [(1, "a"), (3, "a; b; c"), (4, "a; b; c; and 1 more changes"), (5, "a; b; c; and 2 more changes")])
def test_what_is_signed_is_said_in_at_most_three_sentences(count: int, said: str) -> None:
    sentences = [TrustChange("endorsers/science.yaml", word, True) for word in "abcde"[:count]]
    assert signatures(None, policy(1, "a"), None, sentences).reason == f"{said}: this counts once it is signed by 1 of a"


# -- the nearest version

VERSIONS = st.integers(1, 9).map(lambda number: Version(str(number)))


@pytest.mark.parametrize(
    ("version", "others", "wanted"), [("2", "13", "3"), ("5", "12", "2"), ("1", "", None), ("3", "3", None), ("3", "39", "9"), ("9", "12", "2")]
)
def test_the_nearest_version(version: str, others: str, wanted: str | None) -> None:
    assert nearest(Version(version), map(Version, others)) == (Version(wanted) if wanted else None)


@given(VERSIONS, st.sets(VERSIONS))
def test_nothing_stands_between_a_version_and_the_nearest(version: Version, others: set[Version]) -> None:
    found = nearest(version, others)
    if found is None:
        assert not others - {version}
    else:
        assert not [other for other in others if min(version, found) < other < max(version, found)]
        assert found > version or not [other for other in others if other > version]


@given(st.lists(st.sampled_from(sorted(SCENARIOS)), max_size=3))
def test_a_plan_of_any_changes_hangs_together(names: list[str]) -> None:
    value = endorsers()
    for name in names:
        before = copy.deepcopy(value)
        try:
            SCENARIOS[name][0](value)
            EndorserList.model_validate(value)
        except (LookupError, ValueError):
            value = before
    found = foretold(trust({"science": endorsers()}), trust({"science": value}))
    assert len({action.id for action in ordered(found)}) == len(found)
    hidden = {action.subject for action in found if action.kind == "hide"}
    assert not hidden & {action.subject for action in found if action.kind == "register"}


def test_the_world_is_as_the_scenarios_say() -> None:
    accepted = {(one.appliance, str(one.version)) for one in decisions(trust({"science": endorsers()}).lists)["science"] if one.accepted}
    assert accepted == {("base", "1"), ("base", "2"), ("base", "3"), ("web", "1")}
