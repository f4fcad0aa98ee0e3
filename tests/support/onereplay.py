"""Makes the recorded calls against the stand-in, in their order, and keeps which answers are the recorded ones."""

from __future__ import annotations

import ast
import http.client
import re
import socket
import struct
import xmlrpc.client
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from support.onerecordings import Exchange, normal, same
from support.opennebula import PASSWORD, StandIn
from support.webserver import WebServer

SESSIONS = {
    "bad password": "oneadmin:wrong",
    "unknown user": "nobody:x",
    "session string without colon": "oneadmin",
    "empty session": "",
    "system.version w/ bad password": "oneadmin:wrong",
    "old pw": "bob:bobpw",
    "disabled": "bob:bobpw",
    "again": "bob:bobpw",
    "bobimgs": "bob:bobpw",
    "after other-use": "bob:bobpw",
    "alloc over quota": "bob:bobpw",
    "system.config bob": "bob:bobpw",
}
"""Label → session, where the label does not begin with the caller's name."""


class Replay:
    """One stand-in through all the recordings of one version."""

    def __init__(self, version: str, folder: Path, web: WebServer) -> None:
        self.version, self.modern, self.folder = version, version.startswith("7"), folder
        self.standin = StandIn(folder / "one", "--version", version, "--bare")
        self.images = folder / "h7img"
        self.images.mkdir()
        for name, size in (("a.qcow2", 20), ("w.qcow2", 30), ("slow.qcow2", 30)):
            header = struct.pack(">4sIQIIQ", b"QFI\xfb", 3, 0, 0, 16, size * 1024 * 1024)
            for place in (folder, self.images):
                (place / name).write_bytes(header + bytes(2000))
        (folder / "w.raw.gz").write_bytes(b"\x1f\x8b\x08" + bytes(2000))
        self.places = {
            "http://127.0.0.1:18099": web.url,
            "http://127.0.0.1:18098": f"http://127.0.0.1:{_closed_port()}",
            "/var/lib/one/datastores": str(folder / "one" / "datastores"),
            "/var/var/tmp": str(folder),
        }
        self.missed: dict[str, str] = {}
        self.matched = 0
        self.held = False
        self.lock_image = 0

    def close(self) -> None:
        self.standin.stop()

    def hold(self, wanted: bool = True) -> None:
        """Drivers do nothing meanwhile."""
        self.held = wanted
        self.standin.hold(wanted)

    def settle(self) -> None:
        if not self.held:
            self.standin.settle()

    def settled(self) -> None:
        self.hold(False)
        self.settle()

    def ask(self, session: str, method: str, *given: Any) -> list[Any]:
        with xmlrpc.client.ServerProxy(self.standin.endpoint) as proxy:
            try:
                answer: Any = getattr(proxy, method)(session, *given)
            except xmlrpc.client.Fault as fault:
                return ["FAULT", fault.faultString, fault.faultCode]
        return list(answer)

    def admin(self, method: str, *given: Any) -> Any:
        good, value, *_ = self.ask(f"oneadmin:{PASSWORD}", method, *given)
        assert good, value
        return value

    def here(self, value: Any) -> Any:
        for there, here in self.places.items():
            value = value.replace(there, here) if isinstance(value, str) else value
        return value

    def there(self, text: str) -> str:
        for there, here in self.places.items():
            text = text.replace(here, there)
        return text

    def note(self, exchange: Exchange, given: Any) -> None:
        """True, or what was answered in place of what was recorded."""
        if given is True:
            self.matched += 1
        else:
            self.missed[exchange.name] = f"{exchange.answer[:2000]}\n     {given}"

    def play(self, exchange: Exchange) -> None:
        """A call, a state or a request of HTTP."""
        answer = {"call": self._call, "state": self._state, "http": self._http}
        self.note(exchange, answer[exchange.kind](exchange))

    def _call(self, exchange: Exchange) -> Any:
        session = SESSIONS.get(exchange.label, "")
        if exchange.label not in SESSIONS:
            who = exchange.label.partition(" ")[0]
            session = f"{who}:{who}pw" if who in ("alice", "bob", "carol") else f"oneadmin:{PASSWORD}"
        given = [self.here(value) for value in exchange.given]
        if exchange.label == "alloc fs ds":
            given[0] = given[0].replace("/var/tmp", str(self.folder))
        answer = self.ask(session, exchange.method, *given)
        self.settle()
        if isinstance(answer[1], str):
            answer[1] = self.there(answer[1])
        return same(exchange.answer, answer) or normal(str(answer))[:2000]

    def _state(self, exchange: Exchange) -> Any:
        """The last of the states that were seen."""
        self.settled()
        oid, what = exchange.given
        good, value, *_ = self.ask(f"oneadmin:{PASSWORD}", f"one.{exchange.method}.info", oid)
        state = ElementTree.fromstring(value).findtext(what) if good else "GONE"
        return state == exchange.answer or state

    def _http(self, exchange: Exchange) -> Any:
        found = re.match(r"(GET|POST) (/\w*)(?: (b'.*?'))? -> (?:<HTTPError )?(\d+)(?:: '([\w ]+)'>)? ?(b.*)?", exchange.answer)
        assert found, exchange.answer
        connection = http.client.HTTPConnection(*self.standin.endpoint.split("/")[2].split(":"))
        connection.request(found[1], found[2], ast.literal_eval(found[3]) if found[3] else None)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        begins = ast.literal_eval(found[6]) if found[6] else b""
        good = str(answer.status) == found[4] and found[5] in (None, answer.reason) and body.startswith(begins)
        return good or (answer.status, answer.reason, body)

    def pool(self, flag: int = -2, start: int = -1, end: int = -1, session: str = f"oneadmin:{PASSWORD}") -> Any:
        return self.ask(session, "one.imagepool.info", flag, start, end)

    def named(self, name: str) -> ElementTree.Element | None:
        return next((one for one in ElementTree.fromstring(self.pool()[1]) if one.findtext("NAME") == name), None)

    def make(self, method: str, text: str, *more: Any, oid: int | None = None, session: str = f"oneadmin:{PASSWORD}") -> int:
        """What the recording does not show."""
        if oid is not None:
            self.standin.tell(next={method.split(".")[1]: oid})
        good, value, *_ = self.ask(session, method, text, *more)
        assert good, value
        return int(value)

    def image(self, name: str, oid: int, session: str = f"oneadmin:{PASSWORD}", path: str = 'PATH="/var/tmp/z"') -> None:
        self.make("one.image.allocate", f'NAME="{name}"\n{path}', 100, oid=oid, session=session)


def _closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
