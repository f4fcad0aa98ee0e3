"""Bundles: a folder with all that a site without a network needs, carried on a disk: repository, signed lists, image files.

Nothing in it is trusted because it is there: whoever reads it fetches and verifies as if it had come over the network,
and `bundle.json` only says whether the folder is whole.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pydantic import ValidationError

from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.documents.json_guard import read_json
from vmkeeper.errors import Refused, UserError
from vmkeeper.execute.listing import LIMIT, list_url
from vmkeeper.images.fetch import fetch as fetch_file
from vmkeeper.images.files import hash_file, remove_leftovers, reported, temporary, write_file
from vmkeeper.images.web import read_url
from vmkeeper.lists import hepix
from vmkeeper.lists.hepix import HepixImage
from vmkeeper.lists.mime import split
from vmkeeper.model.base import Document, FirstFormat
from vmkeeper.model.imagelist import ImageList
from vmkeeper.model.release import Blob
from vmkeeper.plan.publication_actions import LIST_FILE
from vmkeeper.progress import Progress, Silent
from vmkeeper.repository.bundling import write_git_bundle
from vmkeeper.repository.fetch import fetch_bundle
from vmkeeper.repository.gitprogram import FetchLimits
from vmkeeper.repository.tree import Repository
from vmkeeper.values import NAME_PATTERN, CommitId, Sha512, Size, canonical_json, sha512_hex, visible

CONTENTS = "bundle.json"
REPOSITORY = "repository.bundle"
_CONTENTS_LIMIT = 16 << 20
_SHA512 = re.compile(r"[0-9a-f]{128}")
_LIMITS = FetchLimits()
_SILENT = Silent()


class Held(Document):
    """One file of a bundle, by its path in it."""

    path: str
    size: Size
    sha512: Sha512


class Contents(Document):
    """`bundle.json`: what a whole bundle holds. It is written last; a bundle without it is not whole."""

    format: FirstFormat = 1
    head: CommitId
    """The mainline's head."""
    files: tuple[Held, ...]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that is whole by its own word. What is taken out of it is verified by whoever takes it."""

    folder: Path
    contents: Contents

    def lists(self) -> tuple[str, ...]:
        """The names of the image lists in it."""
        found = (re.fullmatch(rf"lists/([^/]+)/{re.escape(LIST_FILE)}", held.path) for held in self.contents.files)
        return tuple(sorted(match[1] for match in found if match and re.fullmatch(NAME_PATTERN, match[1])))

    def list_bytes(self, name: str) -> bytes:
        """A signed image list, as it was published; not verified. Raises UserError where it is not there, Refused (R25)."""
        path = _inside(self.folder, _list_path(name)) if re.fullmatch(NAME_PATTERN, name) else None
        if path is None:
            hint = "the disk has the lists that were named when it was written: vmkeeper bundle DIR --list NAME"
            raise UserError(f"the bundle does not hold the list {visible(name)}", where=str(self.folder), hint=hint)
        with reported("read a list of the bundle", path), path.open("rb") as file:
            data = file.read(LIMIT + 1)
        if len(data) > LIMIT:
            raise Refused("R25", f"more than {LIMIT} bytes", where=str(path))
        return data

    def image_path(self, sha512: str) -> Path | None:
        """The file that should have this digest, or None; its bytes are not verified."""
        return _inside(self.folder, _image_path(sha512)) if _SHA512.fullmatch(sha512) else None


def open_bundle(folder: Path, mirror: Path, *, limits: FetchLimits = _LIMITS, progress: Progress = _SILENT) -> Bundle:
    """Bring a bundle's repository into `mirror` and give access to the rest.

    Raises UserError where the folder is no bundle or not a whole one, and what `fetch_bundle` raises.
    """
    bundle = read_bundle(folder)
    progress.step(folder.name, "taking the repository from the bundle")
    fetch_bundle(bundle.folder / REPOSITORY, mirror, limits=limits, progress=progress)
    return bundle


def read_bundle(folder: Path) -> Bundle:
    """A bundle's contents. Raises UserError where it is none or not whole: a file is missing or has another size."""
    place = folder.resolve()
    path = _inside(place, CONTENTS)
    hint = "write it once more to its end: vmkeeper bundle DIR"
    if path is None:
        raise UserError("this is no bundle, or it was not written to its end", where=str(folder), hint=hint)
    with reported("read the bundle", path), path.open("rb") as file:
        data = file.read(_CONTENTS_LIMIT + 1)
    try:
        contents = Contents.model_validate(read_json(data, str(path), limit=_CONTENTS_LIMIT))
    except ValidationError as error:
        raise UserError("the bundle's contents cannot be read", where=str(path), why=visible(error.errors()[0]["msg"]), hint=hint) from None
    for held in contents.files:
        found = _inside(place, held.path)
        if found is None or found.stat().st_size != held.size:
            what = "a file of the bundle is missing" if found is None else "a file of the bundle is cut short or was changed"
            raise UserError(what, where=visible(f"{folder}/{held.path}"), hint=hint)
    return Bundle(place, contents)


def write_bundle(
    repository: Repository,
    branch: str,
    folder: Path,
    *,
    lists: Sequence[str] = (),
    public: str | None = None,
    allowed_hosts: Collection[str] = (),
    progress: Progress = _SILENT,
) -> Bundle:
    """Write or complete a bundle of the head of `branch`, with the image lists (none named: all) and the images they name.

    public: a folder or address where the lists were published, in place of their own. What is there already is checked
    and kept, what nothing names any more is removed. Killed at any point, the next run completes it. Raises UserError,
    Refused, Transient.
    """
    head = repository.resolve(f"refs/heads/{branch}")
    with reported("write the bundle", folder):
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        (folder / CONTENTS).unlink(missing_ok=True)
        publications = [_publication(Catalogue.at(repository, head), name, public) for name in _names(repository, head, lists)]
        files: dict[str, Blob] = {}
        for publication in publications:
            message = read_url(publication.url, limit=LIMIT, allow=publication.allow(allowed_hosts))
            for image in hepix.read(split(message).content).images:
                files[_image_path(image.sha512)] = _bring(image, publication, folder, allowed_hosts, progress)
            files[_list_path(publication.name)] = _put(folder / _list_path(publication.name), message)
        files[REPOSITORY] = _put_repository(repository, branch, folder, progress)
        held = tuple(Held(path=path, size=blob.size, sha512=blob.sha512) for path, blob in sorted(files.items()))
        contents = Contents(head=head, files=held)
        _put(folder / CONTENTS, canonical_json(contents.model_dump(mode="json")) + b"\n")
        _tidy(folder, files)
    return Bundle(folder.resolve(), contents)


@dataclass(frozen=True, slots=True)
class _Publication:
    """Where a list and its images are had: below `base` instead of `own`, where the list says they are."""

    name: str
    own: str
    base: str

    @property
    def url(self) -> str:
        return list_url(self.base, self.name)

    def image(self, uri: str) -> str:
        own = self.own.rstrip("/") + "/"
        return f"{self.base.rstrip('/')}/{uri.removeprefix(own)}" if uri.startswith(own) else uri

    def allow(self, hosts: Collection[str]) -> tuple[str, ...]:
        """What may be fetched from: a local base is a folder that was named."""
        folder = (self.base.removeprefix("file://"),) if self.base.startswith("file:") else ()
        return (*(host for host in hosts if not host.startswith("/")), *folder)


def _names(repository: Repository, head: CommitId, wanted: Sequence[str]) -> tuple[str, ...]:
    known = Catalogue.at(repository, head).names("imagelists")
    for name in wanted:
        if name not in known:
            raise UserError(f"there is no image list {visible(name)}", where="imagelists/", hint=f"there are {', '.join(known) or 'none'}")
    return tuple(dict.fromkeys(wanted)) or known


def _publication(catalogue: Catalogue, name: str, public: str | None) -> _Publication:
    document = cast(ImageList, catalogue.image_list(name))
    base = document.url if public is None else public if "://" in public else Path(public).absolute().as_uri()
    return _Publication(name, document.url, base)


def _bring(image: HepixImage, publication: _Publication, folder: Path, hosts: Collection[str], progress: Progress) -> Blob:
    blob = Blob(size=image.size, sha512=image.sha512)
    target = folder / _image_path(image.sha512)
    subject = f"{image.title or image.uuid} {image.version}"
    progress.step(subject, f"{blob.size.human} from {publication.name}")
    fetch_file([publication.image(image.uri)], blob, target, allow=publication.allow(hosts), subject=subject, progress=progress)
    return blob


def _put_repository(repository: Repository, branch: str, folder: Path, progress: Progress) -> Blob:
    """Write the repository's bundle and take it as a reader would, so that a disk which leaves is one that arrives."""
    progress.step(REPOSITORY, "writing")
    target = folder / REPOSITORY
    with temporary(folder) as new:
        write_git_bundle(repository, branch, new.file)
        new.file.flush()
        with tempfile.TemporaryDirectory(prefix="vmkeeper-bundle-") as scratch:
            fetch_bundle(new.path, Path(scratch) / "mirror.git")
        blob = hash_file(new.path)
        if target.is_file() and hash_file(target) == blob:
            return blob
        new.keep(target)
    return _read_back(target, blob)


def _put(target: Path, data: bytes) -> Blob:
    if not target.is_file() or target.is_symlink() or target.read_bytes() != data:
        write_file(target, data)
    return _read_back(target, Blob(size=Size(len(data)), sha512=sha512_hex(data)))


def _read_back(target: Path, blob: Blob) -> Blob:
    if hash_file(target) != blob:
        raise Refused("R14", "the disk gives other bytes than were written", where=str(target), hint="take another disk")
    return blob


def _tidy(folder: Path, files: Collection[str]) -> None:
    """Remove lists and images that the bundle does not name, and what a killed run left."""
    for top in ("lists", "sha512"):
        for path in sorted((folder / top).rglob("*"), reverse=True) if (folder / top).is_dir() else ():
            if path.is_dir() and not path.is_symlink():
                remove_leftovers(path)
                if not any(path.iterdir()):
                    shutil.rmtree(path)
            elif str(path.relative_to(folder)) not in files:
                path.unlink(missing_ok=True)


def _inside(folder: Path, path: str) -> Path | None:
    """A regular file of the bundle, reached without any link."""
    found = folder.joinpath(*path.split("/"))
    if path.startswith("/") or ".." in path.split("/") or "\0" in path:
        return None
    steps = [folder.joinpath(*path.split("/")[:count]) for count in range(1, path.count("/") + 2)]
    return found if not any(step.is_symlink() for step in steps) and found.is_file() else None


def _list_path(name: str) -> str:
    return f"lists/{name}/{LIST_FILE}"


def _image_path(sha512: str) -> str:
    return f"sha512/{sha512[:2]}/{sha512}"
