"""The network of servers: which one, which ports are open, and where a server is reached."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from vmkeeper.clouds.openstack.errors import Conflict, Forbidden, NoService
from vmkeeper.clouds.openstack.session import Access
from vmkeeper.errors import Transient, UserError


class Network:
    """Networks and security groups of one place. Groups are made by need, one for each set of ports, and removed when unused."""

    def __init__(self, access: Access, owner: str) -> None:
        self._access, self._owner = access, owner
        self._service = access.service("network")

    def wanted(self, ports: Iterable[int]) -> dict[str, Any]:
        """What is said of the network when a server is created. Raises UserError where the named network is not there.

        Where the account may make no security groups, the project's default one decides what is open.
        """
        said: dict[str, Any] = {}
        if self._access.platform.network is not None:
            said["networks"] = [{"uuid": self._network(self._access.platform.network)}]
        with suppress(NoService, Forbidden):
            said["security_groups"] = [{"name": "default"}, {"name": self._group(sorted(set(ports)))}]
        return said

    def tidy(self) -> None:
        """Remove groups of ours that no server uses."""
        try:
            for group in self._groups():
                self._service.call("DELETE", f"/security-groups/{group['id']}", doing="remove security groups", expect=204, bear={403, 404, 409})
        except (NoService, Forbidden):
            return

    def _network(self, wanted: str) -> str:
        found = self._list("/networks", "networks", {"name": wanted}) or self._list("/networks", "networks", {"id": wanted})
        if len(found) != 1:
            what = "no network" if not found else f"{len(found)} networks"
            raise UserError(f"the cloud has {what} {wanted}", where=self._access.where, hint="name one by its ID as platform.network")
        return str(found[0]["id"])

    def _group(self, ports: list[int]) -> str:
        """ID of our group that lets these TCP ports in."""
        name = f"{self._owner} tcp {','.join(map(str, ports))}"[:255]
        for one in self._groups(name=name):
            self._open(one, ports)
            return str(one["id"])
        said = {"security_group": {"name": name, "description": self._owner}}
        made = self._service.call("POST", "/security-groups", doing="create security groups", json=said, expect=201).body.get("security_group")
        if not isinstance(made, dict) or not isinstance(made.get("id"), str):
            raise Transient("could not create security groups", where=self._access.where, why="the answer makes no sense")
        self._open(made, ports)
        return str(made["id"])

    def _open(self, group: Mapping[str, Any], ports: list[int]) -> None:
        rules = [one for one in group.get("security_group_rules") or () if isinstance(one, dict) and one.get("direction") == "ingress"]
        have = {(one.get("ethertype"), one.get("port_range_min")) for one in rules}
        for ethertype, port in ((ethertype, port) for port in ports for ethertype in ("IPv4", "IPv6") if (ethertype, port) not in have):
            rule = {"security_group_id": group["id"], "direction": "ingress", "protocol": "tcp", "ethertype": ethertype}
            said = {"security_group_rule": {**rule, "port_range_min": port, "port_range_max": port}}
            try:
                self._service.call("POST", "/security-group-rules", doing="open ports", json=said, expect=201)
            except Conflict:
                continue  # it is there already

    def _groups(self, **filters: str) -> list[dict[str, Any]]:
        found = self._list("/security-groups", "security_groups", {"description": self._owner, **filters})
        return [one for one in found if one.get("description") == self._owner and one.get("project_id", self._access.project) == self._access.project]

    def _list(self, path: str, what: str, params: Mapping[str, str]) -> list[dict[str, Any]]:
        found = self._service.get(path, doing=f"list {what.replace('_', ' ')}", params=params).get(what)
        if not isinstance(found, list) or not all(isinstance(one, dict) and isinstance(one.get("id"), str) for one in found):
            raise Transient(f"could not list {what.replace('_', ' ')}", where=self._access.where, why="the answer makes no sense")
        return found


def address_of(server: Mapping[str, Any], *, outside: bool = False) -> str:
    """A server's own address, IPv4 first; outside: where it is reached, a floating address before its own. "" where it has none."""
    networks = server.get("addresses")
    found = [one for name in sorted(networks) for one in networks[name] if isinstance(one, dict)] if isinstance(networks, dict) else []
    kinds = ("floating", "fixed") if outside else ("fixed",)
    ranked = [
        (kinds.index(kind), one.get("version") != 4, str(one["addr"]))
        for one in found
        if one.get("addr") and (kind := one.get("OS-EXT-IPS:type", "fixed")) in kinds
    ]
    return min(ranked)[2] if ranked else ""
