"""The cloud-appliance-descriptor: the JSON by which comfy and itchy tell nifty to register or expire an appliance at OpenNebula.

Fields are those of the Ruby gem cloud-appliance-descriptor 0.2 (docs/feeds.md). Every field is always written, as nothing but an
absent value is read differently by a program that has no schema of it.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, ValidationError

from vmkeeper.clouds.interface import ImageSpec
from vmkeeper.documents.json_guard import read_json
from vmkeeper.errors import Place, Problem, Problems
from vmkeeper.lists.catalogue_json import plain_json, plain_schema
from vmkeeper.lists.shelf import Shelf, ShelvedImage
from vmkeeper.model.appliance import Appliance, Distribution, Requirements
from vmkeeper.model.base import Document
from vmkeeper.model.release import ImageFile, Release
from vmkeeper.values import format_time, visible

Action = Literal["registration", "expiration"]
_MIB = 1 << 20


class _Part(Document):
    model_config = ConfigDict(strict=True)


class DescribedOs(_Part):
    """The operating system, as image lists call it."""

    distribution: str
    """`Debian`."""
    version: str
    """`12`."""
    arch: str
    """`x86_64`."""
    type: str
    """`linux`."""


class DescribedDisk(_Part):
    """A disk. The first one is the system's."""

    type: Literal["os"]
    format: str
    """`qcow2`, `raw`, …"""
    path: str
    """The image file where nifty runs."""
    target: str
    """Device in the guest, such as `vda`."""
    device_prefix: str
    """OpenNebula's DEV_PREFIX: `vd` for virtio."""


class Descriptor(_Part):
    """The whole descriptor."""

    action: Action
    title: str
    identifier: str
    """UUID of the appliance; nifty keeps it as NIFTY_APPLIANCE_ID and finds by it what it expires."""
    version: str
    description: str
    cpu: Annotated[int, Field(ge=1)]
    memory: Annotated[int, Field(ge=1)]
    """MiB."""
    groups: tuple[str, ...]
    """OpenNebula's groups that may use it; none for no change."""
    attributes: dict[str, str]
    """Further attributes of the image and its template."""
    os: DescribedOs
    disks: tuple[DescribedDisk, ...]
    """None for an expiration."""


def of_release(appliance: Appliance, release: Release, file: ImageFile, path: str, *, groups: tuple[str, ...] = (), action: Action) -> Descriptor:
    """The descriptor of a release of the repository. appliance: resolved. path: where its image file lies."""
    return Descriptor(
        action=action,
        title=appliance.title,
        identifier=appliance.uuid,
        version=str(release.version),
        description=appliance.description,
        cpu=appliance.requirements.cpus or 1,
        memory=_mib(appliance.requirements.memory),
        groups=groups,
        attributes=_attributes(sha512=file.sha512, commit=release.commit, recipe=release.recipe),
        os=_os(appliance.distribution, appliance.architecture or "x86_64"),
        disks=_disks(action, file.format, path),
    )


def of_shelved(shelf: Shelf, image: ShelvedImage, path: str, *, groups: tuple[str, ...] = (), action: Action) -> Descriptor:
    """The descriptor of a published image; like itchy's, its group is the list's virtual organisation where none is given."""
    return Descriptor(
        action=action,
        title=image.title,
        identifier=image.uuid,
        version=image.version,
        description=image.description,
        cpu=image.cpus or 1,
        memory=_mib(image.memory),
        groups=groups or tuple(one for one in (shelf.vo,) if one),
        attributes=_vmcatcher(shelf, image)
        | _attributes(sha512=image.sha512, commit=image.commit, recipe=image.recipe, list=shelf.uuid, expires=format_time(image.expires)),
        os=DescribedOs(distribution=image.osname, version=image.osversion, arch=image.architecture, type=image.os.lower()),
        disks=_disks(action, image.format, path),
    )


def _vmcatcher(shelf: Shelf, image: ShelvedImage) -> dict[str, str]:
    """What itchy puts there: vmcatcher's event, by which cloud-info-provider finds what an image is. Empty ones are left out."""
    said = {
        "AD_MPURI": image.mpuri,
        "DC_DESCRIPTION": image.description,
        "DC_IDENTIFIER": image.uuid,
        "DC_TITLE": image.title,
        "HV_FORMAT": image.format,
        "HV_HYPERVISOR": "KVM",
        "HV_SIZE": str(image.size),
        "HV_URI": image.uri,
        "HV_VERSION": image.version,
        "IL_DC_IDENTIFIER": shelf.uuid,
        "SL_ARCH": image.architecture,
        "SL_CHECKSUM_SHA512": image.sha512,
        "SL_OS": image.os,
        "SL_OSVERSION": image.osversion,
        "VO": shelf.vo,
    }
    return {f"VMCATCHER_EVENT_{key}": value for key, value in said.items() if value}


def of_site(spec: ImageSpec, appliance: Appliance | None, path: str, *, groups: tuple[str, ...] = (), action: Action) -> Descriptor:
    """The descriptor of an image that a site holds. appliance: what the followed repository says of it, if it knows it."""
    needs = appliance.requirements if appliance else Requirements()
    return Descriptor(
        action=action,
        title=appliance.title if appliance else spec.name,
        identifier=spec.uuid,
        version=str(spec.version),
        description=appliance.description if appliance else "",
        cpu=needs.cpus or 1,
        memory=_mib(needs.memory),
        groups=groups,
        attributes=_attributes(sha512=spec.sha512, list=spec.list, expires=format_time(spec.expires)),
        os=_os(appliance.distribution if appliance else Distribution(), spec.architecture),
        disks=_disks(action, spec.format, path),
    )


def write(made: Descriptor) -> bytes:
    """The descriptor's JSON; what cannot be seen in its texts is escaped."""
    return plain_json(made.model_dump(mode="json"))


def read(data: bytes, file: str = "descriptor.json") -> Descriptor:
    """A descriptor in the form that `write` gives. Raises Problems."""
    read_json(data, file)
    try:
        return Descriptor.model_validate_json(data, strict=True)
    except ValidationError as error:
        raise Problems(Problem(Place(file, field=".".join(map(str, one["loc"]))), visible(one["msg"])) for one in error.errors()) from None


def schema() -> str:
    """The JSON Schema of what is written here (draft 2020-12)."""
    return plain_schema(Descriptor, "appliance-descriptor.schema.json", "A cloud-appliance-descriptor")


def _disks(action: Action, form: str, path: str) -> tuple[DescribedDisk, ...]:
    """The system's disk as a virtio one; none to expire."""
    return (DescribedDisk(type="os", format=form, path=path, target="vda", device_prefix="vd"),) if action == "registration" else ()


def _attributes(**said: str) -> dict[str, str]:
    return {f"VMKEEPER_{key.upper()}": value for key, value in said.items()}


def _mib(memory: int | None) -> int:
    """MiB, rounded up; 512 where nobody said."""
    return max(1, -(-(512 * _MIB if memory is None else memory) // _MIB))


def _os(distribution: Distribution, architecture: str) -> DescribedOs:
    """As in image lists."""
    name = (distribution.name or "Linux").capitalize()
    return DescribedOs(distribution=name, version=distribution.version or distribution.release or "unknown", arch=architecture, type="linux")
