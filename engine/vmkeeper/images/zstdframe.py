"""The outside of a zstd frame, read before any program gets it: sizes that it states, and that it is one frame and nothing else.

Refused: another format, several frames, skippable frames, dictionaries, bytes after the end, a frame that is cut short,
more blocks than the content can need. Nothing is decompressed here. Format: RFC 8878, section 3.1.1.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from vmkeeper.errors import Refused

_MAGIC = b"\x28\xb5\x2f\xfd"
_LONGEST_HEADER = 18
_BLOCK = 128 << 10
_FREE_BLOCKS = 1024
_SMALLEST_BLOCK = 512
"""Encoders split blocks of 128 KiB into some 200 parts at most."""
_RAW, _RLE, _RESERVED = 0, 1, 3


@dataclass(frozen=True, slots=True)
class Frame:
    """What a frame says of itself: bytes of window and of content (None: not said), and its first block's place."""

    window: int
    content: int | None
    checksum: bool
    start: int


def read_frame(path: Path) -> Frame:
    """Read the header and walk over the blocks of the one frame in a file. Raises Refused (R25)."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        frame = _header(os.pread(file, _LONGEST_HEADER, 0))
        end = _end(file, frame) + (4 if frame.checksum else 0)
        size = os.fstat(file).st_size
    except _NotOneFrame as error:
        raise Refused("R25", "the file is not one zstd frame", where=path.name, why=str(error)) from None
    finally:
        os.close(file)
    if end != size:
        why = "it ends too early" if end > size else f"{size - end} bytes follow its end"
        raise Refused("R25", "the file is not one zstd frame", where=path.name, why=why)
    return frame


class _NotOneFrame(Exception):
    """The bytes do not go on as those of one frame."""


def _header(head: bytes) -> Frame:
    if head[:4] != _MAGIC:
        raise _NotOneFrame("it begins otherwise")
    descriptor, at = _number(head, 4, 1), 5
    if descriptor & 0x08:
        raise _NotOneFrame("its header has a reserved bit set")
    if descriptor & 0x03:
        raise _NotOneFrame("it wants a dictionary")
    single, window = bool(descriptor & 0x20), 0
    if not single:
        said, at = _number(head, at, 1), at + 1
        window = (1 << (10 + (said >> 3))) // 8 * (8 + (said & 7))
    width = (1 if single else 0, 2, 4, 8)[descriptor >> 6]
    content = _number(head, at, width) + (256 if width == 2 else 0) if width else None
    return Frame(content or 0 if single else window, content, bool(descriptor & 0x04), at + width)


def _number(data: bytes, at: int, width: int) -> int:
    if len(data) < at + width:
        raise _NotOneFrame("it ends too early")
    return int.from_bytes(data[at : at + width], "little")


def _end(file: int, frame: Frame) -> int:
    """The offset behind the last block."""
    at, last, count = frame.start, False, 0
    most = _FREE_BLOCKS + (frame.content or os.fstat(file).st_size) // _SMALLEST_BLOCK
    longest = min(_BLOCK, frame.window)
    while not last:
        header = _number(os.pread(file, 3, at), 0, 3)
        last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
        count += 1
        if kind == _RESERVED or size > longest:
            raise _NotOneFrame("it has a block of a kind or size that is not allowed")
        if count > most:
            raise _NotOneFrame("it has more blocks than its content needs")
        at += 3 + (1 if kind == _RLE else size)
    return at
