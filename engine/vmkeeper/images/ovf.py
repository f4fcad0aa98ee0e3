"""An OVF descriptor's references, disks and hardware (DMTF DSP0243), read from XML that cannot surprise.

Refused (rule R26): document types and entities, more than one virtual system, disks with parents, compressed files, files
elsewhere. What it says of processors and memory is a hint and nothing more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from vmkeeper.values import Size

MAX_BYTES = 1 << 20
_MAX_DEPTH = 64
_MAX_ELEMENTS = 20_000
_PROCESSORS, _MEMORY = "3", "4"
_UNITS = {
    "b": 0,
    "byte": 0,
    "bytes": 0,
    "kb": 10,
    "kilobyte": 10,
    "kilobytes": 10,
    "mb": 20,
    "megabyte": 20,
    "megabytes": 20,
    "gb": 30,
    "gigabyte": 30,
    "gigabytes": 30,
}


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a descriptor says: the name and format of the disk's file, its size as written (None: it does not say), hints."""

    disk: str
    disk_size: int | None
    files: tuple[str, ...]
    cpus: int | None
    memory: Size | None


def parse(data: bytes) -> Descriptor:
    """Read a descriptor. Raises ValueError with what is wrong."""
    root = _xml(data)
    if _local(root) != "Envelope":
        raise ValueError("it is no OVF envelope")
    if len(_all(root, "VirtualSystem")) != 1 or _all(root, "VirtualSystemCollection"):
        raise ValueError("it does not describe exactly one virtual system")
    files = {_attribute(file, "id"): file for references in _all(root, "References") for file in _all(references, "File")}
    disks = [disk for section in _all(root, "DiskSection") for disk in _all(section, "Disk")]
    if len(disks) != 1:
        raise ValueError(f"it describes {len(disks)} disks; there must be exactly one")
    if _attribute(disks[0], "parentRef"):
        raise ValueError("its disk has a parent")
    file = files.get(_attribute(disks[0], "fileRef"))
    if file is None:
        raise ValueError("its disk has no file")
    if _attribute(file, "compression") not in ("", "identity") or _attribute(file, "chunkSize"):
        raise ValueError("its disk's file is compressed or cut into pieces")
    size = _attribute(file, "size")
    names = tuple(_attribute(one, "href") for one in files.values())
    return Descriptor(_attribute(file, "href"), int(size) if re.fullmatch(r"[0-9]{1,18}", size) else None, names, _cpus(root), _memory(root))


def _cpus(root: Element) -> int | None:
    count = _quantity(_hardware(root, _PROCESSORS))
    return count if count is not None and 0 < count <= 4096 else None


def _memory(root: Element) -> Size | None:
    item = _hardware(root, _MEMORY)
    count = _quantity(item)
    if item is None or count is None or count == 0:
        return None
    units = re.sub(r"\s", "", _text(item, "AllocationUnits").lower()) or "megabytes"
    power = re.fullmatch(r"byte\*2\^([0-9]{1,2})", units)
    shift = int(power[1]) if power else _UNITS.get(units)
    return Size(count << shift) if shift is not None and count << shift < 1 << 50 else None


def _hardware(root: Element, kind: str) -> Element | None:
    items = [item for section in _all(root, "VirtualHardwareSection") for item in _all(section, "Item")]
    return next((item for item in items if _text(item, "ResourceType").strip() == kind), None)


def _quantity(item: Element | None) -> int | None:
    text = _text(item, "VirtualQuantity").strip() if item is not None else ""
    return int(text) if re.fullmatch(r"[0-9]{1,12}", text) else None


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _all(element: Element, name: str) -> list[Element]:
    return [child for child in element.iter() if _local(child) == name]


def _text(element: Element, name: str) -> str:
    return next((child.text or "" for child in element if _local(child) == name), "")


def _attribute(element: Element, name: str) -> str:
    return next((value for key, value in element.attrib.items() if key.rpartition("}")[2] == name), "")


def _xml(data: bytes) -> Element:
    """The tree of an XML document without a document type, so without entities of its own; UTF-8 whatever it says of itself."""
    if len(data) > MAX_BYTES:
        raise ValueError(f"it has {len(data)} bytes, at most {MAX_BYTES} are read")
    builder = TreeBuilder()
    parser = expat.ParserCreate("utf-8", namespace_separator="}")
    depth = elements = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth, elements
        depth, elements = depth + 1, elements + 1
        if depth > _MAX_DEPTH or elements > _MAX_ELEMENTS:
            raise ValueError("its XML is too deep or has too many elements")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def forbidden(*_: Any) -> Any:
        raise ValueError("its XML has a document type, which is not allowed")

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, builder.data
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = parser.ExternalEntityRefHandler = forbidden
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise ValueError(f"it is not XML: {error}") from None
    return builder.close()
