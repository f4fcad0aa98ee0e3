"""What is shown to a server goes to the list's own origin and nowhere else, and is in no message and no file of ours."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from support.certificates import authority, issue, name
from support.foreign import Organisation, Subscriber, approved
from support.here import kinds, notes
from support.webserver import WebServer
from vmkeeper.errors import Refused, UserError
from vmkeeper.execute.credentials import read_credentials
from vmkeeper.images.addresses import UrlPolicy
from vmkeeper.images.web import Validators, Web, read_changed
from vmkeeper.progress import Progress

SECRET = "open-sesame-71"
BASIC = f"type: basic\nuser: site\npassword: {SECRET}\n"
BEARER = f"type: bearer\ntoken: {SECRET}\n"


@pytest.fixture
def site(tmp_path: Path, server: WebServer, org: Organisation) -> Subscriber:
    made = Subscriber(tmp_path, server)
    made.trusts(org.authority)
    made.takes(org.entry(credentials="team"), approve=approved("science-*"))
    return made


def put(home: Path, text: str, mode: int = 0o600, called: str = "team.yaml") -> Path:
    folder = home / "credentials"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / called
    file.write_text(text)
    file.chmod(mode)
    return file


def shown(server: WebServer, path: str) -> list[str | None]:
    return [one.headers.get("Authorization") for one in server.requests if one.path == path]


class Listening(Progress):
    def __init__(self) -> None:
        self.said: list[str] = []

    def step(self, subject: str, text: str, /) -> None:
        self.said.append(f"{subject} {text}")

    def amount(self, subject: str, done: int, total: int, unit: str, /) -> None:
        self.said.append(subject)


# To whom


@pytest.mark.parametrize(("text", "header"), [(BASIC, "Basic " + base64.b64encode(f"site:{SECRET}".encode()).decode()), (BEARER, f"Bearer {SECRET}")])
def test_the_list_s_server_is_shown_them_with_every_request_and_so_is_its_image(site: Subscriber, org: Organisation, text: str, header: str) -> None:
    put(site.home.folder, text)
    progress = Listening()
    done = site.run(progress=progress)
    assert kinds(done) == ["register science-debian-12 1.0"]
    site.run()
    assert shown(site.server, org.path) == [header, header]
    image = org.images["Debian 12"].uri.removeprefix(site.server.url)
    assert shown(site.server, image) == [header]
    told = "\n".join([*progress.said, repr(done), notes(done)])
    assert SECRET not in told
    assert header.partition(" ")[2] not in told
    assert not [file for file, data in site.files().items() if SECRET.encode() in data and file != "credentials/team.yaml"]


def test_an_image_at_another_origin_is_fetched_without_them(site: Subscriber, org: Organisation, tmp_path: Path) -> None:
    put(site.home.folder, BASIC)
    with WebServer() as other:
        uri = other.serve("/x.raw", site.server.pages[org.images["Debian 12"].uri.removeprefix(site.server.url)].data)
        org.offer("Debian 12", uri=uri)
        org.publish()
        assert kinds(site.run()) == ["register science-debian-12 1.0"]
        assert [one.headers.get("Authorization") for one in other.requests] == [None]


def test_a_redirect_to_another_origin_loses_them(site: Subscriber, org: Organisation) -> None:
    put(site.home.folder, BASIC)
    with WebServer() as other:
        other.pages["/here"] = org.page
        site.server.serve(org.path, location=other.url + "/here")
        assert kinds(site.run()) == ["register science-debian-12 1.0"]
        assert [one.headers.get("Authorization") for one in other.requests] == [None]
    assert shown(site.server, org.path)[0] is not None


def test_a_redirect_away_and_back_shows_them_where_they_belong(site: Subscriber, org: Organisation) -> None:
    put(site.home.folder, BASIC)
    with WebServer() as other:
        site.server.pages["/real"] = org.page
        other.serve("/away", location=site.server.url + "/real")
        site.server.serve(org.path, location=other.url + "/away")
        site.run()
        assert shown(other, "/away") == [None]
        assert shown(site.server, "/real")[0] is not None


def test_another_list_is_not_shown_them(site: Subscriber, org: Organisation) -> None:
    put(site.home.folder, BASIC)
    with WebServer() as server:
        other = Organisation(server, org.authority, name="other", common_name="Other")
        other.offer("Fedora", uri=org.images["Debian 12"].uri, serve=False, size=org.images["Debian 12"].size, sha512=org.images["Debian 12"].sha512)
        other.publish()
        site.takes(org.entry(credentials="team"), other.entry(new="approve"))
        site.run()
        assert shown(server, other.path) == [None]
    image = org.images["Debian 12"].uri.removeprefix(site.server.url)
    assert shown(site.server, image) == [None], "an image of a list without credentials"


def test_they_are_not_sent_unencrypted_to_a_host_that_is_not_listed(tmp_path: Path) -> None:
    put(tmp_path, BASIC)
    with WebServer() as server:
        url = server.serve("/list", b"x")
        credentials = read_credentials(tmp_path, "team", url)

        class Everywhere(UrlPolicy):
            def addresses(self, host: str, resolve: object) -> tuple[str, ...]:
                return ("127.0.0.1",)

        with pytest.raises(Refused, match="not encrypted") as caught:
            read_changed(Web(Everywhere(), credentials=credentials), url, Validators(), limit=10)
        assert caught.value.rule == "R27"
        assert server.requests == []
        # By name, by address and by network.
        for allow in (["127.0.0.1"], ["127.0.0.0/8"]):
            assert read_changed(Web(UrlPolicy(allow), credentials=credentials), url, Validators(), limit=10).data == b"x"


def test_a_server_that_shows_no_interest_still_gets_them_only_once_asked_for_its_own_list(site: Subscriber, org: Organisation) -> None:
    put(site.home.folder, BEARER)
    org.page.statuses = [401]
    done = site.run()
    assert "the server answered 401" in notes(done)
    assert "name what is to be shown to it under credentials:, or renew that" in notes(done)
    assert SECRET not in notes(done)


# A client's certificate


@pytest.fixture
def grid(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """A server that wants a certificate, and the home of a site that has one."""
    ca = authority()
    host = issue(name(("CN", "localhost")), ca, hosts=("localhost",), usage=())
    person = issue(name(("CN", "Site")), ca, usage=())
    certificate, key = host.write(tmp_path / "host", "host")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    (tmp_path / "ca.pem").write_bytes(ca.pem)
    context.load_verify_locations(tmp_path / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    home = tmp_path / "home"
    person.write(home / "credentials", "site")
    (home / "credentials/ca.pem").write_bytes(ca.pem)
    put(home, "type: certificate\ncertificate: site.pem\nkey: site.key\nservers: ca.pem\n")
    return context, home


def test_a_certificate_is_shown_to_its_server(grid: tuple[ssl.SSLContext, Path]) -> None:
    context, home = grid
    with WebServer(tls=context) as server:
        server.serve("/list", b"signed")
        url = f"https://localhost:{server.port}/list"
        policy = UrlPolicy(["localhost"])
        credentials = read_credentials(home, "team", url)
        assert read_changed(Web(policy, credentials=credentials), url, Validators(), limit=10).data == b"signed"
        assert "CERTIFICATE" not in repr(credentials)
        # The same name at another port is another origin.
        elsewhere = read_credentials(home, "team", f"https://localhost:{server.port + 1}/list")
        with pytest.raises(UserError, match="certificate is not valid"):
            read_changed(Web(policy, credentials=elsewhere), url, Validators(), limit=10)


# Files that are refused


def refused(home: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_credentials(home, "team", "https://a.example.org/x")
    told = f"{caught.value} {caught.value.hint} {caught.value.__context__ if caught.value.__suppress_context__ is False else ''}"
    assert SECRET not in told
    return told


def test_a_file_that_is_not_there_is_told_with_its_form(tmp_path: Path) -> None:
    assert "chmod 600" in refused(tmp_path)
    assert "type: basic with user, password" in refused(tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o777])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    put(tmp_path, BASIC, mode)
    assert f"others can read these credentials (mode {mode:03o})" in refused(tmp_path)


BROKEN = {
    "empty": "",
    "a list": "- a\n",
    "text": "secret",
    "no YAML": f"type: basic\n  password: {SECRET}\n user: x",
    "no type": f"user: a\npassword: {SECRET}\n",
    "an unknown type": f"type: cookie\npassword: {SECRET}\n",
    "an unknown key": f"{BASIC}more: {SECRET}\n",
    "no password": "type: basic\nuser: a\n",
    "a number as password": "type: basic\nuser: a\npassword: 123456\n",
    "a colon in the user's name": f"type: basic\nuser: 'a:{SECRET}'\npassword: {SECRET}\n",
    "a token in two words": f"type: bearer\ntoken: {SECRET} {SECRET}\n",
    "an empty token": "type: bearer\ntoken: ''\n",
    "a token with a line break": f'type: bearer\ntoken: "{SECRET}\\nX-Other: 1"\n',
    "an anchor": f"type: bearer\ntoken: &a {SECRET}\n",
    "files that are not there": "type: certificate\ncertificate: a.pem\nkey: b.pem\n",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_read_is_refused_without_saying_what_it_is(tmp_path: Path, text: str) -> None:
    put(tmp_path, text)
    assert refused(tmp_path)


def spoil_key(folder: Path) -> None:
    (folder / "site.key").write_text("no key")


def open_key(folder: Path) -> None:
    (folder / "site.key").chmod(0o644)


def other_key(folder: Path) -> None:
    issue(name(("CN", "Other"))).write(folder, "other")
    (folder / "other.key").rename(folder / "site.key")


@pytest.mark.parametrize("spoil", [spoil_key, open_key, other_key])
def test_a_certificate_s_key_is_the_right_one_and_readable_by_its_owner_alone(
    grid: tuple[ssl.SSLContext, Path], spoil: Callable[[Path], None]
) -> None:
    spoil(grid[1] / "credentials")
    assert "600" in refused(grid[1]) if spoil is open_key else "cannot be used" in refused(grid[1])


def test_a_list_whose_credentials_cannot_be_read_is_told_and_stops_no_other(site: Subscriber, org: Organisation) -> None:
    put(site.home.folder, BASIC, 0o644)
    other = Organisation(site.server, org.authority, name="other", common_name="Other")
    other.offer("Fedora")
    other.publish()
    site.takes(org.entry(credentials="team"), other.entry(new="approve"))
    done = site.run()
    assert kinds(done) == ["register other-fedora 1.0"]
    assert "others can read these credentials (mode 644)" in notes(done)
    assert org.requests() == []


def test_credentials_are_in_no_plan(site: Subscriber, org: Organisation) -> None:
    put(site.home.folder, BASIC)
    done = site.run()
    (action,) = done.made.plan.actions
    assert SECRET not in json.dumps(action.model_dump(mode="json"))
    assert action.model_dump(mode="json")["supply"]["credentials"] == "team"
