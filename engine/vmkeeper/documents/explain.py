"""Validation errors in an author's words: what is wrong, what is allowed, what was probably meant.

pydantic says where (a path through the models) and what kind of error; the models' shapes say the rest.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from vmkeeper.documents.places import Path, Tree
from vmkeeper.documents.words import Shape, fields, shape
from vmkeeper.errors import Place, Problem
from vmkeeper.model.base import Document, Inconsistent
from vmkeeper.values import Duration, visible

_MOST = 100
_FORMS = {"map": "write it as {key: value}", "whole": "write digits only", "boolean": "write true or false", "text": "write plain text"}


@dataclass(frozen=True, slots=True)
class _Fault:
    """An error with its path in the file, the shape wanted there and the model around it."""

    path: Path
    shape: Shape | None
    around: type[Document] | None
    type: str
    context: Mapping[str, Any]
    of_key: bool
    message: str


def explain(model: type[Document], tree: Tree, errors: Sequence[Any]) -> list[Problem]:
    """Turn pydantic's errors of one document into problems, leaving out what follows from another problem."""
    faults: dict[tuple[Path, bool], list[_Fault]] = defaultdict(list)
    for error in errors[: 20 * _MOST]:
        fault = _locate(model, error)
        if not any(fault.path[:length] in tree.broken for length in range(len(fault.path) + 1)):
            faults[fault.path, fault.of_key].append(fault)
    misspelt = _misspelt(found[0] for found in faults.values() if found[0].type == "extra_forbidden")
    within = {path[:length] for path, _ in faults for length in range(len(path))}
    problems = []
    for found in faults.values():
        if not _follows(found[0], tree, misspelt, within):
            problems.append(_Speaker(tree, found[0], misspelt).problem())
        if len(problems) == _MOST:
            rest = len(errors) - _MOST
            return [*problems, Problem(Place(tree.places.file), f"and about {rest} more problems", "mend these first")] if rest > 0 else problems
    return problems


def _follows(fault: _Fault, tree: Tree, misspelt: Mapping[Path, Path], within: set[Path]) -> bool:
    """Whether a fault is only the consequence of another one."""
    value = tree.at(fault.path)
    if fault.type == "missing":
        return fault.path in misspelt.values()
    if fault.type == "too_short":
        return isinstance(value, list) and bool(len(value) >= fault.context["min_length"])
    return fault.shape is not None and fault.shape.kind == "union" and not fault.shape.tag and isinstance(value, list) and fault.path in within


def _locate(model: type[Document], error: Mapping[str, Any]) -> _Fault:
    """Follow an error's location through the shapes; members of unions are no part of the path."""
    path: list[str | int] = []
    at: Shape | None = shape(model)
    around: type[Document] | None = None
    map_key: Shape | None = None
    union: tuple[int, Shape] | None = None
    of_key = False
    for part in error["loc"]:
        if part == "[key]" and map_key is not None:
            of_key, at, union = True, map_key, None
            continue
        map_key = None
        if at is not None and at.kind == "union":
            union = (len(path), at) if not at.tag else None
            at = _member(at, str(part))
            continue
        path.append(part)
        if at is None:
            continue
        if at.kind == "model" and at.model is not None:
            around = at.model
            known = fields(at.model).get(str(part))
            at = known.shape if known else None
        else:
            map_key, at = at.key, at.item
    if union is not None and union[0] == len(path):
        at = union[1]
    context = dict(error.get("ctx", {}))
    wrong = context.get("error")
    if isinstance(wrong, Inconsistent):
        path.extend(wrong.path)
    if at is not None and error["type"].startswith("union_tag"):
        path.append(at.tag)
    return _Fault(tuple(path), at, around, str(error["type"]), context, of_key, str(error["msg"]))


def _member(union: Shape, label: str) -> Shape | None:
    """The member of a union that pydantic calls `label`: a tag, or the name of a type."""
    kinds = {"str": "text", "int": "whole", "bool": "boolean"}
    for option in union.options:
        if union.tag and option.model is not None and fields(option.model)[union.tag].shape.choices == (label,):
            return option
        if not union.tag and option.kind == kinds.get(label, "list" if label.startswith("tuple") else ""):
            return option
    return None


def _misspelt(faults: Iterable[_Fault]) -> dict[Path, Path]:
    """Unknown keys that are nearly a known one: their paths and the paths probably meant."""
    found: dict[Path, Path] = {}
    for fault in faults:
        key = str(fault.path[-1])
        near = _near(key, fields(fault.around), 0.85 if _inside(key, fault.around) else 0.6) if fault.around else None
        if near:
            found[fault.path] = (*fault.path[:-1], near)
    return found


def _near(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known word that was probably meant."""
    words = list(known)
    folded = word.lower().replace("-", "_")
    return next(iter(get_close_matches(folded, words, n=1, cutoff=cutoff) if len(word) < 80 else []), None)


def _inside(key: str, around: type[Document]) -> str | None:
    """The map of a model that has such a key."""
    return next((name for name, known in fields(around).items() if known.shape.model and key in fields(known.shape.model)), None)


class _Speaker:
    """Says what is wrong at one path."""

    def __init__(self, tree: Tree, fault: _Fault, misspelt: Mapping[Path, Path]) -> None:
        self.tree = tree
        self.fault = fault
        self.misspelt = misspelt
        self.path = fault.path
        self.shape = fault.shape
        self.known = fields(fault.around).get(str(fault.path[-1])) if fault.around is not None and fault.path else None
        self.value = tree.at(fault.path)
        self.parent = tree.at(fault.path[:-1])

    def problem(self) -> Problem:
        """The problem as people read it."""
        if self.fault.of_key:
            return Problem(self.tree.places.of_key(*self.path), *self._bad_key())
        if self.fault.type == "union_tag_not_found" and self.shape is not None and isinstance(self.parent, dict):
            typed = _near(self.shape.tag, self.parent)
            if typed:
                where = self.tree.places.of_key(*self.path[:-1], typed)
                return Problem(where, f"there is no key {visible(typed)} here", f"did you mean {self.shape.tag}?")
        if self.fault.type in ("missing", "union_tag_not_found"):
            return Problem(self.tree.places.around(*self.path), *self._missing())
        if self.fault.type == "extra_forbidden":
            return Problem(self.tree.places.of_key(*self.path), *self._unknown_key())
        if self.fault.type == "value_error":
            return Problem(self.tree.places.of(*self.path), *self._said())
        return Problem(self.tree.places.of(*self.path), *self._bad_value())

    # -- keys

    def _missing(self) -> tuple[str, str]:
        key = str(self.path[-1])
        known = self.known
        wanted = self.shape.allowed if self.shape and not self.shape.tag else known.shape.allowed if known else ""
        if self.shape is not None and self.shape.tag:
            wanted = f"one of {', '.join(self.shape.choices)}"
        return f"the key {key} is missing", self._hint(f"add `{key}:` with {wanted}" if wanted else f"add `{key}:`")

    def _unknown_key(self) -> tuple[str, str]:
        key = visible(str(self.path[-1]))[:80]
        what = f"there is no key {key} here"
        meant = self.misspelt.get(self.path)
        if meant:
            return what, f"did you mean {meant[-1]}?"
        if self.fault.around is None:
            return what, "take it out"
        inner = _inside(key, self.fault.around)
        if inner:
            return what, f"write it one level deeper, under {inner}"
        return what, f"the keys here are {', '.join(fields(self.fault.around))}"

    def _bad_key(self) -> tuple[str, str]:
        key = visible(str(self.path[-1]))[:80]
        wanted = self.shape or Shape("text", "text")
        return f"the key {key!r} is not {wanted.words}", wanted.detail or wanted.allowed

    # -- values

    def _said(self) -> tuple[str, str]:
        """What one of our own validators said."""
        wrong = self.fault.context.get("error")
        if isinstance(wrong, Inconsistent):
            return visible(wrong.what), wrong.hint
        if isinstance(self.value, bool) or not isinstance(self.value, str | int):
            return self._bad_value()
        what, _, hint = visible(str(wrong or self.fault.message)).partition(": write ")
        if len(what) > 200:
            what = f"{what[:100]} … {what[-60:]}"
        return what, self._hint(f"write {hint}" if hint else "")

    def _bad_value(self) -> tuple[str, str]:
        wanted = self.shape or Shape("any", "something else")
        limit = self._limit(wanted)
        if limit:
            return limit, self._hint("")
        if wanted.kind == "union" and not wanted.tag:
            return f"this is {_is(self.value)}; it must be {wanted.words}", self._hint("write one of these, plainly")
        if wanted.tag:
            return self._bad_tag(wanted) if self.fault.type.startswith("union_tag") else self._untagged(wanted)
        fits: dict[str, type] = {"text": str, "choice": str, "whole": int, "boolean": bool, "list": list, "map": dict, "model": dict}
        needed = int if wanted.kind == "choice" and wanted.choices[0].isdigit() else fits.get(wanted.kind, object)
        if not isinstance(self.value, needed) or (needed is int and isinstance(self.value, bool)):
            return self._wrong_type(wanted)
        if wanted.kind == "choice":
            return self._no_choice(wanted)
        return f"{self._shown()} is not {wanted.words}", self._hint(wanted.sentence)

    def _limit(self, wanted: Shape) -> str:
        """A bound that was passed, in words; "" where it is something else."""
        context = self.fault.context
        match self.fault.type:
            case "greater_than_equal":
                return f"{self._shown()} is too small; it must be {_within(wanted, 'least', context['ge'])}"
            case "less_than_equal":
                return f"{self._shown()} is too large; it must be {_within(wanted, 'most', context['le'])}"
            case "string_too_short":
                return "the text is empty" if not self.value else f"the text is shorter than {context['min_length']} characters"
            case "string_too_long":
                return f"the text has {len(str(self.value))} characters; at most {context['max_length']} are allowed"
            case "too_short":
                return "nothing is listed here; at least one is needed"
        return ""

    def _no_choice(self, wanted: Shape) -> tuple[str, str]:
        near = _near(str(self.value), wanted.choices)
        allowed = f"one of {', '.join(wanted.choices)}" if len(wanted.choices) > 1 else wanted.choices[0]
        return f"{self._shown()} is not {allowed}", f"did you mean {near}?" if near else self._hint(
            "choose what fits best" if len(wanted.choices) > 1 else ""
        )

    def _bad_tag(self, wanted: Shape) -> tuple[str, str]:
        """The key by which a map says what it is, with a value that is none of those."""
        if isinstance(self.value, str):
            return self._no_choice(wanted)
        return f"this is {_is(self.value)}; it must be one of {', '.join(wanted.choices)}", self._hint("choose what fits best")

    def _untagged(self, wanted: Shape) -> tuple[str, str]:
        """Something else than a map, where a map says by one of its keys what it is."""
        what, hint = self._wrong_type(wanted)
        near = _near(self.value, wanted.choices) if isinstance(self.value, str) else None
        return what, f"write it as {{{wanted.tag}: {near}}}, with the keys that go with it" if near else hint

    def _wrong_type(self, wanted: Shape) -> tuple[str, str]:
        spot = self.tree.places.values.get(self.path)
        written = visible(spot.text)[:80] if spot else ""
        quoted = spot is not None and spot.quoted
        must = f"it must be {wanted.words}"
        if self.value is None:
            return f"there is no value here; {must}", self._hint(
                "write one" if self.known and self.known.required else "write one, or take the key out"
            )
        if wanted.kind in ("text", "choice") and isinstance(self.value, bool | int | float):
            fits = re.fullmatch(wanted.pattern, written) if wanted.pattern else wanted.kind == "text"
            return f"{written} is {_is(self.value)}; {must}", f'put it in quotes: "{written}"' if fits else self._hint(wanted.sentence)
        if wanted.kind == "boolean" and isinstance(self.value, str):
            return f"{self._shown()} is text; {must}", _meant_boolean(self.value)
        if (wanted.kind == "whole" or wanted.choices[:1] == ("1",)) and isinstance(self.value, str):
            return f"{self._shown()} is text; {must}", "take the quotes away" if quoted and self.value.isdecimal() else "write digits only"
        if wanted.kind == "list":
            return f"this is {_is(self.value)}; {must}", "begin each item with `- `" if isinstance(
                self.value, dict
            ) else f"write it as a list: [{written}]"
        return f"this is {_is(self.value)}; {must}", self._hint(wanted.sentence or _FORMS.get(wanted.kind, ""))

    # -- pieces

    def _hint(self, text: str) -> str:
        """The way out, with the field's description."""
        description = self.known.description.replace("\n", " ") if self.known else ""
        if description and text:
            return f"{text}. {description}"
        return text or description or (self.shape.allowed if self.shape else "")

    def _shown(self) -> str:
        """The value as written, cut where it is long."""
        spot = self.tree.places.values.get(self.path)
        text = visible(spot.text if spot and spot.text else str(self.value))
        cut = f"{text[:80]}{'…' if len(text) > 80 else ''}"
        return cut if isinstance(self.value, int | float) else f"'{cut}'"


def _within(wanted: Shape, end: str, bound: int) -> str:
    """What a field takes, with the bound that was passed where its words do not say it."""
    return f"{wanted.words} of at {end} {Duration(bound)}" if wanted.words == "a duration" else wanted.words


def _is(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    names = {int: "a number", float: "a number", str: "text", list: "a list", dict: "a map"}
    return names.get(type(value), "nothing")


def _meant_boolean(value: str) -> str:
    """`true` or `false` for what other YAML readers take for it."""
    if value.lower() in ("yes", "on", "y", "true", "1"):
        return "write true, without quotes"
    if value.lower() in ("no", "off", "n", "false", "0"):
        return "write false, without quotes"
    return "write true or false"
