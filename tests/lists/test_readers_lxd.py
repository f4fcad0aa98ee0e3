"""The clients of LXD and of Incus read our streams over HTTPS: lists, aliases, and the download of metadata and disk with their digests."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.readers import Reader, program, server_context
from support.shelves import BASE, content, folder, image, two_lists
from support.webserver import WebServer
from vmkeeper.execute.digests import public_digests
from vmkeeper.lists.feeds import feeds
from vmkeeper.lists.lxd import digests, metadata, metadata_path


@pytest.fixture
def public(tmp_path: Path) -> Path:
    root = tmp_path / "public"
    folder(root, *two_lists())
    for feed in feeds(two_lists(), BASE, public_digests(root, two_lists())):
        (root / feed.path).parent.mkdir(parents=True, exist_ok=True)
        (root / feed.path).write_bytes(feed.content)
    return root


@pytest.fixture(params=[("lxc", "lxd-client"), ("incus", "incus-client")], ids=["lxd", "incus"])
def lxc(request: pytest.FixtureRequest, tmp_path: Path, public: Path) -> Iterator[Reader]:
    """A client with our folder as its remote `ours`, over HTTPS as it wants it."""
    client = program(*request.param)
    context, authority = server_context(tmp_path / "tls")
    (tmp_path / "home" / "conf").mkdir(parents=True)
    conf = str(tmp_path / "home" / "conf")
    ready = Reader(client.command, {"SSL_CERT_FILE": str(authority), "LXD_CONF": conf, "INCUS_CONF": conf, "HOME": str(tmp_path / "home")})
    with WebServer(public, context) as server:
        done = ready.run("remote", "add", "ours", server.url, "--protocol=simplestreams")
        assert done.returncode == 0, done.stderr
        yield ready


def fingerprint() -> str:
    return digests(image(), [content(image().path)]).fingerprint


def test_it_lists_the_virtual_machines_with_their_aliases(lxc: Reader) -> None:
    done = lxc.run("image", "list", "ours:", "--format=json")
    assert done.returncode == 0, done.stderr
    found = {one["properties"]["variant"]: one for one in json.loads(done.stdout)}
    assert sorted(found) == ["debian-12", "debian-12-docker"]
    one = found["debian-12"]
    assert (one["type"], one["architecture"], one["fingerprint"]) == ("virtual-machine", "x86_64", fingerprint())
    assert one["created_at"].startswith("2026-11-20")
    assert one["expires_at"].startswith("2027-02-18")
    assert one["properties"]["requirements.secureboot"] == "false"
    assert {alias["name"] for alias in one["aliases"]} == {"debian-12", "debian-12/amd64"}


def test_it_downloads_metadata_and_disk_and_finds_their_digests_right(lxc: Reader, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    done = lxc.run("image", "export", "ours:debian-12", tmp_path / "out", "--vm")
    assert done.returncode == 0, done.stderr
    assert sorted(path.read_bytes() for path in (tmp_path / "out").iterdir()) == sorted([content(image().path), metadata("x86_64")])


@pytest.mark.parametrize("what", ["disk", "metadata"])
def test_it_refuses_other_bytes(lxc: Reader, public: Path, tmp_path: Path, what: str) -> None:
    file = public / image().path if what == "disk" else public / metadata_path("x86_64")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    (tmp_path / "out").mkdir()
    done = lxc.run("image", "export", "ours:debian-12", tmp_path / "out", "--vm")
    assert done.returncode != 0
    assert "Hash mismatch" in done.stderr


def test_images_without_further_digests_are_passed_over_and_the_rest_is_read(lxc: Reader, public: Path) -> None:
    science = two_lists()[0]
    known = {one.sha512: digests(one, [content(one.path)]) for one in science.images[:1]}
    for feed in feeds(two_lists(), BASE, known):
        (public / feed.path).write_bytes(feed.content)
    done = lxc.run("image", "list", "ours:", "--format=json")
    assert [one["properties"]["variant"] for one in json.loads(done.stdout)] == ["debian-12"]


def test_the_archive_is_one_that_tar_reads() -> None:
    if shutil.which("tar") is None:
        pytest.skip("tar is not here")
    done = subprocess.run(["tar", "-xOf", "-", "metadata.yaml"], input=metadata("x86_64"), capture_output=True, timeout=60, check=True)
    assert b"architecture: x86_64" in done.stdout
