"""A cluster's plan at one site: the machines its document asks for against those that are there. Pure.

A machine's generation is a digest of its image's bytes, its context's structure and its size. A machine of another
generation is left alone unless replacing is asked for, and how many machines are wanted is no part of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from vmkeeper.clouds.interface import CloudImage, CloudMachine, ImageSpec, MachineSpec
from vmkeeper.contexts.inherit import merge
from vmkeeper.contexts.render import Both, Value, both, to_text
from vmkeeper.errors import Place, Problem, Problems
from vmkeeper.model.cluster import ApplianceRef, Cluster, Placement, Ready, Service
from vmkeeper.model.context import Context
from vmkeeper.plan.actions import Action
from vmkeeper.plan.plan import Plan, ordered
from vmkeeper.plan.wanted import Note
from vmkeeper.values import canonical_json, sha256_hex

SSH = 22
_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_READY_SCRIPT = "/var/lib/cloud/scripts/per-boot/99-vmkeeper-ready"


class StartMachine(Action):
    """Start a machine and wait until it is ready."""

    kind: ClassVar[str] = "start"
    spec: MachineSpec
    ready: Ready


class StopMachine(Action):
    """Shut a machine down and remove it with its disk."""

    kind: ClassVar[str] = "stop"
    destroys: ClassVar[bool] = True
    machine: str
    """Its id at the cloud."""


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """The plan, what is left as it is and why, and every machine that the cluster should have, by service."""

    plan: Plan
    notes: tuple[Note, ...]
    wanted: Mapping[str, tuple[StartMachine, ...]]
    appliances: Mapping[str, str]
    """The appliance of each service."""


@dataclass(frozen=True, slots=True)
class _Place:
    """What planning one cluster at one site looks at."""

    cluster: Cluster
    placement: Placement
    images: Sequence[CloudImage]
    contexts: Mapping[str, Context]
    public_keys: tuple[str, ...]
    render: Both

    def problem(self, service: str, field: str, what: str, hint: str) -> Problem:
        return Problem(Place(f"clusters/{self.cluster.name}.yaml", field=f"services.{service}.{field}"), what, hint)


def plan_up(
    cluster: Cluster,
    site: str,
    *,
    images: Sequence[CloudImage],
    contexts: Mapping[str, Context],
    machines: Iterable[CloudMachine],
    owner: str,
    public_keys: tuple[str, ...] = (),
    replace: bool = False,
    head: str = "",
    render: Both = both,
) -> ClusterPlan:
    """What brings the cluster up at a site.

    images: those that may run there. contexts: resolved ones by name. public_keys: SSH keys for the image's default
    user. render: what fills contexts in. `replace`: machines of another generation are stopped and started anew.
    Raises Problems with all that stands in the way, before anything starts.
    """
    place = _Place(cluster, _placement(cluster, site), images, contexts, public_keys, render)
    wanted: dict[str, tuple[StartMachine, ...]] = {}
    problems: list[Problem] = []
    for name, service in cluster.services.items():
        try:
            wanted[name] = _wanted(place, name, service)
        except Problems as error:
            problems += error.problems
    if problems:
        raise Problems(problems)
    there = {machine.name: machine for machine in machines if machine.owner == owner and machine.cluster == cluster.name}
    actions: list[Action] = []
    notes: list[Note] = []
    for starts in wanted.values():
        for start in starts:
            made, note = _difference(start, there.get(start.spec.name), replace)
            actions += made
            notes += [note] if note else []
    appliances = {name: service.appliance.name for name, service in cluster.services.items()}
    names = {start.spec.name for starts in wanted.values() for start in starts}
    surplus = [_stop(machine, "the cluster does not ask for it any more") for name, machine in sorted(there.items()) if name not in names]
    return ClusterPlan(Plan(base="", head=head, actions=ordered([*_after(cluster, actions), *surplus])), tuple(notes), wanted, appliances)


def plan_down(cluster: str, machines: Iterable[CloudMachine], *, owner: str, head: str = "") -> Plan:
    """Stop and remove every machine of a cluster, whatever its document says by now."""
    found = sorted((m for m in machines if m.owner == owner and m.cluster == cluster), key=lambda m: m.name)
    return Plan(base="", head=head, actions=ordered([_stop(machine, "the cluster goes down") for machine in found]))


def ready_mark(spec: MachineSpec) -> str:
    """What a machine writes on its console when its service is there."""
    return f"vmkeeper-ready {sha256_hex(f'{spec.name} {spec.generation}'.encode())[:16]}"


def _placement(cluster: Cluster, site: str) -> Placement:
    for placement in cluster.placement:
        if placement.site == site:
            return placement
    place = Place(f"clusters/{cluster.name}.yaml", field="placement")
    raise Problems([Problem(place, f"the cluster is not placed at {site}", f"add there: - {{site: {site}}}")])


def _wanted(place: _Place, name: str, service: Service) -> tuple[StartMachine, ...]:
    image, spec = _image(place, name, service.appliance)
    problems: list[Problem] = []
    if not _HOST_NAME.fullmatch(_machine_name(place.cluster, name, service, 10000)):
        problems.append(place.problem(name, "", f"{name} cannot be part of a host name", "use a-z 0-9 and dashes, and a shorter name"))
    if service.size.disk is not None and service.size.disk < spec.virtual_size:
        problems.append(place.problem(name, "size.disk", f"the image needs {spec.virtual_size}", "leave it out, or make it larger"))
    context = place.contexts.get(service.context)
    if context is None:
        problems.append(place.problem(name, "context", f"there is no context {service.context}", f"write clusters/contexts/{service.context}.yaml"))
    if problems:
        raise Problems(problems)
    config, structure = _configs(place, name, service, cast(Context, context))
    generation = sha256_hex(canonical_json({"image": spec.sha512, "context": to_text(structure), "size": service.size.model_dump(mode="json")}))
    ports = tuple(dict.fromkeys((SSH, *([service.ready.tcp] if service.ready.tcp else []))))
    starts = []
    for number in range(1, _count(place, name, service) + 1):
        machine = MachineSpec(
            name=_machine_name(place.cluster, name, service, number),
            cluster=place.cluster.name,
            service=name,
            generation=generation,
            image=image.id,
            cpus=service.size.cpus,
            memory=service.size.memory,
            disk=service.size.disk,
            ports=ports,
            flavour=place.placement.sizes.get(name),
        )
        user_data = to_text(merge(config, _access(place.public_keys, machine, service.ready)))
        machine = machine.model_copy(update={"user_data": user_data})
        reason = f"{name} runs from {spec.appliance} {spec.version}"
        starts.append(StartMachine(subject=machine.name, reason=reason, spec=machine, ready=service.ready))
    return tuple(starts)


def _configs(place: _Place, name: str, service: Service, context: Context) -> tuple[dict[str, Any], dict[str, Any]]:
    """The context filled in, and its structure, in which addresses are left out."""
    values = cast("Mapping[str, Value]", service.values)
    try:
        return place.render(service.context, context, values, {})
    except Problems as error:
        used = f"used by service {name} of clusters/{place.cluster.name}.yaml"
        raise Problems([Problem(one.place, f"{one.what} ({used})", one.hint) for one in error.problems]) from None


def _image(place: _Place, name: str, wanted: ApplianceRef) -> tuple[CloudImage, ImageSpec]:
    """The newest image that the service may use."""
    known = sorted(
        ((image.spec.version, image.id, image, image.spec) for image in place.images if image.spec and image.spec.appliance == wanted.name),
        key=lambda one: one[:2],
    )
    fitting = [one for one in known if one[0] in wanted.version]
    if not fitting:
        there = ", ".join(str(one[0]) for one in known)
        hint = f"usable there: {there}" if there else f"bring it with: vmkeeper reconcile {place.placement.site}"
        text = f"no image of {wanted.name} {wanted.version} may be used at {place.placement.site}"
        raise Problems([place.problem(name, "appliance", text, hint)])
    return fitting[-1][2], fitting[-1][3]


def _count(place: _Place, name: str, service: Service) -> int:
    if service.scale is None:
        return 1
    here = place.placement.services.get(name)
    return min(service.scale.desired if here is None or here.desired is None else here.desired, service.scale.max)


def _machine_name(cluster: Cluster, name: str, service: Service, number: int) -> str:
    return f"{cluster.name}-{name}" if service.scale is None else f"{cluster.name}-{name}-{number}"


def _access(public_keys: tuple[str, ...], spec: MachineSpec, ready: Ready) -> dict[str, Any]:
    """What every machine gets beside its context: the person's keys and, where asked for, the script that says ready."""
    config: dict[str, Any] = {"ssh_authorized_keys": list(public_keys)} if public_keys else {}
    if ready.console:
        wait = f"until (exec 3<>/dev/tcp/127.0.0.1/{ready.tcp}) 2>/dev/null; do sleep 1; done; " if ready.tcp else ""
        script = f"#!/bin/bash\n(\n  {wait}echo '{ready_mark(spec)}' >/dev/console\n) </dev/null >/dev/null 2>&1 &\n"
        config["write_files"] = [{"path": _READY_SCRIPT, "permissions": "0755", "content": script}]
    return config


def _difference(start: StartMachine, there: CloudMachine | None, replace: bool) -> tuple[list[Action], Note | None]:
    if there is None:
        return [start], None
    if there.generation == start.spec.generation:
        if there.state in ("starting", "running"):
            return [], None
        return [start.model_copy(update={"reason": f"it is {there.state}"})], None
    why = "its image, context or size is another one now"
    if not replace:
        return [], Note(start.subject, f"{why}; it is left as it is until: vmkeeper cluster up --replace")
    stop = _stop(there, why)
    return [stop, start.model_copy(update={"needs": (stop.id,), "reason": why})], None


def _stop(machine: CloudMachine, reason: str) -> StopMachine:
    return StopMachine(subject=machine.name, reason=reason, machine=machine.id)


def _after(cluster: Cluster, actions: list[Action]) -> list[Action]:
    """Each start needs the starts of the services that its own comes after."""
    by_service: dict[str, list[str]] = {}
    for action in actions:
        if isinstance(action, StartMachine):
            by_service.setdefault(action.spec.service, []).append(action.id)
    made: list[Action] = []
    for action in actions:
        if isinstance(action, StartMachine):
            earlier = [need for service in cluster.services[action.spec.service].after for need in by_service.get(service, ())]
            action = action.model_copy(update={"needs": (*action.needs, *earlier)})
        made.append(action)
    return made
