"""simplestreams: names that no two images share, versions whose text order is their order, and what the readers' own types demand."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.shelves import BASE, CREATED, content, image, shelf, shelves, two_lists
from vmkeeper.lists.lxd import Digests, digests
from vmkeeper.lists.shelf import Shelf, ShelvedImage
from vmkeeper.lists.simplestreams import content_id, files, product_name, publisher, version_name
from vmkeeper.values import Version


def documents(*made: Shelf, base: str = BASE) -> dict[str, dict]:
    return {file.path: json.loads(file.unsigned) for file in files(made, base)}


def items(document: dict) -> list[tuple[str, str, str, dict]]:
    return [
        (product, version, name, item)
        for product, held in document["products"].items()
        for version, of in held["versions"].items()
        for name, item in of["items"].items()
    ]


@pytest.mark.parametrize(
    ("base", "name"),
    [
        ("https://images.example.org", "org.example.images"),
        ("https://Images.Example.org:8443/below/", "org.example.images"),
        ("http://localhost:8000", "localhost"),
        ("http://127.0.0.1:8000/", "127.0.0.1"),
        ("http://[::1]:8000/", "1"),
        ("file:///srv/www/images", None),
    ],
)
def test_the_publisher_is_named_after_the_address(base: str, name: str | None) -> None:
    if name is None:
        with pytest.raises(ValueError, match="the address of the public folder"):
            publisher(base)
    else:
        assert publisher(base) == name


def test_names_tell_publisher_list_appliance_system_and_architecture() -> None:
    assert content_id(shelf("science"), BASE) == "org.example.images:science:download"
    assert product_name(image("debian-12-docker"), BASE) == "org.example.images:debian-12-docker:12:amd64"
    assert product_name(image(architecture="aarch64", osversion="13 (trixie)"), BASE) == "org.example.images:debian-12:13-trixie-:arm64"


@pytest.mark.parametrize(
    ("version", "name"),
    [
        ("2026.11.20.7", "20261120.000007"),
        ("2026.11.20", "20261120"),
        ("2026.11.20.1234567", "20261120.1234567"),
        ("2026.13.20.7", "002026.000013.000020.000007"),
        ("1.2", "000001.000002"),
        ("7", "000007"),
    ],
)
def test_a_version_begins_with_its_date(version: str, name: str) -> None:
    assert version_name(version) == name


dated = st.tuples(st.dates(datetime(1970, 1, 1).date(), datetime(9999, 12, 31).date()), st.integers(0, 999_999)).map(  # noqa: DTZ001
    lambda pair: f"{pair[0].year}.{pair[0].month}.{pair[0].day}.{pair[1]}"
)


@given(dated, dated)
def test_the_order_of_names_is_the_order_of_versions(one: str, other: str) -> None:
    assert (version_name(one) < version_name(other)) == (Version(one) < Version(other))
    assert (version_name(one) == version_name(other)) == (Version(one) == Version(other))


def test_an_image_is_described_as_mirrors_read_it() -> None:
    document = documents(*two_lists())["streams/v1/science.download.json"]
    product = document["products"]["org.example.images:debian-12-docker:12:amd64"]
    said = {key: product[key] for key in ("os", "version", "release", "arch", "aliases", "variant", "supported", "support_eol")}
    assert said == {
        "os": "debian",
        "version": "12",
        "release": "bookworm",
        "arch": "amd64",
        "aliases": "debian-12-docker",
        "variant": "debian-12-docker",
        "supported": True,
        "support_eol": "2027-02-18",
    }
    version = product["versions"]["20261120.000012"]
    assert (version["pubname"], version["vmkeeper_version"]) == ("debian-12-docker-2026.11.20.12", "2026.11.20.12")
    made = two_lists()[0].images[1]
    assert version["items"] == {"disk1.img": {"ftype": "disk1.img", "path": made.path, "sha512": made.sha512, "size": made.size}}


def test_only_qcow2_bears_a_name_that_glance_takes_for_qcow2() -> None:
    for kind in ("raw", "vmdk", "vdi", "vhd", "ova"):
        (found,) = items(documents(shelf("science", image(format=kind)))["streams/v1/science.download.json"])
        assert found[3]["ftype"] not in ("disk1.img", "disk.img")
        assert found[2] == found[3]["ftype"]


def test_one_release_in_two_formats_is_one_version_with_two_items() -> None:
    document = documents(shelf("science", image(format="raw"), image()))["streams/v1/science.download.json"]
    assert [(found[1], found[2]) for found in items(document)] == [("20261120.000007", "disk1.img"), ("20261120.000007", "disk.raw")]


def test_two_appliances_of_one_system_are_two_products() -> None:
    document = documents(shelf("science", image("one"), image("two")))["streams/v1/science.download.json"]
    assert len(document["products"]) == 2


def test_times_are_those_of_the_lists() -> None:
    index = documents(*two_lists())["streams/v1/index.json"]
    assert parsedate_to_datetime(index["updated"]) == CREATED
    assert parsedate_to_datetime(index["index"]["org.example.images:empty:download"]["updated"]) < CREATED
    assert parsedate_to_datetime(documents()["streams/v1/index.json"]["updated"]) == datetime(1970, 1, 1, tzinfo=UTC)


def test_a_list_called_index_does_not_fall_on_the_index() -> None:
    assert sorted(documents(shelf("index"))) == ["streams/v1/index.download.json", "streams/v1/index.json"]


@given(shelves())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_reader_finds_the_types_that_it_demands(made: tuple[Shelf, ...]) -> None:
    """As LXD, Incus and Juju declare them; one wrong type makes Go's JSON reader refuse the whole file."""
    found = documents(*made)
    index = found.pop("streams/v1/index.json")
    assert index["format"] == "index:1.0"
    assert sorted(entry["path"] for entry in index["index"].values()) == sorted(found)
    for identifier, entry in index["index"].items():
        document = found[entry["path"]]
        assert (document["content_id"], document["format"], document["datatype"]) == (identifier, "products:1.0", "image-downloads")
        assert entry["products"] == list(document["products"])
        for product in document["products"].values():
            for key in ("aliases", "arch", "os", "release", "release_codename", "release_title", "support_eol", "version", "variant"):
                assert type(product[key]) is str, key
            assert type(product["supported"]) is bool
            assert all(type(value) is str for value in product["requirements"].values())
            assert re.fullmatch(r"\d{4}-\d\d-\d\d", product["support_eol"])
        for _, version, name, item in items(document):
            assert re.fullmatch(r"[0-9.]+", version)
            assert name == item["ftype"]
            assert type(item["size"]) is int
            assert not item["path"].startswith("/")
            assert ".." not in item["path"].split("/")
    assert sum(len(items(document)) for document in found.values()) == sum(len(one.images) for one in made)


def known_of(*images: ShelvedImage) -> dict[str, Digests]:
    return {one.sha512: digests(one, [content(one.path)]) for one in images}


def test_with_its_digests_an_image_can_be_taken_by_lxd_and_incus() -> None:
    one = image()
    known = known_of(one)[one.sha512]
    document = json.loads(files([shelf("science", one)], BASE, known_of(one))[1].unsigned)
    found = {name: item for _, _, name, item in items(document)}
    assert sorted(found) == ["disk1.img", "incus.tar.xz", "lxd.tar.xz"]
    assert (found["disk1.img"]["sha256"], found["disk1.img"]["md5"]) == (known.sha256, known.md5)
    assert found["lxd.tar.xz"]["combined_disk1-img_sha256"] == known.fingerprint
    assert {**found["incus.tar.xz"], "ftype": "lxd.tar.xz"} == found["lxd.tar.xz"]


def test_what_is_no_qcow2_has_digests_and_no_metadata() -> None:
    one = image(format="raw")
    (found,) = items(json.loads(files([shelf("science", one)], BASE, known_of(one))[1].unsigned))
    assert set(found[3]) == {"ftype", "md5", "path", "sha256", "sha512", "size"}
