"""Rule R22: JSON that two readers cannot read as two values."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmkeeper.documents.json_guard import read_json
from vmkeeper.errors import Problems

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_plain_json_is_read_as_it_is(value: object, ascii_only: bool, indent: int | None) -> None:
    assert read_json(json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode(), "x") == value


@pytest.mark.parametrize(
    ("text", "place", "field", "says"),
    [
        ('{"n":1,"n":2}', "1:8", "n", "the key n is there twice"),
        ('{"a":{"b":1},\n "c":[0,{"b":1,\n"b":1}]}', "3:1", "c[1].b", "the key b is there twice"),
        ('{"a":1,"\\u0061":2}', "1:8", "a", "the key a is there twice"),
        ('{"":1,"":2}', "1:7", '[""]', "the key  is there twice"),
        ("NaN", "1:1", "", "NaN is not JSON"),
        ('{"a":[1,NaN]}', "1:9", "a[1]", "NaN is not JSON"),
        ('{"a":Infinity}', "1:6", "a", "Infinity is not JSON"),
        ("[-Infinity]", "1:2", "[0]", "-Infinity is not JSON"),
        ("[1e999]", "1:2", "[0]", "the number is too large"),
        ("[-1e999]", "1:2", "[0]", "the number is too large"),
        ("[9223372036854775808]", "1:2", "[0]", "the number does not fit in 64 bits"),
        ("[" + "9" * 6000 + "]", "1:2", "[0]", "the number does not fit in 64 bits"),
        ('["\\ud800"]', "1:2", "[0]", "an escape stands for half a character (a lone surrogate)"),
        ('{"\\udc00":1}', "1:2", '["\\udc00"]', "an escape stands for half a character (a lone surrogate)"),
        ("[" * 41 + "]" * 41, "1:41", "", "more than 40 lists and maps are inside one another"),
        ("[" * 100_000, "1:1", "", "more than 40 lists and maps are inside one another"),
        ("", "1:1", "", "this is not JSON: expecting value"),
        ("{", "1:2", "", "this is not JSON: expecting property name enclosed in double quotes"),
        ("[1,]", "1:4", "", "this is not JSON: expecting value"),
        ("{'a':1}", "1:2", "", "this is not JSON: expecting property name enclosed in double quotes"),
        ('{"a":1}\n{"a":1}', "2:1", "", "this is not JSON: extra data"),
        ("\ufeff{}", "1:1", "", "this is not JSON: it begins with a byte order mark"),
        ('["\x01"]', "1:3", "", "this is not JSON: invalid control character at"),
        ("[01]", "1:3", "", "this is not JSON: expecting ',' delimiter"),
        ("// x\n1", "1:1", "", "this is not JSON: expecting value"),
        ("nul", "1:1", "", "this is not JSON: expecting value"),
    ],
)
def test_what_surprises_is_refused_where_it_stands(text: str, place: str, field: str, says: str) -> None:
    with pytest.raises(Problems) as raised:
        read_json(text.encode(), "x.json")
    problem = raised.value.problems[0]
    assert (f"{problem.place.line}:{problem.place.column}", problem.place.field, problem.what) == (
        place,
        field if len(text) > 60 else problem.place.field,
        says,
    )
    if len(text) < 60:
        assert problem.place.field == field
    assert problem.hint


def test_all_surprises_are_told_at_once() -> None:
    with pytest.raises(Problems) as raised:
        read_json(b'{"a":1,"a":NaN,"b":[Infinity,{"c":1,"c":2}]}', "x")
    assert [problem.place.column for problem in raised.value.problems] == [8, 12, 21, 37]


def test_limits_are_the_callers() -> None:
    assert read_json(b"[[1]]", "x", limit=5, depth=2) == [[1]]
    for limit, depth in ((4, 2), (5, 1)):
        with pytest.raises(Problems):
            read_json(b"[[1]]", "x", limit=limit, depth=depth)


def test_invalid_utf8_is_pointed_at() -> None:
    with pytest.raises(Problems) as raised:
        read_json(b'["a",\n"\xff"]', "x")
    assert (raised.value.problems[0].place.line, raised.value.problems[0].place.column) == (2, 2)
