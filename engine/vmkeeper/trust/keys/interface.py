"""What verifying a signature takes and gives, whatever the kind of key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal, Protocol

from pydantic import Field, model_validator

from vmkeeper.errors import Refused
from vmkeeper.model.base import Document
from vmkeeper.model.keys import Compromise, OpenPGPKey, SSHKey, X509Key
from vmkeeper.trust.keys.packets import read_certificate
from vmkeeper.values import Time


class HeldOpenPGPKey(Document):
    """An OpenPGP certificate in full."""

    type: Literal["openpgp"]
    fingerprint: str
    """Fingerprint of the primary key, 40 hex digits in capitals."""
    armour: str
    """The armoured public key."""
    retired: Time | None = None
    compromised_since: Compromise | None = None

    @model_validator(mode="after")
    def _is_that_key(self) -> HeldOpenPGPKey:
        try:
            found = read_certificate(self.armour).fingerprint
        except Refused as error:
            raise ValueError(error.what) from None
        if found != self.fingerprint:
            raise ValueError(f"the key has the fingerprint {found}, not {self.fingerprint}")
        return self


HeldKey = Annotated[HeldOpenPGPKey | SSHKey | X509Key, Field(discriminator="type")]
"""A key in full: nothing that a key server or a repository says later changes it."""
ListedKey = OpenPGPKey | SSHKey | X509Key


@dataclass(frozen=True, slots=True)
class SignedBy:
    """A good signature."""

    key: str
    """Which key, as statements name it: `openpgp:` and the primary fingerprint, `ssh:SHA256:…`, or `x509:` and the SHA-256 of the certificate."""
    material: str
    """The public numbers behind the key in one form for all kinds, so that one key pair is seen to be one (rule R5)."""
    made: datetime | None = None
    """When the signature says it was made; SSH signatures do not say."""
    valid_until: datetime | None = None
    """When the key (the certificate) expires; None where it does not."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A signature to check: over which bytes, against which held key."""

    key: HeldKey
    signed: bytes
    signature: str
    """The armoured block, from its BEGIN line to the end of its END line."""


class KeyVerifier(Protocol):
    """Verifies detached signatures of one kind of key against held keys. Implementations keep nothing but caches."""

    def verify(self, claim: Claim, now: datetime) -> SignedBy:
        """Check one claim at the time `now`.

        Raises Refused: R10 for a bad signature or another key, R11 for a weak one, R12 for a revoked key, for X.509 also
        R18 (CRL missing or stale) and R19 (no authority of the CA folder). A key that expired is told, not refused.
        """

    def prepare(self, claims: Sequence[Claim], now: datetime) -> None:
        """Check many claims at once where that is cheaper; `verify` then answers from what was found. Never raises for a bad claim."""
