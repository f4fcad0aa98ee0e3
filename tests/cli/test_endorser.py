"""The endorser's commands as typed, in a repository with a release, signed with the user's own keys."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.endorsing import Site, make_site
from support.keys import GpgHome
from support.trust import APPLIANCE, release
from support.typed import Typed
from vmkeeper.cli import endorser
from vmkeeper.execute.factory import Factory
from vmkeeper.model.release import Release
from vmkeeper.repository.tags import list_tags

TAG = f"endorse/{APPLIANCE}/2026.5.1.1/alice/1"


@pytest.fixture(scope="module")
def gpg() -> Iterator[GpgHome]:
    home = GpgHome()
    yield home
    home.close()


class Typing(Typed):
    """Types commands in the repository."""

    def __init__(self, site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        super().__init__(site.folder, monkeypatch, capsys)
        self.site = site
        monkeypatch.setenv("VMKEEPER_STORE", str(site.keys.parent / "store"))

    def tags(self) -> list[str]:
        return [ref.name for ref in list_tags(self.site.repository, "endorse/", "withdraw/")]


@pytest.fixture
def vmkeeper(tmp_path: Path, gpg: GpgHome, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typing:
    return Typing(make_site(tmp_path, gpg, monkeypatch), monkeypatch, capsys)


def test_endorsing_shows_the_evidence_and_signs(vmkeeper: Typing) -> None:
    assert vmkeeper("endorse", APPLIANCE, "--yes") == 0
    for expected in (
        f"{APPLIANCE} 2026.5.1.1, built from",
        "packages 1; nothing of this appliance was endorsed before",
        f"Signed {TAG}",
        f"git push origin refs/tags/{TAG}",
    ):
        assert expected in vmkeeper.out
    assert vmkeeper.tags() == [TAG]
    assert vmkeeper("endorse", APPLIANCE, "--yes") == 0
    assert f"Endorsed already: {TAG}" in vmkeeper.out
    assert vmkeeper.tags() == [TAG]


def test_nothing_is_signed_unasked(vmkeeper: Typing) -> None:
    assert vmkeeper("endorse", APPLIANCE) == 1
    assert "nobody is here to confirm" in vmkeeper.err
    assert "--yes" in vmkeeper.err
    assert vmkeeper.tags() == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "status", "signed"), [("y", 0, True), ("n", 1, False)])
def test_a_person_at_the_terminal_is_asked(vmkeeper: Typing, monkeypatch: pytest.MonkeyPatch, answer: str, status: int, signed: bool) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(f"{answer}\n"))
    assert vmkeeper("endorse", APPLIANCE) == status
    assert f"Endorse {APPLIANCE} 2026.5.1.1 as alice of examples?" in vmkeeper.out
    assert (vmkeeper.tags() == [TAG]) == signed
    assert ("nothing was signed" in vmkeeper.err) != signed


def test_withdrawing_signs_once(vmkeeper: Typing) -> None:
    vmkeeper("endorse", APPLIANCE, "--yes")
    words = ("withdraw", APPLIANCE, "--version", "2026.5.1.1", "--reason", "CVE-2026-1", "--key", vmkeeper.site.bob, "--list", "examples", "--yes")
    assert vmkeeper(*words) == 0
    tag = f"withdraw/{APPLIANCE}/2026.5.1.1/bob/1"
    assert f"Signed {tag}." in vmkeeper.out
    assert vmkeeper(*words) == 0
    assert f"Withdrawn already: {tag}." in vmkeeper.out
    assert vmkeeper.tags() == [TAG, tag]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("endorse", APPLIANCE, "--yes", "--valid", "1y"), "is not a duration"),
        (("endorse", APPLIANCE, "--yes", "--valid", "400d"), "is not a validity"),
        (("endorse", APPLIANCE, "--yes", "--list", "others"), "no endorser list others"),
        (("endorse", APPLIANCE, "--yes", "--key", "nobody@example.org"), "no secret key"),
        (("endorse", "debian-13", "--yes"), "has no release"),
        (("withdraw", APPLIANCE, "--version", "one", "--reason", "x", "--yes"), "is not a version"),
        (("withdraw", APPLIANCE, "--version", "1", "--reason", "", "--yes"), "1 to 1000 characters"),
        (("withdraw", APPLIANCE, "--version", "1", "--reason", "x", "--yes"), "has endorsed"),
    ],
)
def test_what_cannot_be_signed_is_explained_with_a_way_out(vmkeeper: Typing, words: tuple[str, ...], said: str) -> None:
    assert vmkeeper(*words) == 1
    assert said in vmkeeper.err
    assert vmkeeper.tags() == []


def test_a_rebuild_with_other_bytes_is_not_signed(vmkeeper: Typing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endorser, "_rebuilder", lambda _: lambda release: {file.format: "0" * 128 for file in release.files})
    assert vmkeeper("endorse", APPLIANCE, "--yes", "--rebuild") == 1
    assert "gives other bytes" in vmkeeper.err
    assert "[R14]" in vmkeeper.err
    assert vmkeeper.tags() == []


def test_a_rebuild_is_of_the_release_and_compared(vmkeeper: Typing, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VMKEEPER_CACHE", str(tmp_path / "cache"))
    asked: list[str] = []

    def again(_: Factory, wanted: Release) -> dict[str, str]:
        asked.append(f"{wanted.appliance} {wanted.commit} {wanted.recipe}")
        return {file.format: file.sha512 for file in wanted.files}

    monkeypatch.setattr("vmkeeper.execute.rebuild.rebuild", again)
    assert vmkeeper("endorse", APPLIANCE, "--yes", "--rebuild") == 0
    assert asked == [f"{APPLIANCE} {'b' * 40} {release('2026.5.1.1').recipe}"]
    assert vmkeeper.tags() == [TAG]
