"""Counts what a run does: bytes that come, calls of the cloud and their time, signs of life. It changes nothing of what passes."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from vmkeeper.clouds.interface import Cloud, CloudImage, CloudMachine, ImageSpec, MachineSpec
from vmkeeper.execute.secrets import scrubbed
from vmkeeper.progress import Progress


class Meter:
    """A progress that hands everything on, without secrets, and counts. Called from several threads at once."""

    def __init__(self, progress: Progress, alive: Callable[[], None] = lambda: None) -> None:
        self._progress = progress
        self._alive = alive
        self._lock = threading.Lock()
        self._last: dict[str, int] = {}
        self.fetched = 0
        """Bytes of files that came."""
        self.uploaded = 0
        """Bytes that went to clouds."""
        self.calls: Counter[tuple[str, str]] = Counter()
        """(kind, place) → calls of the cloud."""
        self.seconds: defaultdict[str, float] = defaultdict(float)
        """By stage."""

    def step(self, subject: str, text: str) -> None:
        """See `Progress`."""
        self._alive()
        self._progress.step(scrubbed(subject), scrubbed(text))

    def amount(self, subject: str, done: int, total: int, unit: str) -> None:
        """See `Progress`."""
        self._alive()
        if unit == "B" and total:
            with self._lock:
                before = self._last.get(subject, 0)
                self.fetched += done - before if done >= before else done
                self._last[subject] = done
        self._progress.amount(scrubbed(subject), done, total, unit)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of a stage."""
        began = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[name] += time.monotonic() - began

    @contextmanager
    def call(self, kind: str, place: str) -> Iterator[None]:
        """Count a call of a cloud and its time."""
        self._alive()
        with self._lock:
            self.calls[kind, place] += 1
        with self.stage(f"cloud {kind}"):
            yield
        self._alive()


class MeteredCloud:
    """A cloud whose calls are counted."""

    def __init__(self, cloud: Cloud, meter: Meter, place: str = "") -> None:
        self._cloud = cloud
        self._meter = meter
        self._place = place
        self.owner = cloud.owner

    def images(self) -> tuple[CloudImage, ...]:
        """See `ImageCloud`."""
        with self._meter.call("images", self._place):
            return self._cloud.images()

    def upload(self, spec: ImageSpec, file: Path) -> CloudImage:
        """See `ImageCloud`."""
        with self._meter.call("upload", self._place):
            made = self._cloud.upload(spec, file)
        self._meter.uploaded += spec.size
        return made

    def update(self, id: str, spec: ImageSpec, hidden_since: datetime | None) -> None:  # noqa: A002
        """See `ImageCloud`."""
        with self._meter.call("update", self._place):
            self._cloud.update(id, spec, hidden_since)

    def adopt(self, id: str, spec: ImageSpec) -> None:  # noqa: A002
        """See `ImageCloud`."""
        with self._meter.call("adopt", self._place):
            self._cloud.adopt(id, spec)

    def delete(self, id: str) -> None:  # noqa: A002
        """See `ImageCloud`."""
        with self._meter.call("delete", self._place):
            self._cloud.delete(id)

    def machines(self) -> tuple[CloudMachine, ...]:
        """See `MachineCloud`."""
        return self._cloud.machines()

    def start(self, spec: MachineSpec) -> CloudMachine:
        """See `MachineCloud`."""
        return self._cloud.start(spec)

    def stop(self, id: str) -> None:  # noqa: A002
        """See `MachineCloud`."""
        self._cloud.stop(id)

    def console(self, id: str) -> str:  # noqa: A002
        """See `MachineCloud`."""
        return self._cloud.console(id)
