"""OpenSSH's SFTP server and nginx with WebDAV on 127.0.0.1, where they are installed; as whoever runs the tests."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path

import pytest

SBIN = "/usr/sbin"


def found(name: str, package: str) -> str:
    """The program's path; skips where it is not installed."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SBIN}")
    if path is None:
        pytest.skip(f"needs {name} (apt-get install {package})")
    return path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class _Program(ABC):
    """A server program; ends with the context."""

    port: int

    @abstractmethod
    def command(self) -> list[str]:
        """What is run."""

    def __enter__(self):
        self._log = (self.work / "server.log").open("ab")
        self._process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log)
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                if self._process.poll() is not None:
                    break
                time.sleep(0.05)
            else:
                return self
        self.__exit__()
        raise AssertionError((self.work / "server.log").read_text())

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._log.close()


class OpenSsh(_Program):
    """sshd with SFTP alone; `options` let a client in by key."""

    def __init__(self, work: Path) -> None:
        self.program = found("sshd", "openssh-server")
        if os.geteuid() == 0 and not Path("/run/sshd").is_dir():
            pytest.skip("sshd as root needs the folder /run/sshd")
        self.work, self.port = work / "sshd", free_port()
        self.work.mkdir(mode=0o700)
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.work / name)], check=True)
        (self.work / "authorized").write_bytes((self.work / "user.pub").read_bytes())
        (self.work / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {' '.join((self.work / 'host.pub').read_text().split()[:2])}\n")
        (self.work / "config").write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {self.work}/host\nPidFile none\nAuthorizedKeysFile {self.work}/authorized\n"
            "StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
            "Subsystem sftp internal-sftp\nForceCommand internal-sftp\n"
        )
        self.options = {"key_filename": str(self.work / "user"), "known_hosts": str(self.work / "known_hosts")}
        self.url = f"sftp://{getpass.getuser()}@127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        return [self.program, "-D", "-e", "-f", str(self.work / "config")]


class Nginx(_Program):
    """nginx that takes PUT and DELETE into a folder from one user."""

    def __init__(self, folder: Path, work: Path, *, user: str, password: str) -> None:
        self.program = found("nginx", "nginx-light")
        self.work, self.port = work / "nginx", free_port()
        self.work.mkdir()
        if os.geteuid() == 0:
            for path in (self.work, folder):
                path.chmod(0o755)
        (self.work / "users").write_text(f"{user}:{{PLAIN}}{password}\n")
        temporary = "".join(f"{kind}_temp_path {self.work}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (self.work / "nginx.conf").write_text(
            f"{'user root;' if os.geteuid() == 0 else ''}\nworker_processes 1;\ndaemon off;\npid {self.work}/pid;\nerror_log {self.work}/error.log;\n"
            f"events {{}}\nhttp {{\naccess_log off;\n{temporary}"
            f"server {{\nlisten 127.0.0.1:{self.port};\nclient_max_body_size 0;\n"
            f"location /images/ {{\nalias {folder}/;\nauth_basic images;\nauth_basic_user_file {self.work}/users;\n"
            "dav_methods PUT DELETE;\ncreate_full_put_path on;\ndav_access user:rw group:r all:r;\n}\n}\n}\n"
        )
        self.url = f"http://127.0.0.1:{self.port}/images"

    def command(self) -> list[str]:
        return [self.program, "-p", str(self.work), "-c", str(self.work / "nginx.conf"), "-e", str(self.work / "error.log")]
