"""Where a site's handlers, their queues and the files for them are: all of it in the site's own folder."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vmkeeper.errors import Transient, UserError
from vmkeeper.execute.credentials import read_credentials
from vmkeeper.execute.decisions import read_site
from vmkeeper.execute.delivery import Delivery
from vmkeeper.execute.handlers import FileTaker, ProgramTaker, Taker
from vmkeeper.execute.home import SiteHome
from vmkeeper.execute.imagefolder import Find, ImageFolder
from vmkeeper.execute.spool import Spool
from vmkeeper.execute.webhook import WebhookTaker
from vmkeeper.images.cache import ImageCache
from vmkeeper.lists.events import Event, concerns
from vmkeeper.model.handler import Handler
from vmkeeper.plan.wanted import Note
from vmkeeper.progress import Progress, Silent
from vmkeeper.values import Name


@dataclass(frozen=True, slots=True)
class Post:
    """A site's handlers. home: the site's own folder; find: looks into its cache; allow: hosts that may be told although not public."""

    home: Path
    site: Name
    handlers: tuple[Handler, ...]
    find: Find
    allow: Collection[str] = ()

    @property
    def spool(self) -> Path:
        """The folder of what waits."""
        return self.home / "events" / "spool"

    @property
    def images(self) -> Path:
        """The folder of image files for programs."""
        return self.home / "images"

    def delivery(self, spool: Spool, clock: Callable[[], datetime], progress: Progress | None = None) -> Delivery:
        """A turn of delivering what waits there."""
        folder = ImageFolder(self.images, self.find)
        return Delivery(spool, self.handlers, self._taker, forget=folder.forget, clock=clock, progress=progress or Silent())

    def deliver(self, spool: Spool, clock: Callable[[], datetime], progress: Progress | None = None) -> tuple[Note, ...]:
        """Try now to have everything taken that waits."""
        for handler in self.handlers:
            spool.enrol(handler)
        delivery = self.delivery(spool, clock, progress)
        delivery.start()
        return delivery.finish()

    def skip(self, spool: Spool, handler: Handler) -> Event | None:
        """Leave out the first event that waits for a handler; None where none does. Raises Transient while events are delivered."""
        with spool.delivering() as ours:
            if not ours:
                raise Transient("another run delivers events at this site", where=str(self.spool), hint="wait for it to end")
            queue = spool.queue(handler.name)
            for number in spool.numbers(queue.taken) if queue else ():
                event = spool.read(number)
                if queue and concerns(handler, event):
                    spool.save(
                        handler.name, queue.model_copy(update={"taken": number, "lost": queue.lost + 1, "attempts": 0, "error": "", "failed": None})
                    )
                    return event
        return None

    def _taker(self, handler: Handler, stop: threading.Event) -> Taker:
        events = self.home / "events"
        if handler.program is not None:
            folder = ImageFolder(self.images, self.find)
            program, log = self.home / "handlers" / handler.program, events / f"{handler.name}.log"
            return ProgramTaker(handler.name, program, log, folder.variables, timeout=handler.timeout, find=folder.restore, stop=stop)
        if handler.webhook is not None:
            name, url = handler.credentials, handler.webhook
            return WebhookTaker(
                url,
                allow=self.allow,
                timeout=handler.timeout,
                stop=stop,
                credentials=lambda: read_credentials(self.home, name, url) if name else None,
            )
        return FileTaker(events / (handler.file or handler.name))


def site_post(home: SiteHome, name: str) -> Post:
    """The handlers of a site, as its file said that was last in force here. Raises UserError where nothing was reconciled yet."""
    pins, data = home.pins(), home.site_file()
    if pins.site is None or pins.site.name != name or data is None:
        raise UserError(f"nothing was reconciled at {name} yet", where=str(home.folder), hint=f"vmkeeper reconcile {name}")
    site = read_site(data, name)
    cache = ImageCache(home.cache, size=site.cache.size, age=site.cache.age)
    return Post(home.folder, name, site.events, cache.path, pins.fetch.allowed_hosts)
