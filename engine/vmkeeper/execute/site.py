"""Reconcile a site: look, plan, carry out. What is to be done is in the plan's actions; nothing else is looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import cast

from vmkeeper.clouds import owner_of
from vmkeeper.clouds.interface import Cloud, InUse
from vmkeeper.contexts.sandbox import render_templates
from vmkeeper.execute.credentials import read_credentials
from vmkeeper.execute.home import SiteHome
from vmkeeper.execute.observe import Fetch, look
from vmkeeper.execute.post import Post
from vmkeeper.execute.telling import Telling, addresses, at_place
from vmkeeper.execute.there import There, keep_there, read_there, there_now
from vmkeeper.execute.transfer import Brought, Carried, Means, Transfer, wanted_parts
from vmkeeper.execute.view import Connect, View
from vmkeeper.execute.walk import Outcome, walk
from vmkeeper.images.addresses import origin
from vmkeeper.images.cache import ImageCache
from vmkeeper.images.web import Credentials
from vmkeeper.model.appliance import Format
from vmkeeper.model.site import Site
from vmkeeper.plan.actions import Action
from vmkeeper.plan.adopt import Conversion, Converted, plan_adoption
from vmkeeper.plan.formats import is_plain
from vmkeeper.plan.imageactions import AdoptImage, DeleteImage, HideImage, RegisterImage, ShowImage, SiteAction, UpdateImage
from vmkeeper.plan.places import merged
from vmkeeper.plan.plan import Plan
from vmkeeper.plan.site import SitePlan, plan_site
from vmkeeper.plan.waiting import waiting
from vmkeeper.plan.wanted import Note
from vmkeeper.progress import Progress, Silent
from vmkeeper.repository.tree import Repository
from vmkeeper.values import Name, Size

Bring = Callable[[RegisterImage], AbstractContextManager[Brought]]
"""Brings an image's file, verified (R14, R25, R26) and in the wanted format, for as long as the context lasts."""


def _nothing(_sha512: str) -> Path | None:
    return None


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a run saw, planned and did."""

    view: View
    made: SitePlan
    outcomes: tuple[Outcome, ...]


def reconcile(
    repository: Repository,
    home: SiteHome,
    name: str,
    clock: Callable[[], datetime],
    *,
    force_retire: bool = False,
    adopt: bool = False,
    connect: Connect | None = None,
    fetch: Fetch | None = None,
    carried: Carried = _nothing,
    progress: Progress | None = None,
    stop: Callable[[], bool] = lambda: False,
    stage: Callable[[str], AbstractContextManager[object]] = nullcontext,
) -> Reconciled:
    """One run at a site. Raises what `look` raises, before anything was done; failures of actions are outcomes.

    adopt: take over what other tools made, and do nothing else. carried: images that were brought here on a disk. stop: see
    `walk`. stage: entered for as long as a stage takes: look, act. Killed at any point, the next run ends in the same state:
    what was verified is remembered before it is acted on, and every action is safe to repeat.
    """
    progress = progress or Silent()
    with home.locked():
        with stage("look"):
            view = look(repository, home, name, clock(), connect=connect, fetch=fetch, progress=progress)
        home.remember(view.memory)
        home.keep_site(view.site_file)
        there, damaged = read_there(home.folder)
        plans = plan_places(view, clock(), there, conversions(home, view.site), force_retire=force_retire, adopt=adopt)
        made = _beside(view, merged(plans), damaged)
        transfer, cache = transfers(home, view, progress, carried)
        coming = [action for action in made.plan.actions if isinstance(action, RegisterImage)]
        cache.tidy(wanted={digest for action in coming for digest in wanted_parts(action)})
        telling = tellings(home, view, made.plan, cache, clock, progress)
        with stage("act"), telling:
            perform = telling.around(performers({one.name: one.cloud for one in view.places.values()}, transfer, clock))
            outcomes = walk(made.plan, perform, workers=view.site.transfers.at_once * len(view.places) + 1, progress=progress, stop=stop)
        cache.evict(clock(), keep={action.spec.signed.sha512 for action in coming})
        now = {name: there_now(place.ours, name, outcomes, plans[name].missing) for name, place in view.places.items()}
        keep_there(home.folder, {**_known(view, there), **now})
    # Without the lock: a handler that takes its time keeps nobody from hiding an image.
    return Reconciled(view, replace(made, notes=(*made.notes, *telling.delivered())), outcomes)


def plan_view(view: View, now: datetime, *, home: SiteHome | None = None, force_retire: bool = False, adopt: bool = False) -> SitePlan:
    """The plan for what was seen. home: where it is written down what was there after the last run, and what was converted to what."""
    there, damaged = read_there(home.folder) if home else ({}, ())
    known = conversions(home, view.site) if home else _unknown
    return _beside(view, merged(plan_places(view, now, there, known, force_retire=force_retire, adopt=adopt)), damaged)


def plan_places(
    view: View, now: datetime, there: There, converted: Converted, *, force_retire: bool = False, adopt: bool = False
) -> dict[str, SitePlan]:
    """The plan of each place that could be listed, as if it were the only one. there, converted: see `read_there`, `conversions`."""
    plans = {}
    for name, place in view.places.items():
        said = view.decided[name]
        if adopt:
            made = plan_adoption(
                said.site, said.lists, said.standings, place.images, owner=place.cloud.owner, now=now, head=view.head, converted=converted
            )
            plans[name] = replace(made, notes=(*said.notes, *made.notes), missing=there.get(name, frozenset()))
            continue
        made = plan_site(
            said.site,
            said.lists,
            said.standings,
            place.images,
            owner=place.cloud.owner,
            now=now,
            head=view.head,
            force_retire=force_retire,
            had=there.get(name, ()),
            render=render_templates,
        )
        plans[name] = replace(made, notes=(*said.notes, *made.notes), waiting=waiting(said.site, said.lists, said.decisions, now))
    return plans


def conversions(home: SiteHome, site: Site) -> Converted:
    """What is written down of conversions that were made at a site."""
    cache = _cache(home, site)

    def known(sha512: str) -> tuple[Conversion, ...]:
        found = [cache.converted(sha512, form) for form in site.formats]
        return tuple(Conversion(cast(Format, one.format), one.size, one.virtual_size, one.sha512) for one in found if one and is_plain(one.format))

    return known


def _cache(home: SiteHome, site: Site) -> ImageCache:
    return ImageCache(home.cache, size=site.cache.size, age=site.cache.age)


def _unknown(_sha512: str) -> tuple[Conversion, ...]:
    return ()


def _beside(view: View, made: SitePlan, notes: tuple[Note, ...]) -> SitePlan:
    """A plan with what is to be said of the site as a whole."""
    lost = tuple(Note(f"place {name}", f"it cannot be listed, so nothing is done there: {error}") for name, error in view.unreachable.items())
    return replace(made, notes=(*view.notes, *lost, *_former(view), *notes, *made.notes))


def _former(view: View) -> Iterator[Note]:
    """Images with a mark of this site that none of its places has: nobody looks after them any more."""
    ours = {owner_of(view.name, name) for name in view.decided}
    for name, place in view.places.items():
        marks = Counter(image.owner for image in place.images if image.owner is not None and image.owner not in ours)
        for owner, count in sorted(marks.items()):
            if owner.partition("/")[0] == owner_of(view.name):
                where = f"place {name}" if name else "cloud"
                yield Note(where, f"{count} image{'' if count == 1 else 's'} with the mark {owner}, which the site has not (any more): left alone")


def _known(view: View, there: There) -> There:
    """What is known of the places that the site still has."""
    return {name: keys for name, keys in there.items() if name in view.decided}


def transfers(home: SiteHome, view: View, progress: Progress, carried: Carried = _nothing) -> tuple[Transfer, ImageCache]:
    """How the images of a site come, and where they are kept."""
    site = view.site
    cache = _cache(home, site)

    def shown(name: Name, url: str) -> Credentials | None:
        """Credentials are for the servers of the lists that name them, whatever address a list gives for an image."""
        lists = [one.url for one in site.foreign if one.credentials == name and origin(one.url) == origin(url)]
        return read_credentials(home.folder, name, lists[0]) if lists else None

    means = Means(settings=site.transfers, allow=view.pins.fetch.allowed_hosts, credentials=shown, carried=carried)
    return Transfer(cache, means, progress), cache


def tellings(home: SiteHome, view: View, plan: Plan, cache: ImageCache, clock: Callable[[], datetime], progress: Progress) -> Telling:
    """Who is told what the plan does at a site."""
    post = Post(home.folder, view.name, view.site.events, cache.path, view.pins.fetch.allowed_hosts)
    ours = [replace(image, id=at_place(image.id, place.name)) for place, image in view.ours()]
    return Telling(post, plan, ours, addresses(view.lists), clock, progress)


def performers(clouds: Mapping[str, Cloud], bring: Bring, clock: Callable[[], datetime]) -> Callable[[Action], str]:
    """What `walk` calls for each action of the plan of a site with these places."""
    by_place = {name: performer(cloud, bring, clock) for name, cloud in clouds.items()}

    def perform(action: Action) -> str:
        if not isinstance(action, SiteAction):
            raise TypeError(f"a site does not do {action.kind}")
        return by_place[action.place](action)

    return perform


def performer(cloud: Cloud, bring: Bring, clock: Callable[[], datetime]) -> Callable[[Action], str]:
    """The same for one place, whatever it is called. `clock` stamps images as they are hidden."""

    def perform(action: Action) -> str:
        match action:
            case RegisterImage():
                with bring(action) as brought:
                    image = cloud.upload(brought.spec, brought.file)
                made = f", converted from {brought.spec.source.format}," if brought.spec.source else ""
                return f"{Size(brought.spec.size).human} verified{made} and registered as {image.id}"
            case UpdateImage(image=image_id, spec=spec, hidden_since=since):
                cloud.update(image_id, spec, since)
                return "updated"
            case AdoptImage(image=image_id, spec=spec):
                cloud.adopt(image_id, spec)
                return "ours from now on"
            case ShowImage(image=image_id, spec=spec):
                cloud.update(image_id, spec, None)
                return "usable again"
            case HideImage(image=image_id, spec=spec):
                cloud.update(image_id, spec, clock())
                return f"no longer usable: {action.reason}"
            case DeleteImage(image=image_id):
                return _delete(cloud, image_id)
        raise TypeError(f"a site does not do {action.kind}")

    return perform


def _delete(cloud: Cloud, image_id: str) -> str:
    try:
        cloud.delete(image_id)
    except InUse:
        return "left for now: a machine uses it"
    return "deleted"
