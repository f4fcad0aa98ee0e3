"""An endorsers/ tree as a policy: whole keys, each one's own, nothing replaced by a default."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from support.keys import NOW, GpgHome, SecurityKey, Signer
from support.trust import LIST, builder, endorser_list, key_files, listed_key, person, policy, principal
from vmkeeper.documents.dump import dump
from vmkeeper.errors import Refused
from vmkeeper.model.endorser import EndorserList
from vmkeeper.model.keys import Compromise, OpenPGPKey, SSHKey, X509Key
from vmkeeper.trust.keys.interface import HeldOpenPGPKey, SignedBy
from vmkeeper.trust.people import Holder, TrustedEndorser, grouped, hold, key_id, matches, merged, shared_keys, shown
from vmkeeper.trust.policy import Policy, read_policy
from vmkeeper.trust.refusal import Refusal, Untrusted
from vmkeeper.trust.signature import Read
from vmkeeper.values import sha512_hex

A, B, C, CI = (SecurityKey().plain_signer() for _ in range(4))


def files(*people: Any, keys: dict[str, bytes] | None = None, **fields: Any) -> dict[str, bytes]:
    return {"policy.yaml": dump(policy(principal("a", A), **fields)), f"{LIST}.yaml": dump(endorser_list(*people)), **(keys or {})}


def refused(tree: dict[str, bytes]) -> tuple[Refusal, ...]:
    with pytest.raises(Refused) as caught:
        read_policy(tree)
    return caught.value.refusals if isinstance(caught.value, Untrusted) else (Refusal.of(caught.value),)


def test_a_policy_has_everybodys_keys_in_full(pgp: Signer) -> None:
    made = read_policy(files(person("alice", pgp, B), keys=key_files(pgp), builders=(builder("ci", CI),), freshness={"signers": ["ci"]}))
    assert [one.name for one in made.everybody()] == ["a", "ci", "alice"]
    alice = made.lists[LIST].endorser("alice")
    assert alice is not None
    assert alice.keys == (pgp.key, B.key)
    assert (alice.full_name, alice.email, made.principals[0].full_name, made.principals[0].email) == (
        "Alice",
        "alice@example.org",
        "A",
        "a@example.org",
    )
    assert made.lists[LIST].endorser("bob") is None
    assert made.builders[0].id == "https://ci.example.org/build"
    assert made.freshness_signers() == made.builders
    assert (made.lists[LIST].name, made.lists[LIST].community, made.lists[LIST].rebuilds) == (LIST, "science", 0)
    assert made.derivation(NOW) == {LIST: ()}


def test_freshness_is_signed_by_those_who_are_named() -> None:
    builders = (builder("ci", CI), builder("other", B))
    assert [one.name for one in read_policy(files(builders=builders, freshness={"signers": ["other"]})).freshness_signers()] == ["other"]
    assert read_policy(files(builders=builders)).freshness_signers() == ()


def test_r4_a_tree_without_a_policy_is_refused() -> None:
    tree = files()
    del tree["policy.yaml"]
    hint = "write it, and have the principals sign it: vmkeeper policy sign"
    assert refused(tree) == (Refusal("R4", "there is no policy", "endorsers/policy.yaml", hint),)


@pytest.mark.parametrize(
    ("path", "text", "rule"),
    [
        ("policy.yaml", b"", "R21"),
        ("policy.yaml", b"title: x\ntitle: y\n", "R21"),
        ("policy.yaml", b"a: &b 1\n", "R21"),
        (f"{LIST}.yaml", b"%YAML 1.1\n---\na: 1\n", "R21"),
        (f"{LIST}.yaml", b"title: x\n", "R22"),
        (f"{LIST}.yaml", b"\xff", "R21"),
    ],
)
def test_r21_r22_a_document_that_has_no_one_reading_is_refused(path: str, text: bytes, rule: str) -> None:
    found = refused({**files(person("alice", B)), path: text})
    assert {one.rule for one in found} == {rule}
    assert all(one.evidence.startswith(f"endorsers/{path}") and one.why for one in found)


def test_all_that_is_wrong_is_told_at_once() -> None:
    assert {one.rule for one in refused({**files(), "policy.yaml": b"a: &a 1\n", f"{LIST}.yaml": b"x: 1\n"})} == {"R21", "R22"}


def test_r5_names_keys_and_thresholds_that_do_not_go_together_are_refused() -> None:
    good = files(person("alice", B), person("bob", C))
    for old, new in (
        (b"name: bob", b"name: alice"),
        (C.key.key.encode(), B.key.key.encode()),  # type: ignore[union-attr]
        (b"quorum: 1", b"quorum: 3"),
    ):
        text = good[f"{LIST}.yaml"]
        changed = text.replace(old, new) if old in text else text + b"quorum: 3\n"
        assert [one.rule for one in refused({**good, f"{LIST}.yaml": changed})] == ["R5"], old


def test_r5_one_key_pair_belongs_to_one_name_whatever_the_role() -> None:
    key = SecurityKey()
    for tree, owners in (
        (files(person("alice", A)), "a and alice"),
        (files(person("alice", B), person("bob", key.signer()), person("carol", key.plain_signer())), "bob and carol"),
        (files(person("alice", CI), builders=(builder("ci", CI),)), "alice and the builder ci"),
        (files(person("ci", CI), builders=(builder("ci", CI),)), "ci and the builder ci"),
    ):
        (refusal,) = refused(tree)
        assert (refusal.rule, refusal.why) == ("R5", f"one key belongs to {owners}")
        assert refusal.evidence.startswith("ed25519:")
        assert refusal.hint == "a key belongs to one person; take it from the others"
    read_policy(files(person("a", A)))


def test_r5_certificates_of_one_holder_belong_to_one_name() -> None:
    names = {"type": "x509", "subject": "/DC=org/CN=Alice", "issuer": "/DC=org/CN=CA"}
    tree = files(person("alice", names))  # type: ignore[arg-type]
    tree["other.yaml"] = dump(endorser_list(person("bob", {**names, "certificate": "1" * 64})))  # type: ignore[arg-type]
    assert [(one.rule, one.why) for one in refused(tree)] == [("R5", "one key belongs to alice and bob")]


def test_r10_a_key_file_holds_exactly_the_key_that_is_named(gpg_home: GpgHome, pgp: Signer) -> None:
    assert isinstance(pgp.key, HeldOpenPGPKey)
    other = gpg_home.make("policyother")
    path = f"keys/{pgp.key.fingerprint}.asc"
    contents = {
        "other": gpg_home.run("--armor", "--export", other),
        "two": gpg_home.run("--armor", "--export", other, pgp.key.fingerprint),
        "secret": gpg_home.run("--armor", "--export-secret-keys", pgp.key.fingerprint),
        "junk": b"hello",
        "binary": gpg_home.run("--export", pgp.key.fingerprint),
    }
    for what, data in contents.items():
        (refusal,) = refused(files(person("alice", pgp), keys={path: data}))
        assert (refusal.rule, refusal.evidence.split(":")[0]) == ("R10", f"endorsers/{LIST}.yaml"), what
    (refusal,) = refused(files(person("alice", pgp), keys={path: contents["other"]}))
    assert refusal.why == f"{path} holds another key than the list names"
    assert refusal.evidence == f"endorsers/{LIST}.yaml: {other}, not {pgp.key.fingerprint}"
    hint = "write it with: gpg --armor --export FINGERPRINT, and commit it"
    assert refused(files(person("alice", pgp))) == (Refusal("R4", "there is no such key file", f"endorsers/{path}", hint),)


def test_problems_with_principals_builders_and_lists_are_told_together(pgp: Signer) -> None:
    listed = policy(principal("a", pgp), builders=(builder("ci", Signer(SSHKey(type="ssh", key="ssh-ed25519 AAAA"), str)),))
    found = refused({"policy.yaml": dump(listed), f"{LIST}.yaml": dump(endorser_list(person("alice", listed_key(pgp))))})  # type: ignore[arg-type]
    assert [one.rule for one in found] == ["R4", "R10"]  # the same file is missing for both
    assert found[1].evidence.startswith("endorsers/policy.yaml: ci")


def test_r10_one_key_does_not_lie_in_two_versions(gpg_home: GpgHome) -> None:
    fingerprint = gpg_home.make("versions")
    before = gpg_home.signer(fingerprint)
    gpg_home.run("--passphrase", "", "--pinentry-mode", "loopback", "--quick-set-expire", fingerprint, "2y", at=NOW)
    after = gpg_home.signer(fingerprint)
    second = {**listed_key(after), "file": "keys/second.asc"}
    tree = files(person("alice", before), keys=key_files(before) | {"keys/second.asc": after.key.armour.encode()})  # type: ignore[union-attr]
    tree["other.yaml"] = dump(endorser_list(person("alice", second)))  # type: ignore[arg-type]
    assert refused(tree) == (Refusal("R10", "one key lies in files that differ", fingerprint, "name the same file wherever the key is listed"),)
    tree["keys/second.asc"] = b"\n" + before.key.armour.encode()  # type: ignore[union-attr]
    assert len(read_policy(tree).lists) == 2


def test_what_was_taken_from_other_repositories_is_read_beside_the_lists() -> None:
    base = dump(endorser_list(person("alice", B)))
    made = read_policy({**files(), "sources/hepix/list.yaml": base, "sources/hepix/pins.yaml": b"", "sources/x/y/list.yaml": b"junk"})
    assert set(made.bases) == {"hepix"}
    assert made.bases["hepix"].sha512 == sha512_hex(base)
    assert isinstance(made.bases["hepix"].list, EndorserList)
    assert set(made.sources) == set(made.lists) == {LIST}
    found = refused({**files(), "sources/hepix/list.yaml": b"junk: 1\n"})
    assert {one.rule for one in found} == {"R22"}


def test_marks_are_kept_with_the_key(pgp: Signer) -> None:
    state = {"retired": "2026-05-01T00:00:00Z", "compromised_since": {"serial": 2, "sha512": "9" * 128}}
    made: Policy = read_policy(files(person("alice", listed_key(pgp, **state), listed_key(B, **state)), keys=key_files(pgp)))  # type: ignore[arg-type]
    for key in made.lists[LIST].endorsers[0].keys:
        assert key.compromised_since == Compromise(serial=2, sha512="9" * 128)
        assert key.retired is not None
        assert key.retired.year == 2026
    everybody = merged(made.lists[LIST].endorsers)
    assert all(key.retired is None and key.compromised_since is None for key in everybody["alice"].keys)


# -- People


def endorser(**fields: Any) -> TrustedEndorser:
    return TrustedEndorser(name="alice", keys=(A.key,), **fields)


def test_scope_is_for_appliances_and_communities() -> None:
    one = endorser(scope={"appliances": ["debian-*", "slurm"], "communities": ["science", "x*"]})
    assert one.in_scope("debian-12", "science")
    assert one.in_scope("slurm", "xyz")
    assert not one.in_scope("slurm-1", "science")
    assert not one.in_scope("slurm", "other")
    assert endorser().in_scope("anything", "any")


def test_a_term_begins_with_its_first_and_ends_before_its_last_moment() -> None:
    second = timedelta(seconds=1)
    one = endorser(not_before=NOW, expires=NOW + 2 * second)
    assert [one.in_office(NOW + number * second) for number in (-1, 0, 1, 2)] == [False, True, True, False]
    assert endorser().in_office(NOW)


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("*", "a", True),
        ("debian-*", "debian-12", True),
        ("debian-*", "debian", False),
        ("*-worker", "slurm-worker", True),
        ("a", "a", True),
        ("a", "ab", False),
        ("a*c", "abc", True),
    ],
)
def test_patterns_match_whole_names(pattern: str, name: str, expected: bool) -> None:
    assert matches(pattern, name) == expected


NAMES = {"type": "x509", "subject": "/DC=org/CN=Alice", "issuer": "/DC=org/CN=CA"}
ANY, ONE = X509Key.model_validate(NAMES), X509Key.model_validate({**NAMES, "certificate": "1" * 64})


def test_keys_are_named_and_shown(pgp: Signer) -> None:
    assert isinstance(pgp.key, HeldOpenPGPKey)
    assert key_id(A.key) == A.id
    assert key_id(pgp.key) == pgp.id
    assert (key_id(ONE), key_id(ANY)) == ("x509:" + "1" * 64, "x509:/DC=org/CN=Alice by /DC=org/CN=CA")
    assert shown(ANY) == "X.509    /DC=org/CN=Alice, issued by /DC=org/CN=CA"
    assert shown(ONE) == "X.509    /DC=org/CN=Alice, issued by /DC=org/CN=CA, SHA-256 " + " ".join(["1111"] * 16)
    assert shown(pgp.key) == f"OpenPGP  {grouped(pgp.key.fingerprint)}"
    assert grouped("123456789") == "1234 5678 9"


def read(key: Any, by: str) -> Read:
    return Read("t", "", (), None, SignedBy(by, "m"), key)


def test_the_key_that_signed_is_found_as_its_holder_has_it(pgp: Signer) -> None:
    marked = SSHKey.model_validate({**A.key.model_dump(), "retired": NOW})
    one = Holder(name="alice", keys=(B.key, marked, pgp.key))
    assert one.key_like(read(A.key, A.id)) is marked
    assert one.key_like(read(pgp.key, pgp.id)) is pgp.key
    assert one.key_like(read(C.key, C.id)) is None
    assert one.key_like(Read("t", "", ())) is None
    assert one.key_like(Read("t", "", (), None, None, A.key)) is None
    cert = "x509:" + "1" * 64
    assert Holder(name="a", keys=(ONE,)).key_like(read(ANY, cert)) is ONE
    assert Holder(name="a", keys=(ONE,)).key_like(read(ANY, "x509:" + "2" * 64)) is None
    assert Holder(name="a", keys=(ANY,)).key_like(read(ONE, cert)) is ANY
    other = X509Key.model_validate({**NAMES, "issuer": "/DC=org/CN=Other"})
    assert Holder(name="a", keys=(other,)).key_like(read(ANY, cert)) is None


def test_keys_are_held_in_full_or_refused(pgp: Signer) -> None:
    assert isinstance(pgp.key, HeldOpenPGPKey)
    armour = pgp.key.armour
    listed = OpenPGPKey.model_validate(listed_key(pgp))
    held = hold(listed, lambda _path: b"\n" + armour.encode() + b"\n\n")
    assert held == pgp.key
    assert hold(ANY, lambda _path: b"") is ANY
    with pytest.raises(Refused):
        hold(SSHKey(type="ssh", key="ssh-ed25519 AAAA"), lambda _path: b"")


def test_merged_people_have_all_of_their_keys_once() -> None:
    found = merged(
        [Holder(name="a", full_name="First", email="a@b", keys=(A.key,)), Holder(name="a", keys=(A.key, B.key)), Holder(name="b", keys=(C.key,))]
    )
    assert found["a"] == Holder(name="a", full_name="First", email="a@b", keys=(A.key, B.key))
    assert found["b"].keys == (C.key,)
    assert list(shared_keys(found.values())) == []
