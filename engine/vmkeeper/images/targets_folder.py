"""A publication in a folder of this machine: rename is atomic, the lock ends with the process, everybody may read."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from vmkeeper.errors import Refused, Transient
from vmkeeper.images.files import PREFIX, copy_hashed, remove_leftovers, reported, sync_folder, temporary
from vmkeeper.model.release import Blob


class FolderTarget:
    """See `Target`. Files have mode 0644 and folders 0755, whatever the umask; the folder is made when something is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = str(folder)

    def files(self, below: str = "") -> dict[str, int]:
        """See `Target.files`."""
        with reported("list the public folder", self.folder):
            found = (Path(at) / file for at, _, files in os.walk(self.folder / below, onerror=_raise) for file in files)
            return {str(path.relative_to(self.folder)): path.stat().st_size for path in found if not path.name.startswith(PREFIX)}

    def read(self, path: str, limit: int) -> bytes | None:
        """See `Target.read`."""
        with reported("read a published file", path), suppress(FileNotFoundError, NotADirectoryError), (self.folder / path).open("rb") as file:
            return file.read(limit)
        return None

    def put(self, path: str, source: BinaryIO, blob: Blob) -> None:
        """See `Target.put`."""
        target = self.folder / path
        with reported("publish a file", target):
            make_folder(target.parent)
            with temporary(target.parent) as new:
                try:
                    there = copy_hashed(source, new.file, limit=int(blob.size))
                except OverflowError:
                    there = None
                if there != blob:
                    raise Refused("R14", "what is to be published is not what was signed for", where=path)
                new.keep(target)

    def remove(self, path: str) -> None:
        """See `Target.remove`. Folders that hold nothing any more go too."""
        target = self.folder / path
        with reported("remove a published file", target):
            target.unlink(missing_ok=True)
            folder = target.parent
            with suppress(OSError):
                while folder != self.folder:
                    folder.rmdir()
                    folder = folder.parent
            if folder.is_dir():
                sync_folder(folder)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """See `Target.alone`. The lock is on the folder itself."""
        with reported("publish", self.folder):
            make_folder(self.folder)
            handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Transient("another run is publishing into this folder", where=self.name, hint="wait for it to end") from None
            self._tidy()
            yield
            self._tidy()
        finally:
            os.close(handle)

    def leftovers(self) -> bool:
        """See `Target.leftovers`."""
        walked = os.walk(self.folder)
        return any((not files and not folders and Path(at) != self.folder) or any(map(_temporary, files)) for at, folders, files in walked)

    def close(self) -> None:
        """See `Target.close`."""

    def _tidy(self) -> None:
        """Remove temporary files that nobody writes and folders that hold nothing."""
        for folder in sorted((Path(at) for at, _, _ in os.walk(self.folder)), reverse=True):
            remove_leftovers(folder)
            if folder != self.folder:
                with suppress(OSError):
                    folder.rmdir()


def make_folder(folder: Path) -> None:
    """Make a folder that everybody may read, with those above it."""
    with reported("make a folder", folder):
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
            path.chmod(0o755)


def _temporary(name: str) -> bool:
    return name.startswith(PREFIX)


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error
