"""The one way to run another program: no shell, a fixed environment, a time limit, its words kept for the error."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vmkeeper.errors import EnvironmentLacks, VmkeeperError

_KEEP = ("PATH", "HOME", "TMPDIR", "USER", "LOGNAME", "SSH_AUTH_SOCK", "GNUPGHOME", "http_proxy", "https_proxy", "no_proxy", "APT_CONFIG")
_TAIL = 4000
_LOOK = 0.05
"""Seconds between two looks at a program that can be stopped."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps for a program that reads what strangers wrote: bytes of address space, bytes a file, CPU seconds."""

    memory: int = 0
    file_size: int = 0
    cpu: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """What a finished program left: exit status, standard output, standard error."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output as text, undecodable bytes replaced."""
        return self.stdout.decode(errors="replace")


class ProgramFailed(VmkeeperError):
    """A program ended with a status that is not 0, or ran out of time; `result` is None in that case."""

    def __init__(self, what: str, *, where: str = "", why: str = "", hint: str = "", result: Result | None = None) -> None:
        super().__init__(what, where=where, why=why, hint=hint)
        self.result = result


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment programs get: a few inherited names, the C.UTF-8 locale, and `extra`."""
    kept = {name: os.environ[name] for name in _KEEP if name in os.environ}
    kept["PATH"] = kept.get("PATH", "") + ":/usr/sbin:/sbin"
    return {**kept, "LC_ALL": "C.UTF-8", "TZ": "UTC", **(extra or {})}


def program(name: str, *, package: str = "") -> str:
    """The path of a program, or `EnvironmentLacks` naming the Debian package that has it."""
    found = shutil.which(name, path=environment()["PATH"])
    if found is None:
        raise EnvironmentLacks(f"the program {name} is not on this machine", hint=f"apt-get install {package or name}")
    return found


def run(
    command: Sequence[str | Path],
    *,
    stdin: bytes | IO[bytes] | None = None,
    stdout: IO[bytes] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 600,
    check: bool = True,
    limits: Limits | None = None,
    hint: str = "",
    keep: Sequence[int] = (),
    stop: threading.Event | None = None,
) -> Result:
    """Run a program to its end.

    stdin: bytes to feed or a file to read; None is empty. stdout: a file to write to (then `Result.stdout` is
    empty). timeout in seconds; the whole process group is killed when it is over. keep: descriptors that it inherits. stop: ends it when set, for
    a program that is fed nothing. Raises ProgramFailed for a
    status other than 0 (with `check`), for a timeout and where it was stopped, EnvironmentLacks where there is no such program.
    """
    words = [str(word) for word in command]
    prefix = _limited(limits) if limits else []
    if shutil.which(words[0], path=environment(env)["PATH"]) is None:
        raise EnvironmentLacks(f"the program {words[0]} is not on this machine", hint=hint or f"install {Path(words[0]).name}")
    process = subprocess.Popen(
        [*prefix, *words],
        stdin=subprocess.PIPE if isinstance(stdin, bytes) else stdin if stdin is not None else subprocess.DEVNULL,
        stdout=stdout if stdout is not None else subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(env),
        cwd=cwd,
        start_new_session=True,
        pass_fds=tuple(keep),
    )
    try:
        out, err = _communicated(process, stdin if isinstance(stdin, bytes) else None, timeout, stop)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise ProgramFailed(f"{Path(words[0]).name} did not end within {timeout:g} s", why=" ".join(words), hint=hint) from None
        raise
    result = Result(process.returncode, out or b"", err or b"")
    if check and result.status != 0:
        said = (result.stderr or result.stdout).decode(errors="replace").strip()[-_TAIL:]
        raise ProgramFailed(f"{Path(words[0]).name} failed with status {result.status}", why=said or "it said nothing", hint=hint, result=result)
    return result


def _communicated(process: subprocess.Popen[bytes], stdin: bytes | None, timeout: float, stop: threading.Event | None) -> tuple[bytes, bytes]:
    """What it said, once it has ended. Raises TimeoutExpired, ProgramFailed when `stop` is set."""
    if stop is None:
        return process.communicate(stdin, timeout=timeout)
    deadline = time.monotonic() + timeout
    while True:
        try:
            return process.communicate(timeout=_LOOK)
        except subprocess.TimeoutExpired:
            if stop.is_set():
                raise ProgramFailed("it was stopped") from None
            if time.monotonic() > deadline:
                raise


def detach(command: Sequence[str | Path], *, log: IO[bytes], cwd: Path, keep: Sequence[int] = ()) -> None:
    """Start a program that outlives us, in a session of its own; what it says goes to `log`.

    keep: descriptors that it inherits, such as that of a lock which is held for as long as it lives.
    Returns when it was handed over, not when it is ready. It is nobody's child, so nobody has to reap it.
    """
    launcher = [program("setsid", package="util-linux"), "--fork", *(str(word) for word in command)]
    subprocess.run(launcher, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=cwd, env=environment(), pass_fds=tuple(keep), check=True)


def _limited(limits: Limits) -> list[str]:
    """A prefix that sets limits from outside: code between fork and exec is not safe in a process with threads."""
    values = {"--as": limits.memory, "--fsize": limits.file_size, "--cpu": limits.cpu}
    return [program("prlimit", package="util-linux"), *(f"{name}={value}" for name, value in values.items() if value), "--"]
