"""Specs as properties of images in Glance, and back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.setting import DISK, LATER, SIGNED, THEN, spec_of
from vmkeeper.clouds.interface import CloudImage, ImageSpec
from vmkeeper.clouds.openstack.properties import drift_of, formats, marks_of, patch, seen, wanted
from vmkeeper.model.platform import Audience, OpenStackPlatform

PLATFORM = OpenStackPlatform(type="openstack", cloud="x")
OWNER = "vmkeeper:here"
ID, PROJECT = "3c3b1c54-0000-4000-8000-000000000001", "a" * 32
SPEC = spec_of(DISK, properties={"title": "Debian", "ad:mpuri": "https://example.org/1", "hw_firmware_type": "uefi"})

keys = st.text("abcdefghijklmnopqrstuvwxyz0123456789_.:", min_size=1, max_size=12)
specs = st.builds(
    lambda properties, alias, source: SPEC.model_copy(update={"properties": properties, "alias": alias, "source": source}),
    st.dictionaries(keys, st.text(max_size=60), max_size=5),
    st.sampled_from([None, "debian"]),
    st.sampled_from([None, SIGNED]),
)
times = st.none() | st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(lambda t: t.replace(microsecond=0, tzinfo=UTC))  # noqa: DTZ001


def glance(spec: ImageSpec = SPEC, hidden_since: datetime | None = None, *, platform: OpenStackPlatform = PLATFORM, **more: Any) -> dict[str, Any]:
    """An image as Glance shows it after an upload."""
    said = {
        "id": ID,
        "status": "active" if hidden_since is None else "deactivated",
        "owner": PROJECT,
        "size": int(spec.size),
        "os_hash_algo": "sha512",
        "os_hash_value": spec.sha512,
        "checksum": "0" * 32,
        "tags": [],
        "created_at": "2026-11-20T10:00:00Z",
        **wanted(ID, OWNER, spec, hidden_since, platform),
        **more,
    }
    return json.loads(json.dumps(said))


def look(image: dict[str, Any], *, ours: str = OWNER, members: tuple[str, ...] | None = None) -> CloudImage:
    found = seen(image, marks_of(image, PROJECT), project=PROJECT, ours=ours, platform=PLATFORM, members=members)
    assert found is not None
    return found


def patched(image: dict[str, Any], operations: list[dict[str, Any]]) -> dict[str, Any]:
    """What Glance makes of a patch."""
    image = dict(image)
    for one in operations:
        name = one["path"][1:]
        if one["op"] == "remove":
            del image[name]
        else:
            image[name] = one["value"]
    return image


@given(specs, times)
def test_whatever_a_spec_says_is_read_back(spec: ImageSpec, hidden_since: datetime | None) -> None:
    image = glance(spec, hidden_since)
    found = look(image)
    assert (found.spec, found.owner, found.hidden_since) == (spec, OWNER, hidden_since)
    assert found.state == ("active" if hidden_since is None else "hidden")
    assert found.drift == ()


@given(specs)
def test_what_is_written_fits_into_glances_tables(spec: ImageSpec) -> None:
    for name, value in wanted(ID, OWNER, spec, THEN, PLATFORM).items():
        assert len(name) <= 255
        assert not name.startswith("os_glance")
        if isinstance(value, str):
            assert max(map(ord, value), default=0) < 0x10000
            assert len(value) <= (65535 if name == "vmkeeper_spec" else 4000)


@given(specs, specs, times, times)
def test_one_patch_leads_from_any_spec_to_any_other_and_a_second_one_does_nothing(
    before: ImageSpec, after: ImageSpec, then: datetime | None, now: datetime | None
) -> None:
    want = wanted(ID, OWNER, after, now, PLATFORM)
    image = patched(glance(before, then, note_of_somebody="mine"), patch(glance(before, then, note_of_somebody="mine"), want))
    assert image["note_of_somebody"] == "mine" or "note_of_somebody" in want
    assert patch(image, want) == []
    assert {name for name in image if name in glance(before, then) or name in want} - {"note_of_somebody"} == set(glance(after, now)) - {
        "note_of_somebody"
    }


def test_what_the_site_says_comes_before_what_was_derived() -> None:
    platform = OpenStackPlatform(type="openstack", cloud="x", protected=True, properties={"hw_firmware_type": "bios", "hw_qemu_guest_agent": "yes"})
    said = wanted(ID, OWNER, SPEC, None, platform)
    assert (said["hw_firmware_type"], said["hw_qemu_guest_agent"], said["protected"]) == ("bios", "yes", True)


def test_a_platforms_property_that_is_not_wanted_any_more_goes() -> None:
    platform = OpenStackPlatform(type="openstack", cloud="x", properties={"hw_qemu_guest_agent": "yes"})
    image = glance(platform=platform)
    assert "hw_qemu_guest_agent is there still" in look(image).drift
    assert "hw_qemu_guest_agent" not in patched(image, patch(image, wanted(ID, OWNER, SPEC, None, PLATFORM)))


@pytest.mark.parametrize(
    "name", ["status", "visibility", "id", "owner", "vmkeeper_owner", "vmkeeper_spec", "os_glance_x", "min_ram", "os_hidden", "tags"]
)
def test_a_property_called_as_one_of_glances_or_ours_is_kept_in_the_spec_alone(name: str) -> None:
    spec = spec_of(DISK, properties={name: "nonsense"})
    assert wanted(ID, OWNER, spec, None, PLATFORM).get(name) != "nonsense"
    assert look(glance(spec)).spec == spec


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"name": "x"}, "name is x, not debian-12"),
        ({"visibility": "public"}, "visibility is public, not private"),
        ({"os_hidden": True}, "it is os_hidden"),
        ({"protected": True}, "it is protected"),
        ({"min_ram": 99}, "min_ram is 99, not 0"),
        ({"title": "Other"}, "title is Other, not Debian"),
        ({"vmkeeper_family": "x"}, "vmkeeper_family is x, not debian-12"),
        ({"status": "deactivated"}, "it is deactivated"),
    ],
)
def test_what_somebody_changed_is_told(change: dict[str, Any], word: str) -> None:
    found = look(glance(**change))
    assert found.drift == (word,)
    assert found.state == "active"


def test_a_property_that_is_gone_is_told() -> None:
    image = glance()
    del image["title"]
    assert look(image).drift == ("title is missing",)


def test_a_long_value_is_cut_in_what_is_told() -> None:
    (word,) = look(glance(title="x" * 1000)).drift
    assert len(word) < 100


def test_a_hidden_image_that_serves_again_is_told() -> None:
    assert look(glance(SPEC, THEN, status="active")).drift == ("it is not deactivated",)
    assert look(glance(SPEC, THEN, os_hidden=False)).drift == ("it is not os_hidden",)


def test_an_image_that_could_only_be_made_private_is_as_hidden_as_it_can_be() -> None:
    public = SPEC.model_copy(update={"audience": Audience(visibility="public")})
    hidden = glance(public, THEN, status="active", visibility="private", vmkeeper_hidden_how="private")
    assert (look(hidden).state, look(hidden).drift) == ("hidden", ())
    shown = patched(hidden, patch(hidden, wanted(ID, OWNER, public, None, PLATFORM)))
    assert (shown["visibility"], "vmkeeper_hidden_how" in shown, look(shown).drift) == ("public", False, ())


def test_projects_that_an_image_should_be_or_should_not_be_shared_with_are_told() -> None:
    spec = SPEC.model_copy(update={"audience": Audience(visibility="shared", projects=("p1", "p2"))})
    assert look(glance(spec), members=("p1", "p2")).drift == ()
    assert look(glance(spec), members=("p2", "p3")).drift == ("it is not shared with p1", "it is shared with p3")


@pytest.mark.parametrize("change", [{"os_hash_value": "0" * 128}, {"size": 7}, {"status": "queued"}, {"status": "saving"}, {"status": "killed"}])
def test_an_image_without_the_right_bytes_is_incomplete(change: dict[str, Any]) -> None:
    assert (look(glance(**change)).state, look(glance(**change)).drift) == ("incomplete", ())


def test_an_image_whose_upload_was_not_verified_is_incomplete() -> None:
    assert look(glance(vmkeeper_stage="uploading")).state == "incomplete"


@pytest.mark.parametrize("algorithm", [None, "sha256"])
def test_a_hash_of_another_kind_is_not_held_against_an_image(algorithm: str | None) -> None:
    assert look(glance(os_hash_algo=algorithm, os_hash_value="1" * 64)).state == "active"


@pytest.mark.parametrize("status", ["pending_delete", "deleted"])
def test_what_is_on_its_way_out_is_not_there(status: str) -> None:
    image = glance(status=status)
    assert seen(image, marks_of(image, PROJECT), project=PROJECT, ours=OWNER, platform=PLATFORM) is None


@pytest.mark.parametrize(
    "change",
    [
        {"owner": "b" * 32},  # another project that wrote our mark
        {"vmkeeper_image": "3c3b1c54-0000-4000-8000-000000000002"},  # a snapshot of a machine, or a copy
        {"vmkeeper_owner": "vmkeeper:"},
        {"vmkeeper_owner": "somebody"},
        {"vmkeeper_owner": "vmkeeper:a/b/c"},
    ],
)
def test_an_image_that_only_looks_like_ours_is_not(change: dict[str, Any]) -> None:
    found = look(glance(**change))
    assert (found.owner, found.spec, found.drift, found.sha512) == (None, None, (), SPEC.sha512)


def test_another_owners_image_is_told_as_theirs_without_drift() -> None:
    found = look(glance(name="changed"), ours="vmkeeper:elsewhere")
    assert (found.owner, found.spec, found.drift) == (OWNER, SPEC, ())


@pytest.mark.parametrize("text", ["{", "null", "[]", '{"name": 1}', "", "x" * 1000])
def test_a_mark_that_cannot_be_read_is_ours_and_says_nothing(text: str) -> None:
    found = look(glance(vmkeeper_spec=text))
    assert (found.owner, found.spec, found.drift) == (OWNER, None, ())


def test_what_others_wrote_is_told_of_our_own_projects_images_only() -> None:
    image = {"id": ID, "name": "x", "status": "active", "visibility": "public", "owner": PROJECT, "tags": ["b", "a"], "appdb_id": "7", "size": 9}
    found = look(image)
    assert found.attributes == {"appdb_id": "7", "tags": "a,b", "owner": PROJECT, "visibility": "public", "status": "active"}
    assert (found.size, found.sha512) == (9, None)
    assert look(image | {"owner": "b" * 32}).attributes == {}


@given(
    st.dictionaries(
        st.sampled_from(["vmkeeper_owner", "vmkeeper_image", "vmkeeper_spec", "vmkeeper_hidden_since", "vmkeeper_written", "name"]),
        st.text() | st.just(ID),
    )
)
def test_no_properties_whatever_make_a_listing_fail(said: dict[str, str]) -> None:
    image = {"id": ID, "status": "active", "visibility": "private", "owner": PROJECT, **said}
    marks = marks_of(image, PROJECT)
    assert marks is None or drift_of(image, marks, PLATFORM, None) == ()
    look(image)


@pytest.mark.parametrize(("ours", "glances"), [("qcow2", ("qcow2", "bare")), ("vhd", ("vhd", "bare")), ("ova", ("vmdk", "ova"))])
def test_formats_in_glances_words(ours: str, glances: tuple[str, str]) -> None:
    said = formats(SPEC.model_copy(update={"format": ours}))
    assert (said["disk_format"], said["container_format"]) == glances


def test_hiding_says_since_when() -> None:
    image = glance(SPEC, LATER)
    assert image["vmkeeper_hidden_since"] == "2026-11-21T10:00:00Z"
    assert image["os_hidden"] is True
