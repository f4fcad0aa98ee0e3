"""Signature primitives: thin wrappers of `cryptography` that say yes or no and raise for nothing that a stranger can write."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

CURVES: dict[bytes, tuple[ec.EllipticCurve, hashes.HashAlgorithm]] = {
    b"nistp256": (ec.SECP256R1(), hashes.SHA256()),
    b"nistp384": (ec.SECP384R1(), hashes.SHA384()),
    b"nistp521": (ec.SECP521R1(), hashes.SHA512()),
}
"""Curves by their names in SSH, each with the hash that RFC 5656 section 6.2.1 gives it."""
RSA_HASHES: dict[bytes, hashes.HashAlgorithm] = {b"rsa-sha2-256": hashes.SHA256(), b"rsa-sha2-512": hashes.SHA512()}
"""RFC 8332."""
_UNCOMPRESSED = b"\x04"


def verify_ed25519(key: bytes, message: bytes, signature: bytes) -> bool:
    """Ed25519 (RFC 8032): 32 bytes of key, 64 bytes of signature."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def verify_ecdsa(curve: bytes, point: bytes, message: bytes, signature: bytes) -> bool:
    """ECDSA with the curve's own hash: an uncompressed point (SEC 1), the signature in DER."""
    if point[:1] != _UNCOMPRESSED:
        return False
    group, digest = CURVES[curve]
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(group, point).verify(signature, message, ec.ECDSA(digest))
    except (InvalidSignature, ValueError):
        return False
    return True


def verify_rsa(exponent: int, modulus: int, algorithm: bytes, message: bytes, signature: bytes) -> bool:
    """RSASSA-PKCS1-v1_5 with rsa-sha2-256 or rsa-sha2-512; the signature is as long as the modulus."""
    try:
        key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
        key.verify(signature, message, padding.PKCS1v15(), RSA_HASHES[algorithm])
    except (InvalidSignature, ValueError):
        return False
    return len(signature) == (modulus.bit_length() + 7) // 8
