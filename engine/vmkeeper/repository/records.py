"""Commit files that a program wrote: on the branch as it is at that moment, whoever else commits meanwhile."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pygit2
from pygit2.enums import FileMode

from vmkeeper.errors import Transient
from vmkeeper.repository.tree import Repository

_TRIES = 20


def identity(repository: Repository) -> pygit2.Signature:
    """Who commits records: git's vmkeeper.name and vmkeeper.email, by default vmkeeper itself, never a person by accident."""
    return pygit2.Signature(repository.config("vmkeeper.name") or "vmkeeper", repository.config("vmkeeper.email") or "vmkeeper@localhost")


def commit_files(repository: Repository, branch: str, files: Mapping[str, bytes | None], message: str) -> str:
    """Put files (None: remove) on top of `branch` as one commit; returns its id, or the head's if nothing changes.

    Only these paths are touched, so commits that others make meanwhile stay. Where the branch is checked out, the
    work tree follows for those files that nobody has edited. Raises Transient if the branch never keeps still.
    """
    git = repository.git
    for _ in range(_TRIES):
        reference = git.references[branch]
        parent = reference.peel(pygit2.Commit)
        tree = parent.tree.id
        for path, data in files.items():
            tree = with_file(git, git[tree].peel(pygit2.Tree), path.split("/"), data)
        if tree == parent.tree.id:
            return str(parent.id)
        who = identity(repository)
        commit = git.create_commit(None, who, who, message, tree, [parent.id])
        clean = _unedited(repository, branch, parent, files)
        try:
            reference.set_target(commit)
        except pygit2.GitError:
            continue  # somebody committed in between: start from their commit
        for path in clean:
            _follow(repository, path, files[path])
        return str(commit)
    raise Transient("the branch changed under every try to commit to it", where=branch, hint="run the same command again")


def with_file(git: pygit2.Repository, tree: pygit2.Tree | None, parts: list[str], data: bytes | None) -> pygit2.Oid:
    """A tree with a file at a path (its parts) put in, or taken out where `data` is None; nothing but objects is written."""
    builder = git.TreeBuilder(tree) if tree is not None else git.TreeBuilder()
    name, rest = parts[0], parts[1:]
    if rest:
        below = tree[name] if tree is not None and name in tree else None
        builder.insert(name, with_file(git, below if isinstance(below, pygit2.Tree) else None, rest, data), FileMode.TREE)
    elif data is None:
        if builder.get(name) is not None:
            builder.remove(name)
    else:
        builder.insert(name, git.create_blob(data), FileMode.BLOB)
    return builder.write()


def _unedited(repository: Repository, branch: str, parent: pygit2.Commit, files: Mapping[str, bytes | None]) -> list[str]:
    """The paths whose work-tree files equal the commit's, so that they may follow the branch."""
    git = repository.git
    if git.is_bare or git.head_is_detached or repository.branch() != branch:
        return []
    top = Path(git.workdir)
    found = []
    for path, new in files.items():
        file = top / path
        there = file.read_bytes() if file.is_file() and not file.is_symlink() else None
        committed = _blob(parent.tree, path)
        if there in (committed, new):
            found.append(path)
    return found


def _blob(tree: pygit2.Tree, path: str) -> bytes | None:
    found: pygit2.Object = tree
    for part in path.split("/"):
        if not isinstance(found, pygit2.Tree) or part not in found:
            return None
        found = found[part]
    return bytes(found.data) if isinstance(found, pygit2.Blob) else None


def _follow(repository: Repository, path: str, data: bytes | None) -> None:
    git = repository.git
    file = Path(git.workdir) / path
    index = git.index
    if data is None:
        file.unlink(missing_ok=True)
        if path in index:
            index.remove(path)
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        temporary.write_bytes(data)
        temporary.replace(file)
        index.add(path)
    index.write()
