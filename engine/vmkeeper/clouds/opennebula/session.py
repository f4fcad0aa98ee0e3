"""Calls to oned through pyone: each has a timeout, and each failure is an error of ours with its code and without credentials.

Nothing is tried again here. Any number of threads may call at the same time.
"""

from __future__ import annotations

import importlib
import re
import xmlrpc.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any
from xml.etree.ElementTree import Element, fromstring
from xml.parsers.expat import ExpatError

import httpx

from vmkeeper.errors import Transient, UserError, VmkeeperError
from vmkeeper.values import visible

AUTHENTICATION, AUTHORIZATION, NO_EXISTS, ACTION, INTERNAL, ALLOCATE, LOCKED = 256, 512, 1024, 2048, 8192, 16384, 32768
"""Codes of failures, as "XML-RPC API" in OpenNebula's documentation has them."""
ANYBODYS = -2
"""The filter of a pool that shows all that the account may see."""
CONNECT, ANSWER = 10.0, 60.0
"""Seconds that a connection and an ordinary answer may take."""
_DECLARED = re.compile(r"\s*(<\?[^>]*>\s*)?<!")
LONGEST = 1000
"""Characters of a message that are kept."""


class Declined(VmkeeperError):
    """oned understood the call and did not do it. `code` as above, 0 for an XML-RPC fault; `message` without the method's name."""

    def __init__(self, code: int, message: str, *, where: str) -> None:
        super().__init__("oned declined the call", where=where, why=message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where oned answers and who asks. The password is never shown."""

    url: str
    user: str
    password: str
    entry: str = "credentials"
    """What the credentials are called in the site's folder, for messages."""

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r}, {self.user!r})"

    def clean(self, text: str) -> str:
        """A text from elsewhere without the password, and without what cannot be seen."""
        for secret in (f"{self.user}:{self.password}", self.password):
            text = text.replace(secret, "…") if secret.strip(":") else text
        return visible(text)[:LONGEST]


class Session:
    """One account at one oned."""

    def __init__(self, endpoint: Endpoint, timeout: float = ANSWER) -> None:
        self.endpoint = endpoint
        self._timeout = timeout
        # A new connection for each call, so that none was closed meanwhile. Redirected, the password would go to somebody else.
        self._http = httpx.Client(follow_redirects=False, limits=httpx.Limits(max_keepalive_connections=0))

    def call(self, method: str, *arguments: Any, timeout: float | None = None) -> Any:
        """`one.METHOD` with its answer as pyone makes it. timeout: seconds without a sign of life.

        Raises Declined, Transient where there is no answer or none that makes sense, UserError for credentials and address.
        """
        with self._reported(method, timeout or self._timeout) as client:
            return getattr(client, method)(*arguments)

    def read(self, method: str, *arguments: Any) -> Element:
        """`one.METHOD` with its answer as XML: pyone takes ten times as long to make objects of hundreds of fields. Raises what `call` does."""
        with self._reported(method, self._timeout) as client:
            text = client.text(method, arguments)
            if _DECLARED.match(text):
                raise ValueError("it declares entities")
            return fromstring(text)  # noqa: S314 - without a declaration there is nothing that could be expanded

    @contextmanager
    def _reported(self, method: str, timeout: float) -> Iterator[Any]:
        url = self.endpoint.url
        try:
            yield _client()(url, f"{self.endpoint.user}:{self.endpoint.password}", _post(self._http, url, timeout), self._declined)
        except VmkeeperError:
            raise
        except xmlrpc.client.ProtocolError as error:
            raise self._status(error.errcode) from None
        except httpx.TimeoutException:
            raise Transient("oned does not answer", where=url, why=f"nothing came of {method} within {timeout:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            why = self.endpoint.clean(str(error) or type(error).__name__)
            if "certificate verify failed" in why:
                hint = "have its certificate signed by an authority that this machine trusts (SSL_CERT_FILE)"
                raise UserError("the endpoint's certificate is not accepted", where=url, why=why, hint=hint) from None
            raise Transient("oned cannot be reached", where=url, why=why) from None
        except (xmlrpc.client.Error, ExpatError, ValueError, LookupError, TypeError, AttributeError, SyntaxError) as error:
            # A ParseError of XML is a SyntaxError; the others come from answers that are cut off or something else.
            raise Transient("oned's answer makes no sense", where=url, why=f"{method}: {self.endpoint.clean(str(error))}") from None

    def pool(self, method: str, part: str, *more: int, page: int = 400) -> Iterator[Element]:
        """Everything in a pool, newest first, a page at a time. Complete, or it raises Transient.

        Pages go by position, so that one that goes meanwhile moves the others: each page begins with the last one of the page
        before it, and where it does not, all is asked for again. more: arguments after the page's.
        """
        for _ in range(5):
            if (found := self._pages(method, part, page, more)) is not None:
                return iter(found)
        raise Transient("oned's list does not keep still", where=self.endpoint.url, why=method)

    def _pages(self, method: str, part: str, page: int, more: tuple[int, ...]) -> list[Element] | None:
        """None where the pages do not fit together."""
        found: list[Element] = []
        offset = 0
        while True:
            root = self.read(method, ANYBODYS, offset, -page, *more)
            if root.tag != f"{part}_POOL":
                raise Transient("oned's answer makes no sense", where=self.endpoint.url, why=f"{method} gave a {root.tag[:40]}")
            got = root.findall(part)
            if found and (not got or got[0].findtext("ID") != found[-1].findtext("ID")):
                return None
            found += got[1:] if found else got
            if len(got) < page:
                return found
            offset += len(got) - 1

    def _declined(self, code: int, message: str) -> VmkeeperError:
        text = self.endpoint.clean(re.sub(r"^\[one\.[a-z.]+\] ", "", message))
        if code == AUTHENTICATION:
            hint = f"set user and password, or token, in credentials/{self.endpoint.entry}.yaml of the site's folder"
            return UserError("oned does not accept the credentials", where=self.endpoint.entry, why=text, hint=hint)
        return Declined(code, text, where=self.endpoint.url)

    def _status(self, status: int) -> VmkeeperError:
        url = self.endpoint.url
        if status in (401, 403):
            return UserError("the server in front of oned lets nobody in", where=url, why=f"HTTP {status}", hint="ask who runs it")
        if 300 <= status < 500 and status not in (408, 425, 429):
            return UserError("oned does not answer there", where=url, why=f"HTTP {status}", hint="its address is mostly http://HOST:2633/RPC2")
        return Transient("oned is not well", where=url, why=f"HTTP {status}")


Post = Callable[..., Any]


def _post(http: httpx.Client, url: str, timeout: float) -> Post:
    """The transport's `request`: pyone's own has no timeout, and its timeout would be that of all sockets of the process."""

    def request(_host: str, _handler: str, body: bytes, verbose: bool = False) -> Any:  # noqa: ARG001 - xmlrpc.client's signature
        headers = {"Content-Type": "text/xml", "User-Agent": "vmkeeper"}
        answer = http.post(url, content=body, headers=headers, timeout=httpx.Timeout(timeout, connect=min(CONNECT, timeout)))
        if answer.status_code != 200:
            raise xmlrpc.client.ProtocolError(url, answer.status_code, "", {})
        parser, unmarshaller = xmlrpc.client.getparser()
        parser.feed(answer.content)
        parser.close()
        return unmarshaller.close()

    return request


@cache
def _client() -> Callable[[str, str, Post, Callable[[int, str], VmkeeperError]], Any]:
    """pyone's client with the codes of failures and a transport of our own. Loading it takes the better part of a second."""
    try:
        base: Any = importlib.import_module("pyone.server_xrpc").OneServerXRPC
    except ModuleNotFoundError:  # before 7.2
        base = importlib.import_module("pyone").OneServer

    class Client(base):  # type: ignore[misc]  # pyone has no types
        def __init__(self, url: str, session: str, post: Post, declined: Callable[[int, str], VmkeeperError]) -> None:
            super().__init__(url, session)
            self("transport").request = post
            self._said = declined

        def _do_request(self, method: str, params: tuple[Any, ...]) -> Any:
            """Called by pyone with the arguments as they go over the wire; gives [success, value or message, code, …]."""
            try:
                answer = xmlrpc.client.ServerProxy._ServerProxy__request(self, method, params)  # type: ignore[attr-defined]
            except xmlrpc.client.Fault as fault:
                raise self._said(0, f"{method}: {fault.faultString}") from None
            if not isinstance(answer, list) or len(answer) < 3 or not isinstance(answer[0], bool):
                raise ValueError("it is no list of success, value and code")
            if not answer[0]:
                raise self._said(int(answer[2]), str(answer[1]))
            return answer

        def text(self, method: str, arguments: tuple[Any, ...]) -> str:
            """A successful answer's value, which must be a text."""
            value = self._do_request(f"one.{method}", self._cast_parms(arguments))[1]
            if not isinstance(value, str):
                raise TypeError("it is no text")
            return value

    return Client
