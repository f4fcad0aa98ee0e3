"""What every store does, over a folder and over fsspec's memory file system; then what only a folder does."""

import os
import signal
import stat
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmkeeper.errors import EnvironmentLacks, Refused, UserError
from vmkeeper.images.files import PREFIX, remove_leftovers, temporary, write_file
from vmkeeper.images.store import Store
from vmkeeper.values import sha512_hex

ABSENT = "0" * 128


@pytest.fixture(params=["folder", "file", "memory"])
def url(request, tmp_path):
    if request.param == "memory":
        name = f"memory://store-{uuid.uuid4()}"
        yield name
        fsspec.filesystem("memory").store.clear()
    else:
        yield str(tmp_path / "store") if request.param == "folder" else (tmp_path / "store").as_uri()


@pytest.fixture
def store(url):
    return Store(url)


@pytest.fixture
def folder(tmp_path):
    return Store(tmp_path / "store")


def flip(store, sha512, data=b"other bytes"):
    path = store._path(sha512)
    if store.local_path(sha512):
        Path(path).chmod(0o644)
    with store._fs.open(path, "wb") as file:
        file.write(data)


def incoming(store):
    path = f"{store._root}/incoming"
    return store._fs.ls(path) if store._fs.exists(path) else []


@pytest.mark.parametrize("data", [b"", b"x", b"\0" * (3 << 20), b"\0" * 7, b"a" * (1 << 20) + b"\0" * (1 << 20) + b"end"])
def test_what_was_put_comes_back(store, tmp_path, data):
    source = tmp_path / "source"
    source.write_bytes(data)
    blob = store.put(source)
    assert (blob.size, blob.sha512) == (len(data), sha512_hex(data))
    assert store.has(blob.sha512)
    assert store.size(blob.sha512) == len(data)
    assert store.read(blob.sha512, len(data)) == data
    with store.open(blob.sha512) as file:
        assert b"".join(iter(lambda: file.read(1000), b"")) == data
    store.fetch(blob.sha512, tmp_path / "out" / "copy")
    assert (tmp_path / "out" / "copy").read_bytes() == data
    assert store.verify(blob.sha512) == blob
    assert list(store.digests()) == [blob.sha512]
    assert incoming(store) == []
    assert source.read_bytes() == data


def test_bytes_and_file_of_one_content_are_one_file(store, tmp_path):
    (tmp_path / "source").write_bytes(b"same")
    assert store.put_bytes(b"same") == store.put(tmp_path / "source")
    assert len(list(store.digests())) == 1


def test_moved_file_is_given_away(store, tmp_path):
    for _ in range(2):
        (tmp_path / "source").write_bytes(b"mine")
        blob = store.put(tmp_path / "source", move=True)
        assert not (tmp_path / "source").exists()
        assert store.read(blob.sha512, 10) == b"mine"


def test_another_store_at_the_same_place_sees_the_files(store, url):
    blob = store.put_bytes(b"shared")
    assert Store(url).read(blob.sha512, 10) == b"shared"


def test_absent_file_is_a_users_error_everywhere(store, tmp_path):
    assert not store.has(ABSENT)
    assert store.local_path(ABSENT) is None
    for attempt in (
        lambda: store.open(ABSENT),
        lambda: store.read(ABSENT, 1),
        lambda: store.size(ABSENT),
        lambda: store.verify(ABSENT),
        lambda: store.fetch(ABSENT, tmp_path / "out"),
    ):
        with pytest.raises(UserError, match="does not have") as caught:
            attempt()
        assert caught.value.hint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("digest", ["", "abc", "../" * 40, "A" * 128, "0" * 127 + "/"])
def test_what_is_no_digest_never_becomes_a_path(store, digest):
    with pytest.raises(ValueError, match="SHA-512"):
        store.has(digest)


@pytest.mark.parametrize("how", ["open", "read", "fetch", "verify"])
def test_damaged_file_is_reported_never_served_and_mended_by_the_next_put(store, tmp_path, how):
    blob = store.put_bytes(b"right bytes")
    flip(store, blob.sha512)
    readers = {
        "open": lambda: store.open(blob.sha512).read(),
        "read": lambda: store.read(blob.sha512, 100),
        "fetch": lambda: store.fetch(blob.sha512, tmp_path / "out"),
        "verify": lambda: store.verify(blob.sha512),
    }
    with pytest.raises(Refused) as caught:
        readers[how]()
    assert caught.value.rule == "R14"
    assert not (tmp_path / "out").exists()
    assert list(tmp_path.glob(f"{PREFIX}*")) == []
    assert not store.has(blob.sha512)
    store.put_bytes(b"right bytes")
    assert store.read(blob.sha512, 100) == b"right bytes"


def test_file_cut_short_is_replaced_by_the_next_put(store):
    blob = store.put_bytes(b"right bytes")
    flip(store, blob.sha512, b"right")
    store.put_bytes(b"right bytes")
    assert store.read(blob.sha512, 100) == b"right bytes"


def test_reading_more_than_the_limit_is_refused(store):
    blob = store.put_bytes(b"12345")
    with pytest.raises(Refused) as caught:
        store.read(blob.sha512, 4)
    assert caught.value.rule == "R25"


def test_records_are_kept_by_kind_and_key(store):
    assert store.alias("deb", "ab12") is None
    store.set_alias("deb", "ab12", {"size": 1})
    store.set_alias("layer", "ab12", {"size": 2})
    store.set_alias("deb", "ab12", {"size": 3})
    assert store.alias("deb", "ab12") == {"size": 3}
    assert store.alias("layer", "ab12") == {"size": 2}
    assert incoming(store) == []


@pytest.mark.parametrize(("kind", "key"), [("deb", "../x"), ("..", "x"), ("deb", ""), ("deb", "a/b"), ("deb", ".hidden")])
def test_record_names_never_leave_the_store(store, kind, key):
    with pytest.raises(ValueError, match="name of a record"):
        store.set_alias(kind, key, {})


def test_damaged_record_says_which_file_to_remove(store):
    store.set_alias("deb", "ab12", {"size": 1})
    with store._fs.open(store._alias_path("deb", "ab12"), "wb") as file:
        file.write(b"[")
    with pytest.raises(UserError, match="damaged") as caught:
        store.alias("deb", "ab12")
    assert caught.value.where.endswith("ab12.json")


def test_puts_of_one_content_at_the_same_time(store, tmp_path):
    data, blobs = os.urandom(3 << 20), []
    for n in range(8):
        (tmp_path / f"source{n}").write_bytes(data)
    threads = [threading.Thread(target=lambda n=n: blobs.append(store.put(tmp_path / f"source{n}", move=n % 2 == 0))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(blobs) == 8
    assert set(blobs) == {store.verify(sha512_hex(data))}
    assert incoming(store) == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=100), max_size=8))
def test_a_store_is_the_set_of_what_was_put(contents):
    store = Store(f"memory://set-{uuid.uuid4()}")
    blobs = [store.put_bytes(data) for data in contents]
    assert sorted(store.digests()) == sorted({sha512_hex(data) for data in contents})
    assert [store.read(blob.sha512, 100) for blob in blobs] == contents


def test_files_of_a_folder_cannot_be_written(folder):
    path = folder.local_path(folder.put_bytes(b"x").sha512)
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
    assert path.read_bytes() == b"x"
    assert path.parent.name == path.name[:2]


def test_moving_within_a_file_system_keeps_the_inode(folder, tmp_path):
    (tmp_path / "big").write_bytes(b"large image")
    inode = (tmp_path / "big").stat().st_ino
    blob = folder.put(tmp_path / "big", move=True)
    assert folder.local_path(blob.sha512).stat().st_ino == inode
    assert stat.S_IMODE(folder.local_path(blob.sha512).stat().st_mode) == 0o444


def test_moving_from_another_file_system_copies(folder):
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == Path(folder.name).parent.stat().st_dev:
        pytest.skip("there is no second file system (/dev/shm)")
    source = other / f"vmkeeper-{uuid.uuid4()}"
    source.write_bytes(b"from elsewhere")
    assert folder.read(folder.put(source, move=True).sha512, 100) == b"from elsewhere"
    assert not source.exists()


def test_holes_stay_holes(folder, tmp_path):
    with (tmp_path / "sparse").open("wb") as file:
        file.write(b"head")
        file.truncate(64 << 20)
    blob = folder.put(tmp_path / "sparse")
    status = folder.local_path(blob.sha512).stat()
    assert status.st_size == 64 << 20
    if (tmp_path / "sparse").stat().st_blocks < 1000:
        assert status.st_blocks < 10_000


def test_killed_put_leaves_nothing_after_the_next_one(tmp_path):
    store_at, source = tmp_path / "store", tmp_path / "source"
    os.mkfifo(source)
    code = f"from vmkeeper.images.store import Store; from pathlib import Path; Store({str(store_at)!r}).put(Path({str(source)!r}))"
    process = subprocess.Popen([sys.executable, "-c", code])
    with source.open("wb") as pipe:
        pipe.write(os.urandom(5 << 20))
        pipe.flush()
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(list((store_at / "incoming").iterdir())) == 1
    store = Store(store_at)
    store.put_bytes(b"next")
    assert list((store_at / "incoming").iterdir()) == []
    assert len(list(store.digests())) == 1


def test_temporary_file_of_a_running_writer_is_left_alone(tmp_path):
    with temporary(tmp_path) as new:
        new.file.write(b"half")
        assert remove_leftovers(tmp_path) == ()
        new.keep(tmp_path / "whole")
    assert (tmp_path / "whole").read_bytes() == b"half"
    (tmp_path / f"{PREFIX}0123").write_bytes(b"crash")
    assert [path.name for path in remove_leftovers(tmp_path)] == [f"{PREFIX}0123"]


def test_failed_write_leaves_the_old_file(tmp_path):
    def fail():
        with temporary(tmp_path) as new:
            new.file.write(b"new")
            raise RuntimeError

    write_file(tmp_path / "record", b"old")
    with pytest.raises(RuntimeError):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["record"]
    assert (tmp_path / "record").read_bytes() == b"old"


def test_disk_full_is_a_users_error(tmp_path):
    code = f"""
import resource, signal
from vmkeeper.errors import UserError
from vmkeeper.images.store import Store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    Store({str(tmp_path / "store")!r}).put_bytes(bytes(range(256)) * 8192)
except UserError as error:
    print(error, "|", error.hint)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "could not write to the store" in said
    assert "make room" in said
    assert list((tmp_path / "store" / "incoming").iterdir()) == []


def test_missing_source_is_a_users_error(folder, tmp_path):
    with pytest.raises(UserError, match="No such file"):
        folder.put(tmp_path / "nothing")


def test_unknown_kind_of_store_says_so_without_credentials():
    with pytest.raises(EnvironmentLacks) as caught:
        Store("nosuch://user:secret@host/path")
    assert "secret" not in str(caught.value)
    assert "nosuch://host/path" in str(caught.value)
