"""qemu-img, kept short: formats always named, nothing reached beyond the one file, memory, time and output capped.

Every input is sniffed first; a converted image counts only where a guest would see the same bytes in it.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args
from uuid import UUID

from vmkeeper.errors import Refused
from vmkeeper.images.files import reported
from vmkeeper.images.jail import jailed
from vmkeeper.images.settle import settle
from vmkeeper.images.sniff import MAX_VIRTUAL, Sniffed, Span, sniff
from vmkeeper.run import Limits, ProgramFailed, Result, program, run
from vmkeeper.values import Size

DiskForm = Literal["qcow2", "raw", "vmdk", "vmdk-stream", "vdi", "vhd"]
"""What a disk can be converted to; `vmdk` is the monolithic sparse one, `vmdk-stream` the one of archives."""
DISK_FORMS: tuple[DiskForm, ...] = get_args(DiskForm)

_DRIVERS = {"raw": "raw", "qcow2": "qcow2", "vmdk": "vmdk", "vdi": "vdi", "vhd": "vpc", "vhdx": "vhdx"}
_OPTIONS: Mapping[DiskForm, tuple[str, ...]] = {
    "qcow2": ("-O", "qcow2", "-o", "compat=1.1"),
    "raw": ("-O", "raw"),
    "vmdk": ("-O", "vmdk", "-o", "subformat=monolithicSparse"),
    "vmdk-stream": ("-O", "vmdk", "-o", "subformat=streamOptimized"),
    "vdi": ("-O", "vdi"),
    "vhd": ("-O", "vpc", "-o", "subformat=dynamic,force_size=on"),
}
SUBFORMATS: Mapping[DiskForm, str] = {"vmdk": "monolithicsparse", "vmdk-stream": "streamoptimized"}
_DATE = datetime(2000, 1, 1, tzinfo=UTC)
"""What an image says of when it was made: nothing."""
_CHECKABLE = ("qcow2", "vmdk", "vdi")
_LEAKS = 3
"""Exit status of `qemu-img check` for space that is lost and does no harm."""
_MEMORY = 2 << 30
_SLACK = 64 << 20
_HOUR = 3600
_DAY = 24 * _HOUR
"""A conversion that waits for its source takes as long as that."""
_MOMENT = 20
"""Seconds of processor time for a look at an image's header."""
_SIGXFSZ = 25
_MIB = 1 << 20
_AT_ONCE = 4
"""Processors that compare one image."""
_WORTH_PARTS = 256 << 20
_ROOM = 4 << 20
"""Free bytes below which a write that fails is taken to fail for want of room: for some formats qemu-img does not say why."""


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk image where it lies: a file or a part of one, and its format (raw, qcow2, vmdk, vdi, vhd, vhdx)."""

    path: Path
    format: str
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Info:
    """What qemu-img says of a file: bytes that a guest sees, bytes on disk; the VMDK subformat or ""."""

    format: str
    virtual_size: Size
    actual_size: Size
    subformat: str = ""


def info(path: Path, declared: str, *, max_virtual: int = MAX_VIRTUAL, span: Span | None = None) -> Info:
    """Describe an image, or the one in a part of a file. Raises Refused (R26) where it is not what it is declared to be."""
    sniffed = sniff(path, declared, max_virtual=max_virtual, span=span)
    try:
        said = json.loads(_qemu_img("info", "--output=json", opened_as(Disk(path, declared, span)), limit=_SLACK, cpu=_MOMENT).stdout)
    except ProgramFailed as error:
        raise Refused("R26", "qemu-img cannot read the image", where=path.name, why=last_words(error)) from None
    if int(said["virtual-size"]) != sniffed.virtual_size or "backing-filename" in said:
        raise Refused(
            "R32", "two readers of the image do not agree", where=path.name, why=f"{said['virtual-size']} and {int(sniffed.virtual_size)} bytes"
        )
    return Info(declared, Size(said["virtual-size"]), Size(said["actual-size"]), sniffed.subformat)


def check_whole(path: Path, declared: str, *, span: Span | None = None) -> None:
    """Have an image's own tables checked: nothing missing, nothing used twice. Must have been sniffed. Raises Refused (R26)."""
    if declared not in _CHECKABLE:
        return
    try:
        _qemu_img("check", "-q", opened_as(Disk(path, declared, span)), limit=_SLACK, cpu=_MOMENT)
    except ProgramFailed as error:
        if error.result is None or error.result.status != _LEAKS:
            raise Refused("R26", "the image is damaged or truncated", where=path.name, why=last_words(error)) from None


def convert(source: Disk, target: Path, form: DiskForm, *, identifier: UUID, virtual_size: int, compress: bool = False) -> None:
    """Write a disk that was sniffed in another form to `target`, which nobody else may read before `judged` has passed it.

    identifier: what the form says of itself, where it says anything. virtual_size: of the source, in bytes. compress: for
    qcow2. Raises Refused (R26: it cannot be read, R25: the result grows beyond measure), UserError (no room), EnvironmentLacks.
    """
    words = ["convert", "-q", *(["-c"] if compress and form == "qcow2" else []), *_OPTIONS[form]]
    with reported("convert the image", target):
        _convert([*words, opened_as(source), str(target.absolute())], source.path.name, virtual_size, target.parent)
        settle(target, format_of(form), identifier, _DATE)


def identifier_of(sha512: str) -> UUID:
    """What a converted image says of itself, the same for the same source."""
    return UUID(hex=sha512[:32])


@dataclass(frozen=True, slots=True)
class Streamed:
    """A disk whose bytes come over a connected socket: its descriptor, the disk's format, the bytes a guest sees, what says to stop."""

    connection: int
    format: str
    virtual_size: int
    stop: threading.Event


def convert_streamed(source: Streamed, target: Path, form: DiskForm, *, identifier: UUID) -> None:
    """Write a disk that is served by `images.nbd`, and whose header was sniffed, to a file in a folder of its own.

    qemu-img runs confined to that folder, for nobody vouches for the bytes yet. Raises Refused, UserError, EnvironmentLacks.
    """
    served = {"driver": "nbd", "server": {"type": "fd", "str": str(source.connection)}}
    words = [*_OPTIONS[form], "json:" + json.dumps(layered(source.format, served)), str(target)]
    with reported("convert the image", target):
        _convert(["convert", "-q", *words], target.name, source.virtual_size, target.parent, streamed=source)
        settle(target, format_of(form), identifier, _DATE)


def _convert(words: list[str], name: str, virtual_size: int, folder: Path, streamed: Streamed | None = None) -> None:
    """Run `qemu-img convert`, which writes into `folder`; OSError where there is no room. Raises Refused (R25, R26)."""
    limit = virtual_size + virtual_size // 64 + _SLACK
    try:
        _qemu_img(*words, limit=limit, confined=folder if streamed else None, streamed=streamed)
    except ProgramFailed as error:
        said = last_words(error)
        if "No space left" in said or "Disk quota" in said or ("error while writing" in said and shutil.disk_usage(folder).free < _ROOM):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None
        if "File too large" in said or (error.result is not None and error.result.status == -_SIGXFSZ):
            raise Refused("R25", "the converted image grows beyond what it can hold", where=name, why=f"more than {limit} bytes") from None
        raise Refused("R26", "the image cannot be converted", where=name, why=said) from None


def judged(source: Disk, target: Path, form: DiskForm, *, virtual_size: int) -> Sniffed:
    """Compare what a guest sees in a converted image with the source, and sniff it. Raises Refused (R26)."""
    found = sniff(target, format_of(form), max_virtual=virtual_size)
    if found.virtual_size != virtual_size or found.subformat != SUBFORMATS.get(form, ""):
        why = f"it is {found.format} {found.subformat}".rstrip() + f" of {int(found.virtual_size)} bytes"
        raise Refused("R26", "the converted image is not what was asked for", where=source.path.name, why=why)
    if not same_content(source, Disk(target, format_of(form)), virtual_size=virtual_size):
        raise Refused("R26", "the converted image does not show a guest the same bytes", where=source.path.name)
    return found


def same_content(one: Disk, other: Disk, *, virtual_size: int = 0) -> bool:
    """Whether a guest sees the same in two images. Both must have been sniffed.

    virtual_size: bytes that a guest sees in both of them, where that is known: then several processors compare a part each.
    """
    parts = _parts(virtual_size, min(os.cpu_count() or 1, _AT_ONCE)) if virtual_size >= _WORTH_PARTS else [None]
    with ThreadPoolExecutor(len(parts), thread_name_prefix="compare") as pool:
        return all(pool.map(lambda part: _same_part(one, other, part), parts))


def _same_part(one: Disk, other: Disk, part: Span | None) -> bool:
    try:
        _qemu_img("compare", "-q", opened_as(one, part), opened_as(other, part), limit=_SLACK)
    except ProgramFailed as error:
        if error.result is not None and error.result.status == 1:
            return False
        raise
    return True


def _parts(size: int, count: int) -> list[Span | None]:
    """A disk in parts of whole MiB, the last one with what is left."""
    step = -(-size // count // _MIB) * _MIB
    return [Span(start, min(step, size - start)) for start in range(0, size, step)]


def last_words(error: ProgramFailed) -> str:
    """What qemu-img said, without the options that it repeats."""
    said = error.result.stderr.decode(errors="replace").strip() if error.result else error.what
    return said.rpartition("}': ")[2][-300:]


def opened_as(disk: Disk, part: Span | None = None) -> str:
    """How qemu is told to open one file, or a part of it, as one format, and none beside it. Archives pad their members to 512 bytes.

    part: of what a guest sees.
    """
    file: dict[str, Any] = {"driver": "file", "filename": str(disk.path.absolute())}
    if disk.span is not None:
        file = {"driver": "raw", "offset": disk.span.start, "size": -(-disk.span.size // 512) * 512, "file": file}
    options = layered(disk.format, file)
    return "json:" + json.dumps(options if part is None else {"driver": "raw", "offset": part.start, "size": part.size, "file": options})


def layered(form: str, file: Mapping[str, Any]) -> dict[str, Any]:
    """qemu's options for a format above what gives its bytes."""
    if form not in _DRIVERS:
        raise ValueError(f"{form!r} is not one of {', '.join(_DRIVERS)}")
    backing: dict[str, Any] = {"backing": None} if form in ("qcow2", "vmdk") else {}
    return {"driver": _DRIVERS[form], "file": file, **backing}


def format_of(form: DiskForm) -> str:
    """The format by which a file in this form is declared."""
    return "vmdk" if form == "vmdk-stream" else form


def _qemu_img(*words: str | Path, limit: int, cpu: int = _HOUR, confined: Path | None = None, streamed: Streamed | None = None) -> Result:
    limits = Limits(memory=_MEMORY, file_size=limit, cpu=cpu)
    command = [program("qemu-img", package="qemu-utils"), *map(str, words)]
    if confined is None or streamed is None:
        return run(command, timeout=2 * _HOUR, limits=limits)
    return run(jailed(confined, command), timeout=_DAY, limits=limits, keep=(streamed.connection,), stop=streamed.stop)
