"""A detached CMS signature (RFC 5652, SignedData), read strictly, and the one byte form in which tags carry it.

What is read is refused (R17) where it has anything but one signer with signed attributes over bytes that lie elsewhere.
Nothing is verified here. In tags every byte follows from the signer's certificate, the signed attributes and the
signature value, so nothing in them can change unseen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

from vmkeeper.errors import Refused
from vmkeeper.trust.keys.certificates import load_certificate

_DATA, _SIGNED_DATA = (bytes.fromhex(f"2a864886f70d01070{number}") for number in (1, 2))
_CONTENT_TYPE, _MESSAGE_DIGEST, _SIGNING_TIME = (bytes.fromhex(f"2a864886f70d01090{number}") for number in (3, 4, 5))
_DIGESTS = {bytes.fromhex(f"60864801650304020{number}"): name for number, name in ((1, "sha256"), (2, "sha384"), (3, "sha512"))}
_SHA1 = {bytes.fromhex("2b0e03021a"): "sha1"}
_RSA = bytes.fromhex("2a864886f70d010101")
_RSA_WITH = {
    name: bytes.fromhex(f"2a864886f70d0101{number}") for name, number in (("sha1", "05"), ("sha256", "0b"), ("sha384", "0c"), ("sha512", "0d"))
}
_ECDSA_WITH = {name: bytes.fromhex(f"2a8648ce3d04030{number}") for name, number in (("sha256", 2), ("sha384", 3), ("sha512", 4))}
_ECDSA_WITH["sha1"] = bytes.fromhex("2a8648ce3d0401")
"""Object identifiers as their contents in DER (RFC 5652, RFC 5754)."""
_NAMES = {"2b0e03021a": "SHA-1", "2a864886f70d0205": "MD5", "2a864886f70d01010a": "RSASSA-PSS"}
_INTEGER, _OCTETS, _NULL, _OID, _UTC_TIME, _TIME, _SEQUENCE, _SET = 0x02, 0x04, 0x05, 0x06, 0x17, 0x18, 0x30, 0x31
_KEY_ID, _TAGGED, _TAGGED_1 = 0x80, 0xA0, 0xA1
_CONSTRUCTED, _LONG_TAG, _INDEFINITE = 0x20, 0x1F, 0x80
MAXIMUM = 64 * 1024
"""Bytes; a larger signature is refused unread."""
_DEPTH = 24
_MOST_CERTIFICATES = 16


@dataclass(frozen=True, slots=True)
class SignedData:
    """What a signature holds. `attributes` are the bytes that are signed: a SET in DER with the content's digest in it."""

    certificate: x509.Certificate
    """The signer's, as the signature itself says."""
    others: tuple[x509.Certificate, ...]
    """Further certificates that came with it; nothing vouches for them."""
    digest: str
    """sha256, sha384 or sha512."""
    elliptic: bool
    """Whether the value is ECDSA's; RSASSA-PKCS1-v1_5's otherwise."""
    attributes: bytes
    content_digest: bytes
    signing_time: datetime | None
    value: bytes


@dataclass(frozen=True, slots=True)
class _Element:
    """A BER element: first tag byte, contents, children where it is constructed, and all of its bytes."""

    tag: int
    value: bytes
    children: tuple[_Element, ...]
    raw: bytes


def read(data: bytes, *, sha1: bool = False) -> SignedData:
    """Read a detached signature with one signer, in BER. Raises Refused: R17 for another form, R11 for a weak or unknown algorithm, R25.

    sha1: take SHA-1 too, which old image lists are signed with.
    """
    if len(data) > MAXIMUM:
        raise Refused("R25", "the signature is too large", why=f"{len(data)} bytes, at most {MAXIMUM} are read")
    try:
        return _signed_data(data, _DIGESTS | _SHA1 if sha1 else _DIGESTS)
    except (LookupError, ValueError):
        raise _not_right("it is not a CMS SignedData that can be read") from None


def canonical(signed: SignedData) -> bytes:
    """The form that tags carry, in DER: version 1, no parameter that may be left out, the signer's certificate and no other.

    Of the two values that ECDSA makes of one signature it has the lower one. What is left out is not signed.
    """
    certificate = signed.certificate.public_bytes(Encoding.DER)
    digest = _der(_SEQUENCE, _der(_OID, next(number for number, name in _DIGESTS.items() if name == signed.digest)))
    algorithm = _der(_SEQUENCE, _der(_OID, _ECDSA_WITH[signed.digest]) if signed.elliptic else _der(_OID, _RSA) + _der(_NULL))
    signer = _der(
        _SEQUENCE,
        _der(_INTEGER, b"\1"),
        _issuer_and_serial(certificate),
        digest,
        bytes([_TAGGED]) + signed.attributes[1:],
        algorithm,
        _der(_OCTETS, _lower(signed)),
    )
    content = _der(_SEQUENCE, _der(_OID, _DATA))
    body = _der(_SEQUENCE, _der(_INTEGER, b"\1"), _der(_SET, digest), content, _der(_TAGGED, certificate), _der(_SET, signer))
    return _der(_SEQUENCE, _der(_OID, _SIGNED_DATA), _der(_TAGGED, body))


def _signed_data(data: bytes, digests: Mapping[bytes, str]) -> SignedData:
    whole, end = _element(data, 0, 0)
    kind, wrapped = _parts(whole, _SEQUENCE)
    (body,) = _parts(wrapped, _TAGGED)
    _, _, content, *optional, signers = _parts(body, _SEQUENCE)
    if end != len(data) or _number(kind) != _SIGNED_DATA:
        raise ValueError
    content_type, *held = _parts(content, _SEQUENCE)
    if _number(content_type) != _DATA or held:
        raise _not_right("it holds its own content")
    if [one.tag for one in optional] != [_TAGGED]:
        raise _not_right("it holds no certificates, or something beside them")
    certificates = _certificates(optional[0])
    if len(_parts(signers, _SET)) != 1:
        raise _not_right("it does not have exactly one signer")
    return _signer(_parts(signers.children[0], _SEQUENCE), certificates, digests)


def _signer(parts: tuple[_Element, ...], certificates: tuple[x509.Certificate, ...], digests: Mapping[bytes, str]) -> SignedData:
    if parts[3].tag != _TAGGED:
        raise _not_right("it has no signed attributes")
    _, name, digest, attributes, algorithm, value, *unsigned = parts
    if [one.tag for one in unsigned] not in ([], [_TAGGED_1]) or attributes.raw[1] == _INDEFINITE:
        raise ValueError
    certificate = _named(name, certificates)
    hashed, number = _algorithm(digest, algorithm, digests)
    found = dict(_attributes(attributes))
    (content_type,), (content_digest,) = found[_CONTENT_TYPE], found[_MESSAGE_DIGEST]
    if _number(content_type) != _DATA:
        raise ValueError
    return SignedData(
        certificate=certificate,
        others=tuple(one for one in certificates if one != certificate),
        digest=hashed,
        elliptic=number == _ECDSA_WITH[hashed],
        attributes=bytes([_SET]) + attributes.raw[1:],
        content_digest=_octets(content_digest),
        signing_time=_time(found[_SIGNING_TIME]) if _SIGNING_TIME in found else None,
        value=_octets(value),
    )


def _algorithm(digest: _Element, algorithm: _Element, digests: Mapping[bytes, str]) -> tuple[str, bytes]:
    """Name of the digest, identifier of the signature's algorithm."""
    hashed, number = _number(_parts(digest, _SEQUENCE)[0]), _number(_parts(algorithm, _SEQUENCE)[0])
    if hashed not in digests:
        raise Refused("R11", "the signature is made with a digest that is not taken", why=_named_number(hashed), hint="sign with SHA-256 or SHA-512")
    name = digests[hashed]
    if number not in (_RSA, _RSA_WITH[name], _ECDSA_WITH[name]):
        hint = "sign with RSA (PKCS #1 v1.5) or ECDSA, and with one digest throughout"
        raise Refused("R11", "the signature is made with an algorithm that is not taken", why=f"{_named_number(number)} with {name}", hint=hint)
    return name, number


def _certificates(element: _Element) -> tuple[x509.Certificate, ...]:
    if not 1 <= len(element.children) <= _MOST_CERTIFICATES:
        raise _not_right(f"it holds {len(element.children)} certificates, where 1 to {_MOST_CERTIFICATES} are taken")
    return tuple(load_certificate(one.raw) for one in element.children)


def _named(name: _Element, certificates: tuple[x509.Certificate, ...]) -> x509.Certificate:
    """The certificate that a signer names, by issuer and number or by the identifier of its key."""
    for one in certificates:
        if name.tag == _KEY_ID:
            if any(isinstance(each.value, x509.SubjectKeyIdentifier) and each.value.digest == name.value for each in one.extensions):
                return one
        elif name.raw == _issuer_and_serial(one.public_bytes(Encoding.DER)):
            return one
    raise _not_right("it does not hold its signer's certificate")


def _attributes(element: _Element) -> Iterator[tuple[bytes, tuple[_Element, ...]]]:
    seen = set()
    for one in element.children:
        kind, values = _parts(one, _SEQUENCE)
        if _number(kind) in seen:
            raise _not_right("a signed attribute is there twice")
        seen.add(_number(kind))
        yield _number(kind), _parts(values, _SET)


def _time(values: tuple[_Element, ...]) -> datetime:
    """Signing time (RFC 5652, 11.3): two digits of the year until 2049, four from then on."""
    (value,) = values
    text = value.value.decode("ascii")
    if value.tag == _UTC_TIME and re.fullmatch(r"[0-9]{12}Z", text):
        text = ("19" if text >= "5" else "20") + text
    elif value.tag != _TIME or not re.fullmatch(r"[0-9]{14}Z", text):
        raise ValueError
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _lower(signed: SignedData) -> bytes:
    key = signed.certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return signed.value
    r, s = decode_dss_signature(signed.value)
    return encode_dss_signature(r, min(s, key.curve.group_order - s))


def _issuer_and_serial(certificate: bytes) -> bytes:
    whole, _ = _element(certificate, 0, 0)
    serial, _, issuer = [one for one in whole.children[0].children if one.tag != _TAGGED][:3]
    return _der(_SEQUENCE, issuer.raw, serial.raw)


def _parts(element: _Element, tag: int) -> tuple[_Element, ...]:
    if element.tag != tag:
        raise ValueError
    return element.children


def _element(data: bytes, start: int, depth: int) -> tuple[_Element, int]:
    """One BER element and where it ends; lengths may be indefinite, as OpenSSL and gpgsm stream them."""
    tag, length, at = data[start], data[start + 1], start + 2
    if depth > _DEPTH or tag & _LONG_TAG == _LONG_TAG:
        raise ValueError
    children = []
    if length == _INDEFINITE:
        if not tag & _CONSTRUCTED:
            raise ValueError
        while data[at : at + 2] != b"\0\0":
            child, at = _element(data, at, depth + 1)
            children.append(child)
        return _Element(tag, b"", tuple(children), data[start : at + 2]), at + 2
    if length > _INDEFINITE:
        count = length - _INDEFINITE
        length, at = int.from_bytes(data[at : at + count], "big"), at + count
    first, end = at, at + length
    if end > len(data):
        raise ValueError
    while tag & _CONSTRUCTED and at < end:
        child, at = _element(data, at, depth + 1)
        children.append(child)
    if children and at != end:
        raise ValueError
    return _Element(tag, data[first:end], tuple(children), data[start:end]), end


def _der(tag: int, *parts: bytes) -> bytes:
    value = b"".join(parts)
    size = len(value)
    width = (size.bit_length() + 7) // 8
    length = bytes([size]) if size < _INDEFINITE else bytes([_INDEFINITE | width]) + size.to_bytes(width, "big")
    return bytes([tag]) + length + value


def _number(element: _Element) -> bytes:
    """The contents of an object identifier."""
    return _octets(element, _OID)


def _named_number(number: bytes) -> str:
    return _NAMES.get(number.hex(), f"object identifier {number.hex()}")


def _octets(element: _Element, tag: int = _OCTETS) -> bytes:
    if element.tag != tag:
        raise ValueError
    return element.value


def _not_right(why: str) -> Refused:
    hint = "sign detached, once, with signed attributes and your certificate"
    return Refused("R17", "this is not one detached signature", why=why, hint=hint)
