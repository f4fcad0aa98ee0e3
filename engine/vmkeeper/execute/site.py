"""Reconcile a site: look, plan, carry out. What is to be done is in the plan's actions; nothing else is looked at."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vmkeeper.clouds.interface import Cloud, InUse
from vmkeeper.errors import Refused
from vmkeeper.execute.home import SiteHome
from vmkeeper.execute.observe import Fetch, View, look
from vmkeeper.execute.walk import Outcome, walk
from vmkeeper.images.fetch import fetch as fetch_file
from vmkeeper.images.sniff import sniff
from vmkeeper.model.release import Blob
from vmkeeper.model.site import Site
from vmkeeper.plan.actions import Action
from vmkeeper.plan.site import DeleteImage, HideImage, RegisterImage, ShowImage, SitePlan, UpdateImage, plan_site
from vmkeeper.progress import Progress, Silent
from vmkeeper.repository.tree import Repository
from vmkeeper.values import Size

Download = Callable[[RegisterImage], AbstractContextManager[Path]]
"""Brings an image's file, verified (R14, R25, R26), for as long as the context lasts."""

Carried = Callable[[str], Path | None]
"""A file that was brought here on a disk, by the SHA-512 that it should have."""


def _nothing(_sha512: str) -> Path | None:
    return None


_WORKERS = 2
"""Actions at once: one downloads while another hashes."""


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
        perform = performer(view.cloud, downloads(home.cache, view.pins.fetch.allowed_hosts, progress, carried), clock)
        outcomes = walk(made.plan, perform, workers=_WORKERS, progress=progress)
        _tidy(home.cache, made)
    return Reconciled(view, made, outcomes)


def plan_view(view: View, now: datetime, *, force_retire: bool = False) -> SitePlan:
    """The plan for what was seen."""
    made = plan_site(view.site, view.lists, view.standings, view.images, owner=view.cloud.owner, now=now, head=view.head, force_retire=force_retire)
    return SitePlan(made.plan, (*view.notes, *made.notes), made.refusal)


def downloads(cache: Path, allowed: Collection[str], progress: Progress, carried: Carried = _nothing) -> Download:
    """Downloads into a folder, from what was carried here first; a file goes when its context ends well and stays when it does not."""

    @contextmanager
    def download(action: RegisterImage) -> Iterator[Path]:
        spec = action.spec
        target = cache / _cached(spec.sha512)
        here = carried(spec.sha512)
        sources, allow = ([here.as_uri(), action.uri], (*allowed, str(here.parent))) if here else ([action.uri], tuple(allowed))
        fetch_file(sources, Blob(size=spec.size, sha512=spec.sha512), target, allow=allow, progress=_Named(progress, action.subject))
        found = sniff(target, spec.format)
        if found.virtual_size != spec.virtual_size:
            why = f"a guest would see {found.virtual_size}, and {spec.virtual_size} were signed for"
            raise Refused("R14", "the image is not what was endorsed", where=action.subject, why=why)
        yield target
        target.unlink(missing_ok=True)

    return download


class _Named:
    """Progress under the image's name, whatever the file that comes is called."""

    def __init__(self, progress: Progress, subject: str) -> None:
        self._progress = progress
        self._subject = subject

    def step(self, _subject: str, text: str, /) -> None:
        self._progress.step(self._subject, text)

    def amount(self, _subject: str, done: int, total: int, unit: str, /) -> None:
        self._progress.amount(self._subject, done, total, unit)


def _cached(sha512: str) -> str:
    return f"{sha512[:32]}.image"


def _tidy(cache: Path, made: SitePlan) -> None:
    """Remove downloads, finished or not, that no registration of this plan asks for."""
    wanted = {action.spec.sha512[:32] for action in made.plan.actions if isinstance(action, RegisterImage)}
    for path in cache.glob("*") if cache.is_dir() else ():
        if path.is_file() and path.name.split(".")[0] not in wanted:
            path.unlink()


def performer(cloud: Cloud, download: Download, clock: Callable[[], datetime]) -> Callable[[Action], str]:
    """What `walk` calls for each action of a site's plan. `clock` stamps images as they are hidden."""

    def perform(action: Action) -> str:
        match action:
            case RegisterImage(spec=spec):
                with download(action) as file:
                    image = cloud.upload(spec, file)
                return f"{Size(spec.size).human} verified and registered as {image.id}"
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
