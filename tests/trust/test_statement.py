"""Statements have one byte form, and every other is refused."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from support.keys import ISSUED, SecurityKey
from support.trust import World, changed, release
from vmkeeper.errors import Refused
from vmkeeper.trust.said import (
    Chain,
    Endorsement,
    Freshness,
    ListMark,
    PolicyMark,
    PolicySignature,
    Revocation,
    Said,
    SiteApproval,
    Statement,
    Withdrawal,
)
from vmkeeper.trust.statement import STATEMENT, TagName, encode, parse
from vmkeeper.values import canonical_json, sha512_hex

SIGNER = SecurityKey().plain_signer()


def endorsement(**changes: object) -> Endorsement:
    world = World()
    return world.statement(SIGNER, world.record_release(release()), **changes)


def withdrawal(reason: str = "a hole") -> Withdrawal:
    shared = endorsement().model_dump(exclude={"action", "recipe", "files", "manifest", "not_before", "expires", "provenance", "rebuilt", "policy"})
    return Withdrawal.model_validate({**shared, "reason": reason})


SHARED = {"repository": "a" * 40, "key": SIGNER.id, "issued": ISSUED, "commit": "b" * 40}


def policy_signature(**changes: object) -> PolicySignature:
    fields = {"number": 1, "tree": "c" * 128, "previous": None, "principal": "root", "expires": ISSUED + timedelta(days=1)}
    return PolicySignature.model_validate({**SHARED, **fields, **changes})


def revocation(**changes: object) -> Revocation:
    fields = {"holder": "alice", "revoked": SIGNER.id, "since": {"serial": 3, "sha512": "d" * 128}, "by": "root", "number": 1, "reason": "lost"}
    return Revocation.model_validate({**SHARED, **fields, **changes})


def approval(**changes: object) -> SiteApproval:
    fields = {"site": "lab", "number": 1, "file": "e" * 128, "previous": None, "administrator": "carol"}
    return SiteApproval.model_validate({**SHARED, **fields, **changes})


def freshness(**changes: object) -> Freshness:
    fields = {
        "policy": {"number": 1, "sha512": "f" * 128},
        "chains": [{"endorser": "alice", "serial": 1, "sha512": "1" * 128}, {"endorser": "bob", "serial": 2, "sha512": "2" * 128}],
        "revocations": ["3" * 128, "4" * 128],
        "lists": [{"uuid": f"00000000-0000-0000-0000-00000000000{number}", "version": "1", "sha512": "5" * 128} for number in (1, 2)],
        "builder": "ci",
        "expires": ISSUED + timedelta(days=1),
    }
    return Freshness.model_validate({**SHARED, **fields, **changes})


EVERY: tuple[Statement, ...] = (
    endorsement(),
    endorsement(serial=2, previous="a" * 128, provenance="9" * 128, rebuilt=True),
    withdrawal(),
    withdrawal("Ünïcode ✓ \u202e\n"),
    policy_signature(),
    policy_signature(number=2, previous="a" * 128),
    revocation(),
    revocation(since={"serial": 0, "sha512": None}, by="alice"),
    approval(),
    approval(number=2, previous="a" * 128),
    freshness(),
    freshness(chains=(), revocations=(), lists=()),
)


@pytest.mark.parametrize("said", EVERY, ids=lambda said: said.ref)
def test_what_is_written_is_read(said: Statement) -> None:
    data = encode(said)
    assert parse(data) == said
    assert b"\n" not in data
    if not isinstance(said, Freshness):
        name = TagName.parse(said.ref)
        assert (str(name), name.text, name.signer) == (said.ref, said.ref, said.signer)
        assert (name.number, name.action) == (getattr(said, "serial", 0) or said.number, said.action)  # type: ignore[union-attr]


def test_names_of_tags_are_taken_apart() -> None:
    assert TagName.parse("endorse/debian-12/1.2/alice/3") == TagName("endorse/debian-12/1.2/alice/3", "endorse", "alice", 3, "debian-12", "1.2")
    assert TagName.parse("withdraw/a/1/b/3") == TagName("withdraw/a/1/b/3", "withdraw", "b", 3, "a", "1")
    assert TagName.parse("policy/4/root") == TagName("policy/4/root", "policy", "root", 4)
    assert TagName.parse("revoke/alice/root/5") == TagName("revoke/alice/root/5", "revoke", "root", 5, subject="alice")
    assert TagName.parse("approve/lab/6/carol") == TagName("approve/lab/6/carol", "approve", "carol", 6, subject="lab")
    with pytest.raises(Refused, match="the tag's name is not one of ours") as caught:
        TagName.parse("policy/0/root")
    assert (caught.value.rule, caught.value.why) == ("R6", "policy/0/root")
    assert caught.value.hint.startswith("endorse/ or withdraw/ APPLIANCE/VERSION/ENDORSER/SERIAL, policy/N/PRINCIPAL, ")
    assert caught.value.hint.endswith(" revoke/HOLDER/BY/N, approve/SITE/N/ADMINISTRATOR")


@pytest.mark.parametrize(
    ("said", "predicate", "subjects"),
    [
        (withdrawal(), "withdrawal", [("appliances/debian-12/release.yaml", endorsement().release)]),
        (policy_signature(), "policy", [("endorsers", "c" * 128)]),
        (revocation(), "revocation", [(SIGNER.id, sha512_hex(SIGNER.id.encode()))]),
        (approval(), "approval", [("sites/lab.yaml", "e" * 128)]),
    ],
)
def test_each_kind_of_statement_has_its_predicate_and_subjects(said: Said, predicate: str, subjects: list[tuple[str, str]]) -> None:
    value = json.loads(encode(said))  # type: ignore[arg-type]
    assert value["predicateType"] == f"https://vmkeeper.org/{predicate}/v1"
    assert [(one["name"], one["digest"]) for one in value["subject"]] == [(name, {"sha512": digest}) for name, digest in subjects]


def test_a_freshness_statement_is_about_all_that_was_seen() -> None:
    (subject,) = freshness().subjects()
    assert subject["name"] == "state"
    for change in (
        {"commit": "c" * 40},
        {"policy": PolicyMark(number=2, sha512="f" * 128)},
        {"chains": (Chain(endorser="alice", serial=2, sha512="1" * 128),)},
        {"revocations": ()},
        {"lists": (ListMark(uuid="0" * 8 + "-0000-0000-0000-" + "0" * 12, version="2", sha512="5" * 128),)},
    ):
        assert freshness(**change).subjects() != [subject]
    for change in ({"builder": "other"}, {"issued": ISSUED + timedelta(seconds=1)}, {"expires": ISSUED + timedelta(days=2)}):
        assert freshness(**change).subjects() == [subject]
    assert (freshness().ref, freshness().signer) == ("freshness", "ci")


@pytest.mark.parametrize(
    "change",
    [
        {"chains": [{"endorser": one, "serial": 1, "sha512": "1" * 128} for one in ("bob", "alice")]},
        {"chains": [{"endorser": "bob", "serial": one, "sha512": "1" * 128} for one in (1, 2)]},
        {"revocations": ["4" * 128, "3" * 128]},
        {"revocations": ["4" * 128, "4" * 128]},
        {"lists": [{"uuid": f"00000000-0000-0000-0000-00000000000{one}", "version": "1", "sha512": "5" * 128} for one in (2, 1)]},
    ],
)
def test_what_a_freshness_statement_names_is_sorted_and_there_once(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="chains, revocations and lists are sorted, each once"):
        freshness(**change)


def test_previous_belongs_to_every_policy_and_approval_but_the_first() -> None:
    for make, name in ((policy_signature, "policy"), (approval, "approval")):
        for wrong in ({"number": 1, "previous": "a" * 128}, {"number": 2, "previous": None}):
            with pytest.raises(ValidationError, match=f"previous belongs to every {name} but the first"):
                make(**wrong)


def test_a_quorum_of_principals_agrees_on_everything_but_who_and_when() -> None:
    one = policy_signature(number=2, previous="a" * 128)
    for same in ({"principal": "other"}, {"key": "ssh:SHA256:" + "A" * 43}, {"issued": ISSUED + timedelta(days=1)}):
        assert changed(one, **same).content == one.content  # type: ignore[union-attr]
    others: tuple[dict[str, object], ...] = (
        *({"repository": "9" * 40}, {"number": 3}, {"commit": "9" * 40}, {"tree": "9" * 128}, {"previous": "9" * 128}),
        {"expires": ISSUED},
    )
    assert len({one.content, *(changed(one, **other).content for other in others)}) == 7  # type: ignore[union-attr]


def test_a_quorum_of_administrators_agrees_on_everything_but_who_and_when() -> None:
    one = approval(number=2, previous="a" * 128)
    for same in ({"administrator": "other"}, {"key": "ssh:SHA256:" + "A" * 43}, {"issued": ISSUED + timedelta(days=1)}):
        assert changed(one, **same).content == one.content  # type: ignore[union-attr]
    others: tuple[dict[str, object], ...] = (
        *({"repository": "9" * 40}, {"site": "other"}, {"number": 3}, {"commit": "9" * 40}, {"file": "9" * 128}),
        {"previous": "9" * 128},
    )
    assert len({one.content, *(changed(one, **other).content for other in others)}) == 7  # type: ignore[union-attr]


def test_an_endorsement_is_an_in_toto_statement_about_record_and_images() -> None:
    value = json.loads(encode(endorsement()))
    assert value["_type"] == STATEMENT
    assert value["predicateType"] == Endorsement.predicate
    names = [subject["name"] for subject in value["subject"]]
    assert names == ["appliances/debian-12/release.yaml", "debian-12-2026.5.1.7.qcow2", "debian-12-2026.5.1.7.raw"]
    assert [file["sha512"] for file in value["predicate"]["files"]] == [subject["digest"]["sha512"] for subject in value["subject"][1:]]
    assert json.loads(encode(withdrawal()))["predicateType"] == Withdrawal.predicate


@pytest.mark.parametrize("said", EVERY, ids=lambda said: said.ref)
def test_fields_that_do_not_exist_are_refused(said: Statement) -> None:
    value = json.loads(encode(said))
    value["predicate"]["later"] = 1
    with pytest.raises(Refused, match="does not have the fields") as caught:
        parse(canonical_json(value))
    assert (caught.value.rule, caught.value.why) == ("R22", "later: Extra inputs are not permitted")
    del value["predicate"]["later"]
    for name in value["predicate"]:
        lacking = {**value, "predicate": {key: one for key, one in value["predicate"].items() if key != name}}
        with pytest.raises(Refused) as caught:
            parse(canonical_json(lacking))
        assert caught.value.rule in ("R22", "R32")


def test_only_statements_of_ours_are_read() -> None:
    for text, why in (("{}", "None"), ('{"predicateType":[]}', "[]"), ('{"predicateType":"x"}', "'x'"), ("1", "None")):
        with pytest.raises(Refused, match="the message is not a statement of ours") as caught:
            parse(text.encode())
        assert (caught.value.rule, caught.value.why) == ("R22", f"predicateType {why}")
    with pytest.raises(Refused, match="not JSON that has one reading") as caught:
        parse(b'{"n":1,"n":2}')
    assert (caught.value.rule, "the key n is there twice" in caught.value.why) == ("R22", True)
    with pytest.raises(Refused, match="the statement is not in canonical form") as caught:
        parse(b'{"b":1,"a":2}')
    assert (caught.value.rule, caught.value.why) == ("R32", "written again, it has other bytes")
    with pytest.raises(Refused, match="the statement does not name its subjects as we do") as caught:
        parse(encode(withdrawal()).replace(b"release.yaml", b"release.yml"))
    assert (caught.value.rule, caught.value.why) == ("R32", "written again, it has other bytes")


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
    one = endorsement(provenance="8" * 128)
    other = changed(
        one, rebuilt=True, policy=9, endorser="bob", serial=4, previous="b" * 128, key="ssh:SHA256:" + "A" * 43, issued=ISSUED + timedelta(days=1)
    )
    assert isinstance(other, Endorsement)
    assert one.content == other.content
    for field in ("recipe", "release", "manifest", "provenance", "uuid", "version", "files"):
        value = one.files[:1] if field == "files" else "9" if field == "version" else "9" * len(getattr(one, field) or "")
        differing = changed(one, **{field: value})
        assert isinstance(differing, Endorsement)
        assert differing.content != one.content


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_any_json_is_a_statement_or_refused(value: object) -> None:
    for payload in (value, {"_type": STATEMENT, "predicateType": Endorsement.predicate, "predicate": value, "subject": []}):
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
