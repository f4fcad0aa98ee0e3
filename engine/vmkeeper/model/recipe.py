"""A recipe: everything that decides the bytes of an image, and its digest.

A root file system is made of layers, one an appliance of the chain, oldest first; a layer's key covers
the layers below it, so appliances share what they have in common. Titles, tests and labels are not part
of a recipe: they change nothing in the image.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vmkeeper.model.appliance import Architecture, Archive, Disk, Format, GuestPath, Mode, Owner, PackageName, Service, Users
from vmkeeper.model.base import Document
from vmkeeper.model.lock import LockedPackage
from vmkeeper.values import Name, Sha256, Time, Uuid, canonical_json, sha256_hex


class Content(Document):
    """A file of the repository by content; `appliance` and `path` say where it was found and are not digested."""

    sha256: Sha256
    appliance: Name
    path: str


class FileStep(Document):
    """Put a file into the image."""

    path: GuestPath
    mode: Mode
    owner: Owner
    group: Owner
    content: Content


class ScriptStep(Document):
    """Run a script in the image's root."""

    name: Name
    content: Content


class Layer(Document):
    """What one appliance adds to a root file system: packages, then files, services, scripts."""

    appliance: Name
    """Whose layer it is; not digested."""
    architecture: Architecture
    release: str
    """The distribution's codename."""
    archives: tuple[Archive, ...]
    """All archives known at this layer, as written to the image's sources list."""
    keyrings: tuple[Content, ...] = ()
    requested: tuple[PackageName, ...]
    """Packages marked as installed by hand."""
    packages: tuple[LockedPackage, ...]
    """Every package to install at this layer."""
    files: tuple[FileStep, ...]
    services: tuple[Service, ...]
    scripts: tuple[ScriptStep, ...]
    date: Time
    """SOURCE_DATE_EPOCH of the layer."""


class BuilderVersion(Document):
    """The builder and the version of what it does: it rises when the same recipe would give other bytes."""

    name: Literal["debian"]
    """The builder."""
    version: Annotated[int, Field(ge=1)]
    """Counts what changes images."""


class Recipe(Document):
    """An appliance at one commit with everything that decides its bytes resolved."""

    version: Literal[1] = 1
    appliance: Name
    uuid: Uuid
    builder: BuilderVersion
    architecture: Architecture
    layers: tuple[Layer, ...]
    """Oldest first; the last is the appliance's own."""
    tools: tuple[Layer, ...] = ()
    """The layers of the tools root; empty for an abstract appliance."""
    users: Users
    disk: Disk | None
    """None: abstract, a root file system only."""
    formats: tuple[Format, ...]

    def canonical(self) -> bytes:
        """The canonical recipe: what the digest is taken of."""
        return canonical_json(_without_origins(self.model_dump(mode="json")))

    def digest(self) -> Sha256:
        """SHA-256 of the canonical recipe; equal digests mean nothing to rebuild."""
        return sha256_hex(self.canonical())


def layer_keys(layers: tuple[Layer, ...], builder: BuilderVersion) -> tuple[Sha256, ...]:
    """The key of each layer: covers the builder's version, all layers below and the layer itself."""
    keys: list[Sha256] = []
    below = sha256_hex(canonical_json(builder.model_dump(mode="json")))
    for layer in layers:
        below = sha256_hex(canonical_json({"below": below, "layer": _without_origins(layer.model_dump(mode="json"), "layers")}))
        keys.append(below)
    return tuple(keys)


def _without_origins(value: object, inside: str = "") -> object:
    """Drop the fields that only say where something was found."""
    if isinstance(value, dict):
        drop = {"content": ("appliance", "path"), "keyrings": ("appliance", "path"), "layers": ("appliance",), "tools": ("appliance",), "": ()}
        names = drop.get(inside, ())
        return {key: _without_origins(item, key) for key, item in value.items() if key not in names}
    if isinstance(value, list):
        return [_without_origins(item, inside) for item in value]
    return value
