"""Tar archives read in place: their members' names and where each lies, nothing ever extracted.

Refused (rules R23, R26): anything but regular files, links above all; names that lead outside, that are there twice or that
cannot be seen; sparse members; an archive that does not end as it should. Form: POSIX.1-2017, pax, ustar Interchange Format.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from vmkeeper.errors import Refused
from vmkeeper.images.files import reported
from vmkeeper.images.sniff import Span

BLOCK = 512
MAX_MEMBERS = 256
_MAX_HEADER = 64 << 10
_MAX_PADDING = 1 << 20
_REGULAR = (b"0", b"\0", b"7")
_PAX_RECORD = re.compile(rb"([0-9]{1,8}) ([^=\0]{1,200})=")


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file of an archive."""

    name: str
    span: Span


def is_tar(head: bytes) -> bool:
    """Whether the first block of a file is the header of a tar's member."""
    try:
        tarfile.TarInfo.frombuf(head[:BLOCK], "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True


def members(path: Path) -> tuple[Member, ...]:
    """The files of an archive, in its order. Raises Refused (R23, R26)."""
    with reported("read the archive", path), path.open("rb") as file:
        try:
            found = tuple(_walk(file, path))
        except (tarfile.HeaderError, ValueError) as error:
            raise refused(path, f"a header cannot be read: {error}") from None
    seen: set[str] = set()
    for member in found:
        if member.name.casefold() in seen:
            raise refused(path, f"the name {member.name} is there twice", rule="R23")
        seen.add(member.name.casefold())
    return found


def read(path: Path, member: Member, limit: int) -> bytes:
    """The bytes of a small member. Raises Refused (R25) where there are more than `limit`."""
    if member.span.size > limit:
        raise refused(path, f"{member.name} has {member.span.size} bytes, at most {limit} are read", rule="R25")
    with reported("read the archive", path), path.open("rb") as file:
        file.seek(member.span.start)
        return file.read(member.span.size)


def refused(path: Path, why: str, rule: str = "R26") -> Refused:
    """The refusal of an archive."""
    return Refused(rule, "this archive is not accepted", where=path.name, why=why)


def _walk(file: BinaryIO, path: Path) -> Iterator[Member]:
    """Header by header; a pax or GNU header before a member may give it a longer name."""
    end, at, count = file.seek(0, 2), 0, 0
    longer: dict[str, str] = {}
    while True:
        file.seek(at)
        block = file.read(BLOCK)
        if len(block) < BLOCK:
            raise refused(path, "it does not end as a tar ends: it is truncated")
        if not block.strip(b"\0"):
            _only_zeros(file, path)
            return
        header = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        count += 1
        if count > MAX_MEMBERS:
            raise refused(path, f"it has more than {MAX_MEMBERS} members")
        size, start = _size(longer.get("size"), header.size), at + BLOCK
        if size < 0 or start + size > end:
            raise refused(path, "a member is longer than the archive: it is truncated")
        at = start + -(-size // BLOCK) * BLOCK
        if header.type in (b"x", b"L", b"g"):
            if size > _MAX_HEADER:
                raise refused(path, "an extended header is too long")
            _extend(longer, header.type, file.read(size), path)
            continue
        name = longer.get("path", header.name)
        longer = {}
        if header.type == tarfile.DIRTYPE and not size:
            _checked_name(name.rstrip("/") or "/", path, folder=True)
        elif header.type in _REGULAR:
            yield Member(_checked_name(name, path), Span(start, size))
        else:
            kind = "a link" if header.type in (b"1", b"2") else "no regular file"
            raise refused(path, f"{name!r} is {kind}", rule="R23")


def _size(written: str | None, given: int) -> int:
    if written is None:
        return given
    if not re.fullmatch(r"[0-9]{1,15}", written):
        raise ValueError("the size in a pax header is no number")
    return int(written)


def _extend(longer: dict[str, str], kind: bytes, data: bytes, path: Path) -> None:
    if kind == b"L":
        longer["path"] = data.rstrip(b"\0").decode()
        return
    at = 0
    while at < len(data):
        record = _PAX_RECORD.match(data, at)
        length = int(record[1]) if record else 0
        if record is None or at + length > len(data) or length <= record.end() - at or data[at + length - 1 : at + length] != b"\n":
            raise ValueError("a pax header is damaged")
        key, value = record[2].decode(), data[record.end() : at + length - 1]
        if key.startswith("GNU.sparse") or (kind == b"g" and key in ("path", "size")):
            raise refused(path, f"it has the pax header {key}")
        if key in ("path", "size"):
            longer[key] = value.decode()
        at += length


def _checked_name(name: str, path: Path, *, folder: bool = False) -> str:
    parts = name.removeprefix("./").split("/")
    if folder and parts == ["."]:
        return name
    for part in parts:
        if part in ("", ".", "..") or part.startswith("-") or "\\" in part or len(part.encode()) > 255 or not part.isprintable():
            raise refused(path, f"the name {name!r} may not be in an archive", rule="R23")
    return "/".join(parts)


def _only_zeros(file: BinaryIO, path: Path) -> None:
    """After the end there is padding: another reader must not find more members there."""
    rest = file.read(_MAX_PADDING + 1)
    if len(rest) > _MAX_PADDING or rest.strip(b"\0"):
        raise refused(path, "there is something after its end")
