"""Word for word why somebody is no endorser, what freezes a list, what is remembered of each kind of tag, and how far chains went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

import pytest

from support.keys import NOW, SecurityKey, Signer
from support.trust import LIST, SSH, World, builder, endorser_list, first_world, holder, person, pinned_site, policy, principal, release
from vmkeeper.documents.dump import dump
from vmkeeper.errors import Refused
from vmkeeper.model.endorser import Base, Endorser, Position
from vmkeeper.trust.freshness import Frozen
from vmkeeper.trust.judge import Judgement
from vmkeeper.trust.keys.interface import Claim, SignedBy
from vmkeeper.trust.keys.material import materials
from vmkeeper.trust.keys.ssh import SSHVerifier
from vmkeeper.trust.memory import Memory, SeenTag
from vmkeeper.trust.refusal import Refusal, Untrusted
from vmkeeper.trust.said import Chain
from vmkeeper.trust.signature import held_digest
from vmkeeper.trust.verify import Accepted, Rejected
from vmkeeper.values import Duration, sha512_hex

A, B, ALICE, BOB, CAROL, CI, DAVE = (SecurityKey().plain_signer() for _ in range(7))
LISTED = "have the endorser listed and the policy signed"
PROPOSED = "a proposed list counts once the principals have signed it: vmkeeper policy sign"


def world(**policy_fields: Any) -> World:
    made = first_world(A, person("alice", ALICE), person("bob", BOB), **policy_fields)
    made.record_release(release("1"))
    return made


def refusals(made: World, name: str, **how: Any) -> tuple[Refusal, ...]:
    verdict = made.verdicts(SSH, **how)[name]
    return verdict.refusals if isinstance(verdict, Rejected) else ()


def refused(made: World, **how: Any) -> tuple[Refusal, ...]:
    with pytest.raises(Untrusted) as caught:
        made.judge(SSH, **how)
    return caught.value.refusals


def digest(made: World, name: str) -> str:
    raw = made.tags[name]
    assert raw is not None
    return sha512_hex(raw)


# -- Who is an endorser


def test_whoever_is_no_endorser_is_told_why() -> None:
    made = world()
    carol = made.endorse(CAROL, made.head, "carol")
    assert refusals(made, carol) == (Refusal("R10", "carol is not an endorser of policy 1", carol, LISTED),)
    proposed = "carol is only proposed as an endorser; policy 1 in force does not name them"
    made.propose(policy(principal("root", A)), {LIST: endorser_list(person("alice", ALICE)), "b": endorser_list(person("carol", CAROL))})
    assert refusals(made, carol) == (Refusal("R3", proposed, carol, PROPOSED),)


def test_whoever_was_an_endorser_is_told_until_when() -> None:
    made = world()
    bob = made.endorse(BOB, made.head, "bob")
    for people in ((person("alice", ALICE), person("bob", BOB)), (person("alice", ALICE),), (person("alice", ALICE),)):
        made.enact(made.propose(policy(principal("root", A)), {LIST: endorser_list(*people)}))
    former = Refusal("R12", "bob was an endorser until policy 2", bob, "have another endorser endorse it")
    assert refusals(made, bob) == (former, Refusal("R10", "bob is not an endorser of policy 4", bob, LISTED))
    made.propose(policy(principal("root", A)), {LIST: endorser_list(person("bob", BOB), person("alice", ALICE))})
    only = "bob is only proposed as an endorser; policy 4 in force does not name them"
    assert refusals(made, bob) == (former, Refusal("R3", only, bob, PROPOSED))


@pytest.mark.parametrize("people", [(), (person("alice", ALICE),)], ids=["nobody", "somebody"])
def test_what_is_proposed_is_read_once_for_however_many_strangers(monkeypatch: pytest.MonkeyPatch, people: tuple[Endorser, ...]) -> None:
    looked: list[tuple[str, str]] = []
    files = World.files

    def counted(made: World, commit: str, folder: str) -> Mapping[str, bytes]:
        looked.append((commit, folder))
        return files(made, commit, folder)

    monkeypatch.setattr(World, "files", counted)
    counts = []
    for strangers in (1, 3):
        made = world()
        made.commit({f"endorsers/{LIST}.yaml": dump(endorser_list(*people))})
        for number in range(strangers):
            made.endorse(CAROL, made.line[-2], f"stranger{number}")
        looked.clear()
        made.judge(SSH)
        counts.append(len(looked))
    assert counts[0] == counts[1]


# -- What nothing can be concluded from


def test_r1_another_repository_is_told_beside_what_is_odd_in_it() -> None:
    made = world()
    pins = made.pins(tree="9" * 128)
    made.odd = (Refusal("R23", "a strange name"),)
    assert [one.rule for one in refused(made, pins=pins)] == ["R23", "R1"]


def test_r12_a_policy_that_fell_is_told_with_every_revocation_and_the_way_out() -> None:
    made = World({"root": A, "other": B})
    people = (principal("root", A), principal("other", B))
    commit = made.propose(policy(*people), {LIST: endorser_list(person("alice", ALICE))})
    made.enact(commit, "root", "other")
    pins = made.pins()
    made.enact(made.propose(policy(*people, title="second"), {LIST: endorser_list(person("alice", ALICE))}), "root")
    made.enact(made.propose(policy(*people, title="third"), {LIST: endorser_list(person("alice", ALICE))}), "root")
    first = made.revoke(B, "root", A.id, "other", serial=1)
    second = made.revoke(B, "root", A.id, "other", serial=1, number=2)
    hint = "the principals sign policy 2 again; where too few are left, pin the site anew"
    assert refused(made, pins=pins) == (Refusal("R12", "policy 3 was signed with keys that are revoked", f"{first}, {second}", hint),)


def test_a_revocation_that_names_a_place_is_judged_alike_once_it_is_remembered() -> None:
    made = world()
    first = made.endorse(ALICE, made.head)
    second = made.endorse(ALICE, made.head)
    made.revoke(A, "alice", ALICE.id, "root", serial=1, sha512=digest(made, first))
    before = made.judge(SSH)
    again = made.judge(SSH, memory=before.memory)
    assert (again.void, again.verdicts, again.memory) == (before.void, before.verdicts, before.memory)
    assert again.stolen == {digest(made, second)}


def test_r4_every_file_of_the_policy_in_force_that_vanished_is_told() -> None:
    made = World({"root": A})
    lists = {"b": endorser_list(person("alice", ALICE)), "a": endorser_list(person("bob", BOB))}
    made.enact(made.propose(policy(principal("root", A)), lists))
    made.commit({f"endorsers/{name}.yaml": None for name in ("a", "b", "policy")} | {"endorsers/other.txt": b""})
    assert [one.evidence for one in refused(made)] == [f"endorsers/{name}.yaml at {made.head}" for name in ("policy", "a", "b")]


# -- What freezes a list


class Ending(SSHVerifier):
    """SSH keys with an end, as other keys have it."""

    def __init__(self, until: datetime) -> None:
        self.until = until

    def verify(self, claim: Claim, now: datetime) -> SignedBy:
        found = super().verify(claim, now)
        return SignedBy(found.key, found.material, None, self.until)


def test_r12_a_policy_whose_signers_keys_have_ended_freezes_every_list() -> None:
    made = World({"root": A})
    lists = {"a": endorser_list(person("alice", ALICE)), "b": endorser_list(person("bob", BOB))}
    made.enact(made.propose(policy(principal("root", A)), lists))
    hint = "the principals sign the next policy with keys that are in date: vmkeeper policy sign"
    expected = Frozen(None, (Refusal("R12", "keys that signed policy 1 have expired", "policy/1/root", hint),))
    assert made.judge({"ssh": Ending(NOW)}).frozen == {"a": expected, "b": expected}
    assert made.judge({"ssh": Ending(NOW + timedelta(seconds=1))}).frozen == {}


def test_only_the_derived_list_that_lags_is_frozen_and_the_earliest_time_is_told() -> None:
    made = World({"root": A})
    derived = endorser_list(person("alice", ALICE), person("bob", BOB)).model_copy(update={"based_on": Base(list="source")})
    document = policy(principal("root", A), builders=(builder("ci", CI),), freshness={"signers": ["ci"]})
    made.enact(made.propose(document, {"derived": derived, "source": endorser_list(person("alice", ALICE))}))
    early = NOW - timedelta(days=3)
    found = made.judge(SSH, memory=Memory(fresh_until=early)).frozen
    assert {name: [one.rule for one in frozen.refusals] for name, frozen in found.items()} == {"derived": ["R13", "R12"], "source": ["R13"]}
    assert {frozen.since for frozen in found.values()} == {early}
    late = made.judge(SSH, memory=Memory(fresh_until=early), now=NOW + timedelta(days=400)).frozen["source"]
    assert (late.since, [one.why for one in late.refusals]) == (early, ["policy 1 has expired", "no freshness statement is there"])
    unknown = made.judge(SSH, now=NOW + timedelta(days=400)).frozen["source"]
    assert unknown.since is not None
    assert unknown.since > NOW


def test_r13_a_list_that_was_not_compared_with_its_source_for_too_long_is_frozen() -> None:
    source = dump(endorser_list(person("alice", ALICE)))
    base = Base(list="x", source="hepix", synchronised=Position(policy=1, list=sha512_hex(source), at=NOW), maximum_lag=Duration.parse("1d"))
    made = World({"root": A})
    derived = endorser_list(person("alice", ALICE)).model_copy(update={"based_on": base})
    made.enact(made.propose(policy(principal("root", A)), {LIST: derived}, {"sources/hepix/list.yaml": source}))
    assert made.judge(SSH, now=NOW + timedelta(hours=23)).frozen == {}
    found = made.judge(SSH, now=NOW + timedelta(hours=24)).frozen
    assert {name: ([one.rule for one in frozen.refusals], frozen.since) for name, frozen in found.items()} == {LIST: (["R13"], None)}


# -- What is remembered


def seen(made: World, name: str, signer: Signer) -> SeenTag:
    (material,) = materials(signer.key)
    return SeenTag(sha512=digest(made, name), held=held_digest(signer.key), key=signer.id, material=material)


def test_each_kind_of_tag_is_remembered_with_its_key_and_only_endorsements_with_a_record() -> None:
    made = world()
    made.commit({"sites/lab.yaml": b"one"})
    expected = {
        "policy/1/root": A,
        made.endorse(ALICE, made.head): ALICE,
        made.withdraw(BOB, made.head, "bob"): BOB,
        made.revoke(A, "dave", DAVE.id, "root"): A,
        made.approve(CAROL, "lab", "carol"): CAROL,
    }
    memory = made.judge(SSH, pins=made.pins(site=pinned_site("lab", holder("carol", CAROL)))).memory
    assert set(memory.tags) == set(expected)
    for name, signer in expected.items():
        found = memory.tags[name]
        assert found.model_copy(update={"record": None}) == seen(made, name, signer)
        assert (found.record is not None) == name.startswith(("endorse/", "withdraw/"))


def test_the_times_of_a_signature_and_of_its_key_are_remembered() -> None:
    made = world()
    name = made.endorse(ALICE, made.head)
    until = NOW + timedelta(days=1)
    memory = made.judge({"ssh": Ending(until)}).memory
    assert {memory.tags[one].valid_until for one in (name, "policy/1/root")} == {until}


def test_the_newest_freshness_statement_is_remembered_with_its_end() -> None:
    made = world(builders=(builder("ci", CI),), freshness={"signers": ["ci"]})
    said = made.vouch(CI)
    found = made.judge(SSH)
    assert (found.memory.fresh, found.memory.fresh_until) == (said.issued, found.fresh.until)
    assert found.fresh.until is not None
    made.fresh = None
    again = made.judge(SSH, memory=found.memory).memory
    assert (again.fresh, again.fresh_until) == (said.issued, found.fresh.until)


def test_a_judgement_holds_what_it_was_made_from() -> None:
    made = world()
    endorsed = made.endorse(ALICE, made.head)
    revoked = made.revoke(A, "bob", BOB.id, "root")
    stolen = made.endorse(BOB, made.head, "bob")
    made.commit({"sites/lab.yaml": b"one"})
    approved = made.approve(CAROL, "lab", "carol")
    later = made.approve(CAROL, "lab", "carol", number=5)
    found = made.judge(SSH, pins=made.pins(site=pinned_site("lab", holder("carol", CAROL))))
    assert all(getattr(found, one.name) is not None for one in fields(Judgement))
    assert [one.tag for one in found.revoked] == [revoked]
    assert set(found.void) == {BOB.id, *materials(BOB.key)}
    assert [one.tag for one in found.reads] == [endorsed, stolen]
    assert found.stolen == {digest(made, stolen)}
    assert [read.tag for one in found.consents for read in one.signatures] == [approved]
    assert [one.evidence for one in found.refused_consents] == [later]
    assert set(found.objects) == {digest(made, name) for name in made.tags}
    assert found.reader.now == NOW
    assert found.tips == (Chain(endorser="alice", serial=1, sha512=digest(made, endorsed)),)
    assert [one.tag for one in found.verdicts[LIST] if isinstance(one, Accepted)] == [endorsed]


# -- How far chains went


def test_the_last_tag_of_a_chain_is_the_one_with_the_highest_serial() -> None:
    made = world()
    made.endorse(ALICE, made.record_release(release("9")))
    last = made.endorse(ALICE, made.record_release(release("10")))
    other = made.withdraw(BOB, made.head, "bob")
    alices, bobs = Chain(endorser="alice", serial=2, sha512=digest(made, last)), Chain(endorser="bob", serial=1, sha512=digest(made, other))
    assert made.judge(SSH).tips == (alices, bobs)
    made.tags = dict(reversed(made.tags.items()))
    assert made.judge(SSH).tips == (alices, bobs)


def test_a_tag_that_is_not_good_by_itself_ends_no_chain() -> None:
    made = world()
    first = made.endorse(ALICE, made.head)
    future = NOW + timedelta(days=1)
    made.endorse(ALICE, made.head, issued=future, not_before=future, expires=future + timedelta(days=1))
    assert made.judge(SSH).tips == (Chain(endorser="alice", serial=1, sha512=digest(made, first)),)


def test_a_history_that_cannot_be_read_is_one_refusal_with_its_place() -> None:
    made = world()
    pins = made.pins()
    made.broken[made.line[0], ""] = Refused("R23", "a strange name", where="x", hint="rename it")
    assert refused(made, pins=pins) == (Refusal("R23", "a strange name", "x", "rename it"),)
