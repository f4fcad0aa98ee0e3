"""What a site remembers never goes backwards."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.producer import LIST, NOW
from vmkeeper.errors import Refused, UserError
from vmkeeper.lists.hepix import version_key
from vmkeeper.trust.memory import Memory, SeenList, at, read_memory, with_list, with_tags, write_memory
from vmkeeper.values import Duration

SKEW = Duration.parse("5m")
FULL = Memory(newest=NOW, lists={LIST: SeenList(version="7", sha512="a" * 128, expires=NOW)}, tags={"endorse/a/1/alice/1": "b" * 128})


def seen(version: str, digit: str = "a") -> SeenList:
    return SeenList(version=version, sha512=digit * 128, expires=NOW)


def rule(error: pytest.ExceptionInfo[Refused]) -> str:
    return error.value.rule


def test_what_is_written_is_read_back() -> None:
    assert read_memory(write_memory(FULL), "memory.json") == FULL
    assert write_memory(FULL) == write_memory(read_memory(write_memory(FULL), ""))


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"format": 2}', b'{"unknown": 1}', b'{"newest": "yesterday"}', b"\xff"])
def test_a_damaged_memory_is_an_error_with_a_way_out(data: bytes) -> None:
    with pytest.raises(UserError) as error:
        read_memory(data, "memory.json")
    assert "memory.json" in str(error.value)
    assert error.value.hint


def test_the_clock_moves_the_memory_and_never_back() -> None:
    assert at(Memory(), NOW, SKEW).newest == NOW
    assert at(FULL, NOW + timedelta(days=1), SKEW).newest == NOW + timedelta(days=1)
    assert at(FULL, NOW - timedelta(minutes=5), SKEW).newest == NOW
    with pytest.raises(Refused) as error:
        at(FULL, NOW - timedelta(minutes=5, seconds=1), SKEW)
    assert rule(error) == "R13"


def test_a_newer_list_and_the_same_one_again_are_taken() -> None:
    assert with_list(FULL, LIST, seen("7"), version_key).lists[LIST].version == "7"
    assert with_list(FULL, LIST, seen("10", "c"), version_key).lists[LIST] == seen("10", "c")


@pytest.mark.parametrize("version", ["6", "6.9", "0", "x"])
def test_an_older_list_is_refused(version: str) -> None:
    with pytest.raises(Refused) as error:
        with_list(FULL, LIST, seen(version, "c"), version_key)
    assert rule(error) == "R15"


def test_the_same_version_with_other_content_is_refused() -> None:
    with pytest.raises(Refused) as error:
        with_list(FULL, LIST, seen("7", "c"), version_key)
    assert rule(error) == "R15"


def test_accepted_tags_are_remembered_beside_those_known() -> None:
    known = dict(FULL.tags)
    made = with_tags(FULL, {"endorse/b/1/alice/2": "c" * 128}, known | {"endorse/b/1/alice/2": "c" * 128, "endorse/x": "d" * 128})
    assert made.tags == known | {"endorse/b/1/alice/2": "c" * 128}


@pytest.mark.parametrize("present", [{}, {"endorse/a/1/alice/1": "c" * 128}], ids=["gone", "another"])
def test_a_known_tag_that_is_gone_or_another_is_refused(present: dict[str, str]) -> None:
    with pytest.raises(Refused) as error:
        with_tags(FULL, {}, present)
    assert rule(error) == "R8"


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from("abc")), max_size=12))
def test_versions_never_fall_and_a_version_never_has_two_contents(history: list[tuple[int, str]]) -> None:
    memory, taken = Memory(), []
    for version, digit in history:
        try:
            memory = with_list(memory, LIST, seen(str(version), digit), version_key)
        except Refused:
            continue
        taken.append((version, digit))
    assert [version for version, _ in taken] == sorted(version for version, _ in taken)
    assert len(set(taken)) == len({version for version, _ in taken})
