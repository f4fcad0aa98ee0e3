"""SFTP as fsspec has it, but with servers that are known: whose key is in no known_hosts file is not talked to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import paramiko
from fsspec.implementations.sftp import SFTPFileSystem

from vmkeeper.images.files import CHUNK


class KnownSftp(SFTPFileSystem):  # type: ignore[misc]  # fsspec says nothing of its types
    """fsspec's file system on one connection.

    known_hosts: a file in OpenSSH's form in place of the user's own. Keys come from the agent and ~/.ssh as for ssh itself.
    """

    cachable = False

    def __init__(self, host: str, *, known_hosts: str | None = None, **how: Any) -> None:
        self._known_hosts = known_hosts
        super().__init__(host, **how)

    def _connect(self) -> None:
        self.client = paramiko.SSHClient()
        if self._known_hosts:
            self.client.load_host_keys(str(Path(self._known_hosts).expanduser()))
        else:
            self.client.load_system_host_keys()
        self.client.set_missing_host_key_policy(paramiko.RejectPolicy())
        self.client.connect(self.host, timeout=30, banner_timeout=30, auth_timeout=30, **self.ssh_kwargs)
        self.ftp = self.client.open_sftp()
        channel = self.ftp.get_channel()
        if channel is not None:
            channel.settimeout(120)

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **_: Any) -> Any:
        file = self.ftp.open(path, mode, bufsize=block_size or CHUNK)
        if "r" not in mode:
            file.set_pipelined(True)
        return file

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
        """Write a small file; mode "create": only where there is none."""
        with self.ftp.open(path, "wxb" if mode == "create" else "wb") as file:
            file.write(value)

    def rm_file(self, path: str) -> None:
        """Remove a file."""
        self.ftp.remove(path)

    def makedirs(self, path: str, exist_ok: bool = True, mode: int = 0o755) -> None:
        """Make a folder that everybody may read, with those above it."""
        if not exist_ok and self._there(path):
            raise FileExistsError(path)
        missing = []
        at = path
        while at.strip("/") and not self._there(at):
            missing.append(at)
            at = at.rpartition("/")[0]
        for folder in reversed(missing):
            self.ftp.mkdir(folder, mode)
            self.ftp.chmod(folder, mode)

    def mv(self, old: str, new: str, **_: Any) -> None:
        """Rename over what is there, once everybody may read it."""
        self.ftp.chmod(old, 0o644)
        self.ftp.posix_rename(old, new)

    def close(self) -> None:
        """End the connection."""
        self.client.close()

    def _there(self, path: str) -> bool:
        try:
            self.ftp.stat(path)
        except FileNotFoundError:
            return False
        return True
