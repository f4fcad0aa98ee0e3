"""Places to publish to, each as its real kind on 127.0.0.1: opened as often as wanted, and looked at behind the target's back."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from support.davserver import DavServer
from support.realservers import Nginx, OpenSsh
from support.webserver import WebServer
from vmkeeper.images.targets import Target
from vmkeeper.images.targets_files import FilesTarget
from vmkeeper.images.targets_open import open_target

WEB = ("http", "nginx")
"""Places without folders, locks and names that change at once."""
KINDS = ("memory", "folder", "s3", "sftp", "openssh", "http", "nginx")


@dataclass
class Place:
    """Where a target leads. `held` is all that is really there, temporary files too; `server` what serves it, if anything does."""

    kind: str
    address: str
    options: dict[str, Any]
    opened: Callable[[], Target]
    held: Callable[[], dict[str, bytes]]
    put_behind: Callable[[str, bytes], None]
    server: Any = None
    url: str = ""
    """Where what is published can be fetched."""
    broken: Any = None
    """Set by `break_after`."""
    now: list[datetime] = field(default_factory=lambda: [datetime.now(UTC)])
    """The clock of targets that are opened by `open`, where they have one."""
    _open: list[Target] = field(default_factory=list)

    def open(self) -> Target:
        """One more publisher's view."""
        made = self.opened()
        if isinstance(made, FilesTarget):
            made._lease._clock = lambda: self.now[0]
        self._open.append(made)
        return made

    def break_after(self, changes: int) -> None:
        """From now on nothing changes any more after so many requests that change something, as when the publisher died."""
        self.broken = Breaking(changes)
        if self.kind == "nginx":
            pytest.skip("nginx cannot be told to break")
        if self.kind == "http":
            self.server.answer = lambda method, _path: 503 if method not in ("GET", "HEAD") and self.broken.strikes() else None
        elif self.kind == "sftp":
            self.server.fail = lambda what: what in ("open", "rename", "remove") and self.broken.strikes()

    def heal(self) -> bool:
        """Let it work again; whether the break struck."""
        struck, self.broken = self.broken.struck, None
        if self.kind == "http":
            self.server.answer = lambda _method, _path: None
        elif self.kind == "sftp":
            self.server.fail = lambda _what: False
        return bool(struck)

    def close(self) -> None:
        for made in self._open:
            made.close()


class Breaking:
    """Counts changes down."""

    def __init__(self, left: int) -> None:
        self.left, self.struck = left, False

    def strikes(self) -> bool:
        self.left -= 1
        self.struck = self.struck or self.left < 0
        return self.struck


class BreakingFiles:
    """fsspec's file system of a place, which breaks when the place says so."""

    def __init__(self, fs: Any, place: list[Place]) -> None:
        self._fs, self._place = fs, place

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._fs, name)
        if name not in ("pipe_file", "mv", "rm_file", "makedirs", "open", "abort_mpu"):
            return found

        def call(*args: Any, **options: Any) -> Any:
            writing = name != "open" or "w" in (args[1] if len(args) > 1 else options.get("mode", "rb"))
            if writing and self._place and self._place[0].broken and self._place[0].broken.strikes():
                raise ConnectionError("nobody is there")
            return found(*args, **options)

        return call


def folder_files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _behind(folder: Path) -> Callable[[str, bytes], None]:
    def put(path: str, data: bytes) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)

    return put


def memory(_: Path, __: ExitStack) -> Place:
    fs = MemoryFileSystem(global_store=False, skip_instance_cache=True)

    def held() -> dict[str, bytes]:
        return {path.removeprefix("/public/"): fs.cat_file(path) for path in fs.find("/public")}

    places: list[Place] = []
    seen = BreakingFiles(fs, places)

    def behind(path: str, data: bytes) -> None:
        fs.pipe_file(f"/public/{path}", data)

    places.append(Place("memory", "memory://public", {}, lambda: FilesTarget(seen, "/public", "memory"), held, behind))
    return places[0]


def folder(work: Path, stack: ExitStack) -> Place:
    root = work / "public"
    url = stack.enter_context(WebServer(root)).url
    return Place("folder", str(root), {}, lambda: open_target(str(root)), lambda: folder_files(root), _behind(root), url=url)


def sftp(work: Path, stack: ExitStack) -> Place:
    pytest.importorskip("paramiko", reason="needs paramiko")
    from support.sftpserver import SftpServer

    root = work / "sftp"
    root.mkdir()
    server, public = stack.enter_context(SftpServer(root, work)), root / "public"
    address, options = f"{server.url}/public", server.options
    url = stack.enter_context(WebServer(public)).url
    return Place("sftp", address, options, lambda: open_target(address, options), lambda: folder_files(public), _behind(public), server, url)


def http(work: Path, stack: ExitStack) -> Place:
    root = work / "dav"
    root.mkdir()
    server = stack.enter_context(DavServer(root, user="publisher:a secret word"))
    options = {"username": "publisher", "password": "a secret word"}
    url = stack.enter_context(WebServer(root)).url
    return Place("http", server.url, options, lambda: open_target(server.url, options), lambda: folder_files(root), _behind(root), server, url)


def openssh(work: Path, stack: ExitStack) -> Place:
    """One connection serves all that is opened, as for S3."""
    pytest.importorskip("paramiko", reason="needs paramiko")
    public = work / "openssh" / "public"
    public.parent.mkdir()
    server = stack.enter_context(OpenSsh(work))
    address = f"{server.url}{public}"
    first = open_target(address, server.options)
    assert isinstance(first, FilesTarget)
    places: list[Place] = []
    seen = BreakingFiles(first._fs, places)

    def opened() -> Target:
        return FilesTarget(seen, first._root, first.name, whole=first._whole, failures=first._failures)

    url = stack.enter_context(WebServer(public)).url
    places.append(Place("openssh", address, server.options, opened, lambda: folder_files(public), _behind(public), server, url))
    return places[0]


def nginx(work: Path, stack: ExitStack) -> Place:
    root = work / "dav"
    root.mkdir()
    options = {"username": "publisher", "password": "a secret word"}
    server = stack.enter_context(Nginx(root, work, user=options["username"], password=options["password"]))
    url = stack.enter_context(WebServer(root)).url
    return Place("nginx", server.url, options, lambda: open_target(server.url, options), lambda: folder_files(root), _behind(root), server, url)


def s3(endpoint: Any) -> Place:
    """One connection serves all that is opened, for making one takes long."""
    bucket, options = f"images-{secrets.token_hex(6)}", endpoint.options()
    address = f"s3://{bucket}/public"
    first = open_target(address, options)
    assert isinstance(first, FilesTarget)
    fs = first._fs
    fs.mkdir(bucket)
    places: list[Place] = []
    seen = BreakingFiles(fs, places)

    def opened() -> Target:
        return FilesTarget(seen, first._root, first.name, whole=first._whole, failures=first._failures)

    def held() -> dict[str, bytes]:
        return {path.removeprefix(f"{bucket}/public/"): fs.cat_file(path) for path in fs.find(f"{bucket}/public")}

    def behind(path: str, data: bytes) -> None:
        fs.pipe_file(f"{bucket}/public/{path}", data)

    places.append(Place("s3", address, options, opened, held, behind, endpoint, f"{endpoint.url}/{bucket}/public"))
    return places[0]


MAKERS: dict[str, Callable[[Path, ExitStack], Place]] = {
    "memory": memory,
    "folder": folder,
    "sftp": sftp,
    "openssh": openssh,
    "http": http,
    "nginx": nginx,
}


def place_of(kind: str, work: Path, moto: Callable[[], Any]) -> Iterator[Place]:
    """A place of one kind, for a fixture to yield from; `moto` gives the S3 server."""
    with ExitStack() as stack:
        made = s3(moto()) if kind == "s3" else MAKERS[kind](work, stack)
        try:
            yield made
        finally:
            made.close()
