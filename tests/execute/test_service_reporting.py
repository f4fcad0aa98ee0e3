"""Reports to producers: signed commits on a branch, pushed to a real git server and never forced; what readers believe of them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from support.gitserver import GitServer, git
from support.producer import NOW, SITE, Producer
from support.sitescenario import uuid_of
from support.webserver import WebServer
from vmkeeper.errors import Refused, UserError
from vmkeeper.execute.home import SiteHome
from vmkeeper.execute.pinning import Wishes, pin, proposal
from vmkeeper.execute.propagation import lag_of, reports, silent
from vmkeeper.execute.reporting import report_status
from vmkeeper.execute.sitekey import public_key, site_key
from vmkeeper.model.site import Site
from vmkeeper.model.status import ImageStatus, Run, Status
from vmkeeper.repository import signedcommit
from vmkeeper.repository.tags import root_commit
from vmkeeper.trust.keys import ssh
from vmkeeper.values import Version

BRANCH = "status/here"
PASSWORD = "t0ps3cret-push"
DAY = timedelta(days=1)


class Reporting:
    """A site with a key that reports to a producer's repository on a git server that asks for a password."""

    def __init__(self, folder: Path, server: GitServer, producer: Producer) -> None:
        self.folder, self.server, self.producer = folder, server, producer
        self.home = SiteHome(folder / "home")
        ca = producer.authority.write(folder)
        certificate = folder / "lister.pem"
        from cryptography.hazmat.primitives.serialization import Encoding

        certificate.write_bytes(producer.lister.certificate.public_bytes(Encoding.PEM))
        self.url = server.url("repository.git")
        wishes = Wishes((ca,), signer=certificate, allowed_hosts=("127.0.0.1",), source=self.url)
        pin(self.home, proposal(producer.repo.repository, "here", wishes, NOW), (ca,))
        self.key, _ = site_key(self.home, "here")
        (self.home.folder / "credentials").mkdir()
        self.allow(PASSWORD)
        self.root = root_commit(producer.repo.repository, producer.repo.repository.head())
        git(producer.repo.folder, "config", "http.receivepack", "true")

    def allow(self, password: str) -> None:
        file = self.home.folder / "credentials/push.yaml"
        file.write_text(json.dumps({"type": "basic", "user": "here", "password": password}))
        file.chmod(0o600)

    def site(self, **report: Any) -> Site:
        return Site.model_validate({**SITE, "report": {"credentials": "push", "key": self.key, **report}})

    def status(self, *words: str, at: Any = NOW, **more: Any) -> Status:
        images = tuple(image(one) for one in words)
        run = Run(began=at, ended=at, result="done")
        return Status(site="here", program="1", at=at, run=run, repository=self.root, head="b" * 40, images=images, **more)

    def report(self, *words: str, at: Any = NOW, site: Site | None = None, **more: Any) -> str:
        """Reports; what was noted."""
        notes = report_status(self.home, site or self.site(), self.status(*words, at=at, **more), at)
        return "; ".join(note.why for note in notes)

    @property
    def log(self) -> list[str]:
        try:
            return git(self.producer.repo.folder, "log", "--format=%s", BRANCH).splitlines()
        except AssertionError:
            return []

    def lists(self, **report: Any) -> None:
        """The repository's own file of the site names its key."""
        self.producer.repo.commit({"sites/here.yaml": json.dumps({**SITE, "report": {"key": self.key, **report}})}, "site reports")

    def said(self) -> Any:
        repository = self.producer.repo.repository
        (one,) = reports(repository, repository.head())
        return one


def image(words: str) -> ImageStatus:
    appliance, version = words.split()
    fields = {
        "appliance": appliance,
        "version": Version(version),
        "uuid": uuid_of(appliance),
        "id": words,
        "name": words,
        "state": "active",
        "list": "main",
    }
    return ImageStatus(**fields, format="raw", size=1, endorsed=NOW - DAY, since=NOW, expires=NOW + 30 * DAY)  # type: ignore[arg-type]


def asks(password: Callable[[], str]) -> Callable[[BaseHTTPRequestHandler], bool]:
    """Answers pushes without the right password with 401."""

    def answer(handler: BaseHTTPRequestHandler) -> bool:
        wanted = "Basic " + base64.b64encode(f"here:{password()}".encode()).decode()
        if "receive-pack" not in handler.path or handler.headers.get("Authorization") == wanted:
            return False
        said = f"401 {handler.headers.get('Authorization')}".encode()
        handler.send_response(401)
        handler.send_header("WWW-Authenticate", f'Basic realm="{handler.headers.get("Authorization")}"')
        handler.send_header("Content-Length", str(len(said)))
        handler.end_headers()
        handler.wfile.write(said)
        return True

    return answer


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Reporting]:
    with WebServer(tmp_path / "www") as web, GitServer(tmp_path, answer=asks(lambda: PASSWORD)) as server:
        producer = Producer(tmp_path / "www", web.url, tmp_path)
        producer.all("debian-12", "2026.11.1")
        yield Reporting(tmp_path, server, producer)


# Pushing


def test_a_report_is_a_commit_with_one_file_that_git_itself_verifies(site: Reporting, tmp_path: Path) -> None:
    assert site.report("debian-12 1") == ""
    folder = site.producer.repo.folder
    assert git(folder, "ls-tree", "-r", "--name-only", BRANCH) == "status/here.json"
    said = json.loads(git(folder, "show", f"{BRANCH}:status/here.json"))
    assert (said["site"], said["images"][0]["appliance"], said["images"][0]["version"]) == ("here", "debian-12", "1")
    (tmp_path / "signers").write_text(f"here@localhost {site.key}\n")
    git(folder, "-c", f"gpg.ssh.allowedSignersFile={tmp_path / 'signers'}", "verify-commit", BRANCH)
    git(folder, "fsck", "--strict")
    assert git(folder, "rev-list", "--count", BRANCH) == "1"


def test_nothing_new_is_no_commit_and_asks_nobody(site: Reporting) -> None:
    site.report("debian-12 1")
    asked = len(site.server.requests)
    for hours in range(1, 4):
        assert site.report("debian-12 1", at=NOW + timedelta(hours=hours)) == ""
    assert len(site.server.requests) == asked
    assert site.report("debian-12 2", at=NOW + DAY) == ""
    assert len(site.log) == 2


def test_a_site_at_rest_reports_once_a_week(site: Reporting) -> None:
    for days in range(15):
        assert site.report("debian-12 1", at=NOW + days * DAY) == ""
    assert len(site.log) == 3


def test_failing_and_suspended_are_news(site: Reporting) -> None:
    site.report("debian-12 1")
    site.report("debian-12 1", failures=1)
    site.report("debian-12 1", failures=2)
    assert len(site.log) == 2


def test_what_somebody_else_wrote_on_the_branch_stays_and_the_report_goes_on_top(site: Reporting) -> None:
    site.report("debian-12 1")
    folder = site.producer.repo.folder
    tree = git(folder, "mktree", stdin=b"")
    other = git(folder, "commit-tree", tree, "-p", BRANCH, "-m", "somebody else")
    git(folder, "update-ref", f"refs/heads/{BRANCH}", other)
    assert site.report("debian-12 2") == ""
    assert len(site.log) == 3
    assert site.log[1] == "somebody else"
    assert git(folder, "ls-tree", "-r", "--name-only", BRANCH) == "status/here.json"
    git(folder, "fsck", "--strict")


def test_a_push_that_comes_second_is_made_again_on_top_of_the_first(site: Reporting) -> None:
    site.report("debian-12 1")
    folder, answer = site.producer.repo.folder, site.server.answer
    others = iter(range(2))

    def between(handler: BaseHTTPRequestHandler) -> bool:
        if handler.command == "POST" and "git-receive-pack" in handler.path and next(others, None) is not None:
            other = git(folder, "commit-tree", git(folder, "mktree", stdin=b""), "-p", BRANCH, "-m", "in between")
            git(folder, "update-ref", f"refs/heads/{BRANCH}", other)
        return answer(handler)

    site.server.answer = between
    assert site.report("debian-12 2") == ""
    assert site.log[1:3] == ["in between", "in between"]


def test_a_branch_that_never_keeps_still_is_left_for_the_next_run(site: Reporting) -> None:
    site.report("debian-12 1")
    folder, answer = site.producer.repo.folder, site.server.answer

    def always(handler: BaseHTTPRequestHandler) -> bool:
        if handler.command == "POST" and "git-receive-pack" in handler.path:
            other = git(folder, "commit-tree", git(folder, "mktree", stdin=b""), "-p", BRANCH, "-m", "again")
            git(folder, "update-ref", f"refs/heads/{BRANCH}", other)
        return answer(handler)

    site.server.answer = always
    assert "all the time" in site.report("debian-12 2")
    site.server.answer = answer
    assert site.report("debian-12 2") == ""


def test_a_wrong_password_is_a_note_without_it_and_the_next_run_tries_again(site: Reporting) -> None:
    site.allow("wr0ngs3cret")
    said = site.report("debian-12 1")
    assert "may not push" in said
    assert "report.credentials" in said
    word = base64.b64encode(b"here:wr0ngs3cret").decode()
    assert "wr0ngs3cret" not in said
    assert word not in said
    for file in (site.home.folder / "report.git").rglob("*"):
        assert not file.is_file() or word.encode() not in file.read_bytes()
    site.allow(PASSWORD)
    assert site.report("debian-12 1") == ""
    assert len(site.log) == 1


def test_a_server_that_is_gone_is_a_note(site: Reporting, tmp_path: Path) -> None:
    site.report("debian-12 1")
    away = site.producer.repo.folder.rename(tmp_path / "away.git")
    assert "could not be pushed" in site.report("debian-12 2")
    away.rename(tmp_path / "repository.git")
    assert site.report("debian-12 2") == ""
    assert len(site.log) == 2


def test_another_repository_may_take_the_reports(site: Reporting, tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--bare", "status.git")
    assert site.report("debian-12 1", site=site.site(to=str(tmp_path / "status.git"), branch="sites/x", credentials=None)) == ""
    assert "1 usable version" in git(tmp_path / "status.git", "log", "-1", "--format=%s", "sites/x")
    assert site.log == []


@pytest.mark.parametrize("to", ["ext::sh", "http://other.example.org/x.git", "git://127.0.0.1/x", "/nowhere/at/all"])
def test_addresses_that_are_not_fetched_from_are_not_pushed_to(site: Reporting, to: str) -> None:
    assert site.report("debian-12 1", site=site.site(to=to)) != ""


def test_without_a_key_or_with_another_one_nothing_is_pushed(site: Reporting) -> None:
    other = "ssh-ed25519 " + "A" * 68
    assert "not the one in its file" in site.report("debian-12 1", site=site.site(key=other))
    (site.home.folder / "keys/report").chmod(0o640)
    assert "others can read" in site.report("debian-12 1")
    (site.home.folder / "keys/report").unlink()
    assert "vmkeeper site key" in site.report("debian-12 1")
    assert site.log == []


def test_a_repository_of_reports_that_was_lost_is_made_again_without_saying_things_twice(site: Reporting) -> None:
    import shutil

    site.report("debian-12 1")
    shutil.rmtree(site.home.folder / "report.git")
    assert site.report("debian-12 1") == ""
    assert len(site.log) == 1
    assert site.report("debian-12 2") == ""
    assert len(site.log) == 2


def test_while_another_process_reports_nothing_is_said(site: Reporting) -> None:
    import fcntl

    with (site.home.folder / "report.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert site.report("debian-12 1") == ""
    assert site.log == []


def test_a_repository_of_many_reports_is_begun_anew(site: Reporting, monkeypatch: pytest.MonkeyPatch) -> None:
    from vmkeeper.execute import reporting

    monkeypatch.setattr(reporting, "_MOST", 8)
    for number in range(6):
        assert site.report(f"debian-12 {number}") == ""
    assert len(site.log) == 6
    assert len(list((site.home.folder / "report.git").glob("objects/??/*"))) <= 13


def test_a_site_that_reports_to_nobody_does_nothing(site: Reporting) -> None:
    assert report_status(site.home, Site.model_validate(SITE), site.status("debian-12 1"), NOW) == ()
    assert not (site.home.folder / "report.git").exists()


# The key


def test_the_key_is_made_once_and_nobody_else_can_read_it(site: Reporting) -> None:
    again, made = site_key(site.home, "here")
    assert (again, made) == (site.key, False)
    assert (site.home.folder / "keys").stat().st_mode & 0o777 == 0o700
    assert (site.home.folder / "keys/report").stat().st_mode & 0o777 == 0o600
    assert public_key(site.home) == site.key


def test_a_site_without_pins_gets_no_key(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="pinned nobody"):
        site_key(SiteHome(tmp_path / "none"), "here")


# Reading


def test_producers_see_what_a_site_runs_and_how_long_it_took(site: Reporting) -> None:
    site.lists()
    site.report("debian-12 1")
    said = site.said()
    assert (said.site, said.why) == ("here", "")
    (one,) = said.report.images
    assert lag_of(one) == 86400
    assert not silent(said.report, NOW + 7 * DAY)
    assert silent(said.report, NOW + 9 * DAY)


def test_a_site_without_a_key_in_its_file_is_not_believed(site: Reporting) -> None:
    site.report("debian-12 1")
    site.lists(key=None)
    assert site.said().report is None
    assert "names no key" in site.said().why


def test_a_site_that_has_not_reported_yet_is_said(site: Reporting) -> None:
    site.lists()
    assert "there is no branch status/here" in site.said().why


def forge(site: Reporting, change: Callable[[dict[str, Any]], None] = lambda _: None, *, key: Path | None = None, sign: bool = True) -> None:
    """Put another report on the branch, signed by some key."""
    folder = site.producer.repo.folder
    said = json.loads(git(folder, "show", f"{BRANCH}:status/here.json"))
    change(said)
    blob = git(folder, "hash-object", "-w", "--stdin", stdin=json.dumps(said).encode())
    below = git(folder, "mktree", stdin=f"100644 blob {blob}\there.json\n".encode())
    tree = git(folder, "mktree", stdin=f"040000 tree {below}\tstatus\n".encode())
    payload = signedcommit.unsigned(tree, git(folder, "rev-parse", BRANCH), "x <x@localhost>", int(NOW.timestamp()), "forged")
    raw = signedcommit.signed(payload, ssh.sign(str(key or site.home.folder / "keys/report"), payload)) if sign else payload
    oid = git(folder, "hash-object", "-w", "-t", "commit", "--stdin", stdin=raw)
    git(folder, "update-ref", f"refs/heads/{BRANCH}", oid)


def test_reports_that_the_sites_key_did_not_sign_are_not_believed(site: Reporting) -> None:
    site.lists()
    site.report("debian-12 1")
    forge(site, sign=False)
    assert "not signed" in site.said().why
    forge(site, key=site.producer.key)
    assert "another key" in site.said().why
    assert site.said().report is None
    forge(site)
    assert site.said().report is not None


def test_a_signed_report_of_another_site_or_repository_is_not_believed(site: Reporting) -> None:
    site.lists()
    site.report("debian-12 1")
    forge(site, lambda said: said.update(site="there"))
    assert "another site's" in site.said().why
    forge(site, lambda said: said.update(site="here", repository="c" * 40))
    assert "another repository" in site.said().why
    forge(site, lambda said: said.update(site="here", repository=site.root, more=1))
    assert "no report that can be read" in site.said().why


def test_a_changed_tree_under_a_good_signature_is_not_believed(site: Reporting) -> None:
    site.lists()
    site.report("debian-12 1")
    folder = site.producer.repo.folder
    raw = git(folder, "cat-file", "commit", BRANCH) + "\n"
    empty = git(folder, "mktree", stdin=b"")
    forged = raw.replace(raw.split()[1], empty, 1).encode()
    git(folder, "update-ref", f"refs/heads/{BRANCH}", git(folder, "hash-object", "-w", "-t", "commit", "--stdin", stdin=forged))
    assert "R10" in site.said().why


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"tree " + b"0" * 40,
        b"parent x\ntree y\n\n",
        b"tree a\ntree b\n\n",
        b"tree a\ngpgsig x\n y\nauthor z\ngpgsig x\n\n",
        b"tree a\0\n\n",
        b"tree a\n\n" + b"x" * (300 << 10),
    ],
)
def test_commit_objects_that_git_would_not_make_are_refused(raw: bytes) -> None:
    if raw == b"tree " + b"0" * 40:
        assert signedcommit.parse(raw).signature == ""
        return
    with pytest.raises(Refused):
        signedcommit.parse(raw)


def test_taking_a_signed_commit_apart_gives_what_was_signed() -> None:
    payload = signedcommit.unsigned("a" * 40, "b" * 40, "n <e@x>", 5, "subject\n\nbody with\n gpgsig x\n")
    made = signedcommit.signed(payload, "-----BEGIN SSH SIGNATURE-----\nabc\n-----END SSH SIGNATURE-----\n")
    apart = signedcommit.parse(made)
    assert (apart.payload, apart.tree) == (payload, "a" * 40)
    assert apart.signature == "-----BEGIN SSH SIGNATURE-----\nabc\n-----END SSH SIGNATURE-----\n"
