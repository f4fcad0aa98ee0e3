"""one.vm.*: virtual machines, as far as states go; nothing runs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from . import names
from .disks import acquire, free_addresses, give_back, require_images
from .failures import ACTION, Failure, not_allocated
from .objects import LOCKED_USED, LOCKED_USED_PERS, Machine
from .quotas import check_machine
from .registry import Call, method
from .restricted import restricted
from .rights import ADMIN, MANAGE, create, denied, require
from .template import Template, whole
from .things import got, owned, parsed, touched

if TYPE_CHECKING:
    from .oned import Oned

STATES = ["INIT", "PENDING", "HOLD", "ACTIVE", "STOPPED", "SUSPENDED", "DONE", "FAILED", "POWEROFF", "UNDEPLOYED", "CLONING", "CLONING_FAILURE"]
INIT, PENDING, HOLD, ACTIVE, STOPPED, SUSPENDED, DONE, FAILED, POWEROFF, UNDEPLOYED, CLONING, CLONING_FAILURE = range(12)
LCM = {
    0: "LCM_INIT",
    1: "PROLOG",
    2: "BOOT",
    3: "RUNNING",
    5: "SAVE_SUSPEND",
    6: "SAVE_STOP",
    11: "EPILOG",
    12: "SHUTDOWN",
    16: "UNKNOWN",
    18: "SHUTDOWN_POWEROFF",
    20: "BOOT_POWEROFF",
    30: "SHUTDOWN_UNDEPLOY",
}
_OF_MACHINE = {
    "CONTEXT",
    "CPU",
    "MEMORY",
    "MEMORY_MAX",
    "VCPU",
    "VCPU_MAX",
    "DISK",
    "NIC",
    "NIC_ALIAS",
    "NIC_DEFAULT",
    "OS",
    "FEATURES",
    "GRAPHICS",
    "VIDEO",
    "INPUT",
    "RAW",
    "VMGROUP",
    "PCI",
    "CPU_MODEL",
    "TOPOLOGY",
    "NUMA_NODE",
    "TEMPLATE_ID",
    "TM_MAD_SYSTEM",
    "SCHED_ACTION",
    "BACKUP_CONFIG",
    "CPU_COST",
    "MEMORY_COST",
    "DISK_COST",
    "SNAPSHOT",
    "SPICE_OPTIONS",
}
"""Attributes that are the machine's own; all others are USER_TEMPLATE."""
ACTIONS = [
    "terminate",
    "terminate-hard",
    "hold",
    "release",
    "stop",
    "suspend",
    "resume",
    "reboot",
    "reboot-hard",
    "poweroff",
    "poweroff-hard",
    "undeploy",
    "undeploy-hard",
    "resched",
    "unresched",
]
RUNNING, EPILOG, UNKNOWN = 3, 11, 16
_ENDING = (12, 18, 30)
"""States of the life cycle in which it is being shut down; a termination comes in between."""
_WAYS: dict[str, tuple[int, int]] = {"poweroff": (18, POWEROFF), "suspend": (5, SUSPENDED), "stop": (6, STOPPED), "undeploy": (30, UNDEPLOYED)}
"""Action → the state of the life cycle on the way, the state in the end."""


@method("one.vm.allocate", "s|b")
def allocate(call: Call, text: str, hold: bool = False) -> int:
    template = parsed(text, single=False)
    if not call.admin and (name := restricted("vm", template)):
        raise denied(call.user, f"VM Template includes a restricted attribute {name}")
    require(call.oned.store, call.user, create("VM"))
    return make(call, template, template.take("NAME") or "one-%d", hold=hold, said="virtual machine")


def make(call: Call, template: Template, name: str, *, hold: bool, said: str) -> int:
    """A machine of a template; `%d` in the name is its id. Raises Failure 512 and 16384."""
    oned = call.oned
    require_images(call, template)
    cpu, memory = template.get("CPU"), template.get("MEMORY")
    if not re.fullmatch(r"[0-9]{0,6}\.?[0-9]{1,6}", cpu) or not float(cpu):
        raise not_allocated(said, "CPU attribute must be a positive float or integer value.")
    if whole(memory) <= 0:
        raise not_allocated(said, "MEMORY attribute must be a positive integer value.")
    if not call.admin:
        check_machine(oned.store, call.user, float(cpu), int(memory))
    it = Machine(oned.store.next_id("vm"), "", started=oned.now(), state=HOLD if hold else PENDING)
    it.name = name.replace("%d", str(it.id))
    if wrong := names.invalid(it.name, modern=oned.modern):
        raise not_allocated(said, wrong)
    owned(call, it)
    it.template = Template([item for item in template.items if item[0] in _OF_MACHINE], single=False)
    it.user_template = Template([item for item in template.items if item[0] not in _OF_MACHINE], single=False)
    acquire(call, it, said)
    _complete(call, it, hold=hold)
    if any(oned.store.image(oid).state in (LOCKED_USED, LOCKED_USED_PERS) for oid in image_ids(it)):
        it.state = CLONING
    it.previous = it.state
    oned.store.add(it)
    schedule(oned, it.id)
    return it.id


def _complete(call: Call, it: Machine, *, hold: bool) -> None:
    """What oned adds to every machine."""
    template = it.template
    template.set("AUTOMATIC_DS_REQUIREMENTS", '("CLUSTERS/ID" @> 0)')
    template.set("AUTOMATIC_NIC_REQUIREMENTS", '("CLUSTERS/ID" @> 0)')
    public = "" if call.oned.modern else " & !(PUBLIC_CLOUD = YES)"
    template.set("AUTOMATIC_REQUIREMENTS", f"(CLUSTER_ID = 0){public} & !(PIN_POLICY = PINNED)")
    system = template.group("OS")
    template.replace("OS", {**system, "UUID": system.get("UUID") or str(uuid4())})
    if hold:
        template.set("SUBMIT_ON_HOLD", "YES")
    template.set("VMID", str(it.id))
    if context := template.group("CONTEXT"):
        known = {"NAME": it.name, "UNAME": it.uname, "VMID": str(it.id)}
        filled = {name: _filled(call, value, known) for name, value in context.items()}
        for number, nic in enumerate(template.groups("NIC") if context.get("NETWORK", "").upper() == "YES" else ()):
            filled.update({f"ETH{number}_{name}": nic[name] for name in ("IP", "MAC")})
        template.replace("CONTEXT", {**filled, "DISK_ID": str(len(template.groups("DISK"))), "TARGET": "hda"})


def _filled(call: Call, value: str, known: dict[str, str]) -> str:
    """`$USER[NAME]` and `$NAME` in a context."""
    value = re.sub(r"\$USER\[(\w+)\]", lambda found: call.user.template.get(found[1].upper()), value)
    return re.sub(r"\$(NAME|UNAME|VMID)\b", lambda found: known[found[1]], value)


def image_ids(it: Machine) -> list[int]:
    return [oid for disk in it.template.groups("DISK") if (oid := whole(disk.get("IMAGE_ID", ""))) >= 0]


def schedule(oned: Oned, oid: int) -> None:
    """Deploy a waiting machine where there is a host with memory left, if the server is to."""
    if not oned.scheduling or oned.store.machine(oid).state != PENDING:
        return
    for host in oned.store.all("host"):
        used = sum(int(oned.store.machine(vm).template.get("MEMORY")) for vm in oned.store.host(host.id).vms)
        if used + int(oned.store.machine(oid).template.get("MEMORY")) <= 16384:
            place = next((it.id for it in reversed(oned.store.datastores()) if it.type == 1 and it.state == 0), 0)
            _deploy(oned, oid, host.id, place)
            return
    it = oned.store.machine(oid)
    it.user_template.replace("SCHED_MESSAGE", "Cannot dispatch VM to any Host. Possible reasons: Not enough capacity in Host or System DS")
    oned.store.save(it)


def _deploy(oned: Oned, oid: int, host: int, datastore: int) -> None:
    it, where = oned.store.machine(oid), oned.store.host(host)
    it.host, it.hostname, it.datastore, it.placed = host, where.name, datastore, oned.now()
    it.template.replace("TM_MAD_SYSTEM", oned.store.datastore(datastore).tm_mad)
    where.vms = sorted({*where.vms, oid})
    _become(oned, it, ACTIVE, 1)
    oned.store.save(it, where)
    _later(oned, oid, (1, 2), ACTIVE, 2)
    it.deploy = f"{where.name}:{it.name}:dummy"


def _become(oned: Oned, it: Machine, state: int, lcm: int = 0) -> None:
    it.state = it.previous = state
    it.lcm = it.previous_lcm = lcm
    oned.store.save(it)


def _later(oned: Oned, oid: int, before: tuple[int, ...], state: int, lcm: int) -> None:
    """The next state, unless something else has come between."""

    def go() -> None:
        with oned.holding():
            it = oned.store.machine(oid)
            if it.lcm not in before or it.state != ACTIVE:
                return
            if state == DONE:
                finish(oned, it)
                return
            _become(oned, it, state, lcm)
            if (state, lcm) == (ACTIVE, 2):
                _later(oned, oid, (2,), ACTIVE, 3)

    oned.drivers.work(go)


@method("one.vm.deploy", "ii|bis")
def deploy(call: Call, oid: int, host: int, _enforce: bool = False, datastore: int = -1, _extra: str = "") -> int:
    it = got(call, "vm", oid, ADMIN)
    call.oned.store.host(host)
    place = 0 if datastore == -1 else call.oned.store.datastore(datastore).id
    if it.state not in (PENDING, HOLD, STOPPED, UNDEPLOYED):
        raise Failure(ACTION, f'Error performing action "deploy": This action is not available for state {state_name(it)}')
    _deploy(call.oned, oid, host, place)
    return oid


def state_name(it: Machine) -> str:
    return LCM.get(it.lcm, str(it.lcm)) if it.state == ACTIVE else STATES[it.state]


@method("one.vm.action", "si")
def action(call: Call, name: str, oid: int) -> int:
    it = got(call, "vm", oid, ADMIN if name in ("resched", "unresched") else MANAGE)
    if name not in ACTIONS:
        raise Failure(ACTION, f'Action "{name}" is not supported')
    if not _act(call.oned, it, name):
        raise Failure(ACTION, f'Error performing action "{name}": This action is not available for state {state_name(it)}')
    return oid


def _act(oned: Oned, it: Machine, name: str) -> bool:
    """Whether the action was to be had in that state."""
    word = name.partition("-")[0]
    running = it.state == ACTIVE and it.lcm in (RUNNING, UNKNOWN)
    if word == "terminate":
        return _terminate(oned, it)
    if word in _WAYS and (running or (word, it.state) in (("undeploy", POWEROFF), ("stop", SUSPENDED))):
        way, end = _WAYS[word]
        _become(oned, it, ACTIVE, way)
        _later(oned, it.id, (way,), end, 0)
        return True
    if word == "resume" and it.state in (POWEROFF, SUSPENDED):
        _become(oned, it, ACTIVE, 20)
        _later(oned, it.id, (20,), ACTIVE, RUNNING)
        return True
    if (word == "release" and it.state == HOLD) or (word == "resume" and it.state in (STOPPED, UNDEPLOYED)):
        _become(oned, it, PENDING)
        schedule(oned, it.id)
        return True
    if word == "hold" and it.state == PENDING:
        _become(oned, it, HOLD)
        return True
    return running and word in ("reboot", "resched", "unresched")


def _terminate(oned: Oned, it: Machine) -> bool:
    """Not while it is being deployed, nor when it is on its way out; hard or not comes to the same where nothing runs."""
    if it.state in (DONE, FAILED) or (it.state == ACTIVE and it.lcm not in (RUNNING, UNKNOWN, *_ENDING)):
        return False
    if it.state in (PENDING, HOLD, CLONING, CLONING_FAILURE):
        finish(oned, it)
        return True
    way = EPILOG if it.state != ACTIVE else 12
    _become(oned, it, ACTIVE, way)
    _later(oned, it.id, (way,), DONE, 0)
    return True


def finish(oned: Oned, it: Machine) -> None:
    """The machine is gone; its images, addresses and host are free."""
    store = oned.store
    for oid in image_ids(it):
        if store.has("image", oid):
            image = store.image(oid)
            give_back(image, it.id)
            store.save(image)
    free_addresses(store, it)
    if it.host >= 0 and store.has("host", it.host):
        host: Any = store.host(it.host)
        host.vms = [oid for oid in host.vms if oid != it.id]
        store.save(host)
    it.ended = oned.now()
    _become(oned, it, DONE)


@method("one.vm.recover", "ii")
def recover(call: Call, oid: int, operation: int) -> int:
    """3 and 5 delete; 0 failure, 1 success, 2 retry change nothing here."""
    it = got(call, "vm", oid, ADMIN)
    if operation in (3, 5) and it.state != DONE:
        finish(call.oned, it)
    return touched(call, it)


def image_settled(oned: Oned, oid: int, *, good: bool) -> None:
    """Machines that waited for an image go on, or fail."""
    for number in oned.store.image(oid).vms:
        it = oned.store.machine(number)
        if it.state == CLONING:
            _become(oned, it, CLONING_FAILURE if not good else HOLD if it.template.get("SUBMIT_ON_HOLD") else PENDING)
            schedule(oned, number)
