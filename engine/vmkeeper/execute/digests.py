"""Further digests of images (MD5, SHA-256, LXD's fingerprint), which simplestreams needs and nobody signed: read once, then remembered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
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


def public_digests(root: Path, shelves: Sequence[Shelf]) -> dict[str, Digests]:
    """The further digests of the images of a public folder, each of which is read once. Raises UserError for one that is damaged."""
    return _digests(shelves, lambda image: (root / image.path).open("rb"), str(root))


def known_digests(store: Store, sha512: str, architecture: str) -> Digests | None:
    """What a store remembers of an image's further digests; nothing is read but that."""
    known = store.alias(*_record(sha512, architecture)) or {}
    names = [field.name for field in fields(Digests)]
    return Digests(**{name: known[name] for name in names}) if all(isinstance(known.get(name), str) for name in names) else None


def store_digests(store: Store, sha512: str, architecture: str) -> Digests:
    """Read an image of a store and remember its further digests. Raises UserError where it is not there, Refused (R14) where it is damaged."""
    with store.open(sha512) as file:
        found = lxd.digests_of(sha512, architecture, iter(partial(file.read, _BLOCK), b""))
    store.set_alias(*_record(sha512, architecture), asdict(found))
    return found


def _record(sha512: str, architecture: str) -> tuple[str, str]:
    """The archive is part of the name, because the fingerprint is taken over it too."""
    return "digests", sha256_hex(lxd.metadata(architecture) + sha512.encode())


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
