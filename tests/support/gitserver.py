"""Git servers on 127.0.0.1: git's own http-backend behind http or https, and an ssh command that runs what it is told here."""

from __future__ import annotations

import os
import ssl
import subprocess
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from support.httpserver import HttpServer

BACKEND = Path(subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True).stdout.strip()) / "git-http-backend"


class GitServer(HttpServer):
    """Serves the repositories below `folder`. `url` is the address of the folder; `requests` are the paths asked for, with Host.

    answer: answers in the backend's place where it returns True.
    """

    def __init__(
        self, folder: Path, tls: ssl.SSLContext | None = None, answer: Callable[[BaseHTTPRequestHandler], bool] = lambda _handler: False
    ) -> None:
        if not BACKEND.exists():
            pytest.skip("git http-backend is not on this machine")
        super().__init__(self.handle, tls=tls, version="HTTP/1.0")
        self.folder, self.answer = folder, answer
        self.requests: list[tuple[str, str]] = []

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        """The address of a repository below the folder."""
        return f"{self.scheme}://{host}:{self.port}/{path}"

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        self.requests.append((handler.path, handler.headers.get("Host", "")))
        if not self.answer(handler):
            self._backend(handler)

    def _backend(self, handler: BaseHTTPRequestHandler) -> None:
        """The common gateway interface (RFC 3875), as far as git needs it."""
        path, _, query = handler.path.partition("?")
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        if handler.headers.get("Transfer-Encoding") == "chunked":
            body = _chunks(handler)
        environment = {
            **os.environ,
            "GIT_PROJECT_ROOT": str(self.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": handler.command,
            "CONTENT_TYPE": handler.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": handler.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": handler.headers.get("Git-Protocol", ""),
            "REMOTE_ADDR": "127.0.0.1",
        }
        done = subprocess.run([BACKEND], input=body, env=environment, capture_output=True, check=False)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        handler.send_response(int(fields.pop("Status", "200").split()[0]))
        for name, value in fields.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)


def _chunks(handler: BaseHTTPRequestHandler) -> bytes:
    found = b""
    while size := int(handler.rfile.readline().split(b";")[0], 16):
        found += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return found


def fake_ssh(folder: Path) -> tuple[Path, Path]:
    """A command that stands in for ssh: it notes its words in a file and runs the last one here. Gives command and notes."""
    notes, command = folder / "ssh-notes", folder / "fake" / "ssh"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {notes}\nfor last; do :; done\nexec sh -c "$last"\n')
    command.chmod(0o755)
    return command, notes


def git(folder: Path, *words: str | Path, stdin: bytes | None = None) -> str:
    """Run git in a repository, without anybody's configuration."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        **{f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in (("NAME", "A Tester"), ("EMAIL", "tester@example.org"))},
    }
    done = subprocess.run(["git", *map(str, words)], cwd=folder, env=environment, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


__all__ = ["GitServer", "fake_ssh", "git"]
