"""Who counts for a site's conditions, which of several tags is the last word, and what each refusal names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from support.keys import NOW, SecurityKey
from support.trust import APPLIANCE, LIST, SSH, World, endorser_list, person, policy, principal, release
from vmkeeper.model.decision import Approval, Block
from vmkeeper.model.endorser import EndorserList
from vmkeeper.trust.approval import EVERYTHING, Decision, Stance, decide
from vmkeeper.trust.keys.interface import SignedBy
from vmkeeper.trust.people import TrustedEndorsers
from vmkeeper.trust.refusal import Refusal
from vmkeeper.trust.verify import Accepted, Rejected, Verdict
from vmkeeper.values import Version

ROOT, ALICE, BOB, CAROL = (SecurityKey().plain_signer() for _ in range(4))
ALL = (Approval(appliance="*"),)
PEOPLE = (person("alice", ALICE), person("bob", BOB), person("carol", CAROL))
ASK = "ask an endorser for: vmkeeper endorse"


def judged(made: World, people: EndorserList) -> tuple[tuple[Verdict, ...], TrustedEndorsers]:
    made.principals = {"root": ROOT}
    made.enact(made.propose(policy(principal("root", ROOT)), {LIST: people}))
    found = made.judge(SSH)
    return found.verdicts[LIST], found.enactments.current.policy.lists[LIST]


def decided(made: World, approve: Sequence[Approval] = ALL, block: Iterable[Block] = (), **fields: Any) -> dict[str, Decision]:
    verdicts, endorsers = judged(made, endorser_list(*PEOPLE, **fields))
    return {str(one.version): one for one in decide(verdicts, endorsers=endorsers, site=Stance(approve, tuple(block), NOW))}


def told(decision: Decision) -> list[tuple[str, str, str]]:
    return [(one.rule, one.why, one.evidence) for one in decision.refusals]


def tag(name: str, version: str = "1", serial: int = 1) -> str:
    return f"endorse/{APPLIANCE}/{version}/{name}/{serial}"


def test_a_decision_as_json_says_what_it_is_in_full() -> None:
    made = World()
    for version in ("1", "2"):
        made.endorse(ALICE, made.record_release(release(version)))
    found = decided(made, block=[Block(appliance="*", version="==1", reason="no")])
    shared = {"appliance": APPLIANCE}
    assert found["2"].as_json() == {**shared, "version": "2", "accepted": True, "refusals": []}
    assert found["1"].as_json() == {
        **shared,
        "version": "1",
        "accepted": False,
        "refusals": [
            {
                "rule": "R20",
                "why": f"the site blocks {APPLIANCE} 1",
                "evidence": "block * ==1: no",
                "hint": "take the block out of the site's file",
            }
        ],
        "nearest": "2",
    }


def test_the_nearest_version_is_one_of_the_same_appliance() -> None:
    made = World()
    made.endorse(ALICE, made.record_release(release("1")))
    verdicts, endorsers = judged(made, endorser_list(*PEOPLE))
    found = decide(verdicts, endorsers=endorsers, site=EVERYTHING, releases=[("another", Version("1")), ("zebra", Version("1"))])
    assert [(one.appliance, one.accepted, one.nearest) for one in found] == [
        ("another", False, None),
        (APPLIANCE, True, None),
        ("zebra", False, None),
    ]


def test_a_tag_with_a_strange_name_hides_none_after_it() -> None:
    made = World()
    made.endorse(ALICE, made.record_release(release("1")))
    verdicts, endorsers = judged(made, endorser_list(*PEOPLE))
    strange = Rejected("endorse/Debian/1/alice/1", (Refusal("R6", "the tag's name is not one of ours"),))
    (decision,) = decide((strange, *verdicts), endorsers=endorsers, site=EVERYTHING)
    assert decision.accepted


def test_r20_a_site_that_asks_for_an_endorser_means_one_who_endorsed_these_bytes() -> None:
    made = World()
    commit = made.record_release(release("1"))
    made.endorse(ALICE, commit)
    made.endorse(CAROL, commit, "carol")
    made.endorse(BOB, made.record_release(release("1", recipe="9" * 64)), "bob")
    for wanted, accepted in (("alice", True), ("carol", True), ("bob", False)):
        assert decided(made, [Approval(appliance="*", endorser=wanted)], quorum=2)["1"].accepted == accepted
        made.tags.pop("policy/1/root")


def test_r20_where_a_quorum_lacks_the_endorser_that_the_site_asks_for_is_still_seen() -> None:
    made = World()
    made.endorse(ALICE, made.record_release(release("1")))
    lacking = ("R20", "1 of 2 endorsers of examples endorse it", tag("alice"))
    assert told(decided(made, [Approval(appliance="*", endorser="alice")], quorum=2)["1"]) == [lacking]
    made.tags.pop("policy/1/root")
    both = [Approval(appliance="*", endorser="carol"), Approval(appliance="debian-*", endorser="bob")]
    who = ("R20", f"the site approves {APPLIANCE} 1 only if endorsed by carol, or if endorsed by bob", "endorsed by alice")
    assert told(decided(made, both, quorum=2)["1"]) == [lacking, who]


def test_refusals_name_every_endorser_and_every_approval_that_comes_near() -> None:
    made = World()
    commit = made.record_release(release("1"))
    for name, signer in (("carol", CAROL), ("alice", ALICE)):
        made.endorse(signer, commit, name)
    (refusal,) = decided(made, [Approval(appliance="*", endorser="bob")])["1"].refusals
    assert refusal.evidence == "endorsed by alice, carol"
    made.tags.pop("policy/1/root")
    near = [Approval(appliance="debian-*", version=">1"), Approval(appliance="x"), Approval(appliance="*", version="==3")]
    assert told(decided(made, near)["1"]) == [("R20", f"the site does not approve {APPLIANCE} 1", "debian-* >1; * ==3")]


def test_r14_different_images_of_one_version_are_told_with_their_tags() -> None:
    made = World()
    made.endorse(ALICE, made.record_release(release("1")))
    made.endorse(BOB, made.record_release(release("1", recipe="9" * 64)), "bob")
    (refusal,) = decided(made)["1"].refusals
    hint = "the endorsers have to withdraw one of them"
    assert refusal == Refusal("R14", "different images are endorsed as version 1", f"{tag('alice')}, {tag('bob')}", hint)


def test_endorsers_with_keys_of_their_own_are_not_told_that_they_share_one() -> None:
    made = World()
    made.endorse(ALICE, made.record_release(release("1")))
    made.endorse(BOB, made.record_release(release("1", recipe="9" * 64)), "bob")
    expected = Refusal("R20", "1 of 3 endorsers of examples endorse it", f"{tag('alice')}, {tag('bob')}", ASK)
    assert decided(made, quorum=3)["1"].refusals == (expected,)


def test_r20_the_highest_serial_is_the_last_word_in_whatever_order_tags_come() -> None:
    made = World()
    commit = made.record_release(release("1"))
    made.endorse(ALICE, commit)
    made.withdraw(ALICE, commit)
    made.endorse(ALICE, commit)
    verdicts, endorsers = judged(made, endorser_list(*PEOPLE))
    for order in (verdicts, verdicts[::-1]):
        (decision,) = decide(order, endorsers=endorsers, site=EVERYTHING)
        assert [one.tag for one in decision.endorsements] == [tag("alice", serial=3)]
        assert decision.accepted


def test_r20_of_two_tags_with_one_serial_the_withdrawal_counts() -> None:
    made = World()
    commit = made.record_release(release("1"))
    made.endorse(ALICE, commit)
    (verdict,), endorsers = judged(made, endorser_list(*PEOPLE))
    name = made.withdraw(ALICE, commit, serial=1, previous=None)
    said = next(one for one in made.judge(SSH).verdicts[LIST] if one.tag == name).statement
    assert said is not None
    (decision,) = decide((verdict, Accepted(name, "", said, SignedBy("k", "m"))), endorsers=endorsers, site=EVERYTHING)
    assert [one.why for one in decision.refusals] == ["alice has withdrawn it: a hole in it"]
