"""What a cloud's test file says of its cloud, and small things that the conformance suite needs. Nothing here knows one cloud from another."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import pytest

from vmkeeper.clouds.interface import Cloud, CloudImage, ImageSpec, MachineSpec, SourceFile
from vmkeeper.model.platform import Audience
from vmkeeper.values import Size, Version

LIST = "7f6f1c1e-8d5e-4a52-9a0e-0d8d0c7f5a11"
UUID = "0b0f8a0e-3c1c-4f5e-8b7a-2f8b3f0f7a21"
OTHER_UUID = "5a3c7a34-1f0b-4d6e-b3ac-5f2d0a9c6d02"
OWNER = "vmkeeper:conformance"
STRANGERS = ("vmkeeper:elsewhere", "vmkeeper:conformance/east", "vmkeeper:conformance2", "vmkeeper:conform")
"""Owners whose marks look like ours, the more the further right."""
THEN = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
LATER = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
EXPIRES = datetime(2027, 5, 1, tzinfo=UTC)
SIGNED = SourceFile(format="ova", size=Size(4096), sha512="5" * 128)
"""The file that a converted image was made from."""
DISK = b"\xeb\xfe" + bytes(508) + b"\x55\xaa" + bytes(1024 * 1024 - 512)
"""A raw disk that boots into an endless loop."""
ATTRIBUTES = {"CLOUDKEEPER_APPLIANCE_ID": UUID, "NIFTY_APPLIANCE_ID": "00e5ae3c"}
"""What others write on images."""


class Plant(Protocol):
    """Makes an image without our mark, as other people and tools would, and returns its id."""

    def __call__(self, name: str, attributes: Mapping[str, str] = {}, data: bytes = DISK) -> str:
        """attributes: what its makers wrote on it (letters, digits and `_` in keys); data: a raw disk."""


@dataclass(frozen=True)
class Setting:
    """A cloud to try. What a test needs and is None or empty here, it skips for."""

    connect: Callable[[str], Cloud]
    """One owner's view, a client of its own at each call."""
    plant: Plant
    folder: Path
    """Where image files for uploading are written."""
    disk: bytes = DISK
    """A raw disk."""
    cannot_start: str = ""
    """Why machines cannot be started here, or ""."""
    cannot_adopt: str = ""
    """Why images that others made cannot be taken over here, or ""; then `plant` may pass over attributes and data."""
    meddle: Callable[[str], None] | None = None
    """Changes something that is said about an image of ours behind our back, so that `update` can mend it: its visibility, its name."""
    spoil: Callable[[str], None] | None = None
    """Makes the mark of an image of ours be there and what it says unreadable."""
    bearers: Callable[[str], Collection[str]] | None = None
    """Ids of the images of all owners that users of the cloud get under an alias (where several answer, all of them)."""
    fill: Callable[[], None] | None = None
    """Leaves no room or quota for another image."""
    visibilities: tuple[str, ...] = ("private", "shared", "community", "public")
    """What the account may set."""
    projects: tuple[str, ...] = ()
    """Two or more whom an image can be shared with, as `Audience.projects` names them."""

    def audience(self, visibility: str) -> Audience:
        """An audience of this visibility; skips where it cannot be."""
        if visibility not in self.visibilities or (visibility == "shared" and len(self.projects) < 2):
            pytest.skip(f"the account may not make an image {visibility}")
        return Audience.model_validate({"visibility": visibility, "projects": self.projects if visibility == "shared" else ()})


def spec_of(
    data: bytes,
    *,
    version: str = "2026.11.1",
    name: str = "debian-12",
    uuid: str = UUID,
    properties: dict[str, str] | None = None,
    alias: str | None = None,
    audience: Audience | None = None,
) -> ImageSpec:
    """The spec of an image whose file has these bytes."""
    return ImageSpec(
        name=name,
        alias=alias,
        audience=audience or Audience(),
        appliance="debian-12",
        uuid=uuid,
        version=Version(version),
        format="raw",
        size=Size(len(data)),
        virtual_size=Size(len(data)),
        sha512=hashlib.sha512(data).hexdigest(),
        list=LIST,
        expires=EXPIRES,
        properties=properties or {},
    )


class Conformance:
    """The fixtures of all parts of the suite."""

    @pytest.fixture
    def setting(self, tmp_path: Path) -> Setting:
        raise NotImplementedError

    @pytest.fixture
    def cloud(self, setting: Setting) -> Cloud:
        return setting.connect(OWNER)

    @pytest.fixture
    def spec(self, setting: Setting) -> ImageSpec:
        return spec_of(setting.disk)

    @pytest.fixture
    def file(self, setting: Setting) -> Path:
        return write(setting, "disk.raw", setting.disk)


def ours(cloud: Cloud) -> dict[str, CloudImage]:
    """Our images by id."""
    return {image.id: image for image in cloud.images() if image.owner == cloud.owner}


def by_id(cloud: Cloud) -> dict[str, CloudImage]:
    """All images by id."""
    return {image.id: image for image in cloud.images()}


def our_machines(cloud: Cloud) -> tuple:
    """Our machines, in order of name."""
    return tuple(machine for machine in cloud.machines() if machine.owner == cloud.owner)


def machine_of(image: CloudImage) -> MachineSpec:
    """A small machine from an image."""
    return MachineSpec(name="c-master-1", cluster="c", service="master", generation="a" * 64, image=image.id, memory=Size.parse("128MiB"))


def write(setting: Setting, name: str, data: bytes) -> Path:
    """A file for uploading."""
    setting.folder.mkdir(parents=True, exist_ok=True)
    path = setting.folder / name
    path.write_bytes(data)
    return path


def needs_machines(setting: Setting) -> None:
    """Skip where machines cannot be started."""
    if setting.cannot_start:
        pytest.skip(setting.cannot_start)


def wanted(setting: Setting, what: str) -> Callable[..., object]:
    """Something that a setting may have; skips where it has not."""
    found: Callable[..., object] | None = getattr(setting, what)
    if found is None:
        pytest.skip(f"the cloud's test file does not say how to {what}")
    return found


def another(setting: Setting, number: int = 1) -> bytes:
    """A disk of the same size with other bytes."""
    return setting.disk[:-1] + bytes([number])
