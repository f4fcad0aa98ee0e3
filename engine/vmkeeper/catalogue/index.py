"""A cache beside the repository that keeps planning as cheap as the change: it may be deleted at any time.

It holds documents by blob id (already parsed), digests of files by blob id, and who inherits from whom in one
`appliances/` tree. Moving to another tree reads only what differs. What comes out of it is checked by the
models again, so an index that lies can delay but not mislead.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from vmkeeper.progress import Progress
from vmkeeper.repository.changes import changes
from vmkeeper.repository.tree import Repository, Snapshot

_LAYOUT = "1"
_TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS document (kind TEXT, blob TEXT, text TEXT NOT NULL, PRIMARY KEY (kind, blob)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS digest (blob TEXT PRIMARY KEY, sha256 TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS node (name TEXT PRIMARY KEY, uuid TEXT, inherits TEXT, tools TEXT) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS node_inherits ON node (inherits);
CREATE INDEX IF NOT EXISTS node_tools ON node (tools);
CREATE INDEX IF NOT EXISTS node_uuid ON node (uuid);
"""


class Node(NamedTuple):
    """An appliance as the graph knows it; empty strings where nothing is said or the file cannot be read."""

    name: str
    uuid: str
    inherits: str
    tools: str


class Index:
    """The cache in a file, or in memory where `path` is None."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        try:
            self._db = self._open()
        except sqlite3.DatabaseError:
            assert path is not None
            path.unlink()
            self._db = self._open()

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path or ":memory:", timeout=600, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = OFF")
        db.executescript(_TABLES)
        layout = db.execute("SELECT value FROM meta WHERE key = 'layout'").fetchone()
        if layout is not None and layout[0] != _LAYOUT:
            for table in ("meta", "document", "digest", "node"):
                db.execute(f"DROP TABLE {table}")
            db.executescript(_TABLES)
        db.execute("INSERT OR REPLACE INTO meta VALUES ('layout', ?)", (_LAYOUT,))
        return db

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def document(self, kind: str, blob: str) -> str | None:
        """The JSON text of a document that was read from this blob before."""
        row = self._db.execute("SELECT text FROM document WHERE kind = ? AND blob = ?", (kind, blob)).fetchone()
        return row[0] if row else None

    def remember(self, kind: str, blob: str, text: str) -> None:
        """Keep the JSON text of a valid document."""
        self._db.execute("INSERT OR REPLACE INTO document VALUES (?, ?, ?)", (kind, blob, text))

    def sha256(self, blob: str, compute: Callable[[], str]) -> str:
        """The SHA-256 of a blob's bytes, computed once."""
        row = self._db.execute("SELECT sha256 FROM digest WHERE blob = ?", (blob,)).fetchone()
        if row:
            return str(row[0])
        digest = compute()
        self._db.execute("INSERT OR REPLACE INTO digest VALUES (?, ?)", (blob, digest))
        return digest

    def follow(self, repository: Repository, snapshot: Snapshot, node: Callable[[str], Node | None], progress: Progress | None = None) -> None:
        """Make the graph that of a snapshot. `node` reads one appliance by name (None: it is not there)."""
        tree = snapshot.tree
        known = self._meta("tree")
        if tree == known:
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            if known and known in repository.git:
                names = {
                    c.path.split("/")[1]
                    for c in changes(repository.tree(known), snapshot)
                    if c.path.startswith("appliances/") and c.path.endswith("/appliance.yaml")
                }
            else:
                self._db.execute("DELETE FROM node")
                names = {entry.name for entry in snapshot.entries("appliances") if entry.folder}
            for done, name in enumerate(names):
                if progress is not None:
                    progress.amount("index", done, len(names), "appliances read")
                found = node(name)
                if found is None:
                    self._db.execute("DELETE FROM node WHERE name = ?", (name,))
                else:
                    self._db.execute("INSERT OR REPLACE INTO node VALUES (?, ?, ?, ?)", found)
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('tree', ?)", (tree,))
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _meta(self, key: str) -> str:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return row[0] if row else ""

    def dependants(self, names: Iterable[str]) -> frozenset[str]:
        """The appliances that inherit from, or are built with the tools of, any of `names`, directly or not."""
        rows = self._db.execute(
            """
            WITH RECURSIVE
              edge(child, below) AS (SELECT name, inherits FROM node UNION ALL SELECT name, tools FROM node),
              found(name) AS (
                SELECT child FROM json_each(?) AS wanted JOIN edge ON below = wanted.value
                UNION
                SELECT child FROM found JOIN edge ON below = found.name)
            SELECT name FROM found
            """,
            (json.dumps(sorted(names)),),
        )
        return frozenset(row[0] for row in rows)

    def nodes(self) -> tuple[Node, ...]:
        """Every appliance, by name."""
        return tuple(Node(*row) for row in self._db.execute("SELECT * FROM node ORDER BY name"))

    def with_uuid(self, uuid: str) -> tuple[str, ...]:
        """The appliances that bear a UUID; more than one is somebody's mistake."""
        return tuple(row[0] for row in self._db.execute("SELECT name FROM node WHERE uuid = ? ORDER BY name", (uuid,)))
