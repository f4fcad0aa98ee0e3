"""What changed between two commits, which commit changed it, and how far a commit is from the root."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import pygit2
from pygit2.enums import DeltaStatus

from vmkeeper.errors import UserError
from vmkeeper.repository.tree import Repository, Snapshot


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """A path that differs between two trees."""

    path: str
    kind: Literal["added", "changed", "removed"]


def changes(base: Snapshot, head: Snapshot) -> tuple[Change, ...]:
    """The paths that differ, by name. Equal subtrees are not read, so the cost follows the change."""
    diff = base.git_tree.diff_to_tree(head.git_tree)
    found = []
    for delta in diff.deltas:
        kind: Literal["added", "changed", "removed"] = "changed"
        if delta.status == DeltaStatus.ADDED:
            kind = "added"
        elif delta.status == DeltaStatus.DELETED:
            kind = "removed"
        found.append(Change(delta.new_file.path or delta.old_file.path, kind))
    return tuple(sorted(found))


def last_change(repository: Repository, path: str, head: str, base: str = "") -> str:
    """The newest commit on the first-parent line from `head` back to `base` (not included) that changed `path`.

    "" where none did.
    """
    current = repository.commit(head) if head else None
    while current is not None and str(current.id) != base:
        parent = current.parents[0] if current.parents else None
        if _object_at(current, path) != (_object_at(parent, path) if parent is not None else ""):
            return str(current.id)
        current = parent
    return ""


def _object_at(commit: pygit2.Commit, path: str) -> str:
    found: pygit2.Object = commit.tree
    for part in path.split("/"):
        if not isinstance(found, pygit2.Tree) or part not in found:
            return ""
        found = found[part]
    return f"{found.id} {found.filemode}"


RECORD = re.compile(r"appliances/[^/]+/(release\.yaml|provenance\.json)")
"""What apply itself commits about a build: a record of it, and never a cause of one."""


def source_commit(repository: Repository, commit: str) -> str:
    """The newest commit on the first-parent line that changed more than records: what a build is a build of.

    Records come on top of the commit that they are of, so a run that was killed half-way finds the same commit again.
    """
    current = repository.commit(commit)
    while current.parents:
        found = changes(repository.at(str(current.parents[0].id)), repository.at(str(current.id)))
        if not found or not all(RECORD.fullmatch(change.path) for change in found):
            break
        current = current.parents[0]
    return str(current.id)


def height(repository: Repository, commit: str) -> int:
    """How many commits lie on the first-parent line from the root to `commit`, both included.

    Raises UserError in a shallow clone, where the line is cut.
    """
    if repository.git.is_shallow:
        raise UserError("this is a shallow clone, so versions cannot be derived from its history", hint="fetch all of it: git fetch --unshallow")
    count, current = 0, repository.commit(commit)
    while True:
        count += 1
        if not current.parent_ids:
            return count
        current = current.parents[0]


def commit_time(repository: Repository, commit: str) -> datetime:
    """The committer's time of a commit, UTC."""
    return datetime.fromtimestamp(repository.commit(commit).commit_time, UTC)
