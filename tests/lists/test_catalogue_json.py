"""catalogue.json: what is written is read back as the same, and nothing else is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from support.shelves import BASE, shelves, two_lists
from vmkeeper.errors import Problems, VmkeeperError
from vmkeeper.lists.catalogue_json import read, schema, write
from vmkeeper.lists.shelf import Shelf

DOCS = Path(__file__).parents[2] / "docs" / "feeds"
GOOD = json.loads(write(two_lists(), BASE))


@given(shelves())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_shelves_are_read_back_as_they_were(made: tuple[Shelf, ...]) -> None:
    data = write(made, BASE)
    again, base = read(data)
    assert again == tuple(sorted(made, key=lambda shelf: shelf.name))
    assert base == BASE
    assert write(again, base) == data


def test_people_can_read_it() -> None:
    text = write(two_lists(), BASE).decode()
    assert '"description": "Ünïcode “quotes”\\nand lines"' in text
    assert '"created": "2026-11-20T12:00:00Z"' in text
    assert text.endswith("}\n")
    assert not any(line.endswith(" ") for line in text.splitlines())


def changed(path: str, value: Any) -> bytes:
    """The good catalogue with one value replaced, or (`...`) taken out."""
    whole = json.loads(json.dumps(GOOD))
    *before, last = (int(part) if part.isdigit() else part for part in path.split("/"))
    at = whole
    for part in before:
        at = at[part]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return json.dumps(whole).encode()


IMAGE = "lists/1/images/0"
WRONG = [
    ("version", 2),
    ("version", "1"),
    ("version", True),
    ("version", ...),
    ("unknown", 1),
    ("base", "no address"),
    ("lists", {}),
    ("lists/1/uuid", "66C2021C-DA80-576F-B523-74041E31EECA"),
    ("lists/1/uuid", GOOD["lists"][0]["uuid"]),
    ("lists/1/name", "empty"),
    ("lists/1/created", "2026-11-20T12:00:00+00:00"),
    ("lists/1/created", "2026-11-20"),
    ("lists/1/created", 1),
    ("lists/1/title", 1),
    ("lists/1/title", None),
    ("lists/1/path", "/etc/passwd"),
    (f"{IMAGE}/path", "science/../x"),
    (f"{IMAGE}/path", ""),
    (f"{IMAGE}/path", "science//x"),
    (f"{IMAGE}/path", "science/x\ny"),
    (f"{IMAGE}/size", "12"),
    (f"{IMAGE}/size", 1.0),
    (f"{IMAGE}/size", True),
    (f"{IMAGE}/size", -1),
    (f"{IMAGE}/size", 2**63),
    (f"{IMAGE}/size", ...),
    (f"{IMAGE}/sha512", "0" * 64),
    (f"{IMAGE}/memory", "512MiB"),
    (f"{IMAGE}/cpus", 0.5),
    (f"{IMAGE}/endorsers", "alice"),
    (f"{IMAGE}/endorsers", ["bob", "alice"]),
    (f"{IMAGE}/endorsers", ["alice", "alice"]),
    (f"{IMAGE}/patches", None),
    (f"{IMAGE}/compressed", []),
    (f"{IMAGE}/more", 1),
    ("lists/1/images/1/patches/0/base_sha512", "x"),
    ("lists/1/images/1/patches/0/memory", None),
    ("lists/1/images/1/compressed/path", ".."),
    ("lists/1/images/1", GOOD["lists"][1]["images"][0]),
]


@pytest.mark.parametrize(("path", "value"), WRONG)
def test_a_value_that_is_not_as_it_must_be_is_told_with_its_place(path: str, value: Any) -> None:
    with pytest.raises(Problems) as caught:
        read(changed(path, value))
    assert all(problem.place.file == "catalogue.json" for problem in caught.value.problems)


def test_all_that_is_wrong_is_told_at_once() -> None:
    whole = json.loads(changed(f"{IMAGE}/size", -1))
    whole["lists"][1]["images"][2]["sha512"] = "x"
    with pytest.raises(Problems) as caught:
        read(json.dumps(whole).encode())
    assert [problem.place.field for problem in caught.value.problems] == ["lists.1.images.0.size", "lists.1.images.2.sha512"]


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"null", b'{"version": 1, "version": 1}', b'{"version": NaN}', b"\xff", b"\xef\xbb\xbf{}", b"[" * 1000 + b"]" * 1000]
)
def test_what_has_two_readings_or_none_is_refused(data: bytes) -> None:
    with pytest.raises(Problems):
        read(data)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@settings(max_examples=100, deadline=None)
def test_no_bytes_make_it_fail_in_another_way(data: bytes) -> None:
    with pytest.raises(VmkeeperError):
        read(data)


@given(st.integers(0, 10**9), st.integers(0, 255))
@settings(max_examples=100, deadline=None)
def test_a_changed_byte_is_refused_or_read_as_what_it_now_says(at: int, byte: int) -> None:
    data = bytearray(write(two_lists(), BASE))
    data[at % len(data)] = byte
    try:
        shelves_again, base = read(bytes(data))
    except VmkeeperError:
        return
    assert read(write(shelves_again, base)) == (tuple(sorted(shelves_again, key=lambda shelf: shelf.name)), base)


def test_the_schema_in_docs_is_what_the_models_say() -> None:
    file = DOCS / "catalogue.schema.json"
    assert file.read_text() == schema(), f"{file} is stale: write vmkeeper.lists.catalogue_json.schema() into it"


def test_the_schema_takes_what_is_written_and_refuses_other_forms() -> None:
    validator = Draft202012Validator(json.loads(schema()))
    Draft202012Validator.check_schema(json.loads(schema()))
    assert validator.is_valid(GOOD)
    for path, value in [
        ("version", 2),
        ("unknown", 1),
        (f"{IMAGE}/size", "12"),
        (f"{IMAGE}/sha512", "0"),
        (f"{IMAGE}/path", ...),
        ("lists/1/created", 1),
    ]:
        assert not validator.is_valid(json.loads(changed(path, value))), path
