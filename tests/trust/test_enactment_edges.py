"""What the refusals of a policy name, strange tags beside it, and the last moment of the keys that signed it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from support.keys import ISSUED, NOW, SecurityKey, Signer
from support.trust import LIST, SSH, World, endorser_list, person, policy, principal, said_in, untrusted
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


def tags_of(found: Enactments) -> list[str]:
    return [one.tag for one in found.pending]


def test_tags_that_bring_nothing_into_force_are_shown_as_pending() -> None:
    made = world(a=A, b=B)
    made.enact(propose(made), previous="0" * 128)
    assert tags_of(enactments(made)) == ["policy/2/a", "policy/2/b"]
    made = world()
    made.enact(propose(made), tree="0" * 128)
    assert ([one.rule for one in enactments(made).refusals], tags_of(enactments(made))) == (["R4"], ["policy/2/a"])
    made = world()
    made.enact(made.commit({"endorsers/policy.yaml": b"nothing"}))
    assert tags_of(enactments(made)) == ["policy/2/a"]
    made = world()
    longest = enactments(made).current.policy.document.maximum_lifetime
    made.enact(propose(made), expires=ISSUED + timedelta(seconds=longest + 1))
    assert tags_of(enactments(made)) == ["policy/2/a"]


def test_r5_a_policy_whose_own_principals_have_not_signed_is_pending() -> None:
    made = world()
    made.principals = {"a": A, "b": B}
    document = policy(principal("b", B), quorum=1)
    made.enact(made.propose(document, {LIST: endorser_list(person("alice", ALICE))}), "a")
    found = enactments(made)
    assert found.refusals == (Refusal("R5", "1 of its own 1 principals must sign it too", "policy/2/a"),)
    assert (found.current.number, tags_of(found)) == (1, ["policy/2/a"])


def test_r5_every_tag_that_does_not_make_the_quorum_of_the_new_principals_is_named() -> None:
    made = world(a=A, b=B)
    made.enact(made.propose(policy(principal("c", ALICE)), {LIST: endorser_list(person("bob", SecurityKey().plain_signer()))}))
    assert enactments(made).refusals == (Refusal("R5", "1 of its own 1 principals must sign it too", "policy/2/a, policy/2/b"),)


def test_r5_r16_every_tag_of_a_number_is_named() -> None:
    made = world(a=A, b=B)
    made.enact(made.propose(policy(principal("a", A), principal("b", B), quorum=2), {LIST: endorser_list(person("alice", ALICE))}))
    assert enactments(made).current.number == 2
    made.enact(propose(made), "a")
    said = said_in(made.tags["policy/3/a"])
    assert said is not None
    made.enact(propose(made), number=5)
    ahead = Refusal("R16", "policy 5 is not the one after 2", "policy/5/a, policy/5/b", "policies come into force one by one")
    assert enactments(made).refusals == (Refusal("R5", "2 of 2 principals must sign it", "policy/3/a"), ahead)
    made.enact(propose(made), "b", number=3)
    assert enactments(made).refusals[0] == Refusal("R5", "2 of 2 principals must sign it", "policy/3/a, policy/3/b")


def test_r3_whoever_is_no_principal_is_told_by_their_tag() -> None:
    made = world()
    made.principals["zoe"] = B
    made.enact(propose(made), "zoe")
    expected = Refusal("R3", "zoe is not a principal of the policy before", "policy/2/zoe")
    assert expected in enactments_of(made).refusals


def enactments_of(made: World) -> Enactments:
    """As the site sees it that has pinned the first principal only."""
    zoe = made.principals.pop("zoe")
    found = enactments(made)
    made.principals["zoe"] = zoe
    return found


def test_r12_a_key_that_is_void_after_a_policy_still_brought_it_in() -> None:
    made = world(a=A, b=B)
    made.enact(propose(made), "b")
    earlier = made.revoke(A, "b", B.id, "a", serial=1)
    assert untrusted(lambda: enactments(made)) == {"R12"}
    del made.tags[earlier]
    made.revoke(A, "b", B.id, "a", serial=2)
    assert enactments(made).current.number == 2
