"""What a cloud must be able to do, as one small Protocol, and the values that go in and come out.

A cloud keeps no state of ours beside its own objects: what we need to know is written on an image or
machine in the call that creates it and read back by listing. Trust is not decided here: a cloud is told
what to hold, and checks only that the bytes are the ones it was told of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Protocol

from pydantic import Field, StringConstraints

from vmkeeper.errors import VmkeeperError
from vmkeeper.model.appliance import Architecture, Format
from vmkeeper.model.base import Document
from vmkeeper.model.platform import Audience
from vmkeeper.values import Name, Sha256, Sha512, Size, Time, Uuid, Version

Owner = Annotated[str, StringConstraints(pattern=r"^vmkeeper:[a-z0-9._-]+(/[a-z0-9._-]+)?$")]
"""The mark on everything that one site made at a cloud: `vmkeeper:SITE`, or `vmkeeper:SITE/PLACE` where the site has several places."""

ImageState = Literal["incomplete", "active", "hidden"]
MachineState = Literal["starting", "running", "stopped", "failed"]


class NotOurs(VmkeeperError):
    """The object bears another owner's mark or none: it is left as it is."""


class InUse(VmkeeperError):
    """The image has machines; it can be deleted when they are gone."""


class Gone(VmkeeperError):
    """There is no object with this id (any more)."""


class NoRoom(VmkeeperError):
    """The cloud has no space, memory or quota left; `why` is the cloud's own reason."""


class SourceFile(Document):
    """The file that was signed for, where a cloud's own file was made from it."""

    format: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]{1,16}(\.[a-z0-9]{1,8})?$")]
    """How it comes: `qcow2`, `ova`, `raw.xz`, …"""
    size: Size
    """Bytes of it."""
    sha512: Sha512
    """Of it."""


ImageName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._()-]{0,126}$")]


class ImageSpec(Document):
    """Everything a cloud is told about an image. All of it can be read back from the image."""

    name: ImageName
    """What users see of this version. Not an identity: several images may bear one name."""
    alias: ImageName | None = None
    """The stable name that the newest usable version of the appliance bears beside its own or in place of it, as the cloud has it."""
    audience: Audience = Audience()
    """Who may use it."""
    adopted: Name | None = None
    """The tool that had made it, where we took it over (`nifty`, `cloudkeeper`, `atrope`, `openstack-image-manager`)."""
    appliance: Name
    uuid: Uuid
    """The appliance's UUID (dc:identifier)."""
    version: Version
    architecture: Architecture = "x86_64"
    format: Format
    size: Size
    """Bytes of the file."""
    virtual_size: Size
    """Bytes the guest sees."""
    sha512: Sha512
    """Of the file."""
    list: Uuid
    """UUID of the image list that it came from."""
    expires: Time
    """When it stops being usable: the earliest end of what vouches for it."""
    properties: dict[str, str] = Field(default_factory=dict)
    """Further attributes for the cloud's users; `a-z 0-9 _ . :` in keys."""
    source: SourceFile | None = None
    """The signed file that this one was converted from; None where this one is the signed file."""

    @property
    def signed(self) -> SourceFile:
        """What was signed for: the source, or the file itself."""
        return self.source or SourceFile(format=self.format, size=self.size, sha512=self.sha512)

    @property
    def key(self) -> str:
        """What makes it this image and no other: appliance, version and the bytes that were signed."""
        return f"{self.uuid}/{self.version}/{(self.source or self).sha512}"

    def with_bytes_of(self, other: ImageSpec) -> ImageSpec:
        """This, said about the file of `other`: what a conversion comes to need not be the same bytes each time."""
        names = ("format", "size", "virtual_size", "sha512", "source")
        return self.model_copy(update={name: getattr(other, name) for name in names})

    def same_bytes(self, other: ImageSpec) -> bool:
        """Whether both describe the same file, whatever else they say about it."""
        return (self.sha512, self.size, self.format) == (other.sha512, other.size, other.format)


@dataclass(frozen=True, slots=True)
class CloudImage:
    """An image that is there. `owner` and `spec` are None for what nobody marked our way."""

    id: str
    name: str
    state: ImageState = "active"
    owner: str | None = None
    spec: ImageSpec | None = None
    hidden_since: datetime | None = None
    """When it was hidden; None unless `state` is hidden."""
    in_use: bool = False
    """Whether a machine (of anybody, as far as the cloud tells) was made from it and still is there. Looked up only where an image
    of ours is hidden or incomplete; False otherwise."""
    drift: tuple[str, ...] = ()
    """For an image of ours: what is otherwise at the cloud than its spec, hiding and the platform's settings say, each in a few words
    (`visibility is private, not public`). `update` with the same spec mends it. Bytes that differ make the image `incomplete`."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """For an image without our mark: what others wrote on it, as far as the listing tells, for taking it over."""
    size: int | None = None
    """Bytes of its file as the cloud says, for an image without our mark; None where it does not tell."""
    sha512: str | None = None
    """Of its file as the cloud itself worked it out, for an image without our mark; None where it did not."""


class MachineSpec(Document):
    """A machine to start, complete: nothing else is looked up while starting it."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    """Host name, unique among this owner's machines: CLUSTER-SERVICE-NUMBER."""
    cluster: Name
    service: Name
    generation: Sha256
    """Digest of all that the machine is made from; another generation means another machine."""
    image: str
    """Id of the image at this cloud."""
    cpus: Annotated[int, Field(ge=1)] = 1
    memory: Size = Size.parse("1GiB")
    disk: Size | None = None
    """Virtual size of its disk; None is the image's own."""
    user_data: str = ""
    """cloud-init's user-data, `#cloud-config` included."""
    ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = (22,)
    """TCP ports of the guest that must be reachable from where vmkeeper runs."""
    flavour: str | None = None
    """The cloud's own name for a size, where it has such."""


@dataclass(frozen=True, slots=True)
class CloudMachine:
    """A machine that is there. Machines of others have `owner` None or another's."""

    id: str
    name: str
    state: MachineState
    image: str
    """Id of the image that it was made from."""
    owner: str | None = None
    cluster: str = ""
    service: str = ""
    generation: str = ""
    address: str = ""
    """Its own address in its network, if it has one."""
    ports: Mapping[int, tuple[str, int]] = field(default_factory=dict)
    """Guest TCP port → (host, port) where it is reached."""


class ImageCloud(Protocol):
    """The images of a cloud as one owner sees them.

    Every method may raise `Transient` (busy, unreachable: the next run tries again) and `UserError`
    (credentials, configuration). A call that raised may have had its effect all the same; calling it again
    is always safe. A process killed inside a call leaves nothing unmarked.
    """

    owner: str
    """The mark put on and asked of everything: `vmkeeper:SITE` or `vmkeeper:SITE/PLACE`."""

    def images(self) -> tuple[CloudImage, ...]:
        """All images the account can see, ours and others', in one listing ordered by id. Complete, or it raises."""

    def upload(self, spec: ImageSpec, file: Path) -> CloudImage:
        """Create an image from a local file; it is active when this returns and not usable before its bytes are verified.

        The mark and the whole spec are in the call that creates it. The bytes are hashed as they go in (or the
        cloud's own hash is compared): anything but `spec.size` bytes with `spec.sha512` raises `Refused` R14 and
        leaves nothing. What an upload that was cut off left behind does not show, or shows as incomplete and is
        taken over or removed by the next upload of the same key. Where an image of ours with the same key is there
        already, nothing is uploaded; it is made active, all that `spec` says holds of it but for its bytes, which stay
        the ones it has, and it is returned. The file is never changed. Room and quota are asked for before the bytes
        go, where the cloud tells. An alias is borne only once the bytes are verified. Raises `NoRoom`.
        """

    def update(self, id: str, spec: ImageSpec, hidden_since: datetime | None) -> None:  # noqa: A002 - the field's name
        """Make everything said about the image be exactly `spec`, hidden since a time or (None) active; one write.

        A hidden image serves no new machine of anybody; machines that exist go on. Idempotent. Raises `NotOurs`,
        `Gone`, and ValueError where the spec has other bytes than the image.
        """

    def adopt(self, id: str, spec: ImageSpec) -> None:  # noqa: A002
        """Put our mark and `spec` on an image that bears nobody's mark of our kind; nothing else of it changes.

        What the spec says otherwise than the image is drift afterwards. Where the cloud knows the image's SHA-512, it must be
        the spec's: else raises `Refused` R14. Idempotent. Raises `NotOurs` for another owner's, `Gone`.
        """

    def delete(self, id: str) -> None:  # noqa: A002
        """Remove an image and its bytes; one that is not there is fine. Raises `NotOurs`, `InUse`."""


class MachineCloud(Protocol):
    """The machines of a cloud as one owner sees them; errors as those of `ImageCloud`."""

    owner: str

    def machines(self) -> tuple[CloudMachine, ...]:
        """All machines the account can see, in one listing ordered by name. Complete, or it raises."""

    def start(self, spec: MachineSpec) -> CloudMachine:
        """Create and start a machine; returns without waiting for the guest.

        Where a machine of ours with this name and generation is there, it is started if it had stopped, and
        returned. Raises `NotOurs` where the name is taken by another owner or another generation, `Gone` where
        the image is not there or not active, `NoRoom`.
        """

    def stop(self, id: str) -> None:  # noqa: A002
        """Shut a machine down and remove it with its disk; one that is not there is fine. Raises `NotOurs`."""

    def console(self, id: str) -> str:  # noqa: A002
        """The last 64 KiB or so of the serial console, control characters as they came; "" where the cloud has none."""


class Cloud(ImageCloud, MachineCloud, Protocol):
    """One place of a cloud: its images and its machines."""
