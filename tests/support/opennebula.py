"""An OpenNebula to try things on: the stand-in in a process of its own, or a real one where the environment names it.

VMKEEPER_ONE_ENDPOINT, VMKEEPER_ONE_USER and VMKEEPER_ONE_PASSWORD (an administrator's) name a real oned. Further, all with what a new
OpenNebula has in place of it: VMKEEPER_ONE_DATASTORES (names or ids of image datastores, with commas; `default`), VMKEEPER_ONE_GROUP (`users`),
VMKEEPER_ONE_MEMBER (USER:PASSWORD of an ordinary user of that group; none), VMKEEPER_ONE_FOLDER (a folder that oned's host sees and that is
in SAFE_DIRS; none), VMKEEPER_ONE_ADDRESS (what oned's host calls this one; 127.0.0.1), VMKEEPER_ONE_STARTS (`yes` where virtual machines reach
RUNNING; no), VMKEEPER_ONE_NETWORK (name of a virtual network; none).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import uuid
import xmlrpc.client
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener
from xml.etree import ElementTree

import pytest

TESTS = Path(__file__).parents[1]
PASSWORD = "opennebula"
_open = build_opener(ProxyHandler({})).open


@dataclass
class Setting:
    """An OpenNebula and what may be done with it.

    member: (user, password) of an ordinary user, None where there is none. folder: where files for oned may be put, None where there is
    no such place. starts: whether virtual machines get to run. standin: what tells the stand-in to lie; None for a real oned.
    """

    endpoint: str
    user: str
    password: str
    datastores: tuple[str, ...]
    group: str = "users"
    member: tuple[str, str] | None = None
    folder: Path | None = None
    address: str = "127.0.0.1"
    starts: bool = True
    network: str | None = None
    standin: StandIn | None = None
    prefix: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:8]}-")
    """For names of this test alone: a real oned holds other things too."""

    def call(self, method: str, *given: Any, user: str | None = None, password: str | None = None) -> Any:
        """What `one.METHOD` answers: the value. Raises RuntimeError with oned's words."""
        good, value, *_ = self.answer(method, *given, user=user, password=password)
        if not good:
            raise RuntimeError(value)
        return value

    def answer(self, method: str, *given: Any, user: str | None = None, password: str | None = None) -> list[Any]:
        """The whole answer. Raises xmlrpc.client.Fault."""
        session = f"{user or self.user}:{password or self.password}"
        with xmlrpc.client.ServerProxy(self.endpoint) as proxy:
            answer: Any = getattr(proxy, method)(session, *given)
        return list(answer)

    def xml(self, method: str, *given: Any) -> ElementTree.Element:
        return ElementTree.fromstring(self.call(method, *given))


class StandIn:
    """The stand-in's process. `stop` and `start` go on with the same state on the same port; `kill` is kill -9."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder, self._options = folder, options
        self._port = 0
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        options = ["--folder", str(self._folder), "--port", str(self._port), "--until-eof", *self._options]
        command = [sys.executable, "-m", "servers.opennebula", *options]
        environment = {**os.environ, "PYTHONPATH": str(TESTS)}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=TESTS)
        assert self._process.stdout is not None
        self.endpoint = self._process.stdout.readline().split(" ")[0]
        if not self.endpoint:
            raise RuntimeError("the stand-in for oned did not start")
        self._port = int(self.endpoint.rpartition(":")[2].partition("/")[0])

    def _end(self, how: str) -> None:
        if self._process is not None and self._process.stdout is not None:
            getattr(self._process, how)()
            self._process.wait()
            self._process.communicate()
            self._process = None

    def stop(self) -> None:
        self._end("terminate")

    def kill(self) -> None:
        self._end("kill")

    def tell(self, **wanted: Any) -> Any:
        """What servers/opennebula/server.py describes: lie, truth, delay, hold, settle, next, scheduling, set, forget-calls."""
        said = json.dumps({name.replace("_", "-"): value for name, value in wanted.items()})
        with _open(Request(self._control, data=said.encode(), method="POST"), timeout=90) as answer:
            return json.loads(answer.read())

    def lie(self, name: str, *, method: str = "", count: int = 1, skip: int = 0, seconds: float = 3.0) -> None:
        """See servers/opennebula/lies.py."""
        self.tell(lie={"name": name, "method": method, "count": count, "skip": skip, "seconds": seconds})

    def truth(self) -> None:
        self.tell(truth=True)

    def delay(self, seconds: float) -> None:
        """What each work of a driver takes at least."""
        self.tell(delay=seconds)

    def hold(self, wanted: bool = True) -> None:
        """Works of drivers wait until `hold(False)`."""
        self.tell(hold=wanted)

    def monitor(self) -> None:
        """Have oned look how full the datastores are; by itself it does so every five minutes."""
        self.tell(monitor=True)

    def settle(self) -> None:
        """Wait until no work of a driver is under way."""
        assert self.tell(settle=60)["settled"]

    def tamper(self, kind: str, oid: int, **fields: Any) -> None:
        """Change an object behind everybody's back; kinds and fields are those of servers/opennebula/objects.py."""
        self.tell(set={"kind": kind, "id": oid, **fields})

    def calls(self) -> list[str]:
        """Methods called since `forget_calls`."""
        with _open(self._control, timeout=30) as answer:
            calls: list[str] = json.loads(answer.read())["calls"]
        return calls

    def forget_calls(self) -> None:
        self.tell(forget_calls=True)

    @property
    def _control(self) -> str:
        return self.endpoint.removesuffix("/RPC2") + "/standin"


@contextmanager
def standing_in(version: str = "6.10.0.1", *options: str, folder: Path | None = None) -> Iterator[Setting]:
    """The stand-in with users, groups, datastores, a host and a network, whatever the environment says."""
    with tempfile.TemporaryDirectory(prefix="opennebula-") as made:
        home = folder or Path(made)
        shared = home / "shared"
        shared.mkdir(parents=True, exist_ok=True)
        standin = StandIn(home / "one", "--version", version, "--safe", str(shared), *options)
        try:
            yield Setting(
                standin.endpoint,
                "oneadmin",
                PASSWORD,
                ("default", "second"),
                member=("alice", PASSWORD),
                folder=shared,
                network="private",
                standin=standin,
            )
        finally:
            standin.stop()


def real() -> Setting | None:
    """The oned that the environment names, if it names one."""
    read = os.environ.get
    if not (endpoint := read("VMKEEPER_ONE_ENDPOINT")):
        return None
    name, colon, password = read("VMKEEPER_ONE_MEMBER", "").partition(":")
    return Setting(
        endpoint,
        read("VMKEEPER_ONE_USER", "oneadmin"),
        read("VMKEEPER_ONE_PASSWORD", ""),
        tuple(read("VMKEEPER_ONE_DATASTORES", "default").split(",")),
        group=read("VMKEEPER_ONE_GROUP", "users"),
        member=(name, password) if colon else None,
        folder=Path(read("VMKEEPER_ONE_FOLDER", "")) if read("VMKEEPER_ONE_FOLDER") else None,
        address=read("VMKEEPER_ONE_ADDRESS", "127.0.0.1"),
        starts=read("VMKEEPER_ONE_STARTS", "no") == "yes",
        network=read("VMKEEPER_ONE_NETWORK"),
    )


@pytest.fixture(scope="session", params=["6.10.0.1", "7.4.0"])
def opennebula(request: pytest.FixtureRequest) -> Iterator[Setting]:
    """An OpenNebula for the whole session: a real one (once), or the stand-in as each version. Import it where it is wanted."""
    if (setting := real()) is not None:
        if request.param != "6.10.0.1":
            pytest.skip("the environment names one OpenNebula")
        yield setting
        return
    with standing_in(request.param) as setting:
        yield setting
