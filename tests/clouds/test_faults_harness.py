"""The fault campaign finds what it is there to find: clouds that lose, leave, or touch something."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from conformance import faults_families
from conformance.faults_families import MemoryFamily
from conformance.faults_harness import Totals, campaign
from support.faultproxy import HTML, FaultProxy, Faults, plain_label
from support.httpserver import HttpServer
from vmkeeper.clouds.interface import CloudImage, ImageSpec
from vmkeeper.clouds.memory import MemoryCloud


class Orphaning(MemoryCloud):
    """Writes its mark only after the bytes are there."""

    def upload(self, spec: ImageSpec, file: Path) -> CloudImage:
        bare = self.world.new_id("image")
        self.world.images[bare] = CloudImage(id=bare, name=spec.name)
        made = super().upload(spec, file)
        del self.world.images[bare]
        return made


class Forgetful(MemoryCloud):
    """Takes an image away while it says something else about it."""

    def update(self, id: str, spec: ImageSpec, hidden_since: datetime | None) -> None:  # noqa: A002
        there = self.world.images.pop(id)
        self._fault("update", "between")
        self.world.images[id] = there
        super().update(id, spec, hidden_since)


class Grasping(MemoryCloud):
    """Takes whatever has a name like ours for ours."""

    def images(self) -> tuple[CloudImage, ...]:
        for image in tuple(self.world.images.values()):
            if image.owner is None and image.name == "debian-12-1":
                self.world.images[image.id] = replace(image, name="debian-12-1 (ours)")
        return super().images()


class Crashing(MemoryCloud):
    """Fails with what is no error of ours."""

    def images(self) -> tuple[CloudImage, ...]:
        try:
            return super().images()
        except Exception as error:
            raise KeyError("images") from error


def tried(folder: Path, monkeypatch: pytest.MonkeyPatch, cloud: type[MemoryCloud]) -> Totals:
    monkeypatch.setattr(faults_families, "SITE_CLOUD", cloud)
    return campaign(MemoryFamily(folder))


FINDINGS = {
    Orphaning: "left over: Thing(kind='image', owner=''",
    Forgetful: "deleted too early",
    Crashing: "BUG: KeyError",
}


@pytest.mark.parametrize("cloud", FINDINGS, ids=lambda cloud: cloud.__name__)
def test_a_cloud_that_is_wrong_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cloud: type[MemoryCloud]) -> None:
    totals = tried(tmp_path, monkeypatch, cloud)
    assert totals.wrong
    assert any(FINDINGS[cloud] in word for _, words in totals.wrong for word in words)
    assert totals.survived.total() < totals.tried.total()
    assert "WRONG" in str(totals)


def test_a_cloud_that_touches_what_is_others_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match="touched"):
        tried(tmp_path, monkeypatch, Grasping)


@pytest.fixture
def upstream() -> Iterator[tuple[str, list[bytes]]]:
    """A server that says back what it was told, as JSON."""
    heard: list[bytes] = []

    def handle(request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        heard.append(body)
        answer = b'{"length": %d, "at": "http://127.0.0.1:%d/x"}' % (len(body), request.server.server_port)  # type: ignore[attr-defined]
        request.send_response(200)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(answer)))
        request.end_headers()
        request.wfile.write(answer)

    with HttpServer(handle) as server:
        yield f"http://127.0.0.1:{server.port}", heard


def ask(proxy: FaultProxy, body: bytes = b"hello", *, chunked: bool = False) -> tuple[int, bytes]:
    parts = urlsplit(proxy.url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=1)
    try:
        connection.request("POST", "/path", body=iter([body[:3], body[3:]]) if chunked else body, encode_chunked=chunked)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_request_that_is_not_struck_passes_whole_and_addresses_stay_behind_the_proxy(upstream: tuple[str, list[bytes]], chunked: bool) -> None:
    url, heard = upstream
    with FaultProxy(url, Faults(), plain_label) as proxy:
        proxy.rewrites = {url.encode(): proxy.url.encode()}
        assert ask(proxy, chunked=chunked) == (200, b'{"length": 5, "at": "%s/x"}' % proxy.url.encode())
    assert heard == [b"hello"]


ANSWERS = {
    "before": (503, b"try again later", 0),
    "after": (500, b"something went wrong", 1),
    "html": (200, HTML, 0),
    "empty": (200, b"", 0),
    "truncated": (200, b'{"length": 5, "at": "', 1),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_a_struck_request_is_answered_as_its_kind_says_and_the_next_one_passes(upstream: tuple[str, list[bytes]], kind: str) -> None:
    url, heard = upstream
    faults = Faults()
    with FaultProxy(url, faults, plain_label) as proxy:
        faults.begin(kind, 2)
        assert ask(proxy)[0] == 200
        status, said = ask(proxy)
        assert (status, said[: len(ANSWERS[kind][1])], len(heard) - 1) == ANSWERS[kind]
        assert ask(proxy)[0] == 200
    assert faults.struck
    assert [one.label for one in faults.seen] == ["POST /path"] * 3


@pytest.mark.parametrize(("kind", "body", "effects"), [("closed", b"x", 1), ("silent", b"x", 1), ("cut", b"x" * 100_000, 0)])
def test_an_answer_that_never_comes(upstream: tuple[str, list[bytes]], kind: str, body: bytes, effects: int) -> None:
    url, heard = upstream
    faults = Faults()
    with FaultProxy(url, faults, plain_label) as proxy:
        faults.begin(kind, 1)
        with pytest.raises((OSError, http.client.HTTPException)):
            ask(proxy, body)
        assert sum(len(one) == len(body) for one in heard) == effects
        assert ask(proxy)[0] == 200


def test_a_short_request_is_not_cut(upstream: tuple[str, list[bytes]]) -> None:
    faults = Faults()
    with FaultProxy(upstream[0], faults, plain_label) as proxy:
        faults.begin("cut", 1)
        assert ask(proxy)[0] == 200
    assert not faults.struck
