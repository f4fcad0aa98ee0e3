"""Signed lists in many packagings and with many fields: what `vmkeeper verify list` says of each, beside what openssl says.

Where the two disagree, the variant names why. What `openssl smime` and `openssl cms` both refuse, we refuse.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from support.certificates import CA_NAME, DAY, PUBLISHER, Identity, authority, ca_folder, ec_key, issue, name, rsa_key
from support.lists import image, image_list
from vmkeeper.errors import VmkeeperError
from vmkeeper.execute.single import refusals_of
from vmkeeper.execute.single_list import ListTerms, list_report, single_list
from vmkeeper.lists.hepix import publish_text

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
TEXT = publish_text(image_list())
DN, CA = "/DC=org/DC=example/O=Images/CN=Image Publisher", "/DC=org/DC=example/CN=Test Authority"
STRICT = "openssl takes it, and other readers read something else than what was signed, or nothing"


@dataclass(frozen=True)
class Workshop:
    """A folder with the authority's and the publisher's files."""

    folder: Path
    root: Identity
    publisher: Identity

    def smime(self, content: str = TEXT, digest: Any = None, who: Identity | None = None, *more: Identity, **how: Any) -> bytes:
        """As we write lists, or with another signer, digest, or certificates."""
        builder = pkcs7.PKCS7SignatureBuilder().set_data(content.encode())
        for one in (who or self.publisher, *more):
            builder = builder.add_signer(one.certificate, one.key, digest or hashes.SHA256(), **how)
        return builder.sign(Encoding.SMIME, [pkcs7.PKCS7Options.DetachedSignature])

    def openssl(self, *options: str, content: str = TEXT, program: str = "cms") -> bytes:
        """As `openssl cms -sign` writes them."""
        (self.folder / "content").write_bytes(content.encode())
        words = ["-signer", "publisher.pem", "-inkey", "publisher.key", "-in", "content", *options]
        return subprocess.run(["openssl", program, "-sign", *words], cwd=self.folder, capture_output=True, check=True, timeout=60).stdout

    def parts(self) -> tuple[str, str, str, str]:
        """Of what we write: header, boundary, content, signature in base64 without line breaks."""
        message = self.smime().replace(b"\r\n", b"\n").decode()
        header, _, body = message.partition("\n\n")
        mark = re.search(r'boundary="([^"]+)"', header)
        assert mark
        _, content, signature, _ = body.split(f"--{mark[1]}")
        return header, mark[1], content[1:-1], "".join(signature.partition("\n\n")[2].split())

    def message(
        self,
        *,
        header: str = 'MIME-Version: 1.0\nContent-Type: multipart/signed; protocol="application/x-pkcs7-signature"; micalg="sha-256"; boundary="{mark}"',
        preamble: str = "This is an S/MIME signed message\n\n",
        part: str = 'Content-Type: application/x-pkcs7-signature; name="smime.p7s"\nContent-Transfer-Encoding: base64',
        mark: str = "----9CFB0E",
        quoted: str | None = None,
        content: str = "{content}",
        encoded: Callable[[str], str] = lambda text: "\n".join(text[at : at + 64] for at in range(0, len(text), 64)),
        epilogue: str = "\n",
        between: str = "\n",
        blank: str = "\n\n",
    ) -> bytes:
        """The same signature in another message."""
        _, _, signed, signature = self.parts()
        head = header.replace("{mark}", mark if quoted is None else quoted)
        body = content.replace("{content}", signed)
        text = f"{head}{blank}{preamble}--{mark}\n{body}\n--{mark}{between}{part}\n\n{encoded(signature)}\n\n--{mark}--\n{epilogue}"
        return text.encode()


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    folder = tmp_path_factory.mktemp("workshop")
    root = authority(CA_NAME, key=rsa_key())
    publisher = issue(PUBLISHER, root, key=rsa_key())
    publisher.write(folder, "publisher")
    ca_folder(folder / "ca", root)
    (folder / "ca.pem").write_bytes(root.pem)
    return Workshop(folder, root, publisher)


@dataclass(frozen=True)
class Variant:
    """rule: "" where the list is accepted, `form` where a field is not as its readers need it. openssl: its verdict on the signature."""

    name: str
    make: Callable[[Workshop], bytes]
    rule: str = ""
    openssl: bool = True
    why: str = ""
    """Why we do not judge as openssl does."""


def packed(**how: Any) -> Callable[[Workshop], bytes]:
    return lambda shop: shop.message(**how)


def typed(words: str) -> Callable[[Workshop], bytes]:
    """With another Content-Type line."""
    return packed(header=f"MIME-Version: 1.0\nContent-Type: {words}")


def by_openssl(*options: str, **how: Any) -> Callable[[Workshop], bytes]:
    return lambda shop: shop.openssl(*options, **how)


def written(change: Callable[[bytes], bytes]) -> Callable[[Workshop], bytes]:
    return lambda shop: change(shop.message())


def by(make: Callable[[Workshop], Identity], digest: Any = None) -> Callable[[Workshop], bytes]:
    return lambda shop: shop.smime(TEXT, digest, make(shop))


def says(change: Callable[[dict[str, Any]], Any]) -> Callable[[Workshop], bytes]:
    """A list whose body is changed, then signed."""

    def make(shop: Workshop) -> bytes:
        document = json.loads(TEXT)
        change(document["hv:imagelist"])
        return shop.smime(json.dumps(document))

    return make


def raw(change: Callable[[str], str]) -> Callable[[Workshop], bytes]:
    """A list whose text is changed, then signed."""
    return lambda shop: shop.smime(change(TEXT))


def first(body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = body["hv:images"][0]["hv:image"]
    return found


def image_says(**changes: Any) -> Callable[[Workshop], bytes]:
    """An image with other fields; None takes one away."""

    def change(body: dict[str, Any]) -> None:
        for key, value in changes.items():
            first(body).pop(key, None) if value is None else first(body).update({key: value})

    return says(change)


def lines(width: int) -> Callable[[str], str]:
    return lambda text: "\n".join(text[at : at + width] for at in range(0, len(text), width))


BOTH = 'multipart/signed; protocol="application/{}pkcs7-signature"; micalg={}; boundary="{{mark}}"'
PART = "Content-Type: application/{}pkcs7-signature{}\nContent-Transfer-Encoding: {}"

HEADERS = [
    Variant("as we write it", lambda shop: shop.smime()),
    Variant("taken apart and put together", packed()),
    Variant("x-pkcs7 and sha-256", typed(BOTH.format("x-", '"sha-256"'))),
    Variant("pkcs7 without x-", packed(header="MIME-Version: 1.0\nContent-Type: " + BOTH.format("", "sha256"), part=PART.format("", "", "base64"))),
    Variant("x-pkcs7 around pkcs7", packed(part=PART.format("", "", "base64"))),
    Variant("micalg sha256", typed(BOTH.format("x-", "sha256"))),
    Variant("micalg SHA-256", typed(BOTH.format("x-", '"SHA-256"'))),
    Variant("micalg wrong: it is not what is verified", typed(BOTH.format("x-", '"sha1"'))),
    Variant("no micalg", typed('multipart/signed; protocol="application/x-pkcs7-signature"; boundary="{mark}"')),
    Variant("boundary before protocol", typed('multipart/signed; boundary="{mark}"; micalg="sha-256"; protocol="application/x-pkcs7-signature"')),
    Variant("protocol not quoted", typed('multipart/signed; protocol=application/x-pkcs7-signature; boundary="{mark}"')),
    Variant("type in capitals", typed('MULTIPART/SIGNED; PROTOCOL="application/x-pkcs7-signature"; BOUNDARY="{mark}"')),
    Variant("protocol in capitals", typed('multipart/signed; protocol="APPLICATION/X-PKCS7-SIGNATURE"; boundary="{mark}"')),
    Variant(
        "folded at each parameter", typed('multipart/signed;\n protocol="application/x-pkcs7-signature";\n\tmicalg="sha-256";\n boundary="{mark}"')
    ),
    Variant("folded before the type", typed('\n multipart/signed; protocol="application/x-pkcs7-signature"; boundary="{mark}"'), "R17", False),
    Variant("no space after the colon", lambda shop: shop.message().replace(b"Content-Type: multi", b"Content-Type:multi")),
    Variant("header names in small letters", written(lambda data: data.replace(b"Content-Type: multi", b"content-type: multi", 1))),
    Variant("type before MIME-Version", packed(header="Content-Type: " + BOTH.format("x-", "sha256") + "\nMIME-Version: 1.0")),
    Variant("no MIME-Version", packed(header="Content-Type: " + BOTH.format("x-", "sha256"))),
    Variant("headers of a mail", written(lambda data: b"From: a@example.org\nSubject: list\nReceived: by x;\n yesterday\n" + data)),
    Variant(
        "part's type with a name", packed(part=PART.format("x-", '; name="smime.p7s"', "base64") + "\nContent-Disposition: attachment; filename=a")
    ),
    Variant("encoding in capitals", packed(part=PART.format("x-", "", "BASE64"))),
    Variant("encoding before type", packed(part="Content-Transfer-Encoding: base64\nContent-Type: application/x-pkcs7-signature")),
    Variant("no preamble", packed(preamble="")),
    Variant("preamble without the empty line", packed(preamble="This is an S/MIME signed message\n")),
    Variant("empty lines as epilogue", packed(epilogue="\n\n  \n")),
    Variant("nothing after the last boundary", written(lambda data: data.rstrip())),
    Variant("spaces after the boundaries", packed(between="  \n")),
    Variant(
        "unquoted boundary", packed(mark="abcdef", header="Content-Type: multipart/signed; protocol=application/x-pkcs7-signature; boundary={mark}")
    ),
    Variant("boundary of signs", packed(mark="=_?'()+,-./:x")),
    Variant("boundary with a space", packed(mark="a b")),
    Variant("boundary with an escaped quote", packed(mark='a"b', quoted='a\\"b'), "R17", False),
    Variant("boundary of 70", packed(mark="x" * 70)),
    Variant("boundary of 71", packed(mark="x" * 71), "R17", True, "RFC 2046 allows 70"),
    Variant("line ends of mail", written(lambda data: data.replace(b"\n", b"\r\n"))),
    Variant("content with CRLF, the rest with LF", lambda shop: shop.message(content="{content}".replace("\n", "\r\n"))),
    Variant(
        "every second line with CRLF",
        written(lambda data: b"".join(re.sub(rb"\n\Z", b"\r\n", one) if at % 2 else one for at, one in enumerate(data.splitlines(keepends=True)))),
    ),
    Variant("a lone return in the content", written(lambda data: data.replace(b'"hv:imagelist"', b'"hv:imagelist"\r')), "R17", False),
    Variant("base64 in lines of 76", packed(encoded=lines(76))),
    Variant("base64 in lines of 4", packed(encoded=lines(4))),
    Variant("base64 with an odd length of line", packed(encoded=lines(61))),
    Variant("base64 with a letter too many", packed(encoded=lambda text: lines(64)(text) + "A"), "R17", False),
    Variant("base64 with another sign", packed(encoded=lambda text: lines(64)("!" + text)), "R17", False),
    Variant(
        "signature without an encoding", packed(part="Content-Type: application/x-pkcs7-signature"), "R17", True, "without it the part is no base64"
    ),
    Variant("signature as text", packed(part="Content-Type: text/plain\nContent-Transfer-Encoding: base64"), "R17", False),
    Variant("multipart/mixed", typed('multipart/mixed; boundary="{mark}"'), "R17", False),
    Variant("no boundary", typed('multipart/signed; protocol="application/x-pkcs7-signature"'), "R17", False),
    Variant("no protocol", typed('multipart/signed; boundary="{mark}"'), "R17", True, STRICT),
    Variant("OpenPGP's protocol", typed('multipart/signed; protocol="application/pgp-signature"; boundary="{mark}"'), "R17", True, STRICT),
    Variant("the type twice", written(lambda data: b"Content-Type: text/plain\n" + data), "R17", False),
    Variant("the boundary twice", typed('multipart/signed; protocol="application/x-pkcs7-signature"; boundary="x"; boundary="{mark}"'), "R17", False),
    Variant("a byte order mark", written(lambda data: b"\xef\xbb\xbf" + data), "R17", True, "a header's name has no such character"),
    Variant("an empty line first", written(lambda data: b"\n" + data), "R17", False),
    Variant("text as preamble", packed(preamble='{"hv:imagelist": {}}\n'), "R17", True, STRICT),
    Variant("another preamble", packed(preamble="This is a multi-part message in MIME format.\n"), "R17", True, "R17: no text around the parts"),
    Variant("text as epilogue", packed(epilogue='{"hv:imagelist": {}}\n'), "R17", True, STRICT),
    Variant("MIME headers in the content", packed(content="Content-Type: text/plain\n\n{content}"), "R17", False),
    Variant("an empty line before the content", packed(content="\n{content}"), "R17", False),
    Variant("two contents", packed(content="{content}\n------9CFB0E\n{content}"), "R17", False),
    Variant(
        "nested in another multipart",
        written(lambda data: b'Content-Type: multipart/mixed; boundary="o"\n\n--o\n' + data + b"\n--o--\n"),
        "R17",
        False,
    ),
    Variant("content cut", written(lambda data: data.replace(b"Images for science.", b"Images")), "R17", False),
    Variant("with comments", typed('multipart/signed (a list); protocol="application/x-pkcs7-signature"; boundary="{mark}"'), "R17", False),
    Variant(
        "protocol folded with RFC 2231",
        typed('multipart/signed; protocol*0="application/x-pkcs7"; protocol*1="-signature"; boundary="{mark}"'),
        "",
        True,
    ),
]

SIGNATURES = [
    Variant("SHA-384", lambda shop: shop.smime(digest=hashes.SHA384())),
    Variant("SHA-512", lambda shop: shop.smime(digest=hashes.SHA512())),
    Variant("openssl cms", by_openssl()),
    Variant("openssl cms, SHA-512", by_openssl("-md", "sha512")),
    Variant("openssl smime", by_openssl(program="smime")),
    Variant("openssl, streamed", by_openssl("-stream")),
    Variant("openssl, CRLF", by_openssl("-crlfeol")),
    Variant("openssl, no capabilities", by_openssl("-nosmimecap")),
    Variant("openssl, by key identifier", by_openssl("-keyid"), "", False, "PKCS #7 names a signer by issuer and number only; CMS, and we, know the key's identifier too"),
    Variant("SHA-1", by_openssl("-md", "sha1"), "R11", True, "SHA-1 is taken only where a site says so"),
    Variant("SHA-224", by_openssl("-md", "sha224"), "R11", True, "weaker than SHA-256"),
    Variant("MD5", by_openssl("-md", "md5"), "R11", True, "broken"),
    Variant("P-256", by(lambda shop: issue(PUBLISHER, shop.root, key=ec_key()))),
    Variant("P-384 and SHA-384", by(lambda shop: issue(PUBLISHER, shop.root, key=ec_key(ec.SECP384R1())), hashes.SHA384())),
    Variant("RSA of 3072", by(lambda shop: issue(PUBLISHER, shop.root, key=rsa_key(3072)))),
    Variant("RSA of 1024", by(lambda shop: issue(PUBLISHER, shop.root, key=rsa_key(1024))), "R11", True, "openssl's own level of security takes it here"),
    Variant("P-192", by(lambda shop: issue(PUBLISHER, shop.root, key=ec_key(ec.SECP192R1()))), "R11", True, "as RSA of 1024"),
    Variant(
        "RSASSA-PSS",
        lambda shop: shop.smime(rsa_padding=padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)),
        "R11",
        False,
    ),
    Variant("opaque", by_openssl("-nodetach"), "R17", True, STRICT),
    Variant("opaque, by smime", by_openssl("-nodetach", program="smime"), "R17", True, STRICT),
    Variant("DER", by_openssl("-outform", "DER"), "R17", False),
    Variant("PEM", by_openssl("-outform", "PEM"), "R17", False),
    Variant("with -text", by_openssl("-text"), "R17", True, "atrope and vmcatcher read the part's headers as JSON"),
    Variant("binary", by_openssl("-binary"), "R17", False),
    Variant("no certificates", by_openssl("-nocerts"), "R17", False),
    Variant("no signed attributes", by_openssl("-noattr"), "R17", True, "R17: without them the digest of anything may be signed"),
    Variant("two signers", lambda shop: shop.smime(TEXT, None, None, issue(name(("CN", "Other")), shop.root)), "R17", True, "whose list is it"),
    Variant("certificate expired", by(lambda shop: issue(PUBLISHER, shop.root, end=NOW - DAY)), "R19", False),
    Variant("certificate not valid yet", by(lambda shop: issue(PUBLISHER, shop.root, start=NOW + DAY)), "R19", False),
    Variant("authority of the same name", by(lambda _: issue(PUBLISHER, authority(CA_NAME))), "R19", False),
    Variant("self-signed", by(lambda _: issue(PUBLISHER)), "R19", False),
    Variant("another person", by(lambda shop: issue(name(("DC", "org"), ("CN", "Other")), shop.root)), "R15", True, "openssl does not know whose list it is"),
    Variant("content of another list", lambda shop: shop.smime().replace(b"Science", b"Sciencf"), "R17", False),
]  # fmt: skip

LIST_KEYS = ["dc:date:created", "dc:date:expires", "dc:identifier", "dc:description", "dc:title", "dc:source", "hv:version", "hv:uri", "hv:endorser", "hv:images"]  # fmt: skip
IMAGE_KEYS = ["dc:identifier", "hv:uri", "hv:version", "hv:size", "sl:checksum:sha512"]
OTHER_KEYS = [key for key in first(json.loads(TEXT)["hv:imagelist"]) if key not in IMAGE_KEYS]
DATES = ["2026-12-18T11:00:00.000Z", "2026-12-18T11:00:00+00:00", "2026-12-18T11:00:00", "2026-12-18", "20261218T110000Z", "2026-12-18T11:00:00z", "2026-12-18t11:00:00Z", "2026-12-18 11:00:00Z", "2026-02-30T11:00:00Z", "Fri, 18 Dec 2026 11:00:00 GMT", 1797000000, None, "", "２026-12-18T11:00:00Z"]  # fmt: skip
UNREADABLE = "its readers read it in two ways or stop"

FIELDS = [
    Variant("UTF-8, not escaped", raw(lambda text: text.replace("Images for science.", "Größe 🖥 日本"))),
    Variant("UTF-8, escaped", says(lambda body: body.update({"dc:title": "Größe 🖥 日本"}))),
    Variant("compact", raw(lambda text: json.dumps(json.loads(text), separators=(",", ":")))),
    Variant("one long line of 60 KB", says(lambda body: body.update({"dc:description": "x" * 60_000}))),
    Variant("no line break at the end", raw(lambda text: text.rstrip())),
    Variant("empty lines at the end", raw(lambda text: text + "\n\n\n")),
    Variant("tabs", raw(lambda text: text.replace("  ", "\t"))),
    Variant("keys backwards", raw(lambda text: json.dumps({"hv:imagelist": dict(reversed(json.loads(text)["hv:imagelist"].items()))}))),
    Variant("unknown keys", says(lambda body: [one.update({"x:y": {"z": [1, None, True]}}) for one in (body, first(body), body["hv:endorser"])])),
    Variant("unknown key beside the list", raw(lambda text: text.rstrip()[:-1] + ', "x:beside": {}}')),
    Variant("empty images", says(lambda body: body.update({"hv:images": []}))),
    Variant("fifty images", says(lambda body: body.update({"hv:images": [{"hv:image": {**first(body), "dc:identifier": f"{at:08x}-2222-4333-8444-555555555555"}} for at in range(50)]}))),
    Variant("identifier in capitals", image_says(**{"dc:identifier": image().uuid.upper()})),
    Variant("size as text", image_says(**{"hv:size": "450887680"})),
    Variant("version as a number", says(lambda body: body.update({"hv:version": 20261120120000}))),
    Variant("memory as text in MiB", image_says(**{"hv:ram_minimum": "512"})),
    Variant("memory in MiB", image_says(**{"hv:ram_minimum": 512})),
    Variant("memory in bytes", image_says(**{"hv:ram_minimum": 536870912})),
    Variant("memory in bytes as text", image_says(**{"hv:ram_minimum": "536870912"})),
    Variant("cores as text", image_says(**{"hv:core_minimum": "4"})),
    Variant("memory in words", image_says(**{"hv:ram_minimum": "512 MB"}), "form", True, UNREADABLE),
    Variant("digest in capitals", image_says(**{"sl:checksum:sha512": "AB" * 64})),
    Variant("comments left empty", image_says(**{"sl:comments": ""})),
    Variant("expires in 2499", says(lambda body: body.update({"dc:date:expires": "2499-12-31T22:00:00Z"}))),
    Variant("no vo", says(lambda body: body.pop("ad:vo"))),
    *(Variant(f"image without {key}", image_says(**{key: None})) for key in OTHER_KEYS),
    *(Variant(f"image without {key}", image_says(**{key: None}), "form", True, "nobody could fetch or check it") for key in IMAGE_KEYS),
    *(Variant(f"list without {key}", says(lambda body, key=key: body.pop(key)), "form", True, "atrope and vmcatcher drop it") for key in LIST_KEYS),
    *(Variant(f"expires {date!r}", says(lambda body, date=date: body.update({"dc:date:expires": date})), "form", True, UNREADABLE) for date in DATES),
    *(Variant(f"image expires {date!r}", image_says(**{"dc:date:expires": date}), "form", True, UNREADABLE) for date in DATES if date is not None),
    Variant("endorsers as an array", says(lambda body: body.update({"hv:endorser": [body["hv:endorser"]]})), "form", True, "it crashes every reader"),
    Variant("endorser without x509", says(lambda body: body.update({"hv:endorser": {}})), "form", True, "nobody could compare the signer"),
    Variant("size of 1.0", image_says(**{"hv:size": 450887680.0}), "form", True, UNREADABLE),
    Variant("size in words", image_says(**{"hv:size": "430 MB"}), "form", True, UNREADABLE),
    Variant("size below 0", image_says(**{"hv:size": -1}), "form", True, UNREADABLE),
    Variant("SHA-256 as digest", image_says(**{"sl:checksum:sha512": "ab" * 32}), "form", True, "the image could not be checked"),
    Variant("identifier that is none", says(lambda body: body.update({"dc:identifier": "../../x"})), "form", True, "it becomes a file's name"),
    Variant("the same image twice", says(lambda body: body["hv:images"].append(body["hv:images"][0])), "form", True, "vmcatcher keeps the last"),
    Variant("a key twice", raw(lambda text: text.replace('"dc:title": "Science",', '"dc:title": "Science", "dc:title": "Other",')), "R22", True, UNREADABLE),
    Variant("a key twice in an image", raw(lambda text: text.replace('"hv:size":', '"hv:size": 1, "hv:size":')), "R22", True, UNREADABLE),
    Variant("the list twice", raw(lambda text: text.rstrip()[:-1] + ', "hv:imagelist": {}}'), "R22", True, UNREADABLE),
    Variant("NaN", raw(lambda text: text.replace("450887680", "NaN")), "R22", True, UNREADABLE),
    Variant("Infinity", raw(lambda text: text.replace("450887680", "Infinity")), "R22", True, UNREADABLE),
    Variant("1e999", raw(lambda text: text.replace("450887680", "1e999")), "R22", True, UNREADABLE),
    Variant("half a character", raw(lambda text: text.replace('"Science"', '"\\ud800"')), "R22", True, UNREADABLE),
    Variant("something after it", raw(lambda text: text + "{}"), "R22", True, UNREADABLE),
    Variant("a comma at an end", raw(lambda text: text.replace('"Science",', '"Science",,')), "R22", True, UNREADABLE),
    Variant("comments in it", raw(lambda text: text.replace('"Science",', '"Science", // the list\n')), "R22", True, UNREADABLE),
    Variant("a mark before it", raw(lambda text: "\ufeff" + text), "R17", True, UNREADABLE),
    Variant("an array", raw(lambda text: f"[{text}]"), "R17", True, "no reader takes it"),
    Variant("no list in it", raw(lambda _: '{"x": 1}'), "form", True, "no reader takes it"),
    Variant("another root", raw(lambda text: text.replace("hv:imagelist", "imagelist")), "form", True, "no reader takes it"),
]  # fmt: skip


def verdict(shop: Workshop, message: bytes, tmp_path: Path, *, sha1: bool = False) -> tuple[str, Any]:
    """The rule of the refusal or "", and the report, of the way that `vmkeeper verify list` goes."""
    file = tmp_path / "list.signed"
    file.write_bytes(message)
    try:
        accepted = single_list(file, ListTerms(shop.folder / "ca", DN, CA, allow_sha1=sha1), NOW)
    except VmkeeperError as error:
        refusals = refusals_of(error)
        assert refusals
        assert all(one.why for one in refusals)
        return refusals[0].rule, refusals
    return "", list_report(accepted, NOW)


def openssl_takes(shop: Workshop, message: bytes, tmp_path: Path, program: str = "smime") -> bool:
    """Whether `openssl smime -verify` takes it, as atrope calls it and M2Crypto and Ruby do by the same functions."""
    (tmp_path / "message").write_bytes(message)
    words = ["-verify", "-in", "message", "-CAfile", str(shop.folder / "ca.pem"), "-attime", str(int(NOW.timestamp())), "-out", "out"]
    return subprocess.run(["openssl", program, *words], cwd=tmp_path, capture_output=True, check=False, timeout=60).returncode == 0


ALL = [*HEADERS, *SIGNATURES, *FIELDS]


def test_there_are_many_and_each_has_its_name():
    assert len(ALL) > 120
    assert len({one.name for one in ALL}) == len(ALL)


@pytest.mark.parametrize("variant", ALL, ids=lambda one: one.name)
def test_variants_are_judged_as_the_rules_say(variant: Variant, workshop: Workshop, tmp_path: Path) -> None:
    message = variant.make(workshop)
    rule, said = verdict(workshop, message, tmp_path)
    assert rule == variant.rule, said
    takes = openssl_takes(workshop, message, tmp_path)
    assert takes == variant.openssl
    assert rule or takes or openssl_takes(workshop, message, tmp_path, "cms"), "we take what no openssl does"
    assert bool(variant.why) == ((rule == "") != takes), "each disagreement has its reason, and only those"


@pytest.mark.parametrize("variant", [one for one in ALL if not one.rule and one not in FIELDS], ids=lambda one: one.name)
def test_other_packagings_change_nothing_that_the_list_says(variant: Variant, workshop: Workshop, tmp_path: Path) -> None:
    _, said = verdict(workshop, variant.make(workshop), tmp_path)
    _, ours = verdict(workshop, workshop.smime(), tmp_path)
    assert said == ours


def test_sha1_where_a_site_takes_it(workshop: Workshop, tmp_path: Path) -> None:
    message = workshop.openssl("-md", "sha1")
    assert verdict(workshop, message, tmp_path, sha1=True)[1]["sha1"] is True
    for options in (("-md", "md5"), ("-md", "sha1", "-noattr"), ("-md", "sha1", "-nodetach")):
        assert verdict(workshop, workshop.openssl(*options), tmp_path, sha1=True)[0] in ("R11", "R17")


def test_base64_is_what_it_was_taken_for(workshop: Workshop) -> None:
    assert base64.b64decode(workshop.parts()[3], validate=True)[:1] == b"\x30"
