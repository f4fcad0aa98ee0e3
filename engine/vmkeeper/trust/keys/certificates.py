"""X.509 certificates and revocation lists, read whole or not at all, and the authorities that a site trusts.

A certificate with a part that cannot be read, or with a kind of key that is not known, is not taken. Nothing here looks
at a clock or says that a certificate is good. Layout of the CA folder: IGTF's, as fetch-crl and the grid's tools keep it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from vmkeeper.errors import Place, Problem, Refused
from vmkeeper.trust.keys.names import DistinguishedName
from vmkeeper.values import sha256_hex

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
Crls = Literal["required", "when-there", "ignored"]
STRONG = ("sha256", "sha384", "sha512")
"""Digests that are taken (rule R11)."""
RSA_BITS = 2048
EC_BITS = 256
_UNREADABLE = (UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType)
_CERTIFICATES = re.compile(r"\.(?:pem|crt|[0-9]+)")
_REVOCATION_LISTS = re.compile(r"\.(?:crl|r[0-9]+)")
_DER = (b"\x30\x81", b"\x30\x82", b"\x30\x83")
"""How a DER file begins: a SEQUENCE of more than 127 bytes."""
_CRL_BLOCK = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)
_Read = TypeVar("_Read", x509.Certificate, x509.CertificateRevocationList)


@dataclass(frozen=True)
class Authorities:
    """The authorities whose word counts, and how much is asked of their revocation lists.

    crls: "required": every issuer of a chain must have a good one; "when-there": one that is there must be good and
    counts; "ignored": none is looked at.
    """

    certificates: tuple[x509.Certificate, ...]
    revocation_lists: tuple[x509.CertificateRevocationList, ...] = ()
    crls: Crls = "ignored"
    unreadable: frozenset[DistinguishedName] = frozenset()
    """Authorities whose revocation list is there and cannot be read."""
    problems: tuple[Problem, ...] = ()
    """Files that could not be read; each stops only itself."""


def read_authorities(files: Mapping[str, bytes], crls: Crls = "required") -> Authorities:
    """The authorities of a CA folder, by file name and content.

    Read are certificates (`*.pem`, `*.crt`, `HASH.0`) and revocation lists (`*.crl`, `*.r0`, `HASH.r0`), PEM or DER; other
    files (`.info`, `.namespaces`, `.signing_policy`, `.crl_url`) are left alone. The same one under two names counts once.
    A revocation list that cannot be read is its neighbour's of the same name (`a.r0`: `a.pem`, `a.0`).
    """
    certificates: dict[str, list[x509.Certificate]] = {}
    lists: dict[str, list[x509.CertificateRevocationList]] = {}
    problems: list[Problem] = []
    for name in sorted(files):
        if _CERTIFICATES.fullmatch(PurePath(name).suffix):
            _read(name, files[name], load_certificates, certificates, problems)
        elif _REVOCATION_LISTS.fullmatch(PurePath(name).suffix):
            _read(name, files[name], load_revocation_lists, lists, problems)
    broken = {PurePath(name).stem for name, found in lists.items() if not found}
    return Authorities(
        certificates=_once(certificates.values()),
        revocation_lists=_once(lists.values()),
        crls=crls,
        unreadable=frozenset(subject(one) for name, found in certificates.items() if PurePath(name).stem in broken for one in found),
        problems=tuple(problems),
    )


def load_certificates(data: bytes) -> list[x509.Certificate]:
    """The certificates of a PEM file, or the one of a DER file. Raises ValueError where there is none or one cannot be read."""
    if data.startswith(_DER):
        return [load_certificate(data)]
    with _value_errors():
        return [_whole(one) for one in x509.load_pem_x509_certificates(data)]


def load_certificate(data: bytes) -> x509.Certificate:
    """A certificate in DER. Raises ValueError where it cannot be read in all its parts."""
    with _value_errors():
        return _whole(x509.load_der_x509_certificate(data))


def load_revocation_lists(data: bytes) -> list[x509.CertificateRevocationList]:
    """The revocation lists of a PEM file, or the one of a DER file. Raises ValueError where there is none or one cannot be read."""
    with _value_errors():
        if data.startswith(_DER):
            return [_whole(x509.load_der_x509_crl(data))]
        found = [_whole(x509.load_pem_x509_crl(block)) for block in _CRL_BLOCK.findall(data)]
    if not found:
        raise ValueError("there is no X509 CRL block")
    return found


def subject(certificate: x509.Certificate) -> DistinguishedName:
    """Whose certificate it is."""
    return DistinguishedName.of(certificate.subject)


def issuer(certificate: x509.Certificate) -> DistinguishedName:
    """The authority that issued it."""
    return DistinguishedName.of(certificate.issuer)


def strong_key(certificate: x509.Certificate) -> PublicKey:
    """The certificate's key. Raises Refused (R11) where it is too weak or of a kind that is not used."""
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size >= RSA_BITS:
            return key
        weak = f"RSA of {key.key_size} bits"
    elif isinstance(key, ec.EllipticCurvePublicKey):
        if key.key_size >= EC_BITS:
            return key
        weak = f"the curve {key.curve.name}"
    else:
        weak = type(key).__name__
    hint = f"use RSA of {RSA_BITS} bits or more, or a curve of {EC_BITS} bits or more"
    raise Refused("R11", "a certificate's key is too weak or of a kind that is not used", why=f"{subject(certificate)}: {weak}", hint=hint)


def weak_digest(digest: hashes.HashAlgorithm | None) -> str:
    """Name of a signature's digest where it is not one that is taken, else ""."""
    name = digest.name if digest else "none"
    return "" if name in STRONG else name


def sha256(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate's DER, hex."""
    return sha256_hex(certificate.public_bytes(Encoding.DER))


def _read(name: str, data: bytes, load: Callable[[bytes], list[_Read]], found: dict[str, list[_Read]], problems: list[Problem]) -> None:
    found[name] = []
    try:
        found[name] = load(data)
    except ValueError as error:
        problems.append(Problem(Place(name), f"cannot be read: {error}", "put a whole PEM or DER file there; fetch-crl writes revocation lists"))


def _once(found: Iterable[list[_Read]]) -> tuple[_Read, ...]:
    return tuple({one.public_bytes(Encoding.DER): one for some in found for one in some}.values())


def _whole(read: _Read) -> _Read:
    """Ask for the parts that the library reads only when they are asked for, so that a bad one shows now."""
    parts = [read.issuer, read.extensions, read.signature_hash_algorithm]
    if isinstance(read, x509.Certificate):
        parts += [read.subject, read.public_key()]
    return read


@contextmanager
def _value_errors() -> Iterator[None]:
    """The library's several errors about what it reads as the one that callers know."""
    try:
        yield
    except _UNREADABLE as error:
        raise ValueError(str(error)) from None
