"""The image lists of other organisations that a site takes: fetched many at once, verified, remembered, each by itself.

A list that cannot be had or trusted is told with its reason and stops nothing else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from vmkeeper.clouds.interface import ImageSpec
from vmkeeper.errors import Problems, Refused, UserError, VmkeeperError
from vmkeeper.execute.atonce import at_once
from vmkeeper.execute.credentials import read_credentials
from vmkeeper.execute.listcache import ListCache
from vmkeeper.execute.listing import Expected, Read, read_list
from vmkeeper.lists.dn import readings
from vmkeeper.lists.hepix import HepixList
from vmkeeper.model.foreign import ForeignList
from vmkeeper.model.site import Site
from vmkeeper.plan.foreign import Claim, Taken, held, take
from vmkeeper.plan.names import foreign_names
from vmkeeper.plan.wanted import Current, Note, Standing, Subscribed, Unusable
from vmkeeper.progress import Progress
from vmkeeper.trust.approval import Decision
from vmkeeper.trust.keys.certificates import Authorities
from vmkeeper.trust.memory import Memory, SeenForeign
from vmkeeper.values import Duration, Version, format_time

_WORKERS = 8
_TOLD = 3
_HINT = "if the publisher has another certificate now, change endorser: in the site's file"


@dataclass(frozen=True, slots=True)
class Signed:
    """A list that was verified in this look: what it is called here, who signed it, and how its images are called (by UUID)."""

    name: str
    url: str
    signer: str
    issuer: str
    uuid: str
    version: str
    created: datetime
    expires: datetime
    names: Mapping[str, str]

    @property
    def about(self) -> str:
        """Version and dates, in words."""
        return f"version {self.version} of {format_time(self.created)}, until {format_time(self.expires)}"


@dataclass(frozen=True, slots=True)
class Asking:
    """What it takes to see lists. fetch: brings a message by its URL, in place of the network and the cache."""

    home: Path
    cache: ListCache
    authorities: Authorities
    now: datetime
    skew: Duration
    progress: Progress
    fetch: Callable[[str], bytes] | None = None


@dataclass(slots=True)
class Foreign:
    """What all lists come to, in the order of the site's file. memory: to be kept once it is accepted."""

    memory: Memory
    before: Memory
    """What was remembered before."""
    lists: list[Subscribed] = field(default_factory=list)
    standings: dict[tuple[str, str, Version], Standing] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    signed: list[Signed] = field(default_factory=list)
    read: dict[str, Read | Exception] = field(default_factory=dict)
    """Each list as it was read, by name, or why it could not be."""


@dataclass(frozen=True, slots=True)
class Own:
    """What the site's other lists have: their UUIDs, the images' UUIDs with their claims, and names."""

    lists: Mapping[str, str]
    """UUID → name."""
    claims: Mapping[str, Claim]
    names: frozenset[str]


def see_foreign(site: Site, asking: Asking, memory: Memory, own: Own, marked: Sequence[ImageSpec], *, again: Foreign | None = None) -> Foreign:
    """See every foreign list of a site. marked: all that the site has at its cloud with its mark.

    again: what the same look saw already; its lists are not asked for a second time.
    """
    seeing = _Seeing(site, asking, own, marked, Foreign(again.before if again else memory, again.before if again else memory))
    for one, found in ((one, again.read[one.name]) for one in site.foreign) if again else seeing.ask():
        seeing.made.read[one.name] = found
        if isinstance(found, Read):
            seeing.accept(one, found)
        elif isinstance(found, VmkeeperError):
            seeing.refuse(one, found)
        else:
            raise found
    return seeing.made


class _Seeing:
    def __init__(self, site: Site, asking: Asking, own: Own, marked: Sequence[ImageSpec], made: Foreign) -> None:
        self.site, self.asking, self.made = site, asking, made
        self.by_list, self.by_image = defaultdict[str, list[ImageSpec]](list), defaultdict[str, list[ImageSpec]](list)
        for spec in marked:
            self.by_list[spec.list].append(spec)
            self.by_image[spec.uuid].append(spec)
        self.before = made.before
        self.claims = dict(own.claims)
        self.own_lists = own.lists
        self.uuids: dict[str, str] = dict(own.lists)
        for one in site.foreign:
            if uuid := self._last_uuid(one):
                self.uuids.setdefault(uuid, one.name)
        self.names = {name for one in site.foreign for name in self._names(one).values()} | own.names

    # Reading: in threads, from what was known before the look only

    def ask(self) -> Iterator[tuple[ForeignList, Read | Exception]]:
        """Each list, read or why it could not be, many at once."""
        self.asking.progress.step("lists", f"asking {len(self.site.foreign)} other organisations")
        return at_once(self.site.foreign, self.read, workers=_WORKERS, longest=4 * self.asking.cache.patience.longest)

    def read(self, one: ForeignList) -> Read:
        """Fetch a list and verify it. Raises VmkeeperError."""
        judge, asking = self._judge(one), self.asking
        if asking.fetch is not None:
            return judge(asking.fetch(one.url))
        credentials = read_credentials(asking.home, one.credentials, one.url) if one.credentials else None
        return asking.cache.bring(one.name, one.url, asking.now, judge, credentials)

    def _judge(self, one: ForeignList) -> Callable[[bytes], Read]:
        expected = self._expected(one)

        def judge(message: bytes) -> Read:
            read = read_list(message, expected, self.asking.authorities, self.asking.now, self.asking.skew)
            count = len(read.list.images) + len(read.odd)
            if count > one.limits.images:
                hint = "raise limits: in the site's file, if the list is meant to be so long"
                raise Refused("R25", f"{count} images on the list, where at most {one.limits.images} are taken", where=one.name, hint=hint)
            if (other := self.own_lists.get(read.list.uuid)) is not None:
                raise _twice(one, read.list.uuid, other)
            read.remembered(self.before)
            return read

        return judge

    def _expected(self, one: ForeignList) -> Expected:
        try:
            signer, ca = readings(one.endorser.dn), readings(one.endorser.ca)
        except ValueError as error:
            raise UserError(str(error), where=f"{one.name}: endorser") from None
        return Expected(one.name, signer, ca, self._uuid(one), purpose="any", sha1=one.sha1, hint=_HINT)

    def _uuid(self, one: ForeignList) -> str | None:
        """The list's UUID, by the site's file or as it was first seen of this signer at this address."""
        seen = self.before.foreign.get(one.name)
        known = seen is not None and (seen.url, seen.signer) == (one.url, _signer(one))
        return one.uuid or (seen.uuid if seen is not None and known else None)

    def _last_uuid(self, one: ForeignList) -> str:
        """The UUID of the list that was seen last under this name, whoever signs it now."""
        seen = self.before.foreign.get(one.name)
        return self._uuid(one) or (seen.uuid if seen is not None else "")

    def _names(self, one: ForeignList) -> dict[str, str]:
        """Names of a list's images that are known: remembered, and borne by what the site has."""
        seen = self.before.foreign.get(one.name)
        borne = {spec.uuid: spec.appliance for spec in self._here(self._last_uuid(one)) if spec.appliance.startswith(f"{one.name}-")}
        return borne | (seen.names if seen else {})

    # What comes of it: one after the other, in the order of the site's file

    def accept(self, one: ForeignList, read: Read) -> None:
        """A list that is good by itself, beside the others."""
        found = read.list
        try:
            if (other := self.uuids.setdefault(found.uuid, one.name)) != one.name:
                raise _twice(one, found.uuid, other)
            memory = read.remembered(self.made.memory)
        except Refused as error:
            self.refuse(one, error)
            return
        names = foreign_names(one.name, found.images, self._names(one), self.names)
        self.names |= set(names.values())
        here, claims = self._here(found.uuid), self._claims_of_others(found)
        taken = take(found, one, self.site, self.asking.now, names=names, marked=here, claims=claims, odd=read.odd)
        for offer in taken.offers:
            self.claims.setdefault(offer.spec.uuid, Claim(f"the list {one.name}", frozenset({offer.spec.key})))
        seen = SeenForeign(url=one.url, signer=_signer(one), uuid=found.uuid, names=names)
        self.made.memory = memory.model_copy(update={"foreign": {**memory.foreign, one.name: seen}})
        self.made.signed.append(_signed(one, found, names))
        self._add(one, found.uuid, Current(found.expires, tuple(taken.offers), tuple(taken.others)), taken)

    def refuse(self, one: ForeignList, error: VmkeeperError) -> None:
        """A list that cannot be used now. Where its signer was revoked, nobody answers for its images any more."""
        uuid = self._last_uuid(one)
        if self.uuids.get(uuid) != one.name:  # it is another list's, whose images are not this one's to judge
            uuid = ""
        last = self.made.memory.lists.get(uuid)
        lost = self._lost(one)
        state = Unusable(_told(error), last.expires if last else None, decides=bool(lost))
        self._add(one, uuid, state, held(uuid, one, self.site, self._here(uuid), self.asking.now, lost=lost))

    def _lost(self, one: ForeignList) -> str:
        """Why the list that counted last counts no more although it has not expired: its signer or an authority was revoked."""
        kept = self.asking.cache.kept(one.name, one.url)
        if kept is None or self.asking.fetch is not None:
            return ""
        try:
            self._judge(one)(kept.message)
        except Refused as error:
            return _told(error) if error.rule == "R12" else ""
        except VmkeeperError:
            pass  # what is wrong with the list that is there now is told already
        return ""

    def _claims_of_others(self, found: HepixList) -> dict[str, Claim]:
        """Who else has a UUID: a list before this one, or a list of the site from which it has an image with it."""
        claims: dict[str, Claim] = {}
        for image in found.images:
            if image.uuid in self.claims:
                claims[image.uuid] = self.claims[image.uuid]
                continue
            for spec in self.by_image.get(image.uuid, ()):
                if spec.list != found.uuid and spec.list in self.uuids:
                    claims[image.uuid] = Claim(f"the list {self.uuids[spec.list]}", frozenset({spec.key}))
        return claims

    def _here(self, uuid: str) -> list[ImageSpec]:
        """What the site has from a list."""
        return self.by_list.get(uuid, [])

    def _add(self, one: ForeignList, uuid: str, state: Current | Unusable, taken: Taken) -> None:
        self.made.lists.append(Subscribed(one.name, uuid, state))
        self.made.standings |= taken.standings
        self.made.decisions += taken.decisions
        self.made.notes += taken.notes


def _twice(one: ForeignList, uuid: str, other: str) -> Refused:
    hint = "take one of the two out of the site's file"
    return Refused("R15", f"its UUID is that of the list {other}", where=one.name, why=uuid, hint=hint)


def _signed(one: ForeignList, found: HepixList, names: Mapping[str, str]) -> Signed:
    return Signed(one.name, one.url, one.endorser.dn, one.endorser.ca, found.uuid, found.version, found.created, found.expires, names)


def _signer(one: ForeignList) -> str:
    return f"{one.endorser.dn} by {one.endorser.ca}"


def _told(error: VmkeeperError) -> str:
    """An error on one line, with the way out."""
    if isinstance(error, Problems):
        more = f"; and {len(error.problems) - _TOLD} more" if len(error.problems) > _TOLD else ""
        return "; ".join(f"{problem.place}: {problem.what}" for problem in error.problems[:_TOLD]) + more
    return f"{error} ({error.hint})" if error.hint else str(error)


def claims_of(lists: Iterable[Subscribed], names: Mapping[str, str]) -> dict[str, Claim]:
    """The UUIDs that the site's own lists have: of their offers, and of appliances known by name."""
    keys: dict[str, set[str]] = {uuid: set() for uuid in names}
    for found in lists:
        for offer in found.state.offers if isinstance(found.state, Current) else ():
            keys.setdefault(offer.spec.uuid, set()).add(offer.spec.key)
    return {uuid: Claim(names.get(uuid, "the site's own lists"), frozenset(some)) for uuid, some in keys.items()}
