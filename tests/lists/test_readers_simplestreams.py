"""The simplestreams tools of Ubuntu read our streams over HTTP: query, mirror with checksums, signatures, and the mirror to Glance."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from support.readers import Reader, library, program
from support.shelves import BASE, DAY, content, folder, image, shelf, two_lists
from support.webserver import WebServer
from vmkeeper.execute.digests import public_digests
from vmkeeper.lists.feeds import feeds
from vmkeeper.lists.shelf import Shelf
from vmkeeper.lists.simplestreams import files

INDEX = "streams/v1/index.json"


@pytest.fixture
def query() -> Reader:
    return program("sstream-query", "simplestreams")


@pytest.fixture
def mirror() -> Reader:
    return program("sstream-mirror", "simplestreams")


def publish(root: Path, *shelves: Shelf) -> Path:
    folder(root, *shelves)
    for feed in feeds(shelves, BASE, public_digests(root, shelves)):
        (root / feed.path).parent.mkdir(parents=True, exist_ok=True)
        (root / feed.path).write_bytes(feed.content)
    return root


@pytest.fixture
def web(tmp_path: Path) -> Iterator[WebServer]:
    with WebServer(publish(tmp_path / "public", *two_lists())) as server:
        yield server


def asked(query: Reader, url: str, *words: str) -> list[dict[str, str]]:
    done = query.run("--no-verify", "--json", url, *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_query_finds_every_image_with_its_address_and_digest(query: Reader, web: WebServer) -> None:
    found = [item for item in asked(query, f"{web.url}/{INDEX}") if not item["ftype"].endswith(".tar.xz")]
    images = {one.path: one for made in two_lists() for one in made.images}
    assert {item["path"] for item in found} == set(images)
    for item in found:
        one = images[item["path"]]
        assert (item["item_url"], item["sha512"], int(item["size"])) == (f"{web.url}/{one.path}", one.sha512, one.size)
        assert (item["vmkeeper_version"], item["vmkeeper_uuid"], item["version"]) == (one.version, one.uuid, one.osversion)


def test_a_query_can_choose_by_architecture_appliance_and_form(query: Reader, web: WebServer) -> None:
    url = f"{web.url}/{INDEX}"
    assert [item["pubname"] for item in asked(query, url, "variant=debian-12", "ftype=disk1.img")] == ["debian-12-2026.11.20.7"]
    assert len(asked(query, url, "arch=amd64", "ftype=disk1.img")) == 2
    assert asked(query, url, "arch=arm64") == []


def test_of_many_versions_the_newest_comes_first(query: Reader, tmp_path: Path) -> None:
    versions = [f"2026.11.{day}.{height}" for day, height in [(9, 9), (9, 10), (10, 11), (9, 100)]]
    made = shelf("science", *(image(version=version) for version in versions))
    for file in files([made], BASE):
        (tmp_path / file.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file.path).write_bytes(file.unsigned)
    with WebServer(tmp_path) as server:
        (newest,) = asked(query, f"{server.url}/{INDEX}", "--max=1")
    assert newest["vmkeeper_version"] == "2026.11.10.11"


def test_a_mirror_holds_every_byte_and_its_own_streams(mirror: Reader, web: WebServer, tmp_path: Path) -> None:
    done = mirror.run("--no-verify", f"{web.url}/{INDEX}", tmp_path / "mirror")
    assert done.returncode == 0, done.stderr
    for one in (one for made in two_lists() for one in made.images):
        assert (tmp_path / "mirror" / one.path).read_bytes() == content(one.path)
    for path in (INDEX, "streams/v1/science.download.json"):
        assert json.loads((tmp_path / "mirror" / path).read_text())["format"] in ("index:1.0", "products:1.0")


def test_a_mirror_of_the_mirror_says_the_same(mirror: Reader, query: Reader, web: WebServer, tmp_path: Path) -> None:
    assert mirror.run("--no-verify", f"{web.url}/{INDEX}", tmp_path / "mirror").returncode == 0
    first = asked(query, f"{web.url}/{INDEX}")
    with WebServer(tmp_path / "mirror") as second:
        again = asked(query, f"{second.url}/{INDEX}")
        assert [{**item, "item_url": ""} for item in again] == [{**item, "item_url": ""} for item in first]


def test_a_mirror_follows_an_update_and_fetches_only_what_is_new(mirror: Reader, tmp_path: Path) -> None:
    root = publish(tmp_path / "public", *two_lists())
    science, empty = two_lists()
    with WebServer(root) as server:
        assert mirror.run("--no-verify", f"{server.url}/{INDEX}", tmp_path / "mirror").returncode == 0
        server.requests.clear()
        newer = image(version="2026.11.21.14")
        publish(root, replace(science, images=(newer, *science.images[1:]), created=science.created + DAY), empty)
        assert mirror.run("--no-verify", f"{server.url}/{INDEX}", tmp_path / "mirror").returncode == 0
        assert [request.path for request in server.requests if request.path.startswith("/science/")] == [f"/{newer.path}"]
    assert (tmp_path / "mirror" / newer.path).read_bytes() == content(newer.path)


def test_a_mirror_refuses_an_image_with_other_bytes(mirror: Reader, web: WebServer, tmp_path: Path) -> None:
    path = image().path
    (tmp_path / "public" / path).write_bytes(content(path)[:-1] + b"X")
    done = mirror.run("--no-verify", f"{web.url}/{INDEX}", tmp_path / "mirror")
    assert done.returncode != 0
    assert "Invalid sha512 Checksum" in done.stderr
    assert not (tmp_path / "mirror" / path).exists()


@pytest.fixture
def keyring(tmp_path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """A public keyring, and the surroundings in which gpg has its key."""
    if shutil.which("gpg") is None or shutil.which("gpgv") is None:
        pytest.skip("gpg and gpgv (gnupg, gpgv) are not here")
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet"]
    subprocess.run(
        [*gpg, "--passphrase", "", "--quick-generate-key", "Publisher <p@example.org>", "ed25519", "sign", "never"],
        check=True,
        capture_output=True,
        timeout=60,
    )
    ring = tmp_path / "ring.gpg"
    subprocess.run([*gpg, "--output", str(ring), "--export"], check=True, capture_output=True, timeout=60)
    yield ring, {"GNUPGHOME": str(home)}
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False, capture_output=True, timeout=60)


def sign(root: Path, home: dict[str, str]) -> None:
    """Every signature in clear text that the feeds ask for, made with gpg itself."""
    for feed in feeds(two_lists(), BASE):
        if "openpgp-clear" in feed.signatures:
            done = subprocess.run(
                ["gpg", "--homedir", home["GNUPGHOME"], "--batch", "--clear-sign", "--digest-algo", "SHA512"],
                input=feed.to_sign("openpgp-clear"),
                capture_output=True,
                timeout=60,
                check=True,
            )
            (root / feed.signature_path("openpgp-clear")).write_bytes(done.stdout)


def test_signed_streams_are_verified_from_the_index_on(query: Reader, web: WebServer, tmp_path: Path, keyring) -> None:
    ring, home = keyring
    sign(tmp_path / "public", home)
    url = f"{web.url}/streams/v1/index.sjson"
    done = query.run("--keyring", ring, "--json", url)
    assert done.returncode == 0, done.stderr
    assert len({item["product_name"] for item in json.loads(done.stdout)}) == 3
    assert {request.path for request in web.requests} == {
        "/streams/v1/index.sjson",
        "/streams/v1/science.download.sjson",
        "/streams/v1/empty.download.sjson",
    }


@pytest.mark.parametrize("file", ["index.sjson", "science.download.sjson"])
def test_a_signed_file_that_was_changed_is_refused(query: Reader, web: WebServer, tmp_path: Path, keyring, file: str) -> None:
    ring, home = keyring
    sign(tmp_path / "public", home)
    at = tmp_path / "public" / "streams" / "v1" / file
    at.write_bytes(at.read_bytes().replace(b"science", b"scienze", 1))
    assert query.run("--keyring", ring, "--json", f"{web.url}/streams/v1/index.sjson").returncode != 0


def test_signed_streams_are_mirrored(mirror: Reader, web: WebServer, tmp_path: Path, keyring) -> None:
    ring, home = keyring
    sign(tmp_path / "public", home)
    done = mirror.run("--keyring", ring, f"{web.url}/streams/v1/index.sjson", tmp_path / "mirror")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mirror" / image().path).read_bytes() == content(image().path)


GLANCE = """
import hashlib, json, sys, types
for name in ("glanceclient", "keystoneclient", "keystoneclient.v2_0", "keystoneclient.v3"):
    sys.modules[name] = types.ModuleType(name)  # they talk to a cloud, and there is none
    sys.modules[name].client = None
from simplestreams import mirrors
from simplestreams.mirrors import glance

class Image(dict):
    __getattr__ = dict.__getitem__

class Images(list):
    def list(self): return iter(())
    def create(self, **said):
        self.append(Image(said, id=str(len(self))))
        return self[-1]
    def upload(self, id, data):
        held = data.read()
        self[int(id)].update(size=len(held), checksum=hashlib.md5(held).hexdigest())
    def update(self, id, **said): self[int(id)].update(said)
    def get(self, id): return self[int(id)]
    def delete(self, id): raise SystemExit("the mirror took back what it had uploaded")

class Client:
    images = Images()

class Keystone:
    load_keystone_creds = staticmethod(lambda: {"auth_url": "http://keystone", "region_name": "here"})
    get_service_conn_info = staticmethod(lambda service, **said: {"glance_version": "2", "tenant_id": "us", "endpoint": "http://glance/v2"})

glance.get_glanceclient = lambda **said: Client
made = glance.GlanceMirror({"content_id": "ours", "cloud_name": "here", "hypervisor_mapping": True, "max_items": 1}, client=Keystone)
reader = mirrors.UrlMirrorReader(sys.argv[1], policy=lambda content, path: content)
made.sync(reader, "streams/v1/index.json")
print("IMAGES " + json.dumps(Client.images))
"""


def test_the_mirror_to_glance_takes_the_qcow2_images_and_only_those(web: WebServer) -> None:
    python = library("simplestreams", "python3-simplestreams")
    done = python.run("-c", GLANCE, f"{web.url}/")
    assert done.returncode == 0, done.stderr
    made = {one["name"]: one for one in json.loads(done.stdout.partition("IMAGES ")[2])}
    assert sorted(made) == ["debian-12-2026.11.20.7-disk1.img", "debian-12-docker-2026.11.20.12-disk1.img"]
    one = made["debian-12-2026.11.20.7-disk1.img"]
    assert (one["disk_format"], one["container_format"], one["size"]) == ("qcow2", "bare", image().size)
    assert (one["os_distro"], one["os_version"], one["architecture"]) == ("debian", "12", "x86_64")
