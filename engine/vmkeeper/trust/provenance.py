"""Verifying provenance: a builder's signed word that it made a release, from which commit and recipe (rule R31).

`appliances/NAME/provenance.json` counts only if a key of a builder of the policy in force signed it, it names that builder's
id, and it says of the release just what the release record says. Pure: bytes, keys and the time come in.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from vmkeeper.errors import Refused
from vmkeeper.model.keys import X509Key
from vmkeeper.trust.dsse import Envelope, open_envelope, pae
from vmkeeper.trust.history import Record
from vmkeeper.trust.keys import x509
from vmkeeper.trust.keys.interface import Claim, HeldKey, KeyVerifier, SignedBy
from vmkeeper.trust.people import TrustedBuilder, key_id
from vmkeeper.trust.slsa import Provenance, read_statement, subjects
from vmkeeper.values import CommitId, Duration, Sha512, format_time, sha512_hex

SKEW = Duration.parse("5m")
"""How far a builder's clock may be ahead of ours."""


@dataclass(frozen=True, slots=True)
class Attested:
    """Provenance that met every rule: which builder signed it, with which key, and the SHA-512 of the file."""

    provenance: Provenance
    builder: TrustedBuilder
    signed_by: SignedBy
    sha512: Sha512


def parse(data: bytes) -> tuple[Provenance, Envelope]:
    """Read provenance.json without looking at its signature. Raises Refused: R22, R31, R32."""
    envelope = open_envelope(data)
    return read_statement(envelope.statement), envelope


def verify_provenance(
    data: bytes,
    record: Record,
    *,
    repository: CommitId,
    builders: Sequence[TrustedBuilder],
    verifiers: Mapping[str, KeyVerifier],
    now: datetime,
    skew: Duration = SKEW,
    revoked: Collection[str] = (),
) -> Attested:
    """Check provenance.json against the release beside it and the builders of the policy in force.

    repository: root commit. revoked: keys that a signed tag revokes, by `SignedBy.key` or `material`. Raises Refused: R31 for
    a key or id that is no such builder's, another field, parameter, subject or digest; R10, R11, R12, R18, R19 for its key and
    signature; R13 for a build in the future; R22, R32 for its bytes.
    """
    envelope = open_envelope(data)
    builder, key, signed_by = _signed_by(envelope, builders, verifiers, now)
    # Provenance has no place in a chain of tags, so nothing shows that it was there before others had the key.
    if key.compromised_since is not None or signed_by.key in revoked or signed_by.material in revoked:
        raise Refused("R12", "somebody else may have the builder's key", why=signed_by.key, hint="have the release recorded again, with another key")
    provenance = read_statement(envelope.statement)
    if provenance.builder_id != builder.id:
        raise Refused("R31", f"the key of builder {builder.name} signed for another builder id", why=f"{provenance.builder_id}, not {builder.id}")
    for what, said, wanted in _compared(provenance, record, repository):
        if said != wanted:
            raise Refused("R31", f"the provenance has another {what} than the release", why=f"{said}, not {wanted}")
    _in_time(provenance.invocation.finished_on, key, signed_by, now, skew)
    return Attested(provenance, builder, signed_by, sha512_hex(data))


def _signed_by(
    envelope: Envelope, builders: Sequence[TrustedBuilder], verifiers: Mapping[str, KeyVerifier], now: datetime
) -> tuple[TrustedBuilder, HeldKey, SignedBy]:
    """The builder, and the key of its own, that the signature is by."""
    signature = envelope.signature
    armour, verifier = signature.armour, verifiers.get(signature.kind)
    held = [(builder, key) for builder in builders for key in builder.keys if _is(key, signature.keyid, armour)]
    if not held or verifier is None:
        hint = "put the builder's key into endorsers/policy.yaml, or have a builder of the policy record the release"
        raise Refused("R31", "the provenance is signed by a key that no builder of the policy has", why=signature.keyid, hint=hint)
    if len({builder.name for builder, _ in held}) > 1:
        raise Refused("R31", "the key belongs to two builders", why=signature.keyid, hint="list it under one of them in endorsers/policy.yaml")
    builder, key = held[0]
    signed_by = verifier.verify(Claim(key, pae(envelope.statement), armour), now)
    if signed_by.key != signature.keyid:
        raise Refused("R31", "the signature is by another key than it names", why=f"{signed_by.key}, not {signature.keyid}")
    return builder, key, signed_by


def _is(key: HeldKey, keyid: str, armour: str) -> bool:
    """Whether it is the key that a signature names; nothing is verified yet."""
    if isinstance(key, X509Key):
        return keyid.startswith("x509:") and x509.fits(key, x509.certificate_of(armour))
    return keyid == key_id(key)


def _compared(provenance: Provenance, record: Record, repository: CommitId) -> Iterator[tuple[str, object, object]]:
    """What is said, and what it has to be."""
    asked, release = provenance.asked, record.release
    definition = provenance.predicate.build_definition
    yield "repository", asked.repository, repository
    yield "appliance", asked.appliance, release.appliance
    yield "version", asked.version, str(release.version)
    yield "commit", asked.commit, release.commit
    yield "recipe", asked.recipe, release.recipe
    yield "builder version", definition.internal_parameters.builder, release.builder
    yield "parent", definition.parent, release.parent
    wanted = subjects(record)
    yield "number of subjects", len(provenance.subject), len(wanted)
    for said, subject in zip(provenance.subject, wanted, strict=True):
        yield "subject", said.name, subject.name
        yield f"digest of {subject.name}", said.digest.sha512, subject.digest.sha512


def _in_time(finished: datetime, key: HeldKey, signed_by: SignedBy, now: datetime, skew: Duration) -> None:
    """R12 and R13 for the key and the run."""
    made = max(finished, signed_by.made or finished)
    if key.retired is not None and made >= key.retired:
        raise Refused("R12", "the builder's key was retired before", why=f"{format_time(key.retired)}, built {format_time(made)}")
    if signed_by.valid_until is not None and signed_by.valid_until <= now:
        raise Refused("R12", "the builder's key has expired", why=format_time(signed_by.valid_until), hint="extend its validity in endorsers/keys/")
    if made > now + timedelta(seconds=skew):
        raise Refused("R13", "the provenance says that it was made in the future", why=format_time(made))
