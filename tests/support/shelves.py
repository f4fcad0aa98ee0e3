"""Shelves in few words, for tests of what is written from them; `shelves()` of hypothesis, `folder()` with real files."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

from hypothesis import strategies as st

from vmkeeper.lists.shelf import CompressedFile, PublishedPatch, Shelf, ShelvedImage
from vmkeeper.values import sha512_hex

BASE = "https://images.example.org"
CREATED = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def content(path: str) -> bytes:
    """The made-up bytes of a file of the public folder."""
    return f"these are the bytes of {path}\n".encode() * 40


def image(appliance: str = "debian-12", version: str = "2026.11.20.7", listed: str = "science", **changes: Any) -> ShelvedImage:
    uuid = str(uuid5(NAMESPACE_DNS, appliance))
    kind = changes.get("format", "qcow2")
    path = f"{listed}/images/{uuid}/{version}/{appliance}-{version}.{kind}"
    data = content(path)
    fields: dict[str, Any] = {
        "appliance": appliance,
        "uuid": uuid,
        "version": version,
        "title": f"Image {appliance}",
        "description": "An image for tests.",
        "path": path,
        "uri": f"{BASE}/{path}",
        "format": kind,
        "size": len(data),
        "virtual_size": 2 << 30,
        "sha512": sha512_hex(data),
        "architecture": "x86_64",
        "os": "Linux",
        "osname": "Debian",
        "osversion": "12",
        "release": "bookworm",
        "memory": 512 << 20,
        "cpus": 1,
        "commit": "2" * 40,
        "recipe": "4" * 64,
        "endorsers": ("alice", "bob"),
        "endorsed": CREATED - DAY,
        "expires": CREATED + 90 * DAY,
        "group": "General group",
        "mpuri": f"{BASE}/{listed}/images/{uuid}/",
    }
    return ShelvedImage(**{**fields, **changes})


def with_patch(one: ShelvedImage, base_version: str, base_appliance: str = "") -> ShelvedImage:
    """The image with a patch beside it, and compressed."""
    path = f"{one.path}.from-{base_version}.zst-patch"
    patch = PublishedPatch(
        path=path,
        size=len(content(path)),
        sha512=sha512_hex(content(path)),
        base_sha512=sha512_hex(base_version.encode()),
        base_size=430 << 20,
        base_version=base_version,
        base_appliance=base_appliance or one.appliance,
        memory=900 << 20,
    )
    whole = f"{one.path}.zst"
    compressed = CompressedFile(path=whole, size=len(content(whole)), sha512=sha512_hex(content(whole)))
    return replace(one, patches=(*one.patches, patch), compressed=compressed)


def shelf(name: str = "science", *images: ShelvedImage, **changes: Any) -> Shelf:
    fields: dict[str, Any] = {
        "name": name,
        "uuid": str(uuid5(NAMESPACE_DNS, f"list {name}")),
        "title": name.capitalize(),
        "description": f"Images for {name}.",
        "source": "example.org",
        "vo": f"{name}.example.org",
        "version": "20261120120000",
        "path": f"{name}/imagelist.signed",
        "uri": f"{BASE}/{name}/imagelist.signed",
        "created": CREATED,
        "expires": CREATED + 28 * DAY,
        "endorser": "/DC=org/DC=example/CN=Image Publisher",
        "images": images,
    }
    return Shelf(**{**fields, **changes})


def two_lists() -> tuple[Shelf, Shelf]:
    """A list with three images, one of them of a child and with patches, and an empty one."""
    docker = with_patch(with_patch(image("debian-12-docker", "2026.11.20.12"), "2026.11.01.11"), "2026.11.20.7", "debian-12")
    images = (
        image(),
        docker,
        image("worker", "2026.11.19.3", format="raw", memory=None, cpus=None, release="", description="Ünïcode “quotes”\nand lines"),
    )
    return shelf("science", *images), shelf("empty", created=CREATED - DAY)


def folder(root: Path, *shelves: Shelf) -> None:
    """Write the images, patches and compressed files that the shelves name."""
    for one in shelves:
        for held in one.images:
            for path in (held.path, *(patch.path for patch in held.patches), *([held.compressed.path] if held.compressed else [])):
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_bytes(content(path))


# -- of hypothesis

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
word = st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,20}[a-z0-9])?", fullmatch=True).filter(lambda name: ".." not in name)
digest = st.binary(max_size=20).map(sha512_hex)
size = st.integers(0, 2**63 - 1)
moment = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)).map(lambda time: time.replace(microsecond=0, tzinfo=UTC))  # noqa: DTZ001  given UTC at once
version = st.lists(st.integers(0, 3000), min_size=1, max_size=5).map(lambda numbers: ".".join(map(str, numbers)))


@st.composite
def images(draw: st.DrawFn, listed: str, appliance: str) -> ShelvedImage:
    made = image(appliance, draw(version), listed, format=draw(st.sampled_from(["qcow2", "raw", "vmdk", "ova"])))
    changes = {key: draw(text) for key in ("title", "description", "os", "osname", "group", "mpuri", "commit", "recipe")}
    made = replace(
        made,
        **changes,
        osversion=draw(st.from_regex(r"[0-9a-z][0-9a-z .]{0,8}", fullmatch=True)),
        release=draw(word | st.just("")),
        architecture=draw(st.sampled_from(["x86_64", "aarch64"])),
        size=draw(st.integers(1, 10**18 - 1)),
        virtual_size=draw(size),
        sha512=draw(digest),
        memory=draw(size | st.none()),
        cpus=draw(st.integers(0, 1024) | st.none()),
        endorsers=tuple(sorted(draw(st.sets(word, max_size=3)))),
        endorsed=draw(moment),
        expires=draw(moment),
    )
    for base in draw(st.lists(version, max_size=2, unique=True)):
        made = with_patch(made, base, draw(word))
    return made


@st.composite
def shelves(draw: st.DrawFn) -> tuple[Shelf, ...]:
    made = []
    for name in draw(st.lists(word, max_size=3, unique=True)):
        held = tuple(draw(images(name, appliance)) for appliance in draw(st.lists(word, max_size=3, unique=True)))
        texts = {key: draw(text) for key in ("title", "description", "source", "vo", "endorser")}
        made.append(shelf(name, *held, **texts, created=draw(moment), expires=draw(moment), version=draw(version)))
    return tuple(made)
