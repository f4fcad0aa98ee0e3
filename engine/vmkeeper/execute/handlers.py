"""How events reach a program or a file. Each takes an event whole or raises; nothing is tried twice here.

A program comes out of the site's own folder and from nowhere else, runs without a shell, sees nothing of our environment
but PATH and HOME, and is ended with all that it started when its time is over.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Protocol

from vmkeeper.errors import EnvironmentLacks, UserError, VmkeeperError
from vmkeeper.images.files import reported
from vmkeeper.lists.events import Event, cloudevent_json, environment

LOG_LIMIT = 1 << 20
"""Bytes of a program's words that are kept, twice: in NAME.log and in NAME.log.1."""

_MARK = "VMCATCHER_HANDLER"
_GRACE = 5.0
"""Seconds between asking a program to end and ending it."""
_PAUSE = 0.1
_TAIL = 600


class Stopped(VmkeeperError):
    """The run ends before the event was taken; it is told again."""


class Taker(Protocol):
    """Somebody who takes events."""

    batch: int
    """How many at once."""

    def take(self, events: Sequence[Event]) -> None:
        """Take all of them, or raise VmkeeperError. An event may come that was taken before."""


class FileTaker:
    """Appends each event as one line of CloudEvents JSON; nothing rotates the file."""

    batch = 500

    def __init__(self, path: Path) -> None:
        self._path = path

    def take(self, events: Sequence[Event]) -> None:
        """Append, and have the lines on the disk; lines that are there since before a crash are not written again."""
        with reported("append events", self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644), "r+b") as file:
                written = [cloudevent_json(event) + b"\n" for event in events]
                file.write(b"".join(written[_there_already(file, written) :]))
                file.flush()
                os.fsync(file.fileno())


def _there_already(file: IO[bytes], written: list[bytes]) -> int:
    """How many of the lines the file ends with; what a crash left of a line is cut off, and the file stands at its end."""
    end = file.seek(0, os.SEEK_END)
    begin = file.seek(max(0, end - max(sum(map(len, written)), 1 << 20)))
    tail = file.read()
    whole = tail.rfind(b"\n") + 1
    if whole != len(tail) and (whole or begin == 0):
        file.truncate(begin + whole)
        tail = tail[:whole]
    file.seek(0, os.SEEK_END)
    return next((count for count in range(len(written), 0, -1) if tail.endswith(b"".join(written[:count]))), 0)


class ProgramTaker:
    """Runs a program of HOME/handlers for each event, as vmcatcher does; exit status 0 takes it.

    folders: HOME/images and those in it, for the environment. `stop` is set when nothing more is to be waited for.
    """

    batch = 1

    def __init__(
        self, name: str, program: Path, log: Path, folders: dict[str, str], *, timeout: float, find: Callable[[Event], None], stop: threading.Event
    ) -> None:
        self._name, self._program, self._log, self._timeout = name, program, log, timeout
        self._folders = folders
        self._find = find
        self._stop = stop

    def take(self, events: Sequence[Event]) -> None:
        """Run it for each. Raises EnvironmentLacks where there is no such program, UserError where it does not take the event, Stopped."""
        program = _runnable(self._program)
        for event in events:
            self._find(event)
            self._run(program, event)

    def _run(self, program: Path, event: Event) -> None:
        said = environment(event, self._folders)  # type: ignore[arg-type]
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        env = {**kept, "LANG": "C.UTF-8", **said, _MARK: self._name}
        marks = tuple(f"{name}={env[name]}".encode() for name in (_MARK, "VMCATCHER_EVENT_ID"))
        end_marked(marks)
        with reported("write a log", self._log), self._opened() as log:
            begin = log.tell()
            log.write(f"-- {event.type} {event.subject} ({event.id})\n".encode())
            log.flush()
            process = self._start(program, env, log)
            try:
                self._wait(process, log)
            except BaseException:
                _end(process, marks)
                raise
            if process.returncode != 0:
                status = f"ended with status {process.returncode}" if process.returncode > 0 else f"was ended by signal {-process.returncode}"
                raise UserError(f"{program.name} {status}", where=f"handlers/{program.name}", why=_tail(log, begin), hint=f"see {self._log}")

    def _start(self, program: Path, env: dict[str, str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                [program], env=env, cwd=program.parent, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, close_fds=True
            )
        except OSError as error:
            hint = "its first line must name its interpreter, such as #!/bin/sh"
            raise UserError(f"{program.name} cannot be started", where=str(program), why=error.strerror or str(error), hint=hint) from None

    def _wait(self, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
        end = time.monotonic() + self._timeout
        while True:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_PAUSE)
                return
            if os.fstat(log.fileno()).st_size > LOG_LIMIT:
                os.ftruncate(log.fileno(), 0)
                os.write(log.fileno(), b"-- it says so much that what came before this was dropped\n")
            if self._stop.is_set():
                raise Stopped(f"{self._program.name} was ended before it was done")
            if time.monotonic() > end:
                hint = "give it more time in the site's file (timeout), or mend it"
                raise UserError(f"{self._program.name} was not done within {self._timeout:g} s and was ended", why=_tail(log, 0), hint=hint)

    def _opened(self) -> IO[bytes]:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            if self._log.stat().st_size > LOG_LIMIT // 2:
                self._log.replace(self._log.with_name(f"{self._log.name}.1"))
        return os.fdopen(os.open(self._log, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), "a+b")


def _runnable(path: Path) -> Path:
    """The program, if it is one and only its owner can have written it."""
    try:
        found = path.stat()
    except OSError:
        raise EnvironmentLacks("there is no such handler", where=str(path), hint="put the program there, or take it out of the site's file") from None
    if not stat.S_ISREG(found.st_mode) or not os.access(path, os.X_OK):
        raise UserError("this is not a program that can be run", where=str(path), hint=f"chmod +x {path}")
    if found.st_mode & stat.S_IWOTH or path.parent.stat().st_mode & stat.S_IWOTH:
        raise UserError("anybody may write this program", where=str(path), hint=f"chmod o-w {path} {path.parent}")
    return path


def _tail(log: IO[bytes], begin: int) -> str:
    end = os.fstat(log.fileno()).st_size
    log.seek(max(0, min(begin, end), end - _TAIL))
    return log.read(_TAIL).decode(errors="replace").strip()


# -- ending programs


def _end(process: subprocess.Popen[bytes], marks: tuple[bytes, ...]) -> None:
    """End a program, its process group, and what it started and set free of that."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
    end_marked(marks)


def end_marked(marks: tuple[bytes, ...]) -> None:
    """End every process of ours whose environment holds all the marks: what an earlier try of the same event left running."""
    for _ in range(100):  # a process may start another one while we look
        found = [pid for pid in _processes() if pid != os.getpid() and _bears(pid, marks)]
        if not found:
            return
        for pid in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _processes() -> list[int]:
    folder = Path("/proc")
    return [int(path.name) for path in folder.iterdir() if path.name.isdecimal()] if folder.is_dir() else []


def _bears(pid: int, marks: tuple[bytes, ...]) -> bool:
    with suppress(OSError):
        found = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return all(mark in found for mark in marks)
    return False
