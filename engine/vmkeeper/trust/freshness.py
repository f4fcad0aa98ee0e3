"""Freshness: a builder's statement of what was there just now, so that nobody can hold a site back on an old state unseen.

Sites that see less than the statement says are being withheld something (R8). Without one in date they register nothing
new, and say since when (R13).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from vmkeeper.trust.enactment import Enactments
from vmkeeper.trust.history import History
from vmkeeper.trust.memory import Memory
from vmkeeper.trust.people import Holder
from vmkeeper.trust.refusal import Refusal
from vmkeeper.trust.revocation import Void
from vmkeeper.trust.said import Freshness
from vmkeeper.trust.signature import FRESHNESS, Authenticator, Read
from vmkeeper.trust.statement import TagName
from vmkeeper.values import Duration, format_time


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


def freshness(
    raw: bytes | None,
    enactments: Enactments,
    reader: Authenticator,
    memory: Memory,
    chains: Mapping[str, Sequence[tuple[int, str]]],
    revoked: Sequence[str],
    void: Mapping[str, Void],
    staleness: Duration,
) -> Fresh:
    """Judge the freshness statement.

    raw: its tag object. chains: (serial, SHA-512) of the well signed tags of each endorser. revoked: SHA-512 of every
    revocation. staleness: seconds that the site accepts.
    """
    signers = {one.name: one for one in enactments.current.policy.freshness_signers()}
    if not signers:
        return Fresh(None, None)

    def find(_name: TagName) -> Holder | Refusal:
        keys = tuple(key for one in signers.values() for key in one.keys)
        return Holder(name="builders", keys=keys)

    hint = "its maintainers' CI makes one with: vmkeeper freshness"
    if raw is None:
        nothing = Refusal("R13", "no freshness statement is there", "", hint)
        return Fresh(None, Frozen(memory.fresh_until, (nothing,)))
    (read,) = reader.read({FRESHNESS.text: raw}, find)
    said = read.said
    if not read.good or not isinstance(said, Freshness):
        return Fresh(None, Frozen(memory.fresh_until, read.refusals or (Refusal("R22", "the freshness statement is about something else"),)))
    refusals = tuple(_wrong(said, read, signers, enactments, memory, void))
    if refusals:
        return Fresh(None, Frozen(memory.fresh_until, refusals))
    stale = min(said.expires, said.issued + timedelta(seconds=staleness))
    frozen = None
    if stale <= reader.now:
        frozen = Frozen(stale, (Refusal("R13", "the freshness statement is too old", f"good until {format_time(stale)}", hint),))
    return Fresh(said, frozen, tuple(_withheld(said, enactments, reader.history, chains, revoked)))


def _wrong(
    said: Freshness, read: Read, signers: Mapping[str, Holder], enactments: Enactments, memory: Memory, void: Mapping[str, Void]
) -> Iterator[Refusal]:
    longest = enactments.current.policy.document.freshness
    assert longest is not None
    lifetime = int((said.expires - said.issued).total_seconds())
    if not 0 < lifetime <= longest.maximum_validity:
        yield Refusal("R13", "the freshness statement's lifetime is not allowed", f"{lifetime} s, at most {longest.maximum_validity}")
    if said.builder not in signers or read.held not in signers[said.builder].keys:
        yield Refusal("R31", f"the freshness statement is not by the builder {said.builder} that it names", said.key)
    spoilt = read.held is None or read.held.compromised_since is not None or said.key in void
    if spoilt or (read.signed_by is not None and read.signed_by.valid_until is not None and read.signed_by.valid_until <= said.issued):
        yield Refusal("R12", "the key of the freshness statement is revoked or expired", said.key)
    if memory.fresh is not None and said.issued < memory.fresh:
        yield Refusal("R13", "an older freshness statement than the last one", f"{format_time(said.issued)}, {format_time(memory.fresh)} was seen")


def _withheld(
    said: Freshness, enactments: Enactments, history: History, chains: Mapping[str, Sequence[tuple[int, str]]], revoked: Sequence[str]
) -> Iterator[Refusal]:
    hint = "fetch the repository again, with all its tags, from its source"
    if not history.precedes(said.commit, history.head):
        yield Refusal("R2", "the branch is behind its freshness statement", f"{said.commit} is missing", hint)
    policy = enactments.numbered(said.policy.number)
    if policy is None or policy.mark != said.policy:
        yield Refusal("R8", f"policy {said.policy.number} is withheld or another one", said.policy.sha512, hint)
    for chain in said.chains:
        if (chain.serial, chain.sha512) not in chains.get(chain.endorser, ()):
            yield Refusal("R8", f"a tag of {chain.endorser} is withheld", f"serial {chain.serial}", hint)
    for digest in said.revocations:
        if digest not in revoked:
            yield Refusal("R8", "a revocation is withheld", digest, hint)
