"""The OpenStack that the tests run against answers as real ones do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from servers.openstack.server import OpenStack
from support.openstack import DISK, Tenants, tenants_of

DATA = DISK[:4096]


class Glance:
    """Glance as an entry of clouds.yaml sees it, without a client between."""

    def __init__(self, tenants: Tenants, name: str, service: str = "glance") -> None:
        login = json.loads(tenants.clouds_yaml.read_text())["clouds"][name]["auth"]
        identity: dict[str, Any]
        if "application_credential_id" in login:
            secret = {"id": login["application_credential_id"], "secret": login["application_credential_secret"]}
            identity = {"identity": {"methods": ["application_credential"], "application_credential": secret}}
        else:
            user = {"name": login["username"], "password": login["password"], "domain": {"id": "default"}}
            project = {"name": login["project_name"], "domain": {"id": "default"}}
            identity = {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": {"project": project}}
        answer = httpx.post(f"{login['auth_url']}/auth/tokens", json={"auth": identity}, timeout=60, trust_env=False).raise_for_status()
        token = answer.headers["X-Subject-Token"]
        self.project: str = answer.json()["token"]["project"]["id"]
        self._url, self.token = f"{tenants.server.url(service)}/v2", token

    def call(self, method: str, path: str, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        shown = {"X-Auth-Token": self.token, **(headers or {})}
        return httpx.request(method, f"{self._url}/{path}", headers=shown, timeout=60, trust_env=False, **more)

    def create(self, name: str = "an image", **fields: object) -> httpx.Response:
        return self.call("POST", "images", json={"name": name, "container_format": "bare", "disk_format": "raw", **fields})

    def made(self, name: str = "an image", data: bytes = DATA, **fields: object) -> str:
        """The id of a new image with data."""
        found: str = self.create(name, **fields).raise_for_status().json()["id"]
        self.put(found, data).raise_for_status()
        return found

    def put(self, image: str, data: bytes) -> httpx.Response:
        return self.call("PUT", f"images/{image}/file", content=data, headers={"Content-Type": "application/octet-stream"})

    def patch(self, image: str, **values: object) -> httpx.Response:
        changes = [{"op": "replace", "path": f"/{name}", "value": value} for name, value in values.items()]
        return self.call("PATCH", f"images/{image}", json=changes, headers={"Content-Type": "application/openstack-images-v2.1-json-patch"})

    def names(self, **query: str) -> set[str]:
        return {image["name"] for image in self.call("GET", "images", params={"limit": "1000", **query}).raise_for_status().json()["images"]}


@pytest.fixture
def member(openstack: Tenants) -> Glance:
    return Glance(openstack, "member")


# -- users and projects


def test_each_entry_logs_in_to_its_project(openstack: Tenants) -> None:
    of = {name: Glance(openstack, name).project for name in ("member", "appcred", "reader", "second", "stranger")}
    assert of["member"] == of["appcred"] == of["reader"] == openstack.ids[openstack.project]
    assert of["second"] == openstack.ids[openstack.second]
    assert of["stranger"] == openstack.ids[openstack.stranger]


def test_tenants_of_one_cloud_do_not_meet(openstack: Tenants, openstack_of_class: Tenants) -> None:
    Glance(openstack, "member").made("mine")
    assert openstack.url == openstack_of_class.url
    assert set(openstack.ids.values()).isdisjoint(openstack_of_class.ids.values())
    for other in (Glance(openstack_of_class, "member"), Glance(openstack, "second"), Glance(openstack, "stranger")):
        assert "mine" not in other.names()
    assert "mine" in Glance(openstack, "reader").names()
    assert "mine" in Glance(openstack, "admin").names()


def test_users_who_log_in_at_once_keep_their_own_roles(openstack: Tenants) -> None:
    def roles(name: str) -> set[str]:
        login = Glance(openstack, name)
        shown = {"X-Auth-Token": login.token, "X-Subject-Token": login.token}
        return {
            role["name"] for role in httpx.get(f"{openstack.url}/auth/tokens", headers=shown, timeout=60, trust_env=False).json()["token"]["roles"]
        }

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(roles, ["admin", "member", "reader", "stranger"] * 5))
    assert all("admin" in names for names in found[::4])
    assert all(names == {"member", "reader"} for names in found[1::4] + found[3::4])
    assert all(names == {"reader"} for names in found[2::4])


def test_a_wrong_password_is_unauthorized(openstack: Tenants) -> None:
    user = {"name": "admin", "password": "wrong", "domain": {"id": "default"}}
    asked = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}
    assert httpx.post(f"{openstack.url}/auth/tokens", json=asked, timeout=60, trust_env=False).status_code == 401


def test_the_application_credential_makes_images_in_the_members_project(openstack: Tenants, member: Glance) -> None:
    Glance(openstack, "appcred").made("from the credential")
    assert member.names(owner=member.project) == {"from the credential"}


# -- what Glance allows


def test_a_reader_creates_nothing(openstack: Tenants) -> None:
    assert Glance(openstack, "reader").create().status_code == 403


def test_publishing_is_an_administrators_right(openstack: Tenants, member: Glance) -> None:
    assert member.create(visibility="public").status_code == 403
    image = member.made()
    assert member.patch(image, visibility="public").status_code == 403
    assert member.patch(image, visibility="community").status_code == 200
    assert Glance(openstack, "admin").patch(image, visibility="public").status_code == 200
    assert member.call("GET", f"images/{image}").json()["visibility"] == "public"


def test_a_deactivated_image_gives_no_bytes(openstack: Tenants, member: Glance) -> None:
    image = member.made()
    assert Glance(openstack, "reader").call("POST", f"images/{image}/actions/deactivate").status_code == 403
    assert member.call("POST", f"images/{image}/actions/deactivate").status_code == 204
    assert member.call("GET", f"images/{image}").json()["status"] == "deactivated"
    assert member.call("GET", f"images/{image}/file").status_code == 403
    assert member.call("POST", f"images/{image}/actions/reactivate").status_code == 204
    assert member.call("GET", f"images/{image}/file").content == DATA


def test_a_protected_image_is_not_deleted(member: Glance) -> None:
    image = member.made(protected=True)
    assert member.call("DELETE", f"images/{image}").status_code == 403
    assert member.patch(image, protected=False).status_code == 200
    assert member.call("DELETE", f"images/{image}").status_code == 204
    assert member.call("GET", f"images/{image}").status_code == 404


def test_a_shared_image_waits_for_the_other_project_to_accept_it(openstack: Tenants, member: Glance) -> None:
    image, second = member.made("lent", visibility="shared"), Glance(openstack, "second")
    assert member.call("POST", f"images/{image}/members", json={"member": second.project}).json()["status"] == "pending"
    assert "lent" not in second.names()
    accepted = second.call("PUT", f"images/{image}/members/{second.project}", json={"status": "accepted"})
    assert accepted.status_code == 200
    assert "lent" in second.names()
    assert "lent" not in Glance(openstack, "stranger").names()


def test_hidden_images_are_listed_only_when_asked_for(member: Glance) -> None:
    member.made("old", os_hidden=True)
    member.made("new")
    assert member.names(owner=member.project) == {"new"}
    assert member.names(owner=member.project, os_hidden="true") == {"old"}


def test_more_tenants_can_be_made_in_one_cloud(openstack: Tenants, tmp_path: Path) -> None:
    more = tenants_of(openstack.server, tmp_path / "more")
    assert more.glance == openstack.glance
    assert more.project != openstack.project
    assert Glance(more, "member").names(owner=more.ids[more.project]) == set()


# -- images


def test_requests_are_recorded_with_the_project_that_made_them(openstack: Tenants, member: Glance) -> None:
    image = member.made()
    Glance(openstack, "admin").names()
    member.call("GET", "images/nonsense")
    assert [(one.method, one.path, one.status) for one in openstack.requests()] == [
        ("POST", "/v2/images", 201),
        ("PUT", f"/v2/images/{image}/file", 204),
        ("GET", "/v2/images/nonsense", 404),
    ]
    assert {one.project for one in openstack.requests()} == {member.project}


def test_a_listing_comes_in_pages_of_25(member: Glance) -> None:
    for number in range(27):
        member.create(f"image {number}").raise_for_status()
    first = member.call("GET", "images", params={"owner": member.project}).json()
    assert len(first["images"]) == 25
    assert "next" in first
    second = member.call("GET", first["next"].removeprefix("/v2/")).json()
    assert len(second["images"]) == 2
    whole = member.call("GET", "images", params={"owner": member.project, "limit": "1000"}).json()
    assert len(whole["images"]) == 27
    assert "next" not in whole


def test_glance_hashes_what_it_stores(member: Glance) -> None:
    image = member.call("GET", f"images/{member.made()}").json()
    assert (image["os_hash_algo"], image["os_hash_value"]) == ("sha512", hashlib.sha512(DATA).hexdigest())
    assert (image["status"], image["size"]) == ("active", len(DATA))


def test_raw_data_declared_qcow2_is_refused(member: Glance) -> None:
    image = member.create(disk_format="qcow2").json()["id"]
    assert member.put(image, DATA).status_code == 415


def test_a_raw_disk_whose_boot_sector_has_no_partitions_is_refused(member: Glance) -> None:
    image = member.create().json()["id"]
    assert member.put(image, bytes(510) + b"\x55\xaa" + bytes(4096 - 512)).status_code == 415
    assert member.call("GET", f"images/{image}").json()["status"] == "queued"


def test_properties_of_the_create_call_are_read_back(member: Glance) -> None:
    image = member.create(vmkeeper_owner="vmkeeper:here", hw_disk_bus="virtio", min_disk=5).json()
    assert (image["vmkeeper_owner"], image["hw_disk_bus"], image["min_disk"], image["status"]) == ("vmkeeper:here", "virtio", 5, "queued")


def test_without_keystone_everybody_is_an_administrator(openstack_server: Callable[[str], OpenStack]) -> None:
    url = openstack_server("noauth").url("glance")
    made = httpx.post(f"{url}/v2/images", json={"name": "an image", "visibility": "public"}, timeout=60, trust_env=False)
    assert (made.status_code, made.json()["visibility"]) == (201, "public")


def test_a_second_region_has_images_of_its_own(openstack_regions: Tenants) -> None:
    here, north = Glance(openstack_regions, "member"), Glance(openstack_regions, "member", "north")
    here.made("here")
    north.made("there")
    assert (here.names(), north.names()) == ({"here"}, {"there"})
    shown = {"X-Auth-Token": here.token, "X-Subject-Token": here.token}
    catalogue = httpx.get(f"{openstack_regions.url}/auth/tokens", headers=shown, timeout=60, trust_env=False).json()["token"]["catalog"]
    found = {one["region_id"]: one["url"] for service in catalogue if service["type"] == "image" for one in service["endpoints"]}
    assert found == {"RegionOne": openstack_regions.glance, "North": openstack_regions.server.url("north")}


# -- servers


@pytest.mark.filterwarnings("ignore")  # of openstacksdk about itself
def test_a_server_becomes_active_with_an_address(openstack_compute: Tenants) -> None:
    from openstack.config import OpenStackConfig
    from openstack.connection import Connection

    logins = OpenStackConfig(config_files=[str(openstack_compute.clouds_yaml)], load_envvars=False)
    admins, members = logins.get_one("admin"), logins.get_one("member")
    with Connection(config=admins) as admin, Connection(config=members) as member:
        image = Glance(openstack_compute, "member").made("to boot")
        network = member.network.create_network(name="inside")
        member.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.20.0.0/24")
        flavor = admin.compute.create_flavor(name=openstack_compute.project, ram=64, vcpus=1, disk=1)
        server = member.compute.create_server(name="worker", image_id=image, flavor_id=flavor.id, networks=[{"uuid": network.id}])
        server = member.compute.wait_for_server(server, wait=240)
        assert server.status == "ACTIVE"
        assert server.addresses["inside"][0]["addr"].startswith("10.20.0.")
        assert [found.image.id for found in member.compute.servers()] == [image]
        member.compute.delete_server(server)
        member.compute.wait_for_delete(server, wait=240)
        assert list(member.compute.servers()) == []
