"""What a virtual machine takes for its disks and network cards, and gives back."""

from __future__ import annotations

from .addresses import lease, mac_of
from .failures import Failure, not_allocated
from .objects import (
    IMAGE_STATES,
    LOCKED,
    LOCKED_USED,
    LOCKED_USED_PERS,
    READY,
    USED,
    USED_PERS,
    Image,
    Machine,
    Network,
    Thing,
)
from .registry import Call
from .rights import USE, on, require
from .store import Store
from .template import Template, whole


def find_image(call: Call, disk: dict[str, str]) -> Image | None:
    """The image of a disk. Raises LookupError with oned's words; None for a disk without image."""
    store = call.oned.store
    if "IMAGE_ID" in disk:
        oid = whole(disk["IMAGE_ID"])
        if not store.has("image", oid):
            raise LookupError(f"Image with ID: {disk['IMAGE_ID']} does not exist")
        return store.image(oid)
    if "IMAGE" in disk:
        uid = _owner(store, disk, call.user.id)
        found = store.named("image", disk["IMAGE"], uid)
        if found is None:
            raise LookupError(f"User {uid} does not own an image with name: {disk['IMAGE']} . Set IMAGE_UNAME or IMAGE_UID of owner in DISK.")
        assert isinstance(found, Image)
        return found
    return None


def _owner(store: Store, disk: dict[str, str], default: int) -> int:
    if whole(disk.get("IMAGE_UID", "")) >= 0:
        return whole(disk["IMAGE_UID"])
    user = store.named("user", disk["IMAGE_UNAME"]) if "IMAGE_UNAME" in disk else None
    return default if user is None else user.id


def require_images(call: Call, template: Template) -> None:
    """The right to use images that are named with their owner. By IMAGE_ID oned lets everybody use them."""
    for disk in template.groups("DISK"):
        if "IMAGE_ID" in disk or not ("IMAGE_UNAME" in disk or "IMAGE_UID" in disk):
            continue
        try:
            image = find_image(call, disk)
        except LookupError:
            continue
        if image is not None:
            require(call.oned.store, call.user, on(USE, image))


def extended(call: Call, disk: dict[str, str], number: int) -> dict[str, str] | None:
    """The disk with all that its image says; None for a disk without."""
    try:
        image = find_image(call, disk)
    except LookupError:
        return None
    if image is None:
        return None
    place = call.oned.store.datastore(image.datastore)
    known = {
        "ALLOW_ORPHANS": place.template.get("ALLOW_ORPHANS"),
        "CLONE": "NO" if image.persistent else "YES",
        "CLONE_TARGET": place.template.get("CLONE_TARGET"),
        "CLUSTER_ID": "0",
        "DATASTORE": place.name,
        "DATASTORE_ID": str(place.id),
        "DEV_PREFIX": image.template.get("DEV_PREFIX"),
        "DISK_ID": str(number),
        "DISK_SNAPSHOT_TOTAL_SIZE": "0",
        "DISK_TYPE": "FILE",
        "DRIVER": image.template.get("DRIVER") or image.format,
        "FORMAT": image.format,
        "IMAGE": image.name,
        "IMAGE_ID": str(image.id),
        "IMAGE_STATE": str(image.state),
        "LN_TARGET": place.template.get("LN_TARGET"),
        "ORIGINAL_SIZE": str(image.size),
        "READONLY": "YES" if image.type == 1 else "NO",
        "SAVE": "YES" if image.persistent else "NO",
        "SIZE": str(image.size),
        "SOURCE": image.source,
        "TM_MAD": place.tm_mad,
        "TYPE": "CDROM" if image.type == 1 else "FILE",
    }
    if call.oned.modern:
        known["PERSISTENT_SNAPSHOTS"] = "YES"
    kept = {name: value for name, value in disk.items() if name not in known or name in ("SIZE", "DEV_PREFIX", "DRIVER")}
    return {**known, **kept}


def acquire(call: Call, machine: Machine, said: str) -> None:
    """Take images and addresses. Raises Failure 16384, having taken nothing."""
    store = call.oned.store
    taken: list[Image] = []
    try:
        for number, disk in enumerate(machine.template.groups("DISK")):
            image = find_image(call, disk)
            _check(disk, image)
            if image is not None:
                _use(image, machine.id)
                taken.append(image)
                disk.update(extended(call, disk, number) or {})
            disk["DISK_ID"] = str(number)
            disk["TARGET"] = disk.get("TARGET") or f"{disk.get('DEV_PREFIX', 'sd')}{chr(ord('a') + number)}"
    except LookupError as error:
        for image in taken:
            give_back(image, machine.id)
        raise not_allocated(said, f"DISK {number}: {error}") from error
    try:
        for number, nic in enumerate(machine.template.groups("NIC")):
            _connect(call, machine, number, nic, said)
    except Failure:
        for image in taken:
            give_back(image, machine.id)
        free_addresses(store, machine)
        raise
    store.save(*taken)


def _check(disk: dict[str, str], image: Image | None) -> None:
    """Raises LookupError for a size that cannot be."""
    size = whole(disk.get("SIZE", ""))
    if image is None:
        if disk.get("TYPE", "").upper() not in ("SWAP", "FS"):
            raise LookupError(f"Unknown disk type {disk.get('TYPE', '').upper()}")
        if size <= 0:
            raise LookupError("SIZE attribute must be a positive integer value.")
    elif size >= 0 and size != image.size and (image.persistent or image.type == 1):
        what = "persistent" if image.persistent else "CDROM"
        raise LookupError(f"SIZE attribute is not supported for {what} image [{image.id}].")
    elif 0 <= size < image.size:
        raise LookupError(f"SIZE of {size}MB is less than the image [{image.id}] size of {image.size}MB.")


def _use(image: Image, machine: int) -> None:
    new = {READY: USED, LOCKED: LOCKED_USED, USED: USED, LOCKED_USED: LOCKED_USED}
    kept = {READY: USED_PERS, LOCKED: LOCKED_USED_PERS}
    if image.type > 2:
        raise LookupError(f"Image {image.id} ({image.name}) of type KERNEL, RAMDISK or CONTEXT cannot be used as DISK.")
    if image.state in (USED_PERS, LOCKED_USED_PERS):
        raise LookupError(f"Cannot acquire image {image.id}, it is persistent and already in use")
    if image.state not in new:
        raise LookupError(f"Cannot acquire image {image.id}, it is in state: {IMAGE_STATES[image.state]}")
    state = kept.get(image.state, image.state) if image.persistent else new[image.state]
    image.vms = sorted({*image.vms, machine})
    if state != image.state:
        image.become(state)


def give_back(image: Image, machine: int) -> None:
    image.vms = [oid for oid in image.vms if oid != machine]
    if not image.vms and image.state in (USED, USED_PERS):
        image.become(READY)
    elif not image.vms and image.state in (LOCKED_USED, LOCKED_USED_PERS):
        image.become(LOCKED)


def _connect(call: Call, machine: Machine, number: int, nic: dict[str, str], said: str) -> None:
    store = call.oned.store
    network = _network(call, nic)
    if network is None:
        why = f"User {call.user.id} does not own a network with name: {nic.get('NETWORK')} . Set NETWORK_UNAME or NETWORK_UID of owner in NIC."
        raise not_allocated(
            said, f"NIC {number}: " + (f"Virtual network with ID: {nic['NETWORK_ID']} does not exist" if "NETWORK_ID" in nic else why)
        )
    require(store, call.user, on(USE, network))
    address = lease(network, machine.id)
    if not address:
        raise not_allocated(said, f"NIC {number}: Cannot get IP/MAC lease from virtual network {network.id}.")
    nic.update({"NIC_ID": str(number), "NETWORK": network.name, "NETWORK_ID": str(network.id), "IP": address, "MAC": mac_of(address)})
    nic.update({"AR_ID": "0", "BRIDGE": network.bridge, "CLUSTER_ID": "0", "NAME": f"NIC{number}", "SECURITY_GROUPS": "0"})
    nic.update({"TARGET": f"one-{machine.id}-{number}", "VN_MAD": network.vn_mad})
    store.save(network)


def _network(call: Call, nic: dict[str, str]) -> Network | None:
    store = call.oned.store
    found: Thing | None = None
    if "NETWORK_ID" in nic:
        oid = whole(nic["NETWORK_ID"])
        found = store.network(oid) if store.has("vn", oid) else None
    elif "NETWORK" in nic:
        user = store.named("user", nic["NETWORK_UNAME"]) if "NETWORK_UNAME" in nic else call.user
        found = store.named("vn", nic["NETWORK"], user.id if user else -1)
    return found if isinstance(found, Network) else None


def free_addresses(store: Store, machine: Machine) -> None:
    for nic in machine.template.groups("NIC"):
        oid = whole(nic.get("NETWORK_ID", ""))
        if nic.get("IP") and store.has("vn", oid):
            network = store.network(oid)
            network.leases = {address: vm for address, vm in network.leases.items() if vm != machine.id}
            store.save(network)
