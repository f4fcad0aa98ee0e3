"""Distinguished names as people copy them: `/DC=org/CN=x`, RFC 4514's `CN=x,DC=org`, and what openssl and browsers print.

A text is compared only after it is read; where its order cannot be known, both orders are tried and nothing else.
"""

from __future__ import annotations

import re

from vmkeeper.trust.keys.names import DistinguishedName

_ATTRIBUTE = re.compile(
    r"""\s*([A-Za-z][A-Za-z0-9-]{0,19}|(?:OID\.)?[0-2](?:\.[0-9]+)+)\s*=[ ]*   # the type, which openssl sets off with spaces
        ("(?:[^"\\]|\\.)*"|(?:[^"\\,;+]|\\.)*)                                # the value, quoted (RFC 2253) or with escapes
        \s*([,;+]|\Z)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(rb"\\(?:([0-9A-Fa-f]{2})|(.))", re.DOTALL)


def readings(text: str) -> tuple[DistinguishedName, ...]:
    """The names that a text may mean, one for most. Raises ValueError for what is no such name.

    RFC 4514 writes the last part of a name first and puts no space after a comma; with spaces some programs write the first
    part first (openssl), others the last one.
    """
    text = text.strip()
    if text.startswith("/"):
        return (DistinguishedName.parse(text),)
    parts = _parts(text)
    backwards = DistinguishedName(tuple(reversed(parts)))
    spaced = re.search(r"[,;] | = ", text) is not None
    return tuple(dict.fromkeys((backwards, DistinguishedName(parts)))) if spaced else (backwards,)


def _parts(text: str) -> tuple[frozenset[tuple[str, str]], ...]:
    parts: list[frozenset[tuple[str, str]]] = []
    several: list[tuple[str, str]] = []
    at = 0
    while at < len(text) or several:
        found = _ATTRIBUTE.match(text, at)
        if found is None:
            raise ValueError(f"{text!r} is not a distinguished name: write it as /DC=org/DC=example/CN=Some Name")
        several.append((_kind(found[1]), _value(found[2])))
        if found[3] != "+":
            parts.append(frozenset(several))
            several = []
        at = found.end()
        if found[3] and at == len(text):
            raise ValueError(f"{text!r} is not a distinguished name: it ends in {found[3]}")
    if not parts:
        raise ValueError("an empty text is not a distinguished name: write it as /DC=org/DC=example/CN=Some Name")
    return tuple(parts)


def _kind(text: str) -> str:
    """The type by the one name that we use for it."""
    ((kind, _),) = DistinguishedName.parse(f"/{text.removeprefix('OID.')}=x").parts[0]
    return kind


def _value(text: str) -> str:
    """The value without quotes and escapes (RFC 4514, 2.4)."""
    text = text[1:-1] if text.startswith('"') else re.sub(r"(?<!\\) +\Z", "", text)
    raw = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]) if match[1] else match[2], text.encode())
    return raw.decode(errors="replace")
