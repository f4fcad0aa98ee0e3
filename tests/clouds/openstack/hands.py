"""Somebody else's hands in a cloud."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from conformance.setting import ours, spec_of
from support.openstack import DISK, Tenants
from vmkeeper.clouds.interface import CloudImage
from vmkeeper.clouds.openstack.cloud import OpenStackCloud
from vmkeeper.clouds.openstack.session import Access
from vmkeeper.model.platform import Audience, OpenStackPlatform

_PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}

SPEC = spec_of(DISK, properties={"title": "Debian 12", "sl:os": "Linux", "sl:osname": "Debian", "sl:osversion": "12", "hv:ram_minimum": "512"})
PUBLIC = SPEC.model_copy(update={"audience": Audience(visibility="public")})


class Hands:
    """Somebody who works in the cloud without vmkeeper, with one entry of clouds.yaml."""

    def __init__(self, tenants: Tenants, entry: str) -> None:
        access = Access(OpenStackPlatform(type="openstack", cloud=entry), tenants.folder)
        self.api = access.adapter("image")
        self.project = access.project

    def plant(self, name: str, attributes: Mapping[str, Any] = {}, data: bytes = DISK) -> str:
        """An image as other people and tools make them."""
        said = {"name": name, "disk_format": "raw", "container_format": "bare", "visibility": "private", **attributes}
        answer = self.api.post("/images", json=said)
        assert answer.status_code == 201, answer.text
        id_ = answer.json()["id"]
        stored = self.api.put(f"/images/{id_}/file", data=data, headers={"Content-Type": "application/octet-stream"})
        assert stored.status_code == 204, stored.text
        return id_

    def change(self, id_: str, **said: Any) -> None:
        """Set fields or properties; None removes."""
        patch = [{"op": "remove", "path": f"/{k}"} if v is None else {"op": "add", "path": f"/{k}", "value": v} for k, v in said.items()]
        answer = self.api.patch(f"/images/{id_}", data=json.dumps(patch), headers=_PATCH)
        assert answer.status_code == 200, answer.text

    def show(self, id_: str) -> dict[str, Any]:
        answer = self.api.get(f"/images/{id_}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def sees(self, id_: str) -> bool:
        return self.api.get(f"/images/{id_}").status_code == 200

    def named(self, name: str) -> set[str]:
        """What one gets by a name."""
        return {one["id"] for one in self.api.get("/images", params={"name": name, "limit": 1000}).json()["images"] if one["status"] == "active"}

    def do(self, id_: str, action: str) -> None:
        answer = self.api.post(f"/images/{id_}/actions/{action}")
        assert answer.status_code == 204, answer.text


def furnished(tenants: Tenants) -> Tenants:
    """What servers need: flavours from the administrator, and a network of the project's own."""
    administrator = Access(OpenStackPlatform(type="openstack", cloud="admin"), tenants.folder).adapter("compute")
    for name, memory in (("tiny", 128), ("small", 1024)):
        said = {"name": name, "vcpus": 1, "ram": memory, "disk": 1}
        assert administrator.post("/flavors", json={"flavor": said}).status_code in (200, 409)
    member = Access(OpenStackPlatform(type="openstack", cloud="member"), tenants.folder).adapter("network")
    made = member.post("/networks", json={"network": {"name": "inside"}})
    assert made.status_code == 201, made.text
    subnet = {"network_id": made.json()["network"]["id"], "ip_version": 4, "cidr": "10.20.0.0/24"}
    assert member.post("/subnets", json={"subnet": subnet}).status_code == 201
    return tenants


Connected = Callable[..., OpenStackCloud]
By = Callable[[str], Hands]


def one(cloud: OpenStackCloud) -> CloudImage:
    (image,) = ours(cloud).values()
    return image
