"""What may not be in a commit's trees (rule R23), found in their raw bytes and compared with what libgit2 reads (R32).

Each tree object is looked at once in the life of the process: its id says what its bytes are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import pygit2
from pygit2.enums import ObjectType

from vmkeeper.errors import Place, Problem
from vmkeeper.repository.rawtree import Fault, Mode, RawEntry, faults, parse
from vmkeeper.values import visible

OWNED = frozenset(("appliances", "clusters", "endorsers", "imagelists", "sites"))
"""Top folders whose names are ours."""

DEEPEST = 40
"""Folders inside one another."""
MOST = 1_000_000
"""Files and folders of one commit, each counted wherever it stands."""
LARGEST = 16 << 20
"""Bytes of one tree object."""
_SHOWN = 100
_KEPT = 200_000


@dataclass(frozen=True, slots=True)
class Looked:
    """A tree as its bytes say it. One that cannot be read has no entries and one fault."""

    entries: tuple[RawEntry, ...]
    faults: tuple[Fault, ...]
    by_name: Mapping[bytes, RawEntry]

    @property
    def twofold(self) -> tuple[Fault, ...]:
        """What makes different readers find different things in it."""
        return tuple(fault for fault in self.faults if fault.twofold) if self.faults else ()


_seen: dict[tuple[str, bool], Looked] = {}


def tree_problems(git: pygit2.Repository, tree: str, path: str) -> Iterator[Problem]:
    """Everything below a tree that stands at `path`, which we do not read; at most a hundred of them."""
    walk = _Walk(git)
    yield from islice(walk.below(tree, path, 0), _SHOWN)
    if walk.known.get((tree, _ours(path)), (0, 0))[0] > MOST:
        yield Problem(Place(path), f"more than {MOST} files", "trees that name one another over and over are not read")


def twofold_problems(git: pygit2.Repository, tree: str, path: str) -> Iterator[Problem]:
    """What makes one tree, by itself, read differently by different readers; it is what a look-up in it depends on."""
    yield from (_problem(fault, path) for fault in look(git, tree, ours=False).twofold)


def top_problems(git: pygit2.Repository, tree: str) -> Iterator[Problem]:
    """What may not stand in the topmost tree; links and submodules may, for nothing of ours is read through them."""
    looked = look(git, tree, ours=False)
    elsewhere = {visible(one.name.decode(errors="backslashreplace")) for one in looked.entries if one.mode in (Mode.LINK, Mode.SUBMODULE)}
    yield from (_problem(fault, "") for fault in looked.faults if fault.twofold or fault.name not in elsewhere)


def look(git: pygit2.Repository, tree: str, *, ours: bool) -> Looked:
    """A tree's entries and faults. ours: its names are held to what ours must be."""
    key = (tree, ours)
    if key not in _seen:
        if len(_seen) >= _KEPT:
            _seen.clear()
        _seen[key] = _look(git, tree, ours)
    return _seen[key]


def _look(git: pygit2.Repository, tree: str, ours: bool) -> Looked:
    oid = pygit2.Oid(hex=tree)
    try:
        kind, size = git.odb.read_header(oid)
        if kind != ObjectType.TREE or size > LARGEST:
            raise ValueError("it is not a tree" if kind != ObjectType.TREE else f"it has more than {LARGEST} bytes")
        entries = parse(bytes(git.odb.read(oid)[1]))
        found = faults(entries, ours=ours)
        if not any(fault.twofold for fault in found) and _as_libgit2_reads(git, oid) != _expected(entries):
            raise ValueError("two readers find different files in it [R32]")
    except (KeyError, ValueError, pygit2.GitError) as error:
        why = "it is not there" if isinstance(error, KeyError) else str(error)
        return Looked((), (Fault("", f"the tree {tree[:12]} cannot be read: {why}", "fetch the repository again", twofold=True),), {})
    return Looked(entries, found, {entry.name: entry for entry in entries})


def _as_libgit2_reads(git: pygit2.Repository, oid: pygit2.Oid) -> list[tuple[bytes, str, str]]:
    tree = git[oid]
    assert isinstance(tree, pygit2.Tree)
    return [(item.raw_name or b"", f"{item.filemode:o}", str(item.id)) for item in tree]


def _expected(entries: tuple[RawEntry, ...]) -> list[tuple[bytes, str, str]]:
    return [(entry.name, entry.mode, entry.oid) for entry in entries]


class _Walk:
    """Each tree is entered once, so that trees which name one another over and over cost nothing."""

    def __init__(self, git: pygit2.Repository) -> None:
        self._git = git
        self.known: dict[tuple[str, bool], tuple[int, int]] = {}
        """How many files a tree holds, and how many folders inside one another."""

    def below(self, tree: str, path: str, depth: int) -> Iterator[Problem]:
        ours = _ours(path)
        looked = look(self._git, tree, ours=ours)
        yield from (_problem(fault, path) for fault in looked.faults)
        total, height = len(looked.entries), 1
        for entry in looked.entries if not looked.twofold else ():
            if entry.mode != Mode.FOLDER:
                continue
            folder = _join(path, entry.name.decode(errors="backslashreplace"))
            key = (entry.oid, _ours(folder))
            if key not in self.known and depth < DEEPEST:
                yield from self.below(entry.oid, folder, depth + 1)
            files, folders = self.known.get(key, (0, DEEPEST))
            total, height = min(total + files, MOST + 1), max(height, folders + 1)
            if depth + folders >= DEEPEST:
                yield Problem(Place(visible(folder)), f"more than {DEEPEST} folders inside one another", "use fewer folders")
        self.known[tree, ours] = (total, height)


def _ours(path: str) -> bool:
    return path.partition("/")[0] in OWNED


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _problem(fault: Fault, path: str) -> Problem:
    return Problem(Place(_join(visible(path), fault.name) if fault.name else visible(path)), fault.what, fault.hint)
