"""Sign and verify image lists as S/MIME, in the one packaging that every HEPiX consumer verifies.

A list counts as signed by whoever `verify` names only where the message has the one right shape, its digest and
key are strong, and the chain ends in a certificate that the caller gave; no other authority is known.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs7

from vmkeeper.errors import Refused, UserError
from vmkeeper.lists.cms import DATA, outline, split
from vmkeeper.lists.names import DistinguishedName
from vmkeeper.run import Limits, program, run
from vmkeeper.values import format_time

Purpose = Literal["smimesign", "any"]
Anchor = Literal["root", "any"]
_STRONG = ("sha256", "sha384", "sha512")
_MAX_BYTES = 24 << 20


@dataclass(frozen=True)
class Certified:
    """Somebody with a certificate."""

    certificate: x509.Certificate

    @property
    def subject(self) -> DistinguishedName:
        """Whose certificate it is; published as hv:dn."""
        return DistinguishedName.of(self.certificate.subject)

    @property
    def issuer(self) -> DistinguishedName:
        """The authority that issued it; published as hv:ca."""
        return DistinguishedName.of(self.certificate.issuer)


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
    if not isinstance(private, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise UserError("image lists are signed with RSA or EC keys", where=str(key))
    if private.public_key() != first.public_key():
        raise UserError("the key does not belong to the certificate", where=str(key), hint=f"give the key of {certificate}")
    _strong_key(first, where=str(certificate))
    return Signer(first, private, tuple(chain))


def sign(text: str, signer: Signer, digest: Literal["sha256", "sha512"] = "sha256") -> bytes:
    """The signed message: multipart/signed, detached, over the text with CRLF line ends, the certificates included."""
    algorithm = hashes.SHA256() if digest == "sha256" else hashes.SHA512()
    builder = pkcs7.PKCS7SignatureBuilder().set_data(text.encode()).add_signer(signer.certificate, signer.key, algorithm)
    for certificate in signer.chain:
        builder = builder.add_certificate(certificate)
    return builder.sign(serialization.Encoding.SMIME, [pkcs7.PKCS7Options.DetachedSignature])


def verify(
    message: bytes,
    authorities: Path | Iterable[x509.Certificate],
    now: datetime,
    *,
    purpose: Purpose = "smimesign",
    anchor: Anchor = "root",
) -> Signed:
    """Verify a message at a time, trusting only `authorities` (a folder, a PEM file or certificates).

    anchor: "root" wants a chain up to a self-signed certificate, "any" one that reaches any of `authorities`.
    Whether the signer is the one that is expected is the caller's to compare, by decoded name. Raises Refused:
    R17 (shape), R11 (weak digest or key), R19 (chain, validity, purpose), R25 (too long).
    """
    if len(message) > _MAX_BYTES:
        raise Refused("R25", f"a signed list of {len(message)} bytes where at most {_MAX_BYTES} are read")
    parts = split(message)
    shape = outline(parts.signature)
    if not shape.detached or shape.content_type != DATA:
        raise Refused("R17", "the signature holds its own content", hint="sign detached")
    if shape.signers != 1 or not shape.signed_attributes or not shape.certificates:
        raise Refused("R17", "the signature does not have one signer with signed attributes and a certificate")
    if shape.digest not in _STRONG:
        raise Refused("R11", f"the signature is made with {shape.digest}", hint="sign with SHA-256 or SHA-512")
    trusted = load_authorities(authorities) if isinstance(authorities, Path) else tuple(authorities)
    certificate = _verified(parts.content, parts.signature, trusted, now, purpose, anchor)
    _strong_key(certificate)
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


def _verified(
    content: bytes, signature: bytes, trusted: tuple[x509.Certificate, ...], now: datetime, purpose: Purpose, anchor: Anchor
) -> x509.Certificate:
    """Ask openssl. It prints content even where it fails, so its output counts only after status 0."""
    with tempfile.TemporaryDirectory(prefix="vmkeeper-cms-") as name:
        folder = Path(name)
        for file, data in (("content", content), ("signature", signature), ("trusted", b"".join(_pem(certificate) for certificate in trusted))):
            (folder / file).write_bytes(data)
        command: list[str | Path] = [
            program("openssl"),
            "cms",
            "-verify",
            "-binary",
            "-inform",
            "DER",
            "-in",
            folder / "signature",
            "-content",
            folder / "content",
        ]
        command += ["-CAfile", folder / "trusted", "-no-CApath", "-no-CAstore", "-purpose", purpose, "-auth_level", "2"]
        command += ["-attime", str(int(now.timestamp())), "-out", folder / "out", "-signer", folder / "signer"]
        command += ["-partial_chain"] if anchor == "any" else []
        result = run(command, check=False, timeout=60, limits=Limits(memory=1 << 30, file_size=64 << 20, cpu=30))
        if result.status != 0:
            said = result.stderr.decode(errors="replace")
            _, chain, reason = said.partition("Verify error:")
            if chain:
                why = f"{reason.splitlines()[0].strip()} (at {format_time(now)})"
                hint = "the certificate must be valid and lead to an authority of this site"
                raise Refused("R11" if "too weak" in why else "R19", "the signer's certificate is not trusted", why=why, hint=hint)
            raise Refused("R17", "the signature does not fit the list", why=said.strip().splitlines()[-1][-300:] if said.strip() else "")
        signers = _certificates(folder / "signer")
        if (folder / "out").read_bytes() != content or len(signers) != 1:
            raise Refused("R32", "two readers of the signed list do not agree")
        return signers[0]


def _strong_key(certificate: x509.Certificate, where: str = "") -> None:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= 2048:
        return
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.key_size >= 256:
        return
    size = getattr(key, "key_size", "")
    raise Refused(
        "R11",
        f"the signer's key is too weak or of a kind that is not used: {type(key).__name__} {size}".strip(),
        where=where,
        hint="use RSA of 2048 bits or more, or EC",
    )


def _certificates(file: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_bytes(file))
    except ValueError as error:
        raise UserError("there is no certificate that can be read", where=str(file), why=str(error), hint="give certificates as PEM") from None


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError("cannot be read", where=str(file), why=error.strerror or "") from None


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
