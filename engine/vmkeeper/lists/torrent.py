"""`torrents.yaml`: the index of torrents as CERN's Virtual Machine Image Catalogue (VMIC) kept one, signed with S/MIME.

A node reads which images it should hold, checks the signature, and fetches and seeds them. No torrent is made here: an entry
names the file that a torrent is made of, with its digest, and where the torrent will be.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field, ValidationError

from vmkeeper.documents.dump import dump
from vmkeeper.documents.guard import UNSEEN, read_yaml
from vmkeeper.errors import Place, Problem, Problems
from vmkeeper.lists.shelf import Shelf, ShelvedImage
from vmkeeper.model.base import Document, FirstFormat
from vmkeeper.values import Sha512, Time, Uuid, visible

PATH = "torrents.yaml"


class Torrent(Document):
    """One file that nodes share among themselves."""

    name: str
    """File name of the image, and of the torrent without `.torrent`."""
    uuid: Uuid
    image: str
    version: str
    hash: Sha512
    """SHA-512 of the file."""
    size: Annotated[int, Field(gt=0, lt=10**18)]
    """Bytes; our YAML takes longer numbers for text."""
    format: str
    arch: str
    os: str
    hypervisor: str
    cluster: str
    """Whom the image is for: the virtual organisation of its list."""
    endorser: str
    """Distinguished name of the list's signer."""
    endorsed_by: tuple[str, ...]
    list: str
    registered: Time
    """When the first of those endorsed it."""
    expires: Time
    torrent: str
    """Where the torrent is, relative to the public folder."""
    webseed: str
    """Address of the whole file, for BEP 19."""


class Index(Document):
    """The whole index."""

    version: FirstFormat
    updated: Time
    torrents: tuple[Torrent, ...]


def write(shelves: Sequence[Shelf]) -> bytes:
    """The index in YAML, by list and file name. Raises ValueError for what would not be read back."""
    made = [_torrent(shelf, image) for shelf in shelves for image in shelf.images]
    made.sort(key=lambda one: (one.list, one.name))
    updated = max((shelf.created for shelf in shelves), default=datetime(1970, 1, 1, tzinfo=UTC))
    return dump(Index(version=1, updated=updated, torrents=tuple(made)))


def read(data: bytes, file: str = PATH) -> Index:
    """An index whose signature has been verified; at most 256 KiB, as every YAML document here. Raises Problems."""
    tree = read_yaml(data, file)
    if tree.problems:
        raise Problems(tree.problems)
    try:
        return Index.model_validate_json(json.dumps(tree.value), strict=True)
    except ValidationError as error:
        raise Problems(Problem(Place(file, field=".".join(map(str, one["loc"]))), visible(one["msg"])) for one in error.errors()) from None


def _torrent(shelf: Shelf, image: ShelvedImage) -> Torrent:
    folder, _, name = image.path.rpartition("/")
    return Torrent(
        name=name,
        uuid=image.uuid,
        image=_line(image.title),
        version=image.version,
        hash=image.sha512,
        size=image.size,
        format=image.format,
        arch=image.architecture,
        os=_line(f"{image.osname} {image.osversion}"),
        hypervisor="KVM",
        cluster=_line(shelf.vo),
        endorser=_line(shelf.endorser),
        endorsed_by=image.endorsers,
        list=shelf.name,
        registered=image.endorsed,
        expires=image.expires,
        torrent=f"{folder}/{name}.torrent" if folder else f"{name}.torrent",
        webseed=image.uri,
    )


def _line(text: str) -> str:
    """A text that YAML can hold: what cannot be seen is escaped."""
    return visible(text) if UNSEEN.search(text) or "\n" in text else text
