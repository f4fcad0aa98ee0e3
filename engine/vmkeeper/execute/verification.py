"""Ask the verifier about a repository: its tags, its mainline and its release records, judged by what is pinned."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import cast

from vmkeeper.documents.kinds import KINDS
from vmkeeper.documents.load import load
from vmkeeper.model.release import Release
from vmkeeper.repository.tags import mainline, raw_tags
from vmkeeper.repository.tree import Repository
from vmkeeper.trust.keys.openpgp import GpgVerifier
from vmkeeper.trust.pins import PinnedEndorsers
from vmkeeper.trust.verify import SKEW, Context, Record, Verdict, verify
from vmkeeper.values import CommitId, Duration, sha512_hex

PREFIXES = ("endorse/", "withdraw/")
"""Where endorsers' tags lie."""


class RepositoryHistory:
    """A repository as `trust.verify.History`: the mainline is the first-parent line of `head`."""

    def __init__(self, repository: Repository, head: CommitId) -> None:
        self._repository = repository
        self._head = head

    @cached_property
    def _mainline(self) -> frozenset[CommitId]:
        return mainline(self._repository, self._head)

    def on_mainline(self, commit: CommitId) -> bool:
        """Whether the commit was ever the head of the followed branch."""
        return commit in self._mainline

    def record(self, commit: CommitId, appliance: str) -> Record | None:
        """The release record of an appliance at a commit of the mainline; raises Problems where it is broken."""
        path = KINDS["release"].path_of(appliance)
        data = self._repository.at(commit).read(path) if self.on_mainline(commit) else None
        if data is None:
            return None
        return Record(sha512_hex(data), cast("Release", load(KINDS["release"], data, path)))


def judge(
    repository: Repository, head: CommitId, root: CommitId, pinned: PinnedEndorsers, now: datetime, skew: Duration = SKEW
) -> tuple[Verdict, ...]:
    """Verdicts about all endorsers' tags of a repository under one pinned list. `root` is the pinned root commit."""
    with GpgVerifier() as openpgp:
        context = Context(pinned, root, RepositoryHistory(repository, head), openpgp, now, skew)
        return verify(raw_tags(repository, *PREFIXES), context)
