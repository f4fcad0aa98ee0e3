"""SSH into a machine the way its user would: the system's own client, a key of its own, nothing of the caller's configuration."""

from __future__ import annotations

import shlex
import socket
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from vmkeeper.images.files import write_file
from vmkeeper.run import Limits, ProgramFailed, detach, program, run

OUTPUT_LIMIT = 4 << 20
"""Bytes kept of what a command says; the connection is cut at more."""
TIMED_OUT = 124
CONNECTION_LOST = 255
_LONGEST_SOCKET = 85
"""Characters of a path: a socket's may have 107, and ssh makes a longer one first."""
_OPENING = 20
"""Seconds that the shared connection gets to open."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a command in the guest left: its exit status (124: out of time, 255: the connection broke) and all that it wrote."""

    status: int
    output: bytes


def banner(address: tuple[str, int], *, timeout: float = 3) -> bool:
    """Whether an SSH server answers. A connection alone says nothing: QEMU's user network accepts it for a guest that still boots."""
    try:
        with socket.create_connection(address, timeout=timeout) as connection:
            connection.settimeout(timeout)
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


class Login:
    """A user's way into one machine. The host key is learnt at the first connection, which goes over the loopback to our own QEMU."""

    def __init__(self, folder: Path, user: str) -> None:
        """Make a fresh Ed25519 key in `folder`, which is made if it is not there; it should go away with the machine."""
        key = Ed25519PrivateKey.generate()
        self.user = user
        self._folder = folder
        self._shared = folder / "shared"
        write_file(folder / "key", key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()), mode=0o600)
        self.public_key = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode() + " vmkeeper"

    def command(self, address: tuple[str, int], *line: str, flags: tuple[str, ...] = ()) -> list[str]:
        """The client's command line that runs a shell line in the guest. flags: further ones for the client."""
        options = {
            "BatchMode": "yes",
            "IdentitiesOnly": "yes",
            "IdentityFile": str(self._folder / "key"),
            "UserKnownHostsFile": str(self._folder / "known_hosts"),
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "accept-new",
            "PreferredAuthentications": "publickey",
            "ConnectTimeout": "30",
            "ServerAliveInterval": "15",
            "ServerAliveCountMax": "8",
            "LogLevel": "ERROR",
        }
        if self._shared.exists():
            options |= {"ControlPath": str(self._shared), "ControlMaster": "no"}
        words = [program("ssh", package="openssh-client"), "-F", "none", "-T", "-p", str(address[1])]
        words += [word for name, value in options.items() for word in ("-o", f"{name}={shlex.quote(value) if ' ' in value else value}")]
        return [*words, *flags, f"{self.user}@{address[0]}", *line]

    def keep_open(self, address: tuple[str, int]) -> None:
        """Log in once more and let further commands share that connection, which spares a slow guest most of a login's work.

        The connection ends with the machine. Where it breaks before, each command logs in by itself again.
        """
        if len(str(self._shared)) > _LONGEST_SOCKET or self._shared.exists():
            return
        with (self._folder / "shared.log").open("wb") as log:
            detach(self.command(address, flags=("-M", "-N", "-o", f"ControlPath={self._shared}")), log=log, cwd=self._folder)
        for _ in range(_OPENING * 5):
            if self._shared.exists():
                return
            time.sleep(0.2)

    def run(self, address: tuple[str, int], line: str, *, stdin: bytes = b"", timeout: float = 60) -> Said:
        """Run a shell line in the guest. Never raises for what the guest does."""
        with tempfile.TemporaryFile() as out:
            try:
                status = run(
                    self.command(address, f"{{ {line}\n}} 2>&1"),
                    stdin=stdin,
                    stdout=out,
                    timeout=timeout,
                    check=False,
                    env={"SSH_AUTH_SOCK": ""},
                    limits=Limits(file_size=OUTPUT_LIMIT),
                )
                code, words = status.status, status.stderr
            except ProgramFailed:
                code, words = TIMED_OUT, b""
            out.seek(0)
            return Said(code if code >= 0 else CONNECTION_LOST, out.read() + words)

    def run_file(self, address: tuple[str, int], data: bytes, *, env: Mapping[str, str] | None = None, timeout: float = 60) -> Said:
        """Copy an executable file into the guest and run it there as the user, in one connection. Its input is empty."""
        names = " ".join(f"{name}={shlex.quote(value)}" for name, value in (env or {}).items())
        copied = 'd=$(mktemp -d "$HOME/.trial.XXXXXX") && cat >"$d/run" && chmod 700 "$d/run" && cd "$d"'
        line = f"{copied} && {names} timeout -k 5 {int(timeout)} ./run </dev/null"
        return self.run(address, line, stdin=data, timeout=timeout + 20)
