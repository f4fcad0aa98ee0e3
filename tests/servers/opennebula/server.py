"""The daemon on a port of 127.0.0.1: XML-RPC at /RPC2, and what a test tells it at /standin, which oned has not."""

from __future__ import annotations

import json
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .failures import Failure, Fault
from .lies import WIRE, Lie
from .oned import Oned
from .wire import EMPTY, ONLY_POST, UNKNOWN_PATH, page, read_call, write_answer, write_fault

CONTROL = "/standin"
MONITORING = 300.0
"""Seconds from one look at the datastores to the next."""
KEPT = 30
"""Requests on one connection."""


class Server(ThreadingHTTPServer):
    """`endpoint` answers once `serve_forever` runs."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, oned: Oned, port: int = 0) -> None:
        self.oned = oned
        self._monitored = time.monotonic()
        super().__init__(("127.0.0.1", port), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}/RPC2"

    def service_actions(self) -> None:
        """Called by `serve_forever` twice a second."""
        if time.monotonic() - self._monitored > MONITORING:
            self._monitored = time.monotonic()
            with self.oned.holding():
                self.oned.drivers.monitor()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that went away are nothing to tell of; all else is a mistake here."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def _spoilt(answer: list[Any], lie: Lie | None) -> Any:
    """The answer as one of the lies about values has it."""
    value = answer[1]
    match lie.name if lie else "":
        case "cut-value":
            return [answer[0], value[: len(value) // 2] if isinstance(value, str) else value, *answer[2:]]
        case "no-value":
            return [answer[0], "", *answer[2:]]
        case "bare-value":
            return value
    return answer


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "Xmlrpc-c_Abyss/1.51.0"
    sys_version = ""
    timeout = 15
    disable_nagle_algorithm = True

    served = 0

    def handle_one_request(self) -> None:
        """Abyss ends a connection after 30 requests, or 15 seconds without one."""
        super().handle_one_request()
        self.served += 1
        if self.served == KEPT:
            self.close_connection = True

    def log_message(self, *args: Any) -> None:
        """Nothing is logged."""

    def do_GET(self) -> None:
        if self.path == CONTROL:
            self._send(200, json.dumps({"calls": list(self.server.oned.calls)}).encode(), "application/json")
        elif self.path == "/RPC2":
            self._send(405, page(405, ONLY_POST))
        else:
            self._send(404, page(404, UNKNOWN_PATH.format(path=self.path)))

    do_HEAD = do_PUT = do_DELETE = do_GET  # noqa: N815 - the names that http.server calls

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == CONTROL:
            self._control(json.loads(body))
        elif self.path != "/RPC2":
            self._send(404, page(404, UNKNOWN_PATH.format(path=self.path)))
        elif not body:
            self._send(400, page(400, EMPTY))
        else:
            self._answer(body)

    def _answer(self, body: bytes) -> None:
        oned = self.server.oned
        try:
            method, given = read_call(body)
        except Fault as fault:
            self._send(200, write_fault(fault), "text/xml")
            return
        lie = oned.lies.take(*WIRE, method=method)
        if lie and self._instead(lie):
            return
        try:
            answer = write_answer(_spoilt(oned.answer(method, given), lie))
        except Fault as fault:
            answer = write_fault(fault)
        if lie and lie.name == "drop-after":
            self._drop()
        elif lie and lie.name == "half":
            self._send(200, answer[: len(answer) // 2], "text/xml")
        else:
            self._send(200, answer, "text/xml")

    def _instead(self, lie: Lie) -> bool:
        """Whether the call is not to be made at all."""
        match lie.name:
            case "drop-before":
                self._drop()
            case "http-503":
                self._send(503, page(503, "Service Unavailable"))
            case "html":
                self._send(200, b"<html><body><h1>It works!</h1></body></html>")
            case "hang":
                time.sleep(lie.seconds)
                return False
            case _:
                return False
        return True

    def _drop(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _control(self, wanted: dict[str, Any]) -> None:
        """{"lie": {…}} | {"truth": true} | {"delay": SECONDS} | {"hold": BOOL} | {"settle": SECONDS} | {"next": {KIND: ID}} | {"scheduling": BOOL}
        | {"set": {"kind", "id", FIELD: VALUE…}} | {"forget-calls": true} | {"monitor": true}, several at once; answers {"settled": BOOL} or {"error": WHY}.
        """
        oned, said = self.server.oned, {}
        try:
            if "lie" in wanted:
                oned.lies.tell(**wanted["lie"])
            if wanted.get("truth"):
                oned.lies.clear()
            if wanted.get("forget-calls"):
                oned.calls.clear()
            oned.delay = float(wanted.get("delay", oned.delay))
            oned.scheduling = bool(wanted.get("scheduling", oned.scheduling))
            if "hold" in wanted:
                oned.drivers.hold(bool(wanted["hold"]))
            with oned.holding():
                if wanted.get("monitor"):
                    oned.drivers.monitor()
                for kind, oid in wanted.get("next", {}).items():
                    oned.store.set_next_id(kind, oid)
            if change := dict(wanted.get("set", {})):
                oned.tamper(change.pop("kind"), change.pop("id"), change)
            if "settle" in wanted:
                said = {"settled": oned.drivers.settle(wanted["settle"])}
        except (Failure, ValueError, TypeError, KeyError) as error:
            self._send(400, json.dumps({"error": str(error)}).encode(), "application/json")
            return
        self._send(200, json.dumps(said).encode(), "application/json")

    def _send(self, status: int, body: bytes, sort: str = "text/html") -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{sort}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        if self.served == KEPT - 1:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
