"""Keys in full: an OpenPGP key is held only under its own fingerprint."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import TypeAdapter, ValidationError

from support.openpgp import PacketKey
from vmkeeper.model.keys import SSHKey, X509Key
from vmkeeper.trust.keys.interface import HeldKey, HeldOpenPGPKey

HELD: TypeAdapter[HeldKey] = TypeAdapter(HeldKey)
ALICE = PacketKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))


def test_every_kind_of_key_is_read_by_its_type() -> None:
    assert isinstance(HELD.validate_python(ALICE.plain.model_dump()), HeldOpenPGPKey)
    assert isinstance(HELD.validate_python({"type": "ssh", "key": "ssh-ed25519 AAAA"}), SSHKey)
    assert isinstance(HELD.validate_python({"type": "x509", "subject": "/CN=a", "issuer": "/CN=b"}), X509Key)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"fingerprint": "A" * 40}, f"the key has the fingerprint {ALICE.fingerprint}, not {'A' * 40}"),
        ({"armour": ""}, "this is not one armoured OpenPGP public key"),
        ({"type": "pgp"}, "openpgp"),
    ],
)
def test_a_key_under_another_name_is_refused(changes: dict[str, str], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        HELD.validate_python({**ALICE.plain.model_dump(), **changes})
