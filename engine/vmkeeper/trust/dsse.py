"""DSSE: an envelope around bytes of a type, with exactly one signature, in one byte form.

The signature covers the type too, so bytes that were signed as one thing are never taken for another. Here `sig` holds the
armoured block of gpg, ssh-keygen or gpgsm in base64, so every key that signs tags signs envelopes. Form: DSSE 1.0.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError

from vmkeeper.errors import Refused
from vmkeeper.model.base import Document
from vmkeeper.trust.canonical import read_canonical
from vmkeeper.trust.said import KeyId
from vmkeeper.values import canonical_json

IN_TOTO = "application/vnd.in-toto+json"
MAXIMUM = 128 * 1024
"""Bytes; a larger envelope is refused unread."""

_Base64 = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]+={0,2}$")]


class Signature(Document):
    """A signature: `keyid` as statements name keys, `sig` the armoured block's text in base64."""

    keyid: KeyId
    sig: _Base64

    @property
    def kind(self) -> str:
        """The kind of key that it says it is by: openpgp, ssh or x509."""
        return self.keyid.partition(":")[0]

    @property
    def armour(self) -> str:
        """The armoured block. Raises Refused (R32)."""
        return _unpacked(self.sig, "the signature").decode("latin-1")


class Envelope(Document):
    """A DSSE envelope with one signature over `pae(payloadType, payload)`."""

    payload: _Base64
    payload_type: Literal["application/vnd.in-toto+json"] = Field(alias="payloadType")
    signatures: Annotated[tuple[Signature, ...], Field(min_length=1, max_length=1)]

    @property
    def signature(self) -> Signature:
        """The one signature."""
        return self.signatures[0]

    @property
    def statement(self) -> bytes:
        """The bytes of the payload. Raises Refused (R32)."""
        return _unpacked(self.payload, "the payload")


def pae(payload: bytes, payload_type: str = IN_TOTO) -> bytes:
    """What is signed: DSSE's pre-authentication encoding, which no payload can imitate the type of (DSSE protocol, "PAE")."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def seal(payload: bytes, keyid: str, armour: str) -> bytes:
    """The bytes of an envelope: a payload with the armoured signature over its `pae`."""
    signature = {"keyid": keyid, "sig": base64.b64encode(armour.encode()).decode()}
    return canonical_json({"payload": base64.b64encode(payload).decode(), "payloadType": IN_TOTO, "signatures": [signature]}) + b"\n"


def open_envelope(data: bytes) -> Envelope:
    """Read an envelope; nothing says yet that its signature is good. Raises Refused: R22, R31 for other fields, R32 for another byte form."""
    value = read_canonical(data.removesuffix(b"\n"), "the envelope", MAXIMUM)
    try:
        envelope = Envelope.model_validate(value)
    except ValidationError as error:
        raise Refused("R31", "the envelope is not DSSE's with one signature", why=first_of(error)) from None
    if canonical_json(envelope.model_dump(by_alias=True)) + b"\n" != data:
        raise Refused("R32", "the envelope is not in the form we write", why="written again, it has other bytes")
    return envelope


def _unpacked(text: str, what: str) -> bytes:
    """The bytes behind base64 in its one form."""
    try:
        data = base64.b64decode(text)
    except binascii.Error:
        data = b""
    if base64.b64encode(data).decode() != text:
        raise Refused("R32", f"{what} is not base64 in its one form")
    return data


def first_of(error: ValidationError) -> str:
    """The first thing that a model finds wrong: the field, and what it should be."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
