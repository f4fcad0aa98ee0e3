"""The shape of a CMS signature (RFC 5652) and of the S/MIME message around it (RFC 8551, 3.5.3), read strictly.

Only the outline is read here: how many parts and signers, which algorithms. Nothing is verified.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from email import policy
from email.errors import MultipartInvariantViolationDefect
from email.parser import BytesHeaderParser

from vmkeeper.errors import Refused

_PREAMBLE = b"This is an S/MIME signed message"
_SIGNATURE_TYPES = ("application/x-pkcs7-signature", "application/pkcs7-signature")
_DEPTH = 24

DATA = "1.2.840.113549.1.7.1"
SIGNED_DATA = "1.2.840.113549.1.7.2"
DIGESTS = {
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
    "1.3.14.3.2.26": "sha1",
    "1.2.840.113549.2.5": "md5",
}


@dataclass(frozen=True, slots=True)
class Message:
    """The two parts of a signed message: the text as it was signed (CRLF line ends) and the signature (BER)."""

    content: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Outline:
    """What a SignedData holds."""

    content_type: str
    detached: bool
    certificates: int
    signers: int
    signed_attributes: bool
    digest: str
    """Name of the signer's digest, or its object identifier where it has no name here."""


def split(message: bytes) -> Message:
    """Take a multipart/signed message apart. Raises Refused (R17) for every other form of it."""
    if b"\r" in message.replace(b"\r\n", b""):
        raise _not_right("a carriage return stands alone")
    lines = message.replace(b"\r\n", b"\n")
    headers, found, body = lines.partition(b"\n\n")
    boundary = _boundary(headers) if found else b""
    mark = b"--" + boundary
    parts = re.split(rb"(?:\A|\n)" + re.escape(mark) + rb"(--)?[ \t]*(?=\n|\Z)", body)
    # preamble, None, content, None, signature, "--", epilogue
    if len(parts) != 7 or parts[1] is not None or parts[3] is not None or parts[5] != b"--":
        raise _not_right("there are not exactly two parts")
    preamble, content, signature, epilogue = parts[0], parts[2], parts[4], parts[6]
    if preamble.strip() not in (b"", _PREAMBLE) or epilogue.strip():
        raise _not_right("there is text before the first part or after the last one")
    return Message(_canonical(content), _decoded(signature))


def outline(signature: bytes) -> Outline:
    """Read the outline of a signature. Raises Refused (R17) where it is no SignedData."""
    try:
        return _outline(signature)
    except (IndexError, ValueError, RecursionError):
        raise _not_right("the signature is not a CMS SignedData") from None


def _not_right(why: str) -> Refused:
    return Refused(
        "R17", "this is not a message with one detached signature", why=why, hint="sign it as multipart/signed with one detached PKCS#7 signature"
    )


def _boundary(headers: bytes) -> bytes:
    parsed = BytesHeaderParser(policy=policy.compat32).parsebytes(headers + b"\n\n")
    types = parsed.get_all("Content-Type") or []
    boundary = parsed.get_param("boundary")
    # Reading headers alone, Python before 3.11.4 calls every multipart message one without parts.
    defects = [defect for defect in parsed.defects if not isinstance(defect, MultipartInvariantViolationDefect)]
    if defects or len(types) != 1 or parsed.get_content_type() != "multipart/signed" or parsed.get_param("protocol") not in _SIGNATURE_TYPES:
        raise _not_right("its header is not that of multipart/signed")
    if not isinstance(boundary, str) or not re.fullmatch(r"[A-Za-z0-9'()+_,./:=? -]{0,69}[A-Za-z0-9'()+_,./:=?-]", boundary):
        raise _not_right("it has no boundary")
    return boundary.encode()


def _canonical(part: bytes) -> bytes:
    if not part.startswith(b"\n"):
        raise _not_right("the first part is not there")
    content = part[1:]
    if not content.lstrip().startswith(b"{"):
        raise _not_right("the first part does not begin with an image list's JSON")
    return content.replace(b"\n", b"\r\n")


def _decoded(part: bytes) -> bytes:
    headers, found, body = part[1:].partition(b"\n\n")
    parsed = BytesHeaderParser(policy=policy.compat32).parsebytes(headers + b"\n\n")
    encoding = str(parsed.get("Content-Transfer-Encoding", "")).strip().lower()
    if not found or parsed.defects or parsed.get_content_type() not in _SIGNATURE_TYPES or encoding != "base64":
        raise _not_right("the second part is not a signature in base64")
    try:
        return base64.b64decode(b"".join(body.split()), validate=True)
    except binascii.Error:
        raise _not_right("the second part is not a signature in base64") from None


@dataclass(frozen=True, slots=True)
class _Node:
    """A BER element: first tag byte, contents, children where it is constructed."""

    tag: int
    value: bytes
    children: tuple[_Node, ...]


def _outline(signature: bytes) -> Outline:
    content_info, end = _node(signature, 0, 0)
    if end != len(signature) or _oid(content_info.children[0]) != SIGNED_DATA:
        raise ValueError
    signed_data = content_info.children[1].children[0]
    inner = signed_data.children[2]
    rest = signed_data.children[3:]
    signers = [child for child in rest if child.tag == 0x31][-1].children
    certificates = sum(len(child.children) for child in rest if child.tag == 0xA0)
    first = signers[0]
    return Outline(
        content_type=_oid(inner.children[0]),
        detached=len(inner.children) == 1,
        certificates=certificates,
        signers=len(signers),
        signed_attributes=first.children[3].tag == 0xA0,
        digest=DIGESTS.get(_oid(first.children[2].children[0]), _oid(first.children[2].children[0])),
    )


def _node(data: bytes, start: int, depth: int) -> tuple[_Node, int]:
    """One BER element and where it ends; lengths may be indefinite, as OpenSSL streams them."""
    if depth > _DEPTH:
        raise ValueError
    tag, length, at = data[start], data[start + 1], start + 2
    if tag & 0x1F == 0x1F:
        raise ValueError
    if length == 0x80:
        children = []
        while data[at : at + 2] != b"\0\0":
            child, at = _node(data, at, depth + 1)
            children.append(child)
        return _Node(tag, b"", tuple(children)), at + 2
    if length > 0x80:
        count = length & 0x7F
        if count > 4 or at + count > len(data):
            raise ValueError
        length, at = int.from_bytes(data[at : at + count]), at + count
    end = at + length
    if end > len(data):
        raise ValueError
    children = []
    while tag & 0x20 and at < end:
        child, at = _node(data, at, depth + 1)
        children.append(child)
    if tag & 0x20 and at != end:
        raise ValueError
    return _Node(tag, b"" if tag & 0x20 else data[end - length : end], tuple(children)), end


def _oid(node: _Node) -> str:
    """An object identifier in dotted form (X.690, 8.19)."""
    if node.tag != 0x06 or not node.value or len(node.value) > 40:
        raise ValueError
    numbers, number = [], 0
    for byte in node.value:
        number = number << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(number)
            number = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(str(n) for n in (first, numbers[0] - 40 * first, *numbers[1:]))
