"""What is in a root file system: the package manifest and the CycloneDX bill of materials. Pure and without a clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from debian.deb822 import Deb822
from packageurl import PackageURL

from vmkeeper.builders.debian.finish import identifier
from vmkeeper.model.recipe import Recipe


@dataclass(frozen=True, order=True, slots=True)
class Installed:
    """A package that dpkg has installed."""

    name: str
    version: str
    architecture: str


def installed(status: bytes) -> tuple[Installed, ...]:
    """The installed packages of a dpkg status file, sorted."""
    stanzas = (Deb822(stanza) for stanza in status.split(b"\n\n") if b"\nStatus: install ok installed" in stanza)
    return tuple(sorted(Installed(stanza["Package"], stanza["Version"], stanza["Architecture"]) for stanza in stanzas))


def manifest(packages: Iterable[Installed]) -> bytes:
    """`NAME VERSION ARCHITECTURE` lines."""
    return "".join(f"{package.name} {package.version} {package.architecture}\n" for package in packages).encode()


def sbom(recipe: Recipe, packages: Iterable[Installed]) -> bytes:
    """A CycloneDX 1.6 bill of materials as JSON; its serial number and time derive from the recipe."""
    release = recipe.layers[-1].release
    digest = recipe.digest()
    image = Component(name=recipe.appliance, version=digest, type=ComponentType.OPERATING_SYSTEM, bom_ref=f"recipe:{digest}")
    bom = Bom(serial_number=identifier(digest, "sbom"), metadata=BomMetaData(component=image, timestamp=recipe.layers[-1].date))
    for package in packages:
        purl = PackageURL("deb", "debian", package.name, package.version, {"arch": package.architecture, "distro": release})
        bom.components.add(Component(name=package.name, version=package.version, type=ComponentType.LIBRARY, purl=purl, bom_ref=str(purl)))
    bom.register_dependency(image, bom.components)
    return JsonV1Dot6(bom).output_as_string(indent=1).encode()
