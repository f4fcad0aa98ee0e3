"""OpenPGP packets, read as strictly as a verifier can: one signature, one certificate, no spare bytes.

No cryptography here: gpg is asked for that. What is decided here are the things gpg is lenient about: several
signatures or keys in one block, weak hashes and short keys, bytes outside the signed part. Forms: RFC 4880, RFC 9580.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from vmkeeper.errors import Refused
from vmkeeper.trust.keys.armour import armour, dearmour, decode_public_key, decode_signature
from vmkeeper.trust.keys.public_form import of_modulus, of_point

_SIGNATURE, _PUBLIC_KEY, _SECRET_KEYS, _SUBKEY = 2, 6, (5, 7), 14
_IN_CERTIFICATE = (_SIGNATURE, _PUBLIC_KEY, 12, 13, _SUBKEY, 17)
HASHES = {8: "sha256", 9: "sha384", 10: "sha512"}
"""RFC 9580 section 9.5: the hashes we take."""
_RSA, _ECDH, _ECDSA, _EDDSA = 1, 18, 19, 22
_NUMBERS = {_RSA: 1, _ECDSA: 2, _EDDSA: 2}
_CREATED, _ISSUER, _ISSUER_FINGERPRINT = 2, 16, 33
RSA_BITS = 2048
_LONGEST_KEY = 0xFFFF
"""Bytes of a key packet; a version 4 fingerprint counts them in two bytes."""
_WEIERSTRASS = {
    "2a8648ce3d030107": ("secp256r1", 32),
    "2b81040022": ("secp384r1", 48),
    "2b81040023": ("secp521r1", 66),
    "2b2403030208010107": ("brainpoolP256r1", 32),
    "2b240303020801010b": ("brainpoolP384r1", 48),
    "2b240303020801010d": ("brainpoolP512r1", 64),
}
"""Curves by their object identifiers: the name, and how many bytes a coordinate has."""
_ED25519, _X25519 = "2b06010401da470f01", "2b060104019755010501"
_TAKEN = {_ECDSA: _WEIERSTRASS.keys(), _EDDSA: {_ED25519}}


@dataclass(frozen=True, slots=True)
class KeyPacket:
    """A primary key or subkey: fingerprint, algorithm number, public numbers, and what is wrong with its strength ("" if nothing)."""

    fingerprint: str
    algorithm: int
    created: int
    """In seconds since 1970."""
    material: str
    """As `public_form` writes it; `openpgp:` and the fingerprint where the numbers are in no form that is taken."""
    weakness: str


@dataclass(frozen=True, slots=True)
class Certificate:
    """One OpenPGP certificate: the primary key first, then its subkeys."""

    keys: tuple[KeyPacket, ...]

    @property
    def fingerprint(self) -> str:
        """Of the primary key, 40 hex digits in capitals."""
        return self.keys[0].fingerprint

    def key(self, fingerprint: str) -> KeyPacket | None:
        """The primary key or subkey with this fingerprint."""
        return next((key for key in self.keys if key.fingerprint == fingerprint), None)


@dataclass(frozen=True, slots=True)
class SignaturePacket:
    """A version 4 signature over a binary document. `created` in seconds since 1970; `issuer` is the signing (sub)key."""

    data: bytes
    """The whole packet."""
    algorithm: int
    hash: str
    created: int
    issuer: str


@lru_cache(maxsize=256)
def read_certificate(text: str) -> Certificate:
    """Read an armoured public key. Raises Refused (R10) where it is not exactly one public key."""
    keys = []
    for number, (kind, body) in enumerate(_packets(decode_public_key(text))):
        if kind in _SECRET_KEYS:
            raise Refused("R10", "the file holds a secret key", hint="it must be replaced, for it has been seen; export public keys only")
        if kind not in _IN_CERTIFICATE or (kind == _PUBLIC_KEY) != (number == 0):
            raise Refused(
                "R10", "the file holds something else than one OpenPGP public key", why=f"packet of type {kind}", hint="export one key only"
            )
        if kind in (_PUBLIC_KEY, _SUBKEY):
            keys.append(_key(body))
    if not keys:
        raise Refused("R10", "the file holds no OpenPGP public key", hint="write it with: gpg --armor --export FINGERPRINT")
    return Certificate(tuple(keys))


def read_signature(text: str, signed: bytes) -> SignaturePacket:
    """Read an armoured signature over `signed` in the form we write.

    Raises Refused: R10 for another form or several signatures, R11 for a weak hash or another kind of signature.
    """
    data = dearmour("PGP", text)
    body = _only_signature(data)
    if data != _packet(body):
        raise Refused("R10", "the OpenPGP signature packet is not in the form we write")
    return _signature(body, signed)


def normalised(text: str, signed: bytes) -> str:
    """A signature as any OpenPGP program wrote it, in the form we write. Raises Refused like `read_signature`."""
    body = _only_signature(decode_signature("PGP", text))
    end = _end_of_hashed(body)
    issuer = _subpackets(body[6:end]).get(_ISSUER_FINGERPRINT, b"")
    unhashed = bytes([9, _ISSUER]) + issuer[-8:]
    body = body[:end] + len(unhashed).to_bytes(2, "big") + unhashed + body[end + 2 + _number(body, end, 2) :]
    result = armour("PGP", _packet(body))
    read_signature(result, signed)
    return result


def literal(data: bytes) -> bytes:
    """A packet that holds `data` as a binary document; after a signature packet it makes a signed message."""
    body = b"b" + bytes(5) + data
    return b"\xcb\xff" + len(body).to_bytes(4, "big") + body


def _signature(body: bytes, signed: bytes) -> SignaturePacket:
    if body[0] != 4 or len(body) < 10:
        raise Refused("R10", f"an OpenPGP signature of version {body[0]} is not taken", hint="sign with GnuPG 2 and a version 4 key")
    kind, algorithm, digest = body[1], body[2], body[3]
    if kind != 0:
        raise Refused("R11", "the OpenPGP signature is not over a binary document", why=f"class {kind:02x}")
    if digest not in HASHES:
        raise Refused("R11", "the signature uses a weak hash", why=f"OpenPGP hash number {digest}", hint="sign with SHA-256, SHA-384 or SHA-512")
    if algorithm not in _NUMBERS:
        raise Refused(
            "R11", "the signature's algorithm is not taken", why=f"OpenPGP algorithm number {algorithm}", hint="use an RSA, ECDSA or EdDSA key"
        )
    end = _end_of_hashed(body)
    hashed = _subpackets(body[6:end])
    fingerprint, created = hashed.get(_ISSUER_FINGERPRINT, b""), hashed.get(_CREATED, b"")
    if len(fingerprint) != 21 or fingerprint[0] != 4 or len(created) != 4:
        raise Refused("R10", "the signature does not name its time and the full fingerprint of its key", hint="sign with GnuPG 2.1.16 or newer")
    issuer = bytes([0, 10, 9, _ISSUER]) + fingerprint[-8:]
    if body[end : end + 12] != issuer:
        raise Refused("R10", "the OpenPGP signature holds unsigned data beside its key id")
    covered = hashlib.new(HASHES[digest], signed + body[:end] + b"\x04\xff" + end.to_bytes(4, "big")).digest()
    if body[end + 12 : end + 14] != covered[:2]:
        raise Refused("R10", "the signature is not over this tag", why="its digest begins with other bytes")
    _numbers(body[end + 14 :], _NUMBERS[algorithm])
    return SignaturePacket(_packet(body), algorithm, HASHES[digest], int.from_bytes(created, "big"), fingerprint[1:].hex().upper())


def _numbers(data: bytes, count: int) -> list[int]:
    """Exactly `count` multiprecision integers, each with its true length in bits."""
    found = []
    for _ in range(count):
        bits = _number(data, 0, 2)
        length = (bits + 7) // 8
        value = int.from_bytes(data[2 : 2 + length], "big")
        if value.bit_length() != bits or bits == 0:
            raise Refused("R10", "a number in the OpenPGP data has another length than it says")
        found.append(value)
        data = data[2 + length :]
    if data:
        raise Refused("R10", "bytes follow the numbers in the OpenPGP data", why=f"{len(data)} bytes")
    return found


def _key(body: bytes) -> KeyPacket:
    if not 8 <= len(body) <= _LONGEST_KEY or body[0] != 4:
        raise Refused("R10", "only OpenPGP keys of version 4 are taken", hint="use a version 4 key")
    fingerprint = hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body, usedforsecurity=False).hexdigest().upper()
    algorithm, rest = body[5], body[6:]
    if algorithm == _RSA:
        material, weakness = _rsa(rest)
    elif algorithm in (_ECDH, _ECDSA, _EDDSA):
        material, weakness = _on_curve(algorithm, rest)
    else:
        material, weakness = "", f"OpenPGP algorithm number {algorithm}"
    return KeyPacket(fingerprint, algorithm, int.from_bytes(body[1:5], "big"), material or f"openpgp:{fingerprint}", weakness)


def _rsa(data: bytes) -> tuple[str, str]:
    """Material and weakness of an RSA key."""
    numbers = _numbers(data, 2)
    bits = numbers[0].bit_length()
    return of_modulus(numbers[0]), f"RSA of {bits} bits" if bits < RSA_BITS else ""


def _on_curve(algorithm: int, data: bytes) -> tuple[str, str]:
    """Material and weakness of a key on an elliptic curve. One form of a point is taken: two would make two keys of one."""
    end = 1 + data[0]
    curve = data[1:end].hex()
    length = (_number(data, end, 2) + 7) // 8
    point, rest = data[end + 2 : end + 2 + length], data[end + 2 + length :]
    if algorithm == _ECDH:
        weakness = "a key for encryption only"
    elif curve not in _TAKEN[algorithm]:
        weakness = f"a curve that is not taken, {curve}"
    else:
        weakness = f"{len(rest)} bytes after its point" if rest else ""
    name, size = _WEIERSTRASS.get(curve, ("", 0))
    if name and point[:1] == b"\x04" and len(point) == 1 + 2 * size:
        return of_point(name, point), weakness
    if curve in (_ED25519, _X25519) and point[:1] == b"\x40" and len(point) == 33:
        return of_point("ed25519" if curve == _ED25519 else "x25519", point[1:]), weakness
    return "", weakness or "a point in another form than GnuPG writes"


def _only_signature(data: bytes) -> bytes:
    found = list(_packets(data))
    if [kind for kind, _ in found] != [_SIGNATURE]:
        raise Refused("R10", "the block holds something else than one OpenPGP signature", why=f"{len(found)} packets")
    if not found[0][1]:
        raise Refused("R10", "the OpenPGP signature is empty")
    return found[0][1]


def _packet(body: bytes) -> bytes:
    """A signature packet with the header that GnuPG writes (old format, shortest length)."""
    width = next(width for width in (1, 2, 4) if len(body) < 1 << (8 * width))
    return bytes([0x80 | _SIGNATURE << 2 | (width // 2)]) + len(body).to_bytes(width, "big") + body


def _packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        first = data[at]
        if first & 0xC0 == 0xC0:
            kind, (length, at) = first & 0x3F, _new_length(data, at + 1)
        elif first & 0x80 and first & 3 != 3:
            width = 1 << (first & 3)
            kind, length, at = (first >> 2) & 15, _number(data, at + 1, width), at + 1 + width
        else:
            raise Refused("R10", "the OpenPGP data does not consist of packets", why=f"byte {first:02x} at {at}")
        if at + length > len(data):
            raise Refused("R10", "an OpenPGP packet is cut off")
        yield kind, data[at : at + length]
        at += length


def _new_length(data: bytes, at: int) -> tuple[int, int]:
    """Length and the position after it, RFC 9580 section 4.2.1; partial lengths are refused."""
    first = _number(data, at, 1)
    if first < 192:
        return first, at + 1
    if first < 224:
        return ((first - 192) << 8) + _number(data, at + 1, 1) + 192, at + 2
    if first == 255:
        return _number(data, at + 1, 4), at + 5
    raise Refused("R10", "an OpenPGP packet of unknown length is not taken")


def _end_of_hashed(body: bytes) -> int:
    end = 6 + _number(body, 4, 2)
    if end + 2 > len(body):
        raise Refused("R10", "an OpenPGP signature is cut off")
    return end


def _subpackets(data: bytes) -> dict[int, bytes]:
    """Subpackets by type (RFC 9580 section 5.2.3.1). Raises Refused where one comes twice."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        first = data[at]
        if first < 192:
            length, at = first, at + 1
        elif first < 255:
            length, at = ((first - 192) << 8) + _number(data, at + 1, 1) + 192, at + 2
        else:
            length, at = _number(data, at + 1, 4), at + 5
        if length == 0 or at + length > len(data):
            raise Refused("R10", "a part of the OpenPGP signature is cut off")
        kind = data[at] & 0x7F
        if kind in found:
            raise Refused("R10", "a part of the OpenPGP signature is there twice", why=f"subpacket type {kind}")
        found[kind] = data[at + 1 : at + length]
        at += length
    return found


def _number(data: bytes, at: int, width: int) -> int:
    if at + width > len(data):
        raise Refused("R10", "the OpenPGP data is cut off")
    return int.from_bytes(data[at : at + width], "big")
