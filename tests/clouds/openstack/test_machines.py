"""Servers at a real Nova (with a driver that only pretends), and the choices that are made for them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from clouds.openstack.hands import furnished
from clouds.openstack.talker import Talker
from conformance.setting import machine_of, spec_of
from support.openstack import DISK, Tenants, tenants_of
from vmkeeper.clouds.interface import CloudImage, CloudMachine, MachineSpec, NotOurs
from vmkeeper.clouds.openstack.cloud import OpenStackCloud
from vmkeeper.clouds.openstack.flavours import fitting
from vmkeeper.clouds.openstack.network import address_of
from vmkeeper.clouds.openstack.session import Access
from vmkeeper.errors import Transient, UserError
from vmkeeper.model.platform import OpenStackPlatform
from vmkeeper.values import Size

if TYPE_CHECKING:
    from servers.openstack.server import OpenStack

SIZES = {"none": (1, 128, 0), "tiny": (1, 128, 1), "small": (1, 1024, 10), "wide": (4, 1024, 10), "large": (4, 8192, 80)}
"""Name of a flavour → CPUs, MiB, GiB."""


@pytest.fixture
def compute(tmp_path: Path) -> Iterator[Talker]:
    one = Talker()
    flavours = [{"id": f"id-{name}", "name": name, "vcpus": c, "ram": m, "disk": d} for name, (c, m, d) in SIZES.items()]
    one.answers = [(200, "application/json", json.dumps({"flavors": flavours}))]
    entry = {"auth_type": "none", "auth": {"endpoint": "http://127.0.0.1:9"}, "compute_endpoint_override": one.url, "region_name": "R"}
    (tmp_path / "clouds.yaml").write_text(json.dumps({"clouds": {"x": entry}}))
    yield one
    one.close()


def chosen(tmp_path: Path, min_disk: int = 0, min_ram: int = 0, **said: Any) -> str:
    access = Access(OpenStackPlatform(type="openstack", cloud="x"), tmp_path)
    wanted = machine_of(CloudImage("i", "i")).model_copy(update={"memory": Size.parse("128MiB"), **said})
    return fitting(access.service("compute"), wanted, min_disk, min_ram)


@pytest.mark.parametrize(
    ("said", "flavour"),
    [
        ({}, "tiny"),
        ({"memory": Size.parse("129MiB")}, "small"),
        ({"cpus": 2}, "wide"),
        ({"disk": Size.parse("11GiB")}, "large"),
        ({"min_disk": 2}, "small"),
        ({"min_ram": 2048}, "large"),
        ({"flavour": "large"}, "large"),
        ({"flavour": "id-none"}, "none"),
    ],
)
def test_the_smallest_flavour_that_fits_or_the_one_that_is_named(compute: Talker, tmp_path: Path, said: dict[str, Any], flavour: str) -> None:
    assert chosen(tmp_path, **said) == f"id-{flavour}"


def test_where_only_flavours_without_a_disk_fit_one_of_those_is_taken(compute: Talker, tmp_path: Path) -> None:
    compute.answers = [(200, "application/json", json.dumps({"flavors": [{"id": "n", "name": "n", "vcpus": 1, "ram": 512, "disk": 0}]}))]
    assert chosen(tmp_path, min_disk=5) == "n"


@pytest.mark.parametrize(("said", "message"), [({"cpus": 64}, "no flavour of the cloud is large enough"), ({"flavour": "huge"}, "no flavour huge")])
def test_a_flavour_that_is_not_there_is_told(compute: Talker, tmp_path: Path, said: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        chosen(tmp_path, **said)


@pytest.mark.parametrize("body", ["{}", '{"flavors": [{}]}', '{"flavors": [{"id": "1", "name": "n", "vcpus": "1", "ram": 1, "disk": 1}]}'])
def test_flavours_that_make_no_sense_are_no_flavours(compute: Talker, tmp_path: Path, body: str) -> None:
    compute.answers = [(200, "application/json", body)]
    with pytest.raises(Transient):
        chosen(tmp_path)


def at(addr: str, version: int = 4, kind: str | None = None) -> dict[str, Any]:
    return {"addr": addr, "version": version, **({"OS-EXT-IPS:type": kind} if kind else {})}


@pytest.mark.parametrize(
    ("addresses", "own", "outside"),
    [
        ({}, "", ""),
        (None, "", ""),
        ({"net": []}, "", ""),
        ({"net": [at("10.0.0.2")]}, "10.0.0.2", "10.0.0.2"),
        ({"net": [at("fd00::2", 6, "fixed"), at("10.0.0.2", 4, "fixed")]}, "10.0.0.2", "10.0.0.2"),
        ({"net": [at("10.0.0.2", 4, "fixed"), at("192.0.2.7", 4, "floating")]}, "10.0.0.2", "192.0.2.7"),
        ({"net": [at("fd00::2", 6, "fixed")]}, "fd00::2", "fd00::2"),
    ],
)
def test_where_a_server_is_and_where_it_is_reached(addresses: Any, own: str, outside: str) -> None:
    server = {"addresses": addresses}
    assert (address_of(server), address_of(server, outside=True)) == (own, outside)


# -- at a real Nova


@pytest.fixture(scope="module")
def nova(openstack_server: Callable[[str], OpenStack], tmp_path_factory: pytest.TempPathFactory) -> Tenants:
    return furnished(tenants_of(openstack_server("compute"), tmp_path_factory.mktemp("compute")))


@pytest.fixture
def cloud(nova: Tenants, tmp_path: Path) -> Iterator[OpenStackCloud]:
    made = cloud_of(nova, tmp_path)
    yield made
    for machine in made.machines():
        if machine.owner == made.owner:
            made.stop(machine.id)


def cloud_of(nova: Tenants, tmp_path: Path, **platform: Any) -> OpenStackCloud:
    access = Access(OpenStackPlatform(type="openstack", cloud="member", **platform), nova.folder)
    return OpenStackCloud(access, owner=f"vmkeeper:{uuid4().hex[:8]}", folder=tmp_path / "locks")


@pytest.fixture
def wanted(cloud: OpenStackCloud, tmp_path: Path) -> MachineSpec:
    file = tmp_path / "disk"
    file.write_bytes(DISK)
    spec = machine_of(cloud.upload(spec_of(DISK), file))
    return spec.model_copy(update={"name": f"m-{uuid4().hex[:8]}", "user_data": "#cloud-config\n# grüße\n", "ports": (22, 8443)})


def groups(nova: Tenants, owner: str) -> list[dict[str, Any]]:
    api = Access(OpenStackPlatform(type="openstack", cloud="member"), nova.folder).adapter("network")
    return [one for one in api.get("/security-groups").json()["security_groups"] if one["description"] == owner]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.3)


def test_a_server_is_what_was_asked_for(cloud: OpenStackCloud, wanted: MachineSpec, nova: Tenants) -> None:
    started = cloud.start(wanted)
    (found,) = (machine for machine in cloud.machines() if machine.id == started.id)
    assert (found.owner, found.image, found.generation, found.state) == (cloud.owner, wanted.image, wanted.generation, "running")
    assert isinstance(found, CloudMachine)
    assert found.address.startswith("10.20.0.")
    assert found.ports == {port: (found.address, port) for port in (22, 8443)}
    (group,) = groups(nova, cloud.owner)
    opened = {(rule["ethertype"], rule["port_range_min"]) for rule in group["security_group_rules"] if rule["direction"] == "ingress"}
    assert opened == {(ip, port) for ip in ("IPv4", "IPv6") for port in (22, 8443)}
    assert isinstance(cloud.console(started.id), str)
    cloud.stop(started.id)
    assert groups(nova, cloud.owner) == []


def test_a_server_of_somebody_with_the_same_name_is_left_alone(cloud: OpenStackCloud, wanted: MachineSpec, nova: Tenants, tmp_path: Path) -> None:
    started = cloud.start(wanted)
    api = Access(OpenStackPlatform(type="openstack", cloud="member"), nova.folder).adapter("compute")
    assert api.delete(f"/servers/{started.id}/metadata/vmkeeper_owner").status_code == 204
    try:
        with pytest.raises(NotOurs):
            cloud.start(wanted)
        with pytest.raises(NotOurs):
            cloud.stop(started.id)
        assert [machine.owner for machine in cloud.machines() if machine.id == started.id] == [None]
    finally:
        assert api.delete(f"/servers/{started.id}").status_code == 204


def test_a_server_that_had_stopped_starts_again(cloud: OpenStackCloud, wanted: MachineSpec, nova: Tenants) -> None:
    started = cloud.start(wanted)
    api = Access(OpenStackPlatform(type="openstack", cloud="member"), nova.folder).adapter("compute")
    assert api.post(f"/servers/{started.id}/action", json={"os-stop": None}).status_code == 202
    until(lambda: {machine.id: machine.state for machine in cloud.machines()}[started.id] == "stopped")
    assert cloud.start(wanted).id == started.id
    until(lambda: cloud.start(wanted).state == "running")


def test_a_network_that_is_not_there_is_told(cloud: OpenStackCloud, wanted: MachineSpec, nova: Tenants, tmp_path: Path) -> None:
    other = cloud_of(nova, tmp_path, network="nowhere")
    other._machines._owner = other.owner = cloud.owner
    with pytest.raises(UserError, match="no network nowhere"):
        other.start(wanted)
