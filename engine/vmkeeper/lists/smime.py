"""Sign and verify image lists as S/MIME, in the one packaging that every HEPiX consumer verifies.

A list counts as signed by whoever `verify` names only where the message has the one right shape, its digest and
key are strong, and the chain ends in a certificate that the caller gave; no other authority is known.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs7, pkcs12

from vmkeeper.errors import Refused, UserError
from vmkeeper.lists.mime import package, split
from vmkeeper.trust.keys import cms
from vmkeeper.trust.keys.certificates import Authorities, issuer, load_certificates, strong_key, subject
from vmkeeper.trust.keys.chains import Anchor
from vmkeeper.trust.keys.names import DistinguishedName
from vmkeeper.trust.keys.x509 import Purpose, verify_detached

_MAX_BYTES = 24 << 20
_PEM = re.compile(rb"-----BEGIN (PKCS7|CMS)-----\s(.*?)-----END \1-----", re.DOTALL)


@dataclass(frozen=True)
class Certified:
    """Somebody with a certificate."""

    certificate: x509.Certificate

    @property
    def subject(self) -> DistinguishedName:
        """Whose certificate it is; published as hv:dn."""
        return subject(self.certificate)

    @property
    def issuer(self) -> DistinguishedName:
        """The authority that issued it; published as hv:ca."""
        return issuer(self.certificate)


@dataclass(frozen=True)
class Signer(Certified):
    """A publisher's certificate with its key, and the certificates between it and the authority."""

    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...] = ()


@dataclass(frozen=True)
class Signed(Certified):
    """What a verified message says and whose certificate signed it."""

    content: bytes


def load_signer(certificate: Path, key: Path, password: bytes | None = None) -> Signer:
    """Read a publisher's PEM files; the certificate's file may hold its chain too, the signer's own first.

    Raises UserError where a file is not what it should be or the two do not belong together.
    """
    first, *chain = _certificates(certificate)
    try:
        private = serialization.load_pem_private_key(_bytes(key), password)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise UserError(
            "this is not a private key that can be read", where=str(key), why=str(error), hint="give a PEM file with an RSA or EC key"
        ) from None
    if private.public_key() != first.public_key():
        raise UserError("the key does not belong to the certificate", where=str(key), hint=f"give the key of {certificate}")
    return _signer(first, private, chain, key)


def load_certificate(file: Path) -> tuple[Certified, tuple[x509.Certificate, ...]]:
    """A publisher's certificate whose key is somewhere else, and its chain, from a PEM file. Raises UserError."""
    first, *chain = _certificates(file)
    strong_key(first)
    return Certified(first), tuple(chain)


def load_pkcs12(file: Path, password: bytes | None = None) -> Signer:
    """Read a publisher's PKCS #12 file: key, certificate, and its chain where it is there. Raises UserError."""
    try:
        private, certificate, chain = pkcs12.load_key_and_certificates(_bytes(file), password)
    except ValueError as error:
        raise UserError("this is not a PKCS #12 file that can be read", where=str(file), why=str(error), hint="check its password") from None
    if certificate is None:
        raise UserError("there is no certificate with the key", where=str(file), hint="export the key together with its certificate")
    return _signer(certificate, private, chain, file)


def sign(text: str, signer: Signer, digest: Literal["sha256", "sha512"] = "sha256") -> bytes:
    """The signed message: multipart/signed, detached, over the text with CRLF line ends, the certificates included."""
    algorithm = hashes.SHA256() if digest == "sha256" else hashes.SHA512()
    builder = pkcs7.PKCS7SignatureBuilder().set_data(text.encode()).add_signer(signer.certificate, signer.key, algorithm)
    for certificate in signer.chain:
        builder = builder.add_certificate(certificate)
    return builder.sign(serialization.Encoding.SMIME, [pkcs7.PKCS7Options.DetachedSignature])


def detached(data: bytes, signer: Signer, digest: Literal["sha256", "sha512"] = "sha256") -> bytes:
    """A detached CMS signature (DER) over the bytes as they are, the certificates included."""
    algorithm = hashes.SHA256() if digest == "sha256" else hashes.SHA512()
    builder = pkcs7.PKCS7SignatureBuilder().set_data(data).add_signer(signer.certificate, signer.key, algorithm)
    for certificate in signer.chain:
        builder = builder.add_certificate(certificate)
    return builder.sign(serialization.Encoding.DER, [pkcs7.PKCS7Options.DetachedSignature, pkcs7.PKCS7Options.Binary])


def canonical(text: str) -> bytes:
    """The bytes that an S/MIME signature over a text covers: CRLF line ends (RFC 8551, 3.1.1)."""
    return text.encode().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def packaged(text: str, signature: bytes) -> bytes:
    """The signed message around a text and a detached signature (BER) over `canonical` of it. Raises Refused (R17, R11) for none."""
    found = cms.read(signature)
    return package(text, signature, cast(Literal["sha256", "sha384", "sha512"], found.digest))


def signature_in(given: bytes) -> bytes:
    """The detached signature that a program wrote: DER, PEM (`PKCS7` or `CMS`), or the one inside a whole S/MIME message.

    Raises Refused (R17) for anything else; nothing is verified.
    """
    if given.startswith(b"\x30"):
        return given
    if block := _PEM.search(given):
        try:
            return base64.b64decode(b"".join(block[2].split()), validate=True)
        except binascii.Error:
            raise Refused("R17", "the signature is not PEM that can be read") from None
    return split(given, begins=b"").signature


def verify(
    message: bytes,
    authorities: Authorities | Path | Iterable[x509.Certificate],
    now: datetime,
    *,
    purpose: Purpose = "smimesign",
    anchor: Anchor = "root",
    sha1: bool = False,
) -> Signed:
    """Verify a message at a time, trusting only `authorities`; where they are a folder, a PEM file or certificates, no CRL is looked at.

    anchor: "root" wants a chain up to a self-signed certificate, "any" one that reaches any of `authorities`.
    sha1: take a signature made with SHA-1, as vmcaster makes them.
    Whether the signer is the one that is expected is the caller's to compare, by decoded name. Raises Refused:
    R17 (shape), R11 (weak digest or key), R19 (chain, validity, purpose), R12 (revoked), R18 (CRL), R25 (too long), R32.
    """
    if len(message) > _MAX_BYTES:
        raise Refused("R25", f"a signed list of {len(message)} bytes where at most {_MAX_BYTES} are read")
    if not isinstance(authorities, Authorities):
        authorities = Authorities(load_authorities(authorities) if isinstance(authorities, Path) else tuple(authorities))
    parts = split(message)
    certificate = verify_detached(parts.signature, parts.content, authorities, now, purpose=purpose, anchor=anchor, sha1=sha1)
    return Signed(certificate, parts.content)


def load_authorities(place: Path) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM file, or of a folder as IGTF lays it out (`HASH.0`) or with `*.pem`, `*.crt`."""
    files = [place] if place.is_file() else sorted(path for path in place.glob("*") if path.suffix in (".pem", ".crt") or path.suffix[1:].isdecimal())
    found = dict.fromkeys(certificate for file in files for certificate in _certificates(file))
    if not found:
        raise UserError(
            "no authority's certificate is here", where=str(place), hint="put the certificates of the authorities that you trust there, as PEM"
        )
    return tuple(found)


def _signer(certificate: x509.Certificate, key: object, chain: Iterable[x509.Certificate], where: Path) -> Signer:
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise UserError("image lists are signed with RSA or EC keys", where=str(where))
    strong_key(certificate)
    return Signer(certificate, key, tuple(chain))


def _certificates(file: Path) -> list[x509.Certificate]:
    try:
        return load_certificates(_bytes(file))
    except ValueError as error:
        raise UserError("there is no certificate that can be read", where=str(file), why=str(error), hint="give certificates as PEM") from None


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError("cannot be read", where=str(file), why=error.strerror or "") from None
