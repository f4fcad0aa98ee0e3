"""What a damaged memory's error and a list's refusal name, and the form of the file that a person may have to mend."""

from __future__ import annotations

import json

import pytest

from support.keys import NOW
from vmkeeper.documents.guard import MAX_BYTES
from vmkeeper.errors import Refused, UserError
from vmkeeper.lists.hepix import version_key
from vmkeeper.trust.memory import Memory, SeenList, SeenTag, read_memory, with_list, write_memory

LIST = "73d1ec71-3e69-4a27-b5e6-ad9a4d5f2c84"
TAG = SeenTag(sha512="b" * 128, held="c" * 64, key="ssh:x", material="ed25519:00")


def seen(version: str, digit: str = "a") -> SeenList:
    return SeenList(version=version, sha512=digit * 128, expires=NOW)


def test_a_memory_of_many_tags_is_read_whole() -> None:
    memory = Memory(tags={f"endorse/debian-12/{number}/alice/1": TAG for number in range(1000)})
    data = write_memory(memory)
    assert len(data) > MAX_BYTES
    assert read_memory(data, "memory.json") == memory


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'{"newest": null, "newest": null}', "memory.json:1:18: newest: the key newest is there twice"),
        (b'{"format": 1, "newest": "yesterday"}', "Value error, 'yesterday' is not a time"),
        (b'{"format": 1, "unknown": 1}', "Extra inputs are not permitted"),
        (b'{"newest": NaN}', "memory.json:1:12: "),
        (b'{"head": "' + b"x" * MAX_BYTES + b'", "head": ""}', f"memory.json:1:{MAX_BYTES + 14}: head: the key head is there twice"),
    ],
    ids=["a key twice", "no time", "an unknown field", "no number", "a key twice in many bytes"],
)
def test_the_error_says_what_is_wrong_with_the_file(data: bytes, why: str) -> None:
    with pytest.raises(UserError) as caught:
        read_memory(data, "memory.json")
    assert caught.value.where == "memory.json"
    assert caught.value.why.startswith(why)


def test_a_good_memory_is_not_gone_through_for_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmkeeper.trust.memory.read_json", pytest.fail)
    memory = Memory(newest=NOW, tags={"policy/1/root": TAG})
    assert read_memory(write_memory(memory), "memory.json") == memory


def test_the_file_has_a_line_for_each_field_and_ends_with_one() -> None:
    text = write_memory(Memory(newest=NOW, tags={"policy/1/root": TAG})).decode()
    assert text == json.dumps(json.loads(text), indent=1) + "\n"
    assert ' "newest": "2026-06-01T12:00:00Z",\n' in text


@pytest.mark.parametrize(
    ("version", "digit", "what", "why"),
    [
        ("6", "a", "the list went back to an older version", "6, and 7 was seen before"),
        ("7", "c", "version 7 of the list has other content than it had before", ""),
    ],
)
def test_r15_the_list_that_goes_back_is_named(version: str, digit: str, what: str, why: str) -> None:
    before = Memory(lists={LIST: seen("7")})
    with pytest.raises(Refused) as caught:
        with_list(before, LIST, seen(version, digit), version_key)
    error = caught.value
    assert (error.rule, error.what, error.where, error.why) == ("R15", what, LIST, why)
