"""Keys, people and policies change: what must go on working, and what an attacker makes of such changes. R3, R5, R12, R16."""

from __future__ import annotations

from datetime import timedelta

from conformance.trust.case import Case
from conformance.trust.certificates import certificate, issue
from conformance.trust.forge import World, person, utc
from conformance.trust.signers import NOW, openpgp, ssh
from conformance.trust.worlds import ALICE, ANNA, BASE, DAVE, MALLORY, V3, Change, accepts, base, ben, new, people, refuses, remembers, then, v1, v2

NEW = {name: ssh(f"new {name}") for name in ("anna", "dora", "alice")}


def _principals(world: World, quorum: int = 2, **signers: object) -> None:
    """The next policy's principals."""
    people(world, **signers)  # type: ignore[arg-type]
    world.documents["policy"].update(quorum=quorum, principals=[person(name, world.signers[name]) for name in signers])


def _to_openpgp(world: World) -> None:
    """The only principal of policy 2 has an OpenPGP key."""
    _principals(world, 1, ben=ben())
    world.next_policy("anna", "dora", "ben")


def _everybody_new(world: World) -> None:
    """Policy 2 replaces every principal: both the old and the new ones sign it."""
    _principals(world, erika=NEW["anna"], fritz=NEW["dora"])
    world.next_policy("anna", "dora", "erika", "fritz")


def _one_by_one(world: World) -> None:
    """Policies 2 and 3 each replace one principal."""
    _principals(world, anna=ANNA, dora=DAVE, erika=NEW["anna"])
    world.next_policy("anna", "dora")
    _principals(world, anna=ANNA, erika=NEW["anna"], fritz=NEW["dora"])
    world.next_policy("anna", "erika")
    _principals(world, erika=NEW["anna"], fritz=NEW["dora"])
    world.next_policy("erika", "fritz")


def _endorsed_by(name: str) -> Change:
    return lambda world: world.endorse(name, new(world))


def _mallory_after(*names: str, quorum: int = 2) -> Change:
    """Policy 2 has new principals and mallory on a list; these sign it. Mallory endorses."""

    def change(world: World) -> None:
        people(world, mallory=MALLORY)
        _principals(world, quorum, erika=NEW["anna"], fritz=NEW["dora"])
        world.documents["science"]["endorsers"].append(person("mallory", MALLORY))
        world.next_policy(*names)
        world.endorse("mallory", new(world))

    return change


def _old_root_again(world: World) -> None:
    """After the rotation the old principals sign policy 3."""
    _everybody_new(world)
    people(world, mallory=MALLORY)
    world.documents["science"]["endorsers"].append(person("mallory", MALLORY))
    world.next_policy("anna", "dora")
    world.endorse("mallory", new(world))


def _old_root_skips(world: World) -> None:
    """The old principals sign another policy 2 than the one that is in force."""
    before = world.policy
    _everybody_new(world)
    world.policy = before
    people(world, mallory=MALLORY)
    world.documents["science"]["endorsers"].append(person("mallory", MALLORY))
    world.propose()
    world.enact("anna", "dora")
    world.endorse("mallory", new(world))


def _new_key(*, keep: bool) -> Change:
    """Alice takes a new key; the old one is kept as retired, or goes."""

    def change(world: World) -> None:
        old = ALICE.marked(retired=utc(NOW - timedelta(hours=6)))
        (alice,) = (one for one in world.documents["science"]["endorsers"] if one["name"] == "alice")
        alice["keys"] = [*([old.listed] if keep else []), NEW["alice"].listed]
        world.next_policy("anna", "dora")
        world.signers["alice"] = NEW["alice"]

    return change


def _both_endorse(world: World) -> None:
    """What the old key signed is endorsed again with the new one."""
    for commit in (v1(world), v2(world)):
        world.endorse("alice", commit, issued=utc(NOW), not_before=utc(NOW))


def _at_noon(name: str) -> Change:
    return lambda world: world.endorse(name, new(world), issued=utc(NOW), not_before=utc(NOW))


def _old_key_signs(world: World) -> None:
    """The retired key signs after it was retired."""
    world.endorse("alice", new(world), by=ALICE, issued=utc(NOW), not_before=utc(NOW))


def _leaves(world: World) -> None:
    """Erin leaves, and bob endorses what she did."""
    world.documents["science"]["endorsers"] = [one for one in world.documents["science"]["endorsers"] if one["name"] != "erin"]
    world.next_policy("anna", "dora")


def _bob_for_erin(world: World) -> None:
    world.endorse("bob", world.line[4], "alma-9")


def _renamed_again(world: World) -> None:
    """A name comes back with another key, under which the old tags do not count."""
    _leaves(world)
    people(world, erin=MALLORY)
    world.documents["science"]["endorsers"].append(person("erin", MALLORY))
    world.next_policy("anna", "dora")


def _kinds(world: World) -> None:
    """Alice changes from SSH to OpenPGP, and to a certificate."""
    old = ALICE.marked(retired=utc(NOW - timedelta(hours=6)))
    card, grid = openpgp("alice"), certificate(issue("Alice", issue("Authority")), issue("Authority"))
    people(world, card=card)
    (alice,) = (one for one in world.documents["science"]["endorsers"] if one["name"] == "alice")
    alice["keys"] = [old.listed, card.listed, grid.listed]
    world.next_policy("anna", "dora")
    world.endorse("alice", new(world), by=card, issued=utc(NOW), not_before=utc(NOW))
    world.endorse("alice", world.commit(), by=grid, issued=utc(NOW), not_before=utc(NOW))


def _policy_runs_out(world: World) -> None:
    """The base with a policy that ends an hour before the time of most cases."""
    base(world)
    world.policy = (0, None)
    world.drop("policy/1/anna", "policy/1/dora")
    world.enact("anna", "dora", commit=world.line[1], expires=utc(NOW - timedelta(hours=1)))
    world.pin(2, "anna", "dora", "ben")


CASES: list[Case] = [
    accepts("every-principal-is-replaced-with-both-quorums", "R5", then(_everybody_new, _endorsed_by("alice"))),
    accepts("principals-are-replaced-over-policies-2-3-4", "R16", then(_one_by_one, _endorsed_by("alice"))),
    accepts("a-policy-is-renewed", "R13", lambda world: world.next_policy("anna", "dora"), start=_policy_runs_out),
    accepts("the-principals-change-from-ssh-to-openpgp", "R5", _to_openpgp),
    refuses("a-rotation-without-the-new-quorum", "R3", _mallory_after("anna", "dora", "erika"), release=V3, stands=BASE),
    refuses("a-rotation-without-the-old-quorum", "R3", _mallory_after("anna", "erika", "fritz"), release=V3, stands=BASE),
    refuses("a-rotation-by-the-new-ones-only", "R3", _mallory_after("erika", "fritz"), release=V3, stands=BASE),
    refuses("a-rotation-by-the-old-ones-only", "R3", _mallory_after("anna", "dora"), release=V3, stands=BASE),
    refuses("a-rotation-to-a-lower-quorum-without-the-old-one", "R3", _mallory_after("anna", "erika", quorum=1), release=V3, stands=BASE),
    refuses("the-old-principals-after-a-rotation", "R3", _old_root_again, release=V3, stands=BASE),
    refuses("the-old-principals-beside-a-rotation", "R3", _old_root_skips, release=V3),
    refuses("a-policy-that-has-run-out", "R13", lambda _: None, start=_policy_runs_out),
    # Endorsers
    accepts("an-endorser-takes-a-new-key", "R12", then(_new_key(keep=True), _at_noon("alice"))),
    accepts("what-a-retired-key-signed-before-goes-on", "R12", _new_key(keep=True)),
    accepts("all-is-endorsed-again-with-the-new-key", "R12", then(_new_key(keep=False), _both_endorse)),
    accepts("an-endorser-leaves-and-another-one-steps-in", "R12", then(_leaves, _bob_for_erin)),
    accepts("one-endorser-with-keys-of-all-three-kinds", "R10", _kinds),
    remembers("a-key-is-retired-between-two-looks", "R12", "accept", _new_key(keep=True)),
    refuses("a-retired-key-signs-on", "R12", then(_new_key(keep=True), _old_key_signs), release=V3, stands=BASE),
    refuses("a-removed-key-counts-no-more", "R10", _new_key(keep=False), stands=("alma-9 2026.5.3.5",)),
    refuses("a-removed-endorser-counts-no-more", "R10", _leaves, release="alma-9 2026.5.3.5", stands=BASE[:2]),
    refuses("a-name-that-comes-back-with-another-key", "R10", _renamed_again, release="alma-9 2026.5.3.5", stands=BASE[:2]),
    remembers("an-endorser-is-removed-between-two-looks", "R10", "refuse", _leaves, release="alma-9 2026.5.3.5", stands=BASE[:2]),
]
