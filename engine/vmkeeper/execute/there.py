"""Which images of ours were at each place after the last run, in HOME/there.json: what is missing from it later, somebody deleted.

A word to compare with, never a reason to believe that something is there. A damaged file counts as none, and that is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from vmkeeper.clouds.interface import CloudImage
from vmkeeper.execute.walk import Done, Outcome
from vmkeeper.images.files import write_file
from vmkeeper.model.base import Document
from vmkeeper.plan.imageactions import AdoptImage, DeleteImage, RegisterImage
from vmkeeper.plan.wanted import Note

FILE = "there.json"
There = Mapping[str, frozenset[str]]
"""By place, `ImageSpec.key` of the images that were there."""


class ThereFile(Document):
    """`there.json`."""

    version: Literal[1] = 1
    places: dict[str, tuple[str, ...]]


def read_there(home: Path) -> tuple[There, tuple[Note, ...]]:
    """What was there after the last run; nothing before the first one, or where the file is damaged, with a note then."""
    try:
        said = ThereFile.model_validate_json((home / FILE).read_bytes())
    except FileNotFoundError:
        return {}, ()
    except (ValidationError, OSError):
        why = "it cannot be read, so images that somebody deleted cannot be told from new ones; this run writes it anew"
        return {}, (Note(FILE, why),)
    return {place: frozenset(keys) for place, keys in said.places.items()}, ()


def keep_there(home: Path, there: There) -> None:
    """Write what is there now, whole or not at all; what did not change is not written."""
    data = ThereFile(places={place: tuple(sorted(keys)) for place, keys in sorted(there.items())}).model_dump_json(indent=1).encode()
    path = home / FILE
    if not path.exists() or path.read_bytes() != data:
        write_file(path, data)


def there_now(ours: Iterable[CloudImage], place: str, outcomes: Iterable[Outcome], missing: Iterable[str]) -> frozenset[str]:
    """What is at a place after a run: what was seen, less what was deleted, and what came; and what is `missing` still."""
    keys = {image.id: image.spec.key for image in ours if image.spec is not None and image.state != "incomplete"}
    came: set[str] = set()
    for action in (outcome.action for outcome in outcomes if isinstance(outcome, Done)):
        match action:
            case DeleteImage(place=where) if where == place:
                keys.pop(action.image, None)
            case RegisterImage(place=where) | AdoptImage(place=where) if where == place:
                came.add(action.spec.key)
    return frozenset({*keys.values(), *came, *missing})
