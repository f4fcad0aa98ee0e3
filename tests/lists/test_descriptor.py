"""The cloud-appliance-descriptor: all fields, always; read back as written; its schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from support.publication import appliance
from support.shelves import BASE, image, shelf
from vmkeeper.clouds.interface import ImageSpec
from vmkeeper.errors import Problems
from vmkeeper.lists.descriptor import Descriptor, of_release, of_shelved, of_site, read, schema, write
from vmkeeper.model.release import Blob, ImageFile, Release
from vmkeeper.values import Size, Version, parse_time

DOCS = Path(__file__).parents[2] / "docs" / "feeds"
FIELDS = ["action", "title", "identifier", "version", "description", "cpu", "memory", "groups", "attributes", "os", "disks"]


def release() -> Release:
    blob = Blob(size=Size(1), sha512="1" * 128)
    return Release(
        appliance="debian-12",
        uuid=image().uuid,
        version=Version("2026.11.20.7"),
        commit="2" * 40,
        recipe="4" * 64,
        builder={"name": "debian", "version": "1"},
        rootfs=blob,
        files=(file(),),
        manifest=blob,
        packages=1,
        sbom=blob,
    )


def file() -> ImageFile:
    return ImageFile(format="qcow2", size=Size(100), virtual_size=Size(2 << 30), sha512="5" * 128)


def of_repository(**changes: Any) -> Descriptor:
    made = appliance("debian-12", description="A base.", **changes)
    return of_release(made, release(), file(), "/images/debian.qcow2", action="registration")


def published(action: Any = "registration") -> Descriptor:
    return of_shelved(shelf("science", image()), image(), "/srv/debian.qcow2", action=action)


def at_site(known: bool = True) -> Descriptor:
    spec = ImageSpec(
        name="debian-12",
        appliance="debian-12",
        uuid=image().uuid,
        version=Version("2026.11.20.7"),
        format="raw",
        size=Size(100),
        virtual_size=Size(100),
        sha512="5" * 128,
        list=shelf("science").uuid,
        expires=parse_time("2027-01-01T00:00:00Z"),
    )
    return of_site(spec, appliance("debian-12") if known else None, "debian.raw", groups=("users",), action="registration")


def test_a_release_is_registered_with_all_fields() -> None:
    said = json.loads(write(of_repository()))
    assert list(said) == FIELDS
    assert said == {
        "action": "registration",
        "title": "Image debian-12",
        "identifier": appliance("debian-12").uuid,
        "version": "2026.11.20.7",
        "description": "A base.",
        "cpu": 1,
        "memory": 512,
        "groups": [],
        "attributes": {"VMKEEPER_SHA512": "5" * 128, "VMKEEPER_COMMIT": "2" * 40, "VMKEEPER_RECIPE": "4" * 64},
        "os": {"distribution": "Debian", "version": "12", "arch": "x86_64", "type": "linux"},
        "disks": [{"type": "os", "format": "qcow2", "path": "/images/debian.qcow2", "target": "vda", "device_prefix": "vd"}],
    }


def test_an_expiration_names_the_same_appliance_and_no_disk() -> None:
    new, old = published(), published("expiration")
    assert (old.action, old.disks) == ("expiration", ())
    assert old.model_copy(update={"action": "registration", "disks": new.disks}) == new


def test_a_published_image_is_for_its_lists_virtual_organisation() -> None:
    said = published()
    assert said.groups == ("science.example.org",)
    assert said.attributes["VMCATCHER_EVENT_AD_MPURI"].startswith(BASE)
    assert said.attributes["VMCATCHER_EVENT_SL_CHECKSUM_SHA512"] == said.attributes["VMKEEPER_SHA512"] == image().sha512
    assert "" not in said.attributes.values()
    assert said.attributes["VMKEEPER_EXPIRES"] == "2027-02-18T12:00:00Z"
    assert of_shelved(shelf("science", vo=""), image(), "x", action="registration").groups == ()
    assert of_shelved(shelf("science"), image(), "x", groups=("a", "b"), action="registration").groups == ("a", "b")


def test_a_sites_image_is_described_also_where_nobody_knows_its_appliance_any_more() -> None:
    assert (at_site().title, at_site().os.distribution, at_site().groups) == ("Image debian-12", "Debian", ("users",))
    unknown = at_site(known=False)
    assert (unknown.title, unknown.description, unknown.cpu, unknown.memory) == ("debian-12", "", 1, 512)
    assert (unknown.os.distribution, unknown.os.version) == ("Linux", "unknown")


@pytest.mark.parametrize(("memory", "mib"), [("512MiB", 512), ("1GiB", 1024), ("1B", 1), (1048577, 2), (None, 512)])
def test_memory_is_whole_mib(memory: Any, mib: int) -> None:
    assert of_repository(requirements={"memory": memory}).memory == mib


@pytest.mark.parametrize("text", ['quotes " and \\', "lines\nand\ttabs", "é 日本語 🙂", "x" * 10_000, "\x1b[31m\u202e"])
def test_odd_texts_are_read_back(text: str) -> None:
    made = of_shelved(shelf("science", vo=text), image(title=text, description=text), text, action="registration")
    data = write(made)
    assert read(data) == made
    assert b"\x1b" not in data


@pytest.mark.parametrize("made", [of_repository(), published(), published("expiration"), at_site(), at_site(False)])
def test_what_is_written_is_read_back_and_fits_the_schema(made: Descriptor) -> None:
    assert read(write(made)) == made
    assert Draft202012Validator(json.loads(schema())).is_valid(json.loads(write(made)))


@pytest.mark.parametrize(
    "change",
    [
        {"action": "create"},
        {"cpu": 0},
        {"cpu": 1.5},
        {"memory": "512"},
        {"groups": "a"},
        {"attributes": {"A": 1}},
        {"os": {}},
        {"disks": [{}]},
        {"more": 1},
        {"title": None},
    ],
)
def test_another_form_is_refused_by_reader_and_schema(change: dict[str, Any]) -> None:
    said = {**json.loads(write(published())), **change}
    with pytest.raises(Problems):
        read(json.dumps(said).encode())
    assert not Draft202012Validator(json.loads(schema())).is_valid(said)


@pytest.mark.parametrize("field", FIELDS)
def test_no_field_may_be_missing(field: str) -> None:
    said = json.loads(write(published()))
    del said[field]
    with pytest.raises(Problems):
        read(json.dumps(said).encode())
    assert not Draft202012Validator(json.loads(schema())).is_valid(said)


def test_the_schema_in_docs_is_what_the_models_say() -> None:
    path = DOCS / "appliance-descriptor.schema.json"
    assert path.read_text() == schema(), f"{path} is stale: write vmkeeper.lists.descriptor.schema() into it"
