"""The JSON Schemas: fresh in docs/, closed, described, and of the same opinion as the loader."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vmkeeper.documents.examples import examples
from vmkeeper.documents.guard import read_yaml
from vmkeeper.documents.kinds import KINDS, Kind
from vmkeeper.documents.schema import DIALECT, schema, schemas
from vmkeeper.documents.words import fields, parts

DOCS = Path(__file__).parents[2] / "docs"
BROKEN = Path(__file__).parent / "broken"


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from nodes(inner)


@pytest.mark.parametrize("name", schemas())
def test_the_schemas_in_docs_are_what_the_models_say(name: str) -> None:
    file = DOCS / name
    assert file.exists(), f"{file} is missing: run `vmkeeper schema --write`"
    assert file.read_text() == schemas()[name], f"{file} is stale: run `vmkeeper schema --write`"


def test_no_other_schemas_lie_in_docs() -> None:
    assert {f"schemas/{file.name}" for file in (DOCS / "schemas").iterdir()} == set(schemas())


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_schema_is_closed_described_and_whole(kind: Kind) -> None:
    made = schema(kind)
    assert made["$schema"] == DIALECT
    assert made["$id"] == f"{kind.name}.json"
    assert set(made["properties"]) == set(fields(kind.model))
    for node in nodes(made):
        if "properties" in node and isinstance(node["properties"], dict) and node.get("type") == "object":
            assert node["additionalProperties"] is False
            assert node["description"]
            for name, inner in node["properties"].items():
                assert inner.get("description"), name
        if isinstance(node.get("pattern"), str):
            re.compile(node["pattern"])
        if isinstance(node.get("$ref"), str):
            assert node["$ref"].removeprefix("#/$defs/") in made["$defs"]
    assert len(made.get("$defs", {})) == len(parts(kind.model)) - 1


def test_the_schemas_agree_with_the_loader() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    for kind in KINDS.values():
        jsonschema.Draft202012Validator.check_schema(schema(kind))
    for name, (of, text) in examples().items():
        made = schema(KINDS[of])
        assert not list(jsonschema.Draft202012Validator(made).iter_errors(read_yaml(text.encode(), "x").value)), name


def test_a_schema_is_json_of_one_form() -> None:
    for text in schemas().values():
        assert json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n" == text
