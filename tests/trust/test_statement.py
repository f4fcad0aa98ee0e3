"""Statements have one byte form, and every other is refused."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from support.trust import ISSUED, SecurityKey, World, changed, release
from vmkeeper.errors import Refused
from vmkeeper.trust.statement import ENDORSEMENT, STATEMENT, WITHDRAWAL, Endorsement, TagName, Withdrawal, encode, parse, tag_name

SIGNER = SecurityKey().plain_signer()


def endorsement(**changes: object) -> Endorsement:
    world = World()
    return world.statement(SIGNER, world.commit(release()), **changes)


def withdrawal(reason: str = "a hole") -> Withdrawal:
    shared = endorsement().model_dump(exclude={"action", "recipe", "files", "manifest", "not_before", "expires"})
    return Withdrawal.model_validate({**shared, "reason": reason})


@pytest.mark.parametrize("said", [endorsement(), endorsement(serial=2, previous="a" * 128), withdrawal(), withdrawal("Ünïcode ✓ \u202e\n")])
def test_what_is_written_is_read(said: Endorsement | Withdrawal) -> None:
    data = encode(said)
    assert parse(data) == said
    assert b"\n" not in data
    assert TagName.parse(str(tag_name(said))) == tag_name(said)


def test_an_endorsement_is_an_in_toto_statement_about_record_and_images() -> None:
    value = json.loads(encode(endorsement()))
    assert value["_type"] == STATEMENT
    assert value["predicateType"] == ENDORSEMENT
    names = [subject["name"] for subject in value["subject"]]
    assert names == ["appliances/debian-12/release.yaml", "debian-12-2026.5.1.7.qcow2", "debian-12-2026.5.1.7.raw"]
    assert [file["sha512"] for file in value["predicate"]["files"]] == [subject["digest"]["sha512"] for subject in value["subject"][1:]]
    assert json.loads(encode(withdrawal()))["predicateType"] == WITHDRAWAL


def test_fields_that_do_not_exist_yet_are_absent_and_refused() -> None:
    value = json.loads(encode(endorsement()))
    assert "policy" not in value["predicate"]
    assert "provenance" not in value["predicate"]
    value["predicate"]["policy"] = 1
    with pytest.raises(Refused):
        parse(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"serial": 0},
        {"serial": 2**53, "previous": "a" * 128},
        {"serial": 2},
        {"previous": "a" * 128},
        {"path": "appliances/other"},
        {"path": "../debian-12"},
        {"key": "ssh:MD5:abc"},
        {"key": "openpgp:" + "a" * 40},
        {"version": "v1"},
        {"endorser": "Alice"},
        {"recipe": "HEAD"},
        {"files": ()},
        {"files": tuple(reversed(endorsement().files))},
        {"files": endorsement().files[:1] * 2},
    ],
)
def test_fields_that_cannot_be_are_not_made(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        endorsement(**change)


def test_a_quorum_agrees_on_everything_but_who_and_when() -> None:
    one = endorsement()
    other = changed(one, endorser="bob", serial=4, previous="b" * 128, key="ssh:SHA256:" + "A" * 43, issued=ISSUED + timedelta(days=1))
    assert isinstance(other, Endorsement)
    assert one.content == other.content
    for field in ("recipe", "release", "manifest", "uuid", "version", "files"):
        value = one.files[:1] if field == "files" else "9" if field == "version" else "9" * len(getattr(one, field))
        differing = changed(one, **{field: value})
        assert isinstance(differing, Endorsement)
        assert differing.content != one.content


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_any_json_is_a_statement_or_refused(value: object) -> None:
    for payload in (value, {"_type": STATEMENT, "predicateType": ENDORSEMENT, "predicate": value, "subject": []}):
        with pytest.raises(Refused) as caught:
            parse(json.dumps(payload).encode())
        assert caught.value.rule in ("R22", "R32")


@given(st.text(max_size=60))
def test_any_text_is_a_name_of_ours_or_refused(text: str) -> None:
    try:
        name = TagName.parse(text)
    except Refused:
        return
    assert str(name) == text
