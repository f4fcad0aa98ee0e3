"""Conversions that run while their source comes: the same result as afterwards, or none; and what a confined program cannot do."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import BinaryIO

import pytest

from conformance.trust.cases_images import MIB, made, patched, raw
from vmkeeper.images.arriving import Arriving, Digest
from vmkeeper.images.convert import DISK_FORMS, Disk, DiskForm, convert, identifier_of
from vmkeeper.images.early import EarlyConversion, _Coming
from vmkeeper.images.files import hash_file
from vmkeeper.images.jail import can_jail, jailed
from vmkeeper.images.nbd import Server, send_file
from vmkeeper.model.release import Blob
from vmkeeper.run import program, run
from vmkeeper.values import Size

needs_jail = pytest.mark.skipif(not can_jail(), reason="programs cannot be confined here (Landlock, user namespaces)")
SOURCES = {"raw": raw, "qcow2": lambda: made("qcow2")}


def blob_of(data: bytes) -> Blob:
    return Blob(size=Size(len(data)), sha512=hashlib.sha512(data).hexdigest())


def come(early: EarlyConversion, data: bytes, path: Path, *, upto: int | None = None, step: int = 200_000) -> None:
    """Have a file arrive, piece by piece."""
    with path.open("wb", buffering=0) as file:
        early.arriving.begin(path, 0)
        for at in range(0, len(data) if upto is None else upto, step):
            file.write(data[at : at + step])
            early.arriving.advance(at + len(data[at : at + step]))
            time.sleep(0.005)


@needs_jail
@pytest.mark.parametrize("form", DISK_FORMS)
@pytest.mark.parametrize("kind", SOURCES)
def test_the_result_is_the_same_as_afterwards(kind: str, form: DiskForm, tmp_path: Path) -> None:
    data = SOURCES[kind]()
    blob = blob_of(data)
    with EarlyConversion(blob, kind, form, tmp_path / "work", max_virtual=len(raw())) as early:
        come(early, data, tmp_path / "part")
        made_ = early.result()
        assert made_ is not None, early.why
        assert made_.virtual_size == len(raw())
        result = made_.path.read_bytes()
    assert list((tmp_path / "work").iterdir()) == []
    (tmp_path / "after").mkdir()
    convert(Disk(tmp_path / "part", kind), tmp_path / "after" / "disk", form, identifier=identifier_of(blob.sha512), virtual_size=len(raw()))
    assert result == (tmp_path / "after" / "disk").read_bytes()


@needs_jail
def test_it_reads_while_the_file_comes(tmp_path: Path) -> None:
    """The conversion's output grows before the last byte of its source is there."""
    data = Random(1).randbytes(24 * MIB)
    data = raw()[:512] + data[512:]
    with EarlyConversion(blob_of(data), "raw", "qcow2", tmp_path / "work", max_virtual=len(data)) as early:
        come(early, data, tmp_path / "part", upto=20 * MIB, step=MIB)
        grown = 0
        for _ in range(600):
            files = list((tmp_path / "work").glob("*/disk"))
            grown = max([grown, *(path.stat().st_size for path in files)])
            if grown > 8 * MIB:
                break
            time.sleep(0.05)
        assert grown > 8 * MIB
        with (tmp_path / "part").open("ab", buffering=0) as file:
            file.write(data[20 * MIB :])
        early.arriving.advance(len(data))
        assert early.result() is not None, early.why


@needs_jail
@pytest.mark.parametrize("upto", [0, 1000, 3 * MIB])
def test_a_file_that_does_not_come_gives_nothing(upto: int, tmp_path: Path) -> None:
    with EarlyConversion(blob_of(raw()), "raw", "qcow2", tmp_path / "work", max_virtual=len(raw())) as early:
        if upto:
            come(early, raw(), tmp_path / "part", upto=upto)
        assert early.result() is None
    assert list((tmp_path / "work").iterdir()) == []


@needs_jail
def test_a_file_that_begins_again_gives_nothing(tmp_path: Path) -> None:
    data = raw()
    with EarlyConversion(blob_of(data), "raw", "qcow2", tmp_path / "work", max_virtual=len(data)) as early:
        come(early, bytes(len(data)), tmp_path / "part", upto=3 * MIB)
        early.arriving.restart()
        come(early, data, tmp_path / "part")
        assert early.result() is None


@needs_jail
def test_leaving_early_ends_it(tmp_path: Path) -> None:
    with EarlyConversion(blob_of(raw()), "raw", "qcow2", tmp_path / "work", max_virtual=len(raw())) as early:
        come(early, raw(), tmp_path / "part", upto=3 * MIB)
        began = threading.active_count()
    assert threading.active_count() < began
    assert list((tmp_path / "work").iterdir()) == []


@needs_jail
def test_a_program_that_spins_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one might that reads what a stranger made up."""
    spinning = tmp_path / "qemu-img"
    spinning.write_text("#!/bin/sh\nwhile :; do :; done\n")
    spinning.chmod(0o755)
    monkeypatch.setattr("vmkeeper.images.convert.program", lambda *_, **__: str(spinning))
    monkeypatch.setattr("vmkeeper.images.convert.jailed", lambda _, command: command)
    with EarlyConversion(blob_of(raw()), "raw", "qcow2", tmp_path / "work", max_virtual=len(raw())) as early:
        come(early, raw(), tmp_path / "part")
    assert early.why == "it was stopped" or "it was stopped" in early.why
    assert list((tmp_path / "work").iterdir()) == []


HOSTILE = {
    "a backing file": lambda: patched(made("qcow2"), (8, struct.pack(">QI", 1024, 11)), (1024, b"/etc/passwd")),
    "a data file": lambda: patched(made("qcow2"), (79, b"\x04")),
    "encrypted": lambda: patched(made("qcow2"), (32, struct.pack(">I", 2))),
    "too large": lambda: patched(made("qcow2"), (24, struct.pack(">Q", 60 << 40))),
    "no qcow2": raw,
}


@needs_jail
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_is_judged_before_qemu_sees_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmkeeper.images.early.convert_streamed", lambda *_, **__: pytest.fail("qemu-img was asked"))
    data = HOSTILE[name]()
    with EarlyConversion(blob_of(data), "qcow2", "raw", tmp_path / "work", max_virtual=len(raw())) as early:
        come(early, data, tmp_path / "part")
        assert early.result() is None
        assert "R26" in early.why


def test_what_was_judged_is_what_is_served(tmp_path: Path) -> None:
    """A beginning that is changed after it was judged is never read."""
    judged, changed = Random(1).randbytes(2 * MIB), Random(2).randbytes(4 * MIB)
    (tmp_path / "head").write_bytes(judged)
    (tmp_path / "file").write_bytes(changed)
    arriving = Arriving()
    arriving.begin(tmp_path / "file", len(changed))
    with (tmp_path / "head").open("rb") as head, (tmp_path / "file").open("rb") as file:
        ours, theirs = socket.socketpair()
        with ours, theirs, Server(_Coming(file.fileno(), head.fileno(), len(changed), arriving), ours):
            copy_from(theirs, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == judged + changed[2 * MIB :]


def test_small_files_and_other_formats_wait_until_they_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    large, small = Blob(size=Size.parse("1GiB"), sha512="0" * 128), Blob(size=Size.parse("1MiB"), sha512="0" * 128)
    assert EarlyConversion.serves(large, "qcow2") == can_jail()
    assert not EarlyConversion.serves(small, "qcow2")
    for declared in ("ova", "vmdk", "vdi", "vhd", "vhdx", "qcow2.gz", "raw.xz"):
        assert not EarlyConversion.serves(large, declared)
    monkeypatch.setattr("vmkeeper.images.early.can_jail", lambda: False)
    assert not EarlyConversion.serves(large, "qcow2")


# -- the jail


@needs_jail
@pytest.mark.parametrize(
    "script",
    [
        "cat /etc/passwd",
        "ls /root",
        "ls {outside}",
        "cat {outside}/secret",
        "echo x > {outside}/new",
        "rm {outside}/secret",
        "ln {outside}/secret {inside}/link",
        "cp /bin/true {inside}/run && chmod 755 {inside}/run && {inside}/run",
        "ln -s /etc/passwd {inside}/link",
        "mkfifo {inside}/pipe",
        "mkdir {inside}/folder",
        "exec 3<>/dev/tcp/127.0.0.1/{port}",
        "exec 3<>/dev/udp/127.0.0.1/{port}",
    ],
)
def test_what_a_confined_program_cannot_do(script: str, tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "secret").write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        words = script.format(inside=inside, outside=outside, port=listening.getsockname()[1])
        done = run(jailed(inside, [program("bash"), "-c", words]), check=False)
    assert done.status != 0
    assert b"secret" not in done.stdout.replace(str(outside).encode(), b"")
    assert [path.name for path in outside.iterdir()] == ["secret"]


@needs_jail
def test_what_a_confined_program_can_do(tmp_path: Path) -> None:
    script = f"echo hello > {tmp_path}/new && cat {tmp_path}/new && mv {tmp_path}/new {tmp_path}/old && head -c 3 /dev/urandom > /dev/null"
    assert run(jailed(tmp_path, [program("bash"), "-c", script])).text == "hello\n"
    assert (tmp_path / "old").read_text() == "hello\n"


@needs_jail
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an ordinary user")
def test_an_ordinary_user_can_confine_too(tmp_path: Path) -> None:
    """With the system's own Python, which everybody may run."""
    import vmkeeper.images.jail

    python = "/usr/bin/python3"
    if not Path(python).exists():
        pytest.skip("/usr/bin/python3 is not on this machine")
    script = Path(vmkeeper.images.jail.__file__).with_name("jailed.py").read_text()
    command = [python, "-I", "-S", "-c", script, "/tmp", "/bin/cat", "/etc/passwd"]
    done = subprocess.run(command, check=False, capture_output=True, user=65534, group=65534, extra_groups=[], cwd="/")
    assert done.returncode == 1, done.stderr
    assert b"Permission denied" in done.stderr


# -- the server


class Bytes:
    """A file that is there."""

    def __init__(self, file: BinaryIO) -> None:
        self.size = os.fstat(file.fileno()).st_size
        self._file = file

    def ready(self, _upto: int) -> bool:
        return True

    def send(self, connection: socket.socket, at: int, length: int) -> None:
        send_file(connection, self._file.fileno(), at, length)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[socket.socket]:
    (tmp_path / "file").write_bytes(raw())
    ours, theirs = socket.socketpair()
    with (tmp_path / "file").open("rb") as file, ours, theirs, Server(Bytes(file), ours):
        yield theirs


def copy_from(connection: socket.socket, target: Path) -> None:
    """With qemu's own client."""
    served = {"driver": "raw", "file": {"driver": "nbd", "server": {"type": "fd", "str": str(connection.fileno())}}}
    command = ["qemu-img", "convert", "-O", "raw", f"json:{json.dumps(served)}", target]
    subprocess.run(command, check=True, pass_fds=(connection.fileno(),))


def test_qemus_client_reads_the_same(served: socket.socket, tmp_path: Path) -> None:
    copy_from(served, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == raw()


@pytest.mark.parametrize(
    "said", [b"", b"\0\0\0\3", b"\0\0\0\3" + b"x" * 16, b"\0\0\0\3IHAVEOPT" + struct.pack(">II", 7, 1 << 30), os.urandom(200)], ids=range(5)
)
def test_a_client_that_talks_nonsense_is_left(said: bytes, served: socket.socket) -> None:
    served.sendall(said)
    served.shutdown(socket.SHUT_WR)
    while served.recv(1000):
        pass


def test_a_request_behind_the_end_fails(served: socket.socket) -> None:
    with served.makefile("rb") as answer:
        served.sendall(b"\0\0\0\3IHAVEOPT" + struct.pack(">II", 1, 0))
        answer.read(18 + 10)
        served.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 7, len(raw()) - 4, 8))
        assert struct.unpack(">IIQ", answer.read(16)) == (0x67446698, 5, 7)
        served.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 8, len(raw()) - 4, 4))
        assert struct.unpack(">IIQ", answer.read(16)) == (0x67446698, 0, 8)
        assert answer.read(4) == raw()[-4:]
        served.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 1, 9, 0, 4))
        assert answer.read() == b""


# -- waiting and hashing


def test_who_waits_is_told() -> None:
    arriving = Arriving()
    seen: list[bool] = []
    waiting = threading.Thread(target=lambda: seen.append(arriving.wait(10)))
    waiting.start()
    arriving.begin(Path("x"), 5)
    arriving.advance(10)
    waiting.join(10)
    arriving.end()
    assert (seen, arriving.wait(10), arriving.wait(11)) == ([True], True, False)
    arriving.restart()
    assert not arriving.wait(0)


def test_a_digest_goes_on_after_it_was_asked(tmp_path: Path) -> None:
    digest = Digest()
    digest.update([b"one", b"two"])
    assert digest.hexdigest() == hashlib.sha512(b"onetwo").hexdigest()
    digest.update([b"three"])
    (tmp_path / "x").write_bytes(b"onetwothree")
    assert digest.hexdigest() == hash_file(tmp_path / "x").sha512
    digest.close()
