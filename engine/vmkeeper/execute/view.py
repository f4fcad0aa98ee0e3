"""What a look at a site saw: its places with their images, and what lists and trust come to at each. A place that cannot be listed stops no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from vmkeeper.clouds.interface import Cloud, CloudImage
from vmkeeper.errors import Transient, UserError, VmkeeperError
from vmkeeper.execute.atonce import at_once
from vmkeeper.execute.foreign import Signed
from vmkeeper.model.site import Site
from vmkeeper.plan.wanted import Note, Standings, Subscribed
from vmkeeper.progress import Progress
from vmkeeper.trust.approval import Decision
from vmkeeper.trust.judge import Judgement
from vmkeeper.trust.memory import Memory
from vmkeeper.trust.pins import Pins

Connect = Callable[[Site], Mapping[str, Cloud]]
"""Gives the places of a site's cloud by name, "" where there is only one."""
_WORKERS = 8
_LONGEST = 900
"""Seconds after which a place counts as one that cannot be listed."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place of the site's cloud that could be listed. name: "" where the site has only one."""

    name: str
    cloud: Cloud
    images: tuple[CloudImage, ...]

    @property
    def ours(self) -> tuple[CloudImage, ...]:
        """The images with this site's mark that can be read."""
        return tuple(image for image in self.images if image.owner == self.cloud.owner and image.spec is not None)


@dataclass(frozen=True, slots=True)
class Decided:
    """What lists and trust come to at a place. site: narrowed to it (`Site.at`)."""

    site: Site
    lists: tuple[Subscribed, ...]
    standings: Standings
    decisions: tuple[Decision, ...]
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class View:
    """All that a site's plan is made from, and the memory to keep once it is accepted."""

    name: str
    head: str
    pins: Pins
    site: Site
    site_file: bytes
    decided: Mapping[str, Decided]
    """By place, those too that could not be listed, in the order of the site's file; places where the same is decided share it."""
    judgement: Judgement
    notes: tuple[Note, ...]
    memory: Memory
    places: Mapping[str, Place]
    unreachable: Mapping[str, VmkeeperError] = field(default_factory=dict)
    """Places that could not be listed, and why: nothing is done there."""
    signed: tuple[Signed, ...] = ()
    """The lists of other organisations that were verified."""

    @property
    def lists(self) -> tuple[Subscribed, ...]:
        """The lists as they were found; what they offer to the first place."""
        return next(iter(self.decided.values())).lists

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What was decided at the first place."""
        return next(iter(self.decided.values())).decisions

    @property
    def first(self) -> Place:
        """The first place that could be listed."""
        return next(iter(self.places.values()))

    def standings_at(self, place: str) -> Standings:
        """What trust and the site say of each release at a place."""
        return self.decided[place].standings

    def ours(self) -> Iterator[tuple[Place, CloudImage]]:
        """All images with this site's marks that can be read."""
        return ((place, image) for place in self.places.values() for image in place.ours)


def list_places(clouds: Mapping[str, Cloud], progress: Progress) -> tuple[dict[str, Place], dict[str, VmkeeperError]]:
    """List all places, several at once: those that could be listed, and why others could not. Raises where none could."""
    if len(clouds) == 1:
        ((name, cloud),) = clouds.items()
        return {name: Place(name, cloud, cloud.images())}, {}
    places: dict[str, Place] = {}
    unreachable: dict[str, VmkeeperError] = {}
    progress.step("cloud", f"listing {len(clouds)} places")
    for name, found in at_once(tuple(clouds), lambda name: clouds[name].images(), workers=_WORKERS, longest=_LONGEST):
        if isinstance(found, VmkeeperError):
            unreachable[name] = found
        elif isinstance(found, Exception):
            raise found
        else:
            places[name] = Place(name, clouds[name], found)
    if not places:
        raise _none(unreachable)
    return places, unreachable


def _none(unreachable: Mapping[str, VmkeeperError]) -> VmkeeperError:
    why = "; ".join(f"{name}: {error}" for name, error in unreachable.items())
    kind = Transient if any(isinstance(error, Transient) for error in unreachable.values()) else UserError
    return kind("no place of the cloud can be listed", why=why)
