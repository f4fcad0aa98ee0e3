"""Every value of every example, one after another, replaced by what does not belong there: the error points at exactly that value."""

from __future__ import annotations

from typing import Any

import pytest

from vmkeeper.documents.examples import examples
from vmkeeper.documents.guard import read_yaml
from vmkeeper.documents.kinds import KINDS
from vmkeeper.documents.load import read
from vmkeeper.documents.places import Path, field
from vmkeeper.documents.words import Shape, fields, parts, shape


def shape_at(kind: str, path: Path, value: Any) -> Shape | None:
    at: Shape | None = shape(KINDS[kind].model)
    for part in path:
        if at is None or at.kind == "any":
            return None
        if at.tag:
            at = next(option for option in at.options if value.get("type") in fields(option.model)["type"].shape.choices)
        at = fields(at.model)[str(part)].shape if at.model else at.item
        value = value[part]
    return at


def leaves() -> list[Any]:
    found = []
    for name, (kind, text) in examples().items():
        tree = read_yaml(text.encode(), "x")
        for path, spot in tree.places.values.items():
            made = shape_at(kind, path, tree.value)
            if path and made is not None and made.kind != "any" and spot.text and "\n" not in spot.text:
                found.append(pytest.param(name, path, made, id=f"{name}.{field(path)}"))
    return found


LEAVES = leaves()


def replaced(name: str, path: Path, by: str) -> tuple[bytes, int, int]:
    """The example with one scalar replaced, and where that scalar is."""
    _, text = examples()[name]
    spot = read_yaml(text.encode(), "x").places.values[path]
    lines = text.split("\n")
    line, start = lines[spot.line - 1], spot.column - 1
    end = start + len(spot.text) + (2 if spot.quoted else 0)
    assert line[start:end].strip("\"'") == spot.text
    lines[spot.line - 1] = line[:start] + by + line[end:]
    return "\n".join(lines).encode(), spot.line, spot.column


@pytest.mark.parametrize("by", ["{a: b}", "[{a: b}]", "1.5", "true", "''", "'\u00e9!'"])
@pytest.mark.parametrize(("name", "path", "wanted"), LEAVES)
def test_a_value_that_does_not_belong_is_pointed_at(name: str, path: Path, wanted: Shape, by: str) -> None:
    fits = {"true": "boolean", "''": "text", "'\u00e9!'": "text"}.get(by, "")
    data, line, column = replaced(name, path, by)
    problems = read(KINDS[examples()[name][0]], data, "x").problems
    if not problems:
        assert wanted.kind in (fits, "union")
        assert not wanted.pattern or wanted.words in ("kernel options", "a line of text", "a prefix of object names")
        return
    if wanted.kind == "union":
        assert all(problem.place.line == line for problem in problems)
        return
    assert (line, column) in [(problem.place.line, problem.place.column) for problem in problems]
    assert all(problem.hint for problem in problems)


@pytest.mark.parametrize("name", examples())
def test_every_misspelt_key_is_recognised(name: str) -> None:
    kind, text = examples()[name]
    tree = read_yaml(text.encode(), "x")
    tried = 0
    for path, spot in tree.places.keys.items():
        at = shape_at(kind, path[:-1], tree.value)
        if at is None or not (at.model or at.tag) or spot.text != path[-1] or len(str(path[-1])) < 4:
            continue
        tried += 1
        key = str(path[-1])
        lines = text.split("\n")
        line = lines[spot.line - 1]
        lines[spot.line - 1] = line[: spot.column - 1] + key[:-1] + line[spot.column - 1 + len(key) :]
        problems = read(KINDS[kind], "\n".join(lines).encode(), "x").problems
        told = [problem for problem in problems if (problem.place.line, problem.place.column) == (spot.line, spot.column)]
        assert any(problem.hint == f"did you mean {key}?" for problem in told), (key, problems)
        assert not any(problem.what == f"the key {key} is missing" for problem in problems)
    assert tried


@pytest.mark.parametrize("kind", KINDS)
def test_every_missing_key_is_named_with_what_it_takes(kind: str) -> None:
    problems = read(KINDS[kind], b"labels_: {}\n", "x").problems
    missing = {problem.place.field for problem in problems if "is missing" in problem.what}
    assert missing == {key for key, known in fields(KINDS[kind].model).items() if known.required}
    assert all(problem.place.line == 1 and problem.hint for problem in problems)


def test_the_examples_use_nearly_every_key() -> None:
    for kind in KINDS:
        texts = [text for of, text in examples().values() if of == kind]
        used = {part for text in texts for path in read_yaml(text.encode(), "x").places.keys for part in path}
        known = {key for model in parts(KINDS[kind].model) for key in fields(model)}
        assert len(used & known) >= 0.6 * len(known), kind
