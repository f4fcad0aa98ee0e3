"""One OpenStack in one folder: started from a saved template where there is one, stopped with its last user."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import configuration, databases, processes
from .installation import HERE, cache_folder, installed
from .keystone import Entry, credential_entry, entry
from .profiles import ADMIN, PROFILES, NotStarted, State, free_ports

MAKING = ("databases.py", "keystone.py", "profiles.py")
"""Files of ours that decide what a template holds."""


@dataclass(frozen=True)
class Request:
    """A request that a service has answered. project: id of the one that its token is for."""

    method: str
    path: str
    query: str
    status: int
    project: str


class OpenStack:
    """A cloud that runs. `clouds_yaml` is for OS_CLIENT_CONFIG_FILE; entries: admin, demo, demo-appcred, demo-reader, other; noauth: noauth."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.folder = Path(state.folder)
        self.clouds_yaml = self.folder / "clouds.yaml"

    def url(self, service: str) -> str:
        return self.state.url(service)

    def requests(self, service: str = "glance") -> list[Request]:
        """What a service has answered so far, to whomever."""
        return [Request(**json.loads(line)) for line in processes.record(self.state, service).read_text().splitlines()]

    def entries(self) -> dict[str, Entry]:
        if "keystone" not in self.state.services:
            glance = self.url("glance")
            return {"noauth": {"auth_type": "none", "auth": {"endpoint": glance}, "image_endpoint_override": glance}}
        url = self.url("keystone")
        found = {name: entry(url, name, project) for name, project in ((ADMIN, ADMIN), ("demo", "demo"), ("demo-reader", "demo"), ("other", "other"))}
        if self.state.credential:
            found["demo-appcred"] = credential_entry(url, self.state.credential)
        return found


@contextmanager
def running(profile: str, folder: Path, *, convert: str = "") -> Iterator[OpenStack]:
    """A cloud in a folder, for as long as anybody is in here, in whichever process. Raises Lacking and NotStarted.

    The users share a lock, and the services end themselves once they get it alone: so they end with their last user, even
    when that one is killed. A folder that has a cloud goes on with it, users and images and all.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    held = folder / "held"
    held.touch()
    with held.open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        with (folder / "starting").open("w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            state = _start(profile, folder, convert, str(held))
        yield OpenStack(state)
    # the services get the lock now, unless there are other users


def stop(folder: Path) -> None:
    """End the cloud in a folder, whoever uses it, and wait until it has ended."""
    if state := State.read(folder.resolve()):
        processes.stop(state)


def _start(profile: str, folder: Path, convert: str, held: str) -> State:
    venv = installed(profile)
    state = State.read(folder)
    if state and (not state.complete or state.folder != str(folder)):
        _clear(state, folder)
        state = None
    if state and (state.profile, state.convert) != (profile, convert):
        raise NotStarted(f"{folder} holds a cloud of profile {state.profile} {state.convert}".rstrip())
    if state and all(processes.runs(state, service) for service in state.services):
        processes.wait(state, *state.services)
        return state
    made = state or _from_template(profile, folder, convert, venv) or State(profile, str(folder), free_ports(profile), convert)
    try:
        processes.stop(made)
        configuration.write(made, venv)
        if not made.complete:
            _make(made, venv, held)
        _launch(made, venv, held)
    except BaseException:
        processes.stop(made)
        raise
    found = OpenStack(made)
    found.clouds_yaml.write_text(json.dumps({"clouds": found.entries()}, indent=1) + "\n")
    return made


def _clear(state: State, folder: Path) -> None:
    """Remove what somebody left who was killed while making a cloud, or while copying a template, which names another folder."""
    if state.folder == str(folder):
        processes.stop(state)
    for service in state.services:
        shutil.rmtree(folder / service, ignore_errors=True)
    (folder / "state.json").unlink()


def _template(profile: str, venv: Path) -> Path:
    made_by = b"".join((HERE / name).read_bytes() for name in MAKING)
    return cache_folder() / f"template-{profile}-{hashlib.sha256(venv.name.encode() + made_by).hexdigest()[:8]}"


def _from_template(profile: str, folder: Path, convert: str, venv: Path) -> State | None:
    template = _template(profile, venv)
    if not (template / "state.json").exists():
        return None
    shutil.copytree(template, folder, dirs_exist_ok=True)
    old = State.read(folder)
    assert old is not None
    state = State(profile, str(folder), free_ports(profile), convert, credential=old.credential)
    databases.relocate(state, old)
    state.complete = True
    state.save()
    return state


def _make(state: State, venv: Path, held: str) -> None:
    """Fill a new cloud and keep a copy of it as the template. It does not run afterwards, since a copy must be of files at rest."""
    state.save()
    databases.create(state, venv, held)
    _launch(state, venv, held)
    processes.stop(state)
    state.complete = True
    state.save()
    _keep(state, _template(state.profile, venv))


def _keep(state: State, template: Path) -> None:
    fresh = template.with_name(f"{template.name}.{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(state.folder, fresh, ignore=shutil.ignore_patterns("log", "run", "tmp", "held", "starting", "*.sock"))
    try:
        fresh.rename(template)
    except OSError:  # another has made it meanwhile
        shutil.rmtree(fresh)


def _launch(state: State, venv: Path, held: str) -> None:
    first = [service for service in state.services if service != "nova"]
    for service in first:
        if not processes.runs(state, service):
            processes.spawn(state, venv, service, held)
    processes.wait(state, *first)
    if "nova" not in PROFILES[state.profile]:
        return
    processes.spawn(state, venv, "nova", held)
    processes.wait(state, "nova")
    limit = time.monotonic() + processes.STARTING
    while not databases.has_compute_host(state):
        if time.monotonic() > limit:
            raise NotStarted("the scheduler has not found the compute host")
        time.sleep(0.3)
