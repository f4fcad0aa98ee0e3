"""Which accelerator and firmware this machine has for virtual machines.

/dev/kvm alone proves nothing: where virtual machines are nested it may be there while guests crawl or QEMU
refuses the processor. KVM is chosen only after a guest has really computed something in 64-bit mode with it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import platformdirs

from vmkeeper.errors import EnvironmentLacks, Place, Problem, UserError
from vmkeeper.images.files import write_file
from vmkeeper.run import ProgramFailed, environment, program, run

Firmware = Literal["bios", "uefi"]
Wish = Literal["auto", "kvm", "tcg"]

QEMU = "qemu-system-x86_64"
_PACKAGES = {QEMU: "qemu-system-x86", "qemu-img": "qemu-utils", "setsid": "util-linux"}
_KVM = Path("/dev/kvm")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PATIENCE = 6
"""Seconds for a guest that takes 0.3 s with KVM and 1 s without."""

_OVMF = (
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ("/usr/share/qemu/edk2-x86_64-code.fd", "/usr/share/qemu/edk2-i386-vars.fd"),
)

# A boot sector: builds page tables for the first 2 MiB at 0x1000, switches to 64-bit mode, counts down from 200 million,
# reloads CR3 a hundred times with a thousand reads after each, writes `guest code runs` to the serial port, powers off.
_GUEST = bytes.fromhex(
    "fafc31c08ed88ec08ed0bc007cbf0010b90018f3abc70600100320c70600200330c706003083000f20e00c200f22e066b8001000000f22d866b9800000c0"
    "0f3280cc010f300f0116d07c0f20c0660d010000800f22c0ea5b7c0800b900c2eb0bffc975fc48c7c3640000000f20d80f22d848c7c1e8030000488b0425"
    "0010000048ffc975f348ffcb75e1bea87c000066baf803ac84c07403eeebf866ba040666b8002066eff4ebfd677565737420636f64652072756e730d0a00"
    "660f1f4400000000000000000000ffff0000009aaf000f00c07c0000"
)
_SAYS = b"guest code runs"


@dataclass(frozen=True, slots=True)
class Accelerator:
    """How guest code is run; `why` says what led to the choice."""

    name: Literal["kvm", "tcg"]
    why: str = ""

    @property
    def arguments(self) -> tuple[str, ...]:
        """QEMU's arguments. tb-size (MiB of translated code) is bounded: the default takes a quarter of the host's memory."""
        if self.name == "kvm":
            return ("-accel", "kvm", "-cpu", "host")
        return ("-accel", "tcg,thread=multi,tb-size=256", "-cpu", "qemu64")


@dataclass(frozen=True, slots=True)
class UefiFirmware:
    """OVMF: the code is shared and read-only, the variables are copied for each machine."""

    code: Path
    variables: Path


def lacks(*firmware: Firmware) -> tuple[Problem, ...]:
    """What this machine lacks for running virtual machines with these kinds of firmware."""
    problems = [
        Problem(Place(), f"the program {name} is not on this machine", f"apt-get install {package}")
        for name, package in _PACKAGES.items()
        if shutil.which(name, path=environment()["PATH"]) is None
    ]
    if "uefi" in firmware and _find_uefi() is None:
        problems.append(Problem(Place(), "there is no UEFI firmware for virtual machines on this machine", "apt-get install ovmf"))
    return tuple(problems)


def uefi() -> UefiFirmware:
    """The UEFI firmware; raises EnvironmentLacks."""
    found = _find_uefi()
    if found is None:
        raise EnvironmentLacks("there is no UEFI firmware for virtual machines on this machine", hint="apt-get install ovmf")
    return found


def _find_uefi() -> UefiFirmware | None:
    for code, variables in _OVMF:
        if Path(code).is_file() and Path(variables).is_file():
            return UefiFirmware(Path(code), Path(variables))
    return None


def qemu() -> str:
    """The path of QEMU; raises EnvironmentLacks."""
    return program(QEMU, package=_PACKAGES[QEMU])


def choose(wish: Wish = "auto", *, cache: Path | None = None) -> Accelerator:
    """KVM where it works (or is demanded), else TCG.

    The finding is kept in the folder `cache` (default: the user's cache folder) until the machine boots again or QEMU
    changes. Raises EnvironmentLacks without QEMU, UserError where KVM is demanded and does not work.
    """
    emulator = qemu()
    if wish == "tcg":
        return Accelerator("tcg", "asked for")
    trouble = _no_device() or _tried(emulator, cache or Path(platformdirs.user_cache_dir("vmkeeper")))
    if not trouble:
        return Accelerator("kvm", "a guest ran with it")
    if wish == "kvm":
        raise UserError("KVM does not work on this machine", why=trouble, hint="use accelerator: auto, which falls back to software emulation")
    return Accelerator("tcg", f"KVM does not work: {trouble}")


def _no_device() -> str:
    if not _KVM.exists():
        return f"there is no {_KVM}"
    return "" if os.access(_KVM, os.R_OK | os.W_OK) else f"no right to use {_KVM} (join the group kvm)"


def _tried(emulator: str, cache: Path) -> str:
    """Why KVM does not work, "" where it does; from the cache if it is of this boot and this QEMU."""
    key = f"{_BOOT_ID.read_text().strip()} {run([emulator, '--version'], timeout=30).text.splitlines()[0]} {Path(emulator).stat().st_mtime_ns}"
    record = cache / "kvm.json"
    with suppress(OSError, ValueError, KeyError, TypeError):  # no finding of this boot: try it
        known = json.loads(record.read_bytes())
        if known["key"] == key:
            return str(known["trouble"])
    trouble = try_accelerator(emulator, Accelerator("kvm"))
    with suppress(OSError):  # nowhere to keep it: tried again next time
        write_file(record, json.dumps({"key": key, "trouble": trouble}).encode())
    return trouble


def try_accelerator(emulator: str, accelerator: Accelerator, *, patience: float = _PATIENCE) -> str:
    """Run a small 64-bit guest; returns why it did not do its work within `patience` seconds, "" if it did."""
    with tempfile.TemporaryDirectory(prefix="vmkeeper-probe-") as folder:
        disk, console = Path(folder) / "disk", Path(folder) / "console"
        disk.write_bytes((_GUEST.ljust(510, b"\0") + b"\x55\xaa").ljust(1 << 20, b"\0"))
        command = [emulator, "-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35,graphics=off", *accelerator.arguments, "-m", "64"]
        command += [
            "-drive",
            f"file={disk},format=raw,if=virtio,readonly=on",
            "-chardev",
            f"file,id=console,path={console}",
            "-serial",
            "chardev:console",
        ]
        try:
            run(command, timeout=patience)
        except ProgramFailed as failed:
            if failed.result is None:
                return f"a guest did not get anywhere within {patience:g} s"
            return re.sub(r"\s+", " ", failed.why).removeprefix(f"{QEMU}: ")[:300]
        return "" if _SAYS in console.read_bytes() else "a guest ended without having done its work"
