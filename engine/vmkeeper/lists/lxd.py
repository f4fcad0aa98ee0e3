"""What mirrors want of an image before they take it from simplestreams: for LXD and Incus a metadata archive, and further digests.

The archive is one for all images of an architecture, so that it never goes stale: what is said of an image is in the streams.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass

from vmkeeper.lists.shelf import ShelvedImage

FOLDER = "streams/lxd"


@dataclass(frozen=True, slots=True)
class Digests:
    """Digests of an image that nobody signed and that other programs will not do without. What is signed is its SHA-512."""

    md5: str
    """Of the file: sstream-mirror-glance compares it with Glance's, and takes the image back where there is none."""
    sha256: str
    """Of the file: LXD, Incus and Juju know no other."""
    fingerprint: str
    """SHA-256 over the metadata archive and the file, one after the other: an image's name in LXD and Incus."""


def metadata(architecture: str) -> bytes:
    """The metadata archive: a plain tar that holds `metadata.yaml` with the two keys that must be there.

    It is never changed, for every image's fingerprint is taken over it too; another one would have another `metadata_path`.
    """
    content = f"architecture: {architecture}\ncreation_date: 1\n".encode()
    entry = tarfile.TarInfo("metadata.yaml")
    entry.size, entry.mode = len(content), 0o644
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


def metadata_path(architecture: str) -> str:
    """Where the archive goes."""
    return f"{FOLDER}/metadata-1-{architecture}.tar"


def digests(image: ShelvedImage, blocks: Iterable[bytes]) -> Digests:
    """Read an image once, in blocks. Raises ValueError where it is not the image that was published."""
    return digests_of(image.sha512, image.architecture, blocks)


def digests_of(sha512: str, architecture: str, blocks: Iterable[bytes]) -> Digests:
    """Read an image once, by its digest and its architecture. Raises ValueError where it is another file."""
    md5, sha256, known = hashlib.md5(usedforsecurity=False), hashlib.sha256(), hashlib.sha512()
    fingerprint = hashlib.sha256(metadata(architecture))
    for block in blocks:
        for digest in (md5, sha256, fingerprint, known):
            digest.update(block)
    if known.hexdigest() != sha512:
        raise ValueError(f"this is not the image with {sha512[:20]}…")
    return Digests(md5.hexdigest(), sha256.hexdigest(), fingerprint.hexdigest())
