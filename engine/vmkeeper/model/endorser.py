"""`endorsers/NAME.yaml`: who may endorse what for a community, with keys, quorum and policy text."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from vmkeeper.model.appliance import OwnPath
from vmkeeper.model.base import Document, Inconsistent, repeated
from vmkeeper.model.imagelist import HttpUrl
from vmkeeper.values import Duration, Name, Time

Pattern = Annotated[str, StringConstraints(pattern=r"^[a-z0-9*][a-z0-9*._-]*$")]
"""An appliance name in which `*` stands for any characters."""


_SSH_KEY = (
    r"^(ssh-ed25519|ecdsa-sha2-nistp(256|384|521)|sk-ssh-ed25519@openssh\.com"
    r"|sk-ecdsa-sha2-nistp256@openssh\.com|ssh-rsa) [A-Za-z0-9+/]+={0,2}$"
)


class OpenPGPKey(Document):
    """An OpenPGP certificate, pinned by the full fingerprint of its primary key."""

    type: Literal["openpgp"]
    """The kind of key."""
    fingerprint: Annotated[str, StringConstraints(pattern=r"^[0-9A-F]{40}$")]
    """Fingerprint of the primary key, 40 hex digits in capitals."""
    file: OwnPath
    """The armoured public key, relative to endorsers/."""


class SSHKey(Document):
    """An SSH public key."""

    type: Literal["ssh"]
    """The kind of key."""
    key: Annotated[str, StringConstraints(pattern=_SSH_KEY)]
    """Type and base64 as in a .pub file, without the comment."""


Key = Annotated[OpenPGPKey | SSHKey, Field(discriminator="type")]


class Scope(Document):
    """What an endorser may answer for."""

    appliances: tuple[Pattern, ...] = ("*",)
    """Names or patterns."""


class Endorser(Document):
    """A person or role that answers for images."""

    name: Name
    """Used in tag names."""
    full_name: str
    """The name as people know it."""
    email: Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+$")]
    """Where to write to."""
    url: HttpUrl | None = None
    """Where more is said about the endorser."""
    keys: Annotated[tuple[Key, ...], Field(min_length=1)]
    """Keys whose signatures are theirs."""
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
    quorum: Annotated[int, Field(ge=1, le=16)] = 1
    """How many endorsers must agree."""
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
        index = repeated(key.fingerprint if isinstance(key, OpenPGPKey) else key.key for _, _, key in held)
        if index is not None:
            where, number, _ = held[index]
            raise Inconsistent("this key is listed before", "endorsers", where, "keys", number, hint="a key belongs to one endorser, once")
        if self.endorsers and self.quorum > len(self.endorsers):
            what = f"a quorum of {self.quorum} with {len(self.endorsers)} endorsers can never be reached"
            raise Inconsistent(what, "quorum", hint="lower the quorum, or add endorsers")
        return self
