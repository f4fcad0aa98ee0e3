"""What the server is told to do wrong, for a number of calls. Real drivers answer falsely now and then, and networks break."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

ANSWERS = ("no-space", "empty-size", "stuck-delete", "error-image", "bare-error")
"""False answers of drivers: of image.allocate, image.allocate, image.delete, the copy, image.allocate."""
WIRE = ("drop-before", "drop-after", "http-503", "html", "half", "hang", "cut-value", "no-value", "bare-value")
"""Broken exchanges: the connection ends before or after the effect, 503, a page of HTML with 200, half an answer, an answer that comes late,
a sound answer whose value is the first half of what it should be, is "", or comes without success and code."""


@dataclass
class Lie:
    """`skip` calls are answered truly, then `count` falsely. `method` "" is any."""

    name: str
    method: str = ""
    count: int = 1
    skip: int = 0
    seconds: float = 3.0


class Lies:
    """The lies that are to be told. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lies: list[Lie] = []

    def tell(self, **lie: Any) -> None:
        """Raises ValueError where there is no such lie."""
        made = Lie(**lie)
        if made.name not in ANSWERS + WIRE:
            raise ValueError(f"no such lie: {made.name}")
        with self._lock:
            self._lies.append(made)

    def clear(self) -> None:
        with self._lock:
            self._lies.clear()

    def pending(self, name: str) -> bool:
        with self._lock:
            return any(lie.name == name for lie in self._lies)

    def take(self, *names: str, method: str = "") -> Lie | None:
        """The lie to tell now, if there is one of these."""
        with self._lock:
            for lie in self._lies:
                if lie.name not in names or (lie.method and lie.method != method):
                    continue
                if lie.skip:
                    lie.skip -= 1
                    continue
                lie.count -= 1
                if not lie.count:
                    self._lies.remove(lie)
                return lie
        return None
