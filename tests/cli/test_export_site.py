"""vmkeeper export descriptor --site: an image that a site really holds, described for nifty."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import producer as production
from support.producer import Producer
from support.webserver import WebServer
from vmkeeper.cli import app, session
from vmkeeper.lists import descriptor

Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def vmkeeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Typed]:
    """Types commands where the followed repository is, at a site that has reconciled once."""

    def typed(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["vmkeeper", *words])
        with pytest.raises(SystemExit) as ended:
            app.main()
        return (int(ended.value.code or 0), *capfd.readouterr())

    with WebServer(tmp_path / "www") as server:
        producer = Producer(tmp_path / "www", server.url, tmp_path)
        producer.all("debian-12", "2026.11.1")
        monkeypatch.setenv("VMKEEPER_SITE_HOME", str(tmp_path / "home"))
        monkeypatch.chdir(producer.repo.folder)
        monkeypatch.setattr(session.Session, "now", production.NOW)
        authority = str(producer.authority.write(tmp_path / "ca"))
        assert typed("site", "init", "here", "--allow-host", "127.0.0.1", "--yes", "--ca", authority)[0] == 0
        assert typed("reconcile", "here")[0] == 0
        yield typed


def test_the_image_that_a_site_holds_is_described(vmkeeper: Typed) -> None:
    code, out, err = vmkeeper("export", "descriptor", "debian-12", "--site", "here", "--path", "/images/1.raw", "--group", "users")
    assert code == 0
    assert "title, description and needs are left out" in err
    said = descriptor.read(out.encode())
    assert (said.action, said.version, said.groups) == ("registration", "2026.11.1", ("users",))
    assert [(disk.format, disk.path) for disk in said.disks] == [("raw", "/images/1.raw")]
    assert said.attributes["VMKEEPER_LIST"] == production.LIST


def test_its_expiration_too(vmkeeper: Typed) -> None:
    code, out, _ = vmkeeper("export", "descriptor", "debian-12", "--site", "here", "--expiration")
    said = descriptor.read(out.encode())
    assert (code, said.action, said.disks) == (0, "expiration", ())


@pytest.mark.parametrize(
    ("words", "way_out"),
    [(["nobody"], "vmkeeper reconcile"), (["debian-12", "--version", "1"], "it has 2026.11.1"), (["debian-12", "--format", "ova"], "it has")],
)
def test_what_a_site_does_not_hold_is_told(vmkeeper: Typed, words: list[str], way_out: str) -> None:
    code, out, err = vmkeeper("export", "descriptor", *words, "--site", "here")
    assert (code, out) == (1, "")
    assert "the site has no" in err
    assert way_out in err
