"""Sign for what this builder made: the provenance that is committed beside a release record.

What was signed is verified as a site would before it is handed out. Nothing is signed for a builder that
`endorsers/policy.yaml` does not name with the key.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version

from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.errors import VmkeeperError
from vmkeeper.execute.signing import SigningKey, owner
from vmkeeper.execute.verification import verifiers
from vmkeeper.repository.digest import files
from vmkeeper.repository.tree import Snapshot
from vmkeeper.trust.dsse import pae, seal
from vmkeeper.trust.history import Record
from vmkeeper.trust.keys.certificates import Authorities
from vmkeeper.trust.people import TrustedBuilder
from vmkeeper.trust.policy import FILE, FOLDER, read_policy
from vmkeeper.trust.provenance import Attested, verify_provenance
from vmkeeper.trust.slsa import Invocation, describe, encode
from vmkeeper.values import CommitId, Sha512, sha512_hex

VERIFIED = ("deb",)
"""Kinds of records in a store that anybody may have written: what they name is compared with digests of the recipe."""


@dataclass(frozen=True, slots=True)
class Attestor:
    """The builder's own hand. Without `authorities` a signature by certificate is not verified here, only at sites."""

    key: SigningKey
    authorities: Authorities | None = None

    def builder(self, snapshot: Snapshot) -> TrustedBuilder | None:
        """The builder of the commit's policy that the key belongs to. Raises Refused for a policy that cannot be one."""
        return owner(builders(snapshot), self.key)

    def attest(self, builder: TrustedBuilder, record: Record, repository: CommitId, locks: Mapping[str, Sha512], run: Invocation) -> bytes:
        """The bytes of provenance.json. repository: root commit. Raises what signing raises, Refused where no site would take it."""
        said = describe(record, repository=repository, locks=locks, builder=builder.id, program=version("vmkeeper"), invocation=run)
        payload = encode(said)
        data = seal(payload, self.key.id, self.key.sign(pae(payload)))
        if self.key.type != "x509" or self.authorities is not None:
            attested(replace(record, provenance=data), repository, [builder], self.authorities or Authorities(()), datetime.now(UTC))
        return data


def attested(
    record: Record, repository: CommitId, known: Sequence[TrustedBuilder], authorities: Authorities, now: datetime, revoked: Collection[str] = ()
) -> Attested | None:
    """Who built a release, by the provenance beside its record; None where there is none. Raises what `verify_provenance` raises.

    known: builders. revoked: keys that a signed tag revokes, by id or material.
    """
    if record.provenance is None:
        return None
    with verifiers(authorities) as kinds:
        return verify_provenance(record.provenance, record, repository=repository, builders=known, verifiers=kinds, now=now, revoked=revoked)


def builders(snapshot: Snapshot) -> tuple[TrustedBuilder, ...]:
    """The builders that the policy of a commit names; none where there is no policy."""
    if snapshot.read(f"{FOLDER}/{FILE}") is None:
        return ()
    return read_policy(files(snapshot, FOLDER)).builders


def unattested(snapshot: Snapshot, attestor: Attestor | None) -> str:
    """Why releases of a commit get no provenance though its policy names builders, with the way out; "" where nothing is amiss."""
    try:
        named = ", ".join(builder.name for builder in builders(snapshot))
    except VmkeeperError as error:
        return f"these releases have no provenance: the policy in {FOLDER}/ cannot be read: {error}. See vmkeeper check."
    if not named or (attestor is not None and attestor.builder(snapshot) is not None):
        return ""
    why = f"the key {attestor.key.id} is none of theirs" if attestor is not None else "no builder key is set"
    return (
        f"these releases have no provenance, which sites ask for, since {FOLDER}/{FILE} names builders ({named}): {why}. "
        "Set one of theirs with --builder-key, VMKEEPER_BUILDER_KEY or git config vmkeeper.builderKey."
    )


def invocation(started: datetime) -> Invocation:
    """A run that began then and ended now."""
    return Invocation(invocationId=f"urn:uuid:{uuid.uuid4()}", startedOn=started, finishedOn=datetime.now(UTC))


def locks(catalogue: Catalogue, name: str) -> dict[str, Sha512]:
    """SHA-512 of every packages.lock that an appliance's recipe is made from, by path: its chain's and its tools'."""
    whole = catalogue.resolved(name).appliance
    tools = whole.builder.tools
    members = {*catalogue.chain(name), *(catalogue.chain(tools) if tools and not whole.abstract else ())}
    found = {path: catalogue.snapshot.read(path) for path in (f"appliances/{member}/packages.lock" for member in sorted(members))}
    return {path: sha512_hex(data) for path, data in found.items() if data is not None}
