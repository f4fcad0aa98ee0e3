"""Runs at one site, and what becomes known of them: status, metrics, the report to producers, messages.

A run comes first, and nothing of what tells of it can fail it: what could not be told is a note. What is written holds no secret.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from vmkeeper.clouds import connect as connect_clouds
from vmkeeper.clouds.interface import Cloud, CloudImage
from vmkeeper.errors import VmkeeperError
from vmkeeper.execute.home import Busy, SiteHome
from vmkeeper.execute.metering import Meter, MeteredCloud
from vmkeeper.execute.notifying import notify
from vmkeeper.execute.observe import account_of, site_document
from vmkeeper.execute.reporting import report_status
from vmkeeper.execute.runfacts import facts_of, trouble_of
from vmkeeper.execute.secrets import hide_clouds, scrub_error, scrubbed
from vmkeeper.execute.site import Reconciled
from vmkeeper.execute.statusfiles import publish_status, read_status, sole_writer, write_status
from vmkeeper.execute.statusreport import Measured, after_failure, after_run, while_suspended
from vmkeeper.execute.suspension import suspension
from vmkeeper.execute.view import Connect
from vmkeeper.execute.walk import Done, Failed, Outcome
from vmkeeper.execute.watching import Came, Round
from vmkeeper.model.service import Watch
from vmkeeper.model.site import Site
from vmkeeper.model.status import Remark, Status
from vmkeeper.plan.wanted import Note
from vmkeeper.progress import Progress, Silent

if TYPE_CHECKING:
    from vmkeeper.execute.metrics import MetricsServer


@dataclass(frozen=True, slots=True)
class Outlets:
    """Where a status goes beside the site's own folder, as the administrator asked. folder: for status.json and status.html."""

    metrics_file: Path | None = None
    server: MetricsServer | None = None
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Visit:
    """One run at a site, whatever came of it. Exactly one of `done`, `error` and `suspended` says what.

    error: a VmkeeperError, or a fault of vmkeeper itself. notes: what was amiss beside it, and what could not be told.
    """

    status: Status | None
    done: Reconciled | None = None
    error: Exception | None = None
    suspended: bool = False
    notes: tuple[Note, ...] = ()
    watch: Watch = field(default_factory=Watch)

    @property
    def round(self) -> Round:
        """For the next pause."""
        came: Came = "busy" if isinstance(self.error, Busy) else "failed" if self._failed else "good"
        return Round(came, self.watch, self.status.next if self.status else None)

    @property
    def _failed(self) -> bool:
        return self.error is not None or (not self.suspended and self.status is not None and self.status.failures > 0)


@dataclass(frozen=True, slots=True)
class Visiting:
    """What a run at a site is given: its progress, what connects its clouds, what tells that it is to end, and who hears of what is amiss."""

    progress: Meter
    connect: Connect
    stop: Callable[[], bool]
    warn: Callable[[str, str], None]
    """(subject, why), of what stops nothing."""


class Keeper:
    """Runs at one site. It keeps nothing from one to the next but what lies in the site's own folder."""

    def __init__(
        self, home: SiteHome, name: str, clock: Callable[[], datetime], *, outlets: Outlets | None = None, alive: Callable[[], None] = lambda: None
    ) -> None:
        self.home = home
        self.name = name
        self._clock = clock
        self._outlets = outlets or Outlets()
        self._alive = alive

    def visit(self, run: Callable[[Visiting], Reconciled], progress: Progress | None = None, stop: Callable[[], bool] = lambda: False) -> Visit:
        """One run, and its telling. Raises nothing that `run` raises: it is in the result."""
        began, meter = self._clock(), Meter(progress or Silent(), self._alive)
        hide_clouds(self.home.folder)
        told: list[Note] = []
        after: Mapping[str, tuple[CloudImage, ...]] = {}
        try:
            suspended = suspension(self.home, began)
            if suspended is not None:
                return self._told(
                    Visit(None, suspended=True, watch=self._watch()), lambda before: while_suspended(before, self.name, began, suspended)
                )
            with meter.stage("all"):
                done = _scrubbed(run(Visiting(meter, self._metered(meter), stop, lambda subject, why: told.append(Note(subject, why)))))
                after = _again(done)
            made = Visit(None, done=done, notes=tuple(told), watch=done.view.site.watch)
        except Busy as error:
            return Visit(None, error=error, watch=self._watch())
        except VmkeeperError as error:
            scrub_error(error)
            made = Visit(None, error=error, notes=tuple(told), watch=self._watch())
        except Exception as error:  # noqa: BLE001 - the fault is handed back, and told as one
            made = Visit(None, error=error, notes=tuple(told), watch=self._watch())
        ended, measured = self._clock(), Measured(dict(meter.seconds), dict(meter.calls), meter.fetched, meter.uploaded)
        if made.done is not None:
            facts = facts_of(made.done, ended, after)
            return self._told(made, lambda before: after_run(before, self.name, began, ended, facts, measured))
        assert made.error is not None
        trouble, bug = trouble_of(made.error), not isinstance(made.error, VmkeeperError)
        return self._told(made, lambda before: after_failure(before, self.name, began, ended, trouble, measured, bug=bug))

    def _metered(self, meter: Meter) -> Connect:
        """Connects the site's clouds so that their calls are counted."""

        def connect(site: Site) -> Mapping[str, Cloud]:
            clouds = connect_clouds(site.platform, account_of(self.home, self.name))
            return {place: MeteredCloud(cloud, meter, place) for place, cloud in clouds.items()}

        return connect

    def _told(self, visit: Visit, status_after: Callable[[Status | None], Status]) -> Visit:
        """Write the status, report it, and send messages. Where the folder is not that of this site, nothing is written there."""
        if not self._is_ours():
            return visit
        with sole_writer(self.home):
            status = status_after(read_status(self.home))
            notes = visit.notes + self._written(status)
        site = visit.done.view.site if visit.done else self._site()
        if site is not None:
            notes += report_status(self.home, site, status, self._clock(), self._alive)
            self._alive()
            notes += notify(self.home, site.notify, status, self._clock())
        notes = tuple(Note(note.subject, scrubbed(note.why)) for note in notes)
        if notes:
            remarks = tuple(Remark(subject=note.subject, why=note.why) for note in notes)
            status = status.model_copy(update={"notes": (*status.notes, *remarks)})
            with sole_writer(self.home):
                notes += self._written(status)
        return replace(visit, status=status, notes=notes)

    def _is_ours(self) -> bool:
        try:
            pinned = self.home.pins().site
        except VmkeeperError:
            return False
        return pinned is not None and pinned.name == self.name

    def _written(self, status: Status) -> tuple[Note, ...]:
        """Write a status everywhere; a note for each place where it could not be."""
        notes: list[Note] = []
        outlets = self._outlets
        ways: list[tuple[str, Callable[[], None]]] = [("status", lambda: write_status(self.home, status))]
        if (folder := outlets.folder) is not None:
            ways.append(("status page", lambda: publish_status(folder, status)))
        if (file := outlets.metrics_file) is not None:
            from vmkeeper.execute.metrics import write_metrics

            ways.append(("metrics", lambda: write_metrics(file, status)))
        for subject, write in ways:
            try:
                write()
            except VmkeeperError as error:
                notes.append(Note(subject, str(error)))
        if outlets.server is not None:
            outlets.server.show(status)
        return tuple(notes)

    def _site(self) -> Site | None:
        """The site's file as it was last in force; None before the first run, or where it cannot be read."""
        try:
            return site_document(self.home, self.name)
        except VmkeeperError:
            return None

    def _watch(self) -> Watch:
        site = self._site()
        return site.watch if site else Watch()


def _again(done: Reconciled) -> Mapping[str, tuple[CloudImage, ...]]:
    """The places at which something was done, listed again; one that cannot be is left as it was seen before."""
    changed = {outcome.action.subject.partition(" @")[2] for outcome in done.outcomes if isinstance(outcome, Done)}
    found: dict[str, tuple[CloudImage, ...]] = {}
    for name, place in done.view.places.items():
        if name in changed:
            try:
                found[name] = place.cloud.images()
            except VmkeeperError:
                continue
    return found


def _scrubbed(done: Reconciled) -> Reconciled:
    """What a run saw and did, without secrets in its words."""
    for error in (*done.view.unreachable.values(), *((done.made.refusal,) if done.made.refusal else ())):
        scrub_error(error)
    notes = tuple(Note(scrubbed(note.subject), scrubbed(note.why)) for note in done.made.notes)
    return replace(done, made=replace(done.made, notes=notes), outcomes=tuple(map(_scrubbed_outcome, done.outcomes)))


def _scrubbed_outcome(outcome: Outcome) -> Outcome:
    if isinstance(outcome, Failed):
        scrub_error(outcome.error)
    return replace(outcome, text=scrubbed(outcome.text)) if isinstance(outcome, Done) else outcome
