"""Lifecycle of virtual machines, with real QEMU processes and guests of one boot sector."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import tinyvm
from vmkeeper.boot import probe
from vmkeeper.boot.folders import MAKING, REMOVING, clean
from vmkeeper.boot.machine import Machine, machines
from vmkeeper.boot.qemu import MachineConfig
from vmkeeper.boot.qmp import Monitor, NoMonitor
from vmkeeper.boot.seed import seed
from vmkeeper.errors import UserError, VmkeeperError
from vmkeeper.run import run
from vmkeeper.values import Size

pytestmark = pytest.mark.skipif(bool(probe.lacks()), reason="needs QEMU (apt-get install qemu-system-x86 qemu-utils)")

TCG = probe.Accelerator("tcg")
PATIENCE = 30


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder for machines; whatever still runs in it at the end is killed."""
    folder = tmp_path / "machines"
    folder.mkdir()
    yield folder
    for machine in machines(folder):
        machine.stop(grace=0)


def make(place: Path, then: str = "halt", *, text: str = "tiny guest here", name: str = "vm", **more: object) -> Machine:
    base = tinyvm.disk(place.parent / f"{name}.raw", text, then)
    fields = {"name": name, "image": str(base), "format": "raw", "memory": Size(32 << 20), **more}
    return Machine.create(place / name, MachineConfig.model_validate(fields), seed=seed("", name=name))


def test_machine_starts_speaks_and_stops(place: Path) -> None:
    machine = make(place)
    assert machine.status().state == "stopped"
    machine.start(TCG)
    assert machine.status().state == "running"
    until(lambda: b"tiny guest here" in machine.console(), "the guest speaks")
    machine.stop(grace=0)
    assert machine.status().state == "stopped"
    assert machine.wait(0)


def test_guest_is_asked_to_power_off_before_it_is_made_to(place: Path) -> None:
    machine = make(place, "obey")
    machine.start(TCG)
    until(lambda: b"tiny guest here" in machine.console(), "the guest speaks")
    machine.stop(grace=PATIENCE)
    assert machine.status().state == "stopped"
    assert "shutdown_request reason=6" in (machine.folder / "qemu.log").read_text()  # guest-shutdown


def test_guest_that_does_not_listen_is_stopped_all_the_same(place: Path) -> None:
    machine = make(place)
    machine.start(TCG)
    machine.stop(grace=0.2)
    assert machine.status().state == "stopped"


def test_guest_that_powers_off_counts_as_stopped(place: Path) -> None:
    machine = make(place, "poweroff")
    machine.start(TCG)
    assert machine.wait(PATIENCE)
    assert machine.status().state == "stopped"


def test_guest_that_panics_counts_as_crashed(place: Path) -> None:
    machine = make(place, "panic")
    machine.start(TCG)
    assert machine.wait(PATIENCE)
    status = machine.status()
    assert status.state == "crashed"
    assert "panicked" in status.why


def test_guest_that_reboots_goes_on_running(place: Path) -> None:
    machine = make(place, "reboot", text="once more")
    machine.start(TCG)
    until(lambda: machine.console().count(b"once more") >= 2, "the guest speaks twice")
    assert machine.status().state == "running"


def test_killed_qemu_counts_as_crashed_and_starts_again(place: Path) -> None:
    machine = make(place)
    machine.start(TCG)
    os.kill(int((machine.folder / "qemu.pid").read_text()), signal.SIGKILL)
    until(lambda: machine.status().state == "crashed", "the lock is free")
    assert "killed" in machine.status().why
    assert (machine.folder / "qemu.pid").exists()
    Machine.attach(machine.folder).start(TCG)
    assert machine.status().state == "running"
    assert (machine.folder / "qemu.log.old").exists()


def test_number_of_a_dead_machine_taken_by_another_process_is_left_alone(place: Path) -> None:
    machine = make(place)
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        (machine.folder / "qemu.pid").write_text(str(bystander.pid))
        (machine.folder / "alive.lock").touch()
        assert machine.status().state == "stopped"
        machine.stop(grace=0)
        machine.remove(grace=0)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_starting_twice_gives_one_process(place: Path) -> None:
    machine = make(place)
    threads = [threading.Thread(target=Machine.attach(machine.folder).start, args=(TCG,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first = (machine.folder / "qemu.pid").read_text()
    machine.start(TCG)
    assert (machine.folder / "qemu.pid").read_text() == first
    assert not (machine.folder / "qemu.log.old").exists()


def test_machine_outlives_the_command_that_started_it(place: Path) -> None:
    machine = make(place)
    script = """
        import sys
        from pathlib import Path
        from vmkeeper.boot.machine import Machine
        from vmkeeper.boot.probe import Accelerator
        Machine.attach(Path(sys.argv[1])).start(Accelerator("tcg"))
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script), machine.folder], check=True)
    found = Machine.attach(machine.folder)
    assert found.status().state == "running"
    assert found.config == machine.config
    until(lambda: b"tiny guest here" in found.console(), "the guest speaks")


def test_every_start_forwards_the_ports_anew(place: Path) -> None:
    machine = make(place, ports=(22, 9618))
    with pytest.raises(NoMonitor):
        machine.addresses()
    machine.start(TCG)
    addresses = machine.addresses()
    assert set(addresses) == {22, 9618}
    assert all(host == "127.0.0.1" and port > 1023 for host, port in addresses.values())
    assert addresses[22] != addresses[9618]


def test_folder_with_a_long_path_works(place: Path) -> None:
    long = place / ("d" * 100) / ("e" * 100)
    long.mkdir(parents=True)
    machine = make(long)
    try:
        machine.start(TCG)
        assert machine.addresses()
    finally:
        machine.remove(grace=0)
    assert not machine.folder.exists()


def test_uefi_machine_has_variables_of_its_own(place: Path) -> None:
    if probe.lacks("uefi"):
        pytest.skip("needs UEFI firmware (apt-get install ovmf)")
    machine = make(place, firmware="uefi", memory=Size(128 << 20))
    assert (machine.folder / "variables.fd").stat().st_size == probe.uefi().variables.stat().st_size
    machine.start(TCG)
    until(lambda: b"BdsDxe" in machine.console(), "the firmware speaks")


def test_base_image_is_never_written(place: Path) -> None:
    machine = make(place)
    before = Path(machine.config.image).read_bytes()
    machine.start(TCG)
    with Monitor(machine.folder) as monitor:
        devices = monitor("query-block")
        nodes = {node["node-name"]: node for node in monitor("query-named-block-nodes")}
    assert len(devices) == 2
    disk = nodes["disk"]
    assert (disk["drv"], disk["ro"], disk["backing_file_depth"]) == ("qcow2", False, 1)
    assert all(node["ro"] for node in nodes.values() if node["file"] == machine.config.image)
    machine.stop(grace=0)
    assert Path(machine.config.image).read_bytes() == before


def test_disk_can_be_larger_than_the_image_but_not_smaller(place: Path) -> None:
    machine = make(place, disk=Size(8 << 20))
    told = run(["qemu-img", "info", "--output=json", "-f", "qcow2", machine.folder / "overlay.qcow2"]).text
    assert f'"virtual-size": {8 << 20}' in told
    assert '"backing-filename-format": "raw"' in told
    with pytest.raises(UserError, match="smaller than the image"):
        make(place, name="small", disk=Size(1 << 19))
    assert {path.name for path in place.iterdir()} == {"vm"}


@pytest.mark.parametrize("trick", ["-b {other} -F raw", "-o data_file={other}"])
def test_image_that_refers_to_another_file_is_refused(place: Path, trick: str) -> None:
    other = place.parent / "other.raw"
    other.write_bytes(b"a secret of the host".ljust(1 << 20, b"\0"))
    image = place.parent / "trick.qcow2"
    run(["qemu-img", "create", "-q", "-f", "qcow2", *trick.format(other=other).split(), image, "1M"])
    with pytest.raises(UserError, match="refers to another file"):
        Machine.create(place / "vm", MachineConfig(name="vm", image=str(image), format="qcow2"))
    assert list(place.iterdir()) == []


def test_image_of_another_format_than_told_is_refused(place: Path) -> None:
    base = tinyvm.disk(place.parent / "base.raw")
    with pytest.raises(VmkeeperError, match="qemu-img failed"):
        Machine.create(place / "vm", MachineConfig(name="vm", image=str(base), format="qcow2"))
    with pytest.raises(UserError, match="format ova"):
        Machine.create(place / "vm", MachineConfig(name="vm", image=str(base), format="ova"))


def test_second_machine_in_one_folder_is_refused(place: Path) -> None:
    config = make(place).config
    with pytest.raises(UserError, match="cannot make the machine"):
        Machine.create(place / "vm", config)
    assert [path.name for path in place.iterdir()] == ["vm"]


def test_machine_that_cannot_start_says_what_qemu_said(place: Path) -> None:
    machine = make(place)
    (machine.folder / "overlay.qcow2").unlink()
    with pytest.raises(VmkeeperError, match="does not start") as raised:
        machine.start(TCG)
    assert "overlay.qcow2" in raised.value.why
    assert machine.status().state == "crashed"


def test_removed_machine_leaves_nothing_and_is_removed_twice(place: Path) -> None:
    machine = make(place)
    machine.start(TCG)
    machine.remove(grace=0)
    machine.remove(grace=0)
    assert list(place.iterdir()) == []
    with pytest.raises(UserError, match="no machine here"):
        Machine.attach(machine.folder)


def test_broken_record_is_reported(place: Path) -> None:
    machine = make(place)
    (machine.folder / "machine.json").write_text("{}")
    with pytest.raises(UserError, match="record cannot be read"):
        Machine.attach(machine.folder)
    machine.remove(grace=0)


def test_secrets_of_the_seed_are_in_a_private_file_only(place: Path) -> None:
    base = tinyvm.disk(place.parent / "base.raw")
    data = seed("#cloud-config\npassword: very-secret-word\n", name="vm")
    machine = Machine.create(place / "vm", MachineConfig(name="vm", image=str(base), format="raw", memory=Size(32 << 20)), seed=data)
    machine.start(TCG)
    holding = [path for path in machine.folder.iterdir() if path.is_file() and b"very-secret-word" in path.read_bytes()]
    assert [path.name for path in holding] == ["seed.iso"]
    assert holding[0].stat().st_mode & 0o077 == 0
    assert machine.folder.stat().st_mode & 0o077 == 0


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from vmkeeper.boot import folders, machine as m
    from vmkeeper.boot.qemu import MachineConfig
    from vmkeeper.boot.probe import Accelerator
    from vmkeeper.values import Size

    left = int(sys.argv[2])
    def deadly(function):
        def wrapped(*args, **kwargs):
            global left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)
        return wrapped

    effects = [(m, name) for name in ("make_overlay", "write_seed", "write_file", "detach", "sync_folder")]
    for module, name in [*effects, (folders.shutil, "rmtree"), (m.fcntl, "flock"), (Path, "rename"), (Path, "mkdir")]:
        setattr(module, name, deadly(getattr(module, name)))
    place, base = Path(sys.argv[1]), Path(sys.argv[3])
    machine = m.Machine.create(place / "vm", MachineConfig(name="vm", image=str(base), format="raw", memory=Size(32 << 20)), seed=b"")
    machine.start(Accelerator("tcg"))
    machine.remove(grace=0)
    print("survived")
"""


def test_killed_between_any_two_steps_the_next_command_goes_on(place: Path) -> None:
    """Create, start and remove are killed before each effect; what is left is a whole machine or leftovers that go."""
    base = tinyvm.disk(place.parent / "base.raw")
    seen = set()
    for step in range(1, 200):
        ended = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), place, str(step), base], capture_output=True, check=False)
        clean(place)
        left = [path.name for path in place.iterdir()]
        assert left in ([], ["vm"]), (step, left)
        for machine in machines(place):
            machine.start(TCG)
            assert machine.status().state == "running", step
            seen.add("machine")
            machine.remove(grace=0)
        assert list(place.iterdir()) == [], step
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
        seen.add("killed")
    assert ended.stdout == b"survived\n"
    assert seen == {"machine", "killed"}


def test_what_another_command_is_making_is_not_cleaned_away(place: Path) -> None:
    for prefix in (MAKING, REMOVING):
        (place / f"{prefix}left").mkdir()
    held = place / f"{MAKING}held"
    held.mkdir()
    handle = os.open(held, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert {path.name for path in clean(place)} == {f"{MAKING}left", f"{REMOVING}left"}
        assert held.exists()
    finally:
        os.close(handle)
    assert clean(place) == (held,)
    assert clean(place.parent / "nowhere") == ()
