"""Starting, watching and ending the processes of one cloud, each by its own id and never by a name."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from .configuration import environment
from .profiles import NotStarted, State

MODULES = {"nova": "nova.wsgi.osapi_compute", "north": "glance.wsgi.api"}
STARTING = 240
"""Seconds in which a service must be up."""


def began(process: int) -> str:
    """When a process began, by which a reused id is told from ours; "" where it has ended."""
    with suppress(ChildProcessError):
        os.waitpid(process, os.WNOHANG)
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def runs(state: State, service: str) -> bool:
    process, start = state.processes.get(service, (0, ""))
    return bool(start) and began(process) == start


def spawn(state: State, venv: Path, service: str, held: str) -> None:
    """Start one service; `held` is the file whose lock keeps it alive, or ""."""
    folder = Path(state.folder)
    ready = folder / "run" / f"{service}.ready"
    ready.unlink(missing_ok=True)
    module = MODULES.get(service, f"{service}.wsgi.api")
    command = [venv / "bin" / "python", "-m", "serve", module, str(state.ports[service]), str(ready), held, str(record(state, service))]
    with (folder / "log" / f"{service}.out").open("ab") as said:
        process = subprocess.Popen(
            command, env=environment(state, venv, service), cwd=folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
        )
    process.returncode = 0  # it outlives this object, which must not warn of that
    state.processes[service] = (process.pid, began(process.pid))
    state.save()


def record(state: State, service: str) -> Path:
    """Where a service writes a line for each request that it has answered."""
    return Path(state.folder) / "log" / f"{service}.requests"


def wait(state: State, *services: str) -> None:
    """Until all of them serve. Raises NotStarted."""
    folder, limit = Path(state.folder), time.monotonic() + STARTING
    for service in services:
        while not (folder / "run" / f"{service}.ready").exists():
            if not runs(state, service) or time.monotonic() > limit:
                said = (folder / "log" / f"{service}.out").read_text(errors="replace")[-2000:]
                raise NotStarted(f"{service} did not start:\n{said}")
            time.sleep(0.1)


def stop(state: State) -> None:
    """End what runs of this cloud."""
    for number, patience in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)):
        left = [service for service in state.processes if runs(state, service)]
        for service in left:
            with suppress(ProcessLookupError):
                os.kill(state.processes[service][0], number)
        limit = time.monotonic() + patience
        while any(runs(state, service) for service in left) and time.monotonic() < limit:
            time.sleep(0.05)
    state.processes = {}
    if Path(state.folder).exists():
        state.save()


def command(state: State, venv: Path, *words: str | Path) -> str:
    """Run one of OpenStack's own commands to its end and return what it said. Raises NotStarted."""
    done = subprocess.run(
        [venv / "bin" / words[0], *words[1:]],
        env=environment(state, venv),
        cwd=state.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise NotStarted(f"{words[0]} failed:\n{done.stdout[-3000:]}")
    return done.stdout
