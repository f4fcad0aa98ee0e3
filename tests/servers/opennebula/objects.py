"""The objects that oned keeps. Everything in them can be written as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from .template import Template

IMAGE_STATES = ("INIT", "READY", "USED", "DISABLED", "LOCKED", "ERROR", "CLONE", "DELETE", "USED_PERS", "LOCKED_USED", "LOCKED_USED_PERS")
INIT, READY, USED, DISABLED, LOCKED, ERROR, CLONE, DELETE, USED_PERS, LOCKED_USED, LOCKED_USED_PERS = range(11)
IMAGE_TYPES = ("OS", "CDROM", "DATABLOCK", "KERNEL", "RAMDISK", "CONTEXT")
OWN = [1, 1, 0, 0, 0, 0, 0, 0, 0]
"""Rights of owner, group, others to use, manage and administrate: the umask of oned is 177."""


@dataclass
class Thing:
    """What all objects have."""

    id: int
    name: str
    uid: int = 0
    gid: int = 0
    uname: str = "oneadmin"
    gname: str = "oneadmin"
    rights: list[int] = field(default_factory=lambda: list(OWN))
    lock: list[int] | None = None
    """[level, owner, time, request]."""
    template: Template = field(default_factory=Template)

    kind: ClassVar[str]
    """The part of method names: `one.KIND.info`."""
    said: ClassVar[str]
    """What messages call it."""
    upper: ClassVar[str]
    """What messages of the rights call it."""
    single: ClassVar[bool] = True
    """Whether names of attributes are single in its template."""
    shared_name: ClassVar[bool] = True
    """Whether two owners may have one of the same name."""

    def as_json(self) -> dict[str, Any]:
        given = vars(self).items()
        return {name: {"items": value.items, "single": value.single} if isinstance(value, Template) else value for name, value in given}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        for name in ("template", "user_template"):
            if name in data:
                data[name] = Template([tuple(item) for item in data[name]["items"]], data[name]["single"])
        return cls(**data)


@dataclass
class Image(Thing):
    type: int = 0
    persistent: bool = False
    created: int = 0
    modified: int = 0
    source: str = ""
    path: str = ""
    format: str = ""
    fs: str = ""
    size: int = 0
    state: int = LOCKED
    previous: int = LOCKED
    vms: list[int] = field(default_factory=list)
    clones: list[int] = field(default_factory=list)
    """Images that are being copied from it."""
    cloning: int = -1
    """The image that it is being copied from."""
    datastore: int = 0
    stuck: bool = False
    """The driver never said that it is deleted."""

    kind, said, upper = "image", "image", "IMAGE"

    def become(self, state: int) -> None:
        """Any change of state ends a lock that a user had put on it."""
        self.previous = self.state = state
        self.lock = None


@dataclass
class VmTemplate(Thing):
    created: int = 0

    kind, said, upper, single = "template", "virtual machine template", "TEMPLATE", False


@dataclass
class Machine(Thing):
    user_template: Template = field(default_factory=lambda: Template(single=False))
    state: int = 1
    lcm: int = 0
    previous: int = 1
    previous_lcm: int = 0
    started: int = 0
    ended: int = 0
    deploy: str = ""
    host: int = -1
    hostname: str = ""
    datastore: int = -1
    placed: int = 0

    kind, said, upper, single = "vm", "virtual machine", "VM", False


@dataclass
class Datastore(Thing):
    type: int = 0
    """0 images, 1 system, 2 files."""
    state: int = 0
    ds_mad: str = "fs"
    tm_mad: str = "ssh"
    total: int = 0
    free: int = 0
    used: int = 0
    base: str = ""
    """The folder of its files."""
    images: list[int] = field(default_factory=list)

    kind, said, upper, shared_name = "datastore", "datastore", "DATASTORE", False


@dataclass
class User(Thing):
    password: str = ""
    """SHA-256 of it, hexadecimal."""
    driver: str = "core"
    enabled: bool = True
    groups: list[int] = field(default_factory=list)
    tokens: list[list[Any]] = field(default_factory=list)
    """[token, when it ends or -1, the one group that it is good for or -1]."""
    quotas: dict[str, Any] = field(default_factory=dict)
    """`DATASTORE`: {id: {"IMAGES": limit, "SIZE": limit}}, `VM`: {name: limit}, `IMAGE`: {id: {"RVMS": limit}}."""

    kind, said, upper, shared_name = "user", "user", "USER", False


@dataclass
class Group(Thing):
    quotas: dict[str, Any] = field(default_factory=dict)

    kind, said, upper, shared_name = "group", "group", "GROUP", False


@dataclass
class Network(Thing):
    bridge: str = ""
    vn_mad: str = "dummy"
    ranges: list[dict[str, str]] = field(default_factory=list)
    leases: dict[str, int] = field(default_factory=dict)
    """Address → virtual machine."""

    kind, said, upper, single = "vn", "virtual network", "NET", False


@dataclass
class DocumentObject(Thing):
    type: int = 0

    kind, said, upper = "document", "document", "DOCUMENT"


@dataclass
class Host(Thing):
    im_mad: str = "dummy"
    vm_mad: str = "dummy"
    cluster: int = 0
    state: int = 0
    vms: list[int] = field(default_factory=list)

    kind, said, upper, shared_name = "host", "host", "HOST", False


@dataclass
class Cluster(Thing):
    kind, said, upper, shared_name = "cluster", "cluster", "CLUSTER", False


@dataclass
class Rule(Thing):
    """An ACL: whom, what on which, which rights, where."""

    whom: str = "*"
    kinds: list[str] = field(default_factory=list)
    which: str = "*"
    operations: list[str] = field(default_factory=list)

    kind, said, upper = "acl", "ACL rule", "ACL"


KINDS: dict[str, type[Thing]] = {
    cls.kind: cls for cls in (Image, VmTemplate, Machine, Datastore, User, Group, Network, DocumentObject, Host, Cluster, Rule)
}
