"""A site's status as one HTML page that needs nothing from elsewhere: no scripts, no fonts, no pictures. Every text is escaped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from vmkeeper.model.status import ImageStatus, Status
from vmkeeper.values import Size, format_time

_MOST = 500
"""Rows of a table; the rest is counted."""
_SOON = timedelta(days=7)
_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


@dataclass(frozen=True, slots=True)
class Group:
    """One version of an appliance, wherever it is."""

    first: ImageStatus
    images: tuple[ImageStatus, ...]

    @property
    def since(self) -> datetime | None:
        """Since when it is usable at all its places."""
        known = [one.since for one in self.images if one.since is not None]
        return max(known) if len(known) == len(self.images) else None

    @property
    def lag(self) -> int | None:
        """Seconds from endorsement to use, at the last place."""
        known = [one.lag for one in self.images if one.lag is not None]
        return max(known) if known else None

    @property
    def expires(self) -> datetime:
        """The earliest end."""
        return min(one.expires for one in self.images)

    @property
    def drift(self) -> tuple[str, ...]:
        """What was changed at the cloud, with the place."""
        return tuple(f"{one.place}: {text}" if one.place else text for one in self.images for text in one.drift)


def page(status: Status) -> str:
    """The page, complete, UTF-8."""
    active = [one for one in status.images if one.state == "active"]
    leaving = sorted((one for one in status.images if one.state != "active"), key=lambda one: (one.leaves or status.at, one.appliance, one.version))
    groups = _grouped(active)
    failed = [one for one in status.run.actions if one.outcome in ("failed", "blocked")]
    told = {one.subject for one in status.waiting}
    return _template().render(
        status=status,
        run=status.run,
        groups=groups[:_MOST],
        more=max(0, len(groups) - _MOST),
        usable=len(active),
        appliances=len({one.uuid for one in active}),
        drifted=status.drifted[:_MOST],
        leaving=leaving[:_MOST],
        more_leaving=max(0, len(leaving) - _MOST),
        failed=failed[:_MOST],
        done=[one for one in status.run.actions if one.outcome == "done"][:_MOST],
        notes=[one for one in status.notes if one.subject not in told][:_MOST],
        health=_health(status, failed_actions=bool(failed)),
        places=[one.name for one in status.places if one.name],
        soon=status.at + _SOON,
    )


def ago(moment: datetime | None, now: datetime, *, brief: bool = False) -> str:
    """`3 h 5 min ago`, `in 12 d`; a dash where it is not known. brief: one unit only."""
    if moment is None:
        return "—"
    seconds = (moment - now).total_seconds()
    text = " ".join(span(abs(seconds)).split()[: 2 if brief else 4])
    return "now" if abs(seconds) < 1 else f"in {text}" if seconds > 0 else f"{text} ago"


def span(seconds: float | None) -> str:
    """A length of time in its two largest units."""
    if seconds is None:
        return "—"
    left, said = int(seconds), []
    for unit, size in _UNITS:
        if left >= size:
            said.append(f"{left // size} {unit}")
            left %= size
    return " ".join(said[: 1 if len(said) > 1 and said[0].endswith(" d") and int(said[0].split()[0]) >= 14 else 2]) or "0 s"


def _health(status: Status, *, failed_actions: bool) -> tuple[str, str]:
    """(class, words) for the badge."""
    if status.suspended is not None:
        return "warn", "suspended"
    if status.run.error is not None or status.troubles or failed_actions:
        return "bad", "failing"
    if status.refused or any(not one.usable for one in status.lists):
        return "warn", "needs a look"
    return ("warn", "waits for you") if status.waiting else ("good", "as it should be")


def _grouped(images: Iterable[ImageStatus]) -> list[Group]:
    found: dict[tuple[str, str], list[ImageStatus]] = {}
    for one in images:
        found.setdefault((one.uuid, str(one.version)), []).append(one)
    made = [Group(same[0], tuple(same)) for same in found.values()]
    return sorted(sorted(made, key=lambda one: one.first.version, reverse=True), key=lambda one: one.first.appliance)


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("pages")), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"time": format_time, "span": span, "size": lambda size: Size(size).human}
    environment.globals["ago"] = ago
    return environment.get_template("status.html.j2")
