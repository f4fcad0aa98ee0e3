"""Changed bytes and changed fields of what was valid: tags of every kind, pins, policy files. Nothing changed may be accepted."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from support.keys import NOW, SecurityKey, Signer
from support.trust import LIST, SSH, World, builder, first_world, holder, person, pinned_site, release
from vmkeeper.trust import tagobject
from vmkeeper.trust.judge import Judgement, judge
from vmkeeper.trust.keys.armour import armour, dearmour
from vmkeeper.trust.memory import Memory
from vmkeeper.trust.pins import Pins
from vmkeeper.trust.refusal import Untrusted
from vmkeeper.trust.signature import Verifiers
from vmkeeper.trust.verify import Accepted
from vmkeeper.values import canonical_json

SITE = "lab"


@dataclass(frozen=True)
class Bundle:
    """A valid repository with one tag of each kind, and how it is judged."""

    world: World
    verifiers: Verifiers
    names: tuple[str, ...]

    pins: Pins

    def judge(self) -> Judgement:
        """As it is."""
        return judge(self.world.sight(), self.pins, Memory(), self.verifiers, NOW)

    def raw(self, name: str) -> bytes:
        """The bytes of a tag, or of the freshness statement."""
        raw = self.world.fresh if name == "freshness" else self.world.tags[name]
        assert raw is not None
        return raw


def bundle(signer: Signer | None = None) -> Bundle:
    """A bundle whose endorsements and withdrawals are by `signer`, whose other tags are by plain keys."""
    root, ci, carol = (SecurityKey().plain_signer() for _ in range(3))
    alice = signer or SecurityKey().plain_signer()
    world = first_world(root, person("alice", alice), builders=(builder("ci", ci),), freshness={"signers": ["ci"]})
    world.principals["carol"] = carol
    commit = world.commit({f"sites/{SITE}.yaml": b"one"})
    endorsed = world.endorse(alice, world.record_release(release()))
    withdrawn = world.withdraw(alice, world.head)
    revoked = world.revoke(root, "alice", SecurityKey().plain_signer().id, "root")
    approved = world.approve(carol, SITE, "carol", commit)
    world.vouch(ci, expires=NOW + timedelta(hours=23))
    pins = world.pins(site=pinned_site(SITE, holder("carol", carol)), principals=(holder("root", root),))
    return Bundle(world, SSH, ("policy/1/root", endorsed, withdrawn, revoked, approved, "freshness"), pins)


def counts(found: Bundle, name: str, raw: bytes) -> bool:
    """Whether a tag with these bytes counts for anything. Raises nothing but typed refusals."""
    world = found.world
    before_tags, before_fresh = world.tags, world.fresh
    if name == "freshness":
        world.fresh = raw
    else:
        world.tags = {**world.tags, name: raw}
    try:
        made = judge(world.sight(), found.pins, Memory(), found.verifiers, NOW)
    except Untrusted:
        return False
    finally:
        world.tags, world.fresh = before_tags, before_fresh
    reads = {one.tag: one.good for one in (*made.enactments.accepted, *made.revoked)}
    reads |= {one.tag: isinstance(one, Accepted) or one.refusals[0].rule == "R31" for one in made.verdicts[LIST]}
    reads |= {read.tag: True for one in made.consents for read in one.signatures}
    reads["freshness"] = made.fresh.said is not None
    return reads.get(name, False)


def byte_changes(raw: bytes, chance: random.Random) -> Iterator[bytes]:
    """Without end: one byte flipped, another one in its place, one more, one less, two swapped, a piece repeated."""
    kinds: tuple[Callable[[int], bytes], ...] = (
        lambda at: raw[:at] + bytes([raw[at] ^ (1 << chance.randrange(8))]) + raw[at + 1 :],
        lambda at: raw[:at] + bytes([chance.randrange(256)]) + raw[at + 1 :],
        lambda at: raw[:at] + bytes([chance.choice(b'\n \r\0{}"\\-=:0aA\x80\xff')]) + raw[at:],
        lambda at: raw[:at] + raw[at + 1 :],
        lambda at: raw[:at] + raw[at : at + 2][::-1] + raw[at + 2 :],
        lambda at: raw[:at] + raw[at : at + chance.randrange(1, 40)] + raw[at:],
    )
    while True:
        made = chance.choice(kinds)(chance.randrange(len(raw)))
        if made != raw:
            yield made


def inner_changes(raw: bytes, chance: random.Random) -> Iterator[bytes]:
    """Without end: one bit of the signature itself, under good armour."""
    parsed = tagobject.parse(raw)
    packet = dearmour(parsed.kind, parsed.signature)
    while True:
        changed = bytearray(packet)
        changed[chance.randrange(len(packet))] ^= 1 << chance.randrange(8)
        yield parsed.signed + armour(parsed.kind, bytes(changed)).encode()


def field_changes(raw: bytes, chance: random.Random) -> Iterator[bytes]:
    """Without end: one field of the statement changed, removed, doubled or added, in canonical form, under the old signature."""
    parsed = tagobject.parse(raw)
    value = json.loads(parsed.payload)
    places = list(_places(value))
    strange: tuple[Any, ...] = (None, 0, 1, -1, 2**63, True, "", "x", "\u202e", [], {}, "9" * 128, "2026-01-01T00:00:00Z")
    while True:
        made = json.loads(parsed.payload)
        path = chance.choice(places)
        inside = made
        for step in path[:-1]:
            inside = inside[step]
        kind = chance.randrange(3)
        if kind == 0 and isinstance(inside, dict):
            del inside[path[-1]]
        elif kind == 1 and isinstance(inside, dict):
            inside[f"{path[-1]}x"] = inside[path[-1]]
        else:
            inside[path[-1]] = chance.choice(strange)
        data = canonical_json(made)
        if data != parsed.payload:
            yield parsed.signed.replace(parsed.payload, data) + parsed.signature.encode()


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from _places(inner, (*path, key))


def changes(raw: bytes, chance: random.Random) -> Iterator[bytes]:
    """Without end: all of these, in turn."""
    made = (byte_changes(raw, chance), inner_changes(raw, chance), field_changes(raw, chance))
    while True:
        for each in made:
            yield next(each)
