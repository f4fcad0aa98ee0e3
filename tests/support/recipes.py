"""Recipes for tests of builders, made without a repository."""

from __future__ import annotations

from datetime import UTC, datetime

from vmkeeper.builders.versions import VERSIONS
from vmkeeper.model.appliance import Archive, Disk, Service, Users
from vmkeeper.model.lock import LockedPackage
from vmkeeper.model.recipe import Content, FileStep, Layer, Recipe, ScriptStep
from vmkeeper.values import Size, sha256_hex

DATE = datetime(2026, 11, 1, tzinfo=UTC)
UUID = "0b9c2f6e-5d0e-4c2c-9c57-0a1b2c3d4e5f"
BOOKWORM = tuple(
    Archive(name=suite, uri=f"http://deb.debian.org/{archive}", suite=suite)
    for suite, archive in (("bookworm", "debian"), ("bookworm-updates", "debian"), ("bookworm-security", "debian-security"))
)


class Files:
    """The files of a recipe by content; `files` is what a builder takes them from."""

    def __init__(self) -> None:
        self._data: dict[str, bytes] = {}

    def add(self, text: str) -> Content:
        digest = sha256_hex(text.encode())
        self._data[digest] = text.encode()
        return Content(sha256=digest, appliance="app", path=f"appliances/app/files/{digest[:8]}")

    def __call__(self, content: Content) -> bytes:
        return self._data[content.sha256]


def layer(
    name: str = "app",
    packages: tuple[LockedPackage, ...] = (),
    *,
    archives: tuple[Archive, ...] = BOOKWORM,
    requested: tuple[str, ...] = (),
    files: tuple[FileStep, ...] = (),
    services: tuple[Service, ...] = (),
    scripts: tuple[ScriptStep, ...] = (),
    date: datetime = DATE,
) -> Layer:
    return Layer(
        appliance=name,
        architecture="x86_64",
        release="bookworm",
        archives=archives,
        requested=requested,
        packages=packages,
        files=files,
        services=services,
        scripts=scripts,
        date=date,
    )


def recipe(*layers: Layer, tools: tuple[Layer, ...] = (), disk: bool = False, users: Users | None = None) -> Recipe:
    return Recipe(
        appliance=layers[-1].appliance,
        uuid=UUID,
        builder=VERSIONS["debian"],
        architecture="x86_64",
        layers=layers,
        tools=tools,
        users=users or Users(default="debian", sudo=True, root_login=False, groups=("adm",)),
        disk=Disk(size=Size.parse("1GiB"), boot=("bios", "uefi"), label="root") if disk else None,
        formats=("qcow2",) if disk else (),
    )
