"""A site's status out of a run and of the status before it: since when something is so, how often, and what changes next. Pure.

What an earlier status says is taken for no more than that: nothing is decided by it but what is told again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version

from vmkeeper.execute.runfacts import Facts
from vmkeeper.model.status import Drifted, ImageStatus, ListStatus, ReportedImage, Run, SiteReport, Status, Suspended, Trouble

PROGRAM = version("vmkeeper")


@dataclass(frozen=True, slots=True)
class Measured:
    """What was counted in a run: calls by (kind, place), bytes, seconds by stage."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    calls: Mapping[tuple[str, str], int] = field(default_factory=dict)
    fetched: int = 0
    uploaded: int = 0


def after_run(before: Status | None, site: str, began: datetime, ended: datetime, facts: Facts, measured: Measured) -> Status:
    """The status after a run that came to its end."""
    failed = bool(facts.troubles) or any(one.outcome in ("failed", "blocked") for one in facts.actions)
    left = any(one.outcome == "left" for one in facts.actions)
    run = Run(began=began, ended=ended, result="failed" if failed else "done", seconds=_rounded(measured.seconds), actions=facts.actions)
    past = {one.key: one for one in before.images} if before else {}
    # What was there before anything was written down has been usable for a time that nobody knows.
    written = before is not None and before.repository is not None
    images = tuple(_with_past(one, past.get(one.key), ended, came=written or _came(one, facts)) for one in facts.images)
    lists = tuple(_list_with_past(one, before, ended) for one in facts.lists)
    known = before or _blank(site, ended, run)
    unseen = {one.name for one in facts.places if not one.seen}
    images += tuple(one for one in before.images if one.place in unseen) if before else ()
    moments = [*facts.moments, *_image_moments(images)]
    return known.model_copy(
        update={
            "title": facts.title,
            "platform": facts.platform,
            "program": PROGRAM,
            "interval": facts.interval,
            "at": ended,
            "run": run,
            "succeeded": known.succeeded if failed or left else ended,
            "failures": known.failures + 1 if failed else 0,
            "suspended": None,
            "repository": facts.repository,
            "head": facts.head,
            "fresh": facts.memory.fresh,
            "fresh_until": facts.memory.fresh_until,
            "places": tuple(
                one.model_copy(update={"calls": {kind: count for (kind, place), count in sorted(measured.calls.items()) if place == one.name}})
                for one in facts.places
            ),
            "images": images,
            "lists": lists,
            "drifted": tuple(_drifted(before, facts)),
            "waiting": facts.waiting,
            "refused": facts.refused,
            "troubles": facts.troubles,
            "notes": facts.notes,
            "next": _next(moments, ended),
            "counts": _counted(known.counts, run, measured),
        }
    )


def after_failure(
    before: Status | None, site: str, began: datetime, ended: datetime, error: Trouble, measured: Measured, *, bug: bool = False
) -> Status:
    """The status after a run that did not come to its end: what was known of the site before stays, with its times."""
    run = Run(began=began, ended=ended, result="bug" if bug else "failed", seconds=_rounded(measured.seconds), error=error)
    known = before or _blank(site, ended, run)
    moments = [*_image_moments(known.images), *(one.expires for one in known.lists if one.expires is not None)]
    moments += [known.next] if known.next else []
    return known.model_copy(
        update={
            "program": PROGRAM,
            "at": ended,
            "run": run,
            "failures": known.failures + 1,
            "suspended": None,
            "troubles": (),
            "places": tuple(one.model_copy(update={"seen": False, "calls": {}}) for one in known.places),
            "next": _next(moments, ended),
            "counts": _counted(known.counts, run, measured),
        }
    )


def while_suspended(before: Status | None, site: str, now: datetime, suspended: Suspended) -> Status:
    """The status of a site that does nothing: what was known of it before, and why it does nothing."""
    run = Run(began=now, ended=now, result="suspended")
    known = before or _blank(site, now, run)
    return known.model_copy(
        update={
            "program": PROGRAM,
            "at": now,
            "run": run,
            "suspended": suspended,
            "next": suspended.until,
            "counts": _counted(known.counts, run, Measured()),
        }
    )


def site_report(status: Status, *, names: bool = True) -> SiteReport | None:
    """What producers are told. names: whether appliances of foreign lists are named. None where nothing is known yet."""
    if status.repository is None or not status.head:
        return None
    found: dict[tuple[str, str], list[ImageStatus]] = {}
    for image in status.images:
        if image.state == "active" and (names or not image.foreign):
            found.setdefault((image.uuid, str(image.version)), []).append(image)
    images = [
        ReportedImage(
            appliance=same[0].appliance,
            version=same[0].version,
            uuid=same[0].uuid,
            places=tuple(sorted({one.place for one in same if one.place})),
            endorsed=same[0].endorsed,
            since=None if any(one.since is None for one in same) else max(one.since for one in same if one.since),
            expires=min(one.expires for one in same),
        )
        for same in found.values()
    ]
    return SiteReport(
        site=status.site,
        repository=status.repository,
        at=status.run.ended,
        head=status.head,
        interval=status.interval,
        program=status.program,
        suspended=status.suspended is not None,
        failing=status.failures > 0,
        images=tuple(sorted(images, key=lambda one: (one.appliance, one.version, one.uuid))),
    )


def materially_other(new: SiteReport, old: SiteReport | None) -> bool:
    """Whether producers would learn something from it but that a run took place."""
    quiet = {"at": new.at, "head": new.head}
    return old is None or old.model_copy(update=quiet) != new


def _drifted(before: Status | None, facts: Facts) -> Iterator[Drifted]:
    """What others did: what the cloud says itself, and usable images that were there after the last run and were not before this one."""
    for image in facts.found:
        if image.drift:
            yield Drifted(appliance=image.appliance, version=image.version, place=image.place, what=image.drift)
    there, seen = {image.key for image in facts.found}, {place.name for place in facts.places if place.seen}
    for image in before.images if before else ():
        if image.state == "active" and image.place in seen and image.key not in there:
            yield Drifted(appliance=image.appliance, version=image.version, place=image.place, what=("somebody deleted it",))


def _blank(site: str, now: datetime, run: Run) -> Status:
    return Status(site=site, program=PROGRAM, at=now, run=run)


def _with_past(image: ImageStatus, earlier: ImageStatus | None, now: datetime, *, came: bool) -> ImageStatus:
    """Since when an image is usable, and when it first became endorsed: an endorsement that is renewed is no later one."""
    since = earlier.since if earlier and (earlier.since or earlier.state == "active") else now if came and image.state == "active" else None
    endorsed = earlier.endorsed if earlier and earlier.endorsed else image.endorsed
    return image.model_copy(update={"since": since, "endorsed": endorsed})


def _came(image: ImageStatus, facts: Facts) -> bool:
    """Whether it became usable in this run."""
    label = f"{image.appliance} {image.version}"
    ways = [one for one in facts.actions if one.kind in ("register", "show") and one.outcome == "done" and one.place == image.place]
    return any(one.subject.partition(" [")[0] == label for one in ways)


def _list_with_past(found: ListStatus, before: Status | None, now: datetime) -> ListStatus:
    earlier = next((one for one in before.lists if (one.name, one.uuid) == (found.name, found.uuid)), None) if before else None
    changed = earlier.changed if earlier and earlier.version == found.version else now if found.version else None
    verified = now if found.usable else earlier.verified if earlier else None
    return found.model_copy(update={"changed": changed, "verified": verified})


def _image_moments(images: tuple[ImageStatus, ...]) -> list[datetime]:
    return [one.expires for one in images if one.state == "active"] + [one.leaves for one in images if one.leaves is not None]


def _next(moments: list[datetime], now: datetime) -> datetime | None:
    return min((one for one in moments if one > now), default=None)


def _counted(counts: Mapping[str, int], run: Run, measured: Measured) -> dict[str, int]:
    made = Counter(counts)
    made[f"runs {run.result}"] += 1
    for action in run.actions:
        made[f"actions {action.kind} {action.outcome} {action.place}".rstrip()] += 1
    for (kind, place), count in measured.calls.items():
        made[f"calls {kind} {place}".rstrip()] += count
    made["fetched"] += measured.fetched
    made["uploaded"] += measured.uploaded
    return dict(sorted(made.items()))


def _rounded(seconds: Mapping[str, float]) -> dict[str, float]:
    return {stage: round(value, 3) for stage, value in sorted(seconds.items())}
