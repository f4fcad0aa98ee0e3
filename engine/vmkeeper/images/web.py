"""GET over http and https: checked addresses, checked redirects, no proxies, errors that say what follows.

Credentials go to the one origin that they are for and nowhere else. Nothing is retried here and nothing about the
content is believed.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

import httpx

from vmkeeper.errors import Refused, Transient, UserError
from vmkeeper.images.addresses import CheckedTransport, UrlPolicy, origin, public
from vmkeeper.images.files import reported

REDIRECTS = 5
TRY_LATER = frozenset((408, 425, 429, 500, 502, 503, 504))
_REDIRECTED = (301, 302, 303, 307, 308)
_NO_ENTRY = (401, 403)


class Unavailable(UserError):
    """A server says that it does not have the file or does not give it to us."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What is shown to one origin (`https://host:port`) and to no other; how it prints says nothing of it.

    authorization: the value of that header. tls: a context that has the client's certificate and key.
    """

    origin: str
    authorization: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Validators:
    """What a server said of a file's version, to ask for it only where it has changed (RFC 9110, 8.8)."""

    etag: str = ""
    modified: str = ""

    @property
    def asking(self) -> dict[str, str]:
        """Headers of a conditional request (RFC 9110, 13.1); none where nothing is known."""
        said = {"If-None-Match": self.etag, "If-Modified-Since": self.modified}
        return {name: value for name, value in said.items() if value}


@dataclass(frozen=True, slots=True)
class Answered:
    """A small file as it came. data: None where it is as it was."""

    data: bytes | None
    validators: Validators


class Web:
    """Where files come from. connect, idle: seconds to wait for a connection and in the middle of an answer."""

    def __init__(
        self,
        policy: UrlPolicy,
        *,
        tls: ssl.SSLContext | None = None,
        connect: float = 15,
        idle: float = 60,
        credentials: Credentials | None = None,
    ) -> None:
        self._policy = policy
        self._tls = tls
        self._timeout = httpx.Timeout(idle, connect=connect)
        self._credentials = credentials

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Iterator[httpx.Response]:
        """The answer that the redirects lead to, whatever its status; its body is read with `iter_raw`.

        Raises Refused (R27), Transient (also while the body is read), Unavailable (bad certificate), UserError.
        """
        asked = {"Accept-Encoding": "identity", "User-Agent": "vmkeeper", **(headers or {})}
        try:
            with self._follow(url, asked) as answer:
                yield answer
        except httpx.TransportError as error:
            if _bad_certificate(error):
                raise Unavailable("the server's certificate is not valid", where=public(url), why=str(error)) from None
            raise Transient("the connection failed", where=public(url), why=str(error) or type(error).__name__) from None
        except httpx.InvalidURL as error:
            raise UserError("this is not a URL", where=public(url), why=str(error)) from None

    @contextmanager
    def _follow(self, url: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        here = url
        for _ in range(REDIRECTS + 1):
            self._policy.check(here)
            with self._ask(here, headers) as answer:
                if answer.status_code not in _REDIRECTED:
                    yield answer
                    return
                here = _redirected(here, answer.headers.get("Location", ""))
        raise Refused("R27", f"more than {REDIRECTS} redirects", where=public(url))

    @contextmanager
    def _ask(self, url: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """One request, with the credentials where it goes to their origin."""
        shown = self._shown(url)
        if shown is not None and shown.authorization:
            headers = {**headers, "Authorization": shown.authorization}
        transport = CheckedTransport(self._policy, shown.tls if shown is not None and shown.tls else self._tls)
        with (
            httpx.Client(transport=transport, timeout=self._timeout, follow_redirects=False, trust_env=False) as client,
            client.stream("GET", url, headers=headers) as answer,
        ):
            yield answer

    def _shown(self, url: str) -> Credentials | None:
        """The credentials, where a request may carry them. Raises Refused (R27) where they would go unencrypted."""
        credentials = self._credentials
        if credentials is None or origin(url) != credentials.origin:
            return None
        if not url.startswith("https:") and not self._policy.lists(urlsplit(url).hostname or ""):
            hint = "use its https address, or list the host as allowed"
            raise Refused("R27", "credentials are not sent over a connection that is not encrypted", where=public(url), hint=hint)
        return credentials


def read_url(url: str, *, limit: int, allow: Collection[str] = (), timeout: float = 60, tls: ssl.SSLContext | None = None) -> bytes:
    """A small file over http, https or out of an allowed folder (`file:`).

    Raises Refused (R25 more than `limit` bytes, R27 address), Transient, Unavailable, UserError.
    """
    policy = UrlPolicy(allow)
    policy.check(url)
    if url.startswith("file:"):
        path = policy.file(url)
        with reported("read a file", path), path.open("rb") as file:
            data = bytearray(file.read(limit + 1))
        _within(data, limit, url)
        return bytes(data)
    answered = read_changed(Web(policy, tls=tls, idle=timeout), url, Validators(), limit=limit)
    assert answered.data is not None  # nothing was asked that could be answered with "as it was"
    return answered.data


def read_changed(web: Web, url: str, known: Validators, *, limit: int, longest: float = 300) -> Answered:
    """A small file over http or https, unless it is as it was when `known` was said of it.

    longest: seconds that its body may take. Raises Refused (R25 more than `limit` bytes, R27 address), Transient,
    Unavailable, UserError.
    """
    began = time.monotonic()
    with web.get(url, known.asking) as answer:
        if answer.status_code == 304 and known.asking:
            return Answered(None, known)
        _serves(answer, url)
        data = bytearray()
        for chunk in answer.iter_raw():
            data += chunk
            _within(data, limit, url)
            if time.monotonic() - began > longest:
                raise Transient("the server sends too slowly", where=public(url), why=f"{len(data)} bytes in {longest:g} s")
        said = Validators(_header(answer, "ETag"), _header(answer, "Last-Modified"))
    return Answered(bytes(data), said)


def _serves(answer: httpx.Response, url: str) -> None:
    if answer.status_code in TRY_LATER:
        raise Transient(f"the server answered {answer.status_code}", where=public(url))
    if answer.status_code in _NO_ENTRY:
        hint = "name what is to be shown to it under credentials:, or renew that"
        raise Unavailable(f"the server answered {answer.status_code}", where=public(url), hint=hint)
    if answer.status_code != 200 or answer.headers.get("Content-Encoding", "identity") != "identity":
        raise Unavailable(f"the server answered {answer.status_code} {answer.headers.get('Content-Encoding', '')}".strip(), where=public(url))


def _header(answer: httpx.Response, name: str) -> str:
    """A header that is fit to be sent back, or ""."""
    text = str(answer.headers.get(name, ""))
    return text if len(text) <= 1000 and text.isascii() and text.isprintable() else ""


def _within(data: bytearray, limit: int, url: str) -> None:
    if len(data) > limit:
        raise Refused("R25", f"more than {limit} bytes", where=public(url))


def _redirected(here: str, location: str) -> str:
    there = urljoin(here, location)
    if not there.startswith("https:") and not (there.startswith("http:") and here.startswith("http:")):
        raise Refused("R27", f"a redirect to {public(there)}", where=public(here), hint="use the address that it redirects to, if that one is meant")
    return there


def _bad_certificate(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
