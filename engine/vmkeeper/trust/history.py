"""What is asked about the followed repository while its tags are judged. Whoever answers believes nothing that they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from vmkeeper.model.release import Release
from vmkeeper.values import CommitId, Sha512


@dataclass(frozen=True, slots=True)
class Record:
    """A release record as it lies in a commit: the SHA-512 of its bytes, what it says, and the provenance beside it."""

    sha512: str
    release: Release
    provenance: bytes | None = None


class History(Protocol):
    """The commits of a followed branch. Every method may raise Refused for what cannot be read in one way."""

    head: CommitId
    """The newest commit of the followed branch."""

    def root(self) -> tuple[CommitId, Sha512]:
        """The root commit and the SHA-512 of its tree (R1)."""

    def precedes(self, commit: CommitId, later: CommitId) -> bool:
        """Whether `later` is the commit or comes after it through any parent (R2)."""

    def on_mainline(self, commit: CommitId) -> bool:
        """Whether the commit was ever the head of the followed branch (R7)."""

    def tree(self, commit: CommitId, folder: str) -> Sha512:
        """The SHA-512 of a folder of a commit of the mainline; raises Refused for links, submodules and strange names (R4, R23)."""

    def files(self, commit: CommitId, folder: str) -> Mapping[str, bytes]:
        """A folder's regular files by path relative to it; raises like `tree`."""

    def digests(self, commit: CommitId, appliance: str) -> tuple[Sha512, Sha512 | None] | None:
        """The SHA-512 of an appliance's release record at a commit and of the provenance beside it, unread; None where there is no record."""

    def record(self, commit: CommitId, appliance: str) -> Record | None:
        """The release record of an appliance in the tree of a commit; None where there is none. May raise VmkeeperError."""
