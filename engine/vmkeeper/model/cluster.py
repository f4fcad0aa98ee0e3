"""`clusters/NAME.yaml`: services made of appliances and contexts, placed at sites."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from vmkeeper.model.appliance import GuestPath
from vmkeeper.model.base import Document, Inconsistent, repeated
from vmkeeper.model.context import Identifier
from vmkeeper.values import Duration, Name, Size, VersionConstraint

Port = Annotated[int, Field(ge=1, le=65535)]
Count = Annotated[int, Field(ge=0, le=10000)]


class ApplianceRef(Document):
    """An appliance and which of its versions; never a site's image id."""

    name: Name
    """The appliance."""
    version: VersionConstraint = VersionConstraint("*")
    """Which versions may run; the newest of them does."""


class MachineSize(Document):
    """What one machine of a service gets."""

    cpus: Annotated[int, Field(ge=1, le=1024)] = 1
    """Virtual CPUs."""
    memory: Size = Size.parse("1GiB")
    """Memory."""
    disk: Size | None = None
    """The disk, at least the image's virtual size; left out, it is just that."""


class Ready(Document):
    """When a machine counts as ready: its port answers and it said so itself."""

    tcp: Port | None = None
    """A port that must answer."""
    console: bool = False
    """Whether the machine must say on its console that it is ready."""
    timeout: Duration = Duration.parse("15m")
    """How long it may take before the machine counts as failed."""


class Volume(Document):
    """A disk that outlives the machine."""

    name: Name
    """A name, once in the service."""
    size: Size
    """Its size."""
    mount: GuestPath
    """Where the machine finds it."""
    keep: bool = True
    """Whether it outlives the cluster."""


class Scale(Document):
    """How many machines a scalable service has."""

    min: Count = 0
    """Never fewer than this."""
    max: Count
    """Never more than this."""
    desired: Count
    """How many there are when nothing scales them."""

    @model_validator(mode="after")
    def _in_range(self) -> Self:
        if not self.min <= self.desired <= self.max:
            raise Inconsistent(
                f"desired {self.desired} is not between min {self.min} and max {self.max}", "desired", hint="write min <= desired <= max"
            )
        return self


class Autoscale(Document):
    """When to add and take away machines by the length of a queue."""

    source: Literal["htcondor", "slurm", "command"]
    """Whose queue is read."""
    jobs_per_vm: Annotated[int, Field(ge=1)] = 1
    """How many jobs one machine takes."""
    waiting_jobs: Annotated[int, Field(ge=1)] = 1
    """How many jobs must wait before machines are added."""
    waiting_for: Duration = Duration.parse("100s")
    """How long they must have waited."""
    idle_for: Duration = Duration.parse("1h")
    """How long a machine must have been idle before it goes."""
    boot_time: Duration = Duration.parse("10m")
    """How long a new machine may take before it counts as missing."""


class Drain(Document):
    """A command that empties a machine before it goes."""

    command: Annotated[tuple[str, ...], Field(min_length=1)]
    """The command and its arguments, run in the machine."""
    timeout: Duration = Duration.parse("6h")
    """How long it may take; then the machine goes anyway."""


class ScaleDown(Document):
    """Which machines go first, and how."""

    prefer: tuple[Literal["withdrawn", "expired", "not-ready", "idle", "oldest-image"], ...] = (
        "withdrawn",
        "expired",
        "not-ready",
        "idle",
        "oldest-image",
    )
    """The order in which machines are chosen."""
    drain: Drain | None = None
    """How a machine is emptied first."""


class Service(Document):
    """A kind of machine in a cluster: one fixed machine, or as many as `scale` says."""

    fixed: bool = False
    """Whether there is exactly one machine, which keeps its name and volumes."""
    appliance: ApplianceRef
    """What it runs."""
    context: Name
    """clusters/contexts/NAME.yaml."""
    values: Annotated[dict[Identifier, str | int | bool], Field(alias="with")] = {}
    """The context's parameters."""
    size: MachineSize = MachineSize()
    """What each machine gets."""
    address: Literal["reserved"] | None = None
    """reserved: the address survives the machine's replacement."""
    after: tuple[Name, ...] = ()
    """Services that must be ready first."""
    ready: Ready = Ready()
    """When a machine counts as ready."""
    volumes: tuple[Volume, ...] = ()
    """Disks that outlive the machine."""
    scale: Scale | None = None
    """How many machines there are."""
    autoscale: Autoscale | None = None
    """When that changes by itself."""
    scale_down: ScaleDown = ScaleDown()
    """Which machines go first."""

    @model_validator(mode="after")
    def _fixed_or_scaled(self) -> Self:
        if self.fixed == (self.scale is not None):
            what = "a service is both fixed and scaled" if self.fixed else "a service is neither fixed nor scaled"
            raise Inconsistent(what, *(("scale",) if self.fixed else ()), hint="write either `fixed: true` or `scale: {min: 1, max: 4, desired: 2}`")
        if self.fixed and self.autoscale is not None:
            raise Inconsistent("a fixed service cannot be scaled by itself", "autoscale", hint="take autoscale out, or replace fixed by scale")
        index = repeated(volume.name for volume in self.volumes)
        if index is not None:
            raise Inconsistent(f"two volumes are named {self.volumes[index].name}", "volumes", index, "name", hint="give each its own name")
        return self


class Update(Document):
    """When machines are replaced by newer ones, and how carefully."""

    on: tuple[Literal["new-endorsed", "expiring", "withdrawn", "context-changed"], ...] = ("new-endorsed", "expiring", "withdrawn", "context-changed")
    """What replaces a machine."""
    lead: Duration = Duration.parse("14d")
    """How long before an image expires its machines are replaced."""
    order: tuple[Name, ...] = ()
    """Services in the order in which they are replaced; others follow."""
    canary: Count = 1
    """How many machines are replaced and watched first."""
    surge: Count = 1
    """How many machines there may be beyond the wanted number."""
    unavailable: Count = 1
    """How many machines may be missing meanwhile."""
    on_failure: Literal["pause", "continue"] = "pause"
    """What happens when a new machine does not become ready."""


class ServicePlacement(Document):
    """What differs for a service at one site."""

    desired: Count | None = None
    """How many machines there are at this site; left out, as many as the service says."""


class Placement(Document):
    """A site that runs the cluster."""

    site: Name
    """The site (sites/NAME.yaml)."""
    sizes: dict[Name, str] = {}
    """The site's flavour for a service."""
    services: dict[Name, ServicePlacement] = {}
    """What differs here, by service."""
    replicate_fixed: bool = False
    """Whether the fixed services run here too."""


class Cluster(Document):
    """A virtual cluster."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")]
    """As the file is named."""
    title: str = ""
    """What it is, in a few words."""
    services: Annotated[dict[Name, Service], Field(min_length=1)]
    """The services by name."""
    update: Update = Update()
    """How machines are replaced."""
    placement: tuple[Placement, ...] = ()
    """Where it runs."""

    @model_validator(mode="after")
    def _known_services(self) -> Self:
        hint = f"the services are {', '.join(self.services)}"
        for name, service in self.services.items():
            for index, earlier in enumerate(service.after):
                if earlier not in self.services or earlier == name:
                    raise Inconsistent(
                        f"service {name} comes after {earlier}, which is not another service", "services", name, "after", index, hint=hint
                    )
        for index, name in enumerate(self.update.order):
            if name not in self.services:
                raise Inconsistent(f"there is no service {name}", "update", "order", index, hint=hint)
        for index, placement in enumerate(self.placement):
            for field, names in (("services", placement.services), ("sizes", placement.sizes)):
                for name in names:
                    if name not in self.services:
                        raise Inconsistent(f"there is no service {name}", "placement", index, field, name, hint=hint)
        index_of_second = repeated(placement.site for placement in self.placement)
        if index_of_second is not None:
            site = self.placement[index_of_second].site
            raise Inconsistent(f"{site} is there twice", "placement", index_of_second, "site", hint="write all about a site in one placement")
        return self

    @model_validator(mode="after")
    def _startable(self) -> Self:
        started: set[str] = set()
        while ready := [name for name, service in self.services.items() if name not in started and started.issuperset(service.after)]:
            started.update(ready)
        waiting = [name for name in self.services if name not in started]
        if waiting:
            what = f"{' and '.join(waiting)} wait for one another" if len(waiting) > 1 else f"{waiting[0]} waits for itself"
            raise Inconsistent(what, "services", waiting[0], "after", hint="take one of them out of an `after`")
        return self
