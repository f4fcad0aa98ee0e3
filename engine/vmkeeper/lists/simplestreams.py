"""simplestreams (`streams/v1/`): the index and one products file a list, for mirror tools of OpenStack, LXD and Incus.

The form is Canonical's simplestreams, index:1.0 and products:1.0, datatype image-downloads, as its own library, Incus and Juju read
it (docs/feeds.md tells who can do what with it). Texts are ASCII with escapes, because the library splits a signed file at every
line end that Unicode knows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlsplit

from vmkeeper.lists.lxd import Digests, metadata, metadata_path
from vmkeeper.lists.shelf import Shelf, ShelvedImage
from vmkeeper.values import Version, sha256_hex, sha512_hex

FOLDER = "streams/v1"
FTYPES = {"qcow2": "disk1.img", "raw": "disk.raw", "vmdk": "vmdk", "vdi": "vdi", "vhd": "vhd", "ova": "ova"}
"""By format. `disk1.img` and `disk.img` are qcow2 to sstream-mirror-glance, whatever they hold: only qcow2 is called so."""
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_WORD = re.compile(r"[A-Za-z0-9._+~-]+")
_NONE: Mapping[str, Digests] = {}


@dataclass(frozen=True, slots=True)
class StreamFile:
    """A file below `streams/`. `signed`: what a signature in clear text is made over; None: it is not signed so."""

    path: str
    unsigned: bytes
    signed: bytes | None


def files(shelves: Sequence[Shelf], base_url: str, known: Mapping[str, Digests] = _NONE) -> tuple[StreamFile, ...]:
    """The index and the products files, by list name. `known`: by an image's SHA-512, its further digests.

    Raises ValueError for what cannot be a part of a product's name, and for a product that is there twice.
    """
    products = {content_id(shelf, base_url): (shelf, _products(shelf, base_url, known)) for shelf in sorted(shelves, key=lambda shelf: shelf.name)}
    if len(products) != len(shelves):
        raise ValueError("two lists have one content id")
    made = [_file(f"{_path(shelf)}.json", document) for shelf, document in products.values()]
    index, signed = (
        {
            "format": "index:1.0",
            "index": {
                identifier: {
                    "datatype": "image-downloads",
                    "format": "products:1.0",
                    "path": f"{_path(shelf)}.{ending}",
                    "products": list(document["products"]),
                    "updated": document["updated"],
                }
                for identifier, (shelf, document) in products.items()
            },
            "updated": _time(max((shelf.created for shelf in shelves), default=datetime(1970, 1, 1, tzinfo=UTC))),
        }
        for ending in ("json", "sjson")
    )
    return (StreamFile(f"{FOLDER}/index.json", _json(index), _json(signed)), *made)


def _path(shelf: Shelf) -> str:
    """Of a list's products file, without its ending; never that of the index."""
    return f"{FOLDER}/{shelf.name}.download"


def publisher(base_url: str) -> str:
    """The publisher's name inside product names: the host of the public folder, the last part first (`org.example.images`)."""
    host = urlsplit(base_url).hostname or ""
    parts = host.split(".")
    if not all(parts) or not _WORD.fullmatch(host):
        return _word(re.sub(r"[^A-Za-z0-9.-]+", "-", host).strip("-"), "the address of the public folder")
    return host if parts[-1].isdigit() else ".".join(reversed(parts))


def content_id(shelf: Shelf, base_url: str) -> str:
    """`org.example.images:science:download`."""
    return f"{publisher(base_url)}:{_word(shelf.name, 'a list')}:download"


def product_name(image: ShelvedImage, base_url: str) -> str:
    """`org.example.images:debian-12-docker:12:amd64`: publisher, appliance, version of the operating system, architecture."""
    parts = (image.appliance, re.sub(r"[^A-Za-z0-9._+~-]+", "-", image.osversion), architecture(image))
    return ":".join((publisher(base_url), *(_word(part, image.appliance) for part in parts)))


def architecture(image: ShelvedImage) -> str:
    """As Debian and Ubuntu call it."""
    return _ARCHITECTURES.get(image.architecture, image.architecture)


def version_name(version: str) -> str:
    """A version's name, in the order of versions although mirrors compare texts: `20261120.000007` for 2026.11.20.7.

    It begins with the date, because LXD and Incus read it there. Versions that do not begin with one are padded number by number.
    """
    numbers = [int(part) for part in Version(version).text.split(".")]
    head = ""
    if len(numbers) > 2 and 1970 <= numbers[0] <= 9999 and 1 <= numbers[1] <= 12 and 1 <= numbers[2] <= 31:
        head, numbers = f"{numbers[0]:04}{numbers[1]:02}{numbers[2]:02}", numbers[3:]
    return ".".join([*([head] if head else []), *(f"{number:06}" for number in numbers)])


def _products(shelf: Shelf, base_url: str, known: Mapping[str, Digests]) -> dict[str, Any]:
    products: dict[str, Any] = {}
    for image in sorted(shelf.images, key=lambda image: (image.appliance, image.version, image.format)):
        product = products.setdefault(product_name(image, base_url), _product(image))
        version = product["versions"].setdefault(version_name(image.version), _version(image))
        items = _items(image, known.get(image.sha512))
        if items.keys() & version["items"].keys():
            raise ValueError(f"{image.appliance} {image.version} is twice on {shelf.name} as {image.format}")
        version["items"] |= items
    return {
        "content_id": content_id(shelf, base_url),
        "datatype": "image-downloads",
        "format": "products:1.0",
        "products": dict(sorted(products.items())),
        "updated": _time(shelf.created),
    }


def _product(image: ShelvedImage) -> dict[str, Any]:
    """What all versions share. `version` is the operating system's: mirrors write it to Glance as os_version."""
    return {
        "aliases": _word(image.appliance, image.appliance),
        "arch": architecture(image),
        "os": image.osname.lower(),
        "release": image.release or image.osversion,
        "release_codename": image.release,
        "release_title": image.title,
        "requirements": {"secureboot": "false"},
        "lxd_requirements": {"secureboot": "false"},
        "support_eol": image.expires.astimezone(UTC).strftime("%Y-%m-%d"),
        "supported": True,
        "variant": image.appliance,
        "version": image.osversion,
        "vmkeeper_uuid": image.uuid,
        "versions": {},
    }


def _version(image: ShelvedImage) -> dict[str, Any]:
    return {
        "label": "release",
        "pubname": f"{image.appliance}-{image.version}",
        "vmkeeper_commit": image.commit,
        "vmkeeper_version": image.version,
        "items": {},
    }


def _items(image: ShelvedImage, known: Digests | None) -> dict[str, Any]:
    ftype = FTYPES.get(image.format, image.format)
    item: dict[str, Any] = {"ftype": ftype, "path": image.path, "sha512": image.sha512, "size": image.size}
    if known is None:
        return {ftype: item}
    items = {ftype: {**item, "md5": known.md5, "sha256": known.sha256}}
    if ftype == "disk1.img":
        archive = metadata(image.architecture)
        said = {"path": metadata_path(image.architecture), "sha256": sha256_hex(archive), "sha512": sha512_hex(archive), "size": len(archive)}
        items |= {name: {"combined_disk1-img_sha256": known.fingerprint, "ftype": name, **said} for name in ("incus.tar.xz", "lxd.tar.xz")}
    return items


def _word(text: str, of: str) -> str:
    if not _WORD.fullmatch(text):
        raise ValueError(f"{text!r} of {of} cannot be part of a product's name")
    return text


def _time(moment: datetime) -> str:
    """RFC 2822, as the format wants it (`Fri, 20 Nov 2026 12:00:00 +0000`)."""
    return format_datetime(moment.astimezone(UTC).replace(microsecond=0))


def _file(path: str, document: dict[str, Any]) -> StreamFile:
    content = _json(document)
    return StreamFile(path, content, content)


def _json(document: dict[str, Any]) -> bytes:
    return (json.dumps(document, indent=1, ensure_ascii=True, allow_nan=False) + "\n").encode()
