"""The exchanges recorded from real oned daemons (tests/fixtures/opennebula), read, and the answers brought to a form that can be compared."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).parents[1] / "fixtures" / "opennebula"


@dataclass
class Exchange:
    """One thing that was recorded, in the file's order.

    kind: call (method, given → answer), state (a state that an object came to), http, line (anything else that was printed, as it stands).
    """

    file: str
    section: str
    label: str
    number: int
    """Line of the file."""
    kind: str
    method: str = ""
    given: list[Any] = field(default_factory=list)
    answer: str = ""
    """As recorded: JSON, or its beginning where the recording was cut."""

    @property
    def name(self) -> str:
        return f"{self.file}:{self.number} {self.label}"


def recorded(version: str, file: str) -> list[Exchange]:
    return list(_read(file, (FIXTURES / version / f"{file}.txt").read_text().split("\n")))


def _read(file: str, lines: list[str]) -> Iterator[Exchange]:
    section = label = ""
    at = 0
    while at < len(lines):
        line, number = lines[at], at + 1
        at += 1
        if line.startswith("######## "):
            section, label = line.removeprefix("######## "), ""
        elif line.startswith("## "):
            label = line.removeprefix("## ").strip()
        elif (found := re.fullmatch(r"   (one\.[a-z]+\.[a-z]+)\((.*)", line)) and lines[at].startswith("   -> "):
            yield Exchange(file, section, label, number, "call", found[1], _given(found[2]), lines[at].removeprefix("   -> "))
            at += 1
        elif found := re.match(r"   \.\. (\w+)\.info (\d+) (\w+) seen (\[.*?\])", line):
            yield Exchange(file, section, label, number, "state", found[1], [int(found[2]), found[3]], ast.literal_eval(found[4])[-1])
        elif re.match(r"   (GET|POST) ", line):
            yield Exchange(file, section, label, number, "http", answer=line.strip())
        elif line.strip() and not re.match(r"   call took|rc \d|l\d ", line):
            yield Exchange(file, section, label, number, "line", answer=line.rstrip())


def _given(text: str) -> list[Any]:
    """A value that the recording cut short is closed again."""
    try:
        return list(ast.literal_eval(f"({text.removesuffix(')')},)" if not text.endswith(",)") else f"({text}"))
    except SyntaxError:
        if text == ")":
            return []
        return [ast.literal_eval(f"{text}\"'") + "\nSOURCE=/x\nFORMAT=raw\nSIZE=1", 100]


_PLACES = (
    (r"\b1[0-9]{9}\b", "TIME"),
    (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "UUID"),
    (r"datastores/(\d+)/[0-9a-f]{32}", r"datastores/\1/FILE"),
    (r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ 0-9]\d \d\d:\d\d:\d\d \d{4}", "DATE"),
    (r"<(PASSWORD|TOKEN_PASSWORD|SAFE_DIRS)><!\[CDATA\[[^\]]*\]\]>", r"<\1>"),
    (r"<REQ_ID>\d+", "<REQ_ID>"),
)
"""What differs from one OpenNebula to the next: times, identifiers that are drawn by lot, passwords, folders."""


def normal(text: str) -> str:
    for pattern, put in _PLACES:
        text = re.sub(pattern, put, text)
    return text


def same(answer: str, given: Any) -> bool:
    """Whether an answer is the recorded one, or begins as it where the recording was cut."""
    real = json.dumps(given, ensure_ascii=False)
    try:
        return json.loads(normal(answer)) == json.loads(normal(real))
    except ValueError:
        cut = re.sub(r"(?:\.\.\.)?$", "", answer)
        # a time, a password or a folder that was cut cannot be told for one
        cut = cut[: cut.rfind("<")]
        return normal(real.replace("\\\\", "\\")).startswith(normal(cut.replace("\\\\", "\\")))
