"""Events of a site that somebody has still to take, kept in small files so that no crash loses one.

    log/NUMBER.json           told, in order, to everybody
    queues/HANDLER/queue.json up to which number a handler has taken them, and why it took no more
    open/…                    what has begun; its closing event becomes part of the log by a rename

An event is in the log once, however many handlers there are, and leaves it when the last of them has it. One process adds
events (it holds the site's lock), one delivers them (it holds `lock` here).
"""

from __future__ import annotations

import fcntl
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from vmkeeper.errors import UserError
from vmkeeper.images.files import remove_leftovers, reported, sync_folder, temporary
from vmkeeper.lists.events import Event, concerns
from vmkeeper.model.base import Document
from vmkeeper.model.handler import Handler
from vmkeeper.values import Time, sha256_hex

LIMIT = 20_000
"""Events that may wait for one handler; of more than that, only the newer half is kept."""

_Read = TypeVar("_Read", bound=Document)


class Entry(Document):
    """An event in the log, or the event that will close what has begun."""

    event: Event
    before: tuple[Event, ...] = ()
    """Of what has begun: events that have to be told first; none once they were."""
    done: bool = False
    """Of what has begun: it came to its end, only the rename is missing."""


class Queue(Document):
    """How far a handler has got."""

    target: str
    """Digest of what the handler is; with another one a refusal for good does not count any more."""
    taken: int = 0
    """Number of the last event that it took."""
    attempts: int = 0
    """How often the next event was tried in vain."""
    failed: Time | None = None
    """When it was tried last."""
    error: str = ""
    """What came of it."""
    lost: int = 0
    """Events that it never got, because too many waited or somebody left them out."""
    gone: bool = False
    """It said that it is not to be told anything any more."""


def target_of(handler: Handler) -> str:
    """Digest of what a handler is."""
    return sha256_hex(handler.model_dump_json().encode())


class Spool:
    """The files below `folder`. Nothing is made before the first event or handler is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._new, self._log, self._queues, self._open = (folder / name for name in ("new", "log", "queues", "open"))
        self._lock = threading.Lock()
        self._last: int | None = None
        self._changed = threading.Condition()
        self.changes = 0
        """Counts what this process added, and whatever else there was to look at."""

    def exists(self) -> bool:
        """Whether anything was ever written."""
        return self.folder.is_dir()

    def remove(self) -> None:
        """Nobody is told any more: remove everything."""
        with reported("remove the events that wait", self.folder):
            shutil.rmtree(self.folder)

    # -- the log

    def add(self, event: Event) -> None:
        """Put an event at the end of the log."""
        self._write(lambda: self._log / _numbered(self._next()), Entry(event=event))
        self.notify()

    def numbers(self, after: int = 0) -> list[int]:
        """The numbers in the log that come after one, in order; none is left out that another thread or process added before the last of them."""
        found = self._listed(after)
        if found and len(found) != found[-1] - after:
            # What is added while a folder is listed may show or not, so a later event can show without an earlier one; not so the next time.
            found = [number for number in self._listed(after) if number <= found[-1]]
        return found

    def _listed(self, after: int) -> list[int]:
        found = (int(path.stem) for path in self._log.glob("*.json") if path.stem.isdecimal()) if self._log.is_dir() else ()
        return sorted(number for number in found if number > after)

    def read(self, number: int) -> Event:
        """An event of the log. Raises UserError for one that cannot be read."""
        return _read(self._log / _numbered(number), Entry).event

    def prune(self, removed: Callable[[Event], None]) -> None:
        """Take out of the log what every handler has; `removed` hears of each event before it goes."""
        numbers = self.numbers()
        reached = min((queue.taken for queue in self.queues().values()), default=None)
        for number in numbers:
            if reached is None or number <= reached:
                path = self._log / _numbered(number)
                removed(self.read(number))
                with reported("remove an event that everybody has", path):
                    path.unlink(missing_ok=True)

    def _reached(self) -> int:
        """The highest number that was ever given; the lock is held."""
        if self._last is None:
            # The log first: an event leaves it only after the queues say that everybody has it.
            numbers = self.numbers()
            self._last = max([*numbers, *(queue.taken for queue in self.queues().values())], default=0)
        return self._last

    def _next(self) -> int:
        self._last = self._reached() + 1
        return self._last

    # -- what has begun

    def begin(self, name: str, entry: Entry) -> None:
        """Write down what begins, or what became of it meanwhile."""
        self._write(lambda: self._open / f"{name}.json", entry)

    def begun(self) -> dict[str, Entry]:
        """What has begun and is not closed, by name."""
        paths = sorted(self._open.glob("*.json")) if self._open.is_dir() else []
        return {path.stem: _read(path, Entry) for path in paths}

    def close(self, name: str, event: Event) -> None:
        """What has begun came to its end: its event joins the log, once, wherever the process is killed."""
        self.begin(name, Entry(event=event, done=True))
        with reported("keep an event", self.folder), self._lock:
            self._log.mkdir(parents=True, exist_ok=True)
            (self._open / f"{name}.json").rename(self._log / _numbered(self._next()))
            sync_folder(self._log)
        self.notify()

    def forget(self, name: str) -> None:
        """What has begun will not come to its end."""
        (self._open / f"{name}.json").unlink(missing_ok=True)

    # -- handlers

    def queues(self) -> dict[str, Queue]:
        """Every handler's queue, by the handler's name."""
        names = sorted(path.name for path in self._queues.iterdir()) if self._queues.is_dir() else []
        return {name: queue for name in names if (queue := self.queue(name)) is not None}

    def queue(self, name: str) -> Queue | None:
        """A handler's queue; None for one that is not known."""
        path = self._queues / name / "queue.json"
        return _read(path, Queue) if path.exists() else None

    def enrol(self, handler: Handler) -> None:
        """Have a handler hear of everything from now on; one that is known goes on where it was."""
        queue, target = self.queue(handler.name), target_of(handler)
        if queue is None:
            with self._lock:
                taken = self._reached()
            self.save(handler.name, Queue(target=target, taken=taken))
        elif queue.target != target:
            self.save(handler.name, queue.model_copy(update={"target": target, "gone": False}))

    def save(self, name: str, queue: Queue) -> None:
        """Write down how far a handler has got."""
        self._write(lambda: self._queues / name / "queue.json", queue)

    def dismiss(self, name: str) -> int:
        """Remove a handler's queue; returns how many events it has not taken."""
        queue = self.queue(name)
        with reported("remove a handler's queue", self._queues):
            shutil.rmtree(self._queues / name)
        return len(self.numbers(queue.taken)) if queue else 0

    def bound(self, handler: Handler, queue: Queue) -> Queue:
        """The queue without its oldest events where more wait than may."""
        waiting = self.numbers(queue.taken)
        if len(waiting) <= LIMIT:
            return queue
        dropped = waiting[: -LIMIT // 2]
        lost = sum(concerns(handler, self.read(number)) for number in dropped)
        shorter = queue.model_copy(update={"taken": dropped[-1], "lost": queue.lost + lost, "attempts": 0})
        self.save(handler.name, shorter)
        return shorter

    @contextmanager
    def delivering(self) -> Iterator[bool]:
        """Be the one that delivers; False where another process does."""
        with reported("keep events", self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            remove_leftovers(self._new)
            yield True

    # -- files

    def _write(self, target: Callable[[], Path], document: Document) -> None:
        """Write a small file whole or not at all; new ones lie apart, so that a long log is not searched for leftovers."""
        data = document.model_dump_json(exclude_defaults=True).encode()
        with reported("keep events", self.folder), self._lock, temporary(self._new) as new:
            path = target()
            path.parent.mkdir(parents=True, exist_ok=True)
            new.file.write(data)
            new.keep(path, mode=0o600)

    def notify(self) -> None:
        """Have whoever waits look again."""
        with self._changed:
            self.changes += 1
            self._changed.notify_all()

    def wait_for_change(self, seen: int, timeout: float) -> None:
        """Wait until `changes` is another number than `seen`, or for that many seconds: another process adds events unheard."""
        with self._changed:
            self._changed.wait_for(lambda: self.changes != seen, timeout)


def entry_name(event: str, key: str) -> str:
    """What something that has begun is called: one name for the same happening of the same image."""
    return sha256_hex(f"{event} {key}".encode())[:32]


def stamped(event: Event, now: datetime, session: str) -> Event:
    """The event as one that happens now, in a session; it stays the same happening."""
    return event.model_copy(update={"time": now, "session": session})


def _numbered(number: int) -> str:
    return f"{number:012d}.json"


def _read(path: Path, kind: type[_Read]) -> _Read:
    try:
        return kind.model_validate(json.loads(path.read_bytes()))
    except (ValidationError, ValueError, OSError) as error:
        why = str(error).splitlines()[0]
        raise UserError("a file of the events that wait cannot be read", where=str(path), why=why, hint="move it away and run again") from None
