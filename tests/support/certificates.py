"""Certificates for tests: authorities and people, sound or with one fault, as PEM files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)
OIDS = {
    "DC": NameOID.DOMAIN_COMPONENT,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "CN": NameOID.COMMON_NAME,
    "C": NameOID.COUNTRY_NAME,
}


def name(*parts: tuple[str, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(OIDS.get(kind) or ObjectIdentifier(kind), value) for kind, value in parts])


ORG = (("DC", "org"), ("DC", "example"))
CA_NAME = name(*ORG, ("CN", "Test Authority"))
PUBLISHER = name(*ORG, ("O", "Images"), ("CN", "Image Publisher"))


@dataclass(frozen=True)
class Identity:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: Any

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())

    def write(self, folder: Path, stem: str) -> tuple[Path, Path]:
        """Writes STEM.pem and STEM.key; returns both paths."""
        folder.mkdir(parents=True, exist_ok=True)
        certificate, key = folder / f"{stem}.pem", folder / f"{stem}.key"
        certificate.write_bytes(self.pem)
        key.write_bytes(self.key_pem)
        key.chmod(0o600)
        return certificate, key


def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def ec_key(curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve or ec.SECP256R1())


def usage_of(*allowed: str) -> x509.KeyUsage:
    """A key usage that allows just these."""
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign")
    return x509.KeyUsage(encipher_only=False, decipher_only=False, **{one: one in allowed for one in names})


def issue(
    subject: x509.Name,
    issuer: Identity | None = None,
    *,
    key: Any = None,
    authority: bool = False,
    start: datetime = NOW - 30 * DAY,
    end: datetime = NOW + 365 * DAY,
    usage: tuple[ObjectIdentifier, ...] = (ExtendedKeyUsageOID.EMAIL_PROTECTION,),
    digest: hashes.HashAlgorithm | None = None,
    hosts: tuple[str, ...] = (),
    constraints: x509.BasicConstraints | None = None,
    key_usage: x509.KeyUsage | None = None,
    extra: x509.ExtensionType | None = None,
) -> Identity:
    """A certificate signed by `issuer`, or by itself. extra: one more extension, critical."""
    key = key or ec_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(constraints or x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
    if extra:
        builder = builder.add_extension(extra, critical=True)
    if not authority or key_usage:
        builder = builder.add_extension(key_usage or usage_of("digital_signature", "content_commitment"), critical=True)
    if usage and not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
    return Identity(builder.sign(issuer.key if issuer else key, digest or hashes.SHA256()), key)


def authority(subject: x509.Name = CA_NAME, issuer: Identity | None = None, **how: Any) -> Identity:
    return issue(subject, issuer, authority=True, **how)


def ca_folder(folder: Path, *authorities: Identity) -> Path:
    """A folder of authorities' certificates."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, one in enumerate(authorities):
        (folder / f"{number:08x}.0").write_bytes(one.pem)
    return folder
