"""`endorsers/policy.yaml`: who decides about the endorser lists, which builders are believed, how fresh a site must be.

It comes into force with all of endorsers/ when a quorum of its principals and of its predecessor's sign a policy tag.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from vmkeeper.model.base import Document, Inconsistent, repeated
from vmkeeper.model.keys import Key, Person, identity
from vmkeeper.values import Duration, Name

BuilderId = Annotated[str, StringConstraints(pattern=r"^https?://[\x21-\x7e]+$", max_length=500)]
"""A SLSA builder id: a URI that names a build service."""


class Builder(Document):
    """A service that builds images, tests them and signs provenance with its online key. It cannot endorse."""

    name: Name
    """How it is called here."""
    id: BuilderId
    """What its provenance must say as builder.id; a URI."""
    keys: Annotated[tuple[Key, ...], Field(min_length=1)]
    """Keys whose signatures are its own."""


class Freshness(Document):
    """Sites register nothing new without a statement of one of these builders that what they see is the newest."""

    signers: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Names of builders whose online keys sign it."""
    maximum_validity: Annotated[Duration, Field(ge=24 * 3600, le=72 * 3600)] = Duration.parse("48h")
    """The longest that one statement may be valid; 24 to 72 hours."""


class Policy(Document):
    """The root of what the endorser lists rest on."""

    title: str
    """What it is, in a few words."""
    quorum: Annotated[int, Field(ge=1, le=16)]
    """How many principals must sign a policy."""
    principals: Annotated[tuple[Person, ...], Field(min_length=1)]
    """Who may sign a policy; each of them alone may revoke a key."""
    maximum_lifetime: Duration = Duration.parse("400d")
    """The longest validity of a policy; before it ends a new one must be signed."""
    builders: tuple[Builder, ...] = ()
    """Build services that are believed; with any, every release needs provenance signed by one of them."""
    freshness: Freshness | None = None
    """What keeps a site from being held back on an old state; left out, nothing does."""

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        both = [("principals", index, one) for index, one in enumerate(self.principals)]
        everybody: list[tuple[str, int, Person | Builder]] = [*both, *(("builders", index, one) for index, one in enumerate(self.builders))]
        twice = repeated(one.name for _, _, one in everybody)
        if twice is not None:
            field, index, one = everybody[twice]
            raise Inconsistent(f"the name {one.name} is there twice", field, index, "name", hint="a name belongs to one person or builder")
        held = [(field, index, number, key) for field, index, one in everybody for number, key in enumerate(one.keys)]
        twice = repeated(identity(key) for _, _, _, key in held)
        if twice is not None:
            field, index, number, _ = held[twice]
            raise Inconsistent("this key is listed before", field, index, "keys", number, hint="a key belongs to one person or builder, once")
        if self.quorum > len(self.principals):
            what = f"a quorum of {self.quorum} with {len(self.principals)} principals can never be reached"
            raise Inconsistent(what, "quorum", hint="lower the quorum, or add principals")
        known = [one.name for one in self.builders]
        for index, name in enumerate(self.freshness.signers if self.freshness else ()):
            if name not in known:
                raise Inconsistent(f"there is no builder {name}", "freshness", "signers", index, hint="name one under builders")
        return self
