"""What a run saw and did, as a status says it: images with their endorsements, lists, actions. Reads nothing but the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain

from vmkeeper.clouds.interface import CloudImage
from vmkeeper.errors import Problems, Refused, VmkeeperError
from vmkeeper.execute.secrets import scrubbed
from vmkeeper.execute.site import Reconciled
from vmkeeper.execute.view import View
from vmkeeper.execute.walk import Blocked, Done, Ended, Failed, Outcome
from vmkeeper.model.status import ActionStatus, ImageStatus, ListStatus, PlaceStatus, Remark, Trouble
from vmkeeper.plan.waiting import Waiting
from vmkeeper.plan.wanted import Current, Subscribed, Unusable
from vmkeeper.trust.memory import Memory
from vmkeeper.trust.said import Endorsement
from vmkeeper.trust.selection import next_change
from vmkeeper.values import Version, format_time, visible

_LONGEST = 2000
"""Characters of one text."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What one run came to. images: as they are after it, by place; found: as they were before it."""

    title: str
    platform: str
    interval: int
    repository: str
    head: str
    memory: Memory
    places: tuple[PlaceStatus, ...]
    images: tuple[ImageStatus, ...]
    lists: tuple[ListStatus, ...]
    actions: tuple[ActionStatus, ...]
    found: tuple[ImageStatus, ...] = ()
    waiting: tuple[Remark, ...] = ()
    refused: tuple[Trouble, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    """Places that could not be listed."""
    notes: tuple[Remark, ...] = ()
    moments: tuple[datetime, ...] = ()
    """When something changes by itself."""


def facts_of(done: Reconciled, now: datetime, images: Mapping[str, tuple[CloudImage, ...]] | None = None) -> Facts:
    """The facts of a run that came to its end. images: those of places that were listed again after it."""
    view, site = done.view, done.view.site
    names = {found.uuid: found.name for found in view.lists}
    endorsed = _endorsed(view)
    made: list[ImageStatus] = []
    found: list[ImageStatus] = []
    for name, place in view.places.items():
        here = [_image(one, name, names, endorsed, view) for one in place.ours]
        found += here
        again = (images or {}).get(name)
        ours = [one for one in again or () if one.owner == place.cloud.owner and one.spec is not None]
        made += here if again is None else [_image(one, name, names, endorsed, view) for one in ours]
    return Facts(
        title=site.title,
        platform=site.platform.type,
        interval=int(site.watch.interval),
        repository=view.pins.repository,
        head=view.head,
        memory=view.memory,
        places=tuple(PlaceStatus(name=name, seen=name in view.places) for name in view.decided),
        images=tuple(sorted(made, key=lambda one: (one.place, one.appliance, one.version, one.id))),
        lists=tuple(_list(found, view) for found in view.lists),
        actions=tuple(_action(outcome) for outcome in done.outcomes),
        found=tuple(found),
        waiting=tuple(_waiting(one, view.name) for one in done.made.waiting),
        refused=tuple(_refused(done)),
        troubles=tuple(trouble_of(error, f"place {name}" if name else "cloud") for name, error in view.unreachable.items()),
        notes=tuple(Remark(subject=_cut(note.subject), why=_cut(note.why)) for note in done.made.notes),
        moments=tuple(_moments(view, now)),
    )


def trouble_of(error: BaseException, subject: str = "run") -> Trouble:
    """An error, as a status says it."""
    if isinstance(error, Problems):
        first, more = error.problems[0], len(error.problems) - 1
        what = f"{first.place}: {first.what}" if str(first.place) else first.what
        return Trouble(subject=subject, what=_cut(what), why=f"and {more} more" if more else "", hint=_cut(first.hint), rule=first.rule)
    if not isinstance(error, VmkeeperError):
        what = f"a fault of vmkeeper itself: {type(error).__name__}"
        return Trouble(subject=subject, what=what, why=_cut(str(error)), hint="report it with what the log says")
    what = f"{error.where}: {error.what}" if error.where else error.what
    return Trouble(
        subject=subject, what=_cut(what), why=_cut(error.why), hint=_cut(error.hint), rule=error.rule if isinstance(error, Refused) else ""
    )


def _refused(done: Reconciled) -> Iterator[Trouble]:
    """What trust or the retire limit refuses."""
    for found in done.view.lists:
        if isinstance(found.state, Unusable):
            yield Trouble(subject=f"list {found.name}", what="it cannot be used", why=_cut(found.state.why))
        for one in found.frozen.refusals if found.frozen else ():
            yield Trouble(subject=f"list {found.name}", what=_cut(one.why), why=_cut(one.evidence), hint=one.hint, rule=one.rule)
    if done.made.refusal:
        yield Trouble(subject="retire limit", what=_cut(str(done.made.refusal)), hint=done.made.refusal.hint)
    for outcome in done.outcomes:
        if isinstance(outcome, Failed) and isinstance(outcome.error, Refused):
            yield trouble_of(outcome.error, _cut(outcome.action.subject))


def _waiting(one: Waiting, site: str) -> Remark:
    by = f"endorsed by {', '.join(one.endorsers)}" if one.endorsers else "offered"
    since = f" since {format_time(one.since)}" if one.since else ""
    at = f" at {', '.join(one.places)}" if one.places else ""
    why = f"{by}{since}, on list {one.list}; nothing decides about it{at}"
    return Remark(subject=f"{one.appliance} {one.version}", why=_cut(why), hint=f"vmkeeper approve {site} --waiting, or vmkeeper block {site}")


def _endorsed(view: View) -> Mapping[tuple[str, Version], tuple[datetime, tuple[str, ...]]]:
    """(appliance's UUID, version) → when the quorum's last endorsement of it was issued, and who endorsed."""
    policy = view.judgement.enactments.current.policy
    quorums = {name: one.quorum for name, one in policy.lists.items()}
    fewest = min(quorums.values(), default=1)
    found: dict[tuple[str, Version], tuple[datetime, tuple[str, ...]]] = {}
    for decision in chain.from_iterable(one.decisions for one in view.decided.values()):
        said = [one.statement for one in decision.endorsements if isinstance(one.statement, Endorsement)]
        if not said:
            continue
        # Which list's quorum it was is not said; one endorser more than it takes does not make a release later.
        issued = sorted(one.issued for one in said)
        at = issued[min(max(fewest, 1), len(issued)) - 1]
        found[said[0].uuid, decision.version] = (at, tuple(sorted({one.endorser for one in said})))
    return found


def _image(
    image: CloudImage, place: str, names: Mapping[str, str], endorsed: Mapping[tuple[str, Version], tuple[datetime, tuple[str, ...]]], view: View
) -> ImageStatus:
    spec = image.spec
    assert spec is not None
    signed = next((one for one in view.signed if one.uuid == spec.list), None)
    at, by = endorsed.get((spec.uuid, spec.version), (signed.created if signed else None, (signed.signer,) if signed else ()))
    leaves = image.hidden_since + timedelta(seconds=view.site.retire.grace) if image.hidden_since else None
    return ImageStatus(
        appliance=spec.appliance,
        version=spec.version,
        uuid=spec.uuid,
        place=place,
        id=image.id,
        name=_cut(image.name),
        state=image.state,
        list=names.get(spec.list, spec.list),
        foreign=names.get(spec.list) in {one.name for one in view.site.foreign},
        format=spec.format,
        size=int(spec.size),
        endorsed=at,
        endorsers=by,
        expires=spec.expires,
        hidden_since=image.hidden_since,
        leaves=leaves,
        in_use=image.in_use,
        drift=tuple(map(_cut, image.drift)),
    )


def _list(found: Subscribed, view: View) -> ListStatus:
    seen = view.memory.lists.get(found.uuid)
    return ListStatus(
        name=found.name,
        uuid=found.uuid,
        foreign=found.name in {one.name for one in view.site.foreign},
        usable=isinstance(found.state, Current),
        why=_cut(found.state.why) if isinstance(found.state, Unusable) else "",
        version=seen.version if seen else "",
        expires=found.state.expires,
    )


def _action(outcome: Outcome) -> ActionStatus:
    action = outcome.action
    subject, _, place = action.subject.partition(" @")
    said = {"kind": action.kind, "subject": _cut(subject), "place": place, "reason": _cut(action.reason)}
    match outcome:
        case Done(text=text):
            return ActionStatus(**said, outcome="done", text=_cut(text))
        case Failed(error=Ended()):
            return ActionStatus(**said, outcome="left", text="the run was to end")
        case Failed(error=error):
            return ActionStatus(**said, outcome="failed", text=_cut(str(error)), hint=_cut(error.hint))
        case Blocked(by=by):
            return ActionStatus(**said, outcome="blocked", text=f"needs {by}, which failed")


def _moments(view: View, now: datetime) -> Iterator[datetime]:
    for found in view.lists:
        if found.state.expires is not None:
            yield found.state.expires
        if found.frozen is not None and found.frozen.since is not None:
            yield found.frozen.since + timedelta(seconds=view.site.retire.stale_grace)
    if view.memory.fresh_until is not None:
        yield view.memory.fresh_until
    if (change := next_change(view.site, now)) is not None:
        yield change


def _cut(text: str) -> str:
    """One line, of bearable length, without secrets."""
    text = visible(scrubbed(text).replace("\n", " "))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
