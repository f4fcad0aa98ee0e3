"""`sites/NAME.yaml`: one cloud, its platform, what it subscribes to and what it approves.

Whom a site trusts is pinned in the site's own configuration, outside any followed repository.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from vmkeeper.model.appliance import Format
from vmkeeper.model.base import Document
from vmkeeper.model.endorser import Pattern
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


class Site(Document):
    """One cloud."""

    title: str
    """What it is, in a few words."""
    platform: Platform
    """The cloud."""
    subscribe: tuple[Subscription, ...] = ()
    """Where images come from."""
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
