"""Lists, vmcaster's data and comfy's descriptions as documents: what is carried over, what is told, and that a list of ours comes back as it was."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.foreignlists import (
    CA,
    DN,
    IMAGE_UUID,
    KICKSTART,
    LIST_UUID,
    OTHER_UUID,
    PRESEED,
    comfy_description,
    vmcaster_database,
    vmcaster_image,
    vmcaster_list,
)
from support.lists import LISTS, NOW, image, image_list
from support.publication import SIGNER, appliance, decision, desired, plan, the_list
from vmkeeper.documents.kinds import KINDS
from vmkeeper.documents.load import load
from vmkeeper.errors import Problems, Refused, UserError
from vmkeeper.lists.hepix import HepixList, read
from vmkeeper.lists.imports.comfy import Template, import_template
from vmkeeper.lists.imports.hepix_list import Terms, import_list
from vmkeeper.lists.imports.names import ascii_text, free_name, short_title, slug
from vmkeeper.lists.imports.outcome import Imported, Present, foreign_yaml
from vmkeeper.lists.imports.vmcaster import read_vmcaster
from vmkeeper.model.appliance import Appliance
from vmkeeper.model.endorser import EndorserList
from vmkeeper.model.imagelist import ImageList
from vmkeeper.model.site import Site
from vmkeeper.plan.chosen import Desired
from vmkeeper.values import Size

SAMPLE = Path(__file__).parents[1] / "fixtures" / "cloudkeeper" / "lists" / "imagelist01.unsigned"
TERMS = Terms(now=NOW)


def imported(found: HepixList, present: Present | None = None, **terms: Any) -> Imported:
    return import_list(found, present or Present(), replace(TERMS, **terms))


def documents(made: Imported) -> dict[str, Any]:
    """Every file by its path, read back as vmkeeper reads the repository."""
    found: dict[str, Any] = {}
    for file in made.files:
        kind = next((kind for kind in KINDS.values() if kind.subject(file.path) is not None), None)
        assert (kind is None) == (file.document is None)
        if kind is not None:
            found[file.path] = load(kind, file.data, file.path)
            assert found[file.path] == file.document
    return found


def told(made: Imported) -> set[tuple[str, str]]:
    return {(note.subject, note.field) for note in made.notes}


def again(made: Imported, was: Desired, decisions: Any) -> Desired:
    """What publishing would want from the imported documents, with the same releases endorsed."""
    found = documents(made)
    (spec,) = (one for one in found.values() if isinstance(one, ImageList))
    name = next(path for path in found if path.startswith("imagelists/")).split("/")[1].removesuffix(".yaml")
    appliances = {path.split("/")[1]: one for path, one in found.items() if isinstance(one, Appliance)}
    return Desired(name, spec, was.endorsers, appliances, decisions)


def test_a_list_of_ours_comes_back_with_the_same_meaning():
    decisions = (decision("debian-12 3"), decision("docker 1", formats=("raw",)), decision("worker 2026.11.20.7"))
    listed = [
        {"appliance": "debian-12", "group": "Basic", "comments": "Größe 🖥"},
        {"appliance": "docker", "mpuri": "https://appdb.example.org/store/vo/image/x:484/"},
        {"appliance": "worker"},
    ]
    appliances = {
        "debian-12": appliance("debian-12", title="Debian 12 “bookworm”", description="One\ntwo, ünï"),
        "docker": appliance("docker", architecture="aarch64", requirements={"memory": "2GiB", "cpus": 4}),
        "worker": appliance("worker", distribution={"version": "9.3"}, requirements={}),
    }
    was = desired(*decisions, appliances=appliances, owner={"name": "A B", "email": "a@b.org", "url": "https://b.org/~a"}, lifetime="14d", renew_before="3d")  # fmt: skip
    was = replace(was, spec=was.spec.model_validate({**was.spec.model_dump(mode="json"), "appliances": listed}))
    published = the_list(plan(was))
    made = imported(published, signer=(SIGNER.dn, SIGNER.ca))
    came = again(made, was, decisions)
    assert the_list(plan(came)) == published
    assert came.spec.model_dump(exclude={"endorsed_by", "renew_before"}) == was.spec.model_dump(exclude={"endorsed_by", "renew_before"})
    assert {note.field for note in made.notes} <= {"endorsed_by", "builder", "sl:osname", "hv:version, hv:size, hv:uri, sl:checksum:sha512, dc:date:expires of its images", "hv:version"}  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(found=LISTS, signed=st.booleans(), inherits=st.sampled_from([None, "debian-12"]))
def test_any_list_gives_documents_that_are_read(found: HepixList, signed: bool, inherits: str | None) -> None:
    """Whatever a list says: documents that load, every image once under its UUID, and a word about each value that is not there."""
    made = imported(found, signer=(DN, CA) if signed else None, inherits=inherits)
    read_back = documents(made)
    (spec,) = (one for one in read_back.values() if isinstance(one, ImageList))
    by_name = {path.split("/")[1]: one for path, one in read_back.items() if isinstance(one, Appliance)}
    assert spec.uuid == found.uuid
    assert [by_name[one.appliance].uuid for one in spec.appliances] == [one.uuid for one in found.images]
    fields = told(made)
    for one, entry in zip(found.images, spec.appliances, strict=True):
        document = by_name[entry.appliance]
        subject = entry.appliance
        assert document.title == one.title or (subject, "dc:title") in fields
        assert document.description == (one.description or "") or (subject, "dc:description") in fields
        assert not one.group or not one.group.strip() or entry.group == one.group or (subject, "ad:group") in fields
        assert entry.comments == (one.comments or "") or (subject, "sl:comments") in fields
        assert not one.mpuri or entry.mpuri == one.mpuri or (subject, "ad:mpuri") in fields or entry.mpuri is None
        assert not one.appid or (subject, "ad:appid") in fields
    for key in found.extra:
        assert any(note.what.startswith("is not known") for note in made.notes if note.field), key
    if made.foreign:
        Site.model_validate({"title": "x", "platform": {"type": "local"}, "foreign": [entry.model_dump(mode="json") for entry in made.foreign]})


def test_every_unknown_key_is_told():
    found = image_list(image(extra={"x:image": 1, "vk:supply": {}}, beside={"x:beside": 2}), extra={"x:list": 3}, beside={"x:around": 4})
    found = replace(found, endorser=replace(found.endorser, extra={"x:endorser": 5}, beside={"x:with": 6}))
    fields = {note.field for note in imported(found).notes}
    assert {"x:image", "x:beside", "x:list", "x:around", "hv:endorser.x:endorser", "hv:endorser.x:with"} <= fields
    assert "vk:supply" not in fields


def test_appdbs_list_becomes_documents_under_names_that_people_use():
    made = imported(read(SAMPLE.read_bytes()))
    assert [file.path for file in made.files] == [
        "imagelists/dummy-image-list-number-1.yaml",
        "appliances/cernvm/appliance.yaml",
        "appliances/centos-6-minimal/appliance.yaml",
        "endorsers/dummy-image-list-number-1.yaml",
    ]
    found = documents(made)
    spec = found["imagelists/dummy-image-list-number-1.yaml"]
    assert spec.uuid == "76fdee70-8119-5d33-aaaa-3c57e1c60df1"
    assert spec.appliances[0].mpuri == "https://appdb.somewhere.net/store/vo/image/c0482bc2-bf41-5d49-aaaa-a750174a186b:484/"
    assert spec.vo == "some1.vo.net"
    machine = found["appliances/cernvm/appliance.yaml"]
    assert machine.title == "Image for CernVM [Scientific Linux/6.0/KVM]"
    assert (machine.requirements.memory, machine.requirements.cpus) == (Size(512 << 20), 1)
    assert machine.formats == ("ova",)
    assert machine.labels == {"hepix.osname": "Scientific Linux"}
    fields = told(made)
    assert {("cernvm", "sl:osname"), ("cernvm", "ad:ram_recommended"), ("cernvm", "builder")} <= fields
    endorsers = found["endorsers/dummy-image-list-number-1.yaml"]
    assert isinstance(endorsers, EndorserList)
    assert endorsers.endorsers[0].keys[0].subject == "/DC=XXX/DC=YYY/C=ZZZ/O=Hosts/O=AA.net/CN=some.unknown.source"


def test_a_site_can_copy_its_entry():
    made = imported(read(SAMPLE.read_bytes()), signer=("/DC=org/CN=Me", "/DC=org/CN=CA"), sha1=True)
    text = f"title: X\nplatform: {{type: local}}\n{foreign_yaml(made.foreign)}\n"
    site = load(KINDS["site"], text.encode(), "sites/x.yaml")
    assert isinstance(site, Site)
    (entry,) = site.foreign
    assert entry == made.foreign[0]
    assert (entry.endorser.dn, entry.sha1, entry.uuid) == ("/DC=org/CN=Me", True, "76fdee70-8119-5d33-aaaa-3c57e1c60df1")


def test_what_the_repository_has_is_used_and_kept():
    present = Present({image().uuid: "mine"}, {image_list().uuid: "ours"}, ("team",))
    made = imported(image_list(image(), image(uuid=OTHER_UUID)), present)
    found = documents(made)
    assert list(found) == ["imagelists/ours.yaml", "appliances/debian-12/appliance.yaml"]
    assert [one.appliance for one in found["imagelists/ours.yaml"].appliances] == ["mine", "debian-12"]
    assert found["imagelists/ours.yaml"].endorsed_by == "team"
    assert ("mine", "") in told(made)
    over = documents(imported(image_list(), present, replace=True))
    assert "appliances/mine/appliance.yaml" in over


def test_names_are_free_and_short():
    made = imported(image_list(*(image(uuid=f"{number:08x}-2222-4333-8444-555555555555") for number in range(3)), image(uuid=OTHER_UUID, title="—")))
    names = [path.split("/")[1] for path in documents(made) if path.startswith("appliances/")]
    assert names == ["debian-12", "debian-12-00000001", "debian-12-00000002", "image-2934ec2b"]
    assert free_name(("Debian",), OTHER_UUID, {"debian"}) == "debian-2934ec2b"
    assert short_title("Image for EGI CentOS 7 [CentOS/7/VirtualBox]") == "EGI CentOS 7"
    for text, name in {"Größe X": "groe-x", "..": "", "a..b": "a.b", "x.lock": "x", "-A-": "a", "": "", "é" * 80: "e" * 64, "日本": ""}.items():
        assert slug(text) == name
    assert ascii_text("Žluťoučký kůň – 日") == "Zlutoucky kun ? ?"


@given(st.text(max_size=200))
def test_any_text_gives_a_name_or_none(text: str) -> None:
    from pydantic import TypeAdapter

    from vmkeeper.values import Name

    if made := slug(text):
        TypeAdapter(Name).validate_python(made)
    TypeAdapter(Name).validate_python(free_name((text,), OTHER_UUID, ()))


ADDRESSES = {
    "ours": ("https://images.example.org/base/science/imagelist.signed", "https://images.example.org/base", "science", False),
    "AppDB's": ("https://appdb.example.org/store/vo/x.net/image.list", "https://appdb.example.org/store/vo/x.net", "science-2", True),
    "with a query": ("https://example.org/list?format=json", "https://example.org", "science-2", True),
    "no web address": ("scp://host/tmp/list", "https://images.example.org", "science-2", True),
}


@pytest.mark.parametrize(("uri", "url", "name", "noted"), ADDRESSES.values(), ids=ADDRESSES)
def test_where_a_list_lies(uri: str, url: str, name: str, noted: bool) -> None:
    made = imported(image_list(uri=uri, title="Science 2"))
    ((path, spec),) = ((path, one) for path, one in documents(made).items() if isinstance(one, ImageList))
    assert (path, spec.url) == (f"imagelists/{name}.yaml", url)
    assert ((name, "hv:uri") in told(made)) == noted


def test_lifetimes_that_make_sense_are_kept():
    for days, kept in ((28, "28d"), (1, "1d"), (4000, "28d"), (-1, "28d"), (7, "7d")):
        (spec,) = (one for one in documents(imported(image_list(expires=NOW + timedelta(days=days)))).values() if isinstance(one, ImageList))
        assert str(spec.lifetime) == kept
        assert spec.renew_before < spec.lifetime


def test_a_version_that_ours_would_not_pass_is_told():
    assert ("science", "hv:version") in told(imported(image_list(version="99999999999999")))
    assert ("science", "hv:version") not in told(imported(image_list(version="20150618211400")))


def test_the_signer_counts_and_not_what_the_list_says():
    made = imported(image_list(), signer=("/DC=org/CN=Somebody Else", "/DC=org/CN=CA"))
    assert ("science", "hv:endorser") in told(made)
    (team,) = (one for one in documents(made).values() if isinstance(one, EndorserList))
    assert team.endorsers[0].keys[0].subject == "/DC=org/CN=Somebody Else"
    assert made.foreign[0].endorser.dn == "/DC=org/CN=Somebody Else"
    assert ("science", "hv:endorser") not in told(imported(image_list(), signer=("/DC=org/CN=Image Publisher", "/DC=org/CN=Test Authority")))


@pytest.mark.parametrize(
    ("arch", "name", "version", "expected"),
    [
        ("amd64", "Debian", "12", ("x86_64", "debian", "bookworm", "12", 3)),
        ("aarch64", "debian gnu/linux", "13.1", ("aarch64", "debian", "trixie", "13.1", 3)),
        ("i386", "Debian", "7", (None, "debian", "wheezy", "7", 0)),
        ("x86_64", "Ubuntu", "24.04", ("x86_64", None, None, "24.04", 0)),
        (None, None, None, (None, None, None, None, 0)),
    ],
)
def test_what_an_image_runs(arch: str | None, name: str | None, version: str | None, expected: tuple[Any, ...]) -> None:
    made = imported(image_list(image(arch=arch, osname=name, osversion=version)))
    (one,) = (one for one in documents(made).values() if isinstance(one, Appliance))
    found = one.distribution
    assert (one.architecture, found.name, found.release, found.version, len(found.archives)) == expected
    assert (arch == "i386") == any(note.field == "sl:arch" for note in made.notes)


# -- vmcaster


def exported(*images: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps(vmcaster_list(*images, **changes)).encode()


def test_an_export_of_vmcaster_is_a_list():
    found = read_vmcaster(exported(), "export.json")
    assert found.notes == ()
    made = imported(found.lists[0])
    spec = documents(made)["imagelists/lab-images.yaml"]
    assert (spec.uuid, spec.url, spec.owner.email) == (LIST_UUID, "https://dish.example.org:2880", "images@example.org")
    machine = documents(made)["appliances/debian-worker/appliance.yaml"]
    assert (machine.uuid, machine.distribution.release, machine.formats) == (IMAGE_UUID, "bookworm", ("qcow2",))


@pytest.mark.parametrize("linked", [True, False], ids=["0.0.36", "old"])
def test_a_database_of_vmcaster_says_the_same_as_its_export(tmp_path: Path, linked: bool) -> None:
    changes = {"dc:identifier": "3a1df02c-121a-461d-b720-521903ef99f0", "dc:title": "Second"}
    two = vmcaster_list(vmcaster_image(OTHER_UUID, **{"dc:title": "Other"}), **changes)
    file = vmcaster_database(tmp_path / "dish.db", vmcaster_list(), two, linked=linked)
    found = read_vmcaster(file.read_bytes(), "dish.db")
    assert [one.title for one in found.lists] == ["Lab images", "Second"]
    assert found.lists == (*read_vmcaster(exported(), "a").lists, *read_vmcaster(json.dumps(two).encode(), "b").lists)


def test_an_image_on_two_lists_is_in_both(tmp_path: Path) -> None:
    second = vmcaster_list(**{"dc:identifier": "3a1df02c-121a-461d-b720-521903ef99f0"})
    found = read_vmcaster(vmcaster_database(tmp_path / "dish.db", vmcaster_list(), second).read_bytes(), "dish.db")
    assert [one.images[0].uuid for one in found.lists] == [IMAGE_UUID, IMAGE_UUID]


def test_what_vmcaster_never_set_is_told_and_not_needed():
    unset = dict.fromkeys(("dc:date:created", "dc:date:expires", "hv:version", "hv:uri", "dc:source", "hv:endorser"))
    found = read_vmcaster(exported(vmcaster_image(**dict.fromkeys(("hv:uri", "hv:version", "hv:size", "sl:checksum:sha512"))), **unset), "x")
    assert {note.field for note in found.notes} == {*unset, "hv:endorser.hv:dn", "hv:endorser.hv:ca"} - {"hv:endorser"}
    made = imported(found.lists[0])
    assert "appliances/debian-worker/appliance.yaml" in documents(made)
    assert made.foreign == ()


def test_several_endorsers_are_told():
    endorsers = [{"hv:x509": {"hv:dn": DN, "hv:ca": CA}}, {"hv:x509": {"hv:dn": "/CN=Second", "hv:ca": CA}}]
    found = read_vmcaster(exported(**{"hv:endorser": endorsers}), "x")
    assert found.lists[0].endorser.dn == DN
    assert any("/CN=Second" in note.what for note in found.notes)


def test_values_that_no_reader_takes_are_left_out_and_told():
    wrong = {"hv:size": "big", "sl:checksum:sha512": "none", "hv:ram_minimum": "lots", "dc:date:expires": "2014-03-03T10:00:00.000Z"}
    found = read_vmcaster(exported(vmcaster_image(**wrong)), "x")
    assert {note.field for note in found.notes} == set(wrong)
    assert found.lists[0].images[0].ram_minimum is None


def test_an_export_without_identifiers_is_refused_with_all_places():
    with pytest.raises(Problems) as caught:
        read_vmcaster(exported(vmcaster_image("x"), vmcaster_image("y"), **{"dc:identifier": None}), "export.json")
    places = {str(problem.place) for problem in caught.value.problems}
    assert places == {
        "export.json: hv:imagelist.dc:identifier",
        "export.json: hv:imagelist.hv:images[0].dc:identifier",
        "export.json: hv:imagelist.hv:images[1].dc:identifier",
    }


CONFIGURATION = b"""
[dish]
server = "dish.example.org"
writeprotocol = "scp"
uriMatch = "https://dish.example.org:2880/"
uriReplace = "root@dish:/srv/images/"
password = "hunter2"
"""


def test_a_configuration_says_where_to_publish():
    found = read_vmcaster(CONFIGURATION, "vmcaster.cfg")
    assert found.lists == ()
    assert "root@dish:/srv/images/" in found.notes[0].what
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    "data", [b"", b"x", b"[1]", b'{"a": 1}', b'{"a": 1, "a": 2}', b"[x]\nserver = dish\n", b"SQLite format 3\x00" + b"x" * 200, b"[\xff"]
)
def test_what_is_not_vmcasters_is_refused(data: bytes) -> None:
    with pytest.raises(UserError):
        read_vmcaster(data, "x")


ODD = [None, True, 0, -1, 1.5, 10**40, "", " ", "x", [], {}, [1], {"a": 1}, [{"hv:x509": 1}], "\x00", "\x1b[31m", "ü", "http://[", "/CN=", "@"]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_value_in_an_export_is_imported_or_refused(data: st.DataObject) -> None:
    value = vmcaster_list(vmcaster_image(), vmcaster_image(OTHER_UUID))
    spots: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in node if isinstance(node, dict) else range(len(node)):
            spots.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(value)
    node, key = data.draw(st.sampled_from(range(len(spots))).map(spots.__getitem__))
    node[key] = data.draw(st.sampled_from(ODD))
    try:
        found = read_vmcaster(json.dumps(value).encode(), "x")
    except (UserError, Refused):
        return
    for one in found.lists:
        documents(imported(one))


def test_a_database_with_odd_values_is_read_or_refused(tmp_path: Path) -> None:
    file = vmcaster_database(tmp_path / "dish.db", vmcaster_list())
    for value in (b"\xff\x00", None, 1.5, float("inf"), 7, "ü"):
        with closing(sqlite3.connect(file)) as base:
            base.execute("update ImageMetadata set value = ? where key = 'dc:title'", (value,))
            base.commit()
        try:
            found = read_vmcaster(file.read_bytes(), "dish.db")
        except (UserError, Refused):
            continue
        documents(imported(found.lists[0]))


# -- comfy


def comfy(answers: str | None = PRESEED, present: Present | None = None, inherits: str | None = None, **changes: Any) -> Imported:
    description = json.dumps(comfy_description(**changes)).encode()
    template = Template(
        "debian.description", description, answers.encode() if answers else None, {"init.sh": b"#!/bin/sh\n"}, {"grub": b"x\n", "bad name": b""}
    )
    return import_template(template, present or Present(), lambda name: f"{len(name):08x}-0000-4000-8000-000000000000", inherits=inherits)


def test_a_description_of_comfys_gives_an_appliance_for_each_version():
    made = comfy()
    found = documents(made)
    assert list(found) == ["appliances/debian-12/appliance.yaml", "appliances/debian-8/appliance.yaml"]
    machine = found["appliances/debian-12/appliance.yaml"]
    assert machine.title == "Debian 12.5.0 (bookworm)"
    assert (machine.requirements.memory, machine.requirements.cpus) == (Size(1 << 30), 2)
    assert (machine.architecture, machine.formats) == ("x86_64", ("qcow2", "ova"))
    assert (machine.distribution.release, machine.distribution.version) == ("bookworm", "12.5.0")
    assert machine.packages == ("openssh-server", "build-essential")
    assert found["appliances/debian-8/appliance.yaml"].distribution.archives == ()
    paths = [file.path for file in made.files]
    assert "appliances/debian-12/provision/init.sh" in paths
    assert "appliances/debian-12/files/grub" in paths
    assert not any("bad name" in path for path in paths)
    fields = told(made)
    assert {("debian-12", "bad name"), ("debian-12", "provision/init.sh"), ("debian.description", "boot_command")} <= fields
    assert {("debian.description", "virtualbox.guest_additions_mode"), ("debian.description", "preseed or kickstart")} <= fields
    assert any("Bad_Name" in note.what for note in made.notes)


def test_another_distribution_of_comfys_is_carried_as_far_as_it_goes():
    version = {"major_version": "7", "minor_version": "1", "iso_url": "http://example.org/7/x86_64/iso/SL.iso", "iso_checksum": "0"}
    made = comfy(KICKSTART, name="ScientificLinux", versions=[version], qemu=None)
    machine = documents(made)["appliances/scientificlinux-7/appliance.yaml"]
    assert (machine.distribution.name, machine.distribution.version, machine.packages, machine.formats) == (None, "7.1", (), ("ova",))
    assert machine.requirements.memory == Size(2 << 30)
    assert any(note.field == "distribution.name" for note in made.notes)
    assert [note.what.split("'")[1] for note in made.notes if note.field == "packages"] == ["wget", "tmux", "@core"]


def test_versions_are_told_apart_by_as_much_as_it_takes():
    versions = [{"major_version": "8", "minor_version": minor, "patch_version": "0"} for minor in ("1", "2")]
    assert [path.split("/")[1] for path in documents(comfy(versions=versions))] == ["debian-8.1", "debian-8.2"]
    with pytest.raises(UserError, match="are the same"):
        comfy(versions=[versions[0], versions[0]])


def test_comfys_appliances_inherit_where_one_says_so():
    machine = documents(comfy(inherits="debian-12-base"))["appliances/debian-12/appliance.yaml"]
    assert (machine.inherits, machine.distribution.name, machine.formats) == ("debian-12-base", None, ())
    assert machine.packages == ("openssh-server", "build-essential")


def test_an_appliance_of_the_same_name_stays():
    made = comfy(present=Present({OTHER_UUID: "debian-12"}))
    assert list(documents(made)) == ["appliances/debian-8/appliance.yaml"]
    assert ("debian-12", "") in told(made)
    whole, again = comfy(), comfy(present=Present({f"{len('debian-12'):08x}-0000-4000-8000-000000000000": "debian-12"}))
    assert {file.path for file in whole.files} - {file.path for file in again.files} == {"appliances/debian-12/appliance.yaml"}


@pytest.mark.parametrize(
    "changes",
    [{"name": None}, {"versions": None}, {"versions": ["8"]}, {"versions": [{}]}, {"name": "—"}, {"name": 1}],
    ids=str,
)
def test_what_is_no_description_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        comfy(**changes)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_value_in_a_description_is_imported_or_refused(data: st.DataObject) -> None:
    value = comfy_description()
    spots: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in node if isinstance(node, dict) else range(len(node)):
            spots.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(value)
    node, key = data.draw(st.sampled_from(range(len(spots))).map(spots.__getitem__))
    node[key] = data.draw(st.sampled_from([None, True, 0, -1, "", " ", "x", [], {}, [1], [["-m"]], {"a": 1}, "\x00", "\x1b[31m", "ü"]))
    try:
        made = import_template(Template("x", json.dumps(value).encode()), Present(), lambda _: OTHER_UUID)
    except UserError:
        return
    documents(made)
