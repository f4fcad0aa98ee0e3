"""Images, templates and machines as oned lists them, as plain values, and what an image is to us. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree.ElementTree import Element

from vmkeeper.clouds.interface import ImageSpec, ImageState
from vmkeeper.clouds.opennebula.marks import Mark, read_mark
from vmkeeper.clouds.opennebula.rights import BITS, Rights, is_called, mode_of

INIT, READY, USED, DISABLED, LOCKED, ERROR, CLONE, DELETE, USED_PERS = range(9)
"""States of an image."""
MIB = 2**20
_OS = 0
"""The type of an image with an operating system."""


@dataclass(frozen=True, slots=True)
class Thing:
    """What images and templates have in common."""

    id: int
    name: str
    uid: int
    uname: str
    gid: int
    gname: str
    mode: str
    """Octal."""
    lock: int
    """0, or the level of a lock that somebody put on it: 1 all, 2 manage, 3 administrate."""
    attributes: Mapping[str, Any] = field(repr=False)

    def rights_drift(self, rights: Rights) -> tuple[str, ...]:
        """What is otherwise than the rights say."""
        found = []
        if rights.owner is not None and not is_called(rights.owner, self.uname, self.uid):
            found.append(f"its owner is {self.uname}, not {rights.owner}")
        if rights.group is not None and not is_called(rights.group, self.gname, self.gid):
            found.append(f"its group is {self.gname}, not {rights.group}")
        if self.mode != rights.mode:
            found.append(f"its permissions are {self.mode}, not {rights.mode}")
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Image(Thing):
    """An image. mark: ours of whichever owner, whoever put it there."""

    state: int
    type: int
    persistent: bool
    source: str
    path: str
    size: int
    """MiB that the guest sees."""
    datastore: int
    datastore_name: str
    vms: tuple[int, ...]
    mark: Mark | None

    def usable(self, spec: ImageSpec | None) -> bool:
        """Whether it has all of its bytes, as far as oned knows. An image that was enabled after an error is READY and has none."""
        if self.state in (INIT, ERROR, DELETE) or not self.source or self.size <= 0:
            return False
        return spec is None or self.size >= spec.virtual_size // MIB

    def seen_as(self) -> ImageState:
        """The state of the Protocol, for an image that is not ours."""
        if self.state == LOCKED or not self.usable(None):
            return "incomplete"
        return "hidden" if self.state == DISABLED else "active"

    def complete(self) -> bool:
        """Whether an upload of ours came to its end, and its bytes are there. One that is busy for a moment (LOCKED) stays complete."""
        return self.mark is not None and not self.mark.unfinished and self.usable(self.mark.spec)

    def made_drift(self) -> tuple[str, ...]:
        """What is otherwise of how it can be used than what its mark says."""
        found = []
        hidden = self.mark is not None and self.mark.hidden_since is not None
        if self.state == DISABLED and not hidden:
            found.append("it is disabled")
        if self.state == READY and hidden:
            found.append("it is enabled")
        if self.persistent:
            found.append("it is persistent")
        if self.type != _OS:
            found.append("its type is not OS")
        return tuple(found)


@dataclass(frozen=True, slots=True)
class VmTemplate(Thing):
    """A VM template."""

    @property
    def images(self) -> tuple[str, ...]:
        """Ids of the images that it names by id."""
        disks = self.attributes.get("DISK")
        found = disks if isinstance(disks, list) else [disks]
        return tuple(str(disk["IMAGE_ID"]) for disk in found if isinstance(disk, Mapping) and disk.get("IMAGE_ID"))


@dataclass(frozen=True, slots=True)
class Machine:
    """A virtual machine. template: what it has; said: what users and we say about it."""

    id: int
    name: str
    uid: int
    state: int
    lcm: int
    template: Mapping[str, Any] = field(repr=False)
    said: Mapping[str, Any] = field(repr=False)


def image_of(one: Element) -> Image:
    """An IMAGE. Raises ValueError where something is missing."""
    attributes = _attributes(one, "TEMPLATE")
    return Image(
        **_common(one, attributes),
        state=_number(one, "STATE"),
        type=_number(one, "TYPE"),
        persistent=_number(one, "PERSISTENT") != 0,
        source=_text(one, "SOURCE"),
        path=_text(one, "PATH"),
        size=_number(one, "SIZE"),
        datastore=_number(one, "DATASTORE_ID"),
        datastore_name=_text(one, "DATASTORE"),
        vms=tuple(int(vm.text or "") for vm in one.iterfind("VMS/ID")),
        mark=read_mark(attributes),
    )


def template_of(one: Element) -> VmTemplate:
    """A VMTEMPLATE. Raises ValueError where something is missing."""
    return VmTemplate(**_common(one, _attributes(one, "TEMPLATE")))


def machine_of(one: Element) -> Machine:
    """A VM, as in `vm.info` and `vmpool.infoextended`. Raises ValueError where something is missing."""
    return Machine(
        id=_number(one, "ID"),
        name=_text(one, "NAME"),
        uid=_number(one, "UID"),
        state=_number(one, "STATE"),
        lcm=_number(one, "LCM_STATE"),
        template=_attributes(one, "TEMPLATE"),
        said=_attributes(one, "USER_TEMPLATE"),
    )


def _common(one: Element, attributes: dict[str, Any]) -> dict[str, Any]:
    permissions = one.find("PERMISSIONS")
    if permissions is None:
        raise ValueError(f"no PERMISSIONS in {one.tag}")
    return {
        "id": _number(one, "ID"),
        "name": _text(one, "NAME"),
        "uid": _number(one, "UID"),
        "uname": _text(one, "UNAME"),
        "gid": _number(one, "GID"),
        "gname": _text(one, "GNAME"),
        "mode": mode_of([_number(permissions, name) for name in BITS]),
        "lock": _number(one, "LOCK/LOCKED") if one.find("LOCK/LOCKED") is not None else 0,
        "attributes": attributes,
    }


def _attributes(one: Element, part: str) -> dict[str, Any]:
    """Texts, vectors as maps, and several of a name as a list."""
    root = one.find(part)
    if root is None:
        raise ValueError(f"no {part} in {one.tag}")
    made: dict[str, Any] = {}
    for child in root:
        value: Any = {inner.tag: inner.text or "" for inner in child} if len(child) else child.text or ""
        made[child.tag] = value if child.tag not in made else [*(was if isinstance(was := made[child.tag], list) else [was]), value]
    return made


def _text(one: Element, name: str) -> str:
    text = one.findtext(name)
    if text is None:
        raise ValueError(f"no {name} in {one.tag}")
    return text


def _number(one: Element, name: str) -> int:
    return int(_text(one, name))
