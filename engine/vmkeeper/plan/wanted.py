"""Which images a site wants: what verified lists offer, seen with what trust says of each. Pure; the time is an argument."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from vmkeeper.clouds.interface import CloudImage, ImageSpec, SourceFile
from vmkeeper.model.appliance import Format
from vmkeeper.model.release import ImageFile
from vmkeeper.model.site import Site
from vmkeeper.plan.formats import stored_as
from vmkeeper.plan.supply import Supply
from vmkeeper.trust.freshness import Frozen
from vmkeeper.values import Size, Version, format_time

Ground = Literal[
    "withdrawn",
    "blocked",
    "expired",
    "list-expired",
    "unendorsed",
    "unapproved",
    "other-bytes",
    "stale",
    "unsubscribed",
    "removed",
    "superseded",
    "duplicate",
]

VouchedFile = ImageFile | SourceFile
"""A file that may run: of an endorsed release, or one that the signer of its list answers for (whose virtual size is not known)."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """Endorsed, approved, neither blocked nor withdrawn. `files` are the endorsed ones, `expires` the earliest end of what vouches for them."""

    files: tuple[VouchedFile, ...]
    expires: datetime


@dataclass(frozen=True, slots=True)
class NotAllowed:
    """Must not run here, for a reason."""

    ground: Ground
    why: str
    quiet: bool = False
    """Whether it is told otherwise, of many together."""


Standing = Allowed | NotAllowed
Standings = Mapping[tuple[str, str, Version], Standing]
"""(list's UUID, appliance's UUID, version) → what trust says. One that is missing was endorsed by nobody."""

UNENDORSED = NotAllowed("unendorsed", "nobody endorsed it")


@dataclass(frozen=True, slots=True)
class Offer:
    """One entry of an image list: a file, and how it can be had. `spec.virtual_size` is 0: a list does not say it, an endorsement does."""

    spec: ImageSpec
    supply: Supply


Offered = tuple[str, str]
"""(list's UUID, appliance's UUID)"""


@dataclass(frozen=True, slots=True)
class Current:
    """A list that was fetched and verified. It may have expired all the same."""

    expires: datetime
    offers: tuple[Offer, ...]
    others: tuple[tuple[str, Version], ...] = ()
    """What is on it besides, and not for this site: UUIDs and versions."""


@dataclass(frozen=True, slots=True)
class Unusable:
    """A list that could not be fetched or verified; `expires` is what the last good one said, None where none was seen."""

    why: str
    expires: datetime | None = None
    decides: bool = False
    """Whether that settles what becomes of its images: nobody is there to vouch for them, rather than nothing is known."""


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A list the site subscribes to, as it was found."""

    name: str
    uuid: str
    state: Current | Unusable
    frozen: Frozen | None = None
    """Why nothing new is taken from it; what the site has stays."""

    def expired(self, now: datetime) -> bool:
        """Whether the last good list has run out."""
        return self.state.expires is not None and self.state.expires <= now

    def silent(self, now: datetime) -> bool:
        """Whether nothing can be concluded from the list: it is unusable and the last good one has not run out."""
        return isinstance(self.state, Unusable) and not self.state.decides and not self.expired(now)


@dataclass(frozen=True, slots=True)
class Note:
    """Something that leads to no action, and why."""

    subject: str
    why: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """An image that should be usable at the site; `supply` is None for one that is there and no longer on the list.

    store_as: the format that the file is converted to. What is said of the bytes is then said of the signed file.
    """

    spec: ImageSpec
    supply: Supply | None
    store_as: Format | None = None


@dataclass(frozen=True, slots=True)
class Desired:
    """What a site wants, by appliance UUID, newest first; what it does not take and why; which versions each list offers."""

    wanted: Mapping[str, tuple[Wanted, ...]]
    notes: tuple[Note, ...]
    offered: Mapping[Offered, tuple[Version, ...]]


def desired(site: Site, lists: Iterable[Subscribed], standings: Standings, ours: Iterable[CloudImage], now: datetime) -> Desired:
    """The newest `site.keep` versions of each appliance that may run here.

    A version that was replaced on its list by a newer one may still be kept; one that is newer than all that its
    list offers was taken back. Of several formats the first of `site.formats` counts.
    """
    ours = tuple(ours)
    seen = _Seen(site, standings, now, {image.spec.key for image in ours if image.spec is not None and image.state != "incomplete"})
    for found in lists:
        match found.state:
            case Unusable():
                seen.notes.append(_unusable(found, found.state, now))
            case Current(expires=expires) if found.expired(now):
                seen.notes.append(Note(f"list {found.name}", f"expired at {format_time(expires)}"))
            case Current():
                seen.take(found, found.state)
    candidates = seen.candidates
    for image in ours:
        if (kept := _still_good(image, standings, seen.offered, now)) is not None:
            candidates[kept.spec.uuid].setdefault(kept.spec.version, kept)
    wanted = {uuid: tuple(versions[v] for v in sorted(versions, reverse=True)[: site.keep]) for uuid, versions in candidates.items() if versions}
    return Desired(wanted, tuple(dict.fromkeys(seen.notes)), seen.offered)


@dataclass(slots=True)
class _Seen:
    """What the lists offer, as far as they were looked at. there: keys of what the site has."""

    site: Site
    standings: Standings
    now: datetime
    there: set[str]
    candidates: dict[str, dict[Version, Wanted]] = field(default_factory=lambda: defaultdict(dict))
    offered: dict[Offered, tuple[Version, ...]] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)

    def take(self, found: Subscribed, state: Current) -> None:
        """A list in date: for each version of an appliance the first offer that may be taken."""
        for uuid, version in state.others:
            self._offer(found, uuid, version)
        for offer in _by_preference(self.site, state.offers):
            spec = offer.spec
            self._offer(found, spec.uuid, spec.version)
            if spec.version not in self.candidates[spec.uuid]:
                taken = _judge(offer, self.site, self.standings, self.now)
                if isinstance(taken, Wanted) and spec.key not in self.there:
                    taken = _new(taken, found.frozen)
                if isinstance(taken, Note):
                    self.notes.append(taken)
                elif taken is not None:
                    self.candidates[spec.uuid][spec.version] = taken

    def _offer(self, found: Subscribed, uuid: str, version: Version) -> None:
        self.offered[found.uuid, uuid] = (*self.offered.get((found.uuid, uuid), ()), version)


def _unusable(found: Subscribed, state: Unusable, now: datetime) -> Note:
    then = (
        "its images stay as they are" if found.silent(now) else "none of its images may be used" if state.decides else "the last good one has expired"
    )
    return Note(f"list {found.name}", f"{state.why}; {then}")


def _new(wanted: Wanted, frozen: Frozen | None) -> Wanted | Note:
    """Something that the site has not, unless nothing new is taken from its list."""
    if frozen is None:
        return wanted
    since = f" since {format_time(frozen.since)}" if frozen.since else ""
    return Note(label(wanted.spec), f"nothing new is registered{since}: " + "; ".join(str(refusal) for refusal in frozen.refusals))


def image_standing(spec: ImageSpec, standings: Standings, now: datetime) -> Standing:
    """What is to be said of an image by itself, whatever its list says."""
    standing = standings.get((spec.list, spec.uuid, spec.version), UNENDORSED)
    if isinstance(standing, NotAllowed):
        return standing
    if not any(_is(file, spec) for file in standing.files):
        return NotAllowed("other-bytes", "its size and SHA-512 are not the endorsed ones [R14]")
    expires = min(spec.expires, standing.expires)
    return standing if now < expires else NotAllowed("expired", f"it expired at {format_time(expires)}")


def label(spec: ImageSpec) -> str:
    """How an image is called in plans: `APPLIANCE VERSION`."""
    return f"{spec.appliance} {spec.version}"


def _by_preference(site: Site, offers: tuple[Offer, ...]) -> list[Offer]:
    known = {str(name): rank for rank, name in enumerate(site.formats)}
    return sorted(offers, key=lambda offer: (offer.spec.appliance, offer.spec.version, known.get(offer.spec.signed.format, len(known))))


def _judge(offer: Offer, site: Site, standings: Standings, now: datetime) -> Wanted | Note | None:
    spec, signed = offer.spec, offer.spec.signed
    standing = standings.get((spec.list, spec.uuid, spec.version), UNENDORSED)
    if isinstance(standing, NotAllowed):
        return None if standing.quiet else Note(label(spec), standing.why)
    stored = stored_as(signed.format, site.formats)
    if stored is None:
        return Note(label(spec), f"its format {signed.format} is not one the site takes: {', '.join(site.formats)}")
    file = next((file for file in standing.files if _is(file, spec)), None)
    if file is None:
        return Note(label(spec), "the list names another size or SHA-512 than was endorsed [R14]")
    expires = min(spec.expires, standing.expires)
    if expires <= now:
        return Note(label(spec), f"it expired at {format_time(expires)}")
    virtual = Size(file.virtual_size) if isinstance(file, ImageFile) else spec.virtual_size
    said = {"virtual_size": virtual, "expires": expires}
    if stored == signed.format:
        return Wanted(spec.model_copy(update=said), offer.supply)
    return Wanted(spec.model_copy(update={**said, "format": stored, "source": signed}), offer.supply, stored)


def _still_good(image: CloudImage, standings: Standings, offered: Mapping[Offered, tuple[Version, ...]], now: datetime) -> Wanted | None:
    spec = image.spec
    if spec is None or image.state == "incomplete":
        return None
    newest = max(offered.get((spec.list, spec.uuid), ()), default=None)
    if newest is None or newest < spec.version or isinstance(image_standing(spec, standings, now), NotAllowed):
        return None
    return Wanted(spec, None)


def _is(file: VouchedFile, spec: ImageSpec) -> bool:
    signed = spec.signed
    return (file.format, file.size, file.sha512) == (signed.format, signed.size, signed.sha512)


def runnable(images: Iterable[CloudImage], lists: Iterable[Subscribed], standings: Standings, *, owner: str, now: datetime) -> tuple[CloudImage, ...]:
    """The images from which a machine may be started now: there, usable, from a subscribed list in date, and allowed."""
    in_date = {found.uuid for found in lists if not found.expired(now)}
    return tuple(
        image
        for image in images
        if image.owner == owner
        and image.state == "active"
        and image.spec is not None
        and image.spec.list in in_date
        and isinstance(image_standing(image.spec, standings, now), Allowed)
    )
