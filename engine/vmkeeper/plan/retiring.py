"""Which of a site's images go: out of use, and later altogether. Pure; the time is an argument."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from vmkeeper.clouds.interface import CloudImage, ImageSpec
from vmkeeper.model.site import Site
from vmkeeper.plan.desired import Desired, hold_on
from vmkeeper.plan.imageactions import DeleteImage
from vmkeeper.plan.wanted import Ground, NotAllowed, Note, Standings, Subscribed, image_standing, label
from vmkeeper.values import format_time

AT_ONCE: frozenset[Ground] = frozenset({"withdrawn", "blocked", "expired", "list-expired", "unendorsed", "unapproved", "other-bytes", "stale"})
"""What must not run a moment longer, whatever comes in its place."""
WITHOUT_LIMIT: frozenset[Ground] = frozenset({"withdrawn", "blocked", "expired", "list-expired", "other-bytes", "superseded", "duplicate"})
"""What trust or time demands, and what leaves another usable image of the appliance."""
_HELD: frozenset[Ground] = frozenset({"superseded", "removed", "unsubscribed"})
"""What a hold keeps: images that go for being old or no longer offered."""


@dataclass(frozen=True, slots=True)
class Retire:
    """A usable image that goes, and why."""

    image: CloudImage
    spec: ImageSpec
    ground: Ground
    why: str


@dataclass(frozen=True, slots=True)
class Reasons:
    """What decides about images that are there. lists: by UUID."""

    site: Site
    want: Desired
    lists: Mapping[str, Subscribed]
    standings: Standings
    now: datetime

    def retirement(self, image: CloudImage, spec: ImageSpec) -> Retire | Note:
        """Why a usable image that nobody wants goes; a note where its list cannot be read, or a hold keeps it, and nothing else speaks against it."""
        found = self._ground(spec)
        if found is None:
            return Note(label(spec), "its list cannot be read: left as it is")
        ground, why = found
        hold = hold_on(self.site, spec.appliance, self.now) if ground in _HELD else None
        if hold is not None:
            return Note(label(spec), f"it stays although {why}, for it is held: {hold.reason}")
        return Retire(image, spec, ground, why)

    def _ground(self, spec: ImageSpec) -> tuple[Ground, str] | None:
        wanted = self.want.wanted.get(spec.uuid, ())
        if any(one.spec.key == spec.key for one in wanted):
            return "duplicate", "the same image is there twice"
        source = self.lists.get(spec.list)
        standing = image_standing(spec, self.standings, self.now)
        if isinstance(standing, NotAllowed) and (source or standing.ground in WITHOUT_LIMIT):
            return standing.ground, standing.why
        if spec.expires <= self.now:
            return "expired", f"it expired at {format_time(spec.expires)}"
        if source is None:
            return "unsubscribed", f"the site does not subscribe to its list {spec.list} any more"
        if source.silent(self.now):
            return None
        if source.expired(self.now):
            return "list-expired", f"the list {source.name} expired at {format_time(source.state.expires or self.now)}"
        offered = self.want.offered.get((spec.list, spec.uuid), ())
        if not offered:
            return "removed", f"the list {source.name} does not offer the appliance any more"
        if max(offered) < spec.version:
            return "removed", f"the list {source.name} went back to {max(offered)}"
        newest = ", ".join(str(one.spec.version) for one in wanted)
        return "superseded", f"replaced by {newest}" if newest else "replaced by a version that somebody deleted"

    def deletions(
        self, spare: Collection[CloudImage], taken_over: Collection[str], coming: Mapping[str, tuple[str, ...]], subject: Callable[[CloudImage], str]
    ) -> tuple[list[DeleteImage], list[Note]]:
        """What is hidden longer than its grace period or was left half uploaded. taken_over: keys that are uploaded now."""
        actions: list[DeleteImage] = []
        notes: list[Note] = []
        for image in spare:
            reason = self._deletion(image, taken_over)
            if isinstance(reason, Note):
                notes.append(reason)
            elif reason is not None and image.spec is not None:
                needs = coming.get(image.spec.uuid, ())
                actions.append(DeleteImage(subject=subject(image), reason=reason, image=image.id, spec=image.spec, needs=needs))
        return actions, notes

    def _deletion(self, image: CloudImage, taken_over: Collection[str]) -> str | Note | None:
        spec = image.spec
        if spec is None or image.state == "active" or ((source := self.lists.get(spec.list)) is not None and source.silent(self.now)):
            return None
        if image.state == "incomplete" and spec.key in taken_over:
            return None
        since = image.hidden_since or self.now
        if image.state == "hidden" and self.now < since + timedelta(seconds=self.site.retire.grace):
            return None
        if image.in_use:
            return Note(label(spec), "it is past its grace period and stays, because a machine uses it")
        if image.state == "incomplete":
            return "an upload that was cut off left it behind"
        hold = hold_on(self.site, spec.appliance, self.now)
        if hold is not None and not isinstance(image_standing(spec, self.standings, self.now), NotAllowed):
            return Note(label(spec), f"it is past its grace period and stays, for it is held: {hold.reason}")
        return f"hidden since {format_time(since)}, longer than {self.site.retire.grace}"
