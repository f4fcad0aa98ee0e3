"""What a site pins, in its own configuration outside every followed repository: the only root of its trust.

A pins file holds whole keys, so nothing that a repository or a key server says later can change them.
"""

from __future__ import annotations

from io import StringIO
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

from vmkeeper.errors import Refused
from vmkeeper.model.base import Document, FirstFormat, Inconsistent
from vmkeeper.model.keys import Dn
from vmkeeper.trust.people import Holder, grouped, shared_keys, shown
from vmkeeper.trust.said import PolicyMark
from vmkeeper.values import CommitId, Duration, Name, Sha512, Uuid, visible

_Host = Annotated[str, StringConstraints(pattern=r"^[a-z0-9:][a-z0-9.:-]{0,252}$")]
_Source = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]+$", max_length=1000)]
_Quorum = Annotated[int, Field(ge=1, le=16)]


class PinnedImageList(Document):
    """An image list and who may sign it."""

    name: Name
    """Its name in the repository: imagelists/NAME.yaml."""
    uuid: Uuid
    signer: Dn
    """Subject of the signer's certificate."""
    ca: Dn
    """Issuer of the signer's certificate."""
    endorsers: Name
    """The endorser list whose endorsements count for its images."""


class FetchPolicy(Document):
    """What may be fetched from."""

    allowed_hosts: tuple[_Host, ...] = ()
    """Hosts that may be reached although their addresses are not global, such as a mirror inside the site."""


class PinnedSite(Document):
    """Who decides for the site what sites/NAME.yaml says: the administrators' signatures, or the one file that was accepted here."""

    name: Name
    file: Sha512 | None = None
    """SHA-512 of the site's file, where no administrators sign."""
    administrators: tuple[Holder, ...] = ()
    quorum: _Quorum = 1

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if (self.file is None) != bool(self.administrators):
            raise Inconsistent("a site is pinned by its file or by its administrators, not both and not neither", "administrators")
        if self.administrators and self.quorum > len(self.administrators):
            raise Inconsistent("more administrators must agree than there are", "quorum")
        _no_shared_keys(self.administrators, "administrators")
        return self


class Pins(Document):
    """`pins.yaml` of a site."""

    version: FirstFormat = 1
    repository: CommitId
    """The root commit of the followed repository."""
    tree: Sha512
    """SHA-512 of the root commit's tree (`repository.digest`)."""
    source: _Source | None = None
    """Where the repository is fetched from: an https or ssh address, or a folder. It is trusted for nothing."""
    policy: PolicyMark
    """The first policy that is trusted: its number, and the SHA-512 of its content."""
    quorum: _Quorum
    """How many principals must have signed that policy."""
    principals: Annotated[tuple[Holder, ...], Field(min_length=1)]
    """Root principals."""
    endorsers: tuple[Name, ...] = ()
    """Endorser lists that count, besides those of the image lists; with neither, all of the policy."""
    image_lists: tuple[PinnedImageList, ...] = ()
    site: PinnedSite | None = None
    maximum_staleness: Duration = Duration.parse("72h")
    """How old the newest freshness statement may be, where the policy names who makes them."""
    clock_skew: Duration = Duration.parse("5m")
    """How far a signer's clock may be ahead of ours."""
    crls: Literal["required", "when-there", "ignored"] = "when-there"
    """Whether certificates need a revocation list of their authority in the CA folder (R18)."""
    fetch: FetchPolicy = FetchPolicy()

    def image_list(self, name: str) -> PinnedImageList | None:
        """The pinned image list with this name."""
        return next((one for one in self.image_lists if one.name == name), None)

    @property
    def lists(self) -> tuple[str, ...]:
        """Names of the endorser lists that count; none: all of the policy."""
        return tuple(dict.fromkeys([*self.endorsers, *(one.endorsers for one in self.image_lists)]))

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if len({one.name for one in self.image_lists}) != len(self.image_lists):
            raise Inconsistent("an image list is pinned twice", "image_lists")
        if self.quorum > len(self.principals):
            raise Inconsistent("more principals must agree than there are", "quorum")
        _no_shared_keys(self.principals, "principals")
        return self


def _no_shared_keys(holders: tuple[Holder, ...], field: str) -> None:
    if len({one.name for one in holders}) != len(holders):
        raise Inconsistent("a name is there twice", field)
    try:
        for refusal in shared_keys(holders):
            raise Inconsistent(f"{refusal.why}: {refusal.evidence}", field)
    except Refused as error:
        raise Inconsistent(error.what, field) from None


def fingerprints(pins: Pins) -> str:
    """What a person compares, by telephone or on paper, before accepting pins: root commit, policy, people, fingerprints."""
    lines = [f"repository   {grouped(pins.repository)}", f"  tree       {grouped(pins.tree[:64])} …"]
    lines += ["", f"policy       number {pins.policy.number}, {grouped(pins.policy.sha512[:64])} …"]
    lines += [f"  {pins.quorum} of {len(pins.principals)} principals must agree on it", *_people(pins.principals)]
    for image_list in pins.image_lists:
        lines += ["", f"image list   {image_list.name} {image_list.uuid}, its images endorsed by {image_list.endorsers}"]
        lines += [f"  signed by  {image_list.signer}", f"  issued by  {image_list.ca}"]
    if pins.site and pins.site.file:
        lines += ["", f"site         {pins.site.name}: this file and no other, {grouped(pins.site.file[:64])} …"]
    elif pins.site:
        lines += ["", f"site         {pins.site.name}: {pins.site.quorum} of {len(pins.site.administrators)} administrators approve"]
        lines += _people(pins.site.administrators)
    return "\n".join(lines) + "\n"


def to_yaml(pins: Pins) -> str:
    """The text of a pins file; reading it gives equal pins."""
    value = pins.model_dump(mode="json", exclude_none=True)
    for holder in [*value["principals"], *value.get("site", {}).get("administrators", ())]:
        for key in holder["keys"]:
            if "armour" in key:
                key["armour"] = LiteralScalarString(key["armour"])
    yaml, out = YAML(typ="rt", pure=True), StringIO()
    yaml.default_flow_style = False
    yaml.width = 4096
    yaml.dump(value, out)
    return out.getvalue()


def _people(holders: tuple[Holder, ...]) -> list[str]:
    return [
        line
        for one in holders
        for line in (f"  {one.name}: {visible(one.full_name)} <{visible(one.email)}>", *(f"    {shown(key)}" for key in one.keys))
    ]
