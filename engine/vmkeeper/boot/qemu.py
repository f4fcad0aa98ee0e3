"""What a virtual machine is, as data, and QEMU's command line for it. Pure: starts nothing.

The command line asks for nothing by default: no default devices, no user configuration, no display, no further programs.
Image files are opened by explicit drivers and a base is opened without whatever file it may name as its own base.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from vmkeeper.boot.probe import Accelerator, Firmware
from vmkeeper.errors import UserError
from vmkeeper.model.appliance import Format
from vmkeeper.model.base import Document
from vmkeeper.values import Size

DRIVERS: dict[Format, str] = {"qcow2": "qcow2", "raw": "raw", "vmdk": "vmdk", "vdi": "vdi", "vhd": "vpc"}
"""QEMU's block driver for a format. An OVA is an archive: its disk has to be taken out first."""

_SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"


class MachineConfig(Document):
    """`machine.json`: what a machine is. It holds no secrets and never changes."""

    version: Literal[1] = 1
    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    """Host name."""
    image: Annotated[str, StringConstraints(pattern=r"^/")]
    """Absolute path of the base image; it is only ever read."""
    format: Format
    """The base image's format; never guessed."""
    cpus: Annotated[int, Field(ge=1, le=1024)] = 1
    memory: Size = Size.parse("1GiB")
    disk: Size | None = None
    """Virtual size of the disk, at least the image's; None is the image's own."""
    firmware: Firmware = "bios"
    ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = (22,)
    """Guest TCP ports that are reachable on 127.0.0.1, each at a port that the kernel picks at every start."""
    restrict: bool = False
    """True: the guest reaches nothing outside, but its forwarded ports answer. False: it reaches what the host reaches,
    the host's own loopback services at 10.0.2.2 included, and with them other machines' forwarded ports."""
    labels: dict[str, str] = {}
    """Whose it is and what it is for; read back by whoever wrote them."""

    @property
    def mac(self) -> str:
        """The network card's address, made from the name; locally administered."""
        digest = hashlib.sha256(self.name.encode()).digest()
        return "52:54:00:" + ":".join(f"{byte:02x}" for byte in digest[:3])


def driver(image_format: Format) -> str:
    """QEMU's driver for a format; raises UserError for one that cannot be run as it is."""
    try:
        return DRIVERS[image_format]
    except KeyError:
        raise UserError(f"a machine cannot run from an image in the format {image_format}", hint=f"use one of {', '.join(DRIVERS)}") from None


def command(config: MachineConfig, emulator: str, accelerator: Accelerator, *, code: Path | None = None, seed: bool = False) -> tuple[str, ...]:
    """QEMU's command line, to be run in the machine's folder (see `boot.machine` for the files in it).

    code: the UEFI firmware's read-only half, for `firmware: uefi`. seed: whether there is a `seed.iso`.
    """
    words = [emulator, "-name", config.name, "-nodefaults", "-no-user-config", "-display", "none", "-sandbox", _SANDBOX]
    words += ["-machine", "q35,graphics=off", *accelerator.arguments, "-smp", str(config.cpus), "-m", f"{-(-config.memory // 2**20)}M"]
    words += ["-pidfile", "qemu.pid", "-qmp", "unix:qmp.sock,server=on,wait=off", "-trace", "runstate_set", "-trace", "qemu_system_shutdown_request"]
    words += ["-chardev", "file,id=console,path=console.log", "-serial", "chardev:console"]
    words += ["-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng"]
    words += ["-device", "pvpanic", "-action", "panic=exit-failure", "-boot", "strict=on,menu=off"]
    words += _network(config) + _disks(config, seed)
    if config.firmware == "uefi":
        words += _block("code", "raw", str(code), read_only=True) + _block("variables", "raw", "variables.fd")
        words += ["-machine", "pflash0=code,pflash1=variables"]
    return tuple(words)


def _network(config: MachineConfig) -> list[str]:
    forwards = "".join(f",hostfwd=tcp:127.0.0.1:0-:{port}" for port in dict.fromkeys(config.ports))
    restrict = ",restrict=on" if config.restrict else ""
    return ["-netdev", f"user,id=net{restrict}{forwards}", "-device", f"virtio-net-pci,netdev=net,mac={config.mac},romfile="]


def _disks(config: MachineConfig, seed: bool) -> list[str]:
    kind = driver(config.format)
    base: dict[str, Any] = {"driver": kind, "read-only": True, "file": {"driver": "file", "filename": config.image, "read-only": True}}
    if kind == "qcow2":
        base["backing"] = None
    overlay = {"driver": "qcow2", "node-name": "disk", "discard": "unmap", "file": {"driver": "file", "filename": "overlay.qcow2"}, "backing": base}
    words = ["-blockdev", json.dumps(overlay), "-device", "virtio-blk-pci,drive=disk,bootindex=1"]
    if seed:
        words += [*_block("seed", "raw", "seed.iso", read_only=True), "-device", "virtio-blk-pci,drive=seed"]
    return words


def _block(node: str, kind: str, path: str, *, read_only: bool = False) -> list[str]:
    return [
        "-blockdev",
        json.dumps({"driver": kind, "node-name": node, "read-only": read_only, "file": {"driver": "file", "filename": path, "read-only": read_only}}),
    ]
