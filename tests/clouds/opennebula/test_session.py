"""Calls to oned: every answer that is none is told apart, nothing waits for ever, and no message has the password in it."""

from __future__ import annotations

import socket
import threading
import xmlrpc.client
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import pytest

from support.opennebula import Setting, standing_in
from vmkeeper.clouds.interface import Gone, InUse, NoRoom
from vmkeeper.clouds.opennebula.account import NameTaken, meaning, number_of
from vmkeeper.clouds.opennebula.session import Declined, Endpoint, Session
from vmkeeper.errors import Transient, UserError, VmkeeperError

SECRET = "p4ss:wörd-" + "x" * 20


@contextmanager
def answering(status: int, body: bytes, headers: dict[str, str] | None = None) -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers everything so, and what it was asked."""
    asked: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/RPC2", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def value(*answer: Any) -> bytes:
    return xmlrpc.client.dumps((list(answer),), methodresponse=True).encode()


def session(url: str, timeout: float = 5) -> Session:
    return Session(Endpoint(url, "alice", SECRET, "one-account"), timeout)


def assert_clean(error: VmkeeperError) -> None:
    assert SECRET not in "".join((str(error), repr(error), error.what, error.where, error.why, error.hint))


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b"<html><body>Welcome</body></html>", Transient),
        (200, b"", Transient),
        (200, b"\x00\xff", Transient),
        (200, value(True, 1, 0)[:-30], Transient),
        (200, value("yes", 1, 0), Transient),
        (200, value(True), Transient),
        (200, xmlrpc.client.dumps((7,), methodresponse=True).encode(), Transient),
        (200, value(True, "<IMAGE_POOL><IMAGE>", 0), Transient),
        (200, value(True, "<html/>", 0), Transient),
        (200, value(True, '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY e "x">]><IMAGE_POOL>&e;</IMAGE_POOL>', 0), Transient),
        (200, value(True, 7, 0), Transient),
        (200, value(True, "", 0), Transient),
        (200, value(False, f"[one.x] no, alice:{SECRET}", 256, -1), UserError),
        (200, value(False, f"[one.x] no, {SECRET}", 8192, -1), Declined),
        (200, xmlrpc.client.dumps(xmlrpc.client.Fault(-506, f"Method '{SECRET}' not defined")).encode(), Declined),
        (401, b"", UserError),
        (403, b"", UserError),
        (404, b"", UserError),
        (405, b"", UserError),
        (429, b"", Transient),
        (500, SECRET.encode(), Transient),
        (503, b"", Transient),
    ],
)
def test_what_is_no_answer_is_an_error_of_the_right_kind(status: int, body: bytes, kind: type[VmkeeperError]) -> None:
    with answering(status, body) as (url, _), pytest.raises(kind) as told:
        list(session(url).pool("imagepool.info", "IMAGE"))
    assert_clean(told.value)


def test_a_redirection_is_not_followed_with_the_password() -> None:
    with answering(200, value(True, 1, 0)) as (elsewhere, asked):
        for status in (301, 302, 307, 308):
            with answering(status, b"", {"Location": elsewhere}) as (url, _), pytest.raises(UserError) as told:
                session(url).call("user.info", -1)
            assert_clean(told.value)
        assert asked == []


def test_an_answer_that_does_not_come_ends_after_a_time_and_leaves_other_sockets_alone() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(Transient, match="does not answer"):
            session(f"http://127.0.0.1:{silent.getsockname()[1]}/RPC2", 0.2).call("system.version")
    assert socket.getdefaulttimeout() is None


def test_nobody_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(Transient, match="Connection refused") as told:
            session(f"http://127.0.0.1:{taken.getsockname()[1]}/RPC2").call("system.version")
    assert_clean(told.value)


def test_a_name_that_cannot_be_resolved_and_a_server_without_tls() -> None:
    with pytest.raises(Transient):
        session("http://nowhere.invalid/RPC2").call("system.version")
    with answering(200, b"") as (url, _), pytest.raises(VmkeeperError):
        session(url.replace("http:", "https:")).call("system.version")


def test_an_endpoint_does_not_show_its_password() -> None:
    assert SECRET not in repr(Endpoint("http://x/RPC2", "alice", SECRET))


class Moving(Session):
    """A pool that others change while it is listed. `changes`: before which call what happens to the list of ids."""

    def __init__(self, ids: list[int], changes: dict[int, Any]) -> None:
        super().__init__(Endpoint("http://x/RPC2", "a", "b"))
        self.ids, self.changes, self.count = ids, changes, 0

    def read(self, method: str, *arguments: Any) -> Element:
        self.count += 1
        self.changes.get(self.count, lambda _ids: None)(self.ids)
        _, offset, size = arguments
        page = "".join(f"<IMAGE><ID>{number}</ID></IMAGE>" for number in self.ids[offset : offset - size])
        return fromstring(f"<IMAGE_POOL>{page}</IMAGE_POOL>")


def ids(images: Iterable[Element]) -> list[int]:
    return [int(image.findtext("ID", "")) for image in images]


def listed(there: list[int], changes: dict[int, Any], page: int) -> list[int]:
    return ids(Moving(there, changes).pool("imagepool.info", "IMAGE", page=page))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 6, 7, 20])
@pytest.mark.parametrize("page", [2, 3, 5, 100])
def test_pages_together_are_the_whole_pool(count: int, page: int) -> None:
    assert listed(list(range(count, 0, -1)), {}, page) == list(range(count, 0, -1))


@pytest.mark.parametrize("gone", range(10))
@pytest.mark.parametrize("moment", [2, 3, 4])
def test_one_that_goes_meanwhile_hides_no_other(gone: int, moment: int) -> None:
    found = listed(list(range(10, 0, -1)), {moment: lambda there: there.pop(gone)}, 3)
    assert set(found) >= set(range(1, 11)) - {10 - gone}
    assert len(found) == len(set(found))


def test_one_that_comes_meanwhile_does_no_harm() -> None:
    found = listed(list(range(10, 0, -1)), {3: lambda there: there.insert(0, 11)}, 3)
    assert set(found) >= set(range(1, 11))
    assert len(found) == len(set(found))


def test_a_pool_that_never_keeps_still_is_told() -> None:
    shrinking = {at: lambda there: there.pop(0) for at in range(1, 100)}
    with pytest.raises(Transient, match="keep still"):
        listed(list(range(200)), shrinking, 3)


def test_a_real_pool_in_small_pages() -> None:
    with standing_in("7.4.0") as one:
        made = [allocate(one, number) for number in range(7)]
        account = Session(Endpoint(one.endpoint, one.user, one.password))
        for page in (2, 3, 7, 8):
            assert ids(account.pool("imagepool.info", "IMAGE", page=page)) == made[::-1]


def allocate(one: Setting, number: int) -> int:
    said = f"<TEMPLATE><NAME>i{number}</NAME><SOURCE>/x{number}</SOURCE><FORMAT>raw</FORMAT><SIZE>1</SIZE></TEMPLATE>"
    return int(one.call("one.image.allocate", said, 1))


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (16384, "Error allocating a new image. NAME is already taken by IMAGE 577.", NameTaken),
        (8192, "NAME is already taken by TEMPLATE 0.", NameTaken),
        (2048, "image cannot be renamed to x because it collides with image 2", NameTaken),
        (8192, "user [2] already owns image [1211] with NAME same", NameTaken),
        (16384, "Error allocating a new image.", Transient),
        (32768, "busy", Transient),
        (2048, "Cannot delete image. There are 2 VMs using it.", InUse),
        (2048, "Cannot delete image. There are 0 VMs using it.", UserError),
        (2048, "Not enough space in datastore", NoRoom),
        (512, "User [3] : user [3] limit of 0 reached for SIZE quota in DATASTORE with ID: 100.", NoRoom),
        (512, "User [0] : IMAGE is locked. [2].", UserError),
        (512, "User [3] : Not authorized to perform MANAGE IMAGE [5].", UserError),
        (1024, "Error getting image [9999].", Gone),
        (8192, "Something else", UserError),
    ],
)
def test_what_oned_means(code: int, message: str, kind: type[VmkeeperError]) -> None:
    assert type(meaning(Declined(code, message, where="x"), "do it", "x")) is kind


@pytest.mark.parametrize("bad", ["", "-1", "x", "1 ", "٣", "2147483648", "1e3"])
def test_what_cannot_be_an_id_is_gone(bad: str) -> None:
    with pytest.raises(Gone):
        number_of(bad)
