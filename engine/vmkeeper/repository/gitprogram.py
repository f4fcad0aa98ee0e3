"""The git program, shut in: no hooks, no helpers, no prompts, no proxies, no configuration that could run something.

What a command takes from a stranger is bounded in time, memory and bytes on the disk, and the bound is kept from outside.
Of the user's own configuration only ssh, certificates and which folders are safe are kept.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pygit2

from vmkeeper.errors import EnvironmentLacks, Refused
from vmkeeper.progress import Progress
from vmkeeper.run import ProgramFailed, Result, environment, program, run

_OLDEST = (2, 38)
"""`http.curloptResolve` came with 2.37; an older git would ignore it and connect wherever it likes."""
_SSH = "ssh -o BatchMode=yes -o ForwardAgent=no -o ClearAllForwardings=yes -o ConnectTimeout=30 -o ServerAliveInterval=15"
_KEPT = ("core.sshCommand", "http.sslCAInfo", "http.sslCAPath")
_TICK = 0.25
_TAIL = 16_384

_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "core.askPass": "",
    "core.bigFileThreshold": "2m",
    "core.packedGitWindowSize": "16m",
    "core.packedGitLimit": "256m",
    "core.deltaBaseCacheLimit": "64m",
    "core.commitGraph": "false",
    "core.multiPackIndex": "false",
    "core.fsync": "all",
    "credential.helper": "",
    "fetch.fsckObjects": "true",
    "transfer.fsckObjects": "true",
    "transfer.bundleURI": "false",
    "fetch.unpackLimit": "1",
    "fetch.writeCommitGraph": "false",
    "fetch.recurseSubmodules": "false",
    "submodule.recurse": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "pack.threads": "1",
    "protocol.version": "2",
    "protocol.allow": "never",
    "http.followRedirects": "false",
    "http.proxy": "",
    "http.sslVerify": "true",
    "http.lowSpeedLimit": "500",
    "http.lowSpeedTime": "60",
    "http.extraHeader": "",
    "http.cookieFile": "",
}


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Caps on one fetch."""

    seconds: float = 1800
    received: int = 1 << 30
    """Bytes on the disk while it comes."""
    files: int = 100_000
    """Files on the disk while it comes; there is one a ref."""
    object: int = 256 << 20
    """Bytes of one object, unpacked."""
    memory: int = 1 << 30
    """Bytes of address space of each program."""


@dataclass(frozen=True, slots=True)
class Git:
    """The git program for one repository folder. `scheme`: the one kind of address that it may go to, "" for none."""

    git_dir: Path
    configuration: Path
    scheme: str = ""
    limits: FetchLimits = field(default_factory=FetchLimits)

    def run(self, *words: str | Path, stdin: bytes | None = None, stdout: IO[bytes] | None = None) -> Result:
        """A command that talks to nobody; stdout: see `run.run`. Raises ProgramFailed, also where it runs against a limit."""
        prefix = _limited(self.limits)
        return run(
            [*prefix, *self._command(words)], stdin=stdin, stdout=stdout, env=self._environment(), cwd=self.git_dir, timeout=self.limits.seconds
        )

    def run_watched(self, *words: str | Path, progress: Progress, subject: str) -> Result:
        """A command that receives: what lies below the folder is measured while it runs.

        Raises ProgramFailed with what it said at the end, Refused (R24) when it is over a limit; then all of it is ended.
        """
        with (self.git_dir / "said").open("w+b") as said:
            process = subprocess.Popen(
                [*_limited(self.limits), *self._command(words)],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env=environment(self._environment()),
                cwd=self.git_dir,
                start_new_session=True,
            )
            try:
                self._watch(process, progress, subject)
            finally:
                _end(process)
            said.seek(max(0, said.seek(0, os.SEEK_END) - _TAIL))
            text = said.read()
        result = Result(process.returncode, b"", text)
        if result.status != 0:
            raise ProgramFailed(f"git failed with status {result.status}", why=text.decode(errors="replace").strip(), result=result)
        return result

    def _watch(self, process: subprocess.Popen[bytes], progress: Progress, subject: str) -> None:
        start = time.monotonic()
        pause = _TICK
        while True:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=pause)
            began = time.monotonic()
            files, size = _usage(self.git_dir, self.limits.files)
            if size > self.limits.received or files > self.limits.files:
                hint = "if the repository is to be trusted with more, raise the limits"
                why = f"more than {self.limits.received} bytes" if size > self.limits.received else f"more than {self.limits.files} files"
                raise Refused("R24", "the repository sends more than is taken", where=subject, why=why, hint=hint)
            if process.returncode is not None:
                return
            if began - start > self.limits.seconds:
                raise Refused("R24", f"the fetch did not end within {self.limits.seconds:g} s", where=subject, hint="run again later")
            progress.amount(subject, size, 0, "B")
            pause = max(_TICK, 10 * (time.monotonic() - began))

    def _command(self, words: Sequence[str | Path]) -> list[str]:
        return [program("git"), f"--git-dir={self.git_dir}", "--no-replace-objects", *(str(word) for word in words)]

    def _environment(self) -> dict[str, str]:
        return {
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(self.configuration),
            "GIT_ALLOW_PROTOCOL": self.scheme or "none",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_PROTOCOL_FROM_USER": "0",
            "GIT_ATTR_NOSYSTEM": "1",
            **dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), ""),
        }


def write_configuration(path: Path, scheme: str, address: str, extra: Mapping[str, str]) -> None:
    """Write the only configuration that git is given beside the repository's own. Raises EnvironmentLacks for an old git."""
    _check_version()
    config = pygit2.Config(str(path))
    settings = {**_SETTINGS, "core.sshCommand": _SSH, **_users(address), **extra}
    if scheme:
        settings[f"protocol.{scheme}.allow"] = "always"
    for name, value in settings.items():
        config[name] = value
    for number, folder in enumerate(_users_values("safe.directory")):
        config.set_multivar("safe.directory", f"^{number}$", folder)


def _users(address: str) -> dict[str, str]:
    """What is kept of the user's own configuration."""
    found = {}
    for name in _KEPT:
        values = _users_values(name, address)
        if values:
            found[name] = values[-1]
    return found


def _users_values(name: str, address: str = "") -> list[str]:
    how = ["--get-urlmatch", name, address] if address.startswith("http") else ["--get-all", name]
    # No repository: only the system's and the user's files are read.
    result = run([program("git"), "config", "--null", "--type=path", *how], env={"GIT_DIR": "/nonexistent"}, cwd=Path("/"), check=False)
    return [value for value in result.text.split("\0") if value]


def _check_version() -> None:
    said = run([program("git"), "version"]).text
    found = re.search(r"(\d+)\.(\d+)", said)
    if found is None or (int(found[1]), int(found[2])) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        raise EnvironmentLacks(f"git is older than {oldest}", why=said.strip(), hint=f"install git {oldest} or newer")


def _limited(limits: FetchLimits) -> list[str]:
    """The limits that the kernel keeps, for each program; the file limit stands behind the one that is measured."""
    return [program("prlimit", package="util-linux"), f"--as={limits.memory}", f"--fsize={2 * limits.received}", "--core=0", "--"]


def _usage(folder: Path, most: int) -> tuple[int, int]:
    """Files and bytes below a folder; it stops counting beyond `most` files."""
    files = size = 0
    pending = [str(folder)]
    while pending and files <= most:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    files += 1
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    else:
                        size += entry.stat(follow_symlinks=False).st_size
        except FileNotFoundError:
            continue  # git renames and removes files while we look
    return files, size


def _end(process: subprocess.Popen[bytes]) -> None:
    """End everything that the command started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
