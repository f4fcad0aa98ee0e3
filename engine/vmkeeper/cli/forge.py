"""Commands for a plain bare repository that is its own forge: hook install, and what the hooks call."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import typer

from vmkeeper.cli.session import HERE, Directory, Session
from vmkeeper.errors import Problems

if TYPE_CHECKING:
    from vmkeeper.execute.hooks import Queue

commands = typer.Typer(no_args_is_help=True, help="Let a plain bare repository carry out what is pushed to it.")

_PAUSE = 0.3
"""Seconds between two looks at the log while somebody works."""


@commands.command("install")
def install(directory: Directory = HERE) -> int:
    """Write the hooks pre-receive and post-receive of a bare repository."""
    from vmkeeper.execute.hooks import install as write_hooks

    session = Session(directory)
    for line in write_hooks(session.repository):
        session.say(line)
    if not session.repository.config("vmkeeper.public"):
        session.say("It publishes nothing yet; for that set vmkeeper.public, vmkeeper.certificate and vmkeeper.key with git config.")
    return 0


@commands.command("check")
def check(directory: Directory = HERE) -> int:
    """Refuse a push that breaks documents or signed tags. Called by git as pre-receive, with `OLD NEW REF` lines on standard input."""
    from vmkeeper.execute.hooks import parse, problems

    found = problems(Session(directory).repository, parse(sys.stdin.buffer.read()), os.environ)
    if found:
        raise Problems(found)
    return 0


@commands.command("receive")
def receive(directory: Directory = HERE) -> int:
    """Apply and publish what was pushed. Called by git as post-receive, with `OLD NEW REF` lines on standard input."""
    from vmkeeper.execute.hooks import Queue, asked, parse, start_worker

    session = Session(directory)
    repository = session.repository
    updates, branch = parse(sys.stdin.buffer.read()), repository.branch()
    tasks = asked(updates, branch, publishes=bool(repository.config("vmkeeper.public")))
    if not tasks:
        if asked(updates, branch, publishes=True):
            session.say("Nothing is published from here: git config vmkeeper.public is not set.")
        return 0
    queue = Queue.of(repository)
    queue.ask(tasks)
    with suppress(BrokenPipeError), _Log(queue.log) as log:
        lock = _turn(queue, log, session)
        with lock:
            worker = start_worker(queue, lock, repository.folder) if queue.waiting() else None
        if worker is not None:
            return _follow(worker, log, session)
        log.show(session)
    return 0


@commands.command("work")
def work(directory: Directory = HERE) -> int:
    """Do what pushes have asked for and nobody has finished. The hooks start it; run it by hand after a crash."""
    from vmkeeper.execute.hooks import Queue, outside, vmkeeper
    from vmkeeper.execute.hooks import work as work_off

    session = Session(directory)
    repository = session.repository
    queue = Queue.of(repository)
    inherited = os.environ.pop("VMKEEPER_HOOK_LOCK", None)
    lock: IO[bytes] | None = os.fdopen(int(inherited), "ab") if inherited else queue.lock()
    if lock is None:
        session.say("Another run is at work.")
        return 0

    def perform(words: Sequence[str]) -> bool:
        session.say(f"vmkeeper {' '.join(words)}")
        sys.stdout.flush()
        return subprocess.run(vmkeeper(*words), cwd=repository.folder, env=outside(os.environ), stdin=subprocess.DEVNULL, check=False).returncode == 0

    with lock:
        failed = 0
        for task in work_off(queue, perform):
            failed = 1
            session.say(f"FAILED: {task}. What was pushed stays; mend it and push again, or run here: vmkeeper {task} -C {repository.folder}")
    return failed


def _turn(queue: Queue, log: _Log, session: Session) -> IO[bytes]:
    """The worker's lock; says what the worker says that has it until then."""
    told = False
    while (lock := queue.lock()) is None:
        if not told:
            session.say("Another push is being worked on; this one is taken along with it.")
            told = True
        log.show(session)
        time.sleep(_PAUSE)
    return lock


class _Log:
    """The worker's log from now on, line by line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rest = b""

    def __enter__(self) -> _Log:
        self._file = self._path.open("a+b")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _lines(self) -> Iterator[str]:
        if os.fstat(self._file.fileno()).st_size < self._file.tell():
            self._file.seek(0)
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        yield from (line.decode(errors="replace") for line in lines)

    def show(self, session: Session) -> None:
        """Say the whole lines that are new."""
        for line in self._lines():
            session.say(line)
        session.out.file.flush()


def _follow(worker: subprocess.Popen[bytes], log: _Log, session: Session) -> int:
    while worker.poll() is None:
        log.show(session)
        with suppress(subprocess.TimeoutExpired):
            worker.wait(_PAUSE)
    log.show(session)
    if worker.returncode not in (0, 1):
        session.say("The run was broken off. What was pushed stays, and the next push goes on; or run here: vmkeeper hook work")
    return 1 if worker.returncode else 0
