"""Which files a site can make an image of: disks and archives, and a compression on top. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast, get_args
from urllib.parse import urlsplit

from vmkeeper.model.appliance import Format

INPUTS = ("qcow2", "raw", "vmdk", "vdi", "vhd", "vhdx", "ova", "tar")
"""What an image can be made of."""
PACKED = ("gz", "bz2", "xz", "zst")
"""What may be on top."""
_ALSO = {"img": "raw", "vpc": "vhd", "tgz": "tar.gz", "tbz2": "tar.bz2", "txz": "tar.xz"}


def format_named(text: str) -> str:
    """A format as lists write it (`QCOW2`, `.ova`, `img`, `raw.xz`) in our words (`raw`, `raw.xz`); "" where it is none of them."""
    word = text.strip().lower().removeprefix(".")
    word = _ALSO.get(word, word)
    name, _, packing = word.partition(".")
    name = _ALSO.get(name, name)
    if name not in INPUTS or packing not in ("", *PACKED):
        return ""
    return f"{name}.{packing}" if packing else name


def format_of(address: str) -> str:
    """The format that the end of an address tells; "" where it tells none."""
    parts = urlsplit(address).path.rpartition("/")[2].split(".")
    two, one = (".".join(parts[-2:]) if len(parts) > 2 else ""), (parts[-1] if len(parts) > 1 else "")
    return format_named(two) or format_named(one)


def stored_as(found: str, wanted: Sequence[Format]) -> Format | None:
    """The format that a file of format `found` is stored in: its own where the site takes that, else the site's first; None: it cannot be."""
    if found in wanted:
        return cast(Format, found)
    return wanted[0] if found and format_named(found) == found else None


def is_plain(found: str) -> bool:
    """Whether a cloud's image can be of this format."""
    return found in get_args(Format)
