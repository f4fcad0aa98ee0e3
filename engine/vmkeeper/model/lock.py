"""`appliances/NAME/packages.lock`: the exact packages an appliance adds to its parent's, as `refresh` found them."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, StringConstraints, model_validator

from vmkeeper.model.appliance import PackageName, plain_parts
from vmkeeper.model.base import Document, FirstFormat, Inconsistent, repeated
from vmkeeper.values import Name, Sha256, Size, Time


class LockedPackage(Document):
    """One package file of an archive."""

    name: PackageName
    """The package."""
    version: Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z.+:~-]+$")]
    """Version as the distribution writes it (with its epoch)."""
    architecture: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$")]
    """The package's own architecture: amd64 or all."""
    archive: Name
    """Name of the archive it comes from."""
    path: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+._~%-]+(/[A-Za-z0-9+._~%-]+)*$"), AfterValidator(plain_parts)]
    """Path below the archive's address."""
    size: Size
    """Bytes of the .deb."""
    sha256: Sha256
    """SHA-256 of the .deb, from the archive's signed index."""


class LockedArchive(Document):
    """The state of an archive when the lock was made."""

    name: Name
    """The archive, as the appliance names it."""
    release_sha256: Sha256
    """SHA-256 of the signed Release text."""
    date: Time
    """Its Date field."""


class PackagesLock(Document):
    """The packages of one appliance beyond its parent's."""

    version: FirstFormat = 1
    """The format of this file."""
    inputs: Sha256
    """Digest of what was asked for (archives, packages, the parent's lock); `check` refuses a lock that lags behind."""
    date: Time
    """Newest Date of the archives and of the parent's lock: the time stamped on every file of the image."""
    archives: tuple[LockedArchive, ...]
    """The archives the packages come from."""
    packages: tuple[LockedPackage, ...]
    """Every package to install, sorted by name."""

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for field, items in (("archives", self.archives), ("packages", self.packages)):
            index = repeated(item.name for item in items)
            if index is not None:
                raise Inconsistent(f"{items[index].name} is there twice", field, index, "name", hint="run `vmkeeper refresh` to write the lock again")
        return self
