"""How long an image takes to boot and be tested, by firmware: wall and CPU seconds until each moment a user would notice.

    python bench/boot.py IMAGE.qcow2 [--user debian] [--firmware bios,uefi] [--cpu qemu64] [--runs 1] [--trial] [--json FILE]

CPU seconds are QEMU's own and compare better than wall time on a busy machine. --trial adds the boot test as a whole, with
one firmware and with both, whose second machine runs beside the first.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from vmkeeper.boot import probe, ssh
from vmkeeper.boot.machine import Machine
from vmkeeper.boot.qemu import MachineConfig
from vmkeeper.boot.seed import seed
from vmkeeper.boot.trial import INIT_SPEAKS, Trial, run_trial
from vmkeeper.values import Size

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class WithProcessor(probe.Accelerator):
    """An accelerator with another processor model."""

    processor: str = ""

    @property
    def arguments(self) -> tuple[str, ...]:
        words = super().arguments
        return (*words[:-1], self.processor) if self.processor else words


def cpu_seconds(machine: Machine) -> float:
    fields = Path(f"/proc/{(machine.folder / 'qemu.pid').read_text().strip()}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident(machine: Machine) -> int:
    status = Path(f"/proc/{(machine.folder / 'qemu.pid').read_text().strip()}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def boot(image: Path, user: str, firmware: probe.Firmware, accelerator: probe.Accelerator, folder: Path) -> dict[str, object]:
    login = ssh.Login(folder / "login", user)
    config = MachineConfig(name="bench", image=str(image), format="qcow2", cpus=2, memory=Size.parse("1GiB"), firmware=firmware, restrict=True)
    machine = Machine.create(folder / "machine", config, seed=seed("", name="bench", public_keys=(login.public_key,)))
    began = time.monotonic()
    moments: dict[str, object] = {}

    def note(name: str, reached: Callable[[], bool]) -> None:
        while not reached():
            if machine.wait(0.2) or time.monotonic() - began > 900:
                raise SystemExit(f"{firmware}: the machine did not come as far as {name}\n{machine.console(3000).decode(errors='replace')}")
        moments[name] = {"wall": round(time.monotonic() - began, 1), "cpu": round(cpu_seconds(machine), 1)}

    try:
        machine.start(accelerator)
        address = machine.addresses()[22]
        note("kernel", lambda: b"Linux version" in machine.console(1 << 20))
        note("init", lambda: INIT_SPEAKS.search(machine.console(1 << 20)) is not None)
        note("ssh", lambda: ssh.banner(address))
        note("login", lambda: login.run(address, "true").status == 0)
        note("cloud-init", lambda: login.run(address, "cloud-init status --wait", timeout=600).status in (0, 2))
        moments["memory_mib"] = resident(machine)
        before = time.monotonic()
        machine.stop(grace=120)
        moments["power-off"] = {"wall": round(time.monotonic() - before, 1)}
    finally:
        machine.remove(grace=0)
    return moments


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("--user", default="debian")
    parser.add_argument("--firmware", default="bios,uefi")
    parser.add_argument("--cpu", default="")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--trial", action="store_true", help="also the boot test as a whole")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = probe.choose()
    accelerator = WithProcessor(found.name, found.why, given.cpu)
    image, kinds = given.image.resolve(), given.firmware.split(",")
    print(f"{found.name} ({found.why[:100]}), load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    results: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(prefix="vmkeeper-bench-") as work:
        for run in range(given.runs):
            for kind in kinds:
                moments = boot(image, given.user, kind, accelerator, Path(work) / f"{kind}{run}")
                results.append({"firmware": kind, **moments})
                print(kind, json.dumps(moments), flush=True)
        trial = Trial("bench", image, "qcow2", given.user, firmware=(kinds[0],), boot_timeout=900)
        for each in (trial, replace(trial, firmware=tuple(kinds))) if given.trial else ():
            began = time.monotonic()
            passed = run_trial(each, accelerator, Path(work) / "trials").passed
            results.append({"trial": list(each.firmware), "passed": passed, "wall": round(time.monotonic() - began, 1)})
            print("boot test", json.dumps(results[-1]), flush=True)
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
