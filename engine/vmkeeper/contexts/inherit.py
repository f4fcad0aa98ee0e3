"""A context with all that it extends: scalars replace, maps merge, lists append. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vmkeeper.errors import Place, Problem, Problems
from vmkeeper.model.context import Context

MAX_DEPTH = 16
"""Contexts in a chain; longer ones are a mistake."""


def resolve(name: str, load: Callable[[str], Context | None]) -> Context:
    """The context `name` with nothing left to extend; its own `abstract` stays. Raises Problems."""
    chain: list[str] = []
    found: list[Context] = []
    current: str | None = name
    while current is not None:
        place = Place(path_of(chain[-1] if chain else name), field="extends" if chain else "")
        if current in chain:
            circle = " → ".join([*chain[chain.index(current) :], current])
            raise Problems([Problem(place, f"contexts extend one another in a circle: {circle}", "let one of them extend nothing")])
        context = load(current)
        if context is None:
            raise Problems([Problem(place, f"there is no context {current}", f"write {path_of(current)}, or correct the name")])
        chain.append(current)
        found.append(context)
        if len(chain) > MAX_DEPTH:
            raise Problems([Problem(place, f"more than {MAX_DEPTH} contexts extend one another", "make the chain shorter")])
        current = context.extends
    whole, *children = reversed(found)
    for child in children:
        whole = _extended(whole, child)
    return whole.model_copy(update={"extends": None, "abstract": found[0].abstract})


def path_of(name: str) -> str:
    """Where a context's document lies."""
    return f"clusters/contexts/{name}.yaml"


def _extended(parent: Context, child: Context) -> Context:
    fields: dict[str, Any] = {}
    for field in child.model_fields_set - {"extends"}:
        ours, theirs = getattr(child, field), getattr(parent, field)
        fields[field] = tuple(dict.fromkeys((*theirs, *ours))) if isinstance(ours, tuple) else merge(theirs, ours)
    return parent.model_copy(update=fields)


def merge(below: Any, above: Any) -> Any:
    """Two values of plain data, the upper one winning: maps merge key by key, lists append, everything else replaces."""
    if isinstance(below, dict) and isinstance(above, dict):
        return {**below, **{key: merge(below[key], value) if key in below else value for key, value in above.items()}}
    if isinstance(below, list) and isinstance(above, list):
        return [*below, *above]
    return above
