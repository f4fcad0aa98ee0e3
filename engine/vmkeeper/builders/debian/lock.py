"""`packages.lock`: resolving what an appliance asks for into exact packages, out of signed indexes only.

`lock_inputs` and `changes` are pure. Nothing is removed and nothing that the parent has is upgraded, unless the
resolver cannot do without an upgrade.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vmkeeper.builders.debian.apt import Apt, Index
from vmkeeper.builders.debian.packages import control_file
from vmkeeper.builders.interface import LockRequest
from vmkeeper.builders.workspace import locked
from vmkeeper.errors import Place, Problem, Problems
from vmkeeper.images.store import Store
from vmkeeper.model.appliance import Architecture, Archive, PackageName
from vmkeeper.model.lock import LockedArchive, LockedPackage, PackagesLock
from vmkeeper.progress import Progress
from vmkeeper.values import Name, Sha256, Size, canonical_json, sha256_hex

_ESSENTIAL = re.compile(rb"(?m)^(?:Essential: yes|Priority: required)$")


def lock_inputs(
    *,
    architecture: Architecture,
    archives: tuple[Archive, ...],
    requested: tuple[PackageName, ...],
    keyrings: Mapping[Name, Sha256] | None = None,
    below: tuple[PackagesLock, ...] = (),
) -> Sha256:
    """Digest of what a lock was asked for; a lock with another `inputs` lags behind its appliance.

    archives: all known to the appliance. keyrings: SHA-256 of the keyring of each archive that names one.
    below: the locks of the layers below, oldest first. The order of `requested` does not matter.
    """
    return sha256_hex(
        canonical_json(
            {
                "architecture": architecture,
                "archives": [archive.model_dump(mode="json") for archive in archives],
                "keyrings": dict(keyrings or {}),
                "requested": sorted(set(requested)),
                "below": [sha256_hex(canonical_json(lock.model_dump(mode="json"))) for lock in below],
            }
        )
    )


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A package whose version differs."""

    name: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class PackageChanges:
    """The difference of two sets of packages, each sorted by name. It is false where there is none."""

    added: tuple[LockedPackage, ...] = ()
    removed: tuple[LockedPackage, ...] = ()
    upgraded: tuple[Upgrade, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.upgraded)


def changes(old: Iterable[LockedPackage], new: Iterable[LockedPackage]) -> PackageChanges:
    """What became of packages between two locks (or chains of locks: a later package of the same name counts)."""
    before = {package.name: package for package in old}
    after = {package.name: package for package in new}
    return PackageChanges(
        added=tuple(after[name] for name in sorted(after.keys() - before.keys())),
        removed=tuple(before[name] for name in sorted(before.keys() - after.keys())),
        upgraded=tuple(
            Upgrade(name, before[name].version, after[name].version)
            for name in sorted(before.keys() & after.keys())
            if before[name].version != after[name].version
        ),
    )


def refresh(request: LockRequest, store: Store, cache: Path, progress: Progress) -> PackagesLock:
    """Resolve `request` against its archives as they are now.

    cache: a folder where indexes are kept between calls, so that appliances with the same archives download them
    once. Raises Problems (packages that no archive has), UserError, Refused (a signature), Transient.
    """
    keyrings = {name: sha256_hex(data) for name, data in request.keyrings.items()}
    archives = canonical_json([request.architecture, [archive.model_dump(mode="json") for archive in request.archives], keyrings])
    cache = cache.resolve()
    folder = cache / "apt" / sha256_hex(archives)[:32]
    with locked(cache / "apt" / f"{folder.name}.lock", waiting=lambda: progress.step(request.appliance, "waiting for another refresh")):
        apt = Apt(folder, request.architecture, request.archives, request.keyrings)
        progress.step(request.appliance, "reading the package archives")
        apt.update()
        indexes = apt.indexes()
        progress.step(request.appliance, "resolving packages")
        apt.installed(_stanzas_below(request, indexes, store))
        names = set(request.requested) | (set() if request.below else _essential(indexes))
        packages = _locked(apt.resolve(request.appliance, names) if names else (), indexes)
    return PackagesLock(
        inputs=lock_inputs(
            architecture=request.architecture,
            archives=request.archives,
            requested=request.requested,
            keyrings=keyrings,
            below=request.below,
        ),
        date=max([index.date for index in indexes] + [lock.date for lock in request.below]),
        archives=tuple({index.archive.name: _archive(index) for index in indexes}.values()),
        packages=packages,
    )


def _archive(index: Index) -> LockedArchive:
    return LockedArchive(name=index.archive.name, release_sha256=index.release_sha256, date=index.date)


def _essential(indexes: tuple[Index, ...]) -> set[str]:
    """The packages that every system of the distribution has (Debian policy 3.8 and 2.5)."""
    stanzas = (stanza for index in indexes for stanza in index.stanzas())
    return {_field(stanza, b"Package") for stanza in stanzas if _ESSENTIAL.search(stanza)}


def _locked(addresses: Iterable[str], indexes: tuple[Index, ...]) -> tuple[LockedPackage, ...]:
    """The locked form of the packages at these addresses, from the indexes, sorted by name."""
    wanted = set(addresses)
    found: dict[str, LockedPackage] = {}
    for index in indexes:
        base = index.archive.uri.rstrip("/")
        paths = {address.removeprefix(f"{base}/").encode() for address in wanted - found.keys() if address.startswith(f"{base}/")}
        for stanza in index.stanzas() if paths else ():
            path = _raw(stanza, b"Filename").removeprefix(b"./")
            if path in paths:
                found[f"{base}/{path.decode()}"] = LockedPackage(
                    name=_field(stanza, b"Package"),
                    version=_field(stanza, b"Version"),
                    architecture=_field(stanza, b"Architecture"),
                    archive=index.archive.name,
                    path=path.decode(),
                    size=Size(int(_raw(stanza, b"Size"))),
                    sha256=_field(stanza, b"SHA256"),
                )
    if wanted - found.keys():
        raise AssertionError(f"apt named packages that no index has: {sorted(wanted - found.keys())}")
    return tuple(sorted(found.values(), key=lambda package: package.name))


def _stanzas_below(request: LockRequest, indexes: tuple[Index, ...], store: Store) -> tuple[bytes, ...]:
    """What the resolver must know of the packages that the layers below install."""
    below = {package.name: package for lock in request.below for package in lock.packages}
    wanted = {package.sha256.encode(): name for name, package in below.items()}
    found: dict[str, bytes] = {}
    for index in indexes if wanted else ():
        for stanza in index.stanzas():
            if name := wanted.get(_raw(stanza, b"SHA256")):
                found.setdefault(name, stanza)
    gone = []
    for name in below.keys() - found.keys():
        if control := _control_of(below[name], store):
            found[name] = control
        else:
            gone.append(name)
    if gone:
        raise Problems(
            Problem(
                Place(file=f"appliances/{request.appliance}/packages.lock"),
                f"the parent's package {name} {below[name].version} is no longer in the archives",
                "refresh the parent too: vmkeeper refresh without names refreshes all, parents first",
            )
            for name in gone
        )
    return tuple(found[name] for name in sorted(found))


def _control_of(package: LockedPackage, store: Store) -> bytes | None:
    """A package's control file out of the store; None where the store does not have the package."""
    record = store.alias("deb", package.sha256)
    path = store.local_path(record["sha512"]) if record else None
    return control_file(path) if path else None


def _raw(stanza: bytes, name: bytes) -> bytes:
    """A one-line field of a stanza; empty where it is missing."""
    start = 0 if stanza.startswith(name + b": ") else stanza.find(b"\n" + name + b": ")
    if start < 0:
        return b""
    begin = stanza.index(b": ", start) + 2
    end = stanza.find(b"\n", begin)
    return stanza[begin : end if end >= 0 else len(stanza)].strip()


def _field(stanza: bytes, name: bytes) -> str:
    return _raw(stanza, name).decode()
