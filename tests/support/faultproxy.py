"""An HTTP proxy on 127.0.0.1 between a client and its server, which spoils one request of a run.

Any number of servers share one `Faults`, so that requests are counted over all of them. An answer that names a server by its
address names the proxy instead, so a client that follows what it is told stays behind the proxy.
"""

from __future__ import annotations

import http.client
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

KINDS = ("before", "after", "closed", "silent", "html", "empty", "truncated", "cut", "kill-before", "kill-after")
"""What can happen to a request:

    before       503, and the server never hears of it
    after        the server does it, the client is told 500
    closed       the server does it, the connection is closed without a word
    silent       the server does it, nothing is said until the client gives up
    html         200 with a page of HTML; the server never hears of it
    empty        200 with nothing; the server never hears of it
    truncated    the server does it, half of its answer arrives as if it were all
    cut          the connections on both sides end in the middle of the request's body
    kill-before  the client is killed with SIGKILL, and the server never hears of it
    kill-after   the server does it, and the client is killed with SIGKILL
"""
NEVER_HEARD = frozenset({"before", "html", "empty", "kill-before"})
HTML = b"<html><head><title>Welcome</title></head><body><p>Please log in to use this network.</p></body></html>"
LARGE = 65536
"""Bytes of a body that is long enough to be cut."""
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "te", "trailer", "upgrade", "expect", "proxy-connection"})


@dataclass(frozen=True, slots=True)
class Seen:
    """One request. `label` says what kind it is, `size` how long its body."""

    label: str
    size: int
    writes: bool


@dataclass
class Faults:
    """Counts the requests of a run and says which one is spoilt how."""

    seen: list[Seen] = field(default_factory=list)
    at: int = 0
    kind: str = ""
    struck: bool = False
    victim: int | None = None
    """Process to kill."""
    observe: Callable[[], None] | None = None
    """Called after each request that changed something, while the client still waits."""
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def begin(self, kind: str = "", at: int = 0) -> None:
        """A new run: spoil its request number `at` (from 1) in this way; with 0, none."""
        with self._lock:
            self.seen, self.kind, self.at, self.struck, self.victim = [], kind, at, False, None

    def next(self, request: Seen) -> str:
        """What happens to this request: a kind, or ""."""
        with self._lock:
            self.seen.append(request)
            if len(self.seen) != self.at or self.struck or (self.kind == "cut" and request.size < LARGE):
                return ""
            self.struck = True
            return self.kind

    def changed(self) -> None:
        with self._lock:
            if self.observe is not None:
                self.observe()

    def kill(self) -> None:
        end = time.monotonic() + 10
        while self.victim is None and time.monotonic() < end:
            time.sleep(0.005)  # the parent has not been told of its child yet
        if self.victim is not None:
            with suppress(ProcessLookupError):
                os.kill(self.victim, signal.SIGKILL)


class FaultProxy:
    """Stands before `upstream` (http://HOST:PORT). label: (method, path, body) → what kind of request it is, and whether it changes anything."""

    def __init__(self, upstream: str, faults: Faults, label: Callable[[str, str, bytes], tuple[str, bool]]) -> None:
        self.upstream, self.faults, self.label = upstream.rstrip("/"), faults, label
        self.rewrites: dict[bytes, bytes] = {}
        """In answers, addresses of servers by those of their proxies."""
        parts = urlsplit(self.upstream)
        self.server = (str(parts.hostname), int(parts.port or 80))
        proxy = self

        class Handler(_Handler):
            owner = proxy

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_: object) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: FaultProxy

    def do_any(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self._relay()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_any  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass

    def _relay(self) -> None:
        faults, body = self.owner.faults, self._body()
        label, writes = self.owner.label(self.command, self.path, body)
        kind = faults.next(Seen(label, len(body), writes))
        if kind == "cut":
            self._cut(body)
            return
        answer = None if kind in NEVER_HEARD else self._forward(body)
        if answer is not None and writes:
            faults.changed()
        match kind:
            case "before":
                self._say(_Answer(503, "Service Unavailable", [("Content-Type", "text/plain")], b"try again later"))
            case "after":
                self._say(_Answer(500, "Internal Server Error", [("Content-Type", "text/plain")], b"something went wrong"))
            case "html":
                self._say(_Answer(200, "OK", [("Content-Type", "text/html")], HTML))
            case "empty":
                self._say(_Answer(200, "OK", [], b""))
            case "silent":
                self._wait()
            case "closed":
                self.connection.shutdown(socket.SHUT_RDWR)
            case "kill-before" | "kill-after":
                faults.kill()
                self._wait()
            case "truncated" if answer is not None:
                self._say(_Answer(answer.status, answer.reason, answer.headers, answer.body[: len(answer.body) // 2]))
            case _ if answer is not None:
                self._say(answer)

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            parts = []
            while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _send(self, body: bytes, sent: int) -> http.client.HTTPConnection:
        """The request on its way to the server, with as much of its body."""
        connection = http.client.HTTPConnection(*self.owner.server, timeout=120)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _HOP:
                connection.putheader(name, value)
        connection.putheader("Connection", "close")
        if body or self.command in ("POST", "PUT", "PATCH"):
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders()
        if sent:
            connection.send(body[:sent])
        return connection

    def _forward(self, body: bytes) -> _Answer:
        connection = self._send(body, len(body))
        try:
            response = connection.getresponse()
            data = response.read()
            headers = [(name, self._named(value.encode("latin-1")).decode("latin-1")) for name, value in response.getheaders()]
            if "json" in response.headers.get("Content-Type", ""):
                data = self._named(data)
            return _Answer(response.status, response.reason, headers, data)
        finally:
            connection.close()

    def _cut(self, body: bytes) -> None:
        connection = self._send(body, len(body) // 2)
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_WR)
            with suppress(OSError):
                connection.sock.settimeout(2)
                connection.sock.recv(65536)  # let the server see the end before the client does
        connection.close()
        self.owner.faults.changed()
        self.connection.shutdown(socket.SHUT_RDWR)

    def _named(self, data: bytes) -> bytes:
        for server, proxy in self.owner.rewrites.items():
            data = data.replace(server, proxy)
        return data

    def _say(self, answer: _Answer) -> None:
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.headers:
            if name.lower() not in _HOP:
                self.send_header(name, value)
        length = next((value for name, value in answer.headers if name.lower() == "content-length"), None)
        bodiless = self.command == "HEAD" or answer.status in (204, 304)
        if self.command == "HEAD" and length is not None:
            self.send_header("Content-Length", length)
        elif answer.status not in (204, 304):
            self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if not bodiless:
            self.wfile.write(answer.body)

    def _wait(self) -> None:
        """Until the client goes away."""
        select.select([self.connection], [], [], 60)


def proxies(upstreams: dict[str, str], faults: Faults, label: Callable[[str, str, bytes], tuple[str, bool]]) -> dict[str, FaultProxy]:
    """A proxy for each server, by the same names; each knows the others' addresses. Not yet started."""
    made = {name: FaultProxy(url, faults, label) for name, url in upstreams.items()}
    for one in made.values():
        for other in made.values():
            one.rewrites[other.upstream.encode()] = other.url.encode()
    return made


def plain_label(method: str, path: str, _body: bytes) -> tuple[str, bool]:
    """The method and the path, with ids left out."""
    parts = ["ID" if any(c.isdigit() for c in part) and len(part) > 8 else part for part in urlsplit(path).path.split("/")]
    return f"{method} {'/'.join(parts)}", method not in ("GET", "HEAD", "OPTIONS")


def unused(*_: Any) -> None:
    """Takes anything and does nothing."""
