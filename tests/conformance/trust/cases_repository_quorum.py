"""Quorums: each person once, each key pair once, in whatever form it comes. R5, and the quorum of a list (R20)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from conformance.trust.case import Case
from conformance.trust.forge import World, person
from conformance.trust.signers import Signer, openpgp, openpgp_of, ready, ssh_of_rsa
from conformance.trust.worlds import (
    ALICE,
    ANNA,
    BASE,
    DAVE,
    MALLORY,
    V3,
    Change,
    accepts,
    base,
    ben,
    bob,
    cleo,
    listed,
    new,
    people,
    refuses,
    v1,
    v2,
    w1,
)

Key = Signer | Callable[[], Signer]


def principals(quorum: int, *names: str, **keys: Key) -> Change:
    """The base with other principals and policy 1 signed by the named ones; everything else as it is."""

    def start(world: World) -> None:
        base(world)
        signers = {name: ready(key) for name, key in keys.items()}
        people(world, **signers)
        for tag in tuple(world.raw):
            if tag.startswith("policy/"):
                world.drop(tag)
        world.documents["policy"].update(quorum=quorum, principals=[person(name, signer) for name, signer in signers.items()])
        world.policy = (0, None)
        world.propose()
        world.enact(*names)
        world.pin(quorum, *signers)

    return start


def community(quorum: int, rebuilds: int, *names: str, **fields: Any) -> Change:
    """The base with a list of that quorum besides, which alone counts, and the base's releases endorsed by all of the named ones."""

    def start(world: World) -> None:
        base(world)
        world.signers.update(dave=DAVE, frank=MALLORY)
        members = [person(name, world.signers[name]) for name in ("alice", "bob", "carol")]
        world.documents["science"]["endorsers"] = []
        world.documents["physics"] = listed("physics", *members, quorum=quorum, rebuilds=rebuilds)
        world.next_policy("anna", "dora")
        world.pins["endorsers"] = ["physics"]
        for commit, appliance in ((v1(world), "debian-12"), (v2(world), "debian-12"), (w1(world), "alma-9")):
            for name in names:
                world.endorse(name, commit, appliance, **fields)

    return start


def _twice_in_lists(world: World) -> None:
    """The same key belongs to two names on two lists of one policy."""
    world.documents["other"] = listed("other", person("alison", ALICE))


def _signed_again(change: Change) -> Change:
    """Policy 1 with a change in it, signed and pinned."""

    def start(world: World) -> None:
        base(world)
        change(world)
        world.policy = (0, None)
        world.drop("policy/1/anna", "policy/1/dora")
        world.propose()
        world.enact("anna", "dora")
        world.pin(2, "anna", "dora", "ben")

    return start


def _member(name: str, key: Key, to: str = "other") -> Change:
    def change(world: World) -> None:
        signer = ready(key)
        people(world, **{name: signer})
        world.documents[to] = listed(to, person(name, signer))

    return change


def _stands_in(tag: str, signer: Signer) -> Change:
    """One principal's key signs for another one."""

    def change(world: World) -> None:
        world.policy = (0, None)
        world.enact(tag, commit=world.line[1], by={tag: signer}, count=False)

    return change


def _paired(world: World) -> None:
    """A list with a quorum of two, on which one person stands twice: with a certificate, and with its key as an SSH key."""
    community(2, 0, "alice", "bob")(world)
    people(world, caroline=ssh_of_rsa("Carol"))
    world.documents["physics"]["endorsers"].append(person("caroline", world.signers["caroline"]))
    world.next_policy("anna", "dora")


def _twice(*names: str) -> Change:
    """The release is endorsed by these, one after another."""

    def change(world: World) -> None:
        commit = new(world)
        for name in names:
            world.endorse(name, commit)

    return change


THREE = principals(3, "anna", "ben", "cleo", anna=ANNA, ben=ben, cleo=cleo)

CASES: list[Case] = [
    accepts("two-of-three-principals", "R5"),
    accepts("three-of-three-with-three-kinds-of-keys", "R5", start=THREE),
    accepts("all-three-sign-where-two-suffice", "R5", start=principals(2, "anna", "dora", "ben", anna=ANNA, dora=DAVE, ben=ben)),
    accepts("one-principal-alone", "R5", start=principals(1, "anna", anna=ANNA)),
    accepts(
        "a-principal-with-two-keys-signs-with-either",
        "R5",
        start=_signed_again(lambda world: world.documents["policy"]["principals"][0]["keys"].append(MALLORY.listed)),
    ),
    accepts("one-endorser-on-two-lists", "R5", start=_signed_again(_member("alice", ALICE))),
    accepts("a-principal-who-endorses-too-under-the-same-name", "R5", start=_signed_again(_member("anna", ANNA))),
    refuses("one-of-two-principals", "R5", lambda world: world.drop("policy/1/dora")),
    refuses("two-of-three-where-all-must", "R5", lambda world: world.drop("policy/1/cleo"), start=THREE),
    refuses("a-principal-signs-for-another", "R5", _stands_in("dora", ANNA)),
    refuses("a-stranger-signs-for-a-principal", "R5", _stands_in("dora", MALLORY)),
    refuses("an-endorser-signs-for-a-principal", "R5", _stands_in("dora", ALICE)),
    refuses(
        "two-principals-with-one-key",
        "R5",
        start=_signed_again(lambda world: world.documents["policy"]["principals"][1].update(keys=[ANNA.listed])),
        change=lambda _: None,
    ),
    refuses(
        "two-principals-with-one-name",
        "R5",
        start=_signed_again(lambda world: world.documents["policy"]["principals"][1].update(name="anna")),
        change=lambda _: None,
    ),
    refuses("a-quorum-of-four-of-three", "R5", start=_signed_again(lambda world: world.documents["policy"].update(quorum=4)), change=lambda _: None),
    refuses(
        "a-quorum-of-nobody", "R5", start=_signed_again(lambda world: world.documents["policy"].update(quorum=0)), change=lambda _: None, named="R1"
    ),
    refuses("one-key-under-two-names-on-two-lists", "R5", start=_signed_again(_twice_in_lists), change=lambda _: None),
    refuses("a-principal-s-key-under-another-name-on-a-list", "R5", start=_signed_again(_member("annabel", ANNA)), change=lambda _: None),
    refuses(
        "two-principals-with-one-key-pair-in-ssh-and-in-x509",
        "R5",
        start=principals(2, "cleo", "chloe", cleo=cleo, chloe=lambda: ssh_of_rsa("Cleo"), anna=ANNA),
        change=lambda _: None,
    ),
    refuses("one-key-pair-in-ssh-and-in-openpgp", "R5", start=_signed_again(_member("bobby", lambda: openpgp_of(bob()))), change=lambda _: None),
    refuses(
        "a-subkey-of-one-is-the-key-of-another",
        "R5",
        start=_signed_again(
            lambda world: [
                _member("gina", lambda: openpgp("gina", subkey="ed25519"))(world),
                _member("hanna", lambda: openpgp_of(openpgp("gina", subkey="ed25519"), 1), "third")(world),
            ]
        ),
        change=lambda _: None,
    ),
    # The quorum of a list
    accepts("two-of-three-endorsers", "R20", start=community(2, 0, "alice", "carol")),
    accepts("three-of-three-endorsers-with-three-kinds-of-keys", "R20", start=community(3, 0, "alice", "bob", "carol")),
    accepts("more-endorsers-than-must", "R20", start=community(1, 0, "alice", "bob", "carol")),
    refuses("one-endorser-where-two-must", "R20", _twice("alice"), start=community(2, 0, "alice", "carol"), release=V3, stands=BASE),
    refuses(
        "one-endorser-twice-where-two-must",
        "R20",
        _twice("alice", "alice", "alice"),
        start=community(2, 0, "alice", "carol"),
        release=V3,
        stands=BASE,
    ),
    refuses(
        "two-endorsers-with-one-key-pair-in-ssh-and-in-x509",
        "R5",
        _twice("carol", "caroline"),
        start=_paired,
        release=V3,
        stands=BASE,
        named="R20",
    ),
    refuses(
        "the-second-endorser-is-on-another-list", "R20", _twice("alice", "erin"), start=community(2, 0, "alice", "carol"), release=V3, stands=BASE
    ),
]
