"""What is particular about images at an OpenNebula: whose they are, what they are called and allow, and what it costs to look."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from conformance.setting import DISK, LATER, THEN, machine_of, ours, spec_of
from support.onesite import QUICK, account_for, bearers, clouds, datastore, owned_by, plant, platform_for, pool, templates, tidy
from support.opennebula import Setting, standing_in
from vmkeeper.clouds.interface import Cloud, CloudImage, Gone, ImageSpec, InUse, NoRoom, NotOurs
from vmkeeper.clouds.opennebula.cloud import places
from vmkeeper.errors import Transient, UserError
from vmkeeper.model.platform import Audience, OpenNebulaPlace, RegisteredSource

OWNER = "vmkeeper:here"
NASTY = 'x"\nPERSISTENT="YES"\nPATH=/etc/passwd ]]> <![CDATA[ </TEMPLATE><A>&lt; $USER[NAME] \\" \x01\x07 \U0001f600 é \r\n\t {{ 7*7 }} {% raw %}'


@pytest.fixture(scope="module", params=["6.10.0.1", "7.4.0"])
def server(request: pytest.FixtureRequest) -> Iterator[Setting]:
    with standing_in(request.param) as setting:
        yield setting


@pytest.fixture
def one(server: Setting) -> Iterator[Setting]:
    with tidy(server):
        yield server
        assert server.standin is not None
        server.standin.truth()


@pytest.fixture
def cloud(one: Setting, tmp_path: Path) -> Cloud:
    return owned_by(one, tmp_path, OWNER)


@pytest.fixture
def spec() -> ImageSpec:
    return spec_of(DISK, name="debian-12-2026.11.1")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "disk.raw").write_bytes(DISK)
    return tmp_path / "disk.raw"


def info(one: Setting, image: CloudImage | str) -> ElementTree.Element:
    return one.xml("one.image.info", int(image if isinstance(image, str) else image.id))


def mode(thing: ElementTree.Element) -> str:
    bits = [int(bit.text or "") for bit in thing.find("PERMISSIONS") or ()]
    return "".join(str(bits[at] * 4 + bits[at + 1] * 2 + bits[at + 2]) for at in (0, 3, 6))


def attributes(thing: ElementTree.Element) -> dict[str, str]:
    return {one.tag: one.text or "" for one in thing.find("TEMPLATE") or ()}


def calls(one: Setting) -> list[str]:
    assert one.standin is not None
    return [name.removeprefix("one.") for name in one.standin.calls()]


class TestWhatItCosts:
    def test_looking_is_one_listing_and_one_more_where_there_are_aliases(self, one: Setting, cloud: Cloud, spec: ImageSpec, file: Path) -> None:
        assert one.standin is not None
        image = cloud.upload(spec, file)
        one.standin.forget_calls()
        cloud.images()
        assert calls(one) == ["imagepool.info"]
        cloud.update(image.id, spec.model_copy(update={"alias": "debian-12"}), None)
        one.standin.forget_calls()
        cloud.images()
        assert calls(one) == ["imagepool.info", "templatepool.info"]

    def test_an_update_that_changes_nothing_writes_nothing(self, one: Setting, cloud: Cloud, spec: ImageSpec, file: Path) -> None:
        assert one.standin is not None
        for said in (spec, spec.model_copy(update={"alias": "debian-12"})):
            image = cloud.upload(said, file)
            one.standin.forget_calls()
            cloud.update(image.id, said, None)
            assert {name for name in calls(one) if not name.endswith(".info")} == set()

    def test_however_much_is_said_otherwise_it_is_one_write(self, one: Setting, cloud: Cloud, spec: ImageSpec, file: Path) -> None:
        assert one.standin is not None
        image = cloud.upload(spec, file)
        one.standin.forget_calls()
        more = {"expires": LATER, "properties": {"os_distro": "debian", "ad:mpuri": "https://example.org/1", "title": "Debian"}}
        cloud.update(image.id, spec.model_copy(update=more), None)
        assert calls(one) == ["image.info", "image.update"]

    def test_a_switch_of_an_alias_is_one_write_to_the_template(self, one: Setting, cloud: Cloud, spec: ImageSpec, file: Path, tmp_path: Path) -> None:
        assert one.standin is not None
        cloud.upload(spec.model_copy(update={"alias": "debian-12"}), file)
        (number,) = templates(one)
        (tmp_path / "new.raw").write_bytes(DISK[:-1] + b"2")
        one.standin.forget_calls()
        new = cloud.upload(spec_of(DISK[:-1] + b"2", version="2026.11.2", alias="debian-12"), tmp_path / "new.raw")
        assert [name for name in calls(one) if name.startswith("template.")] == ["template.update"]
        assert list(templates(one)) == [number]
        assert bearers(one, "debian-12") == {new.id}


class TestWhose:
    def test_somebody_who_copies_our_attributes_does_not_make_his_image_ours(
        self, one: Setting, cloud: Cloud, spec: ImageSpec, file: Path, tmp_path: Path
    ) -> None:
        said = spec.model_copy(update={"alias": "debian-12"})
        image = cloud.upload(said, file)
        copied = {key: text for key, text in attributes(info(one, image)).items() if key not in ("SHA1", "DEV_PREFIX")}
        fake = plant(one, "debian-12-2026.11.1", copied, user="alice")
        one.call("one.image.chmod", int(fake), *([1] * 9))
        before = ElementTree.tostring(info(one, fake))
        found = {one_.id: one_ for one_ in cloud.images()}[fake]
        assert (found.owner, found.spec, found.attributes) == (None, None, {})
        for attempt in (lambda: cloud.update(fake, said, THEN), lambda: cloud.delete(fake), lambda: cloud.adopt(fake, said)):
            with pytest.raises(NotOurs):
                attempt()
        cloud.delete(image.id)
        assert cloud.upload(said, file).id not in (fake, image.id)
        assert ElementTree.tostring(info(one, fake)) == before

    def test_somebody_elses_template_of_our_name_and_mark_is_left_alone(self, one: Setting, cloud: Cloud, spec: ImageSpec, file: Path) -> None:
        mark = "<VMKEEPER_OWNER>vmkeeper:here</VMKEEPER_OWNER><VMKEEPER_ALIAS>debian-12</VMKEEPER_ALIAS>"
        made = one.call("one.template.allocate", f"<TEMPLATE><NAME>debian-12</NAME><CPU>1</CPU>{mark}</TEMPLATE>", user="alice")
        plain = one.call("one.template.allocate", "<TEMPLATE><NAME>debian-12</NAME><CPU>1</CPU></TEMPLATE>")
        image = cloud.upload(spec.model_copy(update={"alias": "debian-12"}), file)
        (new,) = [number for number in templates(one) if number not in (made, plain)]
        assert templates(one)[new].findtext("NAME", "").startswith("debian-12 (")
        assert ours(cloud)[image.id].drift == ()
        cloud.delete(image.id)
        assert set(templates(one)) == {made, plain}

    def test_an_ordinary_user_may_be_the_account(self, one: Setting, tmp_path: Path, spec: ImageSpec, file: Path) -> None:
        mine = clouds(one, tmp_path, platform_for(one), "here", user="alice")[""]
        image = mine.upload(spec.model_copy(update={"alias": "debian-12", "audience": Audience(visibility="public")}), file)
        assert (info(one, image).findtext("UNAME"), mode(info(one, image))) == ("alice", "644")
        assert ours(mine)[image.id].drift == ()
        assert ours(owned_by(one, tmp_path, OWNER)) == {}, "the administrator's account did not make it"
        mine.delete(image.id)

    def test_images_are_given_to_whom_the_site_says_and_stay_ours(self, one: Setting, tmp_path: Path, spec: ImageSpec, file: Path) -> None:
        plant(one, spec.name, user="alice")
        cloud = clouds(one, tmp_path, platform_for(one, owner="alice", group="devs", permissions="640"), "here")[""]
        said = spec.model_copy(update={"alias": "debian-12"})
        image = cloud.upload(said, file)
        assert image.name == "debian-12-2026.11.1 (2026.11.1)", "alice has one of the plain name"
        for thing in (info(one, image), *templates(one).values()):
            assert (thing.findtext("UNAME"), thing.findtext("GNAME"), mode(thing)) == ("alice", "devs", "640")
        assert ours(cloud)[image.id].drift == ()
        one.call("one.image.chown", int(image.id), 0, 0)
        assert [word.split(",")[0] for word in ours(cloud)[image.id].drift] == ["its owner is oneadmin", "its group is oneadmin"]
        assert cloud.upload(said, file).id == image.id
        assert ours(cloud)[image.id].drift == ()
        cloud.update(image.id, said, THEN)
        cloud.delete(image.id)
        assert templates(one) == {}

    def test_an_owner_that_there_is_not_is_told(self, one: Setting, tmp_path: Path, spec: ImageSpec, file: Path) -> None:
        cloud = clouds(one, tmp_path, platform_for(one, owner="nobody"), "here")[""]
        with pytest.raises(UserError, match="no such user"):
            cloud.upload(spec, file)
        assert pool(one, "one.imagepool.info") == {}

    def test_another_users_image_cannot_be_taken_over_before_it_is_given(self, one: Setting, cloud: Cloud, spec: ImageSpec) -> None:
        theirs = plant(one, "theirs", {"NIFTY_APPLIANCE_ID": "1"}, user="alice")
        with pytest.raises(NotOurs, match="alice"):
            cloud.adopt(theirs, spec)
        one.call("one.image.chown", int(theirs), 0, -1)
        cloud.adopt(theirs, spec)
        assert ours(cloud)[theirs].spec == spec

    def test_taking_over_leaves_the_attributes_of_others_and_how_the_disk_is_attached(self, one: Setting, cloud: Cloud, spec: ImageSpec) -> None:
        before = {"NIFTY_APPLIANCE_ID": "1", "NIFTY_APPLIANCE_VERSION": "7", "DEV_PREFIX": "hd", "SITE": "x"}
        theirs = plant(one, "theirs", before)
        said = spec.model_copy(update={"adopted": "nifty", "properties": {"hw_disk_bus": "virtio"}})
        cloud.adopt(theirs, said)
        assert attributes(info(one, theirs)).items() >= before.items()
        cloud.update(theirs, said, None)
        after = attributes(info(one, theirs))
        assert (after["DEV_PREFIX"], after["SITE"], after["NIFTY_APPLIANCE_VERSION"], after["NIFTY_APPLIANCE_ID"]) == (
            "hd",
            "x",
            "2026.11.1",
            spec.uuid,
        )
        assert ours(cloud)[theirs].drift == ()


class TestWhoMayUseIt:
    @pytest.mark.parametrize(("visibility", "expected"), [("private", "600"), ("community", "644"), ("public", "644")])
    def test_permissions_follow_the_audience(self, one: Setting, cloud: Cloud, spec: ImageSpec, file: Path, visibility: Any, expected: str) -> None:
        image = cloud.upload(spec.model_copy(update={"alias": "debian-12", "audience": Audience(visibility=visibility)}), file)
        assert [mode(info(one, image)), *map(mode, templates(one).values())] == [expected] * 2

    def test_sharing_gives_an_image_to_a_group(self, one: Setting, cloud: Cloud, spec: ImageSpec, file: Path) -> None:
        for group in ("devs", "100", "users"):
            said = spec.model_copy(update={"alias": "debian-12", "audience": Audience(visibility="shared", projects=(group,))})
            image = cloud.upload(said, file)
            found = info(one, image)
            assert (mode(found), found.findtext("GNAME")) == ("640", "users" if group == "users" else "devs")
            assert ours(cloud)[image.id].drift == ()

    def test_an_image_cannot_be_shared_with_two_groups(self, one: Setting, cloud: Cloud, spec: ImageSpec, file: Path) -> None:
        with pytest.raises(UserError, match="belongs to one group"):
            cloud.upload(spec.model_copy(update={"audience": Audience(visibility="shared", projects=("devs", "users"))}), file)
        assert pool(one, "one.imagepool.info") == {}

    def test_a_hidden_image_is_for_nobody_and_shown_again_for_all(self, one: Setting, cloud: Cloud, spec: ImageSpec, file: Path) -> None:
        said = spec.model_copy(update={"audience": Audience(visibility="public")})
        image = cloud.upload(said, file)
        cloud.update(image.id, said, THEN)
        found = info(one, image)
        assert (found.findtext("STATE"), found.findtext("NAME"), mode(found)) == ("3", "debian-12-2026.11.1 (retired)", "600")
        assert ours(cloud)[image.id].drift == ()
        cloud.update(image.id, said, None)
        found = info(one, image)
        assert (found.findtext("STATE"), found.findtext("NAME"), mode(found)) == ("1", "debian-12-2026.11.1", "644")

    def test_nobody_but_the_owner_may_use_an_image_before_it_is_verified(self, tmp_path: Path, spec: ImageSpec, file: Path) -> None:
        with standing_in("6.10.0.1", "--delay", "0.6") as one:
            assert one.standin is not None
            one.call("one.user.update", 0, "<TEMPLATE><UMASK>022</UMASK></TEMPLATE>", 1)
            cloud = owned_by(one, tmp_path, OWNER)
            with ThreadPoolExecutor(1) as workers:
                upload = workers.submit(cloud.upload, spec.model_copy(update={"audience": Audience(visibility="public")}), file)
                seen: list[tuple[str, str, str]] = []
                while not upload.done():
                    there = pool(one, "one.imagepool.info").values()
                    seen += [(found.findtext("STATE", ""), mode(found), str("VMKEEPER_UNFINISHED" in attributes(found))) for found in there]
                image = upload.result()
            assert mode(info(one, image)) == "644"
            waiting = [one_ for one_ in seen if one_[0] == "4"]
            assert waiting
            assert {unverified for *_, unverified in waiting} == {"True"}
            assert waiting[-1][1] == "600"
            listed = [image_.state for image_ in owned_by(one, tmp_path, OWNER).images()]
            assert listed == ["active"]


class TestNames:
    def test_a_name_that_is_taken_gets_the_version_then_a_digest(
        self, one: Setting, cloud: Cloud, tmp_path: Path, spec: ImageSpec, file: Path
    ) -> None:
        plant(one, spec.name)
        assert cloud.upload(spec, file).name == "debian-12-2026.11.1 (2026.11.1)"
        (tmp_path / "two.raw").write_bytes(DISK[:-1] + b"2")
        third = cloud.upload(spec_of(DISK[:-1] + b"2", name=spec.name), tmp_path / "two.raw")
        assert third.name.startswith("debian-12-2026.11.1 (")
        assert third.name != "debian-12-2026.11.1 (2026.11.1)"
        assert [image.drift for image in ours(cloud).values()] == [(), ()]

    def test_the_longest_name_has_room_for_what_is_added(self, one: Setting, cloud: Cloud, spec: ImageSpec, file: Path) -> None:
        said = spec.model_copy(update={"name": "n" * 127})
        plant(one, "n" * 127)
        image = cloud.upload(said, file)
        cloud.update(image.id, said, THEN)
        name = info(one, image).findtext("NAME", "")
        assert (len(name), name[-9:]) == (128, "(retired)")
        assert ours(cloud)[image.id].drift == ()

    def test_several_places_each_have_an_image_and_an_alias_of_their_own(self, one: Setting, tmp_path: Path, spec: ImageSpec, file: Path) -> None:
        both = clouds(one, tmp_path, platform_for(one, "path", "ssd", "hdd"), "here")
        assert list(both) == ["ssd", "hdd"]
        assert [cloud.owner for cloud in both.values()] == ["vmkeeper:here/ssd", "vmkeeper:here/hdd"]
        said = spec.model_copy(update={"alias": "debian-12"})
        made = {place: cloud.upload(said, file) for place, cloud in both.items()}
        assert {place: image.name for place, image in made.items()} == {
            "ssd": "debian-12-2026.11.1 (ssd)",
            "hdd": "debian-12-2026.11.1 (hdd)",
        }
        assert {info(one, image).findtext("DATASTORE") for image in made.values()} == {"default", "second"}
        assert sorted(t.findtext("NAME", "") for t in templates(one).values()) == ["debian-12 (hdd)", "debian-12 (ssd)"]
        assert [[image.id for image in cloud.images()] for cloud in both.values()] == [[made["ssd"].id], [made["hdd"].id]]
        with pytest.raises(NotOurs):
            both["ssd"].delete(made["hdd"].id)


class TestInjection:
    def test_no_text_becomes_an_attribute(self, one: Setting, cloud: Cloud, spec: ImageSpec, file: Path) -> None:
        keys = ("ad:mpuri", "title", "dc:description", "sl:os", "sl:osname", "sl:osversion", "hv:ram_minimum", "ad:group", "ad:vo", "hv:version")
        mean = ("path", "source", "name", "size", "persistent", "vmkeeper_owner", "vmkeeper_unfinished", "type", "error", "context", "a.b:c", "9")
        said = spec.model_copy(update={"alias": "debian-12", "properties": dict.fromkeys((*keys, *mean), NASTY)})
        image = cloud.upload(said, file)
        assert ours(cloud)[image.id].spec == said
        found = info(one, image)
        assert found.findtext("PERSISTENT") == "0"
        assert found.findtext("PATH", "").startswith(str(one.folder))
        assert (attributes(found)["VMKEEPER_OWNER"], "VMKEEPER_UNFINISHED" in attributes(found)) == (OWNER, False)
        known = ("VMKEEPER_", "CLOUDKEEPER_", "NIFTY_", "AD_", "SL_", "HV_", "DC_")
        rest = {key for key in attributes(found) if not key.startswith(known)}
        assert rest == {"DESCRIPTION", "DEV_PREFIX", "SHA1"}
        assert attributes(found)["AD_MPURI"].startswith('x"\nPERSISTENT="YES"\nPATH=/etc/passwd ]] >')
        assert ours(cloud)[image.id].drift == ()
        (template,) = templates(one).values()
        assert set(attributes(template)) - {key for key in attributes(template) if key.startswith(known)} == {
            "CPU", "VCPU", "MEMORY", "DISK", "OS", "GRAPHICS", "CONTEXT", "DESCRIPTION",
        }  # fmt: skip
        cloud.update(image.id, said, THEN)
        assert ours(cloud)[image.id].drift == ()

    def test_what_is_in_a_sites_template_cannot_be_broken_out_of(self, one: Setting, tmp_path: Path, spec: ImageSpec, file: Path) -> None:
        vm = 'CPU: 1\nMEMORY: 64\nNOTE: {{ title }}\nDISK: {IMAGE_ID: "{{ image_id }}"}\nCONTEXT: {TOKEN: "{{ properties[\'ad:mpuri\'] }}"}\n'
        cloud = clouds(one, tmp_path, platform_for(one, templates={"vm": vm, "image": "SITE_NOTE: '{{ title }}'"}), "here")[""]
        said = spec.model_copy(update={"alias": "debian-12", "properties": {"title": NASTY, "ad:mpuri": "a\nDISK: {IMAGE_ID: 0}"}})
        image = cloud.upload(said, file)
        (template,) = templates(one).values()
        assert template.findtext("TEMPLATE/DISK/IMAGE_ID") == image.id
        assert template.findtext("TEMPLATE/CONTEXT/TOKEN") == "a\nDISK: {IMAGE_ID: 0}"
        assert attributes(info(one, image))["SITE_NOTE"].startswith('x"\nPERSISTENT')
        assert ours(cloud)[image.id].drift == ()


class TestRoom:
    def test_a_full_datastore_is_told_before_anything_is_copied(self, one: Setting, cloud: Cloud, spec: ImageSpec, file: Path) -> None:
        assert one.standin is not None
        assert one.folder is not None
        one.standin.tamper("datastore", datastore(one), free=0)
        with pytest.raises(NoRoom, match="are left"):
            cloud.upload(spec, file)
        one.standin.tamper("datastore", datastore(one), free=20480)
        assert list(one.folder.iterdir()) == []
        assert cloud.upload(spec, file).state == "active"

    @pytest.mark.parametrize("quota", [{"IMAGES": "0", "SIZE": "-2"}, {"IMAGES": "-2", "SIZE": "0"}])
    def test_a_quota_is_asked_before_anything_is_copied(
        self, one: Setting, tmp_path: Path, spec: ImageSpec, file: Path, quota: dict[str, str]
    ) -> None:
        assert one.standin is not None
        alice = int(one.xml("one.user.info", -1).findtext("ID", "0")) + 2
        said = f'DATASTORE=[ID="{datastore(one)}",IMAGES="{quota["IMAGES"]}",SIZE="{quota["SIZE"]}"]'
        one.call("one.user.quota", alice, said)
        one.standin.forget_calls()
        mine = clouds(one, tmp_path, platform_for(one), "here", user="alice")[""]
        with pytest.raises(NoRoom):
            mine.upload(spec, file)
        assert "image.allocate" not in calls(one)
        one.call("one.user.quota", alice, f'DATASTORE=[ID="{datastore(one)}",IMAGES="-2",SIZE="-2"]')
        mine.delete(mine.upload(spec, file).id)

    def test_a_datastore_that_there_is_not_is_told(self, one: Setting, tmp_path: Path, spec: ImageSpec, file: Path) -> None:
        base = platform_for(one)
        for wanted in ("nowhere", 4711):
            platform = base.model_copy(update={"places": (OpenNebulaPlace(name="x", datastore=wanted),)})
            with pytest.raises(UserError, match="no such datastore"):
                clouds(one, tmp_path, platform, "here")[""].upload(spec, file)


class TestLocks:
    @pytest.mark.parametrize("level", [1, 2, 4])
    @pytest.mark.parametrize("user", ["oneadmin", "alice"])
    def test_a_locked_image_is_listed_and_left_as_it_is(
        self, one: Setting, tmp_path: Path, spec: ImageSpec, file: Path, level: int, user: str
    ) -> None:
        cloud = clouds(one, tmp_path, platform_for(one), "here", user=user)[""]
        image = cloud.upload(spec, file)
        one.call("one.image.lock", int(image.id), level, False)
        before = ElementTree.tostring(info(one, image))
        for attempt in (lambda: cloud.update(image.id, spec, THEN), lambda: cloud.delete(image.id)):
            with pytest.raises(UserError, match="locked"):
                attempt()
        assert ElementTree.tostring(info(one, image)) == before
        assert [found.state for found in ours(cloud).values()] == ["active"]
        cloud.update(image.id, spec, None)
        one.call("one.image.unlock", int(image.id))
        cloud.update(image.id, spec, THEN)
        cloud.delete(image.id)
        assert ours(cloud) == {}

    def test_a_locked_template_keeps_the_image_from_saying_that_it_bears_the_alias(
        self, one: Setting, cloud: Cloud, spec: ImageSpec, file: Path, tmp_path: Path
    ) -> None:
        assert one.standin is not None
        cloud.upload(spec.model_copy(update={"alias": "debian-12"}), file)
        (number,) = templates(one)
        one.call("one.template.lock", number, 1, False)
        (tmp_path / "new.raw").write_bytes(DISK[:-1] + b"2")
        new = spec_of(DISK[:-1] + b"2", version="2026.11.2", alias="debian-12")
        with pytest.raises(UserError, match="template is locked"):
            cloud.upload(new, tmp_path / "new.raw")
        assert sorted(image.state for image in ours(cloud).values()) == ["active", "incomplete"]
        one.call("one.template.unlock", number)
        one.standin.forget_calls()
        cloud.upload(new, tmp_path / "new.raw")
        assert "image.allocate" not in calls(one), "what is there and verified is not sent again"
        assert sorted(image.state for image in ours(cloud).values()) == ["active", "active"]

    def test_a_locked_template_does_not_keep_an_image_from_being_hidden(self, one: Setting, cloud: Cloud, spec: ImageSpec, file: Path) -> None:
        said = spec.model_copy(update={"alias": "debian-12"})
        image = cloud.upload(said, file)
        (number,) = templates(one)
        one.call("one.template.lock", number, 1, False)
        with pytest.raises(UserError, match="template is locked"):
            cloud.update(image.id, said, THEN)
        assert (info(one, image).findtext("STATE"), mode(info(one, image))) == ("3", "600")
        assert [(found.state, bool(found.drift)) for found in ours(cloud).values()] == [("active", True)]
        one.call("one.template.unlock", number)
        cloud.update(image.id, said, THEN)
        assert [(found.state, found.drift) for found in ours(cloud).values()] == [("hidden", ())]
        assert templates(one) == {}


class TestStates:
    def test_an_image_without_bytes_is_incomplete_whatever_oned_says(self, one: Setting, cloud: Cloud, spec: ImageSpec, file: Path) -> None:
        assert one.standin is not None
        image = cloud.upload(spec, file)
        for fields in ({"state": 5}, {"state": 1, "source": ""}, {"state": 1, "source": "x", "size": 0}):
            one.standin.tamper("image", int(image.id), **fields)
            assert [found.state for found in ours(cloud).values()] == ["incomplete"], fields
            with pytest.raises(Transient):
                cloud.update(image.id, spec, None)
        assert cloud.upload(spec, file).id != image.id
        assert [found.state for found in ours(cloud).values()] == ["active"]

    def test_an_image_that_was_hidden_in_use_is_disabled_by_an_update_when_it_is_not(
        self, one: Setting, cloud: Cloud, spec: ImageSpec, file: Path
    ) -> None:
        image = cloud.upload(spec, file)
        machine = cloud.start(machine_of(image))
        cloud.update(image.id, spec, THEN)
        found = ours(cloud)[image.id]
        assert (found.state, found.in_use, found.drift, mode(info(one, image))) == ("hidden", True, (), "600")
        with pytest.raises(InUse):
            cloud.delete(image.id)
        cloud.stop(machine.id)
        assert ours(cloud)[image.id].drift == ("it is enabled",)
        cloud.update(image.id, spec, THEN)
        assert ours(cloud)[image.id].drift == ()
        assert info(one, image).findtext("STATE") == "3"

    @pytest.mark.parametrize(
        ("meddle", "word"),
        [
            (("one.image.enable", False), "it is disabled"),
            (("one.image.persistent", True), "it is persistent"),
            (("one.image.chtype", "DATABLOCK"), "its type is not OS"),
            (("one.image.rename", "other"), "its name is other"),
            (("one.image.chmod", *([1] * 9)), "its permissions are 777, not 600"),
            (("one.image.update", "<TEMPLATE><CLOUDKEEPER_APPLIANCE_ID>x</CLOUDKEEPER_APPLIANCE_ID></TEMPLATE>", 1), "its attribute CLOUDKEEPER_"),
            (("one.image.update", "<TEMPLATE><VMKEEPER_EXTRA>x</VMKEEPER_EXTRA></TEMPLATE>", 1), "its attribute VMKEEPER_EXTRA"),
        ],
    )
    def test_what_somebody_changed_is_told_and_mended(
        self, one: Setting, cloud: Cloud, spec: ImageSpec, file: Path, meddle: tuple[Any, ...], word: str
    ) -> None:
        image = cloud.upload(spec, file)
        one.call(meddle[0], int(image.id), *meddle[1:])
        (told,) = ours(cloud)[image.id].drift
        assert told.startswith(word)
        cloud.update(image.id, spec, None)
        assert ours(cloud)[image.id].drift == ()

    def test_what_others_write_on_our_image_stays(self, one: Setting, cloud: Cloud, spec: ImageSpec, file: Path) -> None:
        image = cloud.upload(spec, file)
        one.call("one.image.update", int(image.id), "<TEMPLATE><LABELS>a,b</LABELS><V><A>1</A></V></TEMPLATE>", 1)
        assert ours(cloud)[image.id].drift == ()
        cloud.update(image.id, spec.model_copy(update={"expires": LATER}), None)
        assert info(one, image).findtext("TEMPLATE/LABELS") == "a,b"
        assert info(one, image).findtext("TEMPLATE/V/A") == "1"


class TestAliases:
    def test_a_template_that_somebody_changed_renamed_or_deleted_is_told_and_mended(
        self, one: Setting, cloud: Cloud, spec: ImageSpec, file: Path
    ) -> None:
        said = spec.model_copy(update={"alias": "debian-12"})
        image = cloud.upload(said, file)
        (number,) = templates(one)
        changes: list[tuple[tuple[Any, ...], str]] = [
            (("one.template.update", number, "<TEMPLATE><START_SCRIPT>curl</START_SCRIPT></TEMPLATE>", 1), "says something else about START_SCRIPT"),
            (("one.template.update", number, "<TEMPLATE><DISK><IMAGE_ID>4711</IMAGE_ID></DISK></TEMPLATE>", 1), "points to image 4711"),
            (("one.template.rename", number, "mine"), "is called mine"),
            (("one.template.chmod", number, *([1] * 9)), "permissions are 777"),
            (("one.template.delete", number, False), "no VM template bears debian-12"),
        ]
        for change, word in changes:
            one.call(*change)
            (told,) = ours(cloud)[image.id].drift
            assert word in told
            cloud.update(image.id, said, None)
            assert ours(cloud)[image.id].drift == ()
        assert len(templates(one)) == 1

    def test_labels_that_users_put_on_a_template_stay(self, one: Setting, cloud: Cloud, spec: ImageSpec, file: Path) -> None:
        said = spec.model_copy(update={"alias": "debian-12"})
        image = cloud.upload(said, file)
        (number,) = templates(one)
        one.call("one.template.update", number, "<TEMPLATE><LABELS>a</LABELS></TEMPLATE>", 1)
        assert ours(cloud)[image.id].drift == ()
        cloud.update(image.id, said.model_copy(update={"properties": {"title": "New"}}), None)
        assert templates(one)[number].findtext("TEMPLATE/LABELS") == "a"

    def test_a_template_whose_image_is_gone_and_whose_alias_nobody_bears_is_removed(
        self, one: Setting, cloud: Cloud, spec: ImageSpec, file: Path, tmp_path: Path
    ) -> None:
        image = cloud.upload(spec.model_copy(update={"alias": "old"}), file)
        one.call("one.image.delete", int(image.id))
        (tmp_path / "new.raw").write_bytes(DISK[:-1] + b"2")
        cloud.upload(spec_of(DISK[:-1] + b"2", version="2026.11.2", alias="new"), tmp_path / "new.raw")
        assert [found.findtext("NAME") for found in templates(one).values()] == ["new"]

    def test_an_image_that_is_deleted_leaves_its_alias_to_another_that_should_bear_it(
        self, one: Setting, cloud: Cloud, spec: ImageSpec, file: Path, tmp_path: Path
    ) -> None:
        old = cloud.upload(spec.model_copy(update={"alias": "debian-12"}), file)
        (tmp_path / "new.raw").write_bytes(DISK[:-1] + b"2")
        new = cloud.upload(spec_of(DISK[:-1] + b"2", version="2026.11.2", alias="debian-12"), tmp_path / "new.raw")
        (number,) = templates(one)
        cloud.delete(new.id)
        assert list(templates(one)) == [number]
        assert bearers(one, "debian-12") == {old.id}

    def test_a_sites_own_template_makes_machines_with_its_networks(self, one: Setting, tmp_path: Path, spec: ImageSpec, file: Path) -> None:
        vm = """
CPU: {{ cpus }}
MEMORY: {{ memory }}
NIC:
- {NETWORK: private}
- {NETWORK: private}
{% if os_type == "linux" %}CONTEXT: {NETWORK: YES, SSH_PUBLIC_KEY: "$USER[SSH_PUBLIC_KEY]"}{% endif %}
"""
        cloud = clouds(one, tmp_path, platform_for(one, templates={"vm": vm}), "here")[""]
        said = spec.model_copy(update={"alias": "debian-12", "properties": {"sl:os": "Linux", "hv:ram_minimum": "2048", "hv:core_minimum": "2"}})
        image = cloud.upload(said, file)
        (template,) = templates(one).values()
        assert (template.findtext("TEMPLATE/CPU"), template.findtext("TEMPLATE/MEMORY"), len(template.findall("TEMPLATE/NIC"))) == ("2", "2048", 2)
        assert template.findtext("TEMPLATE/DISK/IMAGE_ID") == image.id
        assert ours(cloud)[image.id].drift == ()
        machine = cloud.start(machine_of(image))
        assert machine.address
        assert machine.ports == {22: (machine.address, 22)}
        cloud.stop(machine.id)

    @pytest.mark.parametrize(
        ("templates", "field"),
        [
            ({"vm": "DISK: {IMAGE: debian}"}, "platform.templates.vm"),
            ({"vm": "{{ 'a' * 9 }}"}, "platform.templates.vm"),
            ({"vm": "NAME: x"}, "platform.templates.vm"),
            ({"vm": "{{ nothing }}"}, "platform.templates.vm"),
            ({"image": "PATH: /etc/passwd"}, "platform.templates.image"),
            ({"image": "VMKEEPER_OWNER: x"}, "platform.templates.image"),
            ({"image": "- x"}, "platform.templates.image"),
        ],
    )
    def test_a_template_that_cannot_be_used_is_told_and_no_image_becomes_usable(
        self, one: Setting, tmp_path: Path, spec: ImageSpec, file: Path, templates: dict[str, str], field: str
    ) -> None:
        cloud = clouds(one, tmp_path, platform_for(one, templates=templates), "here")[""]
        with pytest.raises(UserError) as told:
            cloud.upload(spec.model_copy(update={"alias": "debian-12"}), file)
        assert told.value.where == field
        assert pool(one, "one.imagepool.info") == {}


class TestWaysIn:
    def test_source_is_for_administrators(self, one: Setting, tmp_path: Path, spec: ImageSpec, file: Path) -> None:
        folder = tmp_path / "store"
        folder.mkdir()
        source = RegisteredSource(type="source", folder=str(folder))
        (folder / "vmkeeper-somebody's").write_bytes(b"x")
        cloud = clouds(one, tmp_path, platform_for(one, source), "here")[""]  # type: ignore[arg-type]
        image = cloud.upload(spec, file)
        (registered,) = [path for path in folder.iterdir() if "somebody" not in path.name]
        assert info(one, image).findtext("SOURCE") == str(registered)
        assert registered.read_bytes() == DISK
        again = spec_of(another_disk := DISK[:-1] + b"2", version="2026.11.2")
        (tmp_path / "new.raw").write_bytes(another_disk)
        cloud.upload(again, tmp_path / "new.raw")
        assert len(list(folder.iterdir())) == 3
        cloud.delete(image.id)
        assert not registered.exists()
        alices = clouds(one, tmp_path, platform_for(one, source), "here", user="alice")[""]  # type: ignore[arg-type]
        with pytest.raises(UserError, match="restricted attribute SOURCE"):
            alices.upload(spec, file)
        assert len(list(folder.iterdir())) == 2, "what could not be registered is removed"

    def test_a_driver_that_never_fetched_the_file_is_not_believed(self, one: Setting, tmp_path: Path, spec: ImageSpec, file: Path) -> None:
        base = platform_for(one, "http")
        cloud = clouds(one, tmp_path, base.model_copy(update={"places": (OpenNebulaPlace(name="x", datastore="dummyds"),)}), "here")[""]
        with pytest.raises(Transient, match="did not fetch all"):
            cloud.upload(spec, file)
        assert pool(one, "one.imagepool.info") == {}

    def test_a_path_that_oned_may_not_read_is_told(self, one: Setting, tmp_path: Path, spec: ImageSpec, file: Path) -> None:
        assert one.folder is not None
        for folder, seen_as in ((tmp_path / "nowhere", None), (one.folder, "/with space"), (one.folder, "/not/there")):
            platform = platform_for(one)
            transport = platform.transport.model_copy(update={"folder": str(folder), "seen_as": seen_as})
            with pytest.raises(UserError):
                clouds(one, tmp_path, platform.model_copy(update={"transport": transport}), "here")[""].upload(spec, file)
        assert list(one.folder.iterdir()) == []
        assert pool(one, "one.imagepool.info") == {}


class TestWhoAsks:
    def test_wrong_credentials_are_told_without_them(self, one: Setting, tmp_path: Path) -> None:
        cloud = places(platform_for(one), account_for(one, tmp_path, password="s3cret-wrong"), patience=QUICK)[""]
        with pytest.raises(UserError) as told:
            cloud.images()
        assert "credentials/opennebula.yaml" in told.value.hint
        assert "s3cret-wrong" not in repr(told.value) + str(told.value) + told.value.hint + told.value.where

    @pytest.mark.parametrize(("endpoint", "kind"), [("/nowhere", UserError), (":1/RPC2", Transient)])
    def test_a_wrong_address_is_told(self, one: Setting, tmp_path: Path, endpoint: str, kind: type[Exception]) -> None:
        url = one.endpoint.replace("/RPC2", endpoint) if endpoint.startswith("/") else f"http://127.0.0.1{endpoint}"
        platform = platform_for(one).model_copy(update={"endpoint": url})
        with pytest.raises(kind):
            clouds(one, tmp_path, platform, "here")[""].images()

    @pytest.mark.parametrize("id_", ["", "x", "-1", "1.5", "99999999999", "4711", "²"])
    def test_ids_that_cannot_be_are_gone(self, cloud: Cloud, spec: ImageSpec, id_: str) -> None:
        with pytest.raises(Gone):
            cloud.update(id_, spec, None)
        cloud.delete(id_)
        cloud.stop(id_)
