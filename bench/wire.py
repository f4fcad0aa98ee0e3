"""Bytes on the wire for real updates of real images: our patches against the whole file, casync and zsync.

Run as root or as a user with subordinate ids, with network: `python bench/wire.py FOLDER`. Images come from the project's own
builder; what FOLDER already holds is used again. The updates:

- one package more: the base with one package added;
- one package newer: the base with one package's security update;
- a month: the packages that the archive took in within thirty days, against what stood before them;
- since the point release: everything in the updates and security archives, against the distribution's last point release;
- parent to child: the base, and an appliance that adds a package, a unit and a script to it.

The mirror has no past, so older states are made of the point release's packages: a package that was updated twice counts once.
casync and zsyncmake/zsync are measured where they are installed (`apt-get install casync zsync`).
"""

from __future__ import annotations

import http.server
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import httpx
from build import BASE, CHILD, Bench

from vmkeeper.builders.registry import BUILDERS
from vmkeeper.documents.dump import dump
from vmkeeper.images.files import hash_file
from vmkeeper.model.lock import LockedPackage, PackagesLock
from vmkeeper.model.release import Blob
from vmkeeper.progress import Silent
from vmkeeper.values import Size

ADDED = "htop"
MEMORY = Size.parse("4GiB")


@dataclass(frozen=True)
class Image:
    """One built image: its root file system as a tar, its disk."""

    rootfs: Path
    disk: Path


class States(Bench):
    """The base and a child of it, in several states of their package archives."""

    def __init__(self, folder: Path) -> None:
        repository = folder / "repository"
        if repository.exists():
            shutil.rmtree(repository)
        super().__init__(folder)
        self.yaml = repository / f"appliances/{BASE}/appliance.yaml"
        self.lock_file = repository / f"appliances/{BASE}/packages.lock"
        self.text = self.yaml.read_text()
        child = repository / f"appliances/{CHILD}/appliance.yaml"
        child.write_text(child.read_text().replace("abstract: true\n", ""))
        self.commit()
        self.refresh()
        self.now = self.lock()
        self.released = self._released()

    def lock(self) -> PackagesLock:
        """The base's lock as it lies there."""
        found = self.catalogue.lock(BASE)
        assert found is not None
        return found

    def _released(self) -> PackagesLock:
        """The lock with nothing but the point release."""
        self._write(re.sub(r"    - name: (updates|security)\n.*\n.*\n", "", self.text))
        self.refresh()
        found = self.lock()
        self._write(self.text)
        self.refresh()
        return found

    def _write(self, text: str) -> None:
        self.yaml.write_text(text)
        self.commit()

    def of(self, packages: tuple[LockedPackage, ...], date: datetime) -> Image:
        """The base made of these packages."""
        lock = self.now.model_copy(update={"packages": tuple(sorted(packages, key=lambda one: one.name)), "date": date})
        self.lock_file.write_bytes(dump(lock))
        self.commit()
        try:
            return self.image(BASE)
        finally:
            self.lock_file.write_bytes(dump(self.now))
            self.commit()

    def with_package(self, name: str) -> Image:
        """The base as it is now and one package more."""
        self._write(self.text.replace("packages:\n", f"packages:\n  - {name}\n", 1))
        self.refresh()
        try:
            return self.image(BASE)
        finally:
            self._write(self.text)
            self.lock_file.write_bytes(dump(self.now))
            self.commit()

    def image(self, name: str) -> Image:
        """Build what is not there yet."""
        recipe = self.catalogue.recipe(name)
        built = BUILDERS[recipe.builder.name].build(recipe, self.catalogue.content, self.store, self.folder / "work", Silent())
        rootfs, disk = self.store.local_path(built.rootfs.sha512), self.store.local_path(built.files[0].sha512)
        assert rootfs is not None
        assert disk is not None
        return Image(rootfs, disk)

    def month_ago(self) -> tuple[LockedPackage, ...]:
        """The packages of now, those that came within thirty days as they were in the point release."""
        since = datetime.now(UTC) - timedelta(days=30)
        uris = {
            "debian": "http://deb.debian.org/debian",
            "updates": "http://deb.debian.org/debian",
            "security": "http://deb.debian.org/debian-security",
        }
        before = {one.name: one for one in self.released.packages}
        kept, added = [], False
        for one in self.now.packages:
            if before.get(one.name) == one or made_at(f"{uris[one.archive]}/{one.path}") < since:
                kept.append(one)
            elif one.name in before:
                kept.append(before[one.name])
            else:
                added = True
        names = {one.name for one in self.now.packages}
        return (*kept, *(one for name, one in before.items() if added and name not in names))


def made_at(url: str) -> datetime:
    """When a package was made: the time in the header of its archive's first member, which is that of its changelog (deb(5), ar(5))."""
    head = httpx.get(url, headers={"Range": "bytes=0-67"}, follow_redirects=True).content
    return datetime.fromtimestamp(int(head[24:36]), UTC)


def differences(old: tuple[LockedPackage, ...], new: tuple[LockedPackage, ...]) -> str:
    """How many packages differ."""
    before, after = {one.name: one.version for one in old}, {one.name: one.version for one in new}
    newer = sum(1 for name, version in after.items() if before.get(name, version) != version)
    return f"{newer} newer, {len(after.keys() - before.keys())} added, {len(before.keys() - after.keys())} gone"


def updates(states: States) -> Iterator[tuple[str, Image, Image]]:
    """Each update's name and its two images."""
    now = states.image(BASE)
    month = states.month_ago()
    before = {one.name: one for one in states.released.packages}
    newer = [one for one in states.now.packages if one.name in before and before[one.name] != one]
    if newer:
        one = min(newer, key=lambda each: abs(each.size - 1_500_000))
        rest = tuple(each for each in states.now.packages if each.name != one.name)
        yield f"one package newer ({one.name})", states.of((*rest, before[one.name]), states.now.date), now
    yield f"one package more ({ADDED})", now, states.with_package(ADDED)
    if month != states.now.packages:
        yield f"a month ({differences(month, states.now.packages)})", states.of(month, states.now.date - timedelta(days=30)), now
    yield (
        f"since the point release ({differences(states.released.packages, states.now.packages)})",
        states.of(states.released.packages, states.released.date),
        now,
    )
    yield f"parent to child ({CHILD})", now, states.image(CHILD)


# -- ways


@dataclass(frozen=True)
class Took:
    """Seconds on the wall and on processors, and bytes of memory of the largest process."""

    wall: float
    cpu: float
    memory: int

    def __str__(self) -> str:
        return f"{self.wall:6.1f} s {self.cpu:6.1f} CPU s {self.memory / (1 << 20):6.0f} MiB"


ENGINE = """
import sys
from pathlib import Path
from vmkeeper.images.patch import apply, compress, expand, make
from vmkeeper.model.release import Blob
from vmkeeper.values import Size
verb, memory, size, sha512 = sys.argv[1:5]
paths = [Path(one) for one in sys.argv[5:]]
wanted = Blob(size=Size(size), sha512=sha512)
match verb:
    case "make":
        make(*paths, memory=Size(memory))
    case "apply":
        apply(*paths, wanted, memory=Size(memory))
    case "compress":
        compress(*paths)
    case "expand":
        expand(*paths, wanted)
"""


def measured(*words: str | Path) -> Took:
    """Run a program that says nothing to its end."""
    begin = time.monotonic()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = status
    if status:
        raise SystemExit(f"{' '.join(map(str, words))} failed")
    return Took(time.monotonic() - begin, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)


def engine(verb: str, wanted: Blob, *paths: Path) -> Took:
    """Run our own function in a process of its own."""
    return measured(sys.executable, "-c", ENGINE, verb, str(int(MEMORY)), str(int(wanted.size)), wanted.sha512, *paths)


def told(what: str, size: int, whole: int, *took: Took) -> None:
    """One line: bytes, share of the whole file, making, applying."""
    print(f"  {what:46} {size:12,} {100 * size / whole:7.2f} %  {'   '.join(map(str, took))}", flush=True)


def ours(old: Image, new: Image, folder: Path) -> int:
    """Bytes of our patch of the disks."""
    patch, result, wanted = folder / "patch", folder / "result", hash_file(new.disk)
    made = engine("make", wanted, old.disk, new.disk, patch)
    applied = engine("apply", wanted, old.disk, patch, result)
    size = patch.stat().st_size
    told("patch of the disks (ours)", size, new.disk.stat().st_size, made, applied)
    patch.unlink()
    result.unlink()
    return size


def of_tars(old: Image, new: Image, folder: Path) -> int:
    """Bytes of zstd's own patch of the root file systems, which a site could not use as it is."""
    patch = folder / "patch"
    made = measured("zstd", "-q", "--long=31", f"--patch-from={old.rootfs}", new.rootfs, "-o", patch)
    size = patch.stat().st_size
    told("zstd patch of the root file systems' tars", size, new.rootfs.stat().st_size, made)
    patch.unlink()
    return size


def compressed(new: Image, folder: Path) -> None:
    """The whole file by zstd, as we publish it."""
    packed, result = folder / "packed", folder / "result"
    wanted = hash_file(new.disk)
    made = engine("compress", wanted, new.disk, packed)
    expanded = engine("expand", wanted, packed, result)
    told("whole file compressed (ours)", packed.stat().st_size, new.disk.stat().st_size, made, expanded)
    packed.unlink()
    result.unlink()


def casync(old: Image, new: Image, folder: Path) -> None:
    """The index and the chunks that a client with the old file lacks, as they lie compressed on the server."""
    stores = {}
    took = []
    for name, image in (("old", old), ("new", new)):
        stores[name] = folder / f"{name}.castr"
        took.append(measured("casync", "make", f"--store={stores[name]}", folder / f"{name}.caibx", image.disk))
    held = {path.name for path in stores["old"].rglob("*.cacnk")}
    missing = [path for path in stores["new"].rglob("*.cacnk") if path.name not in held]
    size = (folder / "new.caibx").stat().st_size + sum(path.stat().st_size for path in missing)
    target = folder / "result"
    took.append(measured("casync", "extract", f"--store={stores['new']}", f"--seed={old.disk}", folder / "new.caibx", target))
    assert hash_file(target) == hash_file(new.disk)
    told("casync, index and chunks", size, new.disk.stat().st_size, *took[1:])
    target.unlink()
    for store in stores.values():
        shutil.rmtree(store)


def zsync(old: Image, new: Image, folder: Path) -> None:
    """What a server sends to zsync that has the old file, the control file and headers of answers included."""
    served = folder / "served"
    served.mkdir()
    (served / "image").symlink_to(new.disk)
    made = measured("zsyncmake", "-u", "image", "-o", served / "image.zsync", served / "image")
    with counting_server(served) as (url, sent):
        applied = measured("zsync", "-q", "-i", old.disk, "-o", folder / "result", f"{url}/image.zsync")
    assert hash_file(folder / "result") == hash_file(new.disk)
    told("zsync", sum(sent), new.disk.stat().st_size, made, applied)
    (folder / "result").unlink()
    shutil.rmtree(served)


@contextmanager
def counting_server(folder: Path) -> Iterator[tuple[str, list[int]]]:
    """A web server for ranges, also several in one request, on 127.0.0.1; it notes the bytes of each answer."""
    sent: list[int] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            data = (folder / self.path.lstrip("/")).open("rb")
            size = os.fstat(data.fileno()).st_size
            asked = [(int(a), int(b or size - 1)) for a, b in re.findall(r"(\d+)-(\d*)", self.headers.get("Range", ""))]
            mark = b"3d6b6a416f9b5"
            with data:
                if not asked:
                    parts, kind = [data.read()], "text/plain"
                elif len(asked) == 1:
                    parts, kind = [self.piece(data, *asked[0])], "application/octet-stream"
                else:
                    kind = f"multipart/byteranges; boundary={mark.decode()}"
                    parts = []
                    for begin, end in asked:
                        head = f"\r\n--{mark.decode()}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {begin}-{end}/{size}\r\n\r\n"
                        parts += [head.encode(), self.piece(data, begin, end)]
                    parts.append(b"\r\n--" + mark + b"--\r\n")
            body = b"".join(parts)
            self.send_response(206 if asked else 200)
            if len(asked) == 1:
                self.send_header("Content-Range", f"bytes {asked[0][0]}-{asked[0][1]}/{size}")
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            sent.append(len(body) + sum(map(len, self._headers_buffer)) + 2)  # type: ignore[attr-defined]
            self.end_headers()
            self.wfile.write(body)

        @staticmethod
        def piece(data: BinaryIO, begin: int, end: int) -> bytes:
            data.seek(begin)
            return data.read(end + 1 - begin)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", sent
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def main() -> None:
    """Build, measure and print."""
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    worst = 0.0
    for name, old, new in updates(States(folder)):
        whole = new.disk.stat().st_size
        print(f"{name}\n  {'':46} {'bytes':>12} {'share':>9}  {'to make':^34}   {'to apply':^34}", flush=True)
        told("whole file", whole, whole)
        with tempfile.TemporaryDirectory(dir=folder, prefix="ways-") as scratch:
            compressed(new, Path(scratch))
            disks, tars = ours(old, new, Path(scratch)), of_tars(old, new, Path(scratch))
            if shutil.which("casync"):
                casync(old, new, Path(scratch))
            if shutil.which("zsync"):
                zsync(old, new, Path(scratch))
        worst = max(worst, disks / tars)
        print(f"  {'ours / patch of the tars':46} {disks / tars:12.2f}", flush=True)
    print(f"\nworst of ours / patch of the tars: {worst:.2f} (at most 2)")


if __name__ == "__main__":
    main()
