"""A file while it comes: how far it is, for those who read it before it is whole; and its digest, worked out beside the writing.

What is read here is not verified yet. Whoever reads it throws away what came of it unless the whole file turns out right.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Sequence
from pathlib import Path

_AHEAD = 4
"""Blocks that may wait to be hashed."""


class Arriving:
    """How far a file has come. One thread writes, others wait."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._arrived = 0
        self._over = self._spoilt = False
        self.path: Path | None = None
        """Where it is written; None before it has begun."""

    def begin(self, path: Path, arrived: int) -> None:
        """It is written to `path`, and so much is there already."""
        with self._changed:
            self.path, self._arrived = path, arrived
            self._changed.notify_all()

    def advance(self, arrived: int) -> None:
        """So many bytes from its start on are there."""
        with self._changed:
            self._arrived = arrived
            self._changed.notify_all()

    def restart(self) -> None:
        """What was there is not what comes: nobody may go on with what was read."""
        with self._changed:
            self._spoilt = self._spoilt or self._arrived > 0
            self._arrived = 0
            self._changed.notify_all()

    def abandon(self) -> None:
        """Nobody may go on reading."""
        with self._changed:
            self._spoilt = True
            self._changed.notify_all()

    def end(self) -> None:
        """Nothing more comes."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def wait(self, upto: int) -> bool:
        """Wait for the first `upto` bytes; False where they do not come any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or self._spoilt or (self.path is not None and self._arrived >= upto))
            return self.path is not None and self._arrived >= upto and not self._spoilt


class Digest:
    """SHA-512 in a thread of its own, some blocks behind the one that writes."""

    def __init__(self) -> None:
        self._blocks: queue.Queue[Sequence[bytes] | None] = queue.Queue(_AHEAD)
        self._digest = hashlib.sha512()
        self._thread: threading.Thread | None = None

    def update(self, blocks: Sequence[bytes]) -> None:
        """Hash these after all that came before."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="sha512", daemon=True)
            self._thread.start()
        self._blocks.put(blocks)

    def hexdigest(self) -> str:
        """Of all that came so far, which is waited for."""
        self.close()
        return self._digest.hexdigest()

    def close(self) -> None:
        """End the thread; more may come afterwards."""
        if self._thread is not None:
            self._blocks.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while (blocks := self._blocks.get()) is not None:
            for block in blocks:
                self._digest.update(block)
