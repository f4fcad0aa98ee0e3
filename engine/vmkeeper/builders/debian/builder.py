"""The Debian builder: layers of root file systems out of locked packages, and disks assembled from them.

Finished layers are in the store by their key, so only what is missing is built, and appliances share their parents.
"""

from __future__ import annotations

import platform
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from vmkeeper.builders.debian import sandbox
from vmkeeper.builders.debian.bill import installed, manifest, sbom
from vmkeeper.builders.debian.disk import Disk, make_disk, sha512_sparse
from vmkeeper.builders.debian.finish import finish, identifier
from vmkeeper.builders.debian.formats import convert
from vmkeeper.builders.debian.lock import refresh
from vmkeeper.builders.debian.rootfs import build_layer
from vmkeeper.builders.debian.tar import RootTar
from vmkeeper.builders.debian.tools import Tools, unpack_tools
from vmkeeper.builders.interface import Built, Contents, LockRequest
from vmkeeper.builders.lint import lint
from vmkeeper.builders.versions import VERSIONS
from vmkeeper.builders.workspace import locked, workspace
from vmkeeper.errors import EnvironmentLacks, Place, Problem, Problems, UserError
from vmkeeper.images.store import Store
from vmkeeper.model.appliance import Format
from vmkeeper.model.lock import PackagesLock
from vmkeeper.model.recipe import Layer, Recipe, layer_keys
from vmkeeper.model.release import Blob, ImageFile, LintFinding
from vmkeeper.progress import Progress
from vmkeeper.values import Sha256

_PROGRAMS = (("apt-get", "apt"), ("apt-config", "apt"), ("dpkg-deb", "dpkg"), ("tar", "tar"), ("find", "findutils"), ("mount", "mount"))
_NAMESPACE_PROGRAMS = (("unshare", "util-linux"), ("setpriv", "util-linux"))


class DebianBuilder:
    """Makes Debian images on any Debian or Ubuntu, as root or as an ordinary user."""

    version = VERSIONS["debian"]

    def lacks(self) -> tuple[Problem, ...]:
        """What this machine lacks, all at once."""
        programs = [*_PROGRAMS, *_NAMESPACE_PROGRAMS]
        missing = [
            Problem(Place(), f"the program {name} is not on this machine", f"apt-get install {package}")
            for name, package in programs
            if not _has(name)
        ]
        spaces = () if any(not _has(name) for name, _ in _NAMESPACE_PROGRAMS) else sandbox.lacks()
        return (*missing, *spaces)

    def refresh(self, request: LockRequest, store: Store, cache: Path, progress: Progress) -> PackagesLock:
        """Resolve packages against the archives as they are now; see `lock.refresh`."""
        return refresh(request, store, cache, progress)

    def build(self, recipe: Recipe, contents: Contents, store: Store, work: Path, progress: Progress) -> Built:
        """Build what is missing and put it into the store."""
        work = work.resolve()
        _on_own_architecture(recipe)
        with ThreadPoolExecutor(2) as pool:
            tools = pool.submit(self._tools, recipe, contents, store, work, progress)
            rootfs = pool.submit(self._layers, recipe.layers, contents, store, work, progress)
            blob, tools_root = rootfs.result(), tools.result()
        with workspace(work / "builds", recipe.appliance, remove=sandbox.remove_tree) as folder:
            tar = RootTar(_local(blob, store, folder))
            packages = installed(tar.read("var/lib/dpkg/status"))
            built = Built(
                rootfs=blob,
                raw_sha512=None,
                files=(),
                manifest=store.put_bytes(manifest(packages)),
                packages=len(packages),
                sbom=store.put_bytes(sbom(recipe, packages)),
            )
            if tools_root is None:
                return built
            progress.step(recipe.appliance, "assembling the disk")
            return _images(recipe, tar, tools_root, store, folder, built)

    def _tools(self, recipe: Recipe, contents: Contents, store: Store, work: Path, progress: Progress) -> Tools | None:
        if recipe.disk is None:
            return None
        if not recipe.tools:
            hint = "name an appliance with the disk programs as builder.tools in appliance.yaml"
            raise UserError("the recipe has no tools to assemble a disk with", where=f"appliances/{recipe.appliance}", hint=hint)
        blob = self._layers(recipe.tools, contents, store, work, progress)
        key = layer_keys(recipe.tools, self.version)[-1]
        return unpack_tools(key, blob, recipe.tools[-1].architecture, store, work)

    def _layers(self, layers: tuple[Layer, ...], contents: Contents, store: Store, work: Path, progress: Progress) -> Blob:
        """The root file system of the last layer; builds those on the way that the store does not have."""
        keys = layer_keys(layers, self.version)
        first = next((index for index in reversed(range(len(layers))) if _finished(keys[index], store)), None)
        blob = _finished(keys[first], store) if first is not None else None
        for index in range(0 if first is None else first + 1, len(layers)):
            blob = self._layer(layers[index], keys[index], blob, contents, store, work, progress)
        assert blob is not None
        return blob

    def _layer(self, layer: Layer, key: Sha256, below: Blob | None, contents: Contents, store: Store, work: Path, progress: Progress) -> Blob:
        def waiting() -> None:
            progress.step(layer.appliance, "waiting for another build of the same layer")

        with locked(work / "locks" / f"layer-{key}", waiting=waiting):
            blob = _finished(key, store)
            if blob is None:
                with workspace(work / "builds", layer.appliance, remove=sandbox.remove_tree) as folder:
                    blob = build_layer(layer, below, contents, store, folder, progress)
                store.set_alias("layer", key, blob.model_dump(mode="json"))
            return blob


def _finished(key: Sha256, store: Store) -> Blob | None:
    """The tar of a layer that was built before and is still in the store."""
    record = store.alias("layer", key)
    blob = Blob.model_validate(record) if record else None
    return blob if blob and store.has(blob.sha512) else None


def _local(blob: Blob, store: Store, folder: Path) -> Path:
    if path := store.local_path(blob.sha512):
        store.verify(blob.sha512)
        return path
    store.fetch(blob.sha512, folder / "rootfs.tar")
    return folder / "rootfs.tar"


def _images(recipe: Recipe, tar: RootTar, tools: Tools, store: Store, folder: Path, built: Built) -> Built:
    """Assemble the disk and make every format of it, if the root file system holds nothing that an image must not."""
    date = recipe.layers[-1].date
    finished = folder / "finished.tar"
    tar.write_with(finished, finish(recipe, tar), date)
    with ThreadPoolExecutor(2) as pool:
        linted = pool.submit(_lint, recipe, finished)
        disk = make_disk(recipe, finished, date, tools, folder)
        raw = pool.submit(sha512_sparse, disk.path)
        findings = linted.result()
        files = tuple(_image(recipe, wanted, disk, tools, store, folder) for wanted in recipe.formats)
        return replace(built, raw_sha512=raw.result(), files=files, findings=findings)


def _lint(recipe: Recipe, finished: Path) -> tuple[LintFinding, ...]:
    with finished.open("rb") as file:
        result = lint(file, default_user=recipe.users.default or "")
    if result.errors:
        hint = "take it away in a provisioning script: the image can be read by the world"
        raise Problems(
            Problem(Place(f"appliances/{recipe.appliance}"), f"{found.path}: {found.what} ({found.rule})", hint) for found in result.errors
        )
    return result.findings


def _image(recipe: Recipe, wanted: Format, disk: Disk, tools: Tools, store: Store, folder: Path) -> ImageFile:
    path = disk.path
    if wanted != "raw":
        of_format = identifier(recipe.digest(), f"format {wanted}")
        path = convert(disk.path, wanted, of_format, recipe.layers[-1].date, tools, folder, title=recipe.appliance)
    blob = store.put(path, move=wanted != "raw")
    return ImageFile(format=wanted, size=blob.size, virtual_size=disk.size, sha512=blob.sha512)


def _on_own_architecture(recipe: Recipe) -> None:
    machine = platform.machine()
    if recipe.architecture != machine:
        where, hint = f"appliances/{recipe.appliance}", f"build it on a machine of {recipe.architecture}"
        raise EnvironmentLacks(f"this machine runs programs of {machine}, not of {recipe.architecture}", where=where, hint=hint)
    if recipe.disk is not None and recipe.architecture != "x86_64":
        raise UserError(
            "disks are made for x86_64 only", where=f"appliances/{recipe.appliance}", hint="make it abstract: its root file system can be built"
        )


def _has(name: str) -> bool:
    return shutil.which(name, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin") is not None
