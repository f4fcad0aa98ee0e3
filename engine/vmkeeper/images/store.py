"""The store: files by content under `sha512/ab/ab…`, and small records about them, in any file system fsspec knows.

It never gives out bytes whose digest is not the one asked for: what is found damaged is set aside under
`damaged/` and reported, so that the next `put` of the same content mends the store.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import re
import secrets
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

import fsspec.core
from fsspec.implementations.local import LocalFileSystem

from vmkeeper.errors import EnvironmentLacks, Refused, Transient, UserError
from vmkeeper.images.files import CHUNK, Readable, copy_hashed, hash_file, remove_leftovers, reported, sync_file, sync_folder, temporary
from vmkeeper.model.release import Blob
from vmkeeper.values import Size, canonical_json, sha512_hex

_SHA512 = re.compile(r"[0-9a-f]{128}")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,199}")
_RECORD_LIMIT = 1 << 20


class Store:
    """Content-addressed files. `url` is a folder or what fsspec takes (`memory://`, `s3://…`, `sftp://…`).

    Puts of the same content may run at the same time. Files of a local folder have mode 0444.
    """

    def __init__(self, url: str | Path) -> None:
        try:
            self._fs, root = fsspec.core.url_to_fs(str(url), use_listings_cache=False)
        except (ImportError, ValueError) as error:
            why = str(error)
            raise EnvironmentLacks(
                f"this store cannot be used: {_public(str(url))}", why=why, hint="name a folder, or install the library it names"
            ) from None
        self._root = str(root).rstrip("/")
        self._folder = Path(self._root) if isinstance(self._fs, LocalFileSystem) else None
        self.name = _public(str(url))
        """The address without credentials, for people."""
        self._records: Store | None = None
        self._shared: frozenset[str] = frozenset()

    def remembering(self, folder: Path, *, shared: Collection[str]) -> Store:
        """The same files, but only records that are also in a local folder, where this one writes them too.

        shared: kinds of records that count whoever wrote them.
        """
        made = copy.copy(self)
        made._records, made._shared = Store(folder), frozenset(shared)
        return made

    def has(self, sha512: str) -> bool:
        """Whether the store holds a file of this digest (its bytes are not read)."""
        path = self._path(sha512)
        return Path(path).is_file() if self._folder else bool(self._fs.isfile(path))

    def size(self, sha512: str) -> int:
        """Bytes of a file. Raises UserError where the store does not have it."""
        self._present(sha512)
        return int(self._fs.size(self._path(sha512)))

    def digests(self) -> Iterator[str]:
        """The digests of all files, in no order."""
        for path in self._fs.find(f"{self._root}/sha512") if self._fs.exists(f"{self._root}/sha512") else ():
            name = str(path).rsplit("/", 1)[-1]
            if _SHA512.fullmatch(name):
                yield name

    def put(self, path: Path, *, move: bool = False) -> Blob:
        """Put a file in. With `move` the caller gives the file away, which saves the copy on the same file system."""
        with reported("put a file into the store", path):
            if move and self._folder and (blob := self._adopt(path)):
                return blob
            with path.open("rb") as source:
                blob = self._copy_in(source)
            if move:
                path.unlink()
            return blob

    def put_bytes(self, data: bytes) -> Blob:
        """Put bytes in."""
        blob = Blob(size=Size(len(data)), sha512=sha512_hex(data))
        with reported("write to the store", self.name):
            if not self._holds(blob):
                return self._copy_in(io.BytesIO(data))
            if self._folder:
                remove_leftovers(Path(self._root) / "incoming")
            return blob

    def open(self, sha512: str) -> BinaryIO:
        """Read a file from its start to its end, once, without seeking.

        Each byte is hashed; the read that reaches the end raises Refused (R14) where the digest differs, so
        nothing may be made of what was read before the end came.
        """
        self._present(sha512)
        raw = _Verifying(self._open_raw(sha512), sha512, lambda: self._damaged(sha512))
        return cast(BinaryIO, io.BufferedReader(raw, CHUNK))

    def read(self, sha512: str, limit: int) -> bytes:
        """A small file's bytes. Raises Refused where it has more than `limit` bytes (R25) or other content (R14)."""
        if (size := self.size(sha512)) > limit:
            raise Refused("R25", f"a file of {size} bytes where at most {limit} are read", where=self._label(sha512))
        with self.open(sha512) as file:
            return file.read()

    def fetch(self, sha512: str, target: Path) -> None:
        """Copy a file out to `target`, verified before it gets that name. Raises Refused (R14), UserError."""
        self._present(sha512)
        with reported("copy a file out of the store", target), self._open_raw(sha512) as source, temporary(target.parent) as new:
            if copy_hashed(cast(Readable, source), new.file).sha512 != sha512:
                raise self._damaged(sha512)
            new.keep(target)

    def verify(self, sha512: str) -> Blob:
        """Read a file through. Raises Refused (R14) where it is damaged, UserError where it is not there."""
        self._present(sha512)
        digest, size = hashlib.sha512(), 0
        with reported("read the store", self.name), self._open_raw(sha512) as source:
            while chunk := source.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
        if digest.hexdigest() != sha512:
            raise self._damaged(sha512)
        return Blob(size=Size(size), sha512=sha512)

    def local_path(self, sha512: str) -> Path | None:
        """The file itself (mode 0444, not to be changed) where the store is a local folder and has it; its bytes are not read."""
        return Path(self._path(sha512)) if self._folder and self.has(sha512) else None

    def set_alias(self, kind: str, key: str, value: dict[str, Any]) -> None:
        """Remember a small record under a key; replaces an earlier one."""
        data = canonical_json(value)
        path = self._alias_path(kind, key)
        with reported("write to the store", self.name):
            self._write(io.BytesIO(data), path)
        if self._records is not None and kind not in self._shared:
            self._records.set_alias(kind, key, value)

    def alias(self, kind: str, key: str) -> dict[str, Any] | None:
        """The record under a key, or None. Raises UserError where it is damaged."""
        if self._records is not None and kind not in self._shared:
            return self._records.alias(kind, key)
        path = self._alias_path(kind, key)
        if not self._fs.isfile(path):
            return None
        try:
            with reported("read the store", self.name), self._fs.open(path, "rb") as file:
                value = json.loads(file.read(_RECORD_LIMIT))
            if isinstance(value, dict):
                return value
        except ValueError:
            pass
        raise UserError(f"the record of {kind} {key} is damaged", where=path, hint="remove that file: it is made again when it is needed")

    # -- paths

    def _path(self, sha512: str) -> str:
        if not _SHA512.fullmatch(sha512):
            raise ValueError(f"{sha512!r} is not a SHA-512")
        return f"{self._root}/sha512/{sha512[:2]}/{sha512}"

    def _alias_path(self, kind: str, key: str) -> str:
        if not (_KEY.fullmatch(kind) and _KEY.fullmatch(key)):
            raise ValueError(f"{kind!r} {key!r} is not the name of a record")
        return f"{self._root}/alias/{kind}/{key[:2]}/{key}.json"

    def _label(self, sha512: str) -> str:
        return f"{self.name} sha512/{sha512[:16]}…"

    # -- reading

    def _present(self, sha512: str) -> None:
        if not self.has(sha512):
            hint = "build the appliance again, or name the store that has the file"
            raise UserError("the store does not have this file", where=self._label(sha512), hint=hint)

    def _open_raw(self, sha512: str) -> BinaryIO:
        return cast(BinaryIO, self._fs.open(self._path(sha512), "rb"))

    def _damaged(self, sha512: str) -> Refused:
        aside = f"{self._root}/damaged/{sha512}"
        self._fs.makedirs(f"{self._root}/damaged", exist_ok=True)
        if self.has(sha512):
            self._fs.mv(self._path(sha512), aside)
        return Refused(
            "R14",
            "a file of the store does not have the bytes that its name says",
            where=self._label(sha512),
            why=f"it was set aside as {_public(aside)}",
            hint="build or fetch it again, and look after the disk",
        )

    # -- writing

    def _incoming(self) -> Path:
        """Where files of a local folder are written before they have their names."""
        folder = Path(self._root) / "incoming"
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        return folder

    def _holds(self, blob: Blob) -> bool:
        return self.has(blob.sha512) and int(self._fs.size(self._path(blob.sha512))) == blob.size

    def _adopt(self, path: Path) -> Blob | None:
        """Hash and rename; None where the file lies on another file system."""
        if path.stat().st_dev != self._incoming().stat().st_dev:
            return None
        blob = hash_file(path)
        if self._holds(blob):
            path.unlink()
            return blob
        target = self._folder_of(self._path(blob.sha512))
        path.chmod(0o444)
        sync_file(path)
        path.rename(target)
        sync_folder(target.parent)
        return blob

    def _copy_in(self, source: BinaryIO) -> Blob:
        if self._folder is None:
            return self._upload(source)
        with temporary(self._incoming()) as new:
            blob = copy_hashed(source, new.file)
            if not self._holds(blob):
                new.keep(self._folder_of(self._path(blob.sha512)), mode=0o444)
        return blob

    def _upload(self, source: BinaryIO) -> Blob:
        incoming = f"{self._root}/incoming/{secrets.token_hex(16)}"
        self._fs.makedirs(f"{self._root}/incoming", exist_ok=True)
        digest, size = hashlib.sha512(), 0
        try:
            with self._fs.open(incoming, "wb") as target:
                while chunk := source.read(CHUNK):
                    target.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
            blob = Blob(size=Size(size), sha512=digest.hexdigest())
            if int(self._fs.size(incoming)) != size:
                raise Transient("the store kept another number of bytes than it was sent", where=self.name)
            if not self._holds(blob):
                self._rename(incoming, self._path(blob.sha512))
        finally:
            if self._fs.exists(incoming):
                self._fs.rm(incoming)
        return blob

    def _write(self, source: BinaryIO, path: str) -> None:
        if self._folder:
            with temporary(self._incoming()) as new:
                new.file.write(source.read())
                new.keep(self._folder_of(path))
            return
        incoming = f"{self._root}/incoming/{secrets.token_hex(16)}"
        self._fs.makedirs(f"{self._root}/incoming", exist_ok=True)
        with self._fs.open(incoming, "wb") as target:
            target.write(source.read())
        self._rename(incoming, path)

    def _rename(self, source: str, target: str) -> None:
        self._fs.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
        self._fs.mv(source, target)

    def _folder_of(self, path: str) -> Path:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        return target


class _Verifying(io.RawIOBase):
    """Hashes what is read and raises at the end where the digest is another one."""

    def __init__(self, source: BinaryIO, sha512: str, damaged: Any) -> None:
        self._source = source
        self._sha512 = sha512
        self._damaged = damaged
        self._digest = hashlib.sha512()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._source.read(len(buffer))
        if not chunk and self._digest.hexdigest() != self._sha512:
            raise self._damaged()
        self._digest.update(chunk)
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def close(self) -> None:
        self._source.close()
        super().close()


def _public(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl() if "://" in url else url
