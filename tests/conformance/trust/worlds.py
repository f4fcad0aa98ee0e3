"""The made-up repositories that cases about a repository start from, and the words of the command that judges them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from conformance.trust.case import Case
from conformance.trust.certificates import certificate, issue
from conformance.trust.forge import World, document, person, release, utc
from conformance.trust.signers import NOW, Signer, openpgp, ssh, ssh_ecdsa

V1, V2, W1 = "debian-12 2026.5.1.3", "debian-12 2026.5.2.4", "alma-9 2026.5.3.5"
BASE = (V1, V2, W1)
"""The releases of the base, all of them accepted."""
V3 = "debian-12 2026.5.6.7"
"""A release that most cases add."""
Change = Callable[[World], object]

ANNA, ALICE, DAVE, ERIN, MALLORY, CI = (ssh(name) for name in ("anna", "alice", "dave", "erin", "mallory", "ci"))


def ben() -> Signer:
    return openpgp("ben")


def bob() -> Signer:
    return openpgp("bob")


def cleo() -> Signer:
    return certificate(issue("Cleo", issue("Authority")), issue("Authority"))


def carol() -> Signer:
    return certificate(issue("Carol", issue("Authority")), issue("Authority"))


def people(world: World, **signers: Signer) -> None:
    """Make these the keys of people, and put their key files beside the policy."""
    for name, signer in signers.items():
        world.signers[name] = signer
        world.key_files.update(signer.files)


def record(world: World, appliance: str, version: str, **changes: Any) -> str:
    """A commit with a release record; its id."""
    return world.commit({f"appliances/{appliance}/release.yaml": document(release(appliance, version, **changes))})


def then(*changes: Change) -> Change:
    """One change after another."""

    def change(world: World) -> None:
        for one in changes:
            one(world)

    return change


def new(world: World, **changes: Any) -> str:
    """A commit with the release V3, which nobody has endorsed yet; its id."""
    return record(world, *V3.split(" "), **changes)


def base(world: World, readme: bytes = b"A repository.\n") -> None:
    """Two principals of SSH, quorum 2 of 3 with one of OpenPGP; the list science (quorum 1); three releases, each endorsed once."""
    people(world, anna=ANNA, dora=DAVE, ben=ben(), alice=ALICE, bob=bob(), erin=ssh_ecdsa("erin"), carol=carol())
    world.ca["authority.pem"] = issue("Authority").pem
    signers = world.signers
    world.documents = {
        "policy": {"title": "Policy", "quorum": 2, "principals": [person(name, signers[name]) for name in ("anna", "dora", "ben")]},
        "science": listed("science", *(person(name, signers[name]) for name in ("alice", "bob", "carol", "erin"))),
    }
    world.commit({"README.md": readme})
    world.propose()
    world.enact("anna", "dora")
    first, second = record(world, "debian-12", "2026.5.1.3"), record(world, "debian-12", "2026.5.2.4")
    third = record(world, "alma-9", "2026.5.3.5")
    world.endorse("alice", first)
    world.endorse("alice", second)
    world.endorse("erin", third, "alma-9")
    world.pin(2, "anna", "dora", "ben")


def listed(community: str, *members: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """An endorser list."""
    return {
        "title": community.title(),
        "community": community,
        "policy": "What it promises.",
        "maximum_lifetime": "90d",
        "endorsers": list(members),
        **fields,
    }


def v1(world: World) -> str:
    """The commits of the base's releases."""
    return world.line[2]


def v2(world: World) -> str:
    return world.line[3]


def w1(world: World) -> str:
    return world.line[4]


_worlds: dict[Path, World] = {}


def at(folder: Path, start: Change) -> World:
    """The world of a case's folder, made as `start` says by whoever asks first."""
    if folder not in _worlds:
        _worlds.clear()
        _worlds[folder] = World(folder)
        start(_worlds[folder])
    return _worlds[folder]


def words(world: World, moment: datetime, *, memory: bool) -> list[str]:
    world.save()
    kept = ["--memory", "site/memory.json"] if memory else []
    return ["verify", "-C", "repo", "--pins", "site/pins.yaml", "--at", utc(moment), *kept]


def judged(name: str, rule: str, expect: str, change: Change, start: Change, moment: datetime, **fields: Any) -> Case:
    """A case of one call."""

    def make(folder: Path) -> list[str]:
        world = at(folder, start)
        change(world)
        return words(world, moment, memory=fields.get("memory", False))

    kept = {field: value for field, value in fields.items() if field != "memory"}
    return Case(name, rule, expect, make, **kept)  # type: ignore[arg-type]


def accepts(name: str, rule: str, change: Change = lambda _: None, *, start: Change = base, moment: datetime = NOW) -> Case:
    """Everything is accepted."""
    return judged(name, rule, "accept", change, start, moment)


def refuses(
    name: str,
    rule: str,
    change: Change,
    *,
    release: str = V2,
    stands: Iterable[str] = (),
    start: Change = base,
    moment: datetime = NOW,
    **fields: Any,
) -> Case:
    """The release is refused by the rule; those that stand are accepted all the same."""
    return judged(name, rule, "refuse", change, start, moment, release=release, stands=tuple(stands), **fields)


def remembers(
    name: str,
    rule: str,
    expect: str,
    *changes: Change,
    start: Change = base,
    moments: tuple[datetime, ...] = (),
    release: str = V2,
    stands: Iterable[str] = (),
    **fields: Any,
) -> Case:
    """Calls with one memory: the base is accepted, and so is what each change but the last makes of it. moments: of each call."""

    def times(number: int) -> datetime:
        return moments[number] if number < len(moments) else NOW

    def before(folder: Path) -> Iterator[list[str]]:
        world = at(folder, start)
        yield words(world, times(0), memory=True)
        for number, change in enumerate(changes[:-1], 1):
            change(world)
            yield words(world, times(number), memory=True)

    def make(folder: Path) -> list[str]:
        world = at(folder, start)
        changes[-1](world)
        return words(world, times(len(changes)), memory=True)

    told = {"release": release, "stands": tuple(stands)} if expect == "refuse" else {}
    return Case(name, rule, expect, make, before, **told, **fields)  # type: ignore[arg-type]
