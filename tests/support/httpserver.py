"""An HTTP server on 127.0.0.1 in threads of its own, which says nothing about what goes wrong: what the servers of the tests are made of."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


class HttpServer:
    """Gives each request to `handle`, whatever its method; serves while the context lasts. `scheme` and `port` say where."""

    def __init__(self, handle: Callable[[BaseHTTPRequestHandler], None], *, tls: ssl.SSLContext | None = None, version: str = "HTTP/1.1") -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = version

            def do_any(self) -> None:
                with suppress(ConnectionError):
                    handle(self)

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_any  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.scheme, self.port = "https" if tls else "http", self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
