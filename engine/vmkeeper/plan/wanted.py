"""Which images a site wants: what verified lists offer, seen with what trust says of each. Pure; the time is an argument."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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


def judged(offer: Offer, site: Site, standings: Standings, now: datetime) -> Wanted | Note | None:
    """An offer as an image that may run here, or why it may not; None where that is told otherwise."""
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
