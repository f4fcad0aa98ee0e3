"""What is written on images: our mark with the whole spec, and the same in words that people and other programs read. Pure.

Attributes always go to oned in the nested form, which cannot be broken out of; the one text that it cannot carry, `]]>`, never gets into it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vmkeeper.clouds.attributes import description, marks_of_others, words
from vmkeeper.clouds.interface import ImageSpec
from vmkeeper.errors import UserError
from vmkeeper.values import format_time, parse_time

OURS = "VMKEEPER_"
OWNER, SPEC, HIDDEN, UNFINISHED = f"{OURS}OWNER", f"{OURS}SPEC", f"{OURS}HIDDEN_SINCE", f"{OURS}UNFINISHED"
COMING, VERIFIED = "COMING", "VERIFIED"
"""What an unfinished upload says: its bytes are not known to be there; they are, and the rest is to be done."""
_CONSUMED = frozenset((
    "NAME", "TYPE", "PERSISTENT", "PATH", "SOURCE", "SIZE", "FORMAT", "FS", "FSTYPE", "DISK_TYPE", "MD5", "SHA1", "PUBLIC", "STATE", "ID", "UID",
    "GID", "UNAME", "GNAME", "DATASTORE", "DATASTORE_ID", "ERROR", "LOCK", "FROM_APP", "FROM_BACKUP_DS", "URL_ARGS",
))  # fmt: skip
"""What oned takes for itself out of an image's template, or puts there."""
_SPOKEN = re.compile(r"^(AD|HV|SL|DC|OS|HW|IMG)_[A-Z0-9_]+$")
"""Attributes that a property may become under its own name."""
_KEY = re.compile(r"^[A-Z][A-Z0-9_]{0,126}$")
_UNCARRIED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\U00010000-\U0010ffff]")
"""What XML 1.0 (section 2.2) cannot hold, other control characters, and what MySQL's utf8 under oned cannot hold."""
_LONGEST = 16384

Attributes = dict[str, Any]
"""A template of OpenNebula: texts, and one level deeper maps of texts (vectors) or lists of such."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What our mark on an image says. `spec` is None where it cannot be read."""

    owner: str
    spec: ImageSpec | None
    hidden_since: datetime | None
    unfinished: str = ""
    """How far an upload came that did not come to its end, as above; "" for one that did."""


def nested(attributes: Mapping[str, Any]) -> dict[str, Attributes]:
    """The form in which pyone sends attributes as XML. Raises ValueError for what would not arrive as it is."""
    _check(attributes)
    return {"TEMPLATE": dict(attributes)}


def image_attributes(owner: str, spec: ImageSpec, hidden_since: datetime | None = None, extra: Mapping[str, str] | None = None) -> Attributes:
    """All that is written on an image. extra: what the site adds; ours wins."""
    ours = {
        OWNER: owner,
        SPEC: spec_text(spec),
        f"{OURS}APPLIANCE": spec.appliance,
        f"{OURS}VERSION": str(spec.version),
        f"{OURS}LIST": spec.list,
        f"{OURS}SHA512": spec.signed.sha512,
        f"{OURS}EXPIRES": format_time(spec.expires),
    }
    if hidden_since is not None:
        ours[HIDDEN] = format_time(hidden_since)
    # How an image is attached is left alone where it was in use before it was ours.
    attached = {"DEV_PREFIX": "vd"} if words(spec).get("hw_disk_bus") == "virtio" and not spec.adopted else {}
    return {**attached, **(extra or {}), **spoken(spec), **ours}


def spoken(spec: ImageSpec) -> dict[str, str]:
    """What people and other programs read: a description, the properties, the attributes of nifty and cloudkeeper."""
    properties = {attribute_name(key): plain(text) for key, text in spec.properties.items()}
    texts = {
        **properties,
        "NIFTY_APPLIANCE_VERSION": str(spec.version),
        "DESCRIPTION": plain(description(spec)),
        **{key: plain(text) for key, text in marks_of_others(spec).items()},
    }
    return {key: text for key, text in texts.items() if text}


def attribute_name(key: str) -> str:
    """`ad:mpuri` → `AD_MPURI`. What might mean something to oned gets a prefix: `path` → `VMKEEPER_PROPERTY_PATH`."""
    name = re.sub(r"[^A-Z0-9_]", "_", key.upper())
    return name[:100] if _SPOKEN.match(name) else f"{OURS}PROPERTY_{name}"[:100]


def plain(text: str) -> str:
    """A text for reading that every XML can carry: no control characters, no `]]>`, no white space at its ends, not too long."""
    return _UNCARRIED.sub(" ", text)[:_LONGEST].replace("]]>", "]] >").strip()


def spec_text(spec: ImageSpec) -> str:
    """The spec as JSON in ASCII. Escapes keep out what XML cannot carry and what would end a CDATA section."""
    said = spec.model_dump(mode="json", exclude_none=True)
    return json.dumps(said, separators=(",", ":"), ensure_ascii=True).replace(">", "\\u003e").replace("<", "\\u003c")


def read_mark(attributes: Mapping[str, Any]) -> Mark | None:
    """Our mark; None where there is none."""
    owner = attributes.get(OWNER)
    if not isinstance(owner, str) or not owner:
        return None
    try:
        spec = ImageSpec.model_validate_json(str(attributes.get(SPEC, "")))
        since = attributes.get(HIDDEN)
        hidden = parse_time(str(since)) if since else None
    except ValueError:
        spec, hidden = None, None
    return Mark(owner, spec, hidden, str(attributes.get(UNFINISHED) or ("?" if UNFINISHED in attributes else "")))


def changed(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the attributes of ours that are otherwise than wanted, or are there and should not be."""
    other = [key for key, value in wanted.items() if _same(current.get(key)) != _same(value)]
    more = [key for key in current if key.startswith(OURS) and key not in wanted]
    return tuple(sorted(other + more))


def merged(current: Mapping[str, Any], before: Mapping[str, Any], wanted: Mapping[str, Any]) -> Attributes:
    """All attributes afterwards: `before`, what we had written, goes, `wanted` comes, what others wrote stays."""
    kept = {key: value for key, value in current.items() if key not in before and not key.startswith(OURS) and _KEY.match(key)}
    return {**{key: _carried(value) for key, value in kept.items()}, **wanted}


def check_extra(extra: Mapping[str, Any], where: str) -> dict[str, str]:
    """What a site's template adds to images. Raises UserError for what oned would take for itself or is ours."""
    for key, value in extra.items():
        if key in _CONSUMED or key.startswith(OURS):
            raise UserError(f"{key} cannot be set for images", where=where, hint="take it out of the template; vmkeeper sets it where it is needed")
        if not isinstance(value, str):
            raise UserError(f"{key} of an image is a text", where=where, hint="write a text or a number")
    return {key: text for key, value in extra.items() if (text := plain(value))}


def said_by_others(attributes: Mapping[str, Any]) -> dict[str, str]:
    """Attributes as texts; those of vectors as `VECTOR/KEY`."""
    found: dict[str, str] = {}
    for key, value in attributes.items():
        for inner, text in value.items() if isinstance(value, Mapping) else (("", value),):
            found[f"{key}/{inner}" if inner else key] = str(text)
    return found


def _check(attributes: Mapping[str, Any]) -> None:
    for key, value in attributes.items():
        if not _KEY.match(key):
            raise ValueError(f"{key!r} is no name of an attribute")
        for one in value if isinstance(value, list) else (value,):
            if isinstance(one, Mapping):
                _check(one)
            elif not isinstance(one, str) or "]]>" in one or _UNCARRIED.search(one):
                raise ValueError(f"the value of {key} cannot be sent")


def _carried(value: Any) -> Any:
    """Of somebody else's, as it was, as far as it can be sent back."""
    if isinstance(value, Mapping):
        return {key: _carried(inner) for key, inner in value.items() if _KEY.match(key)}
    return [_carried(one) for one in value] if isinstance(value, list) else plain(str(value or ""))


def _same(value: Any) -> Any:
    """What is compared: white space at the ends and kinds of numbers mean nothing."""
    if isinstance(value, Mapping):
        return {key: text for key, inner in value.items() if (text := _same(inner))}
    if isinstance(value, list):
        return _same(value[0]) if len(value) == 1 else [_same(one) for one in value]
    return str("" if value is None else value).strip()
