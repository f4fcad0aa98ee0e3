"""What a refusal of the key layer says: rule, what, why; and for each of them the way out that it must name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vmkeeper.errors import Refused

HINTS = {
    "an OpenPGP signature of version 3 is not taken": "sign with GnuPG 2 and a version 4 key",
    "an OpenPGP signature of version 4 is not taken": "sign with GnuPG 2 and a version 4 key",
    "gpg does not take the pinned key": "export it again; its self-signatures must not be SHA-1",
    "only OpenPGP keys of version 4 are taken": "use a version 4 key",
    "SSH keys of this type are not taken": "use ssh-ed25519, ecdsa, ssh-rsa of 2048 bits or more, or a security key",
    "the RSA key has a length that is not taken": "use 2048 bits or more",
    "the RSA signature uses a hash that is not taken": "sign with rsa-sha2-512",
    "the file holds a secret key": "it must be replaced, for it has been seen; export public keys only",
    "the file holds no OpenPGP public key": "write it with: gpg --armor --export FINGERPRINT",
    "the file holds something else than one OpenPGP public key": "export one key only",
    "the key has been revoked": "the owner signs with another key, which the policy or the pins hold",
    "the key is too weak": "use ed25519, or RSA of 2048 bits or more",
    "the security key signed without anybody touching it": "sign again and touch the key",
    "the signature does not name its time and the full fingerprint of its key": "sign with GnuPG 2.1.16 or newer",
    "the signature uses a weak hash": "sign with SHA-256, SHA-384 or SHA-512",
    "the signature's algorithm is not taken": "use an RSA, ECDSA or EdDSA key",
    "this is not one armoured OpenPGP public key": "write it with: gpg --armor --export FINGERPRINT",
}


def refusal(call: Callable[[], object]) -> tuple[str, str, str]:
    """Rule, what and why of the refusal that a call ends in; its hint is checked here."""
    with pytest.raises(Refused) as caught:
        call()
    assert caught.value.hint == HINTS.get(caught.value.what, "")
    return caught.value.rule, caught.value.what, caught.value.why
