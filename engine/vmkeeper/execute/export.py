"""What exports are made from: releases of the repository, what a public folder says it holds, the images of a site."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.clouds.interface import Cloud, ImageSpec
from vmkeeper.errors import UserError
from vmkeeper.images.files import write_file
from vmkeeper.lists import catalogue_json
from vmkeeper.lists.feeds import Feed
from vmkeeper.lists.shelf import Shelf, ShelvedImage
from vmkeeper.model.appliance import Appliance
from vmkeeper.model.release import ImageFile, Release
from vmkeeper.plan.chosen import PREFERENCE
from vmkeeper.repository.changes import last_change
from vmkeeper.repository.tree import Repository
from vmkeeper.values import Version


def release_at(catalogue: Catalogue, head: str, name: str, version: Version | None) -> Release:
    """The release record of an appliance, the newest or that of a version. Raises UserError naming the versions that there are."""
    path, repository = f"appliances/{name}/release.yaml", catalogue.repository
    if name not in catalogue.names("appliances"):
        raise UserError(f"there is no appliance {name}", where="appliances/", hint=f"there are {', '.join(catalogue.names('appliances')) or 'none'}")
    newest = catalogue.release(name)
    if newest is None:
        raise UserError(f"{name} has no release", where=path, hint="build it with: vmkeeper apply")
    if version in (None, newest.version):
        return newest
    known = [str(newest.version)]
    commit = last_change(repository, path, head)
    while commit and (parents := repository.commit(commit).parent_ids):
        record = Catalogue.at(repository, str(parents[0])).release(name)
        if record is None:
            break
        if record.version == version:
            return record
        known.append(str(record.version))
        commit = last_change(repository, path, str(parents[0]))
    raise UserError(f"{name} has no release {version}", where=path, hint=f"there are {', '.join(dict.fromkeys(known))}")


def image_file(release: Release, form: str | None) -> ImageFile:
    """The file of a release in a format, by default the one that lists prefer. Raises UserError."""
    files = sorted(release.files, key=lambda file: PREFERENCE.index(file.format))
    for file in files:
        if form in (None, file.format):
            return file
    there = f"there are {', '.join(file.format for file in files)}" if files else "an abstract appliance has none"
    raise UserError(f"{release.appliance} {release.version} has no image{f' in {form}' if form else ''}", hint=there)


def shelves_of(root: Path, names: Collection[str] = ()) -> tuple[tuple[Shelf, ...], str]:
    """The lists of a public folder, all or those named, and the folder's address. Raises UserError, Problems."""
    file = root / catalogue_json.PATH
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UserError("the catalogue cannot be read", where=str(file), why=error.strerror or "", hint="publish first: vmkeeper publish") from None
    shelves, base = catalogue_json.read(data, str(file))
    known = {shelf.name: shelf for shelf in shelves}
    for name in names:
        if name not in known:
            raise UserError(f"there is no image list {name}", where=str(file), hint=f"there are {', '.join(known) or 'none'}")
    return tuple(known[name] for name in names or known), base


def shelved(shelves: Sequence[Shelf], appliance: str, version: str | None, form: str | None) -> tuple[Shelf, ShelvedImage]:
    """A published image by its appliance. Raises UserError where it is not there."""
    for shelf in shelves:
        for image in shelf.images:
            if image.appliance == appliance and version in (None, image.version) and form in (None, image.format):
                return shelf, image
    raise UserError(f"no list has {_named(appliance, version, form)}", hint="see what was published in catalogue.json")


def held(cloud: Cloud, appliance: str, version: Version | None, form: str | None) -> ImageSpec:
    """The newest image of an appliance that a site holds, or that of a version; active ones first. Raises UserError."""
    images = [image for image in cloud.images() if image.owner == cloud.owner and image.spec and image.spec.appliance == appliance]
    found = [
        (image.state == "active", image.spec.version, image.spec)
        for image in images
        if image.spec and version in (None, image.spec.version) and form in (None, image.spec.format)
    ]
    if not found:
        there = ", ".join(sorted(str(image.spec.version) for image in images if image.spec))
        raise UserError(
            f"the site has no {_named(appliance, version, form)}", hint=f"it has {there}" if there else "bring it with: vmkeeper reconcile"
        )
    return max(found, key=lambda one: one[:2])[2]


def appliance_at(repository: Repository, name: str) -> Appliance | None:
    """An appliance as the head of the followed repository has it; None where it has none."""
    catalogue = Catalogue.at(repository, repository.head())
    return catalogue.resolved(name).appliance if name in catalogue.names("appliances") else None


def _named(appliance: str, version: object, form: str | None) -> str:
    return " ".join([appliance, *([str(version)] if version else []), *([f"as {form}"] if form else [])])


def write_feeds(feeds: Sequence[Feed], target: Path) -> Iterator[str]:
    """Write feeds below a folder, unsigned, only where they differ from what is there; gives the paths that were written."""
    for feed in feeds:
        file = target / feed.path
        if not file.is_file() or file.read_bytes() != feed.content:
            write_file(file, feed.content)
            yield feed.path
