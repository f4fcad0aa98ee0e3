"""Whether there is room for an image: the datastore's, and the account's quota. Asked before any bytes go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from vmkeeper.clouds.interface import ImageSpec, NoRoom
from vmkeeper.clouds.opennebula.account import Account
from vmkeeper.values import Size

MIB = 2**20


def check_room(account: Account, datastore: Any, spec: ImageSpec) -> None:
    """Raises NoRoom where it is sure that an image does not fit. oned looks once more, and knows better for thin and shared datastores."""
    needed = -(-int(spec.size) // MIB)
    with account.sensible("datastore.info"):
        total, free = int(datastore.TOTAL_MB), int(datastore.FREE_MB)
        number, name = int(datastore.ID), str(datastore.NAME)
    if total > 0 and free < needed:  # a datastore that was not looked at yet says 0 and 0
        why = f"it takes {Size(spec.size).human}, {Size(free * MIB).human} are left"
        raise NoRoom(f"no room for {spec.name}", where=f"datastore {name}", why=why, hint="make room there, then run again")
    if account.platform.owner is None:
        user = account.session.call("user.info", account.uid)
        with account.sensible("user.info"):
            for limit in _limits(user, number):
                _check(limit, needed, spec.name, name)


def _limits(user: Any, datastore: int) -> Iterable[Any]:
    quota = getattr(user, "DATASTORE_QUOTA", None)
    found = getattr(quota, "DATASTORE", None) if quota is not None else None
    several = found if isinstance(found, list) else [found] if found is not None else []
    return [one for one in several if _number(one, "ID") == datastore]


def _check(limit: Any, needed: int, name: str, datastore: str) -> None:
    """Limits of -1 and -2 are the default's and none."""
    for what, more in (("IMAGES", 1), ("SIZE", needed)):
        most, used = _number(limit, what), _number(limit, f"{what}_USED")
        if most is not None and most >= 0 and (used or 0) + more > most:
            why = f"the account may have {what} {most}, has {used or 0} and needs {more} more"
            raise NoRoom(f"no quota for {name}", where=f"datastore {datastore}", why=why, hint="ask an administrator for more")


def _number(thing: Any, name: str) -> int | None:
    value = thing.get(name) if isinstance(thing, Mapping) else getattr(thing, name, None)
    return int(float(value)) if value not in (None, "") else None
