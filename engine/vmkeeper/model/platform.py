"""A part of `sites/NAME.yaml`: which cloud a site is, and the places of it that images go to.

No secrets are here: they are in the site's own folder (`credentials/NAME.yaml`, `clouds.yaml`), never in a repository.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from vmkeeper.model.base import Document, Inconsistent, repeated
from vmkeeper.values import Name, Size

Text = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=255)]
Url = Annotated[str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.:\[\]_-]+(/[A-Za-z0-9._~%+-]*)*$", max_length=1000)]
PropertyName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_.:]+$", max_length=200)]


class LocalPlatform(Document):
    """A folder of images and QEMU virtual machines on one computer."""

    type: Literal["local"]
    """The kind of platform."""
    accelerator: Literal["auto", "kvm", "tcg"] = "auto"
    """auto probes KVM and falls back to software emulation."""
    memory: Size = Size.parse("8GiB")
    """What all virtual machines together may use."""

    @property
    def place_names(self) -> tuple[Name, ...]:
        """None: the computer is one place."""
        return ()


class OpenStackPlace(Document):
    """A region and project of an OpenStack."""

    name: Name
    """What the place is called in plans and approvals."""
    region: Text | None = None
    """Left out: the one that clouds.yaml says."""
    project: Text | None = None
    """Name or ID of the project that images are to belong to; left out: the one that clouds.yaml says."""


class OpenStackPlatform(Document):
    """An OpenStack with Keystone and Glance; Nova where machines are to be started."""

    type: Literal["openstack"]
    """The kind of platform."""
    cloud: Text
    """An entry of clouds.yaml: the one in the site's own folder, else where OpenStack's own tools look for it."""
    places: tuple[OpenStackPlace, ...] = ()
    """Several regions and projects; each gets every image. Left out: the one region and project of clouds.yaml."""
    accept: bool = False
    """Whether a shared image is accepted for the projects it is shared with, where the credentials may do that."""
    protected: bool = False
    """Whether images are protected from being deleted by anybody else."""
    properties: dict[PropertyName, Text] = Field(default_factory=dict)
    """Further properties for every image, such as `hw_qemu_guest_agent: "yes"`."""
    network: Text | None = None
    """Name or ID of the network that machines are put into; left out: the one that Nova chooses."""

    @property
    def place_names(self) -> tuple[Name, ...]:
        """Names of the places; none where there is only the one of clouds.yaml."""
        return tuple(place.name for place in self.places)


class OpenNebulaPlace(Document):
    """A datastore of an OpenNebula."""

    name: Name
    """What the place is called in plans and approvals."""
    datastore: Text | Annotated[int, Field(ge=0, lt=2**31)]
    """Name or ID of an image datastore."""


class LocalPath(Document):
    """oned reads the file where vmkeeper puts it, on a file system that both see."""

    type: Literal["path"]
    """The kind of transport."""
    folder: Text
    """Where vmkeeper writes; absolute."""
    seen_as: Text | None = None
    """What oned's host calls the folder; left out, the same. It must be in the datastore's SAFE_DIRS."""


class OwnServer(Document):
    """oned fetches the file over HTTP from vmkeeper, at an address that is good for this one transfer."""

    type: Literal["http"]
    """The kind of transport."""
    listen: Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F.:]+$")]
    """The address to listen at."""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """0: any that is free."""
    address: Text | None = None
    """What oned's host calls this one, as HOST or HOST:PORT; left out, the address above."""


class RegisteredSource(Document):
    """For administrators: the file is put where the datastore's driver looks for it, and registered by SOURCE without being copied again."""

    type: Literal["source"]
    """The kind of transport."""
    folder: Text
    """The datastore's folder as vmkeeper sees it; absolute."""
    seen_as: Text | None = None
    """What the datastore's driver calls the folder; left out, the same."""


Transport = Annotated[LocalPath | OwnServer | RegisteredSource, Field(discriminator="type")]
Mode = Annotated[str, StringConstraints(pattern=r"^[0-7]{3}$")]


class OpenNebulaTemplates(Document):
    """Jinja2 templates, sandboxed, each of a YAML mapping of OpenNebula attributes. Variables are in docs/opennebula.md."""

    image: Annotated[str, StringConstraints(max_length=65536)] | None = None
    """Further attributes of images; left out: our own."""
    vm: Annotated[str, StringConstraints(max_length=65536)] | None = None
    """The VM template; left out: our own."""


class OpenNebulaPlatform(Document):
    """An OpenNebula, over XML-RPC."""

    type: Literal["opennebula"]
    """The kind of platform."""
    endpoint: Url
    """Where oned answers, such as http://HOST:2633/RPC2."""
    credentials: Name = "opennebula"
    """User and password or token (type: basic): credentials/NAME.yaml in the site's own folder."""
    places: Annotated[tuple[OpenNebulaPlace, ...], Field(min_length=1)]
    """Image datastores; each gets every image."""
    transport: Transport
    """How image files get to the datastore."""
    group: Text | None = None
    """Name or ID of the group that images and templates are given to; left out: the account's own."""
    owner: Text | None = None
    """Name or ID of the user that they are given to, where the account is an administrator's; left out: the account itself."""
    permissions: Mode | None = None
    """Octal, as chmod's, of images and templates; left out: what the image's audience comes to (600 private, 640 shared, 644 otherwise)."""
    templates: OpenNebulaTemplates = OpenNebulaTemplates()
    """What images and VM templates say."""

    @property
    def place_names(self) -> tuple[Name, ...]:
        """Names of the places; none where there is only one."""
        return tuple(place.name for place in self.places) if len(self.places) > 1 else ()


class Ec2Place(Document):
    """A region of EC2 or of a cloud that answers as EC2 does."""

    name: Name
    """What the place is called in plans and approvals."""
    region: Text
    """The region's name, such as eu-central-1."""
    bucket: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    """A bucket of the same region where image files lie while they are imported."""


class Ec2Platform(Document):
    """EC2: images are AMIs on snapshots that were imported through S3."""

    type: Literal["ec2"]
    """The kind of platform."""
    places: Annotated[tuple[Ec2Place, ...], Field(min_length=1)]
    """Regions; each gets every image."""
    prefix: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._/-]*$", max_length=200)] = "vmkeeper/"
    """Of the objects in the buckets."""
    profile: Text | None = None
    """A profile of AWS's configuration files; left out, what boto3 finds (variables, files, the machine's role)."""
    credentials: Name | None = None
    """Access key and secret (type: basic) in credentials/NAME.yaml, in place of a profile."""
    endpoint: Url | None = None
    """Of a cloud that answers as EC2 does; left out: AWS."""
    role: Text | None = None
    """The service role of VM import; left out: vmimport."""

    @property
    def place_names(self) -> tuple[Name, ...]:
        """Names of the places; none where there is only one."""
        return tuple(place.name for place in self.places) if len(self.places) > 1 else ()


Platform = Annotated[LocalPlatform | OpenStackPlatform | OpenNebulaPlatform | Ec2Platform, Field(discriminator="type")]


class Audience(Document):
    """Who may use an image."""

    visibility: Literal["private", "shared", "community", "public"] = "private"
    """private: the account's own project; shared: that and `projects`; community: everybody who knows of it; public: everybody."""
    projects: tuple[Text, ...] = ()
    """Projects of OpenStack (IDs), groups of OpenNebula, accounts of EC2."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if bool(self.projects) != (self.visibility == "shared"):
            raise Inconsistent("projects go with shared, and shared with projects", "projects", hint="name projects, or choose another visibility")
        if (index := repeated(self.projects)) is not None:
            raise Inconsistent(f"{self.projects[index]} is named twice", "projects", index, hint="name it once")
        return self
