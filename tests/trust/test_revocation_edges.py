"""Revocations by somebody who was a principal with another key, and what is said of keys by two sources."""

from __future__ import annotations

from datetime import timedelta

from support.keys import ISSUED, NOW, SecurityKey
from support.trust import SSH, World, first_world, holder, person, said_in, tag
from vmkeeper.model.keys import Compromise
from vmkeeper.trust.refusal import Refusal
from vmkeeper.trust.revocation import Office, Void, joined_with, marks, revocations
from vmkeeper.trust.signature import Authenticator, Read
from vmkeeper.values import Duration

A, B, OLD, NEW = (SecurityKey().plain_signer() for _ in range(4))


def world() -> World:
    return first_world(A, person("alice", OLD, NEW))


def read(made: World, name: str, *offices: Office) -> Read:
    reader = Authenticator(made.line[0], made, SSH, NOW, Duration.parse("5m"))
    (found,) = revocations({name: made.tags[name]}, offices, [holder("alice", OLD, NEW)], reader)
    return found


def test_a_principal_revokes_with_the_key_that_they_have_under_the_policy_in_force() -> None:
    made = world()
    before = made.head
    changed = made.commit({"endorsers/policy.yaml": b"another"})
    offices = Office(holder("a", A), changed), Office(holder("a", B), None)
    assert read(made, made.revoke(A, "alice", OLD.id, "a", commit=before), *offices).good
    assert read(made, made.revoke(B, "alice", OLD.id, "a"), *offices).good
    late = read(made, made.revoke(A, "alice", OLD.id, "a"), *offices)
    why = "a is not a principal with this key, and may revoke only the key that signs"
    assert late.refusals == (Refusal("R10", why, f"{A.id}, {OLD.id}", "ask a principal to revoke it"),)


def test_a_revocation_that_is_bad_anyway_says_why_it_is() -> None:
    made = world()
    name = made.revoke(NEW, "alice", OLD.id, "alice")
    said = said_in(made.tags[name])
    assert said is not None
    assert [one.rule for one in read(made, name).refusals] == ["R10"]
    made.tags[name] = tag(said, NEW, time=int((ISSUED + timedelta(seconds=1)).timestamp()))
    assert [one.rule for one in read(made, name).refusals] == ["R13"]


def test_what_two_say_of_keys_is_all_kept() -> None:
    one, other = (Void(Compromise(serial=number), f"revoke/{number}", "a", "lost") for number in (1, 2))
    assert joined_with({"k": (one,)}, {}) == joined_with({}, {"k": (one,)}) == {"k": (one,)}
    assert joined_with({"k": (one,)}, {"l": (other,)}) == {"k": (one,), "l": (other,)}
    assert joined_with({"k": (one,)}, {"k": (other, one)}) == {"k": (one, other)}


def test_a_tag_without_a_good_signature_has_no_marks() -> None:
    one = Void(Compromise(serial=1), "revoke/1", "a", "lost")
    assert list(marks(Read("t", "", (Refusal("R10", "no"),)), {OLD.id: (one,)})) == []
