"""Valid documents of every kind: the reference's examples, and hypothesis strategies made from the models' shapes."""

from __future__ import annotations

from functools import cache
from typing import Any

from hypothesis import strategies as st

from vmkeeper.documents.guard import UNSEEN
from vmkeeper.documents.words import Shape, fields
from vmkeeper.model.base import Document

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(lambda text: not UNSEEN.search(text))
KNOWN_FORMS = {
    "a size": st.integers(0, 2**60).map(lambda n: f"{n}B") | st.integers(0, 999).map(lambda n: f"{n}GiB"),
    "a duration": st.lists(st.tuples(st.integers(0, 9), st.sampled_from("smhdw")), min_size=1, max_size=4).map(
        lambda parts: "".join(f"{n}{unit}" for n, unit in parts)
    ),
    "a version": st.lists(st.integers(0, 10**18 - 1), min_size=1, max_size=8).map(lambda parts: ".".join(map(str, parts))),
    "a version constraint": st.sampled_from(["*", ">=2026.10", ">=1, <2.5", "!=3", "==1.0"]),
    "a time": st.datetimes().map(lambda moment: moment.replace(microsecond=0).isoformat() + "Z"),
    "a SHA-256": st.text("0123456789abcdef", min_size=64, max_size=64),
    "a SHA-512": st.text("0123456789abcdef", min_size=128, max_size=128),
}


def value(shape: Shape) -> st.SearchStrategy[Any]:
    """JSON values that the shape takes (checks across fields aside)."""
    made = _value(shape)
    return st.none() | made if shape.nullable else made


def _value(shape: Shape) -> st.SearchStrategy[Any]:
    if shape.words in KNOWN_FORMS:
        return KNOWN_FORMS[shape.words]
    match shape.kind:
        case "text" if shape.pattern:
            return st.from_regex(shape.pattern, fullmatch=True).map(lambda text: text.removesuffix("\n")).filter(lambda text: not UNSEEN.search(text))
        case "text":
            return TEXT.filter(bool)
        case "choice":
            return st.sampled_from([int(choice) if choice.isdigit() else choice for choice in shape.choices])
        case "whole":
            return st.integers(1, 16)
        case "boolean":
            return st.booleans()
        case "list":
            return st.lists(value(shape.item), min_size=1 if shape.detail else 0, max_size=2)
        case "map":
            return st.dictionaries(value(shape.key), value(shape.item), max_size=2)
        case "union":
            return st.one_of([value(option) for option in shape.options])
        case "model":
            return document(shape.model)
        case _:
            return st.recursive(
                st.none() | st.booleans() | st.integers(-(10**17), 10**17) | TEXT, lambda inner: st.lists(inner, max_size=2), max_leaves=4
            )


@cache
def document(model: type[Document]) -> st.SearchStrategy[dict[str, Any]]:
    """Maps with the model's keys, optional ones sometimes left out."""
    known = fields(model)
    required = {key: value(field.shape) for key, field in known.items() if field.required}
    optional = {key: st.deferred(lambda shape=field.shape: value(shape)) for key, field in known.items() if not field.required}
    return st.fixed_dictionaries(required, optional=optional)
