"""From raw tag objects to what somebody really said: one signature, by one of the signer's own keys, over one reading.

Rules for every tag, whatever it says: R6 (ref, header and payload agree on the name), R7 (an annotated tag on a commit of
the mainline), R10 (one signature by a key of the named signer), R11 (nothing weak), R12 (the key is not revoked), R13 (no
date ahead of the clock), R1 (this repository), and on verified bytes only R22 and R32 (one reading).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from vmkeeper.errors import Refused
from vmkeeper.model.keys import SSHKey, X509Key
from vmkeeper.trust import statement, tagobject
from vmkeeper.trust.history import History
from vmkeeper.trust.keys import ssh, x509
from vmkeeper.trust.keys.interface import Claim, HeldKey, HeldOpenPGPKey, KeyVerifier, SignedBy
from vmkeeper.trust.keys.packets import read_certificate, read_signature
from vmkeeper.trust.memory import SeenTag
from vmkeeper.trust.people import Holder
from vmkeeper.trust.refusal import Refusal
from vmkeeper.trust.said import Revocation, Statement, Withdrawal
from vmkeeper.trust.statement import TagName
from vmkeeper.trust.tagobject import TagObject
from vmkeeper.values import CommitId, Duration, canonical_json, format_time, sha256_hex, sha512_hex

Verifiers = Mapping[str, KeyVerifier]
"""A verifier for each type of key: openpgp, ssh, x509."""
FindHolder = Callable[[TagName], Holder | Refusal | tuple[Refusal, ...]]
"""Who a tag of this name must be by, or why nobody may sign it."""
FRESHNESS = TagName("freshness", "freshness", "", 0)


@dataclass(frozen=True, slots=True)
class Read:
    """A tag as far as it could be read. `said` is None unless its signature is good and it has one reading."""

    tag: str
    sha512: str
    """Of the tag object; "" for a ref that is none."""
    refusals: tuple[Refusal, ...]
    said: Statement | None = None
    signed_by: SignedBy | None = None
    held: HeldKey | None = None
    """The key that signed, as its holder has it."""

    @property
    def good(self) -> bool:
        """Whether nothing speaks against it so far."""
        return not self.refusals

    @property
    def late(self) -> bool:
        """Whether the key had expired when it signed (R12)."""
        if self.said is None or self.signed_by is None or self.signed_by.valid_until is None:
            return False
        return self.signed_by.valid_until <= _signed_at(self.said, self.signed_by)


@dataclass(frozen=True, slots=True)
class Authenticator:
    """What signatures are judged by. `seen` are tags that were verified before, which are not verified again."""

    repository: CommitId
    """Root commit."""
    history: History
    verifiers: Verifiers
    now: datetime
    skew: Duration
    seen: Mapping[str, SeenTag] = field(default_factory=dict)

    def read(self, tags: Mapping[str, bytes | None], holder: FindHolder) -> tuple[Read, ...]:
        """Read tags by name, in the order given. Whatever the bytes are, an answer comes out."""
        steps = [_begin(name, raw, holder) for name, raw in tags.items()]
        claims: defaultdict[str, list[Claim]] = defaultdict(list)
        for step in steps:
            if isinstance(step, _Claimed) and self._known(step) is None:
                claims[step.claim.key.type].append(step.claim)
        for kind, found in claims.items():
            self.verifiers[kind].prepare(found, self.now)
        return tuple(step if isinstance(step, Read) else self._end(step) for step in steps)

    def _end(self, step: _Claimed) -> Read:
        try:
            signed_by = self._known(step) or self.verifiers[step.claim.key.type].verify(step.claim, self.now)
            said = statement.parse(step.tag.payload)
            refusals = tuple(self._refusals(step, said, signed_by))
        except Refused as error:
            return Read(step.name, step.sha512, (Refusal.of(error),))
        return Read(step.name, step.sha512, refusals, said, signed_by, step.claim.key)

    def _known(self, step: _Claimed) -> SignedBy | None:
        """What was found when this very object was verified before with this very key. Certificates are always asked about again."""
        seen = self.seen.get(step.name)
        if seen is None or (seen.sha512, seen.held) != (step.sha512, held_digest(step.claim.key)) or isinstance(step.claim.key, X509Key):
            return None
        return SignedBy(seen.key, seen.material, seen.made, seen.valid_until)

    def _refusals(self, step: _Claimed, said: Statement, signed_by: SignedBy) -> Iterator[Refusal]:
        if not step.name == step.tag.name == said.ref:
            names = f"{step.name}, {step.tag.name}, {said.ref}"
            yield Refusal("R6", "ref, tag header and payload do not agree on the name", names, "a signed tag must not be moved or renamed")
        if said.key != signed_by.key:
            yield Refusal("R10", "the statement names another key than the one that signed", f"{said.key}, {signed_by.key}")
        if said.repository != self.repository:
            yield Refusal("R1", "the statement is about another repository", f"root commit {said.repository}, pinned {self.repository}")
        if said.commit != step.tag.commit:
            yield Refusal("R7", "the tag points to another commit than it speaks of", f"{step.tag.commit}, {said.commit}")
        elif step.name != FRESHNESS.text and not self.history.on_mainline(said.commit):
            yield Refusal("R7", "the tag's commit is not on the mainline", said.commit, "sign a commit that has been merged")
        yield from self._dates(step, said, signed_by)

    def _dates(self, step: _Claimed, said: Statement, signed_by: SignedBy) -> Iterator[Refusal]:
        latest, clock = self.now + timedelta(seconds=self.skew), "check the clock here, with: date -u"
        if step.tag.tagger.time != int(said.issued.timestamp()):
            yield Refusal("R13", "the tagger's date is not the date of issue", f"{step.tag.tagger.time}, {format_time(said.issued)}")
        takes_away = isinstance(said, Withdrawal | Revocation)  # whoever sets a clock back must not keep anything alive
        if said.issued > latest and not takes_away:
            yield Refusal("R13", "the statement was issued in the future", format_time(said.issued), clock)
        if signed_by.made is not None and signed_by.made > latest and not takes_away:
            yield Refusal("R13", "the signature was made in the future", format_time(signed_by.made), clock)
        yield from retirement(step.claim.key, said, signed_by)


def retirement(key: HeldKey, said: Statement, signed_by: SignedBy) -> Iterator[Refusal]:
    """R12: the key, as its holder has it, was retired when it signed; a signature that names a later time than its statement is believed."""
    if key.retired is not None and key.retired <= _signed_at(said, signed_by):
        yield Refusal("R12", "the key was retired before it signed this", format_time(key.retired), "sign with the key that replaced it")


def _signed_at(said: Statement, signed_by: SignedBy) -> datetime:
    """When it was signed as far as anybody says: the statement, or a later time that the signature itself names."""
    return said.issued if signed_by.made is None else max(said.issued, signed_by.made)


@dataclass(frozen=True, slots=True)
class _Claimed:
    """A tag with the key that it says it is by; nothing is verified yet."""

    name: str
    sha512: str
    tag: TagObject
    claim: Claim


def _begin(name: str, raw: bytes | None, holder: FindHolder) -> _Claimed | Read:
    digest = sha512_hex(raw) if raw is not None else ""
    try:
        claimed = FRESHNESS if name == FRESHNESS.text else TagName.parse(name)
        if raw is None:
            raise Refused("R7", "the ref is not an annotated tag", hint="sign a tag with vmkeeper")
        tag = tagobject.parse(raw)
        found = holder(claimed)
        if not isinstance(found, Holder):
            return Read(name, digest, (found,) if isinstance(found, Refusal) else found)
        return _Claimed(name, digest, tag, Claim(claimed_key(tag.kind, tag.signature, tag.signed, found), tag.signed, tag.signature))
    except Refused as error:
        return Read(name, digest, (Refusal.of(error),))


def claimed_key(kind: str, signature: str, signed: bytes, holder: Holder) -> HeldKey:
    """That one of a holder's keys which a signature says it is by. Raises Refused (R10) where it is none of them."""
    found: list[HeldKey]
    match kind:
        case tagobject.SSH:
            blob = ssh.signing_key(signature).blob
            by = ssh.signing_key(signature).fingerprint
            found = [key for key in holder.keys if isinstance(key, SSHKey) and ssh.read_public_key(key.key).blob == blob]
        case tagobject.PGP:
            by = read_signature(signature, signed).issuer
            found = [key for key in holder.keys if isinstance(key, HeldOpenPGPKey) and read_certificate(key.armour).key(by)]
        case _:
            certificate = x509.certificate_of(signature)
            by = f"{certificate.subject} by {certificate.issuer}"
            found = [key for key in holder.keys if isinstance(key, X509Key) and x509.fits(key, certificate)]
    if not found:
        hint = "if the key is new, it comes into force with the next policy"
        raise Refused("R10", f"the signature is by a key that is not one of {holder.name}'s", why=by, hint=hint)
    return found[0]


def held_digest(key: HeldKey) -> str:
    """SHA-256 over a key itself, whatever is said about it."""
    return sha256_hex(canonical_json(key.model_dump(mode="json", exclude={"retired", "compromised_since"})))
