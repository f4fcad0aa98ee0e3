"""What is written on AMIs as tags, and read back: pure.

The whole spec is packed into `vmkeeper:spec.00`, `.01`, … and read from there alone; the other tags say some of it in
plain words, for people and their filters. EC2 allows 50 tags of at most 128 and 256 characters (EC2 User Guide, "Tag
restrictions"); a spec that does not fit is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vmkeeper.clouds.interface import ImageSpec
from vmkeeper.errors import UserError
from vmkeeper.values import format_time, parse_time

OURS = "vmkeeper:"
OWNER = "vmkeeper:owner"
KEY = "vmkeeper:key"
IMAGE = "vmkeeper:image"
"""The image's own id, once it has one: tags can be copied with an image."""
HIDDEN = "vmkeeper:hidden-since"
HOW = "vmkeeper:hidden-by"
SPEC = "vmkeeper:spec."
DISABLED, UNSHARED = "disabling", "unsharing"
"""How an image was taken out of use: disabled, or, where the cloud cannot do that, shared with nobody."""
VALUE = 255
PARTS = 26
"""Most tags that a spec is packed into."""
PLAIN = 12
"""Most properties that have a tag of their own besides."""
_LONGEST = 1 << 18


@dataclass(frozen=True, slots=True)
class Marks:
    """What an image's tags say. `spec` is None where it cannot be read."""

    owner: str | None = None
    spec: ImageSpec | None = None
    hidden_since: datetime | None = None
    how: str = ""


def key_of(owner: str, spec: ImageSpec) -> str:
    """24 hex digits that stand for this image of this owner, in names and filters."""
    return hashlib.sha256(f"{owner}\n{spec.key}".encode()).hexdigest()[:24]


def tags_of(owner: str, spec: ImageSpec, hidden_since: datetime | None = None, how: str = "") -> dict[str, str]:
    """All tags of an image. Raises UserError where the spec has more to say than tags can hold."""
    return {**plain_tags(owner, spec, hidden_since, how), **_packed(spec)}


def plain_tags(owner: str, spec: ImageSpec, hidden_since: datetime | None = None, how: str = "") -> dict[str, str]:
    """The tags without the packed spec. A property that is too long for a tag, or is called as ours are, has none."""
    properties = sorted((key, value) for key, value in spec.properties.items() if _fits(key, value))
    tags = {
        **dict(properties[:PLAIN]),
        "Name": spec.name,
        OWNER: owner,
        KEY: key_of(owner, spec),
        "vmkeeper:appliance": spec.appliance,
        "vmkeeper:version": str(spec.version),
        "vmkeeper:list": spec.list,
        "vmkeeper:sha512": spec.signed.sha512,
        "vmkeeper:expires": format_time(spec.expires),
    }
    if spec.alias is not None:
        tags["vmkeeper:alias"] = spec.alias
    if hidden_since is not None:
        tags |= {HIDDEN: format_time(hidden_since), HOW: how or DISABLED}
    return tags


def read_marks(tags: Mapping[str, str]) -> Marks:
    """What tags say; an owner of None where the image bears no mark of our kind."""
    owner = tags.get(OWNER)
    if owner is None:
        return Marks()
    try:
        since = parse_time(tags[HIDDEN]) if HIDDEN in tags else None
        return Marks(owner, _unpacked(tags), since, tags.get(HOW, ""))
    except (ValueError, KeyError, zlib.error, binascii.Error):
        return Marks(owner)


def marks_of(image: Mapping[str, Any]) -> Marks:
    """What an AMI's tags say; nothing where they came with a copy. Names are unique in an account, and ours end in the key."""
    tags = tags_on(image)
    marks = read_marks(tags)
    keys = {tags.get(KEY), key_of(marks.owner, marks.spec) if marks.owner and marks.spec else None} - {None, ""}
    own = tags.get(IMAGE) == image.get("ImageId") or any(str(image.get("Name", "")).endswith(f"-{key}") for key in keys)
    return marks if own else Marks()


def tags_on(thing: Mapping[str, Any]) -> dict[str, str]:
    """The tags of something, as EC2 shows it."""
    return {str(tag.get("Key")): str(tag.get("Value", "")) for tag in thing.get("Tags", ())}


def drift_of(tags: Mapping[str, str], marks: Marks) -> tuple[str, ...]:
    """Which plain tags are otherwise than the spec says, each in a few words."""
    if marks.owner is None or marks.spec is None:
        return ()
    wanted = plain_tags(marks.owner, marks.spec, marks.hidden_since, marks.how)
    said = {key: value for key, value in tags.items() if key in wanted or (key.startswith(OURS) and not key.startswith(SPEC) and key != IMAGE)}
    keys = sorted(key for key in {*wanted, *said} if wanted.get(key) != said.get(key))
    return tuple(f"tag {key} is {_word(said.get(key))}, not {_word(wanted.get(key))}" for key in keys)


def stale_tags(tags: Mapping[str, str], wanted: Mapping[str, str]) -> tuple[str, ...]:
    """Tags that an image bears from earlier words of ours and that are not said any more; others' tags stay."""
    marks = read_marks(tags)
    before = set(plain_tags(marks.owner, marks.spec)) if marks.owner and marks.spec else set()
    return tuple(sorted(key for key in tags if key not in wanted and key != IMAGE and (key.startswith(OURS) or key in before)))


def _packed(spec: ImageSpec) -> dict[str, str]:
    data = base64.urlsafe_b64encode(zlib.compress(spec.model_dump_json(exclude_defaults=True).encode(), 9)).decode()
    room = VALUE - 3
    parts = [data[at : at + room] for at in range(0, len(data), room)]
    if len(parts) > PARTS:
        why = f"packed it takes {len(data)} characters, and tags hold {room * PARTS}"
        raise UserError(f"there is too much to say about {spec.name}", why=why, hint="give the image fewer or shorter properties")
    return {f"{SPEC}{number:02d}": f"{len(parts):02d}:{part}" for number, part in enumerate(parts)}


def _unpacked(tags: Mapping[str, str]) -> ImageSpec:
    """Raises ValueError, KeyError, zlib.error or binascii.Error for what we did not write."""
    count = int(tags[f"{SPEC}00"].partition(":")[0])
    parts = [tags[f"{SPEC}{number:02d}"].partition(":") for number in range(count)]
    if any(int(part[0]) != count for part in parts):
        raise ValueError("parts of several specs")
    inflating = zlib.decompressobj()
    data = inflating.decompress(base64.urlsafe_b64decode("".join(part[2] for part in parts)), _LONGEST)
    if not inflating.eof:
        raise ValueError("cut short, or too long")
    return ImageSpec.model_validate_json(data)


def _fits(key: str, value: str) -> bool:
    return len(key) <= 127 and 0 < len(value) <= VALUE and value.isprintable() and key != "Name" and not key.startswith((OURS, "aws:"))


def _word(value: str | None) -> str:
    return "missing" if value is None else repr(value)
