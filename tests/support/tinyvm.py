"""Guests of a few dozen bytes: a boot sector writes a line to the serial port, then does one thing. Up in about a second."""

from __future__ import annotations

from pathlib import Path

# Real mode, entered at 0x7c00: stack below, text at 0x7c80 written byte by byte to port 0x3f8.
_START = bytes.fromhex("fc31c08ed88ed0bc007cbe807cbaf803ac84c07403eeebf8")
_OFF = bytes.fromhex("ba0406b80020ef")  # ACPI PM1a control: sleep state 5
_HALT = bytes.fromhex("fbf4ebfc")

THEN = {
    "halt": _HALT,
    "poweroff": _OFF + _HALT,
    "panic": bytes.fromhex("ba0505b001ee") + _HALT,  # pvpanic's port
    "reboot": bytes.fromhex("b0fee664") + _HALT,  # the keyboard controller's reset line
    # Enable the power button event, sleep from tick to tick until its status bit is set, then power off.
    "obey": bytes.fromhex("ba0206b80001effbf4ba0006edf6c40174f5") + _OFF + _HALT,
}


def boot_sector(text: str, then: str) -> bytes:
    code = _START + THEN[then]
    assert len(code) <= 0x80
    return (code.ljust(0x80, b"\x90") + text.encode() + b"\r\n\0").ljust(510, b"\0") + b"\x55\xaa"


def disk(path: Path, text: str = "tiny guest here", then: str = "halt") -> Path:
    """A raw 1 MiB disk, read-only."""
    path.write_bytes(boot_sector(text, then).ljust(1 << 20, b"\0"))
    path.chmod(0o444)
    return path
