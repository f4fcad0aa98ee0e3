"""One text form for the public numbers of a key, whatever file they came in, so that one key pair is seen to be one (rule R5)."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vmkeeper.values import sha256_hex

PublicKey = Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey


def of_public_key(key: PublicKey) -> str:
    """The form of a key as `cryptography` has it."""
    match key:
        case Ed25519PublicKey():
            return of_point("ed25519", key.public_bytes(Encoding.Raw, PublicFormat.Raw))
        case rsa.RSAPublicKey():
            return of_modulus(key.public_numbers().n)
    return of_point(key.curve.name, key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


def of_point(curve: str, point: bytes) -> str:
    """`CURVE:POINT` in hex; the curve as `cryptography` calls it, the point as RFC 8032 (32 bytes) or uncompressed (SEC 1)."""
    return f"{curve}:{point.hex()}"


def of_modulus(modulus: int) -> str:
    """`rsa:` and the SHA-256 of the modulus, big-endian without leading zeros."""
    return f"rsa:{sha256_hex(modulus.to_bytes((modulus.bit_length() + 7) // 8, 'big'))}"
