"""What would count under an endorsers/ tree that nobody has signed yet."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from support.keys import NOW, SecurityKey
from support.trust import APPLIANCE, LIST, SSH, World, builder, endorser_list, first_world, person, policy, principal, release
from vmkeeper.model.endorser import EndorserList
from vmkeeper.trust.approval import Decision
from vmkeeper.trust.enactment import Enactments
from vmkeeper.trust.policy import read_policy
from vmkeeper.trust.supposition import suppose

ROOT, ALICE, BOB, CAROL, CI = (SecurityKey().plain_signer() for _ in range(5))
PEOPLE = (person("alice", ALICE), person("bob", BOB))


def world() -> World:
    """Alice endorsed versions 1 and 2, Bob version 2."""
    made = first_world(ROOT, *PEOPLE)
    made.endorse(ALICE, made.record_release(release("1")))
    second = made.record_release(release("2"))
    made.endorse(ALICE, second)
    made.endorse(BOB, second, "bob")
    return made


def supposed(made: World, lists: Mapping[str, EndorserList], **fields: Any) -> Mapping[str, tuple[Decision, ...]]:
    before = made.judge(SSH)
    commit = made.propose(policy(principal("root", ROOT), **fields), lists)
    found = suppose(before, read_policy(made.files(commit, "endorsers")), commit, made.tree(commit, "endorsers"))
    assert made.judge(SSH).enactments.current.number == before.enactments.current.number
    return found


def accepted(found: tuple[Decision, ...]) -> dict[str, bool]:
    return {str(one.version): one.accepted for one in found}


def rules(found: tuple[Decision, ...]) -> dict[str, list[str]]:
    return {str(one.version): [refusal.rule for refusal in one.refusals] for one in found}


def test_the_same_tree_decides_the_same() -> None:
    found = supposed(world(), {LIST: endorser_list(*PEOPLE)})
    assert list(found) == [LIST]
    assert accepted(found[LIST]) == {"1": True, "2": True}
    assert {one.appliance for one in found[LIST]} == {APPLIANCE}
    assert [one.tag for one in found[LIST][1].endorsements] == [f"endorse/{APPLIANCE}/2/alice/2", f"endorse/{APPLIANCE}/2/bob/1"]


def test_each_list_decides_by_its_own_people_and_quorum() -> None:
    found = supposed(world(), {LIST: endorser_list(*PEOPLE, quorum=2), "other": endorser_list(person("alice", ALICE))})
    assert accepted(found[LIST]) == {"1": False, "2": True}
    assert accepted(found["other"]) == {"1": False, "2": False}
    assert rules(found["other"]) == {"1": ["R20", "R3"], "2": ["R20", "R3", "R10"]}


def test_whoever_is_taken_off_the_list_stops_counting() -> None:
    found = supposed(world(), {LIST: endorser_list(person("bob", BOB))})
    assert accepted(found[LIST]) == {"1": False, "2": True}
    assert rules(found[LIST])["1"] == ["R20", "R10"]


def test_whom_only_the_new_tree_names_has_signed_nothing_that_counts() -> None:
    made = world()
    made.endorse(CAROL, made.record_release(release("3")), "carol")
    made.endorse(ALICE, made.record_release(release("4")), policy=2)
    found = supposed(made, {LIST: endorser_list(*PEOPLE, person("carol", CAROL))})
    assert accepted(found[LIST]) == {"1": True, "2": True, "3": False, "4": True}


def test_a_policy_further_on_than_the_next_one_is_still_none() -> None:
    made = world()
    made.endorse(ALICE, made.record_release(release("3")), policy=3)
    found = supposed(made, {LIST: endorser_list(*PEOPLE)})
    assert rules(found[LIST])["3"] == ["R20", "R3"]


def test_r31_builders_of_the_new_tree_are_asked_for() -> None:
    found = supposed(world(), {LIST: endorser_list(*PEOPLE)}, builders=(builder("ci", CI),))
    assert rules(found[LIST])["1"] == ["R20", "R31"]


def test_what_a_revocation_takes_away_stays_away() -> None:
    made = world()
    made.revoke(ROOT, "alice", ALICE.id, "root")
    found = supposed(made, {LIST: endorser_list(*PEOPLE)})
    assert accepted(found[LIST]) == {"1": False, "2": True}


def test_what_was_supposed_looks_like_the_next_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    made = world()
    before = made.judge(SSH, now=NOW + timedelta(microseconds=7))
    seen: list[Enactments] = []
    others: list[object] = []

    def asked(enactments: Enactments, *rest: object) -> object:
        seen.append(enactments)
        others.extend(rest)
        return lambda _said, _record: ()

    monkeypatch.setattr("vmkeeper.trust.supposition.provenance_rule", asked)
    commit = made.propose(policy(principal("root", ROOT), title="Next"), {LIST: endorser_list(*PEOPLE)})
    tree = made.tree(commit, "endorsers")
    suppose(before, read_policy(made.files(commit, "endorsers")), commit, tree)
    (enactments,) = seen
    assert (enactments.policies[:-1], enactments.pending, enactments.refusals) == (before.enactments.policies, (), ())
    said = enactments.current.said
    assert (said.number, said.commit, said.tree, said.previous) == (2, commit, tree, before.enactments.current.said.content)
    assert (said.issued, said.expires) == (NOW, NOW + timedelta(days=1))
    assert said.tree != before.enactments.current.said.tree
    assert enactments.current.signatures == ()
    assert others == [before.reader, before.void]
