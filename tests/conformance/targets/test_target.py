"""What every target does, at a real place of each kind."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest

from support.places import WEB, Place
from vmkeeper.errors import Refused, Transient, UserError
from vmkeeper.images.targets import SMALL, put_bytes
from vmkeeper.images.targets_http import MANIFEST
from vmkeeper.images.targets_lease import LEASE, LOCK_FILE
from vmkeeper.model.release import Blob
from vmkeeper.values import Size, sha512_hex

BESIDE = {MANIFEST, LOCK_FILE}


def blob_of(data: bytes) -> Blob:
    return Blob(size=Size(len(data)), sha512=sha512_hex(data))


def public(place: Place) -> dict[str, bytes]:
    return {path: data for path, data in place.held().items() if path not in BESIDE}


def put(place: Place, files: dict[str, bytes]) -> None:
    target = place.open()
    with target.alone():
        for path, data in files.items():
            put_bytes(target, path, data)


class Source(io.RawIOBase):
    """Bytes, after which reading fails."""

    def __init__(self, data: bytes, error: Exception) -> None:
        self._data, self._error = io.BytesIO(data), error

    def read(self, size: int = -1) -> bytes:
        if data := self._data.read(size):
            return data
        raise self._error


def test_what_is_put_is_there_for_everybody(place: Place) -> None:
    files = {"science/imagelist.signed": b"list", "science/images/u/1/debian-12-1.qcow2": b"x" * 70_000, "imagelists.json": b"{}"}
    put(place, files)
    assert public(place) == files
    seen = place.open()
    assert seen.files() == {path: len(data) for path, data in files.items()}
    assert seen.files("science/images") == {"science/images/u/1/debian-12-1.qcow2": 70_000}
    assert seen.files("teaching/images") == {}
    assert seen.read("science/imagelist.signed", 100) == b"list"
    assert seen.read("science/imagelist.signed", 2) == b"li"
    assert seen.read("science/other", 100) is None


def test_nothing_is_published_yet(place: Place) -> None:
    target = place.open()
    assert target.files() == target.files("science/images") == {}
    assert target.read("imagelists.json", 10) is None
    assert not target.leftovers()


def test_a_file_that_is_there_is_replaced(place: Place) -> None:
    put(place, {"a/list": b"one"})
    put(place, {"a/list": b"another one"})
    assert public(place) == {"a/list": b"another one"}
    assert place.open().files() == {"a/list": 11}


def test_removing_is_the_same_twice(place: Place) -> None:
    put(place, {"a/one": b"1", "a/two": b"2"})
    target = place.open()
    with target.alone():
        target.remove("a/one")
        target.remove("a/one")
        target.remove("a/never")
    assert public(place) == {"a/two": b"2"}
    assert place.open().files() == {"a/two": 1}


def test_a_large_file_is_sent_in_pieces(place: Place) -> None:
    data = bytes(range(256)) * ((SMALL + (1 << 20)) // 256) + b"end"
    put(place, {"a/large": data})
    assert public(place)["a/large"] == data
    assert place.open().files("a") == {"a/large": len(data)}


@pytest.mark.parametrize("size", [100, SMALL + 100], ids=["small", "large"])
@pytest.mark.parametrize("wrong", ["shorter", "longer", "other bytes", "fails"])
def test_what_is_not_meant_never_has_the_name(place: Place, size: int, wrong: str) -> None:
    put(place, {"a/image": b"before"})
    data = b"i" * size
    sources = {"shorter": data[:-1], "longer": data + b"i", "other bytes": data[:-1] + b"j", "fails": data[: size // 2]}
    target = place.open()
    error = Refused("R14", "the store is damaged")
    source = Source(sources[wrong], error) if wrong == "fails" else io.BytesIO(sources[wrong])
    with target.alone(), pytest.raises(Refused):
        target.put("a/image", source, blob_of(data))
    assert public(place).get("a/image") == b"before"
    put(place, {"a/image": data})
    assert public(place) == {"a/image": data}
    assert not place.open().leftovers()


def test_what_a_killed_run_left_is_not_shown_and_goes(place: Place) -> None:
    if place.kind in (*WEB, "s3"):
        pytest.skip("nothing is left under another name there")
    put(place, {"a/list": b"one"})
    place.put_behind("a/.vmkeeper-new-0011223344556677", b"half")
    target = place.open()
    assert target.files() == {"a/list": 3}
    assert target.leftovers()
    with target.alone():
        pass
    assert place.held() == {"a/list": b"one"}
    assert not place.open().leftovers()


def test_one_publisher_at_a_time(place: Place) -> None:
    if place.kind in WEB:
        pytest.skip("an HTTP server has no lock")
    first, second = place.open(), place.open()
    with first.alone():
        put_bytes(first, "a/list", b"one")
        with pytest.raises(Transient, match="another run"), second.alone():
            raise AssertionError("never gets here")
    with second.alone():
        put_bytes(second, "a/list", b"two")
    assert place.held() == {"a/list": b"two"}


def test_reading_changes_nothing(place: Place) -> None:
    put(place, {"a/list": b"one"})
    before = place.held()
    changes = len(place.server.changes) if place.kind in ("sftp", "http") else 0
    target = place.open()
    assert not target.leftovers()
    assert target.files() == {"a/list": 3}
    assert target.read("a/list", 3) == b"one"
    assert place.held() == before
    assert changes == (len(place.server.changes) if place.kind in ("sftp", "http") else 0)


def test_a_lock_that_nobody_prolongs_is_taken_over(place: Place) -> None:
    if place.kind in (*WEB, "folder"):
        pytest.skip("has no lock that lasts")
    first, second = place.open(), place.open()
    holding = first.alone()
    holding.__enter__()
    place.now[0] += LEASE / 2
    put_bytes(first, "a/list", b"one")
    place.now[0] += LEASE / 2 + timedelta(seconds=1)
    with pytest.raises(Transient, match="another run"), second.alone():
        pass
    place.now[0] += LEASE
    assert second.leftovers()
    with second.alone():
        put_bytes(second, "a/list", b"two")
        with pytest.raises(Transient, match="taken the lock"):
            put_bytes(first, "a/list", b"three")
    assert place.held() == {"a/list": b"two"}
    holding.__exit__(None, None, None)


def test_addresses_and_errors_show_no_secret(place: Place) -> None:
    target = place.open()
    for word in ("password", "a long password", "a secret", "testing"):
        assert word not in target.name
        assert word not in repr(target)


def test_a_place_that_is_not_there(place: Place) -> None:
    if place.kind in ("memory", "folder"):
        pytest.skip("is made when something is written")
    from vmkeeper.images.targets_open import open_target

    scheme = place.address.partition(":")[0]
    nowhere = {"s3": "s3://no-such-bucket-here/public", "sftp": "sftp://publisher@127.0.0.1:1/public", "http": "http://127.0.0.1:1/images"}[scheme]
    with pytest.raises((UserError, Transient)) as caught:
        open_target(nowhere, place.options).files()
    assert caught.value.hint
