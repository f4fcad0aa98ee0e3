"""Documents to YAML bytes, always the same ones: what `vmkeeper` writes into the repository.

Keys in the models' order, defaults left out, one line for each item of a long list so that git shows one line a change;
whatever a YAML reader of any version might take for something other than text is quoted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from vmkeeper.documents.guard import UNSEEN
from vmkeeper.model.base import Document

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_/.+-]*|[0-9]{1,20}(?:B|KiB|MiB|GiB|TiB)|(?:[0-9]{1,9}[smhdw])+")
_TAKEN_FOR_ELSE = re.compile(r"(?i)y|n|yes|no|on|off|true|false|null|[0-9a-f-]{32,}")


def dump(document: Document) -> bytes:
    """A document as YAML that `load` reads back as an equal document; raises ValueError for text that no document may hold."""
    value = document.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return "".join(f"{line}\n" for line in _map_lines(_with_format(document, value))).encode() or b"{}\n"


def in_flow(value: Any) -> str:
    """A plain value on one line: `{appliance: debian-12, version: ">=2"}`."""
    return _flow(value)


def in_block(value: Mapping[str, Any]) -> Iterator[str]:
    """A map of plain values in lines, a key a line."""
    return _map_lines(dict(value))


def _with_format(document: Document, value: dict[str, Any]) -> dict[str, Any]:
    """Keep the mark of the file's format (`version: 1`) although it is a default."""
    marks = {
        name: info.default
        for name, info in type(document).model_fields.items()
        if get_origin(info.annotation) is Literal and len(get_args(info.annotation)) == 1 and not info.is_required()
    }
    keys = [info.alias or name for name, info in type(document).model_fields.items()]
    return {key: {**value, **marks}[key] for key in keys if key in value or key in marks}


def _map_lines(value: dict[str, Any]) -> Iterator[str]:
    for key, item in value.items():
        if isinstance(item, dict | list) and item:
            yield f"{_scalar(key)}:"
            yield from _map_lines_within(item) if isinstance(item, dict) else _list_lines(item)
        else:
            yield f"{_scalar(key)}: {_flow(item)}"


def _map_lines_within(value: dict[str, Any]) -> Iterator[str]:
    for line in _map_lines(value):
        yield f"  {line}"


def _list_lines(items: list[Any]) -> Iterator[str]:
    for item in items:
        if isinstance(item, dict) and any(isinstance(inner, dict | list) for inner in item.values()):
            for number, line in enumerate(_map_lines(item)):
                yield f"{'  ' if number else '- '}{line}"
        else:
            yield f"- {_flow(item)}"


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.fullmatch(value) and not _TAKEN_FOR_ELSE.fullmatch(value):
        return value
    if UNSEEN.search(value):
        raise ValueError(f"text with control characters cannot be written: {value!r}")
    return json.dumps(value, ensure_ascii=False)
