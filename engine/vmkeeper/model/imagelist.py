"""`imagelists/NAME.yaml`: which appliances a list publishes, to whom, signed by whom."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from vmkeeper.model.base import Document, Inconsistent, repeated
from vmkeeper.values import Duration, Name, Uuid

HttpUrl = Annotated[str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.:\[\]_-]+(/[A-Za-z0-9._~%+:-]*)*$")]
Ascii = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]+$", max_length=500)]


class Listed(Document):
    """One appliance on a list."""

    appliance: Name
    """Its folder below appliances/."""
    group: str = "General group"
    """Published as ad:group."""
    mpuri: HttpUrl | None = None
    """Marketplace address (ad:mpuri), stable over versions; default: made from the list's address and the appliance's UUID."""
    comments: str = ""
    """Published as sl:comments."""


class ListOwner(Document):
    """Who answers questions about the list; published as hv:endorser's dc:creator and hv:email and as ad:user."""

    name: Ascii
    """The name as people know it."""
    email: Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+$")]
    """Where to write to."""
    url: HttpUrl | None = None
    """Published as ad:user:uri."""


class Patches(Document):
    """Differences that are published beside an image, so that a site which has the older file fetches little."""

    previous: Annotated[int, Field(ge=0, le=20)] = 2
    """From how many released versions before this one."""
    parent: bool = True
    """Whether also from the newest release of the appliance that it inherits from, where that has an image."""
    compressed: bool = True
    """Whether the whole file is published compressed (zstd) beside the plain one."""


class ImageList(Document):
    """An image list, published in the HEPiX format."""

    uuid: Uuid
    """dc:identifier, constant."""
    title: Ascii
    """dc:title: what the list is, in a few words."""
    description: str
    """dc:description: what it is for."""
    source: Ascii
    """dc:source: the organisation it comes from."""
    vo: str = ""
    """Virtual organisation the list is for (ad:vo)."""
    url: HttpUrl
    """Public base address; the list is at URL/NAME/imagelist.signed, images below URL/NAME/images/."""
    owner: ListOwner
    """Who answers questions about it."""
    appliances: tuple[Listed, ...]
    """What is published. An empty list withdraws everything."""
    endorsed_by: Name
    """The endorser list (endorsers/NAME.yaml) whose members' endorsements count for publication."""
    endorser: Name | None = None
    """Whose endorsements alone count, for a list of one endorser; left out, those of all its members with their quorum."""
    patches: Patches = Patches()
    """What is published beside the images."""
    lifetime: Duration = Duration.parse("28d")
    """dc:date:expires of the list counted from when it is written."""
    renew_before: Duration = Duration.parse("7d")
    """How long before it expires an unchanged list is written again."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        index = repeated(listed.appliance for listed in self.appliances)
        if index is not None:
            raise Inconsistent(f"{self.appliances[index].appliance} is listed twice", "appliances", index, "appliance", hint="list it once")
        if self.renew_before >= self.lifetime:
            what = f"renew_before {self.renew_before} is not shorter than lifetime {self.lifetime}"
            raise Inconsistent(what, "renew_before", hint="the list would be written again at every run; write a shorter time")
        return self
