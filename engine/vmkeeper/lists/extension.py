"""`vk:supply`, our key in an image of a HEPiX list: patches to it and the whole file compressed. Readers ignore keys they do not know.

    "vk:supply": {
      "patches": [{"uri": …, "size": …, "sha512": …, "base:sha512": …, "base:size": …, "memory": …}],
      "compressed": {"uri": …, "size": …, "sha512": …}
    }

It says how bytes may be had and never which: `hv:size` and `sl:checksum:sha512` decide. So what cannot be read is
ignored with a reason and refuses nothing. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict, cast
from urllib.parse import quote

from vmkeeper.lists import fields as values
from vmkeeper.lists.hepix import HepixImage
from vmkeeper.lists.shelf import ShelvedImage
from vmkeeper.values import Size

KEY = "vk:supply"
MOST = 32
"""Patches of one image that are read."""
_URI = re.compile(r"https?://[A-Za-z0-9.:\[\]_-]+(/[A-Za-z0-9._~%+@=&?,:;!$'()*-]*)*")


class FileFields(TypedDict):
    """A file: bytes and digest of what lies at the address."""

    uri: str
    size: Size
    sha512: str


class PatchFields(FileFields):
    """A patch: the file it applies to, and the bytes of memory that this takes, about."""

    base_sha512: str
    base_size: Size
    memory: Size


@dataclass(frozen=True, slots=True)
class Ways:
    """How an image can be had besides by its own address. ignored: what could not be read, and why, a sentence each."""

    patches: tuple[PatchFields, ...] = ()
    compressed: FileFields | None = None
    ignored: tuple[str, ...] = ()


def written(image: ShelvedImage, base_url: str) -> dict[str, Any]:
    """What goes into `HepixImage.extra` for a published image; empty where there is nothing beside the image.

    base_url: the public folder's address. Patches come in the order of the shelf.
    """
    made: dict[str, Any] = {}
    if image.patches:
        made["patches"] = [
            {
                "uri": _address(base_url, one.path),
                "size": one.size,
                "sha512": one.sha512,
                "base:sha512": one.base_sha512,
                "base:size": one.base_size,
                "memory": one.memory,
            }
            for one in image.patches
        ]
    if (whole := image.compressed) is not None:
        made["compressed"] = {"uri": _address(base_url, whole.path), "size": whole.size, "sha512": whole.sha512}
    return {KEY: made} if made else {}


def read(image: HepixImage) -> Ways:
    """What an image's entry says of patches and a compressed file. Never raises, whatever stands there.

    A way that is no shorter than the image is ignored, and so are patches beyond the first 32.
    """
    said = image.extra.get(KEY)
    if said is None:
        return Ways()
    if not isinstance(said, Mapping):
        return Ways(ignored=(f"{KEY} must be an object",))
    ignored: list[str] = []
    patches = []
    for index, item in enumerate(_listed(said.get("patches"), ignored)):
        fields = _fields(item, _PATCH, image, f"patches[{index}]", ignored)
        if fields is not None:
            patches.append(cast(PatchFields, fields))
    compressed = said.get("compressed")
    whole = None if compressed is None else _fields(compressed, _FILE, image, "compressed", ignored)
    return Ways(tuple(patches), cast("FileFields | None", whole), tuple(ignored))


def _address(base_url: str, path: str) -> str:
    return f"{base_url.rstrip('/')}/{quote(path)}"


def _listed(value: Any, ignored: list[str]) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        ignored.append(f"{KEY}.patches must be an array")
        return []
    if len(value) > MOST:
        ignored.append(f"{KEY}.patches holds {len(value)}, the first {MOST} are read")
    return list(value[:MOST])


def _fields(item: Any, known: _Known, image: HepixImage, place: str, ignored: list[str]) -> Any:
    """The known fields of one way, or None with a reason."""
    if not isinstance(item, Mapping):
        ignored.append(f"{KEY}.{place} must be an object")
        return None
    found = {}
    for key, (name, convert) in known.items():
        try:
            found[name] = convert(item.get(key))
        except ValueError as error:
            ignored.append(f"{KEY}.{place}.{key} {error}")
            return None
    if found["size"] >= image.size:
        ignored.append(f"{KEY}.{place} is not shorter than the image")
        return None
    if found.get("base_sha512") == image.sha512:
        ignored.append(f"{KEY}.{place} applies to the image itself")
        return None
    return found


def _uri(value: Any) -> str:
    found = values.filled(value)
    if len(found) > 2000 or not _URI.fullmatch(found):
        raise ValueError("must be an http or https address without user and fragment")
    return found


_Known = Mapping[str, tuple[str, Callable[[Any], Any]]]
_FILE: _Known = {"uri": ("uri", _uri), "size": ("size", values.size), "sha512": ("sha512", values.sha512)}
_PATCH: _Known = {
    **_FILE,
    "base:sha512": ("base_sha512", values.sha512),
    "base:size": ("base_size", values.size),
    "memory": ("memory", values.size),
}
"""Key in the list → our name, and how it is read."""
