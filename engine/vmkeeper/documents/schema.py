"""JSON Schemas (draft 2020-12) of all kinds, so that editors complete and check documents. Pure: names and texts."""

from __future__ import annotations

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from vmkeeper.documents.kinds import KINDS, Kind
from vmkeeper.documents.words import pattern_words

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _Generator(GenerateJsonSchema):
    """pydantic's schemas without the titles that it makes up from field names."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  pydantic's name for it
        """Never."""
        return False


def schemas() -> dict[str, str]:
    """The schema of each kind, by its path below docs/: `schemas/appliance.json`."""
    return {f"schemas/{kind.name}.json": json.dumps(schema(kind), indent=2, ensure_ascii=False) + "\n" for kind in KINDS.values()}


def schema(kind: Kind) -> dict[str, Any]:
    """The schema of one kind as a JSON value."""
    made = kind.model.model_json_schema(by_alias=True, schema_generator=_Generator)
    head = {"$schema": DIALECT, "$id": f"{kind.name}.json", "title": f"{kind.title} ({kind.path.replace('*', 'NAME')})"}
    whole: dict[str, Any] = {**head, **{key: value for key, value in made.items() if key not in head}}
    _tidy(whole)
    return whole


def _tidy(node: Any) -> None:
    """One line for each description; words for each pattern; no titles that only repeat a class name."""
    if isinstance(node, list):
        for item in node:
            _tidy(item)
    if not isinstance(node, dict):
        return
    words = pattern_words(node["pattern"]) if isinstance(node.get("pattern"), str) else ""
    if words:
        node["description"] = f"{node['description']} ({words})" if node.get("description") else words
    if "const" in node:
        node.pop("enum", None)  # older pydantic writes both
    if node.get("additionalProperties") is True:
        node.pop("additionalProperties")
    if "$ref" in node or node.get("default", "") is None:
        node.pop("default", None)
    if isinstance(node.get("description"), str):
        node["description"] = " ".join(node["description"].split())
    if node.get("type") == "object" and "$id" not in node:
        node.pop("title", None)
    for item in node.values():
        _tidy(item)
