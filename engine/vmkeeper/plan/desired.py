"""Which images a site wants of all that verified lists offer: the newest that may run, what a hold leaves as it is, what somebody deleted. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from vmkeeper.clouds.interface import CloudImage, ImageSpec
from vmkeeper.model.decision import Hold
from vmkeeper.model.site import Site
from vmkeeper.plan.wanted import (
    Allowed,
    Current,
    NotAllowed,
    Note,
    Offer,
    Offered,
    Standings,
    Subscribed,
    Unusable,
    Wanted,
    image_standing,
    judged,
    label,
)
from vmkeeper.trust.freshness import Frozen
from vmkeeper.trust.people import matches
from vmkeeper.values import Version, format_time


@dataclass(frozen=True, slots=True)
class Desired:
    """What a site wants, by appliance UUID, newest first; what it does not take and why; which versions each list offers."""

    wanted: Mapping[str, tuple[Wanted, ...]]
    notes: tuple[Note, ...]
    offered: Mapping[Offered, tuple[Version, ...]]
    missing: frozenset[str] = frozenset()
    """Keys of what is wanted, was there after the last run, and is not there: somebody deleted it."""


def desired(
    site: Site, lists: Iterable[Subscribed], standings: Standings, ours: Iterable[CloudImage], now: datetime, had: Collection[str] = ()
) -> Desired:
    """The newest `site.keep` versions of each appliance that may run here.

    A version that was replaced on its list by a newer one may still be kept; one that is newer than all that its
    list offers was taken back. Of several formats the first of `site.formats` counts. had: keys of what was there after the
    last run. Nothing comes of an appliance that is held but what somebody deleted, and nothing of it is too many.
    """
    ours, lists = tuple(ours), tuple(lists)
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
    mute = {found.uuid for found in lists if found.expired(now) or found.silent(now)}
    choosing = _Choosing(site, standings, now, had, ours, mute)
    chosen = {uuid: choosing.choose(uuid, candidates.get(uuid, {})) for uuid in (*candidates, *sorted(choosing.active.keys() - candidates.keys()))}
    wanted = {uuid: found for uuid, found in chosen.items() if found}
    return Desired(wanted, tuple(dict.fromkeys((*seen.notes, *choosing.notes))), seen.offered, frozenset(choosing.missing))


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
                taken = judged(offer, self.site, self.standings, self.now)
                if isinstance(taken, Wanted) and spec.key not in self.there:
                    taken = _new(taken, found.frozen)
                if isinstance(taken, Note):
                    self.notes.append(taken)
                elif taken is not None:
                    self.candidates[spec.uuid][spec.version] = taken

    def _offer(self, found: Subscribed, uuid: str, version: Version) -> None:
        self.offered[found.uuid, uuid] = (*self.offered.get((found.uuid, uuid), ()), version)


def hold_on(site: Site, appliance: str, now: datetime) -> Hold | None:
    """The hold on an appliance that is in force."""
    return next((one for one in site.hold if matches(one.appliance, appliance) and (one.until is None or now < one.until)), None)


class _Choosing:
    """Which versions of an appliance are wanted, of all that may run."""

    def __init__(self, site: Site, standings: Standings, now: datetime, had: Collection[str], ours: tuple[CloudImage, ...], mute: set[str]) -> None:
        """mute: UUIDs of lists that have expired or that nothing can be concluded from."""
        self.site, self.standings, self.now, self.mute = site, standings, now, mute
        self.notes: list[Note] = []
        self.missing: list[str] = []
        self.there = {image.spec.key for image in ours if image.spec is not None and image.state != "incomplete"}
        self.had = frozenset(had) - {image.spec.key for image in ours if image.spec is not None}
        self.active = defaultdict[str, list[ImageSpec]](list)
        for image in ours:
            if image.spec is not None and image.state == "active":
                self.active[image.spec.uuid].append(image.spec)

    def choose(self, uuid: str, versions: Mapping[Version, Wanted]) -> tuple[Wanted, ...]:
        """The newest versions that the site keeps; where the appliance is held, those that are there."""
        newest = [versions[version] for version in sorted(versions, reverse=True)]
        active = self.active.get(uuid, [])
        chosen = newest[: self.site.keep]
        name = newest[0].spec.appliance if newest else active[0].appliance if active else ""
        if (hold := hold_on(self.site, name, self.now)) is not None:
            chosen = self._held(hold, chosen, active)
        gone = [one for one in chosen if one.spec.key in self.had]
        self.missing += [one.spec.key for one in gone]
        if gone and self.site.drift == "leave":
            self.notes += [Note(label(one.spec), "somebody deleted it at the cloud; it is left so (drift: leave)") for one in gone]
            here = {spec.key for spec in active}
            older = [one for one in newest if one not in chosen and one.spec.key in here]
            chosen = [one for one in chosen if one not in gone]
            chosen += older[: self.site.keep - len(chosen)]
        return tuple(sorted(chosen, key=lambda one: one.spec.version, reverse=True))

    def _held(self, hold: Hold, chosen: list[Wanted], active: list[ImageSpec]) -> list[Wanted]:
        """What is there and may run, and what somebody deleted; of what is hidden nothing that is newer."""
        newest = max((spec.version for spec in active), default=None)
        here = {spec.key for spec in active}
        stay: list[Wanted] = []
        for one in chosen:
            back = one.spec.key in self.there and (newest is None or one.spec.version < newest)
            if one.spec.key in here or one.spec.key in self.had or back:
                stay.append(one)
            else:
                until = f" until {format_time(hold.until)}" if hold.until else ""
                self.notes.append(Note(label(one.spec), f"held back{until}: {hold.reason}"))
        kept = {one.spec.key for one in stay}
        for spec in active:
            if spec.key not in kept and spec.list not in self.mute and isinstance(image_standing(spec, self.standings, self.now), Allowed):
                kept.add(spec.key)
                stay.append(Wanted(spec, None))
                self.notes.append(Note(label(spec), f"it would go for being old or no longer offered, and stays, for it is held: {hold.reason}"))
        return stay


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


def _by_preference(site: Site, offers: tuple[Offer, ...]) -> list[Offer]:
    known = {str(name): rank for rank, name in enumerate(site.formats)}
    return sorted(offers, key=lambda offer: (offer.spec.appliance, offer.spec.version, known.get(offer.spec.signed.format, len(known))))


def _still_good(image: CloudImage, standings: Standings, offered: Mapping[Offered, tuple[Version, ...]], now: datetime) -> Wanted | None:
    spec = image.spec
    if spec is None or image.state == "incomplete":
        return None
    newest = max(offered.get((spec.list, spec.uuid), ()), default=None)
    if newest is None or newest < spec.version or isinstance(image_standing(spec, standings, now), NotAllowed):
        return None
    return Wanted(spec, None)
