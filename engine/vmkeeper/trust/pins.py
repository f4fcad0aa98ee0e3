"""What a site pins, in its own configuration outside every followed repository: the only root of its trust.

A pins file holds whole keys, so nothing that a repository or a key server says later can change them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from io import StringIO
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

from vmkeeper.errors import Refused, UserError
from vmkeeper.model.base import Document
from vmkeeper.model.endorser import Endorser, EndorserList, OpenPGPKey, Scope
from vmkeeper.trust.keys.interface import ListedKey, PinnedOpenPGPKey, PinnedSSHKey
from vmkeeper.trust.keys.packets import read_certificate
from vmkeeper.trust.keys.ssh import read_public_key
from vmkeeper.values import CommitId, Duration, Name, Time, Uuid, visible

PinnedKey = Annotated[PinnedOpenPGPKey | PinnedSSHKey, Field(discriminator="type")]
_Dn = Annotated[str, StringConstraints(pattern=r"^(/[A-Za-z0-9.]+=[\x20-\x2e\x30-\x7e]+([\x20-\x2e\x30-\x7e/]*))+$", max_length=1000)]
"""A distinguished name in one-line form, `/DC=org/DC=example/CN=Name`."""
_Host = Annotated[str, StringConstraints(pattern=r"^[a-z0-9:][a-z0-9.:-]{0,252}$")]


class PinnedEndorser(Document):
    """An endorser with whole keys."""

    name: Name
    full_name: str
    email: str
    keys: Annotated[tuple[PinnedKey, ...], Field(min_length=1)]
    scope: Scope = Scope()
    not_before: Time | None = None
    expires: Time | None = None

    def in_scope(self, appliance: str) -> bool:
        """Whether this endorser may answer for the appliance."""
        return any(matches(pattern, appliance) for pattern in self.scope.appliances)

    def in_office(self, now: datetime) -> bool:
        """Whether the list lets this endorser endorse at the time."""
        return (self.not_before is None or self.not_before <= now) and (self.expires is None or now < self.expires)


class PinnedEndorsers(Document):
    """An endorser list as the site accepted it."""

    name: Name
    """Its name in the repository: endorsers/NAME.yaml."""
    quorum: Annotated[int, Field(ge=1, le=16)] = 1
    maximum_lifetime: Duration
    """The longest validity of an endorsement."""
    endorsers: tuple[PinnedEndorser, ...]

    def endorser(self, name: str) -> PinnedEndorser | None:
        """The endorser with this name."""
        return next((endorser for endorser in self.endorsers if endorser.name == name), None)

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        names = [endorser.name for endorser in self.endorsers]
        try:
            keys = [key_id(key) for endorser in self.endorsers for key in endorser.keys]
        except Refused as error:
            raise ValueError(error.what) from None
        for kind, items in (("name", names), ("key", keys)):
            for item in items:
                if items.count(item) > 1:
                    raise ValueError(f"the {kind} {item} is there twice: a name and a key belong to one endorser")
        return self


class PinnedImageList(Document):
    """An image list and who may sign it."""

    name: Name
    """Its name in the repository: imagelists/NAME.yaml."""
    uuid: Uuid
    signer: _Dn
    """Subject of the signer's certificate."""
    ca: _Dn
    """Issuer of the signer's certificate."""
    endorsers: Name
    """The endorser list whose endorsements count for its images."""


class FetchPolicy(Document):
    """What may be fetched from."""

    allowed_hosts: tuple[_Host, ...] = ()
    """Hosts that may be reached although their addresses are not global, such as a mirror inside the site."""


class Pins(Document):
    """`pins.yaml` of a site."""

    version: Literal[1] = 1
    repository: CommitId
    """The root commit of the followed repository."""
    endorsers: tuple[PinnedEndorsers, ...] = ()
    image_lists: tuple[PinnedImageList, ...] = ()
    clock_skew: Duration = Duration.parse("5m")
    """How far an endorser's clock may be ahead of ours."""
    fetch: FetchPolicy = FetchPolicy()

    def endorser_list(self, name: str) -> PinnedEndorsers | None:
        """The pinned endorser list with this name."""
        return next((one for one in self.endorsers if one.name == name), None)

    def image_list(self, name: str) -> PinnedImageList | None:
        """The pinned image list with this name."""
        return next((one for one in self.image_lists if one.name == name), None)

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for kind, names in (("endorser list", [one.name for one in self.endorsers]), ("image list", [one.name for one in self.image_lists])):
            if len(set(names)) != len(names):
                raise ValueError(f"an {kind} is pinned twice")
        for one in self.image_lists:
            if self.endorser_list(one.endorsers) is None:
                raise ValueError(f"image list {one.name} names the endorser list {one.endorsers}, which is not pinned")
        return self


def matches(pattern: str, name: str) -> bool:
    """Whether an appliance's name fits a pattern, in which `*` stands for any characters."""
    return fnmatchcase(name, pattern)


def key_id(key: PinnedKey | ListedKey) -> str:
    """How statements name a key: `openpgp:FINGERPRINT` or `ssh:SHA256:…`."""
    if isinstance(key, PinnedSSHKey):
        return f"ssh:{read_public_key(key.key).fingerprint}"
    return f"openpgp:{key.fingerprint}"


def pin_list(name: str, source: EndorserList, key_file: Callable[[str], bytes]) -> PinnedEndorsers:
    """Pin an endorser list as it stands. key_file: bytes of a key file by its path relative to endorsers/.

    Raises UserError where a key file does not hold exactly the one public key that the list names.
    """
    return PinnedEndorsers(
        name=name,
        quorum=source.quorum,
        maximum_lifetime=source.maximum_lifetime,
        endorsers=tuple(_pin(endorser, key_file, f"endorsers/{name}.yaml") for endorser in source.endorsers),
    )


def pins_from(
    repository: CommitId,
    lists: Mapping[str, EndorserList],
    key_file: Callable[[str], bytes],
    image_lists: tuple[PinnedImageList, ...] = (),
    *,
    clock_skew: Duration | None = None,
    fetch: FetchPolicy | None = None,
) -> Pins:
    """The pins for a repository (its root commit) from endorser lists by name. Raises UserError like `pin_list`."""
    try:
        return Pins(
            repository=repository,
            endorsers=tuple(pin_list(name, lists[name], key_file) for name in sorted(lists)),
            image_lists=image_lists,
            clock_skew=clock_skew or Duration.parse("5m"),
            fetch=fetch or FetchPolicy(),
        )
    except ValidationError as error:
        raise UserError("these lists cannot be pinned together", why="; ".join(one["msg"] for one in error.errors())) from None


def _pin(endorser: Endorser, key_file: Callable[[str], bytes], where: str) -> PinnedEndorser:
    keys: list[PinnedKey] = []
    for key in endorser.keys:
        try:
            keys.append(_pin_openpgp(key, key_file(key.file)) if isinstance(key, OpenPGPKey) else _pin_ssh(key))
        except Refused as error:
            raise UserError(f"the key of {endorser.name} cannot be pinned: {error.what}", where=where, why=error.why, hint=error.hint) from None
    fields = endorser.model_dump(include={"name", "full_name", "email", "scope", "not_before", "expires"})
    return PinnedEndorser(**fields, keys=tuple(keys))


def _pin_openpgp(key: OpenPGPKey, data: bytes) -> PinnedOpenPGPKey:
    text = data.decode("ascii", errors="replace")
    certificate = read_certificate(text)
    if certificate.fingerprint != key.fingerprint:
        raise Refused("R10", f"{key.file} holds another key than the list names", why=f"{certificate.fingerprint}, not {key.fingerprint}")
    return PinnedOpenPGPKey(type="openpgp", fingerprint=key.fingerprint, armour=text.strip() + "\n")


def _pin_ssh(key: PinnedSSHKey) -> PinnedSSHKey:
    read_public_key(key.key)
    return key


def fingerprints(pins: Pins) -> str:
    """What a person compares, by telephone or on paper, before accepting pins: root commit, lists, people, fingerprints."""
    lines = [f"repository   {_grouped(pins.repository)}"]
    for one in pins.endorsers:
        lines += ["", f"endorsers    {one.name}: {one.quorum} of {len(one.endorsers)} must agree, for at most {one.maximum_lifetime}"]
        for endorser in one.endorsers:
            lines.append(f"  {endorser.name}: {visible(endorser.full_name)} <{visible(endorser.email)}>, for {', '.join(endorser.scope.appliances)}")
            lines += [f"    {_shown(key)}" for key in endorser.keys]
    for image_list in pins.image_lists:
        lines += ["", f"image list   {image_list.name} {image_list.uuid}, its images endorsed by {image_list.endorsers}"]
        lines += [f"  signed by  {image_list.signer}", f"  issued by  {image_list.ca}"]
    return "\n".join(lines) + "\n"


def to_yaml(pins: Pins) -> str:
    """The text of a pins file; reading it gives equal pins."""
    value = pins.model_dump(mode="json", exclude_none=True)
    for one in value["endorsers"]:
        for endorser in one["endorsers"]:
            for key in endorser["keys"]:
                if "armour" in key:
                    key["armour"] = LiteralScalarString(key["armour"])
    yaml, out = YAML(typ="rt", pure=True), StringIO()
    yaml.default_flow_style = False
    yaml.width = 4096
    yaml.dump(value, out)
    return out.getvalue()


def _shown(key: PinnedKey) -> str:
    if isinstance(key, PinnedSSHKey):
        public = read_public_key(key.key)
        return f"SSH      {public.type} {public.fingerprint}"
    return f"OpenPGP  {_grouped(key.fingerprint)}"


def _grouped(digits: str) -> str:
    return " ".join(digits[start : start + 4] for start in range(0, len(digits), 4))
