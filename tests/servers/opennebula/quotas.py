"""What a user or group may take at most, and what it has taken: reckoned from the objects that are there."""

from __future__ import annotations

import math

from .failures import AUTHORIZATION, INTERNAL, Failure
from .objects import Group, User
from .store import Store
from .template import Template, cdata, whole

MACHINE_LIMITS = ("CPU", "MEMORY", "RUNNING_CPU", "RUNNING_MEMORY", "RUNNING_VMS", "SYSTEM_DISK_SIZE", "VMS")
DONE = 6


def set_limits(it: User | Group, template: Template) -> None:
    """As `one.user.quota` does: `DATASTORE=[ID=…,IMAGES=…,SIZE=…]`, `VM=[VMS=…,…]`, `IMAGE=[ID=…,RVMS=…]`; -1 is no limit."""
    for kind in ("DATASTORE", "IMAGE"):
        for group in template.groups(kind):
            limits = _limits(kind, {name: value for name, value in group.items() if name != "ID"})
            it.quotas.setdefault(kind, {}).setdefault(group.get("ID", ""), {}).update(limits)
    for group in template.groups("VM"):
        it.quotas.setdefault("VM", {}).update(_limits("VM", group))


def _limits(kind: str, group: dict[str, str]) -> dict[str, float]:
    """Raises Failure 8192."""
    try:
        limits = {name: float(value) for name, value in group.items()}
    except ValueError:
        limits = {"": -3.0}
    if any(not -2 <= limit < math.inf for limit in limits.values()):
        text = ", ".join(f"{name} = {value}" for name, value in group.items())
        raise Failure(INTERNAL, f"Negative limits or bad format in quota {kind} = [ {text} ]")
    return limits


def check_image(store: Store, user: User, datastore: int, size: int) -> None:
    """One more image of `size` MB. Raises Failure 512."""
    for it, word in ((user, "user"), (store.group(user.gid), "group")):
        images, used = _stored(store, it).get(str(datastore), (0, 0))
        limits = it.quotas.get("DATASTORE", {}).get(str(datastore), {})
        for name, wanted in (("SIZE", used + size), ("IMAGES", images + 1)):
            _check(user, f"{word} [{it.id}]", limits.get(name, -1), wanted, f"{name} quota in DATASTORE with ID: {datastore}")


def check_machine(store: Store, user: User, cpu: float, memory: int) -> None:
    """One more virtual machine. Raises Failure 512."""
    for it, word in ((user, "user"), (store.group(user.gid), "group")):
        used = _running(store, it)
        limits = it.quotas.get("VM", {})
        for name, more in (("VMS", 1), ("CPU", cpu), ("MEMORY", memory)):
            _check(user, f"{word} [{it.id}]", limits.get(name, -1), used[name] + more, f"{name} quota")


def _check(user: User, whose: str, limit: float, wanted: float, what: str) -> None:
    # -1 is the default, which is unlimited; -2 is unlimited
    if 0 <= limit < wanted:
        raise Failure(AUTHORIZATION, f"User [{user.id}] : {whose} limit of {limit:g} reached for {what}.")


def _belongs(it: User | Group, uid: int, gid: int) -> bool:
    return it.id == (uid if isinstance(it, User) else gid)


def _stored(store: Store, it: User | Group) -> dict[str, tuple[int, int]]:
    """Datastore → number and MB of images."""
    found: dict[str, tuple[int, int]] = {}
    for image in store.images():
        if _belongs(it, image.uid, image.gid):
            number, size = found.get(str(image.datastore), (0, 0))
            found[str(image.datastore)] = (number + 1, size + image.size)
    return found


def _running(store: Store, it: User | Group) -> dict[str, float]:
    mine = [machine for machine in store.machines() if machine.state != DONE and _belongs(it, machine.uid, machine.gid)]
    cpu = sum(float(machine.template.get("CPU") or 0) for machine in mine)
    memory = sum(int(machine.template.get("MEMORY") or 0) for machine in mine)
    return {"VMS": len(mine), "CPU": cpu, "MEMORY": memory}


def limits_xml(store: Store, it: User | Group) -> str:
    """The four quota elements; the administrators' use is not counted."""
    stored = {} if it.id == 0 else _stored(store, it)
    limits = it.quotas.get("DATASTORE", {})
    parts = []
    for oid in sorted({*stored, *limits}, key=whole):
        number, size = stored.get(oid, (0, 0))
        given = limits.get(oid, {})
        figures = {"ID": oid, "IMAGES": given.get("IMAGES", -1), "IMAGES_USED": number, "SIZE": given.get("SIZE", -1), "SIZE_USED": size}
        parts.append(f"<DATASTORE>{_figures(figures)}</DATASTORE>")
    return f"<DATASTORE_QUOTA>{''.join(parts)}</DATASTORE_QUOTA><NETWORK_QUOTA></NETWORK_QUOTA>{_machines(store, it)}<IMAGE_QUOTA></IMAGE_QUOTA>"


def _machines(store: Store, it: User | Group) -> str:
    used = _running(store, it)
    limits = it.quotas.get("VM", {})
    if it.id == 0 or not (used["VMS"] or limits):
        return "<VM_QUOTA></VM_QUOTA>"
    figures: dict[str, object] = {}
    for name in MACHINE_LIMITS:
        figures[name] = limits.get(name, -1)
        figures[f"{name}_USED"] = used.get(name.removeprefix("RUNNING_"), 0)
    return f"<VM_QUOTA><VM>{_figures(figures)}</VM></VM_QUOTA>"


def _figures(figures: dict[str, object]) -> str:
    return "".join(f"<{name}>{cdata(f'{value:g}' if isinstance(value, float) else value)}</{name}>" for name, value in figures.items())
