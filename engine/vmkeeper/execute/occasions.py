"""Which messages a run is worth, and to whom: what is new is told once, what lasts is told again after a day. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from pydantic import Field

from vmkeeper.model.base import Document
from vmkeeper.model.service import Notifier, Occasion
from vmkeeper.model.status import Status
from vmkeeper.values import Time, format_time, sha256_hex

AGAIN = timedelta(days=1)
"""After which something that lasts is told once more."""
_MOST = 200
"""Lines of a message, and of what is kept for one that could not be sent."""
LASTING: tuple[Occasion, ...] = ("failed", "refused", "waiting", "drift", "suspended")
"""States; the others are events, which are told however late."""


class Item(Document):
    """One thing to tell. `key` is the same for as long as it is the same thing."""

    occasion: Occasion
    key: str
    text: str


class Told(Document):
    """What one notifier was told of what lasts, and what it has still to hear."""

    known: dict[str, Time] = Field(default_factory=dict)
    """Key → when it was told."""
    pending: tuple[Item, ...] = ()
    """Events that could not be sent."""


class ToldAll(Document):
    """By notifier. `failing`: whether the last run had failed."""

    failing: bool = False
    notifiers: dict[str, Told] = Field(default_factory=dict)


def items(status: Status, before: ToldAll) -> tuple[Item, ...]:
    """All that a run is worth telling, whoever is told."""
    if (suspended := status.suspended) is not None:
        until = f", until {format_time(suspended.until)}" if suspended.until else ""
        since = format_time(suspended.since)
        return (_item("suspended", f"The site is suspended since {since}{until}: {suspended.reason}", since),)
    recovered = before.failing and not status.failures and status.run.result == "done"
    return (*_of_run(status), *_of_state(status), *((_item("recovered", "Runs succeed again."),) if recovered else ()))


def _of_run(status: Status) -> Iterator[Item]:
    if (error := status.run.error) is not None:
        occasion: Occasion = "refused" if error.rule else "failed"
        yield _item(occasion, f"The run did not come to its end: {_sentence(error.what, error.why, error.hint)}", error.what)
    for one in status.run.actions:
        where = f"{one.subject} at {one.place}" if one.place else one.subject
        because = f": {one.reason}" if one.reason else ""
        match one.outcome, one.kind:
            case "failed", _:
                yield _item("failed", f"{one.kind} {where} failed: {_sentence(one.text, '', one.hint)}", one.kind, where)
            case "done", "register" | "show":
                yield _item("registered", f"{where} is usable{because}")
            case "done", "hide" | "delete":
                yield _item("retired", f"{where} {'is no longer usable' if one.kind == 'hide' else 'was deleted'}{because}")


def _of_state(status: Status) -> Iterator[Item]:
    for trouble in status.troubles:
        yield _item("failed", f"{trouble.subject} could not be listed: {_sentence(trouble.what, trouble.why, trouble.hint)}", trouble.subject)
    for refused in status.refused:
        yield _item("refused", f"{refused.subject}: {_sentence(refused.what, refused.why, refused.hint)}", refused.subject, refused.rule)
    for waiting in status.waiting:
        yield _item("waiting", f"{waiting.subject} waits for a decision: {_sentence(waiting.why, '', waiting.hint)}", waiting.subject)
    for one in status.drifted if status.run.error is None else ():
        at = f" at {one.place}" if one.place else ""
        name = f"{one.appliance} {one.version}{at}"
        yield _item("drift", f"{name} was changed at the cloud: {'; '.join(one.what)}", name, *one.what)


def _item(occasion: Occasion, text: str, *identity: str) -> Item:
    """identity: what makes it the same thing, where its text may change."""
    return Item(occasion=occasion, key=f"{occasion} {sha256_hex(chr(0).join(identity or (text,)).encode())[:24]}", text=text)


def to_tell(notifier: Notifier, told: Told, found: Iterable[Item], now: datetime) -> tuple[Item, ...]:
    """What this notifier is to hear now: pending events, new events, and of what lasts what it has not heard for a day."""
    wanted = [one for one in found if one.occasion in notifier.on]
    fresh = [one for one in wanted if one.occasion not in LASTING or one.key not in told.known or now - told.known[one.key] >= AGAIN]
    unique = {(one.occasion, one.key, one.text): one for one in (*told.pending, *fresh)}
    return tuple(unique.values())[-_MOST:]


def after_telling(told: Told, found: Iterable[Item], sent: tuple[Item, ...], now: datetime, *, delivered: bool, over: bool) -> Told:
    """What is to be remembered. over: whether the run saw everything, so that what it did not find has ended."""
    lasting = {one.key for one in found if one.occasion in LASTING}
    known = {key: at for key, at in told.known.items() if key in lasting or not over}
    events = tuple(one for one in sent if one.occasion not in LASTING)
    if delivered:
        known |= {one.key: now for one in sent if one.occasion in LASTING}
    return Told(known=known, pending=() if delivered else events[-_MOST:])


def message(site: str, told: tuple[Item, ...]) -> tuple[str, str, str]:
    """(title, text, kind) of one message about all of it; kind: info, success, warning or failure, as apprise has them."""
    occasions = {one.occasion for one in told}
    if "failed" in occasions:
        head, kind = "a run failed", "failure"
    elif "refused" in occasions:
        head, kind = "something is refused", "warning"
    elif "suspended" in occasions:
        head, kind = "it is suspended", "warning"
    elif "waiting" in occasions:
        head, kind = "a decision is waited for", "warning"
    elif "drift" in occasions:
        head, kind = "images were changed", "warning"
    elif "recovered" in occasions:
        head, kind = "it works again", "success"
    else:
        head, kind = "images changed", "info"
    return f"vmkeeper, site {site}: {head}", "\n".join(one.text for one in told), kind


def _sentence(what: str, why: str, hint: str) -> str:
    said = f"{what}: {why}" if why else what
    return f"{said} ({hint})" if hint else said
