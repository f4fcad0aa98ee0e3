"""What VM templates and images say: vmkeeper's own words, or those of a site's Jinja2 template. Pure."""

from __future__ import annotations

from typing import Any

from vmkeeper.clouds.attributes import description, guest, needs, words
from vmkeeper.clouds.interface import ImageSpec
from vmkeeper.clouds.opennebula.marks import OURS, OWNER, Attributes, check_extra, spoken
from vmkeeper.clouds.opennebula.names import place_of
from vmkeeper.clouds.opennebula.rendering import render
from vmkeeper.errors import UserError
from vmkeeper.model.platform import OpenNebulaPlatform
from vmkeeper.values import format_time

ALIAS, FAMILY = f"{OURS}ALIAS", f"{OURS}UUID"
_MEMORY, _CPUS = 1024, 1
"""What a virtual machine gets where nobody says, in MiB and processors."""
IMAGE_FIELD, VM_FIELD = "platform.templates.image", "platform.templates.vm"


def variables(owner: str, spec: ImageSpec, image: str = "") -> dict[str, Any]:
    """What a site's templates can use; see docs/opennebula.md. image: ID of the image, "" before it has one."""
    system, least, said = guest(spec), needs(spec), words(spec)
    return {
        "name": spec.name,
        "alias": spec.alias or spec.name,
        "appliance": spec.appliance,
        "uuid": spec.uuid,
        "version": str(spec.version),
        "title": spec.properties.get("title", spec.appliance),
        "description": description(spec),
        "list": spec.list,
        "expires": format_time(spec.expires),
        "architecture": spec.architecture,
        "format": spec.format,
        "sha512": spec.sha512,
        "visibility": spec.audience.visibility,
        "properties": dict(spec.properties),
        "site": owner.partition(":")[2].partition("/")[0],
        "place": place_of(owner),
        "image_id": image,
        "os_type": system.os_type,
        "os_distro": system.os_distro,
        "os_version": system.os_version,
        "firmware": system.firmware,
        "virtio": said.get("hw_disk_bus") == "virtio",
        "cpus": least.recommended_cpus or _CPUS,
        "memory": least.recommended_memory or _MEMORY,
        "disk": least.disk,
    }


def image_extra(platform: OpenNebulaPlatform, owner: str, spec: ImageSpec) -> dict[str, str]:
    """What the site's template adds to an image's attributes. Raises UserError."""
    text = platform.templates.image
    return check_extra(render(text, variables(owner, spec), IMAGE_FIELD), IMAGE_FIELD) if text else {}


def vm_template(platform: OpenNebulaPlatform, owner: str, spec: ImageSpec, image: str) -> Attributes:
    """The VM template that bears the spec's alias and points to an image, without its NAME. Raises UserError."""
    values = variables(owner, spec, image)
    text = platform.templates.vm
    made = render(text, values, VM_FIELD) if text else _own(values)
    if (reserved := sorted(key for key in made if key == "NAME" or key.startswith(OURS))) != []:
        raise UserError(f"{reserved[0]} cannot be set for VM templates", where=VM_FIELD, hint="take it out; the template is named by names.alias")
    made.setdefault("DISK", {"IMAGE_ID": image})
    disks = made["DISK"] if isinstance(made["DISK"], list) else [made["DISK"]]
    if not any(isinstance(disk, dict) and disk.get("IMAGE_ID") == image for disk in disks):
        raise UserError(
            "the VM template does not use the image by its ID", where=VM_FIELD, hint='write DISK: {IMAGE_ID: "{{ image_id }}"}, or no DISK'
        )
    mark = {OWNER: owner, ALIAS: spec.alias or "", FAMILY: spec.uuid, f"{OURS}VERSION": str(spec.version)}
    return {**spoken(spec), **made, **mark}


def _own(values: dict[str, Any]) -> Attributes:
    """What is said where the site has no template of its own."""
    return {
        "CPU": str(values["cpus"]),
        "VCPU": str(values["cpus"]),
        "MEMORY": str(values["memory"]),
        "OS": {"ARCH": str(values["architecture"])},
        "GRAPHICS": {"TYPE": "VNC", "LISTEN": "0.0.0.0"},  # noqa: S104 - what OpenNebula's own templates say: its proxy connects from elsewhere
        "CONTEXT": {"NETWORK": "YES", "SSH_PUBLIC_KEY": "$USER[SSH_PUBLIC_KEY]"},
    }
