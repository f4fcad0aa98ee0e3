"""JSON that cannot surprise (rule R22): no key twice, no NaN or Infinity, nothing too deep or too big."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace

from vmkeeper.documents.guard import MAX_BYTES, MAX_DEPTH, decode, too_big
from vmkeeper.documents.places import Path, Plain, field
from vmkeeper.errors import Place, Problem, Problems
from vmkeeper.values import visible

RULE = "R22"
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}:,]|[^\s\[\]{}:,"]+')
_SURROGATE = re.compile("[\ud800-\udfff]")
_LARGEST = 2**63


def read_json(data: bytes, file: str, *, limit: int = MAX_BYTES, depth: int = MAX_DEPTH) -> Plain:
    """The value of a JSON text of at most `limit` bytes and `depth` lists and maps inside one another.

    Raises Problems for what is no JSON (RFC 8259) and for what two readers may read differently: keys that are there
    twice, NaN, Infinity, numbers beyond 64 bits, lone surrogates, a byte order mark. The problems are of rule R22.
    """
    try:
        return _read(data, file, limit, depth)
    except Problems as error:
        raise Problems(replace(problem, rule=RULE) for problem in error.problems) from None


def _read(data: bytes, file: str, limit: int, depth: int) -> Plain:
    problems = too_big(data, file, limit)
    text = ""
    if not problems:
        text, problems = decode(data, file)
    if problems:
        raise Problems(problems)
    try:
        value: Plain = json.loads(text, parse_int=_short_int)
    except RecursionError:
        raise Problems([_too_deep(file, depth)]) from None
    except json.JSONDecodeError as error:
        what = f"this is not JSON: {_plain_words(error.msg)}"
        raise Problems([Problem(Place(file, error.lineno, error.colno), what, "write the JSON again with the program that made it")]) from None
    problems = list(_surprises(text, file, depth))
    if problems:
        raise Problems(problems)
    return value


def _short_int(digits: str) -> int:
    return int(digits) if len(digits) < 40 else _LARGEST  # _surprises refuses it with its place


def _plain_words(message: str) -> str:
    if "UTF-8 BOM" in message:
        return "it begins with a byte order mark"
    return visible(message[:1].lower() + message[1:])[:120]


def _too_deep(file: str, depth: int, line: int = 1, column: int = 1) -> Problem:
    return Problem(Place(file, line, column), f"more than {depth} lists and maps are inside one another", "nest them less deeply")


def _surprises(text: str, file: str, depth: int) -> Iterator[Problem]:
    """Walk over the tokens of well-formed JSON and tell what surprises."""
    frames: list[set[str] | None] = []
    path: list[str | int] = []
    want_key = False
    for word, position in _tokens(text):
        place = Place(file, *position)
        if word in "{[":
            if len(frames) == depth:
                yield _too_deep(file, depth, *position)
                return
            frames.append(set() if word == "{" else None)
            path.append(0)
            want_key = word == "{"
        elif word in "}]":
            frames.pop()
            path.pop()
            want_key = False
        elif word == ",":
            want_key = frames[-1] is not None
            last = path[-1]
            path[-1] = last + 1 if isinstance(last, int) else last
        elif word == ":":
            want_key = False
        elif want_key and frames[-1] is not None:
            path[-1] = key = json.loads(word)
            if key in frames[-1]:
                yield Problem(_at(place, path), f"the key {visible(key)[:80]} is there twice", "keep one of them")
            frames[-1].add(key)
            yield from _odd_text(key, _at(place, path))
        else:
            yield from _odd_value(word, _at(place, path))


def _at(place: Place, path: list[str | int]) -> Place:
    full: Path = tuple(path)
    return Place(place.file, place.line, place.column, field(full))


def _tokens(text: str) -> Iterator[tuple[str, tuple[int, int]]]:
    """Each word with its line and column."""
    line, line_start, seen = 1, 0, 0
    for match in _TOKEN.finditer(text):
        breaks = text.count("\n", seen, match.start())
        if breaks:
            line += breaks
            line_start = text.rfind("\n", 0, match.start()) + 1
        seen = match.start()
        yield match[0], (line, match.start() - line_start + 1)


def _odd_text(text: str, place: Place) -> Iterator[Problem]:
    if _SURROGATE.search(text):
        yield Problem(place, "an escape stands for half a character (a lone surrogate)", "write the character itself")


def _odd_value(word: str, place: Place) -> Iterator[Problem]:
    if word.startswith('"'):
        yield from _odd_text(json.loads(word), place)
    elif word in ("NaN", "Infinity", "-Infinity"):
        yield Problem(place, f"{word} is not JSON", "write a number or null")
    elif re.fullmatch(r"-?[0-9]+", word):
        if len(word) > 20 or abs(int(word)) >= _LARGEST:
            yield Problem(place, "the number does not fit in 64 bits", "write it as text, or correct it")
    elif word not in ("true", "false", "null") and not math.isfinite(float(word)):
        yield Problem(place, "the number is too large", "write it as text, or correct it")
