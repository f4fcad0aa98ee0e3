"""Signed image lists: who signed, how, in which packaging, in which order of versions, and what the list must say."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import ExtendedKeyUsageOID

from conformance.trust.case import Case
from support.certificates import CA_NAME, DAY, NOW, ORG, PUBLISHER, Identity, authority, ca_folder, ec_key, issue, name, rsa_key

AT = "2026-11-20T12:00:00Z"
DN = "/DC=org/DC=example/O=Images/CN=Image Publisher"
CA = "/DC=org/DC=example/CN=Test Authority"
WEAK = "/DC=org/DC=example/CN=Weak Authority"
MIDDLE = "/DC=org/DC=example/CN=Middle Authority"
WEB = "/C=US/O=Public Web Trust/CN=Web Root"
UUID = "76fdee70-8119-4d33-aaaa-3c57e1c60df1"
FIXTURES = Path(__file__).parents[2] / "fixtures" / "cloudkeeper"
Json = dict[str, Any]
_MANY = 3000


# -- people


@cache
def root() -> Identity:
    return authority(key=rsa_key())


@cache
def publisher() -> Identity:
    return issue(PUBLISHER, root(), key=rsa_key())


@cache
def identity(kind: str) -> Identity:
    """Signers with one fault each, or sound ones of another kind."""
    made: dict[str, Callable[[], Identity]] = {
        "p256": lambda: issue(PUBLISHER, root(), key=ec_key()),
        "p384": lambda: issue(PUBLISHER, root(), key=ec_key(ec.SECP384R1())),
        "host": lambda: issue(PUBLISHER, root(), usage=(ExtendedKeyUsageOID.SERVER_AUTH,)),
        "rsa-1024": lambda: issue(PUBLISHER, root(), key=rsa_key(1024)),
        "p224": lambda: issue(PUBLISHER, root(), key=ec_key(ec.SECP224R1())),
        "somebody else": lambda: issue(name(*ORG, ("O", "Images"), ("CN", "Somebody Else")), root()),
        "slash in O": lambda: issue(name(*ORG, ("O", "Images/CN=Image Publisher")), root()),
        "CN first": lambda: issue(name(("CN", "Image Publisher"), ("O", "Images"), ("DC", "example"), ("DC", "org")), root()),
        "one part less": lambda: issue(name(("DC", "org"), ("O", "Images"), ("CN", "Image Publisher")), root()),
        "self-signed": lambda: issue(PUBLISHER),
        "other root": lambda: authority(key=ec_key()),
        "by other root": lambda: issue(PUBLISHER, identity("other root")),
        "web root": lambda: authority(name(("C", "US"), ("O", "Public Web Trust"), ("CN", "Web Root"))),
        "by web root": lambda: issue(PUBLISHER, identity("web root"), usage=(ExtendedKeyUsageOID.SERVER_AUTH,)),
        "expired": lambda: issue(PUBLISHER, root(), end=NOW - DAY),
        "not yet": lambda: issue(PUBLISHER, root(), start=NOW + DAY),
        "by a leaf": lambda: issue(PUBLISHER, issue(CA_NAME, root())),
        "middle": lambda: authority(name(*ORG, ("CN", "Middle Authority")), root()),
        "by middle": lambda: issue(PUBLISHER, identity("middle")),
        "weak root": lambda: authority(name(*ORG, ("CN", "Weak Authority")), key=rsa_key(1024)),
        "by weak root": lambda: issue(PUBLISHER, identity("weak root")),
    }
    return made[kind]()


# -- lists


def document(**changes: Any) -> Json:
    """A list's body; a change is a key with a value, or with None for a key that is not there."""
    body: Json = {
        "dc:date:created": "2026-11-20T11:00:00Z",
        "dc:date:expires": "2026-12-18T11:00:00Z",
        "dc:identifier": UUID,
        "dc:description": "Images for science.",
        "dc:title": "Science",
        "dc:source": "example.org",
        "ad:vo": "science.example.org",
        "hv:version": "20261120110000",
        "hv:uri": "https://images.example.org/science/imagelist.signed",
        "hv:endorser": {"hv:x509": {"hv:dn": DN, "hv:ca": CA, "hv:email": "images@example.org", "dc:creator": "Image Publisher"}},
        "hv:images": [{"hv:image": image()}],
    }
    return {key: value for key, value in {**body, **changes}.items() if value is not None}


def image(**changes: Any) -> Json:
    fields: Json = {
        "dc:identifier": "11111111-2222-4333-8444-555555555555",
        "dc:title": "Debian 12",
        "dc:description": "A base image.",
        "dc:date:expires": "2027-02-28T12:00:00Z",
        "hv:uri": "https://images.example.org/debian-12.qcow2",
        "hv:version": "2026.11.20",
        "hv:format": "QCOW2",
        "hv:hypervisor": "KVM",
        "hv:size": 450887680,
        "sl:checksum:sha512": "ab" * 64,
        "sl:arch": "x86_64",
        "sl:os": "Linux",
        "sl:osname": "Debian",
        "sl:osversion": "12",
        "sl:comments": "",
        "ad:group": "General group",
        "ad:mpuri": "https://images.example.org/science/debian-12/",
        "ad:user:fullname": "Image Publisher",
        "ad:user:guid": "9d9dd6cf-b61a-4aaa-b1df-b5731adf717c",
        "ad:user:uri": "https://images.example.org/",
    }
    return {key: value for key, value in {**fields, **changes}.items() if value is not None}


def text(body: Json | None = None) -> str:
    return json.dumps({"hv:imagelist": body or document()}, indent=2) + "\n"


def signed(content: str | None = None, who: Identity | None = None, *more: Identity, chain: tuple[Identity, ...] = (), digest: Any = None) -> bytes:
    """The packaging that every reader takes."""
    builder = pkcs7.PKCS7SignatureBuilder().set_data((content or text()).encode("utf-8", "surrogatepass"))
    for one in (who or publisher(), *more):
        builder = builder.add_signer(one.certificate, one.key, digest or hashes.SHA256())
    for one in chain:
        builder = builder.add_certificate(one.certificate)
    return builder.sign(serialization.Encoding.SMIME, [pkcs7.PKCS7Options.DetachedSignature])


def openssl(folder: Path, *options: str, content: str | None = None, who: Identity | None = None) -> bytes:
    """What `openssl cms -sign` makes with these options."""
    certificate, key = (who or publisher()).write(folder / "signer", "signer")
    (folder / "content").write_text(content or text())
    command = ["openssl", "cms", "-sign", "-in", folder / "content", "-signer", certificate, "-inkey", key, *options]
    return subprocess.run([str(word) for word in command], check=True, capture_output=True).stdout


# -- commands


def arguments(
    folder: Path, message: bytes, *more: str, dn: str = DN, ca: str = CA, at: str = AT, known: tuple[str, ...] = (), file: str = "list.signed"
) -> list[str]:
    """Writes the list and the folder of authorities, and gives the command's words. known: identities instead of the root."""
    (folder / file).write_bytes(message)
    ca_folder(folder / "ca", *(root() if one == "root" else identity(one) for one in known or ("root",)))
    return ["verify", "list", file, "--ca-dir", "ca", "--endorser-dn", dn, "--endorser-ca", ca, "--at", at, *more]


def of(make: Callable[[], bytes], *more: str, **how: Any) -> Callable[[Path], list[str]]:
    return lambda folder: arguments(folder, make(), *more, **how)


def by_openssl(*options: str, **how: Any) -> Callable[[Path], list[str]]:
    return lambda folder: arguments(folder, openssl(folder, *options, **how))


def changed(change: Callable[[bytes], bytes]) -> Callable[[Path], list[str]]:
    return of(lambda: change(signed()))


def saying(**changes: Any) -> Callable[[Path], list[str]]:
    return of(lambda: signed(text(document(**changes))))


def holding(**changes: Any) -> Callable[[Path], list[str]]:
    return of(lambda: signed(text(document(**{"hv:images": [{"hv:image": image(**changes)}]}))))


def written(old: str, new: str) -> Callable[[Path], list[str]]:
    """The list's text with something replaced, then signed."""

    def make() -> bytes:
        assert old in text()
        return signed(text().replace(old, new, 1))

    return of(make)


def remembered(*bodies: Json) -> Callable[[Path], list[list[str]]]:
    """Lists that a memory sees first."""

    def before(folder: Path) -> list[list[str]]:
        named = enumerate(bodies)
        return [arguments(folder, signed(text(body)), "--memory", "memory.json", file=f"before{number}.signed") for number, body in named]

    return before


def with_memory(data: bytes) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        (folder / "memory.json").write_bytes(data)
        return later()(folder)

    return make


def without_authorities(folder: Path) -> list[str]:
    words = arguments(folder, signed())
    (folder / "ca" / "00000000.0").unlink()
    return words


def later(*more: str, at: str = AT, **changes: Any) -> Callable[[Path], list[str]]:
    return of(lambda: signed(text(document(**changes))), "--memory", "memory.json", *more, at=at)


# -- revocation lists


def crl(
    who: Identity | None = None,
    *,
    key: Any = None,
    made: timedelta = -DAY,
    until: timedelta = DAY,
    revoked: tuple[Identity, ...] = (),
    digest: Any = None,
) -> bytes:
    by = who or root()
    builder = x509.CertificateRevocationListBuilder().issuer_name(by.certificate.subject).last_update(NOW + made).next_update(NOW + until)
    for one in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(one.certificate.serial_number).revocation_date(NOW - DAY).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(key or by.key, digest or hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def with_crls(mode: str, *files: Callable[[], bytes], at: str = AT) -> Callable[[Path], list[str]]:
    def make(folder: Path) -> list[str]:
        words = arguments(folder, signed(), "--crls", mode, at=at)
        for number, data in enumerate(files):
            (folder / "ca" / f"00000000.r{number}").write_bytes(data())
        return words

    return make


# -- changes of the packaging


def between(message: bytes, mark: bytes, extra: bytes) -> bytes:
    at = message.index(mark)
    return message[:at] + extra + message[at:]


def boundary(message: bytes) -> bytes:
    found = re.search(rb'boundary="([^"]+)"', message)
    assert found is not None
    return b"--" + found[1]


def preamble(message: bytes) -> bytes:
    return between(message, b"\n" + boundary(message), b"\n{}\n")


def three_parts(message: bytes) -> bytes:
    mark = boundary(message)
    end = message.rindex(mark + b"--")
    return message[:end] + mark + b"\nContent-Type: text/plain\n\nmore\n" + message[end:]


def content_twice(message: bytes) -> bytes:
    mark = boundary(message)
    first = message.index(mark)
    return message[:first] + mark + b"\n{}\n" + message[first:]


def headers_in_content(message: bytes) -> bytes:
    return re.sub(re.escape(boundary(message)) + rb"\r?\n", lambda match: match[0] + b"Content-Type: text/plain\n\n", message, count=1)


def altered(message: bytes) -> bytes:
    return message.replace(b"A base image.", b"A bad! image.")


def fixture(stem: str) -> Callable[[Path], list[str]]:
    dn = "/C=AU/ST=Some-State/O=Internet Widgits Pty Ltd"

    def make(folder: Path) -> list[str]:
        message = (FIXTURES / "lists" / f"{stem}.signed").read_bytes()
        words = arguments(folder, message, dn=dn, ca=dn)
        (folder / "ca" / "9da13359.0").write_bytes((FIXTURES / "ca" / "9da13359.0").read_bytes())
        return words

    return make


def minimal() -> Json:
    """What a list at least says."""
    kept = ("dc:identifier", "hv:uri", "hv:version", "hv:size", "sl:checksum:sha512")
    return document(**{"ad:vo": None, "hv:images": [{"hv:image": {key: value for key, value in image().items() if key in kept}}]})


_OLDER = {"hv:version": "20261119110000"}
_NEWER = {"hv:version": "20261121110000"}

CASES = [
    # digests and keys
    Case("sha256", "R11", "accept", of(signed)),
    Case("sha384", "R11", "accept", of(lambda: signed(digest=hashes.SHA384()))),
    Case("sha512", "R11", "accept", of(lambda: signed(digest=hashes.SHA512()))),
    Case("ecdsa-p256", "R11", "accept", of(lambda: signed(who=identity("p256")))),
    Case("ecdsa-p384", "R11", "accept", of(lambda: signed(who=identity("p384"), digest=hashes.SHA384()))),
    Case("sha1", "R11", "refuse", by_openssl("-md", "sha1")),
    Case("md5", "R11", "refuse", by_openssl("-md", "md5")),
    Case("sha224", "R11", "refuse", by_openssl("-md", "sha224")),
    Case("rsa-1024", "R11", "refuse", of(lambda: signed(who=identity("rsa-1024")))),
    Case("ecdsa-p224", "R11", "refuse", of(lambda: signed(who=identity("p224")))),
    Case("authority-of-rsa-1024", "R11", "refuse", of(lambda: signed(who=identity("by weak root")), ca=WEAK, known=("weak root",))),
    Case("sha1-where-allowed", "R11", "accept", lambda folder: [*by_openssl("-md", "sha1")(folder), "--allow-sha1"]),
    Case("md5-where-sha1-is-allowed", "R11", "refuse", lambda folder: [*by_openssl("-md", "md5")(folder), "--allow-sha1"]),
    # time
    Case("in-its-time", "R13", "accept", of(signed, at="2026-12-18T10:59:59Z")),
    Case("at-the-moment-of-expiry", "R13", "refuse", of(signed, at="2026-12-18T11:00:00Z")),
    Case("list-that-has-expired", "R13", "refuse", saying(**{"dc:date:created": "2025-01-01T00:00:00Z", "dc:date:expires": "2026-11-20T11:59:59Z"})),
    Case("made-in-the-future", "R13", "refuse", saying(**{"dc:date:created": "2026-11-21T00:00:00Z"})),
    Case("clock-a-little-behind", "R13", "accept", saying(**{"dc:date:created": "2026-11-20T12:04:00Z"})),
    Case(
        "clock-went-back",
        "R13",
        "refuse",
        later(at="2026-11-19T12:00:00Z", **{"dc:date:created": "2026-11-01T00:00:00Z"}),
        remembered(document(**_OLDER)),
    ),
    # whose list, and its versions
    Case("one-line-name", "R15", "accept", of(signed)),
    Case("rfc-4514-name", "R15", "accept", of(signed, dn="CN=Image Publisher,O=Images,DC=example,DC=org", ca="CN=Test Authority,DC=example,DC=org")),
    Case("name-as-openssl-prints-it", "R15", "accept", of(signed, dn="DC = org, DC = example, O = Images, CN = Image Publisher")),
    Case("the-pinned-list", "R15", "accept", of(signed, "--uuid", UUID)),
    Case("upper-case-uuid", "R15", "accept", of(signed, "--uuid", UUID.upper())),
    Case("newer-version", "R15", "accept", later(**_NEWER), remembered(document())),
    Case("same-version-same-bytes", "R15", "accept", later(), remembered(document())),
    Case("numbers-not-letters", "R15", "accept", later(**{"hv:version": "1.10"}), remembered(document(**{"hv:version": "1.9"}))),
    Case("another-signer-of-the-same-authority", "R15", "refuse", of(lambda: signed(who=identity("somebody else")))),
    Case("a-slash-inside-a-part", "R15", "refuse", of(lambda: signed(who=identity("slash in O")))),
    Case("parts-in-another-order", "R15", "refuse", of(lambda: signed(who=identity("CN first")))),
    Case("a-part-less", "R15", "refuse", of(lambda: signed(who=identity("one part less")))),
    Case("one-line-name-reversed", "R15", "refuse", of(signed, dn="/CN=Image Publisher/O=Images/DC=example/DC=org")),
    Case("another-authority", "R15", "refuse", of(signed, ca="/DC=org/DC=example/CN=Another Authority")),
    Case("another-list", "R15", "refuse", of(signed, "--uuid", "76fdee70-8119-4d33-aaaa-3c57e1c60df2")),
    Case("older-version", "R15", "refuse", later(**_OLDER), remembered(document())),
    Case("older-after-two", "R15", "refuse", later(), remembered(document(**_OLDER), document(**_NEWER))),
    Case("same-version-other-content", "R15", "refuse", later(**{"dc:title": "Other"}), remembered(document())),
    Case(
        "same-version-written-otherwise", "R15", "refuse", later(**{"hv:version": "2026-11-20"}), remembered(document(**{"hv:version": "2026.11.20"}))
    ),
    Case("fewer-digits", "R15", "refuse", later(**{"hv:version": "1.9"}), remembered(document(**{"hv:version": "1.10"}))),
    # steps of versions
    Case("a-time-stamp", "R16", "accept", saying(**{"hv:version": "20261120115959"})),
    Case("2^63-1", "R16", "refuse", saying(**{"hv:version": "9223372036854775807"})),
    Case("thirty-digits", "R16", "refuse", saying(**{"hv:version": "1" + "0" * 30})),
    Case(
        "far-in-its-last-part", "R16", "refuse", later(**{"hv:version": "2026.99999999999999999"}), remembered(document(**{"hv:version": "2026.1"}))
    ),
    # a damaged memory
    Case("begun", "R30", "accept", later()),
    *(
        Case(
            f"memory-that-is-{what}",
            "R30",
            "refuse",
            with_memory(data),
        )
        for what, data in {
            "empty": b"",
            "cut": b'{"format": 1, "lists": {',
            "null": b"null",
            "of-another-form": b'{"format": 2}',
            "a-list": b"[]",
        }.items()
    ),
    # the packaging
    Case("detached", "R17", "accept", of(signed)),
    Case("as-openssl-makes-it", "R17", "accept", by_openssl()),
    Case("streamed", "R17", "accept", by_openssl("-stream")),
    Case("without-capabilities", "R17", "accept", by_openssl("-nosmimecap")),
    Case("line-ends-of-mail", "R17", "accept", changed(lambda message: message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))),
    Case("with-a-chain", "R17", "accept", of(lambda: signed(who=identity("by middle"), chain=(identity("middle"),)), ca=MIDDLE)),
    Case("preamble", "R17", "refuse", changed(preamble)),
    Case("epilogue", "R17", "refuse", changed(lambda message: message + b"{}\n")),
    Case("opaque", "R17", "refuse", by_openssl("-nodetach")),
    Case("der", "R17", "refuse", by_openssl("-outform", "DER")),
    Case("pem", "R17", "refuse", by_openssl("-outform", "PEM")),
    Case("no-attributes", "R17", "refuse", by_openssl("-noattr")),
    Case("no-certificates", "R17", "refuse", by_openssl("-nocerts")),
    Case("two-signers", "R17", "refuse", of(lambda: signed(None, publisher(), identity("p256")))),
    Case("text-headers", "R17", "refuse", by_openssl("-text")),
    Case("binary", "R17", "refuse", by_openssl("-binary")),
    Case("three-parts", "R17", "refuse", changed(three_parts)),
    Case("content-twice", "R17", "refuse", changed(content_twice)),
    Case("headers-in-the-content", "R17", "refuse", changed(headers_in_content)),
    Case("altered-content", "R17", "refuse", changed(altered)),
    Case("not-signed", "R17", "refuse", of(lambda: text().encode())),
    Case("empty", "R17", "refuse", of(lambda: b"")),
    Case("only-headers", "R17", "refuse", changed(lambda message: message[:300])),
    Case("binary-rubbish", "R17", "refuse", of(lambda: bytes(range(256)) * 40)),
    Case("signature-cut", "R17", "refuse", changed(lambda message: re.sub(rb"(?s)(base64.{300}).*?(\n\n?--)", rb"\1\2", message))),
    Case("two-content-types", "R17", "refuse", changed(lambda message: b"Content-Type: text/plain\n" + message)),
    # revocation lists
    Case("fresh-and-required", "R18", "accept", with_crls("required", crl)),
    Case("absent-and-not-required", "R18", "accept", with_crls("when-there")),
    Case("stale-and-ignored", "R18", "accept", with_crls("ignored", lambda: crl(until=-DAY / 2))),
    Case("absent-and-required", "R18", "refuse", with_crls("required")),
    Case("stale-and-required", "R18", "refuse", with_crls("required", lambda: crl(until=-DAY / 2))),
    Case("stale-and-there", "R18", "refuse", with_crls("when-there", lambda: crl(until=-DAY / 2))),
    Case("of-another-authority", "R18", "refuse", with_crls("required", lambda: crl(identity("middle")))),
    Case("signed-by-somebody-else", "R18", "refuse", with_crls("required", lambda: crl(key=rsa_key()))),
    Case("signed-by-its-subject", "R18", "refuse", with_crls("required", lambda: crl(key=publisher().key))),
    Case("from-the-future", "R18", "refuse", with_crls("required", lambda: crl(made=DAY, until=2 * DAY))),
    Case("rubbish", "R18", "refuse", with_crls("required", lambda: b"rubbish")),
    Case("revoked", "R12", "refuse", with_crls("when-there", lambda: crl(revoked=(publisher(),)))),
    Case("revoked-and-required", "R12", "refuse", with_crls("required", lambda: crl(revoked=(publisher(), identity("p256"))))),
    Case("another-one-revoked", "R12", "accept", with_crls("required", lambda: crl(revoked=(identity("p256"),)))),
    # whose authorities
    Case("by-the-sites-authority", "R19", "accept", of(signed)),
    Case("through-an-authority-between", "R19", "accept", of(lambda: signed(who=identity("by middle"), chain=(identity("middle"),)), ca=MIDDLE)),
    Case("authority-between-in-the-folder", "R19", "accept", of(lambda: signed(who=identity("by middle")), ca=MIDDLE, known=("root", "middle"))),
    Case("certificate-of-a-host", "R19", "accept", of(lambda: signed(who=identity("host")))),
    Case("publicly-rooted", "R19", "refuse", of(lambda: signed(who=identity("by web root"), chain=(identity("web root"),)), ca=WEB)),
    Case("another-root-of-the-same-name", "R19", "refuse", of(lambda: signed(who=identity("by other root"), chain=(identity("other root"),)))),
    Case("self-signed", "R19", "refuse", of(lambda: signed(who=identity("self-signed")), ca=DN)),
    Case("expired-certificate", "R19", "refuse", of(lambda: signed(who=identity("expired")))),
    Case("certificate-not-valid-yet", "R19", "refuse", of(lambda: signed(who=identity("not yet")))),
    Case("issued-by-a-leaf", "R19", "refuse", of(lambda: signed(who=identity("by a leaf")))),
    Case("authority-between-is-missing", "R19", "refuse", of(lambda: signed(who=identity("by middle")), ca=MIDDLE)),
    Case("empty-folder", "R19", "refuse", without_authorities),
    # one reading
    Case("escapes", "R22", "accept", saying(**{"dc:title": "Sci\u00e9nce \u65e5\u672c"})),
    Case("utf-8", "R22", "accept", written("Images for science.", "Im\u00e1genes")),
    Case("list-with-a-key-twice", "R22", "refuse", written('"dc:title": "Science",', '"dc:title": "Science", "dc:title": "Other",')),
    Case("a-key-twice-escaped", "R22", "refuse", written('"dc:title": "Science",', '"dc:title": "Science", "dc:\\u0074itle": "Other",')),
    Case("list-with-nan", "R22", "refuse", written('"dc:title": "Science",', '"dc:title": "Science", "x": NaN,')),
    Case("list-with-infinity", "R22", "refuse", written("450887680", "Infinity")),
    Case("list-with-half-a-character", "R22", "refuse", written('"Science"', '"\\ud800"')),
    Case("too-deep", "R22", "refuse", written('"dc:title": "Science",', f'"dc:title": "Science", "x": {"[" * _MANY}{"]" * _MANY},')),
    Case("not-json", "R22", "refuse", written('"dc:title": "Science",', '"dc:title": "Science";')),
    # size
    Case("a-very-long-list", "R25", "refuse", of(lambda: signed() + b"\n" * (25 << 20))),
    # what readers of lists need
    Case("minimal", "form", "accept", of(lambda: signed(text(minimal())))),
    Case("cloudkeepers-first", "form", "accept", fixture("imagelist01")),
    Case("cloudkeepers-second", "form", "accept", fixture("imagelist02")),
    Case("cloudkeepers-invalid", "R19", "refuse", fixture("imagelist_invalid")),
    Case("withdraws-everything", "form", "accept", saying(**{"hv:images": []})),
    Case("size-as-text", "form", "accept", holding(**{"hv:size": "450887680"})),
    Case("memory-in-mib", "form", "accept", holding(**{"hv:ram_minimum": "512", "hv:core_minimum": "1"})),
    Case("memory-in-bytes", "form", "accept", holding(**{"hv:ram_minimum": 536870912})),
    Case("unknown-keys", "form", "accept", saying(**{"x:new": {"a": [1, None]}, "hv:images": [{"hv:image": image(**{"x:y": "z"}), "x:beside": 1}]})),
    Case("keys-in-another-order", "form", "accept", of(lambda: signed(text(dict(reversed(document().items())))))),
    Case("compact", "form", "accept", of(lambda: signed(json.dumps({"hv:imagelist": document()})))),
    Case("no-image-expiry", "form", "accept", holding(**{"dc:date:expires": None})),
    Case("no-format", "form", "accept", holding(**{"hv:format": None})),
    Case("endorsers-as-array", "form", "refuse", saying(**{"hv:endorser": [document()["hv:endorser"]]})),
    Case("no-endorser", "form", "refuse", saying(**{"hv:endorser": None})),
    Case("milliseconds", "form", "refuse", saying(**{"dc:date:created": "2026-11-20T11:00:00.000Z"})),
    Case("an-offset", "form", "refuse", saying(**{"dc:date:expires": "2026-12-18T11:00:00+00:00"})),
    Case("image-expiry-with-offset", "form", "refuse", holding(**{"dc:date:expires": "2027-02-28T12:00:00+01:00"})),
    Case("no-images-key", "form", "refuse", saying(**{"hv:images": None})),
    Case("no-version", "form", "refuse", saying(**{"hv:version": None})),
    Case("no-digest", "form", "refuse", holding(**{"sl:checksum:sha512": None})),
    Case("short-digest", "form", "refuse", holding(**{"sl:checksum:sha512": "ab" * 32})),
    Case("negative-size", "form", "refuse", holding(**{"hv:size": -1})),
    Case("size-of-true", "form", "refuse", holding(**{"hv:size": True})),
    Case("size-of-zero", "form", "refuse", holding(**{"hv:size": 0})),
    Case("image-twice", "form", "refuse", saying(**{"hv:images": [{"hv:image": image()}, {"hv:image": image()}]})),
    Case("not-a-list", "form", "refuse", of(lambda: signed("{}"))),
    # what a list says is shown without harm
    Case("terminal-escapes-in-a-title", "R29", "accept", holding(**{"dc:title": "\x1b[31mred\x07\u202e"})),
    Case("bidirectional-text-in-a-version", "form", "refuse", holding(**{"hv:version": "1\u202e2"})),
    Case("terminal-escapes-in-a-digest", "form", "refuse", holding(**{"sl:checksum:sha512": "\x1b]0;x\x07"})),
]
