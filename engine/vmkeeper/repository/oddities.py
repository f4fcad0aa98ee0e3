"""What makes two readers of one repository disagree, or lets one read something else than was fetched (rules R24, R32).

git and libgit2 do not honour the same files below .git, so a repository that has one of those is not judged at all.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pygit2
from pygit2.enums import ReferenceType

from vmkeeper.errors import Place, Problem
from vmkeeper.values import visible

_FETCH = "fetch the whole repository again"
_OURS = "remove this folder; the next run fetches the repository again"
_READ = (b"refs/heads/", b"refs/tags/", b"refs/vmkeeper/")
_HEAD_LIMIT = 1024


def oddities(git_dir: Path, *, ours: bool = False) -> tuple[Problem, ...]:
    """What is wrong with a repository's folder (the one that all its work trees share), by place.

    ours: a mirror that only `fetch` writes; it may not borrow objects from elsewhere either, and has no derived indexes.
    An ordinary clone may have alternates: an object is what its id says, wherever it lies.
    """
    found = [*_files(git_dir, ours), *_config(git_dir), *_head(git_dir)]
    if not found:
        found += _references(git_dir)
    return tuple(sorted(found))


def _files(git_dir: Path, ours: bool) -> Iterator[Problem]:
    hint = _OURS if ours else _FETCH
    if _filled(git_dir / "info" / "grafts"):
        yield Problem(Place("info/grafts"), "grafts give commits other parents for git alone", "remove the file")
    if _filled(git_dir / "shallow"):
        yield Problem(Place("shallow"), "the history is cut off, so nothing can be said about it", "fetch all of it: git fetch --unshallow")
    for pack in sorted((git_dir / "objects" / "pack").glob("*.promisor")):
        yield Problem(Place(f"objects/pack/{visible(pack.name)}"), "objects are missing that git would fetch while reading", hint)
        break
    if (git_dir / "reftable").exists():
        yield Problem(Place("reftable"), "the refs lie in a format that is not read", _FETCH)
    if ours:
        for path in (
            "objects/info/alternates",
            "objects/info/http-alternates",
            "objects/info/commit-graph",
            "objects/info/commit-graphs",
            "commondir",
        ):
            if os.path.lexists(git_dir / path):
                yield Problem(Place(path), "this does not belong into a mirror", _OURS)
    yield from _links(git_dir)


def _links(git_dir: Path) -> Iterator[Problem]:
    """Links among refs, which git alone takes for symbolic refs."""
    for at, folders, files in os.walk(git_dir / "refs"):
        for name in (*folders, *files):
            path = Path(at) / name
            if path.is_symlink():
                yield Problem(Place(visible(str(path.relative_to(git_dir)))), "a ref that is a link", "remove it")


def _config(git_dir: Path) -> Iterator[Problem]:
    try:
        config = pygit2.Config(str(git_dir / "config"))
        settings = {entry.name.lower(): entry.value or "" for entry in config}
    except (OSError, pygit2.GitError) as error:
        yield Problem(Place("config"), f"git's configuration cannot be read: {visible(str(error))}", _FETCH)
        return
    if settings.get("extensions.objectformat", "sha1").lower() != "sha1":
        yield Problem(Place("config"), "a SHA-256 repository is not read", "make a SHA-1 repository: git init --object-format=sha1")
    partial = [name for name in settings if name == "extensions.partialclone" or (name.startswith("remote.") and name.endswith(".promisor"))]
    for name in partial:
        yield Problem(Place("config", field=visible(name)), "a partial clone lacks objects", _FETCH)


def _head(git_dir: Path) -> Iterator[Problem]:
    head = git_dir / "HEAD"
    if head.is_symlink() or not head.is_file() or head.stat().st_size > _HEAD_LIMIT:
        yield Problem(Place("HEAD"), "HEAD is missing or is no file", _FETCH)


def _references(git_dir: Path) -> Iterator[Problem]:
    try:
        git = pygit2.Repository(str(git_dir))
        names = git.raw_listall_references()
    except pygit2.GitError as error:
        yield Problem(Place(), f"the refs cannot be read: {visible(str(error))}", _FETCH)
        return
    for loose in sorted(_loose(git_dir) - set(names)):
        yield Problem(Place(visible(loose.decode(errors="backslashreplace"))), "a ref that cannot be read", _FETCH)
    yield from _packed(git_dir / "packed-refs")
    alike: dict[str, list[str]] = defaultdict(list)
    for raw in names:
        name = raw.decode(errors="backslashreplace")
        if not pygit2.reference_is_valid_name(raw.decode(errors="surrogateescape")):
            yield Problem(Place(visible(name)), "a ref whose name git does not take", "remove it from packed-refs")
            continue
        if raw.startswith(b"refs/replace/"):
            yield Problem(Place(visible(name)), "a replaced object is another one for git alone", "remove the ref: git replace -d ID")
        elif raw.startswith(_READ):
            alike[unicodedata.normalize("NFKC", name).casefold()].append(name)
            yield from _reference(git, raw, name)
    for names_alike in alike.values():
        if len(names_alike) > 1:
            shown = ", ".join(visible(name) for name in sorted(names_alike))
            yield Problem(Place(visible(min(names_alike))), f"refs whose names some systems take for one: {shown}", "rename all but one of them")


def _loose(git_dir: Path) -> set[bytes]:
    """The names of refs that are files of their own; libgit2 passes over those that it cannot read."""
    found = (Path(at) / file for at, _, files in os.walk(git_dir / "refs") for file in files if not file.endswith(".lock"))
    return {name for path in found if (name := os.fsencode(path.relative_to(git_dir))).startswith(_READ)}


def _packed(path: Path) -> Iterator[Problem]:
    """Refs that one reader finds by halving the file and another by reading it through (gitformat: packed-refs)."""
    lines = path.read_bytes().split(b"\n") if path.is_file() else []
    names = [line.partition(b" ")[2] for line in lines if line and not line.startswith((b"#", b"^"))]
    if len(set(names)) != len(names):
        yield Problem(Place("packed-refs"), "a ref is there twice", _FETCH)
    elif names != sorted(names) and b" sorted " in lines[0] + b" ":
        yield Problem(Place("packed-refs"), "the refs are not in the order that the file says", _FETCH)


def _reference(git: pygit2.Repository, raw: bytes, name: str) -> Iterator[Problem]:
    try:
        # pygit2 never lets go of the text that it is given here: one text a ref, and not one a look.
        kind = git.lookup_reference(sys.intern(raw.decode(errors="surrogateescape"))).type
    except (KeyError, ValueError, pygit2.GitError):
        yield Problem(Place(visible(name)), "a ref that cannot be read", _FETCH)
        return
    if kind == ReferenceType.SYMBOLIC:
        yield Problem(Place(visible(name)), "a ref that points to another ref", "make it an ordinary branch or tag")


def _filled(path: Path) -> bool:
    return os.path.lexists(path) and (path.is_symlink() or path.stat().st_size > 0)
