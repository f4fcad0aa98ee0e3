"""Problems of the provenance that lies beside release records; whether its signature is good is a site's to judge."""

from __future__ import annotations

from collections.abc import Iterator

from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.errors import Place, Problem, Refused
from vmkeeper.trust.history import Record
from vmkeeper.trust.provenance import parse
from vmkeeper.trust.slsa import FILE, subjects
from vmkeeper.values import sha512_hex

_AGAIN = "put back what apply committed; or remove it and release.yaml, and the next apply records the release again"


def problems(catalogue: Catalogue, name: str, broken: set[str]) -> Iterator[Problem]:
    """What is wrong with an appliance's provenance.json: its form, or that it is not about the release.yaml beside it."""
    place = Place(f"appliances/{name}/{FILE}")
    path = f"appliances/{name}/release.yaml"
    data, record = catalogue.snapshot.read(place.file), catalogue.snapshot.read(path)
    if data is None:
        return
    try:
        provenance, _ = parse(data)
    except Refused as error:
        yield Problem(place, f"{error.what}: {error.why}" if error.why else error.what, _AGAIN, error.rule)
        return
    release = catalogue.release(name) if path not in broken else None
    if record is None or (release is not None and provenance.subject != subjects(Record(sha512_hex(record), release))):
        yield Problem(place, "is not about the release.yaml beside it", _AGAIN, "R31")
