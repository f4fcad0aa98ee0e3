"""An authority with revocation lists, people with certificates, and CMS signatures put together part by part, for tests."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat, pkcs12

from support.certificates import Identity, authority, ec_key, issue, name, rsa_key
from support.keys import ISSUED, NOW, Signer
from vmkeeper.model.keys import X509Key
from vmkeeper.trust.keys.armour import armour
from vmkeeper.trust.keys.certificates import Authorities, Crls, read_authorities
from vmkeeper.trust.keys.names import DistinguishedName
from vmkeeper.trust.keys.openpgp import short_folder

START = datetime(2025, 1, 1, tzinfo=UTC)
END = datetime(2028, 1, 1, tzinfo=UTC)
VALID = {"start": START, "end": END}
DAY = timedelta(days=1)
GRID = (("DC", "org"), ("DC", "grid"))
HASHES: dict[str, hashes.HashAlgorithm] = {
    "md5": hashes.MD5(),
    "sha1": hashes.SHA1(),
    "sha224": hashes.SHA224(),
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
DIGESTS = {
    "md5": "1.2.840.113549.2.5",
    "sha1": "1.3.14.3.2.26",
    "sha224": "2.16.840.1.101.3.4.2.4",
    "sha256": "2.16.840.1.101.3.4.2.1",
    "sha384": "2.16.840.1.101.3.4.2.2",
    "sha512": "2.16.840.1.101.3.4.2.3",
}
RSA = "1.2.840.113549.1.1.1"
RSA_WITH = {
    "md5": "1.2.840.113549.1.1.4",
    "sha1": "1.2.840.113549.1.1.5",
    "sha224": "1.2.840.113549.1.1.14",
    "sha256": "1.2.840.113549.1.1.11",
    "sha384": "1.2.840.113549.1.1.12",
    "sha512": "1.2.840.113549.1.1.13",
}
ECDSA_WITH = {
    "sha1": "1.2.840.10045.4.1",
    "sha224": "1.2.840.10045.4.3.1",
    "sha256": "1.2.840.10045.4.3.2",
    "sha384": "1.2.840.10045.4.3.3",
    "sha512": "1.2.840.10045.4.3.4",
}
DATA, SIGNED_DATA = "1.2.840.113549.1.7.1", "1.2.840.113549.1.7.2"
CONTENT_TYPE, MESSAGE_DIGEST, SIGNING_TIME = "1.2.840.113549.1.9.3", "1.2.840.113549.1.9.4", "1.2.840.113549.1.9.5"


def revocation_list(
    issuer: Identity,
    *revoked: Identity,
    made: datetime = NOW - DAY,
    until: datetime = NOW + 7 * DAY,
    digest: hashes.HashAlgorithm | None = None,
    signed_by: Identity | None = None,
    reason: x509.ReasonFlags | None = x509.ReasonFlags.key_compromise,
    extension: tuple[x509.ExtensionType, bool] | None = None,
    entry_extension: x509.ExtensionType | None = None,
) -> x509.CertificateRevocationList:
    """A revocation list that names certificates as revoked an hour before it was made."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.certificate.subject).last_update(made).next_update(until)
    for one in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(one.certificate.serial_number).revocation_date(made - timedelta(hours=1))
        if entry_extension is not None:
            entry = entry.add_extension(entry_extension, critical=False)
        elif reason is not None:
            entry = entry.add_extension(x509.CRLReason(reason), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    if extension is not None:
        builder = builder.add_extension(extension[0], critical=extension[1])
    return builder.sign((signed_by or issuer).key, digest or hashes.SHA256())


@dataclass
class Grid:
    """A root, an authority below it, and Alice with an RSA and Erin with an EC certificate, valid from START to END."""

    root: Identity = field(default_factory=lambda: authority(name(*GRID, ("CN", "Grid Root")), key=rsa_key(), **VALID))
    middle: Identity = field(init=False)
    alice: Identity = field(init=False)
    erin: Identity = field(init=False)

    def __post_init__(self) -> None:
        self.middle = authority(name(*GRID, ("CN", "Grid Users")), self.root, key=rsa_key(), **VALID)
        self.alice = self.person("Alice", key=rsa_key())
        self.erin = self.person("Erin", key=ec_key(ec.SECP384R1()))

    def person(self, common_name: str, issuer: Identity | None = None, **how: Any) -> Identity:
        """Somebody with a certificate by the authority in the middle."""
        return issue(name(*GRID, ("O", "People"), ("CN", common_name)), issuer or self.middle, **{**VALID, **how})

    def lists(self, *revoked: Identity, **how: Any) -> tuple[x509.CertificateRevocationList, ...]:
        """Good revocation lists of both authorities, which name the certificates that each issued."""
        return tuple(
            revocation_list(by, *(one for one in revoked if one.certificate.issuer == by.certificate.subject), **how)
            for by in (self.root, self.middle)
        )

    def authorities(self, *lists: x509.CertificateRevocationList, crls: Crls = "ignored") -> Authorities:
        return Authorities((self.root.certificate, self.middle.certificate), lists, crls)

    def files(self, *revoked: Identity, **how: Any) -> dict[str, bytes]:
        """The CA folder as IGTF lays it out and fetch-crl keeps it."""
        files: dict[str, bytes] = {}
        for by, found in zip((self.root, self.middle), self.lists(*revoked, **how), strict=True):
            stem = f"{by.certificate.serial_number:08x}"[:8]
            files |= {
                f"{stem}.0": by.pem,
                f"{stem}.r0": found.public_bytes(Encoding.PEM),
                f"{stem}.info": b"alias = x\n",
                f"{stem}.signing_policy": b"x",
            }
        return files

    def read(self, *revoked: Identity, crls: Crls = "required", **how: Any) -> Authorities:
        return read_authorities(self.files(*revoked, **how), crls)


def held(identity: Identity, *, pinned: bool = False) -> X509Key:
    """The key as an endorser list names it."""
    names = (str(DistinguishedName.of(one)) for one in (identity.certificate.subject, identity.certificate.issuer))
    subject, issuer = names
    return X509Key(type="x509", subject=subject, issuer=issuer, certificate=digest_of(identity) if pinned else None)


def digest_of(identity: Identity) -> str:
    return hashlib.sha256(identity.certificate.public_bytes(Encoding.DER)).hexdigest()


@dataclass(frozen=True)
class X509Signer(Signer):
    """A certificate as a site holds it, and the way to sign with it; `id` is how statements name it."""

    identity: Identity | None = None

    @property
    def id(self) -> str:
        assert self.identity
        return f"x509:{digest_of(self.identity)}"


def x509_signer(identity: Identity, *, at: datetime = ISSUED, pinned: bool = False, **how: Any) -> X509Signer:
    """Signs tags in the form that they carry; `how` as for `detached`."""
    return X509Signer(held(identity, pinned=pinned), lambda data: armour("CMS", detached(identity, data, at=at, **how)), identity)


# CMS, part by part


def der(tag: int, *parts: bytes) -> bytes:
    value = b"".join(parts)
    size = len(value)
    if size < 128:
        return bytes([tag, size]) + value
    width = 1 if size < 256 else 2 if size < 65536 else 3
    return bytes([tag, 128 + width]) + size.to_bytes(width, "big") + value


def streamed(tag: int, *parts: bytes) -> bytes:
    """An element of indefinite length."""
    return bytes([tag, 0x80]) + b"".join(parts) + b"\0\0"


def oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    encoded = bytes([40 * first + second])
    for number in rest:
        digits = [number & 127]
        while number := number >> 7:
            digits.append(number & 127 | 128)
        encoded += bytes(reversed(digits))
    return der(6, encoded)


def attribute(kind: str, *values: bytes) -> bytes:
    return der(0x30, oid(kind), der(0x31, *values))


def utc_time(at: datetime) -> bytes:
    return der(0x17, at.strftime("%y%m%d%H%M%SZ").encode())


def attributes(content: bytes, digest: str = "sha512", at: datetime | None = ISSUED, *more: bytes) -> bytes:
    """Signed attributes as they are signed: a SET in DER."""
    found = [attribute(CONTENT_TYPE, oid(DATA)), attribute(MESSAGE_DIGEST, der(4, hashlib.new(digest, content).digest())), *more]
    found += [attribute(SIGNING_TIME, utc_time(at))] if at else []
    return der(0x31, *sorted(found))


def named(identity: Identity) -> bytes:
    """Issuer and number."""
    certificate = identity.certificate
    number = certificate.serial_number.to_bytes(certificate.serial_number.bit_length() // 8 + 1, "big")
    return der(0x30, certificate.issuer.public_bytes(), der(2, number))


def value(identity: Identity, signed: bytes, digest: str = "sha512", *, high: bool = False, pss: bool = False) -> bytes:
    """The signature value; of ECDSA's two the lower one, or the higher one."""
    key = identity.key
    if isinstance(key, rsa.RSAPrivateKey):
        pad = padding.PSS(padding.MGF1(HASHES[digest]), HASHES[digest].digest_size) if pss else padding.PKCS1v15()
        return key.sign(signed, pad, HASHES[digest])
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        made: bytes = key.sign(signed)
        return made
    r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(HASHES[digest])))
    order = key.curve.group_order
    return encode_dss_signature(r, max(s, order - s) if high else min(s, order - s))


def signer_info(
    identity: Identity,
    content: bytes,
    *,
    digest: str = "sha512",
    at: datetime | None = ISSUED,
    more: tuple[bytes, ...] = (),
    attrs: bytes | None = None,
    name: bytes | None = None,
    number: int = 1,
    algorithm: bytes | None = None,
    digest_algorithm: bytes | None = None,
    made: bytes | None = None,
    unsigned: bytes = b"",
    high: bool = False,
) -> bytes:
    """A SignerInfo in the form that tags carry; every part may be given another way."""
    attrs = attributes(content, digest, at, *more) if attrs is None else attrs
    elliptic = isinstance(identity.key, ec.EllipticCurvePrivateKey)
    return der(
        0x30,
        der(2, bytes([number])),
        named(identity) if name is None else name,
        digest_algorithm or der(0x30, oid(DIGESTS[digest])),
        b"\xa0" + attrs[1:] if attrs else b"",
        algorithm or der(0x30, oid(ECDSA_WITH[digest]) if elliptic else oid(RSA) + der(5)),
        der(4, value(identity, attrs or content, digest, high=high) if made is None else made),
        unsigned,
    )


def signed_data(
    infos: Iterable[bytes],
    certificates: Iterable[bytes],
    *,
    digest: str = "sha512",
    digests: bytes | None = None,
    content: bytes | None = None,
    lists: bytes = b"",
    tail: bytes = b"",
) -> bytes:
    """A ContentInfo with a SignedData in it."""
    held_certificates = b"".join(certificates)
    return der(
        0x30,
        oid(SIGNED_DATA),
        der(
            0xA0,
            der(
                0x30,
                der(2, b"\1"),
                der(0x31, der(0x30, oid(DIGESTS[digest]))) if digests is None else digests,
                der(0x30, oid(DATA)) if content is None else content,
                der(0xA0, held_certificates) if held_certificates else b"",
                lists,
                der(0x31, *infos),
                tail,
            ),
        ),
    )


def der_of(*identities: Identity) -> list[bytes]:
    return [one.certificate.public_bytes(Encoding.DER) for one in identities]


def detached(
    identity: Identity, content: bytes, *, others: tuple[Identity, ...] = (), digest: str = "sha512", lists: bytes = b"", **how: Any
) -> bytes:
    """A detached signature over `content` in the form that tags carry; `how` as for `signer_info`."""
    return signed_data([signer_info(identity, content, digest=digest, **how)], der_of(identity, *others), digest=digest, lists=lists)


def raw_signed(tbs: bytes, issuer: Identity, digest: str = "sha256") -> bytes:
    """A certificate or revocation list around its signed part, by an RSA key; with digests that the library refuses to sign with too."""
    return der(0x30, tbs, der(0x30, oid(RSA_WITH[digest]), der(5)), der(3, b"\0" + value(issuer, tbs, digest)))


def with_digest(identity: Identity, issuer: Identity, digest: str) -> Identity:
    """The same certificate, signed by an RSA key with another digest than SHA-256."""
    tbs = identity.certificate.tbs_certificate_bytes.replace(oid(RSA_WITH["sha256"]), oid(RSA_WITH[digest]))
    return Identity(x509.load_der_x509_certificate(raw_signed(tbs, issuer, digest)), identity.key)


# tools


def openssl(*words: str | Path, data: bytes = b"", check: bool = True) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["openssl", *map(str, words)], input=data, capture_output=True, check=check, timeout=60)


class GpgsmHome:
    """A gpgsm home of its own that knows people's keys and trusts some roots. `close` ends its agent and removes it."""

    def __init__(self, *roots: Identity) -> None:
        if shutil.which("gpgsm") is None:
            pytest.skip("gpgsm is missing: apt-get install gpgsm")
        self.path = short_folder()
        (self.path / "gpg-agent.conf").write_text("allow-loopback-pinentry\n")
        (self.path / "gpgsm.conf").write_text("disable-crl-checks\n")
        self.env = {**os.environ, "GNUPGHOME": str(self.path), "LC_ALL": "C.UTF-8"}
        trusted = (root.certificate.fingerprint(hashes.SHA1()).hex().upper() for root in roots)
        (self.path / "trustlist.txt").write_text("".join(f"{one} S relax\n" for one in trusted))
        for root in roots:
            self.run("--import", data=root.pem)

    def run(self, *words: str, data: bytes = b"", at: datetime = ISSUED, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        command = [*self.program(at), "--batch", *words]
        done = subprocess.run(command, input=data, capture_output=True, check=False, timeout=120, env=self.env)
        assert not check or done.returncode == 0, done.stderr.decode(errors="replace")
        return done

    def program(self, at: datetime) -> list[str]:
        return ["gpgsm", "--faked-system-time", f"{int(at.timestamp())}!"]

    def wrapper(self, at: datetime) -> Path:
        """A program that is gpgsm at a certain time."""
        file = self.path / f"gpgsm-{int(at.timestamp())}"
        file.write_text(f'#!/bin/sh\nGNUPGHOME={self.path} exec {" ".join(self.program(at))} "$@"\n')
        file.chmod(0o755)
        return file

    def add(self, *chain: Identity) -> str:
        """Import a person's RSA key with its certificates, the person's first; its fingerprint."""
        person, *others = chain
        encryption = (
            PrivateFormat.PKCS12.encryption_builder()
            .kdf_rounds(2000)
            .key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC)
            .hmac_hash(hashes.SHA1())
            .build(b"x")
        )
        packed = pkcs12.serialize_key_and_certificates(b"person", person.key, person.certificate, [one.certificate for one in others], encryption)
        file = self.path / "person.p12"
        file.write_bytes(packed)
        self.run("--pinentry-mode", "loopback", "--passphrase-fd", "0", "--import", str(file), data=b"x")
        self._without_passphrase(person)
        return person.certificate.fingerprint(hashes.SHA1()).hex().upper()

    def _without_passphrase(self, person: Identity) -> None:
        """Rewrites the agent's key file as an unprotected one (GnuPG, agent/keyformat.txt), so that nothing asks."""
        numbers = person.key.private_numbers()
        public = numbers.public_numbers

        def item(label: str, number: int) -> bytes:
            raw = number.to_bytes(number.bit_length() // 8 + 1, "big")
            return b"(%d:%b%d:%b)" % (len(label), label.encode(), len(raw), raw)

        p, q = sorted((numbers.p, numbers.q))
        parts = [item("n", public.n), item("e", public.e), item("d", numbers.d), item("p", p), item("q", q), item("u", pow(p, -1, q))]
        keys = sorted((self.path / "private-keys-v1.d").iterdir(), key=lambda file: file.stat().st_mtime_ns)
        keys[-1].write_bytes(b"(11:private-key(3:rsa" + b"".join(parts) + b"))")

    def close(self) -> None:
        subprocess.run(["gpgconf", "--homedir", str(self.path), "--kill", "all"], check=False, timeout=60)
        shutil.rmtree(self.path, ignore_errors=True)
