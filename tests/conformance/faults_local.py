"""The cloud on this computer in the fault campaign: what is spoilt is a change to the file system."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conformance.faults_families import DISK, PRELOADED, forkserver, look_alikes
from conformance.faults_harness import Disturbed, Thing
from conformance.faults_scenario import LIFE, Ran, Step, run
from support.killer import CHANGES, dies_at
from vmkeeper.clouds.local import LocalCloud


def child(folder: str, owner: str, step: Step, at: int) -> None:
    """A run that kills itself before one of its changes."""
    dies_at(at)
    run(LocalCloud(Path(folder), owner=owner), step, DISK, Path(folder).parent / "files")


@contextmanager
def counted(strike: Callable[[int, str], None]) -> Iterator[None]:
    """Call `strike(number, name)` before each change to the file system."""
    there, count = {name: getattr(os, name) for name in CHANGES}, [0]

    def wrapped(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def changing(*args: Any, **options: Any) -> Any:
            count[0] += 1
            strike(count[0], name)
            return call(*args, **options)

        return changing

    for name, call in there.items():
        setattr(os, name, wrapped(name, call))
    try:
        yield
    finally:
        for name, call in there.items():
            setattr(os, name, call)


class LocalFamily:
    """A folder. Nothing can be taken over there, so its life begins with the first image."""

    name = "local"
    kinds = ("error", "full", "kill")
    steps = LIFE[1:]

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "cloud"
        self._files = folder / "files"
        self._owner = ""
        self._moment: Callable[[], None] | None = None
        self._processes: multiprocessing.context.BaseContext | None = None

    def begin(self) -> None:
        self.reset()
        self._owner = f"vmkeeper:site-{secrets.token_hex(4)}"
        (self._folder / "images").mkdir(parents=True)
        look_alikes(lambda owner: LocalCloud(self._folder, owner=owner), self._plant, self._owner, DISK, self._files)

    def run(self, step: Step, kind: str = "", at: int = 0, *, fresh: bool = False) -> Disturbed:
        if kind == "kill":
            self._processes = self._processes or forkserver([*PRELOADED, "conformance.faults_local"])
            process = self._processes.Process(target=child, args=(str(self._folder), self._owner, step, at))  # type: ignore[attr-defined]
            process.start()
            process.join()
            return Disturbed(Ran(problems=[f"ended with {process.exitcode}"]), ("",) * at, process.exitcode == -9)
        labels: list[str] = []
        struck: list[int] = []

        def strike(number: int, name: str) -> None:
            labels.append(name)
            if self._moment is not None:
                self._moment()
            if kind and number == at:
                struck.append(number)
                code = errno.ENOSPC if kind == "full" else errno.EIO
                raise OSError(code, os.strerror(code))

        with counted(strike):
            ran = run(LocalCloud(self._folder, owner=self._owner), step, DISK, self._files)
        return Disturbed(ran, tuple(labels), bool(struck))

    def inventory(self) -> Iterable[Thing]:
        for path in sorted(self._folder.rglob("*")):
            name = str(path.relative_to(self._folder))
            if path.name == "image.json":
                said = json.loads(path.read_bytes())
                mine, spec = said["owner"] == self._owner, said["spec"]
                label = f"{spec['appliance']} {spec['version']}"
                disk = path.with_name(f"disk.{spec['format']}")
                more = (spec["name"], str(spec["alias"]), spec["expires"], str(disk.stat().st_size if disk.exists() else "no disk"))
                yield Thing("image", "ours" if mine else said["owner"], label, "hidden" if said["hidden_since"] else "active", more)
                if mine and spec["alias"] and not said["hidden_since"]:
                    yield Thing("alias", "ours", spec["alias"])
            elif path.is_file() and path.parent.parent != self._folder / "images":
                yield Thing("file", "", name)
            elif path.name.startswith("."):
                yield Thing("left over", "", name)

    def glance(self) -> Iterable[Thing]:
        """Only what has its name: what is under way is made aside."""
        return [thing for thing in self.inventory() if thing.kind in ("image", "alias")]

    def watch(self, moment: Any) -> None:
        self._moment = moment

    def reset(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def _plant(self, name: str) -> None:
        (self._folder / "images" / name).write_bytes(b"somebody's disk")
