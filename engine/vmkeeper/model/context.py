"""`clusters/contexts/NAME.yaml`: how a virtual machine configures itself at first boot."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import StringConstraints

from vmkeeper.model.base import Document
from vmkeeper.values import Name

Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class Parameter(Document):
    """A value that a cluster gives a context."""

    type: Literal["string", "integer", "boolean", "address", "list"] = "string"
    """What kind of value it takes."""
    description: str = ""
    """What it is for."""
    default: str | int | bool | tuple[str, ...] | None = None
    """Used where nothing is given; without one the parameter must be given."""


class Context(Document):
    """How a virtual machine configures itself. References are `${param.x}`, `${self.address}`, `${service.NAME.address}`."""

    title: str = ""
    """What it is, in a few words."""
    description: str = ""
    """What it is for."""
    extends: Name | None = None
    """The parent context: maps merge, lists append."""
    abstract: bool = False
    """Only there to be extended."""
    parameters: dict[Identifier, Parameter] = {}
    """Values that a cluster gives."""
    secrets: tuple[Identifier, ...] = ()
    """Names of secrets that are filled in at the site."""
    visibility: Literal["private", "shared", "public"] = "private"
    """Who may see and use it."""
    tags: tuple[Name, ...] = ()
    """Words to find it by."""
    instructions: str = ""
    """What the person who starts it should know."""
    cloud_init: dict[str, Any] = {}
    """A cloud-config map."""
    plugins: dict[Identifier, dict[Identifier, str]] = {}
    """amiconfig plug-ins, a section each."""
