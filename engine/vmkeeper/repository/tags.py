"""Tag refs and raw tag objects. Nothing here is believed: bytes are handed on as they lie, and refs are only added.

Objects are read raw, because libgit2's `Tag` cuts messages at NUL and takes tags that git itself would not make.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pygit2
from pygit2.enums import ObjectType, ReferenceType

from vmkeeper.errors import UserError
from vmkeeper.repository.tree import Repository
from vmkeeper.values import CommitId, visible

_PREFIX = "refs/tags/"
LARGEST = 64 * 1024
"""Bytes of a tag object that are read; of a larger one there is a byte more, so that it is seen to be too large."""
_HELD = 16 << 20
"""Bytes of an object that are held in memory to cut its beginning off; of a larger one nothing is read."""


@dataclass(frozen=True, slots=True)
class TagRef:
    """A ref below refs/tags/. `raw` is None for everything but an annotated tag; `kind` then says what it is:
    commit, tree, blob (a lightweight tag), symbolic or missing. Of a `large` one `raw` is the beginning."""

    name: str
    """Without refs/tags/."""
    oid: str
    kind: str
    raw: bytes | None


def list_tags(repository: Repository, *prefixes: str) -> tuple[TagRef, ...]:
    """The tags whose names begin with one of the prefixes (all without one), by name."""
    starts = tuple(f"{_PREFIX}{prefix}".encode() for prefix in prefixes) or (_PREFIX.encode(),)
    names = sorted(name for name in repository.git.raw_listall_references() if name.startswith(starts))
    return tuple(_read(repository.git, name) for name in names)


def tag_names(repository: Repository, *prefixes: str) -> tuple[str, ...]:
    """The names of tags that begin with one of the prefixes, as far as they can be read; the objects are not looked at."""
    starts = tuple(f"{_PREFIX}{prefix}".encode() for prefix in prefixes)
    try:
        names = repository.git.raw_listall_references()
    except pygit2.GitError:
        return ()
    return tuple(sorted(name.removeprefix(_PREFIX.encode()).decode(errors="backslashreplace") for name in names if name.startswith(starts)))


def raw_tags(repository: Repository, *prefixes: str) -> dict[str, bytes | None]:
    """The raw objects of `list_tags` by name, None where a ref is not an annotated tag."""
    return {ref.name: ref.raw for ref in list_tags(repository, *prefixes)}


def raw_ref(repository: Repository, ref: str) -> bytes | None:
    """The raw tag object that a ref outside refs/tags/ points to; None where there is none."""
    if ref not in repository.git.references:
        return None
    return _read(repository.git, ref.encode()).raw


def move_ref(repository: Repository, ref: str, raw: bytes) -> str:
    """Write a tag object and let a ref outside refs/tags/ point to it, whatever it pointed to before; returns the object's id."""
    git = repository.git
    pygit2.settings.enable_fsync_gitdir(True)
    oid = git.odb.write(ObjectType.TAG, raw)
    git.create_reference_direct(ref, oid, True)
    return str(oid)


def create_tag(repository: Repository, name: str, raw: bytes) -> str:
    """Write a tag object and its ref; returns the object's id. Done already, it changes nothing.

    The object is there before the ref, and the ref is made whole or not at all. Raises UserError where the name is not
    one git takes, or where the ref exists with another object: a tag that was seen never changes.
    """
    git, ref = repository.git, _PREFIX + name
    if not pygit2.reference_is_valid_name(ref):
        raise UserError("git takes no tag of this name", where=visible(name), hint="see: git help check-ref-format")
    pygit2.settings.enable_fsync_gitdir(True)
    oid = git.odb.write(ObjectType.TAG, raw)
    try:
        git.create_reference_direct(ref, oid, False)
    except (ValueError, OSError, pygit2.GitError) as error:
        if ref not in git.references:
            raise UserError(
                "the tag cannot be written", where=visible(name), why=str(error), hint="another tag may have the name of its folder"
            ) from None
        if git.references[ref].raw_target != oid:
            hint = "a signed tag is never changed; fetch all tags and try again"
            raise UserError("the tag exists already with another content", where=visible(name), hint=hint) from None
    return str(oid)


def delete_tag(repository: Repository, name: str) -> None:
    """Remove a tag ref that exists; the object stays until git collects it."""
    repository.git.references.delete(_PREFIX + name)


def is_ancestor(repository: Repository, commit: CommitId, head: CommitId) -> bool:
    """Whether `commit` is `head` or reachable from it through any parent. False for what is not a commit here."""
    git = repository.git
    if not _is_commit(git, commit):
        return False
    return commit == head or git.descendant_of(head, commit)


def mainline(repository: Repository, head: CommitId) -> frozenset[CommitId]:
    """The commits on the first-parent line of `head`: what was merged into it, never what a side branch held on its way."""
    walker = repository.git.walk(pygit2.Oid(hex=head))
    walker.simplify_first_parent()
    return frozenset(str(commit.id) for commit in walker)


def root_commit(repository: Repository, head: CommitId) -> CommitId:
    """The first commit on the first-parent line of `head`, which identifies the repository."""
    current = repository.commit(head)
    while current.parents:
        current = current.parents[0]
    return str(current.id)


def _is_commit(git: pygit2.Repository, oid: str) -> bool:
    try:
        return git.odb.read_header(pygit2.Oid(hex=oid))[0] == ObjectType.COMMIT
    except (KeyError, ValueError):
        return False


def _read(git: pygit2.Repository, raw_name: bytes) -> TagRef:
    name = raw_name.removeprefix(_PREFIX.encode()).decode(errors="backslashreplace")
    # pygit2 never lets go of the text that it is given here: one text a ref, and not one a look.
    reference = git.lookup_reference(sys.intern(raw_name.decode(errors="surrogateescape")))
    if reference.type == ReferenceType.SYMBOLIC:
        return TagRef(name, "", "symbolic", None)
    oid = reference.target
    try:
        kind, size = git.odb.read_header(oid)
    except KeyError:
        return TagRef(name, str(oid), "missing", None)
    if kind != ObjectType.TAG:
        return TagRef(name, str(oid), ObjectType(kind).name.lower(), None)
    if size > LARGEST:
        return TagRef(name, str(oid), "large", bytes(git.odb.read(oid)[1])[: LARGEST + 1] if size <= _HELD else None)
    return TagRef(name, str(oid), "tag", bytes(git.odb.read(oid)[1]))
