"""The cache of a site: files by content, what goes first, what never goes, and what a killed run leaves."""

from __future__ import annotations

import hashlib
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmkeeper.errors import Refused
from vmkeeper.images.cache import Converted, ImageCache
from vmkeeper.model.release import Blob
from vmkeeper.values import Duration, Size

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
DAY = 86400
BLOCK = 4096


def cache_in(folder: Path, size: int = 10 * BLOCK, age: str = "60d") -> ImageCache:
    return ImageCache(folder, size=Size(size), age=Duration.parse(age))


@pytest.fixture
def cache(tmp_path: Path) -> ImageCache:
    return cache_in(tmp_path / "cache")


def blob_of(data: bytes) -> Blob:
    return Blob(size=Size(len(data)), sha512=hashlib.sha512(data).hexdigest())


def put(cache: ImageCache, data: bytes, *, days: float = 0) -> str:
    """A file that was last used so many days before NOW."""
    cache.incoming.mkdir(parents=True, exist_ok=True)
    file = cache.incoming / "new"
    file.write_bytes(data)
    path = cache.keep(file, blob_of(data))
    os.utime(path, (NOW.timestamp() - days * DAY,) * 2)
    return path.name


def here(cache: ImageCache) -> set[str]:
    return {path.name for path in (cache.folder / "files").iterdir()}


def test_a_file_is_kept_by_its_content(cache: ImageCache) -> None:
    digest = put(cache, b"one")
    path = cache.path(digest)
    assert path is not None
    assert path.read_bytes() == b"one"
    assert path.stat().st_mode & 0o777 == 0o444
    assert cache.sound(blob_of(b"one")) == path
    assert cache.path("0" * 128) is None
    assert not (cache.incoming / "new").exists()


def test_keeping_again_changes_nothing(cache: ImageCache) -> None:
    assert put(cache, b"one") == put(cache, b"one")
    assert here(cache) == {blob_of(b"one").sha512}


def test_a_file_of_another_size_is_refused(cache: ImageCache) -> None:
    cache.incoming.mkdir(parents=True)
    (cache.incoming / "new").write_bytes(b"one and more")
    with pytest.raises(Refused) as error:
        cache.keep(cache.incoming / "new", blob_of(b"one"))
    assert error.value.rule == "R14"
    assert cache.path(blob_of(b"one").sha512) is None


@pytest.mark.parametrize("data", [b"onf", b"", b"one and more"])
def test_a_file_that_was_spoilt_is_found_out_and_goes(cache: ImageCache, data: bytes) -> None:
    digest = put(cache, b"one")
    path = cache.path(digest)
    assert path is not None
    path.chmod(0o644)
    path.write_bytes(data)
    assert cache.sound(blob_of(b"one")) is None
    assert cache.path(digest) is None


@pytest.mark.parametrize("name", ["", "../x", "a" * 127, "A" * 128, "a" * 128 + "/x"])
def test_only_digests_are_names(cache: ImageCache, name: str) -> None:
    with pytest.raises(ValueError, match="SHA-512"):
        cache.path(name)


def test_what_nobody_used_for_long_goes(cache: ImageCache) -> None:
    put(cache, b"old", days=61)
    young = put(cache, b"young", days=59)
    assert cache.evict(NOW) == (blob_of(b"old").sha512,)
    assert here(cache) == {young}


def test_using_a_file_keeps_it(cache: ImageCache) -> None:
    digest = put(cache, b"old", days=100 * 365)
    cache.path(digest)
    assert cache.evict(datetime.now(UTC)) == ()
    assert cache.evict(datetime.now(UTC) + timedelta(days=61)) == (digest,)


def test_of_too_many_those_used_longest_ago_go(cache: ImageCache) -> None:
    digests = [put(cache, bytes([n + 1]) * BLOCK, days=20 - n) for n in range(15)]
    assert cache.evict(NOW) == tuple(digests[:5])
    assert here(cache) == set(digests[5:])
    assert cache.evict(NOW) == ()


def test_what_a_registration_needs_never_goes(cache: ImageCache) -> None:
    digests = [put(cache, bytes([n + 1]) * BLOCK, days=100 - n) for n in range(15)]
    with cache.using(digests[0]), cache.using(digests[0], digests[1]):
        cache.evict(NOW, keep={digests[2]})
        assert here(cache) == set(digests[:3])
        cache.make_room(1 << 62)
        assert here(cache) == set(digests[:2])
    cache.make_room(1 << 62)
    assert here(cache) == set()


def test_holes_take_no_room(cache: ImageCache) -> None:
    cache.incoming.mkdir(parents=True)
    file = cache.incoming / "new"
    with file.open("wb") as opened:
        opened.truncate(1 << 30)
    digest = cache.keep(file, Blob(size=Size(1 << 30), sha512="a" * 128)).name
    assert cache.evict(datetime.now(UTC)) == ()
    assert here(cache) == {digest}


def test_room_is_made_only_as_far_as_it_is_needed(cache: ImageCache, tmp_path: Path) -> None:
    put(cache, b"one", days=1)
    cache.make_room(shutil.disk_usage(tmp_path).free // 2)
    assert len(here(cache)) == 1


def test_conversions_are_remembered(cache: ImageCache) -> None:
    made = Converted(format="raw", size=Size(7), sha512="b" * 128, virtual_size=Size(9))
    assert cache.converted("a" * 128, "raw") is None
    cache.remember("a" * 128, "raw", made)
    assert cache.converted("a" * 128, "raw") == made
    assert cache.converted("a" * 128, "qcow2") is None
    again = made.model_copy(update={"sha512": "c" * 128})
    cache.remember("a" * 128, "raw", again)
    assert cache.converted("a" * 128, "raw") == again


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"format": "raw"}', b"\0" * 10000])
def test_a_record_that_cannot_be_read_is_none(cache: ImageCache, data: bytes) -> None:
    cache.remember("a" * 128, "raw", Converted(format="raw", size=Size(7), sha512="b" * 128, virtual_size=Size(9)))
    (path,) = (cache.folder / "converted").iterdir()
    path.write_bytes(data)
    assert cache.converted("a" * 128, "raw") is None


def test_old_records_go_when_neither_file_is_here(cache: ImageCache) -> None:
    source, result = put(cache, b"source"), put(cache, b"result")
    records = {
        "stays: its source is here": (source, "9" * 128),
        "stays: its result is here": ("1" * 128, result),
        "goes": ("2" * 128, "9" * 128),
    }
    for origin, made in records.values():
        cache.remember(origin, "raw", Converted(format="raw", size=Size(6), sha512=made, virtual_size=Size(9)))
        os.utime(cache.folder / "converted" / f"{origin}.raw.json", (0, 0))
    cache.remember("3" * 128, "raw", Converted(format="raw", size=Size(6), sha512="9" * 128, virtual_size=Size(9)))
    cache.evict(NOW)
    assert {path.name[:128] for path in (cache.folder / "converted").iterdir()} == {source, "1" * 128, "3" * 128}


def test_tidying_takes_what_is_not_ours_and_leaves_what_is(cache: ImageCache) -> None:
    digest = put(cache, b"one")
    cache.remember("a" * 128, "raw", Converted(format="raw", size=Size(7), sha512="b" * 128, virtual_size=Size(9)))
    kept = [cache.incoming / f"{'c' * 32}.part", cache.incoming / f"{'c' * 32}.part.json"]
    gone = [
        cache.folder / f"{'d' * 32}.image",
        cache.folder / f"{'c' * 32}.part",
        cache.folder / f"{'c' * 32}.part.json",
        cache.incoming / ("e" * 128),
        cache.incoming / f"{'f' * 32}.part",
        cache.incoming / ".vmkeeper-new-0123",
        cache.folder / "files" / ".vmkeeper-new-0123",
        cache.folder / "files" / "readme",
        cache.folder / "converted" / ".vmkeeper-new-0123",
    ]
    for path in (*kept, *gone):
        path.write_bytes(b"x")
    folders = [cache.incoming / ".vmkeeper-work-0123", cache.folder / "old"]
    for folder in folders:
        folder.mkdir()
        (folder / "disk").write_bytes(b"x")
    cache.tidy(wanted={"c" * 128})
    assert [path for path in (*gone, *folders) if path.exists()] == []
    assert [path for path in kept if not path.exists()] == []
    assert cache.path(digest)
    assert cache.converted("a" * 128, "raw")


def test_tidying_where_there_is_nothing(tmp_path: Path) -> None:
    cache = cache_in(tmp_path / "none")
    cache.tidy()
    assert cache.evict(NOW) == ()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 90), st.booleans()), min_size=1, max_size=12), st.integers(0, 20))
def test_what_stays_fits_or_is_needed(files: list[tuple[int, int, bool]], room: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        cache = cache_in(Path(folder), size=room * BLOCK)
        made = {put(cache, bytes([n]) * blocks * BLOCK, days=days): (blocks, days, needed) for n, (blocks, days, needed) in enumerate(files)}
        needed = {digest for digest, one in made.items() if one[2]}
        gone = cache.evict(NOW, keep=needed)
        left = here(cache)
        assert left | set(gone) == set(made)
        assert needed <= left
        assert all(made[digest][1] <= 60 for digest in left - needed)
        assert sum(made[digest][0] for digest in left) <= room or left == needed
        young = [digest for digest in gone if made[digest][1] <= 60]
        assert all(made[one][1] >= made[other][1] for one in young for other in left - needed)
