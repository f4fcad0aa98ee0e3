"""What a policy's refusals name, what of people and keys reaches the lists in force, and what a derived list is compared with."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from support.keys import NOW, SecurityKey, Signer
from support.trust import LIST, builder, endorser_list, key_files, listed_key, person, policy, principal
from vmkeeper.documents.dump import dump
from vmkeeper.errors import Refused
from vmkeeper.model.endorser import Base, Position
from vmkeeper.model.keys import Compromise, OpenPGPKey, SSHKey, X509Key
from vmkeeper.trust.derived import Source
from vmkeeper.trust.keys.interface import HeldOpenPGPKey, SignedBy
from vmkeeper.trust.keys.material import materials
from vmkeeper.trust.keys.ssh import read_public_key
from vmkeeper.trust.people import Holder, TrustedBuilder, differing_files, hold, key_id, merged, shared_keys, shown
from vmkeeper.trust.policy import Policy, read_policy
from vmkeeper.trust.refusal import Refusal, Untrusted
from vmkeeper.trust.signature import Read
from vmkeeper.values import Duration, sha512_hex

A, B, C, CI = (SecurityKey().plain_signer() for _ in range(4))
BAD = [Signer(SSHKey(type="ssh", key=f"ssh-ed25519 {text}"), str) for text in ("AAAA", "AAAB", "AAAC")]
SYNC = "run: vmkeeper policy sync, and have the policy signed"


def files(*people: Any, more: dict[str, bytes] | None = None, **fields: Any) -> dict[str, bytes]:
    return {"policy.yaml": dump(policy(principal("a", A), **fields)), f"{LIST}.yaml": dump(endorser_list(*people)), **(more or {})}


def refused(tree: dict[str, bytes]) -> tuple[Refusal, ...]:
    with pytest.raises(Untrusted) as caught:
        read_policy(tree)
    return caught.value.refusals


def cause(signer: Signer) -> Refused:
    """What is wrong with a key."""
    with pytest.raises(Refused) as caught:
        hold(signer.key, lambda _path: b"")  # type: ignore[arg-type]
    return caught.value


# -- What is refused


def test_keys_that_cannot_be_read_are_told_with_their_files_and_holders() -> None:
    tree = files(person("alice", BAD[0]))
    tree["policy.yaml"] = dump(policy(principal("a", BAD[1]), principal("b", B), builders=(builder("ci", CI), builder("more", BAD[2]))))
    causes = [(cause(signer), place) for signer, place in zip(BAD, (f"{LIST}.yaml", "policy.yaml: a", "policy.yaml: more"), strict=True)]
    expected = {Refusal(bad.rule, bad.what, f"endorsers/{place}: {bad.why}", bad.hint) for bad, place in causes}
    assert set(refused(tree)) == expected


def test_problems_of_a_document_keep_their_place_and_their_way_out() -> None:
    twice = files()["policy.yaml"] + b"title: again\n"
    line = twice.count(b"\n")
    (found,) = refused({**files(), "policy.yaml": twice})
    assert (found.rule, found.evidence.split(": ")[0], bool(found.hint)) == ("R21", f"endorsers/policy.yaml:{line}:1", True)
    (found,) = refused({**files(), "policy.yaml": files()["policy.yaml"] + b"more: 1\n"})
    assert (found.rule, found.evidence.split(": ")[0], bool(found.hint)) == ("R22", f"endorsers/policy.yaml:{line}:1", True)
    assert "more" in found.evidence


def test_keys_are_looked_at_once_every_document_can_be_read() -> None:
    tree = {"policy.yaml": dump(policy(principal("a", BAD[0]))), f"{LIST}.yaml": b"a: &a 1\n"}
    assert {one.rule for one in refused(tree)} == {"R21"}


def test_a_builders_key_may_lie_in_a_file(pgp: Signer) -> None:
    made = read_policy(files(builders=(builder("ci", pgp),), more=key_files(pgp)))
    assert [one.keys for one in made.builders] == [(pgp.key,)]


def test_only_lists_lie_beside_the_policy() -> None:
    more = {"README.md": b"words", "notes.txt": b"a: &a 1", "keys/x.yaml": b"a: &a 1", "sub/list.yaml": b"a: &a 1"}
    assert set(read_policy(files(more=more)).lists) == {LIST}
    found = refused(files(more={"another.yaml": b"a: &a 1\n", "one.yaml": b"b: 1\n"}))
    assert {one.evidence.split(":")[0] for one in found} == {"endorsers/another.yaml", "endorsers/one.yaml"}


def test_r5_all_key_pairs_that_are_two_peoples_are_told_in_order() -> None:
    twice = files(person("x", A), person("y", B), builders=(builder("ci", CI),), more={"z.yaml": dump(endorser_list(person("z", B, CI)))})
    shared = sorted(((A, "a and x"), (B, "y and z"), (CI, "the builder ci and z")), key=lambda one: min(materials(one[0].key)))
    hint = "a key belongs to one person; take it from the others"
    expected = tuple(Refusal("R5", f"one key belongs to {names}", min(materials(signer.key)), hint) for signer, names in shared)
    assert refused(twice) == expected


def test_r10_keys_that_lie_in_files_that_differ_are_told_in_order() -> None:
    def armoured(fingerprint: str, text: str) -> Holder:
        key = HeldOpenPGPKey.model_construct(type="openpgp", fingerprint=fingerprint, armour=text)
        return Holder.model_construct(name="a", keys=(key,))

    first, second, third = "A" * 40, "B" * 40, "C" * 40
    found = [(second, "x"), (first, "x"), (third, "x"), (second, "y"), (first, "z"), (third, "x")]
    hint = "name the same file wherever the key is listed"
    expected = [Refusal("R10", "one key lies in files that differ", one, hint) for one in (first, second)]
    assert list(differing_files([armoured(*one) for one in found])) == expected


# -- What reaches the lists in force


def test_everything_a_list_says_of_its_people_is_in_force() -> None:
    alice = person("alice", B, scope={"appliances": ["x*"], "communities": ["y"]}, not_before=NOW, expires=NOW + timedelta(days=1))
    listed = endorser_list(alice, person("bob", C), quorum=2, rebuilds=1, lifetime="30d")
    made = read_policy({**files(), f"{LIST}.yaml": dump(listed)}).lists[LIST]
    assert (made.name, made.community, made.quorum, made.rebuilds, made.maximum_lifetime) == (LIST, "science", 2, 1, Duration.parse("30d"))
    one = made.endorser("alice")
    assert one is not None
    assert (one.scope, one.not_before, one.expires) == (alice.scope, NOW, NOW + timedelta(days=1))
    assert (one.full_name, one.email, one.keys) == ("Alice", "alice@example.org", (B.key,))
    assert [each.name for each in made.endorsers] == ["alice", "bob"]


def test_a_principal_is_held_with_name_address_and_keys() -> None:
    made = read_policy({"policy.yaml": dump(policy(principal("a", A, C), builders=(builder("ci", CI, B),)))})
    assert made.principals == (Holder(name="a", full_name="A", email="a@example.org", keys=(A.key, C.key)),)
    assert made.builders == (TrustedBuilder(name="ci", id="https://ci.example.org/build", keys=(CI.key, B.key)),)
    assert (made.lists, made.sources, made.bases) == ({}, {}, {})


def test_a_key_file_with_bytes_beyond_ascii_is_refused_as_any_other_junk(pgp: Signer) -> None:
    listed = OpenPGPKey.model_validate(listed_key(pgp))
    for data in (b"\xff\xfe", "é".encode()):
        with pytest.raises(Refused) as caught:
            hold(listed, lambda _path, data=data: data)  # type: ignore[misc]
        assert caught.value.rule == "R10"


def test_a_key_file_is_read_as_ascii_whatever_its_comments_hold(pgp: Signer) -> None:
    listed = OpenPGPKey.model_validate(listed_key(pgp))
    (armour,) = key_files(pgp).values()
    held = hold(listed, lambda _path: armour.replace(b"BLOCK-----\n", "BLOCK-----\nComment: Zoë\n".encode(), 1))
    assert isinstance(held, HeldOpenPGPKey)
    assert "Comment: Zo\ufffd\ufffd\n" in held.armour


def test_the_marks_of_a_key_in_a_file_are_held(pgp: Signer) -> None:
    state = {"retired": NOW, "compromised_since": Compromise(serial=2, sha512="9" * 128)}
    for kept in ({}, {"retired": state["retired"]}, {"compromised_since": state["compromised_since"]}, state):
        listed = OpenPGPKey.model_validate(listed_key(pgp, **kept))
        asked: list[str] = []
        held = hold(listed, lambda path, asked=asked: asked.append(path) or key_files(pgp)[path])  # type: ignore[misc,func-returns-value]
        assert (held.retired, held.compromised_since) == (kept.get("retired"), kept.get("compromised_since"))
        assert asked == [listed.file]


def test_people_merged_have_the_keys_of_each_entry_and_the_words_of_the_first() -> None:
    stolen = SSHKey.model_validate({**A.key.model_dump(), "compromised_since": {"serial": 1}})
    retired = SSHKey.model_validate({**A.key.model_dump(), "retired": NOW})
    found = merged([Holder(name="b", keys=(B.key,)), Holder(name="a", full_name="A", email="a@b", keys=(stolen,)), Holder(name="a", keys=(retired,))])
    assert list(found) == ["b", "a"]
    assert found["a"] == Holder(name="a", full_name="A", email="a@b", keys=(A.key,))


def test_whose_key_pair_it_is_does_not_depend_on_its_form_or_entry() -> None:
    key = SecurityKey()
    people = [Holder(name="a", keys=(key.signer().key, B.key)), Holder(name="a", keys=(key.plain_signer().key,))]
    assert list(shared_keys(people)) == []
    (found,) = shared_keys(
        [*people, Holder(name="c", keys=(key.plain_signer().key,)), TrustedBuilder(name="b", id="https://b", keys=(key.signer().key,))]
    )
    assert found.why == "one key belongs to a and c and the builder b"


def test_an_ssh_key_is_shown_with_its_type_and_fingerprint() -> None:
    assert isinstance(A.key, SSHKey)
    public = read_public_key(A.key.key)
    assert shown(A.key) == f"SSH      ssh-ed25519 {public.fingerprint}"
    assert key_id(A.key) == f"ssh:{public.fingerprint}"


NAMES = {"type": "x509", "subject": "/DC=org/CN=Alice", "issuer": "/DC=org/CN=CA"}


def test_an_entry_for_one_certificate_is_not_found_for_another() -> None:
    ours, any_one = (X509Key.model_validate({**NAMES, **more}) for more in ({"certificate": "1" * 64}, {}))
    entries = Holder(name="a", keys=(B.key, ours, any_one))
    for certificate, expected in (("1" * 64, ours), ("2" * 64, any_one)):
        read = Read("t", "", (), None, SignedBy(f"x509:{certificate}", "m"), any_one)
        assert entries.key_like(read) is expected


# -- What a derived list is compared with


def derived_from(source: bytes, *, file: bytes, theirs: bytes, pgp: Signer, at: Any = NOW) -> Policy:
    base = Base(list="x", source="hepix", synchronised=Position(policy=1, list=sha512_hex(source), at=at))
    listed = endorser_list(person("alice", pgp)).model_copy(update={"based_on": base})
    assert isinstance(pgp.key, HeldOpenPGPKey)
    path = f"keys/{pgp.key.fingerprint}.asc"
    more = {"sources/hepix/list.yaml": source, path: file, f"sources/hepix/{path}": theirs}
    return read_policy({**files(), f"{LIST}.yaml": dump(listed), **more})


def test_a_derived_list_is_compared_with_what_was_taken_from_its_source(pgp: Signer) -> None:
    source = dump(endorser_list(person("alice", pgp)))
    (armour,) = key_files(pgp).values()
    made = derived_from(source, file=armour, theirs=armour, pgp=pgp)
    assert made.derivation(NOW) == {LIST: ()}
    assert isinstance(made.bases["hepix"], Source)
    ((late,),) = made.derivation(NOW + timedelta(days=7)).values()
    assert (late.rule, late.evidence, late.hint) == ("R13", f"endorsers/{LIST}.yaml, based_on.synchronised.at", SYNC)
    ((other,),) = derived_from(source, file=armour, theirs=armour + b"\n", pgp=pgp).derivation(NOW).values()
    assert (other.rule, other.hint) == ("R12", SYNC)
    ((gone,),) = derived_from(dump(endorser_list(person("bob", B))), file=armour, theirs=armour, pgp=pgp).derivation(NOW).values()
    assert (gone.rule, gone.why) == ("R12", "alice is not on the list that this one is based on")
