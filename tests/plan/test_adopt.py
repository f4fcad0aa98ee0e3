"""Taking over what nifty, cloudkeeper, atrope and openstack-image-manager made, by marks as these tools write them."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from support.sitescenario import NOW, OWNER, Downloads, content, site, spec, standings, subscribed, uuid_of
from vmkeeper.clouds.interface import CloudImage
from vmkeeper.clouds.memory import MemoryCloud, World
from vmkeeper.execute.site import performer
from vmkeeper.execute.walk import Done, walk
from vmkeeper.plan.adopt import Conversion, plan_adoption
from vmkeeper.plan.imageactions import AdoptImage
from vmkeeper.plan.othermarks import OtherMark, read_mark
from vmkeeper.plan.site import SitePlan, plan_site
from vmkeeper.values import Size

UUID, LIST = uuid_of("debian-12"), uuid_of("main")
MPURI = f"https://appdb.example.org/store/vo/image/{UUID}:484/"
BYTES = content("debian-12", "2")
SHA512 = hashlib.sha512(BYTES).hexdigest()
OFFERS = [{"name": "main", "offers": [{"offer": "debian-12 2", "properties": {"ad:mpuri": MPURI, "title": "Debian"}}, "docker 1"]}]
SAID = {"debian-12 2": "allowed", "docker 1": "allowed"}

NIFTY = {"NIFTY_APPLIANCE_ID": UUID, "VMCATCHER_EVENT_HV_VERSION": "2", "VMCATCHER_EVENT_DC_IDENTIFIER": UUID, "VMCATCHER_EVENT_AD_MPURI": MPURI}
CLOUDKEEPER_ONE = {
    "CLOUDKEEPER_ID": "cloudkeeper-one",
    "CLOUDKEEPER_APPLIANCE_ID": UUID,
    "CLOUDKEEPER_APPLIANCE_TITLE": "Debian",
    "CLOUDKEEPER_APPLIANCE_MPURI": MPURI,
    "CLOUDKEEPER_APPLIANCE_VERSION": "2",
    "CLOUDKEEPER_APPLIANCE_EXPIRATION_DATE": "1999999999",
    "CLOUDKEEPER_APPLIANCE_IMAGE_LIST_ID": LIST,
    "CLOUDKEEPER_IMAGE_CHECKSUM": SHA512,
    "CLOUDKEEPER_IMAGE_FORMAT": "QCOW2",
}
CLOUDKEEPER_OS_1 = {
    "APPLIANCE_ID": UUID,
    "APPLIANCE_IMAGE_LIST_ID": LIST,
    "APPLIANCE_VERSION": "2",
    "APPLIANCE_TITLE": "Debian",
    "APPLIANCE_VO": "vo.example.org",
    "vmcatcher_event_ad_mpuri": MPURI,
}
CLOUDKEEPER_OS_2 = {
    "CLOUDKEEPER_title": "Debian",
    "CLOUDKEEPER_mpuri": MPURI,
    "CLOUDKEEPER_version": "2",
    "CLOUDKEEPER_image_list_identifier": LIST,
    "CLOUDKEEPER_vo": "vo.example.org",
}
ATROPE = {
    "tags": "atrope",
    "appdb_id": UUID,
    "sha512": SHA512,
    "image_list": "vo.example.org",
    "vmcatcher_event_ad_mpuri": MPURI,
    "os_distro": "debian",
    "architecture": "x86_64",
}
EGI_ATROPE = {**ATROPE, "image_hash": "1f2e", "APPLIANCE_ATTRIBUTES": json.dumps({"dc:identifier": UUID, "hv:version": "2", "ad:appid": 7})}
OSISM = {"tags": "managed_by_osism,os:debian", "internal_version": "20261101", "image_source": "https://x.example.org/d.qcow2", "os_distro": "debian"}
TOOLS = {
    "nifty": ("nifty", NIFTY),
    "cloudkeeper-one": ("cloudkeeper", CLOUDKEEPER_ONE),
    "cloudkeeper-os 1": ("cloudkeeper", CLOUDKEEPER_OS_1),
    "cloudkeeper-os 2": ("cloudkeeper", CLOUDKEEPER_OS_2),
    "atrope": ("atrope", ATROPE),
    "atrope of EGI": ("atrope", EGI_ATROPE),
    "openstack-image-manager": ("openstack-image-manager", OSISM),
}


def adoption(cloud: World, *, fields: dict[str, Any] | None = None, lists: Any = None, said: Any = None, **more: Any) -> SitePlan:
    found = [subscribed(item) for item in (lists or OFFERS)]
    images = MemoryCloud(OWNER, cloud).images()
    return plan_adoption(site(fields or {}), found, standings(said or SAID), images, owner=OWNER, now=NOW, head="abc", **more)


def ordinary(cloud: World, now: Any = NOW) -> SitePlan:
    found = [subscribed(item) for item in OFFERS]
    return plan_site(site({"names": {"alias": "{{ appliance }}"}}), found, standings(SAID), MemoryCloud(OWNER, cloud).images(), owner=OWNER, now=now)


def filled(attributes: dict[str, str], data: bytes | None = BYTES, name: str = "Debian") -> World:
    made = World()
    made.plant(name, attributes, data)
    return made


def carry_out(made: SitePlan, cloud: World, folder: Path) -> None:
    outcomes = walk(made.plan, performer(MemoryCloud(OWNER, cloud), Downloads(folder), lambda: NOW))
    assert all(isinstance(outcome, Done) for outcome in outcomes), outcomes


def why(made: SitePlan) -> str:
    assert made.plan.actions == ()
    return " | ".join(note.why for note in made.notes)


@pytest.mark.parametrize("which", TOOLS)
def test_an_image_of_each_tool_is_taken_over_and_ordinary_runs_go_on(which: str, tmp_path: Path) -> None:
    tool, attributes = TOOLS[which]
    cloud = filled(attributes)
    cloud.plant("Debian", {"os_distro": "debian"}, BYTES)
    cloud.plant("Debian", {}, None)
    before = dict(cloud.images)
    made = adoption(cloud)
    (action,) = made.plan.actions
    assert isinstance(action, AdoptImage)
    assert (action.id, action.spec.adopted, action.spec.key) == ("adopt:debian-12 2", tool, f"{UUID}/2/{SHA512}")
    assert f"made by {tool} as Debian" in action.reason
    assert "the ones that were signed for" in action.reason
    assert made.notes == ()
    carry_out(made, cloud, tmp_path)
    (mine,) = (image for image in MemoryCloud(OWNER, cloud).images() if image.owner == OWNER)
    assert (mine.name, mine.state) == ("Debian", "active")
    assert {key: image for key, image in cloud.images.items() if key != mine.id} == {key: image for key, image in before.items() if key != mine.id}
    assert adoption(cloud).plan.actions == ()

    following = ordinary(cloud)
    assert {one.id for one in following.plan.actions} == {"update:debian-12 2", "register:docker 1"}
    carry_out(following, cloud, tmp_path)
    assert ordinary(cloud).plan.actions == ()
    (mine,) = (image for image in MemoryCloud(OWNER, cloud).images() if image.id == mine.id)
    assert mine.spec is not None
    assert (mine.name, mine.spec.alias, mine.spec.adopted, mine.drift) == ("debian-12-2", "debian-12", tool, ())


@pytest.mark.parametrize("which", [name for name in TOOLS if name != "openstack-image-manager"])
def test_where_the_cloud_does_not_know_the_bytes_the_mark_is_all_there_is_and_that_is_said(which: str, tmp_path: Path) -> None:
    cloud = filled(TOOLS[which][1], None)
    made = adoption(cloud)
    (action,) = made.plan.actions
    assert "its bytes are taken on the mark's word" in action.reason
    carry_out(made, cloud, tmp_path)
    assert [image.owner for image in cloud.images.values()] == [OWNER]


def test_without_version_and_bytes_nothing_says_which_it_is() -> None:
    assert "nothing says which version it is" in why(adoption(filled({"NIFTY_APPLIANCE_ID": UUID}, None)))
    assert "no list of the site offers these bytes" in why(adoption(filled(OSISM, None)))
    assert len(adoption(filled({"NIFTY_APPLIANCE_ID": UUID})).plan.actions) == 1, "the bytes say it"


@pytest.mark.parametrize("which", TOOLS)
def test_bytes_that_the_cloud_knows_to_be_others_are_left(which: str) -> None:
    assert "it is left" in why(adoption(filled(TOOLS[which][1], BYTES + b"!")))


def test_what_was_converted_here_is_recognised() -> None:
    signed = content("debian-12", "2", "ova")
    lists = [{"name": "main", "offers": [{"offer": "debian-12 2", "kind": "ova"}]}]
    made = Conversion("qcow2", Size(7), Size(4096), hashlib.sha512(b"convert").hexdigest())

    def converted(sha512: str) -> tuple[Conversion, ...]:
        return (made,) if sha512 == hashlib.sha512(signed).hexdigest() else ()

    cloud = filled(CLOUDKEEPER_OS_1, b"convert")
    (action,) = adoption(cloud, lists=lists, converted=converted).plan.actions
    assert isinstance(action, AdoptImage)
    assert (action.spec.format, action.spec.sha512, action.spec.size) == ("qcow2", made.sha512, 7)
    assert action.spec.source is not None
    assert action.spec.source.sha512 == hashlib.sha512(signed).hexdigest()
    assert "what ova was converted to here" in action.reason
    assert "its bytes are others (the tool may have converted it)" in why(adoption(cloud, lists=lists))


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({**CLOUDKEEPER_ONE, "CLOUDKEEPER_APPLIANCE_VERSION": "1"}, "offers its version 1 now"),
        ({**CLOUDKEEPER_ONE, "CLOUDKEEPER_APPLIANCE_ID": uuid_of("gone")}, "offers the image"),
        ({**CLOUDKEEPER_ONE, "CLOUDKEEPER_APPLIANCE_IMAGE_LIST_ID": uuid_of("elsewhere")}, "offers the image"),
        ({**CLOUDKEEPER_ONE, "CLOUDKEEPER_IMAGE_CHECKSUM": "0" * 128}, "the list offers other bytes than it was made of"),
        ({**ATROPE, "sha512": "0" * 128}, "the list offers other bytes than it was made of"),
        ({**CLOUDKEEPER_OS_2, "CLOUDKEEPER_mpuri": "https://appdb.example.org/other"}, "offers the image https://appdb.example.org/other"),
    ],
)
def test_what_is_not_offered_any_more_is_told_and_left(attributes: dict[str, str], reason: str) -> None:
    said = why(adoption(filled(attributes)))
    assert reason in said
    assert "it is left" in said


@pytest.mark.parametrize("ground", ["unapproved", "unendorsed", "withdrawn", "blocked"])
def test_what_may_not_run_is_told_and_left(ground: str) -> None:
    said = {**SAID, "debian-12 2": {ground: "because of this"}}
    assert "it is debian-12 2, which may not run here (because of this); it is left" in why(adoption(filled(ATROPE), said=said))


def test_an_expired_offer_or_list_is_not_taken_over() -> None:
    past = (NOW - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert "it expired" in why(adoption(filled(ATROPE), lists=[{"name": "main", "offers": [{"offer": "debian-12 2", "expires": past}]}]))
    assert "no list of the site offers" in why(adoption(filled(ATROPE), lists=[{"name": "main", "expires": past, "offers": ["debian-12 2"]}]))
    assert "no list of the site offers" in why(adoption(filled(ATROPE), lists=[{"name": "main", "unusable": "down"}]))


@pytest.mark.parametrize(("name", "more"), [("EXPIRED_Debian", {}), ("Debian", {"CLOUDKEEPER_EXPIRED": "yes"})])
def test_what_cloudkeeper_had_expired_is_left(name: str, more: dict[str, str]) -> None:
    assert "it had expired there already" in why(adoption(filled({**CLOUDKEEPER_ONE, **more}, name=name)))


def test_of_the_same_image_twice_one_is_taken_over_and_none_that_the_site_has() -> None:
    cloud = filled(ATROPE)
    cloud.plant("again", CLOUDKEEPER_OS_1, BYTES)
    made = adoption(cloud)
    assert [action.subject for action in made.plan.actions] == ["debian-12 2"]
    assert "the site has already" in made.notes[0].why
    cloud.images["ours"] = CloudImage(id="ours", name="debian-12-2", owner=OWNER, spec=spec("debian-12 2"))
    assert "the site has already" in why(adoption(cloud))


def test_marks_of_our_kind_are_never_taken_over() -> None:
    for owner in (OWNER, "vmkeeper:elsewhere", "vmkeeper:here/east"):
        cloud = filled(ATROPE)
        key, image = next(iter(cloud.images.items()))
        cloud.images[key] = CloudImage(id=key, name=image.name, owner=owner, spec=None, attributes=ATROPE)
        assert adoption(cloud).plan.actions == ()


def test_an_incomplete_image_is_left() -> None:
    image = CloudImage(id="1", name="Debian", state="incomplete", attributes=ATROPE)
    made = plan_adoption(site({}), [subscribed(item) for item in OFFERS], standings(SAID), [image], owner=OWNER, now=NOW)
    assert "it is not complete" in why(made)


def test_case_of_names_does_not_matter_and_nonsense_is_as_if_it_were_not_said() -> None:
    image = CloudImage(id="1", name="x", attributes={"cloudkeeper_appliance_id": UUID.upper(), "Cloudkeeper_Appliance_Version": " 2 "})
    assert read_mark(image) == OtherMark("cloudkeeper", uuid=UUID, version="2")
    odd = {"appdb_id": "'; drop", "sha512": "zz", "APPLIANCE_ATTRIBUTES": "[" * 100_000, "tags": "atrope"}
    assert read_mark(CloudImage(id="1", name="x", attributes=odd)) == OtherMark("atrope")
    for text in ('["a"]', '{"hv:version": 3}', "{", "null"):
        assert read_mark(CloudImage(id="1", name="x", attributes={"appdb_id": UUID, "APPLIANCE_ATTRIBUTES": text})) == OtherMark("atrope", uuid=UUID)


@pytest.mark.parametrize(
    "attributes", [{}, {"os_distro": "debian"}, {"image_source": "x"}, {"APPLIANCE_ID": "3"}, {"tags": "mine"}, {"sha512": SHA512}]
)
def test_images_of_nobody_that_is_known_are_passed_over(attributes: dict[str, str]) -> None:
    made = adoption(filled(attributes))
    assert (made.plan.actions, made.notes) == ((), ())
