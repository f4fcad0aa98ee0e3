"""The machines of one region: EC2 instances in the account's default network."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from vmkeeper.clouds.ec2.errors import code_of
from vmkeeper.clouds.ec2.marks import OWNER, marks_of, tags_on
from vmkeeper.clouds.ec2.session import Session
from vmkeeper.clouds.ec2.snapshots import pairs
from vmkeeper.clouds.interface import CloudMachine, Gone, MachineSpec, MachineState, NotOurs
from vmkeeper.errors import Transient, UserError, VmkeeperError

_STATES: dict[str, MachineState] = {"pending": "starting", "running": "running", "stopping": "stopped", "stopped": "stopped"}
_CLUSTER, _SERVICE, _GENERATION, _PORTS = "vmkeeper:cluster", "vmkeeper:service", "vmkeeper:generation", "vmkeeper:ports"
_USER_DATA = 16384
"""Bytes (EC2 User Guide, "Run commands when you launch an EC2 instance")."""
_TRIES = 20
_PROCESSORS = (1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 192)
"""Numbers of processors that types come with."""


class Ec2Machines:
    """One owner's view of a region's instances. See `clouds.interface.MachineCloud`."""

    def __init__(self, session: Session, owner: str) -> None:
        self.owner = owner
        self._session = session

    def machines(self) -> tuple[CloudMachine, ...]:
        """See `MachineCloud.machines`."""
        found = (_seen(one) for one in self._instances())
        return tuple(sorted(found, key=lambda one: (one.name, one.id)))

    def start(self, spec: MachineSpec) -> CloudMachine:
        """See `MachineCloud.start`. A client token ties the call to this machine, so that an answer that got lost starts no second one."""
        named = [_seen(one) for one in self._instances({"Name": "tag:Name", "Values": [spec.name]})]
        for machine in named:
            if (machine.owner, machine.generation) != (self.owner, spec.generation):
                raise NotOurs("the name is taken by another machine", where=spec.name)
        if named:
            return self._going(named[0])
        image = self._image(spec.image)
        tags = {
            "Name": spec.name,
            OWNER: self.owner,
            _CLUSTER: spec.cluster,
            _SERVICE: spec.service,
            _GENERATION: spec.generation,
            _PORTS: " ".join(map(str, spec.ports)),
        }
        disk = {"BlockDeviceMappings": [_disk(image, spec)]} if spec.disk else {}
        return self._run(
            spec,
            ImageId=spec.image,
            InstanceType=spec.flavour or self._type(spec, str(image.get("Architecture") or "x86_64")),
            MinCount=1,
            MaxCount=1,
            UserData=_user_data(spec),
            TagSpecifications=[{"ResourceType": kind, "Tags": pairs(tags)} for kind in ("instance", "volume")],
            **disk,
        )

    def stop(self, id: str) -> None:  # noqa: A002 - the Protocol's name
        """See `MachineCloud.stop`. The disk goes with the instance."""
        for one in self._instances({"Name": "instance-id", "Values": [id]}):
            if _seen(one).owner != self.owner:
                raise NotOurs("the machine is somebody else's", where=id)
            with suppress(Gone):
                self._session.call("ec2", "terminate_instances", "stop the machine", "TerminatingInstances", InstanceIds=[id])

    def console(self, id: str) -> str:  # noqa: A002
        """See `MachineCloud.console`."""
        with suppress(Gone):
            try:
                answer = self._session.call("ec2", "get_console_output", "read the console", InstanceId=id, Latest=True)
            except UserError as error:  # only newer types tell the latest
                if error.__cause__ is None or code_of(error.__cause__) != "UnsupportedOperation":
                    raise
                answer = self._session.call("ec2", "get_console_output", "read the console", InstanceId=id)
            return str(answer.get("Output") or "")
        return ""

    def _instances(self, *filters: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Instances that are not going."""
        alive = {"Name": "instance-state-name", "Values": list(_STATES)}
        found = self._session.listed("ec2", "describe_instances", "Reservations", "list instances", Filters=[alive, *filters])
        return [one for reservation in found for one in reservation.get("Instances", ())]

    def _going(self, machine: CloudMachine) -> CloudMachine:
        if machine.state == "stopped":
            self._session.call("ec2", "start_instances", "start the machine", "StartingInstances", InstanceIds=[machine.id])
        return self._look(machine.id)

    def _look(self, machine: str) -> CloudMachine:
        found = next(iter(self._instances({"Name": "instance-id", "Values": [machine]})), None)
        if found is None:
            raise Transient("the machine that was started does not show", where=machine)
        return _seen(found)

    def _image(self, image: str) -> Mapping[str, Any]:
        """The image to start from; raises Gone where it is not there, or not active."""
        found = self._session.call("ec2", "describe_images", "look at the image", "Images", ImageIds=[image])["Images"]
        if not found or found[0].get("State") != "available":
            raise Gone("there is no such usable image", where=image)
        if marks_of(found[0]).hidden_since is not None:
            raise Gone("the image is hidden", where=image)
        return dict(found[0])

    def _type(self, spec: MachineSpec, architecture: str) -> str:
        """The smallest current type that has as many processors and as much memory; each number of processors is a listing."""
        for count in (count for count in _PROCESSORS if count >= spec.cpus):
            wanted = {"current-generation": "true", "bare-metal": "false", "vcpu-info.default-vcpus": str(count)}
            filters = [{"Name": name, "Values": [value]} for name, value in wanted.items()]
            found = self._session.listed("ec2", "describe_instance_types", "InstanceTypes", "list instance types", Filters=filters)
            fitting = sorted(
                (one["MemoryInfo"]["SizeInMiB"], one["InstanceType"])
                for one in found
                if one["MemoryInfo"]["SizeInMiB"] << 20 >= spec.memory
                and architecture in one.get("ProcessorInfo", {}).get("SupportedArchitectures", ())
            )
            if fitting:
                return str(fitting[0][1])
        why = f"none has {spec.cpus} processors and {spec.memory.human}"
        raise UserError(f"there is no instance type for {spec.name}", where=self._session.where, why=why, hint="name a flavour")

    def _run(self, spec: MachineSpec, **parameters: Any) -> CloudMachine:
        """A token that was used for an instance which is gone by now does not serve again: then the next one."""
        for number in range(_TRIES):
            token = _token(self.owner, spec.name, spec.generation, spec.image, number)
            try:
                answer = self._session.call("ec2", "run_instances", f"start {spec.name}", "Instances", ClientToken=token, **parameters)
            except VmkeeperError as error:
                if error.__cause__ is None or code_of(error.__cause__) not in ("IdempotentInstanceTerminated", "IdempotentParameterMismatch"):
                    raise
                continue
            return self._look(str(answer["Instances"][0]["InstanceId"]))
        raise Transient("the machine was started and removed too often of late", where=spec.name)


def _token(owner: str, name: str, generation: str, image: str, number: int) -> str:
    """The client token of a machine's start: no instance whose tags somebody copied has one of these."""
    return hashlib.sha256(f"{owner}\n{name}\n{generation}\n{image}\n{number}".encode()).hexdigest()


def _owner(instance: Mapping[str, Any], tags: Mapping[str, str]) -> str | None:
    """Whose an instance is by its tags, unless they were copied from another one."""
    owner, token = tags.get(OWNER), instance.get("ClientToken")
    if owner is None or not token:
        return owner
    said = (owner, tags.get("Name", ""), tags.get(_GENERATION, ""), str(instance.get("ImageId", "")))
    return owner if any(token == _token(*said, number) for number in range(_TRIES)) else None


def _seen(instance: Mapping[str, Any]) -> CloudMachine:
    tags = tags_on(instance)
    state = _STATES.get(instance.get("State", {}).get("Name", ""), "failed")
    address = str(instance.get("PrivateIpAddress") or "")
    reached = str(instance.get("PublicIpAddress") or address)
    ports = [int(port) for port in tags.get(_PORTS, "").split() if port.isdigit()] if reached and state in ("starting", "running") else []
    machine = str(instance["InstanceId"])
    return CloudMachine(
        id=machine,
        name=tags.get("Name", machine),
        state=state,
        image=str(instance.get("ImageId", "")),
        owner=_owner(instance, tags),
        cluster=tags.get(_CLUSTER, ""),
        service=tags.get(_SERVICE, ""),
        generation=tags.get(_GENERATION, ""),
        address=address,
        ports={port: (reached, port) for port in ports},
    )


def _disk(image: Mapping[str, Any], spec: MachineSpec) -> dict[str, Any]:
    """The root disk in the wanted size, in whole GiB."""
    size = -(-(spec.disk or 0) // 2**30)
    return {"DeviceName": image.get("RootDeviceName") or "/dev/sda1", "Ebs": {"VolumeSize": size, "DeleteOnTermination": True}}


def _user_data(spec: MachineSpec) -> str | bytes:
    """As it is, or with gzip, which cloud-init reads too."""
    data = spec.user_data.encode()
    if len(data) <= _USER_DATA:
        return spec.user_data
    packed = gzip.compress(data, mtime=0)
    if len(packed) > _USER_DATA:
        why = f"{len(packed)} bytes with gzip, {_USER_DATA} may be"
        raise UserError(f"the user data of {spec.name} is too long for EC2", why=why, hint="fetch what is long from elsewhere")
    return packed
