"""How the drivers fetch over HTTP: a HEAD and the beginning to know the size, then all of it; MD5 and SHA-1 are compared, nothing else."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import struct
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, cast
from urllib.request import ProxyHandler, Request, build_opener

_HEAD = 64 * 1024
_PACKED: dict[bytes, Callable[..., object]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_open = build_opener(ProxyHandler({})).open


class Refused(Exception):
    """The driver failed; the argument is what it said."""


def sniffed(start: bytes) -> str:
    return "qcow2" if start.startswith(b"QFI\xfb") else "vmdk" if start.startswith(b"KDMV") else "raw"


def unpacked(path: Path) -> IO[bytes]:
    """A local file for reading; packed ones are unpacked, as the drivers do. Raises OSError."""
    with path.open("rb") as file:
        start = file.read(6)
    opener = next((opener for magic, opener in _PACKED.items() if start.startswith(magic)), None)
    return cast("IO[bytes]", opener(path)) if opener else path.open("rb")


def virtual_size(start: bytes, length: int) -> int:
    """Bytes that a guest sees of a file with this beginning and length."""
    return int(struct.unpack_from(">Q", start, 24)[0]) if start.startswith(b"QFI\xfb") and len(start) >= 32 else length


def size_of(path: Path) -> int:
    """Bytes that a guest sees of a local file. Raises OSError."""
    with unpacked(path) as file:
        start = file.read(_HEAD)
        return virtual_size(start, file.seek(0, io.SEEK_END) if sniffed(start) == "raw" else 0)


def head_of(url: str, *, modern: bool) -> int:
    """Bytes that a guest sees of what is there. Raises Refused."""
    try:
        with _ask(url, "HEAD", 60) as answer:
            length = int(answer.headers.get("Content-Length") or 0)
        with _ask(url, "GET", 60) as answer:
            start = answer.read(_HEAD)
    except (OSError, HTTPException, ValueError) as error:
        raise Refused(f"cannot access '{url}' (Permission denied)" if modern else "Failed to get image head") from error
    if start.startswith(tuple(_PACKED)):
        raise Refused("Unsupported remote image format")
    return virtual_size(start, length)


def fetch(url: str, target: Path, checks: dict[str, str]) -> None:
    """Write it to `target`. Raises Refused where it does not come whole or a hash differs."""
    hashes = {name: hashlib.new(name, usedforsecurity=False) for name, wanted in checks.items() if wanted}
    try:
        with _ask(url, "GET", 600) as answer, target.open("wb") as file:
            length = answer.headers.get("Content-Length")
            while block := answer.read(1024 * 1024):
                file.write(block)
                for one in hashes.values():
                    one.update(block)
            if length is not None and file.tell() != int(length):
                raise Refused("curl: (18) transfer closed with outstanding read data remaining")
    except (OSError, HTTPException, ValueError) as error:
        raise Refused(f"curl: {error}") from error
    if any(one.hexdigest() != checks[name] for name, one in hashes.items()):
        raise Refused("Hash does not match")


def _ask(url: str, method: str, seconds: float) -> HTTPResponse:
    answer = _open(Request(url, method=method, headers={"User-Agent": "curl/7.88.1", "Accept": "*/*"}), timeout=seconds)
    assert isinstance(answer, HTTPResponse)
    return answer
