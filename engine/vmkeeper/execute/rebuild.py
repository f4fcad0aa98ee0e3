"""Build a release again from nothing but its locked packages, to compare bytes before somebody signs for them.

Layers and images that were built before are not looked at: only package files, whose digests the lock holds.
"""

from __future__ import annotations

from vmkeeper.builders.debian.sandbox import remove_tree
from vmkeeper.builders.interface import Built
from vmkeeper.builders.workspace import workspace
from vmkeeper.errors import Refused
from vmkeeper.execute.factory import Factory
from vmkeeper.images.store import Store
from vmkeeper.model.recipe import Recipe
from vmkeeper.model.release import Release


def rebuild(factory: Factory, release: Release) -> dict[str, str]:
    """Build a release again in a store of its own; the SHA-512 of each image file by format.

    Raises what a build raises, Refused (R14) where what lies beside the images comes out differently.
    """
    recipe = factory.recipe(release.appliance, release.commit, release.recipe)
    with workspace(factory.work / "rebuilds", release.appliance, remove=remove_tree) as folder:
        store = Store(folder / "store")
        _lend_packages(recipe, factory.store, store)
        again = Factory(factory.repository, store, folder / "work", factory.progress)
        built = again.make(release.appliance, release.commit, release.recipe, folder / "work")
    _same_beside(release, built)
    return {file.format: file.sha512 for file in built.files}


def _same_beside(release: Release, built: Built) -> None:
    """What people judge an image by has to be of that image."""
    pairs = (
        ("root file system", release.rootfs, built.rootfs),
        ("list of packages", release.manifest, built.manifest),
        ("bill of materials", release.sbom, built.sbom),
    )
    differing = [what for what, recorded, found in pairs if recorded != found]
    if differing:
        raise Refused(
            "R14",
            f"building {release.appliance} {release.version} again gives another {' and another '.join(differing)}",
            hint="do not endorse it before you know why",
        )


def _lend_packages(recipe: Recipe, source: Store, target: Store) -> None:
    """Put the package files that `source` has into `target`; the others are downloaded again."""
    for layer in (*recipe.layers, *recipe.tools):
        for package in layer.packages:
            record = source.alias("deb", package.sha256)
            path = source.local_path(record["sha512"]) if record else None
            if record is not None and path is not None:
                target.put(path)
                target.set_alias("deb", package.sha256, record)
