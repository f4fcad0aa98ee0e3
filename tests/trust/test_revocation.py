"""One principal, or the key itself, takes trust in a key away; nobody else does, and nobody gives it back."""

from __future__ import annotations

from typing import Any

import pytest

from support.keys import SecurityKey, Signer
from support.trust import LIST, SSH, World, endorser_list, holder, person, pinned_site, policy, principal, release, rules, said_in, untrusted
from vmkeeper.errors import Refused
from vmkeeper.model.keys import Compromise, X509Key
from vmkeeper.trust.chain import Links
from vmkeeper.trust.keys.interface import SignedBy
from vmkeeper.trust.people import Holder
from vmkeeper.trust.refusal import Untrusted
from vmkeeper.trust.revocation import Void, for_policies, joined, joined_with, of
from vmkeeper.trust.said import Endorsement
from vmkeeper.trust.verify import Accepted, Verdict
from vmkeeper.values import sha512_hex

A, B, C, MALLORY = (SecurityKey().plain_signer() for _ in range(4))
ALICE = SecurityKey()
OLD, NEW = ALICE.plain_signer(), SecurityKey().plain_signer()


def world(*endorsers: Any, **principals: Signer) -> World:
    made = World(dict(principals or {"a": A}))
    propose(made, *(endorsers or (person("alice", OLD, NEW),)))
    return made


def propose(made: World, *endorsers: Any, signers: tuple[str, ...] = (), quorum: int = 1, **principals: Signer) -> None:
    listed = [principal(name, one) for name, one in (principals or made.principals).items()]
    made.enact(made.propose(policy(*listed, quorum=quorum), {LIST: endorser_list(*endorsers)}), *signers)


def verdicts(made: World, **how: Any) -> dict[str, Verdict]:
    return made.verdicts(SSH, **how)


def digest(made: World, name: str) -> str:
    raw = made.tags[name]
    assert raw is not None
    return sha512_hex(raw)


def chain(made: World, signer: Signer, *versions: str) -> list[str]:
    return [made.endorse(signer, made.record_release(release(version))) for version in versions]


def test_what_a_stolen_key_signs_after_the_place_is_void_and_before_it_stands() -> None:
    made = world()
    one, two, three = chain(made, OLD, "1", "2", "3")
    made.revoke(A, "alice", OLD.id, "a", serial=2, sha512=digest(made, two))
    found = verdicts(made)
    assert [isinstance(found[name], Accepted) for name in (one, two, three)] == [True, True, False]
    (refusal,) = found[three].refusals  # type: ignore[union-attr]
    assert refusal.rule == "R12"
    assert refusal.why == "the key is not its owner's alone, and this is not one of the tags that its owner stands by"
    assert refusal.evidence == f"{three}; what stands is serial 2 and those before; so says revoke/alice/a/1 by a: stolen"
    assert refusal.hint == "endorse it again with another key"


def test_the_owner_goes_on_with_another_key_whatever_the_thief_signs() -> None:
    made = world()
    (one,) = chain(made, OLD, "1")
    kept = dict(made.tags)
    thiefs = chain(made, OLD, "2", "3")
    stolen = {name: made.tags[name] for name in thiefs}
    made.tags = kept
    honest = chain(made, NEW, "4", "5")
    made.tags |= stolen
    assert rules(verdicts(made)[honest[0]]) == {"R9"}
    made.revoke(A, "alice", OLD.id, "a", serial=1, sha512=digest(made, one))
    found = verdicts(made)
    assert all(isinstance(found[name], Accepted) for name in (one, *honest))
    assert all(rules(found[name]) == {"R12"} for name in thiefs)


def test_a_thief_cannot_break_the_chain_by_naming_the_owners_other_key() -> None:
    made = world()
    (one,) = chain(made, NEW, "1")
    made.revoke(A, "alice", OLD.id, "a")
    forged = made.statement(OLD, made.record_release(release("2")), serial=1, previous=None, key=NEW.id)
    fork = made.put(forged, OLD)
    assert isinstance(verdicts(made)[one], Accepted)
    assert rules(verdicts(made)[fork]) == {"R10", "R12"}


def test_a_place_that_is_not_there_leaves_nothing() -> None:
    for place in ({}, {"serial": 1}, {"serial": 2, "sha512": None}, {"serial": 1, "sha512": "9" * 128}, {"serial": 7}):
        made = world()
        one, two = chain(made, OLD, "1", "2")
        made.revoke(A, "alice", OLD.id, "a", **({"sha512": digest(made, two)} | place if place.get("serial") in (1, 7) else place))  # type: ignore[arg-type]
        assert all(rules(verdicts(made)[name]) == {"R12"} for name in (one, two)), place


def test_of_two_revocations_only_what_both_leave_stands() -> None:
    made = world(a=A, b=B)
    one, two = chain(made, OLD, "1", "2")
    made.revoke(A, "alice", OLD.id, "a", serial=2, sha512=digest(made, two))
    assert isinstance(verdicts(made)[two], Accepted)
    made.revoke(B, "alice", OLD.id, "b", serial=1, sha512=digest(made, one))
    found = verdicts(made)
    assert (isinstance(found[one], Accepted), rules(found[two])) == (True, {"R12"})
    made.revoke(B, "alice", OLD.id, "b", number=2, serial=2, sha512=digest(made, two))
    assert rules(verdicts(made)[two]) == {"R12"}


def test_a_mark_on_the_list_and_a_revocation_both_hold() -> None:
    made = world()
    one, two = chain(made, OLD, "1", "2")
    marked = {**OLD.key.model_dump(exclude_none=True), "compromised_since": {"serial": 1, "sha512": digest(made, one)}}
    propose(made, person("alice", marked, NEW))
    found = verdicts(made)
    assert (isinstance(found[one], Accepted), rules(found[two])) == (True, {"R12"})
    made.revoke(A, "alice", OLD.id, "a")
    assert rules(verdicts(made)[one]) == {"R12"}


def test_a_later_policy_that_lists_the_key_anew_does_not_undo_it() -> None:
    made = world()
    (one,) = chain(made, OLD, "1")
    made.revoke(A, "alice", OLD.id, "a")
    for people in (person("alice", NEW), person("alice", OLD)):
        propose(made, people)
    assert rules(verdicts(made)[one]) == {"R12"}


def test_whoever_has_a_key_revokes_it_with_itself() -> None:
    made = world()
    (one,) = chain(made, OLD, "1")
    made.revoke(OLD, "alice", OLD.id, "alice")
    assert rules(verdicts(made)[one]) == {"R12"}
    assert made.judge(SSH).void[OLD.id][0] == Void(Compromise(), "revoke/alice/alice/1", "alice", "stolen", True)


def test_r10_an_endorser_revokes_no_other_key() -> None:
    for holders, revoked, name in (("alice", NEW.id, "alice"), ("bob", B.id, "alice")):
        made = world(person("alice", OLD, NEW), person("bob", B))
        (one,) = chain(made, NEW, "1")
        tag = made.revoke(OLD, holders, revoked, name)
        assert isinstance(verdicts(made)[one], Accepted)
        (read,) = made.judge(SSH).revoked
        ((rule, why),) = [(each.rule, each.why) for each in read.refusals]
        assert rule == "R10"
        told = "alice is not a principal with this key, and may revoke only the key that signs"
        assert why == (told if holders == "alice" else "alice is neither a principal nor the key's owner")
        assert read.refusals[0].evidence == (f"{OLD.id}, {NEW.id}" if holders == "alice" else tag)
        assert read.refusals[0].hint == "ask a principal to revoke it"


def test_r10_a_stranger_and_a_wrong_key_revoke_nothing() -> None:
    made = world()
    (one,) = chain(made, OLD, "1")
    made.revoke(MALLORY, "alice", OLD.id, "mallory")
    made.revoke(MALLORY, "alice", OLD.id, "a")
    made.revoke(MALLORY, "alice", OLD.id, "alice")
    made.tags["revoke/alice/a/9"] = b"junk"
    assert isinstance(verdicts(made)[one], Accepted)
    assert all(not read.good for read in made.judge(SSH).revoked)
    assert made.judge(SSH).void == {}


def test_r10_whoever_was_a_principal_revokes_no_more() -> None:
    made = world(a=A, b=B)
    (one,) = chain(made, OLD, "1")
    propose(made, person("alice", OLD, NEW), signers=("a",), a=A)
    made.revoke(B, "alice", OLD.id, "b")
    assert isinstance(verdicts(made, pins=made.pins(principals=(holder("a", A), holder("b", B))))[one], Accepted)


def test_a_revocation_outlasts_its_signers_leaving() -> None:
    made = world(a=A, b=B)
    (one,) = chain(made, OLD, "1")
    made.revoke(B, "alice", OLD.id, "b")
    assert rules(verdicts(made)[one]) == {"R12"}
    pins = made.pins()
    propose(made, person("alice", OLD, NEW), signers=("a",), a=A)
    assert rules(verdicts(made, pins=pins)[one]) == {"R12"}


def test_a_former_principal_cannot_revoke_at_the_commit_that_dropped_him() -> None:
    made = world(a=A, b=B)
    (one,) = chain(made, OLD, "1")
    earlier, pins = made.head, made.pins()
    propose(made, person("alice", OLD, NEW), signers=("a",), a=A)
    dropped = made.head
    made.revoke(B, "alice", OLD.id, "b", commit=dropped)
    assert isinstance(verdicts(made, pins=pins)[one], Accepted)
    made.revoke(B, "alice", OLD.id, "b", number=2, commit=earlier)
    assert rules(verdicts(made, pins=pins)[one]) == {"R12"}


def test_a_principal_with_a_stolen_key_still_takes_trust_away_so_that_nothing_comes_back() -> None:
    made = world(a=A, b=B)
    (one,) = chain(made, OLD, "1")
    made.revoke(B, "alice", OLD.id, "b")
    made.revoke(A, "b", B.id, "a", number=1, serial=1)
    assert rules(verdicts(made)[one]) == {"R12"}
    made.revoke(B, "b", B.id, "b", serial=1)
    assert rules(verdicts(made)[one]) == {"R12"}


def test_a_key_pair_is_void_in_every_form() -> None:
    made = world(person("alice", OLD, ALICE.signer()))
    token = made.endorse(ALICE.signer(), made.record_release(release("1")))
    assert isinstance(verdicts(made)[token], Accepted)
    made.revoke(A, "alice", OLD.id, "a")
    assert rules(verdicts(made)[token]) == {"R12"}


def test_a_stolen_principals_key_brings_in_no_policy() -> None:
    made = world(a=A, b=B)
    pins = made.pins()
    propose(made, person("mallory", MALLORY), signers=("b",), mallory=MALLORY, b=B)
    made.principals = {"a": A, "b": B}
    assert untrusted(lambda: made.judge(SSH, pins=pins)) == set()
    made.revoke(A, "b", B.id, "a", serial=1)
    with_a = made.judge(SSH, pins=pins)
    assert with_a.enactments.current.number == 2
    assert not with_a.revoked[0].good


def test_r12_a_policy_that_falls_does_not_bring_back_the_one_before() -> None:
    made = world(a=A, b=B, c=C)
    pins = made.pins(quorum=1)
    (one,) = chain(made, OLD, "1")
    propose(made, person("bob", NEW), signers=("b",), a=A, b=B, c=C)
    assert rules(verdicts(made, pins=pins)[one]) == {"R12", "R10"}
    made.revoke(A, "b", B.id, "a", serial=1)
    with pytest.raises(Untrusted) as caught:
        made.judge(SSH, pins=pins)
    (refusal,) = caught.value.refusals
    assert (refusal.rule, refusal.why) == ("R12", "policy 2 was signed with keys that are revoked")
    assert refusal.evidence == "revoke/b/a/1"
    assert refusal.hint == "the principals sign policy 2 again; where too few are left, pin the site anew"
    made.revoke(A, "b", B.id, "a", number=2, serial=2)
    assert untrusted(lambda: made.judge(SSH, pins=pins)) == {"R12"}


def test_the_policy_that_a_stolen_key_signed_rightly_stays() -> None:
    made = world(a=A, b=B)
    pins = made.pins(quorum=1)
    propose(made, person("alice", OLD, NEW), signers=("b",), a=A, b=B)
    made.revoke(A, "b", B.id, "a", serial=2)
    assert made.judge(SSH, pins=pins).enactments.current.number == 2


def test_what_a_thief_signs_after_all_stops_everything_until_the_principals_sign_that_number() -> None:
    made = world(a=A, b=B)
    pins = made.pins(quorum=1)
    made.revoke(A, "b", B.id, "a", serial=1)
    first = made.last_policy()
    propose(made, person("mallory", MALLORY), signers=("b",), a=A, b=B)
    assert untrusted(lambda: made.judge(SSH, pins=pins)) == {"R12"}
    assert first is not None
    listed = policy(principal("a", A))
    made.enact(made.propose(listed, {LIST: endorser_list(person("alice", NEW))}), "a", number=2, previous=first.content)
    made.principals = {"b": B}
    thiefs = propose(made, person("mallory", MALLORY), b=B)
    assert thiefs is None
    found = made.judge(SSH, pins=pins).enactments
    assert (found.current.number, found.current.policy.document) == (2, listed)
    assert [one.rule for one in found.refusals] == ["R5", "R3"]


def test_nobody_takes_the_pinned_policy_away() -> None:
    made = world(a=A, b=B)
    made.revoke(A, "b", B.id, "a")
    made.revoke(B, "a", A.id, "b")
    assert made.judge(SSH, pins=made.pins(quorum=2)).enactments.current.number == 1


def test_a_place_in_an_endorsers_chain_leaves_only_the_policies_that_the_chain_names() -> None:
    made = world(person("a", A), a=A, b=B)
    pins = made.pins(quorum=1)
    mine = [made.endorse(A, made.record_release(release(version)), "a") for version in ("1", "2", "3")]
    propose(made, person("mallory", MALLORY), person("a", A), signers=("a",), a=A, b=B)
    assert made.judge(SSH, pins=pins).enactments.current.number == 2
    made.revoke(B, "a", A.id, "b", serial=3, sha512=digest(made, mine[2]))
    assert untrusted(lambda: made.judge(SSH, pins=pins)) == {"R12"}


def test_the_numbers_of_policies_are_those_that_the_chain_names() -> None:
    made = world()
    one = made.endorse(OLD, made.record_release(release("1")), policy=4)
    two = made.endorse(OLD, made.record_release(release("2")), policy=3)
    last = made.withdraw(OLD, made.head)
    links = Links({digest(made, name): made.tags[name] or b"" for name in (one, two, last)}, {})
    place, number = Compromise(serial=3, sha512=digest(made, last)), Compromise(serial=9)
    voids = {"x": (Void(place, "t", "a", "r"), Void(number, "t", "a", "r"))}
    assert [each.since for each in for_policies(voids, links)["x"]] == [Compromise(serial=4), number]
    assert [each.since.serial for each in for_policies(voids, Links({}, {}))["x"]] == [0, 9]


def test_what_is_said_of_a_key_is_found_by_its_name_and_by_its_numbers() -> None:
    first, second = Void(Compromise(serial=1), "t", "a", "r"), Void(Compromise(serial=2), "u", "a", "r")
    known = joined({"k": (first,), "m": (second,)}, [("k", "m"), ("k", "n"), ("z", "n"), ("k", "m")])
    assert known == {"k": (first,), "m": (second, first), "n": (first,)}
    assert of(SignedBy("k", "m"), known) == (first, second)
    assert of(SignedBy("x", "y"), known) == ()
    assert joined_with({"k": (first,)}, {"k": (first, second), "n": (second,)}) == {"k": (first, second), "n": (second,)}


def test_strangers_revocations_cost_nothing_and_change_nothing() -> None:
    made = world()
    (one,) = chain(made, OLD, "1")
    tag = made.tags[made.revoke(MALLORY, "alice", OLD.id, "mallory")]
    made.tags |= {f"revoke/alice/mallory/{number}": tag for number in range(2, 200)}
    assert isinstance(verdicts(made)[one], Accepted)


def test_a_revocation_moved_to_another_name_or_repository_does_not_count() -> None:
    made = world()
    (one,) = chain(made, OLD, "1")
    name = made.revoke(A, "alice", OLD.id, "a")
    made.tags["revoke/bob/a/1"] = made.tags.pop(name)
    assert isinstance(verdicts(made)[one], Accepted)
    made.revoke(A, "alice", OLD.id, "a", repository="9" * 40)
    assert isinstance(verdicts(made)[one], Accepted)
    made.revoke(A, "alice", OLD.id, "a", commit=made.commit({"x": b""}, merged=False))
    assert isinstance(verdicts(made)[one], Accepted)


def test_where_history_cannot_say_what_came_first_a_revocation_does_not_count() -> None:
    made = world(a=A, b=B)
    (one,) = chain(made, OLD, "1")
    made.revoke(B, "alice", OLD.id, "b")
    pins = made.pins()
    propose(made, person("alice", OLD, NEW), signers=("a",), a=A)
    revoked = said_in(made.tags["revoke/alice/b/1"])
    assert revoked is not None
    answer = made.precedes

    def broken(commit: str, later: str) -> bool:
        if commit == revoked.commit and later != made.head and commit != made.line[0]:
            raise Refused("R23", "it cannot be read")
        return answer(commit, later)

    made.commit({"x": b"y"})
    made.precedes = broken  # type: ignore[method-assign]
    (read,) = made.judge(SSH, pins=pins).revoked
    assert [each.rule for each in read.refusals] == ["R23"]
    assert isinstance(verdicts(made, pins=pins)[one], Accepted)


def test_a_certificate_is_void_with_its_key_pair_once_it_has_signed() -> None:
    key = X509Key(type="x509", subject="/CN=Alice", issuer="/CN=CA")
    one = Holder(name="alice", keys=(key,))
    assert one.keys == (key,)
    voids = {"x509:" + "1" * 64: (Void(Compromise(), "t", "a", "r"),)}
    from vmkeeper.trust.revocation import widened
    from vmkeeper.trust.signature import Read

    read = Read("t", "0" * 128, (), None, SignedBy("x509:" + "1" * 64, "rsa:1"), key)
    assert widened(voids, [read, Read("u", "", ())])["rsa:1"] == voids["x509:" + "1" * 64]


def test_a_sites_administrators_revoke_their_own_keys_only() -> None:
    made = world()
    made.commit({"sites/lab.yaml": b"one"})
    made.approve(C, "lab", "carol")
    pins = made.pins(site=pinned_site("lab", holder("carol", C)))
    assert len(made.judge(SSH, pins=pins).consents) == 1
    made.revoke(A, "carol", C.id, "a")
    assert len(made.judge(SSH, pins=pins).consents) == 1
    made.revoke(C, "carol", C.id, "carol")
    assert made.judge(SSH, pins=pins).consents == ()


def test_an_endorsement_is_what_it_says() -> None:
    made = world()
    assert isinstance(said_in(made.tags[chain(made, OLD, "1")[0]]), Endorsement)
