"""Images of the stand-in: what the recordings do not show, as opennebula's drivers and states have it."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import pytest

from support.oneinside import DISK, Inside
from support.webserver import WebServer


@pytest.fixture(params=["6.10.0.1", "7.4.0"])
def one(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Inside]:
    inside = Inside(tmp_path, request.param)
    yield inside
    inside.close()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[WebServer]:
    with WebServer() as server:
        server.serve("/disk.raw", DISK)
        yield server


def test_a_file_is_locked_until_the_driver_has_copied_it(one: Inside) -> None:
    one.hold()
    oid = one.image("a", settle=False)
    assert one.said("image", oid, "STATE", "SOURCE", "FORMAT", "SIZE") == ("4", "", "", "3")
    one.hold(False)
    one.settle()
    state, source, form = one.said("image", oid, "STATE", "SOURCE", "FORMAT")
    assert (state, form) == ("1", "raw")
    assert source is not None
    assert Path(source).read_bytes() == DISK


def test_an_address_is_asked_three_times(one: Inside, web: WebServer) -> None:
    oid = one.image("a", path=web.url + "/disk.raw")
    assert one.state("image", oid) == "1"
    assert [request.path for request in web.requests] == ["/disk.raw"] * 3


@pytest.mark.parametrize(("name", "state"), [("md5", "1"), ("sha1", "1"), ("MD5", "5"), ("SHA1", "5"), ("SHA256", "1"), ("SHA512", "1")])
def test_md5_and_sha1_are_compared_and_nothing_else(one: Inside, web: WebServer, name: str, state: str) -> None:
    value = hashlib.new(name, DISK).hexdigest() if name.islower() else "0" * 32
    oid = one.image("a", path=web.url + "/disk.raw", more=f'{name}="{value}"')
    assert one.state("image", oid) == state
    assert (one.said("image", oid, "TEMPLATE/ERROR") == (None,)) == (state == "1")


def test_an_image_in_error_is_ready_once_enabled_whatever_it_lacks(one: Inside, web: WebServer) -> None:
    oid = one.image("a", path=web.url + "/disk.raw", more='MD5="00"')
    one.call("image.enable", oid, True)
    assert one.said("image", oid, "STATE", "SOURCE") == ("1", "")


def test_a_download_that_is_cut_is_an_error(one: Inside, web: WebServer) -> None:
    web.pages["/disk.raw"].cuts = [2 * len(DISK), 2 * len(DISK), 100_000]
    assert one.state("image", one.image("a", path=web.url + "/disk.raw")) == "5"


def test_files_outside_the_safe_folders_are_not_copied(one: Inside) -> None:
    oid = one.image("a", path="/etc/passwd")
    assert one.state("image", oid) == "5"


def test_a_packed_local_file_is_unpacked(one: Inside) -> None:
    oid = one.image("a", path=str(one.file("disk.raw.gz", gzip.compress(DISK))))
    size, source = one.said("image", oid, "SIZE", "SOURCE")
    assert size == "3"
    assert source is not None
    assert Path(source).read_bytes() == DISK


def test_room_is_what_the_monitor_says_and_the_limit_leaves(tmp_path: Path) -> None:
    one = Inside(tmp_path, capacity=7)
    first = one.image("a")
    one.image("b")
    assert one.said("datastore", 1, "FREE_MB", "USED_MB") == ("7", "0")
    one.oned.drivers.monitor()
    assert one.said("datastore", 1, "FREE_MB", "USED_MB") == ("1", "6")
    assert one.refused("image.allocate", f'NAME="c"\nPATH="{one.file()}"', 1) == (2048, "Not enough space in datastore")
    one.call("image.delete", first)
    one.settle()
    one.oned.drivers.monitor()
    assert one.said("datastore", 1, "FREE_MB") == ("4",)
    one.call("datastore.update", 1, "LIMIT_MB=5", 1)
    assert one.refused("image.allocate", f'NAME="c"\nPATH="{one.file()}"', 1) == (2048, "Not enough space in datastore")
    one.close()


def test_a_datastore_that_filled_since_it_was_looked_at_fails_while_copying(tmp_path: Path) -> None:
    one = Inside(tmp_path, capacity=5)
    one.image("a")
    second = one.image("b")
    state, why = one.said("image", second, "STATE", "TEMPLATE/ERROR")
    assert state == "5"
    assert "No space left on device" in (why or "")
    one.close()


def test_a_quota_counts_images_and_megabytes(one: Inside) -> None:
    alice = int(one.said("user", 2, "ID")[0] or 0)
    one.call("user.quota", alice, 'DATASTORE=[ID="1",IMAGES="2",SIZE="5"]')
    one.image("a", user="alice")
    why = "User [2] : user [2] limit of 5 reached for SIZE quota in DATASTORE with ID: 1."
    assert one.refused("image.allocate", f'NAME="b"\nPATH="{one.file()}"', 1, user="alice") == (512, why)
    quota = ElementTree.fromstring(one.call("user.info", -1, user="alice")).find("DATASTORE_QUOTA/DATASTORE")
    assert quota is not None
    assert [child.text for child in quota] == ["1", "2", "1", "5", "3"]


def test_one_of_ten_at_once_gets_the_name(one: Inside) -> None:
    text = f'NAME="same"\nPATH="{one.file()}"'
    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(lambda _: one.ask("image.allocate", text, 1), range(10)))
    assert sorted(answer[0] for answer in answers) == [False] * 9 + [True]
    assert {answer[2] for answer in answers if not answer[0]} == {16384}


def test_two_owners_may_use_one_name(one: Inside) -> None:
    assert one.image("a") != one.image("a", user="alice")


@pytest.mark.parametrize("character", "&|:\\;/'#{}$<>")
def test_characters_that_names_cannot_have(one: Inside, character: str) -> None:
    code, why = one.refused("image.allocate", f'NAME="a{character}b"\nPATH="{one.file()}"', 1)
    assert (code, why) == (16384, f"Error allocating a new image. Invalid NAME, char '{character}' is not allowed")


def test_a_delete_waits_for_the_driver(one: Inside) -> None:
    oid = one.image("a")
    source = Path(one.said("image", oid, "SOURCE")[0] or "")
    one.hold()
    one.call("image.delete", oid)
    assert one.state("image", oid) == "7"
    one.hold(False)
    one.settle()
    assert one.state("image", oid) == "gone"
    assert not source.exists()
    assert one.said("datastore", 1, "IMAGES") == ("",)


def test_a_change_of_state_ends_a_lock(one: Inside) -> None:
    oid = one.image("a")
    one.call("image.lock", oid, 3, False)
    one.call("image.enable", oid, False)
    assert one.info("image", oid).find("LOCK") is None


@pytest.mark.parametrize(
    ("lie", "answer"), [("no-space", (2048, "Not enough space in datastore")), ("empty-size", (8192, "Cannot parse image SIZE: "))]
)
def test_false_answers_of_drivers(one: Inside, lie: str, answer: tuple[int, str]) -> None:
    one.oned.lies.tell(name=lie, skip=1, count=2)
    one.image("a")
    for _ in range(2):
        assert one.refused("image.allocate", f'NAME="b"\nPATH="{one.file()}"', 1) == answer
    assert one.state("image", one.image("b")) == "1"


def test_a_delete_that_hangs_is_cleared_by_a_second_one(one: Inside) -> None:
    oid = one.image("a")
    one.oned.lies.tell(name="stuck-delete")
    one.call("image.delete", oid)
    one.settle()
    assert one.state("image", oid) == "7"
    one.call("image.delete", oid)
    one.settle()
    assert one.state("image", oid) == "gone"


def test_a_copy_that_fails(one: Inside) -> None:
    one.oned.lies.tell(name="error-image", count=2)
    for datastore in (1, 101):
        oid = one.image(f"a{datastore}", datastore=datastore)
        assert one.said("image", oid, "STATE", "SOURCE", "FORMAT") == ("5", "", "")
        assert one.said("image", oid, "TEMPLATE/ERROR") != (None,)
        one.call("image.delete", oid)
        assert one.state("image", oid) == "gone"


def test_a_restricted_attribute_is_not_changed_by_a_user(one: Inside) -> None:
    oid = one.image("a", user="alice")
    code, why = one.refused("image.update", oid, 'SOURCE="/etc/passwd"', 1, user="alice")
    assert (code, why) == (8192, "Cannot update template. Tried to change restricted attribute: SOURCE")
    one.call("image.update", oid, 'K="v"', 1, user="alice")


def test_what_an_image_was_cloned_from_is_in_use_meanwhile(one: Inside) -> None:
    oid = one.image("a")
    one.hold()
    copy = one.call("image.clone", oid, "b", 100)
    assert one.said("image", oid, "STATE", "CLONING_OPS", "CLONES/ID") == ("2", "1", str(copy))
    assert one.refused("image.delete", oid) == (2048, "Cannot delete image. There are 0 VMs using it.")
    one.hold(False)
    one.settle()
    assert (one.state("image", oid), one.state("image", copy)) == ("1", "1")
    assert one.said("image", copy, "DATASTORE") == ("second",)


def test_only_an_administrator_forces_what_a_driver_works_on(one: Inside) -> None:
    one.hold()
    oid = one.image("a", user="alice", settle=False)
    assert one.refused("image.delete", oid, user="alice")[0] == 8192
    assert one.refused("image.delete", oid, True, user="alice") == (512, f"User [2] : Not authorized to perform ADMIN IMAGE [{oid}].")
    one.call("image.delete", oid, True)
    assert one.state("image", oid) == "gone"


def test_a_name_is_first_looked_for_and_then_looked_at(one: Inside) -> None:
    oid = one.image("a", user="alice")
    one.image("b", user="alice")
    one.call("image.rename", oid, "a", user="bob")
    assert one.refused("image.rename", oid, "b", user="bob")[0] == 512
    assert one.refused("image.rename", oid, "b")[1].startswith("image cannot be renamed to b because it collides with image ")
    assert one.refused("image.rename", oid, "a/b") == (2048, "Invalid NAME, char '/' is not allowed")
