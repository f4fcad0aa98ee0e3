"""What the commands say of images from other organisations' lists."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from support.foreign import Organisation, approved, image_uuid
from support.producer import SITE, Producer
from support.typed import TypedAtSite
from support.webserver import WebServer


class Typing(TypedAtSite):
    """Types commands in a repository whose site takes a foreign list."""

    def __init__(
        self, producer: Producer, org: Organisation, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        super().__init__(producer, home, monkeypatch, capsys)
        self.org = org

    def site(self, **changes: object) -> None:
        """Accept another file of the site."""
        document = {**SITE, "subscribe": [{"list": "main"}], "foreign": [self.org.entry()], "approve": approved("debian-12"), **changes}
        self.producer.repo.commit({"sites/here.yaml": json.dumps(document)}, "site")
        assert self("site", "init", "here", "--allow-host", "127.0.0.1", "--yes", "--ca", self.ca) == 0
        (self.home / "ca/science.pem").write_bytes(self.org.authority.certificate.public_bytes(Encoding.PEM))


@pytest.fixture
def vmkeeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Typing]:
    with WebServer(tmp_path / "www") as server:
        producer, org = Producer(tmp_path / "www", server.url, tmp_path), Organisation(server)
        producer.all("debian-12", "2026.11.1")
        org.offer("Ubuntu 22.04")
        org.publish()
        typed = Typing(producer, org, tmp_path / "home", monkeypatch, capsys)
        typed.site()
        yield typed


def test_from_waiting_to_running(vmkeeper: Typing) -> None:
    assert vmkeeper("site", "plan", "here") == 0
    assert "register  debian-12 2026.11.1" in vmkeeper.out
    assert "note     science-ubuntu-22.04 1.0: it waits for a decision" in vmkeeper.out
    assert vmkeeper("why", "science-ubuntu-22.04", "--site", "here") == 0
    assert "science-ubuntu-22.04 1.0 may not run at here. It is not there." in vmkeeper.out
    assert "of the list science, version 2026.11.20.1 of 2026-11-20T09:00:00Z, until" in vmkeeper.out
    assert "signed by /O=Tests/CN=Publisher" in vmkeeper.out
    assert "→ put {appliance: science-ubuntu-22.04} under approve: in the site's file" in vmkeeper.out
    vmkeeper.site(approve=approved("debian-12", "science-ubuntu-22.04"))
    assert vmkeeper("reconcile", "here") == 0
    assert "done     register science-ubuntu-22.04 1.0" in vmkeeper.out
    assert vmkeeper("reconcile", "here") == 0
    assert vmkeeper.out == "Nothing to do: the site has 2 usable images, as it should.\n"


@pytest.mark.parametrize("asked", ["science-ubuntu-22.04", "science-*", image_uuid("science-Ubuntu 22.04")])
def test_why_takes_names_patterns_and_uuids(vmkeeper: Typing, asked: str) -> None:
    vmkeeper.site(approve=approved("debian-12", "science-*"))
    vmkeeper("reconcile", "here")
    assert vmkeeper("why", asked, "--site", "here") == 0
    assert "science-ubuntu-22.04 1.0 may run at here. It is active there." in vmkeeper.out
    assert "debian-12 2026" not in vmkeeper.out


def test_why_says_what_is_wrong_with_the_list_and_only_with_that_one(vmkeeper: Typing) -> None:
    vmkeeper.site(approve=approved("debian-12", "science-*"))
    vmkeeper("reconcile", "here")
    vmkeeper.org.page.statuses = [503] * 9
    assert vmkeeper("why", "science-ubuntu-22.04", "--site", "here") == 0
    assert "The list science cannot be used: " in vmkeeper.out
    assert "may run at here. It is active there." in vmkeeper.out
    assert vmkeeper("why", "debian-12", "--site", "here") == 0
    assert "science" not in vmkeeper.out


def test_why_tells_of_an_image_that_cannot_be_taken(vmkeeper: Typing) -> None:
    vmkeeper.org.offer("Ubuntu 22.04", "next")
    vmkeeper.org.publish()
    assert vmkeeper("why", "science-ubuntu-22.04", "--site", "here") == 0
    assert "science-ubuntu-22.04 next: the list's entry cannot be taken: its version next cannot be compared" in vmkeeper.out


def test_log_names_the_list_and_who_signed_it(vmkeeper: Typing) -> None:
    vmkeeper.site(approve=approved("debian-12", "science-*"))
    vmkeeper("reconcile", "here")
    assert vmkeeper("log", "science-ubuntu-22.04", "--site", "here") == 0
    kinds = [line.split()[0] for line in vmkeeper.out.splitlines() if not line.startswith(" ")]
    assert kinds == ["image", "list", "approval"]
    assert "list         science, by /O=Tests/CN=Publisher 2026-11-20T09:00:00Z" in vmkeeper.out
    assert "certificate by /O=Tests/CN=Foreign Authority, from http://127.0.0.1" in vmkeeper.out
    vmkeeper.org.page.statuses = [503] * 9
    assert vmkeeper("log", "science-ubuntu-22.04", "--site", "here") == 0
    assert "it cannot be used now:" in vmkeeper.out
    assert vmkeeper("log", "debian-12", "--site", "here") == 0
    assert "endorsement" in vmkeeper.out
    assert "policy" in vmkeeper.out


def test_status_shows_foreign_lists_with_their_signers(vmkeeper: Typing) -> None:
    vmkeeper.site(
        approve=approved("debian-12", "science-*"), foreign=[vmkeeper.org.entry(), vmkeeper.org.entry(name="other", url="http://127.0.0.1:1/x")]
    )
    assert vmkeeper("reconcile", "here") == 1, "one list cannot be had"
    assert vmkeeper("status", "here") == 0
    assert "list science, signed by /O=Tests/CN=Publisher: version 2026.11.20.1, until 2026-12-10T10:00:00Z" in vmkeeper.out
    assert "list other, signed by /O=Tests/CN=Publisher: not seen yet" in vmkeeper.out
    assert "image science-ubuntu-22.04 1.0 (raw, 4.0 KiB): active, until 2026-12-10T10:00:00Z" in vmkeeper.out
    assert vmkeeper("status", "here", "--output", "json") == 0
    lists = {one["name"]: one for one in json.loads(vmkeeper.out)["lists"]}
    assert lists["science"]["signer"] == "/O=Tests/CN=Publisher"
    assert "signer" not in lists["main"]


def test_a_cluster_starts_from_a_foreign_image(vmkeeper: Typing) -> None:
    cluster = {
        "name": "demo",
        "title": "Demo",
        "services": {
            "front": {"fixed": True, "appliance": {"name": "science-ubuntu-22.04"}, "context": "plain", "size": {"cpus": 1, "memory": "64MiB"}}
        },
        "placement": [{"site": "here"}],
    }
    vmkeeper.producer.repo.commit({"clusters/demo.yaml": json.dumps(cluster), "clusters/contexts/plain.yaml": '{"title": "Plain"}'}, "cluster")
    assert vmkeeper("reconcile", "here") == 0
    assert vmkeeper("cluster", "plan", "demo", "--site", "here") == 1
    assert "science-ubuntu-22.04" in vmkeeper.err
    vmkeeper.site(approve=approved("debian-12", "science-*"))
    assert vmkeeper("reconcile", "here") == 0
    assert vmkeeper("cluster", "plan", "demo", "--site", "here") == 0, vmkeeper.err
    assert "start" in vmkeeper.out
