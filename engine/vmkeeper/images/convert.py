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
from vmkeeper.images.sniff import MAX_VIRTUAL, Sniffed, Span, sniff
from vmkeeper.run import Limits, ProgramFailed, program, run
from vmkeeper.values import Size

_DRIVERS = {"raw": "raw", "qcow2": "qcow2", "vmdk": "vmdk", "vdi": "vdi", "vhd": "vpc", "vhdx": "vhdx"}
_CHECKABLE = ("qcow2", "vmdk", "vdi")
_LEAKS = 3
"""Exit status of `qemu-img check` for space that is lost and does no harm."""
_MEMORY = 2 << 30
_SLACK = 64 << 20
_HOUR = 3600
_MOMENT = 20
"""Seconds of processor time for a look at an image's header."""


@dataclass(frozen=True, slots=True)
class Info:
    """What qemu-img says of a file: bytes that a guest sees, bytes on disk."""

    format: str
    virtual_size: Size
    actual_size: Size


def info(path: Path, declared: str, *, max_virtual: int = MAX_VIRTUAL, span: Span | None = None) -> Info:
    """Describe an image, or the one in a part of a file. Raises Refused (R26) where it is not what it is declared to be."""
    sniffed = sniff(path, declared, max_virtual=max_virtual, span=span)
    try:
        said = json.loads(_qemu_img("info", "--output=json", _only(path, declared, span), limit=_SLACK, cpu=_MOMENT).stdout)
    except ProgramFailed as error:
        raise Refused("R26", "qemu-img cannot read the image", where=path.name, why=_last_words(error)) from None
    if int(said["virtual-size"]) != sniffed.virtual_size or "backing-filename" in said:
        raise Refused(
            "R32", "two readers of the image do not agree", where=path.name, why=f"{said['virtual-size']} and {int(sniffed.virtual_size)} bytes"
        )
    return Info(declared, Size(said["virtual-size"]), Size(said["actual-size"]))


def check_whole(path: Path, declared: str, *, span: Span | None = None) -> None:
    """Have an image's own tables checked: nothing missing, nothing used twice. Must have been sniffed. Raises Refused (R26)."""
    if declared not in _CHECKABLE:
        return
    try:
        _qemu_img("check", "-q", _only(path, declared, span), limit=_SLACK, cpu=_MOMENT)
    except ProgramFailed as error:
        if error.result is None or error.result.status != _LEAKS:
            raise Refused("R26", "the image is damaged or truncated", where=path.name, why=_last_words(error)) from None


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


def _last_words(error: ProgramFailed) -> str:
    """What qemu-img said, without the options that it repeats."""
    said = error.result.stderr.decode(errors="replace").strip() if error.result else error.what
    return said.rpartition("}': ")[2][-300:]


def _driver(name: str) -> str:
    if name not in _DRIVERS:
        raise ValueError(f"{name!r} is not one of {', '.join(_DRIVERS)}")
    return _DRIVERS[name]


def _only(path: Path, declared: str, span: Span | None = None) -> str:
    """How qemu is told to open one file, or a part of it, as one format, and none beside it. Archives pad their members to 512 bytes."""
    file: dict[str, Any] = {"driver": "file", "filename": str(path.absolute())}
    if span is not None:
        file = {"driver": "raw", "offset": span.start, "size": -(-span.size // 512) * 512, "file": file}
    options: dict[str, Any] = {"driver": _driver(declared), "file": file}
    if declared in ("qcow2", "vmdk"):
        options["backing"] = None
    return "json:" + json.dumps(options)


def _qemu_img(*words: str | Path, limit: int, cpu: int = _HOUR) -> Any:
    limits = Limits(memory=_MEMORY, file_size=limit, cpu=cpu)
    return run([program("qemu-img", package="qemu-utils"), *words], timeout=2 * _HOUR, limits=limits)
