"""propagation: what sites say they run, and how long it took to get there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmkeeper.cli.session import HERE, Directory, Output, OutputOption, Session
from vmkeeper.errors import VmkeeperError
from vmkeeper.values import Duration, format_time

if TYPE_CHECKING:
    from vmkeeper.execute.propagation import SiteSaid


def propagation(
    appliance: Annotated[str | None, typer.Argument(help="Only of this appliance.", show_default=False)] = None,
    directory: Directory = HERE,
    output: OutputOption = Output.text,
) -> int:
    """Show which versions are in use at which sites and since when, as the sites' signed reports say. Fetch their branches first: git fetch."""
    from vmkeeper.execute.propagation import reports

    session = Session(directory)
    said = reports(session.repository, session.mainline)
    if output is Output.json:
        session.json({"version": 1, "sites": [_said_json(one, appliance) for one in said]})
        return 0
    for line in _table(said, appliance, session.now, newest=_newest(session)):
        session.say(line)
    if not said:
        session.say("No site reports: none of sites/*.yaml has report: in it.")
    return 0


def _newest(session: Session) -> Callable[[str], str]:
    """The version of an appliance's release on the followed branch; "" where there is none."""
    catalogue = session.catalogue(session.mainline)

    def newest(appliance: str) -> str:
        try:
            release = catalogue.release(appliance)
        except VmkeeperError:
            return ""
        return str(release.version) if release else ""

    return newest


def _table(said: tuple[SiteSaid, ...], appliance: str | None, now: datetime, newest: Callable[[str], str]) -> list[str]:
    from vmkeeper.execute.propagation import lag_of, silent, use_of

    rows: list[tuple[str, ...]] = []
    other: list[str] = []
    for one in said:
        if one.report is None:
            other.append(f"{one.site}: {one.why}")
            continue
        state = ", ".join(
            word for word, so in (("suspended", one.report.suspended), ("failing", one.report.failing), ("silent", silent(one.report, now))) if so
        )
        for image in use_of(one, appliance):
            lag, latest = lag_of(image), newest(image.appliance)
            behind = f"newest release is {latest}" if latest and latest != str(image.version) else ""
            since = format_time(image.since) if image.since else "not known"
            where = f"{one.site} ({', '.join(image.places)})" if image.places else one.site
            rows.append(
                (
                    image.appliance,
                    str(image.version),
                    where,
                    since,
                    str(Duration(lag)) if lag is not None else "-",
                    "; ".join(filter(None, (behind, state))),
                )
            )
        if not use_of(one, appliance):
            other.append(f"{one.site}: nothing{f' of {appliance}' if appliance else ''} is in use there" + (f" ({state})" if state else ""))
    if not rows:
        return other
    head = ("APPLIANCE", "VERSION", "SITE", "SINCE", "LAG", "")
    rows.sort(key=lambda row: (row[0], row[2]))
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)] + other


def _said_json(said: SiteSaid, appliance: str | None) -> dict[str, Any]:
    from vmkeeper.execute.propagation import lag_of, use_of

    if said.report is None:
        return {"site": said.site, "believed": False, "why": said.why, "images": []}
    images = [{**one.model_dump(mode="json"), "lag": lag_of(one)} for one in use_of(said, appliance)]
    report = said.report.model_dump(mode="json", include={"at", "head", "interval", "program", "suspended", "failing"})
    return {"site": said.site, "believed": True, **report, "images": images}
