"""Virtual machines of one owner. See `clouds.interface.MachineCloud` for what each method promises."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from vmkeeper.clouds.interface import CloudMachine, Gone, MachineSpec, MachineState, NoRoom, NotOurs
from vmkeeper.clouds.opennebula.account import MAX_ID, Account, Patience, number_of
from vmkeeper.clouds.opennebula.found import Image, Machine, machine_of
from vmkeeper.clouds.opennebula.marks import OURS, OWNER, Attributes, nested, spoken
from vmkeeper.clouds.opennebula.rights import is_called
from vmkeeper.clouds.opennebula.session import Declined
from vmkeeper.clouds.opennebula.templates import vm_template
from vmkeeper.errors import Transient, UserError

CLUSTER, SERVICE, GENERATION, IMAGE, PORTS = (f"{OURS}{name}" for name in ("CLUSTER", "SERVICE", "GENERATION", "IMAGE", "PORTS"))
_NOT_DONE = -1
_ACTIVE, _DONE, _RUNNING = 3, 6, 3
_STARTING, _STOPPED = (0, 1, 2, 10), (4, 5, 8, 9)
"""INIT, PENDING, HOLD, CLONING; STOPPED, SUSPENDED, POWEROFF, UNDEPLOYED."""
_LCM_STARTING = (0, 1, 2, 9, 19, 20, 21, 22, 31, 32)
"""LCM_INIT, PROLOG, BOOT and what resumes."""
_LCM_FAILED = (14, 36, 37, 38, 39, 40, 41, 42, 44, 46, 47, 48, 49, 50, 61)
"""The states whose names end in FAILURE."""
_RECOVER_DELETE = 3
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Machines:
    """The machines of an owner."""

    owner: str
    account: Account
    patience: Patience

    def machines(self) -> tuple[CloudMachine, ...]:
        """See `Cloud.machines`."""
        return tuple(sorted((self._machine(one) for one in self._all()), key=lambda machine: (machine.name, machine.id)))

    def start(self, spec: MachineSpec) -> CloudMachine:
        """See `Cloud.start`."""
        there = self._there(spec)
        if there is None:
            number = self._create(spec)
            there = self._oldest(spec, number)
        elif self._machine(there).state == "stopped":
            with self.account.declined("start the machine", there.id):
                self.account.session.call("vm.action", "resume", there.id)
        return self._machine(self._info(there.id))

    def stop(self, id_: str) -> None:
        """See `Cloud.stop`. The guest may shut down; after a while it is switched off."""
        with suppress(Gone):
            number = number_of(id_)
            one = self._info(number)
            if self._machine(one).owner != self.owner:
                raise NotOurs("the machine is somebody else's", where=id_)
            if (one.state, one.lcm) == (_ACTIVE, _RUNNING) and self._act("terminate", number) and self._ends(number, self.patience.stop):
                return
            for action in ("terminate-hard", "terminate-hard", "recover"):
                self._act(action, number)
                if self._ends(number, self.patience.gone):
                    return
            raise Transient("the machine does not end", where=id_)

    def _all(self) -> list[Machine]:
        with self.account.sensible("vmpool.infoextended"):
            everybodys = [machine_of(one) for one in self.account.session.pool("vmpool.infoextended", "VM", _NOT_DONE)]
        return [one for one in everybodys if one.state != _DONE]

    def _there(self, spec: MachineSpec) -> Machine | None:
        """Our machine of this name and generation, the oldest one. Raises NotOurs where the name is taken."""
        same = [one for one in self._all() if one.name == spec.name and self._machine(one).owner is not None]
        if any((found := self._machine(one)).owner != self.owner or found.generation != spec.generation for one in same):
            raise NotOurs("the name is taken by another machine", where=spec.name)
        return min(same, key=lambda one: one.id, default=None)

    def _oldest(self, spec: MachineSpec, number: int) -> Machine:
        """Of machines that two started at once the oldest stays."""
        there = self._there(spec)
        if there is None:
            raise Transient("the machine is gone again", where=spec.name)
        if there.id != number:
            self.stop(str(number))
        return there

    def _create(self, spec: MachineSpec) -> int:
        image = self.account.image(number_of(spec.image))
        hidden = image.mark is not None and (image.mark.hidden_since is not None or image.mark.unfinished != "")
        if image.seen_as() != "active" or hidden:
            raise Gone("there is no such usable image", where=spec.image)
        session = self.account.session
        try:
            if spec.flavour is not None:
                return int(
                    session.call("template.instantiate", self._flavour(spec.flavour), spec.name, False, nested(self._template(spec, {})), False)
                )
            return int(session.call("vm.allocate", nested({**self._template(spec, self._base(image)), "NAME": spec.name}), False))
        except Declined as error:
            if "Image with ID" in error.message or "it is in state" in error.message:
                raise Gone("there is no such usable image", where=spec.image, why=error.message) from None
            if "limit of" in error.message:
                raise NoRoom(f"no quota for {spec.name}", why=error.message, hint="ask an administrator for more") from None
            with self.account.declined("start the machine", spec.name):
                raise

    def _base(self, image: Image) -> Attributes:
        """What the site's VM template says of machines: networks, above all."""
        if image.mark is None or image.mark.spec is None:
            return {}
        said = vm_template(self.account.platform, self.owner, image.mark.spec, str(image.id))
        return {key: value for key, value in said.items() if not key.startswith(OURS) and key not in spoken(image.mark.spec)}

    def _template(self, spec: MachineSpec, base: Attributes) -> Attributes:
        disk = {"IMAGE_ID": spec.image} | ({"SIZE": str(-(-int(spec.disk) // MIB))} if spec.disk is not None else {})
        context = dict(base["CONTEXT"]) if isinstance(base.get("CONTEXT"), Mapping) else {"SSH_PUBLIC_KEY": "$USER[SSH_PUBLIC_KEY]"}
        context |= {"NETWORK": "YES", "SET_HOSTNAME": spec.name}
        if spec.user_data:
            data = base64.b64encode(spec.user_data.encode()).decode()
            context |= {"USER_DATA": data, "USER_DATA_ENCODING": "base64", "USERDATA_ENCODING": "base64"}
        mark = {OWNER: self.owner, CLUSTER: spec.cluster, SERVICE: spec.service, GENERATION: spec.generation, IMAGE: spec.image}
        mark[PORTS] = ",".join(str(port) for port in spec.ports)
        size = {} if spec.flavour else {"CPU": str(spec.cpus), "VCPU": str(spec.cpus), "MEMORY": str(-(-int(spec.memory) // MIB))}
        disks = base.get("DISK")
        first, *others = disks if isinstance(disks, list) else [disks or {}]
        mine = {**first, **disk}
        return {**base, **size, "DISK": [mine, *others] if others else mine, "CONTEXT": context, **mark}

    def _flavour(self, wanted: str) -> int:
        if wanted.isascii() and wanted.isdigit() and int(wanted) < MAX_ID:
            return int(wanted)
        found = [one for one in self.account.templates() if is_called(wanted, one.name, one.id)]
        if not found:
            raise UserError("there is no such VM template", where=wanted, hint="a flavour is the name or ID of a VM template")
        return min(found, key=lambda one: (not self.account.owns(one), one.id)).id

    def _info(self, number: int) -> Machine:
        """Raises Gone."""
        with self.account.declined("look at the machine", number), self.account.sensible("vm.info"):
            one = machine_of(self.account.session.read("vm.info", number))
        if one.state == _DONE:
            raise Gone("the machine has ended", where=str(number))
        return one

    def _act(self, action: str, number: int) -> bool:
        """Whether oned takes it: some states allow some actions only."""
        try:
            if action == "recover":
                self.account.session.call("vm.recover", number, _RECOVER_DELETE)
            else:
                self.account.session.call("vm.action", action, number)
        except Declined as error:
            if "not available for state" in error.message or "wrong state" in error.message.lower() or "cannot" in error.message.lower():
                return False
            with self.account.declined("stop the machine", number):
                raise
        return True

    def _ends(self, number: int, seconds: float) -> bool:
        """Raises Gone, too, when it has ended."""
        for _ in self.patience.looks(seconds):
            self._info(number)
        return False

    def _machine(self, one: Machine) -> CloudMachine:
        owner = str(one.said[OWNER]) if one.uid == self.account.uid and one.said.get(OWNER) else None
        said = one.said if owner else {}
        address = _address(one.template)
        return CloudMachine(
            id=str(one.id),
            name=one.name,
            state=_state(one.state, one.lcm),
            image=str(_first(one.template, "DISK").get("IMAGE_ID", "")) or str(said.get(IMAGE, "")),
            owner=owner,
            cluster=str(said.get(CLUSTER, "")),
            service=str(said.get(SERVICE, "")),
            generation=str(said.get(GENERATION, "")),
            address=address,
            ports={int(port): (address, int(port)) for port in str(said.get(PORTS, "")).split(",") if port.isdigit()},
        )


def _state(state: int, lcm: int) -> MachineState:
    """OpenNebula's states and those of the life cycle ("Virtual Machine States Reference")."""
    if state in _STARTING or (state == _ACTIVE and lcm in _LCM_STARTING):
        return "starting"
    if state in _STOPPED:
        return "stopped"
    return "running" if state == _ACTIVE and lcm not in _LCM_FAILED else "failed"


def _first(template: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = template.get(name)
    one = found[0] if isinstance(found, list) and found else found
    return one if isinstance(one, Mapping) else {}


def _address(template: Mapping[str, Any]) -> str:
    nic = _first(template, "NIC")
    return str(nic.get("IP") or nic.get("IP6") or nic.get("IP6_GLOBAL") or "")
