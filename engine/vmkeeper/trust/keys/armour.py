"""Signature armour: the one text form that we write and take, and a reader for armoured OpenPGP keys.

`dearmour` refuses comments, other line lengths and a wrong checksum, so that no byte of a tag can change unseen.
Forms: RFC 9580 section 6 (with its CRC-24), OpenSSH's PROTOCOL.sshsig, GnuPG's gpgsm for CMS.
"""

from __future__ import annotations

import base64
import binascii
import re

from vmkeeper.errors import Refused

LABELS = {"PGP": "PGP SIGNATURE", "SSH": "SSH SIGNATURE", "CMS": "SIGNED MESSAGE"}
"""Kinds of signature, and what stands in their BEGIN and END lines."""
_WIDTH = {"PGP": 64, "SSH": 70, "CMS": 64}
_PGP_KEY = re.compile(
    r"\s*-----BEGIN PGP PUBLIC KEY BLOCK-----[ \t]*\r?\n"
    r"(?:[A-Za-z]+: [^\r\n]*\r?\n)*[ \t]*\r?\n"
    r"(?P<body>[A-Za-z0-9+/=\s]+?)(?:\r?\n=[A-Za-z0-9+/]{4})?\s*"
    r"-----END PGP PUBLIC KEY BLOCK-----\s*"
)


def armour(kind: str, data: bytes) -> str:
    """The text form of a signature; `kind` is PGP, SSH or CMS."""
    text, width = base64.b64encode(data).decode(), _WIDTH[kind]
    lines = [text[start : start + width] for start in range(0, len(text), width)]
    if kind == "PGP":
        lines = ["", *lines, "=" + base64.b64encode(_crc24(data).to_bytes(3, "big")).decode()]
    return "\n".join([f"-----BEGIN {LABELS[kind]}-----", *lines, f"-----END {LABELS[kind]}-----", ""])


def dearmour(kind: str, text: str) -> bytes:
    """The bytes of a signature in our text form. Raises Refused (R10) for every other text."""
    data = decode_signature(kind, text)
    if armour(kind, data) != text:
        raise Refused("R10", "the signature block is not in the form we write", why="comments, other line lengths or a wrong checksum")
    return data


def decode_signature(kind: str, text: str) -> bytes:
    """The bytes of a signature as another program wrote it: comment headers and line lengths are not looked at."""
    lines = [line.strip() for line in text.strip().splitlines()]
    body = [line for line in lines[1:-1] if ":" not in line and not (kind == "PGP" and line.startswith("="))]
    try:
        return base64.b64decode("".join(body), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused("R10", f"the {kind} signature block is not base64", why=str(error)) from None


def decode_public_key(text: str) -> bytes:
    """The packets of one armoured OpenPGP public key. Raises Refused (R10) for anything else, such as a second block."""
    match = _PGP_KEY.fullmatch(text)
    if match is None:
        raise Refused("R10", "this is not one armoured OpenPGP public key", hint="write it with: gpg --armor --export FINGERPRINT")
    try:
        return base64.b64decode("".join(match["body"].split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused("R10", "the OpenPGP public key is not base64", why=str(error)) from None


def _crc24(data: bytes) -> int:
    """RFC 9580 section 6.1.1, a byte at a time."""
    crc = 0xB704CE
    for byte in data:
        crc = (crc << 8 & 0xFFFFFF) ^ _CRC24[crc >> 16 ^ byte]
    return crc


def _crc24_of(byte: int) -> int:
    crc = byte << 16
    for _ in range(8):
        crc = crc << 1 ^ (0x1864CFB if crc & 0x800000 else 0)
    return crc


_CRC24 = tuple(map(_crc24_of, range(256)))
