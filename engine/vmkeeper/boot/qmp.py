"""QMP, QEMU's control protocol, over the unix socket in a machine's folder: one short conversation at a time.

Reads no more of an answer than a sane QEMU would send. Reference: QEMU's docs/interop/qmp-spec.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vmkeeper.errors import VmkeeperError

_LIMIT = 1 << 20


class NoMonitor(VmkeeperError):
    """Nobody answers at the machine's control socket."""


class Monitor:
    """A conversation with a running QEMU; use it in a `with` and leave it soon, since QEMU has one ear."""

    def __init__(self, folder: Path, *, name: str = "qmp.sock", timeout: float = 20) -> None:
        """Connect. A socket's path may have 107 bytes at most, so it is reached through the folder's descriptor."""
        self._where = str(folder)
        handle = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.settimeout(timeout)
            self._socket.connect(f"/proc/self/fd/{handle}/{name}")
            self._file = self._socket.makefile("rb")
            self._receive("QMP")
            self("qmp_capabilities")
        except OSError as error:
            self._socket.close()
            raise NoMonitor("the machine's control socket does not answer", where=self._where, why=error.strerror or type(error).__name__) from None
        except BaseException:
            self._socket.close()
            raise
        finally:
            os.close(handle)

    def __call__(self, command: str, **arguments: Any) -> Any:
        """Give a command, wait for its answer. Raises VmkeeperError where QEMU refuses it, NoMonitor where QEMU went away."""
        try:
            self._socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
            return self._receive("return")
        except OSError as error:
            raise NoMonitor("the machine went away", where=self._where, why=error.strerror or type(error).__name__) from None

    def human(self, line: str) -> str:
        """A command of QEMU's own console, for what QMP does not tell."""
        return str(self("human-monitor-command", **{"command-line": line}))

    def _receive(self, key: str) -> Any:
        while line := self._file.readline(_LIMIT):
            try:
                message = json.loads(line)
            except ValueError:
                raise NoMonitor("the machine's control socket says something that is not QMP", where=self._where) from None
            if "error" in message:
                raise VmkeeperError("QEMU refused a command", where=self._where, why=str(message["error"].get("desc", "")))
            if key in message:
                return message[key]
        raise NoMonitor("the machine went away", where=self._where)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        with suppress(OSError):
            self._file.close()
            self._socket.close()
