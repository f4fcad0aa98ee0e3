"""Object stores and SFTP beyond what all targets share: servers that are not known, are full or cut off, and what killed runs leave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from support.places import BreakingFiles, Place, place_of
from vmkeeper.errors import Transient, UserError
from vmkeeper.images.targets import SMALL, put_bytes
from vmkeeper.images.targets_files import FilesTarget
from vmkeeper.images.targets_folder import FolderTarget
from vmkeeper.images.targets_lease import LEASE, LOCK_FILE
from vmkeeper.images.targets_open import open_target


@pytest.fixture
def sftp(tmp_path: Path) -> Iterator[Place]:
    yield from place_of("sftp", tmp_path, lambda: None)


@pytest.fixture(scope="module")
def moto() -> Iterator[Any]:
    pytest.importorskip("s3fs", reason="needs s3fs")
    pytest.importorskip("moto", reason="needs moto[server]")
    from support.motoserver import MotoServer

    server = MotoServer()
    yield server
    server.close()


@pytest.fixture
def s3(tmp_path: Path, moto: Any) -> Iterator[Place]:
    yield from place_of("s3", tmp_path, lambda: moto)


def test_a_server_that_is_not_known_is_not_talked_to(sftp: Place, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    other = sftp.server.known_hosts.read_text().split()
    (tmp_path / "other").write_text(f"{other[0]} ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKYGZv3/tRqqxrDP2W1bHXZHuT2nEhVyFkYvc6Ns3l0d\n")
    for known in ("empty", "other"):
        with pytest.raises(UserError) as caught:
            open_target(sftp.address, {**sftp.options, "known_hosts": str(tmp_path / known)})
        assert "known_hosts" in caught.value.hint


def test_a_wrong_password_is_told_without_it(sftp: Place) -> None:
    with pytest.raises(UserError, match="do not know each other") as caught:
        open_target(sftp.address, {**sftp.options, "password": "not the password"})
    assert "not the password" not in str(caught.value)


def test_a_full_disk_leaves_what_was_there(sftp: Place) -> None:
    target = sftp.open()
    with target.alone():
        put_bytes(target, "a/image", b"before")
        sftp.server.room = 100_000
        with pytest.raises(Transient) as caught:
            put_bytes(target, "a/image", bytes(range(256)) * 1000)
        assert "room" in caught.value.hint
        sftp.server.room = None
    assert sftp.held() == {"a/image": b"before"}


def test_a_connection_that_breaks_leaves_what_was_there(sftp: Place) -> None:
    target = sftp.open()
    with target.alone():
        put_bytes(target, "a/image", b"before")
    holding = target.alone()
    holding.__enter__()
    sftp.server.drop()
    with pytest.raises(Transient):
        put_bytes(target, "a/image", b"after")
    with pytest.raises(Transient):
        target.files()
    with suppress(Transient):
        holding.__exit__(None, None, None)
    later = sftp.open()
    assert later.files() == {"a/image": 6}
    sftp.now[0] += LEASE + timedelta(seconds=1)
    with later.alone():
        put_bytes(later, "a/image", b"after")
    assert sftp.held() == {"a/image": b"after"}


def test_what_is_published_may_be_read_by_everybody(sftp: Place) -> None:
    target = sftp.open()
    with target.alone():
        put_bytes(target, "a/b/image", b"x")
    root = sftp.server.folder / "public"
    assert [(root / name).stat().st_mode & 0o777 for name in ("a", "a/b", "a/b/image")] == [0o755, 0o755, 0o644]


def test_a_lock_of_a_process_that_is_gone_is_taken_over_at_once(sftp: Place) -> None:
    """A real process takes the lock and is killed with kill -9."""
    code = """
import json, os, sys
from vmkeeper.images.targets_open import open_target
target = open_target(sys.argv[1], json.loads(sys.argv[2]))
with target.alone():
    print("locked", flush=True)
    sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, sftp.address, json.dumps(sftp.options)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"locked\n"
    with pytest.raises(Transient, match="another run"), sftp.open().alone():
        pass
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()
    assert LOCK_FILE in sftp.held()
    target = sftp.open()
    assert target.leftovers()
    with target.alone():
        put_bytes(target, "a/image", b"x")
    assert sftp.held() == {"a/image": b"x"}


def test_uploads_in_parts_that_nobody_ended_are_cleared(s3: Place) -> None:
    s3.break_after(0)
    target = s3.open()
    assert isinstance(target, FilesTarget)
    fs = target._fs
    assert isinstance(fs, BreakingFiles)
    s3.heal()
    file = fs._fs.open(f"{target._root}/a/image", "wb", autocommit=False, block_size=5 << 20)
    file.write(bytes(SMALL))
    file.flush(force=True)
    file.closed = True
    assert target.leftovers()
    assert target.files() == {}
    with target.alone():
        pass
    assert not target.leftovers()


def test_a_store_that_cannot_create_exclusively_still_shows_two_publishers(s3: Place) -> None:
    """The lock is read back: the last one to write it has it."""
    target = s3.open()
    assert isinstance(target, FilesTarget)
    plain = target._lease._place

    class Careless:
        peek, write, drop = plain.peek, plain.write, plain.drop

        def create(self, path: str, data: bytes) -> bool:
            plain.write(path, data)
            plain.write(path, b'{"owner": "somebody else", "until": "2999-01-01T00:00:00Z"}')
            return True

    target._lease._place = Careless()
    with pytest.raises(Transient, match="another run"), target.alone():
        pass


def test_a_folder_without_room(tmp_path: Path) -> None:
    """A limit of the process stands for a full disk: writing fails in the middle."""
    code = """
import io, resource, signal, sys
from pathlib import Path
from vmkeeper.errors import UserError
from vmkeeper.images.targets import put_bytes
from vmkeeper.images.targets_folder import FolderTarget
target = FolderTarget(Path(sys.argv[1]))
with target.alone():
    put_bytes(target, "a/image", b"before")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    try:
        put_bytes(target, "a/image", bytes(range(1, 255)) * 20000)
    except UserError as error:
        print(error.hint)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "public")], capture_output=True, text=True, check=True)
    assert "make room" in done.stdout
    target = FolderTarget(tmp_path / "public")
    assert target.files() == {"a/image": 6}
    assert not target.leftovers()


def test_the_clock_of_a_lease_is_utc(sftp: Place) -> None:
    target = sftp.open()
    with target.alone():
        held = json.loads(sftp.held()[LOCK_FILE])
    assert datetime.fromisoformat(held["until"]) - datetime.now(UTC) < LEASE + timedelta(minutes=1)
    assert held["process"] == str(os.getpid())


class Forbidding(MemoryFileSystem):
    """An object store that does not let us list uploads in parts."""

    def call_s3(self, *_: object, **__: object) -> object:
        raise PermissionError("AccessDenied")

    def split_path(self, path: str) -> tuple[str, str, None]:
        return ("bucket", path, None)


def test_a_store_that_does_not_let_us_see_uploads_in_parts() -> None:
    target = FilesTarget(Forbidding(global_store=False, skip_instance_cache=True), "/public", "x", whole=False)
    assert not target.leftovers()
    with target.alone():
        put_bytes(target, "a/image", b"x")
    assert target.files() == {"a/image": 1}
