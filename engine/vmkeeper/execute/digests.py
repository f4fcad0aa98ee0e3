"""Further digests of images (MD5, SHA-256, LXD's fingerprint), which simplestreams needs and nobody signed: read once, then remembered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from vmkeeper.errors import UserError
from vmkeeper.images.store import Store
from vmkeeper.lists import lxd
from vmkeeper.lists.lxd import Digests
from vmkeeper.lists.shelf import Shelf, ShelvedImage
from vmkeeper.values import sha256_hex

_BLOCK = 1 << 20
_KIND = "digests"


def public_digests(root: Path, shelves: Sequence[Shelf]) -> dict[str, Digests]:
    """The further digests of the images of a public folder, each of which is read once. Raises UserError for one that is damaged."""
    return _digests(shelves, lambda image: (root / image.path).open("rb"), str(root))


def store_digests(store: Store, shelves: Sequence[Shelf]) -> dict[str, Digests]:
    """The same from the store, which remembers them: an image is read once in its life. Images that it does not hold are left out."""
    found: dict[str, Digests] = {}
    for shelf in shelves:
        for image in shelf.images:
            key = sha256_hex(lxd.metadata(image.architecture) + image.sha512.encode())
            if (known := store.alias(_KIND, key)) is not None:
                found[image.sha512] = Digests(**known)
            elif store.has(image.sha512):
                found |= _digests([replace(shelf, images=(image,))], lambda image: store.open(image.sha512), "the store")
                store.set_alias(_KIND, key, asdict(found[image.sha512]))
    return found


def _digests(shelves: Sequence[Shelf], opened: Callable[[ShelvedImage], BinaryIO], where: str) -> dict[str, Digests]:
    found: dict[str, Digests] = {}
    for image in (image for shelf in shelves for image in shelf.images):
        try:
            with opened(image) as file:
                found[image.sha512] = lxd.digests(image, iter(partial(file.read, _BLOCK), b""))
        except (OSError, ValueError) as error:
            hint = "publish it again: vmkeeper publish"
            raise UserError("an image cannot be read", where=f"{where}: {image.path}", why=str(error), hint=hint) from None
    return found
