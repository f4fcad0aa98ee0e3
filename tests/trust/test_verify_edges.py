"""What each refusal of an endorsement says: the rule, why, the evidence and the way out, word for word."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from support.keys import BORN, ISSUED, NOW, SecurityKey
from support.trust import (
    APPLIANCE,
    COMMUNITY,
    LIST,
    SSH,
    World,
    builder,
    changed,
    endorser_list,
    first_world,
    person,
    policy,
    principal,
    release,
    said_in,
    tag,
)
from vmkeeper.documents.dump import dump
from vmkeeper.errors import Refused, UserError
from vmkeeper.trust.keys.interface import Claim, SignedBy
from vmkeeper.trust.keys.ssh import SSHVerifier
from vmkeeper.trust.refusal import Refusal
from vmkeeper.trust.said import PolicyMark, PolicySignature
from vmkeeper.trust.verify import Accepted, Rejected, said_by, signed_files
from vmkeeper.values import format_time, sha512_hex

ROOT, ALICE, BOB, CAROL, BUILDER = (SecurityKey().plain_signer() for _ in range(5))
SECOND = timedelta(seconds=1)


class Ending(SSHVerifier):
    """SSH keys with an end, as other keys have it."""

    def __init__(self, until: datetime) -> None:
        self.until = until

    def verify(self, claim: Claim, now: datetime) -> SignedBy:
        found = super().verify(claim, now)
        return SignedBy(found.key, found.material, None, self.until)


def made(fields_of_policy: dict[str, Any] | None = None, **fields: Any) -> World:
    world = first_world(ROOT, person("alice", ALICE, **fields), **(fields_of_policy or {}))
    world.record_release(release("1"))
    return world


def told(world: World, name: str, **how: Any) -> list[tuple[str, str, str, str]]:
    verdict = world.verdicts(how.pop("verifiers", SSH), **how)[name]
    raw = world.tags[name]
    assert raw is not None
    assert (verdict.tag, verdict.sha512) == (name, sha512_hex(raw))
    return [(one.rule, one.why, one.evidence, one.hint) for one in verdict.refusals] if isinstance(verdict, Rejected) else []


def test_r12_a_key_that_has_expired_says_when_it_did() -> None:
    world = made()
    name = world.endorse(ALICE, world.head)
    hint = "the endorser extends the key or takes a new one, and the next policy has it"
    assert told(world, name, verifiers={"ssh": Ending(NOW)}) == [("R12", "the key has expired", f"{ALICE.id}, {format_time(NOW)}", hint)]
    assert told(world, name, verifiers={"ssh": Ending(NOW + SECOND)}) == []


@pytest.mark.parametrize(
    ("term", "evidence"),
    [
        ({"expires": NOW}, f" to {NOW}"),
        ({"not_before": NOW + SECOND}, f"{NOW + SECOND} to "),
        ({"not_before": BORN, "expires": BORN + SECOND}, f"{BORN} to {BORN + SECOND}"),
    ],
)
def test_r12_an_endorser_out_of_office_says_the_term(term: dict[str, datetime], evidence: str) -> None:
    world = made(**dict[str, Any](term))
    name = world.endorse(ALICE, world.head)
    assert told(world, name) == [("R12", "alice is not an endorser at this time", evidence, "")]


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        (
            {"not_before": ISSUED - SECOND},
            ("R13", "the endorsement begins before it was issued", f"{format_time(ISSUED - SECOND)}, {format_time(ISSUED)}", ""),
        ),
        (
            {"not_before": NOW + timedelta(minutes=5) + SECOND},
            ("R13", "the endorsement is not valid yet", f"from {format_time(NOW + timedelta(minutes=5) + SECOND)}", ""),
        ),
        ({"expires": NOW}, ("R13", "the endorsement has expired", format_time(NOW), "ask for a new endorsement, or use a newer version")),
        (
            {"expires": ISSUED + timedelta(days=90) + SECOND},
            ("R13", "the endorsement's lifetime is not allowed", "7776001 s, at most 90d", "endorse again, for a shorter time"),
        ),
    ],
)
def test_r13_dates_that_are_not_allowed_are_named(dates: dict[str, datetime], expected: tuple[str, str, str, str]) -> None:
    world = made()
    assert told(world, world.endorse(ALICE, world.head, **dict[str, Any](dates))) == [expected]


def test_r13_a_lifetime_of_nothing_is_not_allowed() -> None:
    world = made()
    later = NOW + timedelta(minutes=1)
    for lifetime, expected in ((timedelta(0), "0 s, at most 90d"), (SECOND, "")):
        found = told(world, world.endorse(ALICE, world.head, issued=later, not_before=later, expires=later + lifetime))
        assert [one[2] for one in found if one[1] == "the endorsement's lifetime is not allowed"] == ([expected] if expected else [])


def test_r10_who_is_not_on_the_list_or_out_of_scope_is_told() -> None:
    world = made()
    name = world.endorse(ALICE, world.head, "zoe")
    (refusal,) = told(world, name)
    assert refusal[0] == "R10"
    world = made(scope={"appliances": ["x*", "y"], "communities": ["physics", "z"]})
    name = world.endorse(ALICE, world.head)
    scope = "scope x*, y for physics, z"
    assert told(world, name)[0] == ("R10", f"alice may not answer for {APPLIANCE} of science", scope, "widen the scope by a policy")


def test_r3_a_policy_that_is_not_in_force_is_named() -> None:
    world = made()
    name = world.endorse(ALICE, world.head, policy=2)
    hint = "fetch all tags: a later policy may be in force"
    assert told(world, name) == [("R3", "the endorsement names policy 2", "policy 1 is in force", hint)]


def test_r12_a_key_that_is_its_owners_no_more_says_what_stands() -> None:
    why, hint = "the key is not its owner's alone, and this is not one of the tags that its owner stands by", "endorse it again with another key"
    for serial in (0, 1):
        world = made()
        first = world.endorse(ALICE, world.head)
        second = world.endorse(ALICE, world.record_release(release("2")))
        raw = world.tags[first]
        assert raw is not None
        world.revoke(ROOT, "alice", ALICE.id, "root", serial=serial, sha512=sha512_hex(raw) if serial else None)
        assert (told(world, first) == []) == bool(serial)
        evidence = f"{second}{'; what stands is serial 1 and those before' if serial else ''}; so says revoke/alice/root/1 by root: stolen"
        assert ("R12", why, evidence, hint) in told(world, second)


def test_r14_what_differs_from_the_record_is_said_with_both_values() -> None:
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"recipe": "1" * 64}, "recipe", "1" * 64),
        ({"manifest": "1" * 128}, "manifest", "1" * 128),
        ({"release": "1" * 128}, "bytes", "1" * 128),
        ({"uuid": "00000000-0000-4000-8000-000000000000"}, "uuid", "00000000-0000-4000-8000-000000000000"),
        ({"provenance": "1" * 128}, "provenance", "1" * 128),
    ]
    for change, what, signed in cases:
        world = made()
        record = world.record(world.head, APPLIANCE)
        assert record is not None
        recorded = {
            "recipe": record.release.recipe,
            "manifest": record.release.manifest.sha512,
            "bytes": record.sha512,
            "uuid": record.release.uuid,
            "provenance": None,
        }[what]
        found = told(world, world.endorse(ALICE, world.head, **change))
        assert found == [("R14", f"the release record has another {what} than was signed", f"{signed}, {recorded}", "")]


def test_r14_a_record_that_is_not_there_or_cannot_be_read_is_told() -> None:
    world = made()
    good = world.head
    said = world.statement(ALICE, good)
    bare = world.commit({f"appliances/{APPLIANCE}/release.yaml": None})
    name = world.put(changed(said, commit=bare), ALICE)
    assert told(world, name) == [("R14", "the tagged commit holds no release record", f"{said.path}/release.yaml in {bare}", "")]
    for error, rule in ((Refused("R22", "bad", hint="mend it"), "R22"), (UserError("bad", hint="mend it"), "R14")):
        world = made()
        name = world.endorse(ALICE, world.head)
        world.broken[world.head, APPLIANCE] = error
        assert told(world, name) == [(rule, "the release record cannot be read", str(error), "mend it")]


def test_r31_a_release_without_provenance_says_where() -> None:
    world = made({"builders": (builder("ci", BUILDER),)})
    name = world.endorse(ALICE, world.head)
    evidence = f"appliances/{APPLIANCE} in {world.head}"
    hint = "have CI build it with its builder key, and endorse that"
    assert told(world, name) == [("R31", "the release has no provenance, and the policy names builders", evidence, hint)]


def test_a_tag_with_a_broken_chain_keeps_what_else_is_against_it() -> None:
    world = made()
    first = world.endorse(ALICE, world.head)
    second = world.endorse(ALICE, world.head, expires=NOW)
    third = world.endorse(ALICE, world.head, version="1", serial=3)
    assert world.verdicts(SSH)[third].statement is not None
    del world.tags[first]
    assert [one[0] for one in told(world, second)] == ["R13", "R9"]
    assert [one[0] for one in told(world, third)] == ["R9"]
    assert world.verdicts(SSH)[third].statement == said_in(world.tags[third])


def test_what_well_signed_tags_say_is_told_whether_they_count_or_not() -> None:
    world = made()
    said = world.statement(ALICE, world.head)
    good, bad = Accepted("a", "", said, SignedBy("k", "m")), Rejected("b", (Refusal("R13", "late"),), said)
    assert said_by([good, Rejected("c", (Refusal("R10", "who"),)), bad]) == [said, said]


def test_r3_whoever_endorses_was_an_endorser_of_the_list_under_the_policy_named() -> None:
    world = first_world(ROOT, person("alice", ALICE))
    bob = person("bob", BOB)
    for lists in ({LIST: endorser_list(bob)}, {"other": endorser_list(bob)}, {LIST: endorser_list(bob, person("alice", ALICE))}):
        world.enact(world.propose(policy(principal("root", ROOT)), lists))
    head = world.record_release(release("1"))
    for number, allowed in ((1, False), (2, True), (3, False), (4, True)):
        name = world.endorse(BOB, head, "bob", policy=number)
        found = told(world, name)
        why = f"bob could not endorse {APPLIANCE} with this key under policy {number}"
        assert found == ([] if allowed else [("R3", why, "policy 4 is in force", "endorse it again, under the policy in force")])


def test_r3_what_was_before_the_pinned_policy_is_judged_by_that() -> None:
    world = first_world(ROOT, person("alice", ALICE))
    before = world.last_policy()
    assert before is not None
    world.enact(world.propose(policy(principal("root", ROOT)), {LIST: endorser_list(person("bob", BOB))}))
    world.enact(world.propose(policy(principal("root", ROOT)), {LIST: endorser_list(person("bob", BOB), person("carol", CAROL))}))
    second = said_in(world.tags["policy/2/root"])
    assert isinstance(second, PolicySignature)
    pins = world.pins(policy=PolicyMark(number=2, sha512=second.content))
    head = world.record_release(release("1"))
    bobs = world.endorse(BOB, head, "bob", policy=1)
    carols = world.endorse(CAROL, head, "carol", policy=1)
    assert told(world, bobs, pins=pins) == []
    assert [one[0] for one in told(world, carols, pins=pins)] == ["R3"]


def test_r12_the_list_in_force_says_from_where_on_a_key_is_void() -> None:
    for serial in (0, 1):
        world = made()
        first = world.endorse(ALICE, world.head)
        second = world.endorse(ALICE, world.record_release(release("2")))
        raw = world.tags[first]
        assert raw is not None
        stolen = {"serial": serial, "sha512": sha512_hex(raw) if serial else None}
        listed = person("alice", {**ALICE.key.model_dump(exclude_none=True), "compromised_since": stolen})  # type: ignore[arg-type]
        world.enact(world.propose(policy(principal("root", ROOT)), {LIST: endorser_list(listed)}))
        stands = "; what stands is serial 1 and those before" if serial else ""
        assert [(one[0], one[2]) for one in told(world, second)] == [("R12", f"{second}{stands}; so says the list in force")]
        assert (told(world, first) == []) == bool(serial)


def test_r3_the_key_and_the_scope_under_the_policy_named_are_what_counts() -> None:
    science = {"appliances": ["*"], "communities": [COMMUNITY]}
    other = {"appliances": ["slurm-*"], "communities": [COMMUNITY]}
    world = first_world(ROOT, person("alice", BOB, scope=science))
    for scope in (other, science):
        world.enact(world.propose(policy(principal("root", ROOT)), {LIST: endorser_list(person("alice", ALICE, scope=scope))}))
    head = world.record_release(release("1"))
    for number, allowed in ((1, False), (2, False), (3, True)):
        name = world.endorse(ALICE, head, policy=number)
        assert [one[0] for one in told(world, name)] == ([] if allowed else ["R3"]), number


def test_r14_a_record_of_another_appliance_or_version_or_with_other_files_is_told() -> None:
    world = made()
    record = world.record(world.head, APPLIANCE)
    assert record is not None
    files = signed_files(record.release)
    larger = (files[0].model_copy(update={"size": files[0].size + 1}), *files[1:])
    at = world.commit({f"appliances/{APPLIANCE}/release.yaml": dump(release("1", appliance="other"))})
    for change, what, evidence in (
        ({"commit": world.line[-2], "version": "2"}, "version", "2, 1"),
        ({"commit": world.line[-2], "files": larger}, "files", f"{larger}, {files}"[:400]),
        ({"commit": at}, "appliance", f"{APPLIANCE}, other"),
    ):
        name = world.endorse(ALICE, change.pop("commit"), **change)  # type: ignore[arg-type]
        ((rule, why, shown, _),) = told(world, name)
        assert (rule, why, shown[:400]) == ("R14", f"the release record has another {what} than was signed", evidence)


def test_r14_the_provenance_beside_the_record_is_that_which_was_signed() -> None:
    world = made()
    first = world.record_release(release("1"), provenance=b"one")
    second = world.record_release(release("1"), provenance=b"two")
    good, bad = world.endorse(ALICE, first), world.endorse(ALICE, second, provenance=sha512_hex(b"one"))
    assert told(world, good) == []
    why, evidence = "the release record has another provenance than was signed", f"{sha512_hex(b'one')}, {sha512_hex(b'two')}"
    assert told(world, bad) == [("R14", why, evidence, "")]


def test_r10_an_endorser_of_another_list_is_none_of_this_one() -> None:
    world = first_world(ROOT, person("alice", ALICE), person("carol", CAROL))
    lists = {LIST: endorser_list(person("alice", ALICE)), "other": endorser_list(person("alice", BOB), person("carol", CAROL))}
    world.enact(world.propose(policy(principal("root", ROOT)), lists))
    head = world.record_release(release("1"))
    for signer, name in ((CAROL, "carol"), (BOB, "alice")):
        tag_name = world.endorse(signer, head, name)
        why = f"{name} is not an endorser with this key on the list {LIST} in force"
        assert [one for one in told(world, tag_name) if one[0] == "R10"] == [("R10", why, signer.id, "")]
        assert world.verdicts(SSH)[tag_name].statement is None
        assert isinstance(world.verdicts(SSH, listed="other")[tag_name], Accepted)


def test_r6_another_statement_under_an_endorsements_name_is_nobodys_word() -> None:
    world = made()
    said = said_in(world.tags["policy/1/root"])
    assert isinstance(said, PolicySignature)
    name = f"endorse/{APPLIANCE}/1/alice/1"
    world.tags[name] = tag(changed(said, key=ALICE.id), ALICE, name=name)
    assert [one[0] for one in told(world, name)] == ["R6"]
    assert world.verdicts(SSH)[name].statement is None


def test_tags_that_their_endorsers_do_not_stand_by_are_known() -> None:
    world = first_world(ROOT, person("alice", ALICE), person("bob", BOB))
    head = world.record_release(release("1"))
    first, second = world.endorse(ALICE, head), world.withdraw(ALICE, head)
    world.endorse(BOB, head, "bob")
    assert world.judge(SSH).stolen == frozenset()
    raws = [world.tags[name] for name in (first, second)]
    assert raws[0] is not None
    assert raws[1] is not None
    world.revoke(ROOT, "alice", ALICE.id, "root", serial=1, sha512=sha512_hex(raws[0]))
    assert world.judge(SSH).stolen == {sha512_hex(raws[1])}
    world.enact(world.propose(policy(principal("root", ROOT)), {LIST: endorser_list(person("bob", BOB))}))
    assert world.judge(SSH).stolen == frozenset()


@pytest.mark.parametrize(("after", "rules"), [(timedelta(0), ["R12"]), (SECOND, [])])
def test_r12_a_key_that_this_list_has_retired_says_since_when(after: timedelta, rules: list[str]) -> None:
    world = made()
    name = world.endorse(ALICE, world.head)
    retired = {**ALICE.key.model_dump(exclude_none=True), "retired": ISSUED + after}
    lists = {LIST: endorser_list(person("alice", retired)), "other": endorser_list(person("alice", ALICE))}  # type: ignore[arg-type]
    world.enact(world.propose(policy(principal("root", ROOT)), lists))
    found = told(world, name)
    assert [one[0] for one in found] == rules
    assert [one[1:3] for one in found] == [("the key was retired before it signed this", format_time(ISSUED))] * len(rules)


def test_r9_what_a_thief_signs_stands_in_nobodys_way() -> None:
    world = first_world(ROOT, person("alice", ALICE, BOB))
    head = world.record_release(release("1"))
    first = world.endorse(ALICE, head)
    raw = world.tags[first]
    assert raw is not None
    thiefs = world.endorse(ALICE, world.record_release(release("2")))
    owners = world.endorse(BOB, world.record_release(release("3")), serial=2, previous=sha512_hex(raw))
    assert [[one[0] for one in told(world, name)] for name in (first, thiefs, owners)] == [[], ["R9"], ["R9"]]
    stolen = {**ALICE.key.model_dump(exclude_none=True), "compromised_since": {"serial": 1, "sha512": sha512_hex(raw)}}
    world.enact(world.propose(policy(principal("root", ROOT)), {LIST: endorser_list(person("alice", stolen, BOB))}))  # type: ignore[arg-type]
    assert [[one[0] for one in told(world, name)] for name in (first, thiefs, owners)] == [[], ["R12"], []]
