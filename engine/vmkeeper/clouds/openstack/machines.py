"""The machines of one place, servers in Nova: see `clouds.interface.MachineCloud` for what each method promises."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from typing import Any

from vmkeeper.clouds.interface import CloudMachine, Gone, MachineSpec, MachineState, NoRoom, NotOurs
from vmkeeper.clouds.openstack.errors import Conflict, Forbidden, NoService
from vmkeeper.clouds.openstack.flavours import fitting
from vmkeeper.clouds.openstack.glance import Glance
from vmkeeper.clouds.openstack.network import Network, address_of
from vmkeeper.clouds.openstack.properties import marks_of
from vmkeeper.clouds.openstack.session import Access
from vmkeeper.errors import Transient, UserError

_PAGE = 1000
_GONE_WITHIN = 120.0
"""Seconds that a server gets to be removed."""
_STATES: dict[str, MachineState] = {
    "ACTIVE": "running",
    "BUILD": "starting",
    "REBUILD": "starting",
    "REBOOT": "running",
    "HARD_REBOOT": "running",
    "PASSWORD": "running",
    "MIGRATING": "running",
    "RESIZE": "running",
    "VERIFY_RESIZE": "running",
    "RESCUE": "running",
    "ERROR": "failed",
}
"""Nova's statuses; all others are some kind of standing still."""
_WAYS_UP = {"SHUTOFF": "os-start", "PAUSED": "unpause", "SUSPENDED": "resume"}
_CONSOLE = 65536


class Machines:
    """One owner's view of a place's servers."""

    def __init__(self, access: Access, owner: str) -> None:
        self._access, self._owner = access, owner
        self._compute, self._glance = access.service("compute"), Glance(access)
        self._network = Network(access, owner)

    def machines(self) -> tuple[CloudMachine, ...]:
        """See `MachineCloud.machines`. Without a compute service there are none."""
        try:
            servers = self._servers({})
        except NoService:
            return ()
        return tuple(sorted((_machine(server) for server in servers), key=lambda machine: (machine.name, machine.id)))

    def start(self, spec: MachineSpec) -> CloudMachine:
        """See `MachineCloud.start`. Two that start one machine at once keep the one that came first."""
        if there := self._named(spec):
            return self._started(there)
        self._check_image(spec)
        id_ = self._create(spec)
        first = self._named(spec)
        if first is None:
            raise Gone("the machine was removed meanwhile", where=spec.name)
        if first["id"] != id_:
            self.stop(id_)
        return _machine(first)

    def stop(self, id_: str) -> None:
        """See `MachineCloud.stop`. Returns when it is gone."""
        try:
            server = self._server(id_)
        except Gone:
            return
        if _metadata(server).get("vmkeeper_owner") != self._owner:
            raise NotOurs("the machine is somebody else's", where=id_)
        if not _is_going(server):
            self._compute.call("DELETE", f"/servers/{id_}", doing="remove servers", expect=204, bear={404, 409})
        end = time.monotonic() + _GONE_WITHIN
        while self._is_there(id_):
            if time.monotonic() > end:
                raise Transient("the machine is not gone yet", where=id_)
            time.sleep(0.5)
        self._network.tidy()

    def console(self, id_: str) -> str:
        """See `MachineCloud.console`."""
        try:
            server = self._server(id_)
        except Gone:
            return ""
        wanted: dict[str, Any] = {"os-getConsoleOutput": {}}
        bear = {400, 403, 404, 409, 501}
        answer = self._compute.call("POST", f"/servers/{server['id']}/action", doing="read consoles", json=wanted, bear=bear)
        return str(answer.body.get("output") or "")[-_CONSOLE:]

    # -- inside

    def _servers(self, filters: Mapping[str, str]) -> list[dict[str, Any]]:
        """All servers of the project that are not being removed, page by page."""
        found: list[dict[str, Any]] = []
        params: dict[str, str | int] = {"limit": _PAGE, "sort_key": "created_at", "sort_dir": "asc", **filters}
        while True:
            body = self._compute.get("/servers/detail", doing="list servers", params=params)
            page = body.get("servers")
            if not isinstance(page, list) or not all(_is_server(one) for one in page):
                raise Transient("could not list servers", where=self._access.where, why="the answer makes no sense")
            found += page
            if not body.get("servers_links") or not page:
                return [one for one in found if not _is_going(one)]
            params = {**params, "marker": page[-1]["id"]}

    def _server(self, id_: str) -> dict[str, Any]:
        found = self._compute.get(f"/servers/{id_}", doing="look at a server").get("server")
        if not isinstance(found, dict) or not _is_server(found):
            raise Transient("could not look at a server", where=id_, why="the answer makes no sense")
        return dict(found)

    def _is_there(self, id_: str) -> bool:
        try:
            return self._server(id_)["status"] not in ("DELETED", "SOFT_DELETED")
        except Gone:
            return False

    def _named(self, spec: MachineSpec) -> dict[str, Any] | None:
        """Our server of this name and generation, the first if there are several. Raises NotOurs where the name is another one's."""
        servers = [one for one in self._servers({"name": f"^{spec.name}$"}) if one["name"] == spec.name]
        for one in servers:
            said = _metadata(one)
            if (said.get("vmkeeper_owner"), said.get("vmkeeper_generation")) != (self._owner, spec.generation):
                raise NotOurs("the name is taken by another machine", where=spec.name)
        return min(servers, key=lambda one: (str(one.get("created")), one["id"])) if servers else None

    def _started(self, server: dict[str, Any]) -> CloudMachine:
        if action := _WAYS_UP.get(server["status"]):
            self._compute.call("POST", f"/servers/{server['id']}/action", doing="start servers", json={action: None}, expect=202, bear={409})
            server = self._server(server["id"])
        return _machine(server)

    def _check_image(self, spec: MachineSpec) -> None:
        image = self._glance.show(spec.image)
        marks = marks_of(image, self._access.project)
        if image["status"] != "active" or image.get("os_hidden") or marks is None or marks.uploading or marks.hidden_since:
            raise Gone("there is no such usable image of ours", where=spec.image)

    def _create(self, spec: MachineSpec) -> str:
        image = self._glance.show(spec.image)
        said: dict[str, Any] = {
            "name": spec.name,
            "imageRef": spec.image,
            "flavorRef": fitting(self._compute, spec, int(image.get("min_disk") or 0), int(image.get("min_ram") or 0)),
            "metadata": {
                "vmkeeper_owner": self._owner,
                "vmkeeper_cluster": spec.cluster,
                "vmkeeper_service": spec.service,
                "vmkeeper_generation": spec.generation,
                "vmkeeper_ports": ",".join(map(str, spec.ports)),
            },
            **self._network.wanted(spec.ports),
        }
        if spec.user_data:
            said["user_data"] = base64.b64encode(spec.user_data.encode()).decode()
        try:
            answer = self._compute.call("POST", "/servers", doing="start servers", json={"server": said}, expect=202)
        except Conflict as error:
            raise UserError("the machine cannot be created as the site says", where=spec.name, why=error.why, hint="name platform.network") from None
        except Forbidden as error:
            raise UserError("the account may not start servers", where=spec.name, why=error.why, hint=error.hint) from None
        made = answer.body.get("server")
        if not isinstance(made, dict) or not isinstance(made.get("id"), str):
            raise Transient("could not start servers", where=self._access.where, why="the answer makes no sense")
        return self._placed(str(made["id"]), spec)

    def _placed(self, id_: str, spec: MachineSpec) -> str:
        """The server once Nova has found a place and an address for it; one that found none goes again. Raises NoRoom."""
        end = time.monotonic() + _GONE_WITHIN
        while (server := self._server(id_))["status"] == "BUILD" and not address_of(server) and time.monotonic() < end:
            time.sleep(0.5)
        if server["status"] == "ERROR":
            why = str((server.get("fault") or {}).get("message", ""))[:300]
            self.stop(id_)
            raise NoRoom(f"the cloud found no place for {spec.name}", where=self._access.where, why=why)
        return id_


def _machine(server: Mapping[str, Any]) -> CloudMachine:
    said, image = _metadata(server), server.get("image")
    own, reached = address_of(server), address_of(server, outside=True)
    ports = [int(port) for port in said.get("vmkeeper_ports", "").split(",") if port.isdecimal()]
    return CloudMachine(
        id=server["id"],
        name=server["name"],
        state=_STATES.get(server["status"], "stopped"),
        image=str(image.get("id", "")) if isinstance(image, dict) else "",
        owner=said.get("vmkeeper_owner"),
        cluster=said.get("vmkeeper_cluster", ""),
        service=said.get("vmkeeper_service", ""),
        generation=said.get("vmkeeper_generation", ""),
        address=own,
        ports={port: (reached, port) for port in ports} if reached else {},
    )


def _metadata(server: Mapping[str, Any]) -> dict[str, str]:
    said = server.get("metadata")
    return {str(name): str(value) for name, value in said.items()} if isinstance(said, dict) else {}


def _is_going(server: Mapping[str, Any]) -> bool:
    return server.get("OS-EXT-STS:task_state") == "deleting" or server["status"] in ("DELETED", "SOFT_DELETED")


def _is_server(found: Any) -> bool:
    return isinstance(found, dict) and all(isinstance(found.get(name), str) for name in ("id", "name", "status"))
