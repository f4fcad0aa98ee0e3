"""OpenNebula's templates: attributes with a text or a flat group of texts, read from `KEY="value"` lines or XML as oned reads them.

Lines follow the tokens and rules of oned's own parser: the longest token wins, a quote ends a value unless a backslash precedes it,
characters that fit nowhere are skipped, and columns in errors are counted over the whole text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple
from xml.etree import ElementTree

Value = str | dict[str, str]


class Malformed(Exception):
    """The text is no template; the argument is what oned says."""


@dataclass
class Template:
    """Attributes by upper-case name. `single`: a name is there once, the last one wins (images); else as often as it is said (VMs)."""

    items: list[tuple[str, Value]] = field(default_factory=list)
    single: bool = True

    def get(self, name: str) -> str:
        """The first text of that name; "" where there is none."""
        return next((value for key, value in self.items if key == name and isinstance(value, str)), "")

    def group(self, name: str) -> dict[str, str]:
        """The first group of that name; {} where there is none."""
        return next(iter(self.groups(name)), {})

    def groups(self, name: str) -> list[dict[str, str]]:
        return [value for key, value in self.items if key == name and isinstance(value, dict)]

    def names(self) -> set[str]:
        return {key for key, _ in self.items}

    def set(self, name: str, value: Value) -> None:
        """As a parsed attribute: in place of those of the name only where names are single."""
        if self.single:
            self.erase(name)
        self.items.append((name, value))

    def replace(self, name: str, value: Value) -> None:
        self.erase(name)
        self.items.append((name, value))

    def erase(self, name: str) -> None:
        self.items = [item for item in self.items if item[0] != name]

    def take(self, name: str) -> str:
        """Remove the attributes of the name; the text of the first."""
        value = self.get(name)
        self.erase(name)
        return value

    def merge(self, other: Template) -> None:
        """Attributes of `other` in place of those of the same names."""
        names = other.names()
        self.items = [item for item in self.items if item[0] not in names] + list(other.items)

    def copy(self) -> Template:
        return Template([(key, dict(value) if isinstance(value, dict) else value) for key, value in self.items], self.single)

    def xml(self) -> str:
        """Elements in the order of their names, without an element around them."""
        parts = []
        for key, value in sorted(self.items, key=lambda item: item[0]):
            parts.append(f"<{key}>{group_xml(value)}</{key}>" if isinstance(value, dict) else f"<{key}>{cdata(value)}</{key}>")
        return "".join(parts)


def whole(text: str) -> int:
    """A number of a template, such as an id; -1 for what is none."""
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else -1


def cdata(text: object) -> str:
    return f"<![CDATA[{text}]]>"


def group_xml(group: dict[str, str]) -> str:
    return "".join(f"<{key}>{cdata(value)}</{key}>" for key, value in sorted(group.items()))


def parse(text: str, *, single: bool = True) -> Template:
    """Raises Malformed."""
    template = Template([], single)
    for name, value in _of_xml(text) if text.startswith("<") else _of_lines(text):
        if any("]]>" in part for part in ([value] if isinstance(value, str) else value.values())):
            raise Malformed("Error transforming the Template to XML.")
        template.set(name.upper(), value)
    return template


def _of_xml(text: str) -> Iterator[tuple[str, Value]]:
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise Malformed("Parse error: XML Template malformed.") from error
    for element in root:
        if len(element):
            yield element.tag, {child.tag.upper(): child.text or "" for child in element}
        else:
            yield element.tag, element.text or ""


class _Token(NamedTuple):
    kind: str
    text: str
    line: int
    columns: str


_OUTSIDE = (
    ("", re.compile(r"[ \t]*#[^\n]*\n")),
    ("", re.compile(r"[ \t\n]+")),
    ("VARIABLE", re.compile(r"[A-Za-z0-9_]+")),
    ("EQUAL", re.compile(r"[ \t]*=[ \t]*")),
    ("EQUAL_EMPTY", re.compile(r"[ \t]*=[ \t]*\n")),
    ("COMMA", re.compile(r"[ \t\n]*,[ \t\n]*")),
    ("CBRACKET", re.compile(r"[ \t\n]*\][ \t\n]*")),
)
_VALUE = (
    ("OBRACKET", re.compile(r"[ \t]*\[[ \t\n]*")),
    ("CCDATA", re.compile(r"[^\n]*\]\]>[^\n]*")),
    ("QUOTED", re.compile(r'"(?:[^"\\]|\\"|\\)*"')),
    ("STRING", re.compile(r"[^=# \t\n,\[\]]+")),
)


def _tokens(text: str) -> Iterator[_Token]:
    at, line, value, columns = 0, 0, False, "1:1"
    while at < len(text):
        longest, kind = "", ""
        for name, pattern in _VALUE if value else _OUTSIDE:
            if (match := pattern.match(text, at)) and len(match[0]) > len(longest):
                longest, kind = match[0], name
        longest = longest or text[at]
        line += longest.count("\n")
        columns = f"{at + 1}:{at + len(longest) + 1}"
        at += len(longest)
        if not kind:
            continue
        value = kind == "EQUAL"
        if kind == "QUOTED":
            yield _Token("STRING", longest[1:-1].replace('\\"', '"'), line, columns)
        else:
            yield _Token(kind, longest.replace('\\"', '"') if kind == "STRING" else longest, line, columns)
    yield _Token("$end", "", line, columns)


def _of_lines(text: str) -> Iterator[tuple[str, Value]]:
    tokens = _tokens(text)
    while (name := _expect(next(tokens), "$end", "VARIABLE", said="$end")).kind == "VARIABLE":
        if _expect(next(tokens), "EQUAL", "EQUAL_EMPTY").kind == "EQUAL_EMPTY":
            yield name.text, ""
            continue
        token = _expect(next(tokens), "OBRACKET", "CCDATA", "STRING")
        if token.kind == "CCDATA":
            raise Malformed("Parse error.")
        yield name.text, token.text if token.kind == "STRING" else dict(_inside(tokens))


def _inside(tokens: Iterator[_Token]) -> Iterator[tuple[str, str]]:
    """What is between brackets; the first of a name wins."""
    seen = set()
    token = _expect(next(tokens), "CBRACKET", "VARIABLE")
    while token.kind != "CBRACKET":
        _expect(next(tokens), "EQUAL")
        value = _expect(next(tokens), "STRING")
        if (name := token.text.upper()) not in seen:
            yield name, value.text
        seen.add(name)
        if _expect(next(tokens), "COMMA", "CBRACKET").kind == "CBRACKET":
            return
        token = _expect(next(tokens), "VARIABLE")


def _expect(token: _Token, *kinds: str, said: str = "") -> _Token:
    if token.kind in kinds:
        return token
    wanted = said or " or ".join(kinds)
    raise Malformed(f"Parse error: syntax error, unexpected {token.kind}, expecting {wanted} at line {token.line}, columns {token.columns}")
