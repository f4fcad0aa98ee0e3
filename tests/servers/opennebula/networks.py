"""one.vn.*: virtual networks with ranges of IPv4 addresses that virtual machines lease."""

from __future__ import annotations

from . import names
from .addresses import sound
from .failures import ACTION, INTERNAL, Failure
from .objects import Network
from .registry import Call, method
from .rights import ADMIN, MANAGE, create, on, require
from .things import got, owned, parsed


@method("one.vn.allocate", "s|i")
def allocate(call: Call, text: str, cluster: int = -1) -> int:
    store = call.oned.store
    template = parsed(text, single=False)
    require(store, call.user, create("NET"), on(ADMIN, store.cluster(0 if cluster == -1 else cluster)))
    name = template.take("NAME")
    if wrong := names.invalid(name, modern=call.oned.modern) or names.taken(store, "vn", name, call.user.id):
        raise Failure(INTERNAL, wrong)
    if not template.get("VN_MAD"):
        raise Failure(INTERNAL, "No VN_MAD in template.")
    ranges = template.groups("AR")
    if any(not sound(given) for given in ranges):
        raise Failure(INTERNAL, "Wrong or missing IP or SIZE in an address range")
    template.erase("AR")
    it = Network(store.next_id("vn"), name, template=template, bridge=template.get("BRIDGE"), vn_mad=template.get("VN_MAD"), ranges=ranges)
    owned(call, it)
    return store.add(it)


@method("one.vn.delete", "i")
def delete(call: Call, oid: int) -> int:
    it = got(call, "vn", oid, MANAGE)
    if it.leases:
        raise Failure(ACTION, "Cannot delete virtual network. Can not remove a virtual network with leases in use")
    call.oned.store.drop(it)
    return oid
