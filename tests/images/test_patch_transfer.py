"""From a producer's two versions to a site's verified file: what went over the wire, and what happens when a way is spoilt."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from support.lists import image, image_list
from support.shelves import image as shelved_image
from support.webserver import WebServer
from vmkeeper.clouds.interface import ImageSpec
from vmkeeper.errors import Refused, Transient
from vmkeeper.execute.transfer import Means, Transfer
from vmkeeper.images.cache import ImageCache
from vmkeeper.images.fetch import Patience
from vmkeeper.images.files import hash_file
from vmkeeper.images.patch import compress, make
from vmkeeper.lists import extension, hepix
from vmkeeper.lists.shelf import CompressedFile, PublishedPatch
from vmkeeper.model.release import Blob
from vmkeeper.model.site import Transfers
from vmkeeper.plan.offers import supply_of
from vmkeeper.plan.site import RegisterImage
from vmkeeper.values import Duration, Size, Version

_PROGRAMS = {"zstd": "zstd", "qemu-img": "qemu-utils", "mke2fs": "e2fsprogs"}
_LACKING = [package for name, package in _PROGRAMS.items() if shutil.which(name, path="/usr/bin:/usr/sbin:/bin:/sbin") is None]
pytestmark = pytest.mark.skipif(bool(_LACKING), reason=f"this machine lacks {', '.join(_LACKING)}")

DISK = 48 << 20
WHOLE, PACKED, PATCH = "/images/2/disk.qcow2", "/images/2/disk.qcow2.zst", "/images/2/disk.qcow2.from-1"


def disk(folder: Path, name: str, *more: tuple[str, bytes]) -> Path:
    """A qcow2 with a file system that holds a hundred files, and some more."""
    tree = folder / f"{name}-tree"
    tree.mkdir()
    noise = Random(2026)
    for number in range(100):
        (tree / f"file-{number:03}").write_bytes(noise.randbytes(noise.randrange(200_000)))
    for path, data in more:
        (tree / path).write_bytes(data)
    raw, made = folder / f"{name}.raw", folder / f"{name}.qcow2"
    subprocess.run(["/usr/sbin/mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(raw), f"{DISK >> 10}k"], check=True, capture_output=True)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(made)], check=True)
    shutil.rmtree(tree)
    raw.unlink()
    return made


class Published:
    """Version 2 as a public folder offers it: whole, compressed, and as a patch from version 1."""

    def __init__(self, folder: Path) -> None:
        self.first = disk(folder, "one")
        self.second = disk(folder, "two", ("package", Random(1).randbytes(60_000)))
        patch, packed = folder / "patch", folder / "packed"
        made = make(self.first, self.second, patch, memory=Size.parse("1GiB"))
        assert made is not None
        self.base, self.new, compressed = hash_file(self.first), hash_file(self.second), compress(self.second, packed)
        self.files = {WHOLE: self.second.read_bytes(), PACKED: packed.read_bytes(), PATCH: patch.read_bytes()}
        self.shelved = shelved_image(
            size=self.new.size,
            sha512=self.new.sha512,
            patches=(
                PublishedPatch(
                    path=PATCH[1:],
                    size=made.size,
                    sha512=made.sha512,
                    base_sha512=self.base.sha512,
                    base_size=self.base.size,
                    base_version="1",
                    base_appliance="debian-12",
                    memory=made.memory,
                ),
            ),
            compressed=CompressedFile(path=PACKED[1:], size=compressed.size, sha512=compressed.sha512),
        )


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    return Published(tmp_path_factory.mktemp("published"))


class Follower:
    """A site's cache and a server that counts; the entry comes out of a list as it would from the publisher."""

    def __init__(self, published: Published, server: WebServer, folder: Path, **settings: Any) -> None:
        self.published, self.server, self.folder = published, server, folder
        for path, data in published.files.items():
            server.serve(path, data)
        self.said: list[str] = []
        self.cache = ImageCache(folder / "cache", size=Size.parse("1GiB"), age=Duration.parse("1d"))
        means = Means(settings=Transfers(**settings), allow=("127.0.0.1",), patience=Patience(retries=0, backoff=0))
        self.transfer = Transfer(self.cache, means, self)

    def step(self, _subject: str, text: str) -> None:
        self.said.append(text)

    def amount(self, *_: object) -> None:
        pass

    def holds(self, file: Path, blob: Blob) -> None:
        copy = self.folder / "copy"
        shutil.copy(file, copy)
        self.cache.keep(copy, blob)

    def fetched(self) -> list[str]:
        """Which paths came, in order."""
        return [request.path for request in self.server.requests]

    def register(self) -> Path:
        extra = extension.written(self.published.shelved, self.server.url)
        entry = image(uri=self.server.url + WHOLE, size=self.published.new.size, sha512=self.published.new.sha512, extra=extra)
        (read,) = hepix.read(hepix.write(image_list(entry)).encode()).images
        spec = ImageSpec(
            name="debian-12-2",
            appliance="debian-12",
            uuid=read.uuid,
            version=Version("2"),
            format="qcow2",
            size=read.size,
            virtual_size=Size(DISK),
            sha512=read.sha512,
            list=image_list().uuid,
            expires=datetime(2027, 1, 1, tzinfo=UTC),
        )
        with self.transfer(RegisterImage(subject="debian-12 2", reason="new", spec=spec, supply=supply_of(read))) as brought:
            assert hash_file(brought.file) == self.published.new
            return brought.file


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as running:
        yield running


def test_patch_alone_comes_where_the_base_is_held(published: Published, server: WebServer, tmp_path: Path) -> None:
    site = Follower(published, server, tmp_path)
    site.holds(published.first, published.base)
    site.register()
    assert site.fetched() == [PATCH]
    assert len(published.files[PATCH]) < 120_000 < len(published.files[PACKED]) < len(published.files[WHOLE])
    assert list(site.cache.incoming.iterdir()) == []


def test_compressed_file_comes_where_no_base_is_held(published: Published, server: WebServer, tmp_path: Path) -> None:
    site = Follower(published, server, tmp_path)
    site.register()
    assert site.fetched() == [PACKED]


SPOILT: dict[str, Any] = {
    "a byte changed": lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :],
    "cut short": lambda data: data[:-1],
    "empty": lambda _: b"",
    "garbage": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("how", SPOILT)
def test_spoilt_patch_falls_back_to_the_compressed_file(how: str, published: Published, server: WebServer, tmp_path: Path) -> None:
    site = Follower(published, server, tmp_path)
    site.holds(published.first, published.base)
    server.serve(PATCH, SPOILT[how](published.files[PATCH]))
    site.register()
    assert list(dict.fromkeys(site.fetched())) == [PATCH, PACKED]
    assert any("did not serve" in text for text in site.said)


def test_patch_that_is_not_there_falls_back(published: Published, server: WebServer, tmp_path: Path) -> None:
    site = Follower(published, server, tmp_path)
    site.holds(published.first, published.base)
    del server.pages[PATCH]
    site.register()
    assert list(dict.fromkeys(site.fetched())) == [PATCH, PACKED]


def test_spoilt_patch_and_spoilt_compressed_file_fall_back_to_the_whole(published: Published, server: WebServer, tmp_path: Path) -> None:
    site = Follower(published, server, tmp_path)
    site.holds(published.first, published.base)
    for path in (PATCH, PACKED):
        server.serve(path, SPOILT["a byte changed"](published.files[path]))
    site.register()
    assert list(dict.fromkeys(site.fetched())) == [PATCH, PACKED, WHOLE]


def test_all_spoilt_gives_nothing(published: Published, server: WebServer, tmp_path: Path) -> None:
    site = Follower(published, server, tmp_path)
    site.holds(published.first, published.base)
    for path in (PATCH, PACKED, WHOLE):
        server.serve(path, SPOILT["a byte changed"](published.files[path]))
    with pytest.raises((Refused, Transient)):
        site.register()
    assert site.cache.path(published.new.sha512) is None


def test_publisher_whose_signed_patch_makes_another_image_is_found_out(published: Published, server: WebServer, tmp_path: Path) -> None:
    """The patch has the digest that the list says, and gives other bytes than the list says of the image."""
    other = disk(tmp_path, "other", ("package", b"something else"))
    made = make(published.first, other, tmp_path / "patch", memory=Size.parse("1GiB"))
    assert made is not None
    site = Follower(published, server, tmp_path)
    site.holds(published.first, published.base)
    server.serve(PATCH, (tmp_path / "patch").read_bytes())
    (good,) = published.shelved.patches
    shelved = shelved_image(
        size=published.new.size,
        sha512=published.new.sha512,
        patches=(
            PublishedPatch(
                path=good.path,
                size=made.size,
                sha512=made.sha512,
                base_sha512=good.base_sha512,
                base_size=good.base_size,
                base_version="1",
                base_appliance="debian-12",
                memory=made.memory,
            ),
        ),
        compressed=published.shelved.compressed,
    )
    original, published.shelved = published.shelved, shelved
    try:
        site.register()
    finally:
        published.shelved = original
    assert site.fetched() == [PATCH, PACKED]


def test_damaged_base_falls_back_and_is_forgotten(published: Published, server: WebServer, tmp_path: Path) -> None:
    site = Follower(published, server, tmp_path)
    site.holds(published.first, published.base)
    kept = site.cache.path(published.base.sha512)
    assert kept is not None
    kept.chmod(0o600)
    data = bytearray(kept.read_bytes())
    data[len(data) // 3 :: 4096] = bytes(len(data[len(data) // 3 :: 4096]))
    kept.write_bytes(data)
    site.register()
    assert site.fetched() == [PATCH, PACKED]
    assert site.cache.path(published.base.sha512) is None


@pytest.mark.parametrize("settings", [{"patches": False}, {"patch_memory": Size.parse("32MiB")}])
def test_site_that_wants_no_patch_or_lacks_the_memory_fetches_none(
    settings: dict[str, Any], published: Published, server: WebServer, tmp_path: Path
) -> None:
    site = Follower(published, server, tmp_path, **settings)
    site.holds(published.first, published.base)
    site.register()
    assert site.fetched() == [PACKED]


def test_patch_is_taken_up_where_it_broke_off(published: Published, server: WebServer, tmp_path: Path) -> None:
    site = Follower(published, server, tmp_path)
    site.holds(published.first, published.base)
    for path in (PATCH, PACKED, WHOLE):
        server.serve(path, published.files[path], cuts=[1000])
    with pytest.raises(Transient):
        site.register()
    server.requests.clear()
    site.register()
    assert site.fetched() == [PATCH]
    assert server.requests[0].headers["Range"].startswith("bytes=")
