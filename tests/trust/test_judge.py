"""One look at a repository: what nothing can be concluded from, what is remembered, and that dropping tags never helps."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.keys import NOW, SecurityKey, Signer, ssh_key, ssh_signer
from support.trust import LIST, SSH, World, builder, endorser_list, first_world, person, policy, principal, release, rules, untrusted
from vmkeeper.documents.dump import dump
from vmkeeper.errors import Refused
from vmkeeper.trust.judge import PREFIXES, Judgement, Sight, judge
from vmkeeper.trust.keys.interface import Claim
from vmkeeper.trust.memory import Memory, read_memory, write_memory
from vmkeeper.trust.refusal import Refusal, Untrusted
from vmkeeper.trust.said import STATEMENTS, Said
from vmkeeper.trust.verify import Accepted, said_by
from vmkeeper.values import Duration, sha512_hex

A, ALICE, BOB, CI, MALLORY = (SecurityKey().plain_signer() for _ in range(5))
TWO = (person("alice", ALICE), person("bob", BOB))


def world() -> World:
    made = first_world(A, *TWO)
    made.endorse(ALICE, made.record_release(release("1")))
    return made


def accepted(judgement: Judgement) -> set[str]:
    return {one.tag for one in judgement.verdicts[LIST] if isinstance(one, Accepted)}


def refused(act: Callable[[], object]) -> tuple[Refusal, ...]:
    with pytest.raises(Untrusted) as caught:
        act()
    return caught.value.refusals


# -- R1, R2, R4, R8, R13, R32


def test_r1_another_repository_with_the_same_names_is_refused() -> None:
    made, other = world(), world()
    other.commit({"x": b"y"})
    for change in ({"repository": "9" * 40}, {"tree": "9" * 128}):
        (refusal,) = refused(lambda change=change: made.judge(SSH, pins=made.pins(**change)))  # type: ignore[misc]
        assert (refusal.rule, refusal.why) == ("R1", "this is another repository than the pinned one")
        assert refusal.evidence == f"root commit {made.line[0]}, pinned {change.get('repository', made.line[0])}"
        assert refusal.hint == "name the repository that was pinned"


def test_r1_a_swapped_root_is_refused() -> None:
    made = world()
    pins = made.pins()
    made.line = [made.commit({"README.md": b"another"}, parents=()), *made.line[1:]]
    assert untrusted(lambda: made.judge(SSH, pins=pins)) == {"R1"}


def test_r2_a_rewound_and_a_forked_branch_are_refused() -> None:
    made = world()
    earlier = made.head
    made.commit({"x": b"y"})
    memory = made.judge(SSH).memory
    assert memory.head == made.head
    made.line.remove(made.head)
    assert untrusted(lambda: made.judge(SSH, memory=memory)) == {"R2"}
    made.commit({"x": b"z"}, parents=(earlier,))
    assert untrusted(lambda: made.judge(SSH, memory=memory)) == {"R2"}
    assert untrusted(lambda: made.judge(SSH)) == set()


def test_a_merge_of_the_last_head_goes_forward() -> None:
    made = world()
    memory = made.judge(SSH).memory
    assert memory.head is not None
    side = made.commit({"x": b"y"}, parents=(made.line[0],), merged=False)
    made.commit(made.commits[memory.head], parents=(memory.head, side))
    assert made.judge(SSH, memory=memory).memory.head == made.head


@pytest.mark.parametrize("path", ["policy.yaml", f"{LIST}.yaml"])
def test_r4_a_file_of_the_policy_in_force_does_not_vanish(path: str) -> None:
    made = world()
    made.commit({f"endorsers/{path}": None})
    (refusal,) = refused(lambda: made.judge(SSH))
    assert (refusal.rule, refusal.why) == ("R4", "a file of the policy in force has vanished")
    assert refusal.evidence == f"endorsers/{path} at {made.head}"
    assert refusal.hint == "put it back; a list that is to end is emptied, and goes once a policy without it is signed"


def test_r4_a_folder_that_cannot_be_read_is_refused() -> None:
    made = world()
    made.commit({"x": b"y"})
    made.broken[made.head, "endorsers"] = Refused("R4", "endorsers is a link", where="endorsers")
    assert refused(lambda: made.judge(SSH)) == (Refusal("R4", "endorsers is a link", "endorsers"),)


def test_r4_a_list_ends_by_being_emptied_and_then_by_a_policy_without_it() -> None:
    made = world()
    made.commit({f"endorsers/{LIST}.yaml": dump(endorser_list())})
    assert accepted(made.judge(SSH)) == {"endorse/debian-12/1/alice/1"}
    made.enact(made.propose(policy(principal("root", A)), {}))
    assert made.judge(SSH).verdicts == {}


def test_r8_a_tag_that_was_trusted_stays() -> None:
    made = world()
    (name,) = accepted(made.judge(SSH))
    memory = made.judge(SSH).memory
    assert set(memory.tags) == {name, "policy/1/root"}
    raw = made.tags[name]
    assert raw is not None
    for change in (None, raw.replace(b"alice", b"alicf")):
        made.tags[name] = change
        assert "R8" in untrusted(lambda: made.judge(SSH, memory=memory))
    del made.tags[name]
    assert [one.why for one in refused(lambda: made.judge(SSH, memory=memory))] == ["a signed tag that was trusted before is gone"]


def test_r13_a_clock_that_was_set_back_is_refused() -> None:
    made = world()
    memory = made.judge(SSH).memory
    assert memory.newest == NOW
    assert made.judge(SSH, memory=memory, now=NOW - timedelta(minutes=5)).memory.newest == NOW
    assert untrusted(lambda: made.judge(SSH, memory=memory, now=NOW - timedelta(minutes=6))) == {"R13"}
    assert accepted(made.judge(SSH, memory=memory, now=NOW + timedelta(days=40), pins=made.pins())) == set()
    strict = made.pins(clock_skew=Duration.parse("0s"))
    assert untrusted(lambda: made.judge(SSH, pins=strict, memory=memory, now=NOW - timedelta(seconds=1))) == {"R13"}


def test_r32_what_two_readers_read_differently_stops_everything() -> None:
    made = world()
    made.odd = (Refusal("R32", "refs/replace is there"),)
    assert refused(lambda: made.judge(SSH)) == made.odd


def test_everything_that_is_wrong_is_told_at_once() -> None:
    made = world()
    memory = made.judge(SSH).memory
    pins = made.pins()
    made.odd = (Refusal("R23", "x"),)
    made.tags.clear()
    made.line = made.line[:1]
    assert untrusted(lambda: made.judge(SSH, pins=pins, memory=memory, now=NOW - timedelta(days=1))) == {"R23", "R8", "R13", "R2", "R1", "R5"}
    for rule in ("R24", "R32"):
        made.odd = (Refusal(rule, "nothing can be read in one way"),)
        assert untrusted(lambda: made.judge(SSH, pins=pins, memory=memory, now=NOW - timedelta(days=1))) == {rule}


def test_a_key_whose_revocation_is_remembered_cannot_stop_a_site(ssh: Signer, other_ssh: Signer, tmp_path: Path) -> None:
    third = ssh_signer(ssh_key(tmp_path))
    made = World({"root": ssh, "other": other_ssh})
    people = (principal("root", ssh), principal("other", other_ssh))
    made.enact(made.propose(policy(*people), {LIST: endorser_list(person("alice", third))}), "root")
    made.revoke(other_ssh, "root", ssh.id, "other", serial=1)
    pins = made.pins()
    memory = made.judge(SSH, pins=pins).memory
    made.enact(made.propose(policy(*people, title="stolen"), {LIST: endorser_list(person("alice", third))}), "root")
    assert made.judge(SSH, pins=pins, memory=memory).enactments.current.number == 1
    assert untrusted(lambda: made.judge(SSH, pins=pins)) == {"R12"}


def test_a_history_that_cannot_be_read_is_refused_by_its_rule() -> None:
    made = world()
    made.broken[made.line[0], ""] = Refused("R23", "a strange name", where="x")
    pins = world().pins()
    assert refused(lambda: made.judge(SSH, pins=pins)) == (Refusal("R23", "a strange name", "x"),)


def test_a_tag_whose_commit_cannot_be_looked_up_is_refused_alone() -> None:
    made = world()
    (name,) = accepted(made.judge(SSH))
    other = made.endorse(BOB, made.head, "bob")
    bad = made.endorse(BOB, made.record_release(release("2")), "bob")
    head = made.head
    answer = made.on_mainline

    def broken(commit: str) -> bool:
        if commit == head:
            raise Refused("R7", "it is cut off")
        return answer(commit)

    made.on_mainline = broken  # type: ignore[method-assign]
    found = made.verdicts(SSH)
    assert rules(found[bad]) == {"R7"}
    assert {name, other} <= accepted(made.judge(SSH))


# -- What is judged, and what is remembered


def test_only_the_lists_that_the_site_pinned_count() -> None:
    made = World({"root": A})
    lists = {LIST: endorser_list(person("alice", ALICE)), "second": endorser_list(person("bob", BOB))}
    made.enact(made.propose(policy(principal("root", A)), lists))
    made.endorse(ALICE, made.record_release(release("1")))
    assert set(made.judge(SSH).verdicts) == {LIST, "second"}
    assert set(made.judge(SSH, pins=made.pins(endorsers=("second", "third"))).verdicts) == {"second"}


def test_what_is_remembered_is_not_verified_again() -> None:
    made = world()
    memory = made.judge(SSH).memory
    asked = Asked()
    found = judge(made.sight(), made.pins(), memory, {"ssh": asked}, NOW)  # type: ignore[dict-item]
    assert accepted(found) == {"endorse/debian-12/1/alice/1"}
    assert asked.claims == 0
    with pytest.raises(AssertionError):
        judge(made.sight(), made.pins(), Memory(), {"ssh": asked}, NOW)  # type: ignore[dict-item]
    changed = memory.tags["endorse/debian-12/1/alice/1"].model_copy(update={"held": "0" * 64})
    other = memory.model_copy(update={"tags": {**memory.tags, "endorse/debian-12/1/alice/1": changed}})
    with pytest.raises(AssertionError):
        judge(made.sight(), made.pins(), other, {"ssh": asked}, NOW)  # type: ignore[dict-item]


class Asked:
    """A verifier that nobody should need."""

    claims = 0

    def verify(self, claim: Claim, now: object) -> Any:
        raise AssertionError(claim)

    def prepare(self, claims: list[Claim], now: object) -> None:
        self.claims += len(claims)


def test_only_what_counted_is_remembered() -> None:
    made = world()
    made.endorse(BOB, made.head, "bob", expires=NOW)
    made.withdraw(ALICE, made.head)
    made.revoke(A, "x", MALLORY.id, "root")
    made.revoke(MALLORY, "x", MALLORY.id, "mallory")
    made.endorse(MALLORY, made.head, "mallory")
    memory = made.judge(SSH).memory
    expected = {"endorse/debian-12/1/alice/1", "withdraw/debian-12/1/alice/2", "revoke/x/root/1", "policy/1/root"}
    assert set(memory.tags) == expected
    seen = memory.tags["endorse/debian-12/1/alice/1"]
    raw = made.tags["endorse/debian-12/1/alice/1"]
    assert raw is not None
    assert (seen.sha512, seen.key, seen.made, seen.valid_until) == (sha512_hex(raw), ALICE.id, None, None)
    assert read_memory(write_memory(memory), "m") == memory


def test_a_derived_list_that_goes_beyond_its_source_is_frozen() -> None:
    made = World({"root": A})
    derived = endorser_list(*TWO).model_copy(update={"based_on": type(endorser_list()).model_fields["based_on"].annotation and _base()})
    made.enact(made.propose(policy(principal("root", A)), {LIST: derived, "source": endorser_list(person("alice", ALICE))}))
    found = made.judge(SSH).frozen
    assert set(found) == {LIST}
    assert found[LIST].since is None
    assert [one.rule for one in found[LIST].refusals] == ["R12"]


def _base() -> Any:
    from vmkeeper.model.endorser import Base

    return Base(list="source")


def test_what_freezes_a_list_is_told_with_the_earliest_time() -> None:
    made = first_world(A, *TWO, builders=(builder("ci", CI),), freshness={"signers": ["ci"]})
    until = NOW + timedelta(days=400)
    found = made.judge(SSH, now=until, memory=Memory(fresh_until=NOW)).frozen[LIST]
    assert found.since == NOW
    assert [one.why for one in found.refusals] == ["policy 1 has expired", "no freshness statement is there"]


def test_a_moved_tag_object_is_not_in_its_place() -> None:
    made = world()
    raw = made.tags["endorse/debian-12/1/alice/1"]
    made.tags["endorse/debian-12/2/alice/1"] = raw
    made.tags["endorse/\udcff/x"] = raw
    objects = made.judge(SSH).objects
    assert set(objects) == {sha512_hex(one) for one in made.tags.values() if one is not None}
    del made.tags["endorse/debian-12/1/alice/1"]
    assert raw not in made.judge(SSH).objects.values()


def test_an_endorser_of_two_lists_is_judged_by_each_lists_own_marks() -> None:
    retired = {**ALICE.key.model_dump(exclude_none=True), "retired": "2026-05-01T00:00:00Z"}
    for order in (("a", "b"), ("b", "a")):
        made = World({"root": A})
        lists = {order[0]: endorser_list(person("alice", ALICE)), order[1]: endorser_list(person("alice", retired))}
        made.enact(made.propose(policy(principal("root", A)), lists))
        name = made.endorse(ALICE, made.record_release(release("1")))
        assert isinstance(made.verdicts(SSH, listed=order[0])[name], Accepted)
        verdict = made.verdicts(SSH, listed=order[1])[name]
        assert [(one.rule, one.why, one.evidence) for one in verdict.refusals] == [  # type: ignore[union-attr]
            ("R12", "the key was retired before it signed this", "2026-05-01T00:00:00Z")
        ]


def test_endorsements_under_a_policy_by_whom_a_later_one_added() -> None:
    made = world()
    commit = made.head
    made.enact(made.propose(policy(principal("root", A)), {LIST: endorser_list(*TWO, person("carol", MALLORY))}))
    early = made.endorse(MALLORY, commit, "carol", policy=1)
    assert [(one.rule, one.why) for one in made.verdicts(SSH)[early].refusals] == [  # type: ignore[union-attr]
        ("R3", "carol could not endorse debian-12 with this key under policy 1")
    ]
    del made.tags[early]
    name = made.endorse(MALLORY, commit, "carol")
    assert isinstance(made.verdicts(SSH)[name], Accepted)
    ahead = made.endorse(MALLORY, commit, "carol", policy=3)
    assert [(one.rule, one.why, one.evidence) for one in made.verdicts(SSH)[ahead].refusals] == [  # type: ignore[union-attr]
        ("R3", "the endorsement names policy 3", "policy 2 is in force")
    ]


def test_what_was_before_the_pinned_policy_is_judged_by_the_pinned_one() -> None:
    made = world()
    made.enact(made.head)
    second = made.last_policy()
    assert second is not None
    pins = made.pins(policy={"number": 2, "sha512": second.content})
    assert accepted(made.judge(SSH, pins=pins)) == {"endorse/debian-12/1/alice/1"}
    made.enact(made.propose(policy(principal("root", A)), {LIST: endorser_list(*TWO, person("carol", MALLORY))}))
    early = made.endorse(MALLORY, made.record_release(release("3")), "carol", policy=1)
    assert rules(made.verdicts(SSH, pins=pins)[early]) == {"R3"}


def test_junk_by_strangers_costs_little_and_changes_nothing() -> None:
    made = world()
    before = made.judge(SSH)
    raw = made.tags["endorse/debian-12/1/alice/1"]
    for number in range(300):
        made.tags[f"endorse/debian-12/{number}/mallory/1"] = raw
        made.tags[f"policy/2/m{number}"] = raw
        made.tags[f"revoke/a/m{number}/1"] = b"junk"
        made.tags[f"withdraw/debian-12/1/alice/{number + 9}"] = raw
    after = made.judge(SSH)
    assert (accepted(after), after.memory, after.void) == (accepted(before), before.memory, before.void)


def test_names_that_differ_by_case_are_not_ours() -> None:
    made = world()
    made.tags |= {name.upper(): raw for name, raw in made.tags.items()}
    made.tags |= {"Endorse/debian-12/1/alice/1": b"x", "endorse/Debian-12/1/alice/1": b"x", "policy/1/Root": b"x"}
    found = made.judge(SSH)
    assert accepted(found) == {"endorse/debian-12/1/alice/1"}
    assert {one.tag for one in found.verdicts[LIST]} == {"endorse/debian-12/1/alice/1", "endorse/Debian-12/1/alice/1"}


def test_strangers_are_told_apart_although_the_head_cannot_be_read() -> None:
    made = world()
    name = made.endorse(MALLORY, made.head, "mallory")
    made.commit({"endorsers/other.yaml": b"junk", "endorsers/keys/x.asc": b""})
    assert rules(made.verdicts(SSH)[name]) == {"R10"}
    made.broken[made.head, "endorsers"] = Refused("R4", "endorsers is a link")
    assert untrusted(lambda: made.judge(SSH)) == {"R4"}


def test_r31_where_the_policy_names_builders_a_release_needs_provenance(monkeypatch: pytest.MonkeyPatch) -> None:
    made = first_world(A, *TWO, builders=(builder("ci", CI),))
    commit = made.record_release(release("1"))
    names = [made.endorse(ALICE, commit), made.endorse(BOB, commit, "bob")]
    hint = "have CI build it with its builder key, and endorse that"
    for name in names:
        verdict = made.verdicts(SSH)[name]
        why = "the release has no provenance, and the policy names builders"
        assert verdict.refusals == (Refusal("R31", why, f"appliances/debian-12 in {commit}", hint),)  # type: ignore[union-attr]
    made.tags = {name: raw for name, raw in made.tags.items() if name not in names}
    commit = made.record_release(release("2"), provenance=b"junk")
    names = [made.endorse(ALICE, commit), made.endorse(BOB, commit, "bob")]
    assert {rule for name in names for rule in rules(made.verdicts(SSH)[name])} <= {"R22", "R31", "R10"}
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr("vmkeeper.trust.verify.verify_provenance", lambda data, record, **how: asked.append({"data": data, "record": record, **how}))
    found = made.judge(SSH)
    assert accepted(found) == set(names)
    (call,) = asked
    assert (call["data"], call["record"].sha512, call["repository"], call["now"]) == (b"junk", found.reads[0].said.release, made.line[0], NOW)  # type: ignore[union-attr]
    assert (call["builders"], call["verifiers"]) == (found.enactments.current.policy.builders, SSH)
    assert said_by(found.verdicts[LIST]) == [one.said for one in found.reads]


def test_what_a_kind_of_statement_must_say_is_its_own() -> None:
    assert Said.__abstractmethods__ == {"signer", "ref", "subjects"}
    for kind in STATEMENTS:
        assert not kind.__abstractmethods__


# -- Random histories


Step = tuple[str, str, str]
STEPS = st.lists(
    st.tuples(st.sampled_from(["endorse", "withdraw", "enact", "revoke", "junk"]), st.sampled_from(["alice", "bob"]), st.sampled_from("123")),
    max_size=9,
)
SIGNERS = {"alice": ALICE, "bob": BOB}


def played(steps: list[Step]) -> World:
    made = first_world(A, *TWO, builders=(builder("ci", CI),), freshness={"signers": ["ci"]})
    made.commits = dict(made.commits)
    commits = {version: made.record_release(release(version)) for version in "123"}
    for number, (action, name, version) in enumerate(steps):
        if action in ("endorse", "withdraw"):
            getattr(made, action)(SIGNERS[name], commits[version], name)
        elif action == "enact":
            people = TWO if version != "3" else (person(name, SIGNERS[name]),)
            listed = policy(principal("root", A), builders=(builder("ci", CI),), freshness={"signers": ["ci"]})
            made.enact(made.propose(listed, {LIST: endorser_list(*people)}))
        elif action == "revoke":
            made.revoke(A, name, SIGNERS[name].id, "root", number=number + 1)
        else:
            made.tags[f"endorse/debian-12/{version}/mallory/{number + 1}"] = b"junk"
    made.vouch(CI)
    return made


def outcome(made: World, **how: Any) -> tuple[set[str], Judgement] | None:
    try:
        judgement = made.judge(SSH, **how)
    except Untrusted:
        return None
    return accepted(judgement), judgement


@settings(max_examples=12, deadline=None)
@given(STEPS, st.randoms(use_true_random=False))
def test_judged_twice_and_in_another_order_it_is_the_same(steps: list[Step], chance: random.Random) -> None:
    made = played(steps)
    one = outcome(made)
    assert one is not None
    names = list(made.tags)
    chance.shuffle(names)
    made.tags = {name: made.tags[name] for name in names}
    two = outcome(made)
    three = outcome(made, memory=one[1].memory)
    assert two is not None
    assert three is not None
    assert (one[0], one[1].memory) == (two[0], two[1].memory) == (three[0], three[1].memory)


@settings(max_examples=12, deadline=None)
@given(STEPS, st.data())
def test_dropping_tags_accepts_nothing_more(steps: list[Step], data: st.DataObject) -> None:
    """With the freshness statement or the memory of the whole, what remains is refused, or no more is accepted than before."""
    made = played(steps)
    whole = outcome(made)
    assert whole is not None
    pins = made.pins()
    dropped = data.draw(st.sets(st.sampled_from(sorted(made.tags)), min_size=1))
    made.tags = {name: raw for name, raw in made.tags.items() if name not in dropped}
    less = outcome(made, pins=pins)
    assert less is None or less[0] <= whole[0]
    remembered = outcome(made, pins=pins, memory=whole[1].memory)
    assert remembered is None or remembered[0] == whole[0]
    if dropped & set(whole[1].memory.tags):
        assert "R8" in untrusted(lambda: made.judge(SSH, pins=pins, memory=whole[1].memory))


def test_prefixes_are_those_of_our_tags() -> None:
    assert PREFIXES == ("endorse/", "withdraw/", "policy/", "revoke/", "approve/")
    made = world()
    assert Sight(made, {}).oddities == ()
    assert Sight(made, {}).freshness is None
