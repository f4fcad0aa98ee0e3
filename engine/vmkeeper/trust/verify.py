"""The only way to a verdict about endorsements and withdrawals, under one endorser list in force.

Rules, on tags that `signature` could read: R10 (by a key of an endorser on this list, within scope), R3 (an endorser
already under the policy that it names), R12 (key and endorser valid now, the key not compromised at its place in the
chain), R13 (in date), R14 (the release record says the same), R31 (a builder of the policy made it), and over each
endorser's tags R9 (an unbroken chain). A withdrawal takes trust away, so it needs neither dates, record nor chain.

Pure: bytes, pins and the time come in, verdicts go out. Whatever the bytes are, a verdict comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from vmkeeper.errors import Refused, VmkeeperError
from vmkeeper.model.keys import SSHKey
from vmkeeper.model.release import Release
from vmkeeper.trust.chain import Links, breaks
from vmkeeper.trust.enactment import Enactments
from vmkeeper.trust.history import Record
from vmkeeper.trust.keys.interface import SignedBy
from vmkeeper.trust.people import TrustedEndorser, TrustedEndorsers
from vmkeeper.trust.provenance import verify_provenance
from vmkeeper.trust.refusal import Refusal
from vmkeeper.trust.revocation import Voids, against
from vmkeeper.trust.said import Endorsement, OfEndorser, SignedFile, Withdrawal
from vmkeeper.trust.signature import Authenticator, Read, retirement
from vmkeeper.values import CommitId, Sha256, Sha512, canonical_json, format_time, sha256_hex, sha512_hex


@dataclass(frozen=True, slots=True)
class Accepted:
    """A tag that meets every rule. `sha512` is of the tag object."""

    tag: str
    sha512: str
    statement: OfEndorser
    signed_by: SignedBy


@dataclass(frozen=True, slots=True)
class Rejected:
    """A tag that does not, with every rule that it fails; `statement` is None unless its signature is good and it can be read."""

    tag: str
    refusals: tuple[Refusal, ...]
    statement: OfEndorser | None = None
    sha512: str = ""


Verdict = Accepted | Rejected


@dataclass(frozen=True, slots=True)
class Context:
    """What tags are judged by."""

    endorsers: TrustedEndorsers
    """The list in force."""
    enactments: Enactments
    void: Voids
    reader: Authenticator
    objects: Mapping[str, bytes]
    """Every tag object that lies where it belongs, by its SHA-512."""
    refuse_provenance: Callable[[Endorsement, Record], tuple[Refusal, ...]]
    """What R31 has against a record's provenance; see `provenance_rule`."""
    grounds: Sha256 | None = None
    """See `grounds`."""

    @property
    def now(self) -> datetime:
        """The time that tags are judged at."""
        return self.reader.now


def provenance_rule(enactments: Enactments, reader: Authenticator, void: Voids) -> Callable[[Endorsement, Record], tuple[Refusal, ...]]:
    """R31 under the policy in force; one answer for each record, however many endorse it."""
    known: dict[tuple[CommitId, str], tuple[Refusal, ...]] = {}
    builders = enactments.current.policy.builders

    def refuse(said: Endorsement, record: Record) -> tuple[Refusal, ...]:
        if not builders:
            return ()
        if record.provenance is None:
            hint = "have CI build it with its builder key, and endorse that"
            return (Refusal("R31", "the release has no provenance, and the policy names builders", f"{said.path} in {said.commit}", hint),)
        key = (said.commit, said.appliance)
        if key not in known:
            try:
                verify_provenance(
                    record.provenance,
                    record,
                    repository=reader.repository,
                    builders=builders,
                    verifiers=reader.verifiers,
                    now=reader.now,
                    skew=reader.skew,
                    revoked=void,
                )
                known[key] = ()
            except Refused as error:
                known[key] = (Refusal.of(error),)
        return known[key]

    return refuse


def verify(reads: Iterable[Read], context: Context) -> tuple[Verdict, ...]:
    """Judge tags under one list. All tags of an endorser belong in one call, because the chain is judged too."""
    reads = tuple(reads)
    links = Links(context.objects, said_in(reads))
    judged = [_judge(read, context, links) for read in reads]
    standing = {
        verdict.tag: (verdict.sha512, verdict.statement)
        for verdict, stolen in judged
        if verdict.statement is not None and not stolen and verdict.statement.repository == context.reader.repository
    }
    broken = breaks(standing, links, context.reader.repository)
    return tuple(_with_chain(verdict, broken.get(verdict.tag)) for verdict, _ in judged)


def said_in(reads: Iterable[Read]) -> dict[Sha512, OfEndorser]:
    """What well signed tags of endorsers say, by digest."""
    return {read.sha512: read.said for read in reads if isinstance(read.said, OfEndorser)}


def stolen(reads: Iterable[Read], lists: Iterable[TrustedEndorsers], void: Voids, links: Links) -> frozenset[Sha512]:
    """Tags that their endorser does not stand by, under any of the lists."""
    found = set()
    for read in reads:
        if isinstance(read.said, OfEndorser):
            listed = [endorser for one in lists if (endorser := one.endorser(read.said.endorser)) is not None]
            if any(True for endorser in listed for _ in _not_stood_by(read, endorser, void, links)):
                found.add(read.sha512)
    return frozenset(found)


def _with_chain(verdict: Verdict, broken: Refusal | None) -> Verdict:
    """A withdrawal counts even where links are missing: whoever drops tags must not keep a bad image running."""
    if broken is None or isinstance(verdict.statement, Withdrawal):
        return verdict
    if isinstance(verdict, Rejected):
        return replace(verdict, refusals=(*verdict.refusals, broken))
    return Rejected(verdict.tag, (broken,), verdict.statement, verdict.sha512)


def _judge(read: Read, context: Context, links: Links) -> tuple[Verdict, bool]:
    """The verdict but for the chain, and whether somebody else may have signed with the endorser's key."""
    said = read.said
    if not isinstance(said, OfEndorser) or read.signed_by is None:
        return Rejected(read.tag, read.refusals, None, read.sha512), False
    endorser = context.endorsers.endorser(said.endorser)
    key = endorser.key_like(read) if endorser is not None else None
    if endorser is None or key is None:
        why = f"{said.endorser} is not an endorser with this key on the list {context.endorsers.name} in force"
        return Rejected(read.tag, (*read.refusals, Refusal("R10", why, said.key)), None, read.sha512), False
    spoilt = tuple(_not_stood_by(read, endorser, context.void, links))
    refusals = (*read.refusals, *spoilt, *retirement(key, said, read.signed_by), *_refusals(said, read, read.signed_by, endorser, context))
    verdict = Rejected(read.tag, refusals, said, read.sha512) if refusals else Accepted(read.tag, read.sha512, said, read.signed_by)
    return verdict, bool(spoilt)


def _not_stood_by(read: Read, endorser: TrustedEndorser, void: Voids, links: Links) -> Iterator[Refusal]:
    """R12: the key is void from a place in the chain on, by the list in force and by revocations, and this tag is not before it."""
    for mark, who in against(replace(read, held=endorser.key_like(read)), void):
        if read.sha512 not in links.behind(mark):
            why = "the key is not its owner's alone, and this is not one of the tags that its owner stands by"
            stands = f"; what stands is serial {mark.serial} and those before" if mark.serial else ""
            yield Refusal("R12", why, f"{read.tag}{stands}; so says {who}", "endorse it again with another key")


def _refusals(said: OfEndorser, read: Read, signed_by: SignedBy, endorser: TrustedEndorser, context: Context) -> Iterator[Refusal]:
    community = context.endorsers.community
    fitting = endorser.in_scope(said.appliance, community)
    if not fitting:
        scope = f"scope {', '.join(endorser.scope.appliances)} for {', '.join(endorser.scope.communities)}"
        yield Refusal("R10", f"{endorser.name} may not answer for {said.appliance} of {community}", scope, "widen the scope by a policy")
    if isinstance(said, Endorsement):
        yield from _validity(said, signed_by, endorser, context)
        yield from _place(said, read, context) if fitting else ()
        if not _compared_before(said, read, context):
            yield from _record(said, context)


def _validity(said: Endorsement, signed_by: SignedBy, endorser: TrustedEndorser, context: Context) -> Iterator[Refusal]:
    """R12 and R13 for an endorsement; a withdrawal does not end with its maker's term."""
    now = context.now
    if signed_by.valid_until is not None and signed_by.valid_until <= now:
        hint = "the endorser extends the key or takes a new one, and the next policy has it"
        yield Refusal("R12", "the key has expired", f"{signed_by.key}, {format_time(signed_by.valid_until)}", hint)
    if not endorser.in_office(now):
        term = f"{endorser.not_before or ''} to {endorser.expires or ''}"
        yield Refusal("R12", f"{endorser.name} is not an endorser at this time", term)
    if said.not_before < said.issued:
        yield Refusal("R13", "the endorsement begins before it was issued", f"{format_time(said.not_before)}, {format_time(said.issued)}")
    if said.not_before > now + timedelta(seconds=context.reader.skew):
        yield Refusal("R13", "the endorsement is not valid yet", f"from {format_time(said.not_before)}")
    if said.expires <= now:
        yield Refusal("R13", "the endorsement has expired", format_time(said.expires), "ask for a new endorsement, or use a newer version")
    lifetime = int((said.expires - said.issued).total_seconds())
    if not 0 < lifetime <= context.endorsers.maximum_lifetime:
        yield Refusal(
            "R13",
            "the endorsement's lifetime is not allowed",
            f"{lifetime} s, at most {context.endorsers.maximum_lifetime}",
            "endorse again, for a shorter time",
        )


def _place(said: Endorsement, read: Read, context: Context) -> Iterator[Refusal]:
    """R3: whoever endorses was an endorser under the policy that the endorsement names, not only under a later one."""
    enactments = context.enactments
    if said.policy > enactments.current.number:
        hint = "fetch all tags: a later policy may be in force"
        yield Refusal("R3", f"the endorsement names policy {said.policy}", f"policy {enactments.current.number} is in force", hint)
        return
    then = enactments.numbered(said.policy) or enactments.policies[0]  # what was before the pinned one, nobody knows here
    listed = then.policy.lists.get(context.endorsers.name)
    endorser = listed.endorser(said.endorser) if listed else None
    if listed is None or endorser is None or endorser.key_like(read) is None or not endorser.in_scope(said.appliance, listed.community):
        why = f"{said.endorser} could not endorse {said.appliance} with this key under policy {said.policy}"
        yield Refusal("R3", why, f"policy {enactments.current.number} is in force", "endorse it again, under the policy in force")


def grounds(enactments: Enactments, void: Voids) -> Sha256 | None:
    """What the comparison of a record with its endorsement depends on beside the two: the builders in force and the keys that are void.

    None where a builder has a key that ends by itself: a certificate or an OpenPGP key.
    """
    if any(not isinstance(key, SSHKey) for builder in enactments.current.policy.builders for key in builder.keys):
        return None
    voided = sorted([key, [[one.since.serial, one.since.sha512 or ""] for one in found]] for key, found in void.items())
    return sha256_hex(canonical_json({"policy": enactments.current.said.content, "void": voided}))


def _compared_before(said: Endorsement, read: Read, context: Context) -> bool:
    """Whether this very tag and the very bytes that it speaks of were found to agree before, on the same grounds."""
    seen = context.reader.seen.get(read.tag)
    if seen is None or seen.sha512 != read.sha512 or seen.record is None or seen.record != context.grounds:
        return False
    return context.reader.history.digests(said.commit, said.appliance) == (said.release, said.provenance)


def _record(said: Endorsement, context: Context) -> Iterator[Refusal]:
    """R14: the release record in the tagged commit says what the statement says. R31: a builder says so too."""
    try:
        record = context.reader.history.record(said.commit, said.appliance)
    except VmkeeperError as error:
        rule = error.rule if isinstance(error, Refused) else "R14"
        yield Refusal(rule, "the release record cannot be read", str(error), error.hint)
        return
    if record is None:
        yield Refusal("R14", "the tagged commit holds no release record", f"{said.path}/release.yaml in {said.commit}")
        return
    release = record.release
    pairs: tuple[tuple[str, object, object], ...] = (
        ("bytes", said.release, record.sha512),
        ("appliance", said.appliance, release.appliance),
        ("uuid", said.uuid, release.uuid),
        ("version", said.version, str(release.version)),
        ("recipe", said.recipe, release.recipe),
        ("files", said.files, signed_files(release)),
        ("manifest", said.manifest, release.manifest.sha512),
        ("provenance", said.provenance, sha512_hex(record.provenance) if record.provenance is not None else None),
    )
    for what, signed, recorded in pairs:
        if signed != recorded:
            yield Refusal("R14", f"the release record has another {what} than was signed", f"{signed}, {recorded}")
    yield from context.refuse_provenance(said, record)


def signed_files(release: Release) -> tuple[SignedFile, ...]:
    """The image files of a release as a statement holds them."""
    files = (SignedFile(format=file.format, size=int(file.size), virtual_size=int(file.virtual_size), sha512=file.sha512) for file in release.files)
    return tuple(sorted(files, key=lambda file: file.format))


def said_by(verdicts: Sequence[Verdict]) -> list[OfEndorser]:
    """What well signed tags say, whether they count or not."""
    return [verdict.statement for verdict in verdicts if verdict.statement is not None]
