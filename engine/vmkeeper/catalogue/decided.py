"""What is wrong with the decisions of a site's file (`approve:`, `block:`, `hold:`) beside the other documents, and what can go.

A decision that can mean nothing is a problem: a block with a misspelt name would block nothing, unseen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from fnmatch import fnmatchcase

from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.documents.kinds import KINDS
from vmkeeper.errors import Place, Problem
from vmkeeper.model.decision import Approval, Block, Hold, Selection
from vmkeeper.model.endorser import EndorserList
from vmkeeper.model.imagelist import ImageList
from vmkeeper.model.site import Site
from vmkeeper.values import UUID_PATTERN, format_time

_NAMED = 20
_TAGS = "endorse/"


@dataclass(slots=True)
class _Known:
    """What decisions of a site may name: its lists, and who answers for them, as far as the documents can be read."""

    own: set[str]
    foreign: set[str]
    appliances: tuple[str, ...]
    endorsers: set[str] = field(default_factory=set)
    communities: set[str] = field(default_factory=set)
    whole: bool = True
    """Whether the endorser lists of all own lists could be read."""

    @classmethod
    def of(cls, catalogue: Catalogue, site: Site) -> _Known:
        """Of a site, at a commit."""
        known = cls({one.list for one in site.subscribe}, {one.name for one in site.foreign}, tuple(catalogue.names("appliances")))
        for name in known.own:
            listed = _read(catalogue, "imagelist", name)
            endorsers = _read(catalogue, "endorsers", listed.endorsed_by) if isinstance(listed, ImageList) else None
            if isinstance(endorsers, EndorserList):
                known.endorsers |= {one.name for one in endorsers.endorsers}
                known.communities.add(endorsers.community)
            else:
                known.whole = False
        return known


def problems(catalogue: Catalogue, path: str, site: Site) -> Iterator[Problem]:
    """What can mean nothing, entry by entry. Places are fields, without lines."""
    known = _Known.of(catalogue, site)
    for name, entries in _entries(site):
        for index, one in enumerate(entries):
            for part, what, hint in _wrong(one, known):
                yield Problem(Place(path, field=f"{name}[{index}].{part}"), what, hint)


def remarks(catalogue: Catalogue, now: datetime) -> tuple[str, ...]:
    """Sentences about entries of sites' files that are sound and of no use: over, written twice, or blocked altogether."""
    found: list[str] = []
    for name in catalogue.names("sites"):
        site = _read(catalogue, "site", name)
        if isinstance(site, Site):
            found += [f"sites/{name}.yaml: {sentence}" for sentence in useless(site, now)]
    return tuple(found)


def _entries(site: Site) -> tuple[tuple[str, tuple[Approval | Block | Hold, ...]], ...]:
    return (("approve", site.approve), ("block", site.block), ("hold", site.hold))


def _read(catalogue: Catalogue, kind: str, name: str) -> object:
    return catalogue.attempt(KINDS[kind], KINDS[kind].path_of(name))[0] if catalogue.snapshot.blob_id(KINDS[kind].path_of(name)) else None


Wrong = tuple[str, str, str]
"""A field of an entry, what is wrong with it, and the way out."""


def _wrong(one: Selection | Hold, known: _Known) -> Iterator[Wrong]:
    if isinstance(one, Hold):
        yield from _appliance(one.appliance, _begins_foreign(one.appliance, known), known)
        return
    if one.list is not None and one.list not in known.own | known.foreign:
        yield "list", f"the site takes no list {one.list}", _near(one.list, known.own | known.foreign)
        return
    if one.list in known.foreign:
        yield from _of_foreign_list(one, one.list or "")
        return
    yield from _appliance(one.appliance, one.list is None and _means_foreign(one, known), known)
    if one.endorser is not None and one.endorser not in known.endorsers | known.foreign and known.own and known.whole:
        yield "endorser", f"{one.endorser} endorses for no list that the site takes", _near(one.endorser, known.endorsers | known.foreign)
    yield from _tag(one)
    yield from _community(one, known)


def _appliance(pattern: str, foreign: bool, known: _Known) -> Iterator[Wrong]:
    if pattern != "*" and not foreign and not any(fnmatchcase(appliance, pattern) for appliance in known.appliances):
        near = get_close_matches(pattern, known.appliances, n=1)
        yield "appliance", f"{pattern} matches no appliance", f"did you mean {near[0]}?" if near else "correct the name, or remove the entry"


def _of_foreign_list(one: Selection, name: str) -> Iterator[Wrong]:
    """An entry about one list of another organisation."""
    start, prefix = one.appliance.partition("*")[0], f"{name}-"
    may = start.startswith(prefix) or (prefix.startswith(start) and "*" in one.appliance) or re.fullmatch(UUID_PATTERN, one.appliance)
    if not may:
        hint = f"write {prefix}{one.appliance}; leave it out to mean all of them"
        yield "appliance", f"images of the list {name} have names that begin with {prefix}", hint
    if one.endorser not in (None, name):
        yield "endorser", f"the list {name} answers for its images itself", "leave endorser out"
    if one.tag is not None:
        yield "tag", f"nobody endorses images of the list {name} with tags", "leave tag out"


def _tag(one: Selection) -> Iterator[Wrong]:
    start = (one.tag or "*").partition("*")[0]
    if not start.startswith(_TAGS) and not (_TAGS.startswith(start) and one.tag != start):
        yield "tag", f"no endorsement has a tag like {one.tag}", "they are called endorse/APPLIANCE/VERSION/ENDORSER/SERIAL"


def _community(one: Selection, known: _Known) -> Iterator[Wrong]:
    if one.community is None or not known.whole or (isinstance(one, Block) and known.foreign) or _means_foreign(one, known):
        return
    pattern = ".*".join(map(re.escape, one.community.split("*")))
    if not any(re.fullmatch(pattern, community) for community in known.communities):
        hint = "to mean images of another organisation's list, name it: list: NAME" if known.foreign else _near(one.community, known.communities)
        yield "community", f"no list that the site takes speaks for {one.community}", hint


def _means_foreign(one: Selection, known: _Known) -> bool:
    """Whether an entry is about images of another organisation's list: by their name at the site, the list, a UUID or a digest."""
    if not known.foreign:
        return False
    return (
        one.list in known.foreign
        or one.endorser in known.foreign
        or one.digest is not None
        or bool(re.fullmatch(UUID_PATTERN, one.appliance))
        or _begins_foreign(one.appliance, known)
    )


def _begins_foreign(pattern: str, known: _Known) -> bool:
    start = pattern.partition("*")[0]
    return any(start.startswith(f"{name}-") for name in known.foreign)


def _near(name: str, names: Iterable[str]) -> str:
    listed = sorted(names)
    near = get_close_matches(name, listed, n=1)
    return f"did you mean {near[0]}?" if near else f"there are: {', '.join(listed[:_NAMED])}" if listed else "it takes none yet"


def useless(site: Site, now: datetime) -> Iterator[str]:
    """What of a site's decisions is of no use, a sentence each."""
    for name, some in _entries(site):
        for index, one in enumerate(some):
            if one.until is not None and one.until <= now:
                yield f"{name}[{index}] ended at {format_time(one.until)}; it can go"
            if one in some[:index]:
                yield f"{name}[{index}] says the same as {name}[{some.index(one)}]; it can go"
    for index, approval in enumerate(site.approve):
        over = next((at for at, block in enumerate(site.block) if _covers(block, approval)), None)
        if over is not None:
            yield f"approve[{index}] never counts, for block[{over}] takes all of it"


def _covers(block: Block, approval: Approval) -> bool:
    """Whether everything that an approval can mean is blocked, at every time at which it counts."""
    for name in ("list", "community", "endorser", "tag", "digest"):
        if getattr(block, name) not in (None, getattr(approval, name)):
            return False
    if str(block.version) not in ("*", str(approval.version)) or not fnmatchcase(approval.appliance, block.appliance):
        return False
    if block.places and not (approval.places and set(approval.places) <= set(block.places)):
        return False
    begins = block.not_before is None or (approval.not_before is not None and block.not_before <= approval.not_before)
    ends = block.until is None or (approval.until is not None and approval.until <= block.until)
    return begins and ends
