"""From what lists and tags say to what a site's plan is made of: offers and standings. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast, get_args

from pydantic import ValidationError

from vmkeeper.clouds.interface import ImageSpec
from vmkeeper.lists import extension
from vmkeeper.lists.hepix import HepixImage, HepixList
from vmkeeper.model.appliance import Architecture, Format
from vmkeeper.model.release import ImageFile
from vmkeeper.model.site import Subscription
from vmkeeper.plan.formats import format_named, is_plain
from vmkeeper.plan.supply import SuppliedFile, SuppliedPatch, Supply
from vmkeeper.plan.wanted import Allowed, Ground, NotAllowed, Note, Offer, Standing
from vmkeeper.trust.approval import Decision
from vmkeeper.trust.people import TrustedEndorsers, matches
from vmkeeper.trust.said import Endorsement, Withdrawal
from vmkeeper.trust.verify import Accepted, Verdict
from vmkeeper.values import Size, Version

_LONGEST = 1000
"""Characters of a property."""
_PROPERTIES = {
    "title": "title",
    "description": "dc:description",
    "hypervisor": "hv:hypervisor",
    "comments": "sl:comments",
    "mpuri": "ad:mpuri",
    "group": "ad:group",
    "os": "sl:os",
    "osname": "sl:osname",
    "osversion": "sl:osversion",
    "arch": "sl:arch",
    "base_mpuri": "ad:base_mpuri",
    "appid": "ad:appid",
}
"""Attribute of a list's image → property of the cloud's image."""
_MEMORY = {"ram_minimum": "hv:ram_minimum", "ram_recommended": "ad:ram_recommended"}
_CORES = {"core_minimum": "hv:core_minimum", "core_recommended": "ad:core_recommended"}
_MIB = 2**20


def offers_of(source: HepixList, subscription: Subscription, names: Mapping[str, str]) -> tuple[tuple[Offer, ...], tuple[Note, ...]]:
    """The entries of a list that the site subscribes to, and a note for each that cannot be taken.

    names: appliance UUID → name. An entry whose appliance has no known name is called by its UUID.
    """
    offers: list[Offer] = []
    notes: list[Note] = []
    for image in source.images:
        name = names.get(image.uuid, image.uuid)
        if any(matches(pattern, name) for pattern in subscription.appliances):
            try:
                offers.append(_offer(source, image, name))
            except ValidationError as error:
                notes.append(Note(f"{name} {image.version}", f"the list's entry cannot be taken: {error.errors()[0]['msg']}"))
            except ValueError as error:
                notes.append(Note(f"{name} {image.version}", f"the list's entry cannot be taken: {error}"))
    return tuple(offers), tuple(notes)


def _offer(source: HepixList, image: HepixImage, name: str) -> Offer:
    found = format_named(image.format or "")
    if not is_plain(found):
        raise ValueError(f"its format is {image.format or 'not said'}")
    version = Version(image.version)
    spec = ImageSpec(
        name=f"{name}-{version}",
        appliance=name,
        uuid=image.uuid,
        version=version,
        architecture=cast(Architecture, image.arch if image.arch in get_args(Architecture) else "x86_64"),
        format=cast(Format, found),
        size=image.size,
        virtual_size=Size(0),
        sha512=image.sha512,
        list=source.uuid,
        expires=image.expires or source.expires,
        properties=properties_of(source, image, version),
    )
    return Offer(spec, supply_of(image))


def properties_of(source: HepixList, image: HepixImage, version: Version) -> dict[str, str]:
    """What a cloud's users are told of an image besides, memory in MiB; empty values are left out, long ones are cut."""
    said = {name: getattr(image, attribute) for attribute, name in _PROPERTIES.items()}
    said |= {name: str(-(-int(memory) // _MIB)) for attribute, name in _MEMORY.items() if (memory := getattr(image, attribute))}
    said |= {name: str(cores) for attribute, name in _CORES.items() if (cores := getattr(image, attribute))}
    said |= {"ad:vo": source.vo, "hv:version": image.version if image.version != str(version) else None}
    return {name: text[:_LONGEST] for name, text in said.items() if text}


def supply_of(image: HepixImage, credentials: str | None = None, max_virtual: Size | None = None) -> Supply:
    """How an entry's file can be had. What its extension field says and cannot be read is as if it were not said."""
    ways = extension.read(image)
    return Supply(
        uri=image.uri,
        patches=tuple(SuppliedPatch(**one) for one in ways.patches),
        compressed=SuppliedFile(**ways.compressed) if ways.compressed else None,
        credentials=credentials,
        max_virtual=max_virtual,
    )


def standing_of(decision: Decision, endorsers: TrustedEndorsers, verdicts: Iterable[Verdict], *, quiet: bool = False) -> Standing:
    """What a decision about one version (rule R20) means for its image. quiet: one that the site has not decided about is passed over."""
    if not decision.accepted:
        why = "; ".join(f"{refusal.why} ({refusal.evidence})" if refusal.evidence else refusal.why for refusal in decision.refusals)
        return NotAllowed(_ground(decision, verdicts), why, quiet and decision.undecided)
    said = [cast(Endorsement, one.statement) for one in decision.endorsements]
    ends = sorted((one.expires for one in said), reverse=True)
    files = tuple(
        ImageFile(format=file.format, size=Size(file.size), virtual_size=Size(file.virtual_size), sha512=file.sha512)
        for file in decision.statement.files
    )
    return Allowed(files, ends[endorsers.quorum - 1])


def _ground(decision: Decision, verdicts: Iterable[Verdict]) -> Ground:
    """The gravest of the reasons against a version; it decides only whether the retire limit holds."""
    name, version = decision.appliance, decision.version
    for verdict in verdicts:
        match verdict:
            case Accepted(statement=Withdrawal() as said) if said.appliance == name and Version(said.version) == version:
                return "withdrawn"
    if decision.blocked:
        return "blocked"
    if decision.lapsed or any(refusal.rule == "R13" for refusal in decision.refusals):
        return "expired"
    return "unapproved" if decision.endorsements else "unendorsed"
