"""What verifying a signature takes and gives, whatever the kind of key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol, Self

from pydantic import model_validator

from vmkeeper.errors import Refused
from vmkeeper.model.base import Document
from vmkeeper.model.endorser import OpenPGPKey, SSHKey
from vmkeeper.trust.keys.packets import read_certificate


class PinnedOpenPGPKey(Document):
    """An OpenPGP certificate in full."""

    type: Literal["openpgp"]
    fingerprint: str
    """Fingerprint of the primary key, 40 hex digits in capitals."""
    armour: str
    """The armoured public key."""

    @model_validator(mode="after")
    def _is_that_key(self) -> Self:
        try:
            found = read_certificate(self.armour).fingerprint
        except Refused as error:
            raise ValueError(error.what) from None
        if found != self.fingerprint:
            raise ValueError(f"the key has the fingerprint {found}, not {self.fingerprint}")
        return self


PinnedSSHKey = SSHKey
ListedKey = OpenPGPKey | SSHKey


@dataclass(frozen=True, slots=True)
class SignedBy:
    """A good signature: by which key (`openpgp:…` or `ssh:…`), when it says it was made, and whether the key has expired since."""

    key: str
    made: datetime | None = None
    expired: str = ""
    """Why the key is no longer valid at the time that was asked for; "" where it is."""


class OpenPGPVerifier(Protocol):
    """Verifies detached OpenPGP signatures against one pinned certificate. Implementations keep nothing but caches."""

    def verify(self, key: PinnedOpenPGPKey, signed: bytes, signature: str, now: datetime) -> SignedBy:
        """Check `signature` (armoured, in our form) over `signed` at the time `now`.

        Raises Refused: R10 for a bad signature or another key, R11 for a weak one, R12 for a revoked key.
        """
