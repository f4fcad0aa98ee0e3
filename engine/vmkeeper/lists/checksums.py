"""`SHA512SUMS` of a list's folder, as `sha512sum` of coreutils writes and checks it.

Paths are relative to the list's folder, so that `sha512sum -c SHA512SUMS` works where a mirror put the folder. What lies outside of
it, and names that coreutils would have to escape, are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

from vmkeeper.lists.shelf import Shelf

FILE = "SHA512SUMS"
_LINE = re.compile(r"([0-9a-f]{128})  ([^\x00-\x1f\x7f\\]+)")


class _Digested(Protocol):
    @property
    def path(self) -> str: ...
    @property
    def sha512(self) -> str: ...


def folder(shelf: Shelf) -> str:
    """The list's folder with a slash at its end, relative to the public folder; "" where it is the public folder itself."""
    head, slash, _ = shelf.path.rpartition("/")
    return head + slash


def path(shelf: Shelf) -> str:
    """Where the file goes, relative to the public folder."""
    return folder(shelf) + FILE


def write(shelf: Shelf) -> bytes:
    """A line for each image, patch and compressed file, by path. ValueError for a path twice with two digests, or not below the folder."""
    sums: dict[str, str] = {}
    for file in _files(shelf):
        within = file.path.removeprefix(folder(shelf))
        line = f"{file.sha512}  {within}"
        if not file.path.startswith(folder(shelf)) or not _LINE.fullmatch(line) or within.startswith(("/", "-")):
            raise ValueError(f"{file.path!r} with {file.sha512[:20]!r}… cannot stand in {path(shelf)}")
        if sums.setdefault(within, file.sha512) != file.sha512:
            raise ValueError(f"{file.path} has two digests")
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())).encode()


def read(data: bytes) -> dict[str, str]:
    """SHA-512 by path, of a file in the form that `write` gives. Raises ValueError naming the line that is none."""
    sums: dict[str, str] = {}
    lines = data.decode().split("\n")
    if lines.pop() != "":
        raise ValueError("the last line does not end")
    for number, line in enumerate(lines, start=1):
        found = _LINE.fullmatch(line)
        if found is None or found[2] in sums:
            raise ValueError(f"line {number} is no checksum, or its path is there twice")
        sums[found[2]] = found[1]
    return sums


def _files(shelf: Shelf) -> Iterator[_Digested]:
    for image in shelf.images:
        yield image
        yield from image.patches
        if image.compressed:
            yield image.compressed
