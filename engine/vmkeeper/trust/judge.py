"""One look at a followed repository, judged: which policy is in force, what each tag counts for, what to remember.

`vmkeeper verify` and `vmkeeper reconcile` both come through here and through nothing else. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from vmkeeper.documents.kinds import KINDS
from vmkeeper.documents.load import read as read_document
from vmkeeper.errors import Refused
from vmkeeper.model.endorser import EndorserList
from vmkeeper.trust import memory as memories
from vmkeeper.trust.consent import Consent, consent
from vmkeeper.trust.enactment import Enactments, enact, expired
from vmkeeper.trust.freshness import Fresh, Frozen, freshness
from vmkeeper.trust.history import History
from vmkeeper.trust.memory import Memory, SeenTag
from vmkeeper.trust.people import Holder
from vmkeeper.trust.pins import Pins
from vmkeeper.trust.policy import FILE, FOLDER
from vmkeeper.trust.refusal import Refusal, Untrusted
from vmkeeper.trust.revocation import Void, revocations, void
from vmkeeper.trust.said import OfEndorser
from vmkeeper.trust.signature import Authenticator, Read, Verifiers, held_digest
from vmkeeper.trust.statement import TagName
from vmkeeper.trust.verify import Accepted, Context, Verdict, provenance_rule, verify
from vmkeeper.values import sha512_hex

PREFIXES = ("endorse/", "withdraw/", "policy/", "revoke/", "approve/")
"""Where our tags lie below refs/tags/."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What is there, as it lies there."""

    history: History
    tags: Mapping[str, bytes | None]
    """Raw tag objects by name, of all refs below `PREFIXES`; None for a ref that is no annotated tag."""
    freshness: bytes | None = None
    """The raw tag object under refs/vmkeeper/freshness."""
    oddities: tuple[Refusal, ...] = ()
    """What makes two readers of this repository disagree (R23, R24, R32)."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What may be concluded from it."""

    enactments: Enactments
    revoked: tuple[Read, ...]
    """Every revocation, good or not."""
    void: Mapping[str, Void]
    reader: Authenticator
    objects: Mapping[str, bytes]
    reads: tuple[Read, ...]
    """Every endorsement and withdrawal as far as it could be read."""
    fresh: Fresh
    frozen: Mapping[str, Frozen]
    """Endorser lists under which nothing new may be registered."""
    consents: tuple[Consent, ...]
    refused_consents: tuple[Refusal, ...]
    memory: Memory
    """What to remember from now on."""
    verdicts: Mapping[str, tuple[Verdict, ...]] = field(default_factory=dict)
    """About every endorsement and withdrawal, by endorser list."""


def judge(sight: Sight, pins: Pins, memory: Memory, verifiers: Verifiers, now: datetime) -> Judgement:
    """Judge what is there at a time. Raises Untrusted where nothing can be concluded from it: R1-R4, R8, R13, R16, R32."""
    _same_repository(sight, pins)
    refusals: list[Refusal] = list(sight.oddities)
    present = {name: sha512_hex(raw) for name, raw in sight.tags.items() if raw is not None}
    refusals += memories.lost(memory, present)
    memory = _remembered(refusals, memory, lambda one: memories.at(one, now, pins.clock_skew))
    memory = _remembered(refusals, memory, lambda one: memories.with_head(one, sight.history))
    reader = Authenticator(pins.repository, sight.history, verifiers, now, pins.clock_skew, memory.tags)
    policy_tags, revoke_tags = _below(sight, "policy/"), _below(sight, "revoke/")
    try:
        enactments = enact(policy_tags, pins, reader, {})
        revoked, spoilt = _revoked(enactments, revoke_tags, reader)
        if spoilt:
            enactments = enact(policy_tags, pins, reader, spoilt)
            revoked, spoilt = _revoked(enactments, revoke_tags, reader)
    except Untrusted as error:
        raise Untrusted([*refusals, *error.refusals]) from None
    memory = _remembered(refusals, memory, lambda one: memories.with_policy(one, enactments.current.mark))
    refusals += _vanished(sight.history, enactments)
    objects = {sha512_hex(raw): raw for raw in sight.tags.values() if raw is not None}
    reads = reader.read(_below(sight, "endorse/", "withdraw/"), _finder(enactments, sight.history))
    digests = sorted(one.sha512 for one in revoked if one.good)
    fresh = freshness(sight.freshness, enactments, reader, memory, _chains(reads), digests, spoilt, pins.maximum_staleness)
    refusals += fresh.withheld
    if refusals:
        raise Untrusted(refusals)
    consents, refused = _consents(sight, pins, reader, spoilt)
    rule = provenance_rule(enactments, reader)
    lists = enactments.current.policy.lists
    verdicts = {
        name: verify(reads, Context(lists[name], enactments, spoilt, reader, objects, rule)) for name in (pins.lists or lists) if name in lists
    }
    made = Judgement(enactments, revoked, spoilt, reader, objects, reads, fresh, _frozen(enactments, fresh, now), consents, refused, memory, verdicts)
    return _remembering(made)


def _same_repository(sight: Sight, pins: Pins) -> None:
    root, tree = sight.history.root()
    if (root, tree) != (pins.repository, pins.tree):
        hint = "name the repository that was pinned"
        raise Untrusted([Refusal("R1", "this is another repository than the pinned one", f"root commit {root}, pinned {pins.repository}", hint)])


def _remembered(refusals: list[Refusal], memory: Memory, step: Callable[[Memory], Memory]) -> Memory:
    try:
        return step(memory)
    except Refused as error:
        refusals.append(Refusal.of(error))
        return memory


def _below(sight: Sight, *prefixes: str) -> dict[str, bytes | None]:
    return {name: raw for name, raw in sight.tags.items() if name.startswith(prefixes)}


def _everybody(enactments: Enactments) -> Iterator[Holder]:
    for one in enactments.policies:
        yield from one.policy.principals
        yield from one.policy.builders
        for found in one.policy.lists.values():
            yield from found.endorsers


def _revoked(enactments: Enactments, tags: Mapping[str, bytes | None], reader: Authenticator) -> tuple[tuple[Read, ...], dict[str, Void]]:
    reads = revocations(tags, enactments.current.policy.principals, _everybody(enactments), reader)
    return reads, void(reads)


def _vanished(history: History, enactments: Enactments) -> Iterator[Refusal]:
    """R4: the files of the policy in force are still there, as regular files, whatever else the head proposes."""
    try:
        there = history.files(history.head, FOLDER)
    except Refused as error:
        yield Refusal.of(error)
        return
    for path in (FILE, *(f"{name}.yaml" for name in sorted(enactments.current.policy.lists))):
        if path not in there:
            hint = "put it back; a list that is to end is emptied, and goes once a policy without it is signed"
            yield Refusal("R4", "a file of the policy in force has vanished", f"{FOLDER}/{path} at {history.head}", hint)


def _finder(enactments: Enactments, history: History) -> Callable[[TagName], Holder | Refusal]:
    """Endorsers of the lists in force, each with all of their keys; for others, why they are none."""
    known: dict[str, Holder] = {}
    for found in enactments.current.policy.lists.values():
        for one in found.endorsers:
            keys = tuple(dict.fromkeys([*(known[one.name].keys if one.name in known else ()), *one.keys]))
            known[one.name] = Holder(name=one.name, full_name=one.full_name, email=one.email, keys=keys)
    proposed: set[str] = set()

    def find(name: TagName) -> Holder | Refusal:
        if name.signer in known:
            return known[name.signer]
        if not proposed:
            proposed.update(_proposed(history), [""])
        number = enactments.current.number
        if name.signer in proposed:
            hint = "a proposed list counts once the principals have signed it: vmkeeper policy sign"
            return Refusal("R3", f"{name.signer} is only proposed as an endorser; policy {number} in force does not name them", name.text, hint)
        return Refusal("R10", f"{name.signer} is not an endorser of policy {number}", name.text, "have the endorser listed and the policy signed")

    return find


def _proposed(history: History) -> Iterator[str]:
    """Names on the endorser lists of the head, which no one has signed yet."""
    try:
        files = history.files(history.head, FOLDER)
    except Refused:
        return
    for path, data in files.items():
        if KINDS["endorsers"].subject(f"{FOLDER}/{path}") is not None:
            document = read_document(KINDS["endorsers"], data, path).document
            if isinstance(document, EndorserList):
                yield from (one.name for one in document.endorsers)


def _chains(reads: tuple[Read, ...]) -> dict[str, list[tuple[int, str]]]:
    found: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    for read in reads:
        if isinstance(read.said, OfEndorser):
            found[read.said.endorser].append((read.said.serial, read.sha512))
    return found


def _frozen(enactments: Enactments, fresh: Fresh, now: datetime) -> dict[str, Frozen]:
    current = enactments.current
    ended = expired(current, now)
    shared = [Frozen(current.said.expires, (ended,))] if ended else []
    shared += [fresh.frozen] if fresh.frozen else []
    derived = current.policy.derivation(now)
    result = {}
    for name in current.policy.lists:
        found = [*shared, *([Frozen(None, derived[name])] if derived.get(name) else [])]
        if found:
            times = [one.since for one in found if one.since is not None]
            result[name] = Frozen(min(times, default=None), tuple(refusal for one in found for refusal in one.refusals))
    return result


def _consents(sight: Sight, pins: Pins, reader: Authenticator, spoilt: Mapping[str, Void]) -> tuple[tuple[Consent, ...], tuple[Refusal, ...]]:
    if pins.site is None or not pins.site.administrators:
        return (), ()
    return consent(_below(sight, f"approve/{pins.site.name}/"), pins.site, reader, spoilt)


def _remembering(made: Judgement) -> Judgement:
    """The judgement with a memory of every tag that counted."""
    accepted = {verdict.tag for verdicts in made.verdicts.values() for verdict in verdicts if isinstance(verdict, Accepted)}
    reads = [one for one in made.reads if one.tag in accepted]
    reads += [*made.enactments.accepted, *(one for one in made.revoked if one.good), *(read for one in made.consents for read in one.signatures)]
    seen = {one.tag: _seen(one) for one in reads}
    memory = memories.with_tags(made.memory, seen)
    if made.fresh.said is not None:
        memory = memory.model_copy(update={"fresh": made.fresh.said.issued, "fresh_until": made.fresh.said.expires})
    return Judgement(
        **{name: getattr(made, name) for name in made.__slots__ if name != "memory"},
        memory=memory,
    )


def _seen(read: Read) -> SeenTag:
    assert read.signed_by is not None
    assert read.held is not None
    by = read.signed_by
    return SeenTag(sha512=read.sha512, held=held_digest(read.held), key=by.key, material=by.material, made=by.made, valid_until=by.valid_until)
