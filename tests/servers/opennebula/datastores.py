"""one.datastore.*, and the datastores that a new OpenNebula has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import names
from .failures import ACTION, INTERNAL, Failure
from .objects import Datastore
from .registry import Call, method
from .rights import ADMIN, MANAGE, create, on, require
from .template import Template
from .things import got, parsed, touched

if TYPE_CHECKING:
    from .oned import Oned

TYPES = ("IMAGE_DS", "SYSTEM_DS", "FILE_DS")
RIGHTS = [1, 1, 0, 1, 0, 0, 0, 0, 0]
_KNOWN = ("dummy", "fs")
_DUMMY = (20480, 20480, 9720)
"""Total, free, used MB that the dummy driver always tells."""


def begin(oned: Oned) -> None:
    """system 0, default 1, files 2."""
    transfer = "local" if oned.modern else "ssh"
    for oid, (name, sort) in enumerate((("system", 1), ("default", 0), ("files", 2))):
        text = {"NAME": name, "TYPE": TYPES[sort], "TM_MAD": transfer, "SAFE_DIRS": oned.safe}
        make(oned, oid, Template(list({**text, **({} if sort == 1 else {"DS_MAD": "fs"})}.items())))


def make(oned: Oned, oid: int, template: Template) -> Datastore:
    """A datastore of a template that was found good."""
    name, kind, transfer = template.take("NAME"), template.get("TYPE").upper() or TYPES[0], template.get("TM_MAD")
    sort = TYPES.index(kind)
    template.replace("TYPE", kind)
    template.erase("BASE_PATH")
    if "RESTRICTED_DIRS" not in template.names():
        template.set("RESTRICTED_DIRS", "/")
    if "SAFE_DIRS" not in template.names():
        template.set("SAFE_DIRS", "/var/tmp")
    if sort == 1:
        template.erase("DS_MAD")
    else:
        template.replace("CLONE_TARGET", "SYSTEM")
        template.replace("LN_TARGET", "NONE" if transfer in ("dummy", "shared") else "SYSTEM")
    _transfer(oned, template, transfer, sort)
    if sort != 2:
        template.replace("DISK_TYPE", template.get("DISK_TYPE") or "FILE")
    driver = template.get("DS_MAD") or "-"
    total, free, used = _DUMMY if transfer == "dummy" else (oned.capacity, oned.capacity, 0) if sort != 1 else (0, 0, 0)
    base = f"{oned.folder}/datastores/{oid}"
    place = Datastore(oid, name, rights=list(RIGHTS), type=sort, ds_mad=driver, tm_mad=transfer, total=total, free=free, used=used, base=base)
    place.template = template
    oned.store.add(place)
    return place


def _transfer(oned: Oned, template: Template, transfer: str, sort: int) -> None:
    """What oned.conf says of the way that disks go to hosts."""
    orphans = "NO" if transfer == "dummy" else "FORMAT" if oned.modern else "YES"
    template.replace("ALLOW_ORPHANS", orphans)
    if oned.modern:
        template.replace("PERSISTENT_SNAPSHOTS", "YES")
    if sort == 1:
        template.replace("DS_MIGRATE", "YES")
        template.replace("SHARED", "YES" if transfer in ("dummy", "shared") else "NO")
        if transfer == "local":
            template.replace("DS_LIVE_MIGRATE", "YES")
            template.replace("DS_MIGRATE_SNAP", "YES")


@method("one.datastore.allocate", "s|i")
def allocate(call: Call, text: str, cluster: int = -1) -> int:
    oned = call.oned
    template = parsed(text)
    where = oned.store.cluster(0 if cluster == -1 else cluster)
    require(oned.store, call.user, create("DATASTORE"), on(ADMIN, where))
    name = template.get("NAME")
    if wrong := names.invalid(name, modern=oned.modern) or names.taken(oned.store, "datastore", name, call.user.id):
        raise Failure(INTERNAL, wrong)
    kind = template.get("TYPE").upper() or TYPES[0]
    if kind not in TYPES:
        raise Failure(INTERNAL, f"Unknown datastore type: {kind}")
    if not template.get("TM_MAD"):
        raise Failure(INTERNAL, "No TM_MAD in template.")
    driver = template.get("DS_MAD")
    if kind != "SYSTEM_DS" and not driver:
        raise Failure(INTERNAL, "No DS_MAD in template.")
    if kind != "SYSTEM_DS" and driver not in _KNOWN:
        raise Failure(INTERNAL, f'DS_MAD named "{driver}" is not defined in oned.conf')
    return make(oned, oned.store.next_id("datastore"), template).id


@method("one.datastore.delete", "i")
def delete(call: Call, oid: int) -> int:
    place = got(call, "datastore", oid, ADMIN)
    if place.images:
        raise Failure(ACTION, f"Cannot delete datastore. Datastore {oid} is not empty.")
    if oid < 3:
        raise Failure(ACTION, "Cannot delete datastore. System Datastores (ID < 100) cannot be deleted.")
    call.oned.store.drop(place)
    return oid


@method("one.datastore.enable", "ib")
def enable(call: Call, oid: int, wanted: bool) -> int:
    place = got(call, "datastore", oid, MANAGE)
    if place.type != 1:
        raise Failure(INTERNAL, "Only SYSTEM_DS can be disabled or enabled")
    place.state = 0 if wanted else 1
    return touched(call, place)
