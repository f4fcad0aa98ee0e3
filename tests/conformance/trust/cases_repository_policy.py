"""Who decides: only the policy in force (R3), whose files stay where they are (R4)."""

from __future__ import annotations

from conformance.trust.case import Case
from conformance.trust.forge import World, document, person, release
from conformance.trust.worlds import BASE, MALLORY, V3, Change, accepts, listed, new, people, refuses, remembers

RECORD = {"appliances/debian-12/release.yaml": document(release("debian-12", "2026.5.6.7"))}


def listing_mallory(world: World) -> dict[str, bytes]:
    """What a commit changes that puts mallory on the list."""
    people(world, mallory=MALLORY)
    mine = person("mallory", MALLORY)
    return {"endorsers/science.yaml": document({**world.documents["science"], "endorsers": [*world.documents["science"]["endorsers"], mine]})}


def _self_added(world: World) -> None:
    world.endorse("mallory", world.commit({**RECORD, **listing_mallory(world)}))


def _by_merge(world: World) -> None:
    """The merge commit itself brings what neither parent has."""
    side = world.commit({"docs/a.md": b"a\n"}, merged=False)
    world.endorse("mallory", world.commit({**RECORD, **listing_mallory(world)}, parents=(world.head, side)))


def _second_parent(world: World) -> None:
    side = world.commit(listing_mallory(world), merged=False)
    changes = listing_mallory(world)
    merged = world.commit({**RECORD, **changes}, parents=(world.head, side))
    world.endorse("mallory", merged)


def _removed_again(world: World) -> None:
    """Added, endorsed, and taken off the list again."""
    before = world.documents["science"]
    commit = world.commit({**RECORD, **listing_mallory(world)})
    world.endorse("mallory", commit)
    world.commit({"endorsers/science.yaml": document(before)})


def _next(*names: str, **fields: object) -> Change:
    """Mallory endorses under the next policy, which these principals signed."""

    def change(world: World) -> None:
        world.commit(RECORD)
        at = world.head
        people(world, mallory=MALLORY)
        world.documents["science"]["endorsers"].append(person("mallory", MALLORY))
        world.next_policy(*names, **fields)
        world.endorse("mallory", at)

    return change


def _own_principals(world: World) -> None:
    """Policy 2 names mallory as its only principal, and mallory signs it."""
    people(world, mallory=MALLORY)
    world.documents["policy"].update(principals=[person("mallory", MALLORY)], quorum=1)
    world.documents["science"]["endorsers"].append(person("eve", MALLORY))
    world.signers["eve"] = MALLORY
    world.next_policy("mallory")
    world.endorse("eve", new(world))


def _lower_quorum(world: World) -> None:
    """Policy 2 asks for one principal only, and one signs it."""
    world.documents["policy"]["quorum"] = 1
    world.documents["science"]["endorsers"].append(person("mallory", MALLORY))
    world.signers["mallory"] = MALLORY
    world.next_policy("anna")
    world.endorse("mallory", new(world))


def _under_the_old_one(world: World) -> None:
    """An endorser since policy 2 says that policy 1 was in force."""
    people(world, mallory=MALLORY)
    world.documents["science"]["endorsers"].append(person("mallory", MALLORY))
    world.next_policy("anna", "dora")
    world.endorse("mallory", new(world), policy=1)


def _older_commit(world: World) -> None:
    """Policy 2 is signed at a commit before that of policy 1."""
    people(world, mallory=MALLORY)
    first = world.line[0]
    world.trees[first] = {"README.md": ("100644", b"A repository.\n")}
    _next("anna", "dora", commit=first, tree="0" * 128)(world)


def _other_previous(world: World) -> None:
    world.policy = (1, "0" * 128)
    _next("anna", "dora")(world)


def _signed_tree_differs(world: World) -> None:
    _next("anna", "dora", tree="0" * 128)(world)


def _next_signed(world: World) -> None:
    world.next_policy("anna", "dora")


def _to_policy_one(world: World) -> None:
    world.drop("policy/2/anna", "policy/2/dora")


def _other_policy_two(world: World) -> None:
    """The same principals' other policy 2 takes the place of the one that was seen."""
    world.policy = (1, world.pins["policy"]["sha512"])
    world.documents["science"]["maximum_lifetime"] = "91d"
    world.next_policy("anna", "dora")


def without(*paths: str) -> Change:
    return lambda world: world.commit(dict.fromkeys(paths))


def _as(mode: str, path: str, data: bytes) -> Change:
    """The path becomes something else than a regular file, in a commit on the head."""

    def change(world: World) -> None:
        files = {name: entry for name, entry in world.trees[world.head].items() if name != path and not name.startswith(f"{path}/")}
        files[path] = (mode, data or world.head.encode())
        world.commit_tree(world.tree(files), files, (world.head,))

    return change


def _all_gone(world: World) -> None:
    world.commit({path: None for path in world.trees[world.head] if path.startswith("endorsers/")})


def _dangling_list(world: World) -> None:
    """The policy in force itself lacks a key file that its list names."""
    world.key_files.clear()
    world.propose()
    world.policy = (0, None)
    world.enact("anna", "dora")
    world.pin(2, "anna", "dora", "ben")


def _no_policy_file(world: World) -> None:
    """The tree that the principals signed has no policy.yaml."""
    world.commit({"endorsers/policy.yaml": None})
    world.policy = (0, None)
    world.enact("anna", "dora")
    world.pin(2, "anna", "dora", "ben")


def _other_folder_is_a_link(world: World) -> None:
    _as("120000", "docs", b"endorsers")(world)


def _a_list_ends(world: World) -> None:
    """A list goes with the policy that goes on without it."""
    world.documents["other"] = listed("other", person("carol", world.signers["carol"]))
    world.next_policy("anna", "dora")
    del world.documents["other"]
    world.next_policy("anna", "dora")


CASES: list[Case] = [
    accepts("an-endorser-of-a-signed-policy", "R3", _next("anna", "dora")),
    accepts("a-proposed-list-changes-nothing", "R3", lambda world: world.commit(listing_mallory(world))),
    accepts(
        "a-proposal-that-drops-everybody-changes-nothing", "R3", lambda world: world.commit({"endorsers/science.yaml": document(listed("science"))})
    ),
    accepts("a-policy-that-one-signed-changes-nothing", "R3", lambda world: world.next_policy("anna", count=False)),
    accepts("a-policy-that-strangers-signed-changes-nothing", "R3", lambda world: world.next_policy("mallory", by={"mallory": MALLORY}, count=False)),
    refuses("an-endorser-adds-themselves", "R3", _self_added, release=V3, stands=BASE),
    refuses("an-endorser-is-added-by-a-merge", "R3", _by_merge, release=V3, stands=BASE),
    refuses("an-endorser-is-added-through-a-second-parent", "R3", _second_parent, release=V3, stands=BASE),
    refuses("an-endorser-adds-themselves-and-hides-it", "R10", _removed_again, release=V3, stands=BASE),
    refuses("a-policy-below-the-quorum", "R3", _next("anna"), release=V3, stands=BASE),
    refuses("a-policy-by-its-own-new-principals", "R3", _own_principals, release=V3, stands=BASE),
    refuses("a-policy-that-lowers-its-own-quorum", "R3", _lower_quorum, release=V3, stands=BASE),
    refuses("endorsed-under-a-policy-before-one-s-own", "R3", _under_the_old_one, release=V3, stands=BASE),
    refuses("endorsed-under-a-policy-to-come", "R3", lambda world: world.endorse("alice", new(world), policy=2), release=V3, stands=BASE),
    refuses("a-policy-that-follows-another", "R3", _other_previous, release=V3, stands=BASE),
    refuses("a-policy-at-an-older-commit", "R3", _older_commit, release=V3, stands=BASE),
    refuses("a-policy-whose-tree-is-another", "R3", _signed_tree_differs, release=V3, stands=BASE),
    remembers("the-policy-goes-back", "R3", "refuse", _next_signed, _to_policy_one),
    remembers("the-policy-becomes-another-of-its-number", "R3", "refuse", _next_signed, _other_policy_two),
    remembers("the-policy-goes-on", "R3", "accept", _next_signed, _next_signed),
    # R4
    accepts(
        "a-list-that-is-only-proposed-may-go",
        "R4",
        lambda world: [world.commit({"endorsers/x.yaml": document(listed("x"))}), without("endorsers/x.yaml")(world)],
    ),
    accepts("a-list-ends-with-a-policy-without-it", "R4", _a_list_ends),
    accepts("files-elsewhere-may-go", "R4", without("README.md")),
    refuses("the-policy-is-deleted", "R4", without("endorsers/policy.yaml")),
    refuses("a-list-is-deleted", "R4", without("endorsers/science.yaml")),
    refuses("the-whole-folder-is-deleted", "R4", _all_gone),
    refuses("the-policy-becomes-a-link", "R4", _as("120000", "endorsers/policy.yaml", b"science.yaml")),
    refuses("a-list-becomes-a-link", "R4", _as("120000", "endorsers/science.yaml", b"/etc/passwd")),
    refuses("the-policy-becomes-a-submodule", "R4", _as("160000", "endorsers/policy.yaml", b"")),
    refuses("a-list-becomes-a-submodule", "R4", _as("160000", "endorsers/science.yaml", b"")),
    refuses("the-folder-becomes-a-link", "R4", _as("120000", "endorsers", b"docs")),
    refuses("the-folder-becomes-a-submodule", "R4", _as("160000", "endorsers", b"")),
    refuses("the-folder-becomes-a-file", "R4", _as("100644", "endorsers", b"policy\n")),
    refuses(
        "the-policy-becomes-a-folder",
        "R4",
        lambda world: [without("endorsers/policy.yaml")(world), world.commit({"endorsers/policy.yaml/a": b"a\n"})],
    ),
    refuses("a-link-is-added-beside-the-policy", "R4", _as("120000", "endorsers/more.yaml", b"science.yaml")),
    refuses("the-signed-tree-has-no-policy", "R4", _no_policy_file),
    refuses("the-signed-tree-lacks-a-key", "R4", _dangling_list),
    remembers("the-policy-is-deleted-later", "R4", "refuse", _next_signed, without("endorsers/policy.yaml")),
]
