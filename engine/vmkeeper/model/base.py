"""What all documents share: frozen, no unknown keys, values immutable; no input or output here."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict


def _no_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"{value} is not a number")
    return value


FirstFormat = Annotated[Literal[1], BeforeValidator(_no_boolean)]
"""The mark of a file's format. (Python takes True for 1, and so does a Literal.)"""


class Inconsistent(ValueError):
    """What a model's own check found: `what` is wrong at `path` (keys and indexes inside the model), `hint` is the way out."""

    def __init__(self, what: str, *path: str | int, hint: str = "") -> None:
        super().__init__(f"{what}: {hint}" if hint else what)
        self.what = what
        self.path = path
        self.hint = hint


def repeated(items: Iterable[Hashable]) -> int | None:
    """The index of the first item that an earlier one equals; None where all differ."""
    seen: set[Hashable] = set()
    for index, item in enumerate(items):
        if item in seen:
            return index
        seen.add(item)
    return None


class Document(BaseModel):
    """A part of a document. Unknown keys are errors; instances never change."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, use_attribute_docstrings=True, validate_default=True)
