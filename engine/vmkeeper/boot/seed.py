"""The NoCloud seed: a small ISO 9660 image labelled `cidata` from which cloud-init takes a machine's first-boot data.

The same data gives the same bytes. It may hold secrets: nothing of it is ever put in an error or a log.
Reference: cloud-init's documentation, datasource NoCloud; ECMA-119 for the places of dates.
"""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path

import pycdlib

from vmkeeper.errors import UserError
from vmkeeper.images.files import write_file

LIMIT = 256 << 10
"""Bytes of one part; no cloud takes more user-data than this, most take 16 to 64 KiB."""

_SECTOR = 2048
_HEADERS = (
    b"#cloud-config",
    b"#!",
    b"#include",
    b"#part-handler",
    b"#cloud-boothook",
    b"#cloud-config-archive",
    b"## template: jinja",
    b"Content-Type:",
    b"MIME-Version:",
    b"From ",
)


def seed(
    user_data: bytes | str, *, name: str, instance: str = "", public_keys: tuple[str, ...] = (), network_config: bytes | str | None = None
) -> bytes:
    """The bytes of a seed image.

    user_data: as cloud-init takes it, `#cloud-config` included; empty means none.
    name: the host name. instance: the instance id (default: the name); cloud-init does its first-boot work again when it changes.
    public_keys: SSH keys for the image's default user, given the way clouds give them.
    network_config: version 1 or 2, None leaves it to cloud-init (DHCP on every interface).
    Raises UserError for a part that is too big or that cloud-init would silently ignore.
    """
    user_data = user_data.encode() if isinstance(user_data, str) else user_data
    if user_data and not user_data.startswith(_HEADERS):
        raise UserError(
            "the user-data does not begin as cloud-init wants it, so it would be ignored", where=name, hint="begin it with #cloud-config or #!"
        )
    meta_data = {"instance-id": instance or name, "local-hostname": name, **({"public-keys": list(public_keys)} if public_keys else {})}
    parts = {"user-data": user_data, "meta-data": json.dumps(meta_data, sort_keys=True).encode()}
    if network_config is not None:
        parts["network-config"] = network_config.encode() if isinstance(network_config, str) else network_config
    for part, data in parts.items():
        if len(data) > LIMIT:
            raise UserError(
                f"the {part} has {len(data)} bytes; at most {LIMIT} are allowed",
                where=name,
                hint="keep files in the appliance or fetch them at first boot",
            )
    return _iso(parts)


def write_seed(path: Path, data: bytes) -> None:
    """Put a seed into a file that only its owner reads, whole or not at all."""
    write_file(path, data, mode=0o600)


def _iso(files: dict[str, bytes]) -> bytes:
    # Level 4 allows the names as they are, so that a system with no extension sees them too; Joliet is for Windows.
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=4, joliet=3, vol_ident="cidata", sys_ident="", app_ident_str="")
    for name, data in sorted(files.items()):
        iso.add_fp(io.BytesIO(data), len(data), f"/{name}", joliet_path=f"/{name}")
    out = io.BytesIO()
    iso.write_fp(out)
    iso.close()
    return _undated(bytearray(out.getvalue()))


def _undated(image: bytearray) -> bytes:
    """Replace the dates of volume descriptors (ECMA-119 8.4.26 to 8.4.29) and directory records (9.1.5) by 1980-01-01."""
    short, long, never = bytes((80, 1, 1, 0, 0, 0, 0)), b"1980010100000000\0", b"0" * 16 + b"\0"
    for sector in range(16, len(image) // _SECTOR):
        start = sector * _SECTOR
        if image[start] == 255:
            break
        image[start + 813 : start + 881] = long + long + never + never
        image[start + 156 + 18 : start + 156 + 25] = short
        (extent,) = struct.unpack_from("<I", image, start + 156 + 2)
        (length,) = struct.unpack_from("<I", image, start + 156 + 10)
        position = extent * _SECTOR
        while position < extent * _SECTOR + length and image[position]:
            image[position + 18 : position + 25] = short
            position += image[position]
    return bytes(image)
