"""OpenPGP packets made by hand: keys with any numbers and user ids, signatures with anything in them. Forms: RFC 4880, RFC 9580."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from support.keys import BORN, ISSUED
from vmkeeper.trust.keys.armour import armour
from vmkeeper.trust.keys.interface import Claim, HeldOpenPGPKey

Private = Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
Subpacket = tuple[int, bytes]
OIDS = {
    "ed25519": "2b06010401da470f01",
    "secp256r1": "2a8648ce3d030107",
    "secp384r1": "2b81040022",
    "secp521r1": "2b81040023",
    "brainpoolP256r1": "2b2403030208010107",
    "brainpoolP384r1": "2b240303020801010b",
    "brainpoolP512r1": "2b240303020801010d",
}
_HASHES = {2: "sha1", 8: "sha256", 9: "sha384", 10: "sha512"}
_SIGN_AND_CERTIFY, _SIGN = b"\x03", b"\x02"


def mpi(number: int) -> bytes:
    return number.bit_length().to_bytes(2, "big") + number.to_bytes((number.bit_length() + 7) // 8, "big")


def packet(kind: int, body: bytes) -> bytes:
    """A packet with four bytes of length, its header old where the kind has room in it."""
    head = bytes([0x80 | kind << 2 | 2]) if kind < 16 else bytes([0xC0 | kind, 0xFF])
    return head + len(body).to_bytes(4, "big") + body


def subpackets(parts: Sequence[Subpacket]) -> bytes:
    """Subpackets with their lengths in five bytes, so that any body fits."""
    data = b"".join(b"\xff" + (len(body) + 1).to_bytes(4, "big") + bytes([kind]) + body for kind, body in parts)
    return len(data).to_bytes(2, "big") + data


def notation(name: bytes, value: bytes) -> Subpacket:
    """A notation that people can read."""
    return 20, b"\x80\0\0\0" + len(name).to_bytes(2, "big") + len(value).to_bytes(2, "big") + name + value


def key_text(packets: bytes) -> str:
    return "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n" + base64.b64encode(packets).decode() + "\n-----END PGP PUBLIC KEY BLOCK-----\n"


def ec_numbers(curve: str, point: bytes) -> bytes:
    oid = bytes.fromhex(OIDS[curve])
    return bytes([len(oid)]) + oid + mpi(int.from_bytes(point, "big"))


class PacketKey:
    """A key pair as an OpenPGP key."""

    def __init__(self, private: Private, created: datetime = BORN) -> None:
        self.private = private
        match private:
            case Ed25519PrivateKey():
                point = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
                self.algorithm, numbers = 22, ec_numbers("ed25519", b"\x40" + point)
            case rsa.RSAPrivateKey():
                public = private.public_key().public_numbers()
                self.algorithm, numbers = 1, mpi(public.n) + mpi(public.e)
            case _:
                point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
                self.algorithm, numbers = 19, ec_numbers(private.curve.name, point)
        self.body = b"\x04" + int(created.timestamp()).to_bytes(4, "big") + bytes([self.algorithm]) + numbers

    @property
    def hashed(self) -> bytes:
        """The key as signatures over keys cover it."""
        return b"\x99" + len(self.body).to_bytes(2, "big") + self.body

    @property
    def fingerprint(self) -> str:
        return hashlib.sha1(self.hashed, usedforsecurity=False).hexdigest().upper()

    def signature(self, kind: int, covered: bytes, parts: Sequence[Subpacket] = (), at: datetime = BORN, digest: int = 10) -> bytes:
        """The body of a signature packet over `covered`."""
        own = [(33, b"\x04" + bytes.fromhex(self.fingerprint)), (2, int(at.timestamp()).to_bytes(4, "big"))]
        head = bytes([4, kind, self.algorithm, digest]) + subpackets([*own, *parts])
        value = hashlib.new(_HASHES[digest], covered + head + b"\x04\xff" + len(head).to_bytes(4, "big")).digest()
        return head + b"\0\x0a\x09\x10" + bytes.fromhex(self.fingerprint)[-8:] + value[:2] + self._numbers(value, digest)

    def _numbers(self, value: bytes, digest: int) -> bytes:
        algorithm = Prehashed({2: hashes.SHA1(), 8: hashes.SHA256(), 9: hashes.SHA384(), 10: hashes.SHA512()}[digest])
        match self.private:
            case Ed25519PrivateKey():
                raw = self.private.sign(value)
                return mpi(int.from_bytes(raw[:32], "big")) + mpi(int.from_bytes(raw[32:], "big"))
            case rsa.RSAPrivateKey():
                return mpi(int.from_bytes(self.private.sign(value, padding.PKCS1v15(), algorithm), "big"))
        r, s = decode_dss_signature(self.private.sign(value, ec.ECDSA(algorithm)))
        return mpi(r) + mpi(s)

    def certificate(
        self,
        *user_ids: bytes,
        subkeys: Sequence[PacketKey] = (),
        parts: Sequence[Subpacket] = (),
        renewed: Sequence[tuple[datetime, Sequence[Subpacket]]] = (),
        revoked: Sequence[PacketKey] = (),
        digest: int = 10,
        consent: bool = True,
    ) -> HeldOpenPGPKey:
        """The certificate with self-signatures over its user ids and binding signatures over its signing subkeys.

        parts: subpackets of the self-signatures; renewed: later self-signatures, by their times. revoked: which of its keys
        it revokes. consent: whether the subkeys signed the primary key in turn, without which anybody's key could be taken
        for one's own.
        """
        found = packet(6, self.body)
        if self in revoked:
            found += packet(2, self.signature(0x20, self.hashed, [(29, b"\x01superseded")]))
        for user_id in user_ids or (b"Somebody <somebody@example.org>",):
            covered = self.hashed + b"\xb4" + len(user_id).to_bytes(4, "big") + user_id
            found += packet(13, user_id)
            for at, more in [(BORN, parts), *renewed]:
                found += packet(2, self.signature(0x13, covered, [(27, _SIGN_AND_CERTIFY), *more], at=at, digest=digest))
        for subkey in subkeys:
            both = self.hashed + subkey.hashed
            back = [(32, subkey.signature(0x19, both))] if consent else []
            found += packet(14, subkey.body) + packet(2, self.signature(0x18, both, [(27, _SIGN), *back]))
            if subkey in revoked:
                found += packet(2, self.signature(0x28, both, [(29, b"\x03retired")]))
        return HeldOpenPGPKey(type="openpgp", fingerprint=self.fingerprint, armour=key_text(found))

    def sign(self, data: bytes, *parts: Subpacket, at: datetime = ISSUED, digest: int = 10) -> str:
        """An armoured signature over `data` in the form we write."""
        body = self.signature(0, data, parts, at, digest)
        width = next(width for width in (1, 2, 4) if len(body) < 1 << (8 * width))
        return armour("PGP", bytes([0x88 | width // 2]) + len(body).to_bytes(width, "big") + body)

    def claim(self, data: bytes, *parts: Subpacket, at: datetime = ISSUED) -> Claim:
        """A claim by this key, its certificate being a plain one."""
        return Claim(self.plain, data, self.sign(data, *parts, at=at))

    @cached_property
    def plain(self) -> HeldOpenPGPKey:
        """A certificate with one user id."""
        return self.certificate()
