"""Signed lists as they last counted, so that a server is asked only whether there is another one.

What is kept is verified again at every run, like what comes: a copy proves nothing. HOME/lists/NAME holds one line of
JSON and the message; a file that is damaged or of another address is as good as none.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from vmkeeper.errors import UserError, VmkeeperError
from vmkeeper.execute.listing import LIMIT, Read
from vmkeeper.images.addresses import UrlPolicy
from vmkeeper.images.files import reported, write_file
from vmkeeper.images.web import Answered, Credentials, Validators, Web, read_changed
from vmkeeper.model.base import Document, FirstFormat
from vmkeeper.values import Sha512, Time, sha512_hex

_HEAD = 16 << 10
_NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS)
"""Whoever may only look at the site's folder sees a plan all the same."""


class _Head(Document):
    format: FirstFormat = 1
    url: str
    etag: str
    modified: str
    until: Time
    """When the list expires."""
    sha512: Sha512
    """Of the message."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A list's message that counted, and what its server said of it."""

    message: bytes
    validators: Validators
    until: datetime


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds to wait: for a connection, in the middle of an answer, for all of it."""

    connect: float = 15
    idle: float = 30
    longest: float = 120


class ListCache:
    """The lists of one site. `allow` as for UrlPolicy."""

    def __init__(self, folder: Path, allow: Collection[str], patience: Patience = Patience()) -> None:
        self.folder = folder
        self.patience = patience
        self._policy = UrlPolicy(allow)

    def kept(self, name: str, url: str) -> Kept | None:
        """What counted last of a list at an address."""
        try:
            with (self.folder / name).open("rb") as file:
                line, message = file.readline(_HEAD), file.read(LIMIT + 1)
            head = _Head.model_validate_json(line)
        except (OSError, ValidationError):
            return None
        if head.url != url or sha512_hex(message) != head.sha512:
            return None
        return Kept(message, Validators(head.etag, head.modified), head.until)

    def bring(self, name: str, url: str, now: datetime, judge: Callable[[bytes], Read], credentials: Credentials | None = None) -> Read:
        """The list as it is at its address now, judged; what counts is kept.

        It is asked for without condition where the kept one has expired or counts no more. Raises what `judge` raises, and
        what `read_changed` raises.
        """
        kept = self.kept(name, url)
        known = kept.validators if kept is not None and now < kept.until else Validators()
        answered = self._ask(url, known, credentials)
        if answered.data is None and kept is not None:
            try:
                return judge(kept.message)
            except VmkeeperError:
                answered = self._ask(url, Validators(), credentials)
        message = answered.data or b""
        read = judge(message)
        if kept is None or (message, answered.validators) != (kept.message, kept.validators):
            self._keep(name, url, message, answered.validators, read.list.expires)
        return read

    def tidy(self, names: Collection[str]) -> None:
        """Remove what is kept of lists that the site no longer takes."""
        for path in self.folder.glob("[!.]*") if self.folder.is_dir() else ():
            if path.name not in names:
                with suppress(PermissionError):
                    path.unlink(missing_ok=True)

    def _ask(self, url: str, known: Validators, credentials: Credentials | None) -> Answered:
        patience = self.patience
        self._policy.check(url)
        web = Web(self._policy, connect=patience.connect, idle=patience.idle, credentials=credentials)
        return read_changed(web, url, known, limit=LIMIT, longest=patience.longest)

    def _keep(self, name: str, url: str, message: bytes, said: Validators, until: datetime) -> None:
        head = _Head(url=url, etag=said.etag, modified=said.modified, until=until, sha512=sha512_hex(message))
        line = json.dumps(head.model_dump(mode="json")).encode()
        try:
            with reported("keep the list", self.folder / name):
                write_file(self.folder / name, line + b"\n" + message, mode=0o600)
        except UserError as error:
            if not isinstance(error.__cause__, OSError) or error.__cause__.errno not in _NOT_OURS:
                raise
