"""A lock for places that have none: a file that is created exclusively, says whose it is, and counts until a time.

It is taken over when its time has passed, or at once where the process that wrote it ran on this machine and is gone. A place
that cannot create a file exclusively still shows, on reading back, that somebody else wrote it too.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from vmkeeper.errors import Transient
from vmkeeper.values import canonical_json, format_time, parse_time, sha256_hex

LOCK_FILE = ".vmkeeper-lock.json"
LEASE = timedelta(minutes=30)
_LIMIT = 4096


class LockPlace(Protocol):
    """What a lock is made with; paths as the place has them."""

    def create(self, path: str, data: bytes) -> bool:
        """Write a file that is not there; False where it is."""

    def write(self, path: str, data: bytes) -> None:
        """Write over a file."""

    def peek(self, path: str, limit: int) -> bytes | None:
        """A file's first bytes, None where it is not there."""

    def drop(self, path: str) -> None:
        """Remove a file; nothing where there is none."""


class Lease:
    """One publisher's lock at one place."""

    def __init__(self, place: LockPlace, path: str, name: str, clock: Callable[[], datetime]) -> None:
        self._place, self._path, self._name, self._clock = place, path, name, clock
        self._owner = secrets.token_hex(16)
        self._until: datetime | None = None

    def take(self) -> None:
        """Take the lock. Raises Transient where somebody has it."""
        held = self._place.peek(self._path, _LIMIT)
        if held is not None:
            self._refuse_if_held(held)
            self._place.drop(self._path)
        until = self._clock() + LEASE
        if not self._place.create(self._path, self._text(until)) or not self._ours():
            raise self._busy("")
        self._until = until

    def stay(self) -> None:
        """Prolong the lock where a third of its time has passed. Raises Transient where it is not ours any more."""
        if self._until is not None and self._clock() > self._until - LEASE * 2 / 3:
            if not self._ours():
                raise Transient("another run has taken the lock of this one over", where=self._name, hint="run again")
            self._until = self._clock() + LEASE
            self._place.write(self._path, self._text(self._until))

    def give_back(self) -> None:
        """End the lock, if it is ours."""
        self._until = None
        if self._ours():
            self._place.drop(self._path)

    def stale(self) -> bool:
        """Whether a lock is there that nobody holds."""
        held = self._place.peek(self._path, _LIMIT)
        return held is not None and not self._held(held)

    def _text(self, until: datetime) -> bytes:
        return canonical_json({"owner": self._owner, "until": format_time(until.astimezone(UTC).replace(microsecond=0)), **_process(os.getpid())})

    def _ours(self) -> bool:
        found = _read(self._place.peek(self._path, _LIMIT) or b"")
        return found.get("owner") == self._owner

    def _refuse_if_held(self, held: bytes) -> None:
        if self._held(held):
            raise self._busy(f"its lock counts until {_read(held).get('until')}")

    def _held(self, held: bytes) -> bool:
        found = _read(held)
        with suppress(ValueError):
            if parse_time(found.get("until", "")) > self._clock():
                here = _process(int(found.get("process", "0")))
                return found.get("machine") != here["machine"] or found.get("started") == here["started"]
        return False

    def _busy(self, why: str) -> Transient:
        hint = f"wait for it to end; if no run is at work, remove {LOCK_FILE} there"
        return Transient("another run is publishing there", where=self._name, why=why, hint=hint)


def _read(data: bytes) -> dict[str, str]:
    with suppress(ValueError):
        found = json.loads(data)
        if isinstance(found, dict):
            return {str(key): str(value) for key, value in found.items()}
    return {}


def _process(number: int) -> dict[str, str]:
    """A process of this machine; when it was started tells it from a later one of the same number (proc(5), stat), empty if it is gone."""
    machine, started = "", ""
    with suppress(OSError):
        # Everybody may read the lock, so it names this machine without saying what it is.
        here = Path("/proc/sys/kernel/random/boot_id").read_text() + str(Path("/proc/self/ns/pid").readlink())
        machine = sha256_hex(here.encode())[:32]
        started = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[19]
    return {"machine": machine, "process": str(number), "started": started}
