"""What the refusals of a policy name, strange tags beside it, and the last moment of the keys that signed it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from support.keys import ISSUED, NOW, SecurityKey, Signer
from support.trust import LIST, SSH, World, endorser_list, person, policy, principal, said_in
from vmkeeper.trust.enactment import Enactments, lapsed
from vmkeeper.trust.keys.interface import SignedBy
from vmkeeper.trust.refusal import Refusal, Untrusted
from vmkeeper.trust.said import PolicySignature

A, B, ALICE = (SecurityKey().plain_signer() for _ in range(3))


def world(**principals: Signer) -> World:
    made = World(dict(principals or {"a": A}))
    made.enact(propose(made))
    return made


def propose(made: World) -> str:
    listed = [principal(name, one) for name, one in made.principals.items()]
    return made.propose(policy(*listed), {LIST: endorser_list(person("alice", ALICE))})


def enactments(made: World) -> Enactments:
    return made.judge(SSH, pins=made.pins()).enactments


def first(made: World) -> PolicySignature:
    said = said_in(made.tags["policy/1/a"])
    assert isinstance(said, PolicySignature)
    return said


def test_tags_with_other_names_before_them_hide_no_policy() -> None:
    made = world()
    made.enact(propose(made))
    made.tags = {"policy/draft": None, "policy/0/a": b"x", **made.tags}
    assert enactments(made).current.number == 2


def test_r1_all_that_is_wrong_with_the_pinned_policy_is_told() -> None:
    made = world(a=A, b=B)
    pins = made.pins(quorum=2)
    raw = made.tags["policy/1/b"]
    assert raw is not None
    made.tags["policy/1/b"] = raw.replace(b"tagger B", b"tagger C")
    with pytest.raises(Untrusted) as caught:
        made.judge(SSH, pins=pins)
    one, *others = caught.value.refusals
    assert len(others) == 2
    assert one.evidence == "; ".join(map(str, others))


def test_r3_what_a_policy_follows_is_named() -> None:
    made = world()
    before = first(made)
    made.enact(propose(made), previous="0" * 128)
    assert Refusal("R3", "the policy does not follow the one before", f"{'0' * 128}, not {before.content}") in enactments(made).refusals
    made = world()
    before = first(made)
    side = made.line[0]
    made.commits[side] = {**made.commits[before.commit]}
    made.enact(side)
    why = "the policy's commit comes before that of the policy before"
    assert Refusal("R3", why, f"{side}, {before.commit}") in enactments(made).refusals


def test_r13_a_lifetime_that_is_not_allowed_is_named() -> None:
    made = world()
    longest = enactments(made).current.policy.document.maximum_lifetime
    made.enact(propose(made), expires=ISSUED + timedelta(seconds=longest + 1))
    expected = Refusal("R13", "the policy's lifetime is not allowed", f"{longest + 1} s, at most {longest}", "sign it again, for a shorter time")
    assert enactments(made).refusals == (expected,)


def test_r12_a_key_that_ends_now_has_ended() -> None:
    current = enactments(world(a=A, b=B)).current
    one, other = current.signatures
    hint = "the principals sign the next policy with keys that are in date: vmkeeper policy sign"
    ends = [replace(read, signed_by=SignedBy("k", f"m{read.tag}", None, NOW)) for read in (one, other)]
    ended = replace(current, signatures=tuple(ends))
    assert lapsed(ended, NOW - timedelta(seconds=1)) is None
    assert lapsed(ended, NOW) == Refusal("R12", "keys that signed policy 1 have expired", "policy/1/a, policy/1/b", hint)
    assert lapsed(replace(current, signatures=(one, ends[1])), NOW) is None
