"""What other tools write on the images that they make, read as which image of which list it is. Pure; nothing of it is believed here.

| tool | words (upper or lower case) | source |
|---|---|---|
| nifty | NIFTY_APPLIANCE_ID, and the descriptor's attributes, which are vmcatcher's: VMCATCHER_EVENT_* | itchy, vmcatcher |
| cloudkeeper (OpenNebula) | CLOUDKEEPER_APPLIANCE_*, CLOUDKEEPER_IMAGE_*; an expired one is called EXPIRED_… | cloudkeeper-one, opennebula/tags.rb |
| cloudkeeper (OpenStack) | APPLIANCE_*, since 2 CLOUDKEEPER_*; list: …_IMAGE_LIST_ID, …_image_list_identifier | cloudkeeper-os |
| atrope | appdb_id, sha512, image_list, vmcatcher_event_ad_mpuri; APPLIANCE_ATTRIBUTES, the list's entry as JSON | atrope, dispatcher/glance.py |
| openstack-image-manager | tag managed_by_osism; internal_version, image_source | openstack-image-manager, main.py |
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from vmkeeper.clouds.interface import CloudImage

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SHA512 = re.compile(r"[0-9a-f]{128}")
_LONGEST = 1 << 16
"""Characters of JSON that are read."""


@dataclass(frozen=True, slots=True)
class OtherMark:
    """What another tool says that its image is; "" where it says nothing. sha512: of the file on the list, not of what the cloud has."""

    tool: str
    uuid: str = ""
    list: str = ""
    version: str = ""
    mpuri: str = ""
    sha512: str = ""
    expired: bool = False
    """Whether the tool itself had taken the image out of use."""


def read_mark(image: CloudImage) -> OtherMark | None:
    """Which image the tool that made it says it is; None for an image of nobody that is known here, or one that bears a mark of our kind."""
    if image.owner is not None:
        return None
    said = {name.lower(): value for name, value in image.attributes.items()}
    tags = {word.strip() for word in said.get("tags", "").split(",")}
    entry = _entry(said.get("appliance_attributes", ""))
    vmcatcher = {
        "uuid": said.get("vmcatcher_event_dc_identifier", ""),
        "list": said.get("vmcatcher_event_il_dc_identifier", ""),
        "version": said.get("vmcatcher_event_hv_version", ""),
        "mpuri": said.get("vmcatcher_event_ad_mpuri", ""),
        "sha512": said.get("vmcatcher_event_sl_checksum_sha512", ""),
    }
    if "atrope" in tags or "appdb_id" in said:
        # `sha512` is of the file on the list. What `image_hash` is of is not said anywhere, so it is not read.
        return _mark(
            "atrope",
            vmcatcher,
            uuid=said.get("appdb_id", "") or entry.get("dc:identifier", ""),
            version=entry.get("hv:version", ""),
            sha512=said.get("sha512", ""),
        )
    if any(name.startswith("cloudkeeper_") for name in said):
        return _cloudkeeper(image, said, vmcatcher, "cloudkeeper_appliance_", "cloudkeeper_")
    if "appliance_id" in said and "appliance_image_list_id" in said:
        return _cloudkeeper(image, said, vmcatcher, "appliance_")
    if "nifty_appliance_id" in said:
        return _mark("nifty", vmcatcher, uuid=said["nifty_appliance_id"])
    if "managed_by_osism" in tags or ("internal_version" in said and "image_source" in said):
        return OtherMark("openstack-image-manager")
    return None


def _cloudkeeper(image: CloudImage, said: Mapping[str, str], vmcatcher: Mapping[str, str], *beginnings: str) -> OtherMark:
    def word(*names: str) -> str:
        return next((said[start + name] for start in beginnings for name in names if said.get(start + name)), "")

    return _mark(
        "cloudkeeper",
        vmcatcher,
        uuid=word("id", "identifier"),
        list=word("image_list_id", "image_list_identifier"),
        version=word("version"),
        mpuri=word("mpuri"),
        sha512=said.get("cloudkeeper_image_checksum", ""),
        expired=image.name.startswith("EXPIRED_") or "cloudkeeper_expired" in said,
    )


def _mark(tool: str, vmcatcher: Mapping[str, str], *, expired: bool = False, **said: str) -> OtherMark:
    """What the tool says itself, else what vmcatcher's words say. UUIDs and digests that are none are as if they were not said."""
    words = {name: (said.get(name) or text).strip() for name, text in vmcatcher.items()}
    for name, form in (("uuid", _UUID), ("list", _UUID), ("sha512", _SHA512)):
        words[name] = words[name].lower() if form.fullmatch(words[name].lower()) else ""
    return OtherMark(tool, expired=expired, **words)


def _entry(text: str) -> dict[str, str]:
    """The list's entry that atrope keeps, as far as it is texts."""
    try:
        found = json.loads(text[:_LONGEST]) if text else {}
    except (ValueError, RecursionError):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, str)} if isinstance(found, dict) else {}
