"""Releases that wait for a site's decision: offered, vouched for, and no entry of the site's file is about them. Pure.

A release waits only while nothing newer of the appliance may run: whoever approves a newer one has decided about the older.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from vmkeeper.model.appliance import Format
from vmkeeper.model.site import Site
from vmkeeper.plan.wanted import Current, Subscribed
from vmkeeper.trust.approval import Decision
from vmkeeper.values import Version, format_time


@dataclass(frozen=True, slots=True)
class Waiting:
    """A release that could run if the site approved it."""

    list: str
    """Name of the image list at the site."""
    appliance: str
    version: Version
    digest: str
    """SHA-512 of the file that would be taken, as it is signed."""
    endorsers: tuple[str, ...]
    """Who vouches for it: endorsers; of a foreign list the list itself."""
    since: datetime | None = None
    """When enough of them had; of a foreign list, when the list was made that offers it now."""
    places: tuple[str, ...] = ()
    """Places of the site's platform at which it waits; none: at all."""

    def as_json(self) -> dict[str, object]:
        """`{"list", "appliance", "version", "sha512", "endorsers", "since", "places"}`; times as documents write them, null for none."""
        return {
            "list": self.list,
            "appliance": self.appliance,
            "version": str(self.version),
            "sha512": self.digest,
            "endorsers": list(self.endorsers),
            "since": format_time(self.since) if self.since else None,
            "places": list(self.places),
        }


def waiting(site: Site, lists: Iterable[Subscribed], decisions: Iterable[Decision], now: datetime) -> tuple[Waiting, ...]:
    """What waits at a site, or at the place that it was narrowed to, by list, appliance and version.

    decisions: about the releases of all lists, each with the list that it was made for. A list that is frozen, has expired or
    cannot be read offers nothing new.
    """
    usable = [(found.name, found.state) for found in lists if found.frozen is None and not found.expired(now)]
    offers = {name: _offered(state, site.formats) for name, state in usable if isinstance(state, Current)}
    asking = {one.list for one in site.subscribe if one.new == "ask"} | {one.name for one in site.foreign}
    foreign = {one.name for one in site.foreign}
    decisions = tuple(decisions)
    running: dict[tuple[str, str], Version] = {}
    for one in decisions:
        if one.accepted:
            running[one.list, one.appliance] = max(one.version, running.get((one.list, one.appliance), one.version))
    found = []
    for one in decisions:
        if not one.undecided or one.list not in asking or one.list not in offers:
            continue
        newest = running.get((one.list, one.appliance))
        digest = one.digests[0] if one.list in foreign else offers[one.list].get((one.appliance, one.version))
        if digest not in one.digests or (newest is not None and newest > one.version):
            continue
        names = (one.list,) if one.list in foreign else tuple(sorted({str(word.statement.signer) for word in one.endorsements}))
        found.append(Waiting(one.list, one.appliance, one.version, digest, names, one.since))
    return _sorted(found)


def at_places(by_place: Iterable[tuple[str, Sequence[Waiting]]]) -> tuple[Waiting, ...]:
    """What waits at a site with several places: each release once, with the places that it waits at; none where it waits at all."""
    by_place = tuple(by_place)
    places: dict[Waiting, list[str]] = {}
    for place, some in by_place:
        for one in some:
            places.setdefault(one, []).append(place)
    return _sorted(one if len(here) == len(by_place) else replace(one, places=tuple(here)) for one, here in places.items())


def _offered(state: Current, formats: Sequence[Format]) -> dict[tuple[str, Version], str]:
    """SHA-512 of the file that a site would take, by appliance and version."""
    rank = {str(name): number for number, name in enumerate(formats)}
    found: dict[tuple[str, Version], str] = {}
    for offer in sorted(state.offers, key=lambda offer: rank.get(offer.spec.signed.format, len(rank)), reverse=True):
        found[offer.spec.appliance, offer.spec.version] = offer.spec.signed.sha512
    return found


def _sorted(found: Iterable[Waiting]) -> tuple[Waiting, ...]:
    return tuple(sorted(found, key=lambda one: (one.list, one.appliance, one.version)))
