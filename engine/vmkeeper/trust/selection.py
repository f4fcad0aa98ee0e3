"""Which releases an entry under `approve:` or `block:` of a site's file means: every field that is given must match. Pure.

What an entry does not mean is told field by field, so that a refusal can say what it would take.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Literal

from vmkeeper.model.decision import Block, Selection
from vmkeeper.model.site import Site
from vmkeeper.trust.people import matches
from vmkeeper.values import Version, format_time

Part = Literal["appliance", "version", "list", "community", "endorser", "digest", "places", "not_before", "until"]
"""What an entry may lack to mean a release; `endorser` stands for the tag as well."""

Lacking = tuple[Part, str]
"""A part that does not match, and in words what would: they follow `only`."""
LATER: frozenset[Part] = frozenset({"endorser", "places", "not_before", "until"})
"""What may come to match without another decision: then the entry has decided about the release, and it does not wait for one."""
_SHOWN = 16
"""Digits of a digest in a sentence."""


@dataclass(frozen=True, slots=True)
class Vouched:
    """One word for a release: an endorser's, under a tag; of a foreign list the list's own, under none."""

    endorser: str
    tag: str = ""


@dataclass(frozen=True, slots=True)
class About:
    """A release as one image list offers it, which a site decides about."""

    appliance: str
    version: Version
    list: str = ""
    """Name of the image list at the site; `""` where none is looked at: then nothing that names a list means it."""
    community: str = ""
    """That the list speaks for: an endorser list's `community`, a foreign list's `ad:vo`."""
    vouched: tuple[Vouched, ...] = ()
    """The endorsements that count."""
    digests: frozenset[str] = frozenset()
    """SHA-512 of its image files."""
    uuid: str = ""
    """Of an image on a foreign list, which may be named by it."""


def fits(selection: Selection, about: About, now: datetime) -> bool:
    """Whether an entry means a release at a time: all that it says must match.

    An approval that names places means nothing until it was narrowed to one of them (`Site.at`), a block means them all.
    """
    return names(selection, about) and next(lacks(selection, about, now), None) is None


def names(selection: Selection, about: About) -> bool:
    """Whether an entry means the appliance, whatever else it says."""
    pattern = selection.appliance
    return pattern in (about.appliance, about.uuid) or ("*" in pattern and matches(pattern, about.appliance))


def lacks(selection: Selection, about: About, now: datetime) -> Iterator[Lacking]:
    """What does not match, each with words that follow `only`: `if endorsed by alice`, `from 2026-12-01T00:00:00Z on`.

    Endorser and tag are looked at together: one endorsement must be both that endorser's and under such a tag.
    """
    if not names(selection, about):
        yield "appliance", f"as {selection.appliance}"
    if about.version not in selection.version:
        yield "version", f"in versions {selection.version}"
    if selection.list not in (None, about.list):
        yield "list", f"from the list {selection.list}"
    if selection.community is not None and not (about.community and _starred(selection.community).fullmatch(about.community)):
        yield "community", f"from lists of the community {selection.community}"
    if (selection.endorser is not None or selection.tag is not None) and not any(_vouches(selection, one) for one in about.vouched):
        yield "endorser", f"if endorsed{_by(selection)}"
    if selection.digest is not None and selection.digest not in about.digests:
        yield "digest", f"with a file of SHA-512 {selection.digest[:_SHOWN]}…"
    if selection.places and not isinstance(selection, Block):
        yield "places", f"at {', '.join(selection.places)}"
    if selection.not_before is not None and now < selection.not_before:
        yield "not_before", f"from {format_time(selection.not_before)} on"
    if selection.until is not None and selection.until <= now:
        yield "until", f"until {format_time(selection.until)}, which is over"


def described(selection: Selection) -> str:
    """An entry in a few words: `debian-* >=2 from the list lab, endorsed by alice`."""
    parts = [
        f"from the list {selection.list}" if selection.list else "",
        f"of the community {selection.community}" if selection.community else "",
        f"endorsed{_by(selection)}" if selection.endorser or selection.tag else "",
        f"with a file of SHA-512 {selection.digest[:_SHOWN]}…" if selection.digest else "",
        f"at {', '.join(selection.places)}" if selection.places else "",
        f"from {format_time(selection.not_before)} on" if selection.not_before else "",
        f"until {format_time(selection.until)}" if selection.until else "",
    ]
    more = ", ".join(part for part in parts if part)
    return f"{selection.appliance} {selection.version}{f' {more}' if more else ''}"


def only(missing: Iterable[Lacking]) -> str:
    """What an entry lacks, in words that follow `only`."""
    return " and ".join(words for _, words in missing)


def next_change(site: Site, now: datetime) -> datetime | None:
    """The first time after `now` at which an approval, a block or a hold of a site begins or ends to count; None if none ever does."""
    times = [moment for one in (*site.approve, *site.block) for moment in (one.not_before, one.until)]
    times += [one.until for one in site.hold]
    return min((moment for moment in times if moment is not None and moment > now), default=None)


def _vouches(selection: Selection, one: Vouched) -> bool:
    if selection.endorser not in (None, one.endorser):
        return False
    return selection.tag is None or bool(one.tag and _starred(selection.tag).fullmatch(one.tag))


def _by(selection: Selection) -> str:
    return (f" by {selection.endorser}" if selection.endorser else "") + (f" under {selection.tag}" if selection.tag else "")


@lru_cache(maxsize=1024)
def _starred(pattern: str) -> re.Pattern[str]:
    """A pattern in which `*` alone has a meaning; communities may hold any character."""
    return re.compile(".*".join(map(re.escape, re.split(r"\*+", pattern))), re.DOTALL)
