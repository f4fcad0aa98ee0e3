"""Tags with strange names beside a site's approvals, and what the refusals name."""

from __future__ import annotations

from support.keys import SecurityKey
from support.trust import SSH, World, first_world, holder, person, pinned_site
from vmkeeper.trust.judge import Judgement

A, ALICE, CAROL, DAVE = (SecurityKey().plain_signer() for _ in range(4))


def world() -> World:
    made = first_world(A, person("alice", ALICE))
    made.commit({"sites/lab.yaml": b"one"})
    return made


def judged(made: World, quorum: int = 1) -> Judgement:
    site = pinned_site("lab", holder("carol", CAROL), holder("dave", DAVE), quorum=quorum)
    return made.judge(SSH, pins=made.pins(site=site))


def evidence(found: Judgement) -> list[tuple[str, str]]:
    return [(one.rule, one.evidence) for one in found.refused_consents]


def test_tags_with_other_names_before_them_hide_no_approval() -> None:
    made = world()
    made.approve(CAROL, "lab", "carol")
    made.tags = {"approve/lab/draft": None, "approve/lab/0/carol": b"x", **made.tags}
    assert [one.data for one in judged(made).consents] == [b"one"]


def test_every_tag_of_a_number_is_named() -> None:
    made = world()
    made.approve(CAROL, "lab", "carol", number=2, previous="0" * 128)
    made.approve(DAVE, "lab", "dave", number=2, previous="0" * 128)
    assert evidence(judged(made)) == [("R16", "approve/lab/2/carol, approve/lab/2/dave")]
    made = world()
    made.approve(CAROL, "lab", "carol", number=1)
    assert evidence(judged(made, quorum=2)) == [("R5", "approve/lab/1/carol")]
    made.commit({"sites/lab.yaml": b"two"})
    made.approve(DAVE, "lab", "dave", number=1, previous=None)
    assert evidence(judged(made, quorum=2)) == [("R5", "approve/lab/1/carol, approve/lab/1/dave")]


def test_r14_the_commit_without_the_approved_file_is_named() -> None:
    made = world()
    made.approve(CAROL, "lab", "carol", file="0" * 128)
    assert evidence(judged(made)) == [("R14", made.head)]
