"""Makes SQLite wait its turn under OpenStack's services.

oslo.db opens deferred transactions; a read followed by a write then fails at once with "database is locked" as soon as two
threads meet, as Glance's imports do. The write lock is taken first instead.
"""

from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine


@event.listens_for(Engine, "connect")
def _connected(connection: Any, _record: object) -> None:
    if type(connection).__module__.startswith("sqlite3"):
        connection.execute("PRAGMA busy_timeout = 30000")


@event.listens_for(Engine, "begin")
def _began(connection: Any) -> None:
    if connection.dialect.name == "sqlite" and "in_transaction" not in connection.info:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        connection.info["in_transaction"] = True
