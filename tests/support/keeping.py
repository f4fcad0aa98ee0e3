"""A site that follows a producer, kept as a service keeps it: runs through a `Keeper`, with a cloud in memory."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from support.here import OWNER, Here
from vmkeeper.clouds.memory import MemoryCloud
from vmkeeper.execute.metering import MeteredCloud
from vmkeeper.execute.service import Keeper, Outlets, Visit, Visiting
from vmkeeper.execute.site import Reconciled, reconcile
from vmkeeper.model.status import Status


class Kept:
    """`visit` is one run as the service does it; `fault` is called by the cloud at each call."""

    def __init__(self, here: Here, **outlets: Any) -> None:
        self.here = here
        self.fault: Any = None
        self.stop = False
        self.keeper = Keeper(here.home, "here", lambda: here.now, outlets=Outlets(**outlets))

    def run(self, visiting: Visiting) -> Reconciled:
        cloud = MeteredCloud(MemoryCloud(OWNER, self.here.world, self.fault), visiting.progress)
        repository = self.here.producer.repo.repository
        given = {"connect": lambda _: {"": cloud}, "progress": visiting.progress, "stop": visiting.stop, "stage": visiting.progress.stage}
        return reconcile(repository, self.here.home, "here", lambda: self.here.now, **given)

    def visit(self, at: datetime | None = None) -> Visit:
        self.here.now = at or self.here.now
        return self.keeper.visit(self.run, stop=lambda: self.stop)

    @property
    def status(self) -> Status:
        return Status.model_validate(json.loads((self.here.home.folder / "status.json").read_bytes()))
