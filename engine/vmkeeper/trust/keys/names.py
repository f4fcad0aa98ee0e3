"""Distinguished names: compared by their decoded parts (rule R15), written in the one-line form that HEPiX uses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from cryptography import x509
from cryptography.x509.oid import NameOID

_SHORT = {
    NameOID.COMMON_NAME: "CN",
    NameOID.COUNTRY_NAME: "C",
    NameOID.DOMAIN_COMPONENT: "DC",
    NameOID.EMAIL_ADDRESS: "emailAddress",
    NameOID.GIVEN_NAME: "GN",
    NameOID.LOCALITY_NAME: "L",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.SERIAL_NUMBER: "serialNumber",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.STREET_ADDRESS: "street",
    NameOID.SURNAME: "SN",
    NameOID.TITLE: "title",
    NameOID.USER_ID: "UID",
}
_ALIASES = {"e": "emailAddress", "email": "emailAddress", "userid": "UID", "s": "ST", "sp": "ST"} | {
    short.lower(): short for short in _SHORT.values()
}
_TYPE = r"(?:[A-Za-z]{1,20}|[0-2](?:\.[0-9]+)+)"


@dataclass(frozen=True)
class DistinguishedName:
    """A name as its parts in order, each a set of (type, value); most sets hold one."""

    parts: tuple[frozenset[tuple[str, str]], ...]

    @classmethod
    def of(cls, name: x509.Name) -> Self:
        """The name of a certificate."""
        return cls(tuple(frozenset((_SHORT.get(item.oid, item.oid.dotted_string), _value(item.value)) for item in rdn) for rdn in name.rdns))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the one-line form; a slash is part of a value where no `TYPE=` follows it or a backslash stands before it.

        Raises ValueError for what is no such name.
        """
        found = re.findall(rf"(?<!\\)/({_TYPE})=(.*?)(?=(?<!\\)/{_TYPE}=|\Z)", text, flags=re.DOTALL)
        if not found or "".join(f"/{kind}={value}" for kind, value in found) != text:
            raise ValueError(f"{text!r} is not a distinguished name: write it as /DC=org/DC=example/CN=Some Name")
        return cls(tuple(frozenset([(_ALIASES.get(kind.lower(), kind), _unescaped(value))]) for kind, value in found))

    def __str__(self) -> str:
        """One line, ASCII, as OpenSSL writes it: `/DC=org/CN=x`; other characters as `\\xHH`."""
        return "".join(f"/{kind}={_escaped(value)}" for part in self.parts for kind, value in sorted(part))


def _value(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


def _escaped(value: str) -> str:
    text = "".join(chr(byte) if 32 <= byte < 127 and byte != 0x5C else f"\\x{byte:02X}" for byte in value.encode())
    return re.sub(rf"/(?={_TYPE}=)", r"\\/", text)


def _unescaped(value: str) -> str:
    """`\\xHH` is a byte of UTF-8; a backslash before another character stands for that one, as openssl writes `\\/` and `\\+`."""
    raw = re.sub(rb"\\(?:x([0-9A-Fa-f]{2})|(.))", lambda match: bytes([int(match[1], 16)]) if match[1] else match[2], value.encode())
    return raw.decode(errors="replace")
