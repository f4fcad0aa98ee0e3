"""What can be done. An action wholly describes itself: executing it reads nothing but the action.

Kinds are plain verbs. Each has its reason, which is shown and never branched on, and the file and commit
that caused it where a commit did.
"""

from __future__ import annotations

from typing import ClassVar

from vmkeeper.model.base import Document
from vmkeeper.values import CommitId


class Cause(Document):
    """The change that brought an action about."""

    commit: CommitId
    path: str


class Action(Document):
    """One thing to do. Subclasses add the data that doing it takes and set `kind`."""

    kind: ClassVar[str]
    destroys: ClassVar[bool] = False
    """Whether it takes something away that users could see; such actions lead every rendering."""

    foretold: ClassVar[bool] = False
    """Whether somebody else takes this step; such actions are shown, not carried out, and no part of a plan's digest."""

    subject: str
    """What is acted on: an appliance, a list, an image at a site."""
    reason: str
    """A sentence without a full stop."""
    cause: Cause | None = None
    needs: tuple[str, ...] = ()
    """Ids of the actions that must be done first."""

    @property
    def id(self) -> str:
        """`KIND:SUBJECT`, unique in a plan."""
        return f"{self.kind}:{self.subject}"
