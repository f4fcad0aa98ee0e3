"""What publishing can do, as actions. Paths are relative to the public folder."""

from __future__ import annotations

from typing import ClassVar, Literal

from vmkeeper.model.base import Document
from vmkeeper.plan.actions import Action
from vmkeeper.values import Sha512, Size

LIST_FILE = "imagelist.signed"
INDEX_FILE = "imagelists.json"
Signature = Literal["smime", "cms", "openpgp-detached", "openpgp-clear"]


class MakePatch(Action):
    """Make a patch between two files of the store and keep it there."""

    kind: ClassVar[str] = "patch"
    base: Sha512
    new: Sha512


class CompressImage(Action):
    """Compress a file of the store and keep the result there."""

    kind: ClassVar[str] = "compress"
    new: Sha512


class DigestImage(Action):
    """Read a file of the store once for the digests that other programs want beside the signed one."""

    kind: ClassVar[str] = "digest"
    new: Sha512
    architecture: str


class PublishImage(Action):
    """Put a file out of the store under its public path: an image, or what lies beside one."""

    kind: ClassVar[str] = "publish"
    path: str
    size: Size
    sha512: Sha512


class SignList(Action):
    """Sign a list and put it in place of the one before."""

    kind: ClassVar[str] = "sign"
    path: str
    text: str
    """The list's JSON, unsigned."""
    replaces: Sha512 | None = None
    """Of what was there when this was planned: with anything else there now, somebody else publishes. None: nothing was there."""


class FeedSignature(Document):
    """A signature over a feed, in a file of its own."""

    type: Signature
    path: str
    text: str | None = None
    """What is signed, where that is not the feed's own text."""


class WriteFeed(Action):
    """Write one of the other forms of a publication and sign it."""

    kind: ClassVar[str] = "feed"
    path: str
    text: str
    write: bool = True
    """Whether its text is written: it is not, where only signatures are missing."""
    signatures: tuple[FeedSignature, ...] = ()
    """Those to be made now."""
    gone: tuple[str, ...] = ()
    """Signatures that nobody makes any more."""


class WriteIndex(Action):
    """Write the index of the lists in the public folder."""

    kind: ClassVar[str] = "index"
    path: str
    lists: dict[str, dict[str, str]]


class RemoveImage(Action):
    """Remove a file that no list names any more."""

    kind: ClassVar[str] = "remove"
    destroys: ClassVar[bool] = True
    path: str
