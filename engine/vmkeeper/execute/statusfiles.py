"""Where a status lies: status.json in the site's own folder, and status.json with status.html wherever the administrator wants them."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from vmkeeper.execute.home import SiteHome
from vmkeeper.execute.secrets import scrubbed
from vmkeeper.images.files import reported, write_file
from vmkeeper.model.status import Status

FILE = "status.json"
PAGE = "status.html"
_LARGEST = 64 << 20


def read_status(home: SiteHome) -> Status | None:
    """The status of the last run; None before the first one. One that cannot be read is as good as none: the next run writes it again."""
    try:
        with (home.folder / FILE).open("rb") as file:
            return Status.model_validate_json(file.read(_LARGEST))
    except (OSError, ValidationError):
        return None


def write_status(home: SiteHome, status: Status) -> None:
    """Keep the status of a run in the home. Raises UserError."""
    with reported("write the status", home.folder / FILE):
        write_file(home.folder / FILE, as_json(status), mode=0o600, durable=False)


def publish_status(folder: Path, status: Status) -> None:
    """Write status.json and status.html, each whole or not at all, for others to read. Raises UserError."""
    from vmkeeper.execute.statuspage import page

    with reported("write the status", folder):
        write_file(folder / FILE, as_json(status), durable=False)
        write_file(folder / PAGE, scrubbed(page(status)).encode(), durable=False)


def as_json(status: Status) -> bytes:
    """As a file: indented JSON."""
    return scrubbed(status.model_dump_json(indent=2)).encode() + b"\n"


@contextmanager
def sole_writer(home: SiteHome, what: str = "status") -> Iterator[None]:
    """One process at a time reads what there was (`status`: the last status; `told`: who heard what) and writes what follows."""
    home.folder.mkdir(parents=True, exist_ok=True)
    with (home.folder / f"{what}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
