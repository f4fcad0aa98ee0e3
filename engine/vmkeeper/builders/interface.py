"""What a builder is: it turns a recipe into image files in the store, and finds the packages a recipe is made from.

A builder never reads the repository or the clock: everything that decides the bytes is in the recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from vmkeeper.errors import Problem
from vmkeeper.images.store import Store
from vmkeeper.model.appliance import Architecture, Archive, PackageName
from vmkeeper.model.lock import PackagesLock
from vmkeeper.model.recipe import BuilderVersion, Content, Recipe
from vmkeeper.model.release import Blob, ImageFile, LintFinding
from vmkeeper.progress import Progress
from vmkeeper.values import Name, Sha512

Contents = Callable[[Content], bytes]
"""Gives the bytes of a recipe's file; what it returns has the digest that was asked for."""


@dataclass(frozen=True, slots=True)
class Built:
    """What a build left in the store; the fields go into the release record as they are."""

    rootfs: Blob
    """The root file system of the appliance's own layer, a tar."""
    raw_sha512: Sha512 | None
    """The raw disk that every format was made from; None for an abstract appliance."""
    files: tuple[ImageFile, ...]
    manifest: Blob
    packages: int
    sbom: Blob
    findings: tuple[LintFinding, ...] = ()


@dataclass(frozen=True, slots=True)
class LockRequest:
    """What `refresh` resolves: the packages one appliance adds to its parent's."""

    appliance: Name
    architecture: Architecture
    archives: tuple[Archive, ...]
    """All archives known to the appliance, inherited ones first."""
    requested: tuple[PackageName, ...]
    """What the appliance itself asks for."""
    keyrings: Mapping[Name, bytes] = field(default_factory=dict)
    """The keyring of each archive that names one; the others are verified with the distribution's own."""
    below: tuple[PackagesLock, ...] = ()
    """The locks of the layers below, oldest first; empty for a root file system made from nothing."""


class Builder(Protocol):
    """Makes images of one kind. All methods may be called from several threads and processes at once."""

    version: BuilderVersion

    def lacks(self) -> tuple[Problem, ...]:
        """What this machine lacks for `build` and `refresh`, all at once, each with the way out."""

    def build(self, recipe: Recipe, contents: Contents, store: Store, work: Path, progress: Progress) -> Built:
        """Build what is missing and put it into the store; the same recipe always gives the same bytes.

        work: a folder for temporary files, shared by all builds of this machine; leftovers of killed builds in it
        are removed. Raises UserError (a package that is gone, a script that fails), Transient (a mirror that does
        not answer), EnvironmentLacks.
        """

    def refresh(self, request: LockRequest, store: Store, cache: Path, progress: Progress) -> PackagesLock:
        """Resolve packages against the archives as they are now. Raises Problems, UserError, Transient, Refused."""
