"""Public keys as documents name them, and people with keys. OpenPGP, SSH and X.509 serve alike."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from vmkeeper.model.appliance import OwnPath
from vmkeeper.model.base import Document
from vmkeeper.values import Name, Sha256, Sha512, Time

SSH_KEY = (
    r"^(ssh-ed25519|ecdsa-sha2-nistp(256|384|521)|sk-ssh-ed25519@openssh\.com"
    r"|sk-ecdsa-sha2-nistp256@openssh\.com|ssh-rsa) [A-Za-z0-9+/]+={0,2}$"
)
"""Type and base64 of a public key, as in a .pub file."""
Dn = Annotated[str, StringConstraints(pattern=r"^(/[A-Za-z0-9.]+=[\x20-\x2e\x30-\x7e]+([\x20-\x2e\x30-\x7e/]*))+$", max_length=1000)]
"""A distinguished name in one-line form, `/DC=org/DC=example/CN=Name`."""
Email = Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+$", max_length=200)]


class Compromise(Document):
    """From where on a stolen key's signatures are void: a place in the chain of its owner's tags, never a date."""

    serial: Annotated[int, Field(ge=0, le=2**53 - 1)] = 0
    """The last serial that the owner made; 0 where nothing that the key signed is to count."""
    sha512: Sha512 | None = None
    """SHA-512 of the tag object with that serial."""


class _Key(Document):
    retired: Time | None = None
    """The owner signs with another key since then; what this one signed before counts until it expires."""
    compromised_since: Compromise | None = None
    """Somebody else may have the key: what comes after this place in its owner's chain of tags is void."""


class OpenPGPKey(_Key):
    """An OpenPGP certificate, named by the full fingerprint of its primary key."""

    type: Literal["openpgp"]
    """The kind of key."""
    fingerprint: Annotated[str, StringConstraints(pattern=r"^[0-9A-F]{40}$")]
    """Fingerprint of the primary key, 40 hex digits in capitals."""
    file: OwnPath
    """The armoured public key, relative to endorsers/."""


class SSHKey(_Key):
    """An SSH public key."""

    type: Literal["ssh"]
    """The kind of key."""
    key: Annotated[str, StringConstraints(pattern=SSH_KEY)]
    """Type and base64 as in a .pub file, without the comment."""


class X509Key(_Key):
    """A certificate's holder, as grids know people: whoever an authority of the site's CA folder gave this name."""

    type: Literal["x509"]
    """The kind of key."""
    subject: Dn
    """Subject of the certificate; a renewed certificate with the same name serves too."""
    issuer: Dn
    """Subject of the authority that issues it."""
    certificate: Sha256 | None = None
    """SHA-256 of the one certificate (DER) that serves; left out, any with these names does."""


Key = Annotated[OpenPGPKey | SSHKey | X509Key, Field(discriminator="type")]


def identity(key: OpenPGPKey | SSHKey | X509Key) -> tuple[str, ...]:
    """What makes two entries the same key: the primary fingerprint, the SSH key, or the certificate's names."""
    match key:
        case OpenPGPKey():
            return (key.type, key.fingerprint)
        case SSHKey():
            return (key.type, key.key)
    return (key.type, key.subject, key.issuer)


class Person(Document):
    """A person or role with keys."""

    name: Name
    """Used in tag names."""
    full_name: str
    """The name as people know it."""
    email: Email
    """Where to write to."""
    keys: Annotated[tuple[Key, ...], Field(min_length=1)]
    """Keys whose signatures are theirs."""
