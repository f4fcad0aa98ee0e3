"""A web server on 127.0.0.1 that takes what is posted to it, or answers as it is told."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Postbox:
    """`letters` are the JSON bodies that came, with the path under `_path`. status: what it answers; None holds the connection until closed."""

    def __init__(self, status: int | None = 200, echo: bool = False) -> None:
        self.letters: list[dict[str, Any]] = []
        self.status = status
        self._closing = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with suppress(ValueError):
                    outer.letters.append({**json.loads(body), "_path": self.path})
                if outer.status is None:
                    outer._closing.wait()
                    return
                said = f"{self.headers.get('Authorization')} {self.path} {self.headers}".encode() if echo else b"{}"
                with suppress(ConnectionError):
                    self.send_response(outer.status)
                    self.send_header("Content-Length", str(len(said)))
                    self.end_headers()
                    self.wfile.write(said)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Postbox:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def address(self) -> str:
        """In the form of the apprise library."""
        return f"json://127.0.0.1:{self.port}"
