"""Brings the events that wait to a site's handlers: each handler has a thread and a queue of its own, and gets them in order.

The first event that a handler does not take ends its turn; that one and all after it are its next run's. A handler's
failure is told and changes nothing else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from vmkeeper.errors import UserError, VmkeeperError
from vmkeeper.execute.handlers import Stopped, Taker
from vmkeeper.execute.secrets import scrubbed
from vmkeeper.execute.spool import LIMIT, Queue, Spool, target_of
from vmkeeper.execute.webhook import Gone
from vmkeeper.images.addresses import public
from vmkeeper.lists.events import Event, concerns
from vmkeeper.model.handler import Handler
from vmkeeper.plan.wanted import Note
from vmkeeper.progress import Progress
from vmkeeper.values import Time, format_time

Takers = Callable[[Handler, threading.Event], Taker]
"""Makes what takes a handler's events; the event is set when it must stop."""

_COUNTED = 1000
_PAUSE = 0.5
_TRIES = 10
"""A program that is just being started by a run which was killed holds that run's lock for a moment."""


class Delivery:
    """One turn of delivering: `start`, then `finish`, or `stop` where the run is broken off."""

    def __init__(
        self,
        spool: Spool,
        handlers: Sequence[Handler],
        takers: Takers,
        *,
        forget: Callable[[Event], None],
        clock: Callable[[], datetime],
        progress: Progress,
    ) -> None:
        self._spool, self._handlers, self._takers = spool, tuple(handlers), takers
        self._forget, self._clock, self._progress = forget, clock, progress
        self._stop, self._closing = threading.Event(), threading.Event()
        self._stack = ExitStack()
        self._ours = False
        self._work: list[Future[None]] = []
        self._notes: list[Note] = []

    def start(self) -> None:
        """Begin to deliver what waits and what comes; while another process delivers, this one does not."""
        self._ours = self._stack.enter_context(self._spool.delivering())
        if not self._ours:
            return
        self._dismiss()
        if self._handlers:
            pool = self._stack.enter_context(ThreadPoolExecutor(max_workers=len(self._handlers), thread_name_prefix="handler"))
            self._work = [pool.submit(self._serve, handler) for handler in self._handlers]

    def close(self) -> None:
        """Nothing more comes from this run: handlers that have all are done."""
        self._closing.set()
        self._spool.notify()

    def finish(self) -> tuple[Note, ...]:
        """Wait until each handler has all or did not take one; returns what people should know."""
        self.close()
        try:
            self._start_late()
            for work in self._work:
                work.result()
            if self._ours and self._handlers:
                self._spool.prune(self._forget)
            elif self._ours:
                self._spool.remove()
        except BaseException:
            self.stop()
            raise
        self._stack.close()
        notes = [note for handler in self._handlers if (note := _note(waiting(self._spool, handler))) is not None]
        return (*self._notes, *notes)

    def _start_late(self) -> None:
        """Where another process delivered when the run began: it may have ended since, and what it did not see is still to be told."""
        for _ in range(_TRIES):
            if self._ours:
                return
            time.sleep(_PAUSE / 5)
            self.start()
        if not self._ours:
            self._notes.append(Note("handlers", "another process tells them of what happened earlier; what happens now they hear at the next run"))

    def stop(self) -> None:
        """Break off: programs are ended, and what they have not taken they are told again."""
        self._stop.set()
        self.close()
        self._stack.close()

    def _dismiss(self) -> None:
        """Remove the queues of handlers that the site's file does not have any more."""
        named = {handler.name for handler in self._handlers}
        for name in sorted(self._spool.queues().keys() - named):
            left = self._spool.dismiss(name)
            lost = f"; {left} event{'' if left == 1 else 's'} that it had not taken {'is' if left == 1 else 'are'} dropped" if left else ""
            self._notes.append(Note(f"handler {name}", f"the site's file does not have it any more{lost}"))

    def _serve(self, handler: Handler) -> None:
        queue = self._queue(handler)
        try:
            taker = self._takers(handler, self._stop)
            while not self._stop.is_set():
                seen, last = self._spool.changes, self._closing.is_set()
                queue = self._within_bounds(handler, queue)
                numbers = self._spool.numbers(queue.taken)
                if numbers and queue.gone:
                    queue = self._saved(handler, queue, taken=numbers[-1])
                elif numbers:
                    queue = self._bring(handler, taker, queue, numbers)
                elif last:
                    return
                else:
                    self._spool.wait_for_change(seen, _PAUSE)
        except Stopped:
            return
        except Gone as error:
            queue = self._queue(handler)
            self._saved(
                handler,
                queue,
                gone=True,
                error=scrubbed(str(error)),
                failed=self._clock(),
                taken=max([queue.taken, *self._spool.numbers(queue.taken)]),
            )
        except VmkeeperError as error:
            queue = self._queue(handler)
            self._saved(handler, queue, attempts=queue.attempts + 1, error=scrubbed(str(error)), failed=self._clock())

    def _within_bounds(self, handler: Handler, queue: Queue) -> Queue:
        bound = self._spool.bound(handler, queue)
        if bound is not queue:
            why = f"more than {LIMIT} events waited for it; the oldest {bound.lost - queue.lost} of them are LOST to it"
            self._notes.append(Note(f"handler {handler.name}", why))
        return bound

    def _bring(self, handler: Handler, taker: Taker, queue: Queue, numbers: Sequence[int]) -> Queue:
        """Have the events of these numbers taken, as many at once as the handler takes."""
        self._progress.step(f"handler {handler.name}", f"telling of {len(numbers)} event{'' if len(numbers) == 1 else 's'}")
        together: list[Event] = []
        for number in numbers:
            if self._stop.is_set():
                raise Stopped("the run was broken off")
            event = self._spool.read(number)
            if concerns(handler, event):
                together.append(event)
            if together and (len(together) >= taker.batch or number == numbers[-1]):
                taker.take(together)
                together = []
                queue = self._saved(handler, queue, taken=number, attempts=0, error="", failed=None)
        return queue if queue.taken == numbers[-1] else self._saved(handler, queue, taken=numbers[-1])

    def _queue(self, handler: Handler) -> Queue:
        return self._spool.queue(handler.name) or Queue(target=target_of(handler))

    def _saved(self, handler: Handler, queue: Queue, **changes: object) -> Queue:
        changed = queue.model_copy(update=changes)
        self._spool.save(handler.name, changed)
        return changed


# -- what waits


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits for one handler. `since`: when the first of it happened; `more`: there are more than were counted."""

    handler: Handler
    queue: Queue | None
    count: int = 0
    more: bool = False
    first: Event | None = None
    unreadable: str = ""

    @property
    def since(self) -> Time | None:
        """When the first event that waits happened."""
        return self.first.time if self.first else None


def waiting(spool: Spool, handler: Handler) -> Waiting:
    """What waits for a handler, counted up to a thousand."""
    queue = spool.queue(handler.name)
    if queue is None:
        return Waiting(handler, None)
    try:
        events = (event for number in spool.numbers(queue.taken) if concerns(handler, event := spool.read(number)))
        found = list(islice(events, _COUNTED + 1))
    except UserError as error:
        return Waiting(handler, queue, unreadable=str(error))
    return Waiting(handler, queue, min(len(found), _COUNTED), len(found) > _COUNTED, found[0] if found else None)


def described(handler: Handler) -> str:
    """What a handler is, in a few words."""
    if handler.program is not None:
        return f"runs handlers/{handler.program}"
    return f"posts to {public(handler.webhook)}" if handler.webhook is not None else f"appends to events/{handler.file}"


def counted(found: Waiting) -> str:
    """`3 events wait since TIME`."""
    many = f"more than {_COUNTED} events wait" if found.more else f"{found.count} event{' waits' if found.count == 1 else 's wait'}"
    return f"{many} since {format_time(found.since)}" if found.since else many


def _note(found: Waiting) -> Note | None:
    subject = f"handler {found.handler.name}"
    if found.unreadable:
        return Note(subject, found.unreadable)
    if found.queue is not None and found.queue.gone:
        return Note(subject, f"it is not told anything any more: {found.queue.error}")
    if found.count and found.queue is not None:
        tries = f", tried {found.queue.attempts} time{'' if found.queue.attempts == 1 else 's'}" if found.queue.attempts else ""
        return Note(subject, f"{counted(found)}{tries}" + (f": {found.queue.error}" if found.queue.error else ""))
    return None
