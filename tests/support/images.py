"""The repository's own base image, built once a run for all tests that need a real system."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from vmkeeper.boot import probe
from vmkeeper.builders.registry import BUILDERS
from vmkeeper.builders.workspace import locked
from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.execute.factory import Factory
from vmkeeper.execute.refresh import refresh
from vmkeeper.images.store import Store
from vmkeeper.model.release import ImageFile
from vmkeeper.progress import Silent
from vmkeeper.repository.records import commit_files
from vmkeeper.repository.tree import Repository

ROOT = Path(__file__).parents[2]
NAME = "debian-12"
_KEPT = ("appliances/debian-tools", f"appliances/{NAME}")


def lacks() -> list[str]:
    """What this machine lacks for building and booting real images."""
    return [str(problem) for problem in (*BUILDERS["debian"].lacks(), *probe.lacks("bios", "uefi"))]


def shared_folder(factory: pytest.TempPathFactory, name: str) -> Path:
    """A folder that all workers of a run share: VMKEEPER_TEST_STORE or VMKEEPER_TEST_CACHE, or one beside pytest's own."""
    named = os.environ.get(f"VMKEEPER_TEST_{name.upper()}")
    base = factory.getbasetemp()
    folder = Path(named) if named else (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def base_repository(folder: Path) -> Repository:
    """A repository with the tools root and the base image as they lie in this project."""
    subprocess.run(["git", "init", "--quiet", "--initial-branch", "main", str(folder)], check=True)
    for path in _KEPT:
        shutil.copytree(ROOT / path, folder / path, ignore=shutil.ignore_patterns("release.yaml"))
    git = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message", "base"], check=True)
    return Repository.open(folder)


def base_image(factory: pytest.TempPathFactory) -> tuple[Path, ImageFile]:
    """The base image's qcow2 and what it is; built with the newest packages, or taken from the run's store."""
    if missing := lacks():
        pytest.skip("; ".join(missing))
    store, cache = Store(shared_folder(factory, "store")), shared_folder(factory, "cache")
    repository = base_repository(factory.mktemp("base") / "repository")
    with locked(cache / "base-image.lock"):
        catalogue = Catalogue.at(repository, repository.head())
        fresh = {each.path: each.data for each in refresh(catalogue, (), store, cache, Silent()) if each.data is not None}
        commit_files(repository, "refs/heads/main", fresh, "refresh\n")
        head = repository.head()
        digest = Catalogue.at(repository, head).recipe(NAME).digest()
        maker = Factory(repository, store, cache, Silent())
        built = maker.built(digest) or maker.make(NAME, head, digest, cache / "builds")
    (file,) = built.files
    path = store.local_path(file.sha512)
    assert path is not None
    return path, file
