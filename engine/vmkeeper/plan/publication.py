"""What publishing image lists takes: image files, then the signed list that names them, then the files no list names.

Pure: what is endorsed and what is already published come in as data. A release is listed only with a quorum of
endorsements that nobody took back; the newest such release of an appliance stands for it. A list that would say the
same as the published one is left alone until it has to be renewed.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ClassVar

from vmkeeper.errors import Refused, UserError
from vmkeeper.lists.hepix import HepixEndorser, HepixImage, HepixList, next_version, publish_text, same_content, version_key
from vmkeeper.model.appliance import Appliance, Format
from vmkeeper.model.imagelist import ImageList, Listed
from vmkeeper.plan.actions import Action, Cause
from vmkeeper.plan.plan import Plan, ordered
from vmkeeper.trust.approval import Decision
from vmkeeper.trust.people import TrustedEndorsers
from vmkeeper.trust.said import Endorsement, SignedFile
from vmkeeper.values import Sha512, Size, Version, format_time

LIST_FILE = "imagelist.signed"
INDEX_FILE = "imagelists.json"
PREFERENCE: tuple[Format, ...] = ("qcow2", "raw", "vmdk", "vdi", "vhd", "ova")
"""Which file of a release is listed: the first of these that it has."""


class PublishImage(Action):
    """Put an image file out of the store under its public path."""

    kind: ClassVar[str] = "publish"
    path: str
    """Relative to the public folder."""
    size: Size
    sha512: Sha512


class SignList(Action):
    """Sign a list and put it in place of the one before."""

    kind: ClassVar[str] = "sign"
    path: str
    text: str
    """The list's JSON, unsigned."""


class WriteIndex(Action):
    """Write the index of the lists in the public folder."""

    kind: ClassVar[str] = "index"
    path: str
    lists: dict[str, dict[str, str]]


class RemoveImage(Action):
    """Remove an image file that no list names any more."""

    kind: ClassVar[str] = "remove"
    destroys: ClassVar[bool] = True
    path: str


@dataclass(frozen=True, slots=True)
class ListSigner:
    """What the signer's certificate says: names in one-line form, end of validity."""

    dn: str
    ca: str
    not_after: datetime


@dataclass(frozen=True, slots=True)
class Published:
    """What the public folder has of one list. `files` are image files by path with their sizes, relative to the folder."""

    image_list: HepixList | None = None
    """None: there is none, or what is there is not a list that this signer signed."""
    files: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Desired:
    """One list as the repository has it, with what trust decided about the releases of its appliances."""

    name: str
    spec: ImageList
    endorsers: TrustedEndorsers
    appliances: Mapping[str, Appliance]
    """Resolved, by name."""
    decisions: Sequence[Decision] = ()
    """Under the list's endorser list, with every version approved (`trust.approval.decide`)."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An appliance of a list that is not published, or a version newer than the one that is, and why."""

    image_list: str
    appliance: str
    reason: str


@dataclass(frozen=True, slots=True)
class Publication:
    """The plan, what it leaves out, and which lists it does not touch because something about them is refused."""

    plan: Plan
    left_out: tuple[LeftOut, ...]
    refused: tuple[Refused, ...] = ()


@dataclass(frozen=True, slots=True)
class _Choice:
    """The release that stands for an appliance."""

    listed: Listed
    version: Version
    file: SignedFile
    expires: datetime
    commit: str


def plan_publication(
    lists: Sequence[Desired],
    published: Mapping[str, Published],
    index: Mapping[str, Mapping[str, str]],
    signer: ListSigner,
    now: datetime,
    *,
    base: str = "",
    head: str = "",
) -> Publication:
    """Plan for several lists; `published` by list name, `index` as the public folder has it.

    Raises UserError where the certificate is out of date, ValueError where a list would lack what it must say.
    """
    if signer.not_after <= now:
        why = f"it ended on {format_time(signer.not_after)}"
        raise UserError("the publisher's certificate has expired", where=signer.dn, why=why, hint="give a certificate that is valid")
    actions: list[Action] = []
    left_out: list[LeftOut] = []
    refused: list[Refused] = []
    for desired in lists:
        before = published.get(desired.name, Published())
        chosen, without = choose(desired, now)
        left_out += without
        try:
            _nothing_lost(desired, chosen, before.image_list, now)
            actions += _list_actions(desired, chosen, before, signer, now)
        except Refused as error:
            refused.append(error)
    entries = {name: dict(entry) for name, entry in index.items()}
    entries |= {desired.name: {"title": desired.spec.title, "uuid": desired.spec.uuid, "uri": list_uri(desired)} for desired in lists}
    if entries != index:
        signing = tuple(action.id for action in actions if isinstance(action, SignList))
        actions.append(
            WriteIndex(
                subject=INDEX_FILE,
                reason="the lists that there are have changed",
                needs=signing,
                path=INDEX_FILE,
                lists=dict(sorted(entries.items())),
            )
        )
    return Publication(Plan(base, head, ordered(actions)), tuple(left_out), tuple(refused))


def list_uri(desired: Desired) -> str:
    """Where the signed list can be fetched (hv:uri of the list)."""
    return f"{desired.spec.url.rstrip('/')}/{desired.name}/{LIST_FILE}"


def choose(desired: Desired, now: datetime) -> tuple[tuple[_Choice, ...], tuple[LeftOut, ...]]:
    """The newest endorsed release of each appliance of a list, and why others are not on it."""
    chosen: list[_Choice] = []
    left_out: list[LeftOut] = []
    listed_once = {listed.appliance: listed for listed in reversed(desired.spec.appliances)}
    for listed in reversed(listed_once.values()):
        choice, reasons = _newest(desired, listed, now)
        chosen += [choice] if choice else []
        left_out += [LeftOut(desired.name, listed.appliance, reason) for reason in reasons]
    return tuple(chosen), tuple(left_out)


def _newest(desired: Desired, listed: Listed, now: datetime) -> tuple[_Choice | None, list[str]]:
    """The release to list, or None, and why newer ones are not listed."""
    appliance = desired.appliances.get(listed.appliance)
    if appliance is None:
        return None, ["there is no such appliance"]
    if appliance.abstract:
        return None, ["it is abstract"]
    reasons: list[str] = []
    mine = [decision for decision in desired.decisions if decision.appliance == listed.appliance]
    for decision in sorted(mine, key=lambda one: one.version, reverse=True):
        if not decision.accepted:
            reasons.append(f"{decision.version}: {'; '.join(refusal.why for refusal in decision.refusals)}")
        elif decision.statement.uuid != appliance.uuid:
            reasons.append(f"{decision.version}: it was endorsed under another UUID, {decision.statement.uuid}")
        elif (expires := _expires(decision, desired.endorsers.quorum)) <= now:
            reasons.append(f"{decision.version}: its endorsement expired on {format_time(expires)}")
        else:
            file = min(decision.statement.files, key=lambda file: PREFERENCE.index(file.format))
            return _Choice(listed, decision.version, file, expires, decision.statement.commit), reasons
    return None, reasons or ["no release of it is endorsed"]


def _expires(decision: Decision, quorum: int) -> datetime:
    """When the quorum ends: the latest time at which that many endorsements are still valid."""
    ends = sorted((said.statement.expires for said in decision.endorsements if isinstance(said.statement, Endorsement)), reverse=True)
    return ends[quorum - 1]


def _nothing_lost(desired: Desired, chosen: Sequence[_Choice], published: HepixList | None, now: datetime) -> None:
    """Rule R8, with the published list as memory: the tags that endorsed a listed image do not just disappear.

    A clone without tags would otherwise take every image off the list. Raises Refused.
    """
    newest = {choice.listed.appliance: choice.version for choice in chosen}
    known = {(decision.appliance, str(decision.version)) for decision in desired.decisions}
    names = {
        desired.appliances[listed.appliance].uuid: listed.appliance for listed in desired.spec.appliances if listed.appliance in desired.appliances
    }
    for image in published.images if published else ():
        name = names.get(image.uuid)
        if name is None or (name, image.version) in known or (image.expires and image.expires <= now):
            continue
        if name not in newest or version_key(str(newest[name])) < version_key(image.version):
            hint = "fetch all tags (git fetch --tags); to take it off the list, withdraw it or take the appliance out of the list's file"
            raise Refused("R8", f"{image.version} is listed, and the tags that endorsed it are gone", where=f"{desired.name}/{name}", hint=hint)


def _list_actions(desired: Desired, chosen: Sequence[_Choice], published: Published, signer: ListSigner, now: datetime) -> list[Action]:
    """Images that are not there, the list if it changes, files that it no longer names."""
    actions: list[Action] = []
    before = {image.uuid: image for image in published.image_list.images} if published.image_list else {}
    for choice in chosen:
        path, image = _path(desired, choice), before.get(desired.appliances[choice.listed.appliance].uuid)
        if image and image.version == str(choice.version) and image.format == choice.file.format and image.sha512 != choice.file.sha512:
            hint = "build a new version of it; what an address holds never changes"
            raise Refused("R14", f"{choice.version} was published before with other bytes", where=choice.listed.appliance, hint=hint)
        if published.files.get(path) != choice.file.size:
            subject, cause = (
                f"{desired.name}/{choice.listed.appliance}",
                Cause(commit=choice.commit, path=f"appliances/{choice.listed.appliance}/release.yaml"),
            )
            reason = f"{choice.version} is endorsed until {format_time(choice.expires)}"
            actions.append(
                PublishImage(subject=subject, reason=reason, cause=cause, path=path, size=Size(choice.file.size), sha512=choice.file.sha512)
            )
    wanted = _hepix(desired, chosen, published.image_list, signer, now)
    if reason := _why_sign(wanted, published.image_list, desired.spec, now):
        images = tuple(action.id for action in actions)
        path = f"{desired.name}/{LIST_FILE}"
        actions.append(SignList(subject=desired.name, reason=reason, needs=images, path=path, text=publish_text(wanted)))
    needs = tuple(action.id for action in actions if isinstance(action, SignList))
    named = {_path(desired, choice) for choice in chosen}
    actions += [
        RemoveImage(subject=path, reason="no list names it any more", needs=needs, path=path) for path in sorted(published.files.keys() - named)
    ]
    return actions


def _why_sign(wanted: HepixList, published: HepixList | None, spec: ImageList, now: datetime) -> str:
    """Why the list has to be signed again, or "" where the published one still serves."""
    if published is None:
        return "there is no such list yet, or none that this certificate signed"
    if not same_content(wanted, published):
        return _difference(wanted, published)
    if published.expires - now < timedelta(seconds=spec.renew_before) and wanted.expires > published.expires:
        return f"it expires on {format_time(published.expires)}"
    return ""


def _difference(wanted: HepixList, published: HepixList) -> str:
    new, old = ({image.uuid: image for image in one.images} for one in (wanted, published))
    counts = {
        "new": len(new.keys() - old.keys()),
        "no longer listed": len(old.keys() - new.keys()),
        "changed": sum(new[key] != old[key] for key in new.keys() & old.keys()),
    }
    said = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    return f"images: {said}" if said else "what it says about itself has changed"


def _path(desired: Desired, choice: _Choice) -> str:
    identifier, version = desired.appliances[choice.listed.appliance].uuid, choice.version
    return f"{desired.name}/images/{identifier}/{version}/{choice.listed.appliance}-{version}.{choice.file.format}"


def _hepix(desired: Desired, chosen: Sequence[_Choice], published: HepixList | None, signer: ListSigner, now: datetime) -> HepixList:
    spec = desired.spec
    return HepixList(
        uuid=spec.uuid,
        title=spec.title,
        description=spec.description,
        source=spec.source,
        vo=spec.vo or desired.endorsers.community,
        version=next_version(published.version if published else None, now),
        uri=list_uri(desired),
        created=now,
        expires=min(now + timedelta(seconds=spec.lifetime), signer.not_after),
        endorser=HepixEndorser(dn=signer.dn, ca=signer.ca, email=spec.owner.email, creator=spec.owner.name),
        images=tuple(_image(desired, choice) for choice in chosen),
    )


def _image(desired: Desired, choice: _Choice) -> HepixImage:
    spec, appliance = desired.spec, desired.appliances[choice.listed.appliance]
    base = spec.url.rstrip("/")
    memory, cpus = appliance.requirements.memory, appliance.requirements.cpus
    return HepixImage(
        uuid=appliance.uuid,
        title=appliance.title,
        description=appliance.description,
        expires=choice.expires,
        uri=f"{base}/{_path(desired, choice)}",
        version=str(choice.version),
        format=choice.file.format,
        hypervisor="KVM",
        size=Size(choice.file.size),
        sha512=choice.file.sha512,
        arch=appliance.architecture or "x86_64",
        os="Linux",
        osname=(appliance.distribution.name or "Linux").capitalize(),
        osversion=appliance.distribution.version or appliance.distribution.release or "unknown",
        comments=choice.listed.comments,
        ram_minimum=memory,
        core_minimum=cpus,
        ram_recommended=memory,
        core_recommended=cpus,
        group=choice.listed.group,
        mpuri=choice.listed.mpuri or f"{base}/{desired.name}/images/{appliance.uuid}/",
        user_fullname=spec.owner.name,
        user_guid=str(uuid.uuid5(uuid.NAMESPACE_URL, f"mailto:{spec.owner.email}")),
        user_uri=spec.owner.url or base,
    )
