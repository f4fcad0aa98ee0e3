"""No secret of a site is anywhere but in its credentials: not in output, logs, status, metrics, messages, reports or the home's files.

Servers echo what they are sent, clouds fail with what they were given, and everything that a run writes is searched.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import quote

import pytest

from support import producer as production
from support.gitserver import GitServer, git
from support.here import Here
from support.keeping import Kept
from support.postbox import Postbox
from support.producer import NOW, SITE
from support.webserver import WebServer
from vmkeeper.cli import app, session
from vmkeeper.errors import Place as Where
from vmkeeper.errors import Problem, Problems, Transient, UserError
from vmkeeper.execute import notifying, secrets
from vmkeeper.execute.credentials import read_credentials, read_login, read_urls
from vmkeeper.execute.secrets import hide, hide_address, hide_clouds, hide_login, scrub_error, scrubbed
from vmkeeper.execute.sitekey import site_key

PUSH, TOKEN, CLOUD, NOTIFY = "pUsh/s3cret+word", "t0ken-s3cret-value", "cl0ud's s3cret", "n0tify-s3cret-path"
BASIC = base64.b64encode(f"here:{PUSH}".encode()).decode()
FORMS = (PUSH, quote(PUSH, safe=""), BASIC, TOKEN, CLOUD, json.dumps(CLOUD)[1:-1], NOTIFY)


def found_in(data: bytes) -> list[str]:
    return [form for form in FORMS if form.encode() in data]


def found_below(folder: Path, *but: str) -> dict[str, list[str]]:
    files = [path for path in folder.rglob("*") if path.is_file() and not any(part in but for part in path.parts)]
    return {str(path): found for path in files if (found := found_in(path.read_bytes()))}


def write(home: Path, name: str, **said: object) -> None:
    (home / "credentials").mkdir(exist_ok=True)
    file = home / "credentials" / f"{name}.yaml"
    file.write_text(json.dumps(said))
    file.chmod(0o600)


@pytest.fixture(autouse=True)
def _nothing_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_hidden", ())


# What hides them


def test_secrets_are_hidden_in_every_form_in_which_they_travel() -> None:
    hide_login("here", PUSH)
    hide(CLOUD)
    text = f"{PUSH} {quote(PUSH, safe='')} {quote(PUSH)} Basic {BASIC} {json.dumps({'x': CLOUD})} {CLOUD!r}"
    assert found_in(scrubbed(text).encode()) == []
    assert "Basic [hidden]" in scrubbed(text)


def test_what_is_too_short_to_be_a_secret_is_left_in_words() -> None:
    hide("abc", "")
    assert scrubbed("an abc of images") == "an abc of images"


def test_an_address_is_hidden_with_each_part_that_may_be_a_secret() -> None:
    hide_address("slack://bot@T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/?token=abcdef123456&x=y")
    for secret in ("TIiajkdnlazkcOXrIdevi7FQ", "abcdef123456", "A1BRTD4JD"):
        assert secret not in scrubbed(f"https://hooks.example.org/{secret} failed")
    hide_address("mailto://someone:passw0rd@example.org")
    assert "passw0rd" not in scrubbed("login someone:passw0rd failed")
    hide_address("mailtos://vmkeeper:an0ther-s3cret@mail.example.org/notifications?to=operators@example.org")
    assert scrubbed("vmkeeper sends notifications by mail.example.org") == "vmkeeper sends notifications by mail.example.org"
    assert "an0ther-s3cret" not in scrubbed("AUTH vmkeeper:an0ther-s3cret")
    hide_address("tgram://123456789:AbCdEfGhIjKl/-1001/")
    assert "AbCdEfGhIjKl" not in scrubbed("https://api.example.org/bot123456789:AbCdEfGhIjKl/sendMessage")
    hide_address("http://[not an address")
    assert scrubbed("https://127.0.0.1 is fine") == "https://127.0.0.1 is fine"


def test_what_clouds_yaml_holds_under_the_names_of_secrets_is_hidden(tmp_path: Path) -> None:
    cloud = {"auth": {"username": "someone", "password": CLOUD, "application_credential_secret": TOKEN}, "region_name": "north"}
    (tmp_path / "clouds.yaml").write_text(json.dumps({"clouds": {"here": cloud}}))
    (tmp_path / "secure.yaml").write_text("{ not yaml")
    hide_clouds(tmp_path)
    said = scrubbed(f"someone with {CLOUD} and {TOKEN} in north")
    assert said == "someone with [hidden] and [hidden] in north"


def test_secrets_of_clouds_elsewhere_and_of_the_environment_are_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OS_PASSWORD", PUSH)
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text(f"[default]\naws_secret_access_key = {TOKEN}\n")
    (tmp_path / "secure.yaml").write_text(json.dumps({"clouds": {"here": {"auth": {"password": CLOUD}}}}))
    monkeypatch.setenv("OS_CLIENT_SECURE_FILE", str(tmp_path / "secure.yaml"))
    hide_clouds(tmp_path / "none")
    assert found_in(scrubbed(f"{PUSH} {TOKEN} {CLOUD}").encode()) == []


def test_whatever_reads_credentials_hides_them(tmp_path: Path) -> None:
    write(tmp_path, "basic", type="basic", user="here", password=PUSH)
    write(tmp_path, "bearer", type="bearer", token=TOKEN)
    write(tmp_path, "apprise", type="apprise", urls=[f"json://127.0.0.1/{NOTIFY}"])
    write(tmp_path, "login", type="basic", user="x", password=CLOUD)
    read_credentials(tmp_path, "basic", "https://example.org")
    read_credentials(tmp_path, "bearer", "https://example.org")
    read_urls(tmp_path, "apprise")
    read_login(tmp_path, "login")
    assert found_in(scrubbed(" ".join(FORMS)).encode()) == []


def test_errors_are_scrubbed_whole() -> None:
    hide(TOKEN)
    error = UserError(f"a {TOKEN}", where=f"b {TOKEN}", why=f"c {TOKEN}", hint=f"d {TOKEN}")
    several = Problems([Problem(Where("x"), f"what {TOKEN}", f"hint {TOKEN}")])
    for one in (error, several):
        scrub_error(one)
        assert TOKEN not in f"{one} {one.args} {one.hint} {one.what}"


# Everything together


class Secretive:
    """A site all of whose servers echo what they are sent, and its administrator at a terminal."""

    def __init__(self, folder: Path, here: Here, server: GitServer, box: Postbox) -> None:
        self.folder, self.here, self.server, self.box = folder, here, server, box
        self.home = here.home.folder
        git(here.producer.repo.folder, "config", "http.receivepack", "true")
        key, _ = site_key(here.home, "here")
        report = {"to": server.url("repository.git"), "credentials": "push", "key": key}
        webhook = {"name": "hook", "webhook": f"http://127.0.0.1:{box.port}/hook", "credentials": "token"}
        notify = {
            "name": "ann",
            "credentials": "ann",
            "on": ["failed", "recovered", "registered", "retired", "waiting", "drift", "refused", "suspended"],
        }
        here.producer.site(**{**SITE, "report": report, "events": [webhook], "notify": [notify]})
        write(self.home, "push", type="basic", user="here", password=PUSH)
        write(self.home, "token", type="bearer", token=TOKEN)
        write(self.home, "ann", type="apprise", urls=[f"{box.address}/{NOTIFY}"])
        cloud = {"auth": {"username": "someone", "password": CLOUD}}
        (self.home / "clouds.yaml").write_text(json.dumps({"clouds": {"here": cloud}}))

    def search(self, *more: bytes) -> None:
        """Nothing that was written or said has a secret."""
        assert found_below(self.home, "credentials", "clouds.yaml") == {}
        assert found_below(self.folder / "out") == {}
        assert found_below(self.here.producer.repo.folder) == {}
        for data in more:
            assert found_in(data) == []
        for letter in self.box.letters:
            assert found_in(json.dumps({**letter, "_path": ""}).encode()) == []


def echo(handler: BaseHTTPRequestHandler) -> bool:
    """Answers every push with what it was sent."""
    if "receive-pack" not in handler.path:
        return False
    said = f"no: {handler.headers.get('Authorization')} {PUSH}".encode()
    handler.send_response(403 if handler.headers.get("Authorization") else 401)
    handler.send_header("WWW-Authenticate", 'Basic realm="x"')
    handler.send_header("Content-Type", "text/plain")
    handler.send_header("Content-Length", str(len(said)))
    handler.end_headers()
    handler.wfile.write(said)
    return True


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Secretive]:
    monkeypatch.setattr(notifying, "TIMEOUT", 60.0)
    with WebServer(tmp_path / "www") as web, GitServer(tmp_path, answer=echo) as server, Postbox(500, echo=True) as box:
        here = Here(tmp_path, web)
        here.producer.all("debian-12", "2026.11.1")
        here.init()
        yield Secretive(tmp_path, here, server, box)


def test_a_service_whose_servers_echo_its_secrets_tells_nobody(site: Secretive, tmp_path: Path) -> None:
    kept = Kept(site.here, folder=tmp_path / "out/status", metrics_file=tmp_path / "out/metrics.prom")
    said: list[bytes] = []

    def fault(method: str, moment: str) -> None:
        if method in ("upload", "update"):
            raise Transient(f"401 for someone with {CLOUD}", why=f"X-Auth {TOKEN}", hint=f"password={quote(PUSH, safe='')} {BASIC}")

    visit = kept.visit()
    said += [repr(visit.notes).encode(), repr(visit.error).encode(), repr(visit.done.outcomes if visit.done else "").encode()]
    assert {note.subject for note in visit.notes} >= {"report", "notifier ann"}
    site.search(*said)

    kept.fault = fault
    site.here.producer.all("debian-12", "2026.11.2")
    visit = kept.visit(NOW + production.timedelta(minutes=5))
    assert "[hidden]" in (tmp_path / "out/status/status.json").read_text()
    assert visit.done is not None
    said += [
        str(getattr(outcome, "error", "")).encode() + str(getattr(getattr(outcome, "error", None), "hint", "")).encode()
        for outcome in visit.done.outcomes
    ]
    site.search(*said)

    def down(method: str, moment: str) -> None:
        raise Transient(f"GET https://someone:{CLOUD}@cloud.example.org failed with {TOKEN}")

    kept.fault = down
    visit = kept.visit(NOW + production.timedelta(minutes=10))
    site.search(repr(visit.error).encode(), str(visit.error).encode(), *said)

    site.box.status, site.server.answer = 200, lambda _: False
    kept.fault = None
    visit = kept.visit(NOW + production.timedelta(minutes=15))
    assert [note.why for note in visit.notes] == []
    assert git(site.here.producer.repo.folder, "rev-list", "--count", "status/here") == "1"
    assert {letter["_path"] for letter in site.box.letters} >= {f"/{NOTIFY}", "/hook"}
    site.search(git(site.here.producer.repo.folder, "log", "-p", "status/here").encode(), *said)


def test_a_fault_of_our_own_with_a_secret_in_it_is_told_without(site: Secretive, tmp_path: Path) -> None:
    kept = Kept(site.here, folder=tmp_path / "out")

    def run(_: object) -> None:
        read_login(site.home, "push")
        raise ValueError(f"could not parse {PUSH} and {BASIC} of {CLOUD}")

    kept.run = run  # type: ignore[assignment, method-assign]
    kept.visit()
    site.search()
    assert "cl0ud&#39;s" not in (tmp_path / "out/status.html").read_text()


@pytest.mark.parametrize("output", ["text", "json"])
def test_commands_say_nothing_of_secrets(
    site: Secretive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    monkeypatch.setattr(session.Session, "now", NOW)
    monkeypatch.chdir(site.here.producer.repo.folder)
    typed = [
        ["reconcile", "here", "--status", str(tmp_path / "out"), "--metrics-file", str(tmp_path / "out/x.prom"), "--output", output],
        ["site", "plan", "here", "--output", output],
        ["status", "here", "--output", output],
        ["site", "events", "here", "--output", output],
        ["propagation", "--output", output],
        ["site", "unit", "here"],
        ["site", "key", "here"],
    ]
    for words in typed:
        monkeypatch.setattr("sys.argv", ["vmkeeper", *words, *([] if words[0] == "propagation" else ["--home", str(site.home)])])
        with pytest.raises(SystemExit):
            app.main()
        out, err = capsys.readouterr()
        assert found_in((out + err).encode()) == [], words
        assert out or err
    site.search()


def test_a_service_in_a_process_of_its_own_shows_no_secret_in_its_log_or_to_other_programs(site: Secretive, tmp_path: Path) -> None:
    code = (
        "import os, threading, time\nfrom datetime import datetime\nfrom vmkeeper.cli import app, session\n"
        f"session.Session.now = datetime.fromisoformat('{NOW.isoformat()}')\n"
        "def end():\n    import sys, signal\n    from pathlib import Path\n"
        f"    home = Path({str(site.home)!r})\n"
        "    while not (home / 'told.json').exists(): time.sleep(0.1)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "threading.Thread(target=end, daemon=True).start()\napp.main()\n"
    )
    words = ["reconcile", "here", "--watch", "--home", str(site.home), "-C", str(site.here.producer.repo.folder)]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, env={**os.environ}, check=False, timeout=300)
    assert done.returncode == 0
    assert b"note     report" in done.stdout
    site.search(done.stdout, done.stderr)
