"""A freshness statement shows what a mirror holds back; without one in date, nothing new is registered."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from support.keys import NOW, SecurityKey
from support.trust import (
    LIST,
    SSH,
    World,
    builder,
    changed,
    endorser_list,
    first_world,
    list_mark,
    person,
    policy,
    principal,
    release,
    tag,
    untrusted,
)
from vmkeeper.trust.freshness import Frozen
from vmkeeper.trust.judge import Judgement
from vmkeeper.trust.memory import Memory
from vmkeeper.trust.refusal import Refusal, Untrusted
from vmkeeper.trust.said import Chain, Freshness, PolicyMark
from vmkeeper.trust.verify import Accepted
from vmkeeper.values import Duration, sha512_hex

A, ALICE, BOB, CI, OTHER = (SecurityKey().plain_signer() for _ in range(5))
HINT = "its maintainers' CI makes one with: vmkeeper freshness"
AGAIN = "fetch the repository again, with all its tags, from its source"
ASKED = {"signers": ["ci"], "maximum_validity": "48h"}
BUILDERS: tuple[Any, ...] = (builder("ci", CI), builder("other", OTHER))


def world(**fields: Any) -> World:
    made = first_world(A, person("alice", ALICE), person("bob", BOB), builders=BUILDERS, freshness=ASKED, **fields)
    made.record_release(release("1"))
    return made


def judged(made: World, **how: Any) -> Judgement:
    return made.judge(SSH, **how)


def frozen(made: World, **how: Any) -> Frozen:
    found = judged(made, **how)
    assert found.fresh.frozen is not None
    assert found.frozen == {LIST: found.fresh.frozen}
    return found.fresh.frozen


def refused(made: World, **how: Any) -> tuple[Refusal, ...]:
    with pytest.raises(Untrusted) as caught:
        judged(made, **how)
    return caught.value.refusals


def test_a_fresh_statement_freezes_nothing_and_is_remembered() -> None:
    made = world()
    said = made.vouch(CI)
    found = judged(made)
    assert (found.fresh.said, found.fresh.frozen, found.frozen, found.fresh.withheld) == (said, None, {}, ())
    assert (found.memory.fresh, found.memory.fresh_until) == (said.issued, said.expires)


def test_a_policy_that_asks_for_none_needs_none() -> None:
    made = first_world(A, person("alice", ALICE), builders=BUILDERS)
    found = judged(made)
    assert (found.fresh.said, found.frozen) == (None, {})
    made.fresh = b"junk"
    assert judged(made).frozen == {}


def test_r13_without_a_statement_nothing_new_is_registered() -> None:
    nothing = Refusal("R13", "no freshness statement is there", "", HINT)
    assert frozen(world()) == Frozen(None, (nothing,))
    until = NOW + timedelta(hours=2)
    assert frozen(world(), memory=Memory(fresh_until=until)) == Frozen(until, (nothing,))


def test_what_runs_on_is_still_judged_without_a_statement() -> None:
    made = world()
    name = made.endorse(ALICE, made.head, provenance=None)
    verdict = made.verdicts(SSH)[name]
    assert {one.rule for one in verdict.refusals} == {"R31"}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("now", "staleness", "until"),
    [
        (NOW + timedelta(hours=23) - timedelta(seconds=1), "72h", None),
        (NOW + timedelta(hours=23), "72h", NOW + timedelta(hours=23)),
        (NOW + timedelta(hours=9) - timedelta(seconds=1), "10h", None),
        (NOW + timedelta(hours=9), "10h", NOW + timedelta(hours=9)),
        (NOW + timedelta(days=9), "10h", NOW + timedelta(hours=9)),
    ],
)
def test_r13_a_statement_is_good_until_it_ends_or_the_site_finds_it_stale(now: datetime, staleness: str, until: datetime | None) -> None:
    made = world()
    made.vouch(CI)
    pins = made.pins(maximum_staleness=Duration.parse(staleness))
    if until is None:
        assert judged(made, pins=pins, now=now).frozen == {}
        return
    stamp = until.strftime("%Y-%m-%dT%H:%M:%SZ")
    found = frozen(made, pins=pins, now=now)
    assert found == Frozen(until, (Refusal("R13", "the freshness statement is too old", f"good until {stamp}", HINT),))
    assert judged(made, pins=pins, now=now).memory.fresh_until == until


@pytest.mark.parametrize(("hours", "good"), [(48, True), (49, False), (0, False), (-1, False)])
def test_r13_its_lifetime_is_what_the_policy_allows(hours: int, good: bool) -> None:
    made = world()
    issued = NOW - timedelta(minutes=1)
    made.vouch(CI, issued=issued, expires=issued + timedelta(hours=hours))
    if good:
        assert judged(made).frozen == {}
    else:
        why = f"{hours * 3600} s, at most 2d"
        assert frozen(made).refusals == (Refusal("R13", "the freshness statement's lifetime is not allowed", why),)


def test_r13_an_older_statement_than_one_that_was_seen_is_refused() -> None:
    made = world()
    said = made.vouch(CI)
    memory = judged(made).memory
    assert judged(made, memory=memory).frozen == {}
    made.vouch(CI, issued=said.issued - timedelta(seconds=1))
    found = frozen(made, memory=memory)
    evidence = "2026-06-01T10:59:59Z, 2026-06-01T11:00:00Z was seen"
    assert found == Frozen(said.expires, (Refusal("R13", "an older freshness statement than the last one", evidence),))


def test_r13_a_statement_from_the_future_is_refused() -> None:
    made = world()
    made.vouch(CI, issued=NOW + timedelta(minutes=6), expires=NOW + timedelta(hours=1))
    assert [one.rule for one in frozen(made).refusals] == ["R13"]


def test_r31_a_statement_by_another_builder_or_key_is_refused() -> None:
    made = world()
    made.vouch(OTHER, "other")
    assert [(one.rule, one.why) for one in frozen(made).refusals] == [("R10", "the signature is by a key that is not one of builders's")]
    for signer in (A, ALICE):
        made.vouch(signer)
        assert [one.rule for one in frozen(made).refusals] == ["R10"]
    asked = {**ASKED, "signers": ["ci", "other"]}
    made = first_world(A, person("alice", ALICE), builders=BUILDERS, freshness=asked)
    made.vouch(OTHER, "other")
    assert judged(made).frozen == {}
    for name in ("ci", "nobody"):
        made.vouch(OTHER, name)
        why = f"the freshness statement is not by the builder {name} that it names"
        assert frozen(made).refusals == (Refusal("R31", why, OTHER.id),)


@pytest.mark.parametrize("junk", [b"", b"junk", b"object 1\n"])
def test_what_is_no_statement_is_refused(junk: bytes) -> None:
    made = world()
    made.fresh = junk
    assert {one.rule for one in frozen(made).refusals} <= {"R32", "R10", "R7"}


def test_r6_another_statement_of_the_builder_is_no_freshness_statement() -> None:
    made = world()
    said = made.statement(CI, made.head, "ci")
    made.fresh = tag(said, CI)
    assert [one.rule for one in frozen(made).refusals] == ["R6"]


def test_r12_a_stolen_or_retired_key_makes_none() -> None:
    for state in ({"compromised_since": {"serial": 0}}, {"retired": "2026-05-01T00:00:00Z"}):
        key = {**CI.key.model_dump(exclude_none=True), **state}
        marked = BUILDERS[0].model_copy(update={"keys": (type(CI.key).model_validate(key),)})
        made = first_world(A, person("alice", ALICE), builders=(marked,), freshness=ASKED)
        made.vouch(CI)
        assert [one.rule for one in frozen(made).refusals] == ["R12"]
    made = world()
    made.revoke(A, "ci", CI.id, "root")
    made.vouch(CI)
    assert frozen(made).refusals == (Refusal("R12", "the key of the freshness statement is revoked or expired", CI.id),)


def test_r8_the_last_tag_of_an_endorser_is_missed() -> None:
    made = world()
    one, two = (made.endorse(ALICE, made.head) for _ in range(2))
    made.vouch(CI)
    assert judged(made).frozen == {}
    del made.tags[two]
    assert refused(made) == (Refusal("R8", "a tag of alice is withheld", "serial 2", AGAIN),)
    del made.tags[one]
    assert refused(made) == (Refusal("R8", "a tag of alice is withheld", "serial 2", AGAIN),)


@pytest.mark.parametrize("how", ["dropped", "moved", "another"])
def test_r8_a_withdrawal_in_the_middle_is_missed_however_it_is_hidden(how: str) -> None:
    made = world()
    made.endorse(ALICE, made.head)
    gone = made.withdraw(ALICE, made.head)
    made.endorse(ALICE, made.record_release(release("2")))
    made.vouch(CI)
    assert judged(made).frozen == {}
    raw = made.tags.pop(gone)
    assert raw is not None
    if how == "moved":
        made.tags["endorse/debian-12/1/alice/2"] = raw
    if how == "another":
        made.tags[gone] = raw.replace(b"a hole in it", b"a pole in it")
    assert refused(made) == (Refusal("R8", "a tag of alice is withheld", "serial 2", AGAIN),)


def test_r8_another_tag_with_the_same_serial_is_not_the_one_that_was_seen() -> None:
    made = world()
    name = made.endorse(ALICE, made.head)
    made.vouch(CI)
    made.endorse(ALICE, made.head, serial=1, previous=None, expires=NOW + timedelta(days=3))
    assert name in made.tags
    assert [one.rule for one in refused(made)] == ["R8"]


def test_r8_a_policy_and_a_revocation_are_missed() -> None:
    made = world()
    people = {LIST: endorser_list(person("alice", ALICE), person("bob", BOB))}
    made.enact(made.propose(policy(principal("root", A), builders=BUILDERS, freshness=ASKED), people))
    name = made.revoke(A, "bob", BOB.id, "root")
    said = made.vouch(CI)
    assert judged(made).frozen == {}
    raw = made.tags.pop(name)
    assert raw is not None
    assert refused(made) == (Refusal("R8", "a revocation is withheld", sha512_hex(raw), AGAIN),)
    made.tags["revoke/alice/root/1"] = raw
    assert [one.why for one in refused(made)] == ["a revocation is withheld"]
    made.tags[name] = made.tags.pop("revoke/alice/root/1")
    policy_tag = made.tags.pop("policy/2/root")
    assert Refusal("R8", "policy 2 is withheld or another one", said.policy.sha512, AGAIN) in refused(made)
    made.tags["policy/2/root"] = policy_tag
    made.vouch(CI, policy=PolicyMark(number=2, sha512="9" * 128))
    assert [one.why for one in refused(made)] == ["policy 2 is withheld or another one"]
    made.vouch(CI, policy=PolicyMark(number=1, sha512=made.pins().policy.sha512))
    assert judged(made).frozen == {}


def test_a_statement_from_before_the_pinned_policy_is_good() -> None:
    made = world()
    old = made.vouch(CI)
    made.enact(made.head)
    second = made.last_policy()
    assert second is not None
    assert judged(made, pins=made.pins(policy=PolicyMark(number=2, sha512=second.content))).fresh.said == old


def test_r2_a_branch_that_is_behind_its_statement_is_refused() -> None:
    made = world()
    made.commit({"x": b"y"})
    said = made.vouch(CI)
    made.line.pop()
    assert Refusal("R2", "the branch is behind its freshness statement", f"{said.commit} is missing", AGAIN) in refused(made)


def test_a_statement_survives_that_an_endorser_leaves_or_a_key_is_revoked() -> None:
    made = world()
    made.endorse(BOB, made.head, "bob")
    made.revoke(A, "bob", BOB.id, "root")
    made.vouch(CI)
    people = {LIST: endorser_list(person("alice", ALICE))}
    made.enact(made.propose(policy(principal("root", A), builders=BUILDERS, freshness=ASKED), people))
    assert judged(made).frozen == {}


def test_what_a_thief_signs_is_owed_to_nobody() -> None:
    made = world()
    made.endorse(ALICE, made.head)
    stolen = made.endorse(BOB, made.head, "bob", serial=99, previous="9" * 128)
    made.vouch(CI)
    assert [one.evidence for one in refused(made)] == ["serial 98"]
    made.revoke(A, "bob", BOB.id, "root")
    assert judged(made).frozen == {}
    assert judged(made).stolen == {sha512_hex(made.tags[stolen] or b"")}
    assert not isinstance(made.verdicts(SSH)[stolen], Accepted)


def test_what_a_builder_may_vouch_for_are_chains_that_are_whole() -> None:
    made = world()
    made.endorse(ALICE, made.head)
    last = made.endorse(ALICE, made.head)
    made.endorse(BOB, made.head, "bob", serial=99, previous="9" * 128)
    raw = made.tags[last]
    assert raw is not None
    assert made.judge(SSH).tips == (Chain(endorser="alice", serial=2, sha512=sha512_hex(raw)),)
    first = made.endorse(BOB, made.record_release(release("3")), "bob", serial=1, previous=None)
    made.revoke(A, "bob", BOB.id, "root", serial=1, sha512=sha512_hex(made.tags[first] or b""))
    assert [(one.endorser, one.serial) for one in made.judge(SSH).tips] == [("alice", 2), ("bob", 1)]
    made.endorse(ALICE, made.head, serial=3, previous=sha512_hex(raw), repository="9" * 40, version="9")
    assert [(one.endorser, one.serial) for one in made.judge(SSH).tips] == [("alice", 2), ("bob", 1)]


def test_chains_that_were_odd_when_they_were_vouched_for_withhold_nothing() -> None:
    made = world()
    one = made.endorse(ALICE, made.head)
    made.tags["endorse/x/1/alice/7"] = b"no\nstatement\ntag endorse/x/1/alice/7\n"
    digest = sha512_hex(made.tags["endorse/x/1/alice/7"] or b"")
    two = made.endorse(ALICE, made.head, serial=3, previous=sha512_hex(made.tags[one] or b""))
    three = made.endorse(ALICE, made.head, serial=8, previous=digest)
    for name, serial in ((two, 3), (three, 8)):
        tip = Chain(endorser="alice", serial=serial, sha512=sha512_hex(made.tags[name] or b""))
        made.vouch(CI, chains=(tip,))
        assert judged(made).fresh.withheld == ()
    wrong = Chain(endorser="alice", serial=2, sha512=sha512_hex(made.tags[one] or b""))
    made.vouch(CI, chains=(wrong,))
    assert judged(made).fresh.withheld == ()


def test_published_lists_are_passed_on() -> None:
    made = world()
    mark = list_mark("00000000-0000-0000-0000-000000000001", "3", b"x")
    made.vouch(CI, lists=(mark,))
    said = judged(made).fresh.said
    assert isinstance(said, Freshness)
    assert said.lists == (mark,)
    assert changed(said, lists=()) != said


def test_a_statement_that_names_another_repository_is_refused() -> None:
    made = world()
    made.vouch(CI, repository="9" * 40)
    assert [one.rule for one in frozen(made).refusals] == ["R1"]
    assert untrusted(lambda: judged(made)) == set()
