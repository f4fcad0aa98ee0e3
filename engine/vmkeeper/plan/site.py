"""A site's plan: the images it wants against the images its cloud has. Pure; the time is an argument.

Only images with the site's mark are ever named in a plan. A new version comes before the old one goes; what
must not run any more goes at once, whatever replaces it. A list that cannot be read decides nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import ClassVar

from vmkeeper.clouds.interface import CloudImage, ImageSpec
from vmkeeper.model.appliance import Format
from vmkeeper.model.site import Site
from vmkeeper.plan.actions import Action
from vmkeeper.plan.limits import TooMany, too_many_retired
from vmkeeper.plan.plan import Plan, ordered
from vmkeeper.plan.supply import Supply
from vmkeeper.plan.wanted import Desired, Ground, NotAllowed, Note, Standings, Subscribed, desired, image_standing, label
from vmkeeper.values import Version, format_time


class RegisterImage(Action):
    """Download, verify and upload an image."""

    kind: ClassVar[str] = "register"
    spec: ImageSpec
    """What the cloud is to hold. What was signed is `spec.signed`; where `store_as` is set, size, virtual size and SHA-512 of
    what the cloud gets are those of the converted file, and known only then."""
    supply: Supply
    store_as: Format | None = None
    """The format that the file is converted to before the upload; None: as it comes."""


class ImageAction(Action):
    """Something done to an image that is there."""

    image: str
    """Its id at the cloud."""
    spec: ImageSpec
    """What is to be said about it afterwards."""


class UpdateImage(ImageAction):
    """Say something else about a usable image."""

    kind: ClassVar[str] = "update"


class ShowImage(ImageAction):
    """Make a hidden image usable again."""

    kind: ClassVar[str] = "show"


class HideImage(ImageAction):
    """Take an image out of use. Machines made from it go on."""

    kind: ClassVar[str] = "hide"
    destroys: ClassVar[bool] = True


class DeleteImage(ImageAction):
    """Remove a hidden image and its bytes."""

    kind: ClassVar[str] = "delete"
    destroys: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class SitePlan:
    """The plan, what is left out of it and why, and the refusal of what would retire too much."""

    plan: Plan
    notes: tuple[Note, ...] = ()
    refusal: TooMany | None = None


@dataclass(frozen=True, slots=True)
class _Retire:
    image: CloudImage
    spec: ImageSpec
    ground: Ground
    why: str


_AT_ONCE: frozenset[Ground] = frozenset({"withdrawn", "blocked", "expired", "list-expired", "unendorsed", "unapproved", "other-bytes", "stale"})
"""What must not run a moment longer, whatever comes in its place."""
_WITHOUT_LIMIT: frozenset[Ground] = frozenset({"withdrawn", "blocked", "expired", "list-expired", "other-bytes", "superseded", "duplicate"})
"""What trust or time demands, and what leaves another usable image of the appliance."""


def plan_site(
    site: Site,
    lists: Iterable[Subscribed],
    standings: Standings,
    observed: Iterable[CloudImage],
    *,
    owner: str,
    now: datetime,
    head: str = "",
    force_retire: bool = False,
) -> SitePlan:
    """What turns `observed` into what the lists, trust and the site say.

    observed: one complete listing of the cloud, others' images included. `force_retire`: the retire limit does
    not hold. Planning again after the plan was carried out gives an empty plan.
    """
    lists = tuple(lists)
    ours = sorted((image for image in observed if image.owner == owner), key=lambda image: image.id)
    marked = [image for image in ours if image.spec is not None]
    notes = [
        Note(f"image {image.id}", "it bears our mark, but what it says cannot be read; it is left alone") for image in ours if image.spec is None
    ]
    want = desired(site, lists, standings, marked, now)
    present, spare = _match(want, marked)
    usable = [(image, image.spec) for image in spare if image.state == "active" and image.spec]
    retire = [found for image, spec in usable if (found := _retirement(image, spec, want, lists, standings, now)) is not None]
    doomed = {found.image.id for found in retire}
    notes += [Note(label(spec), "its list cannot be read: left as it is") for image, spec in usable if image.id not in doomed]

    arrive = _arrivals(want, present, marked)
    limited = sum(found.ground not in _WITHOUT_LIMIT for found in retire)
    usable_without = sum(image.state == "active" for image in marked) - (len(retire) - limited) + sum(map(_adds, chain(*arrive.values())))
    refusal = None if force_retire else too_many_retired(limited, usable_without, site.retire.limit)
    if refusal:
        retire = [found for found in retire if found.ground in _WITHOUT_LIMIT]

    coming = {uuid: tuple(action.id for action in arrive[uuid]) for uuid in arrive}
    ambiguous = _ambiguous(marked)
    hides = [_hide(found, coming, ambiguous) for found in retire]
    arriving = [action for uuid in sorted(arrive) for action in arrive[uuid]]
    deletions, kept = _deletions(site, spare, lists, arriving, coming, ambiguous, now)
    at_once = [hide for hide in hides if not hide.needs]
    later = [hide for hide in hides if hide.needs]
    actions = ordered([*at_once, *arriving, *later, *deletions])
    told = {Note(label(found.spec), found.why) for found in retire}
    return SitePlan(Plan(base="", head=head, actions=actions), tuple(note for note in (*want.notes, *notes, *kept) if note not in told), refusal)


def _hide(found: _Retire, coming: dict[str, tuple[str, ...]], ambiguous: frozenset[str]) -> HideImage:
    """Hide an image; one that may still run waits for what comes in its place."""
    needs = () if found.ground in _AT_ONCE else coming.get(found.spec.uuid, ())
    return HideImage(subject=_subject(found.image, found.spec, ambiguous), reason=found.why, image=found.image.id, spec=found.spec, needs=needs)


def _match(want: Desired, marked: list[CloudImage]) -> tuple[dict[str, CloudImage], list[CloudImage]]:
    """For each wanted key the image that is it (a usable one first, then one of the right list), and all others."""
    rank = {"active": 0, "hidden": 1}
    keys = {wanted.spec.key: wanted.spec.list for versions in want.wanted.values() for wanted in versions}
    found = [(rank[i.state], i.spec.list != keys[i.spec.key], i.id, i) for i in marked if i.spec and i.state in rank and i.spec.key in keys]
    present: dict[str, CloudImage] = {}
    for *_, image in sorted(found, key=lambda one: one[:3]):
        if image.spec:
            present.setdefault(image.spec.key, image)
    chosen = {image.id for image in present.values()}
    return present, [image for image in marked if image.id not in chosen]


_Arrival = RegisterImage | ShowImage | UpdateImage


def _arrivals(want: Desired, present: dict[str, CloudImage], marked: list[CloudImage]) -> dict[str, list[_Arrival]]:
    """What makes wanted images usable and up to date, by appliance UUID."""
    versions = defaultdict[str, list[Version]](list)
    for spec in (one.spec for one in marked if one.spec):
        versions[spec.uuid].append(spec.version)
    actions = defaultdict[str, list[_Arrival]](list)
    for uuid, wanted in ((uuid, one) for uuid, several in want.wanted.items() for one in several):
        image = present.get(wanted.spec.key)
        name = label(wanted.spec)
        if image is None and wanted.supply is not None:
            older = max((version for version in versions[uuid] if version < wanted.spec.version), default=None)
            reason = f"newer than {older}" if older else "endorsed, approved and not here yet"
            actions[uuid].append(RegisterImage(subject=name, reason=reason, spec=wanted.spec, supply=wanted.supply, store_as=wanted.store_as))
        elif image is not None and image.spec is not None:
            spec = wanted.spec.with_bytes_of(image.spec)
            if image.state == "hidden":
                actions[uuid].append(ShowImage(subject=name, reason="it is hidden and may be used again", image=image.id, spec=spec))
            elif image.spec != spec:
                actions[uuid].append(UpdateImage(subject=name, reason=_difference(image.spec, spec), image=image.id, spec=spec))
    return dict(actions)


def _retirement(
    image: CloudImage, spec: ImageSpec, want: Desired, lists: tuple[Subscribed, ...], standings: Standings, now: datetime
) -> _Retire | None:
    """Why a usable image that nobody wants goes; None where its list cannot be read and nothing else speaks against it."""
    wanted = want.wanted.get(spec.uuid, ())
    if any(one.spec.key == spec.key for one in wanted):
        return _Retire(image, spec, "duplicate", "the same image is there twice")
    source = next((found for found in lists if found.uuid == spec.list), None)
    standing = image_standing(spec, standings, now)
    if isinstance(standing, NotAllowed) and (source or standing.ground in _WITHOUT_LIMIT):
        return _Retire(image, spec, standing.ground, standing.why)
    if source is None:
        return _Retire(image, spec, "unsubscribed", f"the site does not subscribe to its list {spec.list} any more")
    if source.silent(now):
        return None
    if source.expired(now):
        return _Retire(image, spec, "list-expired", f"the list {source.name} expired at {format_time(source.state.expires or now)}")
    offered = want.offered.get((spec.list, spec.uuid), ())
    if not offered:
        return _Retire(image, spec, "removed", f"the list {source.name} does not offer the appliance any more")
    if max(offered) < spec.version:
        return _Retire(image, spec, "removed", f"the list {source.name} went back to {max(offered)}")
    newest = ", ".join(str(one.spec.version) for one in wanted)
    return _Retire(image, spec, "superseded", f"replaced by {newest}")


def _deletions(
    site: Site,
    spare: list[CloudImage],
    lists: tuple[Subscribed, ...],
    arrive: Sequence[_Arrival],
    coming: dict[str, tuple[str, ...]],
    ambiguous: frozenset[str],
    now: datetime,
) -> tuple[list[DeleteImage], list[Note]]:
    actions: list[DeleteImage] = []
    notes: list[Note] = []
    silent = {found.uuid for found in lists if found.silent(now)}
    taken_over = {action.spec.key for action in arrive if isinstance(action, RegisterImage)}
    for image in spare:
        if image.spec is None or image.state == "active" or image.spec.list in silent:
            continue
        if image.state == "incomplete" and image.spec.key in taken_over:
            continue
        since = image.hidden_since or now
        if image.state == "hidden" and now < since + timedelta(seconds=site.retire.grace):
            continue
        if image.in_use:
            notes.append(Note(label(image.spec), "it is past its grace period and stays, because a machine uses it"))
            continue
        uuid = image.spec.uuid
        reason = (
            "an upload that was cut off left it behind"
            if image.state == "incomplete"
            else f"hidden since {format_time(since)}, longer than {site.retire.grace}"
        )
        actions.append(
            DeleteImage(subject=_subject(image, image.spec, ambiguous), reason=reason, image=image.id, spec=image.spec, needs=coming.get(uuid, ()))
        )
    return actions, notes


def _adds(action: Action) -> bool:
    return isinstance(action, RegisterImage | ShowImage)


def _ambiguous(marked: list[CloudImage]) -> frozenset[str]:
    labels = Counter(label(image.spec) for image in marked if image.spec)
    return frozenset(one for one, count in labels.items() if count > 1)


def _subject(image: CloudImage, spec: ImageSpec, ambiguous: frozenset[str]) -> str:
    name = label(spec)
    return f"{name} [{image.id}]" if name in ambiguous else name


def _difference(old: ImageSpec, new: ImageSpec) -> str:
    before, after = old.model_dump(mode="json"), new.model_dump(mode="json")
    fields = [name for name in after if before[name] != after[name]]
    return f"it says something else about its {', '.join(fields)}"
