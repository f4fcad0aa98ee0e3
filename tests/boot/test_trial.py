"""The boot test: guests that go wrong in every way, and a real system where the session has one."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from support import tinyvm
from support.images import base_image
from vmkeeper.boot import probe
from vmkeeper.boot.machine import machines
from vmkeeper.boot.trial import INIT_SPEAKS, Trial, run_trial, sweep
from vmkeeper.errors import UserError, VmkeeperError
from vmkeeper.values import Size

needs_qemu = pytest.mark.skipif(bool(probe.lacks("uefi")), reason="needs QEMU and OVMF (apt-get install qemu-system-x86 qemu-utils ovmf)")
TCG = probe.Accelerator("tcg")


def trial(image: Path, **more) -> Trial:
    fields = {"appliance": "tiny", "image": image, "format": "raw", "user": "tester", "memory": Size(128 << 20), "cpus": 1, "boot_timeout": 60}
    return Trial(**{**fields, **more})


class Steps:
    def __init__(self) -> None:
        self.said: list[str] = []

    def step(self, subject: str, text: str) -> None:
        self.said.append(f"{subject}: {text}")

    def amount(self, *_args: object) -> None:
        pass


DEAD = {
    "powers off": ("so long", "poweroff", "the machine ended: it powered off"),
    "panics and tells QEMU": ("about to panic", "panic", "the machine ended: the guest's kernel panicked"),
    "panics and tells the console": ("[    1.0] Kernel panic - not syncing: VFS: Unable to mount root fs", "halt", "the guest's kernel panicked"),
    "has no root file system": ("ALERT!  /dev/vda9 does not exist.  Dropping to a shell!", "halt", "the initramfs did not find the root file system"),
    "has a broken GRUB": ("error: no such partition.", "halt", "GRUB did not find its files or the kernel"),
    "falls into systemd's emergency mode": ("You are in emergency mode. After logging in, type", "halt", "systemd gave up"),
}


@needs_qemu
@pytest.mark.parametrize("how", DEAD)
def test_a_guest_that(how: str, tmp_path: Path) -> None:
    text, then, why = DEAD[how]
    steps = Steps()
    result = run_trial(trial(tinyvm.disk(tmp_path / "disk", text, then), tests=(("tiny/10", b"#!/bin/sh\n"),)), TCG, tmp_path / "work", steps)
    (check,) = result.checks
    assert (check.name, check.passed, check.why) == ("boot-bios", False, why)
    assert check.hint
    assert text in result.console
    assert text in check.output
    assert ElementTree.fromstring(result.junit()).find("testsuite").get("failures") == "1"
    assert steps.said == ["tiny: boots (bios; tcg)"]
    assert list((tmp_path / "work").iterdir()) == []


@needs_qemu
def test_a_guest_that_hangs_fails_when_its_time_is_up(tmp_path: Path) -> None:
    result = run_trial(trial(tinyvm.disk(tmp_path / "disk", "still thinking"), boot_timeout=4), TCG, tmp_path / "work")
    (check,) = result.checks
    assert check.why == "SSH did not answer in time"
    assert "boot_timeout" in check.hint
    assert "still thinking" in check.output


@needs_qemu
def test_a_disk_with_nothing_to_boot_fails_under_both_firmwares(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    result = run_trial(trial(disk, firmware=("bios", "uefi")), TCG, tmp_path / "work")
    assert [(check.name, check.passed, check.why) for check in result.checks] == [
        ("boot-bios", False, "the firmware found nothing to boot"),
        ("boot-uefi", False, "the firmware found nothing to boot"),
    ]
    assert "BIOS" in result.checks[0].hint
    assert "BOOTX64.EFI" in result.checks[1].hint
    assert "SeaBIOS" in result.console
    assert "BdsDxe" in result.other_console


@needs_qemu
def test_the_other_firmware_is_followed_until_the_system_speaks(tmp_path: Path) -> None:
    disk = tinyvm.disk(tmp_path / "disk", "\r\ntiny login: ")
    result = run_trial(trial(disk, firmware=("uefi", "bios")), TCG, tmp_path / "work")
    assert [(check.name, check.passed) for check in result.checks] == [("boot-uefi", False), ("boot-bios", True)]
    assert "login" in result.other_console


@pytest.mark.parametrize(
    ("console", "speaks"),
    [
        (b"\r\nWelcome to \x1b[1mDebian GNU/Linux 12 (bookworm)\x1b[0m!\r\n", True),
        (b"\r\nWelcome to Alpine Linux 3.20\r\nlocalhost login: ", True),
        (b"Welcome to GRUB!\r\n\r\n", False),
        (b"Welcome to \x1b[0;34mFedora Linux 41 dracut-103 (Initramfs)\x1b[0m!\r\n", False),
        (b"systemd-logind: new login: somebody", False),
    ],
)
def test_only_the_image_s_own_init_counts_as_up(console: bytes, speaks: bool) -> None:
    assert bool(INIT_SPEAKS.search(console)) == speaks


@needs_qemu
def test_an_image_that_cannot_be_used_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no image"):
        run_trial(trial(tmp_path / "absent"), TCG, tmp_path / "work")
    with pytest.raises(VmkeeperError, match="qemu-img"):
        run_trial(trial(tinyvm.disk(tmp_path / "disk"), format="qcow2"), TCG, tmp_path / "work")
    assert list((tmp_path / "work").iterdir()) == []


KILLED = """
    import sys
    from pathlib import Path
    from vmkeeper.boot.probe import Accelerator
    from vmkeeper.boot.trial import Trial, run_trial
    run_trial(Trial("tiny", Path(sys.argv[1]), "raw", "tester", cpus=1), Accelerator("tcg"), Path(sys.argv[2]))
"""


@needs_qemu
def test_machine_of_a_killed_trial_goes_with_the_next(tmp_path: Path) -> None:
    work = tmp_path / "work"
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(KILLED), tinyvm.disk(tmp_path / "disk"), work])
    end = time.monotonic() + 30
    while not (running := [each for folder in work.glob("trial-*") for each in machines(folder) if each.status().state == "running"]):
        assert time.monotonic() < end
        time.sleep(0.05)
    sweep(work)
    assert running[0].status().state == "running", "its trial is still there"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert running[0].status().state == "running", "it outlives its trial"
    sweep(work)
    assert list(work.iterdir()) == []
    assert not running[0].folder.exists()


@needs_qemu
def test_an_interrupted_trial_ends_its_machines_and_does_not_wait_for_them(tmp_path: Path) -> None:
    class Interrupting(Steps):
        def step(self, subject: str, text: str) -> None:
            raise KeyboardInterrupt

    disk = tinyvm.disk(tmp_path / "disk")
    with pytest.raises(KeyboardInterrupt):
        run_trial(trial(disk, firmware=("bios", "uefi"), boot_timeout=10_000), TCG, tmp_path / "work", Interrupting())
    assert list((tmp_path / "work").iterdir()) == []


@needs_qemu
def test_a_trial_that_fails_on_the_way_ends_the_other_machine_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object) -> None:
        raise VmkeeperError("on the way")

    monkeypatch.setattr("vmkeeper.boot.trial._boot_and_test", fail)
    disk = tinyvm.disk(tmp_path / "disk")
    with pytest.raises(VmkeeperError, match="on the way"):
        run_trial(trial(disk, firmware=("bios", "uefi"), boot_timeout=10_000), TCG, tmp_path / "work")
    assert list((tmp_path / "work").iterdir()) == []


PASSES = b'#!/bin/sh\nset -e\n[ "$VMKEEPER_APPLIANCE" = real ]\n[ "$(id -un)" = "$VMKEEPER_USER" ]\necho "as $(id -un)"\nsudo -n true\n'
REACHES_NOTHING = b"""#!/usr/bin/env python3
import socket
try:
    socket.create_connection(("10.0.2.2", PORT), timeout=5)
except OSError:
    raise SystemExit(0)
raise SystemExit("the host's loopback is open to the guest")
"""
TESTS = (
    ("real/10-passes", PASSES),
    ("real/20-fails", b"#!/bin/sh\necho oh dear >&2\nexit 3\n"),
    ("real/30-python", b"#!/usr/bin/env python3\nimport sys\nassert sys.stdin.read() == ''\nprint('x' * 100000)\n"),
    ("real/40-hangs", b"#!/bin/sh\nsleep 600\n"),
    ("real/50-floods", b"#!/bin/sh\nyes | head -c 20000000\n"),
    ("real/60-reaches-nothing", REACHES_NOTHING),
    ("real/70-powers-off", b"#!/bin/sh\nsudo systemctl --force --force poweroff; sleep 60\n"),
    ("real/80-too-late", b"#!/bin/sh\n"),
)


@pytest.mark.machine
@pytest.mark.network
@needs_qemu
def test_a_real_system_is_booted_under_both_firmwares_and_tested(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    image, _ = base_image(tmp_path_factory)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1]).encode()
        tests = tuple((name, data.replace(b"PORT", port)) for name, data in TESTS)
        wanted = Trial("real", image, "qcow2", "debian", tests, firmware=("bios", "uefi"), boot_timeout=600, test_timeout=15)
        result = run_trial(wanted, TCG, tmp_path / "work")
    by_name = {check.name: check for check in result.checks}
    assert {name for name, check in by_name.items() if check.passed} >= {"boot-bios", "boot-uefi", "cloud-init", "real/10-passes", "real/30-python"}
    assert "as debian" in by_name["real/10-passes"].output
    assert (by_name["real/20-fails"].why, by_name["real/20-fails"].output) == ("ended with status 3", "oh dear\n")
    assert by_name["real/40-hangs"].why == "did not end within 15 s"
    assert not by_name["real/50-floods"].passed
    assert len(by_name["real/50-floods"].output) < 5 << 20
    assert by_name["real/60-reaches-nothing"].passed
    assert "went away" in by_name["real/70-powers-off"].why
    assert by_name["real/80-too-late"].why == "not run: the machine was gone"
    assert "Linux version" in result.console
    ElementTree.fromstring(result.junit())
    assert list((tmp_path / "work").iterdir()) == []
