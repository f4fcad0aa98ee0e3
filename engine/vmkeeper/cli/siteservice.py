"""What a site needs as a service: site suspend, resume, key, page and unit."""

from __future__ import annotations

import getpass
import sys
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vmkeeper.cli.service import MetricsFileOption, MetricsOption, StatusOption
from vmkeeper.cli.session import HERE, Directory, Session
from vmkeeper.cli.site import HomeOption, SiteName
from vmkeeper.errors import UserError, VmkeeperError
from vmkeeper.model.service import Watch
from vmkeeper.values import format_time, parse_time


def suspend(
    name: SiteName,
    reason: Annotated[str, typer.Option("--reason", help="Why; shown by every run, in the status and to who gets messages.")],
    until: Annotated[
        str | None, typer.Option("--until", help="Up to when, in UTC: 2026-11-20T10:30:00Z. Default: until resumed.", show_default=False)
    ] = None,
    home: HomeOption = None,
) -> int:
    """Have the site do nothing for a time: nothing is fetched, and no image comes, changes or goes, not even one that is withdrawn."""
    from vmkeeper.execute.home import SiteHome
    from vmkeeper.execute.suspension import suspend as put

    session, place = Session(HERE), SiteHome.of(name, home)
    made = put(place, reason, session.now, _time(until))
    session.say(f"{name} is suspended{f' until {format_time(made.until)}' if made.until else ''}: {made.reason}")
    session.warn("images that are withdrawn, blocked or expired stay usable meanwhile")
    session.say(f"End it with: vmkeeper site resume {name}{f' --home {home}' if home else ''}")
    return 0


def resume(name: SiteName, home: HomeOption = None) -> int:
    """End a suspension; the next run makes up for what was missed."""
    from vmkeeper.execute.home import SiteHome
    from vmkeeper.execute.suspension import resume as end

    session = Session(HERE)
    found = end(SiteHome.of(name, home))
    session.say(
        f"{name} was suspended since {format_time(found.since)} ({found.reason}); it is not any more." if found else f"{name} was not suspended."
    )
    return 0


def key(name: SiteName, home: HomeOption = None) -> int:
    """Print the public key that the site signs its reports with; it is made where there is none."""
    from vmkeeper.execute.home import SiteHome
    from vmkeeper.execute.sitekey import site_key

    session = Session(HERE)
    public, made = site_key(SiteHome.of(name, home), name)
    if made:
        session.warn(f"a new key was made; write it into sites/{name}.yaml, under report: as key:")
    session.say(public)
    return 0


def page(
    name: SiteName,
    to: Annotated[Path | None, typer.Option("--to", help="Write it there instead of printing it.", show_default=False)] = None,
    home: HomeOption = None,
) -> int:
    """Print the status of the last run as a web page. Fetches nothing."""
    from vmkeeper.execute.home import SiteHome
    from vmkeeper.execute.secrets import scrubbed
    from vmkeeper.execute.statusfiles import read_status
    from vmkeeper.execute.statuspage import page as made
    from vmkeeper.images.files import reported, write_file

    session = Session(HERE)
    status = read_status(SiteHome.of(name, home))
    if status is None:
        raise UserError(f"nothing was reconciled at {name} yet", hint=f"vmkeeper reconcile {name}")
    text = scrubbed(made(status))
    if to is None:
        session.out.file.write(text)
        return 0
    with reported("write the page", to):
        write_file(to, text.encode())
    return 0


class UnitKind(StrEnum):
    """What systemd starts."""

    service = "service"
    timer = "timer"


def unit(
    name: SiteName,
    kind: Annotated[UnitKind, typer.Option("--kind", help="A service that goes on watching, or a timer with one run each time.")] = UnitKind.service,
    user: Annotated[str | None, typer.Option("--user", help="Who it runs as. Default: who runs this.", show_default=False)] = None,
    to: Annotated[Path | None, typer.Option("--to", help="Write the files into this folder instead of printing them.", show_default=False)] = None,
    home: HomeOption = None,
    metrics_file: MetricsFileOption = None,
    metrics: MetricsOption = None,
    status: StatusOption = None,
    directory: Directory = HERE,
) -> int:
    """Print systemd units that reconcile the site, shut in as far as its work allows."""
    from vmkeeper.execute.home import SiteHome
    from vmkeeper.execute.observe import site_document
    from vmkeeper.execute.units import Wanted, service_units, timer_units
    from vmkeeper.images.files import reported, write_file

    session, place = Session(directory), SiteHome.of(name, home)
    pins = place.pins()
    if kind is UnitKind.timer and metrics is not None:
        raise UserError("metrics are served only as long as something runs", where="--metrics", hint="use --metrics-file FILE with a timer")
    options = ["--home", str(place.folder)]
    if pins.source is None:
        options += ["-C", str(session.repository.folder)]
    given = (("--metrics-file", metrics_file and metrics_file.absolute()), ("--metrics", metrics), ("--status", status and status.absolute()))
    options += [word for option, value in given if value for word in (option, str(value))]
    written = [path.absolute() for path in (metrics_file.absolute().parent if metrics_file else None, status) if path]
    try:
        watch = site_document(place, name).watch
    except VmkeeperError:
        watch = Watch()
    program = [sys.executable, "-m", "vmkeeper"]
    wanted = Wanted(name, place.folder, program, options, user or getpass.getuser(), written, watch)
    made = service_units(wanted) if kind is UnitKind.service else timer_units(wanted)
    for file, text in made.items():
        if to is None:
            session.out.file.write(f"# {file}\n{text}\n")
        else:
            with reported("write the unit", to):
                write_file(to / file, text.encode())
            session.say(f"wrote {to / file}")
    if to is not None:
        session.say(f"Next: systemctl daemon-reload; systemctl enable --now vmkeeper-{name}.{kind.value}")
    return 0


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return parse_time(text)
    except ValueError as error:
        raise UserError("this is not a time", where="--until", why=str(error)) from None
