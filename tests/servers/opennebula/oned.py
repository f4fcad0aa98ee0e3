"""The daemon without its wire: state, users, drivers, and the answer to one call."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import datastores, documents, hosts, images, machines, networks, people, system, templates, things
from .drivers import Drivers
from .failures import NO_SUCH_METHOD, TYPE, Failure, Fault
from .lies import Lies
from .objects import KINDS, Cluster, Group, Thing, User
from .registry import METHODS, Call
from .rights import authenticate, digest, group_rules
from .store import Store
from .template import Template

VERSIONS = ("6.10.0.1", "7.4.0")
MODULES = (datastores, documents, hosts, images, machines, networks, people, system, templates, things)
"""Where the methods are registered."""


class Oned:
    """`answer` may be called by many threads at once.

    folder: where the state and the datastores' files are kept. delay: seconds that each work of a driver takes at least.
    capacity: MB of each file datastore. password: oneadmin's, where the folder holds no state yet. safe: folders that files may be
    copied from, beside its own.
    """

    def __init__(
        self,
        folder: Path,
        *,
        version: str = VERSIONS[0],
        delay: float = 0.0,
        capacity: int = 20480,
        password: str = "opennebula",
        safe: tuple[str, ...] = (),
    ) -> None:
        self.folder, self.version, self.delay, self.capacity = folder, version, delay, capacity
        self.may_remove = safe
        """Folders beside the datastores' own from which the file of a deleted image is removed, whoever put it there."""
        self.safe = " ".join(("/var/tmp", str(folder), *safe))
        self.modern = version.startswith("7")
        folder.mkdir(parents=True, exist_ok=True)
        self.store = Store(folder / "one.db")
        self.lies = Lies()
        self.drivers = Drivers(self)
        self.scheduling = True
        """Whether waiting machines are deployed by themselves."""
        self.calls: deque[str] = deque(maxlen=100_000)
        """Names of the methods that were called, oldest first."""
        self._lock = threading.RLock()
        self._depth = 0
        self._numbers = itertools.count(1)
        if not self.store.all("user"):
            self._begin(password)

    def _begin(self, password: str) -> None:
        """The users, groups, rules, datastores and the cluster of a new OpenNebula."""
        self.store.add(Cluster(0, "default"))
        for oid, name in enumerate(("oneadmin", "users")):
            self.store.add(Group(oid, name))
        token = Template([("TOKEN_PASSWORD", digest(password))])
        self.store.add(User(0, "oneadmin", password=digest(password), groups=[0], template=token))
        secret = digest(random.randbytes(16).hex())
        self.store.add(User(1, "serveradmin", password=secret, driver="server_cipher", groups=[0]))
        for rule in group_rules(self.store, 1):
            self.store.add(rule)
        datastores.begin(self)

    def close(self) -> None:
        with self._lock:
            self.store.close()

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Nobody else changes anything meanwhile, and what is changed is written together."""
        with self._lock:
            self._depth += 1
            if self._depth == 1:
                self.store.begin()
            try:
                yield
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self.store.commit()

    @contextmanager
    def released(self) -> Iterator[None]:
        """Within `holding`: others may work while a driver is waited for."""
        self.store.commit()
        self._depth = 0
        self._lock.release()
        try:
            yield
        finally:
            self._lock.acquire()
            self._depth = 1
            self.store.begin()

    def now(self) -> int:
        return int(time.time())

    def answer(self, name: str, given: list[Any]) -> list[Any]:
        """What the call is answered. `given` begins with the session. Raises Fault."""
        found = METHODS.get(name)
        if found is None:
            raise Fault(NO_SUCH_METHOD, f"Method '{name}' not defined")
        if not given:
            raise Fault(TYPE, "Not enough parameters")
        if type(given[0]) is not str:
            raise Fault(TYPE, "Parameter that is supposed to be string is not")
        self.calls.append(name)
        try:
            with self.holding():
                call = Call(self, name, authenticate(self.store, given[0]), next(self._numbers) % 10000)
                value = found.run(call, *found.take(given[1:]))
        except Failure as failure:
            return [False, f"[{name}] {failure.message}", failure.code, failure.id, -1]
        return [True, value, 0]

    def tamper(self, kind: str, oid: int, changes: dict[str, Any]) -> None:
        """Change fields of an object behind everybody's back. Raises Failure where it is not there."""
        with self.holding():
            thing: Thing = self.store.thing(kind, oid)
            changed = KINDS[kind].from_json({**thing.as_json(), **changes})
            self.store.add(changed)
