"""What a site remembers never goes backwards."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.producer import LIST, NOW
from support.trust import World
from vmkeeper.errors import Refused, UserError
from vmkeeper.lists.hepix import version_key
from vmkeeper.trust.memory import Memory, SeenList, SeenTag, at, lost, read_memory, with_head, with_list, with_policy, with_tags, write_memory
from vmkeeper.trust.refusal import Refusal
from vmkeeper.trust.said import PolicyMark
from vmkeeper.values import Duration

SKEW = Duration.parse("5m")
TAG = SeenTag(sha512="b" * 128, held="c" * 64, key="ssh:x", material="ed25519:00")
FULL = Memory(newest=NOW, lists={LIST: SeenList(version="7", sha512="a" * 128, expires=NOW)}, tags={"endorse/a/1/alice/1": TAG})


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
    assert (rule(error), error.value.what) == ("R13", "the clock went backwards")
    assert error.value.why == "it is 2026-11-20T09:54:59Z here, and 2026-11-20T10:00:00Z was seen before"
    assert error.value.hint == "set the clock; if it was wrong when that time was seen, correct `newest` in the site's memory.json"


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
    more = TAG.model_copy(update={"sha512": "c" * 128})
    made = with_tags(FULL, {"endorse/b/1/alice/2": more, "a": more})
    assert list(made.tags.items()) == [("a", more), ("endorse/a/1/alice/1", TAG), ("endorse/b/1/alice/2", more)]


def test_r8_a_known_tag_that_is_gone_or_another_is_told() -> None:
    name = "endorse/a/1/alice/1"
    assert list(lost(FULL, {name: "b" * 128, "another": "c" * 128})) == []
    hint = "fetch the repository again, with all its tags, from its source"
    assert list(lost(FULL, {"another": "b" * 128})) == [Refusal("R8", "a signed tag that was trusted before is gone", name, hint)]
    hint = "a statement is taken back by vmkeeper withdraw"
    assert list(lost(FULL, {name: "c" * 128})) == [Refusal("R8", "a signed tag that was trusted before is another one now", name, hint)]


def test_r2_a_head_that_does_not_come_after_the_last_one_is_refused() -> None:
    world = World()
    first, second = world.head, world.commit({"a": b"b"})
    memory = with_head(Memory(), world)
    assert memory.head == second
    assert with_head(Memory(head=first), world).head == second
    assert with_head(memory, world).head == second
    world.line.pop()
    with pytest.raises(Refused, match="the branch went back or was forked") as error:
        with_head(memory, world)
    assert (rule(error), error.value.why) == ("R2", f"{first} does not come after {second}")
    assert error.value.hint == "fetch it from its source; ask its maintainers what happened to it"


def mark(number: int, digit: str = "a") -> PolicyMark:
    return PolicyMark(number=number, sha512=digit * 128)


@pytest.mark.parametrize(
    ("before", "now", "good"),
    [
        (None, [mark(1)], True),
        (mark(1), [mark(1)], True),
        (mark(1), [mark(1), mark(2)], True),
        (mark(1), [mark(2)], True),
        (mark(1), [mark(3), mark(4)], True),
        (mark(2), [mark(1)], False),
        (mark(1, "b"), [mark(1)], False),
        (mark(1, "b"), [mark(1), mark(2)], False),
        (mark(3), [mark(1), mark(2)], False),
    ],
)
def test_r3_the_policy_never_goes_back_nor_becomes_another_one(before: PolicyMark | None, now: list[PolicyMark], good: bool) -> None:
    memory = Memory(policy=before)
    if good:
        assert with_policy(memory, now).policy == now[-1]
        return
    with pytest.raises(Refused, match="the policy went back") as error:
        with_policy(memory, now)
    assert before is not None
    assert (rule(error), error.value.hint) == ("R3", "fetch all tags from the repository's source")
    assert error.value.why == f"policy {now[-1].number} is in force here, and policy {before.number} was before"


def test_r16_a_list_version_beyond_any_count_or_date_is_refused() -> None:
    assert with_list(Memory(), LIST, seen(str(10**15)), version_key).lists[LIST].version == str(10**15)
    for version in (str(10**15 + 1), str(2**63 - 1), f"1.{10**16}"):
        with pytest.raises(Refused, match="the list's version is higher than any count or date") as error:
            with_list(Memory(), LIST, seen(version), version_key)
        assert (rule(error), error.value.where, error.value.why) == ("R16", LIST, version)
        assert error.value.hint == "its publisher must give it a lower hv:version, and sites that took it must pin it again"


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
