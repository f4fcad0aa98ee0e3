"""Suspension of a site: a file in its own folder, made by an administrator. While it is there, runs change nothing and fetch nothing."""

from __future__ import annotations

from datetime import datetime

from pydantic import ValidationError

from vmkeeper.errors import UserError
from vmkeeper.execute.home import SiteHome
from vmkeeper.images.files import write_file
from vmkeeper.model.status import Suspended

FILE = "suspended.json"
_LARGEST = 64 << 10


def suspension(home: SiteHome, now: datetime) -> Suspended | None:
    """Why the site does nothing, or None. Raises UserError where the file cannot be read: nobody knows then what was meant."""
    found = _read(home)
    return None if found is None or (found.until is not None and found.until <= now) else found


def suspend(home: SiteHome, reason: str, now: datetime, until: datetime | None = None) -> Suspended:
    """Have the site do nothing, until a time or until it is resumed. A run that is at work goes on to its end. Raises UserError."""
    if not home.pinned():
        home.pins()
    if not reason.strip():
        raise UserError("a suspension needs a reason", hint="say why: --reason TEXT")
    if until is not None and until <= now:
        raise UserError("that time is over", where="--until", hint="give a time to come, in UTC: 2026-11-20T10:30:00Z")
    before = suspension(home, now)
    made = Suspended(since=before.since if before else now, reason=reason.strip(), until=until)
    write_file(home.folder / FILE, made.model_dump_json(indent=2).encode() + b"\n")
    return made


def resume(home: SiteHome) -> Suspended | None:
    """End a suspension; returns what it was, None where there was none. One that cannot be read is ended too."""
    try:
        found = _read(home)
    except UserError:
        found = Suspended(since=datetime.fromtimestamp((home.folder / FILE).stat().st_mtime).astimezone(), reason="a reason that cannot be read")
    (home.folder / FILE).unlink(missing_ok=True)
    return found


def _read(home: SiteHome) -> Suspended | None:
    file = home.folder / FILE
    try:
        with file.open("rb") as opened:
            return Suspended.model_validate_json(opened.read(_LARGEST))
    except FileNotFoundError:
        return None
    except (ValidationError, OSError) as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror or ""
        raise UserError(
            "the site's suspension cannot be read", where=str(file), why=why, hint="suspend it again, or end it: vmkeeper site resume NAME"
        ) from None
