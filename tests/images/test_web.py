"""Small files over the web: what comes, what is refused, what may be tried again."""

import time

import pytest

from support.webserver import WebServer
from vmkeeper.errors import Refused, Transient, UserError
from vmkeeper.images.addresses import UrlPolicy, origin
from vmkeeper.images.web import Answered, Unavailable, Validators, Web, read_changed, read_url

HERE = ["127.0.0.1"]


@pytest.fixture
def server():
    with WebServer() as running:
        yield running


def test_small_file_comes_also_over_redirects(server):
    server.serve("/end", b"text")
    assert read_url(server.serve("/a", location="/end"), limit=4, allow=HERE) == b"text"


def test_small_file_out_of_an_allowed_folder(tmp_path):
    (tmp_path / "x").write_bytes(b"text")
    assert read_url(f"file://{tmp_path}/x", limit=4, allow=[str(tmp_path)]) == b"text"
    with pytest.raises(UserError, match="No such file"):
        read_url(f"file://{tmp_path}/y", limit=4, allow=[str(tmp_path)])


@pytest.mark.parametrize("page", [{"data": b"12345"}, {"endless": True}, {"data": b"12345", "length": -1}], ids=["long", "endless", "unsaid"])
def test_more_than_the_limit_is_refused(server, tmp_path, page):
    with pytest.raises(Refused) as caught:
        read_url(server.serve("/a", **page), limit=4, allow=HERE)
    assert caught.value.rule == "R25"
    (tmp_path / "x").write_bytes(b"12345")
    with pytest.raises(Refused):
        read_url(f"file://{tmp_path}/x", limit=4, allow=[str(tmp_path)])


@pytest.mark.parametrize(("status", "kind"), [(404, Unavailable), (403, Unavailable), (206, Unavailable), (503, Transient), (429, Transient)])
def test_status_decides_what_follows(server, status, kind):
    with pytest.raises(kind, match=str(status)):
        read_url(server.serve("/a", b"text", statuses=[status]), limit=4, allow=HERE)


def test_cut_connection_may_be_tried_again(server):
    url = server.serve("/a", b"x" * 1000, cuts=[10])
    with pytest.raises(Transient, match="connection failed"):
        read_url(url, limit=1000, allow=HERE)
    assert read_url(url, limit=1000, allow=HERE) == b"x" * 1000


def test_compressed_answer_is_not_taken(server):
    with pytest.raises(Unavailable, match="gzip"):
        read_url(server.serve("/a", b"text", headers={"Content-Encoding": "gzip"}), limit=9, allow=HERE)


@pytest.mark.parametrize("url", ["http://169.254.169.254/", "ftp://127.0.0.1/", "file:///etc/passwd", "http://u:p@127.0.0.1/"])
def test_addresses_that_are_not_allowed(url):
    with pytest.raises(Refused) as caught:
        read_url(url, limit=9)
    assert caught.value.rule == "R27"


@pytest.mark.parametrize("url", ["http://[", "http://127.0.0.1:x/", "http://exa mple.org/", "http://\x00/", "http://-_.-.-/%"])
def test_what_is_no_url_is_no_bug(url):
    with pytest.raises((UserError, Transient, Refused)):
        read_url(url, limit=9, allow=HERE)


# Asking only for what has changed


def changed(url, known=None):
    return read_changed(Web(UrlPolicy(HERE)), url, known or Validators(), limit=100)


def test_what_has_not_changed_is_not_sent_again(server):
    url = server.serve("/a", b"text", etag='"1"', modified="Fri, 20 Nov 2026 09:00:00 GMT")
    first = changed(url)
    assert first == Answered(b"text", Validators('"1"', "Fri, 20 Nov 2026 09:00:00 GMT"))
    assert changed(url, first.validators) == Answered(None, first.validators)
    server.serve("/a", b"more", etag='"2"')
    assert changed(url, first.validators) == Answered(b"more", Validators('"2"'))


def test_a_304_that_nobody_asked_for_is_no_file(server):
    url = server.serve("/a", b"text", unchanged="always")
    with pytest.raises(Unavailable, match="304"):
        changed(url)


def test_a_condition_goes_along_with_a_redirect(server):
    server.serve("/b", b"text", etag='"1"')
    assert changed(server.serve("/a", location="/b"), Validators('"1"')).data is None


def test_a_body_that_takes_too_long_is_cut_off(server):
    url = server.serve("/a", endless=True, pause=lambda _sent: time.sleep(0.05))
    with pytest.raises(Transient, match="too slowly"):
        read_changed(Web(UrlPolicy(HERE)), url, Validators(), limit=1 << 40, longest=0.2)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.example.org/x", "https://a.example.org:443"),
        ("https://A.Example.org:443", "https://a.example.org:443"),
        ("http://a.example.org", "http://a.example.org:80"),
        ("http://a.example.org:8080/?x", "http://a.example.org:8080"),
        ("https://[2001:db8::1]/", "https://2001:db8::1:443"),
        ("https://a.example.org.:443/", "https://a.example.org.:443"),
    ],
)
def test_origins(url, expected):
    assert origin(url) == expected


@pytest.mark.parametrize(
    ("host", "listed"), [("mirror", True), ("MIRROR", True), ("10.1.2.3", True), ("[fd00::1]", True), ("11.0.0.1", False), ("other", False)]
)
def test_hosts_that_are_listed(host, listed):
    assert UrlPolicy(["mirror", "10.0.0.0/8", "fd00::/8"]).lists(host) == listed
