"""Reading and changing a root file system while it is a tar: by byte ranges, nothing is unpacked.

Only plain tars as GNU tar writes them with `--format=posix` are read; the entries that stay are copied as they are.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

_BLOCK = 512


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to put into the tar. `path` has no leading slash; missing folders above it are made (root, 0755)."""

    path: str
    data: bytes
    mode: int = 0o644
    uid: int = 0
    gid: int = 0


class RootTar:
    """A root file system tar with an index of its entries."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with tarfile.open(path, "r:") as tar:
            self.members = {_plain(member.name): member for member in tar}
            self._end = tar.offset

    def __contains__(self, path: str) -> bool:
        return path in self.members

    def read(self, path: str) -> bytes:
        """The bytes of a regular file. Raises KeyError where there is none of that name."""
        member = self.members[path]
        with self.path.open("rb") as file:
            file.seek(member.offset_data)
            return file.read(member.size)

    def write_with(self, target: Path, new: Iterable[NewFile], date: datetime) -> None:
        """Write the tar to `target` with files added or replaced; what is new has the time `date`."""
        new = tuple(new)
        replaced = sorted((self.members[file.path] for file in new if file.path in self.members), key=lambda member: member.offset)
        with self.path.open("rb") as source, target.open("wb") as out:
            start = 0
            for member in replaced:
                _copy(source.fileno(), out.fileno(), start, member.offset)
                start = _after(member)
            _copy(source.fileno(), out.fileno(), start, self._end)
            out.seek(0, os.SEEK_END)
            out.write(_packed(self._with_folders(new), int(date.timestamp())))

    def _with_folders(self, new: Iterable[NewFile]) -> Iterator[NewFile | str]:
        """The new files, each after the folders above it that the tar does not have."""
        made: set[str] = set()
        for file in sorted(new, key=lambda file: file.path):
            parts = file.path.split("/")
            for folder in ("/".join(parts[:depth]) for depth in range(1, len(parts))):
                if folder not in self.members and folder not in made:
                    made.add(folder)
                    yield folder
            yield file


def _plain(name: str) -> str:
    return name.removeprefix("./").strip("/") if name != "." else ""


def _after(member: tarfile.TarInfo) -> int:
    return member.offset_data + -(-member.size // _BLOCK) * _BLOCK if member.isreg() else member.offset_data


def _copy(source: int, target: int, start: int, end: int) -> None:
    os.lseek(target, 0, os.SEEK_END)
    while start < end:
        start += os.sendfile(target, source, start, end - start)


def _packed(entries: Iterable[NewFile | str], mtime: int) -> bytes:
    """The entries as a tar with its end mark."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for entry in entries:
            if isinstance(entry, str):
                info = tarfile.TarInfo(f"./{entry}")
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            else:
                info = tarfile.TarInfo(f"./{entry.path}")
                info.size, info.mode, info.uid, info.gid = len(entry.data), entry.mode, entry.uid, entry.gid
            info.mtime = mtime
            tar.addfile(info, io.BytesIO(entry.data) if isinstance(entry, NewFile) else None)
    return buffer.getvalue()
