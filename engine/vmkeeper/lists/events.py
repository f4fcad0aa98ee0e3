"""What is told of images at a site: vmcatcher's events under its names, as its environment, as CloudEvents and as lines of JSON. Pure.

What an image's list says of it was written by strangers: in an environment its control characters are escaped (R29) and
nothing of it is longer than a program's start can take.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID, uuid5

from pydantic import Field

from vmkeeper.clouds.interface import ImageSpec
from vmkeeper.model.base import Document
from vmkeeper.model.handler import EventName, Handler
from vmkeeper.values import Name, Sha512, Size, Time, Uuid, Version, format_time, visible

CONTENT_TYPE = "application/cloudevents+json"
TYPE_PREFIX = "vmkeeper."
"""What a CloudEvents type begins with; the rest is vmcatcher's name."""

_LONGEST = 16_384
"""Characters of one variable; Linux starts no program with a variable of 128 KiB."""

_SPOKEN = {
    "title": "title",
    "description": "dc:description",
    "hypervisor": "hv:hypervisor",
    "arch": "sl:arch",
    "comments": "sl:comments",
    "os": "sl:os",
    "osname": "sl:osname",
    "osversion": "sl:osversion",
    "mpuri": "ad:mpuri",
    "group": "ad:group",
    "vo": "ad:vo",
}
"""Attribute of an image in an event → property of the cloud's image that holds it."""


class EventImage(Document):
    """The image that an event is about: as its list and its signature say, not as the cloud keeps it. Sizes in bytes."""

    appliance: Name
    uuid: Uuid
    version: Version
    format: str
    size: Size
    sha512: Sha512
    list: Uuid
    uri: str = ""
    title: str = ""
    description: str = ""
    hypervisor: str = ""
    arch: str = ""
    comments: str = ""
    os: str = ""
    osname: str = ""
    osversion: str = ""
    mpuri: str = ""
    group: str = ""
    vo: str = ""
    filename: str = ""
    """Name of its file in the folder of images, or of expired ones after ExpirePostfix; empty where there is none."""


class Event(Document):
    """Something that happens to an image at a site, or that a run which does something begins or ends (`image` is None).

    The id is that of the happening: an event that is told again bears the same one.
    """

    id: Uuid
    type: EventName
    time: Time
    session: Uuid
    """What the events from one ProcessPrefix to its ProcessPostfix have in common."""
    site: Name
    image: EventImage | None = None
    replaced: bool = Field(default=False)
    """Of an expiry: a newer version of the image is there, so that it is this version that went and not the image."""

    @property
    def subject(self) -> str:
        """`APPLIANCE VERSION`, or the site's name."""
        return f"{self.image.appliance} {self.image.version}" if self.image else self.site


def event_image(spec: ImageSpec, *, uri: str = "", filename: str = "") -> EventImage:
    """An image as events tell of it: the file that was signed, whatever the cloud's own file was made into."""
    signed = spec.signed
    return EventImage(
        appliance=spec.appliance,
        uuid=spec.uuid,
        version=spec.version,
        format=signed.format,
        size=signed.size,
        sha512=signed.sha512,
        list=spec.list,
        uri=uri,
        filename=filename,
        **{"arch": spec.architecture, **{name: spec.properties[key] for name, key in _SPOKEN.items() if key in spec.properties}},
    )


def event_id(session: str, event: EventName, key: str = "") -> str:
    """The id of a happening: the same for the same event of the same image (`ImageSpec.key`) in one session."""
    return str(uuid5(UUID(session), f"{event} {key}"))


def make(
    event: EventName, session: str, site: str, now: datetime, *, key: str = "", image: EventImage | None = None, replaced: bool = False
) -> Event:
    """An event of a session."""
    return Event(id=event_id(session, event, key), type=event, time=now, session=session, site=site, image=image, replaced=replaced)


def concerns(handler: Handler, event: Event) -> bool:
    """Whether a handler wants to be told."""
    return (not handler.events or event.type in handler.events) and (handler.replaced or not event.replaced)


# -- vmcatcher's environment

_IMAGE_VARIABLES = {
    "DC_DESCRIPTION": "description",
    "DC_IDENTIFIER": "uuid",
    "DC_TITLE": "title",
    "HV_HYPERVISOR": "hypervisor",
    "HV_SIZE": "size",
    "HV_URI": "uri",
    "HV_FORMAT": "format",
    "HV_VERSION": "version",
    "SL_ARCH": "arch",
    "SL_CHECKSUM_SHA512": "sha512",
    "SL_COMMENTS": "comments",
    "SL_OS": "os",
    "SL_OSVERSION": "osversion",
    "FILENAME": "filename",
    "IL_DC_IDENTIFIER": "list",
    "AD_MPURI": "mpuri",
    "VO": "vo",
}


def environment(event: Event, folders: Mapping[Literal["CACHE", "DOWNLOAD", "EXPIRE"], str]) -> dict[str, str]:
    """The variables that vmcatcher gives its handlers; what is empty has none.

    folders: where image files are, come to and go to. Handlers put a name to them with or without a slash, so they end
    with one. VMCATCHER_EVENT_ID is ours: vmcatcher tells nothing twice, we may after a crash.
    """
    said: dict[str, Any] = {"TYPE": event.type, "ID": event.id, "UUID_SESSION": event.session}
    if event.image:
        said |= {variable: getattr(event.image, name) for variable, name in _IMAGE_VARIABLES.items()}
    texts = {f"VMCATCHER_EVENT_{name}": visible(text)[:_LONGEST] for name, value in said.items() if (text := _plain(value))}
    return texts | {f"VMCATCHER_CACHE_DIR_{name}": folder.rstrip("/") + "/" for name, folder in folders.items()}


def _plain(value: object) -> str:
    return str(int(value)) if isinstance(value, Size) else str(value)


# -- CloudEvents

_DATA = {
    "uuid": "dc:identifier",
    "title": "dc:title",
    "version": "hv:version",
    "format": "hv:format",
    "size": "hv:size",
    "sha512": "sl:checksum:sha512",
    "uri": "hv:uri",
}
"""Attribute of an image in an event → its list's key, where that is not the property's name."""


def cloudevent(event: Event) -> dict[str, Any]:
    """The event in CloudEvents 1.0's JSON format, structured mode.

    `data` has the image under the keys of its list, and `appliance`, `filename`, `session`, `replaced`.
    """
    data: dict[str, Any] = {"session": event.session}
    if (image := event.image) is not None:
        data |= {"appliance": image.appliance, "hv:imagelist.dc:identifier": image.list}
        data |= {key: said for name, key in (_SPOKEN | _DATA).items() if (said := _number_or_text(getattr(image, name))) != ""}
        data |= {"filename": image.filename} if image.filename else {}
        data |= {"replaced": event.replaced} if event.type.startswith("Expire") else {}
    subject = {"subject": f"{event.image.uuid}/{event.image.version}"} if event.image else {}
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": f"vmkeeper:{event.site}",
        "type": TYPE_PREFIX + event.type,
        **subject,
        "time": format_time(event.time),
        "datacontenttype": "application/json",
        "data": data,
    }


def cloudevent_json(event: Event) -> bytes:
    """One CloudEvent as one line of ASCII JSON, without a line end."""
    return json.dumps(cloudevent(event), ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()


def _number_or_text(value: object) -> int | str:
    return int(value) if isinstance(value, Size) else str(value)
