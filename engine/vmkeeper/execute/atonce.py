"""Many things at once, their results in order: a few workers, a few results waiting, and none that is waited for without end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from vmkeeper.errors import Transient

Item = TypeVar("Item")
Result = TypeVar("Result")


def at_once(
    items: Sequence[Item], work: Callable[[Item], Result], *, workers: int = 8, ahead: int = 64, longest: float = 300
) -> Iterator[tuple[Item, Result | Exception]]:
    """Each item with what `work` gave or raised for it, in the order of `items`.

    At most `ahead` results wait to be taken. Work that takes more than `longest` seconds is given up as Transient: its
    thread is left alone and ends with the process, and another one takes its place.
    """
    yield from _AtOnce(items, work, workers, ahead, longest).results()


class _AtOnce(Generic[Item, Result]):
    def __init__(self, items: Sequence[Item], work: Callable[[Item], Result], workers: int, ahead: int, longest: float) -> None:
        self._items, self._work, self._ahead, self._longest = items, work, ahead, longest
        self._changed = threading.Condition()
        self._done: dict[int, Result | Exception] = {}
        self._began: dict[int, float] = {}
        self._next = 0
        self._taken = 0
        self._workers = min(workers, len(items))

    def results(self) -> Iterator[tuple[Item, Result | Exception]]:
        for _ in range(self._workers):
            self._hire()
        try:
            for number, item in enumerate(self._items):
                yield item, self._result(number)
        finally:
            with self._changed:
                self._next = len(self._items)
                self._changed.notify_all()

    def _hire(self) -> None:
        threading.Thread(target=self._labour, daemon=True).start()

    def _result(self, number: int) -> Result | Exception:
        with self._changed:
            while number not in self._done:
                began = self._began.get(number)
                left = self._longest if began is None else began + self._longest - time.monotonic()
                if left <= 0:
                    self._done[number] = Transient("this takes too long", why=f"more than {self._longest:g} s", hint="run again later")
                    self._hire()
                else:
                    self._changed.wait(left)
            self._taken = number + 1
            self._changed.notify_all()
            return self._done.pop(number)

    def _labour(self) -> None:
        while (number := self._take()) is not None:
            try:
                result: Result | Exception = self._work(self._items[number])
            except Exception as error:  # noqa: BLE001 - a bug is raised where the result is taken
                result = error
            with self._changed:
                if number < self._taken:
                    return  # it was given up, and so was this thread
                self._done[number] = result
                self._changed.notify_all()

    def _take(self) -> int | None:
        with self._changed:
            while self._next < len(self._items) and self._next >= self._taken + self._ahead:
                self._changed.wait()
            if self._next >= len(self._items):
                return None
            number, self._next = self._next, self._next + 1
            self._began[number] = time.monotonic()
            self._changed.notify_all()
            return number
