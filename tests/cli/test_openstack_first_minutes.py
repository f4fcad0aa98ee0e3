"""docs/openstack.md, "The first five minutes", typed word for word by somebody new, at a real Glance."""

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
from support.openstack import Tenants
from support.producer import Authority
from support.webserver import WebServer
from vmkeeper.clouds import Account, connect
from vmkeeper.model.platform import OpenStackPlatform

TEXT = (Path(__file__).parents[2] / "docs" / "openstack.md").read_text()
FIRST = TEXT.split("## The first five minutes")[1].split("\n## ")[0]
TYPED = re.findall(r"^ {4}(\S.*)$", FIRST, flags=re.MULTILINE)
NOT_HERE = ("pip install", "ssh-keygen", "sudo ", "vmkeeper reconcile here --watch")
"""What a test cannot do to the machine, or would never end."""


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[Organisation]:
    """Somebody whose list is good now, by the clock that the commands go by."""
    now = datetime.now(UTC).replace(microsecond=0)
    with WebServer(tmp_path / "www") as server:
        found = Organisation(server, Authority("Example CA"), name="science", common_name="Image Publisher")
        for title in ("Debian 12", "Ubuntu 24.04"):
            found.offer(title, expires=now + timedelta(days=50))
        found.publish(created=now - timedelta(hours=1), expires=now + timedelta(days=20))
        yield found


class Newcomer:
    """An account of its own with a shell, a key and a clouds.yaml, and a terminal at which every question is answered with y."""

    def __init__(self, folder: Path, clouds: Path) -> None:
        self.folder = folder / "newcomer"
        (self.folder / ".config" / "openstack").mkdir(parents=True)
        (self.folder / ".config" / "openstack" / "clouds.yaml").write_bytes(clouds.read_bytes())
        (self.folder / ".ssh").mkdir(mode=0o700)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / ".ssh" / "id_ed25519"], check=True)
        program = self.folder / "bin" / "vmkeeper"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m vmkeeper "$@"\n')
        program.chmod(0o755)
        (self.folder / ".gitconfig").write_text("[user]\nname = A Newcomer\nemail = newcomer@example.org\n")

    def types(self, lines: list[str]) -> str:
        """Everything in one shell that ends at the first failure; what was said."""
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        environment = {"HOME": str(self.folder), "PATH": path, "LANG": "C.UTF-8", "TERM": "dumb", "COLUMNS": "200"}
        ours, theirs = pty.openpty()
        try:
            os.write(ours, b"y\n" * 20)
            done = subprocess.run(
                ["bash", "-exc", "\n".join(lines)],
                cwd=self.folder,
                env=environment,
                stdin=theirs,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
        finally:
            os.close(ours)
            os.close(theirs)
        assert done.returncode == 0, done.stdout
        return done.stdout


def site_file(publisher: Organisation) -> str:
    """The one of the text, with a list that is there."""
    (text,) = [block for block in re.findall(r"^```yaml\n(.*?)^```", FIRST, flags=re.DOTALL | re.MULTILINE) if block.startswith("title:")]
    text, addresses = re.subn(r"url: \S+", f"url: {publisher.url}", text)
    who = publisher.endorser()
    text, endorsers = re.subn(r"endorser: \{.*\}", f"endorser: {{dn: {who['dn']}, ca: {who['ca']}}}", text)
    text, clouds = re.subn(r"cloud: demo\b", "cloud: member", text)
    assert (addresses, endorsers, clouds) == (1, 1, 1)
    return text


def here(line: str) -> str:
    """A line of the text as it is typed here: the list's server is at an address that is not public, and a branch has its name."""
    if line.startswith("vmkeeper site init here"):
        line = line.split("#", maxsplit=1)[0].rstrip() + " --allow-host 127.0.0.1"
    return line.replace("site/here/…", "$(git branch --list 'site/*' --format '%(refname:short)')")


def test_the_first_five_minutes_lead_to_images_in_glance(openstack: Tenants, publisher: Organisation, tmp_path: Path) -> None:
    newcomer = Newcomer(tmp_path, openstack.clouds_yaml)
    authority = publisher.authority.certificate.public_bytes(Encoding.PEM)
    lines = [here(line) for line in TYPED if not line.startswith(NOT_HERE)]
    begun = lines.index("cd images") + 1
    (newcomer.folder / "site.yaml").write_text(site_file(publisher))
    (newcomer.folder / "ca.pem").write_bytes(authority)
    said = newcomer.types([*lines[:begun], "cp ../site.yaml sites/here.yaml", "cp ../ca.pem .", *lines[begun:]])
    assert "All documents are sound: 0 in appliances/, 0 in imagelists/, 0 in endorsers/, 1 in sites/, 0 in clusters/." in said
    assert "done     register science-debian-12 1.0" in said
    assert "science-ubuntu-24.04 1.0: it waits for a decision" in said
    assert "Traceback" not in said

    again = newcomer.types(["cd images", "vmkeeper reconcile here", "vmkeeper reconcile here", "vmkeeper status here"])
    assert "done     register science-ubuntu-24.04 1.0" in again
    assert "Nothing to do: the site has 2 usable images, as it should." in again
    assert (newcomer.folder / "images" / "vmkeeper-here.service").exists()

    account = Account(site="here", home=openstack.folder, folder=tmp_path / "kept", login=lambda _: ("", ""))
    images = connect(OpenStackPlatform(type="openstack", cloud="reader"), account)[""].images()
    assert sorted(image.name for image in images) == ["science-debian-12", "science-ubuntu-24.04"]
    assert {image.owner for image in images} == {"vmkeeper:here"}
