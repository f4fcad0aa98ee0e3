"""Lists based on others: narrowing is free, widening and lagging are refused, with the place and the way out."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmkeeper.model.endorser import Base, EndorserList
from vmkeeper.model.keys import identity
from vmkeeper.trust.derived import SKEW, Deviation, Source, covered, deviations, effective, lag, stale_keys, unread
from vmkeeper.trust.refusal import Refusal
from vmkeeper.values import Duration, parse_time

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DIGEST, OTHER = "a1" * 64, "b2" * 64
PGP = {"alice": "A" * 40, "bob": "B" * 40, "carol": "C" * 40}
SSH = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBiMzJeWUm4yXQ0Bvq5cmvOZ3zjJDeyaTyQQjUFEm1XM"
SYNC = "run: vmkeeper policy sync, and have the policy signed"


def person(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "full_name": name.title(),
        "email": f"{name}@example.org",
        "keys": [{"type": "openpgp", "fingerprint": PGP[name], "file": f"keys/{name}.asc"}],
        **more,
    }


def whole() -> dict[str, Any]:
    """A source list in which every field says something."""
    return {
        "title": "Source",
        "community": "grid",
        "policy": "We looked.",
        "criteria": ["One.", "Two."],
        "quorum": 2,
        "rebuilds": 1,
        "maximum_lifetime": "90d",
        "endorsers": [
            person(
                "alice",
                keys=[
                    {"type": "openpgp", "fingerprint": PGP["alice"], "file": "keys/alice.asc", "retired": "2026-06-01T00:00:00Z"},
                    {"type": "ssh", "key": SSH, "compromised_since": {"serial": 7, "sha512": DIGEST}},
                    {"type": "x509", "subject": "/DC=org/CN=Alice", "issuer": "/DC=org/CN=CA", "certificate": "c" * 64},
                ],
                scope={"appliances": ["debian-*", "slurm"], "communities": ["science", "grid-*"]},
                not_before="2026-01-01T00:00:00Z",
                expires="2027-01-01T00:00:00Z",
            ),
            person("bob"),
            person("carol"),
        ],
    }


def listed(value: dict[str, Any], **more: Any) -> EndorserList:
    return EndorserList.model_validate({**value, **more})


def of(value: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = {person["name"]: person for person in value["endorsers"]}[name]
    return found


def alice(value: dict[str, Any]) -> dict[str, Any]:
    return of(value, "alice")


def held(value: dict[str, Any], kind: str) -> dict[str, Any]:
    """Alice's key of a type."""
    found: dict[str, Any] = {key["type"]: key for key in alice(value)["keys"]}[kind]
    return found


# -- one list beside its source

Change = Callable[[dict[str, Any]], Any]
NARROWER: dict[str, Change] = {
    "nothing": lambda v: None,
    "another title, community and policy": lambda v: v.update(title="x", community="y", policy="z"),
    "a criterion more": lambda v: v["criteria"].append("Three."),
    "criteria in another order": lambda v: v["criteria"].reverse(),
    "a higher quorum": lambda v: v.update(quorum=3),
    "more rebuilds": lambda v: v.update(rebuilds=2),
    "a shorter lifetime": lambda v: v.update(maximum_lifetime="30d"),
    "a person less": lambda v: v["endorsers"].pop(0),
    "people in another order": lambda v: v["endorsers"].reverse(),
    "nobody": lambda v: v["endorsers"].clear(),
    "a key less": lambda v: alice(v)["keys"].pop(0),
    "keys in another order": lambda v: alice(v)["keys"].reverse(),
    "a pattern less": lambda v: alice(v)["scope"]["appliances"].pop(0),
    "a narrower pattern": lambda v: alice(v)["scope"].update(appliances=["debian-1*", "debian-", "debian-*-docker"]),
    "fewer communities": lambda v: alice(v)["scope"].update(communities=["grid-a", "grid-b*"]),
    "a scope where the source has none": lambda v: of(v, "bob").update(scope={"appliances": ["x"]}),
    "a later begin": lambda v: alice(v).update(not_before="2026-01-01T00:00:01Z"),
    "an earlier end": lambda v: alice(v).update(expires="2026-12-31T23:59:59Z"),
    "an end where the source has none": lambda v: of(v, "bob").update(expires="2026-12-31T23:59:59Z"),
    "a begin where the source has none": lambda v: of(v, "bob").update(not_before="2026-12-31T23:59:59Z"),
    "a key retired earlier": lambda v: held(v, "openpgp").update(retired="2026-05-31T23:59:59Z"),
    "another key retired": lambda v: held(v, "ssh").update(retired="2026-05-31T23:59:59Z"),
    "a key stolen earlier": lambda v: held(v, "ssh").update(compromised_since={"serial": 6}),
    "a key of which nothing stands": lambda v: held(v, "ssh").update(compromised_since={"serial": 7}),
    "a key void from the beginning": lambda v: held(v, "ssh").update(compromised_since={}),
    "another key stolen": lambda v: held(v, "x509").update(compromised_since={"serial": 9}),
    "a certificate where the source takes any": lambda v: of(v, "bob")["keys"].append(
        {"type": "x509", "subject": "/CN=Bob", "issuer": "/CN=CA", "certificate": "d" * 64}
    ),
}


@pytest.mark.parametrize("change", NARROWER.values(), ids=NARROWER)
def test_a_list_that_only_asks_for_more_follows_its_source(change: Change) -> None:
    source, derived = whole(), whole()
    source["endorsers"][1]["keys"].append({"type": "x509", "subject": "/CN=Bob", "issuer": "/CN=CA"})
    change(derived)
    assert deviations(listed(derived), listed(source)) == ()


def keys(value: dict[str, Any], index: int, **more: Any) -> None:
    alice(value)["keys"][index].update(more)


def without(value: dict[str, Any], *names: str) -> None:
    for name in names:
        del value[name]


ON = "on the list that this one is based on"
WIDER: dict[str, tuple[Change, Deviation]] = {
    "a criterion less": (
        lambda v: v["criteria"].pop(1),
        Deviation(("criteria",), "R5", "a criterion of the list that this one is based on is missing: Two.", "add it, word by word"),
    ),
    "a criterion in other words": (
        lambda v: v.update(criteria=["One", "Two."]),
        Deviation(("criteria",), "R5", "a criterion of the list that this one is based on is missing: One.", "add it, word by word"),
    ),
    "a lower quorum": (lambda v: v.update(quorum=1), Deviation(("quorum",), "R5", f"quorum 1 is less than 2 {ON}", "write 2 or more")),
    "fewer rebuilds": (lambda v: v.update(rebuilds=0), Deviation(("rebuilds",), "R5", f"rebuilds 0 is less than 1 {ON}", "write 1 or more")),
    "a longer lifetime": (
        lambda v: v.update(maximum_lifetime="91d"),
        Deviation(("maximum_lifetime",), "R13", f"91d is longer than 90d {ON}", "write 90d or less"),
    ),
    "a person more": (
        lambda v: v["endorsers"].insert(1, {**person("bob"), "name": "mallory", "keys": [{"type": "ssh", "key": SSH.replace("IBiM", "IBiN")}]}),
        Deviation(("endorsers", 1, "name"), "R12", "mallory is not on the list that this one is based on", "take them off the list"),
    ),
    "a person under another name": (
        lambda v: v["endorsers"][2].update(name="carola"),
        Deviation(("endorsers", 2, "name"), "R12", "carola is not on the list that this one is based on", "take them off the list"),
    ),
    "a key more": (
        lambda v: alice(v)["keys"].append({"type": "openpgp", "fingerprint": "D" * 40, "file": "keys/alice.asc"}),
        Deviation(("endorsers", 0, "keys", 3), "R12", f"alice does not have this key {ON}", "take the key off the list"),
    ),
    "another SSH key": (
        lambda v: keys(v, 1, key=SSH.replace("IBiM", "IBiN")),
        Deviation(("endorsers", 0, "keys", 1), "R12", f"alice does not have this key {ON}", "take the key off the list"),
    ),
    "another issuer": (
        lambda v: keys(v, 2, issuer="/DC=org/CN=Other"),
        Deviation(("endorsers", 0, "keys", 2), "R12", f"alice does not have this key {ON}", "take the key off the list"),
    ),
    "any certificate": (
        lambda v: keys(v, 2, certificate=None),
        Deviation(
            ("endorsers", 0, "keys", 2, "certificate"),
            "R12",
            "any certificate with the name of alice would serve, their source takes one",
            f'write certificate: "{"c" * 64}"',
        ),
    ),
    "another certificate": (
        lambda v: keys(v, 2, certificate="d" * 64),
        Deviation(
            ("endorsers", 0, "keys", 2, "certificate"),
            "R12",
            "any certificate with the name of alice would serve, their source takes one",
            f'write certificate: "{"c" * 64}"',
        ),
    ),
    "a retired key in use": (
        lambda v: without(alice(v)["keys"][0], "retired"),
        Deviation(
            ("endorsers", 0, "keys", 0, "retired"),
            "R12",
            "the source has retired this key of alice",
            'write retired: "2026-06-01T00:00:00Z", or take the key out',
        ),
    ),
    "a key retired later": (
        lambda v: keys(v, 0, retired="2026-06-01T00:00:01Z"),
        Deviation(
            ("endorsers", 0, "keys", 0, "retired"),
            "R12",
            "the source has retired this key of alice",
            'write retired: "2026-06-01T00:00:00Z", or take the key out',
        ),
    ),
    **{
        f"a stolen key, {name}": (
            change,
            Deviation(
                ("endorsers", 0, "keys", 1, "compromised_since"),
                "R12",
                "the source says that this key of alice was stolen after serial 7",
                "write compromised_since as the source has it, or take the key out",
            ),
        )
        for name, change in {
            "without the mark": lambda v: without(alice(v)["keys"][1], "compromised_since"),
            "at a later serial": lambda v: keys(v, 1, compromised_since={"serial": 8, "sha512": DIGEST}),
            "at the same serial of another chain": lambda v: keys(v, 1, compromised_since={"serial": 7, "sha512": OTHER}),
            "at an earlier serial of another chain": lambda v: keys(v, 1, compromised_since={"serial": 6, "sha512": OTHER}),
            "at an earlier serial of what looks like the same chain": lambda v: keys(v, 1, compromised_since={"serial": 6, "sha512": DIGEST}),
            "at a later serial without a tag": lambda v: keys(v, 1, compromised_since={"serial": 8}),
        }.items()
    },
    "a wider pattern": (
        lambda v: alice(v)["scope"].update(appliances=["slurm", "*"]),
        Deviation(("endorsers", 0, "scope", "appliances", 1), "R10", f"alice may not answer for * {ON}", "stay within debian-*, slurm"),
    ),
    "another community": (
        lambda v: alice(v)["scope"].update(communities=["grid"]),
        Deviation(("endorsers", 0, "scope", "communities", 0), "R10", f"alice may not answer for grid {ON}", "stay within science, grid-*"),
    ),
    "an earlier begin": (
        lambda v: alice(v).update(not_before="2025-12-31T23:59:59Z"),
        Deviation(
            ("endorsers", 0, "not_before"), "R12", "alice begins before their source lets them", 'write not_before: "2026-01-01T00:00:00Z" or later'
        ),
    ),
    "no begin": (
        lambda v: without(alice(v), "not_before"),
        Deviation(
            ("endorsers", 0, "not_before"), "R12", "alice begins before their source lets them", 'write not_before: "2026-01-01T00:00:00Z" or later'
        ),
    ),
    "a later end": (
        lambda v: alice(v).update(expires="2027-01-01T00:00:01Z"),
        Deviation(
            ("endorsers", 0, "expires"), "R12", "alice stays longer than their source lets them", 'write expires: "2027-01-01T00:00:00Z" or earlier'
        ),
    ),
    "no end": (
        lambda v: without(alice(v), "expires"),
        Deviation(
            ("endorsers", 0, "expires"), "R12", "alice stays longer than their source lets them", 'write expires: "2027-01-01T00:00:00Z" or earlier'
        ),
    ),
}


@pytest.mark.parametrize(("change", "wanted"), WIDER.values(), ids=WIDER)
def test_a_list_that_goes_beyond_its_source_is_told_where(change: Change, wanted: Deviation) -> None:
    derived = whole()
    change(derived)
    assert deviations(listed(derived), listed(whole())) == (wanted,)


def test_no_scope_is_every_scope() -> None:
    derived = whole()
    del alice(derived)["scope"]
    found = deviations(listed(derived), listed(whole()))
    assert [(one.path, one.rule) for one in found] == [
        (("endorsers", 0, "scope", "appliances", 0), "R10"),
        (("endorsers", 0, "scope", "communities", 0), "R10"),
    ]


def test_a_key_belongs_to_the_person_who_has_it_at_the_source() -> None:
    derived = whole()
    derived["endorsers"][1]["keys"] = [alice(derived)["keys"].pop(0)]
    assert [(one.path, one.rule) for one in deviations(listed(derived), listed(whole()))] == [(("endorsers", 1, "keys", 0), "R12")]


def test_everything_that_is_beyond_is_told_at_once() -> None:
    derived, bare = whole(), whole()
    bare.update(quorum=3, rebuilds=3, maximum_lifetime="1d", criteria=["Three.", "Four."])
    bare["endorsers"][0] = person("alice", keys=[{"type": "ssh", "key": SSH.replace("IBiM", "IBiN")}], scope={"appliances": ["x"]})
    bare["endorsers"][2] = {**person("carol"), "name": "dave"}
    found = deviations(listed(derived), listed(bare))
    assert [one.path[0] for one in found[:5]] == ["criteria", "criteria", "quorum", "rebuilds", "maximum_lifetime"]
    assert [one.path[1:] for one in found[5:]] == [
        (0, "keys", 0),
        (0, "keys", 1),
        (0, "keys", 2),
        (0, "scope", "appliances", 0),
        (0, "scope", "appliances", 1),
        (2, "name"),
    ]


@given(st.lists(st.sampled_from(sorted(NARROWER)), max_size=6))
def test_any_narrowing_follows_the_source(names: list[str]) -> None:
    source, derived = whole(), whole()
    source["endorsers"][1]["keys"].append({"type": "x509", "subject": "/CN=Bob", "issuer": "/CN=CA"})
    for name in names:
        before = copy.deepcopy(derived)
        try:
            NARROWER[name](derived)
            listed(derived)
        except (LookupError, ValueError):  # takes what is no longer there, or a quorum that nobody can reach
            derived = before
    assert deviations(listed(derived), listed(source)) == ()


def accepts(one: EndorserList, event: tuple[Any, ...]) -> bool:
    """Whether an endorsement of this form counts on a list: what the order of lists means."""
    name, key, certificate, appliance, community, when, serial, chain, days, endorsers, rebuilders, criteria = event
    person = next((person for person in one.endorsers if person.name == name), None)
    held = next((k for k in person.keys if identity(k) == key and getattr(k, "certificate", None) in (None, certificate)), None) if person else None
    if person is None or held is None:
        return False
    stolen = held.compromised_since
    on_chain = stolen is None or (serial <= stolen.serial and stolen.sha512 == chain)
    return (
        any(fnmatchcase(appliance, pattern) for pattern in person.scope.appliances)
        and any(fnmatchcase(community, pattern) for pattern in person.scope.communities)
        and (person.not_before is None or person.not_before <= when)
        and (person.expires is None or when < person.expires)
        and (held.retired is None or when < held.retired)
        and on_chain
        and days * 86400 <= one.maximum_lifetime
        and endorsers >= one.quorum
        and rebuilders >= one.rebuilds
        and set(one.criteria) <= set(criteria)
    )


TIMES = ["2025-12-31T23:59:59Z", "2026-05-01T00:00:00Z", "2026-06-01T00:00:00Z", "2026-12-31T23:59:58Z", "2027-01-01T00:00:00Z"]
EVENTS = st.tuples(
    st.sampled_from(["alice", "bob", "carola", "mallory"]),
    st.sampled_from([("openpgp", PGP["alice"]), ("ssh", SSH), ("x509", "/DC=org/CN=Alice", "/DC=org/CN=CA"), ("openpgp", PGP["bob"])]),
    st.sampled_from(["c" * 64, "d" * 64]),
    st.sampled_from(["debian-12", "slurm", "x"]),
    st.sampled_from(["science", "grid", "grid-a"]),
    st.sampled_from([parse_time(time) for time in TIMES]),
    st.integers(5, 10),
    st.sampled_from([DIGEST, OTHER]),
    st.sampled_from([1, 90, 91]),
    st.integers(1, 3),
    st.integers(0, 2),
    st.sampled_from([("One.", "Two."), ("Two.",), ("One.", "Two.", "Three.")]),
)
CHANGES: dict[str, Change] = {**NARROWER, **{name: change for name, (change, _) in WIDER.items()}}


@given(st.lists(st.sampled_from(sorted(CHANGES)), max_size=3), st.lists(EVENTS, min_size=30, max_size=30))
def test_what_a_list_without_deviations_accepts_its_source_accepts(names: list[str], events: list[tuple[Any, ...]]) -> None:
    derived = whole()
    try:
        for name in names:
            CHANGES[name](derived)
        one = listed(derived)
    except (LookupError, ValueError):
        return
    wrongly = [event for event in events if accepts(one, event) and not accepts(listed(whole()), event)]
    assert not wrongly or deviations(one, listed(whole()))


def test_following_is_transitive() -> None:
    middle, last = whole(), whole()
    middle.update(quorum=3, criteria=["One.", "Two.", "Three."])
    last.update(quorum=3, criteria=["Three.", "Two.", "One.", "Four."])
    last["endorsers"].pop(1)
    last.update(quorum=3, endorsers=[])
    assert deviations(listed(middle), listed(whole())) == deviations(listed(last), listed(middle)) == ()
    assert deviations(listed(last), listed(whole())) == ()


# -- patterns

PATTERN = st.text("ab*", min_size=1, max_size=5)


@pytest.mark.parametrize(
    ("pattern", "wider", "is_covered"),
    [
        ("a", ("a",), True),
        ("a", ("b", "a*"), True),
        ("a*", ("a",), False),
        ("*", ("*",), True),
        ("*", ("**",), True),
        ("**", ("*",), True),
        ("*", ("a*", "b*"), False),
        ("a*", ("*a",), False),
        ("*a*", ("*a*",), True),
        ("a*b", ("a*",), True),
        ("a*", ("a*b",), False),
        ("a", (), False),
        ("ab", ("a.",), False),
    ],
)
def test_patterns_within_patterns(pattern: str, wider: tuple[str, ...], is_covered: bool) -> None:
    assert covered(pattern, wider) is is_covered


@given(PATTERN, st.lists(PATTERN, max_size=3), st.text("abc", max_size=6))
def test_what_a_covered_pattern_matches_is_matched_by_the_wider_ones(pattern: str, wider: list[str], name: str) -> None:
    if covered(pattern, tuple(wider)) and fnmatchcase(name, pattern):
        assert any(fnmatchcase(name, each) for each in wider)


@given(PATTERN, PATTERN)
def test_a_pattern_that_is_not_covered_matches_something_else(pattern: str, wider: str) -> None:
    if not covered(pattern, (wider,)):
        assert not fnmatchcase(pattern.replace("*", "z"), wider)


# -- lag

POSITION = {"policy": 4, "list": DIGEST, "at": "2026-11-19T12:00:00Z"}


def base(**more: Any) -> Base:
    return Base.model_validate({"list": "common", "source": "grid", "maximum_lag": "1d", "synchronised": POSITION, **more})


AT = ("based_on", "synchronised", "at")


@pytest.mark.parametrize(("after", "why"), [
    (timedelta(0), "the source grid was not looked at since 2026-11-19T12:00:00Z, longer than 1d"),
    (timedelta(seconds=-1), ""),
    (timedelta(days=-1, seconds=-int(SKEW)), ""),
    (timedelta(days=-1, seconds=-int(SKEW) - 1), "the source grid was looked at in the future, at 2026-11-19T12:00:00Z"),
    (timedelta(days=400), "the source grid was not looked at since 2026-11-19T12:00:00Z, longer than 1d"),
])  # fmt: skip
def test_a_source_must_be_looked_at_often_enough(after: timedelta, why: str) -> None:
    assert lag(base(), NOW + after) == ((Deviation(AT, "R13", why, SYNC),) if why else ())


def test_another_skew_may_be_allowed() -> None:
    early = NOW - timedelta(days=1, seconds=100)
    assert lag(base(), early, Duration(100)) == ()
    assert [one.path for one in lag(base(), early, Duration(99))] == [AT]


def test_a_source_that_was_never_looked_at_has_no_age() -> None:
    assert lag(base(synchronised=None), NOW) == ()
    assert unread(base(synchronised=None), DIGEST) == (Deviation(("based_on",), "R13", "the list was never compared with its source grid", SYNC),)


def test_what_lies_here_is_what_was_looked_at() -> None:
    assert unread(base(), DIGEST) == ()
    what = "endorsers/sources/grid/list.yaml is not the list that was taken from the source"
    assert unread(base(), OTHER) == (Deviation(("based_on", "synchronised", "list"), "R13", what, SYNC),)


# -- key files


def files(**more: bytes) -> Callable[[str], bytes | None]:
    held = {name.replace("__", "/"): data for name, data in more.items()}
    return lambda path: held.get(path.removesuffix(".asc"))


def test_key_files_are_those_of_the_source() -> None:
    source = listed(whole(), quorum=1, endorsers=[person("alice"), person("bob")])
    derived = listed(whole(), quorum=1, endorsers=[person("bob", keys=[{"type": "openpgp", "fingerprint": PGP["bob"], "file": "keys/robert.asc"}])])
    assert stale_keys(derived, source, files(keys__bob=b"1", keys__robert=b"1")) == ()
    what = "endorsers/keys/robert.asc is not the key file of the list that this one is based on"
    wanted = (Deviation(("endorsers", 0, "keys", 0, "file"), "R12", what, SYNC),)
    assert stale_keys(derived, source, files(keys__bob=b"1 revoked", keys__robert=b"1")) == wanted
    assert stale_keys(derived, source, files(keys__robert=b"1")) == wanted
    assert stale_keys(derived, source, files(sources__grid__keys__bob=b"1", keys__robert=b"1"), "sources/grid/") == ()
    assert stale_keys(derived, source, files(keys__bob=b"1", keys__robert=b"1"), "sources/grid/") == wanted


def test_only_openpgp_keys_have_files() -> None:
    assert stale_keys(listed(whole()), listed({**whole(), "endorsers": []}), files(keys__alice=b"1")) == ()
    assert stale_keys(listed({**whole(), "endorsers": [alice(whole())], "quorum": 1}), listed(whole()), files()) == ()
    there = {**whole(), "endorsers": [person("alice", keys=alice(whole())["keys"][1:])], "quorum": 1}
    assert stale_keys(listed(there), listed(whole()), lambda path: path.encode()) == ()


# -- all lists of a policy


def simple(based_on: dict[str, Any] | None = None, **more: Any) -> EndorserList:
    value = {"title": "x", "community": "x", "policy": "x", "endorsers": [person("alice")], **more}
    return EndorserList.model_validate({**value, **({"based_on": based_on} if based_on else {})})


def nothing(path: str) -> bytes | None:
    return b"" if path.endswith(".asc") else None


def test_lists_from_scratch_count() -> None:
    assert effective({"a": simple(), "b": simple()}, {}, nothing, NOW) == {"a": (), "b": ()}


def test_a_list_that_follows_another_here_counts() -> None:
    lists = {"a": simple(), "b": simple({"list": "a"}, criteria=["x"]), "c": simple({"list": "b"}, criteria=["x", "y"])}
    assert effective(lists, {}, nothing, NOW) == {"a": (), "b": (), "c": ()}


def test_a_list_that_goes_beyond_the_one_here_does_not_and_takes_those_above_with_it() -> None:
    lists = {"a": simple(quorum=1, rebuilds=1), "b": simple({"list": "a"}), "c": simple({"list": "b"}), "d": simple({"list": "a"}, rebuilds=1)}
    hint = "write 1 or more"
    assert effective(lists, {}, nothing, NOW) == {
        "a": (),
        "b": (Refusal("R5", f"rebuilds 0 is less than 1 {ON}", "endorsers/b.yaml, rebuilds", hint),),
        "c": (Refusal("R5", f"it is based on b, which is refused: rebuilds 0 is less than 1 {ON}", "endorsers/b.yaml, rebuilds", hint),),
        "d": (),
    }


def test_whom_the_first_list_drops_the_last_may_not_keep() -> None:
    lists = {"a": simple(endorsers=[]), "b": simple({"list": "a"}), "c": simple({"list": "b"})}
    found = effective(lists, {}, nothing, NOW)
    assert [[one.rule for one in found[name]] for name in "abc"] == [[], ["R12"], ["R12"]]
    assert found["b"][0].evidence == "endorsers/b.yaml, endorsers[0].name"


def test_a_list_based_on_nothing_that_is_there_does_not_count() -> None:
    lists = {"b": simple({"list": "a"}), "c": simple({"list": "b"})}
    why, where, hint = "there is no list a to be based on", "endorsers/b.yaml, based_on.list", "restore it, or take based_on out"
    assert effective(lists, {}, nothing, NOW) == {
        "b": (Refusal("R4", why, where, hint),),
        "c": (Refusal("R4", f"it is based on b, which is refused: {why}", where, hint),),
    }


@pytest.mark.parametrize(
    ("edges", "circles"),
    [
        ({"a": "a"}, {"a": "a → a"}),
        ({"a": "b", "b": "a"}, {"a": "a → b → a", "b": "b → a → b"}),
        ({"a": "b", "b": "c", "c": "b", "d": ""}, {"a": "b → c → b", "b": "b → c → b", "c": "c → b → c"}),
    ],
)
def test_lists_in_a_circle_do_not_count(edges: dict[str, str], circles: dict[str, str]) -> None:
    lists = {name: simple({"list": below} if below else None) for name, below in edges.items()}
    hint = "let one of them be based on nothing, or on something else"
    assert effective(lists, {}, nothing, NOW) == {
        name: (Refusal("R5", "lists are based on one another in a circle", circles[name], hint),) if name in circles else () for name in edges
    }


def test_a_chain_of_thousands_is_judged() -> None:
    lists = {"l0": simple(endorsers=[])} | {f"l{n}": simple({"list": f"l{n - 1}"}) for n in range(1, 300)}
    found = effective(lists, {}, nothing, NOW)
    assert [one.rule for one in found["l299"]] == ["R12"]
    assert found["l0"] == ()


REMOTE = {"list": "common", "source": "grid", "maximum_lag": "7d", "synchronised": POSITION}


def test_a_list_that_follows_a_remote_one_counts_while_it_is_looked_at() -> None:
    lists, sources = {"a": simple(REMOTE)}, {"grid": Source(simple(), DIGEST)}
    assert effective(lists, sources, nothing, NOW) == {"a": ()}
    late = effective(lists, sources, nothing, NOW + timedelta(days=6))
    since = "the source grid was not looked at since 2026-11-19T12:00:00Z, longer than 7d"
    assert late == {"a": (Refusal("R13", since, "endorsers/a.yaml, based_on.synchronised.at", SYNC),)}
    early = NOW - timedelta(days=1, seconds=60)
    assert effective(lists, sources, nothing, early) == {"a": ()}
    assert [one.rule for one in effective(lists, sources, nothing, early, Duration(59))["a"]] == ["R13"]


def test_lists_above_one_that_lags_lag_too() -> None:
    lists, sources = {"a": simple(REMOTE), "b": simple({"list": "a"})}, {"grid": Source(simple(), DIGEST)}
    found = effective(lists, sources, nothing, NOW + timedelta(days=7))
    assert [one.rule for one in found["b"]] == ["R13"]
    assert found["b"][0].why.startswith("it is based on a, which is refused: the source grid was not looked at")


def test_a_list_goes_no_further_than_a_remote_one() -> None:
    lists = {"a": simple(REMOTE)}
    assert [one.rule for one in effective(lists, {"grid": Source(simple(endorsers=[]), DIGEST)}, nothing, NOW)["a"]] == ["R12"]
    assert [one.evidence for one in effective(lists, {"grid": Source(simple(), OTHER)}, nothing, NOW)["a"]] == [
        "endorsers/a.yaml, based_on.synchronised.list"
    ]


def test_a_remote_list_that_is_not_there_is_no_list() -> None:
    why = "there is no list of the source grid"
    assert effective({"a": simple(REMOTE), "common": simple()}, {"other": Source(simple(), DIGEST)}, nothing, NOW)["a"] == (
        Refusal("R4", why, "endorsers/a.yaml, based_on.source", SYNC),
    )


def test_a_remote_list_of_the_same_name_is_another_one() -> None:
    lists = {"common": simple(REMOTE)}
    assert effective(lists, {"grid": Source(simple(), DIGEST)}, nothing, NOW) == {"common": ()}


def test_a_remote_list_is_not_mixed_up_with_one_here() -> None:
    lists = {"a": simple(REMOTE), "common": simple(endorsers=[], based_on={"list": "gone"})}
    assert effective(lists, {"grid": Source(simple(), DIGEST)}, nothing, NOW)["a"] == ()


def test_key_files_of_a_remote_list_lie_with_it() -> None:
    lists, sources = {"a": simple(REMOTE)}, {"grid": Source(simple(), DIGEST)}
    assert effective(lists, sources, files(keys__alice=b"1", sources__grid__keys__alice=b"1"), NOW) == {"a": ()}
    found = effective(lists, sources, files(keys__alice=b"1", sources__grid__keys__alice=b"2"), NOW)
    assert [one.evidence for one in found["a"]] == ["endorsers/a.yaml, endorsers[0].keys[0].file"]


def test_key_files_of_a_list_here_lie_beside_it() -> None:
    other = person("alice", keys=[{"type": "openpgp", "fingerprint": PGP["alice"], "file": "keys/al.asc"}])
    lists = {"a": simple(), "b": simple({"list": "a"}, endorsers=[other])}
    assert effective(lists, {}, files(keys__alice=b"1", keys__al=b"1"), NOW)["b"] == ()
    assert [one.rule for one in effective(lists, {}, files(keys__alice=b"1", keys__al=b"2"), NOW)["b"]] == ["R12"]


def test_every_refusal_has_a_way_out() -> None:
    for _, deviation in WIDER.values():
        assert deviation.hint
        assert re.fullmatch(r"R\d+: .+ \(endorsers/x\.yaml, [^)]+\)", str(deviation.refusal("x")))


@pytest.mark.parametrize(("value", "name"), [(Deviation(("a",), "R5", "why", "hint"), "rule"), (Source(simple(), DIGEST), "sha512")])
def test_what_was_found_never_changes(value: Any, name: str) -> None:
    with pytest.raises(FrozenInstanceError):
        setattr(value, name, "x")
    assert not hasattr(value, "__dict__")
