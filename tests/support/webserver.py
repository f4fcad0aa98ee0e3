"""A web server on 127.0.0.1 that serves ranges and validators well, or misbehaves as a page says."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Literal

from support.httpserver import HttpServer


@dataclass
class Page:
    """What one path answers. Lists are used up one a request; then the page behaves well."""

    data: bytes = b""
    etag: str | None = '"one"'
    modified: str | None = None
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    """Bytes of body after which the connection is dropped."""
    statuses: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    location: str = ""
    length: int | None = None
    """A Content-Length that is not true; -1 sends none."""
    endless: bool = False
    pause: Callable[[int], None] = lambda _sent: None
    """Called before each 64 KiB block."""
    shift: int = 0
    """Resume that many bytes beside what was asked for."""
    unchanged: Literal["well", "never", "always"] = "well"
    """When a conditional request is answered with 304."""

    def is_unchanged(self, headers: Mapping[str, str]) -> bool:
        if self.unchanged != "well":
            return self.unchanged == "always"
        if "If-None-Match" in headers:
            return headers["If-None-Match"] == self.etag
        return self.modified is not None and headers.get("If-Modified-Since") == self.modified


@dataclass
class Request:
    path: str
    headers: dict[str, str]


class WebServer(HttpServer):
    """Serves `pages` (by path) and else the files of `folder`."""

    def __init__(self, folder: Path | None = None, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(self.answer, tls=tls)
        self.pages: dict[str, Page] = {}
        self.requests: list[Request] = []
        self.folder = folder
        self.url = f"{self.scheme}://127.0.0.1:{self.port}"

    def serve(self, path: str, data: bytes = b"", **how: object) -> str:
        """Put up a page; returns its URL."""
        self.pages[path] = Page(data, **how)  # type: ignore[arg-type]
        return self.url + path

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.requests.append(Request(handler.path, dict(handler.headers)))
        page = self._page(handler.path.partition("?")[0])
        handler.close_connection = True
        if page is None:
            handler.send_error(404)
        elif page.statuses:
            handler.send_response(page.statuses.pop(0))
            self._end(handler, {"Content-Length": "0", **page.headers})
        elif page.location:
            handler.send_response(302)
            self._end(handler, {"Content-Length": "0", "Location": page.location})
        elif page.is_unchanged(handler.headers):
            handler.send_response(304)
            self._end(handler, {"ETag": page.etag} if page.etag else {})
        else:
            self._send(handler, page)

    def _page(self, path: str) -> Page | None:
        if path in self.pages:
            return self.pages[path]
        file = (self.folder / path.lstrip("/")).resolve() if self.folder else None
        if file and self.folder and file.is_relative_to(self.folder.resolve()) and file.is_file():
            return Page(file.read_bytes(), etag=f'"{file.stat().st_mtime_ns}-{file.stat().st_size}"')
        return None

    def _send(self, handler: BaseHTTPRequestHandler, page: Page) -> None:
        start, total = self._start(handler, page), len(page.data)
        if start and start >= total:
            handler.send_response(416)
            self._end(handler, {"Content-Range": f"bytes */{total}", "Content-Length": "0"})
            return
        begin = start + page.shift if start else 0
        handler.send_response(206 if start else 200)
        headers = {"Content-Range": f"bytes {begin}-{total - 1}/{total}"} if start else {}
        if page.length != -1 and not page.endless:
            headers["Content-Length"] = str(total - begin if page.length is None else page.length)
        headers |= {name: value for name, value in (("ETag", page.etag), ("Last-Modified", page.modified)) if value}
        self._end(handler, headers | page.headers)
        self._body(handler, page, begin)

    def _start(self, handler: BaseHTTPRequestHandler, page: Page) -> int:
        asked = handler.headers.get("Range", "")
        condition = handler.headers.get("If-Range")
        if not page.ranges or not asked.startswith("bytes=") or (condition and condition not in (page.etag, page.modified)):
            return 0
        return int(asked[6:].partition("-")[0])

    def _body(self, handler: BaseHTTPRequestHandler, page: Page, begin: int) -> None:
        cut = page.cuts.pop(0) if page.cuts else None
        data, sent = page.data[begin:], 0
        while page.endless or sent < len(data):
            block = data[sent : sent + 65536] or b"\0" * 65536
            page.pause(sent)
            if cut is not None and sent + len(block) >= cut:
                handler.wfile.write(block[: cut - sent])
                handler.wfile.flush()
                with suppress(OSError):
                    handler.connection.shutdown(socket.SHUT_RDWR)
                return
            handler.wfile.write(block)
            sent += len(block)

    @staticmethod
    def _end(handler: BaseHTTPRequestHandler, headers: dict[str, str]) -> None:
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Connection", "close")
        handler.end_headers()
