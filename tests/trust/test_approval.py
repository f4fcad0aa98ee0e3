"""R20: endorsed ∧ approved ∧ not blocked ∧ not withdrawn ∧ not expired, and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.keys import ISSUED, NOW, SecurityKey, Signer
from support.trust import APPLIANCE, LIST, SSH, World, endorser_list, person, policy, principal, release
from vmkeeper.model.decision import Approval, Block
from vmkeeper.model.endorser import EndorserList
from vmkeeper.trust.approval import EVERYTHING, Decision, Stance, decide
from vmkeeper.trust.keys.interface import SignedBy
from vmkeeper.trust.people import TrustedEndorsers
from vmkeeper.trust.refusal import Refusal
from vmkeeper.trust.verify import Accepted, Verdict
from vmkeeper.values import Version

ALL = (Approval(appliance="*"),)


ROOT = SecurityKey().plain_signer()


@pytest.fixture(scope="module")
def alice() -> Signer:
    return SecurityKey().plain_signer()


@pytest.fixture(scope="module")
def bob() -> Signer:
    return SecurityKey().plain_signer()


pinned = endorser_list


def judged(world: World, people: EndorserList) -> tuple[tuple[Verdict, ...], TrustedEndorsers]:
    """Verdicts with these people on the list of policy 1."""
    world.principals = {"root": ROOT}
    world.tags.pop("policy/1/root", None)
    world.enact(world.propose(policy(principal("root", ROOT)), {LIST: people}))
    made = world.judge(SSH)
    return made.verdicts[LIST], made.enactments.current.policy.lists[LIST]


def decisions(
    world: World,
    people: EndorserList,
    approve: Iterable[Approval] = ALL,
    block: Iterable[Block] = (),
    releases: Iterable[tuple[str, Version]] = (),
) -> dict[str, Decision]:
    verdicts, endorsers = judged(world, people)
    found = decide(verdicts, endorsers=endorsers, site=Stance(tuple(approve), tuple(block), NOW), releases=releases)
    return {str(decision.version): decision for decision in found}


def whys(decision: Decision) -> str:
    return "; ".join(str(refusal) for refusal in decision.refusals)


TABLE = list(itertools.product([True, False], repeat=5))


@pytest.mark.parametrize(("endorsed", "approved", "blocked", "withdrawn", "expired"), TABLE)
def test_r20_the_whole_truth_table(alice: Signer, bob: Signer, endorsed: bool, approved: bool, blocked: bool, withdrawn: bool, expired: bool) -> None:
    world = World()
    commit = world.record_release(release("1"))
    if endorsed:
        dates = {"issued": ISSUED - timedelta(days=30), "not_before": ISSUED - timedelta(days=30), "expires": ISSUED} if expired else {}
        world.endorse(alice, commit, **dates)
    if withdrawn:
        world.withdraw(bob, commit, "bob")
    people = pinned(person("alice", alice), person("bob", bob))
    decision = decisions(
        world,
        people,
        approve=ALL if approved else (),
        block=[Block(appliance=APPLIANCE, reason="not here")] if blocked else (),
        releases=[(APPLIANCE, Version("1"))],
    )["1"]
    assert decision.accepted == (endorsed and approved and not blocked and not withdrawn and not (endorsed and expired))
    text = whys(decision)
    assert ("endorsers of examples endorse it" in text) == (not endorsed or expired)
    assert ("does not approve" in text) == (not approved)
    assert ("the site blocks" in text) == blocked
    assert ("has withdrawn it" in text) == withdrawn
    assert ("has expired" in text) == (endorsed and expired)
    assert all(refusal.rule in ("R20", "R13") for refusal in decision.refusals)
    assert decision.as_json()["accepted"] == decision.accepted


def test_r20_an_endorser_may_endorse_again_after_withdrawing(alice: Signer) -> None:
    world = World()
    commit = world.record_release(release("1"))
    people = pinned(person("alice", alice))
    for step, accepted in (("endorse", True), ("withdraw", False), ("endorse", True), ("withdraw", False)):
        getattr(world, step)(alice, commit)
        assert decisions(world, people)["1"].accepted == accepted


def test_r20_an_old_endorsement_put_back_after_a_withdrawal_does_not_count(alice: Signer) -> None:
    world = World()
    commit = world.record_release(release("1"))
    for _ in range(3):
        world.endorse(alice, commit)
    world.withdraw(alice, commit)
    assert not decisions(world, pinned(person("alice", alice)))["1"].accepted


def test_r20_a_withdrawal_by_somebody_out_of_scope_or_off_the_list_does_not_count(alice: Signer, bob: Signer) -> None:
    world = World()
    commit = world.record_release(release("1"))
    world.endorse(alice, commit)
    world.withdraw(bob, commit, "bob")
    for people in (
        pinned(person("alice", alice)),
        pinned(person("alice", alice), person("bob", bob, scope={"appliances": ["slurm-*"]})),
        pinned(person("alice", alice), person("bob", SecurityKey().plain_signer())),
    ):
        assert decisions(world, people)["1"].accepted


def test_r20_a_quorum_takes_several_endorsers(alice: Signer, bob: Signer) -> None:
    world = World()
    commit = world.record_release(release("1"))
    people = pinned(person("alice", alice), person("bob", bob), quorum=2)
    world.endorse(alice, commit)
    world.endorse(alice, commit)
    decision = decisions(world, people)["1"]
    assert not decision.accepted
    assert "1 of 2" in whys(decision)
    world.endorse(bob, commit, "bob")
    decision = decisions(world, people)["1"]
    assert decision.accepted
    assert [one.statement.endorser for one in decision.endorsements] == ["alice", "bob"]


def test_r20_a_quorum_must_agree_on_the_bytes(alice: Signer, bob: Signer) -> None:
    world = World()
    world.endorse(alice, world.record_release(release("1")))
    world.endorse(bob, world.record_release(release("1", recipe="9" * 64)), "bob")
    decision = decisions(world, pinned(person("alice", alice), person("bob", bob), quorum=2))["1"]
    assert "1 of 2" in whys(decision)


def test_r14_two_different_images_of_one_version_are_both_refused(alice: Signer, bob: Signer) -> None:
    world = World()
    world.endorse(alice, world.record_release(release("1")))
    world.endorse(bob, world.record_release(release("1", recipe="9" * 64)), "bob")
    decision = decisions(world, pinned(person("alice", alice), person("bob", bob)))["1"]
    assert {refusal.rule for refusal in decision.refusals} == {"R14"}


def test_r14_versions_that_differ_in_writing_only_are_one_version(alice: Signer) -> None:
    world = World()
    world.endorse(alice, world.record_release(release("1.0")))
    commit = world.record_release(release("1"))
    world.endorse(alice, commit)
    people = pinned(person("alice", alice))
    assert len(decisions(world, people)) == 1
    world.withdraw(alice, commit)
    assert not next(iter(decisions(world, people).values())).accepted


@pytest.mark.parametrize(
    ("approval", "accepted"),
    [
        ({"appliance": "*"}, True),
        ({"appliance": "debian-*"}, True),
        ({"appliance": APPLIANCE, "version": ">=1, <2"}, True),
        ({"appliance": APPLIANCE, "endorser": "alice"}, True),
        ({"appliance": "debian"}, False),
        ({"appliance": APPLIANCE, "version": ">=2"}, False),
        ({"appliance": APPLIANCE, "endorser": "bob"}, False),
        ({"appliance": "slurm-*", "version": "*"}, False),
    ],
)
def test_r20_every_field_of_an_approval_has_to_match(alice: Signer, approval: dict[str, Any], accepted: bool) -> None:
    world = World()
    world.endorse(alice, world.record_release(release("1")))
    assert decisions(world, pinned(person("alice", alice)), [Approval(**approval)])["1"].accepted == accepted


@pytest.mark.parametrize(("block", "accepted"), [("==1", False), ("*", False), (">=2", True)])
def test_r20_a_block_goes_before_everything(alice: Signer, block: str, accepted: bool) -> None:
    world = World()
    world.endorse(alice, world.record_release(release("1")))
    blocks = [Block(appliance="debian-*", version=block, reason="a hole")]
    assert decisions(world, pinned(person("alice", alice)), block=blocks)["1"].accepted == accepted


@pytest.mark.parametrize(("blocked", "asked", "nearest"), [("==3", "3", "4"), (">=3", "4", "2"), ("==1", "1", "2"), ("*", "2", None)])
def test_the_nearest_version_that_may_run_is_named(alice: Signer, blocked: str, asked: str, nearest: str | None) -> None:
    world = World()
    for version in ("1", "2", "3", "4"):
        world.endorse(alice, world.record_release(release(version)))
    found = decisions(world, pinned(person("alice", alice)), block=[Block(appliance="*", version=blocked, reason="no")])
    assert (str(found[asked].nearest) if found[asked].nearest else None) == nearest


def test_decisions_are_sorted_by_appliance_and_version(alice: Signer) -> None:
    world = World()
    for version in ("10", "9", "2"):
        world.endorse(alice, world.record_release(release(version)))
    people = pinned(person("alice", alice))
    verdicts, endorsers = judged(world, people)
    found = decide(verdicts, endorsers=endorsers, site=EVERYTHING, releases=[("zebra", Version("1"))])
    assert [(one.appliance, str(one.version)) for one in found] == [(APPLIANCE, "2"), (APPLIANCE, "9"), (APPLIANCE, "10"), ("zebra", "1")]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["alice", "bob"]), st.sampled_from(["endorse", "withdraw"]), st.sampled_from(["1", "2"])), max_size=8))
def test_whoever_spoke_last_against_a_version_stops_it(steps: list[tuple[str, str, str]]) -> None:
    signers = {name: SecurityKey().plain_signer() for name in ("alice", "bob")}
    world = World()
    commits = {version: world.record_release(release(version)) for version in ("1", "2")}
    last: dict[tuple[str, str], str] = {}
    for name, action, version in steps:
        getattr(world, action)(signers[name], commits[version], name)
        last[name, version] = action
    found = decisions(world, pinned(*(person(name, signer) for name, signer in signers.items())))
    for version in ("1", "2"):
        words = [last.get((name, version)) for name in signers]
        expected = "endorse" in words and "withdraw" not in words
        assert (version in found and found[version].accepted) == expected


def test_what_is_expired_says_so_and_when(alice: Signer) -> None:
    world = World()
    world.endorse(alice, world.record_release(release("1")), expires=NOW)
    assert "the endorsement has expired (2026-06-01T12:00:00Z)" in whys(decisions(world, pinned(person("alice", alice)))["1"])


def test_a_decision_hands_on_what_was_signed(alice: Signer) -> None:
    world = World()
    commit = world.record_release(release("1"))
    world.endorse(alice, commit)
    statement = decisions(world, pinned(person("alice", alice)))["1"].statement
    assert statement.commit == commit
    assert [file.format for file in statement.files] == ["qcow2", "raw"]


def test_a_refused_decision_as_json_names_rules_and_the_nearest_version(alice: Signer) -> None:
    world = World()
    for version in ("1", "2"):
        world.endorse(alice, world.record_release(release(version)))
    block = [Block(appliance="*", version="==1", reason="a \x1b[31mhole")]
    value = decisions(world, pinned(person("alice", alice)), block=block)["1"].as_json()
    assert (value["appliance"], value["version"], value["accepted"], value["nearest"]) == (APPLIANCE, "1", False, "2")
    assert "\x1b" not in str(value)


def test_refusals_say_who_endorsed_it_and_who_would_have_to(alice: Signer) -> None:
    world = World()
    world.endorse(alice, world.record_release(release("1")))
    people = pinned(person("alice", alice))
    text = whys(decisions(world, people, [Approval(appliance="*", endorser="bob")])["1"])
    assert "only if endorsed by bob (endorsed by alice)" in text
    text = whys(decisions(world, people, [Approval(appliance="*", endorser="bob")], releases=[(APPLIANCE, Version("2"))])["2"])
    assert "only if endorsed by bob (endorsed by nobody)" in text
    assert "0 of 1 endorsers of examples endorse it (no tag that counts)" in text
    people = pinned(person("alice", alice), person("bob", SecurityKey().plain_signer()), quorum=2)
    assert f"1 of 2 endorsers of examples endorse it (endorse/{APPLIANCE}/1/alice/1)" in whys(decisions(world, people)["1"])


def test_tags_that_are_not_ours_decide_nothing(alice: Signer) -> None:
    world = World()
    world.tags["v1"] = b"anything"
    assert decisions(world, pinned(person("alice", alice))) == {}


def test_r5_endorsers_who_share_a_key_pair_count_once_and_are_told(alice: Signer) -> None:
    world = World()
    world.endorse(alice, world.record_release(release("1")))
    people = pinned(person("alice", alice), person("bob", SecurityKey().plain_signer()), quorum=2)
    (verdict,), endorsers = judged(world, people)
    assert isinstance(verdict, Accepted)
    twin = Accepted(f"endorse/{APPLIANCE}/1/bob/1", "0" * 128, verdict.statement.model_copy(update={"endorser": "bob"}), verdict.signed_by)
    (decision,) = decide((verdict, twin), endorsers=endorsers, site=EVERYTHING)
    tags = f"{verdict.tag}, {twin.tag}"
    assert decision.refusals == (
        Refusal("R20", "1 of 2 endorsers of examples endorse it", tags, "ask an endorser for: vmkeeper endorse"),
        Refusal("R5", "endorsers with different names signed with one key pair, which counts once", tags, "each signs with a key of their own"),
    )
    other = Accepted(twin.tag, twin.sha512, twin.statement, SignedBy("k", "another"))
    assert decide((verdict, other), endorsers=endorsers, site=EVERYTHING)[0].accepted


def test_r31_enough_endorsers_have_built_it_again(alice: Signer, bob: Signer) -> None:
    world = World()
    commit = world.record_release(release("1"))
    people = pinned(person("alice", alice), person("bob", bob), quorum=2, rebuilds=2)
    world.endorse(alice, commit, rebuilt=True)
    world.endorse(bob, commit, "bob", rebuilt=False)
    decision = decisions(world, people)["1"]
    tags = f"endorse/{APPLIANCE}/1/alice/1, endorse/{APPLIANCE}/1/bob/1"
    why = "1 of 2 endorsers of examples have built it again"
    assert decision.refusals == (Refusal("R31", why, tags, "ask for: vmkeeper endorse --rebuild"),)
    world.endorse(bob, commit, "bob", rebuilt=True)
    assert decisions(world, people)["1"].accepted


def test_tags_with_names_that_are_not_ours_decide_nothing(alice: Signer) -> None:
    world = World()
    world.endorse(alice, world.record_release(release("1")))
    world.tags |= {"endorse/x": b"", "withdraw/": None, "endorse/A/1/alice/1": b""}
    assert list(decisions(world, pinned(person("alice", alice)))) == ["1"]


def test_refusals_say_what_is_in_the_way_and_what_to_do(alice: Signer) -> None:
    world = World()
    commit = world.record_release(release("1"))
    world.endorse(alice, commit)
    world.endorse(alice, world.record_release(release("2")), expires=NOW)
    world.withdraw(alice, commit)
    people = pinned(person("alice", alice))
    approve = [Approval(appliance="debian-*", version="==9"), Approval(appliance="x")]
    found = decisions(world, people, approve, [Block(appliance="debian-*", version="<2", reason="a hole")])
    assert found["1"].refusals == (
        Refusal("R20", "the site does not approve debian-12 1", "debian-* ==9", "add it under approve: in the site's file"),
        Refusal("R20", "the site blocks debian-12 1", "block debian-* <2: a hole", "take the block out of the site's file"),
        Refusal("R20", "alice has withdrawn it: a hole in it", "withdraw/debian-12/1/alice/3, 2026-05-31T12:00:00Z", "use another version"),
    )
    assert found["2"].refusals[:2] == (
        Refusal("R20", "0 of 1 endorsers of examples endorse it", "no tag that counts", "ask an endorser for: vmkeeper endorse"),
        Refusal(
            "R13",
            "endorse/debian-12/2/alice/2: the endorsement has expired",
            "2026-06-01T12:00:00Z",
            "ask for a new endorsement, or use a newer version",
        ),
    )
    assert decisions(world, people, [Approval(appliance="x")])["1"].refusals[0].evidence == "no approval names it"


def test_the_nearest_of_many_is_found_on_both_sides(alice: Signer) -> None:
    world = World()
    for version in range(1, 10):
        world.endorse(alice, world.record_release(release(str(version))))
    found = decisions(world, pinned(person("alice", alice)), block=[Block(appliance="*", version=">3, <7", reason="no")])
    assert [str(found[str(version)].nearest) for version in (4, 5, 6)] == ["3", "7", "7"]
    assert found["3"].nearest is None
