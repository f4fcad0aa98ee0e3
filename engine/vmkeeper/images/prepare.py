"""An image file as it came, made into the form that is wanted: opened in place, unpacked, converted, compared, hashed.

What it gives out has been judged by its bytes (rules R23, R25, R26) and shows a guest what the source shows. The
same source gives the same result every time, with the same qemu-img.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, cast, get_args

from vmkeeper.errors import Refused, UserError
from vmkeeper.images.convert import DISK_FORMS, SUBFORMATS, Disk, DiskForm, convert, format_of, identifier_of, judged
from vmkeeper.images.early import EarlyConversion
from vmkeeper.images.examine import ARCHIVES, Opened, opened
from vmkeeper.images.files import copy_hashed, hash_file, reported, temporary
from vmkeeper.images.ova import open_archive
from vmkeeper.images.ovfwrite import pack
from vmkeeper.images.scratch import scratch
from vmkeeper.images.sniff import MAX_VIRTUAL, Window
from vmkeeper.model.appliance import Format
from vmkeeper.model.release import Blob
from vmkeeper.progress import Progress, Silent
from vmkeeper.values import Size

Form = DiskForm | Literal["ova"]
FORMS: tuple[Form, ...] = (*DISK_FORMS, "ova")
"""What a file can be made into."""
_SILENT = Silent()
_MEMORY = Size.parse("1GiB")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A file in the form that was wanted. The hints are what an archive says of the machine, None where it says nothing."""

    path: Path
    format: Format
    size: Size
    sha512: str
    virtual_size: Size
    source: str
    """How the source came: `qcow2`, `ova`, `raw.xz`."""
    itself: bool
    """Whether it is the source's own file."""
    cpus: int | None = None
    memory: Size | None = None

    @property
    def blob(self) -> Blob:
        """The file as content."""
        return Blob(size=self.size, sha512=self.sha512)


@contextmanager
def prepared(
    source: Path,
    blob: Blob,
    folder: Path,
    *,
    declared: str | None = None,
    wanted: Form | None = None,
    max_virtual: int = MAX_VIRTUAL,
    compress: bool = False,
    title: str = "disk",
    subject: str = "",
    progress: Progress = _SILENT,
    early: EarlyConversion | None = None,
) -> Iterator[Prepared]:
    """The image in `source`, verified to be `blob`, in the form that is wanted; None: as it comes, out of its compression.

    declared: what the file is said to be (`qcow2`, `raw.xz`, `ova`); None: whatever it is. max_virtual: bytes that a guest may
    see. folder: for what is made, which goes when the context ends unless the caller moved it. compress: inside a qcow2.
    title: the name in an OVA. early: a conversion of the same file to the same form that began while it came.
    Raises Refused (R23, R25, R26, R32), UserError (no room), EnvironmentLacks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with opened(source, declared, max_virtual=max_virtual, folder=folder) as found:
        form = wanted or _as_it_comes(found, source)
        said = partial(progress.step, subject or source.name)
        said(_told(found, form))
        if not compress and _is_already(found, form):
            yield _made(found, source, blob, form) if found.plain is None else _made(found, found.disk.path, found.plain, form)
            return
        with scratch(folder) as work:
            new = work / "disk"
            if not compress and _holds(found, form):
                result = _copied(found.disk, new)
            elif form == "ova":
                result = _packed(found, new, blob, title)
            else:
                made = None if compress or early is None else _converted_early(found, new, form, early, said)
                result = made or _converted(found, new, form, blob, compress=compress)
            yield _made(found, new, result, form)


def compared(source: Disk, target: Path, form: DiskForm, virtual_size: int, known: Blob | None = None) -> Blob:
    """Hash a converted file, unless that was done on the way, while qemu-img compares it with its source. Raises Refused (R26)."""
    if known is not None:
        judged(source, target, form, virtual_size=virtual_size)
        return known
    stop = threading.Event()
    with ThreadPoolExecutor(1, thread_name_prefix="compare") as pool:
        judging = pool.submit(judged, source, target, form, virtual_size=virtual_size)
        judging.add_done_callback(lambda done: stop.set() if done.exception() else None)
        with reported("read the converted image", target):
            blob = hash_file(target, stop=stop.is_set)
        judging.result()
    return blob


def _as_it_comes(found: Opened, source: Path) -> Form:
    if found.format in get_args(Format):
        return "vmdk-stream" if found.format == "vmdk" and found.subformat == SUBFORMATS["vmdk-stream"] else cast(Form, found.format)
    if found.disk.format in DISK_FORMS:
        return cast(Form, found.disk.format)
    raise UserError(f"no cloud takes {found.form} as it comes", where=source.name, hint=f"convert it to one of {', '.join(FORMS)}")


def _holds(found: Opened, form: Form) -> bool:
    """Whether the disk has this form already, in whatever it lies."""
    return form != "ova" and format_of(form) == found.disk.format and SUBFORMATS.get(form, "") == found.subformat


def _is_already(found: Opened, form: Form) -> bool:
    """Whether the file, unpacked, has this form."""
    return found.format == "ova" if form == "ova" else found.format not in ARCHIVES and _holds(found, form)


def _told(found: Opened, form: Form) -> str:
    if _is_already(found, form):
        return "unpacked" if found.compression else f"a sound {found.form}"
    return f"taking the disk out of the {found.form}" if _holds(found, form) else f"converting {found.form} to {form}"


def _copied(disk: Disk, target: Path) -> Blob:
    with reported("copy the disk out of its archive", target), disk.path.open("rb") as file, target.open("xb") as out:
        return copy_hashed(Window(file, disk.span), out)


def _converted_early(found: Opened, target: Path, form: DiskForm, early: EarlyConversion, said: Callable[[str], None]) -> Blob | None:
    """What was made while the file came, if it serves."""
    made = early.result() if early.form == form else None
    if made is None or made.virtual_size != found.virtual_size:
        if early.why:
            said(f"it could not be converted while it came: {early.why}")
        return None
    made.path.rename(target)
    try:
        blob = compared(found.disk, target, form, found.virtual_size, made.blob)
    except Refused as error:
        said(f"what was converted while it came does not serve: {error}")
        return None
    said("converted while it came, and compared")
    return blob


def _converted(found: Opened, target: Path, form: DiskForm, blob: Blob, *, compress: bool) -> Blob:
    size = found.virtual_size
    convert(found.disk, target, form, identifier=identifier_of(blob.sha512), virtual_size=size, compress=compress)
    return compared(found.disk, target, form, size)


def _packed(found: Opened, target: Path, blob: Blob, title: str) -> Blob:
    """Convert to the archive's kind of VMDK, compare that, and pack it; the archive is read again by our own reader."""
    cpus, memory = (found.archive.cpus, found.archive.memory) if found.archive else (None, None)
    disk = target.with_suffix(".vmdk")
    convert(found.disk, disk, "vmdk-stream", identifier=identifier_of(blob.sha512), virtual_size=found.virtual_size)
    compared(found.disk, disk, "vmdk-stream", found.virtual_size)
    with reported("pack the archive", target), target.open("xb") as file:
        pack(disk, file, title=_file_name(title), capacity=found.virtual_size, cpus=cpus or 1, memory=memory or _MEMORY)
    disk.unlink()
    open_archive(target)
    return hash_file(target)


def _file_name(title: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", title).strip("-.")[:80] or "disk"


def _made(found: Opened, path: Path, blob: Blob, form: Form) -> Prepared:
    cpus, memory = (found.archive.cpus, found.archive.memory) if found.archive else (None, None)
    return Prepared(
        path=path,
        format=cast(Format, "ova" if form == "ova" else format_of(form)),
        size=blob.size,
        sha512=blob.sha512,
        virtual_size=found.virtual_size,
        source=found.form,
        itself=found.plain is None and path == found.disk.path,
        cpus=cpus,
        memory=memory,
    )


def move(made: Prepared, target: Path) -> None:
    """Give a prepared file its final name, in a folder of any file system; a source that is taken as it is gets copied."""
    with reported("write the image", target):
        if not made.itself and made.path.stat().st_dev == target.parent.stat().st_dev:
            made.path.chmod(0o644)
            made.path.replace(target)
            return
        with temporary(target.parent) as new, made.path.open("rb") as file:
            copy_hashed(file, new.file)
            new.keep(target)
