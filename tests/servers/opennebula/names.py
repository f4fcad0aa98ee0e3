"""What an object may be called."""

from __future__ import annotations

from .objects import KINDS
from .store import Store

_FORBIDDEN = "&|:\\\";/'#{}$<>"


def invalid(name: str, *, modern: bool) -> str:
    """oned's words, or "" for a good name. 7.4 refuses control characters too."""
    if not name:
        return "Invalid NAME, it cannot be empty"
    for character in name:
        if character in _FORBIDDEN or (modern and ord(character) < 32):
            return f"Invalid NAME, char '{character}' is not allowed"
    return "Invalid NAME, max length is 128 chars" if len(name.encode()) > 128 else ""


def taken(store: Store, kind: str, name: str, uid: int) -> str:
    cls = KINDS[kind]
    other = store.named(kind, name, uid if cls.shared_name else None)
    return f"NAME is already taken by {cls.upper} {other.id}." if other else ""
