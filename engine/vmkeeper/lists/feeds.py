"""All forms of a publication beside its image lists: which files they are, what is in them, how each is signed.

A pure function of the shelves: nothing depends on the time of writing, so that equal publications are equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from vmkeeper.errors import UserError
from vmkeeper.lists import catalogue_json, checksums, simplestreams, torrent
from vmkeeper.lists.lxd import Digests, metadata, metadata_path
from vmkeeper.lists.shelf import Shelf
from vmkeeper.model.base import repeated

Signature = Literal["smime", "cms", "openpgp-detached", "openpgp-clear"]


@dataclass(frozen=True, slots=True)
class Feed:
    """One file of the public folder and the signatures that belong to it.

    The file itself is written unsigned at `path`; each signature is a further file (`signature_path`). A signature for which
    the publisher has no key is left out.
    """

    path: str
    """Relative to the public folder."""
    content: bytes
    signatures: tuple[Signature, ...] = ()
    clear: bytes | None = None
    """What is signed in clear text, where that differs from `content`: a signed simplestreams index names signed files."""

    def signature_path(self, signature: Signature) -> str:
        """Where a signature goes.

        `smime`: `.signed`, multipart/signed with the content, as image lists are. `cms`: `.p7s`, detached, DER (RFC 8551, 3.2.1).
        `openpgp-detached`: `.gpg`. `openpgp-clear`: the content signed in clear text; simplestreams calls it `.sjson` for `.json`.
        """
        if signature == "openpgp-clear":
            return f"{self.path.removesuffix('.json')}.sjson" if self.path.endswith(".json") else f"{self.path}.asc"
        return self.path + {"smime": ".signed", "cms": ".p7s", "openpgp-detached": ".gpg"}[signature]

    def to_sign(self, signature: Signature) -> bytes:
        """What that signature is made over."""
        return self.clear if signature == "openpgp-clear" and self.clear is not None else self.content


def feeds(shelves: Sequence[Shelf], base_url: str, digests: Mapping[str, Digests] | None = None) -> tuple[Feed, ...]:
    """Every feed of a publication, sorted by path; the order of the shelves makes no difference.

    base_url: the address at which the public folder is served. digests: as for `stream_feeds`. Raises ValueError for what a reader would
    misread: a path that leads out of the folder, a text that is not Unicode, a list or an image that is there twice. Raises UserError
    for a list that is called as a file here is (`catalogue.json`).
    """
    ordered = tuple(sorted(shelves, key=lambda shelf: shelf.name))
    made = [Feed(catalogue_json.PATH, catalogue_json.write(ordered, base_url), ("cms", "openpgp-detached"))]
    made += [Feed(checksums.path(shelf), checksums.write(shelf), ("cms", "openpgp-detached")) for shelf in ordered]
    made += stream_feeds(ordered, base_url, digests)
    made.append(Feed(torrent.PATH, torrent.write(ordered), ("smime",)))
    made.sort(key=lambda feed: feed.path)
    _apart(ordered, made)
    return tuple(made)


def _apart(shelves: Sequence[Shelf], made: Sequence[Feed]) -> None:
    """No feed falls on another one, and no list's folder on a file of ours."""
    if index := repeated(feed.path for feed in made):
        raise ValueError(f"two feeds would be {made[index].path}")
    files = {feed.path for feed in made} | {feed.signature_path(kind) for feed in made for kind in feed.signatures}
    for shelf in shelves:
        if checksums.folder(shelf).rstrip("/") in files:
            hint = f"give imagelists/{shelf.name}.yaml another name"
            raise UserError(f"no list can be called {shelf.name}: a file of the public folder is", where=f"imagelists/{shelf.name}.yaml", hint=hint)


def stream_feeds(shelves: Sequence[Shelf], base_url: str, digests: Mapping[str, Digests] | None = None) -> tuple[Feed, ...]:
    """The simplestreams files alone.

    digests: by an image's SHA-512, its further digests (`lists.lxd.digests`, from reading it once). An image without them is read
    by sstream-query and sstream-mirror, but not taken by sstream-mirror-glance, LXD and Incus. The metadata archives that LXD and
    Incus read come along.
    """
    known = digests or {}
    files = simplestreams.files(shelves, base_url, known)
    kinds = {image.architecture for shelf in shelves for image in shelf.images if image.sha512 in known and image.format == "qcow2"}
    archives = [Feed(metadata_path(architecture), metadata(architecture)) for architecture in kinds]
    streams = [Feed(file.path, file.unsigned, ("openpgp-clear", "openpgp-detached"), file.signed) for file in files]
    return tuple(sorted([*streams, *archives], key=lambda feed: feed.path))
