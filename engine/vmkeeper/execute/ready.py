"""Wait until a machine is ready: SSH answers, its service's port takes connections, and it said so itself."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress

from vmkeeper.clouds.interface import Cloud, CloudMachine
from vmkeeper.errors import VmkeeperError
from vmkeeper.model.cluster import Ready
from vmkeeper.plan.cluster import SSH
from vmkeeper.values import Duration, visible

_PAUSE = 1.0
_SHOWN = 20
"""Lines of console in an error."""


class NotReady(VmkeeperError):
    """The machine did not become ready; `why` is the end of its console."""


def wait_ready(
    cloud: Cloud,
    machine: CloudMachine,
    ready: Ready,
    mark: str,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> CloudMachine:
    """Wait at most `ready.timeout`; gives the machine as it is then. Raises NotReady, also when the machine ended.

    mark: what the machine writes on its console when it says that it is ready; asked for where `ready.console`.
    """
    end = clock() + ready.timeout
    while True:
        current = next((one for one in cloud.machines() if one.id == machine.id), None)
        if current is None or current.state in ("stopped", "failed"):
            raise _not_ready(cloud, machine, f"the machine is {current.state if current else 'gone'}")
        lacking = _lacking(cloud, current, ready, mark)
        if not lacking:
            return current
        if clock() >= end:
            raise _not_ready(cloud, machine, f"after {Duration(ready.timeout)} {lacking}")
        sleep(_PAUSE)


def _lacking(cloud: Cloud, machine: CloudMachine, ready: Ready, mark: str) -> str:
    """What is still missing, or ""."""
    if SSH in machine.ports and not answers_ssh(machine.ports[SSH]):
        return "SSH does not answer"
    if ready.tcp and ready.tcp != SSH and ready.tcp in machine.ports and not takes_connections(machine.ports[ready.tcp]):
        return f"port {ready.tcp} does not answer"
    if ready.console and mark not in cloud.console(machine.id):
        return "it has not said that it is ready"
    return ""


def answers_ssh(end: tuple[str, int], timeout: float = 5) -> bool:
    """Whether an SSH server greets at (host, port): its banner comes from the guest, so no port forward can fake it."""
    with suppress(OSError), socket.create_connection(end, timeout=timeout) as connection:
        return connection.recv(4) == b"SSH-"
    return False


def takes_connections(end: tuple[str, int], timeout: float = 1) -> bool:
    """Whether a connection to (host, port) is kept open: a forward to a closed port takes it and drops it at once."""
    try:
        with socket.create_connection(end, timeout=timeout) as connection:
            try:
                return connection.recv(1) != b""
            except TimeoutError:
                return True
    except OSError:
        return False


def _not_ready(cloud: Cloud, machine: CloudMachine, what: str) -> NotReady:
    lines = cloud.console(machine.id).splitlines()[-_SHOWN:]
    why = "\n".join(visible(line) for line in lines) or "its console is empty"
    return NotReady(
        f"{machine.name} is not ready: {what}",
        why=f"the end of its console:\n{why}",
        hint="the machine is left as it is; run the command again to go on waiting",
    )
