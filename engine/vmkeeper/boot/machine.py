"""A QEMU virtual machine that is a folder, and a process that outlives the command which started it.

    machine.json    what it is; a folder has it from its first moment, since folders are made aside and renamed
    overlay.qcow2   its disk, on the read-only base image        variables.fd  UEFI variables    seed.iso  NoCloud seed
    console.log     the serial console since the last start      qemu.log      what QEMU said    *.old     the ones before
    alive.lock      held by the QEMU process for as long as it lives: the kernel's own word on whether it runs
    qemu.pid        written by QEMU; believed only if that process has alive.lock open, since numbers are reused
    command.lock    held while somebody starts, stops or removes the machine

Nothing here depends on a process of ours staying alive: kill it anywhere, and `attach` and `folders.clean` understand what is left.
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vmkeeper.boot import probe
from vmkeeper.boot.folders import aside, discard
from vmkeeper.boot.overlay import make_overlay
from vmkeeper.boot.qemu import MachineConfig, command
from vmkeeper.boot.qmp import Monitor
from vmkeeper.boot.seed import write_seed
from vmkeeper.errors import UserError, VmkeeperError
from vmkeeper.images.files import sync_folder, write_file
from vmkeeper.run import detach

_STOPPED_BY_US = "vmkeeper: killed on demand"
_RUNSTATE = re.compile(r"runstate_set current_run_state .*")
_SHUTDOWN = re.compile(r"qemu_system_shutdown_request reason=(\d+)")
_ERROR, _PANIC = "1", "8"
"""Of QEMU's enum ShutdownCause (qapi/run-state.json): host-error, guest-panic."""
_START_PATIENCE = 20


@dataclass(frozen=True, slots=True)
class Status:
    """running: the process is there. stopped: never started, shut down, or stopped by us. crashed: it ended in any other way; `why` tells."""

    state: Literal["running", "stopped", "crashed"]
    why: str = ""


class NoMachine(UserError):
    """There is no machine in the folder, or not any more."""


class Machine:
    """A machine, running or not. Make one with `create`, find one with `attach`."""

    def __init__(self, folder: Path, config: MachineConfig) -> None:
        self.folder = folder
        self.config = config

    @classmethod
    def create(cls, folder: Path, config: MachineConfig, *, seed: bytes | None = None) -> Machine:
        """Make a machine's folder, whole or not at all; it is not started.

        seed: a NoCloud image from `boot.seed`. Raises UserError where the folder exists or the image does not serve.
        """
        if not Path(config.image).is_file():
            raise UserError(f"there is no image {config.image}", where=config.name)
        with aside(folder.parent) as new:
            make_overlay(new / "overlay.qcow2", Path(config.image), config.format, config.disk)
            if config.firmware == "uefi":
                write_file(new / "variables.fd", probe.uefi().variables.read_bytes(), mode=0o600)
            if seed is not None:
                write_seed(new / "seed.iso", seed)
            write_file(new / "machine.json", config.model_dump_json(indent=1).encode(), mode=0o600)
            try:
                new.rename(folder)
            except OSError as error:
                raise UserError(
                    f"cannot make the machine {config.name}", where=str(folder), why=error.strerror or "", hint="is there one already?"
                ) from None
        sync_folder(folder.parent)
        return cls(folder, config)

    @classmethod
    def attach(cls, folder: Path) -> Machine:
        """The machine in a folder, whoever started it. Raises NoMachine where there is none, UserError where its record cannot be read."""
        try:
            return cls(folder, MachineConfig.model_validate_json((folder / "machine.json").read_bytes()))
        except (FileNotFoundError, NotADirectoryError):
            raise NoMachine("there is no machine here", where=str(folder)) from None
        except ValueError as error:
            raise UserError("the machine's record cannot be read", where=str(folder / "machine.json"), why=str(error)) from None

    def start(self, accelerator: probe.Accelerator) -> None:
        """Have it run; does nothing where it runs already. Returns when QEMU is up, which says nothing of the guest.

        Raises VmkeeperError with QEMU's words where it does not come up.
        """
        with self._commanding():
            end = time.monotonic() + _START_PATIENCE
            while not self._launch(accelerator):
                if self._answers():
                    return
                if time.monotonic() > end:
                    raise VmkeeperError("QEMU does not answer", where=str(self.folder), why=self._said())
                time.sleep(0.02)
            while self._alive() and not self._answers() and time.monotonic() < end:
                time.sleep(0.02)
            if not _RUNSTATE.search(self._said()):
                why = self._said()[-2000:] or "QEMU said nothing"
                raise VmkeeperError(f"the machine {self.config.name} does not start", where=str(self.folder), why=why)

    def status(self) -> Status:
        """What it does now, and how it ended if it did."""
        if self._alive():
            return Status("running")
        said = self._said()
        if not said or said.endswith(_STOPPED_BY_US):
            return Status("stopped")
        reasons = _SHUTDOWN.findall(said)
        if _PANIC in reasons:
            return Status("crashed", "the guest's kernel panicked")
        if reasons and _ERROR not in reasons:
            return Status("stopped")
        words = _SHUTDOWN.sub("", _RUNSTATE.sub("", said)).strip()[-1000:]
        return Status("crashed", words or "QEMU was killed")

    def addresses(self) -> dict[int, tuple[str, int]]:
        """Guest port → (host, port) where it answers. The host's side accepts even while the guest boots. Raises NoMonitor where it does not run."""
        with Monitor(self.folder) as monitor:
            table = monitor.human("info usernet")
        found = re.findall(r"TCP\[HOST_FORWARD\]\s+\d+\s+([0-9.]+)\s+(\d+)\s+\S+\s+(\d+)", table)
        return {int(guest): (host, int(port)) for host, port, guest in found}

    def console(self, limit: int = 64 << 10) -> bytes:
        """The last `limit` bytes of the serial console since the last start."""
        with suppress(FileNotFoundError), (self.folder / "console.log").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - limit))
            return file.read(limit)
        return b""

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended, at most so long; returns whether it has."""
        end = time.monotonic() + seconds
        while self._alive():
            left = end - time.monotonic()
            if left <= 0:
                return False
            with self._process() as process:
                if process is None:  # it has only just been started and wrote no number yet
                    time.sleep(min(left, 0.05))
                    continue
                poll = select.poll()
                poll.register(process, select.POLLIN)
                if not poll.poll(left * 1000):
                    return False
        return True

    def stop(self, *, grace: float = 60) -> None:
        """Have it not run: ask the guest, after `grace` seconds QEMU, and then the kernel. 0 does not ask the guest."""
        with self._commanding():
            self._stop(grace)

    def remove(self, *, grace: float = 60) -> None:
        """Stop it and remove its folder with its disk; a folder that is gone is fine."""
        with suppress(NoMachine), self._commanding():
            self._stop(grace)
            discard(self.folder)

    def _stop(self, grace: float) -> None:
        if not self._alive():
            return
        with suppress(VmkeeperError):
            if grace > 0:
                with Monitor(self.folder) as monitor:
                    monitor("system_powerdown")
                if self.wait(grace):
                    return
            with Monitor(self.folder) as monitor:
                monitor("quit")
            if self.wait(10):
                return
        end = time.monotonic() + 10
        while not self.wait(0.2):
            if time.monotonic() > end:
                raise VmkeeperError(
                    "the machine does not end", where=str(self.folder), hint="look for a QEMU process of this name; its disk may hang"
                )
            with self._process() as process:
                if process is not None:
                    with suppress(ProcessLookupError):
                        signal.pidfd_send_signal(process, signal.SIGKILL)
        with (self.folder / "qemu.log").open("a") as log:
            log.write(f"\n{_STOPPED_BY_US}\n")

    def _alive(self) -> bool:
        """Whether a process holds alive.lock. A shared lock is asked for, so that several may look at once."""
        try:
            with (self.folder / "alive.lock").open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    @contextmanager
    def _process(self) -> Iterator[int | None]:
        """A descriptor of the QEMU process (pidfd), or None. It stays that of this process even when its number is reused."""
        with ExitStack() as closing:
            process = None
            with suppress(OSError, ValueError):
                number = int((self.folder / "qemu.pid").read_text())
                candidate = os.pidfd_open(number)
                closing.callback(os.close, candidate)
                process = candidate if self._has_lock_open(number) else None
            yield process

    def _has_lock_open(self, number: int) -> bool:
        wanted = (self.folder / "alive.lock").stat()
        for entry in Path(f"/proc/{number}/fd").iterdir():
            with suppress(OSError):
                if os.path.samestat(entry.stat(), wanted):
                    return True
        return False

    def _launch(self, accelerator: probe.Accelerator) -> bool:
        """Start QEMU; False where one is there already, perhaps about to end."""
        emulator = probe.qemu()
        code = probe.uefi().code if self.config.firmware == "uefi" else None
        lock = os.open(self.folder / "alive.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._tidy()
            words = command(self.config, emulator, accelerator, code=code, seed=(self.folder / "seed.iso").exists())
            with (self.folder / "qemu.log").open("wb") as log:
                detach(words, log=log, cwd=self.folder, keep=[lock])
        except BlockingIOError:
            return False
        finally:
            os.close(lock)
        return True

    def _answers(self) -> bool:
        """Whether QEMU is there and not about to end."""
        with suppress(VmkeeperError), Monitor(self.folder, timeout=_START_PATIENCE) as monitor:
            return bool(monitor("query-status")["status"] != "shutdown")
        return False

    def _said(self) -> str:
        with suppress(FileNotFoundError):
            return (self.folder / "qemu.log").read_text(errors="replace").strip()
        return ""

    def _tidy(self) -> None:
        """Before a start: keep the last run's logs aside, remove what a killed QEMU left."""
        for name in ("console.log", "qemu.log"):
            with suppress(FileNotFoundError):
                (self.folder / name).replace(self.folder / f"{name}.old")
        for name in ("qmp.sock", "qemu.pid"):
            (self.folder / name).unlink(missing_ok=True)

    @contextmanager
    def _commanding(self) -> Iterator[None]:
        """One command at a time; raises NoMachine where it was removed meanwhile."""
        try:
            lock = os.open(self.folder / "command.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            raise NoMachine("the machine was removed", where=str(self.folder)) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            here = self.folder / "command.lock"
            if not here.exists() or not os.path.samestat(here.stat(), os.fstat(lock)):
                raise NoMachine("the machine was removed", where=str(self.folder))
            yield
        finally:
            os.close(lock)


def machines(parent: Path) -> tuple[Machine, ...]:
    """All machines whose folders are in `parent`, ordered by folder."""
    found = []
    for folder in sorted(parent.iterdir()) if parent.is_dir() else ():
        if not folder.name.startswith("."):
            with suppress(NoMachine):
                found.append(Machine.attach(folder))
    return tuple(found)
