"""Which repository it is, and that its branch only ever grows: R1, R2, R16."""

from __future__ import annotations

from datetime import timedelta

from conformance.trust.case import Case
from conformance.trust.forge import World, person
from conformance.trust.signers import ISSUED
from conformance.trust.worlds import BASE, MALLORY, V3, accepts, base, judged, new, people, refuses, remembers


def _another_root(world: World) -> None:
    base(world, b"Another repository.\n")
    pinned = World(world.folder / "pinned")
    base(pinned)
    world.pins = pinned.pins


def _grafted_root(world: World) -> None:
    """A new first-parent line with the same files, into which the pinned history is merged."""
    root = world.commit({"README.md": b"Mine.\n"}, parents=(), merged=False)
    theirs = world.trees[world.head]
    merged = world.commit_tree(world.tree(theirs), theirs, (root, world.head))
    assert merged == world.head


def _mallorys_policy(world: World) -> None:
    """The policy that was pinned is replaced by one of the same number by the same principals."""
    world.policy = (0, None)
    world.documents["science"]["endorsers"].append(person("mallory", MALLORY))
    world.propose()
    world.enact("anna", "dora")


def _for_another_repository(world: World) -> None:
    """One of the two signatures of the pinned policy."""
    world.policy = (0, None)
    world.enact("anna", commit=world.line[1], repository="e" * 40, count=False)


def _merge(world: World) -> None:
    side = world.commit({"docs/a.md": b"a\n"}, merged=False)
    world.commit({"docs/b.md": b"b\n"})
    world.commit({"docs/a.md": b"a\n"}, parents=(world.head, side))


def _rewound(world: World) -> None:
    world.branch(world.line[-2])


def _forked(world: World) -> None:
    world.commit({"README.md": b"forked\n"}, parents=(world.line[-2],))


def _amended(world: World) -> None:
    files = world.trees[world.head]
    world.clock += 3600
    world.commit_tree(world.tree(files), files, (world.line[-2],))


def _swapped_parents(world: World) -> None:
    """The old head is only a second parent of the new one, whose first-parent line is another."""
    side = world.commit({"README.md": b"side\n"}, parents=(world.line[1],), merged=False)
    files = world.trees[world.head]
    world.commit_tree(world.tree(files), files, (side, world.head))


def _jump(number: int, world: World) -> None:
    people(world, mallory=MALLORY)
    world.documents["science"]["endorsers"].append(person("mallory", MALLORY))
    commit = new(world)
    world.propose()
    world.enact("anna", "dora", number=number)
    world.endorse("mallory", commit)


CASES: list[Case] = [
    accepts("the-pinned-repository", "R1"),
    accepts("with-a-merge-on-its-mainline", "R1", _merge),
    refuses("another-root-with-the-same-names", "R1", lambda _: None, start=_another_root),
    refuses("another-tree-under-the-pinned-root", "R1", lambda world: world.pins.update(tree="0" * 128)),
    refuses("a-later-commit-is-pinned-as-root", "R1", lambda world: world.pins.update(repository=world.line[1])),
    refuses("the-pinned-history-is-only-merged-in", "R1", _grafted_root),
    refuses("the-pinned-policy-is-withheld", "R1", lambda world: world.drop("policy/1/anna", "policy/1/dora")),
    refuses("one-signature-of-the-pinned-policy-is-withheld", "R1", lambda world: world.drop("policy/1/dora")),
    refuses("another-policy-with-the-pinned-number", "R1", _mallorys_policy),
    refuses("the-pinned-policy-has-another-content", "R1", lambda world: world.pins["policy"].update(sha512="0" * 128)),
    refuses(
        "an-endorsement-for-another-repository", "R1", lambda world: world.endorse("alice", new(world), repository="e" * 40), release=V3, stands=BASE
    ),
    refuses(
        "a-policy-signature-for-another-repository",
        "R1",
        _for_another_repository,
    ),
    # R2
    judged("a-first-look-remembers-nothing", "R2", "accept", lambda _: None, base, ISSUED + timedelta(days=1), memory=True),
    remembers("the-same-head-again", "R2", "accept", lambda _: None),
    remembers("a-head-that-went-on", "R2", "accept", lambda world: world.commit({"docs/a.md": b"a\n"})),
    remembers("a-head-that-went-on-by-a-merge", "R2", "accept", _merge),
    remembers("fast-forwarded-over-many-commits", "R2", "accept", lambda world: [world.commit({"docs/a.md": b"%d\n" % n}) for n in range(50)]),
    remembers("a-rewound-mirror", "R2", "refuse", _rewound),
    remembers("rewound-to-the-root", "R2", "refuse", lambda world: world.branch(world.line[0])),
    remembers("a-fork", "R2", "refuse", _forked),
    remembers("an-amended-head", "R2", "refuse", _amended),
    remembers("a-history-without-a-common-commit", "R1", "refuse", lambda world: world.commit({"README.md": b"x\n"}, parents=())),
    remembers("rewound-after-it-went-on-twice", "R2", "refuse", lambda world: world.commit({"a.md": b"a\n"}), _rewound),
    remembers("the-last-head-merged-as-second-parent", "R7", "refuse", _swapped_parents),
    # R16
    accepts("policies-one-by-one", "R16", lambda world: [world.next_policy("anna", "dora") for _ in range(4)]),
    accepts("a-stray-policy-number-does-no-harm", "R16", lambda world: (world.propose(), world.enact("anna", "dora", number=7, count=False))),
    refuses("a-policy-number-left-out", "R16", lambda world: _jump(3, world), release=V3, stands=BASE),
    refuses("a-policy-number-far-ahead", "R16", lambda world: _jump(10**15, world), release=V3, stands=BASE),
    refuses("the-highest-policy-number", "R16", lambda world: _jump(2**53 - 1, world), release=V3, stands=BASE),
    refuses("the-highest-serial", "R9", lambda world: world.endorse("alice", new(world), serial=2**53 - 1), release=V3, stands=BASE),
    refuses(
        "a-serial-beyond-all-numbers", "R16", lambda world: world.endorse("alice", new(world), serial=2**63 - 1), release=V3, stands=BASE, named="R20"
    ),
    refuses(
        "a-version-beyond-all-numbers",
        "R14",
        lambda world: world.endorse("alice", new(world), version=str(10**18 - 1)),
        release=f"debian-12 {10**18 - 1}",
    ),
]
