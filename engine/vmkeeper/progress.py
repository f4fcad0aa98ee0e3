"""How long work tells what it is doing. The default does nothing; `cli` injects one that shows it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives what is happening. Called from several threads at once; must not raise."""

    def step(self, subject: str, text: str) -> None:
        """`subject` (an appliance, a site, a file) has begun `text`."""

    def amount(self, subject: str, done: int, total: int, unit: str) -> None:
        """`done` of `total` (0: unknown) `unit`s; at most a few times a second."""


class Silent:
    """The default: says nothing."""

    def step(self, subject: str, text: str) -> None:
        """Ignore."""

    def amount(self, subject: str, done: int, total: int, unit: str) -> None:
        """Ignore."""
