"""The JSON of an image list, read so that every reader of it reads the same, or refused."""

from __future__ import annotations

import json
from typing import Any

from vmkeeper.errors import Refused

MAX_BYTES = 16 << 20
MAX_DEPTH = 40


def one_reading(data: bytes) -> Any:
    """The value of a list's JSON.

    Raises Refused: R22 for a key twice, NaN, numbers without end, half a character or too many levels; R25 for too many bytes.
    """
    if len(data) > MAX_BYTES:
        raise Refused("R25", f"an image list of {len(data)} bytes where at most {MAX_BYTES} are read")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            raise ValueError("a key is there twice in one object")
        return made

    def constant(text: str) -> Any:
        raise ValueError(f"{text} is no JSON")

    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=once, parse_constant=constant)
        if _depth(value) > MAX_DEPTH:
            raise ValueError(f"deeper than {MAX_DEPTH} levels")
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise Refused("R22", "the image list is not JSON that has one reading", why=str(error)) from None
    return value


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level:
        depth += 1
        level = [child for item in level for child in (item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())]
    return depth
