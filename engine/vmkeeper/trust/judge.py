"""One look at a followed repository, judged: which policy is in force, what each tag counts for, what to remember.

`vmkeeper verify` and `vmkeeper reconcile` both come through here and through nothing else. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from vmkeeper.documents.kinds import KINDS
from vmkeeper.documents.load import read as read_document
from vmkeeper.errors import Refused
from vmkeeper.model.endorser import EndorserList
from vmkeeper.trust import memory as memories
from vmkeeper.trust.chain import Links, breaks
from vmkeeper.trust.consent import Consent, consent
from vmkeeper.trust.enactment import Enacted, Enactments, enact, expired, lapsed
from vmkeeper.trust.freshness import Fresh, Frozen, Seen, freshness
from vmkeeper.trust.history import History
from vmkeeper.trust.memory import Memory, SeenTag
from vmkeeper.trust.people import Holder, merged
from vmkeeper.trust.pins import Pins
from vmkeeper.trust.policy import FILE, FOLDER
from vmkeeper.trust.refusal import Refusal, Untrusted
from vmkeeper.trust.revocation import Office, Void, Voids, for_policies, joined_with, revocations, void, widened
from vmkeeper.trust.said import Chain, OfEndorser
from vmkeeper.trust.signature import Authenticator, Read, Verifiers, held_digest
from vmkeeper.trust.statement import TagName
from vmkeeper.trust.verify import Accepted, Context, Verdict, grounds, provenance_rule, said_in, stolen, verify
from vmkeeper.values import CommitId, Sha256, Sha512, sha512_hex

PREFIXES = ("endorse/", "withdraw/", "policy/", "revoke/", "approve/")
"""Where our tags lie below refs/tags/."""
UNREADABLE = ("R24", "R32")
"""Oddities by which nothing else in the repository can be read in one way."""


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
    void: Voids
    reader: Authenticator
    objects: Mapping[str, bytes]
    """Every tag object that lies where it belongs, by its SHA-512."""
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
    tips: tuple[Chain, ...] = ()
    """The last tag of every endorser whose chain is whole, by name: what a freshness statement may name."""
    stolen: frozenset[Sha512] = frozenset()
    """Tags of endorsers that somebody else may have signed: their owners' chains do not go on from there."""


def judge(sight: Sight, pins: Pins, memory: Memory, verifiers: Verifiers, now: datetime) -> Judgement:
    """Judge what is there at a time. Raises Untrusted where nothing can be concluded from it: R1-R4, R8, R12, R13, R16, R32."""
    try:
        return _judge(sight, pins, memory, verifiers, now)
    except Untrusted:
        raise
    except Refused as error:
        raise Untrusted([Refusal.of(error)]) from None


def _judge(sight: Sight, pins: Pins, memory: Memory, verifiers: Verifiers, now: datetime) -> Judgement:
    if any(one.rule in UNREADABLE for one in sight.oddities):
        raise Untrusted(sight.oddities)
    _same_repository(sight, pins)
    refusals: list[Refusal] = list(sight.oddities)
    present = {name: sha512_hex(raw) for name, raw in sight.tags.items() if raw is not None}
    refusals += memories.lost(memory, present)
    memory = _remembered(refusals, memory, lambda one: memories.at(one, now, pins.clock_skew))
    memory = _remembered(refusals, memory, lambda one: memories.with_head(one, sight.history))
    reader = Authenticator(pins.repository, sight.history, verifiers, now, pins.clock_skew, memory.tags)
    objects = {present[name]: raw for name, raw in sight.tags.items() if raw is not None and _in_place(name, raw)}
    try:
        enactments, revoked, spoilt, fallen = _in_force(sight, pins, reader, objects)
    except Untrusted as error:
        raise Untrusted([*refusals, *error.refusals]) from None
    refusals += fallen
    memory = _remembered(refusals, memory, lambda one: memories.with_policy(one, [each.mark for each in enactments.policies]))
    refusals += _vanished(sight.history, enactments)
    reads = reader.read(_below(sight, "endorse/", "withdraw/"), _finder(enactments, sight.history))
    spoilt = widened(spoilt, reads)
    links = Links(objects, said_in(reads))
    lists = enactments.current.policy.lists
    gone = stolen(reads, lists.values(), spoilt, links)
    seen = Seen(links, gone, frozenset(present[name] for name in present if name.startswith("revoke/") and present[name] in objects))
    fresh = freshness(sight.freshness, enactments, reader, memory, seen, spoilt, pins.maximum_staleness)
    refusals += fresh.withheld
    if refusals:
        raise Untrusted(refusals)
    consents, refused = _consents(sight, pins, reader, spoilt)
    rule, ground = provenance_rule(enactments, reader, spoilt), grounds(enactments, spoilt)
    contexts = {name: Context(lists[name], enactments, spoilt, reader, objects, rule, ground) for name in (pins.lists or lists) if name in lists}
    verdicts = {name: verify(reads, context) for name, context in contexts.items()}
    frozen, tips = _frozen(enactments, fresh, now), _tips(reads, gone, links, pins.repository)
    made = Judgement(enactments, revoked, spoilt, reader, objects, reads, fresh, frozen, consents, refused, memory, verdicts, tips, gone)
    return _remembering(made, ground)


def _tips(reads: tuple[Read, ...], gone: frozenset[Sha512], links: Links, repository: CommitId) -> tuple[Chain, ...]:
    said = {one.tag: (one.sha512, one.said) for one in reads if isinstance(one.said, OfEndorser) and one.good and one.sha512 not in gone}
    broken, last = breaks(said, links, repository), dict[str, Chain]()
    for name, (digest, one) in said.items():
        if name not in broken and (one.endorser not in last or last[one.endorser].serial < one.serial):
            last[one.endorser] = Chain(endorser=one.endorser, serial=one.serial, sha512=digest)
    return tuple(last[name] for name in sorted(last))


def _in_place(name: str, raw: bytes) -> bool:
    """Whether a tag object bears the name that it lies under, so that moving it is as plain as dropping it."""
    return raw.split(b"\n", 3)[2:3] == [f"tag {name}".encode(errors="backslashreplace")]


def _in_force(
    sight: Sight, pins: Pins, reader: Authenticator, objects: Mapping[str, bytes]
) -> tuple[Enactments, tuple[Read, ...], dict[str, tuple[Void, ...]], list[Refusal]]:
    """Policies, revocations, void keys, and policies that fell with the keys that signed them (R12).

    Where a policy fell, the one before it does not come back by itself: it may have people whom the later one dropped. What
    was signed with a key whose revocation is remembered was never in force here, and cannot fall.
    """
    policy_tags, revoke_tags = _below(sight, "policy/"), _below(sight, "revoke/")
    links = Links(objects, {})
    known = {name: raw for name, raw in revoke_tags.items() if name in reader.seen}
    _, _, spoilt, _ = _settled(policy_tags, known, {}, pins, reader, links)
    enactments, revoked, spoilt, highest = _settled(policy_tags, revoke_tags, spoilt, pins, reader, links)
    if highest == enactments.current.number:
        return enactments, revoked, spoilt, []
    hint = f"the principals sign policy {enactments.current.number + 1} again; where too few are left, pin the site anew"
    why = f"policy {highest} was signed with keys that are revoked"
    return enactments, revoked, spoilt, [Refusal("R12", why, ", ".join(sorted({one.tag for each in spoilt.values() for one in each})), hint)]


def _settled(
    policy_tags: Mapping[str, bytes | None],
    revoke_tags: Mapping[str, bytes | None],
    spoilt: dict[str, tuple[Void, ...]],
    pins: Pins,
    reader: Authenticator,
    links: Links,
) -> tuple[Enactments, tuple[Read, ...], dict[str, tuple[Void, ...]], int]:
    """What is in force once all revocations have had their effect, and the highest policy that ever was on the way.

    Who may revoke follows from the policies, and which policies are in force from what is revoked: keys only ever become
    void, until nothing changes.
    """
    highest = 0
    while True:
        enactments = enact(policy_tags, pins, reader, for_policies(spoilt, links))
        highest = max(highest, enactments.current.number)
        everybody = [*_everybody(enactments, pins)]
        revoked = revocations(revoke_tags, _offices(enactments), everybody, reader)
        found = widened(joined_with(spoilt, void(revoked, everybody)), (*enactments.accepted, *revoked))
        if found == spoilt:
            return enactments, revoked, spoilt, highest
        spoilt = found


def _offices(enactments: Enactments) -> list[Office]:
    """Every principal under every policy, and where the next policy begins."""
    ends = [one.said.commit for one in enactments.policies[1:]]
    return [Office(holder, until) for one, until in zip(enactments.policies, [*ends, None], strict=True) for holder in one.policy.principals]


def _same_repository(sight: Sight, pins: Pins) -> None:
    root, tree = sight.history.root()
    if (root, tree) != (pins.repository, pins.tree):
        hint = "name the repository that was pinned"
        raise Untrusted(
            [*sight.oddities, Refusal("R1", "this is another repository than the pinned one", f"root commit {root}, pinned {pins.repository}", hint)]
        )


def _remembered(refusals: list[Refusal], memory: Memory, step: Callable[[Memory], Memory]) -> Memory:
    try:
        return step(memory)
    except Refused as error:
        refusals.append(Refusal.of(error))
        return memory


def _below(sight: Sight, *prefixes: str) -> dict[str, bytes | None]:
    return {name: raw for name, raw in sight.tags.items() if name.startswith(prefixes)}


def _everybody(enactments: Enactments, pins: Pins) -> Iterator[Holder]:
    for one in enactments.policies:
        yield from one.policy.everybody()
    if pins.site is not None:
        yield from pins.site.administrators


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


def _finder(enactments: Enactments, history: History) -> Callable[[TagName], Holder | tuple[Refusal, ...]]:
    """Endorsers of the lists in force, each with all of their keys; for others, why they are none."""
    known = _endorsers(enactments.current)
    former = {name: one.number for one in enactments.policies[:-1] for name in _endorsers(one)}
    proposed: set[str] = set()
    number = enactments.current.number

    def find(name: TagName) -> Holder | tuple[Refusal, ...]:
        if name.signer in known:
            return known[name.signer]
        if not proposed:
            proposed.update(_proposed(history), [""])
        refusals = []
        if name.signer in former:
            why = f"{name.signer} was an endorser until policy {former[name.signer]}"
            refusals.append(Refusal("R12", why, name.text, "have another endorser endorse it"))
        if name.signer in proposed:
            hint = "a proposed list counts once the principals have signed it: vmkeeper policy sign"
            why = f"{name.signer} is only proposed as an endorser; policy {number} in force does not name them"
            return (*refusals, Refusal("R3", why, name.text, hint))
        hint = "have the endorser listed and the policy signed"
        return (*refusals, Refusal("R10", f"{name.signer} is not an endorser of policy {number}", name.text, hint))

    return find


def _endorsers(enacted: Enacted) -> dict[str, Holder]:
    return merged(one for found in enacted.policy.lists.values() for one in found.endorsers)


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


def _frozen(enactments: Enactments, fresh: Fresh, now: datetime) -> dict[str, Frozen]:
    current = enactments.current
    ended, outlived = expired(current, now), lapsed(current, now)
    shared = [Frozen(current.said.expires, (ended,))] if ended else []
    shared += [Frozen(None, (outlived,))] if outlived else []
    shared += [fresh.frozen] if fresh.frozen else []
    derived = current.policy.derivation(now)
    result = {}
    for name in current.policy.lists:
        found = [*shared, *([Frozen(None, derived[name])] if derived.get(name) else [])]
        if found:
            times = [one.since for one in found if one.since is not None]
            result[name] = Frozen(min(times, default=None), tuple(refusal for one in found for refusal in one.refusals))
    return result


def _consents(sight: Sight, pins: Pins, reader: Authenticator, spoilt: Voids) -> tuple[tuple[Consent, ...], tuple[Refusal, ...]]:
    """The site's own decisions. Principals of the repository have no say in them, only keys that revoke themselves."""
    if pins.site is None or not pins.site.administrators:
        return (), ()
    own = {name: tuple(one for one in found if one.own) for name, found in spoilt.items()}
    return consent(_below(sight, f"approve/{pins.site.name}/"), pins.site, reader, own)


def _remembering(made: Judgement, ground: Sha256 | None) -> Judgement:
    """The judgement with a memory of every tag that counted."""
    accepted = {verdict.tag for verdicts in made.verdicts.values() for verdict in verdicts if isinstance(verdict, Accepted)}
    seen = {one.tag: _seen(one, ground) for one in made.reads if one.tag in accepted}
    others = [*made.enactments.accepted, *(one for one in made.revoked if one.good), *(read for one in made.consents for read in one.signatures)]
    seen |= {one.tag: _seen(one, None) for one in others}
    memory = memories.with_tags(made.memory, seen)
    if made.fresh.said is not None:
        memory = memory.model_copy(update={"fresh": made.fresh.said.issued, "fresh_until": made.fresh.until})
    return Judgement(
        **{name: getattr(made, name) for name in made.__slots__ if name != "memory"},
        memory=memory,
    )


def _seen(read: Read, record: Sha256 | None) -> SeenTag:
    assert read.signed_by is not None
    assert read.held is not None
    by = read.signed_by
    found = {"key": by.key, "material": by.material, "made": by.made, "valid_until": by.valid_until}
    return SeenTag(sha512=read.sha512, held=held_digest(read.held), record=record, **found)
