"""The S/MIME message around a text and its signature (RFC 8551, 3.5.3), put together, and taken apart strictly. Nothing is verified here."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from email import policy
from email.errors import MultipartInvariantViolationDefect
from email.parser import BytesHeaderParser
from typing import Literal

from vmkeeper.errors import Refused

_PREAMBLE = b"This is an S/MIME signed message"
_SIGNATURE_TYPES = ("application/x-pkcs7-signature", "application/pkcs7-signature")


@dataclass(frozen=True, slots=True)
class Message:
    """The two parts of a signed message: the text as it was signed (CRLF line ends) and the signature (BER)."""

    content: bytes
    signature: bytes


def package(text: str, signature: bytes, digest: Literal["sha256", "sha384", "sha512"]) -> bytes:
    """The message around a text and a detached signature (DER) over it with CRLF line ends, as every consumer of image lists reads it.

    The first part has no headers of its own. Raises ValueError where the text holds the boundary.
    """
    content = text.encode().replace(b"\r\n", b"\n")
    boundary = f"----{hashlib.sha256(content + signature).hexdigest()}"
    if boundary.encode() in content:
        raise ValueError("the text holds the boundary of its own message")
    encoded = base64.b64encode(signature).decode()
    wrapped = "\n".join(encoded[at : at + 64] for at in range(0, len(encoded), 64))
    algorithm = digest.replace("sha", "sha-")
    head = f'MIME-Version: 1.0\nContent-Type: multipart/signed; protocol="{_SIGNATURE_TYPES[0]}"; micalg="{algorithm}"; boundary="{boundary}"\n\n'
    part = f'Content-Type: {_SIGNATURE_TYPES[0]}; name="smime.p7s"\nContent-Transfer-Encoding: base64\n'
    part += f'Content-Disposition: attachment; filename="smime.p7s"\n\n{wrapped}\n'
    before, after = f"{_PREAMBLE.decode()}\n\n--{boundary}\n", f"\n--{boundary}\n{part}\n--{boundary}--\n"
    return (head.encode() + before.encode() + content + after.encode()).replace(b"\n", b"\r\n")


def split(message: bytes, *, begins: bytes = b"{") -> Message:
    """Take a multipart/signed message apart. Raises Refused (R17) for every other form of it.

    begins: how the text must begin, by default as a list's JSON does.
    """
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
    return Message(_canonical(content, begins), _decoded(signature))


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
    protocol = parsed.get_param("protocol")
    if defects or len(types) != 1 or parsed.get_content_type() != "multipart/signed" or str(protocol).lower() not in _SIGNATURE_TYPES:
        raise _not_right("its header is not that of multipart/signed")
    if not str(types[0]).split("\n")[0].strip():  # openssl, and with it every other reader, looks at the first line only
        raise _not_right("its type does not begin in the header's own line")
    if not isinstance(boundary, str) or not re.fullmatch(r"[A-Za-z0-9'()+_,./:=? -]{0,69}[A-Za-z0-9'()+_,./:=?-]", boundary):
        raise _not_right("it has no boundary")
    return boundary.encode()


def _canonical(part: bytes, begins: bytes) -> bytes:
    if not part.startswith(b"\n"):
        raise _not_right("the first part is not there")
    content = part[1:]
    if not content.lstrip().startswith(begins):
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
