"""Look at a site again and again: pauses with chance in them, longer ones after failures, shorter ones before a moment that matters.

Nothing is kept from one round to the next but how many have failed. A round that ends in a fault is told, and the next one comes.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from types import FrameType
from typing import Literal

from vmkeeper.model.service import Watch

Came = Literal["good", "failed", "busy"]
"""What came of a round, for the next pause: busy where another run was at work."""

BUSY = 15.0
"""Seconds until the next look, where another run was at work."""
_DOUBLINGS = 32


@dataclass(frozen=True, slots=True)
class Round:
    """What one round came to. watch: the site's settings as they are now. next: when something changes by itself."""

    came: Came
    watch: Watch = field(default_factory=Watch)
    next: datetime | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Seconds until the next round, and why that many."""

    seconds: float
    why: str


def pause_after(done: Round, failures: int, now: datetime, chance: float) -> Pause:
    """How long to wait. failures: rounds that failed one after the other, this one included. chance: 0 to 1.

    The interval doubles with each failure, up to `watch.longest`; what `chance` adds comes on top. A moment to come ends
    it earlier. Pure.
    """
    if done.came == "busy":
        return Pause(min(BUSY, float(done.watch.interval)), "another run is at work")
    interval, longest = float(done.watch.interval), float(max(done.watch.longest, done.watch.interval))
    base = min(longest, interval * 2 ** min(failures, _DOUBLINGS)) if failures else interval
    seconds = max(1.0, base * (1 + chance * done.watch.jitter / 100))
    why = f"{failures} round{'' if failures == 1 else 's'} failed" if failures else ""
    if done.next is not None and done.next > now and (until := (done.next - now).total_seconds()) < seconds:
        # A little late rather than a little early: the moment itself must have come.
        return Pause(max(1.0, until + 0.1), "something changes then")
    return Pause(seconds, why)


class Wishes:
    """What has been asked for from outside: to end, to look now. Set by signals or other threads."""

    def __init__(self) -> None:
        self._something = threading.Event()
        self.end = threading.Event()
        """Set once the service is to end; actions that have begun go on."""

    def ask_end(self) -> None:
        """End after what is running."""
        self.end.set()
        self._something.set()

    def ask_look(self) -> None:
        """Look now, or once more after what is running."""
        self._something.set()

    def wait(self, seconds: float) -> None:
        """Until something is asked for, at most so long."""
        self._something.wait(seconds)
        if not self.end.is_set():
            self._something.clear()


@contextmanager
def signals(wishes: Wishes, *, looks: bool = True) -> Iterator[None]:
    """SIGTERM and SIGINT ask for the end, the second one ends at once; SIGHUP asks for a look. Only in the main thread."""

    def end(number: int, _frame: FrameType | None) -> None:
        if wishes.end.is_set():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        wishes.ask_end()

    def look(_number: int, _frame: FrameType | None) -> None:
        wishes.ask_look()

    handlers = {signal.SIGTERM: end, signal.SIGINT: end} | ({signal.SIGHUP: look} if looks else {})
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def watch(
    round_: Callable[[], Round],
    wishes: Wishes,
    *,
    clock: Callable[[], datetime],
    chance: Callable[[], float],
    fault: Callable[[Exception], None],
    resting: Callable[[Pause], None] = lambda _pause: None,
) -> int:
    """Rounds until the end is asked for; returns how many there were.

    chance: a number from 0 to 1, anew each time. fault: told of an exception that a round should not have let out; it is
    counted as a failure. resting: told of each pause before it begins.
    """
    rounds = failures = 0
    last = Watch()
    while not wishes.end.is_set():
        try:
            done = round_()
        except Exception as error:  # noqa: BLE001 - a fault in one round must not end the service; it is told as one
            fault(error)
            done = Round("failed", last)
        rounds, last = rounds + 1, done.watch
        failures = failures + 1 if done.came == "failed" else failures if done.came == "busy" else 0
        if not wishes.end.is_set():
            pause = pause_after(done, failures, clock(), chance())
            resting(pause)
            wishes.wait(pause.seconds)
    return rounds


class Alive:
    """When something was last heard of the work, for a watchdog: called for every step and amount. May be called from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()

    def sign(self) -> None:
        """Something happens."""
        self._last = self._clock()

    def silent(self) -> float:
        """Seconds since the last sign."""
        return self._clock() - self._last
