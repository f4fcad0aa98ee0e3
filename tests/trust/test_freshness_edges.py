"""The shortest life of a freshness statement, and a pinned policy that a statement knows with another content."""

from __future__ import annotations

from datetime import timedelta

import pytest

from support.keys import NOW, SecurityKey
from support.trust import SSH, World, builder, first_world, person
from vmkeeper.trust.refusal import Refusal, Untrusted
from vmkeeper.trust.said import PolicyMark

A, ALICE, CI = (SecurityKey().plain_signer() for _ in range(3))


def world() -> World:
    asked = {"signers": ["ci"], "maximum_validity": "48h"}
    return first_world(A, person("alice", ALICE), builders=(builder("ci", CI),), freshness=asked)


def test_a_statement_may_be_good_for_one_second() -> None:
    made = world()
    said = made.vouch(CI, issued=NOW, expires=NOW + timedelta(seconds=1))
    found = made.judge(SSH).fresh
    assert (found.said, found.frozen) == (said, None)


def test_r8_another_pinned_policy_than_the_statement_knows_is_told() -> None:
    made = world()
    made.vouch(CI, policy=PolicyMark(number=1, sha512="0" * 128))
    with pytest.raises(Untrusted) as caught:
        made.judge(SSH)
    hint = "fetch the repository again, with all its tags, from its source"
    assert caught.value.refusals == (Refusal("R8", "policy 1 is withheld or another one", "0" * 128, hint),)


def test_a_bad_statement_freezes_since_the_last_good_one_ended() -> None:
    made = world()
    good = made.vouch(CI)
    memory = made.judge(SSH).memory
    made.vouch(ALICE)
    frozen = made.judge(SSH, memory=memory).fresh.frozen
    assert frozen is not None
    assert (frozen.since, [one.rule for one in frozen.refusals]) == (good.expires, ["R10"])
