"""YAML that cannot surprise (rule R21): bytes in, plain values and their places out.

Refuses what lets two readers see two documents or a small file become a big one: anchors, aliases, tags,
directives, merge keys, duplicate keys, several documents, deep nesting, control and bidirectional characters.

Plain (unquoted) scalars of YAML are read so that no reader of any YAML version is surprised by a value that an
author did not mean. Only these are not text: `null`, `~` and nothing; `true` and `false` (also `True`, `TRUE`, …);
whole numbers and decimal fractions of at most 18 digits without leading zeros (`12`, `-3`, `1.5`). So `yes`, `off`,
`0777`, `0x1f`, `1e3`, `1_000`, `12:30:00`, `2026-11-20`, `.inf` are text, and so is every key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentStartEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceStartEvent,
)

from vmkeeper.documents.places import Path, Places, Plain, Spot, Tree, field
from vmkeeper.documents.syntax import in_plain_words
from vmkeeper.errors import Place, Problem
from vmkeeper.values import visible

RULE = "R21"
MAX_BYTES = 256 * 1024
MAX_DEPTH = 40
MAX_NODES = 40_000
"""Scalars, lists and maps of one document; 256 KiB of real documents hold fewer than half of it."""
_MANY = 20
_MOST = 100

UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\ufffe\uffff]")
"""Characters that no text of a document may hold, written out or escaped: controls other than tab and line breaks,
line and paragraph separators, bidirectional controls (CVE-2021-42574), surrogates, non-characters."""
_IN_SOURCE = re.compile(f"{UNSEEN.pattern}|\r(?!\n)")
_CONFLICT = re.compile("^(?:<{7}|>{7})(?: |$)", re.MULTILINE)

_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLEAN = {word: value for value in (True, False) for word in (str(value), str(value).lower(), str(value).upper())}
_WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_FRACTION = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})\.[0-9]{1,18}")


def read_yaml(data: bytes, file: str) -> Tree:
    """Read a YAML document; never raises: everything wrong is in `problems`, which are of rule R21."""
    text, problems = _text(data, file)
    composer = _Composer(file, text)
    composer.problems.extend(problems)
    readable = False
    if not problems:
        try:
            readable = composer.document()
        except _Stop:
            pass
        except MarkedYAMLError as error:
            composer.problems.append(_syntax_error(error, file))
        except (YAMLError, ValueError, IndexError, AttributeError, AssertionError) as error:  # the parser's own slips on odd input
            why = "an escape stands for no character" if "chr()" in str(error) else visible(str(error))[:120]
            place = Place(file, composer.last.line, composer.last.column)
            composer.problems.append(
                Problem(place, f"the file stops being YAML after here: {why}", "put text in quotes, and write \\\\ for a backslash")
            )
    return Tree(
        composer.value if readable else None,
        Places(file, composer.values, composer.keys),
        tuple(replace(problem, rule=RULE) for problem in composer.problems),
        frozenset(composer.broken),
        readable,
    )


def scalar(text: str) -> Plain:
    """What an unquoted YAML scalar means here; see the module's description."""
    if text in _NULL:
        return None
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    if _WHOLE.fullmatch(text):
        return int(text)
    if _FRACTION.fullmatch(text):
        return float(text)
    return text


def decode(data: bytes, file: str) -> tuple[str, list[Problem]]:
    """Bytes as UTF-8 text, and what is wrong with them."""
    try:
        return data.decode(), []
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        what = f"the byte 0x{data[error.start]:02x} is not UTF-8"
        return "", [Problem(Place(file, line, column), what, "save the file as UTF-8")]


def too_big(data: bytes, file: str, limit: int) -> list[Problem]:
    """A problem where there are more bytes than `limit`."""
    if len(data) <= limit:
        return []
    what = f"the file has {len(data)} bytes, at most {limit} are read"
    return [Problem(Place(file, 1, 1), what, "split it, or take out what does not belong there")]


def _text(data: bytes, file: str) -> tuple[str, list[Problem]]:
    problems = too_big(data, file, MAX_BYTES)
    if problems:
        return "", problems
    text, problems = decode(data, file)
    conflict = _CONFLICT.search(text)
    if conflict:
        line = text.count("\n", 0, conflict.start()) + 1
        return text, [
            Problem(Place(file, line, 1), "a conflict of a merge is left here", "keep one side, and delete the lines <<<<<<<, ======= and >>>>>>>")
        ]
    for match in _IN_SOURCE.finditer(text):
        line, column = text.count("\n", 0, match.start()) + 1, match.start() - text.rfind("\n", 0, match.start())
        problems.append(Problem(Place(file, line, column), f"the character {_character(match[0])} may not be here", "remove it"))
        if len(problems) == _MANY:
            break
    return text, problems


def _character(text: str) -> str:
    names = {"\ufeff": "U+FEFF (byte order mark)", "\r": "U+000D (carriage return without line feed)"}
    return names.get(text, f"U+{ord(text):04X} (invisible or a control character)")


def _syntax_error(error: MarkedYAMLError, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    what, hint, at_start = in_plain_words(str(error.problem or ""), str(error.context or ""))
    if at_start and error.context_mark is not None:
        mark = error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
    return Problem(Place(file, line, column), what, hint)


class _Stop(Exception):
    """What was found makes the rest meaningless or too costly."""


class _Composer:
    """Makes plain values from the parser's events and remembers where each was."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text
        self.problems: list[Problem] = []
        self.values: dict[Path, Spot] = {}
        self.keys: dict[Path, Spot] = {}
        self.broken: set[Path] = set()
        self.value: Plain = None
        self.last = Spot(1, 1)
        self.nodes = 0
        self.events: Iterator[Any] = YAML(typ="safe", pure=True).parse(text)

    def document(self) -> bool:
        """Read the one document of the file; False where there is none."""
        found = False
        for event in self.events:
            if isinstance(event, DocumentStartEvent):
                if found:
                    self._problem(event, "a second document begins here", "keep one document in a file: take out the line ---")
                    return True
                found = True
                self._directives(event)
                self.value = self._node(next(self.events), ())
        if not found or (self.value is None and not self.values[()].text):
            self.problems.append(Problem(Place(self.file, 1, 1), "the file is empty", "write the document, or delete the file"))
            return False
        return True

    def _problem(self, event: Any, what: str, hint: str, path: Path = ()) -> None:
        place = Place(self.file, event.start_mark.line + 1, event.start_mark.column + 1, field(path))
        self.problems.append(Problem(place, what, hint))
        if len(self.problems) == _MOST:
            self.problems.append(Problem(place, "the file is not read any further", "mend what is before here first"))
            raise _Stop

    def _directives(self, event: Any) -> None:
        if not event.explicit:
            return
        for number, line in enumerate(self.text.splitlines()[: event.start_mark.line], start=1):
            if line.startswith("%"):
                self.problems.append(Problem(Place(self.file, number, 1), "a YAML directive is not allowed", "delete the line that begins with %"))

    def _node(self, event: NodeEvent, path: Path) -> Plain:
        self.nodes += 1
        self.last = Spot(event.start_mark.line + 1, event.start_mark.column + 1)
        if self.nodes > MAX_NODES:
            self._problem(event, f"the document has more than {MAX_NODES} values", "split it, or take out what does not belong there")
            raise _Stop
        if isinstance(event, AliasEvent):
            self.values[path] = self.last
            self.broken.add(path)
            name = visible(str(event.anchor))[:80]
            self._problem(event, f"*{name} is an alias, which is not allowed", "write the value out, or put text that begins with * in quotes", path)
            return None
        self._no_extras(event, path)
        if isinstance(event, ScalarEvent):
            return self._scalar(event, path)
        self.values[path] = self.last
        if len(path) >= MAX_DEPTH:
            self._problem(event, f"more than {MAX_DEPTH} lists and maps are inside one another", "nest them less deeply")
            raise _Stop
        return self._map(path) if isinstance(event, MappingStartEvent) else self._list(path)

    def _no_extras(self, event: Any, path: Path) -> None:
        if event.anchor is not None:
            name = visible(str(event.anchor))[:80]
            self._problem(event, f"&{name} is an anchor, which is not allowed", "delete it, or put text that begins with & in quotes", path)
        if event.tag is not None:
            self.broken.add(path)
            name = visible(str(event.tag)).replace("tag:yaml.org,2002:", "!!")[:80]
            self._problem(event, f"{name} is a tag, which is not allowed", "delete it, or put text that begins with ! in quotes", path)

    def _scalar(self, event: Any, path: Path) -> Plain:
        plain = event.style is None
        spot = self.keys.get(path, self.last) if plain and not event.value else self.last
        self.values[path] = Spot(spot.line, spot.column, event.value, not plain)
        if not self._seen(event, path):
            return None
        return scalar(event.value) if plain else str(event.value)

    def _seen(self, event: Any, path: Path) -> bool:
        """Whether a text, its escapes replaced, has only characters that can be seen."""
        found = UNSEEN.search(event.value)
        if found:
            self.broken.add(path)
            self._problem(event, f"an escape here stands for the character {_character(found[0])}, which is not allowed", "leave it out", path)
        return not found

    def _list(self, path: Path) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self.events), CollectionEndEvent):
            items.append(self._node(event, (*path, len(items))))
        return items

    def _map(self, path: Path) -> dict[str, Any]:
        items: dict[str, Any] = {}
        while not isinstance(event := next(self.events), CollectionEndEvent):
            key = self._key(event, path)
            inner = (*path, key)
            spot = Spot(self.last.line, self.last.column, key, getattr(event, "style", None) is not None)
            self._key_is_sound(event, inner)
            if key in items:
                first = self.keys[inner].line
                self._problem(event, f"the key {visible(key)[:80]} is there twice, first in line {first}", "keep one of them", inner)
                self._skip(next(self.events), inner)
                continue
            self.keys[inner] = spot
            items[key] = self._node(next(self.events), inner)
        return items

    def _key(self, event: NodeEvent, path: Path) -> str:
        self.nodes += 1
        self.last = Spot(event.start_mark.line + 1, event.start_mark.column + 1)
        if not isinstance(event, ScalarEvent):
            self._problem(event, "this key is not text", "write a word before the colon, or put text that begins with [ { * in quotes", path)
            self._skip(event, (*path, "?"))
            return "?"
        return UNSEEN.sub(lambda match: visible(match[0]), event.value)

    def _key_is_sound(self, event: NodeEvent, path: Path) -> None:
        if not isinstance(event, ScalarEvent):
            self.broken.add(path)
            return
        self._no_extras(event, path)
        self._seen(event, path)
        if event.style is None and event.value in ("<<", ""):
            self.broken.add(path)
            if event.value:
                self._problem(event, "<< is a merge key, which is not allowed", "write the keys out", path)
            else:
                self._problem(event, "a key is missing before the colon", "write a word before it, or put the text in quotes", path)

    def _skip(self, event: NodeEvent, path: Path) -> None:
        """Read over a value that is of no use, still guarding what is in it."""
        values, keys, broken = self.values, self.keys, self.broken
        self.values, self.keys, self.broken = {}, {}, set()
        if isinstance(event, SequenceStartEvent | MappingStartEvent | ScalarEvent | AliasEvent):
            self._node(event, path)
        self.values, self.keys, self.broken = values, keys, broken
