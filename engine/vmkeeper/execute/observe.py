"""What is there at a site's next look: the followed repository, its tags, the image lists, and what the cloud holds.

Nothing is believed before it is verified, and what was verified is remembered before anything is done about it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.clouds import Account
from vmkeeper.clouds import connect as connect_clouds
from vmkeeper.clouds.interface import Cloud, ImageSpec
from vmkeeper.documents.kinds import KINDS
from vmkeeper.documents.load import read as read_document
from vmkeeper.errors import Problems, Refused, UserError, VmkeeperError
from vmkeeper.execute.credentials import read_login
from vmkeeper.execute.decisions import read_site, site_in_force
from vmkeeper.execute.foreign import Asking, Foreign, Own, claims_of, see_foreign
from vmkeeper.execute.home import SiteHome
from vmkeeper.execute.listcache import ListCache
from vmkeeper.execute.listing import Expected, Read, list_url, read_list
from vmkeeper.execute.secrets import hide_clouds
from vmkeeper.execute.verification import judge, mainline_head, sight
from vmkeeper.execute.view import Connect, Decided, View, list_places
from vmkeeper.lists.hepix import HepixList, version_key
from vmkeeper.model.site import Site, Subscription
from vmkeeper.plan.offers import offers_of, standing_of
from vmkeeper.plan.wanted import Current, NotAllowed, Note, Offer, Standing, Subscribed, Unusable
from vmkeeper.progress import Progress, Silent
from vmkeeper.repository.tree import Repository
from vmkeeper.trust.approval import Decision, Stance, decide
from vmkeeper.trust.freshness import Frozen
from vmkeeper.trust.judge import Judgement
from vmkeeper.trust.keys.certificates import Authorities
from vmkeeper.trust.memory import Memory
from vmkeeper.trust.people import TrustedEndorsers
from vmkeeper.trust.pins import PinnedImageList, Pins
from vmkeeper.trust.verify import Accepted
from vmkeeper.values import Version, format_time

Fetch = Callable[[str], bytes]
"""Brings a signed list by its URL, in place of the network and the cache of lists."""


@dataclass(slots=True)
class _Looking:
    """One look: what it is given, and what it has seen so far."""

    catalogue: Catalogue
    pins: Pins
    home: SiteHome
    now: datetime
    authorities: Authorities
    fetch: Fetch | None
    cache: ListCache
    progress: Progress
    head: str
    site: Site
    judgement: Judgement
    memory: Memory
    read: dict[str, HepixList | Unusable] = field(default_factory=dict)
    """Own lists by name, once they were brought and judged."""
    seen: Foreign | None = None
    """The foreign lists, once they were brought and judged."""
    names: dict[str, str] = field(default_factory=dict)
    lists: list[Subscribed] = field(default_factory=list)
    standings: dict[tuple[str, str, Version], Standing] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


def site_clouds(home: SiteHome, name: str) -> Mapping[str, Cloud]:
    """The places of a site's cloud, as the site's file said that was last in force here."""
    return connect_clouds(site_document(home, name).platform, account_of(home, name))


def site_cloud(home: SiteHome, name: str) -> Cloud:
    """The first place of a site's cloud."""
    return next(iter(site_clouds(home, name).values()))


def account_of(home: SiteHome, name: str) -> Account:
    """What a site's clouds are connected with. From then on their secrets are shown nowhere."""
    hide_clouds(home.folder)
    return Account(site=name, home=home.folder, folder=home.cloud, login=lambda credentials: read_login(home.folder, credentials))


def site_document(home: SiteHome, name: str) -> Site:
    """A site's file as it was last in force here. Raises UserError where nothing was reconciled yet."""
    pins, data = home.pins(), home.site_file()
    if pins.site is None or pins.site.name != name or data is None:
        raise UserError(f"nothing was reconciled at {name} yet", where=str(home.folder), hint=f"vmkeeper reconcile {name}")
    return read_site(data, name)


def look(
    repository: Repository,
    home: SiteHome,
    name: str,
    now: datetime,
    *,
    connect: Connect | None = None,
    fetch: Fetch | None = None,
    cache: ListCache | None = None,
    instead: Site | None = None,
    progress: Progress | None = None,
) -> View:
    """See what the followed repository, its lists and the cloud say at a time. `connect` gives the places of the site's cloud.

    cache: of signed lists; default: the one in the home. instead: what the site's file would say, to see what that would
    come to; nothing may be carried out then. A list that cannot be had or trusted, and one of several places that
    cannot be listed, are reported in the view and stop nothing else. Raises Untrusted where nothing can be concluded from the
    repository, and Transient or UserError where no place can be listed: then nothing is done.
    """
    pins, head, progress = home.pins(), mainline_head(repository), progress or Silent()
    seen = sight(repository, head)
    progress.step("trust", f"judging {len(seen.tags)} signed tags")
    authorities = home.authorities(pins)
    judgement = judge(seen, pins, home.memory(), authorities, now)
    catalogue = Catalogue.at(repository, head)
    if pins.site is None or pins.site.name != name:
        why, hint = f"they are for {pins.site.name if pins.site else 'no site'}", f"pin it: vmkeeper site init {name}"
        raise Refused("R20", "the pins are not those of this site", where=name, why=why, hint=hint)
    site_file = site_in_force(pins.site, judgement, home.site_file())
    site = instead or read_site(site_file, name)
    clouds = connect(site) if connect else connect_clouds(site.platform, account_of(home, name))
    places, unreachable = list_places(clouds, progress)
    cache = cache or ListCache(home.lists, pins.fetch.allowed_hosts)
    looking = _Looking(catalogue, pins, home, now, authorities, fetch, cache, progress, head, site, judgement, judgement.memory)
    if (proposed := catalogue.snapshot.read(f"sites/{name}.yaml")) is not None and _differs(proposed, site, name):
        how = f"approved: vmkeeper approve {name}" if pins.site.administrators else f"accepted here: vmkeeper site init {name}"
        looking.notes.append(Note(f"site {name}", f"sites/{name}.yaml of the repository is another one than the one in force; it counts once {how}"))
    marked = [image.spec for place in places.values() for image in place.ours if image.spec is not None]
    decided: dict[str, Decided] = {}
    for place in clouds:
        narrowed = site.at(place)
        same = next((found for found in decided.values() if found.site == narrowed), None)
        decided[place] = same or _decided(looking, narrowed, marked)
    cache.tidy([*(one.list for one in site.subscribe), *(one.name for one in site.foreign)])
    return View(
        name=name,
        head=head,
        pins=pins,
        site=site,
        site_file=site_file,
        decided=decided,
        judgement=judgement,
        notes=tuple(looking.notes),
        memory=looking.memory,
        places=places,
        unreachable=unreachable,
        signed=tuple(looking.seen.signed if looking.seen else ()),
    )


def _decided(looking: _Looking, site: Site, marked: list[ImageSpec]) -> Decided:
    """What lists and trust come to for a site that was narrowed to a place. Lists are brought once, whatever is asked of them."""
    looking.site, looking.lists, looking.standings, looking.decisions = site, [], {}, []
    before, looking.notes = looking.notes, []
    for subscription in site.subscribe:
        _see_list(looking, subscription, marked)
    if site.foreign:
        _see_foreign(looking, marked)
    notes, looking.notes = tuple(looking.notes), before
    return Decided(site, tuple(looking.lists), looking.standings, tuple(looking.decisions), notes)


def _see_foreign(looking: _Looking, marked: list[ImageSpec]) -> None:
    """The lists of other organisations, beside those of the repository."""
    asking = Asking(
        home=looking.home.folder,
        cache=looking.cache,
        authorities=looking.authorities,
        now=looking.now,
        skew=looking.pins.clock_skew,
        progress=looking.progress,
        fetch=looking.fetch,
    )
    lists = {pin.uuid: pin.name for pin in looking.pins.image_lists}
    names = frozenset((*looking.names.values(), *looking.catalogue.names("appliances")))
    own = Own(lists, claims_of(looking.lists, looking.names), names)
    found = see_foreign(looking.site, asking, looking.memory, own, marked, again=looking.seen)
    looking.seen = found
    looking.memory = found.memory
    looking.lists += found.lists
    looking.standings |= found.standings
    looking.decisions += found.decisions
    looking.notes += found.notes


def _differs(proposed: bytes, site: Site, name: str) -> bool:
    found = read_document(KINDS["site"], proposed, f"sites/{name}.yaml").document
    return found != site


def _see_list(looking: _Looking, subscription: Subscription, marked: list[ImageSpec]) -> None:
    """One list, and what is to be thought of its offers and of the site's images that came from it."""
    pin = looking.pins.image_list(subscription.list)
    if pin is None:
        looking.lists.append(
            Subscribed(subscription.list, "", Unusable("the site has not pinned this list; pin it with: vmkeeper site init", decides=True))
        )
        return
    if pin.endorsers not in looking.judgement.verdicts:
        number = looking.judgement.enactments.current.number
        looking.lists.append(Subscribed(pin.name, pin.uuid, Unusable(f"policy {number} in force has no endorser list {pin.endorsers}", decides=True)))
        return
    if pin.name not in looking.read:
        looking.read[pin.name] = _list(looking, subscription, pin)
    found, names = looking.read[pin.name], _names(looking, pin)
    looking.names |= names
    offers: tuple[Offer, ...] = ()
    if isinstance(found, HepixList):
        offers, notes = offers_of(found, subscription, names)
        looking.notes += notes
    state = Current(found.expires, offers) if isinstance(found, HepixList) else found
    looking.lists.append(Subscribed(pin.name, pin.uuid, state, looking.judgement.frozen.get(pin.endorsers)))
    specs = [*(offer.spec for offer in offers), *(spec for spec in marked if spec.list == pin.uuid)]
    called = {spec.uuid: names.get(spec.uuid, spec.appliance) for spec in specs}
    decisions = decide(
        looking.judgement.verdicts[pin.endorsers],
        endorsers=_endorsers(looking, pin),
        site=Stance(looking.site.approve, looking.site.block, looking.now, subscription.list),
        releases=sorted({(called[spec.uuid], spec.version) for spec in specs}),
    )
    looking.decisions += decisions
    made = _standings(looking, pin, decisions, names, {name: uuid for uuid, name in called.items()}, quiet=subscription.new == "refuse")
    if (late := too_late(looking.judgement.frozen.get(pin.endorsers), looking.site, looking.now)) is not None:
        made = dict.fromkeys(made, late)
    looking.standings |= made


def too_late(frozen: Frozen | None, site: Site, now: datetime) -> NotAllowed | None:
    """What becomes of everything under a list that nothing fresh was heard of for longer than the site's grace."""
    if frozen is None or frozen.since is None or now < frozen.since + timedelta(seconds=site.retire.stale_grace):
        return None
    why = "; ".join(map(str, frozen.refusals))
    return NotAllowed("stale", f"nothing fresh since {format_time(frozen.since)}, longer than the site's grace of {site.retire.stale_grace}: {why}")


def _standings(
    looking: _Looking,
    pin: PinnedImageList,
    decisions: tuple[Decision, ...],
    names: Mapping[str, str],
    others: Mapping[str, str],
    *,
    quiet: bool,
) -> dict[tuple[str, str, Version], Standing]:
    """Standings by UUID. A UUID belongs to the one appliance that `names` gives it; `others` (name → UUID) are from images and offers."""
    endorsers, verdicts = _endorsers(looking, pin), looking.judgement.verdicts[pin.endorsers]
    known = {**others, **{name: uuid for uuid, name in names.items()}}
    made: dict[tuple[str, str, Version], Standing] = {}
    for decision in decisions:
        standing = standing_of(decision, endorsers, verdicts, quiet=quiet)
        uuid = decision.statement.uuid if decision.accepted else known.get(decision.appliance, "")
        if decision.accepted and names.get(uuid) != decision.appliance:
            standing = NotAllowed("unendorsed", f"the UUID {uuid} belongs to {names.get(uuid)}, not to {decision.appliance} [R14]")
            uuid = known.get(decision.appliance, "")
        made[pin.uuid, uuid, decision.version] = standing
    return made


def _list(looking: _Looking, subscription: Subscription, pin: PinnedImageList) -> HepixList | Unusable:
    """The list, verified and remembered, or why there is none."""
    last = looking.memory.lists.get(pin.uuid)
    try:
        document = looking.catalogue.image_list(subscription.list)
        if document is None:
            raise UserError(f"there is no imagelists/{subscription.list}.yaml at commit {looking.head[:12]}")
        url = list_url(document.url, subscription.list)
        looking.progress.step(subscription.list, f"fetching {url}")
        judge = _judging(looking, pin)
        read = judge(looking.fetch(url)) if looking.fetch else looking.cache.bring(subscription.list, url, looking.now, judge)
        looking.memory = read.remembered(looking.memory)
    except VmkeeperError as error:
        return Unusable(str(error), last.expires if last else None)
    return read.list


def _judging(looking: _Looking, pin: PinnedImageList) -> Callable[[bytes], Read]:
    """What a message must pass to be the list that the site pinned."""

    def judge(message: bytes) -> Read:
        read = read_list(message, Expected.pinned(pin), looking.authorities, looking.now, looking.pins.clock_skew)
        if read.odd:
            raise Problems(problem for image in read.odd for problem in image.problems)
        _not_withheld(looking.judgement, read.list, read.remembered(looking.memory))
        return read

    return judge


def _not_withheld(judgement: Judgement, found: HepixList, memory: Memory) -> None:
    """R15: the list is not older than the one that the freshness statement saw, nor another one of the same version."""
    fresh, seen = judgement.fresh.said, memory.lists[found.uuid]
    for mark in fresh.lists if fresh else ():
        if fresh is None or mark.uuid != found.uuid:
            continue
        published = f"{mark.version} was published by {format_time(fresh.issued)}"
        if version_key(found.version) < version_key(mark.version):
            why = f"version {found.version}, and {published}"
            raise Refused("R15", "an older list than the published one", where=found.uuid, why=why, hint="fetch it from its source")
        if version_key(found.version) == version_key(mark.version) and seen.sha512 != mark.sha512:
            hint = "its publisher must give every change a higher hv:version"
            raise Refused("R15", "another list than the published one of this version", where=found.uuid, why=published, hint=hint)


def _names(looking: _Looking, pin: PinnedImageList) -> dict[str, str]:
    """Appliance UUID → name: as the list's own document says, and as accepted statements say of others."""
    said = [verdict.statement for verdict in looking.judgement.verdicts[pin.endorsers] if isinstance(verdict, Accepted)]
    names = {statement.uuid: statement.appliance for statement in said}
    try:
        document = looking.catalogue.image_list(pin.name)
        for listed in document.appliances if document else ():
            appliance = looking.catalogue.appliance(listed.appliance)
            if appliance is not None:
                names[appliance.uuid] = listed.appliance
    except VmkeeperError:
        pass  # the documents' errors are `check`'s to tell; what is endorsed has its name from the statement
    return names


def _endorsers(looking: _Looking, pin: PinnedImageList) -> TrustedEndorsers:
    return looking.judgement.enactments.current.policy.lists[pin.endorsers]
