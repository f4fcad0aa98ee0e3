"""An image list from the releases that were chosen: its HEPiX form, and the shelf that all other forms are written from. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from vmkeeper.lists import extension
from vmkeeper.lists.hepix import HepixEndorser, HepixImage, HepixList
from vmkeeper.lists.shelf import Shelf, ShelvedImage
from vmkeeper.plan.beside import Derived, offered
from vmkeeper.plan.chosen import Choice, Desired, architecture_of
from vmkeeper.plan.publication_actions import LIST_FILE
from vmkeeper.trust.said import Endorsement
from vmkeeper.values import Size


def list_path(name: str) -> str:
    """Where a signed list lies."""
    return f"{name}/{LIST_FILE}"


def list_uri(desired: Desired) -> str:
    """Where the signed list can be fetched (hv:uri of the list)."""
    return f"{desired.base}/{list_path(desired.name)}"


def image_path(desired: Desired, choice: Choice) -> str:
    """Where an image lies; what lies beside it begins with this too."""
    identifier, version = desired.appliances[choice.name].uuid, choice.version
    return f"{desired.name}/images/{identifier}/{version}/{choice.name}-{version}.{choice.file.format}"


def shelved(desired: Desired, choice: Choice, derived: Derived) -> ShelvedImage:
    """One image as the public folder offers it."""
    appliance, path = desired.appliances[choice.name], image_path(desired, choice)
    statement = choice.decision.statement
    said = [one.statement for one in choice.decision.endorsements if isinstance(one.statement, Endorsement)]
    patches, compressed = offered(desired, choice, path, derived)
    return ShelvedImage(
        appliance=choice.name,
        uuid=appliance.uuid,
        version=str(choice.version),
        title=appliance.title,
        description=appliance.description,
        path=path,
        uri=f"{desired.base}/{path}",
        format=choice.file.format,
        size=choice.file.size,
        virtual_size=choice.file.virtual_size,
        sha512=choice.file.sha512,
        architecture=architecture_of(appliance),
        os="Linux",
        osname=(appliance.distribution.name or "Linux").capitalize(),
        osversion=appliance.distribution.version or appliance.distribution.release or "unknown",
        release=appliance.distribution.release or "",
        memory=appliance.requirements.memory,
        cpus=appliance.requirements.cpus,
        commit=statement.commit,
        recipe=statement.recipe,
        endorsers=tuple(sorted({one.endorser for one in said})),
        endorsed=min(one.issued for one in said),
        expires=choice.expires,
        group=choice.listed.group,
        mpuri=choice.listed.mpuri or f"{desired.base}/{desired.name}/images/{appliance.uuid}/",
        patches=patches,
        compressed=compressed,
    )


def shelf(desired: Desired, made: HepixList, images: Sequence[ShelvedImage]) -> Shelf:
    """A list as the public folder offers it, in the version that is (or will be) there."""
    return Shelf(
        name=desired.name,
        uuid=made.uuid,
        title=made.title,
        description=made.description,
        source=made.source,
        vo=made.vo or "",
        version=made.version,
        path=list_path(desired.name),
        uri=made.uri,
        created=made.created,
        expires=made.expires,
        endorser=made.endorser.dn,
        images=tuple(images),
    )


def hepix(desired: Desired, images: Sequence[tuple[Choice, ShelvedImage]], endorser: HepixEndorser, until: datetime, now: datetime) -> HepixList:
    """The list's HEPiX form, without a version of its own yet. until: the end of its signer's certificate."""
    spec = desired.spec
    person = replace(endorser, email=spec.owner.email, creator=spec.owner.name)
    return HepixList(
        uuid=spec.uuid,
        title=spec.title,
        description=spec.description,
        source=spec.source,
        vo=spec.vo or desired.endorsers.community,
        version="0",
        uri=list_uri(desired),
        created=now,
        expires=min(now + timedelta(seconds=spec.lifetime), until),
        endorser=person,
        images=tuple(_image(desired, choice, image) for choice, image in images),
    )


def _image(desired: Desired, choice: Choice, image: ShelvedImage) -> HepixImage:
    owner = desired.spec.owner
    memory = None if image.memory is None else Size(image.memory)
    return HepixImage(
        uuid=image.uuid,
        title=image.title,
        description=image.description,
        expires=image.expires,
        uri=image.uri,
        version=image.version,
        format=image.format,
        hypervisor="KVM",
        size=Size(image.size),
        sha512=image.sha512,
        arch=image.architecture,
        os=image.os,
        osname=image.osname,
        osversion=image.osversion,
        comments=choice.listed.comments,
        ram_minimum=memory,
        core_minimum=image.cpus,
        ram_recommended=memory,
        core_recommended=image.cpus,
        group=image.group,
        mpuri=image.mpuri,
        user_fullname=owner.name,
        user_guid=str(uuid.uuid5(uuid.NAMESPACE_URL, f"mailto:{owner.email}")),
        user_uri=owner.url or desired.base,
        extra=extension.written(image, desired.base),
    )
