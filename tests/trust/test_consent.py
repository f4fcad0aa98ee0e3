"""Which file of a site is in force: what its administrators signed, one after another, and nothing that anybody else did."""

from __future__ import annotations

from typing import Any

import pytest

from support.keys import SecurityKey
from support.trust import SSH, World, first_world, holder, person, pinned_site
from vmkeeper.errors import Refused
from vmkeeper.model.keys import SSHKey
from vmkeeper.trust.judge import Judgement
from vmkeeper.trust.memory import Memory
from vmkeeper.trust.people import Holder
from vmkeeper.trust.refusal import Refusal

A, ALICE, CAROL, DAVE, MALLORY = (SecurityKey().plain_signer() for _ in range(5))


def world() -> World:
    made = first_world(A, person("alice", ALICE))
    made.commit({"sites/lab.yaml": b"one"})
    return made


def judged(made: World, *admins: Holder, quorum: int = 1, memory: Memory | None = None, **pins: Any) -> Judgement:
    site = pinned_site("lab", *(admins or (holder("carol", CAROL), holder("dave", DAVE))), quorum=quorum)
    return made.judge(SSH, pins=made.pins(site=site, **pins), memory=memory)


def files(judgement: Judgement) -> list[bytes]:
    return [one.data for one in judgement.consents]


def why(judgement: Judgement) -> list[tuple[str, str]]:
    return [(one.rule, one.why) for one in judgement.refused_consents]


def test_nothing_is_in_force_before_anybody_signed() -> None:
    assert (files(judged(world())), why(judged(world()))) == ([], [])
    assert world().judge(SSH).consents == ()


def test_a_site_that_is_pinned_by_its_file_asks_for_no_signature() -> None:
    made = world()
    made.approve(CAROL, "lab", "carol")
    pins = made.pins(site={"name": "lab", "file": "a" * 128})
    found = made.judge(SSH, pins=pins)
    assert (found.consents, found.refused_consents) == ((), ())


def test_approvals_follow_one_another_and_the_last_is_in_force() -> None:
    made = world()
    made.approve(CAROL, "lab", "carol")
    made.commit({"sites/lab.yaml": b"two"})
    assert files(judged(made)) == [b"one"]
    made.approve(DAVE, "lab", "dave")
    found = judged(made)
    assert files(found) == [b"one", b"two"]
    assert [one.tag for one in found.consents[1].signatures] == ["approve/lab/2/dave"]
    assert set(found.memory.tags) >= {"approve/lab/1/carol", "approve/lab/2/dave"}


def test_r5_a_quorum_of_administrators_agrees_on_one_file() -> None:
    made = world()
    made.approve(CAROL, "lab", "carol")
    assert why(judged(made, quorum=2)) == [("R5", "2 of 2 administrators must approve one file")]
    other = made.commit({"sites/lab.yaml": b"two"})
    made.approve(DAVE, "lab", "dave", other, number=1, previous=None)
    assert why(judged(made, quorum=2)) == [("R5", "2 of 2 administrators must approve one file")]
    assert why(judged(made)) == [("R5", "1 of 2 administrators must approve one file")]
    made.approve(DAVE, "lab", "dave", made.line[-2], number=1, previous=None)
    assert files(judged(made, quorum=2)) == [b"one"]


def test_r5_one_key_pair_in_two_forms_counts_once() -> None:
    key = SecurityKey()
    made = world()
    made.approve(key.signer(), "lab", "carol")
    made.approve(key.plain_signer(), "lab", "dave", number=1, previous=None)
    with pytest.raises(ValueError, match="one key belongs to carol and dave"):
        pinned_site("lab", holder("carol", key.signer()), holder("dave", key.plain_signer()), quorum=2)


def test_r20_nobody_but_an_administrator_approves() -> None:
    made = world()
    made.approve(ALICE, "lab", "alice")
    found = judged(made)
    assert (files(found), why(found)[1]) == ([], ("R20", "alice is not an administrator of lab"))
    assert found.refused_consents[1].evidence == "approve/lab/1/alice"
    made.approve(A, "lab", "carol", number=1, previous=None)
    assert ("R10", "the signature is by a key that is not one of carol's") in why(judged(made))


def test_r20_what_a_maintainer_merges_changes_nothing() -> None:
    made = world()
    made.approve(CAROL, "lab", "carol")
    made.commit({"sites/lab.yaml": b"mine now"})
    assert files(judged(made)) == [b"one"]


def test_an_approval_of_another_site_is_none_of_ours() -> None:
    made = world()
    made.commit({"sites/other.yaml": b"other"})
    name = made.approve(CAROL, "other", "carol")
    made.tags["approve/lab/1/carol"] = made.tags[name]
    made.tags["approve/lab/x/carol"] = made.tags[name]
    found = judged(made)
    assert (files(found), [rule for rule, _ in why(found)]) == ([], ["R5", "R6"])


def test_r16_numbers_have_no_gap() -> None:
    made = world()
    made.approve(CAROL, "lab", "carol")
    made.approve(CAROL, "lab", "carol", number=3, previous="9" * 128)
    found = judged(made)
    assert files(found) == [b"one"]
    assert found.refused_consents == (Refusal("R16", "approval 3 is not the one after 1", "approve/lab/3/carol"),)
    made.approve(CAROL, "lab", "carol", number=2, previous="9" * 128)
    assert why(judged(made)) == [("R9", "the approval does not follow the one before")]


def test_r9_an_approval_does_not_follow_another_one_than_that_in_force() -> None:
    made = world()
    first = made.approve(CAROL, "lab", "carol")
    made.approve(CAROL, "lab", "carol")
    raw = made.tags.pop("approve/lab/2/carol")
    made.tags.pop(first)
    other = made.commit({"sites/lab.yaml": b"two"})
    made.approve(CAROL, "lab", "carol", other)
    made.tags["approve/lab/2/carol"] = raw
    found = judged(made)
    assert (files(found), why(found)) == ([b"two"], [("R9", "the approval does not follow the one before")])
    assert found.refused_consents[0].evidence == "approve/lab/2/carol"


def test_r14_the_file_in_the_tagged_commit_is_the_approved_one() -> None:
    for file in ("9" * 128, None):
        made = world()
        if file:
            made.approve(CAROL, "lab", "carol", file=file)
        else:
            made.approve(CAROL, "lab", "carol", made.commit({"sites/lab.yaml": None, "sites/x.yaml": b""}))
        ((rule, told),) = why(judged(made))
        assert (rule, told) == ("R14", "sites/lab.yaml in the tagged commit is not the file that was approved")
        made.broken[made.head, "sites"] = Refused("R23", "a link")
        assert why(judged(made)) == [("R23", "a link")]


def test_strangers_tags_stop_no_approval() -> None:
    made = world()
    made.approve(CAROL, "lab", "carol")
    made.commit({"sites/lab.yaml": b"two"})
    made.approve(CAROL, "lab", "carol")
    made.tags |= {f"approve/lab/2/x{number}": b"junk" for number in range(50)} | {
        "approve/lab/2/dave": None,
        "approve/lab/": b"",
        "approve/lab/a": b"",
    }
    assert files(judged(made)) == [b"one", b"two"]


def marked(**state: Any) -> Holder:
    return Holder(name="carol", keys=(SSHKey.model_validate({**CAROL.key.model_dump(exclude_none=True), **state}),))


def test_r12_what_a_stolen_key_approves_does_not_count() -> None:
    made = world()
    made.approve(CAROL, "lab", "carol")
    made.approve(CAROL, "lab", "carol")
    assert len(files(judged(made, marked(compromised_since={"serial": 2})))) == 2
    assert len(files(judged(made, marked(compromised_since={"serial": 1})))) == 1
    assert len(files(judged(made, marked(compromised_since={})))) == 0
    assert len(files(judged(made, marked(retired="2026-05-01T00:00:00Z")))) == 0
    assert len(files(judged(made, marked(retired="2026-07-01T00:00:00Z")))) == 2


def test_r20_no_older_file_comes_back() -> None:
    made = world()
    made.approve(CAROL, "lab", "carol")
    made.commit({"sites/lab.yaml": b"two"})
    made.approve(CAROL, "lab", "carol")
    memory = judged(made).memory
    found = judged(made, marked(compromised_since={"serial": 1}), memory=memory)
    assert files(found) == []
    hint = "the administrators approve the file again: vmkeeper approve lab"
    assert found.refused_consents[0] == Refusal("R20", "approval 2 was in force, and is not any more", "approval 1 is the last good one", hint)
    assert why(found)[1][0] == "R5"
    assert len(files(judged(made, memory=memory))) == 2


def test_a_mark_in_an_endorsers_chain_leaves_only_approvals_that_were_seen() -> None:
    made = world()
    made.approve(CAROL, "lab", "carol")
    memory = judged(made).memory
    place = marked(compromised_since={"serial": 9, "sha512": "9" * 128})
    assert files(judged(made, place)) == []
    assert files(judged(made, place, memory=memory)) == [b"one"]


def test_a_key_that_expired_before_it_signed_approves_nothing(gpg_home: Any, openpgp: Any) -> None:
    from datetime import timedelta

    from support.keys import BORN, ISSUED

    brief = gpg_home.signer(gpg_home.make("briefcarol", "ed25519", "sign", "160d"))
    made = world()
    for issued, count in ((ISSUED, 1), (BORN + timedelta(days=160), 0)):
        made.tags.pop("approve/lab/1/carol", None)
        made.approve(brief, "lab", "carol", issued=issued)
        pins = made.pins(site=pinned_site("lab", holder("carol", brief)))
        found = made.judge({**SSH, "openpgp": openpgp}, pins=pins, now=BORN + timedelta(days=165))
        assert len(found.consents) == count
