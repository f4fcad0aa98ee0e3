"""What is written on an image in Glance, and what is read back. Pure.

An image is ours if it bears our mark, belongs to our own project, and bears its own id in `vmkeeper_image`: properties are
inherited by snapshots of machines and copied by people, and another project can write what it likes on its own images.
The whole spec is in `vmkeeper_spec` as ASCII JSON and read back from there; the other properties are for people and
programs: Glance takes no characters beyond the Basic Multilingual Plane (400), so there they are replaced.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError

from vmkeeper.clouds.attributes import description, needs, words
from vmkeeper.clouds.interface import CloudImage, ImageSpec, ImageState, Owner
from vmkeeper.model.platform import OpenStackPlatform
from vmkeeper.values import Time, format_time

Image = Mapping[str, Any]
"""An image as Glance's API v2 shows it (docs: Image service API, "Show image")."""

OWNER, SELF, KEY, SPEC = "vmkeeper_owner", "vmkeeper_image", "vmkeeper_key", "vmkeeper_spec"
HIDDEN, HOW, STAGE, UPLOADER, WRITTEN = (
    "vmkeeper_hidden_since",
    "vmkeeper_hidden_how",
    "vmkeeper_stage",
    "vmkeeper_uploader",
    "vmkeeper_written",
)
_OUR_OWN = "vmkeeper_"
UPLOADING = "uploading"
_BASE = frozenset(
    (
        *("id", "name", "status", "visibility", "protected", "os_hidden", "owner", "checksum", "size", "virtual_size", "min_ram", "min_disk"),
        *("disk_format", "container_format", "created_at", "updated_at", "tags", "self", "file", "schema", "stores", "locations", "location"),
        *("direct_url", "os_hash_algo", "os_hash_value", "deleted", "deleted_at"),
    )
)
"""Fields of Glance's own; a property cannot be called so."""
_RESERVED = ("os_glance", _OUR_OWN)
_DISK_FORMATS = {"ova": "vmdk"}
_LONGEST_VALUE, _SHOWN = 1000, 60
_OWNER = TypeAdapter[str](Owner)
_TIME = TypeAdapter[datetime](Time)
STATES: dict[str, str] = {
    "active": "whole",
    "deactivated": "whole",
    "queued": "coming",
    "saving": "coming",
    "uploading": "coming",
    "importing": "coming",
}
"""Glance's states: bytes are there, or may still come; all others are on their way out or broken."""


@dataclass(frozen=True, slots=True)
class Marks:
    """What an image says about itself in our words. spec: None where it cannot be read."""

    owner: str
    spec: ImageSpec | None
    hidden_since: datetime | None = None
    uploading: bool = False
    uploader: str = ""
    written: tuple[str, ...] = ()
    """Names of the properties that we wrote beside our own."""


def marks_of(image: Image, project: str | None) -> Marks | None:
    """The marks of an image of our project; None for one without, and for one whose marks came with a copy."""
    if not _in_project(image, project) or image.get(SELF) != image["id"]:
        return None
    try:
        owner = _OWNER.validate_python(image.get(OWNER))
    except ValidationError:
        return None
    try:
        spec = ImageSpec.model_validate_json(str(image.get(SPEC)))
        hidden = _TIME.validate_python(image[HIDDEN]) if image.get(HIDDEN) else None
    except ValidationError:
        spec, hidden = None, None
    return Marks(
        owner=owner,
        spec=spec,
        hidden_since=hidden,
        uploading=STAGE in image,
        uploader=str(image.get(UPLOADER, "")),
        written=tuple(str(image.get(WRITTEN, "")).split()),
    )


def marks_for(id_: str, owner: str, spec: ImageSpec, hidden_since: datetime | None = None) -> dict[str, str]:
    """The properties that make an image ours."""
    said = {
        OWNER: owner,
        SELF: id_,
        KEY: spec.key,
        SPEC: spec_text(spec),
        "vmkeeper_name": spec.name,
        "vmkeeper_family": spec.appliance,
        "vmkeeper_version": str(spec.version),
        "vmkeeper_list": spec.list,
        "vmkeeper_sha512": spec.sha512,
        "vmkeeper_expires": format_time(spec.expires),
    }
    return said | ({HIDDEN: format_time(hidden_since)} if hidden_since else {})


def spec_text(spec: ImageSpec) -> str:
    """A spec as ASCII JSON."""
    return json.dumps(spec.model_dump(mode="json"), ensure_ascii=True, sort_keys=True, separators=(",", ":"))


def wanted(id_: str, owner: str, spec: ImageSpec, hidden_since: datetime | None, platform: OpenStackPlatform) -> dict[str, Any]:
    """Everything that an image is to say: fields of Glance's and properties. What the site says comes before what was derived."""
    least = needs(spec)
    others = {"description": description(spec)}
    if mpuri := spec.properties.get("ad:mpuri"):
        others["vmcatcher_event_ad_mpuri"] = mpuri
    said = {**others, **spec.properties, **words(spec), **platform.properties}
    properties = {name: _sayable(text) for name, text in said.items() if _may_be_said(name, text)}
    return {
        "name": spec.alias or spec.name,
        "visibility": spec.audience.visibility,
        "protected": platform.protected,
        "os_hidden": hidden_since is not None,
        "min_disk": least.disk,
        "min_ram": least.memory,
        **properties,
        **marks_for(id_, owner, spec, hidden_since),
        WRITTEN: " ".join(sorted(properties)),
    }


def formats(spec: ImageSpec) -> dict[str, str]:
    """Disk and container format in Glance's words; said once, at creation. An OVA holds VMDKs."""
    return {"disk_format": _DISK_FORMATS.get(spec.format, spec.format), "container_format": "ova" if spec.format == "ova" else "bare"}


def patch(image: Image, want: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The JSON patch that makes an image say what is wanted, and nothing any more of what we said before. Others' words stay."""
    before = {name for name in image if name.startswith(_OUR_OWN)} | set(str(image.get(WRITTEN, "")).split())
    gone = sorted(name for name in before - set(want) if name in image and name not in _BASE)
    changed = [{"op": "add", "path": f"/{name}", "value": value} for name, value in want.items() if image.get(name) != value or name not in image]
    return [*changed, *({"op": "remove", "path": f"/{name}"} for name in gone)]


def state_of(image: Image, marks: Marks) -> ImageState | None:
    """What an image of ours is; None for one that is on its way out."""
    kind = STATES.get(image["status"])
    if image["status"] in ("deleted", "pending_delete"):
        return None
    if kind != "whole" or marks.uploading or has_other_bytes(image, marks.spec):
        return "incomplete"
    return "hidden" if marks.hidden_since else "active"


def has_other_bytes(image: Image, spec: ImageSpec | None) -> bool:
    """Whether Glance says that it holds another file than the spec's. What it does not say is not held against it."""
    if spec is None:
        return False
    size, value = image.get("size"), image.get("os_hash_value")
    known = image.get("os_hash_algo") == "sha512" and value
    return bool((known and value != spec.sha512) or (size is not None and size != spec.size))


def drift_of(image: Image, marks: Marks, platform: OpenStackPlatform, members: Iterable[str] | None) -> tuple[str, ...]:
    """What is otherwise than the marks and the site's settings say. members: projects that a shared image is shared with."""
    spec = marks.spec
    if spec is None or marks.uploading or STATES.get(image["status"]) != "whole":
        return ()
    want = wanted(image["id"], marks.owner, spec, marks.hidden_since, platform)
    del want[SPEC]  # the rest is compared with it
    if hidden_by_visibility(image, marks.hidden_since):
        want["visibility"] = "private"
    found = [_difference(name, image.get(name), value) for name, value in want.items() if image.get(name) != value]
    found += [f"{name} is there still" for name in marks.written if name in image and name not in want and name not in _BASE]
    if (image["status"] == "deactivated") != (marks.hidden_since is not None) and not hidden_by_visibility(image, marks.hidden_since):
        found.append("it is deactivated" if image["status"] == "deactivated" else "it is not deactivated")
    if members is not None and image.get("visibility") == spec.audience.visibility == "shared":
        have, due = set(members), set(spec.audience.projects)
        found += [f"it is not shared with {one}" for one in sorted(due - have)]
        found += [f"it is shared with {one}" for one in sorted(have - due)]
    return tuple(sorted(found))


def hidden_by_visibility(image: Image, hidden_since: datetime | None) -> bool:
    """Whether an image could not be deactivated when it was hidden, and was made private in its place."""
    return hidden_since is not None and image.get(HOW) == "private" and image["status"] == "active"


def seen(
    image: Image,
    marks: Marks | None,
    *,
    project: str | None,
    ours: str,
    platform: OpenStackPlatform,
    in_use: bool = False,
    members: Iterable[str] | None = None,
) -> CloudImage | None:
    """An image as `clouds.interface` has it; None for one that is on its way out. ours: our own mark; drift is told of no other's."""
    if marks is None:
        return _somebodys(image, project)
    state = state_of(image, marks)
    if state is None:
        return None
    drift = drift_of(image, marks, platform, members) if marks.owner == ours else ()
    name = image.get("name") or ""
    return CloudImage(image["id"], name, state, marks.owner, marks.spec, marks.hidden_since if state == "hidden" else None, in_use, drift)


def _somebodys(image: Image, project: str | None) -> CloudImage | None:
    """An image without our mark. What others wrote on it is told only of those in our own project: no others can be taken over."""
    if image["status"] in ("deleted", "pending_delete"):
        return None
    state: ImageState = "incomplete" if STATES.get(image["status"]) != "whole" else "hidden" if image.get("os_hidden") else "active"
    known = image.get("os_hash_algo") == "sha512"
    size, value = image.get("size"), image.get("os_hash_value")
    return CloudImage(
        id=image["id"],
        name=image.get("name") or "",
        state=state,
        attributes=_attributes(image) if _in_project(image, project) else {},
        size=size if isinstance(size, int) else None,
        sha512=value if known and isinstance(value, str) else None,
    )


def _attributes(image: Image) -> dict[str, str]:
    said = {name: value for name, value in image.items() if name not in _BASE and isinstance(value, str)}
    told = ("owner", "visibility", "created_at", "checksum", "status", "disk_format", "container_format")
    said |= {name: str(image[name]) for name in told if image.get(name)}
    return said | {"tags": ",".join(sorted(map(str, image.get("tags") or ())))}


def _in_project(image: Image, project: str | None) -> bool:
    return project is None or image.get("owner") == project


def _may_be_said(name: str, text: str) -> bool:
    return bool(text) and name not in _BASE and not name.startswith(_RESERVED) and len(name) <= 255


def _sayable(text: str) -> str:
    """What MySQL's three-byte UTF-8 and Nova's metadata hold: no astral characters, no control characters but line breaks and tabs."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\U00010000-\U0010ffff]", "\ufffd", text)[:_LONGEST_VALUE]


def _difference(name: str, found: object, value: object) -> str:
    if found is None:
        return f"{name} is missing"
    if isinstance(value, bool):
        return f"it is {name}" if found else f"it is not {name}"
    return f"{name} is {_short(found)}, not {_short(value)}"


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
