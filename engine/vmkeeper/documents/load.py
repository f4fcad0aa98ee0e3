"""Bytes to documents: every error of a document at once, each with its file, line, column, key and way out.

Reading is strict: `yes` is no boolean, `"12"` is no number, and a number is no text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from vmkeeper.documents.explain import explain
from vmkeeper.documents.guard import read_yaml
from vmkeeper.documents.kinds import Kind
from vmkeeper.documents.places import Places, Tree
from vmkeeper.errors import Problem, Problems
from vmkeeper.model.base import Document
from vmkeeper.values import visible


@dataclass(frozen=True, slots=True)
class Loaded:
    """A document or what is wrong with it: `document` is None exactly where there are `problems`.

    `places` tells where each key and value sits, for problems that show only beside other documents.
    """

    document: Document | None
    problems: tuple[Problem, ...]
    places: Places


def load(kind: Kind, data: bytes, file: str) -> Document:
    """The document in `data`, an instance of `kind.model`; raises Problems with all that is wrong."""
    loaded = read(kind, data, file)
    if loaded.document is None:
        raise Problems(loaded.problems)
    return loaded.document


def read(kind: Kind, data: bytes, file: str) -> Loaded:
    """The document in `data` or its problems, sorted by place; never raises for any bytes."""
    tree = read_yaml(data, visible(file))
    problems = list(tree.problems)
    document = None
    if tree.readable:
        document, wrong = _validate(kind, tree)
        problems += wrong
    if document is not None:
        problems += _named_as_its_file(kind, document, tree.places, file)
    return Loaded(None if problems else document, tuple(sorted(set(problems))), tree.places)


def _validate(kind: Kind, tree: Tree) -> tuple[Document | None, list[Problem]]:
    if not isinstance(tree.value, Mapping):
        is_now = "a list" if isinstance(tree.value, list) else "text" if isinstance(tree.value, str) else "a single value"
        place = tree.places.of()
        what = f"the document is {is_now}; it must be a map of keys and values"
        return None, [] if () in tree.broken else [Problem(place, what, "write `key: value` lines, such as `title: …`")]
    try:
        return kind.model.model_validate_json(json.dumps(tree.value), strict=True), []
    except ValidationError as error:
        return None, explain(kind.model, tree, error.errors(include_url=False, include_input=False))


def _named_as_its_file(kind: Kind, document: Document, places: Places, file: str) -> list[Problem]:
    """A document that tells its name (a cluster) must be called as its file is."""
    subject, name = kind.subject(file), getattr(document, "name", None)
    if subject is None or name is None or name == subject:
        return []
    what = f"{name} does not agree with the file's name, {subject}"
    return [Problem(places.of("name"), what, f"write `name: {subject}`, or rename the file to {kind.path_of(name)}")]
