"""R9 on chains of tags by themselves: what is missing, what is forked, what an owner stands by."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.keys import SecurityKey
from support.trust import LIST, SSH, World, endorser_list, first_world, person, policy, principal, release, rules, said_in
from vmkeeper.model.keys import Compromise
from vmkeeper.trust.chain import Links, breaks
from vmkeeper.trust.refusal import Refusal
from vmkeeper.trust.said import Chain, OfEndorser
from vmkeeper.trust.verify import Accepted
from vmkeeper.values import sha512_hex

A, ALICE, BOB = (SecurityKey().plain_signer() for _ in range(3))
FETCH = "fetch all tags; if that does not help, the mirror drops some"


def world(count: int = 0) -> World:
    made = first_world(A, person("alice", ALICE), person("bob", BOB))
    for number in range(count):
        made.endorse(ALICE, made.record_release(release(str(number + 1))))
    return made


def own(made: World) -> dict[str, bytes]:
    return {name: raw for name, raw in made.tags.items() if raw is not None and name.startswith(("endorse/", "withdraw/"))}


def digest(made: World, name: str) -> str:
    return sha512_hex(own(made)[name])


def objects(made: World) -> dict[str, bytes]:
    return {sha512_hex(raw): raw for raw in own(made).values()}


def signed(made: World) -> dict[str, tuple[str, OfEndorser]]:
    return {name: (sha512_hex(raw), said) for name, raw in own(made).items() if isinstance(said := said_in(raw), OfEndorser)}


def broken(made: World) -> dict[str, Refusal]:
    return breaks(signed(made), Links(objects(made), {}), made.line[0])


def test_a_whole_chain_has_no_break() -> None:
    assert broken(world(4)) == {}


def test_a_dropped_tag_shows_before_and_after_it() -> None:
    made = world(4)
    names = list(own(made))
    del made.tags[names[1]]
    missing = "the tag with serial 2 is missing"
    assert broken(made) == {
        names[0]: Refusal("R9", "a tag of alice that is not older is missing, and may take this one back", missing, FETCH),
        **{name: Refusal("R9", "the chain of alice's tags is broken", missing, FETCH) for name in names[2:]},
    }


def test_of_several_that_are_missing_the_last_is_told_to_those_before() -> None:
    made = world(6)
    names = list(own(made))
    del made.tags[names[1]], made.tags[names[4]]
    found = broken(made)
    assert found[names[0]].evidence == "the tag with serial 5 is missing"
    assert found[names[2]].evidence == "the tag with serial 2 is missing"
    assert found[names[5]].evidence == "the tag with serial 5 is missing"


def test_one_endorsers_loss_is_not_anothers() -> None:
    made = world(3)
    bobs = made.endorse(BOB, made.head, "bob")
    del made.tags[next(iter(own(made)))]
    assert bobs not in broken(made)
    assert len(broken(made)) == 2


def test_two_tags_with_one_serial_are_both_refused_and_say_so() -> None:
    made = world(1)
    (first,) = own(made)
    fork = made.endorse(ALICE, made.record_release(release("9")), serial=1, previous=None)
    hint = "the endorser has to take one of the two away"
    assert broken(made) == {name: Refusal("R9", "alice signed two tags with the serial 1", name, hint) for name in (first, fork)}


def test_one_object_under_two_names_is_no_fork() -> None:
    made = world(2)
    said = signed(made)
    (name, value), *_ = said.items()
    assert breaks({**said, "moved": value}, Links(objects(made), {}), made.line[0]) == {}
    assert name != "moved"


def test_a_link_to_the_wrong_tag_is_told() -> None:
    made = world(3)
    names = list(own(made))
    wrong = made.endorse(ALICE, made.record_release(release("9")), serial=4, previous=digest(made, names[0]))
    assert broken(made) == {wrong: Refusal("R9", "the chain of alice's tags is broken", "serial 4 of alice follows serial 1 of alice", FETCH)}
    made = world(1)
    bobs = made.endorse(BOB, made.head, "bob", serial=1, previous=None)
    wrong = made.endorse(ALICE, made.head, serial=2, previous=digest(made, bobs))
    assert broken(made)[wrong].evidence == "serial 2 of alice follows serial 1 of bob"


def test_a_link_to_what_is_no_statement_is_told() -> None:
    made = world()
    made.tags["endorse/a/1/alice/1"] = b"junk"
    wrong = made.endorse(ALICE, made.record_release(release("9")), serial=2, previous=sha512_hex(b"junk"))
    assert broken(made)[wrong].evidence == "serial 2 of alice follows something else than a statement"
    policy_tag = made.tags["policy/1/root"]
    assert policy_tag is not None
    other = made.endorse(ALICE, made.head, serial=3, previous=sha512_hex(policy_tag), version="9")
    found = breaks(signed(made), Links({**objects(made), sha512_hex(policy_tag): policy_tag}, {}), made.line[0])
    assert found[other].evidence == "serial 3 of alice follows something else than a statement"


def test_a_link_to_a_tag_of_another_repository_is_told() -> None:
    made = world()
    foreign = made.endorse(ALICE, made.record_release(release("1")), repository="9" * 40)
    name = made.endorse(ALICE, made.head, serial=2, previous=digest(made, foreign))
    said = {name: signed(made)[name]}
    assert breaks(said, Links(objects(made), {}), made.line[0])[name].evidence == "serial 2 of alice follows serial 1 of alice"


def test_what_is_known_needs_no_reading_but_has_to_be_there() -> None:
    made = world(2)
    said = dict(signed(made).values())
    assert all(Links(objects(made), said).said(one) is each for one, each in said.items())
    assert Links({}, said).said(next(iter(said))) is None
    assert next(iter(said)) in Links(objects(made), {})
    assert next(iter(said)) not in Links({}, said)


def test_an_owner_stands_by_the_tags_up_to_the_mark() -> None:
    made = world(4)
    names = list(own(made))
    links = Links(objects(made), {})
    place = Compromise(serial=3, sha512=digest(made, names[2]))
    assert links.behind(place) == {digest(made, name) for name in names[:3]}
    assert links.behind(place) is links.behind(Compromise(serial=3, sha512=digest(made, names[2])))
    for nothing in (Compromise(), Compromise(serial=3), Compromise(serial=2, sha512=place.sha512), Compromise(serial=3, sha512="9" * 128)):
        assert links.behind(nothing) == frozenset()
    del made.tags[names[1]]
    assert Links(objects(made), {}).behind(place) == {digest(made, names[2])}


def test_the_last_policy_that_an_owner_names_is_found() -> None:
    made = world()
    names = [made.endorse(ALICE, made.record_release(release(str(number))), policy=number) for number in (2, 5, 3, 9)]
    links = Links(objects(made), {})
    assert [links.last_policy(Compromise(serial=number + 1, sha512=digest(made, name))) for number, name in enumerate(names)] == [2, 5, 5, 9]
    assert links.last_policy(Compromise()) == 0


@pytest.mark.parametrize(("dropped", "expected"), [((), None), ((0,), 1), ((1,), 2), ((2,), 3), ((0, 1), 2), ((0, 1, 2), 3)])
def test_what_is_missing_below_a_tip_is_found(dropped: tuple[int, ...], expected: int | None) -> None:
    made = world(3)
    names = list(own(made))
    tip = Chain(endorser="alice", serial=3, sha512=digest(made, names[2]))
    for number in dropped:
        del made.tags[names[number]]
    assert Links(objects(made), {}).missing(tip) == expected


def test_a_moved_withdrawal_is_missing_and_what_it_took_back_does_not_count() -> None:
    made = world(1)
    (name,) = own(made)
    withdrawn = made.withdraw(ALICE, made.head)
    made.endorse(ALICE, made.record_release(release("2")))
    for elsewhere in ("withdraw/debian-12/1/bob/2", "endorse/debian-12/1/alice/2", "withdraw/debian-12/7/alice/2"):
        raw = made.tags.pop(withdrawn)
        made.tags[elsewhere] = raw
        found = made.verdicts(SSH)
        assert rules(found[name]) == {"R9"}
        made.tags[withdrawn] = made.tags.pop(elsewhere)
    assert isinstance(made.verdicts(SSH)[name], Accepted)


def test_a_long_chain_is_judged_in_one_pass() -> None:
    made = world(80)
    names = list(own(made))
    reads = Counting(objects(made))
    found = breaks(signed(made), Links(reads, {}), made.line[0])
    assert found == {}
    assert reads.count <= 3 * len(names)
    assert Links(objects(made), {}).behind(Compromise(serial=80, sha512=digest(made, names[-1]))) == set(objects(made))


class Counting(dict[str, bytes]):
    count = 0

    def __getitem__(self, key: str) -> bytes:
        self.count += 1
        return super().__getitem__(key)


SIX = world(6)


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, 5)))
def test_whatever_is_dropped_only_a_beginning_is_accepted(dropped: set[int]) -> None:
    names = list(own(SIX))
    kept = {name: signed(SIX)[name] for number, name in enumerate(names) if number not in dropped}
    found = breaks(kept, Links({one: objects(SIX)[one] for one, _ in kept.values()}, {}), SIX.line[0])
    good = [names.index(name) for name in kept if name not in found]
    assert good in ([], list(range(len(kept))))
    assert bool(good) == (kept != {} and max(names.index(name) for name in kept) == len(kept) - 1)


def test_an_endorser_on_two_lists_with_two_keys_has_one_chain() -> None:
    other = SecurityKey().plain_signer()
    made = World({"root": A})
    lists = {LIST: endorser_list(person("alice", ALICE)), "second": endorser_list(person("alice", other))}
    made.enact(made.propose(policy(principal("root", A)), lists))
    one = made.endorse(ALICE, made.record_release(release("1")))
    two = made.endorse(other, made.record_release(release("2")))
    first, second = made.verdicts(SSH), made.verdicts(SSH, listed="second")
    assert (isinstance(first[one], Accepted), rules(first[two])) == (True, {"R10"})
    assert (rules(second[one]), isinstance(second[two], Accepted)) == ({"R10"}, True)
    del made.tags[one]
    assert rules(made.verdicts(SSH, listed="second")[two]) == {"R9"}
