"""How an image's file gets to a datastore: by a path, over HTTP from here, or put where the datastore keeps its files.

The bytes are hashed before oned hears of them; anything but the spec's is refused (R14). What is put anywhere is a copy, locked
while it is needed and removed afterwards; a copy without a lock was left by a process that died.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

from vmkeeper.clouds.interface import ImageSpec, NoRoom
from vmkeeper.clouds.opennebula.fileserver import Served, serving
from vmkeeper.errors import Refused, Transient, UserError, VmkeeperError
from vmkeeper.images.files import LACK_OF_ROOM, copy_hashed, remove_leftovers, temporary
from vmkeeper.model.platform import LocalPath, OwnServer, RegisteredSource
from vmkeeper.model.platform import Transport as TransportChoice

_FICLONE = 0x40049409
"""linux/fs.h: share another file's blocks."""
_SAFE = re.compile(r"/[A-Za-z0-9._/+@-]*")
"""Paths that the datastore drivers' shell scripts leave as they are."""
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Offer:
    """A file that oned can take. attributes: what image.allocate is told of it. virtual: bytes the guest sees, 0 where unknown."""

    attributes: dict[str, str]
    virtual: int
    check: Callable[[], None] = field(default=lambda: None)
    """Raises Transient where oned cannot have taken all of it."""


class Transport(Protocol):
    """One way for files to get to a datastore."""

    def offer(self, spec: ImageSpec, file: Path, sources: Callable[[], Iterable[str]]) -> AbstractContextManager[Offer]:
        """A context in which oned can take the file. sources: what SOURCE all images have, whoever's they are.

        Raises Refused R14, NoRoom, UserError.
        """


def transport_for(choice: TransportChoice, owner: str, user: str) -> Transport:
    """The transport that a site chose. owner: the mark of its images; user: the account."""
    match choice:
        case LocalPath():
            return _ByPath(choice)
        case OwnServer():
            return _OverHttp(choice)
        case RegisteredSource():
            return _BySource(choice, hashlib.sha256(f"{owner}\n{user}".encode()).hexdigest()[:16])


@dataclass(frozen=True, slots=True)
class _ByPath:
    choice: LocalPath

    @contextmanager
    def offer(self, spec: ImageSpec, file: Path, sources: Callable[[], Iterable[str]]) -> Iterator[Offer]:  # noqa: ARG002
        """A copy in the folder. It is a copy so that nothing can change between hashing and oned's reading."""
        folder = _folder(self.choice.folder)
        with _opened(file) as source, _copying(folder), temporary(folder) as copy:
            sha1 = _copy(spec, source, copy.file)
            os.fchmod(copy.file.fileno(), 0o644)
            path = _seen_as(self.choice.folder, self.choice.seen_as, copy.path.name)
            yield Offer({"PATH": path, "SHA1": sha1}, _virtual(spec, copy.file))


@dataclass(frozen=True, slots=True)
class _OverHttp:
    choice: OwnServer

    @contextmanager
    def offer(self, spec: ImageSpec, file: Path, sources: Callable[[], Iterable[str]]) -> Iterator[Offer]:  # noqa: ARG002
        """The file at an address that nobody can guess."""
        with _opened(file) as source:
            sha1 = _hash(spec, source)
            served = Served(source, int(spec.size), f"image.{spec.format}")
            with serving(served, self.choice.listen, self.choice.port) as (port, path):

                def check() -> None:
                    if not served.whole():
                        raise Transient("oned says that it has an image of which it did not fetch all", where=spec.name)
                    source.seek(0)
                    _hash(spec, source)

                yield Offer({"PATH": f"http://{self._host(port)}{path}", "SHA1": sha1}, _virtual(spec, source), check)

    def _host(self, port: int) -> str:
        address = self.choice.address or self.choice.listen
        if self.choice.address is None and address in ("0.0.0.0", "::"):  # noqa: S104 - nothing listens here
            hint = "set the transport's address to what oned's host calls this one"
            raise UserError("oned cannot be told where to fetch images", where="platform.transport.address", hint=hint)
        bare = address.strip("[]")
        if bare.count(":") > 1:
            return address if address.startswith("[") and not address.endswith("]") else f"[{bare}]:{port}"
        return address if ":" in address else f"{address}:{port}"


@dataclass(frozen=True, slots=True)
class _BySource:
    choice: RegisteredSource
    mine: str
    """Digest of owner and account, in the names of its files."""

    @contextmanager
    def offer(self, spec: ImageSpec, file: Path, sources: Callable[[], Iterable[str]]) -> Iterator[Offer]:
        """The file under a name of its own in the datastore's folder, where it stays if an image was made of it.

        Until that is known, it has a second name: only what has one is ever taken for a leftover.
        """
        folder = _folder(self.choice.folder)
        self._clean(folder, sources)
        with _opened(file) as source, _copying(folder), temporary(folder) as copy:
            _copy(spec, source, copy.file)
            virtual = _virtual(spec, copy.file)
            final = folder / f"vmkeeper-{self.mine}-{secrets.token_hex(12)}.{spec.format}"
            path = _seen_as(self.choice.folder, self.choice.seen_as, final.name)
            copy.keep(_pending(final), mode=0o644)
            try:
                final.hardlink_to(_pending(final))
                yield Offer({"SOURCE": path, "FORMAT": spec.format, "SIZE": str(max(1, -(-virtual // MIB)))}, virtual)
            except BaseException:
                with suppress(VmkeeperError, OSError):  # where nobody can tell now, the next upload looks
                    _settle(final, sources())
                raise
            _pending(final).unlink()

    def _clean(self, folder: Path, sources: Callable[[], Iterable[str]]) -> None:
        """Remove files that were put there, but not registered, by processes that are gone."""
        with ExitStack() as held:
            names = []
            for pending in folder.glob(f"{_PENDING}vmkeeper-{self.mine}-*"):
                with suppress(OSError):
                    fcntl.flock(held.enter_context(pending.open("rb")), fcntl.LOCK_EX | fcntl.LOCK_NB)
                    names.append(pending.name.removeprefix(_PENDING))
            # Only now that nobody can register them any more is it asked which of them are registered.
            registered = list(sources()) if names else []
            for name in names:
                _settle(folder / name, registered)


_PENDING = ".pending-"


def _pending(final: Path) -> Path:
    return final.with_name(_PENDING + final.name)


def _settle(final: Path, sources: Iterable[str]) -> None:
    """Remove a file that no image has; one that an image has loses its second name."""
    if final.name not in {PurePosixPath(source).name for source in sources}:
        final.unlink(missing_ok=True)
    _pending(final).unlink(missing_ok=True)


def clean(choice: TransportChoice) -> None:
    """Remove the copies that killed uploads left. Where the folder cannot be reached now, an upload will say so."""
    if isinstance(choice, LocalPath | RegisteredSource):
        with suppress(OSError):
            remove_leftovers(Path(choice.folder))


def forget(choice: TransportChoice, source: str) -> None:
    """Remove the file of an image that is gone, where its datastore's driver left it."""
    name = PurePosixPath(source).name
    if isinstance(choice, RegisteredSource) and name.startswith("vmkeeper-"):
        with suppress(OSError):
            (Path(choice.folder) / name).unlink()


def _folder(text: str) -> Path:
    path = Path(text)
    if not path.is_absolute() or not path.is_dir():
        raise UserError("there is no such folder for image files", where=text, hint="make it, or correct the platform's transport")
    return path


def _seen_as(folder: str, seen_as: str | None, name: str) -> str:
    path = str(PurePosixPath(seen_as or folder) / name)
    if not _SAFE.fullmatch(path):
        hint = "use an absolute path of letters, digits and . _ + @ -: the drivers of datastores are shell scripts"
        raise UserError("oned cannot be given this path", where=path, hint=hint)
    return path


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    try:
        source = file.open("rb")
    except OSError as error:
        raise UserError("could not read the image file", where=str(file), why=error.strerror or "") from None
    with source:
        yield source


@contextmanager
def _copying(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in LACK_OF_ROOM:
            raise NoRoom("no room for the image's copy", where=str(folder), why=error.strerror or "") from None
        raise UserError("could not copy the image file", where=str(folder), why=error.strerror or "") from None


class _Reading:
    """Hashes with SHA-1 what is read through it; oned checks nothing better than that (`downloader.sh`)."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self.sha1 = hashlib.sha1(usedforsecurity=False)

    def read(self, size: int, /) -> bytes:
        data = self._source.read(size)
        self.sha1.update(data)
        return data


class _Nowhere:
    """Takes bytes and keeps none."""

    def write(self, data: bytes) -> int:
        return len(data)

    def seek(self, offset: int, _whence: int = 0) -> int:
        return offset

    def truncate(self) -> int:
        return 0


def _copy(spec: ImageSpec, source: BinaryIO, target: BinaryIO) -> str:
    """Copy, or share the blocks, and hash what is in the copy. Gives its SHA-1. Raises Refused R14, OSError."""
    _check_size(spec, source)
    with suppress(OSError):
        fcntl.ioctl(target, _FICLONE, source.fileno())
        return _hash(spec, target)
    return _hashed(spec, source, target)


def _hash(spec: ImageSpec, source: BinaryIO) -> str:
    """The SHA-1 of a file that has the spec's bytes. Raises Refused R14."""
    _check_size(spec, source)
    return _hashed(spec, source, _Nowhere())  # type: ignore[arg-type]  # it has what copy_hashed calls


def _hashed(spec: ImageSpec, source: BinaryIO, target: BinaryIO) -> str:
    reading = _Reading(source)
    try:
        blob = copy_hashed(reading, target, limit=spec.size)
    except OverflowError:
        blob = None
    if blob is None or (blob.size, blob.sha512) != (spec.size, spec.sha512):
        raise _other_bytes(spec)
    with suppress(AttributeError):
        target.flush()
    return reading.sha1.hexdigest()


def _check_size(spec: ImageSpec, source: BinaryIO) -> None:
    if os.fstat(source.fileno()).st_size != spec.size:
        raise _other_bytes(spec)


def _other_bytes(spec: ImageSpec) -> Refused:
    why = f"expected {int(spec.size)} bytes with sha512 {spec.sha512[:16]}…"
    return Refused("R14", "the bytes are not the ones that were endorsed", where=spec.name, why=why)


def _virtual(spec: ImageSpec, file: BinaryIO) -> int:
    """Bytes the guest sees, from the file where its list does not say: of a raw file all, of qcow2 what its header says (bytes 24 to 31)."""
    if spec.virtual_size:
        return int(spec.virtual_size)
    head = os.pread(file.fileno(), 32, 0)
    if spec.format == "qcow2" and head[:4] == b"QFI\xfb" and len(head) == 32:
        return int(struct.unpack(">Q", head[24:32])[0])
    return int(spec.size) if spec.format == "raw" else 0
