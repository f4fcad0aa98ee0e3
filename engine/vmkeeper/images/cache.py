"""Image files that a site keeps, by content, and what they were converted to.

    files/SHA512                 read-only; its modification time is when it was last used
    converted/SHA512.FORMAT.json what a file was converted to: a word on where to look, never a reason to believe
    incoming/                    downloads and conversions under way

Nothing here is needed: each file can be had again. So nothing is forced to the disk, and what a power cut spoilt is found
by whoever uses it next, for a file is given out by its name and judged by its bytes. One process at a time works in it.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from vmkeeper.errors import Refused
from vmkeeper.images.files import hash_file, remove_leftovers, reported, write_file
from vmkeeper.images.partial import drop_parts
from vmkeeper.images.scratch import remove_scratch
from vmkeeper.model.base import Document
from vmkeeper.model.release import Blob
from vmkeeper.values import Duration, Sha512, Size

_SHA512 = re.compile(r"[0-9a-f]{128}")
_FORM = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_RECORD_LIMIT = 4096
_SPARE = 64 << 20
"""Bytes that shall be free beside what is needed: file systems have their own needs, and so have others."""


class Converted(Document):
    """What a file was converted to."""

    format: str
    size: Size
    sha512: Sha512
    virtual_size: Size


class ImageCache:
    """One site's image files. `size`: what they may take together; `age`: how long one stays that nobody uses."""

    def __init__(self, folder: Path, *, size: Size, age: Duration) -> None:
        self.folder = folder
        self.incoming = folder / "incoming"
        """Where files are written before they are kept, on the same file system."""
        self._size = size
        self._age = age
        self._files = folder / "files"
        self._records = folder / "converted"
        self._used: Counter[str] = Counter()
        self._lock = threading.RLock()

    # -- files

    def path(self, sha512: str) -> Path | None:
        """A file of this digest, from now on used last of all; None where there is none. Its bytes are not read."""
        path = self._path(sha512)
        with suppress(FileNotFoundError):
            os.utime(path)
            return path
        return None

    def sound(self, blob: Blob) -> Path | None:
        """The file, read and found to be the one; another one under its name is removed."""
        path = self.path(blob.sha512)
        if path is None:
            return None
        with reported("read the cache", path):
            if hash_file(path) == blob:
                return path
        self.drop(blob.sha512)
        return None

    def keep(self, file: Path, blob: Blob) -> Path:
        """Move a file in that was just verified to be `blob`; returns where it is now. Raises Refused R14 (another size), UserError."""
        target = self._path(blob.sha512)
        with reported("keep an image", target):
            if file.stat().st_size != blob.size:
                raise Refused("R14", f"the file has {file.stat().st_size} bytes, not {int(blob.size)}", where=file.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.chmod(0o444)
            os.utime(file)
            file.rename(target)
        return target

    def drop(self, sha512: str) -> None:
        """Remove a file, as one that turned out to have other bytes."""
        self._path(sha512).unlink(missing_ok=True)

    @contextmanager
    def using(self, *digests: str) -> Iterator[None]:
        """While this lasts none of these files is evicted, whether they are there already or come meanwhile."""
        with self._lock:
            self._used.update(digests)
        try:
            yield
        finally:
            with self._lock:
                self._used.subtract(digests)

    # -- what goes

    def evict(self, now: datetime, keep: Collection[str] = ()) -> tuple[str, ...]:
        """Remove what nobody used for longer than `age`, then, of the rest, those used longest ago until all fit into `size`.

        keep: digests that stay whatever they take, as those `using` names do. Returns the digests that went.
        """
        with self._lock, reported("tidy the cache", self.folder):
            listed = self._listed(keep)
            gone = [one for one in listed if one.used < now.timestamp() - self._age]
            rest = [one for one in listed if one not in gone]
            total = sum(_taken(path.stat()) for path in self._all()) - sum(one.size for one in gone)
            while total > self._size and rest:
                total -= rest[0].size
                gone.append(rest.pop(0))
            self._remove(gone)
            self._forget(now)
        return tuple(one.path.name for one in gone)

    def make_room(self, needed: int, keep: Collection[str] = ()) -> None:
        """Remove files, those used longest ago first, until the disk has `needed` bytes and some to spare, or none is left that may go."""
        with self._lock, reported("tidy the cache", self.folder):
            self.incoming.mkdir(parents=True, exist_ok=True)
            for one in self._listed(keep):
                if shutil.disk_usage(self.folder).free >= needed + _SPARE:
                    return
                self._remove([one])

    def tidy(self, wanted: Collection[str] = ()) -> None:
        """Remove what killed runs left, unfinished downloads but those of `wanted`, and whatever is not ours, as an older layout is."""
        with self._lock, reported("tidy the cache", self.folder):
            for folder in (self.folder, self.incoming, self._files, self._records):
                remove_leftovers(folder)
            remove_scratch(self.incoming)
            drop_parts(self.folder)
            drop_parts(self.incoming, keep=wanted)
            for path in (*self._inside(self.folder), *self._inside(self.incoming), *self._inside(self._files)):
                kept = path in (self.incoming, self._files, self._records) or (path.parent == self.incoming and _of_part(path))
                if not kept and not (path.parent == self._files and _SHA512.fullmatch(path.name)):
                    _unlink(path)

    # -- conversions

    def converted(self, sha512: str, form: str) -> Converted | None:
        """What a file of this digest became in this format, as far as is known; the result may not be here any more."""
        try:
            with self._record(sha512, form).open("rb") as file:
                return Converted.model_validate_json(file.read(_RECORD_LIMIT))
        except (FileNotFoundError, ValidationError):
            return None

    def remember(self, sha512: str, form: str, made: Converted) -> None:
        """Note what a file became."""
        with reported("note a conversion", self.folder):
            write_file(self._record(sha512, form), made.model_dump_json().encode(), durable=False)

    # -- inside

    def _path(self, sha512: str) -> Path:
        if not _SHA512.fullmatch(sha512):
            raise ValueError(f"{sha512!r} is no SHA-512")
        return self._files / sha512

    def _record(self, sha512: str, form: str) -> Path:
        if not _SHA512.fullmatch(sha512) or not _FORM.fullmatch(form):
            raise ValueError(f"{sha512!r} is no SHA-512 or {form!r} no format")
        return self._records / f"{sha512}.{form}.json"

    @staticmethod
    def _inside(folder: Path) -> list[Path]:
        return list(folder.iterdir()) if folder.is_dir() else []

    def _all(self) -> list[Path]:
        return [path for path in self._inside(self._files) if _SHA512.fullmatch(path.name)]

    def _listed(self, keep: Collection[str]) -> list[_File]:
        """What may go, longest unused first."""
        found = []
        for path in self._all():
            if path.name not in keep and self._used[path.name] <= 0:
                status = path.stat()
                found.append(_File(path, _taken(status), status.st_mtime))
        return sorted(found, key=lambda one: (one.used, one.path.name))

    def _remove(self, files: Collection[_File]) -> None:
        for one in files:
            one.path.unlink(missing_ok=True)

    def _forget(self, now: datetime) -> None:
        """Records are small; they go when they are old and neither file is here."""
        here = {path.name for path in self._all()}
        for path in self._inside(self._records):
            source, _, form = path.name.removesuffix(".json").partition(".")
            if source in here or path.stat().st_mtime >= now.timestamp() - self._age:
                continue
            made = self.converted(source, form) if _SHA512.fullmatch(source) and _FORM.fullmatch(form) else None
            if made is None or made.sha512 not in here:
                _unlink(path)


class _File:
    """A file that may go."""

    def __init__(self, path: Path, size: int, used: float) -> None:
        self.path, self.size, self.used = path, size, used


def _taken(status: os.stat_result) -> int:
    """Bytes on the disk; holes take none."""
    return min(status.st_size, status.st_blocks * 512)


def _of_part(path: Path) -> bool:
    return path.name.endswith((".part", ".part.json"))


def _unlink(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
