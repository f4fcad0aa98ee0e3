"""A case of the trust conformance suite: files, one command, and what must come of it. README.md describes the protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


def _nothing(_: Path) -> list[list[str]]:
    return []


@dataclass(frozen=True)
class Case:
    """`make` writes files into an empty folder and returns the words after the command, without `--output`.

    rule: the rule that an accepted case keeps and a refused one breaks. before: commands that are run first and must be
    accepted; their files lie in the same folder.
    """

    name: str
    rule: str
    expect: Literal["accept", "refuse"]
    make: Callable[[Path], list[str]]
    before: Callable[[Path], list[list[str]]] = _nothing

    def __str__(self) -> str:
        return f"{self.rule}-{self.expect}-{self.name}"
