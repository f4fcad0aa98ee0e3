"""Which services make up an OpenStack of each profile, and where one such cloud lives on this machine."""

from __future__ import annotations

import json
import socket
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import SystemRandom

PROFILES = {
    "image": ("keystone", "glance"),
    "regions": ("keystone", "glance", "north"),
    "compute": ("keystone", "glance", "placement", "neutron", "nova"),
    "noauth": ("glance",),
}
"""Services of each profile in the order in which they start. `compute` has Nova's fake driver: servers start, get addresses and
are deleted, but nothing runs in them. `regions` has a second region with a Glance of its own, `north`. `noauth` is Glance alone,
where everybody is an administrator."""

TYPES = {"keystone": "identity", "glance": "image", "north": "image", "placement": "placement", "neutron": "network", "nova": "compute"}
REGION, NORTH = "RegionOne", "North"
REGIONS = {"north": NORTH}
"""Regions of services that are not in `REGION`."""
GLANCES = ("glance", "north")
"""Services that are a Glance."""
ADMIN = "admin"
"""Name and password of the administrator of each cloud made here, and of the administrator's project."""


class Lacking(Exception):
    """This machine cannot have an OpenStack; the text says what is missing."""


class NotStarted(Exception):
    """A service did not come up, or a command of OpenStack failed; the text has the end of what it said."""


@dataclass
class State:
    """What a cloud's folder holds, kept in `state.json` there.

    ports: service to port. processes: service to (process id, its start time in clock ticks since boot).
    complete: databases and users are there. credential: application credential of the project `demo` (id, secret).
    """

    profile: str
    folder: str
    ports: dict[str, int]
    convert: str = ""
    complete: bool = False
    processes: dict[str, tuple[int, str]] = field(default_factory=dict)
    credential: tuple[str, str] | None = None

    @classmethod
    def read(cls, folder: Path) -> State | None:
        """The state of the cloud in a folder, or None where there is none."""
        try:
            found = cls(**json.loads((folder / "state.json").read_text()))
        except FileNotFoundError:
            return None
        found.processes = {service: (number, start) for service, (number, start) in found.processes.items()}
        return found

    def save(self) -> None:
        path = Path(self.folder) / "state.json"
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self), indent=1))
        fresh.replace(path)

    @property
    def services(self) -> tuple[str, ...]:
        return PROFILES[self.profile]

    @property
    def glances(self) -> tuple[str, ...]:
        return tuple(service for service in self.services if service in GLANCES)

    def url(self, service: str) -> str:
        """The address that stands in the catalogue of services."""
        return f"http://127.0.0.1:{self.ports[service]}" + {"keystone": "/v3", "nova": "/v2.1"}.get(service, "")


def free_ports(profile: str) -> dict[str, int]:
    """A free port for each service, below those that the kernel gives to outgoing connections."""
    found: dict[str, int] = {}
    while len(found) < len(PROFILES[profile]):
        port = SystemRandom().randrange(20000, 32000)
        with closing(socket.socket()) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found.values():
            found[PROFILES[profile][len(found)]] = port
    return found
