"""Tags: their names (R6), what they point to (R7), that they stay (R8) and follow one another (R9)."""

from __future__ import annotations

from conformance.trust.case import Case
from conformance.trust.forge import World, sha512
from conformance.trust.worlds import BASE, MALLORY, V1, V2, V3, W1, Change, accepts, new, refuses, remembers, then, v1, v2, w1

NAME = "endorse/debian-12/2026.5.6.7/alice/3"
OLD = "endorse/debian-12/2026.5.1.3/alice/1"


def oid(world: World, tag: str) -> str:
    return (world.repo / ".git/refs/tags" / tag).read_text().strip()


def points(tag: str, to: str) -> Change:
    """A ref that points to the object of another tag."""

    def change(world: World) -> None:
        new(world)
        world.ref(f"refs/tags/{tag}", oid(world, to))

    return change


def endorsed(**lie: object) -> Change:
    """V3 is endorsed by alice, with a lie."""
    return lambda world: world.endorse("alice", new(world), lie=dict(lie))


def stray(name: str, data: bytes = b"", kind: str = "tag") -> Change:
    """A ref below refs/tags/ that points to an object of somebody's."""
    return lambda world: world.ref(f"refs/tags/{name}", world.write(kind, data))  # type: ignore[arg-type]


def _light(world: World) -> None:
    world.ref(f"refs/tags/{NAME}", new(world))


def _nested(world: World) -> None:
    """A tag that points to the signed tag."""
    world.endorse("alice", new(world))
    raw = f"object {oid(world, NAME)}\ntype tag\ntag {NAME}\ntagger S <s@example.org> 1780142400 +0000\n\nx\n".encode()
    world.ref(f"refs/tags/{NAME}", world.write("tag", raw))


def _target(kind: str) -> Change:
    """Signed as if the object were of that kind, which it is."""

    def change(world: World) -> None:
        commit = new(world)
        made = world.write("blob", b"x\n") if kind == "blob" else world.tree(world.trees[commit]) if kind == "tree" else oid(world, OLD)
        world.endorse("alice", commit, lie={"target": made, "body": lambda data: data.replace(b"\ntype commit\n", b"\ntype %b\n" % kind.encode(), 1)})

    return change


def _mislabelled(world: World) -> None:
    """The header says commit, the object is a blob."""
    world.endorse("alice", new(world), lie={"target": world.write("blob", b"x\n")})


def _side_branch(world: World) -> None:
    """The release lies on a branch that was never merged."""
    side = new_aside(world)
    world.ref("refs/heads/side", side)
    world.endorse("alice", side)


def new_aside(world: World) -> str:
    head = list(world.line)
    side = new(world)
    world.line[:] = head
    world.branch(world.head)
    return side


def _merged_side(world: World) -> None:
    """The tag is on the side branch's commit, which a merge made the second parent of the head."""
    side = new_aside(world)
    files = {**world.trees[world.head], **world.trees[side]}
    world.commit_tree(world.tree(files), files, (world.head, side))
    world.endorse("alice", side)


def _merge(world: World) -> None:
    """The tag is on the merge commit itself."""
    side = new_aside(world)
    files = {**world.trees[world.head], **world.trees[side]}
    world.endorse("alice", world.commit_tree(world.tree(files), files, (world.head, side)))


def _other_commit(world: World) -> None:
    commit = new(world)
    world.endorse("alice", commit, lie={"target": world.commit()})


def _missing_commit(world: World) -> None:
    world.endorse("alice", new(world), lie={"target": "e" * 40})


def _dropped(*tags: str) -> Change:
    return lambda world: world.drop(*tags)


def _replaced(world: World) -> None:
    """Alice signs the same statement again: another object under the same name."""
    world.chains["alice"].pop()
    world.endorse("alice", v2(world), lie={"tagger": "Alice <alice@example.org> 1780228800 +0000"})


def _to_commit(world: World) -> None:
    world.ref(f"refs/tags/{OLD}", v1(world))


def _withdrawn(world: World) -> None:
    world.withdraw("alice", v1(world))


def _hidden_withdrawal(world: World) -> None:
    world.drop("withdraw/debian-12/2026.5.1.3/alice/3")


def _endorsed_again(world: World) -> None:
    world.endorse("alice", v1(world))


def _one_more(world: World) -> None:
    world.endorse("erin", new(world))


def _revoked(world: World) -> None:
    """A principal revokes dave's key, which nobody needs here."""
    world.revoke("carol", world.signers["carol"].id, "anna")


def many(world: World) -> None:
    """Thirty endorsements of one release by three people, and a withdrawal taken back."""
    commit = new(world)
    for _ in range(10):
        for name in ("alice", "erin", "bob"):
            world.endorse(name, commit)
    world.withdraw("erin", commit)
    world.endorse("erin", commit)


def _fork(world: World) -> None:
    """Two tags with alice's serial 3, both signed by her."""
    before = list(world.chains["alice"])
    world.endorse("alice", new(world))
    world.chains["alice"] = before
    world.endorse("alice", w1(world), "alma-9")


def _repeat(world: World) -> None:
    """Serial 2 again, for another version."""
    world.endorse("alice", new(world), serial=2, previous=world.chains["alice"][0])


def _first_again(world: World) -> None:
    world.endorse("alice", new(world), serial=1, previous=None)


def _gap(world: World) -> None:
    """Serial 4 follows a serial 3 that is withheld."""
    dropped = world.endorse("alice", v1(world))
    world.endorse("alice", new(world))
    world.drop(dropped)


def _reordered(world: World) -> None:
    """Serial 3 names the digest of serial 1."""
    world.endorse("alice", new(world), previous=world.chains["alice"][0])


def _other_chain(world: World) -> None:
    """It follows a tag of erin's."""
    world.endorse("alice", new(world), previous=world.chains["erin"][0])


def _skipped(world: World) -> None:
    world.endorse("alice", new(world), serial=4)


def _withheld_withdrawal(world: World) -> None:
    """Alice withdraws V1 and goes on; a mirror drops the withdrawal only."""
    dropped = world.withdraw("alice", v1(world))
    world.endorse("alice", new(world))
    world.drop(dropped)


def _withdrawn_after_a_gap(world: World) -> None:
    dropped = world.endorse("alice", v1(world))
    world.withdraw("alice", v2(world))
    world.drop(dropped)


def _strangers(world: World) -> None:
    """Whatever strangers put under refs/tags/."""
    world.ref("refs/tags/v1.0", world.head)
    for number, name in enumerate(
        ("endorse/x", "endorse/debian-12/1/alice", "withdraw/debian-12/2026.5.2.4/alice/three", "policy/1", "policy/x/anna", "revoke/a")
    ):
        world.ref(f"refs/tags/{name}x", world.write("blob", b"%d" % number))
    stray("policy/1/mallory", b"garbage")(world)
    stray("policy/9/anna", b"garbage")(world)
    stray("revoke/alice/anna/1", b"garbage")(world)
    world.revoke("alice", world.signers["alice"].id, "anna", MALLORY, number=2)
    world.revoke("alice", world.signers["alice"].id, "mallory", MALLORY)
    world.withdraw("alice", v2(world), by=MALLORY, lie={"chain": ""})


def _own_prefix(world: World) -> None:
    for name in ("endorse", "approve/laptop/1/root", "freshness"):
        world.ref(f"refs/heads/{name}", world.head)


CASES: list[Case] = [
    accepts("names-agree", "R6", endorsed()),
    accepts("strangers-tags-do-no-harm", "R6", _strangers),
    accepts("branches-with-names-of-tags-do-no-harm", "R6", _own_prefix),
    refuses("v9-points-at-the-object-of-v1", "R6", points("endorse/debian-12/9/alice/1", OLD), release="debian-12 9", stands=BASE),
    refuses("a-tag-under-the-next-serial", "R6", points(NAME, "endorse/debian-12/2026.5.2.4/alice/2"), release=V3, stands=BASE),
    refuses("a-tag-under-another-appliance", "R6", points("endorse/alma-9/2026.5.6.7/alice/1", OLD), release="alma-9 2026.5.6.7", stands=BASE),
    refuses("a-tag-under-another-endorser", "R10", points("endorse/debian-12/2026.5.6.7/erin/3", OLD), release=V3, stands=BASE),
    refuses("the-header-has-another-name", "R6", endorsed(header="endorse/debian-12/9/alice/3"), release=V3, stands=BASE),
    refuses("ref-and-header-differ-from-the-payload", "R6", endorsed(name="endorse/debian-12/9/alice/3"), release="debian-12 9", stands=BASE),
    refuses(
        "only-the-payload-has-another-version",
        "R6",
        lambda world: world.endorse("alice", new(world), version="9", lie={"name": NAME}),
        release=V3,
        stands=BASE,
    ),
    refuses(
        "a-withdrawal-dressed-as-an-endorsement", "R6", lambda world: world.withdraw("alice", new(world), lie={"name": NAME}), release=V3, stands=BASE
    ),
    refuses(
        "a-policy-signature-under-another-principal",
        "R6",
        lambda world: world.ref("refs/tags/policy/1/dora", oid(world, "policy/1/anna")),
        named="R10",
    ),
    # R7
    accepts("on-a-merge-of-the-mainline", "R7", _merge),
    refuses("on-a-branch-that-was-not-merged", "R7", _side_branch, release=V3, stands=BASE),
    refuses("on-the-second-parent-of-a-merge", "R7", _merged_side, release=V3, stands=BASE),
    refuses("a-lightweight-tag", "R7", _light, release=V3, stands=BASE),
    refuses("a-tag-of-the-signed-tag", "R7", _nested, release=V3, stands=BASE),
    refuses("signed-for-a-blob", "R7", _target("blob"), release=V3, stands=BASE),
    refuses("signed-for-a-tree", "R7", _target("tree"), release=V3, stands=BASE),
    refuses("signed-for-a-tag", "R7", _target("tag"), release=V3, stands=BASE),
    refuses("a-blob-that-is-called-a-commit", "R7", _mislabelled, release=V3, stands=BASE),
    refuses("header-and-payload-name-two-commits", "R7", _other_commit, release=V3, stands=BASE),
    refuses("a-commit-that-is-not-there", "R7", _missing_commit, release=V3, stands=BASE),
    refuses("a-ref-to-a-blob", "R7", then(new, stray(NAME, b"x", "blob")), release=V3, stands=BASE),
    refuses("a-ref-to-a-tree", "R7", then(new, stray(NAME, b"", "tree")), release=V3, stands=BASE),
    refuses("a-ref-to-nothing", "R7", then(new, lambda world: world.ref(f"refs/tags/{NAME}", "e" * 40)), release=V3, stands=BASE),
    # R8
    remembers("new-tags-arrive", "R8", "accept", _one_more),
    remembers("a-withdrawal-takes-nothing-away-from-the-others", "R20", "refuse", _withdrawn, release=V1, stands=(V2, W1)),
    remembers(
        "a-tag-that-never-counted-may-go", "R8", "accept", stray("endorse/debian-12/1/mallory/1x", b"x"), _dropped("endorse/debian-12/1/mallory/1x")
    ),
    remembers("an-endorsement-is-dropped", "R8", "refuse", _dropped(OLD)),
    remembers("the-last-endorsement-is-dropped", "R8", "refuse", _dropped("endorse/debian-12/2026.5.2.4/alice/2")),
    remembers("an-endorsement-is-signed-anew", "R8", "refuse", _replaced),
    remembers("an-endorsement-becomes-a-lightweight-tag", "R8", "refuse", _to_commit, release=V1),
    remembers("an-endorsement-becomes-garbage", "R8", "refuse", stray(OLD, b"garbage"), release=V1),
    remembers(
        "an-endorsement-moves-to-another-name",
        "R8",
        "refuse",
        lambda world: (points("endorse/debian-12/9/alice/1", OLD)(world), _dropped(OLD)(world)),
    ),
    remembers("a-policy-signature-is-dropped", "R8", "refuse", _dropped("policy/1/dora")),
    remembers("a-revocation-is-dropped", "R8", "refuse", _revoked, _dropped("revoke/carol/anna/1")),
    remembers(
        "a-withdrawal-that-was-taken-back-is-dropped",
        "R8",
        "refuse",
        then(_withdrawn, _endorsed_again),
        _hidden_withdrawal,
        release=V1,
    ),
    # R9
    accepts("many-endorsements-in-their-chains", "R9", many),
    accepts(
        "a-stranger-s-serial-does-no-harm",
        "R9",
        lambda world: world.endorse("alice", new(world)) and world.endorse("alice", v1(world), by=MALLORY, serial=3, lie={"chain": ""}),
    ),
    refuses("a-gap", "R9", _gap, release=V3, stands=(W1,)),
    refuses("what-came-before-a-gap-may-have-been-withdrawn", "R9", _gap, release=V2, stands=(W1,)),
    refuses("the-first-tag-is-withheld", "R9", _dropped(OLD), stands=(W1,)),
    refuses("a-withdrawal-is-withheld", "R9", _withheld_withdrawal, release=V1, stands=(W1,)),
    refuses("a-fork", "R9", _fork, release=V3, stands=BASE),
    refuses("a-serial-repeated", "R9", _repeat, release=V3, stands=(V1, W1)),
    refuses("a-serial-repeated-spoils-both", "R9", _repeat, release=V2, stands=(V1, W1)),
    refuses("a-second-beginning", "R9", _first_again, release=V3, stands=(W1,)),
    refuses("tags-reordered", "R9", _reordered, release=V3, stands=BASE),
    refuses("another-endorser-s-chain", "R9", _other_chain, release=V3, stands=BASE),
    refuses("a-serial-left-out", "R9", _skipped, release=V3, stands=BASE),
    refuses("a-digest-of-nothing", "R9", lambda world: world.endorse("alice", new(world), previous=sha512(b"")), release=V3, stands=(W1,)),
    refuses("a-withdrawal-counts-although-tags-are-withheld", "R9", _withdrawn_after_a_gap, release=V2, stands=(W1,), named="R20"),
]
