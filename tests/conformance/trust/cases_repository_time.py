"""Dates of statements and policies, the clock (R13), and freshness: R2, R8, R13, R31."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from conformance.trust.builds import with_builder
from conformance.trust.case import Case
from conformance.trust.forge import World, utc
from conformance.trust.signers import ISSUED, NOW, openpgp
from conformance.trust.worlds import BASE, CI, MALLORY, V1, V2, V3, Change, accepts, new, people, refuses, remembers, v1, v2

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def dated(issued: datetime = ISSUED, begins: datetime | None = None, ends: datetime | None = None, **fields: Any) -> Change:
    """V3 is endorsed by alice with these dates."""

    def change(world: World) -> None:
        until = ends or issued + 30 * DAY
        world.endorse("alice", new(world), issued=utc(issued), not_before=utc(begins or issued), expires=utc(until), **fields)

    return change


def wrong(name: str, change: Change) -> Case:
    return refuses(name, "R13", change, release=V3, stands=BASE)


def fresh_base(world: World) -> None:
    """The base with a builder, whom the policy also asks for freshness; the statement is there."""
    with_builder(freshness={"signers": ["ci"], "maximum_validity": "48h"})(world)
    world.vouch("ci")


def vouched(**fields: Any) -> Change:
    return lambda world: world.vouch("ci", **fields)


def at(*moments: timedelta) -> tuple[datetime, ...]:
    return tuple(NOW + one for one in moments)


def unchanged(_: World) -> None:
    pass


def _not_asked_for(world: World) -> None:
    people(world, ci=CI)
    world.vouch("ci", policy={"number": 9, "sha512": "0" * 128})


def _by_mallory(world: World) -> None:
    world.signers["ci"] = MALLORY
    world.vouch("ci")


def _instead(world: World) -> None:
    tag = (world.repo / ".git/refs/tags/endorse/debian-12/2026.5.1.3/alice/1").read_text().strip()
    world.ref("refs/vmkeeper/freshness", tag)


def _head_withheld(world: World) -> None:
    before = world.head
    world.commit({"docs/a.md": b"a\n"})
    world.vouch("ci")
    world.branch(before)


def _withdrawal_withheld(world: World) -> None:
    made = world.withdraw("alice", v1(world))
    world.vouch("ci")
    world.drop(made)


def _revocation_withheld(world: World) -> None:
    made = world.revoke("alice", world.signers["alice"].id, "anna")
    world.vouch("ci")
    world.drop(made)


def _policy_withheld(world: World) -> None:
    made = world.next_policy("anna", "dora")
    world.vouch("ci")
    world.drop(*made)


CASES: list[Case] = [
    accepts("in-date", "R13", dated()),
    accepts("from-this-very-second-on", "R13", dated(NOW)),
    accepts("by-a-clock-that-is-four-minutes-ahead", "R13", dated(NOW + 4 * MINUTE)),
    accepts("for-as-long-as-the-list-allows", "R13", dated(ends=ISSUED + 90 * DAY)),
    accepts("until-the-next-second", "R13", dated(ends=NOW + timedelta(seconds=1))),
    wrong("expired", dated(NOW - 40 * DAY)),
    wrong("expires-this-very-second", dated(ends=NOW)),
    wrong("not-valid-yet", dated(begins=NOW + HOUR)),
    wrong("issued-in-the-future", dated(NOW + HOUR)),
    wrong("by-a-clock-that-is-six-minutes-ahead", dated(NOW + 6 * MINUTE)),
    wrong("begins-before-it-was-issued", dated(begins=ISSUED - HOUR)),
    wrong("longer-than-the-list-allows", dated(ends=ISSUED + 91 * DAY)),
    wrong("for-ever", dated(ends=datetime(9999, 12, 31, tzinfo=NOW.tzinfo))),
    wrong("ends-before-it-begins", dated(ends=ISSUED - DAY)),
    wrong("the-tagger-s-date-is-earlier", dated(lie={"tagger": f"A <a@example.org> {int(ISSUED.timestamp()) - 3600} +0000"})),
    wrong("the-tagger-s-date-is-later", dated(lie={"tagger": f"A <a@example.org> {int(ISSUED.timestamp()) + 1} +0000"})),
    wrong("the-signature-was-made-in-the-future", lambda world: world.endorse("bob", new(world), by=openpgp("bob").at(NOW + HOUR))),
    refuses("all-has-expired", "R13", unchanged, moment=NOW + 40 * DAY),
    remembers("time-goes-on", "R13", "accept", unchanged, moments=at(-HOUR, HOUR)),
    remembers("the-clock-is-a-little-behind", "R13", "accept", unchanged, moments=at(MINUTE, -MINUTE)),
    remembers("the-clock-was-set-back", "R13", "refuse", unchanged, moments=at(HOUR, -HOUR)),
    remembers("the-clock-was-set-back-by-months", "R13", "refuse", unchanged, moments=at(HOUR, -14 * DAY)),
    remembers("a-frozen-clock-long-after", "R13", "refuse", unchanged, unchanged, moments=at(-20 * HOUR, 20 * DAY, 0 * HOUR)),
    remembers("expired-between-two-looks", "R13", "refuse", unchanged, moments=at(0 * HOUR, 31 * DAY)),
    # Freshness
    accepts("a-fresh-statement", "R13", start=fresh_base),
    accepts("a-fresh-statement-after-more-tags", "R13", lambda world: world.endorse("alice", v2(world)), start=fresh_base),
    accepts("where-nobody-asks-for-freshness", "R13", _not_asked_for),
    refuses("no-freshness-statement", "R13", lambda world: (world.repo / ".git/refs/vmkeeper/freshness").unlink(), start=fresh_base),
    refuses("frozen-on-an-old-statement", "R13", unchanged, start=fresh_base, moment=NOW + 2 * DAY),
    refuses("a-statement-that-is-valid-too-long", "R13", vouched(expires=utc(NOW + 60 * HOUR)), start=fresh_base),
    refuses("a-statement-from-the-future", "R13", vouched(issued=utc(NOW + HOUR), expires=utc(NOW + 24 * HOUR)), start=fresh_base),
    refuses("older-than-the-site-accepts", "R13", lambda world: world.pins.update(maximum_staleness="30m"), start=fresh_base),
    refuses("a-statement-by-a-stranger", "R10", _by_mallory, start=fresh_base),
    refuses(
        "a-statement-by-an-endorser", "R10", lambda world: world.signers.update(ci=world.signers["alice"]) or world.vouch("ci"), start=fresh_base
    ),
    refuses(
        "a-statement-in-another-builder-s-name",
        "R31",
        vouched(lie={"statement_edit": lambda said: {**said, "predicate": {**said["predicate"], "builder": "cj"}}}),
        start=fresh_base,
    ),
    refuses("an-endorsement-in-place-of-the-statement", "R22", _instead, start=fresh_base, named="R10"),
    refuses("the-branch-is-behind-the-statement", "R2", _head_withheld, start=fresh_base),
    refuses("a-tag-is-withheld", "R8", lambda world: world.drop("endorse/alma-9/2026.5.3.5/erin/2"), start=fresh_base, release=V2),
    refuses("a-withdrawal-is-withheld-from-the-first-look", "R8", _withdrawal_withheld, start=fresh_base, release=V1),
    refuses("a-revocation-is-withheld", "R8", _revocation_withheld, start=fresh_base),
    refuses("a-policy-is-withheld", "R8", _policy_withheld, start=fresh_base),
    refuses("the-statement-is-about-another-repository", "R1", vouched(repository="e" * 40), start=fresh_base),
    remembers(
        "the-statement-is-renewed",
        "R13",
        "accept",
        vouched(issued=utc(NOW), expires=utc(NOW + 24 * HOUR)),
        start=fresh_base,
        moments=at(0 * HOUR, HOUR),
    ),
    remembers("an-older-statement-comes-back", "R13", "refuse", vouched(issued=utc(NOW - 2 * HOUR), expires=utc(NOW + 20 * HOUR)), start=fresh_base),
    remembers("the-statement-disappears", "R13", "refuse", lambda world: (world.repo / ".git/refs/vmkeeper/freshness").unlink(), start=fresh_base),
]
