"""Download a file whose size and SHA-512 are known beforehand.

Hashed while read, resumed after any interruption, never more than the known size, never under its final name
before it is verified. What has other bytes is refused and thrown away; only network trouble is tried again.
"""

from __future__ import annotations

import email.utils
import os
import ssl
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpcore
import httpx

from vmkeeper.errors import Refused, Transient, UserError, VmkeeperError
from vmkeeper.images.addresses import UrlPolicy, public
from vmkeeper.images.arriving import Arriving
from vmkeeper.images.files import CHUNK, hash_file, reported
from vmkeeper.images.partial import Part
from vmkeeper.images.web import TRY_LATER, Credentials, Unavailable, Web
from vmkeeper.model.release import Blob
from vmkeeper.progress import Progress, Silent

_ENOUGH = 16 << 20
_SILENT = Silent()


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait and how often to try: seconds, bytes a second, times."""

    connect: float = 15
    idle: float = 60
    """Longest silence in the middle of an answer."""
    slowest: int = 1024
    """Fewer bytes a second than this over `idle` seconds is a stall."""
    retries: int = 4
    """Further tries at one URL after network trouble; counted anew once 16 MiB more have come."""
    backoff: float = 1
    """Wait before the first further try; doubled each time, at most a minute."""


def fetch(
    urls: Sequence[str],
    wanted: Blob,
    target: Path,
    *,
    allow: Collection[str] = (),
    patience: Patience = Patience(),
    tls: ssl.SSLContext | None = None,
    credentials: Credentials | None = None,
    subject: str = "",
    progress: Progress = _SILENT,
    sleep: Callable[[float], None] = time.sleep,
    arriving: Arriving | None = None,
    durable: bool = True,
) -> None:
    """Bring a file to `target` from the first of `urls` that gives it.

    allow: see UrlPolicy. credentials: what is shown to the one origin that they are for. subject: under which progress is
    told; default: the target's name. arriving: is told how far the file is. durable: whether it must outlive a power cut;
    one that is only cached need not. The partial file lies beside the target as `SHA512[:32].part` and is taken up again by
    the next call, of whatever process. Raises Refused (R14 other bytes, R25 too many, R27 address), Transient, Unavailable,
    UserError (no room, no right); the reasons of all URLs are in the one error.
    """
    subject = subject or target.name
    sources = _Sources(UrlPolicy(allow), patience, tls, credentials)
    failures: list[VmkeeperError] = []
    with reported("keep the download", target), Part(target.parent, wanted, arriving) as part:
        if target.is_file() and hash_file(target) == wanted:
            return
        for url in dict.fromkeys(urls):
            try:
                _from_one(url, sources, part, progress, subject, sleep)
            except (Refused, Transient, Unavailable) as error:
                progress.step(subject, f"{public(url)} did not serve: {error}")
                failures.append(error)
            else:
                part.keep(target, durable=durable)
                return
    raise _together(failures, target)


def _together(failures: list[VmkeeperError], target: Path) -> VmkeeperError:
    if not failures:
        return UserError("nothing says where this file can be had", where=str(target))
    if len(failures) == 1:
        return failures[0]
    first = next((e for kind in (Refused, Transient, VmkeeperError) for e in failures if isinstance(e, kind)), failures[0])
    what = f"none of {len(failures)} addresses gave this file"
    why = "; ".join(str(error) for error in failures)
    if isinstance(first, Refused):
        return Refused(first.rule, what, where=target.name, why=why, hint=first.hint)
    return type(first)(what, where=target.name, why=why, hint=first.hint)


def _from_one(url: str, sources: _Sources, part: Part, progress: Progress, subject: str, sleep: Callable[[float], None]) -> None:
    """Fill the part from one URL and verify it, taking up what is there and starting over at most once."""
    for old in (part.size > 0, False):
        _fill(url, sources, part, progress, subject, sleep)
        if part.matches():
            return
        resumed = old and part.resumed
        part.restart()
        if not resumed:
            break
        progress.step(subject, "what was there before did not fit, starting over")
    raise Refused(
        "R14", "other bytes than were signed for", where=public(url), hint="tell whoever runs that server; another mirror may have the file"
    )


def _fill(url: str, sources: _Sources, part: Part, progress: Progress, subject: str, sleep: Callable[[float], None]) -> None:
    failed = 0
    while part.size < part.wanted.size:
        before = part.size
        try:
            with sources.open(url, part) as chunks:
                _append(chunks, url, part, progress, subject, sources.patience)
        except _Again as error:
            failed = 1 if part.size - before >= _ENOUGH else failed + 1
            if failed > sources.patience.retries:
                raise Transient(error.what, where=public(url), why=error.why, hint="run again later; what came so far is kept") from None
            wait = max(error.wait, min(sources.patience.backoff * 2 ** (failed - 1), 60))
            progress.step(subject, f"{error}, trying again in {wait:g} s")
            sleep(wait)
        except Refused:
            part.restart()
            raise


def _append(chunks: Iterator[bytes], url: str, part: Part, progress: Progress, subject: str, patience: Patience) -> None:
    window, shown, before = time.monotonic(), 0.0, part.size
    for chunk in chunks:
        if part.size + len(chunk) > part.wanted.size:
            raise Refused("R25", f"more than the {int(part.wanted.size)} bytes that were signed for", where=public(url))
        part.append(chunk)
        now = time.monotonic()
        if now - shown >= 0.5 or part.size == part.wanted.size:
            progress.amount(subject, part.size, part.wanted.size, "B")
            shown = now
        if now - window >= patience.idle:
            if part.size - before < patience.slowest * (now - window):
                raise _Again("the server sends too slowly")
            window, before = now, part.size
    if part.size < part.wanted.size:
        raise _Again("the connection ended too early", why=f"{part.size} of {int(part.wanted.size)} bytes")


class _Again(Transient):
    """Network trouble at one try; `wait` seconds are asked for by the server."""

    wait = 0.0


class _Sources:
    """Opens URLs at an offset."""

    def __init__(self, policy: UrlPolicy, patience: Patience, tls: ssl.SSLContext | None, credentials: Credentials | None) -> None:
        self.policy = policy
        self.patience = patience
        self._web = Web(policy, tls=tls, connect=patience.connect, idle=patience.idle, credentials=credentials)

    @contextmanager
    def open(self, url: str, part: Part) -> Iterator[Iterator[bytes]]:
        """The bytes that follow those in `part`, which is restarted where the source cannot resume."""
        self.policy.check(url)
        if url.startswith("file:"):
            with self._file(url, part) as chunks:
                yield chunks
            return
        try:
            with self._web.get(url, _asking(url, part)) as answer:
                _begin(answer, url, part)
                yield _body(answer, self.patience.idle)
        except Transient as error:
            raise error if isinstance(error, _Again) else _Again(error.what, where=error.where, why=error.why) from None

    @contextmanager
    def _file(self, url: str, part: Part) -> Iterator[Iterator[bytes]]:
        path = self.policy.file(url)
        if not path.is_file():
            raise Unavailable("there is no such file", where=public(url))
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size != part.wanted.size:
                raise Refused("R14", f"a file of {size} bytes where {int(part.wanted.size)} were signed for", where=public(url))
            file.seek(part.size)
            yield iter(lambda: file.read(CHUNK), b"")


def _body(answer: httpx.Response, idle: float) -> Iterator[bytes]:
    """The answer's body. Where its length is known, all but the beginning is read from the connection itself, a MiB at a time.

    The parser has handed out all that it holds with the first piece (RFC 9112, 6.3: the body is the next so many bytes), and
    taking every 64 KiB through it costs as much as hashing.
    """
    pieces, length = answer.iter_raw(), answer.headers.get("Content-Length", "")
    if not length.isdecimal() or "Transfer-Encoding" in answer.headers or answer.http_version != "HTTP/1.1":
        yield from pieces
        return
    first = next(pieces, b"")
    yield first
    left, connection = int(length) - len(first), answer.extensions["network_stream"]
    try:
        while left > 0 and (data := connection.read(min(left, CHUNK), timeout=idle)):
            left -= len(data)
            yield data
    except (httpcore.TimeoutException, httpcore.NetworkError) as error:
        raise _Again("the connection failed", why=str(error) or type(error).__name__) from None


def _asking(url: str, part: Part) -> dict[str, str]:
    """Headers that ask for what is missing, if it is still the same file (RFC 9110, 13.1.5 and 14.2)."""
    headers = {"Range": f"bytes={part.size}-"} if part.size else {}
    if headers and (validator := part.validator(url)):
        headers["If-Range"] = validator
    return headers


def _begin(answer: httpx.Response, url: str, part: Part) -> None:
    """Judge status and headers; brings `part` to where the answer's body begins."""
    status, wanted = answer.status_code, int(part.wanted.size)
    if status in TRY_LATER:
        again = _Again(f"the server answered {status}", where=public(url))
        again.wait = _retry_after(answer.headers.get("Retry-After", ""))
        raise again
    if status == 416:
        part.restart()
        raise _Again("the server has nothing after what came so far", where=public(url))
    if status not in (200, 206):
        raise Unavailable(f"the server answered {status}", where=public(url))
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise Unavailable("the server sends another encoding than was asked for", where=public(url))
    if status == 200:
        part.restart()
        part.remember(url, _validator(answer.headers))
        length = answer.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) != wanted:
            rule = "R25" if int(length) > wanted else "R14"
            raise Refused(rule, f"a file of {length} bytes where {wanted} were signed for", where=public(url))
        return
    unit, _, rest = answer.headers.get("Content-Range", "").partition(" ")
    span, _, total = rest.partition("/")
    if unit != "bytes" or span.partition("-")[0] != str(part.size) or total not in ("*", str(wanted)):
        part.restart()
        raise _Again("the server resumed at another place than was asked for", where=public(url))


def _validator(headers: httpx.Headers) -> str | None:
    """A strong validator (RFC 9110, 13.1.5): a strong ETag, else the modification date."""
    tag = str(headers.get("ETag", ""))
    return tag if tag.startswith('"') else str(headers.get("Last-Modified", "")) or None


def _retry_after(text: str) -> float:
    """Seconds asked for by Retry-After (RFC 9110, 10.2.3), at most five minutes."""
    if text.isdecimal():
        return min(float(text), 300)
    with suppress(ValueError, TypeError):
        return min(max(email.utils.parsedate_to_datetime(text).timestamp() - time.time(), 0), 300)
    return 0
