"""An HTTP server on 127.0.0.1 that takes PUT, POST and DELETE into a folder, with ETags and conditions; it can fail or be full."""

from __future__ import annotations

import hashlib
import ssl
from base64 import b64encode
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from support.httpserver import HttpServer


class DavServer(HttpServer):
    """`log` has every request as `METHOD path`. answer: a status to give in place of doing what was asked."""

    def __init__(self, folder: Path, *, user: str = "", head: bool = True, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(self.handle, tls=tls)
        self.folder, self.user, self.head = folder, user, head
        self.log: list[str] = []
        self.answer: Callable[[str, str], int | None] = lambda _method, _path: None
        self.after: Callable[[str, str], None] = lambda _method, _path: None
        """Called when a file was taken, before that is answered."""
        self.cut: int | None = None
        """Bytes of the next body that is longer, after which what came is kept and the connection goes."""
        self.url = f"{self.scheme}://{'localhost' if tls else '127.0.0.1'}:{self.port}/images"

    @property
    def changes(self) -> list[str]:
        return [line for line in self.log if not line.startswith(("GET ", "HEAD "))]

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        method, path = handler.command, handler.path.removeprefix("/images/")
        self.log.append(f"{method} {path}")
        wanted = "Basic " + b64encode(self.user.encode()).decode()
        status = 401 if self.user and handler.headers.get("Authorization") != wanted else self.answer(method, path)
        if status is None and method == "HEAD" and not self.head:
            status = 405
        if status is not None:
            handler.close_connection = True
            self._say(handler, status)
        elif method in ("GET", "HEAD"):
            self._get(handler, self.folder / path)
        elif method == "DELETE":
            there = (self.folder / path).is_file()
            (self.folder / path).unlink(missing_ok=True)
            self._say(handler, 204 if there else 404)
        else:
            self._take(handler, self.folder / path)

    def _get(self, handler: BaseHTTPRequestHandler, file: Path) -> None:
        if not file.is_file():
            self._say(handler, 404)
            return
        data = file.read_bytes()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.send_header("ETag", _tag(data))
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(data)

    def _take(self, handler: BaseHTTPRequestHandler, file: Path) -> None:
        size = int(handler.headers["Content-Length"])
        condition = handler.headers.get("If-Match")
        if condition and (not file.is_file() or condition != _tag(file.read_bytes())):
            handler.close_connection = True
            self._say(handler, 412)
            return
        cut = None
        if self.cut is not None and size > self.cut:
            cut, self.cut = self.cut, None
        data = handler.rfile.read(size if cut is None else cut)
        there = file.is_file()
        if cut is not None or len(data) < size:
            handler.close_connection = True
        if len(data) == size or cut is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        self.after(handler.command, handler.path.removeprefix("/images/"))
        if len(data) == size and cut is None:
            self._say(handler, 204 if there else 201, {"ETag": _tag(data)})

    @staticmethod
    def _say(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str] | None = None) -> None:
        handler.send_response(status)
        for name, text in {"Content-Length": "0", **(headers or {})}.items():
            handler.send_header(name, text)
        handler.end_headers()


def _tag(data: bytes) -> str:
    return f'"{hashlib.sha256(data).hexdigest()[:32]}"'
