"""Freshness: a builder's statement of what was there just now, so that nobody can hold a site back on an old state unseen.

Sites that see less than the statement says are being withheld something (R8). Without one in date they register nothing
new, and say since when (R13).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from vmkeeper.trust.chain import Links
from vmkeeper.trust.enactment import Enactments
from vmkeeper.trust.history import History
from vmkeeper.trust.memory import Memory
from vmkeeper.trust.people import Holder, TrustedBuilder
from vmkeeper.trust.refusal import Refusal
from vmkeeper.trust.revocation import Voids, marks
from vmkeeper.trust.said import Freshness
from vmkeeper.trust.signature import FRESHNESS, Authenticator, Read
from vmkeeper.trust.statement import TagName
from vmkeeper.values import Duration, Sha512, format_time


@dataclass(frozen=True, slots=True)
class Frozen:
    """Nothing new may be registered, and since when; None where nobody knows."""

    since: datetime | None
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class Fresh:
    """The newest statement, if there is a good one, and what follows if it is not in date."""

    said: Freshness | None
    frozen: Frozen | None
    withheld: tuple[Refusal, ...] = ()
    """What the statement knows and the repository lacks."""
    until: datetime | None = None
    """When it is too old for this site."""


_HINT = "its maintainers' CI makes one with: vmkeeper freshness"


@dataclass(frozen=True, slots=True)
class Seen:
    """What a freshness statement is compared with."""

    links: Links
    """Every tag of every endorser that lies where it belongs."""
    stolen: frozenset[Sha512]
    """Tags by keys that were not their owner's any more: nobody is owed what they follow."""
    revocations: frozenset[Sha512]
    """Every revocation that lies where it belongs."""


def freshness(
    raw: bytes | None, enactments: Enactments, reader: Authenticator, memory: Memory, seen: Seen, void: Voids, staleness: Duration
) -> Fresh:
    """Judge the freshness statement.

    raw: its tag object. staleness: seconds that the site accepts.
    """
    signers = {one.name: one for one in enactments.current.policy.freshness_signers()}
    if not signers:
        return Fresh(None, None)

    def find(_name: TagName) -> Holder | Refusal:
        keys = tuple(key for one in signers.values() for key in one.keys)
        return Holder(name="builders", keys=keys)

    if raw is None:
        nothing = Refusal("R13", "no freshness statement is there", "", _HINT)
        return Fresh(None, Frozen(memory.fresh_until, (nothing,)))
    (read,) = reader.read({FRESHNESS.text: raw}, find)
    said = read.said
    if not read.good or not isinstance(said, Freshness):
        return Fresh(None, Frozen(memory.fresh_until, read.refusals))
    if refusals := tuple(_wrong(said, read, signers, enactments, memory, void)):
        return Fresh(None, Frozen(memory.fresh_until, refusals))
    until = min(said.expires, said.issued + timedelta(seconds=staleness))
    frozen = None
    if until <= reader.now:
        frozen = Frozen(until, (Refusal("R13", "the freshness statement is too old", f"good until {format_time(until)}", _HINT),))
    return Fresh(said, frozen, tuple(_withheld(said, enactments, reader.history, seen)), until)


def _wrong(
    said: Freshness, read: Read, signers: Mapping[str, TrustedBuilder], enactments: Enactments, memory: Memory, void: Voids
) -> Iterator[Refusal]:
    longest = enactments.current.policy.document.freshness
    assert longest is not None
    lifetime = int((said.expires - said.issued).total_seconds())
    if not 0 < lifetime <= longest.maximum_validity:
        yield Refusal("R13", "the freshness statement's lifetime is not allowed", f"{lifetime} s, at most {longest.maximum_validity}")
    if said.builder not in signers or read.held not in signers[said.builder].keys:
        yield Refusal("R31", f"the freshness statement is not by the builder {said.builder} that it names", said.key)
    if read.late or any(True for _ in marks(read, void)):
        yield Refusal("R12", "the key of the freshness statement is revoked or expired", said.key)
    if memory.fresh is not None and said.issued < memory.fresh:
        yield Refusal("R13", "an older freshness statement than the last one", f"{format_time(said.issued)}, {format_time(memory.fresh)} was seen")


def _withheld(said: Freshness, enactments: Enactments, history: History, seen: Seen) -> Iterator[Refusal]:
    """What the statement names and is not there. Policies before the pinned one are nobody's concern here."""
    hint = "fetch the repository again, with all its tags, from its source"
    if not history.precedes(said.commit, history.head):
        yield Refusal("R2", "the branch is behind its freshness statement", f"{said.commit} is missing", hint)
    policy = enactments.numbered(said.policy.number)
    if said.policy.number >= enactments.policies[0].number and (policy is None or policy.mark != said.policy):
        yield Refusal("R8", f"policy {said.policy.number} is withheld or another one", said.policy.sha512, hint)
    for chain in said.chains:
        missing = None if chain.sha512 in seen.stolen else seen.links.missing(chain)
        if missing is not None:
            yield Refusal("R8", f"a tag of {chain.endorser} is withheld", f"serial {missing}", hint)
    for digest in said.revocations:
        if digest not in seen.revocations:
            yield Refusal("R8", "a revocation is withheld", digest, hint)
