"""A machine's own disk: a qcow2 overlay on a base image that is only ever read.

Refuses a base that refers to other files: a backing file or an external data file would bring the host's files into the guest.
"""

from __future__ import annotations

import json
from pathlib import Path

from vmkeeper.boot.qemu import driver
from vmkeeper.errors import UserError
from vmkeeper.model.appliance import Format
from vmkeeper.run import Limits, program, run
from vmkeeper.values import Size

_LIMITS = Limits(memory=4 << 30, file_size=64 << 20, cpu=60)
"""qemu-img reads headers made by strangers; a new overlay is a few hundred KiB."""


def virtual_size(image: Path, image_format: Format) -> Size:
    """Bytes that a guest sees of a self-contained image. Raises UserError for one that refers to other files or has another format."""
    if driver(image_format) == "raw":
        return Size(image.stat().st_size)
    told = run(
        [_qemu_img(), "info", "-f", driver(image_format), "--output=json", image], timeout=60, limits=_LIMITS, hint=f"is it really {image_format}?"
    )
    info = json.loads(told.text)
    details = info.get("format-specific", {}).get("data", {})
    others = [
        info.get("backing-filename"),
        details.get("data-file"),
        *(part.get("filename") for part in details.get("extents", ()) if part.get("filename") != str(image)),
    ]
    if any(others):
        raise UserError(
            "the image refers to another file", where=str(image), hint="convert it to a self-contained image; nothing is run from this one"
        )
    return Size(info["virtual-size"])


def make_overlay(target: Path, base: Path, base_format: Format, size: Size | None = None) -> Size:
    """Write an empty overlay to `target`, naming base and format; returns its virtual size.

    size: at least the base's virtual size; None is just that. Raises UserError for a smaller one.
    """
    own = virtual_size(base, base_format)
    if size is not None and size < own:
        raise UserError(f"the disk of {size} is smaller than the image ({own})", where=str(base), hint=f"ask for at least {own}")
    chosen = Size(-(-max(own, size or own) // 512) * 512)
    command: list[str | Path] = [_qemu_img(), "create", "-q", "-u", "-f", "qcow2", "-b", base, "-F", driver(base_format), target, str(int(chosen))]
    run(command, timeout=60, limits=_LIMITS)
    return chosen


def _qemu_img() -> str:
    return program("qemu-img", package="qemu-utils")
