"""qemu-img, kept short: formats always named, nothing reached beyond the one file, memory, time and output capped.

Every input is sniffed first; a converted image counts only where a guest would see the same bytes in it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmkeeper.errors import Refused
from vmkeeper.images.files import reported, temporary
from vmkeeper.images.sniff import MAX_VIRTUAL, Sniffed, sniff
from vmkeeper.run import Limits, ProgramFailed, program, run
from vmkeeper.values import Size

_DRIVERS = {"raw": "raw", "qcow2": "qcow2", "vmdk": "vmdk", "vdi": "vdi", "vhd": "vpc"}
_MEMORY = 2 << 30
_SLACK = 64 << 20
_HOUR = 3600


@dataclass(frozen=True, slots=True)
class Info:
    """What qemu-img says of a file: bytes that a guest sees, bytes on disk."""

    format: str
    virtual_size: Size
    actual_size: Size


def info(path: Path, declared: str, *, max_virtual: int = MAX_VIRTUAL) -> Info:
    """Describe an image. Raises Refused (R26) where it is not what it is declared to be."""
    sniffed = sniff(path, declared, max_virtual=max_virtual)
    said = json.loads(_qemu_img("info", "--output=json", _only(path, declared), limit=_SLACK).stdout)
    if int(said["virtual-size"]) != sniffed.virtual_size or "backing-filename" in said:
        raise Refused(
            "R32", "two readers of the image do not agree", where=path.name, why=f"{said['virtual-size']} and {int(sniffed.virtual_size)} bytes"
        )
    return Info(declared, Size(said["virtual-size"]), Size(said["actual-size"]))


def convert(source: Path, declared: str, target: Path, wanted: str, *, compress: bool = False, max_virtual: int = MAX_VIRTUAL) -> Sniffed:
    """Write `source` in the format `wanted` to `target`, compared before it gets that name.

    compress: for qcow2. Raises Refused (R26), ProgramFailed, UserError (no room).
    """
    sniffed = sniff(source, declared, max_virtual=max_virtual)
    limit = sniffed.virtual_size + sniffed.virtual_size // 64 + _SLACK
    with reported("convert an image", target), temporary(target.parent) as new:
        options = ["-c"] if compress else []
        _qemu_img("convert", "-q", *options, "-O", _driver(wanted), _only(source, declared), new.path, limit=limit)
        if not same_content(source, declared, new.path, wanted):
            raise Refused("R26", "the converted image does not show a guest the same bytes", where=source.name)
        result = sniff(new.path, wanted, max_virtual=max_virtual)
        new.keep(target)
    return result


def same_content(one: Path, one_format: str, other: Path, other_format: str) -> bool:
    """Whether a guest sees the same in two images. Both must have been sniffed."""
    try:
        _qemu_img("compare", "-q", _only(one, one_format), _only(other, other_format), limit=_SLACK)
    except ProgramFailed as error:
        if error.result is not None and error.result.status == 1:
            return False
        raise
    return True


def _driver(name: str) -> str:
    if name not in _DRIVERS:
        raise ValueError(f"{name!r} is not one of {', '.join(_DRIVERS)}")
    return _DRIVERS[name]


def _only(path: Path, declared: str) -> str:
    """How qemu is told to open one file as one format, and none beside it."""
    options: dict[str, Any] = {"driver": _driver(declared), "file": {"driver": "file", "filename": str(path.absolute())}}
    if declared in ("qcow2", "vmdk"):
        options["backing"] = None
    return "json:" + json.dumps(options)


def _qemu_img(*words: str | Path, limit: int) -> Any:
    limits = Limits(memory=_MEMORY, file_size=limit, cpu=_HOUR)
    return run([program("qemu-img", package="qemu-utils"), *words], timeout=2 * _HOUR, limits=limits)
