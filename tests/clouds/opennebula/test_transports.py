"""How files get to oned: only these bytes, only for as long as it takes, and nothing is left of a process that was killed."""

from __future__ import annotations

import hashlib
import http.client
import os
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from conformance.setting import DISK, spec_of
from support.killpoints import in_child
from vmkeeper.clouds.interface import ImageSpec
from vmkeeper.clouds.opennebula.fileserver import Served, serving
from vmkeeper.clouds.opennebula.transports import clean, forget, transport_for
from vmkeeper.errors import Refused, Transient, UserError
from vmkeeper.model.platform import LocalPath, OwnServer, RegisteredSource
from vmkeeper.values import Size

OWNER = "vmkeeper:here"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "disk.raw").write_bytes(DISK)
    return tmp_path / "disk.raw"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shared").mkdir()
    return tmp_path / "shared"


def choice(kind: str, folder: Path, **more: Any) -> Any:
    if kind == "http":
        return OwnServer(type="http", listen="127.0.0.1", **more)
    return (LocalPath if kind == "path" else RegisteredSource).model_validate({"type": kind, "folder": str(folder), **more})


def ask(url: str, method: str = "GET", **headers: str) -> tuple[int, bytes, dict[str, str]]:
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=10)
    try:
        connection.request(method, f"/{path}", headers={name.title(): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read(), dict(answer.headers)
    finally:
        connection.close()


class TestOverHttp:
    @pytest.fixture
    def url(self, file: Path, folder: Path) -> Iterator[str]:
        with transport_for(choice("http", folder), OWNER, "me").offer(spec_of(DISK), file, list) as offer:
            yield offer.attributes["PATH"]

    def test_the_file_is_there_for_head_get_and_ranges(self, url: str) -> None:
        assert ask(url, "HEAD")[:2] == (200, b"")
        assert ask(url, "HEAD")[2]["Content-Length"] == str(len(DISK))
        assert ask(url)[:2] == (200, DISK)
        status, body, headers = ask(url, range="bytes=508-513")
        assert (status, body, headers["Content-Range"]) == (206, DISK[508:514], f"bytes 508-513/{len(DISK)}")
        assert ask(url, range="bytes=-4")[:2] == (206, DISK[-4:])
        assert ask(url, range=f"bytes={len(DISK) - 3}-")[:2] == (206, DISK[-3:])
        assert ask(url, range=f"bytes={len(DISK)}-")[0] == 416
        assert ask(url, range="bytes=0-1,5-6")[1] == DISK

    def test_nothing_else_is_there(self, url: str) -> None:
        root, token, name = url.rsplit("/", 2)
        for other in (
            "/",
            f"/{token}",
            f"/{token}/",
            f"/{token}/{name}/",
            f"/{token}x/{name}",
            f"/{token}/../{token}/{name}",
            f"/{token}/{name}?x",
            "/%2e%2e",
        ):
            assert ask(root + other)[:2] == (404, b""), other
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
            status, body, _ = ask(url, method)
            assert (status, body) == (501, b"")
        assert len(token) >= 43

    def test_after_the_transfer_nobody_listens(self, file: Path, folder: Path) -> None:
        with transport_for(choice("http", folder), OWNER, "me").offer(spec_of(DISK), file, list) as offer:
            url = offer.attributes["PATH"]
            assert ask(url)[0] == 200
        with pytest.raises(ConnectionRefusedError):
            ask(url)

    def test_two_transfers_share_a_port_and_end_by_themselves(self, file: Path, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        way = transport_for(choice("http", folder, port=port), OWNER, "me")
        with way.offer(spec_of(DISK), file, list) as first:
            with way.offer(spec_of(DISK), file, list) as second:
                assert first.attributes["PATH"] != second.attributes["PATH"]
                assert ask(second.attributes["PATH"])[0] == 200
            assert ask(second.attributes["PATH"])[0] == 404
            assert ask(first.attributes["PATH"])[0] == 200

    def test_what_was_not_fetched_whole_is_told(self, file: Path, folder: Path) -> None:
        with transport_for(choice("http", folder), OWNER, "me").offer(spec_of(DISK), file, list) as offer:
            url = offer.attributes["PATH"]
            for asked in ({}, {"range": "bytes=0-99"}, {"range": "bytes=200-"}):
                with pytest.raises(Transient, match="did not fetch all"):
                    offer.check()
                ask(url, "HEAD" if not asked else "GET", **asked)
            ask(url, range="bytes=50-250")
            offer.check()

    def test_a_file_that_was_changed_while_it_went_out_is_refused(self, file: Path, folder: Path) -> None:
        with transport_for(choice("http", folder), OWNER, "me").offer(spec_of(DISK), file, list) as offer:
            ask(offer.attributes["PATH"])
            file.write_bytes(DISK[:-1] + b"!")
            with pytest.raises(Refused):
                offer.check()

    def test_a_file_that_grows_is_not_given_beyond_its_size(self, file: Path) -> None:
        with file.open("rb") as source, serving(Served(source, 100, "x"), "127.0.0.1", 0) as (port, path):
            assert ask(f"http://127.0.0.1:{port}{path}")[1] == DISK[:100]

    def test_one_who_goes_away_in_the_middle_harms_nobody(self, file: Path) -> None:
        with file.open("rb") as source, serving(served := Served(source, len(DISK), "x"), "127.0.0.1", 0) as (port, path):
            with socket.create_connection(("127.0.0.1", port)) as gone:
                gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                gone.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                gone.recv(100)
            assert ask(f"http://127.0.0.1:{port}{path}")[1] == DISK
            assert served.whole()

    @pytest.mark.parametrize(
        ("listen", "address", "expected"),
        [
            ("127.0.0.1", None, "http://127.0.0.1:PORT/"),
            ("0.0.0.0", "images.example.org", "http://images.example.org:PORT/"),
            ("0.0.0.0", "images.example.org:8080", "http://images.example.org:8080/"),
            ("127.0.0.1", "2001:db8::1", "http://[2001:db8::1]:PORT/"),
            ("127.0.0.1", "[2001:db8::1]:80", "http://[2001:db8::1]:80/"),
        ],
    )
    def test_oned_is_told_the_address_that_the_site_says(self, file: Path, listen: str, address: str | None, expected: str) -> None:
        way = transport_for(OwnServer(type="http", listen=listen, address=address), OWNER, "me")
        with way.offer(spec_of(DISK), file, list) as offer:
            told = offer.attributes["PATH"]
        pattern = expected.split("PORT")
        assert told.startswith(pattern[0])
        assert len(pattern) == 1 or told.removeprefix(pattern[0]).split("/")[0].isdigit()

    def test_everywhere_is_no_address_and_a_port_in_use_is_told(self, file: Path) -> None:
        with (
            pytest.raises(UserError, match="where to fetch"),
            transport_for(OwnServer(type="http", listen="0.0.0.0"), OWNER, "me").offer(spec_of(DISK), file, list),
        ):
            pass
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            way = transport_for(OwnServer(type="http", listen="127.0.0.1", port=taken.getsockname()[1]), OWNER, "me")
            with pytest.raises(UserError, match="could not listen"), way.offer(spec_of(DISK), file, list):
                pass


class TestCopies:
    @pytest.mark.parametrize("kind", ["path", "source"])
    def test_what_oned_gets_is_a_copy_that_it_can_read(self, file: Path, folder: Path, kind: str) -> None:
        with transport_for(choice(kind, folder), OWNER, "me").offer(spec_of(DISK), file, list) as offer:
            path = Path(offer.attributes["PATH" if kind == "path" else "SOURCE"])
            assert path.parent == folder
            assert path.read_bytes() == DISK
            assert path.stat().st_mode & 0o777 == 0o644
            file.write_bytes(b"changed")
            assert path.read_bytes() == DISK
            if kind == "path":
                assert offer.attributes["SHA1"] == hashlib.sha1(DISK).hexdigest()
        assert path.exists() == (kind == "source")
        assert len(list(folder.iterdir())) == (kind == "source")

    @pytest.mark.parametrize("kind", ["path", "source", "http"])
    @pytest.mark.parametrize("data", [b"", DISK[:-1], DISK + b"\0", DISK[:-1] + b"!"])
    def test_other_bytes_are_refused_before_oned_hears_of_them(self, tmp_path: Path, folder: Path, kind: str, data: bytes) -> None:
        (tmp_path / "other").write_bytes(data)
        with pytest.raises(Refused, match="R14"), transport_for(choice(kind, folder), OWNER, "me").offer(spec_of(DISK), tmp_path / "other", list):
            raise AssertionError("offered")
        assert list(folder.iterdir()) == []

    def test_a_path_that_a_shell_would_take_apart_is_not_given(self, file: Path, folder: Path) -> None:
        for seen_as in ("/a b", "/a;b", "/$(x)", "/a\\b", "relative", "/é"):
            with (
                pytest.raises(UserError, match="path"),
                transport_for(choice("path", folder, seen_as=seen_as), OWNER, "me").offer(spec_of(DISK), file, list),
            ):
                pass
        assert list(folder.iterdir()) == []

    @pytest.mark.parametrize("kind", ["path", "source"])
    def test_what_a_killed_upload_left_is_removed_and_a_living_ones_is_not(self, file: Path, folder: Path, kind: str) -> None:
        def killed() -> None:
            with transport_for(choice(kind, folder), OWNER, "me").offer(spec_of(DISK), file, list):
                os.kill(os.getpid(), signal.SIGKILL)

        assert in_child(killed) == -signal.SIGKILL
        assert list(folder.iterdir())
        with transport_for(choice(kind, folder), OWNER, "me").offer(spec_of(DISK), file, list) as mine:
            clean(choice(kind, folder))
            with transport_for(choice(kind, folder), OWNER, "me").offer(spec_of(DISK), file, list):
                path = Path(mine.attributes["PATH" if kind == "path" else "SOURCE"])
                assert path.read_bytes() == DISK
        left = [path for path in folder.iterdir() if kind == "path" or path.name.startswith(".")]
        assert left == []

    def test_a_file_that_was_registered_before_the_process_was_killed_stays(self, file: Path, folder: Path) -> None:
        def killed() -> None:
            with transport_for(choice("source", folder), OWNER, "me").offer(spec_of(DISK), file, list):
                os.kill(os.getpid(), signal.SIGKILL)

        in_child(killed)
        (registered,) = [path for path in folder.iterdir() if not path.name.startswith(".")]
        for _ in range(2):
            with transport_for(choice("source", folder), OWNER, "me").offer(spec_of(DISK), file, lambda: [f"/elsewhere/{registered.name}"]):
                pass
        assert registered.read_bytes() == DISK
        assert len(list(folder.iterdir())) == 3
        with transport_for(choice("source", folder), OWNER, "me").offer(spec_of(DISK), file, list):
            pass
        assert registered.exists(), "what was registered once is never a leftover"

    def test_what_cannot_be_registered_is_removed_and_what_may_have_been_is_not(self, file: Path, folder: Path) -> None:
        way = transport_for(choice("source", folder), OWNER, "me")
        with pytest.raises(RuntimeError), way.offer(spec_of(DISK), file, list):
            raise RuntimeError
        assert list(folder.iterdir()) == []

        def nobody_knows() -> list[str]:
            raise Transient("oned is away")

        with pytest.raises(RuntimeError), way.offer(spec_of(DISK), file, nobody_knows):
            raise RuntimeError
        assert len(list(folder.iterdir())) == 2
        with way.offer(spec_of(DISK), file, list):
            pass
        assert len(list(folder.iterdir())) == 1

    def test_only_files_of_ours_are_forgotten(self, folder: Path) -> None:
        for name in ("vmkeeper-x", "theirs"):
            (folder / name).write_bytes(b"x")
        for source in ("/d/vmkeeper-x", "/d/theirs", "", "/d/vmkeeper-none"):
            forget(choice("path", folder), source)
        assert len(list(folder.iterdir())) == 2
        for source in ("/d/vmkeeper-x", "/d/theirs", "", "/d/vmkeeper-none"):
            forget(choice("source", folder), source)
        assert [path.name for path in folder.iterdir()] == ["theirs"]

    @pytest.mark.parametrize(
        ("data", "format_", "said", "expected"),
        [
            (DISK, "raw", 0, "1"),
            (b"QFI\xfb" + bytes(20) + struct.pack(">Q", 5 << 20) + bytes(100), "qcow2", 0, "5"),
            (b"QFI\xfb" + bytes(20) + struct.pack(">Q", 5 << 20) + bytes(100), "qcow2", (7 << 20) + 1, "8"),
        ],
    )
    def test_the_size_that_the_guest_sees_is_told(self, tmp_path: Path, folder: Path, data: bytes, format_: Any, said: int, expected: str) -> None:
        (tmp_path / "image").write_bytes(data)
        spec: ImageSpec = spec_of(data).model_copy(update={"format": format_, "virtual_size": Size(said)})
        with transport_for(choice("source", folder), OWNER, "me").offer(spec, tmp_path / "image", list) as offer:
            assert offer.attributes["SIZE"] == expected


@contextmanager
def many(count: int) -> Iterator[list[threading.Thread]]:
    threads: list[threading.Thread] = []
    yield threads
    for thread in threads[:count]:
        thread.join()


def test_many_fetchers_at_once(file: Path) -> None:
    bodies: list[bytes] = []
    with file.open("rb") as source, serving(Served(source, len(DISK), "x"), "127.0.0.1", 0) as (port, path), many(8) as threads:
        for _ in range(8):
            threads.append(threading.Thread(target=lambda: bodies.append(ask(f"http://127.0.0.1:{port}{path}")[1])))
            threads[-1].start()
    assert bodies == [DISK] * 8
