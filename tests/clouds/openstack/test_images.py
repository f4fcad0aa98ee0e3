"""Images at a real Glance: what is written on them, how little is asked, what is deleted and taken over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clouds.openstack.hands import PUBLIC, SPEC, By, Connected, one
from conformance.setting import THEN, by_id, ours, spec_of
from support.openstack import DISK, Tenants
from vmkeeper.clouds.interface import ImageSpec, InUse, NotOurs
from vmkeeper.clouds.openstack import images
from vmkeeper.clouds.openstack.glance import Glance
from vmkeeper.errors import Transient
from vmkeeper.model.platform import Audience
from vmkeeper.values import Version

# -- what is written


def test_the_words_of_glance_and_nova_are_on_the_image(connected: Connected, hands: By, file: Path) -> None:
    image = hands("member").show(connected(protected=True, properties={"hw_qemu_guest_agent": "yes"}).upload(SPEC, file).id)
    expected = {
        "name": "debian-12",
        "disk_format": "raw",
        "min_disk": 1,
        "min_ram": 512,
        "os_type": "linux",
        "os_distro": "debian",
        "os_version": "12",
        "architecture": "x86_64",
        "hw_qemu_guest_agent": "yes",
        "title": "Debian 12",
        "protected": True,
        "visibility": "private",
        "os_hidden": False,
        "vmkeeper_version": "2026.11.1",
        "vmkeeper_sha512": SPEC.sha512,
        "os_hash_value": SPEC.sha512,
        "vmkeeper_expires": "2027-05-01T00:00:00Z",
        "vmkeeper_list": SPEC.list,
    }
    assert expected.items() <= image.items()
    assert not {"vmkeeper_stage", "vmkeeper_uploader"} & set(image)


def test_the_mark_and_the_spec_are_in_the_call_that_creates(connected: Connected, hands: By, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(_self: Glance, id_: str, _data: Any) -> None:
        raise KeyboardInterrupt(id_)

    monkeypatch.setattr(Glance, "put", killed)
    cloud = connected("admin")
    with pytest.raises(KeyboardInterrupt) as at:
        cloud.upload(PUBLIC.model_copy(update={"alias": "debian"}), file)
    image = hands("admin").show(str(at.value))
    assert (image["status"], image["name"], image["os_hidden"], image["visibility"]) == ("queued", "debian-12", True, "private")
    left = one(cloud)
    assert (left.state, left.spec) == ("incomplete", PUBLIC.model_copy(update={"alias": "debian"}))


def test_a_hidden_image_serves_nobody(connected: Connected, hands: By, file: Path) -> None:
    cloud, member = connected(), hands("member")
    id_ = cloud.upload(SPEC, file).id
    cloud.update(id_, SPEC, THEN)
    image = member.show(id_)
    assert (image["os_hidden"], image["status"]) == (True, "deactivated")
    assert member.api.get(f"/images/{id_}/file").status_code == 403
    cloud.update(id_, SPEC, None)
    image = member.show(id_)
    assert (image["os_hidden"], image["status"]) == (False, "active")


# -- how little is asked


def test_a_listing_is_two_requests_however_many_images_there_are(connected: Connected, hands: By, file: Path, asked: list[str], owner: str) -> None:
    cloud = connected()
    cloud.upload(SPEC, file)
    for number in range(12):
        hands("member").api.post("/images", json={"name": f"{owner} {number}", "disk_format": "raw", "container_format": "bare"})
    asked.clear()
    assert len(cloud.images()) > 12
    assert len(asked) == 2
    assert asked[0].startswith("GET /v2/images?limit=1000")
    assert "os_hidden=true" in asked[1]


def test_a_listing_comes_page_by_page(connected: Connected, hands: By, file: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmkeeper.clouds.openstack.glance.PAGE", 2)
    cloud = connected()
    planted = {hands("member").plant(f"page {number}") for number in range(5)}
    asked.clear()
    assert planted <= set(by_id(cloud))
    assert len(asked) >= 4


def test_an_update_is_one_patch_however_much_changes(connected: Connected, file: Path, asked: list[str]) -> None:
    cloud = connected()
    id_ = cloud.upload(SPEC, file).id
    for said, since in (
        (SPEC.model_copy(update={"name": "x", "alias": "y", "properties": {f"p{n}": "1" for n in range(20)}}), None),
        (SPEC, THEN),
        (SPEC, None),
    ):
        asked.clear()
        cloud.update(id_, said, since)
        assert [call.split()[0] for call in asked].count("PATCH") == 1
        assert len(asked) <= 3
    asked.clear()
    cloud.update(id_, SPEC, None)
    assert asked == [f"GET /v2/images/{id_}"]


def test_an_upload_asks_nothing_more_than_it_needs(connected: Connected, file: Path, asked: list[str]) -> None:
    cloud = connected()
    cloud.images()
    asked.clear()
    cloud.upload(SPEC, file)
    assert [call.split("?")[0].split()[0] for call in asked] == ["GET", "GET", "GET", "POST", "PUT", "GET", "PATCH"]


def test_members_are_looked_up_for_shared_images_alone(connected: Connected, tenants: Tenants, file: Path, asked: list[str]) -> None:
    cloud = connected()
    shared = SPEC.model_copy(update={"audience": Audience(visibility="shared", projects=(tenants.ids[tenants.second],))})
    id_ = cloud.upload(shared, file).id
    asked.clear()
    cloud.images()
    assert [call for call in asked if "members" in call] == [f"GET /v2/images/{id_}/members"]


# -- deleting, adopting


def test_a_protected_image_of_ours_is_deleted(connected: Connected, file: Path) -> None:
    cloud = connected(protected=True)
    cloud.delete(cloud.upload(SPEC, file).id)
    assert ours(cloud) == {}


def test_an_image_that_the_store_says_is_used_stays(connected: Connected, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vmkeeper.clouds.openstack.session import Answer

    cloud = connected()
    id_ = cloud.upload(SPEC, file).id
    monkeypatch.setattr(Glance, "delete", lambda *_: Answer(409, {}, "Image is in use."))
    with pytest.raises(InUse, match=r"Image is in use\."):
        cloud.delete(id_)


def test_where_servers_cannot_be_looked_for_images_are_listed_and_none_is_deleted(
    connected: Connected, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> dict[str, str]:
        raise Transient("could not look for servers that use an image")

    cloud = connected()
    id_ = cloud.upload(SPEC, file).id
    cloud.update(id_, SPEC, THEN)
    monkeypatch.setattr(images.Usage, "of", away)
    assert one(cloud).state == "hidden"
    with pytest.raises(Transient, match="look for servers"):
        cloud.delete(id_)
    assert one(cloud).id == id_


def test_adopting_writes_nothing_but_our_mark(connected: Connected, hands: By) -> None:
    member = hands("member")
    planted = member.plant("their name", {"appdb_id": "7", "tags": ["atrope"], "vmkeeper_owner": "vmkeeper:copied", "vmkeeper_written": "appdb_id"})
    before = member.show(planted)
    cloud = connected()
    assert by_id(cloud)[planted].attributes.items() >= {"appdb_id": "7", "tags": "atrope", "owner": member.project}.items()
    cloud.adopt(planted, SPEC)
    after = member.show(planted)
    assert {k: v for k, v in after.items() if not k.startswith("vmkeeper_") and k != "updated_at"} == {
        k: v for k, v in before.items() if not k.startswith("vmkeeper_") and k != "updated_at"
    }
    found = one(cloud)
    assert (found.state, found.spec, found.name) == ("active", SPEC, "their name")
    assert "name is their name, not debian-12" in found.drift
    cloud.update(planted, SPEC, None)
    assert one(cloud).drift == ()
    assert member.show(planted)["appdb_id"] == "7"


def test_an_image_that_has_no_bytes_yet_is_not_adopted(connected: Connected, hands: By) -> None:
    id_ = hands("member").api.post("/images", json={"name": "x", "disk_format": "raw", "container_format": "bare"}).json()["id"]
    with pytest.raises(NotOurs, match="queued"):
        connected().adopt(id_, SPEC)


def test_many_versions_live_beside_each_other(connected: Connected, tmp_path: Path) -> None:
    cloud = connected()
    specs: list[ImageSpec] = []
    for number in range(3):
        data = DISK[:-1] + bytes([number])
        (tmp_path / "one.raw").write_bytes(data)
        specs.append(spec_of(data, version=f"2026.11.{number}", alias="debian" if number == 2 else None))
        cloud.upload(specs[-1], tmp_path / "one.raw")
    assert {image.spec.version for image in ours(cloud).values() if image.spec} == {Version(f"2026.11.{n}") for n in range(3)}
