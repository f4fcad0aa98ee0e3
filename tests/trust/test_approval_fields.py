"""Decisions of a site, field by field, against real endorsements: what counts, what is told, and that no entry does the opposite of what it says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.keys import ISSUED, NOW, SecurityKey
from support.trust import APPLIANCE, LIST, SSH, World, endorser_list, person, policy, principal, release
from vmkeeper.model.decision import Approval, Block
from vmkeeper.trust.approval import EVERYTHING, Decision, Stance, decide, endorsed
from vmkeeper.trust.people import TrustedEndorsers
from vmkeeper.trust.said import Endorsement
from vmkeeper.trust.verify import Accepted, Verdict

ROOT, ALICE, BOB, CAROL = (SecurityKey().plain_signer() for _ in range(4))
DAY = timedelta(days=1)


@cache
def judged() -> tuple[tuple[Verdict, ...], TrustedEndorsers]:
    """Version 1 by alice and bob; 2 by alice (twice); 3 by bob, withdrawn; 4 by nobody who counts."""
    made = World()
    made.principals = {"root": ROOT}
    one, two, three, four = (made.record_release(release(version)) for version in "1234")
    made.endorse(ALICE, one)
    made.endorse(BOB, one, "bob")
    made.endorse(ALICE, two)
    made.endorse(ALICE, two)
    made.endorse(BOB, three, "bob")
    made.withdraw(BOB, three, "bob")
    made.endorse(CAROL, four, "carol")
    made.enact(made.propose(policy(principal("root", ROOT)), {LIST: endorser_list(person("alice", ALICE), person("bob", BOB))}))
    found = made.judge(SSH)
    return found.verdicts[LIST], found.enactments.current.policy.lists[LIST]


def decided(approve: Sequence[Approval], block: Sequence[Block] = (), now: Any = NOW, image_list: str = "main") -> dict[str, Decision]:
    verdicts, endorsers = judged()
    site = Stance(tuple(approve), tuple(block), now, image_list)
    return {str(one.version): one for one in decide(verdicts, endorsers=endorsers, site=site)}


def accepted(approve: Sequence[Approval], block: Sequence[Block] = (), **more: Any) -> set[str]:
    return {version for version, one in decided(approve, block, **more).items() if one.accepted}


def approval(**fields: Any) -> Approval:
    return Approval.model_validate({"appliance": "*", **fields})


def block(**fields: Any) -> Block:
    return Block.model_validate({"appliance": "*", "reason": "no", **fields})


def digest(version: str) -> str:
    verdicts, _ = judged()
    said = [one.statement for one in verdicts if isinstance(one, Accepted)]
    return next(one.files[0].sha512 for one in said if isinstance(one, Endorsement) and one.version == version)


def community() -> str:
    return judged()[1].community


def test_what_is_endorsed_is_what_is_accepted_where_all_is_approved() -> None:
    verdicts, endorsers = judged()
    assert accepted([approval()]) == {"1", "2"}
    assert decide(verdicts, endorsers=endorsers, site=EVERYTHING) == endorsed(verdicts, endorsers=endorsers)


@pytest.mark.parametrize(
    ("fields", "versions", "told"),
    [
        ({"appliance": "slurm-*"}, "", "does not approve debian-12 1 (no approval names it)"),
        ({"version": "==2"}, "2", "does not approve debian-12 1 (* ==2)"),
        ({"list": "main"}, "12", ""),
        ({"list": "other"}, "", "approves debian-12 1 only from the list other (it is on the list main)"),
        ({"community": "{community}"}, "12", ""),
        ({"community": "elsewhere"}, "", "only from lists of the community elsewhere (its community is {community})"),
        ({"endorser": "alice"}, "12", ""),
        ({"endorser": "bob"}, "1", "approves debian-12 2 only if endorsed by bob (endorsed by alice)"),
        ({"tag": "endorse/*/bob/*"}, "1", "approves debian-12 2 only if endorsed under endorse/*/bob/* (endorsed by alice)"),
        ({"tag": "endorse/debian-12/2/alice/2"}, "2", "only if endorsed under endorse/debian-12/2/alice/2"),
        ({"tag": "endorse/debian-12/2/alice/3"}, "2", "only if endorsed under endorse/debian-12/2/alice/3"),
        ({"digest": "{1}"}, "1", "approves debian-12 2 only with a file of SHA-512 "),
        ({"digest": "0" * 128}, "", "only with a file of SHA-512 0000000000000000…"),
        ({"places": ["north"]}, "", "approves debian-12 1 only at north"),
        ({"not_before": NOW + DAY}, "", "approves debian-12 1 only from {tomorrow} on"),
        ({"not_before": NOW}, "12", ""),
        ({"until": NOW}, "", "approves debian-12 1 only until {now}, which is over"),
        ({"until": NOW + DAY}, "12", ""),
    ],
    ids=str,
)
def test_every_field_alone_decides_and_what_it_lacks_is_told(fields: dict[str, Any], versions: str, told: str) -> None:
    words = {"community": community(), "1": digest("1"), "now": f"{NOW:%Y-%m-%dT%H:%M:%SZ}", "tomorrow": f"{NOW + DAY:%Y-%m-%dT%H:%M:%SZ}"}
    given = {name: value.replace("{community}", words["community"]).replace("{1}", words["1"]) if isinstance(value, str) else value
             for name, value in fields.items()}  # fmt: skip
    found = decided([approval(**given)])
    assert {version for version, one in found.items() if one.accepted} == set(versions)
    for name, value in words.items():
        told = told.replace(f"{{{name}}}", value)
    assert told in "; ".join(str(refusal) for one in found.values() for refusal in one.refusals)
    if "places" not in fields:
        assert accepted([approval()], [block(**given)]) == {"1", "2"} - set(versions), "a block of the same words takes just those"
    else:
        assert accepted([approval()], [block(**given)]) == set(), "a site as a whole: what may run, may run everywhere"


def test_a_block_wins_over_every_approval_and_says_what_it_is() -> None:
    (refusal,) = decided([approval(), approval(appliance=APPLIANCE, version="==1")], [block(endorser="bob", until=NOW + DAY)])["1"].refusals
    assert str(refusal) == f"R20: the site blocks debian-12 1 (block * * endorsed by bob, until {NOW + DAY:%Y-%m-%dT%H:%M:%SZ}: no)"
    assert decided([approval()], [block(endorser="bob")])["1"].blocked
    assert decided([approval()], [block(endorser="bob")])["1"].nearest == decided([approval()])["2"].version
    assert not decided([approval()], [block(endorser="bob")])["2"].blocked


def test_an_endorser_whose_word_is_taken_back_answers_for_nothing() -> None:
    assert not decided([approval(endorser="bob")])["3"].accepted
    assert not decided([approval(endorser="carol")])["4"].accepted


def test_several_approvals_are_each_told() -> None:
    (refusal,) = decided([approval(endorser="bob"), approval(until=NOW, list="other")])["2"].refusals
    assert refusal.why.startswith("the site approves debian-12 2 only if endorsed by bob, or from the list other and until ")
    assert refusal.evidence == "endorsed by alice; it is on the list main"
    (refusal,) = decided([approval(endorser=f"x{number}") for number in range(9)])["2"].refusals
    assert refusal.why.endswith("or if endorsed by x4, or by 4 more approvals")


def test_what_waits_for_a_decision_is_endorsed_and_named_by_no_entry() -> None:
    def waits(*approve: Approval, against: Sequence[Block] = ()) -> set[str]:
        return {version for version, one in decided(approve, against).items() if one.undecided}

    assert waits() == {"1", "2"}
    assert waits(approval(appliance="slurm-*"), approval(version="==1"), approval(list="other")) == {"2"}
    assert waits(approval(digest=digest("1"))) == {"2"}
    for decided_about in ({"endorser": "carol"}, {"tag": "endorse/x"}, {"until": NOW}, {"not_before": NOW + DAY}, {"places": ["north"]}):
        assert waits(approval(**decided_about)) == set(), decided_about
    assert waits(against=[block(version="==1")]) == {"2"}
    assert decided([])["2"].since == ISSUED
    assert decided([])["2"].digests == tuple(sorted(decided([])["2"].digests))


def test_an_approval_that_is_over_is_told_from_one_that_never_was() -> None:
    assert decided([approval(until=NOW)])["1"].lapsed
    for others in ([], [approval(until=NOW, list="other")], [approval(not_before=NOW + DAY)], [approval(until=NOW), approval()]):
        assert not decided(others)["1"].lapsed, others


# -- properties

ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "appliance": st.sampled_from(["*", "debian-*", "slurm-*", APPLIANCE]),
        "version": st.sampled_from(["*", ">=2", "==1", "<3", "!=2"]),
        "list": st.sampled_from(["main", "other"]),
        "community": st.sampled_from(["*", "elsewhere"]),
        "endorser": st.sampled_from(["alice", "bob", "carol"]),
        "tag": st.sampled_from(["endorse/*", "*/bob/*", "endorse/debian-12/2/*"]),
        "digest": st.sampled_from(["0" * 128, "{1}", "{2}"]),
        "places": st.sampled_from([["north"], []]),
        "not_before": st.sampled_from([NOW - DAY, NOW, NOW + DAY]),
    },
).map(lambda fields: {**fields, "digest": digest(fields["digest"][1])} if fields.get("digest", "").startswith("{") else fields)
APPROVALS = st.lists(ENTRIES.map(lambda fields: approval(**fields)), max_size=4)
BLOCKS = st.lists(ENTRIES.map(lambda fields: block(**fields)), max_size=2)


@given(APPROVALS, BLOCKS, ENTRIES)
def test_one_block_more_never_allows_and_one_approval_more_never_takes_away(
    approve: list[Approval], against: list[Block], entry: dict[str, Any]
) -> None:
    now = accepted(approve, against)
    assert accepted(approve, [*against, block(**entry)]) <= now
    assert accepted([*approve, approval(**entry)], against) >= now
    assert accepted([approval(**entry), *approve], against) == accepted([*approve, approval(**entry)], against), "order does not matter"


@given(APPROVALS, BLOCKS)
def test_only_what_is_endorsed_and_named_runs_and_what_is_refused_says_why(approve: list[Approval], against: list[Block]) -> None:
    found = decided(approve, against)
    assert {version for version, one in found.items() if one.accepted} <= {"1", "2"}
    for one in found.values():
        assert one.accepted == (not one.refusals)
        assert not (one.accepted and (one.undecided or one.blocked))
        assert one.nearest is None or found[str(one.nearest)].accepted
        assert one.list == "main"


@given(APPROVALS, st.integers(-3 * 86400, 3 * 86400))
def test_a_decision_at_a_time_is_that_of_the_entries_whose_time_it_is(approve: list[Approval], seconds: int) -> None:
    now = NOW + timedelta(seconds=seconds)
    counting = [one for one in approve if one.not_before is None or one.not_before <= now]
    assert accepted(approve, now=now) == accepted(counting, now=now)
    assert accepted(approve, now=now) == accepted([one.model_copy(update={"not_before": None}) for one in counting], now=NOW)
