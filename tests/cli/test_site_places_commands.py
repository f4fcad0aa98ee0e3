"""Commands at a site with several places, and taking over what another tool made, as typed. The places are clouds in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.producer import Producer, uuid
from support.typed import TypedAtSite
from support.webserver import WebServer
from vmkeeper.clouds import owner_of
from vmkeeper.clouds.memory import MemoryCloud, World
from vmkeeper.errors import Transient
from vmkeeper.execute import observe, service

PLATFORM = {"type": "openstack", "cloud": "ours", "places": [{"name": "east"}, {"name": "west"}]}
INIT = ("site", "init", "here", "--allow-host", "127.0.0.1", "--yes", "--ca")


class Places(TypedAtSite):
    """Types commands at a site with two places."""

    worlds: dict[str, World]
    down: set[str]

    def clouds(self) -> dict[str, MemoryCloud]:
        return {name: MemoryCloud(owner_of("here", name), world, self._fault(name)) for name, world in self.worlds.items()}

    def _fault(self, name: str):
        def fault(method: str, moment: str) -> None:
            if name in self.down:
                raise Transient("the region is down")

        return fault


@pytest.fixture
def vmkeeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Places]:
    with WebServer(tmp_path / "www") as server:
        producer = Producer(tmp_path / "www", server.url, tmp_path)
        producer.all("debian-12", "2026.11.1")
        producer.site(platform=PLATFORM)
        made = Places(producer, tmp_path / "home", monkeypatch, capsys)
        made.worlds, made.down = {"east": World(), "west": World()}, set()
        for module in (observe, service):
            monkeypatch.setattr(module, "connect_clouds", lambda platform, account: made.clouds())
        assert made(*INIT, made.ca) == 0
        yield made


def test_both_places_are_brought_up_to_date_and_shown(vmkeeper: Places) -> None:
    assert vmkeeper("site", "plan", "here") == 0
    assert "register  debian-12 2026.11.1 @east" in vmkeeper.out
    assert vmkeeper("reconcile", "here") == 0
    assert "done     register debian-12 2026.11.1 @west" in vmkeeper.out
    assert vmkeeper("reconcile", "here") == 0
    assert vmkeeper.out == "Nothing to do: the site has 2 usable images, as it should.\n"
    assert vmkeeper("status", "here") == 0
    assert "image debian-12 2026.11.1 @east (raw" in vmkeeper.out
    assert "called debian-12" in vmkeeper.out
    assert vmkeeper("status", "here", "--output", "json") == 0
    assert [image["place"] for image in json.loads(vmkeeper.out)["images"]] == ["east", "west"]
    assert vmkeeper("why", "debian-12", "--site", "here") == 0
    assert "debian-12 2026.11.1 may run at here. It is active there." in vmkeeper.out
    assert vmkeeper("log", "--site", "here") == 0
    assert "by here @west" in vmkeeper.out


def test_a_place_that_is_down_is_said_and_the_status_is_1(vmkeeper: Places) -> None:
    vmkeeper("reconcile", "here")
    vmkeeper.down = {"east"}
    for words in (("site", "plan", "here"), ("reconcile", "here")):
        assert vmkeeper(*words) == 1
        assert "note     place east: it cannot be listed, so nothing is done there: the region is down" in vmkeeper.out
    assert vmkeeper("status", "here") == 1
    assert "@west" in vmkeeper.out
    assert "place east: the region is down" in vmkeeper.err
    assert vmkeeper("why", "debian-12", "--site", "here") == 0
    assert "may run at here. It is active at west." in vmkeeper.out


def test_why_tells_places_apart_where_the_site_decided_otherwise(vmkeeper: Places) -> None:
    vmkeeper("reconcile", "here")
    vmkeeper.producer.site(platform=PLATFORM, block=[{"appliance": "debian-12", "places": ["east"], "reason": "its network is slow"}])
    assert vmkeeper(*INIT, vmkeeper.ca) == 0
    vmkeeper("reconcile", "here")
    assert vmkeeper("why", "debian-12", "--site", "here") == 0
    assert "debian-12 2026.11.1 may not run at here (east). It is hidden at east." in vmkeeper.out.replace(
        "It is hidden there.", "It is hidden at east."
    )
    assert "its network is slow" in vmkeeper.out
    assert "debian-12 2026.11.1 may run at here (west)." in vmkeeper.out


def test_what_cloudkeeper_made_is_shown_taken_over_and_kept_going(vmkeeper: Places) -> None:
    data = (vmkeeper.producer.folder / "main/images/debian-12-2026.11.1.raw").read_bytes()
    marks = {"CLOUDKEEPER_APPLIANCE_ID": uuid("debian-12"), "CLOUDKEEPER_APPLIANCE_VERSION": "2026.11.1"}
    planted = vmkeeper.worlds["east"].plant("Debian 12", marks, data)
    older = vmkeeper.worlds["east"].plant("Debian 11", {**marks, "CLOUDKEEPER_APPLIANCE_VERSION": "2025.1"}, b"old")
    assert vmkeeper("site", "plan", "here", "--adopt") == 0
    assert "adopt     debian-12 2026.11.1 @east" in vmkeeper.out
    assert "its bytes are the ones that were signed for" in vmkeeper.out
    assert f"note     image {older} (Debian 11) @east: made by cloudkeeper; no list of the site offers its version 2025.1 now" in vmkeeper.out
    assert "register" not in vmkeeper.out
    assert vmkeeper("reconcile", "here", "--adopt") == 0
    assert "done     adopt debian-12 2026.11.1 @east: ours from now on" in vmkeeper.out
    assert vmkeeper.worlds["west"].images == {}
    assert vmkeeper.worlds["east"].images[planted].name == "Debian 12"
    assert vmkeeper("reconcile", "here", "--adopt") == 0
    assert "Nothing to take over." in vmkeeper.out
    assert vmkeeper("reconcile", "here") == 0
    assert "update debian-12 2026.11.1 @east" in vmkeeper.out
    assert "register debian-12 2026.11.1 @west" in vmkeeper.out
    assert set(vmkeeper.worlds["east"].images) == {planted, older}
    assert vmkeeper("reconcile", "here") == 0
    assert "Nothing to do" in vmkeeper.out


def test_names_and_audience_follow_the_sites_file(vmkeeper: Places) -> None:
    names = {"image": "{{ appliance | upper }} {{ version }}", "alias": "{{ appliance }}{% if list == 'main' %} (main){% endif %}"}
    rule = {"appliances": ["debian-*"], "audience": {"visibility": "community"}}
    vmkeeper.producer.site(platform=PLATFORM, names=names, audience=[rule])
    assert vmkeeper(*INIT, vmkeeper.ca) == 0
    assert vmkeeper("reconcile", "here") == 0
    for world in vmkeeper.worlds.values():
        (image,) = world.images.values()
        assert image.spec is not None
        assert (image.spec.name, image.spec.alias, image.spec.audience.visibility) == ("DEBIAN-12 2026.11.1", "debian-12 (main)", "community")
    assert vmkeeper("reconcile", "here") == 0
    assert "Nothing to do" in vmkeeper.out


def test_a_template_that_does_not_end_costs_the_name_and_nothing_else(vmkeeper: Places) -> None:
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}x"
    vmkeeper.producer.site(platform=PLATFORM, names={"image": endless, "alias": "{{ nothing.of.this }}"})
    assert vmkeeper(*INIT, vmkeeper.ca) == 0
    assert vmkeeper("reconcile", "here") == 0
    assert "it is called debian-12-2026.11.1, for the template" in vmkeeper.out
    assert "it is called debian-12, for the template" in vmkeeper.out
