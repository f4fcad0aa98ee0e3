"""`endorsers/NAME.yaml`: who may endorse what for a community, with keys, quorum and policy text."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from vmkeeper.model.base import Document, Inconsistent, repeated
from vmkeeper.model.imagelist import HttpUrl
from vmkeeper.model.keys import Person, identity
from vmkeeper.values import Duration, Name, Sha512, Time

Pattern = Annotated[str, StringConstraints(pattern=r"^[a-z0-9*][a-z0-9*._-]*$")]
"""An appliance name in which `*` stands for any characters."""


class Position(Document):
    """How far a list has followed the list that it is based on."""

    policy: Annotated[int, Field(ge=1)]
    """Number of the source's policy in force when it was last looked at."""
    list: Sha512
    """SHA-512 of the source's list as it was then."""
    at: Time
    """When that was."""


class Base(Document):
    """A list that another one is based on: it may ask for more and take people away, never keep whom its source dropped."""

    list: Name
    """endorsers/NAME.yaml, of this repository or of the remote one."""
    source: Name | None = None
    """Left out, the list lies in this repository. Else endorsers/sources/NAME/: pins.yaml of the remote repository, and
    what was last taken from it."""
    synchronised: Position | None = None
    """Written by `vmkeeper policy sync`; only for a remote list."""
    maximum_lag: Duration = Duration.parse("7d")
    """How long a remote list may go without being looked at."""

    @model_validator(mode="after")
    def _remote_or_local(self) -> Self:
        if self.source is None and self.synchronised is not None:
            raise Inconsistent("a list of this repository is not synchronised, it is read", "synchronised", hint="leave it out, or name a source")
        return self


class Scope(Document):
    """What an endorser may answer for."""

    appliances: Annotated[tuple[Pattern, ...], Field(min_length=1)] = ("*",)
    """Names or patterns."""
    communities: Annotated[tuple[Pattern, ...], Field(min_length=1)] = ("*",)
    """Communities for whose lists they may answer; names or patterns."""


class Endorser(Person):
    """A person or role that answers for images."""

    url: HttpUrl | None = None
    """Where more is said about the endorser."""
    image_list: HttpUrl | None = None
    """Where the endorser's own image list is published."""
    scope: Scope = Scope()
    """What they may answer for."""
    not_before: Time | None = None
    """Endorsements made earlier do not count."""
    expires: Time | None = None
    """The endorser's last moment; endorsements end with it."""

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.not_before is not None and self.expires is not None and self.expires <= self.not_before:
            raise Inconsistent("expires is not after not_before", "expires", hint="write a later time")
        return self


class EndorserList(Document):
    """Who may endorse for a community."""

    title: str
    """What it is, in a few words."""
    community: str
    """The virtual organisation or community that the list speaks for."""
    policy: str
    """What an endorser promises by endorsing."""
    criteria: tuple[str, ...] = ()
    """What a release must meet, one sentence each; a list that is based on this one may add to them."""
    based_on: Base | None = None
    """The list that this one follows."""
    quorum: Annotated[int, Field(ge=1, le=16)] = 1
    """How many endorsers must agree."""
    rebuilds: Annotated[int, Field(ge=0, le=16)] = 0
    """How many of them must have built the release again and found the same bytes."""
    maximum_lifetime: Duration = Duration.parse("180d")
    """The longest validity of an endorsement."""
    endorsers: tuple[Endorser, ...]
    """Who may endorse."""

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        index = repeated(endorser.name for endorser in self.endorsers)
        if index is not None:
            raise Inconsistent(f"two endorsers are named {self.endorsers[index].name}", "endorsers", index, "name", hint="write each endorser once")
        held = [(where, number, key) for where, endorser in enumerate(self.endorsers) for number, key in enumerate(endorser.keys)]
        index = repeated(identity(key) for _, _, key in held)
        if index is not None:
            where, number, _ = held[index]
            raise Inconsistent("this key is listed before", "endorsers", where, "keys", number, hint="a key belongs to one endorser, once")
        for field, count in (("quorum", self.quorum), ("rebuilds", self.rebuilds)):
            if self.endorsers and count > len(self.endorsers):
                what = f"{count} of {len(self.endorsers)} endorsers can never be reached"
                raise Inconsistent(what, field, hint="lower it, or add endorsers")
        return self
