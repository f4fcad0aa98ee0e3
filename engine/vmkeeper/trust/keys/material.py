"""The public numbers behind a held key in one form for all kinds of key, so that one key pair under two names is seen (rule R5)."""

from __future__ import annotations

from vmkeeper.errors import Refused
from vmkeeper.model.keys import SSHKey, X509Key
from vmkeeper.trust.keys import ssh
from vmkeeper.trust.keys.interface import HeldKey, HeldOpenPGPKey
from vmkeeper.trust.keys.names import DistinguishedName
from vmkeeper.trust.keys.packets import read_certificate
from vmkeeper.trust.keys.public_form import of_public_key

__all__ = ["materials", "of_public_key"]


def materials(key: HeldKey) -> frozenset[str]:
    """Everything that makes a key the same as another: two keys are one where these sets meet.

    OpenPGP: the primary key and every subkey. SSH: the key; a security key is the same as the plain key with its point.
    X.509: the names, for the numbers change with every renewal; a certificate's are in the `SignedBy` of what it signed.
    Raises Refused: R10 for a malformed key or name, R11 for an SSH key of a type that is not taken.
    """
    match key:
        case HeldOpenPGPKey():
            return frozenset(part.material for part in read_certificate(key.armour).keys)
        case SSHKey():
            return frozenset({ssh.read_public_key(key.key).material})
    return frozenset({_names(key)})


def _names(key: X509Key) -> str:
    try:
        return f"dn:{DistinguishedName.parse(key.subject)} issuer:{DistinguishedName.parse(key.issuer)}"
    except ValueError as error:
        raise Refused("R10", "the key's holder or its issuer is not a distinguished name", why=str(error)) from None
