"""A server that says whatever a test wants it to say."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

Said = tuple[int, str, str]
"""Status, content type, body."""


class Talker:
    """`answers` are used up one a request; the last one stays. `asked` are the requests' paths."""

    def __init__(self) -> None:
        self.answers: list[Said] = []
        self.asked: list[str] = []
        talker = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                talker.asked.append(self.path)
                status, content, body = talker.answers.pop(0) if len(talker.answers) > 1 else talker.answers[0]
                self.send_response(status)
                self.send_header("Content-Type", content)
                self.end_headers()
                self.wfile.write(body.encode())

            do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
