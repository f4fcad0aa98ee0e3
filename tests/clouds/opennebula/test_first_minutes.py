"""docs/opennebula.md, "The first five minutes", typed word for word by somebody new, at an OpenNebula."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from support.foreign import Organisation
from support.onesite import bearers, pool, templates
from support.opennebula import Setting, standing_in
from support.producer import Authority
from support.webserver import WebServer

TEXT = (Path(__file__).parents[3] / "docs" / "opennebula.md").read_text()
FIRST = TEXT.split("## The first five minutes")[1].split("\n## ")[0]
TYPED = re.findall(r"^ {4}(\S.*)$", FIRST, flags=re.MULTILINE)
NOT_HERE = ("pip install", "ssh-keygen")


@pytest.fixture
def one() -> Iterator[Setting]:
    with standing_in("7.4.0") as setting:
        yield setting


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[Organisation]:
    """Somebody whose list is good now, by the clock that the commands go by."""
    with WebServer(tmp_path / "www") as server:
        found = Organisation(server, Authority("Example CA"), name="science", common_name="Image Publisher")
        offer(found)
        yield found


def offer(publisher: Organisation) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    for title in ("Debian 12", "Ubuntu 24.04"):
        publisher.offer(title, expires=now + timedelta(days=50))
    publisher.publish(created=now - timedelta(hours=1), expires=now + timedelta(days=20))


class Newcomer:
    """An account with a key and a terminal at which every question is answered with y."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "newcomer"
        (self.folder / ".ssh").mkdir(parents=True, mode=0o700)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / ".ssh" / "id_ed25519"], check=True)
        program = self.folder / "bin" / "vmkeeper"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m vmkeeper "$@"\n')
        program.chmod(0o755)
        (self.folder / ".gitconfig").write_text("[user]\nname = A Newcomer\nemail = newcomer@example.org\n")

    def types(self, *lines: str) -> str:
        """Everything in one shell that ends at the first failure; what was said."""
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        environment = {"HOME": str(self.folder), "PATH": path, "LANG": "C.UTF-8", "TERM": "dumb", "COLUMNS": "200"}
        ours, theirs = pty.openpty()
        try:
            os.write(ours, b"y\n" * 20)
            command = ["bash", "-exc", "\n".join(lines)]
            done = subprocess.run(
                command, cwd=self.folder, env=environment, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
            )
        finally:
            os.close(ours)
            os.close(theirs)
        assert done.returncode == 0, done.stdout
        return done.stdout


def site_file(publisher: Organisation, one: Setting) -> str:
    """The one of the text, with a list and an endpoint that are there."""
    (text,) = [block for block in re.findall(r"^```yaml\n(.*?)^```", FIRST, flags=re.DOTALL | re.MULTILINE) if block.startswith("title:")]
    who = publisher.endorser()
    for pattern, there in (
        (r"url: \S+", f"url: {publisher.url}"),
        (r"endorser: \{.*\}", f"endorser: {{dn: {who['dn']}, ca: {who['ca']}}}"),
        (r"endpoint: \S+", f"endpoint: {one.endpoint}"),
        (r"listen: \S+ address: [a-z.]+", "listen: 127.0.0.1"),
    ):
        text, count = re.subn(pattern, there, text)
        assert count == 1, pattern
    return text


def here(line: str) -> str:
    """A line of the text as it is typed here: the list's server is at an address that is not public, and the password is one."""
    if line.startswith("vmkeeper site init here"):
        line += " --allow-host 127.0.0.1"
    return line.replace("user: images", "user: alice").replace("…", "opennebula")


def test_the_first_five_minutes_lead_to_an_image_and_the_next_ones_to_its_successor(one: Setting, publisher: Organisation, tmp_path: Path) -> None:
    newcomer = Newcomer(tmp_path)
    lines = [here(line) for line in TYPED if not line.startswith(NOT_HERE)]
    begun = lines.index("cd images") + 1
    (newcomer.folder / "site.yaml").write_text(site_file(publisher, one) + "retire: {grace: 0s}\n")
    (newcomer.folder / "ca.pem").write_bytes(publisher.authority.certificate.public_bytes(Encoding.PEM))
    said = newcomer.types(*lines[:begun], "cp ../site.yaml sites/here.yaml", "cp ../ca.pem .", *lines[begun:])
    assert "done     register science-debian-12 1.0" in said
    assert "Traceback" not in said
    (image,) = pool(one, "one.imagepool.info").values()
    assert (image.findtext("NAME"), image.findtext("UNAME"), image.findtext("STATE")) == ("science-debian-12-1.0", "alice", "1")
    assert bearers(one, "science-debian-12") == {image.findtext("ID")}

    assert f"{one.user}:{one.password}" not in said
    (number,) = templates(one)
    (old,) = bearers(one, "science-debian-12")
    now = datetime.now(UTC).replace(microsecond=0)
    publisher.offer("Debian 12", version="2.0", expires=now + timedelta(days=50))
    publisher.publish(created=now, expires=now + timedelta(days=20))
    said = newcomer.types("cd images", "vmkeeper reconcile here", "vmkeeper reconcile here", "vmkeeper reconcile here")
    assert "done     register science-debian-12 2.0" in said
    assert "Nothing to do" in said
    assert list(templates(one)) == [number]
    (image,) = pool(one, "one.imagepool.info").values()
    assert image.findtext("NAME") == "science-debian-12-2.0"
    assert bearers(one, "science-debian-12") == {image.findtext("ID")} != {old}
