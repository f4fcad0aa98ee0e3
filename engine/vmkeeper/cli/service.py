"""What `reconcile` does beside the run itself: status, metrics, messages, and with `--watch` the same again and again."""

from __future__ import annotations

import json
import os
import random
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmkeeper.cli.session import Session, show_error, visible
from vmkeeper.errors import UserError, VmkeeperError
from vmkeeper.execute.walk import Done
from vmkeeper.progress import Progress, Silent
from vmkeeper.values import Duration, format_time

if TYPE_CHECKING:
    from vmkeeper.execute.home import SiteHome
    from vmkeeper.execute.metrics import MetricsServer
    from vmkeeper.execute.service import Keeper, Visit, Visiting
    from vmkeeper.execute.servicemanager import ServiceManager
    from vmkeeper.execute.site import Reconciled
    from vmkeeper.execute.watching import Pause, Round

WatchOption = Annotated[bool, typer.Option("--watch", help="Do it again and again, as `watch:` of the site's file says, until SIGTERM or Ctrl-C.")]
MetricsFileOption = Annotated[
    Path | None,
    typer.Option("--metrics-file", metavar="FILE", help="Write metrics there, for Prometheus' textfile collector.", show_default=False),
]
MetricsOption = Annotated[
    str | None, typer.Option("--metrics", metavar="HOST:PORT", help="With --watch: serve metrics for Prometheus there.", show_default=False)
]
StatusOption = Annotated[
    Path | None, typer.Option("--status", metavar="DIR", help="Write status.json and status.html into this folder.", show_default=False)
]
_STUCK = 6 * 3600.0
"""Seconds without a sign of life from a run, after which the service manager is told that we are alive no more."""

Run = Callable[["Visiting"], "Reconciled"]


@dataclass(frozen=True, slots=True)
class Serving:
    """What `reconcile` was asked for beside the run itself."""

    session: Session
    home: SiteHome
    name: str
    metrics_file: Path | None = None
    metrics: str | None = None
    status: Path | None = None

    def once(self, run: Run) -> Visit:
        """One run. Raises the error that it came to, once everybody was told of it."""
        if self.metrics is not None:
            raise UserError("metrics are served only as long as something runs", where="--metrics", hint="use --watch, or --metrics-file FILE")
        visit = self._keeper().visit(run, self.session.progress())
        for note in visit.notes:
            self.session.warn(f"{note.subject}: {note.why}")
        if visit.error is not None:
            raise visit.error
        return visit

    def watch(self, run: Run, *, as_json: bool = False) -> int:
        """Run again and again, until the end is asked for. as_json: one line of JSON for each run."""
        from vmkeeper.execute.metrics import MetricsServer
        from vmkeeper.execute.servicemanager import ServiceManager
        from vmkeeper.execute.watching import Alive, Wishes, signals, watch

        self.home.pins()
        wishes, alive = Wishes(), Alive()
        manager = ServiceManager(os.environ, alive=lambda: alive.silent() < _STUCK)
        server = MetricsServer(self.metrics) if self.metrics is not None else None
        talk = _Talk(self.session, manager, as_json=as_json)
        keeper = self._keeper(server, alive.sign)

        def round_() -> Round:
            visit = keeper.visit(run, talk.progress(), wishes.end.is_set)
            talk.tell(visit)
            return visit.round

        try:
            with signals(wishes):
                if server is not None:
                    self.session.warn(f"metrics are served at port {server.port}")
                manager.ready()
                watch(round_, wishes, clock=lambda: self.session.now, chance=random.random, fault=talk.fault, resting=talk.rest)
                manager.ending()
        finally:
            if server is not None:
                server.close()
        talk.end()
        return 0

    def _keeper(self, server: MetricsServer | None = None, alive: Callable[[], None] = lambda: None) -> Keeper:
        from vmkeeper.execute.service import Keeper, Outlets

        outlets = Outlets(self.metrics_file, server, self.status)
        return Keeper(self.home, self.name, lambda: self.session.now, outlets=outlets, alive=alive)


class _Talk:
    """What a service says: what each run did, each error, and of notes only those that the run before had not."""

    def __init__(self, session: Session, manager: ServiceManager, *, as_json: bool) -> None:
        self._session = session
        self._manager = manager
        self._as_json = as_json
        self._before: frozenset[str] = frozenset()
        self._summary = ""
        self._visit: Visit | None = None

    def progress(self) -> Progress:
        """For one run: on a terminal each step; elsewhere only the service manager hears of them."""
        return _Both(self._session.progress() if self._session.err.is_terminal else Silent(), self._manager)

    def tell(self, visit: Visit) -> None:
        """What came of a run, but for the pause after it."""
        self._visit, self._summary = visit, _summary(visit)
        if self._as_json:
            return
        notes = {f"{note.subject}: {note.why}" for note in visit.notes}
        if visit.done is not None:
            made = visit.done.made
            notes |= {f"{note.subject}: {note.why}" for note in made.notes}
            notes |= {f"retire limit: {made.refusal}"} if made.refusal else set()
            notes |= {f"{one.appliance} {one.version}: waits for a decision" for one in made.waiting}
            self._session.report(visit.done.outcomes)
        elif isinstance(visit.error, VmkeeperError) and visit.round.came != "busy":
            show_error(self._session.err, visit.error)
        elif visit.error is not None and visit.round.came != "busy":
            self.fault(visit.error)
        for note in sorted(notes - self._before):
            self._session.say(f"note     {note}")
        self._before = frozenset(notes)

    def fault(self, error: Exception) -> None:
        """A fault of our own."""
        self._summary = "a fault of vmkeeper itself"
        for line in "".join(traceback.format_exception(error)).rstrip("\n").split("\n"):
            self._session.err.print(visible(line), markup=False)
        self._session.err.print("This is a bug in vmkeeper. Please report it with the text above. The service goes on.", markup=False)

    def rest(self, pause: Pause) -> None:
        """The last line of a round."""
        now, seconds = format_time(self._session.now), max(1, int(pause.seconds))
        line = f"{self._summary}; next look in {Duration(seconds)}{f' ({pause.why})' if pause.why else ''}"
        self._manager.says(visible(line))
        if self._as_json:
            said = {"version": 1, "at": now, "summary": self._summary, **_round_json(self._visit), "pause": seconds, "why": pause.why}
            self._session.say(json.dumps(said, ensure_ascii=True))
        else:
            self._session.say(f"{now}  {line}")
        sys.stdout.flush()

    def end(self) -> None:
        """The service has ended."""
        if not self._as_json:
            self._session.say(f"{format_time(self._session.now)}  {self._summary}; ended, as was asked")


class _Both:
    """A progress that shows on the terminal, and tells the service manager."""

    def __init__(self, live: Progress, manager: ServiceManager) -> None:
        self._live = live
        self._manager = manager

    def step(self, subject: str, text: str) -> None:
        self._live.step(subject, text)
        self._manager.says(visible(f"{subject}: {text}"))

    def amount(self, subject: str, done: int, total: int, unit: str) -> None:
        self._live.amount(subject, done, total, unit)


def suspended_words(visit: Visit) -> str:
    """That a site is suspended, in a sentence without its full stop."""
    said = visit.status.suspended if visit.status else None
    if said is None:
        return "suspended"
    until = f" until {format_time(said.until)}" if said.until else ""
    return f"suspended since {format_time(said.since)}{until} ({said.reason}): nothing was looked at or changed, and what is withdrawn stays usable"


def suspended_json(visit: Visit) -> dict[str, Any]:
    """The same as JSON, in the form of a run in which nothing was to do."""
    said = visit.status.suspended if visit.status else None
    return {"version": 1, "suspended": said.model_dump(mode="json") if said else {}, "actions": [], "outcomes": [], "notes": [], "waiting": []}


def _summary(visit: Visit) -> str:
    if visit.suspended:
        return suspended_words(visit)
    if visit.done is None:
        return "another run is at work" if visit.round.came == "busy" else "the run did not come to its end"
    done = sum(isinstance(outcome, Done) for outcome in visit.done.outcomes)
    failed = len(visit.done.outcomes) - done
    usable = sum(image.state == "active" for image in visit.status.images) if visit.status else 0
    what = f"{done} done" if done else "nothing to do" if not failed else "nothing done"
    return f"{usable} usable image{'' if usable == 1 else 's'}, {what}{f', {failed} not done' if failed else ''}"


def _round_json(visit: Visit | None) -> dict[str, Any]:
    if visit is None or visit.status is None:
        return {"result": visit.round.came if visit else "bug"}
    run = visit.status.run
    error = {"error": run.error.model_dump(mode="json")} if run.error else {}
    return {
        "result": run.result,
        "actions": [one.model_dump(mode="json") for one in run.actions],
        "notes": [one.model_dump(mode="json") for one in visit.status.notes],
        **error,
    }
