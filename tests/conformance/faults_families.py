"""The clouds that the fault campaign is run against, each with a look behind the client's back."""

from __future__ import annotations

import multiprocessing
import os
import secrets
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conformance.faults_harness import Disturbed, Thing
from conformance.faults_scenario import LEGACY, LIFE, Ran, Step, content, run, spec, uuid_of
from support.faultproxy import KINDS, Faults, proxies
from vmkeeper.clouds.interface import Cloud, CloudImage
from vmkeeper.clouds.memory import MemoryCloud, World
from vmkeeper.errors import Transient

DISK = b"\xeb\xfe" + bytes(508) + b"\x55\xaa" + bytes(256 * 1024 - 512)
LEGACY_MARKS = {"CLOUDKEEPER_APPLIANCE_ID": uuid_of(LEGACY), "CLOUDKEEPER_APPLIANCE_VERSION": "1"}
"""What cloudkeeper writes on its images."""
QUICK, PATIENT = 1.5, 30.0
"""Seconds that a client waits for an answer: where one is withheld, and else."""


SITE_CLOUD = MemoryCloud
"""The site's own client of the cloud in memory."""


class Killed(BaseException):
    """Stands for SIGKILL in clouds that are in memory."""


def seen_image(image: CloudImage, owner: str) -> Thing:
    """An image as a listing shows it, without what differs from life to life."""
    mine = image.owner == owner
    said = image.spec
    label = f"{said.appliance} {said.version}" if said and mine else image.name
    detail = (image.name, str(said.expires), str(said.audience.visibility), f"alias {said.alias}", f"drift {image.drift}") if said else ()
    return Thing("image", "ours" if mine else image.owner or "", label, image.state, detail)


class MemoryFamily:
    """The cloud in memory: faults strike at its own hooks."""

    name = "memory"
    steps = LIFE
    kinds = ("error", "kill")

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._world = World()
        self._owner = ""
        self._moment: Callable[[], None] | None = None

    def begin(self) -> None:
        self._world = World()
        self._owner = f"vmkeeper:site-{secrets.token_hex(4)}"
        self._world.plant("legacy-1 by cloudkeeper", LEGACY_MARKS, content(DISK, f"{LEGACY} 1"))
        look_alikes(lambda owner: MemoryCloud(owner, self._world), self._world.plant, self._owner, DISK, self._folder)

    def run(self, step: Step, kind: str = "", at: int = 0, *, fresh: bool = False) -> Disturbed:
        labels: list[str] = []
        struck: list[bool] = []

        def fault(method: str, moment: str) -> None:
            labels.append(f"{method} {moment}")
            if self._moment is not None and moment != "before":
                self._moment()
            if len(labels) == at and kind:
                struck.append(True)
                raise Killed if kind == "kill" else Transient(f"{method} {moment}")

        try:
            ran = run(SITE_CLOUD(self._owner, self._world, fault), step, DISK, self._folder)
        except Killed:
            ran = Ran(problems=["killed"])
        return Disturbed(ran, tuple(labels), bool(struck))

    def inventory(self) -> Iterable[Thing]:
        images = MemoryCloud(self._owner, self._world).images()
        yield from (seen_image(image, self._owner) for image in images)
        for image in images:
            if image.owner == self._owner and image.spec and image.spec.alias and image.state == "active":
                yield Thing("alias", "ours", image.spec.alias)

    glance = inventory

    def watch(self, moment: Any) -> None:
        self._moment = moment

    def reset(self) -> None:
        self._world = World()


def look_alikes(connect: Callable[[str], Cloud], plant: Callable[[str], object], owner: str, disk: bytes, folder: Path) -> None:
    """What others have: names like ours, and the same image of a site whose name begins as ours does."""
    plant("debian-12-latest")
    plant("debian-12-1")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "theirs.raw"
    file.write_bytes(content(disk, "debian-12 1"))
    connect("vmkeeper:site-elsewhere").upload(spec(disk, "debian-12 1"), file)


@dataclass(frozen=True)
class Config:
    """How a process reaches a cloud. `connect`: MODULE:FUNCTION, which is called with `settings`, owner and timeout."""

    connect: str
    settings: Mapping[str, Any]
    owner: str

    def cloud(self, timeout: float, who: str = "new") -> Cloud:
        """who: `new` is a client that has still to log in; others may go on with what an earlier one of this name has."""
        module, _, function = self.connect.partition(":")
        __import__(module)
        made: Cloud = getattr(sys.modules[module], function)({**self.settings, "who": who}, self.owner, timeout)
        return made


def child(config: Config, step: Step, disk: bytes, folder: str) -> None:
    """A run in a process that will be killed."""
    run(config.cloud(PATIENT), step, disk, Path(folder))


PRELOADED = ("conformance.faults_families",)


def forkserver(modules: Sequence[str]) -> Any:
    """What forks processes for runs, each from one that has the modules imported and runs nothing."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
    try:
        made = multiprocessing.get_context("forkserver")
        made.set_forkserver_preload(list(modules))
        process = made.Process(target=int)
        process.start()
        process.join()
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)
    return made


class HttpFamily(ABC):
    """A cloud behind a proxy that spoils requests. Subclasses say how to connect, and look at the server."""

    name = ""
    steps = LIFE
    kinds: tuple[str, ...] = KINDS
    disk = DISK
    greeting = 0
    """Requests by which a new client logs in, each of which takes long."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.owner = ""
        self.faults = Faults()
        self._stack = ExitStack()
        self._processes: Any = None

    def serve(self, upstreams: dict[str, str], label: Callable[[str, str, bytes], tuple[str, bool]]) -> dict[str, str]:
        """Put proxies before servers; their addresses by the same names."""
        made = proxies(upstreams, self.faults, label)
        for one in made.values():
            self._stack.enter_context(one)
        return {name: one.url for name, one in made.items()}

    def close(self) -> None:
        self._stack.close()

    @abstractmethod
    def config(self) -> Config:
        """How a client is connected."""

    @abstractmethod
    def inventory(self) -> Iterable[Thing]:
        """Everything that is there."""

    def glance(self) -> Iterable[Thing]:
        return self.inventory()

    @abstractmethod
    def furnish(self) -> None:
        """What others have at the beginning of a life."""

    @abstractmethod
    def reset(self) -> None:
        """Take everything away."""

    def begin(self) -> None:
        self.reset()
        self.owner = f"vmkeeper:site-{secrets.token_hex(4)}"
        self.furnish()

    def watch(self, moment: Any) -> None:
        self.faults.observe = moment

    def run(self, step: Step, kind: str = "", at: int = 0, *, fresh: bool = False) -> Disturbed:
        kept = 0 if fresh or kind.startswith("kill") or at <= self.greeting else self.greeting
        who = "new" if not kept and (fresh or kind) else "spoilt" if kind else "calm"
        self.faults.begin(kind, at - kept)
        if kind.startswith("kill"):
            ran = self._killed(step)
        else:
            ran = run(self.config().cloud(QUICK if kind == "silent" else PATIENT, who), step, self.disk, self.folder)
        labels = tuple(one.label for one in self.faults.seen)
        return Disturbed(ran, (*("log in" for _ in range(kept)), *labels), self.faults.struck)

    def _killed(self, step: Step) -> Ran:
        """In a process of its own, forked from one that has everything imported and runs nothing."""
        self._processes = self._processes or forkserver([*PRELOADED, self.config().connect.partition(":")[0]])
        process = self._processes.Process(target=child, args=(self.config(), step, self.disk, str(self.folder)))
        process.start()
        self.faults.victim = process.pid
        process.join()
        return Ran(problems=[f"ended with {process.exitcode}"])
