"""A real Keystone and Glance, and a Nova with them, pass the suite that all clouds pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clouds.openstack.hands import Hands, furnished
from conformance.cloud import CloudConformance, Setting
from support.openstack import DISK, Tenants, tenants_of
from vmkeeper.clouds.openstack.cloud import OpenStackCloud
from vmkeeper.clouds.openstack.session import Access
from vmkeeper.model.platform import OpenStackPlatform

if TYPE_CHECKING:
    from servers.openstack.server import OpenStack


def setting_of(tenants: Tenants, tmp_path: Path, entry: str, *, cannot_start: str = "") -> Setting:
    hands = Hands(tenants, entry)

    def connect(owner: str) -> OpenStackCloud:
        access = Access(OpenStackPlatform(type="openstack", cloud=entry, network=None), tenants.folder)
        return OpenStackCloud(access, owner=owner, folder=tmp_path / "locks")

    return Setting(
        connect=connect,
        plant=hands.plant,
        folder=tmp_path / "files",
        disk=DISK,
        cannot_start=cannot_start,
        meddle=lambda id_: hands.change(id_, name="meddled", min_ram=77, vmkeeper_family="other"),
        spoil=lambda id_: hands.change(id_, vmkeeper_spec="{"),
        bearers=hands.named,
        visibilities=("private", "shared", "community", *(("public",) if entry == "admin" else ())),
        projects=(tenants.ids[tenants.second], tenants.ids[tenants.stranger]),
    )


def emptied(tenants: Tenants, entry: str) -> None:
    """Nothing of the account's project is left from the test before."""
    hands = Hands(tenants, entry)
    for hidden in ("false", "true"):
        for image in hands.api.get("/images", params={"os_hidden": hidden, "owner": hands.project, "limit": 1000}).json()["images"]:
            assert hands.api.delete(f"/images/{image['id']}").status_code == 204


class TestImages(CloudConformance):
    @pytest.fixture
    def setting(self, openstack_of_class: Tenants, tmp_path: Path) -> Setting:
        emptied(openstack_of_class, "member")
        return setting_of(openstack_of_class, tmp_path, "member", cannot_start="this OpenStack has no Nova: see TestMachines")


@pytest.fixture(scope="module")
def with_servers(openstack_server: Callable[[str], OpenStack], tmp_path_factory: pytest.TempPathFactory) -> Tenants:
    """Projects and users at a cloud that has Nova and Neutron."""
    return furnished(tenants_of(openstack_server("compute"), tmp_path_factory.mktemp("openstack")))


class TestMachines(CloudConformance):
    """With an application credential, at a cloud with servers."""

    @pytest.fixture
    def setting(self, with_servers: Tenants, tmp_path: Path) -> Setting:
        emptied(with_servers, "appcred")
        return setting_of(with_servers, tmp_path, "appcred")
