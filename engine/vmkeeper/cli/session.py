"""What every command shares: the repository, the store, the console, output formats and exit codes."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from platformdirs import user_data_dir
from rich.console import Console
from rich.markup import escape

from vmkeeper.errors import Problems, UserError, VmkeeperError
from vmkeeper.execute.secrets import scrubbed
from vmkeeper.execute.walk import Blocked, Done, Failed, Outcome
from vmkeeper.values import Duration, Size
from vmkeeper.values import visible as escaped

if TYPE_CHECKING:
    from vmkeeper.catalogue.catalogue import Catalogue
    from vmkeeper.images.store import Store
    from vmkeeper.repository.tree import Repository
    from vmkeeper.trust.keys.certificates import Authorities

CHANGES = 2
"""Exit code of --detailed-exitcode when there is something to do."""


def visible(text: str) -> str:
    """Text as it may be shown: control characters escaped (rule R29), and no secret that was read."""
    return escaped(scrubbed(text))


class Output(StrEnum):
    """How results are written."""

    text = "text"
    json = "json"
    markdown = "markdown"


Directory = Annotated[Path, typer.Option("-C", "--directory", help="The repository; default: the one you stand in.", show_default=False)]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="How to write the result.")]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="Where image files lie by content: a folder or an fsspec address. Default: VMKEEPER_STORE, git config vmkeeper.store, your data folder.",
        show_default=False,
    ),
]
DetailedExitCode = Annotated[bool, typer.Option("--detailed-exitcode", help="Exit with 2 when there are changes.")]
HERE = Path()


@dataclass
class Session:
    """One command's surroundings. `out` is for results, `err` for progress and errors."""

    directory: Path = HERE
    store_url: str | None = None
    output: Output = Output.text
    out: Console = field(default_factory=lambda: Console(highlight=False, emoji=False, soft_wrap=True))
    err: Console = field(default_factory=lambda: Console(stderr=True, highlight=False, emoji=False, soft_wrap=True))

    @cached_property
    def repository(self) -> Repository:
        """The git repository; raises UserError where there is none."""
        from vmkeeper.repository.tree import Repository

        return Repository.open(self.directory)

    @cached_property
    def mainline(self) -> str:
        """The head of the followed branch: what is signed anywhere else counts nowhere (R7). Says so where one stands on another commit."""
        from vmkeeper.execute.verification import mainline_head

        head = mainline_head(self.repository)
        if head != self.repository.head():
            self.warn(f"this is about {head[:12]} of the followed branch, not about the commit that you stand on")
        return head

    @cached_property
    def store(self) -> Store:
        """The store for image files, made if it is a folder that is not there yet."""
        from vmkeeper.images.store import Store

        configured = self.store_url or os.environ.get("VMKEEPER_STORE") or self.repository.config("vmkeeper.store")
        return Store(configured or str(Path(user_data_dir("vmkeeper")) / "store"))

    @cached_property
    def authorities(self) -> Authorities:
        """Who issues the certificates of X.509 keys: the folder of git's vmkeeper.caFolder, by default the grid's own."""
        from vmkeeper.execute.home import read_ca_folder

        return read_ca_folder(Path(self.repository.config("vmkeeper.caFolder") or "/etc/grid-security/certificates").expanduser(), "when-there")

    def catalogue(self, revision: str = "HEAD", *, worktree: bool = False) -> Catalogue:
        """All documents of a commit, or of the files as they lie in the work tree."""
        from vmkeeper.catalogue.catalogue import Catalogue
        from vmkeeper.execute.planning import open_index

        repository = self.repository
        snapshot = repository.worktree() if worktree else repository.at(repository.resolve(revision))
        return Catalogue(repository, snapshot, open_index(repository))

    @property
    def now(self) -> datetime:
        """The time, UTC, to the second."""
        return datetime.now(UTC).replace(microsecond=0)

    def secret(self, name: str) -> str:
        """A passphrase or PIN, typed by the person at the terminal. Raises UserError where nobody sits there."""
        if not sys.stdin.isatty():
            raise UserError("nobody is here to type a passphrase", where=name, hint="use gpgsm or an agent, which ask by themselves")
        return getpass(f"Passphrase or PIN for {visible(name)}: ")

    def say(self, text: str = "") -> None:
        """A line of the result, control characters escaped (rule R29), no markup."""
        self.out.print("\n".join(visible(line) for line in text.split("\n")), markup=False)

    def warn(self, text: str) -> None:
        """A line on the error stream about what was done but is not as it should be; nothing for no text."""
        if text:
            self.err.print(f"[yellow]warning[/yellow] {escape(visible(text))}")

    def json(self, value: Any) -> None:
        """The result as JSON, indented, keys in their order."""
        sys.stdout.write(scrubbed(json.dumps(value, indent=2, ensure_ascii=True)) + "\n")

    def progress(self) -> LiveProgress:
        """A progress that shows on the error stream."""
        return LiveProgress(self.err)

    def report(self, outcomes: Iterable[Outcome]) -> int:
        """Print every outcome with what failed last; the exit code is 1 if anything failed."""
        listed = tuple(outcomes)
        for outcome in listed:
            match outcome:
                case Done(action, text):
                    self.say(f"done     {action.kind} {action.subject}: {text}")
                case Blocked(action, by):
                    self.say(f"blocked  {action.kind} {action.subject}: needs {by}, which failed")
                case Failed():
                    pass
        failed = [outcome for outcome in listed if isinstance(outcome, Failed)]
        for outcome in failed:
            self.say(f"FAILED   {outcome.action.kind} {outcome.action.subject}")
            show_error(self.err, outcome.error)
        return 1 if failed else 0


class LiveProgress:
    """Plain lines with the time since the start; amounts every few seconds only."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._start = clock()
        self._lock = threading.Lock()
        self._last: dict[str, tuple[float, int]] = {}

    def step(self, subject: str, text: str) -> None:
        """One line a step."""
        with self._lock:
            self._console.print(f"[dim]{self._clock() - self._start:6.1f}s[/dim]  [bold]{escape(visible(subject))}[/bold]  {escape(visible(text))}")

    def amount(self, subject: str, done: int, total: int, unit: str) -> None:
        """At most a line every two seconds and subject on a terminal, every twenty elsewhere; with the rate since the last one, and what is left."""
        now = self._clock()
        pause = 2.0 if self._console.is_terminal else 20.0
        with self._lock:
            before, then = self._last.setdefault(subject, (now, done))
            if done < then:
                before, then = self._last[subject] = (now, done)
            if now - before < pause:
                return
            self._last[subject] = (now, done)
        bytes_ = unit in ("B", "bytes")
        shown = Size(done).human if bytes_ else f"{done} {unit}"
        of = (Size(total).human if bytes_ else str(total)) if total else "?"
        self.step(subject, f"{shown} of {of}" + _pace(done - then, now - before, total - done, unit=None if bytes_ else unit))


def _pace(more: int, seconds: float, left: int, *, unit: str | None) -> str:
    """`, 12.0 MiB/s, 1m20s left`; "" where nothing came."""
    rate = more / seconds if seconds > 0 else 0
    if rate <= 0:
        return ""
    shown = f"{Size(int(rate)).human}/s" if unit is None else f"{rate:.1f} {unit}/s"
    return f", {shown}" + (f", {Duration(int(left / rate) + 1)} left" if left > 0 else "")


def show_error(console: Console, error: VmkeeperError) -> None:
    """An error as people read it: what and where in red, then why, then the way out."""
    if isinstance(error, Problems):
        for problem in error.problems:
            place = f"{problem.place}: " if str(problem.place) else ""
            console.print(f"[red]error[/red] [bold]{escape(visible(place))}[/bold]{escape(visible(problem.what))}")
            if problem.hint:
                console.print(f"      [cyan]→[/cyan] {escape(visible(problem.hint))}")
        return
    head, *rest = (visible(line) for line in str(error).splitlines() or [""])
    console.print(f"[red]error[/red] {escape(head)}")
    for line in rest[-40:]:
        console.print(f"      {escape(line)}")
    if error.hint:
        console.print(f"      [cyan]→[/cyan] {escape(visible(error.hint))}")


def need(value: Any, what: str, hint: str) -> Any:
    """`value`, or a UserError saying `what` is missing where it is None."""
    if value is None:
        raise UserError(what, hint=hint)
    return value
