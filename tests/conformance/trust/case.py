"""A case of the trust conformance suite: files, one command, and what must come of it. README.md describes the protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


def _nothing(_: Path) -> Iterable[list[str]]:
    return ()


@dataclass(frozen=True)
class Case:
    """`make` writes files into an empty folder and returns the words after the command, without `--output`.

    rule: the rule that an accepted case keeps and a refused one breaks. before: commands that are run first and must be
    accepted; their files lie in the same folder. They may be made one by one, each after the one before has run; one that
    begins with the word ! must be refused instead.
    release, stands: of verdicts on several releases (`APPLIANCE VERSION`), the one that must be refused by the rule, and
    those that must be accepted nevertheless. absent: files that must not be there afterwards, for nothing may make them.
    named: the rule that the refusals name where the case is about something else that a refusal shows (R29).
    """

    name: str
    rule: str
    expect: Literal["accept", "refuse"]
    make: Callable[[Path], list[str]]
    before: Callable[[Path], Iterable[list[str]]] = _nothing
    release: str = ""
    stands: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    named: str = ""

    def __str__(self) -> str:
        return f"{self.rule}-{self.expect}-{self.name}"
