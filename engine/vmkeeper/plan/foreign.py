"""An image list of another organisation as a site's own lists are: offers, standings, decisions. Pure.

The list's signer answers for its images as an endorser does; the site decides which of them run. An approval counts only
where it names the list's images: by the list, by a name that begins with the list's, by UUID or by a file's digest. `*` alone,
or a community alone, which any list may say of itself, approves nobody else's. A block needs to name nobody.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from fnmatch import fnmatchcase
from typing import cast
from urllib.parse import urlsplit

from pydantic import ValidationError

from vmkeeper.clouds.interface import ImageSpec, SourceFile
from vmkeeper.lists.hepix import HepixImage, HepixList, OddImage
from vmkeeper.model.appliance import Architecture, Format
from vmkeeper.model.decision import Approval
from vmkeeper.model.foreign import ForeignList
from vmkeeper.model.site import Site
from vmkeeper.plan.formats import format_named, format_of, is_plain
from vmkeeper.plan.offers import properties_of, supply_of
from vmkeeper.plan.wanted import Allowed, Ground, NotAllowed, Note, Offer, Standing, VouchedFile
from vmkeeper.trust.approval import HOW, RULE, Decision, blocked, lapsed, unmet
from vmkeeper.trust.refusal import Refusal
from vmkeeper.trust.selection import LATER, About, Vouched, described, fits, lacks
from vmkeeper.values import Size, Version, format_time

_ARCHITECTURES: Mapping[str, Architecture] = {"x86_64": "x86_64", "x86-64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
_ONE_BY_ONE = 5
"""Images waiting for a decision that are told each; more are told together."""
_NAMED = 10
_TOLD = 3
"""Problems of one entry that are told."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Who has an image's UUID: a list, and the keys (`ImageSpec.key`) of what it has under it."""

    list: str
    keys: frozenset[str] = frozenset()


@dataclass(slots=True)
class Taken:
    """What one list comes to. standings: see `plan.wanted.Standings`; others: what is on it and not for this site."""

    offers: list[Offer] = field(default_factory=list)
    others: list[tuple[str, Version]] = field(default_factory=list)
    standings: dict[tuple[str, str, Version], Standing] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


def take(
    source: HepixList,
    foreign: ForeignList,
    site: Site,
    now: datetime,
    *,
    names: Mapping[str, str],
    marked: Sequence[ImageSpec] = (),
    claims: Mapping[str, Claim] | None = None,
    odd: Iterable[OddImage] = (),
) -> Taken:
    """What a verified list comes to at a site.

    names: of its images by UUID (`foreign_names`). marked: what the site has from this list. claims: UUIDs that other
    lists have; what such a one says is not taken from this list, unless it is the same image. An entry that cannot be taken
    is told and stops no other; what the site has of such an image stays as it is. odd: entries that could not be read at all.
    """
    taking = _Taking(source, foreign, site, now, marked, claims or {})
    for image in source.images:
        taking.image(image, names[image.uuid])
    for one in odd:
        about = f"{names.get(one.uuid or '', one.uuid or 'an image')} on the list {foreign.name}"
        taking.left(one.uuid, Note(about, "; ".join(str(problem) for problem in one.problems[:_TOLD])))
    for spec in marked:
        if (source.uuid, spec.uuid, spec.version) not in taking.made.standings:
            taking.former(spec, names.get(spec.uuid, spec.appliance))
    return taking.told()


def held(uuid: str, foreign: ForeignList, site: Site, marked: Iterable[ImageSpec], now: datetime, *, lost: str = "") -> Taken:
    """What a site's images of a list are worth while the list itself cannot be used. lost: why nobody answers for them any more."""
    made = Taken()
    for spec in marked:
        found = replace(_consent(_of(spec, spec.appliance, foreign), foreign, site, now), quiet=False, undecided=False)
        if lost:
            found = replace(found, refusals=(Refusal("R12", lost), *found.refusals), ground="withdrawn")
        made.decisions.append(_decision(spec.appliance, spec.version, foreign, found))
        made.standings[uuid, spec.uuid, spec.version] = _standing(found, (spec.signed,), spec.expires)
    return made


class _Taking:
    """One list, image by image."""

    def __init__(
        self, source: HepixList, foreign: ForeignList, site: Site, now: datetime, marked: Sequence[ImageSpec], claims: Mapping[str, Claim]
    ) -> None:
        self.source, self.foreign, self.site, self.now, self.claims = source, foreign, site, now, claims
        self.marked = defaultdict[str, list[ImageSpec]](list)
        for spec in marked:
            self.marked[spec.uuid].append(spec)
        self.vouched = (Vouched(foreign.name),)
        self.made = Taken()
        self.waiting: list[tuple[str, Version]] = []

    def image(self, image: HepixImage, name: str) -> None:
        """An entry of the list."""
        if not _chosen(image, name, self.foreign):
            self._passed(image.uuid, f"the site does not take it from {self.foreign.name} (images:)")
            return
        try:
            entry = _Entry.read(self.source, image, name)
            self._entry(image, entry)
        except ValidationError as error:
            self.left(image.uuid, Note(f"{name} {image.version}", f"the list's entry cannot be taken: {error.errors()[0]['msg']}"))
        except ValueError as error:
            self.left(image.uuid, Note(f"{name} {image.version}", f"the list's entry cannot be taken: {error}"))

    def left(self, uuid: str | None, note: Note) -> None:
        """An entry that cannot be taken: what the site has of it is not replaced and not taken away."""
        self.made.notes.append(note)
        self.made.others += [(spec.uuid, spec.version) for spec in self.marked.get(uuid or "", ())]

    def _entry(self, image: HepixImage, entry: _Entry) -> None:
        uuid, version, label = image.uuid, entry.version, f"{entry.name} {entry.version}"
        claim = self.claims.get(uuid)
        if claim is not None and f"{uuid}/{version}/{image.sha512}" not in claim.keys:
            self.made.notes.append(Note(label, f"its UUID {uuid} is that of an image of {claim.list}"))
            return
        about = About(entry.name, version, self.foreign.name, self.source.vo or "", self.vouched, frozenset({image.sha512}), uuid)
        found = self._consent(about, entry.expires)
        if image.size > self.foreign.limits.size:
            why = f"its file of {image.size.human} is larger than the {self.foreign.limits.size} that the site takes from {self.foreign.name}"
            refusals = (*found.refusals, Refusal("R25", why))
            found = replace(found, refusals=refusals, ground="unapproved", quiet=found.quiet or bool(found.refusals), undecided=False)
        decision = _decision(entry.name, version, self.foreign, found, image.sha512, self.source.created)
        if found.refusals and found.quiet:
            if found.undecided:
                self.waiting.append((entry.name, version))
            self.made.others.append((uuid, version))
            self._say(uuid, decision, _standing(found, (), entry.expires))
            return
        spec = entry.spec(self.source, image, self.site)
        former = tuple(one.signed for one in self.marked.get(uuid, ()) if one.version == version and one.signed != spec.signed)
        if former:
            self.made.notes.append(Note(label, f"the list {self.foreign.name} gave this version other bytes"))
        self._say(uuid, decision, _standing(found, (spec.signed, *former), entry.expires))
        self.made.offers.append(Offer(spec, supply_of(image, self._credentials(image.uri), self.foreign.limits.virtual_size)))

    def former(self, spec: ImageSpec, name: str) -> None:
        """An image that the site has in a version that is not on the list now: it is good for as long as the list said then."""
        found = replace(self._consent(_of(spec, name, self.foreign), spec.expires), quiet=False, undecided=False)
        self._say(spec.uuid, _decision(name, spec.version, self.foreign, found), _standing(found, (spec.signed,), spec.expires))

    def _consent(self, about: About, expires: datetime) -> _Consent:
        """What site and time say of a version."""
        found = _consent(about, self.foreign, self.site, self.now)
        if expires > self.now:
            return found
        refusals = (*found.refusals, Refusal("R13", f"it expired at {format_time(expires)}"))
        return replace(found, refusals=refusals, ground="expired" if found.ground != "blocked" else found.ground, undecided=False)

    def told(self) -> Taken:
        """With what is to be said of the images that wait for a decision."""
        name = self.foreign.name
        for image, version in self.waiting if len(self.waiting) <= _ONE_BY_ONE else ():
            how = f'it waits for a decision: put {{appliance: {image}}} under "approve" or "block" in the site\'s file'
            self.made.notes.append(Note(f"{image} {version}", f"{how}; it is new on the list {name}"))
        if len(self.waiting) > _ONE_BY_ONE:
            some = ", ".join(image for image, _ in self.waiting[:_NAMED])
            more = f" and {len(self.waiting) - _NAMED} more" if len(self.waiting) > _NAMED else ""
            how = f'put {{appliance: NAME}}, or {{appliance: "{name}-*"}} for all, under "approve" or "block" in the site\'s file'
            self.made.notes.append(Note(f"list {name}", f"{len(self.waiting)} images wait for a decision: {some}{more}; {how}"))
        return self.made

    def _say(self, uuid: str, decision: Decision, standing: Standing) -> None:
        self.made.standings[self.source.uuid, uuid, decision.version] = standing
        self.made.decisions.append(decision)

    def _passed(self, uuid: str, why: str) -> None:
        for spec in self.marked.get(uuid, ()):
            decision = Decision(spec.appliance, spec.version, (Refusal(RULE, why),), list=self.foreign.name)
            self._say(uuid, decision, NotAllowed("unapproved", why))

    def _credentials(self, address: str) -> str | None:
        """What the list's server is shown serves for files that lie there too, and nowhere else."""
        return self.foreign.credentials if _origin(address) == _origin(self.foreign.url) else None


def _chosen(image: HepixImage, name: str, foreign: ForeignList) -> bool:
    words = (name, image.uuid, image.title or "", image.mpuri or "")
    return any(fnmatchcase(word, pattern) for pattern in foreign.images for word in words)


@dataclass(frozen=True, slots=True)
class _Entry:
    """What must be clear of an entry before anything is decided about it."""

    name: str
    version: Version
    format: str
    architecture: Architecture
    expires: datetime

    @classmethod
    def read(cls, source: HepixList, image: HepixImage, name: str) -> _Entry:
        """Raises ValueError where the entry cannot be taken."""
        found = format_named(image.format) if image.format else format_of(image.uri)
        if not found:
            raise ValueError(f"its format is {image.format or 'not said'}")
        architecture = _ARCHITECTURES.get((image.arch or "x86_64").lower())
        if architecture is None:
            raise ValueError(f"its architecture {image.arch} is not one that is known here: {', '.join(sorted(_ARCHITECTURES))}")
        if not re.match(r"https?://", image.uri):
            raise ValueError("its address is neither http nor https")
        return cls(name, version_of(image.version), found, architecture, min(image.expires or source.expires, source.expires))

    def spec(self, source: HepixList, image: HepixImage, site: Site) -> ImageSpec:
        """What a cloud is told of it. Raises ValidationError."""
        plain = is_plain(self.format)
        return ImageSpec(
            name=f"{self.name}-{self.version}",
            appliance=self.name,
            uuid=image.uuid,
            version=self.version,
            architecture=self.architecture,
            format=cast(Format, self.format) if plain else site.formats[0],
            size=image.size,
            virtual_size=Size(0),
            sha512=image.sha512,
            list=source.uuid,
            expires=self.expires,
            properties=properties_of(source, image, self.version),
            source=None if plain else SourceFile(format=self.format, size=image.size, sha512=image.sha512),
        )


def version_of(text: str) -> Version:
    """A version as vmcatcher reads it, numbers between `- , . /`, in our form. Raises ValueError where that loses something."""
    parts = re.split(r"[-,./]", text.removeprefix("v"))
    if not all(re.fullmatch(r"[0-9]{1,18}", part) for part in parts) or len(parts) > 8:
        raise ValueError(f"its version {text} cannot be compared with others: it is not up to eight numbers with - , . or / between them")
    return Version(".".join(parts))


@dataclass(frozen=True, slots=True)
class _Consent:
    """What a site says of a version: why it may not run, and on what ground."""

    refusals: tuple[Refusal, ...] = ()
    ground: Ground = "unapproved"
    quiet: bool = False
    """Whether that is told together with others or not at all."""
    undecided: bool = False
    """Whether the site has still to decide."""


def _consent(about: About, foreign: ForeignList, site: Site, now: datetime) -> _Consent:
    """What the site says of a version. Only an approval that is about the list's images can approve one, or leave one out."""
    if blocks := [one for one in site.block if fits(one, about, now)]:
        return _Consent(tuple(blocked(about, one) for one in blocks), "blocked")
    near = [(one, tuple(lacks(one, about, now))) for one in site.approve if _names(one, about)]
    if any(not missing for _, missing in near):
        return _Consent()
    here = [(one, missing) for one, missing in near if {part for part, _ in missing} <= LATER | {"version"}]
    if decided := [missing for _, missing in here if {part for part, _ in missing} <= LATER]:
        return _Consent((unmet(about, decided),), "expired" if any(map(lapsed, decided)) else "unapproved")
    if here:
        which = "; ".join(described(one) for one, _ in here)
        return _Consent((Refusal(RULE, f"the site does not approve {about.appliance} {about.version}", which, HOW),), undecided=foreign.new == "ask")
    if foreign.new == "approve":
        return _Consent()
    what = "it waits for a decision" if foreign.new == "ask" else f"the site passes over what it does not approve of {foreign.name}"
    refusal = Refusal(RULE, what, f"no approval names {about.appliance}", f"put {{appliance: {about.appliance}}} under approve: in the site's file")
    return _Consent((refusal,), quiet=True, undecided=foreign.new == "ask")


def _names(approval: Approval, about: About) -> bool:
    """Whether an approval is about images of this list: it names the list (as list or endorser), a file, a UUID, or begins with the list's name."""
    return (
        approval.list == about.list
        or approval.endorser == about.list
        or approval.digest in about.digests
        or approval.appliance == about.uuid
        or approval.appliance.partition("*")[0].startswith(f"{about.list}-")
    )


def _of(spec: ImageSpec, name: str, foreign: ForeignList) -> About:
    """An image that the site has, as its list once offered it."""
    community = spec.properties.get("ad:vo", "")
    return About(name, spec.version, foreign.name, community, (Vouched(foreign.name),), frozenset({spec.signed.sha512}), spec.uuid)


def _decision(name: str, version: Version, foreign: ForeignList, found: _Consent, digest: str = "", since: datetime | None = None) -> Decision:
    blocks = found.ground == "blocked"
    digests = (digest,) if digest else ()
    return Decision(name, version, found.refusals, list=foreign.name, blocked=blocks, undecided=found.undecided, digests=digests, since=since)


def _standing(found: _Consent, files: tuple[VouchedFile, ...], expires: datetime) -> Standing:
    if not found.refusals:
        return Allowed(files, expires)
    why = "; ".join(f"{refusal.why} ({refusal.evidence})" if refusal.evidence else refusal.why for refusal in found.refusals)
    return NotAllowed(found.ground, why, found.quiet)


def _origin(address: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(address)
    try:
        return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return "", None, None
