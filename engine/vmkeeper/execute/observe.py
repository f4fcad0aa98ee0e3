"""What is there at a site's next look: the followed repository, its tags, the image lists, and what the cloud holds.

Nothing is believed before it is verified, and what was verified is remembered before anything is done about it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.clouds import connect as connect_cloud
from vmkeeper.clouds.interface import Cloud, CloudImage, ImageSpec
from vmkeeper.errors import Refused, UserError, VmkeeperError
from vmkeeper.execute.home import SiteHome
from vmkeeper.execute.listing import LIMIT, list_url, verified_list
from vmkeeper.execute.verification import PREFIXES, judge
from vmkeeper.images.web import read_url
from vmkeeper.lists.hepix import HepixList
from vmkeeper.model.site import Site, Subscription
from vmkeeper.plan.offers import offers_of, standing_of
from vmkeeper.plan.wanted import Current, NotAllowed, Note, Offer, Standing, Subscribed, Unusable
from vmkeeper.progress import Progress, Silent
from vmkeeper.repository.tags import raw_tags, root_commit
from vmkeeper.repository.tree import Repository
from vmkeeper.trust.approval import Decision, decide
from vmkeeper.trust.memory import Memory, at, with_tags
from vmkeeper.trust.pins import PinnedEndorsers, PinnedImageList, Pins
from vmkeeper.trust.verify import Accepted, Verdict
from vmkeeper.values import Version, sha512_hex

Fetch = Callable[[str], bytes]
"""Brings a signed list by its URL."""


@dataclass(frozen=True, slots=True)
class View:
    """All that a site's plan is made from, and the memory to keep once it is accepted."""

    name: str
    head: str
    pins: Pins
    site: Site
    lists: tuple[Subscribed, ...]
    standings: Mapping[tuple[str, str, Version], Standing]
    decisions: tuple[Decision, ...]
    notes: tuple[Note, ...]
    memory: Memory
    cloud: Cloud
    images: tuple[CloudImage, ...]


@dataclass(slots=True)
class _Looking:
    """One look: what it is given, and what it has seen so far."""

    catalogue: Catalogue
    pins: Pins
    home: SiteHome
    now: datetime
    fetch: Fetch
    progress: Progress
    head: str
    site: Site
    memory: Memory
    judged: dict[str, tuple[Verdict, ...]] = field(default_factory=dict)
    lists: list[Subscribed] = field(default_factory=list)
    standings: dict[tuple[str, str, Version], Standing] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


def mainline_head(repository: Repository) -> str:
    """The head of the followed branch: `main`, unless git's configuration vmkeeper.mainline names another."""
    branch = repository.config("vmkeeper.mainline") or "main"
    try:
        return repository.resolve(f"refs/heads/{branch}")
    except UserError as error:
        raise UserError(f"there is no branch {branch} to follow", where=error.where, hint="name it: git config vmkeeper.mainline BRANCH") from None


def site_cloud(repository: Repository, home: SiteHome, name: str) -> Cloud:
    """The cloud of a site as its document at the followed branch describes it."""
    return connect_cloud(site_document(Catalogue.at(repository, mainline_head(repository)), name).platform, site=name, folder=home.cloud)


def site_document(catalogue: Catalogue, name: str) -> Site:
    """sites/NAME.yaml; raises UserError where there is none, Problems where it is wrong."""
    site = catalogue.site(name)
    if site is None:
        raise UserError(f"there is no site {name} in this repository", hint=f"sites are {', '.join(catalogue.names('sites')) or 'not there yet'}")
    return site


def look(
    repository: Repository,
    home: SiteHome,
    name: str,
    now: datetime,
    *,
    connect: Callable[[Site], Cloud] | None = None,
    fetch: Fetch | None = None,
    progress: Progress | None = None,
) -> View:
    """See what the followed repository, its lists and the cloud say at a time. `connect` gives the site's cloud.

    A list that cannot be had or trusted is reported in the view and stops nothing else. Raises Refused where the
    repository (R1), the clock (R13) or a known tag (R8) cannot be trusted: then nothing can be concluded.
    """
    pins, head = home.pins(), mainline_head(repository)
    memory = at(home.memory(), now, pins.clock_skew)
    root = root_commit(repository, head)
    if root != pins.repository:
        hint = "name the repository that the site pinned, with -C"
        raise Refused("R1", "this is another repository than the site pinned", why=f"root commit {root}, pinned {pins.repository}", hint=hint)
    catalogue = Catalogue.at(repository, head)
    site = site_document(catalogue, name)
    cloud = connect(site) if connect else connect_cloud(site.platform, site=name, folder=home.cloud)
    images = cloud.images()
    looking = _Looking(catalogue, pins, home, now, fetch or partial(_fetch, pins), progress or Silent(), head, site, memory)
    _see_tags(looking, repository)
    marked = [image.spec for image in images if image.spec is not None and image.owner == cloud.owner]
    for subscription in site.subscribe:
        _see_list(looking, subscription, marked)
    return View(
        name=name,
        head=head,
        pins=pins,
        site=site,
        lists=tuple(looking.lists),
        standings=looking.standings,
        decisions=tuple(looking.decisions),
        notes=tuple(looking.notes),
        memory=looking.memory,
        cloud=cloud,
        images=images,
    )


def _see_tags(looking: _Looking, repository: Repository) -> None:
    """Judge all tags under each endorser list that counts, and remember what was accepted (R8)."""
    present = {name: sha512_hex(raw) for name, raw in raw_tags(repository, *PREFIXES).items() if raw is not None}
    accepted: dict[str, str] = {}
    for pin in looking.pins.image_lists:
        if pin.endorsers not in looking.judged:
            looking.progress.step(pin.endorsers, f"verifying {len(present)} signed tags")
            pinned = _pinned(looking.pins, pin)
            verdicts = judge(repository, looking.head, looking.pins.repository, pinned, looking.now, looking.pins.clock_skew)
            looking.judged[pin.endorsers] = verdicts
            accepted |= {verdict.tag: verdict.sha512 for verdict in verdicts if isinstance(verdict, Accepted)}
    looking.memory = with_tags(looking.memory, accepted, present)


def _see_list(looking: _Looking, subscription: Subscription, marked: list[ImageSpec]) -> None:
    """One list, and what is to be thought of its offers and of the site's images that came from it."""
    pin = looking.pins.image_list(subscription.list)
    if pin is None:
        looking.lists.append(Subscribed(subscription.list, "", Unusable("the site has not pinned this list; pin it with: vmkeeper site init")))
        return
    found, names = _list(looking, subscription, pin), _names(looking, pin)
    offers: tuple[Offer, ...] = ()
    if isinstance(found, HepixList):
        offers, notes = offers_of(found, subscription, names)
        looking.notes += notes
    state = Current(found.expires, offers) if isinstance(found, HepixList) else found
    looking.lists.append(Subscribed(pin.name, pin.uuid, state))
    specs = [*(offer.spec for offer in offers), *(spec for spec in marked if spec.list == pin.uuid)]
    called = {spec.uuid: names.get(spec.uuid, spec.appliance) for spec in specs}
    decisions = decide(
        looking.judged[pin.endorsers],
        pinned=_pinned(looking.pins, pin),
        approve=looking.site.approve,
        block=looking.site.block,
        releases=sorted({(called[spec.uuid], spec.version) for spec in specs}),
    )
    looking.decisions += decisions
    looking.standings |= _standings(looking, pin, decisions, names, {name: uuid for uuid, name in called.items()})


def _standings(
    looking: _Looking, pin: PinnedImageList, decisions: tuple[Decision, ...], names: Mapping[str, str], others: Mapping[str, str]
) -> dict[tuple[str, str, Version], Standing]:
    """Standings by UUID. A UUID belongs to the one appliance that `names` gives it; `others` (name → UUID) are from images and offers."""
    pinned, verdicts = _pinned(looking.pins, pin), looking.judged[pin.endorsers]
    known = {**others, **{name: uuid for uuid, name in names.items()}}
    made: dict[tuple[str, str, Version], Standing] = {}
    for decision in decisions:
        standing = standing_of(decision, looking.site, pinned, verdicts)
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
        found, looking.memory = verified_list(looking.fetch(url), pin, looking.home.ca, looking.memory, looking.now, looking.pins.clock_skew)
    except VmkeeperError as error:
        return Unusable(str(error), last.expires if last else None)
    return found


def _names(looking: _Looking, pin: PinnedImageList) -> dict[str, str]:
    """Appliance UUID → name: as the list's own document says, and as accepted statements say of others."""
    said = [verdict.statement for verdict in looking.judged[pin.endorsers] if isinstance(verdict, Accepted)]
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


def _pinned(pins: Pins, pin: PinnedImageList) -> PinnedEndorsers:
    found = pins.endorser_list(pin.endorsers)
    assert found is not None  # the pins' own rule
    return found


def _fetch(pins: Pins, url: str) -> bytes:
    return read_url(url, limit=LIMIT, allow=pins.fetch.allowed_hosts)
