"""A web server on 127.0.0.1 that takes what is posted to it, or answers as it is told."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import Any

from support.httpserver import HttpServer


class Postbox(HttpServer):
    """`letters` are the JSON bodies that came, with the path under `_path`. status: what it answers; None holds the connection until closed."""

    def __init__(self, status: int | None = 200, echo: bool = False) -> None:
        super().__init__(self.take, version="HTTP/1.0")
        self.letters: list[dict[str, Any]] = []
        self.status, self.echo = status, echo
        self._closing = threading.Event()

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        with suppress(ValueError):
            self.letters.append({**json.loads(body), "_path": handler.path})
        if self.status is None:
            self._closing.wait()
            return
        said = f"{handler.headers.get('Authorization')} {handler.path} {handler.headers}".encode() if self.echo else b"{}"
        handler.send_response(self.status)
        handler.send_header("Content-Length", str(len(said)))
        handler.end_headers()
        handler.wfile.write(said)

    def __exit__(self, *how: object) -> None:
        self._closing.set()
        super().__exit__(*how)

    @property
    def address(self) -> str:
        """In the form of the apprise library."""
        return f"json://127.0.0.1:{self.port}"
