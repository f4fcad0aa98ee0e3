"""An SFTP server on 127.0.0.1 that serves a folder, by paramiko; it counts, and can fail or be full."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import paramiko
from paramiko import SFTPAttributes, SFTPHandle, SFTPServer, SFTPServerInterface
from paramiko.sftp import SFTP_FAILURE, SFTP_OK

USER = "publisher"


class _Auth(paramiko.ServerInterface):
    def __init__(self, password: str) -> None:
        self._password = password

    def get_allowed_auths(self, username: str) -> str:
        return "password"

    def check_auth_password(self, username: str, password: str) -> int:
        return paramiko.AUTH_SUCCESSFUL if (username, password) == (USER, self._password) else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED


class _Handle(SFTPHandle):
    def __init__(self, flags: int, server: SftpServer, file: object) -> None:
        super().__init__(flags)
        self.readfile = self.writefile = file
        self._server = server

    def write(self, offset: int, data: bytes) -> int:
        if self._server.before("write", len(data)) is not None:
            return SFTP_FAILURE
        return super().write(offset, data)

    def stat(self) -> SFTPAttributes:
        return SFTPAttributes.from_stat(os.fstat(self.readfile.fileno()))


def _answered(call: Callable[[], object]) -> int:
    try:
        call()
    except OSError as error:
        return SFTPServer.convert_errno(error.errno or 0)
    return SFTP_OK


class _Files(SFTPServerInterface):
    def __init__(self, server: paramiko.ServerInterface, here: SftpServer) -> None:
        super().__init__(server)
        self._here = here

    def _real(self, path: str) -> Path:
        return self._here.folder / path.lstrip("/")

    def list_folder(self, path: str) -> list[SFTPAttributes] | int:
        try:
            found = [SFTPAttributes.from_stat(entry.stat(), entry.name) for entry in self._real(path).iterdir()]
        except OSError as error:
            return SFTPServer.convert_errno(error.errno or 0)
        return found

    def stat(self, path: str) -> SFTPAttributes | int:
        try:
            return SFTPAttributes.from_stat(self._real(path).stat())
        except OSError as error:
            return SFTPServer.convert_errno(error.errno or 0)

    lstat = stat

    def open(self, path: str, flags: int, attr: SFTPAttributes) -> SFTPHandle | int:
        writing = flags & (os.O_WRONLY | os.O_RDWR)
        if writing and self._here.before("open", 0) is not None:
            return SFTP_FAILURE
        try:
            handle = os.open(self._real(path), flags, 0o600)
        except OSError as error:
            return SFTPServer.convert_errno(error.errno or 0)
        return _Handle(flags, self._here, os.fdopen(handle, "wb" if flags & os.O_WRONLY else "r+b" if writing else "rb"))

    def remove(self, path: str) -> int:
        return SFTP_FAILURE if self._here.before("remove", 0) is not None else _answered(self._real(path).unlink)

    def posix_rename(self, oldpath: str, newpath: str) -> int:
        return SFTP_FAILURE if self._here.before("rename", 0) is not None else _answered(lambda: self._real(oldpath).replace(self._real(newpath)))

    def mkdir(self, path: str, attr: SFTPAttributes) -> int:
        return SFTP_FAILURE if self._here.before("mkdir", 0) is not None else _answered(self._real(path).mkdir)

    def rmdir(self, path: str) -> int:
        return _answered(self._real(path).rmdir)

    def chattr(self, path: str, attr: SFTPAttributes) -> int:
        return _answered(lambda: self._real(path).chmod(attr.st_mode or 0o600))


class SftpServer:
    """`url`, `password` and `known_hosts` are what a client needs. `changes` counts requests that change something."""

    def __init__(self, folder: Path, work: Path) -> None:
        self.folder = folder
        self.password = "a long password"
        self.changes: list[str] = []
        self.room: int | None = None
        """Bytes that may still be written."""
        self.fail: Callable[[str], bool] = lambda _: False
        self._key = paramiko.ECDSAKey.generate()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"sftp://{USER}@127.0.0.1:{self.port}"
        self.known_hosts = work / "known_hosts"
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {self._key.get_name()} {self._key.get_base64()}\n")
        self._transports: list[paramiko.Transport] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def options(self) -> dict[str, str]:
        return {"password": self.password, "known_hosts": str(self.known_hosts)}

    def before(self, what: str, size: int) -> object:
        """None where the request may go on."""
        self.changes.append(what)
        if self.room is not None and what == "write":
            self.room -= size
            if self.room < 0:
                return SFTP_FAILURE
        return SFTP_FAILURE if self.fail(what) else None

    def drop(self) -> None:
        """Cut every connection."""
        for transport in self._transports:
            transport.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                transport = paramiko.Transport(connection)
                transport.add_server_key(self._key)
                transport.set_subsystem_handler("sftp", SFTPServer, _Files, self)
                self._transports.append(transport)
                with suppress(paramiko.SSHException, EOFError):
                    transport.start_server(server=_Auth(self.password))

    def __enter__(self) -> SftpServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.drop()
        self._thread.join()
