"""Gives one file to whoever knows its address, for as long as a transfer lasts, and knows how much of it was fetched.

There is no listing, nothing but the file's own bytes, and no way to write. An address is made of 256 random bits and is good once.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import BinaryIO

from vmkeeper.errors import UserError

CHUNK = 1 << 20
IDLE = 120.0
"""Seconds that a fetcher may do nothing."""
_NOTED = 5.0
"""Seconds in which an answer that went out is noted."""
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


@dataclass
class Served:
    """A file on offer. `size` bytes of it are given, even if it grows."""

    file: BinaryIO
    size: int
    name: str
    """The last part of its address."""
    fetched: list[tuple[int, int]] = field(default_factory=list)
    """Parts that went out to their end: first byte, and the one after the last."""
    under_way: int = 0
    """Answers that are being given."""
    changed: threading.Condition = field(default_factory=threading.Condition)

    def whole(self) -> bool:
        """Whether every byte went out. A fetcher may have the last one a moment before its answer is noted: that is waited for."""
        upto = 0
        with self.changed:
            self.changed.wait_for(lambda: not self.under_way, timeout=_NOTED)
            for first, end in sorted(self.fetched):
                if first > upto:
                    return False
                upto = max(upto, end)
        return upto >= self.size

    @contextmanager
    def giving(self) -> Iterator[list[tuple[int, int]]]:
        """While an answer is given; what is put into the list went out to its end."""
        with self.changed:
            self.under_way += 1
        went: list[tuple[int, int]] = []
        try:
            yield went
        finally:
            with self.changed:
                self.under_way -= 1
                self.fetched += [(first, end) for first, end in went if end > first]
                self.changed.notify_all()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "vmkeeper", ""
    timeout = IDLE
    server: _Server

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        served = self.server.find(self.path)
        if served is None:
            self._end(404, 0)
            return
        part = _part(self.headers.get("Range", ""), served.size)
        if part is None:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{served.size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        first, end = part
        whole = "Range" not in self.headers
        self.send_response(200 if whole else 206)
        if not whole:
            self.send_header("Content-Range", f"bytes {first}-{end - 1}/{served.size}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(end - first))
        self.end_headers()
        if with_body:
            self._give(served, first, end)

    def _give(self, served: Served, first: int, end: int) -> None:
        at = first
        with served.giving() as went, suppress(OSError):  # the fetcher went away: it may come again
            while at < end and (chunk := os.pread(served.file.fileno(), min(CHUNK, end - at), at)):
                self.wfile.write(chunk)
                at += len(chunk)
            self.wfile.flush()
            went.append((first, at))
        if at < end:
            self.close_connection = True

    def _end(self, status: int, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002 - http.server's names
        """Without a page that tells what was asked."""
        self.close_connection = True
        with suppress(OSError):
            self._end(code, 0)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """The address in the request is a secret."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, host: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.offers: dict[str, Served] = {}
        self.users = 0
        super().__init__((host, port), _Handler)

    def find(self, path: str) -> Served | None:
        """In a time that tells nothing of how near a guess was."""
        match = None
        for address, served in list(self.offers.items()):
            if secrets.compare_digest(address.encode(), path.encode("utf-8", "surrogatepass")):
                match = served
        return match

    def handle_error(self, request: object, client_address: object) -> None:
        """A fetcher that goes away is nothing to tell of."""


_servers: dict[tuple[str, int], _Server] = {}
_lock = threading.Lock()


@contextmanager
def serving(served: Served, host: str, port: int) -> Iterator[tuple[int, str]]:
    """The port and path at which the file can be fetched now. Several files share a server. Raises UserError where none can listen."""
    server = _take(host, port)
    path = f"/{secrets.token_urlsafe(32)}/{served.name}"
    server.offers[path] = served
    try:
        yield server.server_address[1], path
    finally:
        del server.offers[path]
        _give_back(host, port)


def _take(host: str, port: int) -> _Server:
    with _lock:
        server = _servers.get((host, port))
        if server is None:
            try:
                server = _servers[host, port] = _Server(host, port)
            except OSError as error:
                hint = "choose another listen or port for the platform's transport"
                raise UserError("could not listen for oned", where=f"{host}:{port}", why=error.strerror or str(error), hint=hint) from None
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="file server", daemon=True).start()
        server.users += 1
        return server


def _give_back(host: str, port: int) -> None:
    with _lock:
        server = _servers[host, port]
        server.users -= 1
        if server.users:
            return
        del _servers[host, port]
        server.shutdown()
        server.server_close()


def _part(asked: str, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last; None where nothing can be given (RFC 9110, section 14). Several ranges come as the whole."""
    found = _RANGE.fullmatch(asked.strip())
    if not asked or found is None or not any(found.groups()):
        return (0, size)
    if not found[1]:
        return (max(0, size - int(found[2])), size) if int(found[2]) and size else None
    first = int(found[1])
    end = min(size, int(found[2]) + 1) if found[2] else size
    return (first, end) if first < min(end, size) else None
