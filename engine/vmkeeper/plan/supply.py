"""How an image's bytes can be had: whole, compressed, or as a patch to a file that the site may hold.

Where bytes come from decides nothing: whatever way they came, they must have the size and SHA-512 that were signed.
"""

from __future__ import annotations

from vmkeeper.model.base import Document
from vmkeeper.values import Name, Sha512, Size


class SuppliedFile(Document):
    """A file at an address, with its own size in bytes and digest."""

    uri: str
    size: Size
    sha512: Sha512


class SuppliedPatch(SuppliedFile):
    """A zstd patch: applied to the file with `base_sha512`, it gives the image's signed file."""

    base_sha512: Sha512
    base_size: Size
    memory: Size
    """Bytes of memory that applying it takes, about."""


class Supply(Document):
    """The ways to an image's signed file."""

    uri: str
    """Where the whole file is."""
    patches: tuple[SuppliedPatch, ...] = ()
    compressed: SuppliedFile | None = None
    """The whole file, compressed with zstd."""
    credentials: Name | None = None
    """What may be shown to the server that the list came from: HOME/credentials/NAME.yaml."""
    max_virtual: Size | None = None
    """The most bytes that a guest may see, where the image's own virtual size was not signed for."""
