"""Policies come into force one by one, by a quorum of the principals before and of their own, and in no other way."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from support.keys import BORN, ISSUED, NOW, SecurityKey, Signer
from support.trust import LIST, SSH, World, changed, endorser_list, first_world, person, policy, principal, release, rules, said_in, tag, untrusted
from vmkeeper.documents.dump import dump
from vmkeeper.errors import Refused
from vmkeeper.model.endorser import EndorserList
from vmkeeper.trust.enactment import Enactments
from vmkeeper.trust.judge import Judgement
from vmkeeper.trust.memory import Memory
from vmkeeper.trust.refusal import Refusal, Untrusted
from vmkeeper.trust.said import PolicyMark, PolicySignature
from vmkeeper.trust.verify import Accepted

A, B, C, MALLORY, ALICE = (SecurityKey().plain_signer() for _ in range(5))
THREE = {"a": A, "b": B, "c": C}


def people() -> EndorserList:
    return endorser_list(person("alice", ALICE))


def world(quorum: int = 1, **principals: Signer) -> World:
    """A world with policy 1 in force, signed by all of the principals."""
    made = World(dict(principals or {"a": A}))
    made.enact(made.propose(policy(*(principal(name, one) for name, one in made.principals.items()), quorum=quorum), {LIST: people()}))
    return made


def propose(made: World, quorum: int = 1, lists: dict[str, EndorserList] | None = None, **principals: Signer) -> str:
    listed = [principal(name, one) for name, one in (principals or made.principals).items()]
    return made.propose(policy(*listed, quorum=quorum), lists if lists is not None else {LIST: people()})


def enactments(made: World, **how: Any) -> Enactments:
    pins = how.pop("pins", None) or made.pins(quorum=how.pop("least", 1))
    return made.judge(SSH, pins=pins, **how).enactments


def number(made: World, **how: Any) -> int:
    return enactments(made, **how).current.number


def why(made: World, **how: Any) -> list[tuple[str, str]]:
    return [(one.rule, one.why) for one in enactments(made, **how).refusals]


def test_the_pinned_policy_is_in_force() -> None:
    made = world(2, **THREE)
    found = enactments(made, least=2)
    assert (found.current.number, found.refusals, found.pending) == (1, (), ())
    assert [one.tag for one in found.accepted] == ["policy/1/a", "policy/1/b", "policy/1/c"]
    assert found.numbered(1) is found.current
    assert found.numbered(2) is None
    assert found.current.mark == made.pins().policy


def test_r1_the_pinned_policy_must_be_there_as_it_was_signed() -> None:
    made = world()
    pins = made.pins()
    wrong = pins.model_copy(update={"policy": PolicyMark(number=1, sha512="0" * 128)})
    for change in (lambda: made.judge(SSH, pins=wrong), lambda: made.judge(SSH, pins=pins)):
        with pytest.raises(Untrusted) as caught:
            change()
        first = caught.value.refusals[0]
        assert (first.rule, first.why) == ("R1", "policy 1, which is pinned, is not there as it was signed")
        assert first.evidence.startswith("R5: 1 of 1 principals must sign it")
        assert first.hint == "fetch all tags; else pin the site again"
        assert caught.value.refusals[1].rule == "R5"
        made.tags.clear()


def test_r5_the_pinned_policy_needs_the_quorum_of_the_pins() -> None:
    made = world(1, **THREE)
    del made.tags["policy/1/a"]
    assert number(made, least=2) == 1
    del made.tags["policy/1/b"]
    assert untrusted(lambda: enactments(made, least=2)) == {"R1", "R5"}


def test_r1_another_policy_with_the_number_of_the_pinned_one_is_not_it() -> None:
    made = world(1, **THREE)
    pins = made.pins()
    commit = made.propose(policy(principal("mallory", MALLORY), principal("a", A)), {})
    made.tags.clear()
    made.principals["mallory"] = MALLORY
    made.enact(commit, "a", "mallory", number=1)
    assert untrusted(lambda: made.judge(SSH, pins=pins)) >= {"R1", "R5"}


def test_policies_follow_one_another() -> None:
    made = world(2, **THREE)
    for expected in (2, 3, 4):
        made.enact(propose(made, 2), "a", "b")
        assert number(made, least=2) == expected
    assert [one.number for one in enactments(made).policies] == [1, 2, 3, 4]


def test_the_same_tree_may_be_signed_again_for_longer() -> None:
    made = world()
    made.enact(made.head, expires=ISSUED + timedelta(days=399))
    assert number(made) == 2


def test_r3_a_policy_that_its_own_people_alone_have_signed_is_not_in_force() -> None:
    made = world()
    made.principals["mallory"] = MALLORY
    made.enact(propose(made, 1, mallory=MALLORY), "mallory")
    found = enactments(made)
    assert found.current.number == 1
    assert [one.why for one in found.refusals] == ["1 of 1 principals must sign it", "mallory is not a principal of the policy before"]
    assert [one.rule for one in found.refusals] == ["R5", "R3"]
    assert [one.tag for one in found.pending] == ["policy/2/mallory"]


def test_r3_whoever_adds_himself_and_endorses_at_once_is_refused_by_r3() -> None:
    made = world()
    made.principals["mallory"] = MALLORY
    made.enact(propose(made, 1, {LIST: endorser_list(person("alice", ALICE), person("mallory", MALLORY))}, mallory=MALLORY), "mallory")
    name = made.endorse(MALLORY, made.record_release(release()), "mallory", policy=2)
    verdict = made.verdicts(SSH)[name]
    assert rules(verdict) == {"R3"}
    (refusal,) = verdict.refusals  # type: ignore[union-attr]
    assert refusal.why == "mallory is only proposed as an endorser; policy 1 in force does not name them"
    assert (refusal.evidence, refusal.hint) == (name, "a proposed list counts once the principals have signed it: vmkeeper policy sign")


def test_r3_in_a_merge_and_through_a_second_parent_too() -> None:
    made = world()
    gone = made.head
    side = made.commit({f"endorsers/{LIST}.yaml": dump(endorser_list(person("mallory", MALLORY)))}, merged=False)
    made.commit(made.commits[side], parents=(gone, side))
    name = made.endorse(MALLORY, made.record_release(release()), "mallory")
    assert rules(made.verdicts(SSH)[name]) == {"R3"}


@pytest.mark.parametrize(("quorum", "signers", "expected"), [(2, "ab", 2), (2, "a", 1), (3, "abc", 2), (3, "ab", 1), (1, "c", 2)])
def test_r5_the_quorum_of_the_policy_before_decides(quorum: int, signers: str, expected: int) -> None:
    made = world(quorum, **THREE)
    made.enact(propose(made, 1), *signers)
    assert number(made) == expected
    if expected == 1:
        assert why(made) == [("R5", f"{quorum} of 3 principals must sign it")]


@pytest.mark.parametrize(("signers", "expected"), [("a", 1), ("ab", 2), ("ac", 2), ("bc", 1)])
def test_r5_its_own_quorum_decides_too(signers: str, expected: int) -> None:
    made = World({"a": A})
    made.enact(made.propose(policy(principal("a", A)), {LIST: people()}))
    pins = made.pins()
    made.principals |= THREE
    made.enact(propose(made, 2, **THREE), *signers)
    assert number(made, pins=pins) == expected
    if signers == "a":
        assert why(made, pins=pins) == [("R5", "2 of its own 3 principals must sign it too")]


def test_r5_one_key_pair_under_two_names_counts_once() -> None:
    made = world(2, a=A, b=B)
    twin = {"a": A, "b": A}
    pins = made.pins()
    first = made.last_policy()
    assert first is not None
    stolen = propose(made, 2)
    fields = {"number": 2, "commit": stolen, "tree": made.tree(stolen, "endorsers"), "previous": first.content}
    for name, signer in twin.items():
        said = PolicySignature.model_validate({**first.model_dump(), **fields, "principal": name, "key": signer.id})
        made.tags[said.ref] = tag(said, signer)
    found = enactments(made, pins=pins)
    assert found.current.number == 1
    assert {one.rule for one in found.refusals} == {"R5", "R10"}


def test_r5_two_entries_of_one_key_pair_cannot_be_in_a_policy() -> None:
    key = SecurityKey()
    made = world()
    made.enact(propose(made, 1, a=A, b=key.signer(), c=key.plain_signer()), "a")
    assert number(made) == 1
    ((rule, told),) = why(made)
    assert (rule, told) == ("R5", "one key belongs to b and c")


def test_r5_a_builders_key_is_no_persons_even_under_the_same_name() -> None:
    made = world()
    from support.trust import builder

    commit = made.propose(policy(principal("a", A), builders=(builder("ci", C),)), {LIST: endorser_list(person("ci", C))})
    made.enact(commit)
    assert why(made) == [("R5", "one key belongs to ci and the builder ci")]


def test_r3_two_policies_with_one_number_are_neither_in_force() -> None:
    made = world(1, **THREE)
    first = made.last_policy()
    assert first is not None
    made.enact(propose(made, 1), "a")
    made.enact(propose(made, 1, {LIST: endorser_list(person("bob", B))}), "b", number=2, previous=first.content)
    assert why(made) == [("R5", "principals signed two different ones")]
    assert number(made) == 1


def test_r16_numbers_rise_by_one() -> None:
    made = world()
    before = made.last_policy()
    assert before is not None
    for jump in (3, 2**53 - 1):
        made.enact(propose(made), number=jump, previous=before.content)
    found = enactments(made)
    assert found.current.number == 1
    assert [(one.rule, one.why, one.evidence, one.hint) for one in found.refusals] == [
        ("R16", f"policy {jump} is not the one after 1", f"policy/{jump}/a", "policies come into force one by one") for jump in (3, 2**53 - 1)
    ]


def test_policies_before_the_pinned_one_say_nothing() -> None:
    made = world()
    made.enact(propose(made))
    second = made.last_policy()
    assert second is not None
    pins = made.pins(policy=PolicyMark(number=2, sha512=second.content))
    del made.tags["policy/1/a"]
    made.enact(propose(made))
    found = enactments(made, pins=pins)
    assert ([one.number for one in found.policies], found.refusals) == ([2, 3], ())


def test_r3_a_policy_that_follows_another_one_than_that_in_force_is_refused() -> None:
    made = world()
    made.enact(propose(made), previous="9" * 128)
    assert why(made) == [("R3", "the policy does not follow the one before")]


def test_r3_a_policy_tag_on_an_older_commit_is_refused() -> None:
    made = world()
    old = made.propose(policy(principal("a", A), principal("mallory", MALLORY)), {})
    made.enact(propose(made))
    made.enact(old)
    assert why(made) == [("R3", "the policy's commit comes before that of the policy before")]


def test_r4_a_tree_that_is_not_the_signed_one_is_refused() -> None:
    made = world()
    made.enact(propose(made), tree="9" * 128)
    assert why(made) == [("R4", "the endorsers/ tree is not the one that was signed")]


def test_r4_a_policy_that_cannot_be_read_is_not_in_force() -> None:
    made = world()
    for file, text, rule in (("policy", b"a: &a 1\n", "R21"), ("policy", b"title: x\n", "R22"), (LIST, b"a: *b\n", "R21")):
        commit = made.commit({f"endorsers/{file}.yaml": text})
        made.enact(commit)
        assert {one for one, _ in why(made)} == {rule}
        del made.tags["policy/2/a"]
        made.line.pop()
    assert number(made) == 1
    commit = propose(made)
    made.enact(commit)
    made.broken[commit, "endorsers"] = Refused("R23", "a link")
    assert untrusted(lambda: enactments(made)) == {"R23"}
    made.commit({"x": b"y"})
    assert why(made) == [("R23", "a link")]


@pytest.mark.parametrize(
    ("expires", "good"),
    [(timedelta(days=400), True), (timedelta(days=400, seconds=1), False), (timedelta(0), False), (timedelta(seconds=1), True)],
)
def test_r13_a_policys_lifetime_is_bounded_by_itself(expires: timedelta, good: bool) -> None:
    made = world()
    made.enact(propose(made), expires=ISSUED + expires)
    assert number(made) == (2 if good else 1)
    if not good:
        assert why(made) == [("R13", "the policy's lifetime is not allowed")]


def test_r13_one_principal_cannot_spoil_what_others_sign_by_a_date() -> None:
    made = world(2, **THREE)
    commit = propose(made, 2)
    for name, issued in (("a", BORN - timedelta(days=700)), ("b", ISSUED), ("c", ISSUED)):
        before = enactments(made).current.said
        signer = THREE[name]
        fields = {"number": 2, "commit": commit, "tree": made.tree(commit, "endorsers"), "previous": before.content}
        made.put(changed(before, **fields, principal=name, key=signer.id, issued=issued), signer)
        assert number(made) == (2 if name == "c" else 1)


def test_r13_what_a_policy_that_ran_out_lists_is_frozen() -> None:
    made = world()
    until = ISSUED + timedelta(days=300)
    assert made.judge(SSH, now=until - timedelta(seconds=1)).frozen == {}
    frozen = made.judge(SSH, now=until).frozen[LIST]
    assert frozen.since == until
    hint = "the principals sign the next one: vmkeeper policy sign"
    assert frozen.refusals == (Refusal("R13", "policy 1 has expired", "2027-03-27T12:00:00Z", hint),)


def test_r3_a_site_never_goes_back_to_an_older_policy() -> None:
    made = world()
    made.enact(propose(made, 1, {LIST: endorser_list(person("bob", B))}))
    memory = made.judge(SSH).memory
    assert memory.policy is not None
    assert memory.policy.number == 2
    del made.tags["policy/2/a"]
    assert untrusted(lambda: made.judge(SSH, memory=memory)) == {"R8", "R3"}
    forgetful = Memory(policy=memory.policy)
    assert untrusted(lambda: made.judge(SSH, memory=forgetful)) == {"R3"}


def test_a_dropped_endorser_does_not_count_and_is_told_by_r12() -> None:
    made = world()
    name = made.endorse(ALICE, made.record_release(release()))
    assert isinstance(made.verdicts(SSH)[name], Accepted)
    made.enact(propose(made, 1, {LIST: endorser_list(person("bob", B))}))
    verdict = made.verdicts(SSH)[name]
    assert [(one.rule, one.why) for one in verdict.refusals] == [  # type: ignore[union-attr]
        ("R12", "alice was an endorser until policy 1"),
        ("R10", "alice is not an endorser of policy 2"),
    ]
    stranger = made.endorse(C, made.head, "carol", version="2026.5.1.7")
    assert rules(made.verdicts(SSH)[stranger]) == {"R10"}


def test_strangers_policy_tags_stop_nobody() -> None:
    made = world()
    made.enact(propose(made))
    pins = made.pins()
    made.principals |= {f"x{number}": MALLORY for number in range(50)}
    made.enact(made.head, *(f"x{number}" for number in range(50)), number=3)
    made.enact(made.head, "x1", number=2)
    made.tags |= {"policy/2/zz": b"junk", "policy/x": b"junk", "policy/3/-": None, "policy/99/a/b": b"", "policy/2/y": None}
    assert number(made, pins=pins) == 2


def test_a_principal_who_signs_for_two_policies_has_no_effect_under_another_name() -> None:
    made = world(2, a=A, b=B)
    made.enact(propose(made, 2), "a")
    made.tags["policy/2/b"] = made.tags["policy/2/a"]
    assert number(made) == 1


def test_r12_keys_that_expired_bring_in_no_other_policy_backdated(gpg_home: Any, openpgp: Any) -> None:
    from support.trust import key_files

    brief = gpg_home.signer(gpg_home.make("briefroot", "ed25519", "sign", "160d"))
    made = World({"a": brief})
    made.enact(made.propose(policy(principal("a", brief)), {LIST: people()}, key_files(brief)))
    name = made.endorse(ALICE, made.record_release(release()))
    verifiers = {**SSH, "openpgp": openpgp}
    assert made.judge(verifiers).frozen == {}
    late = BORN + timedelta(days=161)
    judgement = made.judge(verifiers, now=late)
    assert isinstance({one.tag: one for one in judgement.verdicts[LIST]}[name], Accepted)
    hint = "the principals sign the next policy with keys that are in date: vmkeeper policy sign"
    assert judgement.frozen[LIST].refusals == (Refusal("R12", "keys that signed policy 1 have expired", "policy/1/a", hint),)
    assert judgement.frozen[LIST].since is None


def test_what_was_judged_twice_is_the_same() -> None:
    made = first_world(A, person("alice", ALICE))
    one, two = made.judge(SSH), made.judge(SSH)
    assert one.enactments == two.enactments
    assert isinstance(one, Judgement)
    assert one.memory == two.memory
    assert one.memory.newest == NOW
    assert said_in(made.tags["policy/1/root"]) == one.enactments.current.said
