"""A part of `sites/NAME.yaml`: what the site decides about what is endorsed: approve, block, hold."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import SerializerFunctionWrapHandler, StringConstraints, model_serializer, model_validator

from vmkeeper.model.base import Document, Inconsistent
from vmkeeper.model.endorser import Pattern
from vmkeeper.values import Name, Sha512, Time, VersionConstraint

Reason = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
TagPattern = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9*][A-Za-z0-9*._/-]*$", max_length=300)]
"""A tag's name in which `*` stands for any characters."""
_NAMING = frozenset({"appliance", "list", "community", "endorser", "tag", "digest"})
"""Fields of which an approval or a block must have one."""


class Selection(Document):
    """Which releases, where and when: every field that is given must match."""

    appliance: Pattern = "*"
    """A name, a pattern, or the UUID of an image on a foreign list."""
    version: VersionConstraint = VersionConstraint("*")
    """Which versions."""
    list: Name | None = None
    """Only of this image list, own or foreign."""
    community: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    """Only of lists of this community (the list's `vo`, an endorser list's `community`); `*` stands for any characters."""
    endorser: Name | None = None
    """Only what this endorser (of a foreign list: the list itself) answers for."""
    tag: TagPattern | None = None
    """Only what an endorsement under such a tag vouches for: `endorse/APPLIANCE/VERSION/ENDORSER/SERIAL`."""
    digest: Sha512 | None = None
    """Only the release that has a file with this SHA-512."""
    places: tuple[Name, ...] = ()
    """Only at these places of the site's platform (its projects, regions, datastores); none: at all."""
    not_before: Time | None = None
    """From then on."""
    until: Time | None = None
    """Up to then."""

    @model_serializer(mode="wrap")
    def _named(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """All of them is said, although it is the default: what names nothing else is read back by it."""
        value: dict[str, Any] = dump(self)
        return value if any(name in value for name in _NAMING) else {"appliance": self.appliance, **value}

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.not_before is not None and self.until is not None and self.until <= self.not_before:
            raise Inconsistent("until is not after not_before", "until", hint="write a later time")
        return self


class Approval(Selection):
    """A decision to run what is endorsed. What is approved by nothing but time or place is approved by name: `appliance: "*"`."""

    @model_validator(mode="after")
    def _of_something(self) -> Self:
        if not self.model_fields_set & _NAMING:
            raise Inconsistent(
                "it does not say what is approved", hint='name an appliance, list, community, endorser, tag or digest; all: appliance: "*"'
            )
        return self


class Block(Selection):
    """A decision not to run something, whatever else says so."""

    reason: Reason
    """Why; shown to whoever asks why it does not run."""

    @model_validator(mode="after")
    def _of_something(self) -> Self:
        if not self.model_fields_set & _NAMING:
            raise Inconsistent(
                "it does not say what is blocked", hint='name an appliance, list, community, endorser, tag or digest; all: appliance: "*"'
            )
        return self


class Hold(Document):
    """A decision to leave an appliance as it is: nothing newer comes, nothing goes for being old or no longer offered.

    What must not run (withdrawn, blocked, expired) goes all the same.
    """

    appliance: Pattern
    """A name or a pattern."""
    places: tuple[Name, ...] = ()
    """Only at these places of the site's platform; none: at all."""
    until: Time | None = None
    """Up to then."""
    reason: Reason
    """Why; shown in every plan that would do something else."""
