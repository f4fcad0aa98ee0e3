"""The reference in docs/: fresh, whole, with examples that load, links that lead somewhere, words for everything."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vmkeeper.documents import words
from vmkeeper.documents.examples import examples
from vmkeeper.documents.kinds import KINDS, Kind
from vmkeeper.documents.load import load
from vmkeeper.documents.reference import reference
from vmkeeper.documents.words import Shape, fields, parts

DOCS = Path(__file__).parents[2] / "docs"


def shapes(of: Shape) -> list[Shape]:
    inner = [part for part in (of.item, of.key, *of.options) if part is not None]
    return [of, *(found for part in inner for found in shapes(part))]


ALL = [(kind.name, model, field) for kind in KINDS.values() for model in parts(kind.model) for field in fields(model).values()]


@pytest.mark.parametrize("name", reference())
def test_the_reference_in_docs_is_what_the_models_say(name: str) -> None:
    file = DOCS / name
    assert file.exists(), f"{file} is missing: run `vmkeeper schema --write`"
    assert file.read_text() == reference()[name], f"{file} is stale: run `vmkeeper schema --write`"


def test_no_other_pages_lie_in_the_reference() -> None:
    assert {f"reference/{file.name}" for file in (DOCS / "reference").iterdir()} == set(reference())


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_key_has_its_row(kind: Kind) -> None:
    page = reference()[f"reference/{kind.name}.md"]
    for model in parts(kind.model):
        for key in fields(model):
            assert f"\n| `{key}` | " in page
    for row in re.findall(r"^\|.*$", page, re.MULTILINE):
        assert len(re.findall(r"(?<!\\)\|", row)) == 5, row
    headings = {line.removeprefix("## ").lower().replace(" ", "-") for line in page.split("\n") if line.startswith("## ")}
    assert set(re.findall(r"\(#([^)]*)\)", page)) <= headings


@pytest.mark.parametrize("name", examples())
def test_every_example_loads(name: str) -> None:
    kind, text = examples()[name]
    assert isinstance(load(KINDS[kind], text.encode(), "example"), KINDS[kind].model)


def test_every_model_and_key_is_described() -> None:
    assert not [(kind, model.__name__) for kind, model, _ in ALL if not (model.__doc__ or "").strip()]
    assert not [(kind, model.__name__, field.key) for kind, model, field in ALL if not field.description]


def test_every_pattern_has_words_and_an_example_that_fits() -> None:
    for kind, model, field in ALL:
        for shape in shapes(field.shape):
            assert shape.words, (kind, model, field.key)
            if shape.pattern:
                assert shape.words != "text", (kind, model.__name__, field.key, shape.pattern)
                if shape.example:
                    assert re.fullmatch(shape.pattern, shape.example.strip('"')), (kind, field.key)


def test_no_words_are_left_over() -> None:
    used = {shape.pattern for _, _, field in ALL for shape in shapes(field.shape)}
    assert set(words._PATTERNS) <= used


def test_no_page_speaks_python() -> None:
    for name, page in reference().items():
        assert not re.search(r"\bNone\b|\bTrue\b(?!`)|\btuple\b|\bdict\b|pydantic", page), name
