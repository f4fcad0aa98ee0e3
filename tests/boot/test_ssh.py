"""The way into a machine: what counts as an answer, and that nothing of the caller's own SSH set-up is used."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vmkeeper.boot.ssh import CONNECTION_LOST, TIMED_OUT, Login, banner
from vmkeeper.run import program


@contextmanager
def server(says: bytes | None) -> Iterator[tuple[str, int]]:
    """Accepts one connection after another; says something and closes, or (None) says nothing and keeps it open."""
    held = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                if says is None:
                    held.append(connection)
                else:
                    with connection:
                        connection.sendall(says)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in held:
                connection.close()


@pytest.mark.parametrize(("says", "answers"), [(b"SSH-2.0-OpenSSH_9.2\r\n", True), (b"", False), (b"220 mail\r\n", False), (None, False)])
def test_only_an_ssh_server_counts(says: bytes | None, answers: bool) -> None:
    with server(says) as address:
        assert banner(address, timeout=0.3 if says is None else 5) == answers


def test_nobody_listening_is_no_answer() -> None:
    with server(b"") as address:
        pass
    assert not banner(address)


def test_each_login_has_a_key_of_its_own(tmp_path: Path) -> None:
    one, other = Login(tmp_path / "one", "tester"), Login(tmp_path / "other", "tester")
    assert one.public_key != other.public_key
    assert (tmp_path / "one/key").stat().st_mode & 0o777 == 0o600
    derived = subprocess.run([program("ssh-keygen"), "-y", "-f", tmp_path / "one/key"], capture_output=True, check=True, text=True).stdout
    assert one.public_key.split()[:2] == derived.split()[:2]


def test_the_callers_own_configuration_agent_and_known_hosts_are_not_used(tmp_path: Path) -> None:
    login = Login(tmp_path / "a folder", "tester")
    words = login.command(("127.0.0.1", 2222), "true")
    settings = subprocess.run([words[0], "-G", *words[1:-1]], capture_output=True, check=True, text=True).stdout.splitlines()
    config = dict(line.split(" ", 1) for line in settings if " " in line)
    assert config["user"] == "tester"
    assert (config["hostname"], config["port"]) == ("127.0.0.1", "2222")
    assert config["identityfile"] == str(tmp_path / "a folder/key")
    assert config["userknownhostsfile"].strip('"') == str(tmp_path / "a folder/known_hosts")
    assert config["globalknownhostsfile"] == "/dev/null"
    assert config["batchmode"] == "yes"
    assert config["identitiesonly"] == "yes"


def test_what_goes_wrong_on_the_way_is_a_status_and_no_error(tmp_path: Path) -> None:
    login = Login(tmp_path, "tester")
    with server(b"") as address:
        assert login.run(address, "true", timeout=20).status == CONNECTION_LOST
    with server(None) as address:
        assert login.run(address, "true", timeout=1).status == TIMED_OUT
