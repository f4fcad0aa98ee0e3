"""Many lists, and servers that take their time."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from support.foreign import Organisation, Subscriber, later
from support.here import OWNER, notes
from support.producer import NOW, Authority
from support.webserver import WebServer
from vmkeeper.clouds.memory import MemoryCloud
from vmkeeper.execute.listcache import ListCache, Patience
from vmkeeper.execute.observe import View, look
from vmkeeper.execute.site import plan_view
from vmkeeper.plan.wanted import Current, Unusable

QUICK = Patience(connect=2, idle=1, longest=2)


def see(site: Subscriber, patience: Patience = QUICK) -> View:
    cloud = MemoryCloud(OWNER, site.world)
    cache = ListCache(site.home.lists, ("127.0.0.1",), patience)
    return look(site.producer.repo.repository, site.home, "here", site.now, connect=lambda _: {"": cloud}, cache=cache)


def test_a_hundred_lists_of_a_hundred_images_are_one_conditional_request_each(server: WebServer, tmp_path: Path) -> None:
    authority = Authority("Foreign Authority")
    lists = [Organisation(server, authority, name=f"list-{number}", common_name="Publisher") for number in range(100)]
    signer = authority.signer("Publisher")
    for one in lists:
        one.signer = signer
        for number in range(100):
            one.offer(f"image {number}", data=b"x" * 512, serve=False)
        one.publish()
    site = Subscriber(tmp_path, server)
    site.trusts(authority)
    site.takes(*(one.entry() for one in lists))
    first = site.run()
    assert sum(isinstance(found.state, Current) for found in first.view.lists) == 100
    assert len(first.view.decisions) == 10_000
    assert len(first.made.notes) == 100
    before, asked = site.files(), len(server.requests)
    done = site.run(at=later(1))
    assert done.outcomes == ()
    requests = server.requests[asked:]
    assert sorted(one.path for one in requests) == sorted(one.path for one in lists)
    assert all("If-None-Match" in one.headers for one in requests)
    changed = [name for name, data in site.files().items() if before.get(name) != data]
    assert changed == ["memory.json"], "only the highest time seen"


@contextmanager
def stalling(answer: bytes, *, drip: float | None = None) -> Iterator[str]:
    """A server that says `answer` to everybody and then nothing, or one byte every `drip` seconds."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def speak(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65536)
            connection.sendall(answer)
            while not over.wait(drip or 60):
                connection.sendall(b"x")

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=speak, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/list"
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


STALLS = {
    "before the head": (b"", None),
    "in the head": (b"HTTP/1.1 200 OK\r\nContent-", None),
    "in the body": (b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nMIME", None),
    "a byte now and then in the body": (b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nMIME", 0.2),
    "a byte now and then in the head": (b"HTTP/1.1 200 OK\r\nX-Slow: ", 0.2),
}


@pytest.mark.parametrize(("answer", "drip"), STALLS.values(), ids=STALLS)
def test_a_server_that_stalls_holds_up_no_other_list(server: WebServer, tmp_path: Path, answer: bytes, drip: float | None) -> None:
    org, site = Organisation(server), Subscriber(tmp_path, server)
    site.trusts(org.authority)
    org.offer("Debian 12")
    org.publish()
    with stalling(answer, drip=drip) as url:
        stuck = [{"name": f"stuck-{number}", "url": url, "endorser": org.endorser()} for number in range(9)]
        site.takes(*stuck, org.entry(new="approve"))
        view = see(site)
    assert isinstance(view.lists[-1].state, Current)
    assert [type(found.state) for found in view.lists[:-1]] == [Unusable] * 9
    assert [action.subject for action in plan_view(view, NOW).plan.actions] == ["science-debian-12 1.0"]


def test_a_list_that_never_ends_is_cut_off(server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmkeeper.execute.listcache.LIMIT", 1 << 20)
    org, site = Organisation(server), Subscriber(tmp_path, server)
    site.trusts(org.authority)
    server.serve("/endless", endless=True)
    site.takes({"name": "endless", "url": f"{server.url}/endless", "endorser": org.endorser()})
    done = site.run()
    assert "more than 1048576 bytes [R25]" in notes(done)
    assert site.kept_lists() == []


def test_names_that_are_remembered_are_bounded(server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vmkeeper.plan.names._MOST", 10)
    org, site = Organisation(server), Subscriber(tmp_path, server)
    site.trusts(org.authority)
    site.takes(org.entry())
    for round_ in range(5):
        org.images.clear()
        for number in range(4):
            org.offer(f"image {round_} {number}", serve=False)
        org.publish()
        site.run()
    names = site.home.memory().foreign["science"].names
    assert len(names) == 10
    assert {name for name in names.values() if "-4-" in name} == {f"science-image-4-{number}" for number in range(4)}
