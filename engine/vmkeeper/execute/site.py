"""Reconcile a site: look, plan, carry out. What is to be done is in the plan's actions; nothing else is looked at."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vmkeeper.clouds.interface import Cloud, InUse
from vmkeeper.execute.credentials import read_credentials
from vmkeeper.execute.home import SiteHome
from vmkeeper.execute.observe import Fetch, View, look
from vmkeeper.execute.post import Post
from vmkeeper.execute.telling import Telling, addresses
from vmkeeper.execute.transfer import Brought, Carried, Means, Transfer, wanted_parts
from vmkeeper.execute.walk import Outcome, walk
from vmkeeper.images.addresses import origin
from vmkeeper.images.cache import ImageCache
from vmkeeper.images.web import Credentials
from vmkeeper.model.site import Site
from vmkeeper.plan.actions import Action
from vmkeeper.plan.plan import Plan
from vmkeeper.plan.site import DeleteImage, HideImage, RegisterImage, ShowImage, SitePlan, UpdateImage, plan_site
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
    connect: Callable[[Site], Cloud] | None = None,
    fetch: Fetch | None = None,
    carried: Carried = _nothing,
    progress: Progress | None = None,
) -> Reconciled:
    """One run at a site. Raises what `look` raises, before anything was done; failures of actions are outcomes.

    carried: images that were brought here on a disk. Killed at any point, the next run ends in the same state: what was
    verified is remembered before it is acted on, and every action is safe to repeat.
    """
    progress = progress or Silent()
    with home.locked():
        view = look(repository, home, name, clock(), connect=connect, fetch=fetch, progress=progress)
        home.remember(view.memory)
        home.keep_site(view.site_file)
        made = plan_view(view, clock(), force_retire=force_retire)
        transfer, cache = transfers(home, view, progress, carried)
        coming = [action for action in made.plan.actions if isinstance(action, RegisterImage)]
        cache.tidy(wanted={digest for action in coming for digest in wanted_parts(action)})
        telling = tellings(home, view, made.plan, cache, clock, progress)
        with telling:
            perform = telling.around(performer(view.cloud, transfer, clock))
            outcomes = walk(made.plan, perform, workers=view.site.transfers.at_once + 1, progress=progress)
        cache.evict(clock(), keep={action.spec.signed.sha512 for action in coming})
    # Without the lock: a handler that takes its time keeps nobody from hiding an image.
    return Reconciled(view, SitePlan(made.plan, (*made.notes, *telling.delivered()), made.refusal), outcomes)


def plan_view(view: View, now: datetime, *, force_retire: bool = False) -> SitePlan:
    """The plan for what was seen."""
    made = plan_site(view.site, view.lists, view.standings, view.images, owner=view.cloud.owner, now=now, head=view.head, force_retire=force_retire)
    return SitePlan(made.plan, (*view.notes, *made.notes), made.refusal)


def transfers(home: SiteHome, view: View, progress: Progress, carried: Carried = _nothing) -> tuple[Transfer, ImageCache]:
    """How the images of a site come, and where they are kept."""
    site = view.site
    cache = ImageCache(home.cache, size=site.cache.size, age=site.cache.age)

    def shown(name: Name, url: str) -> Credentials | None:
        """Credentials are for the servers of the lists that name them, whatever address a list gives for an image."""
        lists = [one.url for one in site.foreign if one.credentials == name and origin(one.url) == origin(url)]
        return read_credentials(home.folder, name, lists[0]) if lists else None

    means = Means(settings=site.transfers, allow=view.pins.fetch.allowed_hosts, credentials=shown, carried=carried)
    return Transfer(cache, means, progress), cache


def tellings(home: SiteHome, view: View, plan: Plan, cache: ImageCache, clock: Callable[[], datetime], progress: Progress) -> Telling:
    """Who is told what the plan does at a site."""
    post = Post(home.folder, view.name, view.site.events, cache.path, view.pins.fetch.allowed_hosts)
    ours = [image for image in view.images if image.owner == view.cloud.owner]
    return Telling(post, plan, ours, addresses(view.lists), clock, progress)


def performer(cloud: Cloud, bring: Bring, clock: Callable[[], datetime]) -> Callable[[Action], str]:
    """What `walk` calls for each action of a site's plan. `clock` stamps images as they are hidden."""

    def perform(action: Action) -> str:
        match action:
            case RegisterImage():
                with bring(action) as brought:
                    image = cloud.upload(brought.spec, brought.file)
                made = f", converted from {brought.spec.source.format}," if brought.spec.source else ""
                return f"{Size(brought.spec.size).human} verified{made} and registered as {image.id}"
            case UpdateImage(image=image_id, spec=spec):
                cloud.update(image_id, spec, None)
                return "updated"
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
