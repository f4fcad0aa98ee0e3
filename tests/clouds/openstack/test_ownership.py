"""Whose images they are at a real Glance, who may do what, and whom they are shared with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clouds.openstack.hands import PUBLIC, SPEC, By, Connected, one
from conformance.setting import THEN, by_id, ours
from support.openstack import Tenants
from vmkeeper.clouds.interface import NotOurs
from vmkeeper.clouds.openstack.glance import Glance
from vmkeeper.clouds.openstack.properties import marks_for
from vmkeeper.errors import UserError
from vmkeeper.model.platform import Audience

# -- whose images they are


@pytest.mark.parametrize("visibility", ["public", "community", "shared"])
def test_an_image_of_another_project_is_not_ours_whatever_is_written_on_it(
    connected: Connected, hands: By, tenants: Tenants, owner: str, file: Path, visibility: str
) -> None:
    stranger, cloud = hands("admin" if visibility == "public" else "stranger"), connected()
    planted = stranger.plant("debian-12")
    stranger.change(planted, visibility=visibility, **marks_for(planted, owner, SPEC))
    if visibility == "shared":
        stranger.api.post(f"/images/{planted}/members", json={"member": tenants.ids[tenants.project]})
        hands("member").api.put(f"/images/{planted}/members/{tenants.ids[tenants.project]}", json={"status": "accepted"})
    before = stranger.show(planted)
    assert ours(cloud) == {}
    if visibility != "community":  # Glance lists no others' community images
        seen = by_id(cloud)[planted]
        assert (seen.owner, seen.spec, seen.attributes) == (None, None, {})
    for attempt in (
        lambda: cloud.update(planted, SPEC, THEN),
        lambda: cloud.delete(planted),
        lambda: cloud.adopt(planted, SPEC),
    ):
        with pytest.raises(NotOurs):
            attempt()
    assert cloud.upload(SPEC, file).id != planted
    assert stranger.show(planted) == before
    stranger.api.delete(f"/images/{planted}")


def test_a_snapshot_that_inherited_our_mark_is_not_ours(connected: Connected, hands: By, file: Path) -> None:
    cloud, member = connected(), hands("member")
    id_ = cloud.upload(SPEC, file).id
    inherited = {name: text for name, text in member.show(id_).items() if name.startswith("vmkeeper_")}
    snapshot = member.plant("my machine", {**inherited, "vmkeeper_spec": inherited["vmkeeper_spec"][:255], "image_type": "snapshot"})
    assert list(ours(cloud)) == [id_]
    cloud.delete(id_)
    assert cloud.upload(SPEC, file).id != snapshot
    with pytest.raises(NotOurs):
        cloud.delete(snapshot)
    assert member.show(snapshot)["name"] == "my machine"


def test_an_administrators_listing_holds_others_private_images_and_none_of_them_is_ours(
    connected: Connected, hands: By, owner: str, file: Path
) -> None:
    planted = hands("stranger").plant("private")
    hands("stranger").change(planted, **marks_for(planted, owner, SPEC))
    cloud = connected("admin")
    image = cloud.upload(SPEC, file)
    assert planted in by_id(cloud)
    assert list(ours(cloud)) == [image.id]


def test_two_places_of_a_site_keep_their_own_images(connected: Connected, tenants: Tenants, owner: str, file: Path, tmp_path: Path) -> None:
    from vmkeeper.clouds import Account
    from vmkeeper.clouds.openstack.cloud import places
    from vmkeeper.model.platform import OpenStackPlatform

    said = {
        "type": "openstack",
        "cloud": "member",
        "places": [{"name": "here"}, {"name": "there", "project": tenants.second}, {"name": "id", "project": tenants.ids[tenants.second]}],
    }
    account = Account(site=owner.partition(":")[2], home=tenants.folder, folder=tmp_path / "cloud", login=lambda _: ("", ""))
    here, there, same = places(OpenStackPlatform.model_validate(said), account).values()
    shared = SPEC.model_copy(update={"audience": Audience(visibility="shared", projects=(tenants.ids[tenants.second],))})
    ids = {cloud.upload(shared if cloud is here else SPEC, file).id for cloud in (here, there, same)}
    assert len(ids) == 3
    for cloud in (here, there, same):
        assert one(cloud).id in ids
        assert one(cloud).owner == cloud.owner


# -- rights and credentials


def test_a_member_may_not_publish_and_is_told_which_right_is_missing(connected: Connected, hands: By, file: Path, asked: list[str]) -> None:
    cloud = connected()
    with pytest.raises(UserError, match="public") as refusal:
        cloud.upload(PUBLIC, file)
    assert "publicize_image" in str(refusal.value)
    assert not [call for call in asked if call.startswith("PUT")], "no bytes went"
    assert ours(cloud) == {}
    image = cloud.upload(SPEC, file)
    with pytest.raises(UserError, match="publicize_image"):
        cloud.update(image.id, PUBLIC, None)
    assert one(cloud).spec == SPEC


def test_an_administrator_publishes(connected: Connected, hands: By, file: Path) -> None:
    cloud = connected("admin")
    image = cloud.upload(PUBLIC, file)
    assert hands("stranger").sees(image.id)
    cloud.update(image.id, PUBLIC, THEN)
    assert hands("stranger").api.get(f"/images/{image.id}/file").status_code in (403, 404)
    cloud.delete(image.id)


def test_a_reader_is_told_that_it_may_not_create(connected: Connected, file: Path) -> None:
    with pytest.raises(UserError, match="may not create images"):
        connected("reader").upload(SPEC, file)


def test_where_the_account_may_not_deactivate_a_hidden_image_is_private(
    connected: Connected, hands: By, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Glance, "deactivate", lambda *_: False)
    cloud = connected("admin")
    image = cloud.upload(PUBLIC, file)
    cloud.update(image.id, PUBLIC, THEN)
    assert (one(cloud).state, one(cloud).drift) == ("hidden", ())
    assert not hands("stranger").sees(image.id)
    cloud.update(image.id, PUBLIC, None)
    assert (one(cloud).state, one(cloud).drift) == ("active", ())
    assert hands("stranger").sees(image.id)
    cloud.delete(image.id)


def test_wrong_credentials_are_told_without_them(connected: Connected, tenants: Tenants, tmp_path: Path) -> None:
    said = json.loads(tenants.clouds_yaml.read_text())
    said["clouds"]["member"]["auth"]["password"] = "a wrong secret"
    (tmp_path / "clouds.yaml").write_text(json.dumps(said))
    with pytest.raises(UserError, match="does not take the credentials") as refusal:
        connected(home=tmp_path).images()
    assert "wrong secret" not in f"{refusal.value} {refusal.value.hint}"


def test_a_login_that_is_for_no_project_has_no_images(connected: Connected, tenants: Tenants, tmp_path: Path) -> None:
    said = json.loads(tenants.clouds_yaml.read_text())
    for name in ("project_name", "project_domain_id"):
        said["clouds"]["admin"]["auth"].pop(name, None)
    said["clouds"]["admin"]["auth"]["system_scope"] = "all"
    (tmp_path / "clouds.yaml").write_text(json.dumps(said))
    with pytest.raises(UserError, match="for no project"):
        connected("admin", home=tmp_path).images()


def test_an_application_credential_is_for_its_own_project_alone(tenants: Tenants, tmp_path: Path, owner: str) -> None:
    from vmkeeper.clouds.openstack.session import Access
    from vmkeeper.model.platform import OpenStackPlatform

    platform = OpenStackPlatform(type="openstack", cloud="appcred")
    for project in (tenants.project, tenants.ids[tenants.project]):
        assert Access(platform, tenants.folder, project=project).project == tenants.ids[tenants.project]
    with pytest.raises(UserError, match="cannot be used for this project") as refusal:
        _ = Access(platform, tenants.folder, project=tenants.second).project
    assert tenants.project in str(refusal.value)


def test_a_region_that_is_not_there_is_told(tenants: Tenants) -> None:
    from vmkeeper.clouds.openstack.session import Access
    from vmkeeper.model.platform import OpenStackPlatform

    access = Access(OpenStackPlatform(type="openstack", cloud="member"), tenants.folder, region="Elsewhere")
    with pytest.raises(UserError, match="could not find the image service"):
        Glance(access).listing()


# -- whom they are shared with


def test_a_shared_image_is_accepted_where_the_account_may(connected: Connected, tenants: Tenants, hands: By, file: Path) -> None:
    second, stranger = tenants.ids[tenants.second], tenants.ids[tenants.stranger]
    shared = SPEC.model_copy(update={"audience": Audience(visibility="shared", projects=(second, stranger))})
    image = connected(accept=True).upload(shared, file)
    assert image.drift == ()
    members = {one["member_id"]: one["status"] for one in hands("member").api.get(f"/images/{image.id}/members").json()["members"]}
    assert members == {second: "accepted", stranger: "pending"}


def test_an_administrator_accepts_for_everybody(connected: Connected, tenants: Tenants, hands: By, file: Path) -> None:
    stranger = tenants.ids[tenants.stranger]
    shared = SPEC.model_copy(update={"audience": Audience(visibility="shared", projects=(stranger,))})
    image = connected("admin", accept=True).upload(shared, file)
    assert image.id in by_id(connected("stranger"))
    connected("admin").delete(image.id)


def test_a_project_that_somebody_took_away_is_told_and_shared_with_again(connected: Connected, tenants: Tenants, hands: By, file: Path) -> None:
    second = tenants.ids[tenants.second]
    shared = SPEC.model_copy(update={"audience": Audience(visibility="shared", projects=(second,))})
    cloud = connected()
    id_ = cloud.upload(shared, file).id
    hands("member").api.delete(f"/images/{id_}/members/{second}")
    hands("member").api.post(f"/images/{id_}/members", json={"member": "another"})
    assert one(cloud).drift == (f"it is not shared with {second}", "it is shared with another")
    cloud.update(id_, shared, None)
    assert one(cloud).drift == ()
