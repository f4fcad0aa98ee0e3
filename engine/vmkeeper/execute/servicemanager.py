"""What systemd is told of a service (sd_notify(3)): ready, what it does, still alive, ending. Without systemd it does nothing."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress

SOCKET = "NOTIFY_SOCKET"
_LONGEST = 400
"""Characters of a status line."""


class ServiceManager:
    """The manager that started this process, as its environment says; a watchdog thread runs between `ready` and `ending`."""

    def __init__(self, environment: Mapping[str, str] = os.environ, *, alive: Callable[[], bool] = lambda: True) -> None:
        self._address = environment.get(SOCKET, "")
        self._alive = alive
        self._pulse = _pulse(environment)
        self._over = threading.Event()

    def ready(self) -> None:
        """The service runs."""
        self._tell("READY=1", f"MAINPID={os.getpid()}")
        if self._address and self._pulse:
            threading.Thread(target=self._beat, name="watchdog", daemon=True).start()

    def says(self, text: str) -> None:
        """What it is doing, on one line."""
        self._tell("STATUS=" + " ".join(text.split())[:_LONGEST])

    def ending(self) -> None:
        """It ends after what is running."""
        self._over.set()
        self._tell("STOPPING=1")

    def _beat(self) -> None:
        # Half of the limit, as sd_watchdog_enabled(3) advises. A service that is stuck is not alive, and is started again.
        while not self._over.wait(self._pulse / 2):
            if self._alive():
                self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> None:
        if not self._address.startswith(("/", "@")):
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        # A manager that does not listen is no reason to stop working.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.settimeout(2)
            channel.sendto("\n".join(lines).encode(), address)


def _pulse(environment: Mapping[str, str]) -> float:
    """The watchdog's limit in seconds; 0 where there is none, or it is another process's."""
    limit, whose = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not limit.isdigit() or whose not in ("", str(os.getpid())):
        return 0.0
    return int(limit) / 1e6
