"""A file on its way into Glance: never other bytes than the ones that were signed for.

The last piece is held back until the whole file has the right SHA-512, so that an image with other bytes is never whole;
what Glance then says that it holds is compared again. One upload of an image at a time from one site's folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

from vmkeeper.clouds.interface import ImageSpec
from vmkeeper.clouds.openstack.properties import Image
from vmkeeper.errors import Refused, UserError
from vmkeeper.images.files import reported, write_file
from vmkeeper.values import parse_time

PIECE = 256 * 1024
PATIENCE = timedelta(hours=6)
"""After which an upload from another folder (another machine's) is taken for dead."""
_NAMESPACE = uuid.UUID("5f2a3a39-5c0f-4b53-9f5e-3a0c9f6a8f8e")
TRIES = 64


class Bytes:
    """A file's bytes for a request: begins anew at each iteration, and ends with all of the right ones or raises.

    Raises Refused R14 and UserError while it is read.
    """

    def __init__(self, spec: ImageSpec, file: Path) -> None:
        self._spec, self._file = spec, file

    def __len__(self) -> int:
        return int(self._spec.size)

    def __iter__(self) -> Iterator[bytes]:
        digest, count, held = hashlib.sha512(), 0, b""
        for piece in _pieces(self._file):
            count += len(piece)
            if count > self._spec.size:
                raise other_bytes(self._spec, self._file)
            digest.update(piece)
            if held:
                yield held
            held = piece
        if count != self._spec.size or digest.hexdigest() != self._spec.sha512:
            raise other_bytes(self._spec, self._file)
        if held:
            yield held


def check_size(spec: ImageSpec, file: Path) -> None:
    """Refuse what has the wrong size already. Raises Refused R14, UserError."""
    with reported("read the image file", file):
        size = file.stat().st_size
    if size != spec.size:
        raise other_bytes(spec, file)


def holds(image: Image, spec: ImageSpec, file: Path) -> bool:
    """Whether what Glance says that it holds is `file`, whose bytes are the spec's. Glance's hash is of a kind that its operator chose."""
    if image.get("size") != spec.size:
        return False
    algorithm, value = str(image.get("os_hash_algo")), image.get("os_hash_value")
    if not value:  # stored before Glance had them (Rocky)
        algorithm, value = "md5", image.get("checksum")
    if not value or algorithm not in hashlib.algorithms_available:
        return False
    if algorithm == "sha512":
        return bool(value == spec.sha512)
    digest, check = hashlib.new(algorithm, usedforsecurity=False), hashlib.sha512()
    for piece in _pieces(file):
        digest.update(piece)
        check.update(piece)
    return bool(check.hexdigest() == spec.sha512 and digest.hexdigest() == value)


def other_bytes(spec: ImageSpec, file: Path) -> Refused:
    """R14."""
    why = f"expected {int(spec.size)} bytes with sha512 {spec.sha512[:16]}…"
    return Refused("R14", "the bytes are not the ones that were endorsed", where=str(file), why=why)


def new_ids(owner: str, project: str | None, spec: ImageSpec) -> Iterator[str]:
    """Ids to create an image with, the same for everybody who uploads it, so that two at once make one.

    Glance never gives out an id again that a deleted image had: then the next one is tried. Anybody can take ids, so the
    last one is by chance.
    """
    for number in range(TRIES):
        yield str(uuid.uuid5(_NAMESPACE, f"{project}\n{owner}\n{spec.key}\n{number}"))
    yield str(uuid.uuid4())


@contextmanager
def claimed(folder: Path, spec: ImageSpec) -> Iterator[str]:
    """Hold an image's upload from this folder against other threads and processes; gives the folder's name as an uploader.

    The lock goes with the process that holds it, so what this uploader left unfinished is dead. There are 256 locks and no more.
    """
    name = hashlib.sha256(spec.key.encode()).hexdigest()[:2]
    with reported("lock the upload", folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / f"{name}.lock").open("ab")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield _uploader(folder)


def _uploader(folder: Path) -> str:
    """A folder's own name: made once, by whoever comes first."""
    file = folder / "uploader"
    with reported("name the uploader", file), (folder / "uploader.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            write_file(file, str(uuid.uuid4()).encode())
        return file.read_text().strip()


def is_alive(image: Image, uploader: str, mine: str, date: str) -> bool:
    """Whether an unfinished image may still be on its way: from another folder, and not for too long. date: the cloud's own time."""
    if uploader == mine:
        return False
    try:
        now, since = parsedate_to_datetime(date), parse_time(str(image.get("updated_at")))
    except ValueError:
        return True
    return _aware(now) - since < PATIENCE


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _pieces(file: Path) -> Iterator[bytes]:
    """Errors of the file are not to be taken for the connection's."""
    try:
        with file.open("rb") as opened:
            while piece := opened.read(PIECE):
                yield piece
    except OSError as error:
        raise UserError("could not read the image file", where=str(file), why=error.strerror or "") from None
