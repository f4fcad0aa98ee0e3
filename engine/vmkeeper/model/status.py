"""What is known of a site after a run: status.json in its own folder, and the part of it that producers get (`SiteReport`).

Both are written by vmkeeper and read by programs: fields are added, never changed, within a version.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vmkeeper.model.base import Document
from vmkeeper.values import CommitId, Name, Time, Uuid, Version

RunResult = Literal["done", "failed", "bug", "busy", "suspended"]
"""done: the run came to its end and no action failed. busy: another run was at work. bug: a fault of vmkeeper itself."""
Count = Annotated[int, Field(ge=0)]


class Trouble(Document):
    """Something that went wrong, and the way out."""

    subject: str
    """What it is about: an image, a list, the run."""
    what: str
    why: str = ""
    hint: str = ""
    rule: str = ""
    """The rule that refuses it (`R14`), where trust does."""


class Run(Document):
    """One run."""

    began: Time
    ended: Time
    result: RunResult
    seconds: dict[str, float] = Field(default_factory=dict)
    """How long it took, by stage; `all` is the whole of it."""
    actions: tuple[ActionStatus, ...] = ()
    """What it did, and tried to do."""
    error: Trouble | None = None
    """Why it did not come to its end."""


class ActionStatus(Document):
    """One action of a run."""

    kind: str
    subject: str
    place: str = ""
    outcome: Literal["done", "failed", "blocked", "left"]
    """blocked: one that it needs failed. left: the run was to end before it began."""
    reason: str = ""
    """Why it was to be done."""
    text: str = ""
    """What came of it."""
    hint: str = ""


class ImageStatus(Document):
    """One image of the site's own."""

    appliance: str
    version: Version
    uuid: Uuid
    place: str = ""
    """The place of the site's cloud; "" where it has only one."""
    id: str
    """At the cloud."""
    name: str
    """At the cloud."""
    state: Literal["incomplete", "active", "hidden"]
    list: str
    """The list that it came from; its UUID where the site does not subscribe to it any more."""
    foreign: bool = False
    """Whether that is another organisation's."""
    format: str
    size: Count
    """Bytes."""
    endorsed: Time | None = None
    """When it became endorsed, by the quorum's last endorsement; of a foreign list's image, when that list was made."""
    endorsers: tuple[str, ...] = ()
    since: Time | None = None
    """Since when it is usable here; None where that was before anything was written down."""
    expires: Time
    hidden_since: Time | None = None
    leaves: Time | None = None
    """When it may be deleted, for a hidden one."""
    in_use: bool = False
    drift: tuple[str, ...] = ()
    """What is otherwise at the cloud than it should be."""

    @property
    def key(self) -> str:
        """What makes it this image: place, appliance and version."""
        return f"{self.place}/{self.uuid}/{self.version}"

    @property
    def lag(self) -> int | None:
        """Seconds between endorsement and use here."""
        return None if self.endorsed is None or self.since is None else max(0, int((self.since - self.endorsed).total_seconds()))


class Drifted(Document):
    """An image of ours that somebody changed or deleted at the cloud, as the run found it; it may have mended it since."""

    appliance: str
    version: Version
    place: str = ""
    what: tuple[str, ...]
    """What was otherwise than it should be."""


class ListStatus(Document):
    """One image list that the site subscribes to."""

    name: str
    uuid: str = ""
    foreign: bool = False
    usable: bool
    why: str = ""
    """Why not."""
    version: str = ""
    """The newest that was trusted."""
    changed: Time | None = None
    """When that version was first seen here."""
    verified: Time | None = None
    """When it was last fetched and verified."""
    expires: Time | None = None


class PlaceStatus(Document):
    """One place of the site's cloud."""

    name: str = ""
    seen: bool = True
    """Whether it could be listed in the last run; where not, what is said of its images is older."""
    calls: dict[str, Count] = Field(default_factory=dict)
    """Calls of the cloud in the last run, by kind."""


class Remark(Document):
    """Something to know, or to decide."""

    subject: str
    why: str
    hint: str = ""
    """The way out."""


class Suspended(Document):
    """That a site does nothing, because somebody asked for it."""

    since: Time
    reason: str
    until: Time | None = None


class Status(Document):
    """A site after its last run."""

    version: Literal[1] = 1
    site: Name
    title: str = ""
    platform: str = ""
    program: str
    """The version of vmkeeper."""
    interval: Count = 0
    """Seconds between two looks of `reconcile --watch`, by the site's file."""
    at: Time
    """When this was written."""
    run: Run
    """The last run that was not kept from beginning."""
    succeeded: Time | None = None
    """When a run last came to its end with no action failed."""
    failures: Count = 0
    """Runs since then that failed."""
    suspended: Suspended | None = None
    repository: CommitId | None = None
    """The root commit of the followed repository."""
    head: str = ""
    """The commit that was followed."""
    fresh: Time | None = None
    """When a builder last said what is there (R9)."""
    fresh_until: Time | None = None
    places: tuple[PlaceStatus, ...] = ()
    images: tuple[ImageStatus, ...] = ()
    lists: tuple[ListStatus, ...] = ()
    drifted: tuple[Drifted, ...] = ()
    """What others had done to images of ours, as the last run found it."""
    waiting: tuple[Remark, ...] = ()
    """What waits for somebody's decision."""
    refused: tuple[Trouble, ...] = ()
    """What trust or the retire limit refuses."""
    troubles: tuple[Trouble, ...] = ()
    """Places of the cloud that the last run could not list."""
    notes: tuple[Remark, ...] = ()
    next: Time | None = None
    """When the next thing changes by itself: something expires, a grace period or an approval's window ends."""
    counts: dict[str, Count] = Field(default_factory=dict)
    """Sums over all runs, for the metrics: `runs RESULT`, `actions KIND OUTCOME PLACE`, `calls KIND PLACE`, `fetched`, `uploaded`."""


class ReportedImage(Document):
    """A usable image, as producers are told."""

    appliance: Name
    version: Version
    uuid: Uuid
    places: tuple[str, ...] = ()
    endorsed: Time | None = None
    since: Time | None = None
    expires: Time


class SiteReport(Document):
    """What a site tells producers: `status/SITE.json` on its report branch, signed as a commit."""

    version: Literal[1] = 1
    site: Name
    repository: CommitId
    """The root commit of the followed repository: a report for another one says nothing here."""
    at: Time
    """The end of the run that it is about."""
    head: CommitId
    """The commit of the followed branch that the site has seen."""
    interval: Count = 0
    """Seconds between two looks."""
    program: str
    suspended: bool = False
    failing: bool = False
    """Whether the last run failed."""
    images: tuple[ReportedImage, ...] = ()
    """What is usable, by appliance and version."""


Run.model_rebuild()
