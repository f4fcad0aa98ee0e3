"""Publishing to a server with PUT: what is believed of it, what is checked, and how it may go wrong."""

from __future__ import annotations

import io
import json
import ssl
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from support.certificates import authority, issue, name
from support.davserver import DavServer
from vmkeeper.errors import Refused, Transient, UserError
from vmkeeper.images.targets import put_bytes
from vmkeeper.images.targets_http import MANIFEST, HttpTarget, http_client
from vmkeeper.images.targets_open import open_target
from vmkeeper.model.release import Blob
from vmkeeper.values import Size, sha512_hex

DATA = bytes(range(256)) * 100
BLOB = Blob(size=Size(len(DATA)), sha512=sha512_hex(DATA))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DavServer]:
    with DavServer(tmp_path / "dav") as made:
        yield made


@pytest.fixture
def open_one(server: DavServer) -> Iterator[object]:
    made: list[HttpTarget] = []

    def opened(**options: object) -> HttpTarget:
        target = open_target(server.url, options)
        assert isinstance(target, HttpTarget)
        made.append(target)
        return target

    yield opened
    for target in made:
        target.close()


def manifest(server: DavServer) -> dict[str, object]:
    return json.loads((server.folder / MANIFEST).read_bytes())["files"]  # type: ignore[no-any-return]


def put(target: HttpTarget, path: str = "a/image", data: bytes = DATA) -> None:
    with target.alone():
        put_bytes(target, path, data)


def test_the_manifest_names_a_file_before_it_comes_and_once_it_is_whole(server, open_one):
    seen = []

    def look(method, path):
        seen.append((method, path, manifest(server).get("a/image", "no") if (server.folder / MANIFEST).exists() else "-"))

    server.answer = look
    put(open_one())
    assert seen == [("GET", MANIFEST, "-"), ("PUT", MANIFEST, "-"), ("PUT", "a/image", None), ("HEAD", "a/image", None), ("PUT", MANIFEST, None)]
    assert manifest(server) == {"a/image": {"size": len(DATA), "sha512": BLOB.sha512}}


def test_a_file_that_the_server_lost_or_cut_is_not_there(server, open_one):
    put(open_one(), "a/one")
    put(open_one(), "a/two")
    (server.folder / "a/one").unlink()
    (server.folder / "a/two").write_bytes(DATA[:100])
    assert open_one().files() == {"a/two": 100}


def test_a_file_that_is_half_there_is_not_counted(server, open_one):
    server.cut = 20_000
    with pytest.raises(Transient):
        put(open_one(), data=DATA)
    assert manifest(server) == {"a/image": None}
    assert len((server.folder / "a/image").read_bytes()) == 20_000
    assert open_one().files() == {}
    put(open_one())
    assert open_one().files() == {"a/image": len(DATA)}


def test_post_where_a_server_wants_it(server, open_one):
    put(open_one(method="post"))
    assert {line.split()[0] for line in server.changes} == {"POST"}


def test_a_server_without_head_is_read_back(server, open_one):
    server.head = False
    put(open_one())
    assert server.log.count("GET a/image") == 1
    assert open_one().files() == {"a/image": len(DATA)}


def test_digests_are_compared_where_asked(server, open_one):
    def spoil(method: str, path: str) -> None:
        if (method, path) == ("PUT", "a/image"):
            (server.folder / path).write_bytes(bytes(len(DATA)))

    server.after = spoil
    put(open_one())
    with pytest.raises(Transient, match="not give what it was sent") as caught:
        put(open_one(verify="digest"))
    assert "other bytes" in caught.value.why
    server.after = lambda _method, _path: None
    put(open_one(verify="digest"))


def test_a_server_that_keeps_another_size_is_found_out(server, open_one):
    server.after = lambda method, path: (server.folder / path).write_bytes(b"x") if (method, path) == ("PUT", "a/image") else None
    with pytest.raises(Transient, match="does not have what it was sent"):
        put(open_one())


@pytest.mark.parametrize(
    ("status", "error", "hint"),
    [
        (301, UserError, ""),
        (401, UserError, "credentials"),
        (403, UserError, "credentials allow"),
        (405, UserError, "method"),
        (413, UserError, "size"),
        (507, UserError, "room"),
        (429, Transient, "run again"),
        (503, Transient, "run again"),
    ],
)
def test_what_the_server_answers_is_told(server, open_one, status, error, hint):
    server.answer = lambda method, path: status if (method, path) == ("PUT", "a/image") else None
    with pytest.raises(error, match=str(status)) as caught:
        put(open_one())
    assert hint in caught.value.hint


def test_a_redirect_is_not_followed(server, open_one):
    server.answer = lambda method, _path: 307 if method == "PUT" else None
    with pytest.raises(UserError, match="307"):
        put(open_one())
    assert len(server.changes) == 1


def test_a_removed_file_is_forgotten(server, open_one):
    put(open_one(), "a/one")
    put(open_one(), "a/two")
    target = open_one()
    with target.alone():
        target.remove("a/one")
    assert manifest(server).keys() == {"a/two"}
    server.answer = lambda method, _path: 405 if method == "DELETE" else None
    with target.alone(), pytest.raises(UserError, match="405"):
        target.remove("a/two")
    assert manifest(server).keys() == {"a/two"}


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"files": 3}', b'{"files": {"a": 3}}', b"\xff"])
def test_a_damaged_manifest_means_that_everything_is_sent_again(server, open_one, damage):
    put(open_one())
    (server.folder / MANIFEST).write_bytes(damage)
    assert open_one().files() == {}
    put(open_one())
    assert open_one().files() == {"a/image": len(DATA)}


def test_another_publisher_is_noticed_where_the_server_can(server, open_one):
    put(open_one(), "a/one")
    late = open_one()
    assert late.files() == {"a/one": len(DATA)}
    put(open_one(), "a/two")
    with pytest.raises(Transient, match="another run"), late.alone():
        raise AssertionError("never gets here")
    both = open_one(), open_one()
    for one in both:
        one.files()
    with both[0].alone():
        with both[1].alone():
            put_bytes(both[1], "a/three", DATA)
        with pytest.raises(Transient, match="another run"):
            put_bytes(both[0], "a/four", DATA)
        both[0]._unsaved = False
    assert open_one().files().keys() == {"a/one", "a/two", "a/three"}


def test_a_source_that_fails_sends_nothing_whole(server, open_one):
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            data = super().read(1000)
            if not data:
                raise Refused("R14", "the store is damaged")
            return data

    target = open_one()
    with target.alone(), pytest.raises(Refused, match="damaged"):
        target.put("a/image", Failing(DATA), BLOB)
    assert not (server.folder / "a/image").exists()


@pytest.mark.parametrize("options", [{"username": "me", "password": "x"}, {"token": "x"}, {"headers": {"X-Key": "x"}}])
def test_credentials_are_not_sent_in_the_clear(options):
    with pytest.raises(Refused, match="in the clear") as caught:
        open_target("http://images.example.org/x", options)
    assert caught.value.rule == "R27"
    with http_client("http://images.example.org/x") as client:
        assert client.auth is None


@pytest.mark.parametrize("case", ["known", "unknown server", "no certificate of ours"])
def test_https_with_certificates_on_both_sides(tmp_path, case):
    always = {"start": datetime(2020, 1, 1, tzinfo=UTC), "end": datetime(2099, 1, 1, tzinfo=UTC)}
    trusted = authority(**always)
    (tmp_path / "ca.pem").write_bytes(trusted.pem)
    issue(name(("CN", "server")), trusted, hosts=("localhost",), usage=(ExtendedKeyUsageOID.SERVER_AUTH,), **always).write(tmp_path, "server")
    issue(name(("CN", "publisher")), trusted, usage=(ExtendedKeyUsageOID.CLIENT_AUTH,), **always).write(tmp_path, "us")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca.pem"))
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    options = {"ca": str(tmp_path / "ca.pem"), "certificate": str(tmp_path / "us.pem"), "certificate_key": str(tmp_path / "us.key")}
    if case == "unknown server":
        del options["ca"]
    if case == "no certificate of ours":
        del options["certificate"], options["certificate_key"]
    with DavServer(tmp_path / "dav", tls=tls) as server, closing(open_target(server.url, options)) as target:
        if case == "known":
            put(target)
            assert target.files() == {"a/image": len(DATA)}
        else:
            with pytest.raises(Transient, match="connection failed"):
                put(target)
            assert server.changes == []


def test_nobody_is_there(open_one, server, tmp_path):
    client = http_client("http://127.0.0.1:9")
    with pytest.raises(Transient, match="connection failed"):
        HttpTarget(client, "http://127.0.0.1:9/x").files()
    client.close()
