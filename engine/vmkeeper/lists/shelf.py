"""What a public folder offers, as data: every list, every image file on it and the patches beside it.

All further forms of a publication (catalogue, simplestreams, checksums, torrent index) are written from this and
nothing else, so that they say the same. Nothing here depends on the time of writing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPatch:
    """A zstd patch: with the file that has `base_sha512`, it gives the image beside which it lies. `size`: bytes of the patch."""

    path: str
    """Relative to the public folder."""
    size: int
    sha512: str
    base_sha512: str
    base_size: int
    base_version: str
    base_appliance: str
    """The appliance itself, or its parent."""
    memory: int
    """Bytes of memory that applying it takes, about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressedFile:
    """The whole image, compressed with zstd. `size`: bytes of the compressed file."""

    path: str
    size: int
    sha512: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShelvedImage:
    """One image file of one list."""

    appliance: str
    uuid: str
    version: str
    title: str
    description: str
    path: str
    """Relative to the public folder."""
    uri: str
    format: str
    size: int
    virtual_size: int
    sha512: str
    architecture: str
    os: str
    osname: str
    osversion: str
    release: str
    """Codename of the distribution's release, or ""."""
    memory: int | None
    """Bytes a machine needs."""
    cpus: int | None
    commit: str
    recipe: str
    """Digest of the recipe."""
    endorsers: tuple[str, ...]
    """Names of those who endorsed it, sorted."""
    endorsed: datetime
    """When the first of the counting endorsements was made."""
    expires: datetime
    group: str
    mpuri: str
    patches: tuple[PublishedPatch, ...] = ()
    compressed: CompressedFile | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """One published list."""

    name: str
    uuid: str
    title: str
    description: str
    source: str
    vo: str
    version: str
    """hv:version as published."""
    path: str
    uri: str
    created: datetime
    expires: datetime
    endorser: str
    """Distinguished name of its signer."""
    images: tuple[ShelvedImage, ...] = ()
