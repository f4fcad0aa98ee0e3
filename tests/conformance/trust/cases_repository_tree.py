"""Trees that are not what they seem (R23), and repositories that would run something (R24)."""

from __future__ import annotations

import zlib
from pathlib import Path

from conformance.trust.case import Case
from conformance.trust.forge import World, document, release
from conformance.trust.worlds import V2, V3, Change, accepts, new, refuses, remembers, then

CANARY = "canary"
"""A file in the case's folder that nothing may make."""


def raw_tree(folder: str, *entries: tuple[str, bytes, str], sort: bool = True) -> Change:
    """The head's tree with these raw entries (mode, name, kind of object) in a folder ("" for the top)."""

    def change(world: World) -> None:
        files = world.trees[world.head]
        made = [world.entry(mode, name, _object(world, kind)) for mode, name, kind in entries]
        if not folder:
            top = dict(files)
            world.commit_tree(_with(world, world.tree(top), made, sort), top, (world.head,))
            return
        inside = {path.removeprefix(f"{folder}/"): entry for path, entry in files.items() if path.startswith(f"{folder}/")}
        inner = _with(world, world.tree(inside), made, sort)
        above = world.tree({path: entry for path, entry in files.items() if not path.startswith(f"{folder}/")})
        world.commit_tree(_with(world, above, [world.entry("40000", folder.encode(), inner)], True), files, (world.head,))

    return change


def _object(world: World, kind: str) -> str:
    """An object to point to: a file, an empty folder, a commit, a script, or nothing that is there."""
    if kind == "commit":
        return world.head
    if kind == "missing":
        return "e" * 40
    if kind == "folder":
        return world.tree({"a": ("100644", b"a\n")})
    return world.write("blob", kind.encode())


def _with(world: World, tree: str, made: list[bytes], sort: bool) -> str:
    """A tree with more entries, in git's order or at its end."""
    raw = world.git.read(tree)[1]
    entries: list[bytes] = []
    while raw:
        end = raw.index(b"\0") + 21
        entries.append(raw[:end])
        raw = raw[end:]
    entries = sorted([*entries, *made], key=_key) if sort else [*entries, *made]
    return world.write("tree", b"".join(entries))


def _key(entry: bytes) -> bytes:
    mode, _, rest = entry.partition(b" ")
    return rest[:-21] + (b"/" if mode == b"40000" else b"")


def odd(name: str, change: Change, release: str = V2, rule: str = "R23") -> Case:
    return refuses(name, rule, change, release=release)


def _linked_record(world: World) -> None:
    """V3's record is a link to V2's bytes."""
    files = {**world.trees[world.head], "appliances/debian-12/release.yaml": ("120000", b"../../README.md")}
    commit = world.commit_tree(world.tree(files), files, (world.head,))
    world.trees[commit] = {**files, "appliances/debian-12/release.yaml": ("100644", document(release(*V3.split(" "))))}
    world.endorse("alice", commit)


def _corrupt(world: World) -> None:
    """A record's object has other bytes than its id says."""
    commit = new(world)
    world.endorse("alice", commit)
    data = world.trees[commit]["appliances/debian-12/release.yaml"][1]
    oid = world.write("blob", data)
    path = world.repo / ".git/objects" / oid[:2] / oid[2:]
    path.chmod(0o644)
    path.write_bytes(zlib.compress(b"blob %d\0" % len(data) + data.replace(b'"packages": 1', b'"packages": 2')))


def _deep(world: World) -> None:
    tree = world.tree({"a": ("100644", b"a\n")})
    for _ in range(60):
        tree = world.write("tree", world.entry("40000", b"d", tree))
    raw = _with(world, world.tree(world.trees[world.head]), [world.entry("40000", b"clusters", tree)], True)
    world.commit_tree(raw, world.trees[world.head], (world.head,))


def _bomb(world: World) -> None:
    """Ten folders of the same ten folders, ten times over."""
    tree = world.tree({"a": ("100644", b"a\n")})
    for _ in range(12):
        tree = world.write("tree", b"".join(world.entry("40000", b"d%d" % number, tree) for number in range(10)))
    raw = _with(world, world.tree(world.trees[world.head]), [world.entry("40000", b"clusters", tree)], True)
    world.commit_tree(raw, world.trees[world.head], (world.head,))


def _elsewhere(world: World) -> None:
    """Names that are not ours to choose, outside our folders."""
    world.commit({"docs/Über uns.md": b"a\n", ".github/workflows/ci.yaml": b"a\n", "src/a b+c.txt": b"c\n"})


# What would run something


def script(world: World) -> str:
    """A program that makes the canary."""
    path = world.folder / "run.sh"
    path.write_text(f"#!/bin/sh\ntouch {world.folder / CANARY}\nexit 0\n")
    path.chmod(0o755)
    return str(path)


def config(text: str) -> Change:
    """More lines of .git/config; PROGRAM is the script."""

    def change(world: World) -> None:
        with (world.repo / ".git/config").open("a") as file:
            file.write(text.replace("PROGRAM", script(world)) + "\n")

    return change


def _hooks(world: World) -> None:
    """Every hook that git knows, and some that it does not."""
    folder = world.repo / ".git/hooks"
    folder.mkdir(exist_ok=True)
    text = Path(script(world)).read_text()
    for name in (
        "post-checkout", "post-merge", "pre-commit", "post-index-change", "reference-transaction", "fsmonitor-watchman", "post-rewrite",
        "pre-auto-gc", "update", "pre-receive", "post-update", "proc-receive", "push-to-checkout", "sendemail-validate",
    ):  # fmt: skip
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


def _included(world: World) -> None:
    (world.folder / "more.gitconfig").write_text(f"[core]\n\tfsmonitor = {script(world)}\n\tpager = {script(world)}\n")
    config(f'[include]\n\tpath = {world.folder / "more.gitconfig"}\n[includeIf "gitdir:**"]\n\tpath = ../../more.gitconfig')(world)


def _filters(world: World) -> None:
    world.commit({".gitattributes": b"* filter=evil diff=evil merge=evil\n"})
    config(
        '[filter "evil"]\n\tclean = PROGRAM\n\tsmudge = PROGRAM\n\tprocess = PROGRAM\n\trequired = true\n[diff "evil"]\n\tcommand = PROGRAM\n\ttextconv = PROGRAM'
    )(world)


def _gitmodules(world: World) -> None:
    evil = f'[submodule "a"]\n\tpath = a\n\turl = ext::{script(world)}\n\tupdate = !{script(world)}\n[submodule "b/../../.git/hooks"]\n\tpath = -b\n\turl = -u./x\n'
    world.commit({".gitmodules": evil.encode()})


def _submodule(world: World) -> None:
    """A submodule and where it is said to come from, in a folder of ours."""
    _gitmodules(world)
    raw_tree("clusters", ("160000", b"a", "commit"))(world)


def _worktree_config(world: World) -> None:
    config("[extensions]\n\tworktreeConfig = true")(world)
    (world.repo / ".git/config.worktree").write_text(f"[core]\n\tfsmonitor = {script(world)}\n")


def _fsmonitor_index(world: World) -> None:
    """Files in the work tree, an attributes file and an index besides."""
    (world.repo / ".gitattributes").write_text("* filter=evil\n")
    (world.repo / "README.md").write_text("changed\n")
    _filters(world)


def _promised(world: World) -> None:
    folder = world.repo / ".git/objects/pack"
    folder.mkdir(exist_ok=True)
    (folder / "pack-1.promisor").touch()


def quiet(name: str, change: Change) -> Case:
    """Nothing runs, and nothing is wrong."""
    case = accepts(name, "R24", change)
    return Case(case.name, case.rule, case.expect, case.make, absent=(CANARY,))


def stopped(name: str, change: Change, rule: str = "R24") -> Case:
    """Nothing runs, and the repository is refused."""
    return refuses(name, rule, change, absent=(CANARY,))


CASES: list[Case] = [
    accepts("an-ordinary-tree", "R23", lambda world: world.commit({"appliances/debian-12/files/etc/motd": b"hello\n"})),
    accepts("names-elsewhere-are-not-ours-to-choose", "R23", _elsewhere),
    odd("two-dots", raw_tree("appliances", ("100644", b"..", "x"))),
    odd("two-dots-as-a-folder", raw_tree("appliances", ("40000", b"..", "folder"))),
    odd("one-dot", raw_tree("sites", ("40000", b".", "folder"))),
    odd("a-slash-in-a-name", raw_tree("appliances", ("100644", b"a/b", "x"))),
    odd("a-slash-in-a-name-at-the-top", raw_tree("", ("100644", b"a/b", "x"))),
    odd("two-dots-at-the-top", raw_tree("", ("40000", b"..", "folder"))),
    odd("a-file-that-is-named-like-the-path-of-the-policy", raw_tree("", ("100644", b"endorsers/policy.yaml", "x")), rule="R4"),
    odd("a-git-folder", raw_tree("appliances", ("40000", b".git", "folder"))),
    odd("a-git-folder-in-capitals", raw_tree("appliances", ("40000", b".GIT", "folder"))),
    odd("a-git-folder-with-a-zero-width-character", raw_tree("appliances", ("40000", ".g\u200bit".encode(), "folder"))),
    odd("a-git-folder-by-its-short-name", raw_tree("appliances", ("40000", b"GIT~1", "folder"))),
    odd("a-name-like-an-option", raw_tree("appliances", ("100644", b"-rf", "x"))),
    odd("the-same-name-twice", raw_tree("appliances", ("40000", b"debian-12", "folder"))),
    odd("the-same-name-twice-at-the-top", raw_tree("", ("40000", b"appliances", "folder"))),
    odd("the-policy-s-folder-twice", raw_tree("", ("40000", b"endorsers", "folder"))),
    odd("a-file-and-a-folder-of-one-name", raw_tree("", ("100644", b"appliances", "x"))),
    odd("an-empty-name", raw_tree("sites", ("100644", b"", "x"))),
    odd("a-name-that-is-no-text", raw_tree("sites", ("100644", b"a\xff", "x"))),
    odd("a-line-break-in-a-name", raw_tree("sites", ("100644", b"a\nb", "x"))),
    odd("a-backslash-in-a-name", raw_tree("sites", ("100644", b"..\\a", "x"))),
    odd("a-link", raw_tree("sites", ("120000", b"laptop.yaml", "/etc/passwd"))),
    odd("a-submodule", raw_tree("sites", ("160000", b"laptop", "commit"))),
    odd("a-mode-that-git-does-not-write", raw_tree("sites", ("100666", b"laptop.yaml", "x"))),
    odd("a-mode-with-a-zero-before", raw_tree("sites", ("0100644", b"laptop.yaml", "x"))),
    odd("a-tree-out-of-order", raw_tree("", ("100644", b"AAA", "x"), sort=False)),
    odd("a-folder-that-is-a-file", raw_tree("sites", ("40000", b"a", "x"))),
    odd("a-folder-that-is-not-there", raw_tree("sites", ("40000", b"a", "missing"))),
    odd("sixty-folders-in-one-another", _deep),
    odd("folders-of-the-same-folders-over-and-over", _bomb),
    odd("a-record-that-is-a-link", _linked_record, V3),
    odd("a-file-whose-bytes-are-not-its-id-s", _corrupt, V3),
    remembers("a-link-comes-later", "R23", "refuse", raw_tree("sites", ("120000", b"laptop.yaml", "/etc/passwd"))),
    # R24
    quiet("hooks", _hooks),
    quiet("hooks-in-another-folder", then(_hooks, config("[core]\n\thooksPath = .git/hooks"))),
    quiet("a-file-system-monitor", config("[core]\n\tfsmonitor = PROGRAM\n\tuntrackedCache = true")),
    quiet(
        "programs-of-ssh-and-git",
        config("[core]\n\tsshCommand = PROGRAM\n\tgitProxy = PROGRAM\n\taskPass = PROGRAM\n\teditor = PROGRAM\n\tpager = PROGRAM"),
    ),
    quiet(
        "programs-that-check-signatures",
        config('[gpg]\n\tprogram = PROGRAM\n[gpg "ssh"]\n\tprogram = PROGRAM\n\tdefaultKeyCommand = PROGRAM\n[gpg "x509"]\n\tprogram = PROGRAM'),
    ),
    quiet("programs-that-keep-passwords", config("[credential]\n\thelper = !PROGRAM")),
    quiet("aliases", config("[alias]\n\ttag = !PROGRAM\n\trev-list = !PROGRAM\n\tcat-file = !PROGRAM\n\tfor-each-ref = !PROGRAM")),
    quiet("a-file-that-is-included", _included),
    quiet("a-configuration-of-the-work-tree", _worktree_config),
    quiet("filters", _filters),
    quiet("filters-over-changed-files", _fsmonitor_index),
    quiet(
        "a-remote-that-runs-something",
        config('[remote "origin"]\n\turl = ext::PROGRAM\n\tfetch = +refs/*:refs/*\n\tuploadpack = PROGRAM\n\tvcs = evil'),
    ),
    quiet("a-hostile-gitmodules", _gitmodules),
    stopped("a-submodule-of-a-hostile-gitmodules", _submodule, "R23"),
    stopped(
        "objects-that-git-would-fetch-by-a-program",
        config('[extensions]\n\tpartialClone = origin\n[remote "origin"]\n\turl = ext::PROGRAM\n\tpromisor = true'),
    ),
    stopped(
        "a-remote-that-has-promised-objects", config('[remote "origin"]\n\turl = ext::PROGRAM\n\tpromisor = true\n\tpartialclonefilter = blob:none')
    ),
    stopped(
        "a-pack-of-promised-objects",
        _promised,
    ),
    stopped("pins-that-name-a-program-as-the-source", lambda world: world.pins.update(source=f"ext::{script(world)}")),
]
