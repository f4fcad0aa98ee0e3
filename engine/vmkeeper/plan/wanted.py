"""Which images a site wants: what verified lists offer, seen with what trust says of each. Pure; the time is an argument."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from vmkeeper.clouds.interface import CloudImage, ImageSpec
from vmkeeper.model.release import ImageFile
from vmkeeper.model.site import Site
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


@dataclass(frozen=True, slots=True)
class Allowed:
    """Endorsed, approved, neither blocked nor withdrawn. `files` are the endorsed ones, `expires` the earliest end of what vouches for them."""

    files: tuple[ImageFile, ...]
    expires: datetime


@dataclass(frozen=True, slots=True)
class NotAllowed:
    """Must not run here, for a reason."""

    ground: Ground
    why: str


Standing = Allowed | NotAllowed
Standings = Mapping[tuple[str, str, Version], Standing]
"""(list's UUID, appliance's UUID, version) → what trust says. One that is missing was endorsed by nobody."""

UNENDORSED = NotAllowed("unendorsed", "nobody endorsed it")


@dataclass(frozen=True, slots=True)
class Offer:
    """One entry of an image list: a file, and where it is. `spec.virtual_size` is not known from a list and filled in from the endorsement."""

    spec: ImageSpec
    uri: str


@dataclass(frozen=True, slots=True)
class Current:
    """A list that was fetched and verified. It may have expired all the same."""

    expires: datetime
    offers: tuple[Offer, ...]


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
    """An image that should be usable at the site; `uri` is None for one that is there and no longer on the list."""

    spec: ImageSpec
    uri: str | None


@dataclass(frozen=True, slots=True)
class Desired:
    """What a site wants, by appliance UUID, newest first; what it does not take and why; which versions each list offers."""

    wanted: Mapping[str, tuple[Wanted, ...]]
    notes: tuple[Note, ...]
    offered: Mapping[tuple[str, str], tuple[Version, ...]]
    """(list's UUID, appliance's UUID) → versions."""


def desired(site: Site, lists: Iterable[Subscribed], standings: Standings, ours: Iterable[CloudImage], now: datetime) -> Desired:
    """The newest `site.keep` versions of each appliance that may run here.

    A version that was replaced on its list by a newer one may still be kept; one that is newer than all that its
    list offers was taken back. Of several formats the first of `site.formats` counts.
    """
    ours = tuple(ours)
    there = {(image.spec.uuid, image.spec.version, image.spec.sha512) for image in ours if image.spec is not None and image.state != "incomplete"}
    candidates: dict[str, dict[Version, Wanted]] = defaultdict(dict)
    offered: dict[tuple[str, str], tuple[Version, ...]] = {}
    notes: list[Note] = []
    for found in lists:
        match found.state:
            case Unusable(why, decides=decides):
                then = (
                    "its images stay as they are"
                    if found.silent(now)
                    else "none of its images may be used"
                    if decides
                    else "the last good one has expired"
                )
                notes.append(Note(f"list {found.name}", f"{why}; {then}"))
            case Current(expires=expires) if found.expired(now):
                notes.append(Note(f"list {found.name}", f"expired at {format_time(expires)}"))
            case Current(offers=offers):
                for offer in _by_preference(site, offers):
                    spec = offer.spec
                    offered[found.uuid, spec.uuid] = (*offered.get((found.uuid, spec.uuid), ()), spec.version)
                    if spec.version not in candidates[spec.uuid]:
                        taken = _judge(offer, site, standings, now)
                        if found.frozen is not None and isinstance(taken, Wanted) and (spec.uuid, spec.version, spec.sha512) not in there:
                            taken = Note(label(spec), f"nothing new is registered{_since(found.frozen)}")
                        if isinstance(taken, Note):
                            notes.append(taken)
                        else:
                            candidates[spec.uuid][spec.version] = taken
    for image in ours:
        if (kept := _still_good(image, standings, offered, now)) is not None:
            candidates[kept.spec.uuid].setdefault(kept.spec.version, kept)
    wanted = {uuid: tuple(versions[v] for v in sorted(versions, reverse=True)[: site.keep]) for uuid, versions in candidates.items() if versions}
    return Desired(wanted, tuple(dict.fromkeys(notes)), offered)


def _since(frozen: Frozen) -> str:
    since = f" since {format_time(frozen.since)}" if frozen.since else ""
    return f"{since}: " + "; ".join(str(refusal) for refusal in frozen.refusals)


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
    known = {name: rank for rank, name in enumerate(site.formats)}
    return sorted(offers, key=lambda offer: (offer.spec.appliance, offer.spec.version, known.get(offer.spec.format, len(known))))


def _judge(offer: Offer, site: Site, standings: Standings, now: datetime) -> Wanted | Note:
    spec = offer.spec
    standing = standings.get((spec.list, spec.uuid, spec.version), UNENDORSED)
    if isinstance(standing, NotAllowed):
        return Note(label(spec), standing.why)
    if spec.format not in site.formats:
        return Note(label(spec), f"its format {spec.format} is not one the site takes: {', '.join(site.formats)}")
    file = next((file for file in standing.files if _is(file, spec)), None)
    if file is None:
        return Note(label(spec), "the list names another size or SHA-512 than was endorsed [R14]")
    expires = min(spec.expires, standing.expires)
    if expires <= now:
        return Note(label(spec), f"it expired at {format_time(expires)}")
    return Wanted(spec.model_copy(update={"virtual_size": Size(file.virtual_size), "expires": expires}), offer.uri)


def _still_good(image: CloudImage, standings: Standings, offered: Mapping[tuple[str, str], tuple[Version, ...]], now: datetime) -> Wanted | None:
    spec = image.spec
    if spec is None or image.state == "incomplete":
        return None
    newest = max(offered.get((spec.list, spec.uuid), ()), default=None)
    if newest is None or newest < spec.version or isinstance(image_standing(spec, standings, now), NotAllowed):
        return None
    return Wanted(spec, None)


def _is(file: ImageFile, spec: ImageSpec) -> bool:
    return (file.format, file.size, file.sha512) == (spec.format, spec.size, spec.sha512)


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
