"""The boot test: an image is booted as a user would boot it, and the appliance's tests are run in it over SSH.

The image is only read. The machine is thrown away at the end, also by the next trial in the same folder after a kill.
A machine of the other firmware, where the appliance asks for both, is followed only until the image's own init speaks:
what comes after is the same.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from vmkeeper.boot import ssh
from vmkeeper.boot.folders import aside, held
from vmkeeper.boot.machine import Machine, machines
from vmkeeper.boot.probe import Accelerator, Firmware
from vmkeeper.boot.qemu import MachineConfig
from vmkeeper.boot.report import Check, TrialResult, plain
from vmkeeper.boot.seed import seed
from vmkeeper.model.appliance import Format
from vmkeeper.progress import Progress, Silent
from vmkeeper.values import Size

_PREFIX = "trial-"
_CONSOLE_LIMIT = 2 << 20
_TAIL = 15
_LAST_WORDS = 10
"""Seconds in which a machine ends whose connection broke because it ends."""
_STATUS = "cloud-init status --wait --long"
_MEMORY = Size.parse("1GiB")

_DEAD_ENDS = (
    (
        rb"No bootable device",
        "the firmware found nothing to boot",
        "the disk has no boot sector for BIOS: look at the appliance's disk.boot and the builder's disk step",
    ),
    (
        rb"BdsDxe: No bootable option|starting Boot\d+ \"EFI Internal Shell\"|Shell> ",
        "the firmware found nothing to boot",
        "the disk has no EFI/BOOT/BOOTX64.EFI on a FAT system partition: look at disk.boot",
    ),
    (
        rb"grub rescue>|error: no such (?:device|partition)|^grub> ",
        "GRUB did not find its files or the kernel",
        "look at /boot/grub/grub.cfg and the root file system's UUID or label in the image",
    ),
    (
        rb"Kernel panic - not syncing",
        "the guest's kernel panicked",
        "the lines before say why; a wrong root= or a missing initramfs module is the usual cause",
    ),
    (
        rb"\(initramfs\) |ALERT!  .* does not exist\.",
        "the initramfs did not find the root file system",
        "look at root= on the kernel command line and at the initramfs' modules",
    ),
    (
        rb"You are in (?:emergency|rescue) mode|Press Enter for maintenance|Give root password for maintenance",
        "systemd gave up",
        "look at /etc/fstab and at units required by local-fs.target",
    ),
)
INIT_SPEAKS = re.compile(rb"Welcome to (?!GRUB|[^\n]*[Ii]nitramfs)[^\n]{1,80}!|^[a-z0-9-]+ login: ", re.MULTILINE)
"""systemd's greeting (not that of GRUB or of an initramfs with systemd in it) or a login prompt."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What to try. `tests` are (name, executable file) in the order in which they run, as the default user; times are seconds."""

    appliance: str
    image: Path
    format: Format
    user: str
    tests: tuple[tuple[str, bytes], ...] = ()
    memory: Size = _MEMORY
    cpus: int = 2
    firmware: tuple[Firmware, ...] = ("bios",)
    """The first runs the tests; the second is followed until the image's init speaks."""
    boot_timeout: float = 600
    test_timeout: float = 300
    network: bool = False
    """Whether the guest reaches more than itself. Without, a test means the same everywhere."""


def run_trial(trial: Trial, accelerator: Accelerator, work: Path, progress: Progress | None = None) -> TrialResult:
    """Boot an image and test it; what goes wrong in the guest is a failed check, not an error.

    work: a folder for the machines' files; nothing of this trial is left there. Raises UserError for an image that cannot
    be used at all, EnvironmentLacks, and VmkeeperError where QEMU does not start.
    """
    progress = progress or Silent()
    sweep(work)
    # The machines go before the pool is waited for: whoever follows one sees it end.
    with ThreadPoolExecutor() as pool, aside(work, prefix=_PREFIX) as folder, ExitStack() as ending:
        running = []
        for firmware in trial.firmware:
            login = ssh.Login(folder / f".login-{firmware}", trial.user)
            machine = Machine.create(folder / firmware, _config(trial, firmware), seed=seed("", name="trial", public_keys=(login.public_key,)))
            ending.callback(machine.remove, grace=0)
            running.append((firmware, machine, login))
        progress.step(trial.appliance, f"boots ({', '.join(trial.firmware)}; {accelerator.name})")
        (firmware, main, login), *others = running
        briefly = [pool.submit(_boot_briefly, other, kind, accelerator, trial) for kind, other, _ in others]
        checks = _boot_and_test(main, firmware, login, accelerator, trial, progress)
        checks += [future.result() for future in briefly]
        consoles = [plain(machine.console(_CONSOLE_LIMIT)) for _, machine, _ in running]
    return TrialResult(trial.appliance, accelerator.name, trial.firmware, tuple(checks), consoles[0], "\n".join(consoles[1:]))


def sweep(work: Path) -> None:
    """Kill and remove the machines of trials in `work` whose process is gone."""
    for folder in work.glob(f"{_PREFIX}*") if work.is_dir() else ():
        with suppress(FileNotFoundError, BlockingIOError), held(folder, wait=False):
            for machine in machines(folder):
                machine.remove(grace=0)
            shutil.rmtree(folder)


def _config(trial: Trial, firmware: Firmware) -> MachineConfig:
    return MachineConfig(
        name="trial",
        image=str(trial.image.resolve()),
        format=trial.format,
        cpus=trial.cpus,
        memory=trial.memory,
        firmware=firmware,
        restrict=not trial.network,
    )


def _boot_and_test(machine: Machine, firmware: Firmware, login: ssh.Login, accelerator: Accelerator, trial: Trial, progress: Progress) -> list[Check]:
    """Boot, first boot's end, tests; each is tried only if those before let it."""
    began = time.monotonic()
    machine.start(accelerator)
    address = machine.addresses()[22]
    trouble = _follow(machine, began + trial.boot_timeout, lambda _: ssh.banner(address, timeout=1), "SSH did not answer")
    boot = _check(f"boot-{firmware}", machine, time.monotonic() - began, trouble)
    if not boot.passed:
        return [boot]
    progress.step(trial.appliance, "answers over SSH, finishes its first boot")
    first = _first_boot(machine, login, address, began + trial.boot_timeout)
    checks = [boot, first]
    if not first.passed and first.name == "login":
        return checks
    login.keep_open(address)
    for number, (name, data) in enumerate(trial.tests, 1):
        progress.step(trial.appliance, f"test {number} of {len(trial.tests)}: {name}")
        checks.append(_test(machine, login, address, name, data, firmware, trial))
        if machine.status().state != "running":
            break
    done = {check.name for check in checks}
    return [*checks, *(Check(name, passed=False, why="not run: the machine was gone") for name, _ in trial.tests if name not in done)]


def _first_boot(machine: Machine, login: ssh.Login, address: tuple[str, int], deadline: float) -> Check:
    """cloud-init's own verdict. Its `degraded` (status 2: some of its warnings) passes and is shown: the machine came up as told."""
    began = time.monotonic()
    hint = "look at the image's default user (users.default), sshd_config and cloud-init's messages on the console"
    while (said := login.run(address, "true", timeout=60)).status != 0:
        if time.monotonic() > deadline or machine.status().state != "running":
            return Check(
                "login",
                passed=False,
                seconds=time.monotonic() - began,
                output=plain(said.output),
                why=f"no login as {login.user} with the cloud's SSH key",
                hint=hint,
            )
        time.sleep(1)
    said = login.run(address, _STATUS, timeout=max(30, deadline - time.monotonic()))
    while said.status == ssh.CONNECTION_LOST and time.monotonic() < deadline and not machine.wait(1):  # sshd may be restarted during a first boot
        said = login.run(address, _STATUS, timeout=max(30, deadline - time.monotonic()))
    if said.status == ssh.TIMED_OUT:
        why = "cloud-init was not done in time"
    else:
        why = "" if said.status in (0, 2) else f"cloud-init ended with status {said.status}"
    hint = "its output is below, the rest on the console; a module's own words are in /var/log/cloud-init.log of the guest"
    return Check("cloud-init", passed=not why, seconds=time.monotonic() - began, output=plain(said.output), why=why, hint=hint if why else "")


def _test(machine: Machine, login: ssh.Login, address: tuple[str, int], name: str, data: bytes, firmware: Firmware, trial: Trial) -> Check:
    began = time.monotonic()
    env = {"VMKEEPER_APPLIANCE": trial.appliance, "VMKEEPER_FIRMWARE": firmware, "VMKEEPER_USER": trial.user}
    said = login.run_file(address, data, env=env, timeout=trial.test_timeout)
    why = hint = ""
    if said.status == ssh.TIMED_OUT:
        why, hint = f"did not end within {trial.test_timeout:g} s", "raise test.timeout of the appliance if it may take longer"
    elif said.status == ssh.CONNECTION_LOST and machine.wait(_LAST_WORDS):
        why, hint = f"the machine went away: {machine.status().why or 'it powered off'}", "the last lines of the console say more"
    elif said.status != 0:
        why, hint = f"ended with status {said.status}", "its output says why; a test passes with status 0"
    return Check(name, passed=not why, seconds=time.monotonic() - began, output=plain(said.output), why=why, hint=hint)


def _boot_briefly(machine: Machine, firmware: Firmware, accelerator: Accelerator, trial: Trial) -> Check:
    """Until the image's own init speaks on the console, or SSH answers where the console is quiet."""
    began = time.monotonic()
    machine.start(accelerator)
    address = machine.addresses()[22]
    trouble = _follow(
        machine,
        began + trial.boot_timeout,
        lambda console: bool(INIT_SPEAKS.search(console)) or ssh.banner(address, timeout=0.5),
        "the system did not come up",
    )
    machine.stop(grace=0)
    return _check(f"boot-{firmware}", machine, time.monotonic() - began, trouble)


def _follow(machine: Machine, deadline: float, reached: Callable[[bytes], bool], otherwise: str) -> tuple[str, str]:
    """Wait until `reached` says so of the console; returns ("", "") or what went wrong and what to do."""
    while True:
        console = machine.console(_CONSOLE_LIMIT)
        for pattern, why, hint in _DEAD_ENDS:
            if re.search(pattern, console, re.MULTILINE):
                return why, hint
        if reached(console):
            return "", ""
        status = machine.status()
        if status.state != "running":
            return f"the machine ended: {status.why or 'it powered off'}", "the last lines of its console say more"
        if time.monotonic() > deadline:
            return f"{otherwise} in time", "the last lines of its console say how far it came; raise test.boot_timeout if it only needs longer"
        machine.wait(0.5)


def _check(name: str, machine: Machine, seconds: float, trouble: tuple[str, str]) -> Check:
    why, hint = trouble
    if not why:
        return Check(name, passed=True, seconds=seconds)
    lines = plain(machine.console()).strip().splitlines()[-_TAIL:]
    return Check(name, passed=False, seconds=seconds, output="\n".join(lines) or "(nothing on the serial console)", why=why, hint=hint)
