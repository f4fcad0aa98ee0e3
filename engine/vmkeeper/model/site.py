"""`sites/NAME.yaml`: one cloud, its platform, what it subscribes to and what it approves.

Whom a site trusts is pinned in the site's own configuration, outside any followed repository.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, StringConstraints, model_validator

from vmkeeper.model.appliance import Format
from vmkeeper.model.base import Document, Inconsistent, repeated
from vmkeeper.model.decision import Approval, Block, Hold
from vmkeeper.model.endorser import Pattern
from vmkeeper.model.foreign import ForeignList
from vmkeeper.model.handler import Handler
from vmkeeper.model.platform import Audience, Platform
from vmkeeper.model.service import Notifier, Report, Watch
from vmkeeper.values import Duration, Name, Size

Percent = Annotated[str, StringConstraints(pattern=r"^(100|[1-9]?[0-9])%$")]


class Subscription(Document):
    """An image list that the site takes images from."""

    list: Name
    """imagelists/NAME.yaml of this repository."""
    appliances: tuple[Pattern, ...] = ("*",)
    """Which appliances of it."""
    new: Literal["ask", "refuse"] = "ask"
    """What becomes of an endorsed release that neither `approve` nor `block` of the site is about: it waits for a decision and is
    told, or it is passed over."""


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


class Names(Document):
    """What images are called at the cloud: Jinja2 templates.

    Variables: `appliance`, `version`, `title`, `list`, `community`, `architecture`, `uuid`, `site`.
    """

    image: Annotated[str, StringConstraints(min_length=1, max_length=300)] = "{{ appliance }}-{{ version }}"
    """Of every version."""
    alias: Annotated[str, StringConstraints(max_length=300)] = "{{ appliance }}"
    """Of the newest usable version of an appliance, in place of `image` where the cloud has no better way (see the cloud's own
    documentation), so that users' scripts go on working. Empty: there is none."""


class AudienceRule(Document):
    """Who may use some of the images; of several rules the first that matches counts."""

    appliances: tuple[Pattern, ...] = ("*",)
    """Which appliances."""
    lists: tuple[Name, ...] = ()
    """Only of these image lists, own or foreign; none: of all."""
    communities: tuple[str, ...] = ()
    """Only of lists of these communities; `*` stands for any characters; none: of all."""
    audience: Audience
    """Who may use them."""


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
    hold: tuple[Hold, ...] = ()
    """What the site leaves as it is."""
    audience: tuple[AudienceRule, ...] = ()
    """Who may use the images; those that no rule matches are private to the account."""
    names: Names = Names()
    """What images are called at the cloud."""
    drift: Literal["repair", "leave"] = "repair"
    """What becomes of an image of ours that somebody changed or deleted at the cloud: it is made again what it should be, or it is told and left."""
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
    watch: Watch = Watch()
    """How often `reconcile --watch` looks."""
    notify: tuple[Notifier, ...] = ()
    """Who gets messages of what runs came to."""
    report: Report | None = None
    """Where the site's status goes; left out, nowhere."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        names = [one.list for one in self.subscribe] + [one.name for one in self.foreign]
        if (index := repeated(names)) is not None:
            field, at = ("subscribe", index) if index < len(self.subscribe) else ("foreign", index - len(self.subscribe))
            raise Inconsistent(f"two lists are called {names[index]}", field, at, hint="give one of them another name")
        foreign = {one.name for one in self.foreign}
        for index, one in enumerate(self.foreign):
            beginnings = (one.name[: at.start()] for at in re.finditer("-", one.name))
            if (other := next((name for name in beginnings if name in foreign), None)) is not None:
                hint = "give one of them another name, so that an approval cannot mean images of both"
                raise Inconsistent(f"{one.name} begins like the names of images of {other}", "foreign", index, "name", hint=hint)
        if (index := repeated(one.name for one in self.events)) is not None:
            raise Inconsistent(f"two handlers are called {self.events[index].name}", "events", index, "name", hint="give one of them another name")
        if (index := repeated(one.name for one in self.notify)) is not None:
            raise Inconsistent(f"two notifiers are called {self.notify[index].name}", "notify", index, "name", hint="give one of them another name")
        self._check_places()
        return self

    def at(self, place: str) -> Self:
        """The site as it decides about one of its places; `""` where its platform has only one.

        Approvals, blocks and holds that mean the place mean it without saying so. Those of other places are gone; approvals of
        other places stay as they are (an approval that names places counts only where it was narrowed): what is approved
        elsewhere is decided here too, and does not run. Raises ValueError where there is no such place.
        """
        if place not in (self.platform.place_names or ("",)):
            raise ValueError(f"the platform has no place {place!r}")
        return self.model_copy(
            update={
                "approve": tuple(_at(one, place) or one for one in self.approve),
                "block": tuple(filter(None, (_at(one, place) for one in self.block))),
                "hold": tuple(filter(None, (_at(one, place) for one in self.hold))),
            }
        )

    def everywhere(self) -> tuple[Self, ...]:
        """The site at each of its places."""
        return tuple(self.at(place) for place in self.platform.place_names or ("",))

    def _check_places(self) -> None:
        known = self.platform.place_names
        if (index := repeated(known)) is not None:
            raise Inconsistent(f"two places are called {known[index]}", "platform", "places", index, "name", hint="give one of them another name")
        for field in ("approve", "block", "hold"):
            for index, one in enumerate(getattr(self, field)):
                for at, place in enumerate(one.places):
                    if place not in known:
                        hint = f"its places are {', '.join(known)}" if known else "the platform has one place only; leave places out"
                        raise Inconsistent(f"the platform has no place {place}", field, index, "places", at, hint=hint)


_Placed = TypeVar("_Placed", Approval, Block, Hold)


def _at(one: _Placed, place: str) -> _Placed | None:
    """A decision without its places; None where it means others."""
    if not one.places:
        return one
    return one.model_copy(update={"places": ()}) if place in one.places else None
