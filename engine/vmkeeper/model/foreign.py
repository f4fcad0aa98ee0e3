"""A part of `sites/NAME.yaml`: image lists of other organisations, named by address and signer, in the HEPiX format."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from vmkeeper.model.base import Document
from vmkeeper.values import Name, Size, Uuid

ListUrl = Annotated[str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.:\[\]_-]+(/[A-Za-z0-9._~%+@=&?,:;-]*)*$", max_length=2000)]
Dn = Annotated[str, StringConstraints(pattern=r"^[/A-Za-z][\x20-\x7e]*=[\x20-\x7e]+$", max_length=1000)]
Wildcard = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]+$", max_length=300)]


class ForeignEndorser(Document):
    """Who signs the list."""

    dn: Dn
    """Subject of the signer's certificate, as `/DC=org/CN=x` or `CN=x,DC=org`."""
    ca: Dn
    """Issuer of the signer's certificate."""


class ListLimits(Document):
    """What is taken from the list at most."""

    images: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Images on the list; with more the list is refused."""
    size: Size = Size.parse("32GiB")
    """Bytes of one image file."""
    virtual_size: Size = Size.parse("256GiB")
    """Bytes that a guest may see."""


class ForeignList(Document):
    """An image list of another organisation: who may sign it, which of its images are taken, and who decides about new ones."""

    name: Name
    """What the list is called at this site; its images are called NAME-TITLE."""
    url: ListUrl
    """Where the signed list is."""
    uuid: Uuid | None = None
    """dc:identifier of the list; left out, that of the first list that this signer is seen with there."""
    endorser: ForeignEndorser
    """Who signs it. The certificate must lead to the site's CA folder."""
    credentials: Name | None = None
    """What is shown to the server: credentials/NAME.yaml in the site's own folder, never in the repository."""
    images: tuple[Wildcard, ...] = ("*",)
    """Which images: patterns for the image's name at this site, its UUID, its title or its ad:mpuri."""
    new: Literal["approve", "ask", "refuse"] = "ask"
    """What becomes of an image that neither `approve` nor `block` of the site names: it runs, it waits for a decision and is
    told, or it is passed over."""
    limits: ListLimits = ListLimits()
    """What is taken at most."""
    sha1: bool = False
    """Whether a signature made with SHA-1 is taken, as vmcaster makes them."""
