"""Sizes, durations, versions, constraints, times, canonical JSON and what is made visible."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from vmkeeper.values import (
    CommitId,
    Duration,
    Name,
    Sha256,
    Sha512,
    Size,
    Time,
    Uuid,
    Version,
    VersionConstraint,
    canonical_json,
    format_time,
    parse_time,
    sha256_hex,
    sha512_hex,
    visible,
)

versions = st.lists(st.integers(0, 10**18 - 1), min_size=1, max_size=8).map(lambda parts: Version(".".join(map(str, parts))))
short_versions = st.lists(st.integers(0, 3), min_size=1, max_size=4).map(lambda parts: Version(".".join(map(str, parts))))
moments = st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.replace(microsecond=0))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4),
    max_leaves=15,
)


@given(st.integers(0, 2**63 - 1))
def test_a_size_reads_back_from_what_it_is_written_as(count: int) -> None:
    size = Size.parse(count)
    assert Size.parse(str(size)) == size == count
    assert size.human.split()[1] in ("B", "KiB", "MiB", "GiB", "TiB")


@pytest.mark.parametrize(
    ("written", "bytes_"),
    [
        ("4GiB", 4 * 2**30),
        ("4 GiB", 4 * 2**30),
        ("512MiB", 2**29),
        ("1TiB", 2**40),
        ("3KiB", 3072),
        ("7B", 7),
        ("7", 7),
        ("0", 0),
        (12, 12),
        ("007B", 7),
    ],
)
def test_sizes(written: str | int, bytes_: int) -> None:
    assert Size.parse(written) == bytes_


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0B"), (1, "1B"), (1024, "1KiB"), (1025, "1025B"), (2**30, "1GiB"), (1536 * 2**20, "1536MiB"), (2**50, "1024TiB")]
)
def test_a_size_is_written_with_the_largest_unit_that_is_exact(size: int, text: str) -> None:
    assert str(Size(size)) == text


@pytest.mark.parametrize(
    "written",
    [
        "",
        "GiB",
        "4GB",
        "4G",
        "4gib",
        "-4GiB",
        "1.5GiB",
        "4  TB",
        "4GiB ",
        " 4GiB",
        "1e3",
        "0x10",
        "4\nGiB",
        "４GiB",
        -1,
        1.5,
        True,
        None,
        [4],
        "9" * 21,
        {"a": 1},
        b"4",
    ],
)
def test_what_is_no_size(written: object) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        Size.parse(written)


@pytest.mark.parametrize("written", [2**63, 10**40, "8388608TiB", "99999999999999999999TiB", "9223372036854775808"])
def test_a_size_fits_in_64_bits(written: str | int) -> None:
    with pytest.raises(ValueError, match="8 EiB"):
        Size.parse(written)
    assert Size.parse(2**63 - 1) == 2**63 - 1


@given(st.integers(0, 100 * 366 * 86400))
def test_a_duration_reads_back_from_what_it_is_written_as(seconds: int) -> None:
    assert Duration.parse(str(Duration(seconds))) == seconds


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("0s", 0), ("90s", 90), ("15m", 900), ("12h", 43200), ("14d", 1209600), ("2w", 1209600), ("1d12h", 129600), ("1m1m", 120)],
)
def test_durations(written: str, seconds: int) -> None:
    assert Duration.parse(written) == seconds
    assert Duration.parse(Duration.parse(written)) == seconds


@pytest.mark.parametrize(
    "written", ["", "14", "14 d", "d", "14D", "-1d", "1.5h", "1y", "1M", "14d ", "１d", "1d\n", "1000000000s", 14, None, True, [], "101w1y"]
)
def test_what_is_no_duration(written: object) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        Duration.parse(written)


def test_a_duration_always_fits_into_the_calendar() -> None:
    longest = Duration.parse("36600d")
    assert datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=longest)
    for written in ("36601d", "999999999w", "9w" * 1000 + "999999999w"):
        with pytest.raises(ValueError, match="longer than 100 years"):
            Duration.parse(written)


@given(short_versions, short_versions, short_versions)
def test_versions_are_in_one_order(a: Version, b: Version, c: Version) -> None:
    assert (a < b) + (a == b) + (a > b) == 1
    assert not (a <= b and b <= c) or a <= c
    assert (a == b) == (hash(a) == hash(b) and a.numbers == b.numbers)
    assert (a < b) == (a.numbers < b.numbers)


@given(versions)
def test_a_version_keeps_its_text(version: Version) -> None:
    assert Version(str(version)) == version
    assert str(Version.parse(version.text)) == version.text


@pytest.mark.parametrize(
    ("less", "more"), [("1", "2"), ("1.9", "1.10"), ("2026.9.30.99", "2026.10.1.1"), ("1", "1.0.1"), ("9", "10"), ("1.2", "1.2.0.1")]
)
def test_versions_compare_as_numbers(less: str, more: str) -> None:
    assert Version(less) < Version(more)


def test_trailing_zeros_and_leading_zeros_do_not_count() -> None:
    assert Version("1.0") == Version("1") == Version("1.0.0") == Version("01")
    assert Version("0") == Version("0.0")
    assert len({Version("1.0"), Version("1")}) == 1
    assert Version("1") != "1"


@pytest.mark.parametrize(
    "text", ["", ".", "1.", ".1", "1..2", "v1", "1a", "1-2", "1 ", " 1", "1\n", "-1", "+1", "1.2.3.4.5.6.7.8.9", "1" * 19, "１", "1.２"]
)
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(ValueError, match="is not a version"):
        Version.parse(text)


@pytest.mark.parametrize("value", [1, 1.5, None, True, [1]])
def test_a_version_that_is_no_text_is_asked_to_be_quoted(value: object) -> None:
    with pytest.raises(ValueError, match="quotes"):
        Version.parse(value)
    with pytest.raises(ValueError, match="quotes"):
        VersionConstraint.parse(value)


@given(short_versions, short_versions, st.sampled_from([">=", "<=", "==", "!=", ">", "<"]))
def test_a_constraint_says_what_its_operator_says(bound: Version, version: Version, operator: str) -> None:
    expected = {
        ">=": version >= bound,
        "<=": version <= bound,
        "==": version == bound,
        "!=": version != bound,
        ">": version > bound,
        "<": version < bound,
    }
    assert (version in VersionConstraint(f"{operator}{bound}")) == expected[operator]
    assert version in VersionConstraint("*")


@given(st.lists(st.tuples(st.sampled_from([">=", "<=", "!="]), short_versions), min_size=1, max_size=4), short_versions)
def test_all_comparisons_of_a_constraint_must_hold(terms: list[tuple[str, Version]], version: Version) -> None:
    whole = VersionConstraint(", ".join(f"{operator} {bound}" for operator, bound in terms))
    assert (version in whole) == all(version in VersionConstraint(f"{operator}{bound}") for operator, bound in terms)
    assert VersionConstraint.parse(str(whole)) == whole
    assert hash(VersionConstraint(str(whole))) == hash(whole)


@pytest.mark.parametrize(
    "text", ["", " ", "1", "=1", "~=1", ">= ", ">=1,", ",>=1", ">=1 <2", ">=v1", "* , >=1", "**", ">=1..2", ">=.", "=>1", ">=1;<2"]
)
def test_what_is_no_constraint(text: str) -> None:
    with pytest.raises(ValueError, match="is not a version"):
        VersionConstraint.parse(text)


@given(moments)
def test_a_time_reads_back_from_what_it_is_written_as(moment: datetime) -> None:
    text = format_time(moment)
    assert len(text) == 20
    assert parse_time(text) == moment


def test_times_are_written_in_utc() -> None:
    there = datetime(2026, 11, 20, 12, 30, 0, 999999, tzinfo=timezone(timedelta(hours=2)))
    assert format_time(there) == "2026-11-20T10:30:00Z"
    assert TypeAdapter(Time).validate_python(there) == datetime(2026, 11, 20, 10, 30, tzinfo=UTC)
    with pytest.raises(ValueError, match="zone"):
        format_time(datetime(2026, 11, 20))  # noqa: DTZ001


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-20", "2026-11-20T10:30:00", "2026-11-20T10:30:00+00:00", "2026-11-20 10:30:00Z", "2026-11-20T10:30:00.5Z", "2026-11-20t10:30:00z",
        "2026-1-2T3:4:5Z", "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-12-31T23:59:60Z", "2026-11-20T24:00:00Z", "0000-01-01T00:00:00Z", "",
        "now", "２026-11-20T10:30:00Z", "2026-11-20T10:30:00Z\n",
    ],
)  # fmt: skip
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        parse_time(text)


@pytest.mark.parametrize("value", [12, None, 1.5, datetime(2026, 1, 1), [], "x"])  # noqa: DTZ001
def test_a_time_field_takes_nothing_else(value: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Time).validate_python(value)


NAMES = ["a", "debian-12", "a.b_c-d", "0", "a" * 64, "a--b"]
NO_NAMES = ["", "A", "-a", "a-", ".a", "a.", "_a", "a b", "a/b", "é", "a" * 65, "a..b", "a.lock", "a\n", "a\x00b", "a\u202eb", "..", "-rf"]


@pytest.mark.parametrize("name", NAMES)
def test_names(name: str) -> None:
    assert TypeAdapter(Name).validate_python(name) == name


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Name).validate_python(name)


@pytest.mark.parametrize(
    ("kind", "good"),
    [
        (Uuid, "0b7e9a52-6f0c-4a53-9d0a-0f2f0a1c7d11"),
        (Sha256, "0123456789abcdef" * 4),
        (Sha512, "0123456789abcdef" * 8),
        (CommitId, "0123456789" * 4),
    ],
)
def test_identifiers_have_one_form(kind: type, good: str) -> None:
    adapter = TypeAdapter(kind)
    assert adapter.validate_python(good) == good
    for bad in (good.upper(), good[:-1], good + "0", f" {good}", f"{good}\n", good[:-1] + "g", ""):
        if bad != good:
            with pytest.raises(ValidationError):
                adapter.validate_python(bad)


@given(json_values)
def test_canonical_json_is_one_form_of_the_same_value(value: object) -> None:
    written = canonical_json(value)
    assert json.loads(written) == value
    assert canonical_json(json.loads(written)) == written
    assert canonical_json(json.loads(json.dumps(value, indent=3))) == written


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), st.integers(), min_size=2, max_size=6), st.randoms())
def test_canonical_json_does_not_know_the_order_of_keys(value: dict[str, int], random: object) -> None:
    items = list(value.items())
    random.shuffle(items)  # type: ignore[attr-defined]
    assert canonical_json(dict(items)) == canonical_json(value)


@pytest.mark.parametrize("value", [1.0, float("nan"), float("inf"), [1, {"a": 0.5}], {"a": [0.5]}, (1, 2.0)])
def test_floats_have_no_canonical_form(value: object) -> None:
    with pytest.raises(ValueError, match="float"):
        canonical_json(value)


def test_canonical_json_in_bytes() -> None:
    assert canonical_json({"b": [1, "é", None], "a": True}) == '{"a":true,"b":[1,"é",null]}'.encode()
    assert canonical_json(()) == b"[]"


@given(st.text())
def test_what_is_made_visible_has_no_control_characters_and_can_be_written(text: str) -> None:
    shown = visible(text)
    assert visible(shown) == shown
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in shown)
    shown.encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 𝄞", "plain é 𝄞"), ("\x1b[31m", "\\u001b[31m"), ("a\nb\tc", "a\\u000ab\\u0009c"), ("\x85", "\\u0085"), ("\x7f", "\\u007f"),
        ("a\u202eb", "a\\u202eb"), ("\u2066", "\\u2066"), ("\ufeff", "\\ufeff"), ("\u2028", "\\u2028"), ("\ud800", "\\ud800"), ("\u200b", "\\u200b"),
    ],
)  # fmt: skip
def test_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_digests() -> None:
    assert sha256_hex(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert sha512_hex(b"abc").startswith("ddaf35a193617abacc417349ae204131")


@pytest.mark.parametrize("kind", [Size, Duration, Version, VersionConstraint])
def test_every_scalar_is_a_field_with_a_schema_of_its_own_form(kind: type) -> None:
    import re

    adapter = TypeAdapter(kind)
    made = adapter.json_schema()
    for example in made["examples"]:
        assert re.search(made["pattern"], example)
        value = adapter.validate_python(example)
        assert adapter.validate_python(adapter.dump_python(value, mode="json")) == value
        assert repr(value).startswith(kind.__name__)
