"""What is signed is what lies in the commit (R14), and a release runs only with everybody's consent (R20)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from conformance.trust.case import Case
from conformance.trust.cases_repository_quorum import community
from conformance.trust.forge import World, document, person, release, sha512, utc
from conformance.trust.signers import ISSUED, NOW, ssh
from conformance.trust.worlds import BASE, MALLORY, V1, V3, W1, Change, accepts, base, new, people, record, refuses, remembers, v2

RECORD = "appliances/debian-12/release.yaml"


def claims(**fields: Any) -> Change:
    """Alice endorses V3 and says something else of it than its record."""
    return lambda world: world.endorse("alice", new(world), **fields)


def differs(name: str, **fields: Any) -> Case:
    return refuses(name, "R14", claims(**fields), release=V3, stands=BASE)


def files(version: str, **changes: Any) -> list[dict[str, Any]]:
    """The signed files of a version, by format."""
    return sorted(({**one, **changes} for one in release("debian-12", version)["files"]), key=lambda one: str(one["format"]))


def _halves(world: World) -> None:
    """The release record of V3 with the image files of V2, both of them true."""
    world.endorse("alice", new(world), files=files("2026.5.2.4"))


def _other_half(world: World) -> None:
    """The files and recipe of V3, and the release record's digest of V2."""
    commit = new(world)
    old = document(release("debian-12", "2026.5.2.4"))
    world.endorse("alice", commit, release=sha512(old))


def _record_mixed(world: World) -> None:
    """The record itself is made of two versions, and signed as V3 was."""
    true = release("debian-12", "2026.5.6.7")
    mixed = {**true, "files": release("debian-12", "2026.5.2.4")["files"]}
    commit = world.commit({RECORD: document(mixed)})
    world.endorse("alice", commit, files=files("2026.5.6.7"))


def _earlier_commit(world: World) -> None:
    """The tag points to a commit that holds another version's record."""
    commit = new(world)
    data = world.trees[commit][RECORD]
    world.trees[v2(world)] = {**world.trees[v2(world)], RECORD: data}
    world.endorse("alice", v2(world))


def _no_record(world: World) -> None:
    new(world)
    data = world.trees[world.head][RECORD]
    world.trees[world.line[1]] = {**world.trees[world.line[1]], RECORD: data}
    world.endorse("alice", world.line[1])


def _broken_record(data: bytes) -> Change:
    """The record of the commit cannot be read; alice signs the digest of its bytes."""

    def change(world: World) -> None:
        commit = world.commit({RECORD: data})
        true = document(release("debian-12", "2026.5.6.7"))
        world.trees[commit] = {**world.trees[commit], RECORD: ("100644", true)}
        world.endorse("alice", commit, release=sha512(data))

    return change


def _two_contents(world: World) -> None:
    """Two endorsers, two images, one version."""
    world.endorse("alice", new(world))
    world.endorse("erin", new(world, recipe="a" * 64))


def _later_record(world: World) -> None:
    """The head's record of the same version is another one than the endorsed one."""
    world.endorse("alice", new(world))
    new(world, packages=2)


def _two_spellings(world: World) -> None:
    """Other content as the same version with a zero before a number, which is equal to it."""
    world.endorse("erin", record(world, "debian-12", "2026.05.02.4", recipe="a" * 64))


def _withdrawn_in_another_spelling(world: World) -> None:
    world.withdraw("erin", record(world, "debian-12", "2026.5.2.4.0"))


def _only_one_content(world: World) -> None:
    """Where two must agree, each endorses another content."""
    world.endorse("alice", new(world))
    world.endorse("carol", new(world, recipe="a" * 64))


def _three_agree_on_one(world: World) -> None:
    first = new(world)
    world.endorse("alice", first)
    world.endorse("bob", first)
    world.endorse("carol", new(world, recipe="a" * 64))


# Consent


def told(endorsed: bool, withdrawn: bool, expired: bool) -> Change:
    """V3 as the truth table has it: endorsed by alice, withdrawn by erin, run out."""

    def change(world: World) -> None:
        commit = new(world)
        if endorsed:
            world.endorse("alice", commit, expires=utc(NOW - timedelta(hours=1) if expired else NOW + timedelta(days=9)))
        if withdrawn:
            world.withdraw("erin", commit)

    return change


def _withdraw(who: str, **fields: Any) -> Change:
    return lambda world: world.withdraw(who, v2(world), **fields)


def _and_again(who: str) -> Change:
    return lambda world: (world.withdraw(who, v2(world)), world.endorse(who, v2(world)))


def _another_endorses_again(world: World) -> None:
    """Erin withdraws; alice endorses again, which does not take erin's word back."""
    world.withdraw("erin", v2(world))
    world.endorse("alice", v2(world))


def _outside_scope(world: World) -> None:
    """Gina may answer for alma-9 only, and withdraws debian-12."""
    people(world, gina=ssh("gina"))
    world.documents["science"]["endorsers"].append(person("gina", ssh("gina"), scope={"appliances": ["alma-*"]}))
    world.next_policy("anna", "dora")
    world.withdraw("gina", v2(world))


def _term_ended(world: World) -> None:
    """Gina, whose term has ended, withdraws: taking trust away never needs more."""
    people(world, gina=ssh("gina"))
    world.documents["science"]["endorsers"].append(person("gina", ssh("gina"), expires=utc(ISSUED)))
    world.next_policy("anna", "dora")
    world.withdraw("gina", v2(world))


def _other_list(world: World) -> None:
    """Only the list other counts, and nobody on it has endorsed anything."""
    people(world, frank=MALLORY)
    world.documents["other"] = {**world.documents["science"], "endorsers": [person("frank", MALLORY)]}
    world.documents["science"]["endorsers"] = [one for one in world.documents["science"]["endorsers"] if one["name"] != "frank"]
    world.next_policy("anna", "dora")
    world.pins["endorsers"] = ["other"]


def _abstract(world: World) -> None:
    """An appliance without image files needs nobody's word."""
    record(world, "alma-9", "2026.5.7.1", files=[])


def _nothing(world: World) -> None:
    base(world)
    world.drop(*(tag for tag in world.raw if tag.startswith("endorse/")))


CASES: list[Case] = [
    accepts("what-is-signed-is-what-is-there", "R14", claims()),
    accepts("two-endorsers-agree", "R14", lambda world: [world.endorse(name, new(world)) for name in ("alice",)]),
    accepts(
        "the-head-has-gone-on-to-other-versions",
        "R14",
        lambda world: (world.endorse("alice", new(world)), world.endorse("alice", record(world, "debian-12", "2026.5.9.9"))),
    ),
    accepts("three-of-whom-two-agree-where-two-must", "R14", _three_agree_on_one, start=community(2, 0, "alice", "bob")),
    refuses("two-valid-halves-of-two-versions", "R14", _halves, release=V3, stands=BASE),
    refuses("the-other-two-halves", "R14", _other_half, release=V3, stands=BASE),
    refuses("a-record-of-two-versions", "R14", _record_mixed, release=V3, stands=BASE),
    differs("another-size", files=files("2026.5.6.7", size=1)),
    differs("another-virtual-size", files=files("2026.5.6.7", virtual_size=2**41)),
    differs("another-sha512", files=files("2026.5.6.7", sha512="e" * 128)),
    differs("a-format-less", files=files("2026.5.6.7")[:1]),
    differs("a-format-more", files=[*files("2026.5.6.7"), {"format": "vmdk", "size": 1, "virtual_size": 1, "sha512": "e" * 128}]),
    differs("another-recipe", recipe="a" * 64),
    differs("another-manifest", manifest="a" * 128),
    differs("another-appliance-s-uuid", uuid="7d1f0b9e-2c55-4d0e-8a6b-0c1d2e3f4a5b"),
    differs("another-record", release="a" * 128),
    differs("provenance-that-is-not-there", provenance="a" * 128),
    refuses("a-commit-with-another-version-s-record", "R14", _earlier_commit, release=V3, stands=BASE),
    refuses("a-commit-without-a-record", "R14", _no_record, release=V3, stands=BASE),
    refuses("a-record-that-is-no-record", "R14", _broken_record(b"just: text\n"), release=V3, stands=()),
    refuses(
        "a-record-with-a-key-twice",
        "R21",
        _broken_record(document(release("debian-12", "2026.5.6.7")).replace(b'"packages": 1', b'"packages": 1, "packages": 2')),
        release=V3,
    ),
    refuses("one-version-with-two-contents", "R14", _two_contents, release=V3, stands=BASE),
    refuses("one-version-in-two-spellings-with-two-contents", "R14", _two_spellings, release="", stands=(V1, W1)),
    refuses("withdrawn-in-another-spelling", "R20", _withdrawn_in_another_spelling, release="", stands=(V1, W1)),
    refuses("each-of-two-endorses-another-content", "R20", _only_one_content, start=community(2, 0, "alice", "carol"), release=V3, stands=BASE),
    # R20
    accepts("endorsed-not-withdrawn-not-expired", "R20", told(True, False, False)),
    refuses("not-endorsed", "R20", told(False, False, False), release=V3, stands=BASE),
    refuses("not-endorsed-and-withdrawn", "R20", told(False, True, False), release=V3, stands=BASE),
    refuses("endorsed-and-withdrawn", "R20", told(True, True, False), release=V3, stands=BASE),
    refuses("endorsed-and-expired", "R13", told(True, False, True), release=V3, stands=BASE),
    refuses("endorsed-withdrawn-and-expired", "R20", told(True, True, True), release=V3, stands=BASE),
    refuses("withdrawn-by-its-endorser", "R20", _withdraw("alice"), stands=(V1, W1)),
    refuses("withdrawn-by-another-endorser", "R20", _withdraw("bob"), stands=(V1, W1)),
    refuses("withdrawn-by-an-endorser-whose-term-has-ended", "R20", _term_ended, stands=(V1, W1)),
    refuses("endorsed-again-by-somebody-else-than-who-withdrew", "R20", _another_endorses_again, stands=(V1, W1)),
    accepts("withdrawn-and-endorsed-again", "R20", _and_again("alice")),
    accepts("withdrawn-by-another-one-who-then-endorses", "R20", _and_again("erin")),
    accepts("withdrawn-by-a-stranger", "R20", _withdraw("mallory", by=MALLORY)),
    accepts("withdrawn-with-a-stranger-s-key-in-alice-s-name", "R20", _withdraw("alice", by=MALLORY, lie={"chain": ""})),
    accepts("withdrawn-out-of-scope", "R20", _outside_scope),
    accepts("withdrawn-for-another-repository", "R20", _withdraw("alice", repository="e" * 40, lie={"chain": ""})),
    accepts("an-appliance-without-images", "R20", _abstract),
    refuses("nobody-of-the-list-that-counts", "R20", _other_list),
    refuses("nothing-is-endorsed", "R20", lambda _: None, start=_nothing, release=W1),
    remembers("withdrawn-and-endorsed-again-between-looks", "R20", "accept", _and_again("alice")),
    remembers("withdrawn-between-two-looks", "R20", "refuse", _withdraw("alice"), stands=(V1, W1)),
]
