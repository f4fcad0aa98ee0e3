"""A publication in any file system that fsspec knows: object stores, where one request puts a whole file, and the others, where a
file is written under a temporary name and renamed. A lock file keeps publishers apart; see `targets_lease`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, BinaryIO

from vmkeeper.errors import Transient, UserError
from vmkeeper.images.files import LACK_OF_ROOM, PREFIX
from vmkeeper.images.targets import SMALL, verified
from vmkeeper.images.targets_lease import LOCK_FILE, Lease
from vmkeeper.model.release import Blob

PART = 8 << 20
"""Bytes of one part of a large file in an object store, held in memory; more for a file that would have too many parts."""
_MOST_PARTS = 9000
_LACKING = (PermissionError, FileNotFoundError, NotADirectoryError, IsADirectoryError, FileExistsError)


def _now() -> datetime:
    return datetime.now(UTC)


class FilesTarget:
    """See `Target`. `fs` is fsspec's, `root` the folder in it as `fs` has it.

    whole: whether a file that is put has its name only when all of it is there, as in object stores. failures: what else the
    library beneath raises where a place cannot be reached.
    """

    def __init__(
        self, fs: Any, root: str, name: str, *, whole: bool = False, failures: tuple[type[Exception], ...] = (), clock: Callable[[], datetime] = _now
    ) -> None:
        self._fs, self._root, self.name = fs, root.rstrip("/"), name
        self._whole = whole
        self._failures: tuple[type[Exception], ...] = (OSError, EOFError, *failures)
        self._lease = Lease(self, self._at(LOCK_FILE), name, clock)

    def files(self, below: str = "") -> dict[str, int]:
        """See `Target.files`."""
        with self._reported("list what is published"):
            return {path: size for path, size in self._listed(below) if not _ours(path)}

    def read(self, path: str, limit: int) -> bytes | None:
        """See `Target.read`."""
        with self._reported("read what is published", path):
            return self.peek(self._at(path), limit)

    def put(self, path: str, source: BinaryIO, blob: Blob) -> None:
        """See `Target.put`."""
        with self._reported("publish", path):
            if self._whole:
                self._put_whole(self._at(path), source, blob, path)
            else:
                self._put_renamed(self._at(path), source, blob, path)

    def remove(self, path: str) -> None:
        """See `Target.remove`."""
        with self._reported("remove what is published", path):
            self._lease.stay()
            self.drop(self._at(path))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """See `Target.alone`."""
        with self._reported("lock"):
            self._make_folder(self._root)
            self._lease.take()
        try:
            with self._reported("clear what a killed run left"):
                for path in [path for path, _ in self._listed("") if path.rsplit("/", 1)[-1].startswith(PREFIX)]:
                    self.drop(self._at(path))
                for upload in self._begun():
                    self._fs.abort_mpu(*upload)
            yield
        finally:
            with self._reported("unlock"):
                self._lease.give_back()

    def leftovers(self) -> bool:
        """See `Target.leftovers`."""
        with self._reported("list what is published"):
            left = any(path.rsplit("/", 1)[-1].startswith(PREFIX) for path, _ in self._listed(""))
            return left or bool(self._begun()) or self._lease.stale()

    def close(self) -> None:
        """See `Target.close`."""
        if callable(close := getattr(self._fs, "close", None)):
            close()

    # -- what the lock is made with

    def create(self, path: str, data: bytes) -> bool:
        """See `LockPlace.create`."""
        try:
            self._fs.pipe_file(path, data, mode="create")
        except OSError:
            if self.peek(path, 1) is None:
                raise
            return False
        return True

    def write(self, path: str, data: bytes) -> None:
        """See `LockPlace.write`."""
        self._fs.pipe_file(path, data)

    def peek(self, path: str, limit: int) -> bytes | None:
        """See `LockPlace.peek`."""
        try:
            with self._fs.open(path, "rb") as file:
                return bytes(file.read(limit))
        except FileNotFoundError:
            return None

    def drop(self, path: str) -> None:
        """See `LockPlace.drop`."""
        with suppress(FileNotFoundError):
            self._fs.rm_file(path)

    # -- writing

    def _put_whole(self, where: str, source: BinaryIO, blob: Blob, path: str) -> None:
        pieces = verified(source, blob, path)
        self._lease.stay()
        if blob.size <= SMALL:
            self._fs.pipe_file(where, b"".join(pieces))
        else:
            file = self._fs.open(where, "wb", autocommit=False, block_size=max(PART, -(-int(blob.size) // _MOST_PARTS)))
            try:
                for piece in pieces:
                    self._lease.stay()
                    file.write(piece)
                file.close()
                file.commit()
            except BaseException:
                with suppress(OSError):
                    file.discard()
                    file.closed = True
                raise
        self._check(where, blob, path)

    def _put_renamed(self, where: str, source: BinaryIO, blob: Blob, path: str) -> None:
        folder = where.rsplit("/", 1)[0]
        self._make_folder(folder)
        new = f"{folder}/{PREFIX}{secrets.token_hex(8)}"
        try:
            with self._fs.open(new, "wb") as file:
                for piece in verified(source, blob, path):
                    self._lease.stay()
                    file.write(piece)
            self._check(new, blob, path)
            self._fs.mv(new, where)
        except BaseException:
            with suppress(*self._failures):
                self._fs.rm_file(new)
            raise

    def _check(self, where: str, blob: Blob, path: str) -> None:
        kept = int(self._fs.info(where)["size"])
        if kept != blob.size:
            raise Transient(
                f"the place kept {kept} bytes of {int(blob.size)}", where=f"{self.name}/{path}", hint="see whether it has room, run again"
            )

    def _make_folder(self, folder: str) -> None:
        if not self._whole:
            self._fs.makedirs(folder, exist_ok=True)

    # -- reading

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    def _listed(self, below: str) -> list[tuple[str, int]]:
        start = self._at(below)
        if not self._whole:
            try:
                self._fs.info(start)
            except FileNotFoundError:
                return []
        # Else a folder that cannot be listed would pass for an empty one.
        how = {} if self._whole else {"on_error": "raise"}
        found = self._fs.find(start, detail=True, **how)
        at = len(self._root.strip("/")) + 1 if self._root.strip("/") else 0
        return [(name.strip("/")[at:], int(about["size"])) for name, about in found.items() if about["type"] != "directory"]

    def _begun(self) -> list[tuple[str, str, str]]:
        """Uploads in parts below our root that nobody ended, where the place knows such; they cost room and are not to be seen."""
        if not hasattr(self._fs, "call_s3"):
            return []
        bucket, key, _ = self._fs.split_path(self._at(""))
        try:
            answer = self._fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=f"{key}/" if key else "")
        except PermissionError:  # who may not see them cannot clear them: then a lifecycle rule of the bucket has to
            return []
        return [(bucket, upload["Key"], upload["UploadId"]) for upload in answer.get("Uploads", [])]

    @contextmanager
    def _reported(self, doing: str, path: str = "") -> Iterator[None]:
        where = f"{self.name}/{path}" if path else self.name
        try:
            yield
        except _LACKING as error:
            hint = "check the address and what the credentials allow"
            raise UserError(f"could not {doing}", where=where, why=_said(error), hint=hint) from error
        except self._failures as error:
            if isinstance(error, OSError) and error.errno in LACK_OF_ROOM:
                raise UserError(f"could not {doing}", where=where, why=_said(error), hint="make room there, then run again") from error
            hint = "run again; if it stays so, see whether there is room and what the credentials allow"
            raise Transient(f"could not {doing}", where=where, why=_said(error), hint=hint) from error


def _ours(path: str) -> bool:
    name = path.rsplit("/", 1)[-1]
    return name.startswith(PREFIX) or name == LOCK_FILE


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")[:500]
