"""Plans for commits: what `vmkeeper plan` shows and `apply` carries out."""

from __future__ import annotations

from functools import cache

from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.catalogue.index import Index
from vmkeeper.errors import Problems
from vmkeeper.plan.actions import Cause
from vmkeeper.plan.factory import Head, plan
from vmkeeper.plan.plan import Plan
from vmkeeper.progress import Progress
from vmkeeper.repository.changes import changes, commit_time, height, last_change, source_commit
from vmkeeper.repository.tree import Repository


def open_index(repository: Repository) -> Index:
    """The repository's index, made when missing."""
    return Index(repository.private / "index.sqlite")


def head_of(repository: Repository, commit: str) -> Head:
    """What the planner must know about the commit it plans for."""
    source = source_commit(repository, commit)
    return Head(source, commit_time(repository, source), height(repository, source), height(repository, commit))


def planned(repository: Repository, base: str | None, head: str | None, progress: Progress | None = None) -> Plan:
    """The plan from `base` (None: what was last applied) to `head` (None: the work tree). Raises Problems."""
    index = open_index(repository)
    commit = repository.resolve(head) if head is not None else ""
    start = repository.resolve(base) if base is not None else repository.applied()
    before = Catalogue(repository, repository.at(start) if start else repository.empty(), index)
    after = Catalogue(repository, repository.at(commit) if commit else repository.worktree(), index, progress)
    at = head_of(repository, commit or repository.head())

    @cache
    def cause(path: str) -> Cause | None:
        found = last_change(repository, path, commit, start) if commit else ""
        return Cause(commit=found, path=path) if found else None

    try:
        return plan(before, after, at, changes(before.snapshot, after.snapshot), cause)
    except Problems as error:
        raise Problems(after.located(error.problems)) from None
