"""one.host.*: machines to run virtual machines on, all of the dummy driver; one.cluster.*: the one there is."""

from __future__ import annotations

from . import names
from .failures import ACTION, INTERNAL, Failure, not_allocated
from .objects import Host
from .registry import Call, method
from .rights import ADMIN, create, on, require
from .things import got, touched

MONITORED = 2


@method("one.host.allocate", "sss|i")
def allocate(call: Call, name: str, im_mad: str, vm_mad: str, cluster: int = -1) -> int:
    oned = call.oned
    where = oned.store.cluster(0 if cluster == -1 else cluster)
    require(oned.store, call.user, create("HOST"), on(ADMIN, where))
    if wrong := names.invalid(name, modern=oned.modern) or names.taken(oned.store, "host", name, 0):
        raise not_allocated("host", wrong) if oned.modern else Failure(INTERNAL, wrong)
    oid = oned.store.add(Host(oned.store.next_id("host"), name, im_mad=im_mad, vm_mad=vm_mad, cluster=where.id))
    oned.drivers.work(lambda: _monitored(call, oid))
    return oid


def _monitored(call: Call, oid: int) -> None:
    with call.oned.holding():
        if call.oned.store.has("host", oid):
            host = call.oned.store.host(oid)
            host.state = MONITORED
            call.oned.store.save(host)


@method("one.host.delete", "i")
def delete(call: Call, oid: int) -> int:
    host = got(call, "host", oid, ADMIN)
    if host.vms:
        raise Failure(ACTION, "Cannot delete host. Can not remove a host with running VMs")
    call.oned.store.drop(host)
    return oid


@method("one.host.status", "ii")
def status(call: Call, oid: int, state: int) -> int:
    """0 enable, 1 disable, 2 offline."""
    host = got(call, "host", oid, ADMIN)
    host.state = {0: MONITORED, 1: 4, 2: 8}.get(state, host.state)
    return touched(call, host)
