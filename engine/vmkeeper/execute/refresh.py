"""`vmkeeper refresh`: resolve packages against the archives as they are now, and say which changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vmkeeper.builders.debian.lock import PackageChanges
from vmkeeper.builders.debian.lock import changes as package_changes
from vmkeeper.builders.registry import BUILDERS
from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.catalogue.locking import lock_request
from vmkeeper.documents.dump import dump
from vmkeeper.errors import Problem, Problems
from vmkeeper.images.store import Store
from vmkeeper.model.lock import PackagesLock
from vmkeeper.progress import Progress


@dataclass(frozen=True, slots=True)
class Refreshed:
    """One appliance's lock: the new file's bytes, or None where it stays as it is; what changed."""

    name: str
    data: bytes | None
    changes: PackageChanges

    @property
    def path(self) -> str:
        """Where the lock lies in the repository."""
        return f"appliances/{self.name}/packages.lock"


def refresh(catalogue: Catalogue, names: Iterable[str], store: Store, cache: Path, progress: Progress) -> tuple[Refreshed, ...]:
    """Resolve the locks of `names` (all where empty) and of all that stand on them, parents first.

    A lock whose packages did not change stays byte for byte as it is, so that a quiet archive rebuilds nothing.
    Raises Problems with every appliance that could not be resolved.
    """
    chosen = tuple(names) or catalogue.names("appliances")
    wanted = set(chosen) | catalogue.graph.dependants(chosen)
    fresh: dict[str, PackagesLock] = {}
    found: list[Refreshed] = []
    problems: list[Problem] = []
    for name in sorted(wanted, key=lambda each: (len(catalogue.chain(each)), each)):
        try:
            found += _one(catalogue, name, fresh, store, cache, progress)
        except Problems as error:
            problems += error.problems
    if problems:
        raise Problems(problems)
    return tuple(found)


def _one(catalogue: Catalogue, name: str, fresh: dict[str, PackagesLock], store: Store, cache: Path, progress: Progress) -> list[Refreshed]:
    request = lock_request(catalogue, name, fresh)
    if request is None:
        return []
    builder = BUILDERS[catalogue.resolved(name).appliance.builder.name or ""]
    old = catalogue.lock(name)
    new = builder.refresh(request, store, cache, progress)
    changed = package_changes(old.packages if old else (), new.packages)
    if old is not None and old.inputs == new.inputs and not changed and old.packages == new.packages:
        fresh[name] = old
        return [Refreshed(name, None, changed)]
    fresh[name] = new
    return [Refreshed(name, dump(new), changed)]


def describe(refreshed: Refreshed) -> list[str]:
    """What `refresh` says about one appliance."""
    if refreshed.data is None:
        return [f"{refreshed.name}: no change"]
    changed = refreshed.changes
    lines = [f"{refreshed.name}: {len(changed.upgraded)} upgraded, {len(changed.added)} added, {len(changed.removed)} removed"]
    lines += [f"  {upgrade.name} {upgrade.old} → {upgrade.new}" for upgrade in changed.upgraded]
    if len(changed.added) <= 20:
        lines += [f"  + {package.name} {package.version}" for package in changed.added]
    return lines + [f"  - {package.name} {package.version}" for package in changed.removed]
