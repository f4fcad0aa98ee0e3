"""The values of an image list's fields: from JSON to ours, refusing what readers of lists read differently.

Each function raises ValueError with what the value must be.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from vmkeeper.values import UUID_PATTERN, Size, parse_time

_MIB = 1 << 20


def text(value: Any) -> str:
    """A text; a whole number is taken as one."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise ValueError("must be a text")
    return value


def filled(value: Any) -> str:
    """A text that says something."""
    if not text(value).strip():
        raise ValueError("must not be empty")
    return text(value)


def uuid(value: Any) -> str:
    """A UUID, in lower case."""
    found = text(value).lower()
    if not re.fullmatch(UUID_PATTERN, found):
        raise ValueError(f"{found[:80]!r} is not a UUID")
    return found


def sha512(value: Any) -> str:
    """A SHA-512 in hex, in lower case."""
    found = text(value).lower()
    if not re.fullmatch(r"[0-9a-f]{128}", found):
        raise ValueError("must be 128 hex digits")
    return found


def number(value: Any) -> int:
    """A whole number, also as a text."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**18:
        raise ValueError("must be a whole number, not negative")
    return value


def size(value: Any) -> Size:
    """A number of bytes, not 0."""
    found = number(value)
    if not found:
        raise ValueError("must not be 0")
    return Size(found)


def ram(value: Any) -> Size:
    """Memory: MiB as AppDB writes them, or bytes as the format says; a number of 1 MiB or more means bytes."""
    found = number(value)
    return Size(found if found >= _MIB else found * _MIB)


def written_ram(amount: Size) -> int:
    """How memory is written: MiB, rounded up; from 1 TiB on bytes, for so many MiB would be read as bytes."""
    mib = -(-int(amount) // _MIB)
    return mib if mib < _MIB else int(amount)


def version(value: Any) -> str:
    """A version: printable characters without spaces."""
    found = filled(value)
    if not re.fullmatch(r"[\x21-\x7e]{1,200}", found):
        raise ValueError("must be printable characters without spaces, at most 200")
    return found


def time(value: Any) -> datetime:
    """A time, `YYYY-MM-DDTHH:MM:SSZ` and no other form."""
    return parse_time(text(value))
