"""Objects in memory, the changes of each call written to an SQLite file, as oned does it: a killed server starts again with all of it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from .failures import missing
from .objects import KINDS, Cluster, Datastore, DocumentObject, Group, Host, Image, Machine, Network, Rule, Thing, User, VmTemplate

FIRST = {"datastore": 100, "group": 100, "user": 2, "cluster": 100}


class Store:
    """The pools, by kind and id. Not safe for threads: the server holds a lock."""

    def __init__(self, file: Path | None) -> None:
        self._database = sqlite3.connect(file or ":memory:", check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("CREATE TABLE IF NOT EXISTS object (kind TEXT, id INTEGER, body TEXT, PRIMARY KEY (kind, id))")
        self._database.execute("CREATE TABLE IF NOT EXISTS next (kind TEXT PRIMARY KEY, id INTEGER)")
        self._pools: dict[str, dict[int, Thing]] = {kind: {} for kind in KINDS}
        for kind, oid, body in self._database.execute("SELECT kind, id, body FROM object ORDER BY id"):
            self._pools[kind][oid] = KINDS[kind].from_json(json.loads(body))
        self._next = {**dict.fromkeys(KINDS, 0), **FIRST, **dict(self._database.execute("SELECT kind, id FROM next"))}

    def close(self) -> None:
        self._database.close()

    def begin(self) -> None:
        """What follows is written together with `commit`, or not at all."""
        self._database.execute("BEGIN")

    def commit(self) -> None:
        self._database.execute("COMMIT")

    def all(self, kind: str) -> list[Thing]:
        """Newest first, as oned lists them."""
        return [self._pools[kind][oid] for oid in sorted(self._pools[kind], reverse=True)]

    def has(self, kind: str, oid: int) -> bool:
        return oid in self._pools[kind]

    def thing(self, kind: str, oid: int) -> Thing:
        """Raises Failure 1024."""
        if oid not in self._pools[kind]:
            raise missing(KINDS[kind].said, oid)
        return self._pools[kind][oid]

    def next_id(self, kind: str) -> int:
        return self._next[kind]

    def set_next_id(self, kind: str, oid: int) -> None:
        self._next[kind] = oid
        self._database.execute("INSERT OR REPLACE INTO next VALUES (?, ?)", (kind, oid))

    def add(self, thing: Thing) -> int:
        """`thing.id` is what `next_id` gave, or one below where the kind begins."""
        if thing.id >= self._next[thing.kind]:
            self.set_next_id(thing.kind, thing.id + 1)
        self._pools[thing.kind][thing.id] = thing
        self.save(thing)
        return thing.id

    def save(self, *things: Thing) -> None:
        for thing in things:
            body = json.dumps(thing.as_json())
            self._database.execute("INSERT OR REPLACE INTO object VALUES (?, ?, ?)", (thing.kind, thing.id, body))

    def drop(self, thing: Thing) -> None:
        del self._pools[thing.kind][thing.id]
        self._database.execute("DELETE FROM object WHERE kind = ? AND id = ?", (thing.kind, thing.id))

    def named(self, kind: str, name: str, uid: int | None = None) -> Thing | None:
        """The object of that name, of that owner where names belong to owners."""
        return next((thing for thing in self._pools[kind].values() if thing.name == name and uid in (None, thing.uid)), None)

    def image(self, oid: int) -> Image:
        return self.thing("image", oid)  # type: ignore[return-value]

    def vm_template(self, oid: int) -> VmTemplate:
        return self.thing("template", oid)  # type: ignore[return-value]

    def machine(self, oid: int) -> Machine:
        return self.thing("vm", oid)  # type: ignore[return-value]

    def datastore(self, oid: int) -> Datastore:
        return self.thing("datastore", oid)  # type: ignore[return-value]

    def user(self, oid: int) -> User:
        return self.thing("user", oid)  # type: ignore[return-value]

    def group(self, oid: int) -> Group:
        return self.thing("group", oid)  # type: ignore[return-value]

    def network(self, oid: int) -> Network:
        return self.thing("vn", oid)  # type: ignore[return-value]

    def document(self, oid: int) -> DocumentObject:
        return self.thing("document", oid)  # type: ignore[return-value]

    def host(self, oid: int) -> Host:
        return self.thing("host", oid)  # type: ignore[return-value]

    def cluster(self, oid: int) -> Cluster:
        return self.thing("cluster", oid)  # type: ignore[return-value]

    def rule(self, oid: int) -> Rule:
        return self.thing("acl", oid)  # type: ignore[return-value]

    def images(self) -> list[Image]:
        return self.all("image")  # type: ignore[return-value]

    def machines(self) -> list[Machine]:
        return self.all("vm")  # type: ignore[return-value]

    def datastores(self) -> list[Datastore]:
        return self.all("datastore")  # type: ignore[return-value]

    def users(self) -> list[User]:
        return self.all("user")  # type: ignore[return-value]

    def rules(self) -> list[Rule]:
        return self.all("acl")  # type: ignore[return-value]
