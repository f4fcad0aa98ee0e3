"""Ten thousand changed tags, pins and policy files: none is accepted, and whatever is raised is a refusal."""

from __future__ import annotations

import random

import pytest

from support.keys import NOW, SecurityKey
from support.mutating import Bundle, bundle, byte_changes, changes, counts
from vmkeeper.documents.kinds import Kind
from vmkeeper.documents.load import load
from vmkeeper.errors import Problems, Refused
from vmkeeper.trust import tagobject
from vmkeeper.trust.judge import judge
from vmkeeper.trust.memory import Memory
from vmkeeper.trust.people import Holder
from vmkeeper.trust.pins import Pins, to_yaml
from vmkeeper.trust.policy import read_policy
from vmkeeper.trust.refusal import Refusal, Untrusted
from vmkeeper.trust.signature import Authenticator
from vmkeeper.trust.statement import TagName
from vmkeeper.values import Duration, visible

KEY = SecurityKey()
KINDS = ("policy", "endorse", "withdraw", "revoke", "approve", "freshness")
RULES = {"R1", "R3", "R6", "R7", "R10", "R11", "R12", "R13", "R22", "R32"}
MANY = 1600


@pytest.fixture(scope="module")
def valid() -> Bundle:
    return bundle()


@pytest.fixture(scope="module")
def token() -> Bundle:
    return bundle(KEY.signer())


def name_of(kind: str, found: Bundle) -> str:
    return next(name for name in found.names if name.split("/")[0] == kind)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_unchanged_counts(valid: Bundle, token: Bundle, kind: str) -> None:
    for found in (valid, token):
        name = name_of(kind, found)
        assert counts(found, name, found.raw(name))


@pytest.mark.parametrize("kind", KINDS)
def test_no_changed_tag_is_read(valid: Bundle, kind: str) -> None:
    """All of a tag but what its place in the repository decides: that is the same for each."""
    name, chance = name_of(kind, valid), random.Random(kind)
    raw = valid.raw(name)
    everybody = [*valid.world.principals.values()]
    people = valid.judge().enactments.current.policy.everybody()
    keys = tuple(dict.fromkeys([*(one.key for one in everybody), *(key for one in people for key in one.keys)]))
    reader = Authenticator(valid.world.line[0], valid.world, valid.verifiers, NOW, Duration.parse("5m"))

    def find(_name: TagName) -> Holder | Refusal:
        return Holder(name="everybody", keys=keys)

    assert reader.read({name: raw}, find)[0].good
    made = changes(raw, chance)
    for changed in (next(made) for _ in range(MANY)):
        (read,) = reader.read({name: changed}, find)
        assert not read.good, changed
        assert {one.rule for one in read.refusals} <= RULES, read.refusals
        assert all(visible(str(one)) == str(one) for one in read.refusals)


@pytest.mark.parametrize("kind", KINDS)
def test_no_changed_tag_counts(valid: Bundle, token: Bundle, kind: str) -> None:
    for found in (valid, token):
        name = name_of(kind, found)
        made = changes(found.raw(name), random.Random(kind))
        for changed in (next(made) for _ in range(8)):
            assert not counts(found, name, changed), changed


@pytest.mark.parametrize("kind", KINDS)
def test_no_byte_of_a_tag_is_free(valid: Bundle, kind: str) -> None:
    name = name_of(kind, valid)
    raw = valid.raw(name)
    for at in range(0, len(raw), 397):
        assert not counts(valid, name, raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]), at


def test_no_changed_pins_are_the_same_pins(valid: Bundle) -> None:
    """A changed file is refused, or it says something else; with other words about people it still pins the same keys."""
    pins = valid.pins
    text, kind = to_yaml(pins).encode(), Kind("pins", "Pins", Pins, "*/pins.yaml")
    made = byte_changes(text, random.Random("pins"))
    refused = 0
    for changed in (next(made) for _ in range(150)):
        try:
            found = load(kind, changed, "pins.yaml")
        except Problems:
            refused += 1
            continue
        assert isinstance(found, Pins)
        try:
            judge(valid.world.sight(), found, Memory(), valid.verifiers, NOW)
        except Untrusted:
            continue
        assert (found.repository, found.tree, found.policy) == (pins.repository, pins.tree, pins.policy)
        assert [one.keys for one in found.principals] == [one.keys for one in pins.principals]
    assert refused > 50


def test_no_changed_policy_comes_into_force(valid: Bundle) -> None:
    world = valid.world
    said = tagobject.parse(valid.raw("policy/1/root"))
    for path in ("endorsers/policy.yaml", "endorsers/examples.yaml"):
        good = world.commits[said.commit][path]
        made = byte_changes(good, random.Random(path))
        pins = valid.pins
        for changed in (next(made) for _ in range(40)):
            world.commits[said.commit][path] = changed
            with pytest.raises(Untrusted) as caught:
                judge(world.sight(), pins, Memory(), valid.verifiers, NOW)
            assert {"R1", "R4"} <= {one.rule for one in caught.value.refusals}
        world.commits[said.commit][path] = good


def test_a_changed_policy_is_read_or_refused(valid: Bundle) -> None:
    files, rules = dict(valid.judge().enactments.current.policy.files), set()
    for path, good in files.items():
        made = byte_changes(good, random.Random(path))
        for changed in (next(made) for _ in range(60)):
            try:
                read_policy({**files, path: changed})
            except Refused as error:
                rules.add(error.rule)
    assert "R22" in rules
    assert rules <= {"R4", "R5", "R10", "R11", "R21", "R22"}
