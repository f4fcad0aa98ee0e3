"""A change that a person proposes: one commit on a branch of its own, made without the work tree. No branch that is there is ever moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pygit2

from vmkeeper.errors import Transient, UserError
from vmkeeper.repository.records import with_file
from vmkeeper.repository.tree import Repository

_TRIES = 1000


@dataclass(frozen=True, slots=True)
class Proposed:
    """Where a change lies. new: whether it was made now, rather than by an earlier call."""

    branch: str
    """Its short name, such as `site/lab/approve-debian-12`."""
    commit: str
    new: bool


def author(repository: Repository) -> pygit2.Signature:
    """The person whose work this is, as git knows them. Raises UserError where it does not: a decision has somebody who made it."""
    name, email = repository.config("user.name"), repository.config("user.email")
    if not name or not email:
        hint = 'git config --global user.name "NAME"; git config --global user.email ADDRESS'
        raise UserError("git does not know who you are", where=str(repository.folder), hint=hint)
    return pygit2.Signature(name, email)


def tree_of(repository: Repository, base: str, files: Mapping[str, bytes]) -> str:
    """The id of the tree of a commit with these files in place of its own."""
    git, tree = repository.git, repository.commit(base).tree
    for path, data in files.items():
        tree = git[with_file(git, tree, path.split("/"), data)].peel(pygit2.Tree)
    return str(tree.id)


def propose(repository: Repository, base: str, files: Mapping[str, bytes], message: str, branch: str) -> Proposed:
    """Commit files on top of the commit `base` on a new branch: `branch`, or `branch-2`, … where others have that name.

    A branch of these names that holds the same change on the same commit is the change itself: nothing is made then. Raises UserError
    where git does not know who commits, or where a branch of the name's beginning is in the way.
    """
    git, tree, who = repository.git, tree_of(repository, base, files), author(repository)
    for number in range(1, _TRIES):
        name = branch if number == 1 else f"{branch}-{number}"
        there = git.references.get(f"refs/heads/{name}")
        if there is not None:
            found = there.peel(pygit2.Commit)
            if str(found.tree.id) == tree and [str(parent) for parent in found.parent_ids] == [base]:
                return Proposed(name, str(found.id), new=False)
            continue
        commit = git.create_commit(None, who, who, message, tree, [pygit2.Oid(hex=base)])
        try:
            git.references.create(f"refs/heads/{name}", commit)
        except pygit2.AlreadyExistsError:
            continue  # somebody took the name in between
        except (ValueError, pygit2.GitError, OSError) as error:
            hint = f"remove or rename the branch whose name begins {branch} differently: git branch --list"
            raise UserError(f"the branch {name} cannot be made", why=str(error), hint=hint) from None
        return Proposed(name, str(commit), new=True)
    raise Transient(f"every name like {branch} is taken", hint="remove branches that are merged: git branch --delete")
