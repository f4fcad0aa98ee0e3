"""Certificates, revocation lists and CMS signatures for made-up repositories, written part by part. Form: RFC 5280, RFC 5652."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from conformance.trust.signers import BORN, ISSUED, NOW, Signer, block, rsa_key


@dataclass(frozen=True)
class Identity:
    certificate: x509.Certificate
    key: rsa.RSAPrivateKey
    name: str

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def _name(common_name: str) -> x509.Name:
    parts = ((NameOID.DOMAIN_COMPONENT, "org"), (NameOID.DOMAIN_COMPONENT, "example"), (NameOID.COMMON_NAME, common_name))
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts])


@cache
def issue(common_name: str, issuer: Identity | None = None, *, bits: int = 2048, days: int = 900, key: str = "", digest: str = "sha256") -> Identity:
    """A certificate of an authority (without an issuer), or of a person. It is valid from 2025 on, for 2000 days or until `days` after 2026."""
    private = rsa_key(f"x509 {key or common_name}", bits)
    end = BORN + timedelta(days=days)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(common_name))
        .issuer_name(_name(issuer.name) if issuer else _name(common_name))
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(BORN - timedelta(days=365))
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
    )
    if issuer is not None:
        builder = builder.add_extension(x509.KeyUsage(True, True, False, False, False, False, False, False, False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    by = issuer.key if issuer else private
    made = builder.sign(by, hashes.SHA256())
    return Identity(_with_sha1(made, by) if digest == "sha1" else made, private, common_name)


def _with_sha1(made: x509.Certificate, by: rsa.RSAPrivateKey) -> x509.Certificate:
    """The certificate signed with SHA-1, which no library does any more."""
    sha256, sha1 = (der(6, bytes.fromhex(f"2a864886f70d0101{number}")) for number in ("0b", "05"))
    body = made.tbs_certificate_bytes.replace(sha256, sha1, 1)
    value = der(3, b"\0" + by.sign(body, padding.PKCS1v15(), hashes.SHA1()))
    return x509.load_der_x509_certificate(der(0x30, body, der(0x30, sha1, der(5)), value))


def crl(
    issuer: Identity, *serials: Identity, made: datetime = ISSUED, until: datetime = NOW + timedelta(days=7), by: Identity | None = None
) -> bytes:
    """An authority's revocation list that names certificates."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.certificate.subject).last_update(made).next_update(until)
    for one in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(one.certificate.serial_number).revocation_date(made - timedelta(hours=1))
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign((by or issuer).key, hashes.SHA256()).public_bytes(Encoding.PEM)


def der(tag: int, *parts: bytes) -> bytes:
    value = b"".join(parts)
    width = (len(value).bit_length() + 7) // 8
    return bytes([tag]) + (bytes([len(value)]) if len(value) < 128 else bytes([128 | width]) + len(value).to_bytes(width, "big")) + value


_OID = {
    name: der(6, bytes.fromhex(number))
    for name, number in (
        ("data", "2a864886f70d010701"), ("signed data", "2a864886f70d010702"), ("content type", "2a864886f70d010903"),
        ("message digest", "2a864886f70d010904"), ("signing time", "2a864886f70d010905"), ("rsa", "2a864886f70d010101"),
        ("sha1", "2b0e03021a"), ("sha256", "608648016503040201"), ("sha512", "608648016503040203"),
    )
}  # fmt: skip


def cms(identity: Identity, data: bytes, at: datetime, digest: str = "sha512", attributes: bool = True, signers: int = 1) -> bytes:
    """A detached signature in DER with the signer's certificate and nothing that may be left out."""
    held = [
        (_OID["content type"], _OID["data"]),
        (_OID["message digest"], der(4, hashlib.new(digest, data).digest())),
        (_OID["signing time"], der(0x17, at.strftime("%y%m%d%H%M%SZ").encode())),
    ]
    body = b"".join(sorted(der(0x30, kind, der(0x31, value)) for kind, value in held))
    hashed = {"sha1": hashes.SHA1(), "sha256": hashes.SHA256(), "sha512": hashes.SHA512()}[digest]
    value = identity.key.sign(der(0x31, body) if attributes else data, padding.PKCS1v15(), hashed)
    serial = identity.certificate.serial_number
    named = der(0x30, identity.certificate.issuer.public_bytes(), der(2, serial.to_bytes(serial.bit_length() // 8 + 1, "big")))
    algorithm = der(0x30, _OID[digest])
    info = der(0x30, der(2, b"\1"), named, algorithm, der(0xA0, body) if attributes else b"", der(0x30, _OID["rsa"], der(5)), der(4, value))
    content = der(0x30, der(2, b"\1"), der(0x31, algorithm), der(0x30, _OID["data"]), der(0xA0, identity.der), der(0x31, info * signers))
    return der(0x30, _OID["signed data"], der(0xA0, content))


def certificate(identity: Identity, issuer: Identity, *, pinned: bool = False, digest: str = "sha512", **how: Any) -> Signer:
    """A grid certificate as a key. pinned: this one certificate and no other with its names."""
    sha256 = hashlib.sha256(identity.der).hexdigest()
    names = {"subject": f"/DC=org/DC=example/CN={identity.name}", "issuer": f"/DC=org/DC=example/CN={issuer.name}"}
    key = {"type": "x509", **names, **({"certificate": sha256} if pinned else {})}
    return Signer(f"x509:{sha256}", key, key, lambda data, at: block("SIGNED MESSAGE", cms(identity, data, at, digest, **how), 64))
