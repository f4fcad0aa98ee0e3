"""GET over http and https: checked addresses, checked redirects, no credentials, no proxies, errors that say what follows.

Nothing is retried here and nothing about the content is believed.
"""

from __future__ import annotations

import ssl
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urljoin

import httpx

from vmkeeper.errors import Refused, Transient, UserError
from vmkeeper.images.addresses import CheckedTransport, UrlPolicy, public
from vmkeeper.images.files import reported

REDIRECTS = 5
TRY_LATER = frozenset((408, 425, 429, 500, 502, 503, 504))
_REDIRECTED = (301, 302, 303, 307, 308)


class Unavailable(UserError):
    """A server says that it does not have the file or does not give it to us."""


class Web:
    """Where files come from. connect, idle: seconds to wait for a connection and in the middle of an answer."""

    def __init__(self, policy: UrlPolicy, *, tls: ssl.SSLContext | None = None, connect: float = 15, idle: float = 60) -> None:
        self._policy = policy
        self._tls = tls
        self._timeout = httpx.Timeout(idle, connect=connect)

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Iterator[httpx.Response]:
        """The answer that the redirects lead to, whatever its status; its body is read with `iter_raw`.

        Raises Refused (R27), Transient (also while the body is read), Unavailable (bad certificate), UserError.
        """
        asked = {"Accept-Encoding": "identity", "User-Agent": "vmkeeper", **(headers or {})}
        transport = CheckedTransport(self._policy, self._tls)
        try:
            with (
                httpx.Client(transport=transport, timeout=self._timeout, follow_redirects=False, trust_env=False) as client,
                self._follow(client, url, asked) as answer,
            ):
                yield answer
        except httpx.TransportError as error:
            if _bad_certificate(error):
                raise Unavailable("the server's certificate is not valid", where=public(url), why=str(error)) from None
            raise Transient("the connection failed", where=public(url), why=str(error) or type(error).__name__) from None
        except httpx.InvalidURL as error:
            raise UserError("this is not a URL", where=public(url), why=str(error)) from None

    @contextmanager
    def _follow(self, client: httpx.Client, url: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        here = url
        for _ in range(REDIRECTS + 1):
            self._policy.check(here)
            with client.stream("GET", here, headers=headers) as answer:
                if answer.status_code not in _REDIRECTED:
                    yield answer
                    return
                here = _redirected(here, answer.headers.get("Location", ""))
        raise Refused("R27", f"more than {REDIRECTS} redirects", where=public(url))


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
    with Web(policy, tls=tls, idle=timeout).get(url) as answer:
        if answer.status_code in TRY_LATER:
            raise Transient(f"the server answered {answer.status_code}", where=public(url))
        if answer.status_code != 200 or answer.headers.get("Content-Encoding", "identity") != "identity":
            raise Unavailable(f"the server answered {answer.status_code} {answer.headers.get('Content-Encoding', '')}".strip(), where=public(url))
        data = bytearray()
        for chunk in answer.iter_raw():
            data += chunk
            _within(data, limit, url)
    return bytes(data)


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
