"""Messages about runs, through the apprise library, to the addresses in the site's own folder.

Nothing depends on them: a notifier that fails, hangs or lacks its library becomes a note. Addresses are in no output.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from vmkeeper.errors import EnvironmentLacks, Transient, VmkeeperError
from vmkeeper.execute.credentials import read_urls
from vmkeeper.execute.home import SiteHome
from vmkeeper.execute.notifychild import LACKS
from vmkeeper.execute.occasions import Told, ToldAll, after_telling, items, message, to_tell
from vmkeeper.execute.secrets import scrub_error, scrubbed
from vmkeeper.execute.statusfiles import sole_writer
from vmkeeper.images.files import write_file
from vmkeeper.model.service import Notifier
from vmkeeper.model.status import Status
from vmkeeper.plan.wanted import Note
from vmkeeper.run import ProgramFailed, run

FILE = "told.json"
TIMEOUT = 30.0
"""Seconds for one notifier and message."""

Send = Callable[[tuple[str, ...], str, str, str], None]
"""Sends (addresses, title, text, kind). Raises VmkeeperError where it did not reach all of them."""


def send(urls: tuple[str, ...], title: str, text: str, kind: str) -> None:
    """Through apprise, in a process of its own. Raises Transient, EnvironmentLacks."""
    asked = json.dumps({"urls": urls, "title": title, "body": text, "kind": kind}).encode()
    try:
        # What it says on its error stream may hold an address: nothing of it is kept.
        done = run([sys.executable, "-m", "vmkeeper.execute.notifychild"], stdin=asked, timeout=TIMEOUT, check=False)
    except ProgramFailed:
        raise Transient(f"the message was not sent within {TIMEOUT:g} s", hint="the next run tries again") from None
    if done.status == LACKS:
        raise EnvironmentLacks("the apprise library is not on this machine", hint="pip install 'vmkeeper[notify]'")
    try:
        sent = json.loads(done.stdout)["sent"]
    except (ValueError, KeyError, TypeError):
        raise Transient("the message was not sent", why=f"its process ended with status {done.status}", hint="the next run tries again") from None
    if not all(sent):
        which = ", ".join(str(number) for number, good in enumerate(sent, 1) if not good)
        raise Transient("the message did not reach everybody", why=f"not address {which} of {len(sent)}", hint="the next run tries again")


def notify(home: SiteHome, notifiers: tuple[Notifier, ...], status: Status, now: datetime, send: Send = send) -> tuple[Note, ...]:
    """Tell each notifier what it has not heard, all at once; a note for each that could not be told. Never raises VmkeeperError."""
    if not notifiers:
        return ()
    with sole_writer(home, "told"):
        return _notified(home, notifiers, status, now, send)


def _notified(home: SiteHome, notifiers: tuple[Notifier, ...], status: Status, now: datetime, send: Send) -> tuple[Note, ...]:
    before = _read(home.folder / FILE)
    found = items(status, before)
    due = {one.name: to_tell(one, before.notifiers.get(one.name, Told()), found, now) for one in notifiers}

    def deliver(notifier: Notifier) -> VmkeeperError | None:
        if not due[notifier.name]:
            return None
        title, text, kind = message(status.site, due[notifier.name])
        try:
            send(read_urls(home.folder, notifier.credentials), scrubbed(title), scrubbed(text), kind)
        except VmkeeperError as error:
            scrub_error(error)
            return error
        return None

    with ThreadPoolExecutor(max_workers=4, thread_name_prefix="notify") as pool:
        errors = dict(zip((one.name for one in notifiers), pool.map(deliver, notifiers), strict=True))
    over = status.run.error is None and status.suspended is None
    told = {
        one.name: after_telling(before.notifiers.get(one.name, Told()), found, due[one.name], now, delivered=errors[one.name] is None, over=over)
        for one in notifiers
    }
    failing = status.failures > 0 if status.suspended is None else before.failing
    after = ToldAll(failing=failing, notifiers=told)
    if after != before:
        write_file(home.folder / FILE, after.model_dump_json(indent=1).encode() + b"\n", mode=0o600, durable=False)
    return tuple(
        Note(f"notifier {name}", f"{error}; {error.hint}" if error.hint else str(error)) for name, error in errors.items() if error is not None
    )


def _read(file: Path) -> ToldAll:
    """What was told; nothing where that cannot be read: then something is told twice."""
    try:
        return ToldAll.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return ToldAll()
