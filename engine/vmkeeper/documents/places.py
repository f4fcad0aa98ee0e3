"""Where each key and value of a document sits in its file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vmkeeper.errors import Place, Problem
from vmkeeper.values import visible

Path = tuple[str | int, ...]
"""Where a value sits in a document: keys and list indexes from the root."""
Plain = str | int | float | bool | None | list[Any] | dict[str, Any]


@dataclass(frozen=True, slots=True)
class Spot:
    """A node of the file: 1-based line and column, its text as written ("" for lists and maps), whether it was quoted."""

    line: int
    column: int
    text: str = ""
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Places:
    """Where every key and value of a document sits in its file."""

    file: str
    values: Mapping[Path, Spot]
    keys: Mapping[Path, Spot]

    def of(self, *path: str | int) -> Place:
        """The place of a value; the nearest value around it where the file does not have it."""
        return self._place(path, path, self.values)

    def of_key(self, *path: str | int) -> Place:
        """The place of a key (of the list item, where `path` ends in an index)."""
        return self._place(path, path, self.keys)

    def around(self, *path: str | int) -> Place:
        """The place of what should hold `path` and does not: its parent's key, list item or the document's start."""
        return self._place(path, path[:-1], self.keys)

    def _place(self, path: Path, start: Path, spots: Mapping[Path, Spot]) -> Place:
        for length in range(len(start), -1, -1):
            spot = spots.get(start[:length]) or self.values.get(start[:length])
            if spot is not None:
                return Place(self.file, spot.line, spot.column, field(path))
        return Place(self.file, 0, 0, field(path))


@dataclass(frozen=True, slots=True)
class Tree:
    """What a YAML file says. `readable` is False where there is no value to speak of.

    `broken` are the paths whose value is not what the file says (an alias stands there, a tag): no use in checking them further.
    """

    value: Plain
    places: Places
    problems: tuple[Problem, ...]
    broken: frozenset[Path]
    readable: bool

    def at(self, path: Path) -> Plain:
        """The value at a path; None where the file has none."""
        value: Any = self.value
        for part in path:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return None
        found: Plain = value
        return found


def field(path: Path) -> str:
    """A path as people write it: `packages[3].name`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[\w.+@-]{1,80}", part):
            text += f".{part}" if text else part
        else:
            text += f'["{visible(part[:80])}"]'
    return text
