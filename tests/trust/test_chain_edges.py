"""Chains at their edges: a fork of which one half is kept back, and how often a link is looked at."""

from __future__ import annotations

from support.keys import SecurityKey
from support.trust import World, first_world, person, release, said_in
from vmkeeper.trust.chain import Links, breaks
from vmkeeper.trust.said import OfEndorser
from vmkeeper.values import Sha512, sha512_hex

A, ALICE = (SecurityKey().plain_signer() for _ in range(2))


def own(made: World) -> dict[str, bytes]:
    return {name: raw for name, raw in made.tags.items() if raw is not None and name.startswith(("endorse/", "withdraw/"))}


def signed(made: World) -> dict[str, tuple[Sha512, OfEndorser]]:
    return {name: (sha512_hex(raw), said) for name, raw in own(made).items() if isinstance(said := said_in(raw), OfEndorser)}


def test_half_of_a_fork_does_not_count_where_the_other_half_is_missing() -> None:
    """Two tags with serial 2; a third follows the one that is kept back, and proves that it was there."""
    made = first_world(A, person("alice", ALICE))
    first = made.endorse(ALICE, made.record_release(release("1")))
    second = made.endorse(ALICE, made.record_release(release("2")))
    third = made.endorse(ALICE, made.record_release(release("3")))
    fork = made.endorse(ALICE, made.record_release(release("4")), serial=2, previous=sha512_hex(own(made)[first]))
    del made.tags[second]
    found = breaks(signed(made), Links({sha512_hex(raw): raw for raw in own(made).values()}, {}), made.line[0])
    missing = "the tag with serial 2 is missing"
    assert {name: (one.rule, one.evidence) for name, one in found.items()} == dict.fromkeys((first, third, fork), ("R9", missing))


class Counting(Links):
    """Links that count how often they are asked."""

    asked = 0

    def said(self, digest: Sha512) -> OfEndorser | None:
        self.asked += 1
        return super().said(digest)


def test_every_link_is_followed_once_however_many_tags_stand_on_it() -> None:
    made = first_world(A, person("alice", ALICE))
    for number in range(12):
        made.endorse(ALICE, made.record_release(release(str(number + 1))))
    for backwards in (False, True):
        links = Counting({sha512_hex(raw): raw for raw in own(made).values()}, {})
        assert breaks(dict(sorted(signed(made).items(), key=lambda item: item[1][1].serial, reverse=backwards)), links, made.line[0]) == {}
        assert links.asked == 11
