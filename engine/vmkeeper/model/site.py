"""`sites/NAME.yaml`: one cloud, its platform, what it subscribes to and what it approves.

Whom a site trusts is pinned in the site's own configuration, outside any followed repository.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from vmkeeper.model.appliance import Format
from vmkeeper.model.base import Document, Inconsistent, repeated
from vmkeeper.model.endorser import Pattern
from vmkeeper.model.foreign import ForeignList
from vmkeeper.model.handler import Handler
from vmkeeper.values import Duration, Name, Size, VersionConstraint

Percent = Annotated[str, StringConstraints(pattern=r"^(100|[1-9]?[0-9])%$")]


class LocalPlatform(Document):
    """A folder of images and QEMU virtual machines on one computer."""

    type: Literal["local"]
    """The kind of platform."""
    accelerator: Literal["auto", "kvm", "tcg"] = "auto"
    """auto probes KVM and falls back to software emulation."""
    memory: Size = Size.parse("8GiB")
    """What all virtual machines together may use."""


Platform = Annotated[LocalPlatform, Field()]


class Subscription(Document):
    """An image list that the site takes images from."""

    list: Name
    """imagelists/NAME.yaml of this repository."""
    appliances: tuple[Pattern, ...] = ("*",)
    """Which appliances of it."""


class Approval(Document):
    """A decision to run what is endorsed; every field that is given must match."""

    appliance: Pattern
    """A name or a pattern."""
    version: VersionConstraint = VersionConstraint("*")
    """Which versions."""
    endorser: Name | None = None
    """Whose endorsement; left out, anyone's that counts."""


class Block(Document):
    """A decision not to run something, whatever else says so."""

    appliance: Pattern
    """A name or a pattern."""
    version: VersionConstraint = VersionConstraint("*")
    """Which versions."""
    reason: Annotated[str, StringConstraints(min_length=1)]
    """Why; shown to whoever asks why it does not run."""


class Retirement(Document):
    """How old versions go."""

    grace: Duration = Duration.parse("7d")
    """Time between hiding an image and deleting it. An image in use is never deleted."""
    stale_grace: Duration = Duration.parse("30d")
    """How long images stay usable when nothing fresh is heard of who vouches for them."""
    limit: Percent = "50%"
    """The most images one run may retire without being told to; withdrawn ones do not count."""


class Cache(Document):
    """Image files that a site keeps, by content: what patches apply to, and what need not come twice."""

    size: Size = Size.parse("20GiB")
    """What all files together may take; those that were used longest ago go first."""
    age: Duration = Duration.parse("60d")
    """How long a file stays that nothing uses."""


class Transfers(Document):
    """How image files come."""

    at_once: Annotated[int, Field(ge=1, le=32)] = 2
    """Image files that come at the same time."""
    from_one_host: Annotated[int, Field(ge=1, le=32)] = 2
    """Of these from one host."""
    patches: bool = True
    """Whether a patch is fetched where the site has the file that it applies to."""
    patch_memory: Size = Size.parse("2GiB")
    """The most memory that applying one may take; one that needs more is not fetched."""
    convert_early: bool = True
    """Whether a file that is to be converted is read by a confined qemu-img while it still comes, before its digest is known. What
    is made of another file than the signed one is thrown away."""


class Site(Document):
    """One cloud."""

    title: str
    """What it is, in a few words."""
    platform: Platform
    """The cloud."""
    subscribe: tuple[Subscription, ...] = ()
    """Where images come from."""
    foreign: tuple[ForeignList, ...] = ()
    """Image lists of other organisations."""
    approve: tuple[Approval, ...] = ()
    """What the site decides to run."""
    block: tuple[Block, ...] = ()
    """What the site decides not to run; it wins over every approval."""
    retire: Retirement = Retirement()
    """How fast old versions go."""
    formats: Annotated[tuple[Format, ...], Field(min_length=1)] = ("qcow2", "raw")
    """Formats the site takes, the preferred one first."""
    keep: Annotated[int, Field(ge=1, le=100)] = 1
    """How many versions of an appliance stay usable."""
    cache: Cache = Cache()
    """Image files that stay."""
    transfers: Transfers = Transfers()
    """How image files come: how many at a time, and by which ways."""
    events: tuple[Handler, ...] = ()
    """Who is told what happens to images here."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        names = [one.list for one in self.subscribe] + [one.name for one in self.foreign]
        if (index := repeated(names)) is not None:
            field, at = ("subscribe", index) if index < len(self.subscribe) else ("foreign", index - len(self.subscribe))
            raise Inconsistent(f"two lists are called {names[index]}", field, at, hint="give one of them another name")
        for index, one in enumerate(self.foreign):
            if (other := next((each.name for each in self.foreign if one.name.startswith(f"{each.name}-")), None)) is not None:
                hint = "give one of them another name, so that an approval cannot mean images of both"
                raise Inconsistent(f"{one.name} begins like the names of images of {other}", "foreign", index, "name", hint=hint)
        if (index := repeated(one.name for one in self.events)) is not None:
            raise Inconsistent(f"two handlers are called {self.events[index].name}", "events", index, "name", hint="give one of them another name")
        return self
