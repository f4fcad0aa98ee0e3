"""A cloud in memory: the reference for what the Protocol means, and the place where faults are tried.

A `World` outlives the clients that look at it, so a client that is thrown away in the middle of a call
stands for a process that was killed there.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from vmkeeper.clouds.interface import CloudImage, CloudMachine, Gone, ImageSpec, ImageState, InUse, MachineSpec, NoRoom, NotOurs
from vmkeeper.errors import Refused, UserError
from vmkeeper.model.platform import Audience

Fault = Callable[[str, str], None]
"""Called as `fault(method, moment)`; moments are "before", "created" (upload only: marked, no bytes yet) and "after".
It may raise what it likes."""


@dataclass
class World:
    """What the cloud holds, whoever looks."""

    images: dict[str, CloudImage] = field(default_factory=dict)
    machines: dict[str, CloudMachine] = field(default_factory=dict)
    consoles: dict[str, str] = field(default_factory=dict)
    audiences: dict[str, Audience] = field(default_factory=dict)
    """Who may use an image, by its id; one that is missing is private."""
    files: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Size and SHA-512 of what an image holds, by its id, where the cloud has them."""
    room: int | None = None
    """Bytes left for images; None is enough for all."""
    calls: list[str] = field(default_factory=list)
    """The methods called, in order."""
    last: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)
    """One call at a time."""

    def new_id(self, kind: str) -> str:
        """An id nothing had before, in rising order."""
        self.last += 1
        return f"{kind}-{self.last:06d}"

    def plant(self, name: str = "somebody's image", attributes: Mapping[str, str] | None = None, data: bytes | None = None) -> str:
        """Put in an image that vmkeeper did not make. Without data the cloud knows neither its size nor its SHA-512."""
        image = CloudImage(id=self.new_id("image"), name=name, attributes=dict(attributes or {}))
        if data is not None:
            self.files[image.id] = len(data), hashlib.sha512(data).hexdigest()
        self.images[image.id] = image
        return image.id

    def seen(self, image: CloudImage, owner: str) -> CloudImage:
        """An image as an owner's listing tells it."""
        size, sha512 = self.files.get(image.id, (None, None))
        if image.owner is None:
            return replace(image, size=size, sha512=sha512)
        if image.owner != owner or image.spec is None:
            return replace(image, attributes={})
        used = image.state != "active" and any(machine.image == image.id for machine in self.machines.values())
        return replace(image, attributes={}, in_use=used, drift=(*image.drift, *self._drift(image, image.spec)))

    def _drift(self, image: CloudImage, spec: ImageSpec) -> Iterator[str]:
        audience = self.audiences.get(image.id, Audience())
        if image.name != spec.name:
            yield f"its name is {image.name}, not {spec.name}"
        if audience != spec.audience:
            yield f"its visibility is {audience.visibility}, not {spec.audience.visibility}"


class MemoryCloud:
    """One owner's view of a world."""

    def __init__(self, owner: str, world: World | None = None, fault: Fault | None = None) -> None:
        self.owner = owner
        self.world = world if world is not None else World()
        self._fault = fault or _no_fault

    def images(self) -> tuple[CloudImage, ...]:
        """See `Cloud.images`."""
        with self._call("images"):
            return tuple(self.world.seen(image, self.owner) for _, image in sorted(self.world.images.items()))

    def upload(self, spec: ImageSpec, file: Path) -> CloudImage:
        """See `Cloud.upload`."""
        with self._call("upload"):
            earlier = sorted(
                (i for i in self.world.images.values() if i.owner == self.owner and i.spec and i.spec.key == spec.key), key=lambda i: i.id
            )
            for image in earlier:
                if image.state != "incomplete" and image.spec:
                    return self._say(image, spec.with_bytes_of(image.spec), None)
            for image in earlier:
                del self.world.images[image.id]
            if self.world.room is not None and spec.size > self.world.room:
                raise NoRoom(f"no room for {spec.name}", why=f"{self.world.room} bytes are left")
            new = self._put(CloudImage(id=self.world.new_id("image"), name=spec.name, state="incomplete", owner=self.owner, spec=spec))
            self._fault("upload", "created")
            try:
                data = file.read_bytes()
            except OSError as error:
                del self.world.images[new.id]
                raise UserError("could not read the image file", where=str(file), why=error.strerror or "") from error
            if len(data) != spec.size or hashlib.sha512(data).hexdigest() != spec.sha512:
                del self.world.images[new.id]
                raise Refused("R14", "the bytes are not the ones that were endorsed", where=spec.name)
            self.world.files[new.id] = len(data), spec.sha512
            return self._say(new, spec, None)

    def update(self, id: str, spec: ImageSpec, hidden_since: datetime | None) -> None:  # noqa: A002
        """See `Cloud.update`."""
        with self._call("update"):
            image = self._ours(id)
            if image.spec is None or not image.spec.same_bytes(spec):
                raise ValueError(f"{id} has other bytes")
            self._say(image, spec, hidden_since)

    def adopt(self, id: str, spec: ImageSpec) -> None:  # noqa: A002
        """See `Cloud.adopt`."""
        with self._call("adopt"):
            image = self.world.images.get(id)
            if image is None:
                raise Gone("there is no such image", where=id)
            if image.owner not in (None, self.owner):
                raise NotOurs("the image is somebody else's", where=id)
            known = self.world.files.get(id)
            if known is not None and known[1] != spec.sha512:
                raise Refused("R14", "the bytes are not the ones that were endorsed", where=id)
            self.world.images[id] = replace(image, owner=self.owner, spec=spec)

    def delete(self, id: str) -> None:  # noqa: A002
        """See `Cloud.delete`."""
        with self._call("delete"):
            if id in self.world.images:
                self._ours(id)
                if any(machine.image == id for machine in self.world.machines.values()):
                    raise InUse("the image is in use", where=id)
                del self.world.images[id]
                self.world.audiences.pop(id, None)
                self.world.files.pop(id, None)

    def machines(self) -> tuple[CloudMachine, ...]:
        """See `Cloud.machines`."""
        with self._call("machines"):
            return tuple(sorted(self.world.machines.values(), key=lambda machine: machine.name))

    def start(self, spec: MachineSpec) -> CloudMachine:
        """See `Cloud.start`."""
        with self._call("start"):
            for machine in self.world.machines.values():
                if machine.name == spec.name:
                    if (machine.owner, machine.generation) != (self.owner, spec.generation):
                        raise NotOurs("the name is taken by another machine", where=spec.name)
                    self.world.machines[machine.id] = replace(machine, state="running")
                    return self.world.machines[machine.id]
            image = self.world.images.get(spec.image)
            if image is None or image.state != "active":
                raise Gone("there is no such usable image", where=spec.image)
            machine = CloudMachine(
                id=self.world.new_id("machine"),
                name=spec.name,
                state="running",
                image=spec.image,
                owner=self.owner,
                cluster=spec.cluster,
                service=spec.service,
                generation=spec.generation,
                address=f"10.0.0.{self.world.last % 250 + 1}",
                ports={port: ("127.0.0.1", 40000 + port) for port in spec.ports},
            )
            self.world.machines[machine.id] = machine
            self.world.consoles[machine.id] = ""
            return machine

    def stop(self, id: str) -> None:  # noqa: A002
        """See `Cloud.stop`."""
        with self._call("stop"):
            machine = self.world.machines.get(id)
            if machine is not None:
                if machine.owner != self.owner:
                    raise NotOurs("the machine is somebody else's", where=id)
                del self.world.machines[id]
                self.world.consoles.pop(id, None)

    def console(self, id: str) -> str:  # noqa: A002
        """See `Cloud.console`."""
        with self._call("console"):
            return self.world.consoles.get(id, "")

    def _put(self, image: CloudImage) -> CloudImage:
        self.world.images[image.id] = image
        return image

    def _say(self, image: CloudImage, spec: ImageSpec, hidden_since: datetime | None) -> CloudImage:
        state: ImageState = "active" if hidden_since is None else "hidden"
        self.world.audiences[image.id] = spec.audience
        put = self._put(replace(image, name=spec.name, spec=spec, state=state, hidden_since=hidden_since, drift=()))
        return self.world.seen(put, self.owner)

    def _ours(self, key: str) -> CloudImage:
        image = self.world.images.get(key)
        if image is None:
            raise Gone("there is no such image", where=key)
        if image.owner != self.owner:
            raise NotOurs("the image is somebody else's", where=key)
        return image

    @contextmanager
    def _call(self, method: str) -> Iterator[None]:
        with self.world.lock:
            self.world.calls.append(method)
            self._fault(method, "before")
            yield
            self._fault(method, "after")


def _no_fault(_method: str, _moment: str) -> None:
    pass
