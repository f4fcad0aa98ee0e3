"""A site whose cloud is a real Keystone and Glance: what whole runs do there, request by request."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.foreign import Organisation, Subscriber, approved
from support.openstack import Tenants
from support.producer import Authority
from support.webserver import WebServer
from vmkeeper.execute.home import SiteHome
from vmkeeper.execute.site import Reconciled, reconcile
from vmkeeper.execute.walk import Done


class OpenStackSite(Subscriber):
    """A site of one foreign list, with the logins of some tenants in its own folder."""

    def __init__(self, folder: Path, server: WebServer, tenants: Tenants) -> None:
        super().__init__(folder, server)
        self.tenants = tenants
        authority = Authority("Foreign Authority")
        self.published = Organisation(server, authority, common_name="Publisher")
        self.trusts(authority)
        clouds = self.home.folder / "clouds.yaml"
        clouds.write_bytes(tenants.clouds_yaml.read_bytes())
        clouds.chmod(0o600)

    def publishes(self, name: str, version: str = "1.0") -> None:
        self.published.offer(name, version)
        self.published.publish()

    def is_at(self, **platform: Any) -> None:
        self.takes(self.published.entry(), platform={"type": "openstack", "cloud": "member", **platform}, approve=approved("science-*"))

    def run(self, **_: Any) -> Reconciled:
        return reconcile(self.producer.repo.repository, SiteHome(self.home.folder), "here", lambda: self.now)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[WebServer]:
    with WebServer(tmp_path / "www") as server:
        yield server


def did(run: Reconciled) -> list[str]:
    assert all(isinstance(one, Done) for one in run.outcomes), run.outcomes
    return sorted(f"{one.action.kind} {one.action.subject}" for one in run.outcomes)


def asked(tenants: Tenants, service: str = "glance") -> list[str]:
    """Requests of a service so far; what was asked for where it is a listing."""
    return [f"{one.method} {one.path}" for one in tenants.requests(service)]


def test_a_run_that_finds_nothing_to_do_lists_and_writes_nothing(openstack: Tenants, web: WebServer, tmp_path: Path) -> None:
    site = OpenStackSite(tmp_path, web, openstack)
    for number in range(3):
        site.publishes(f"image {number}")
    site.is_at()
    assert did(site.run()) == [f"register science-image-{number} 1.0" for number in range(3)]
    before = len(asked(openstack))
    assert did(site.run()) == []
    assert asked(openstack)[before:] == ["GET /v2/images"] * 2


def test_a_newer_version_takes_the_name_over_and_the_old_one_gives_no_bytes(openstack: Tenants, web: WebServer, tmp_path: Path) -> None:
    site = OpenStackSite(tmp_path, web, openstack)
    site.publishes("debian 12")
    site.is_at()
    site.run()
    site.publishes("debian 12", "2.0")
    assert did(site.run()) == ["hide science-debian-12 1.0", "register science-debian-12 2.0"]
    (place,) = site.run().view.places.values()
    shown = {str(image.spec.version): (image.name, image.state) for image in place.ours if image.spec}
    assert shown == {"1.0": ("science-debian-12-1.0", "hidden"), "2.0": ("science-debian-12", "active")}
    assert place.images == place.ours


def test_each_region_and_project_gets_every_image(openstack_regions: Tenants, web: WebServer, tmp_path: Path) -> None:
    tenants = openstack_regions
    site = OpenStackSite(tmp_path, web, tenants)
    site.publishes("debian 12")
    site.is_at(
        places=[
            {"name": "home", "project": tenants.project},
            {"name": "second", "project": tenants.second},
            {"name": "north", "project": tenants.project, "region": "North"},
        ]
    )
    assert did(site.run()) == [f"register science-debian-12 1.0 @{place}" for place in ("home", "north", "second")]
    written = len([one for service in ("glance", "north") for one in tenants.requests(service) if one.method != "GET"])
    run = site.run()
    assert did(run) == []
    assert {name: [image.owner for image in place.ours] for name, place in run.view.places.items()} == {
        name: [f"vmkeeper:here/{name}"] for name in ("home", "second", "north")
    }
    assert len([one for service in ("glance", "north") for one in tenants.requests(service) if one.method != "GET"]) == written
    posted = {(service, one.project) for service in ("glance", "north") for one in tenants.requests(service) if one.method == "POST"}
    assert posted >= {("glance", tenants.ids[tenants.project]), ("glance", tenants.ids[tenants.second]), ("north", tenants.ids[tenants.project])}
