"""The only way to a verdict about signed tags.

Rules, in this order for each tag: R6 (its name is ours), R7 (an annotated tag on a commit), R10 (one signature, by the
pinned endorser's pinned key), R11 (nothing weak), R12 (key and endorser valid now), then, on verified bytes only, R22
and R32 (one reading), R6 (ref, header and payload agree), R1 (this repository), R7 (on the mainline), R13 (in date),
R14 (the release record says the same), and over each endorser's tags R9 (an unbroken chain). A withdrawal takes
trust away, so it needs neither dates, record nor chain.

Pure: bytes, pins and the time come in, verdicts go out. Whatever the bytes are, a verdict comes out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from vmkeeper.errors import Refused, VmkeeperError
from vmkeeper.model.release import Release
from vmkeeper.trust import statement, tagobject
from vmkeeper.trust.chain import breaks
from vmkeeper.trust.keys import ssh
from vmkeeper.trust.keys.interface import OpenPGPVerifier, PinnedOpenPGPKey, SignedBy
from vmkeeper.trust.keys.packets import read_certificate, read_signature
from vmkeeper.trust.pins import PinnedEndorser, PinnedEndorsers
from vmkeeper.trust.refusal import Refusal
from vmkeeper.trust.statement import Endorsement, SignedFile, Statement, TagName, Withdrawal
from vmkeeper.trust.tagobject import TagObject
from vmkeeper.values import CommitId, Duration, format_time, sha512_hex

SKEW = Duration.parse("5m")
"""How far an endorser's clock may be ahead of ours, unless the pins say otherwise."""


@dataclass(frozen=True, slots=True)
class Record:
    """A release record as it lies in a commit: the SHA-512 of its bytes, and what it says."""

    sha512: str
    release: Release


class History(Protocol):
    """What is asked about the followed repository."""

    def on_mainline(self, commit: CommitId) -> bool:
        """Whether the commit is on the trusted line of commits."""

    def record(self, commit: CommitId, appliance: str) -> Record | None:
        """The release record of an appliance in the tree of a commit; None where there is none. May raise VmkeeperError."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A tag that meets every rule. `sha512` is of the tag object."""

    tag: str
    sha512: str
    statement: Statement
    signed_by: SignedBy


@dataclass(frozen=True, slots=True)
class Rejected:
    """A tag that does not, with every rule that it fails; `statement` is None unless its signature is good and it can be read."""

    tag: str
    refusals: tuple[Refusal, ...]
    statement: Statement | None = None
    sha512: str = ""


Verdict = Accepted | Rejected


@dataclass(frozen=True, slots=True)
class Context:
    """What tags are judged by."""

    pinned: PinnedEndorsers
    repository: CommitId
    """Root commit."""
    history: History
    openpgp: OpenPGPVerifier
    now: datetime
    skew: Duration = SKEW


def verify(tags: Mapping[str, bytes | None], context: Context) -> tuple[Verdict, ...]:
    """Judge tags by name (without refs/tags/): raw object bytes, or None for a ref that is not an annotated tag.

    All tags of an endorser belong in one call, because the chain is judged too. Verdicts come in the order given.
    """
    verdicts = [_judge(name, raw, context) for name, raw in tags.items()]
    signed = {
        verdict.tag: (verdict.sha512, verdict.statement)
        for verdict in verdicts
        if verdict.statement is not None and verdict.statement.repository == context.repository
    }
    broken = breaks(signed, {sha512_hex(raw): raw for raw in tags.values() if raw is not None})
    return tuple(_with_chain(verdict, broken.get(verdict.tag)) for verdict in verdicts)


def _with_chain(verdict: Verdict, broken: Refusal | None) -> Verdict:
    """A withdrawal counts even where links are missing: whoever drops tags must not keep a bad image running."""
    if broken is None or isinstance(verdict.statement, Withdrawal):
        return verdict
    if isinstance(verdict, Rejected):
        return replace(verdict, refusals=(*verdict.refusals, broken))
    return Rejected(verdict.tag, (broken,), verdict.statement, verdict.sha512)


def _judge(name: str, raw: bytes | None, context: Context) -> Verdict:
    digest = sha512_hex(raw) if raw is not None else ""
    try:
        claimed = TagName.parse(name)
        if raw is None:
            raise Refused("R7", "the ref is not an annotated tag", hint="sign a tag: vmkeeper endorse")
        tag = tagobject.parse(raw)
        endorser = context.pinned.endorser(claimed.endorser)
        if endorser is None:
            raise Refused(
                "R10", f"{claimed.endorser} is not an endorser on the pinned list {context.pinned.name}", hint="pin a list that names the endorser"
            )
        signed_by = _signature(tag, endorser, context)
        said = statement.parse(tag.payload)
    except Refused as error:
        return Rejected(name, (Refusal.of(error),), None, digest)
    refusals = tuple(_refusals(name, tag, said, signed_by, endorser, context))
    return Rejected(name, refusals, said, digest) if refusals else Accepted(name, digest, said, signed_by)


def _signature(tag: TagObject, endorser: PinnedEndorser, context: Context) -> SignedBy:
    """Check the signature with that one of the endorser's keys which it says it is by."""
    if tag.kind == tagobject.SSH:
        blob = ssh.signing_key(tag.signature).blob
        for key in endorser.keys:
            if not isinstance(key, PinnedOpenPGPKey) and ssh.read_public_key(key.key).blob == blob:
                return ssh.verify(key.key, tag.signed, tag.signature)
        by = ssh.signing_key(tag.signature).fingerprint
    else:
        by = read_signature(tag.signature, tag.signed).issuer
        for key in endorser.keys:
            if isinstance(key, PinnedOpenPGPKey) and read_certificate(key.armour).key(by):
                return context.openpgp.verify(key, tag.signed, tag.signature, context.now)
    raise Refused("R10", f"the signature is by a key that is not pinned for {endorser.name}", why=by, hint="if the key is new, have the site pin it")


def _refusals(name: str, tag: TagObject, said: Statement, signed_by: SignedBy, endorser: PinnedEndorser, context: Context) -> Iterator[Refusal]:
    inside = str(statement.tag_name(said))
    if not name == tag.name == inside:
        yield Refusal(
            "R6", "ref, tag header and payload do not agree on the name", f"{name}, {tag.name}, {inside}", "a signed tag must not be moved or renamed"
        )
    if said.key != signed_by.key:
        yield Refusal("R10", "the statement names another key than the one that signed", f"{said.key}, {signed_by.key}")
    if not endorser.in_scope(said.appliance):
        yield Refusal("R10", f"{endorser.name} may not answer for {said.appliance}", f"scope {', '.join(endorser.scope.appliances)}")
    if said.repository != context.repository:
        yield Refusal("R1", "the statement is about another repository", f"root commit {said.repository}, pinned {context.repository}")
    if said.commit != tag.commit:
        yield Refusal("R7", "the tag points to another commit than it speaks of", f"{tag.commit}, {said.commit}")
    elif not context.history.on_mainline(tag.commit):
        yield Refusal("R7", "the tag's commit is not on the mainline", tag.commit, "endorse a commit that has been merged")
    yield from _dates(tag, said, signed_by, context)
    if isinstance(said, Endorsement):
        yield from _validity(said, signed_by, endorser, context)
        yield from _record(said, context)


def _dates(tag: TagObject, said: Statement, signed_by: SignedBy, context: Context) -> Iterator[Refusal]:
    """R13 for what every statement has: the times it carries agree and are not ahead of the clock."""
    latest = context.now + timedelta(seconds=context.skew)
    if tag.tagger.time != int(said.issued.timestamp()):
        yield Refusal("R13", "the tagger's date is not the date of issue", f"{tag.tagger.time}, {format_time(said.issued)}")
    if said.issued > latest:
        yield Refusal("R13", "the statement was issued in the future", format_time(said.issued), "check the clock here, with: date -u")
    if signed_by.made is not None and signed_by.made > latest:
        yield Refusal("R13", "the signature was made in the future", format_time(signed_by.made), "check the clock here, with: date -u")


def _validity(said: Endorsement, signed_by: SignedBy, endorser: PinnedEndorser, context: Context) -> Iterator[Refusal]:
    """R12 and R13 for an endorsement; a withdrawal does not end with its maker's term."""
    now = context.now
    if signed_by.expired:
        yield Refusal("R12", signed_by.expired, signed_by.key, "the endorser extends the key, and the site pins it again")
    if not endorser.in_office(now):
        term = f"{endorser.not_before or ''} to {endorser.expires or ''}"
        yield Refusal("R12", f"{endorser.name} is not an endorser at this time", term)
    if said.not_before < said.issued:
        yield Refusal("R13", "the endorsement begins before it was issued", f"{format_time(said.not_before)}, {format_time(said.issued)}")
    if said.not_before > now + timedelta(seconds=context.skew):
        yield Refusal("R13", "the endorsement is not valid yet", f"from {format_time(said.not_before)}")
    if said.expires <= now:
        yield Refusal("R13", "the endorsement has expired", format_time(said.expires), "ask for a new endorsement, or use a newer version")
    lifetime = int((said.expires - said.issued).total_seconds())
    if lifetime > context.pinned.maximum_lifetime or lifetime <= 0:
        yield Refusal(
            "R13",
            "the endorsement's lifetime is not allowed",
            f"{lifetime} s, at most {context.pinned.maximum_lifetime}",
            "endorse again, for a shorter time",
        )


def _record(said: Endorsement, context: Context) -> Iterator[Refusal]:
    """R14: the release record in the tagged commit says what the statement says."""
    try:
        record = context.history.record(said.commit, said.appliance)
    except VmkeeperError as error:
        yield Refusal("R14", "the release record cannot be read", str(error), error.hint)
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
    )
    for what, signed, recorded in pairs:
        if signed != recorded:
            yield Refusal("R14", f"the release record has another {what} than was signed", f"{signed}, {recorded}")


def signed_files(release: Release) -> tuple[SignedFile, ...]:
    """The image files of a release as a statement holds them."""
    files = (SignedFile(format=file.format, size=int(file.size), virtual_size=int(file.virtual_size), sha512=file.sha512) for file in release.files)
    return tuple(sorted(files, key=lambda file: file.format))
