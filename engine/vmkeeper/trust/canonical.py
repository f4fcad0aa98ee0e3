"""JSON that was signed: one byte form for one value, so that no two readers can read it differently (rules R22, R32)."""

from __future__ import annotations

import json
from typing import Any

from vmkeeper.documents.json_guard import read_json
from vmkeeper.errors import Problems, Refused
from vmkeeper.values import canonical_json


def read_canonical(data: bytes, what: str, limit: int) -> Any:
    """The value of a canonical JSON text of at most `limit` bytes; by its form it has no key twice and no NaN.

    what: what it is, for messages. Raises Refused: R22 for what is not JSON with one reading, R32 for another byte form.
    """
    if len(data) <= limit:
        try:
            value = json.loads(data)
            if canonical_json(value) == data:
                return value
        except (ValueError, RecursionError):
            pass  # the reader below says what is wrong, with its place
    try:
        read_json(data, "", limit=limit)
    except Problems as error:
        raise Refused("R22", f"{what} is not JSON that has one reading", why=str(error.problems[0])) from None
    raise Refused("R32", f"{what} is not in canonical form", why="written again, it has other bytes")
