"""HEPiX image lists: our model of one, and its JSON.

The form is HEPiX's virtual machine image list (`{"hv:imagelist": {…}}`) with the `ad:` fields of EGI's AppDB, as
vmcatcher, atrope and cloudkeeper read it. Reading keeps what it does not know and refuses what those readers
refuse or read differently; writing for publication leaves no field out that any of them needs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, cast

from vmkeeper.errors import Place, Problem, Problems
from vmkeeper.lists import fields as values
from vmkeeper.lists.onereading import one_reading
from vmkeeper.values import Size, format_time

Extra = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class HepixEndorser:
    """Who signs the list: distinguished names in one-line form (`/DC=org/CN=x`)."""

    dn: str
    ca: str
    email: str | None = None
    creator: str | None = None
    extra: Extra = field(default_factory=dict)
    beside: Extra = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class HepixImage:
    """One image. None: the list does not say. `size` bytes; `ram_*` bytes, in the list MiB."""

    uuid: str
    uri: str
    version: str
    size: Size
    sha512: str
    title: str | None = None
    description: str | None = None
    expires: datetime | None = None
    hypervisor: str | None = None
    format: str | None = None
    arch: str | None = None
    os: str | None = None
    osname: str | None = None
    osversion: str | None = None
    comments: str | None = None
    group: str | None = None
    mpuri: str | None = None
    user_fullname: str | None = None
    user_guid: str | None = None
    user_uri: str | None = None
    ram_minimum: Size | None = None
    core_minimum: int | None = None
    ram_recommended: Size | None = None
    core_recommended: int | None = None
    base_mpuri: str | None = None
    appid: str | None = None
    extra: Extra = field(default_factory=dict)
    beside: Extra = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class HepixList:
    """An image list. `extra` holds the keys we do not know, in the order of the document; `beside` those around it."""

    uuid: str
    title: str
    description: str
    source: str
    version: str
    uri: str
    created: datetime
    expires: datetime
    endorser: HepixEndorser
    vo: str | None = None
    images: tuple[HepixImage, ...] = ()
    extra: Extra = field(default_factory=dict)
    beside: Extra = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OddImage:
    """An image that cannot be read, with its UUID where that can."""

    uuid: str | None
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class _Key:
    name: str
    attribute: str
    read: Callable[[Any], Any]
    write: Callable[[Any], Any] = str
    required: bool = False
    """Reading: a list without it is refused."""
    published: bool = True
    """Writing: a list of ours always has it."""


_LIST = (
    _Key("dc:date:created", "created", values.time, format_time, required=True),
    _Key("dc:date:expires", "expires", values.time, format_time, required=True),
    _Key("dc:identifier", "uuid", values.uuid, required=True),
    _Key("dc:description", "description", values.text, required=True),
    _Key("dc:title", "title", values.text, required=True),
    _Key("dc:source", "source", values.text, required=True),
    _Key("hv:version", "version", values.version, required=True),
    _Key("hv:uri", "uri", values.filled, required=True),
    _Key("ad:vo", "vo", values.text),
)
_ENDORSER = (
    _Key("dc:creator", "creator", values.text),
    _Key("hv:ca", "ca", values.filled, required=True),
    _Key("hv:dn", "dn", values.filled, required=True),
    _Key("hv:email", "email", values.text),
)
_IMAGE = (
    _Key("dc:identifier", "uuid", values.uuid, required=True),
    _Key("dc:title", "title", values.text),
    _Key("dc:description", "description", values.text),
    _Key("dc:date:expires", "expires", values.time, format_time),
    _Key("hv:uri", "uri", values.filled, required=True),
    _Key("hv:version", "version", values.version, required=True),
    _Key("hv:format", "format", values.filled),
    _Key("hv:hypervisor", "hypervisor", values.text),
    _Key("hv:size", "size", values.size, int, required=True),
    _Key("sl:checksum:sha512", "sha512", values.sha512, required=True),
    _Key("sl:arch", "arch", values.text),
    _Key("sl:os", "os", values.text),
    _Key("sl:osname", "osname", values.text),
    _Key("sl:osversion", "osversion", values.text),
    _Key("sl:comments", "comments", values.text),
    _Key("hv:ram_minimum", "ram_minimum", values.ram, values.written_ram, published=False),
    _Key("hv:core_minimum", "core_minimum", values.number, int, published=False),
    _Key("ad:ram_recommended", "ram_recommended", values.ram, values.written_ram, published=False),
    _Key("ad:core_recommended", "core_recommended", values.number, int, published=False),
    _Key("ad:group", "group", values.text),
    _Key("ad:mpuri", "mpuri", values.text),
    _Key("ad:base_mpuri", "base_mpuri", values.text, published=False),
    _Key("ad:appid", "appid", values.text, published=False),
    _Key("ad:user:fullname", "user_fullname", values.text),
    _Key("ad:user:guid", "user_guid", values.text),
    _Key("ad:user:uri", "user_uri", values.text),
)
_MAY_BE_EMPTY = {"dc:description", "sl:comments"}


# -- writing


def missing(image_list: HepixList) -> tuple[str, ...]:
    """What a list that every reader accepts must say and this one does not; empty for a good one."""
    found = [key.name for key in _LIST if _lacks(image_list, key)]
    found += [f"hv:endorser.{key.name}" for key in _ENDORSER if _lacks(image_list.endorser, key)]
    for number, image in enumerate(image_list.images):
        found += [f"hv:images[{number}].{key.name}" for key in _IMAGE if _lacks(image, key)]
    return tuple(found)


def publish_text(image_list: HepixList) -> str:
    """The JSON of a list of ours. Raises ValueError where a field is missing or a name is not ASCII."""
    if lacking := missing(image_list):
        raise ValueError(f"a published list must have {', '.join(lacking)}")
    for name in (image_list.endorser.dn, image_list.endorser.ca):
        if not re.fullmatch(r"/[\x20-\x7e]+", name):
            raise ValueError(f"{name!r} is not a distinguished name in one-line ASCII form")
    return write(image_list)


def write(image_list: HepixList) -> str:
    """The JSON of a list: keys in a fixed order, unknown ones after them, ASCII only, LF line ends."""
    body = _written(image_list, _LIST)
    x509 = _written(image_list.endorser, _ENDORSER) | dict(image_list.endorser.extra)
    body["hv:endorser"] = {"hv:x509": x509, **image_list.endorser.beside}
    body["hv:images"] = [{"hv:image": _written(image, _IMAGE) | dict(image.extra), **image.beside} for image in image_list.images]
    document = {"hv:imagelist": body | dict(image_list.extra), **image_list.beside}
    return json.dumps(document, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def _written(item: Any, keys: tuple[_Key, ...]) -> dict[str, Any]:
    return {key.name: key.write(value) for key in keys if (value := getattr(item, key.attribute)) is not None}


def _lacks(item: Any, key: _Key) -> bool:
    value = getattr(item, key.attribute)
    return key.published and (value is None or (value == "" and key.name not in _MAY_BE_EMPTY))


# -- reading


def read(data: bytes) -> HepixList:
    """Read a list's JSON, whose signature has been verified.

    Raises Refused (R22: not JSON with one reading; R25: too long) and Problems with all that is wrong.
    """
    found, odd = read_usable(data)
    if odd:
        raise Problems(problem for image in odd for problem in image.problems)
    return found


def read_usable(data: bytes) -> tuple[HepixList, tuple[OddImage, ...]]:
    """Like `read`, but an image that cannot be read, or whose UUID an earlier one has, is left out and told about."""
    reader = _Reader()
    document = one_reading(data)
    root = reader.mapping(document, "hv:imagelist", "")
    known, extra = reader.keys(root, _LIST, "hv:imagelist")
    endorser = reader.endorser(extra.pop("hv:endorser", None))
    images = reader.images(extra.pop("hv:images", None))
    if reader.problems:
        raise Problems([*reader.problems, *(problem for image in reader.odd for problem in image.problems)])
    beside = _without(document, "hv:imagelist")
    return HepixList(**known, endorser=cast(HepixEndorser, endorser), images=images, extra=extra, beside=beside), tuple(reader.odd)


class _Reader:
    """Collects problems, so that all are told at once; those of single images are apart, in `odd`."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.odd: list[OddImage] = []

    def problem(self, place: str, what: str, hint: str = "") -> None:
        self.problems.append(Problem(Place(field=place), what, hint))

    def mapping(self, holder: Any, key: str, place: str) -> dict[str, Any]:
        """`holder[key]` as a mapping; an empty one with a problem where it is none."""
        value = holder.get(key) if isinstance(holder, dict) else None
        if isinstance(value, dict):
            return value
        self.problem(place, f"must be an object that holds the object {key}")
        return {}

    def keys(self, value: dict[str, Any], keys: tuple[_Key, ...], place: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Known attributes and, apart, the rest."""
        rest, known = dict(value), {}
        for key in keys:
            if key.name not in rest:
                if key.required:
                    self.problem(f"{place}.{key.name}", "is missing")
                continue
            try:
                known[key.attribute] = key.read(rest.pop(key.name))
            except ValueError as error:
                self.problem(f"{place}.{key.name}", str(error))
        return known, rest

    def endorser(self, value: Any) -> HepixEndorser | None:
        place = "hv:imagelist.hv:endorser"
        if isinstance(value, list):
            self.problem(place, "must be one object, not an array", "every HEPiX reader takes one endorser only")
            return None
        known, extra = self.keys(self.mapping(value, "hv:x509", place), _ENDORSER, f"{place}.hv:x509")
        return HepixEndorser(**known, extra=extra, beside=_without(value, "hv:x509")) if {"dn", "ca"} <= known.keys() else None

    def images(self, value: Any) -> tuple[HepixImage, ...]:
        if not isinstance(value, list):
            self.problem("hv:imagelist.hv:images", "must be an array, empty where nothing is published")
            return ()
        images: dict[str, HepixImage] = {}
        for number, item in enumerate(value):
            place, one = f"hv:imagelist.hv:images[{number}]", _Reader()
            known, extra = one.keys(one.mapping(item, "hv:image", place), _IMAGE, place)
            if known.get("uuid") in images:
                one.problem(f"{place}.dc:identifier", f"{known['uuid']} is there twice")
            if one.problems:
                self.odd.append(OddImage(known.get("uuid"), tuple(one.problems)))
            else:
                images[known["uuid"]] = HepixImage(**known, extra=extra, beside=_without(item, "hv:image"))
        return tuple(images.values())


def _without(value: Any, key: str) -> dict[str, Any]:
    return {name: item for name, item in value.items() if name != key} if isinstance(value, dict) else {}


# -- versions and sameness


def version_key(version: str) -> tuple[Any, ...]:
    """How versions compare: the parts between `-`, `,`, `.` and `/`, from left to right.

    Numbers compare as numbers and are greater than other parts; in a part such as `rc10` its runs of digits are numbers
    again. Where one version begins with the other, the longer one is greater. That is vmcatcher's order, but for what stands
    between the parts: there `1-2` and `1.2` are two versions, here one.
    """
    return tuple(_number(part) or (0, 0, tuple(_number(run) or (0, 0, run) for run in _RUNS.findall(part))) for part in re.split(r"[-,./]", version))


_RUNS = re.compile(r"[0-9]+|[^0-9]+")


def _number(text: str) -> tuple[int, int] | None:
    return (1, int(text)) if re.fullmatch(r"[0-9]{1,1000}", text) else None


def next_version(previous: str | None, now: datetime) -> str:
    """A list version greater than `previous`: the time, or where that is not greater the previous one's last number plus one."""
    stamp = now.strftime("%Y%m%d%H%M%S")
    if previous is None or version_key(stamp) > version_key(previous):
        return stamp
    head, number = cast("re.Match[str]", re.fullmatch(r"(.*?)([0-9]*)", previous)).groups()
    return f"{head}{int(number or 0) + 1}"


def same_content(one: HepixList, other: HepixList) -> bool:
    """Whether two lists say the same but for their version and dates."""
    return one == replace(other, version=one.version, created=one.created, expires=one.expires)


KNOWN_KEYS: Mapping[str, frozenset[str]] = {
    "list": frozenset(key.name for key in _LIST) | {"hv:endorser", "hv:images"},
    "endorser": frozenset(key.name for key in _ENDORSER),
    "image": frozenset(key.name for key in _IMAGE),
}
"""The keys we know, by level."""
