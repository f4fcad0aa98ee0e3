"""What vmcaster (0.0.36) holds: lists as `--show-imagelist` prints them, its SQLite database, its configuration.

The database is a key-value store around `imagelist`, `Image` and `endorser`; every value is text, keys that were never set
are not there, and several endorsers come as an array. What an import does not need is filled in; the rest is read as any list.
"""

from __future__ import annotations

import configparser
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from vmkeeper.documents.json_guard import read_json
from vmkeeper.errors import Place, Problem, Problems, UserError
from vmkeeper.lists import fields as values
from vmkeeper.lists.hepix import HepixList, read
from vmkeeper.lists.imports.outcome import Note, printable

_SQLITE = b"SQLite format 3\x00"
_NEVER = {"dc:date:created": "1970-01-01T00:00:00Z", "dc:date:expires": "1970-01-01T00:00:00Z"}
_READERS = {
    "hv:size": values.size,
    "sl:checksum:sha512": values.sha512,
    "hv:version": values.version,
    "dc:date:expires": values.time,
    "dc:date:created": values.time,
    "hv:ram_minimum": values.ram,
    "ad:ram_recommended": values.ram,
    "hv:core_minimum": values.number,
    "ad:core_recommended": values.number,
}
_LIST_DEFAULTS = {"dc:title": "", "dc:description": "", "dc:source": "", "hv:version": "0", "hv:uri": "unknown", **_NEVER}
_IMAGE_DEFAULTS = {"hv:uri": "unknown", "hv:version": "0", "hv:size": 1, "sl:checksum:sha512": "0" * 128}
_SETTINGS = frozenset({"urimatch", "urireplace", "readprefix", "writeprefix", "server", "writeprotocol"})
_HINT = 'its sections say server, writeprotocol, uriMatch and uriReplace, each in JSON, such as server = "host"'
_UNSAID = "is not set in vmcaster"
_TABLES = ("imagelist", "ImagelistMetadata", "Image", "ImageMetadata", "endorser", "endorserMetadata", "Endorsement")
_LINKS = "ImageListImage"
"""Which image is on which list; databases of old versions have `fkImageList` in Image instead."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a file of vmcaster's holds."""

    lists: tuple[HepixList, ...] = ()
    notes: tuple[Note, ...] = ()


def read_vmcaster(data: bytes, file: str) -> Found:
    """The lists in a database or an export, or notes from a configuration. Raises Problems and UserError."""
    if data.startswith(_SQLITE):
        return _lists(_database(data, file), file)
    if data.lstrip()[:1] == b"{":
        return _lists([read_json(data, file)], file)
    if data.lstrip()[:1] in (b"[", b"#", b";"):
        return Found((), tuple(_configuration(data, file)))
    raise UserError(
        "this is none of vmcaster's files",
        where=file,
        hint="give its database (dish.db), what `vmcaster --select-imagelist UUID --show-imagelist` prints, or vmcaster.cfg;"
        " a signed list is imported with: vmkeeper import hepix-list",
    )


def _lists(documents: list[Any], file: str) -> Found:
    notes: list[Note] = []
    found = []
    problems: list[Problem] = []
    for document in documents:
        body = document.get("hv:imagelist") if isinstance(document, dict) else None
        if not isinstance(body, dict):
            what = "is no image list: it holds no object hv:imagelist"
            raise UserError(what, where=file, hint="print a whole list: vmcaster --select-imagelist UUID --show-imagelist")
        completed = _completed(body, notes)
        try:
            found.append(read(json.dumps({**document, "hv:imagelist": completed}).encode()))
        except Problems as error:
            problems += [Problem(Place(file, field=one.place.field), one.what, one.hint) for one in error.problems]
    if problems:
        raise Problems(problems)
    if not found:
        raise UserError("there is no image list in it", where=file)
    return Found(tuple(found), tuple(notes))


def _completed(body: dict[str, Any], notes: list[Note]) -> dict[str, Any]:
    """A list with what vmcaster sets only when it uploads, and without what no reader takes."""
    subject = printable(str(body.get("dc:identifier", "the list")))
    made = _sound(body, _LIST_DEFAULTS, subject, notes)
    made["hv:endorser"] = _endorser(body.get("hv:endorser"), subject, notes)
    images = made.setdefault("hv:images", [])
    if isinstance(images, list):
        made["hv:images"] = [_image(item, notes) for item in images]
    return made


def _image(item: Any, notes: list[Note]) -> Any:
    if not isinstance(item, dict) or not isinstance(item.get("hv:image"), dict):
        return item
    image = item["hv:image"]
    return {**item, "hv:image": _sound(image, _IMAGE_DEFAULTS, printable(str(image.get("dc:identifier", "an image"))), notes)}


def _sound(values_of: dict[str, Any], defaults: dict[str, Any], subject: str, notes: list[Note]) -> dict[str, Any]:
    made = dict(values_of)
    for key, check in _READERS.items():
        if key in made:
            try:
                check(made[key])
            except ValueError as error:
                notes.append(Note(subject, key, f"{printable(str(made.pop(key)))[:80]!r} was left out: it {error}"))
    for key, default in defaults.items():
        if key not in made or (key == "hv:uri" and not str(made[key]).strip()):
            made[key] = default
            if key not in _IMAGE_DEFAULTS or defaults is _LIST_DEFAULTS:
                notes.append(Note(subject, key, _UNSAID))
    return made


def _endorser(value: Any, subject: str, notes: list[Note]) -> Any:
    """The one endorser that a list of ours has: the first of several."""
    several = value if isinstance(value, list) else [value]
    known = [one for one in several if isinstance(one, dict) and isinstance(one.get("hv:x509"), dict)]
    first = dict(known[0]["hv:x509"]) if known else {}
    for one in known[1:]:
        who = printable(str(one["hv:x509"].get("hv:dn")))
        notes.append(
            Note(subject, "hv:endorser", f"{who} is left out: readers of lists take one endorser. Add whoever endorses to the endorser list")
        )
    for key in ("hv:dn", "hv:ca"):
        if not str(first.get(key, "")).strip():
            first[key] = "unknown"
            notes.append(Note(subject, f"hv:endorser.{key}", _UNSAID))
    return {"hv:x509": first}


# -- the database


def _database(data: bytes, file: str) -> list[Any]:
    try:
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.deserialize(data)
            connection.execute("pragma trusted_schema = off")
            there = {str(name) for (name,) in connection.execute("select name from sqlite_master")}
            rows = {table: _rows(connection, table) for table in (*_TABLES, *({_LINKS} & there))}
    except sqlite3.Error as error:
        raise UserError(
            "this database cannot be read as vmcaster's", where=file, why=str(error), hint="copy it while vmcaster is not running"
        ) from None
    return [{"hv:imagelist": _list_of(rows, row)} for row in rows["imagelist"]]


def _rows(connection: sqlite3.Connection, table: str) -> list[dict[str, Any]]:
    cursor = connection.execute(f'select * from "{table}" order by id')  # noqa: S608 - one of our own words
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, map(_text, row), strict=True)) for row in cursor]


def _text(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _list_of(rows: dict[str, list[dict[str, Any]]], found: dict[str, Any]) -> dict[str, Any]:
    linked = {one["fkImage"] for one in rows.get(_LINKS, ()) if one["fkImageList"] == found["id"]}
    images = [
        {"hv:image": {**_pairs(rows["ImageMetadata"], "fkImage", image["id"]), "dc:identifier": image["identifier"]}}
        for image in rows["Image"]
        if image["id"] in linked or image.get("fkImageList") == found["id"]
    ]
    ids = [one["fkEndorser"] for one in rows["Endorsement"] if one["fkImageList"] == found["id"]]
    endorsers = [
        {"hv:x509": {**_pairs(rows["endorserMetadata"], "fkEndorser", one["id"]), "hv:dn": one["subject"]}}
        for one in rows["endorser"]
        if one["id"] in ids
    ]
    kept = _pairs(rows["ImagelistMetadata"], "fkImageList", found["id"])
    return {**kept, "dc:identifier": found["identifier"], "hv:images": images, "hv:endorser": endorsers}


def _pairs(rows: list[dict[str, Any]], foreign: str, identifier: int) -> dict[str, Any]:
    return {row["key"]: row["value"] for row in rows if row[foreign] == identifier}


# -- the configuration


def _configuration(data: bytes, file: str) -> Iterator[Note]:
    """Where vmcaster wrote what is read from where, for `publish --to`."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(data.decode())
        sections = {name: {key: json.loads(value) for key, value in parser[name].items()} for name in parser.sections()}
    except (configparser.Error, ValueError) as error:
        why = " ".join(str(error).split())
        raise UserError("this is not vmcaster's configuration", where=file, why=why, hint=_HINT) from None
    if not any(_SETTINGS & section.keys() for section in sections.values()):
        raise UserError("this is not vmcaster's configuration", where=file, why="no section says where lists are written", hint=_HINT)
    for name, section in sections.items():
        said = {key: printable(str(value)) for key, value in section.items()}
        read_at = said.get("urimatch") or said.get("readprefix") or said.get("server", "?")
        written = said.get("urireplace") or said.get("writeprefix") or "?"
        protocol = said.get("writeprotocol", "?")
        what = f"vmcaster wrote to {written} by {protocol} what is read at {read_at}: give `vmkeeper publish --to` that place"
        yield Note(printable(name), "writeprotocol", what)
        for key in sorted(said.keys() - _SETTINGS):
            yield Note(
                printable(name), key, "is a setting of vmcaster's own" if "pass" in key or "secret" in key else f"{said[key]}: no setting of ours"
            )
