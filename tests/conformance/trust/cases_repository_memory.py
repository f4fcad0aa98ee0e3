"""The memory: whole or not at all (R30), and what goes on over several looks: rollbacks, mixed states, recoveries."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from conformance.trust.case import Case
from conformance.trust.forge import World, person
from conformance.trust.signers import NOW
from conformance.trust.worlds import BASE, MALLORY, V1, V2, V3, W1, Change, at, base, new, people, record, v1, words

MEMORY = "site/memory.json"


def damaged(name: str, change: Callable[[bytes], bytes]) -> Case:
    """After a first look the memory's file is damaged: nothing is concluded, and it is not taken for an empty one."""

    def before(folder: Path) -> Iterator[list[str]]:
        yield words(at(folder, base), NOW, memory=True)

    def make(folder: Path) -> list[str]:
        file = folder / MEMORY
        file.write_bytes(change(file.read_bytes()))
        return words(at(folder, base), NOW, memory=True)

    return Case(name, "R30", "refuse", make, before)


def edited(**fields: Any) -> Callable[[bytes], bytes]:
    return lambda data: json.dumps({**json.loads(data), **fields}).encode()


def looks(name: str, rule: str, expect: str, *steps: Change | str, release: str = V2, stands: tuple[str, ...] = ()) -> Case:
    """Looks with one memory, the first at the base. A step is a change and a look; after the word ! the next look is refused."""

    def before(folder: Path) -> Iterator[list[str]]:
        world = at(folder, base)
        yield words(world, NOW, memory=True)
        refused = False
        for step in steps[:-1]:
            if isinstance(step, str):
                refused = True
                continue
            step(world)
            yield [*(["!"] if refused else []), *words(world, NOW, memory=True)]
            refused = False

    def make(folder: Path) -> list[str]:
        world = at(folder, base)
        last = steps[-1]
        assert not isinstance(last, str)
        last(world)
        return words(world, NOW, memory=True)

    told = {"release": release, "stands": stands} if expect == "refuse" else {}
    return Case(name, rule, expect, make, before, **told)  # type: ignore[arg-type]


def _leftover(world: World) -> None:
    """What a killed run left beside the memory."""
    for name in (".memory.json.new", ".new-abc123", "memory.json.tmp", ".tmp-memory.json"):
        (world.site / name).write_bytes(b'{"format": 1, "head": "')


def _link(world: World) -> None:
    """The memory is a link to a file elsewhere."""
    file = world.folder / MEMORY
    elsewhere = world.folder / "elsewhere.json"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)


def _unchanged(_: World) -> None:
    pass


def _release(world: World) -> None:
    world.endorse("alice", new(world))


def _without_the_release(world: World) -> None:
    world.branch(world.line[4])
    world.drop("endorse/debian-12/2026.5.6.7/alice/3")


def _rewound(world: World) -> None:
    world.branch(world.line[3])


def _restored(world: World) -> None:
    world.branch(world.head)


def _drop(tag: str) -> Change:
    return lambda world: world.drop(tag)


def _bring_back(tag: str) -> Change:
    return lambda world: world.ref(f"refs/tags/{tag}", world.write("tag", world.raw[tag]))


def _forked(world: World) -> None:
    world.commit({"README.md": b"forked\n"}, parents=(world.line[3],))


def _forked_with_a_commit_graph(world: World) -> None:
    """A fork, and an index of commits, as git keeps it, which says that the fork follows the old head."""
    old = world.head
    fork = world.commit({"README.md": b"forked\n"}, parents=(world.line[3],))
    world.ref("refs/heads/old", old)
    commit_graph(world, fork, old)


def commit_graph(world: World, commit: str, parent: str) -> None:
    """Write `objects/info/commit-graph` with another first parent. Form: git's gitformat-commit-graph."""
    subprocess.run(["git", "-C", world.repo, "commit-graph", "write", "--reachable"], check=True, capture_output=True, timeout=60)
    file = world.repo / ".git/objects/info/commit-graph"
    raw = bytearray(file.read_bytes())
    places = {bytes(raw[at : at + 4]): int.from_bytes(raw[at + 4 : at + 12], "big") for at in range(8, 8 + 12 * raw[6], 12)}
    names, data = places[b"OIDL"], places[b"CDAT"]
    found = [raw[at : at + 20].hex() for at in range(names, data, 20)]
    here = data + 36 * found.index(commit) + 20
    raw[here : here + 4] = found.index(parent).to_bytes(4, "big")
    raw[-20:] = hashlib.sha1(raw[:-20]).digest()
    file.chmod(0o644)
    file.write_bytes(raw)


def _policy(world: World) -> None:
    world.next_policy("anna", "dora")


def _mixed(world: World) -> None:
    """A mirror shows the new head with the old tags: what it saw of the new ones is gone."""
    world.drop("endorse/debian-12/2026.5.6.7/alice/3")


def _withdrawn(world: World) -> None:
    world.withdraw("alice", v1(world))


def _without_withdrawal(world: World) -> None:
    """The mirror goes back to before the withdrawal: it had never counted as an endorsement, yet it was seen."""
    world.drop("withdraw/debian-12/2026.5.1.3/alice/3")


def _lost_release(world: World) -> None:
    """A memory of a release of which head and tags are gone together."""
    world.drop("endorse/alma-9/2026.5.3.5/erin/1")
    world.branch(world.line[3])


def _takes_over(world: World) -> None:
    """A mirror offers a list with itself on it, signed by itself."""
    people(world, mallory=MALLORY)
    world.documents["science"]["endorsers"] = [person("mallory", MALLORY)]
    world.propose()
    world.enact("mallory", by={"mallory": MALLORY}, count=False)
    world.endorse("mallory", record(world, "debian-12", "2026.5.8.8"))


ENDORSED = "endorse/debian-12/2026.5.2.4/alice/2"

CASES: list[Case] = [
    looks("written-and-read-again", "R30", "accept", _unchanged, _unchanged),
    looks("leftovers-of-a-killed-run-do-no-harm", "R30", "accept", _leftover),
    looks("a-memory-behind-a-link", "R30", "accept", _link),
    damaged("an-empty-file", lambda _: b""),
    damaged("cut-in-half", lambda data: data[: len(data) // 2]),
    damaged("without-its-last-byte-but-one", lambda data: data[:-3]),
    damaged("zeros-after-a-power-cut", lambda data: b"\0" * len(data)),
    damaged("half-written-over", lambda data: data[: len(data) // 2] + b"\0" * (len(data) - len(data) // 2)),
    damaged("two-in-one", lambda data: data + data),
    damaged("another-file-s-text", lambda _: b"pins: x\n"),
    damaged("no-bytes-of-text", lambda data: b"\xff\xfe" + data),
    damaged("a-list", lambda _: b"[]"),
    damaged("a-newer-format", edited(format=2)),
    damaged("an-unknown-field", edited(also=1)),
    damaged("a-head-that-is-none", edited(head="main")),
    damaged("tags-that-are-none", edited(tags={"endorse/x": 1})),
    damaged("a-head-twice", lambda data: data.replace(b'"head"', b'"head": null, "head"', 1)),
    # What a refused look leaves: the memory as it was
    looks("recovered-after-a-rewound-mirror", "R2", "accept", "!", _rewound, _restored),
    looks("recovered-after-a-dropped-tag", "R8", "accept", "!", _drop(ENDORSED), _bring_back(ENDORSED)),
    looks("rewound-again-after-a-refused-look", "R2", "refuse", "!", _rewound, _unchanged),
    looks("dropped-still-after-a-refused-look", "R8", "refuse", "!", _drop(ENDORSED), _unchanged),
    looks("a-fork-is-refused-however-often-it-is-shown", "R2", "refuse", "!", _forked, "!", _unchanged, _unchanged),
    looks(
        "back-to-the-base-after-it-went-on",
        "R2",
        "refuse",
        _release,
        _without_the_release,
    ),
    looks("a-new-head-with-the-tags-of-an-old-state", "R8", "refuse", _release, _mixed, stands=()),
    looks("a-fork-that-an-index-of-commits-hides", "R2", "refuse", _forked_with_a_commit_graph),
    looks("head-and-tags-gone-together", "R8", "refuse", _lost_release),
    looks("head-gone-with-its-tags", "R2", "refuse", _lost_release),
    looks("a-policy-and-a-release-one-after-the-other", "R3", "accept", _policy, _release, _policy),
    looks("a-policy-taken-back", "R8", "refuse", _policy, lambda world: world.drop("policy/2/anna", "policy/2/dora")),
    looks("half-of-a-policy-taken-back", "R8", "refuse", _policy, _drop("policy/2/dora")),
    looks("a-withdrawal-taken-out-of-sight", "R8", "refuse", "!", _withdrawn, _without_withdrawal, release=V1),
    looks("a-withdrawal-that-was-seen-holds", "R20", "refuse", "!", _withdrawn, _unchanged, release=V1, stands=(V2, W1)),
    looks("a-mirror-that-takes-over", "R3", "refuse", _release, _takes_over, release="debian-12 2026.5.8.8", stands=(*BASE, V3)),
]
