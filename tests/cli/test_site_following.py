"""Sites that fetch what they follow, take it from a disk, are approved by administrators, or are pinned again: commands as typed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from support import producer as production
from support.governing import NOBODY, Person, by_ssh
from support.here import Here
from support.producer import Producer
from support.webserver import WebServer
from vmkeeper.cli import app, session
from vmkeeper.execute.governance import Chamber, sign_policy
from vmkeeper.execute.signing import signing_key

FIRST = "debian-12 2026.11.1"


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Person]:
    folder = tmp_path_factory.mktemp("keys")
    return {name: by_ssh(name, folder) for name in ("ann", "ben", "bob", "ci")}


class Site:
    """A site's administrator at a terminal, in an empty folder; the repository is elsewhere."""

    def __init__(self, made: Here, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.here, self.folder, self.home = made, folder, folder / "home"
        self.producer: Producer = made.producer
        self._patch, self._capsys = monkeypatch, capsys
        monkeypatch.setenv("VMKEEPER_SITE_HOME", str(self.home))
        monkeypatch.setattr(session.Session, "now", production.NOW)
        (folder / "empty").mkdir()
        monkeypatch.chdir(folder / "empty")
        self.ca = str(self.producer.authority.write(folder))

    def __call__(self, *words: str) -> int:
        self._patch.setattr("sys.argv", ["vmkeeper", *words])
        with pytest.raises(SystemExit) as ended:
            app.main()
        self.out, self.err = self._capsys.readouterr()
        return int(ended.value.code or 0)

    def init(self, *words: str) -> int:
        source = str(self.producer.repo.folder)
        return self("site", "init", "here", "--allow-host", "127.0.0.1", "--yes", "--ca", self.ca, "-C", source, *words)

    def later(self, **much: int) -> None:
        self.here.now = production.NOW + timedelta(**much)
        self._patch.setattr(session.Session, "now", self.here.now)

    def away(self) -> Path:
        """The source goes away; where it is now."""
        return self.producer.repo.folder.rename(self.folder / "away.git")

    @property
    def chamber(self) -> Chamber:
        repository = self.producer.repo.repository
        return Chamber(repository, repository.head(), NOBODY, lambda: self.here.now)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Site]:
    with WebServer(tmp_path / "www") as server:
        made = Here(tmp_path, server)
        made.producer.all("debian-12", "2026.11.1")
        yield Site(made, tmp_path, monkeypatch, capsys)


# A pinned source


def test_a_site_with_a_source_fetches_it_by_itself(site: Site) -> None:
    assert site.init("--source", str(site.producer.repo.folder)) == 0
    assert site("reconcile", "here") == 0
    assert f"done     register {FIRST}" in site.out
    assert (site.home / "repository.git/HEAD").is_file()
    assert not (site.home / "repository.git/hooks/post-update").exists()
    site.producer.withdraw("debian-12", "2026.11.1", "it phones home")
    assert site("reconcile", "here") == 0
    assert "no longer usable" in site.out
    assert "it phones home" in site.out


def test_a_source_that_cannot_be_reached_leaves_the_last_state_and_it_is_said(site: Site) -> None:
    site.init("--source", str(site.producer.repo.folder))
    site("reconcile", "here")
    away = site.away()
    assert site("reconcile", "here") == 0
    assert "warning" in site.err
    assert "going on with what was fetched last" in site.err
    assert site.out == "Nothing to do: the site has 1 usable image, as it should.\n"
    assert site("log", "--site", "here") == 0
    assert "going on with what was fetched last" in site.err
    away.rename(site.producer.repo.folder)
    assert site("reconcile", "here") == 0
    assert "warning" not in site.err


def test_a_source_that_was_never_reached_is_an_error(site: Site) -> None:
    site.init("--source", str(site.producer.repo.folder))
    site.away()
    assert site("reconcile", "here") == 1
    assert "there is no such folder" in site.err


def test_a_source_that_went_back_changes_nothing(site: Site) -> None:
    site.init("--source", str(site.producer.repo.folder))
    site("reconcile", "here")
    git = site.producer.repo.git
    git.references.delete("refs/tags/endorse/debian-12/2026.11.1/alice/1")
    assert site("reconcile", "here") == 1
    assert "[R8]" in site.err
    assert "fetch the repository again" in site.err
    assert "endorse/debian-12/2026.11.1/alice/1" in site.err
    assert site("status", "here") == 0
    assert "active" in site.out


def test_clusters_are_made_from_what_the_site_fetched(site: Site) -> None:
    cluster = {
        "name": "demo",
        "services": {"web": {"fixed": True, "appliance": {"name": "debian-12"}, "context": "web"}},
        "placement": [{"site": "here"}],
    }
    site.producer.repo.commit({"clusters/demo.yaml": json.dumps(cluster), "clusters/contexts/web.yaml": '{"title": "Web"}'})
    site.init("--source", str(site.producer.repo.folder))
    assert site("cluster", "plan", "demo", "--site", "here") == 1
    assert "no repository was fetched yet" in site.err
    site("reconcile", "here")
    site.away()
    assert site("cluster", "plan", "demo", "--site", "here") == 0
    assert "start     demo-web" in site.out


# A disk


def test_a_site_without_a_network_is_reconciled_and_asked_from_a_disk(site: Site) -> None:
    site.init()
    disk = site.folder / "disk"
    assert site("bundle", str(disk), "-C", str(site.producer.repo.folder), "--allow-host", "127.0.0.1") == 0
    assert f"vmkeeper reconcile NAME --bundle {disk}" in site.out
    site.away()
    site.here.server.pages.clear()
    for file in (site.producer.folder / "main").rglob("*"):
        if file.is_file():
            file.unlink()
    assert site("site", "plan", "here", "--bundle", str(disk)) == 0
    assert f"register  {FIRST}" in site.out
    assert site("reconcile", "here", "--bundle", str(disk)) == 0
    assert f"done     register {FIRST}" in site.out
    assert site("log", "--site", "here", "debian-12", "--bundle", str(disk)) == 0
    assert "endorsement  endorse/debian-12/2026.11.1/alice/1, by alice 2026-11-19T10:00:00Z" in site.out
    assert site("why", "debian-12", "--site", "here", "--bundle", str(disk)) == 0
    assert "may run at here. It is active there." in site.out
    assert "cannot be used" not in site.out


def test_a_changed_disk_is_refused(site: Site) -> None:
    site.init()
    disk = site.folder / "disk"
    site("bundle", str(disk), "-C", str(site.producer.repo.folder), "--allow-host", "127.0.0.1")
    (file,) = (one for one in (disk / "sha512").rglob("*") if one.is_file())
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    (site.producer.folder / "main/images/debian-12-2026.11.1.raw").unlink()
    assert site("reconcile", "here", "--bundle", str(disk)) == 1
    assert site("status", "here") == 0
    assert "active" not in site.out


# Administrators


def test_administrators_are_pinned_shown_and_their_approvals_awaited(site: Site, people: dict[str, Person]) -> None:
    administrators = [word for name in ("ann", "ben") for word in ("--administrator", f"{name}={people[name].key}.pub")]
    assert site.init(*administrators, "--quorum", "2") == 0
    assert "site         here: 2 of 2 administrators approve" in site.out
    assert "ann" in site.out
    where = ("-C", str(site.producer.repo.folder))
    assert site("reconcile", "here", *where) == 1
    assert "no approval of the site's file is in force" in site.err
    assert "vmkeeper approve here" in site.err
    assert site("approve", "here", "--yes", "--key", people["bob"].key, *where) == 1
    assert "administrators in its pins are: ann, ben" in site.err
    for name in ("ann", "ben"):
        assert site("approve", "here", "--yes", "--key", people[name].key, *where) == 0
        assert f"Signed approve/here/1/{name}." in site.out
    assert site("approve", "here", "--yes", "--key", people["ann"].key, *where) == 0
    assert "Approved already: approve/here/1/ann." in site.out


def test_where_a_file_was_accepted_no_approval_counts(site: Site, people: dict[str, Person]) -> None:
    site.init()
    where = ("-C", str(site.producer.repo.folder))
    assert site("approve", "here", "--as", "ann", "--yes", "--key", people["ann"].key, *where) == 1
    assert "nobody's approval counts at here" in site.err
    site.producer.repo.commit({"sites/there.yaml": "title: There\n"})
    assert site("approve", "there", "--as", "ann", "--yes", "--key", people["ann"].key, *where) == 0
    assert "Signed approve/there/1/ann." in site.out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--administrator", "ann"), "NAME=FILE"),
        (("--administrator", "ann=/nonexistent"), "NAME=FILE"),
        (("--administrator", "Ann={ann}"), "no name for an administrator"),
        (("--administrator", "ann={ann}", "--quorum", "2"), "more administrators must agree than there are"),
        (("--administrator", "ann={ann}", "--administrator", "ann={ben}"), "a name is there twice"),
        (("--administrator", "ann={ann}", "--administrator", "ben={ann}"), "one key belongs to"),
        (("--quorum", "2"), "--administrator"),
        (("--source", "ftp://images.example.org/x.git"), "ftp://images.example.org/x.git"),
    ],
)
def test_wishes_that_cannot_be_are_said_and_nothing_is_pinned(site: Site, people: dict[str, Person], words: tuple[str, ...], expected: str) -> None:
    files = {name: f"{one.key}.pub" for name, one in people.items()}
    assert site.init(*(word.format(**files) for word in words)) == 1
    assert expected in site.err
    assert not (site.home / "pins.yaml").exists()


# log and why


def test_log_in_words_and_as_json(site: Site) -> None:
    where = ("-C", str(site.producer.repo.folder))
    site.init()
    assert site("log", "--site", "here", *where) == 0
    assert site.out == "here has no images; bring them with: vmkeeper reconcile here\n"
    site("reconcile", "here", *where)
    assert site("log", "--site", "here", *where) == 0
    kinds = [line.split()[0] for line in site.out.splitlines() if not line.startswith(" ")]
    assert kinds == ["image", "release", "source", "endorsement", "policy", "approval"]
    assert "policy       policy 1, by alice 2026-11-18T10:00:00Z" in site.out
    assert site("log", "--site", "here", "debian-12", "--output", "json", *where) == 0
    (chain,) = json.loads(site.out)["chains"]
    assert [link["kind"] for link in chain] == kinds
    assert chain[3] == {
        "kind": "endorsement",
        "name": "endorse/debian-12/2026.11.1/alice/1",
        "who": "alice",
        "when": "2026-11-19T10:00:00Z",
        "note": chain[3]["note"],
    }
    assert site("log", "--site", "here", "nothing", *where) == 1
    assert "here has nothing called nothing" in site.err
    assert site("log", "--site", "there", *where) == 1


def test_why_says_rule_by_rule_and_the_nearest_version(site: Site) -> None:
    where = ("-C", str(site.producer.repo.folder))
    producer = site.producer
    producer.withdraw("debian-12", "2026.11.1", "a hole in it")
    producer.all("debian-12", "2026.11.2")
    producer.site(block=[{"appliance": "debian-12", "version": "<2026.11.2", "reason": "eats our disks"}])
    site.init()
    assert site("why", "debian-12", "--site", "here", *where) == 0
    first, second = site.out.split("debian-12 2026.11.2 may run")
    assert "debian-12 2026.11.1 may not run at here. It is not there." in first
    assert "eats our disks" in first
    assert "a hole in it" in first
    assert "nearest version that may: 2026.11.2" in first
    assert "endorsed by alice with ssh:SHA256:" in second
    assert site("why", "nothing", "--site", "here", *where) == 0
    assert "No list that here subscribes to offers nothing" in site.out


def test_why_says_that_nothing_new_comes_and_since_when(site: Site, people: dict[str, Person]) -> None:
    where = ("-C", str(site.producer.repo.folder))
    site.here.wants_freshness(people["ci"])
    site.here.released("debian-12", "2026.11.2")
    site.here.vouch()
    site.init()
    site("reconcile", "here", *where)
    site.later(days=3)
    site.here.released("debian-12", "2026.11.3")
    assert site("why", "debian-12", "--site", "here", *where) == 0
    assert "Nothing new is registered from the list main since 2026-11-22T10:00:00Z:\n  R13: the freshness statement is too old" in site.out
    site.later(days=33)
    site.producer.publish(expires=site.here.now + timedelta(days=10))
    assert site("why", "debian-12", "--site", "here", *where) == 0
    assert "Nothing of the list main may run: nothing fresh since 2026-11-22T10:00:00Z, longer than the site's grace of 30d" in site.out


# Pinning again


def test_pinning_again_after_the_principals_were_lost(site: Site, people: dict[str, Person]) -> None:
    where = ("-C", str(site.producer.repo.folder))
    site.init()
    site("reconcile", "here", *where)
    site.here.propose(principals=[people["bob"].document()])
    sign_policy(site.chamber, signing_key(site.producer.repo.repository, people["bob"].key))
    assert site("reconcile", "here", *where) == 0
    assert site.init("--policy", "3") == 1
    assert "nobody has signed policy 3" in site.err
    assert site.init("--policy", "2") == 0
    assert "policy       number 2" in site.out
    assert "bob" in site.out
    assert "alice" not in site.out
    assert site("reconcile", "here", *where) == 0
    assert "Nothing to do" in site.out


def test_an_older_copy_of_the_repository_is_not_pinned_again(site: Site, people: dict[str, Person]) -> None:
    where = ("-C", str(site.producer.repo.folder))
    site.here.enact(people["bob"])
    site.init()
    site("reconcile", "here", *where)
    pins = (site.home / "pins.yaml").read_bytes()
    site.producer.repo.git.references.delete("refs/tags/policy/2/alice")
    assert site.init() == 1
    assert "older than what this site has seen" in site.err
    assert (site.home / "pins.yaml").read_bytes() == pins
