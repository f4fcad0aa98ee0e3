"""Downloads against a real server that behaves well or badly, and against addresses that must not be reached."""

import os
import random
import signal
import ssl
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from support.certificates import authority, issue, name
from support.webserver import WebServer
from vmkeeper.errors import Refused, Transient, UserError
from vmkeeper.images.addresses import UrlPolicy, public, resolved
from vmkeeper.images.fetch import Patience, Unavailable, fetch
from vmkeeper.images.partial import drop_parts
from vmkeeper.model.release import Blob
from vmkeeper.values import Size, sha512_hex

HERE = ("127.0.0.1",)
DATA = random.Random(1).randbytes(3_000_000)
TODAY = datetime.now(UTC)
VALID = {"start": TODAY - timedelta(days=1), "end": TODAY + timedelta(days=1)}
QUICK = Patience(connect=5, idle=5, retries=3)


def blob(data):
    return Blob(size=Size(len(data)), sha512=sha512_hex(data))


class Waits(list):
    """Stands for sleep and keeps what was asked of it."""

    __call__ = list.append


@pytest.fixture
def server():
    with WebServer() as running:
        yield running


@pytest.fixture
def target(tmp_path):
    return tmp_path / "images" / "disk.qcow2"


def download(urls, target, data=DATA, **how):
    waits = Waits()
    fetch([urls] if isinstance(urls, str) else urls, blob(data), target, **{"allow": HERE, "patience": QUICK, "sleep": waits, **how})
    assert target.read_bytes() == data
    assert only(target) == [target.name]
    return waits


def refused(urls, target, data=DATA, **how):
    with pytest.raises(Refused) as caught:
        fetch([urls] if isinstance(urls, str) else urls, blob(data), target, **{"allow": HERE, "patience": QUICK, "sleep": Waits(), **how})
    assert only(target) == []
    return caught.value


def only(target):
    return sorted(path.name for path in target.parent.iterdir()) if target.parent.exists() else []


def ranges(server):
    return [request.headers.get("Range") for request in server.requests]


def test_whole_file_comes_at_once(server, target):
    assert download(server.serve("/a", DATA), target) == []
    assert ranges(server) == [None]
    assert server.requests[0].headers["Host"] == f"127.0.0.1:{server.port}"


def test_file_that_is_there_is_not_fetched_again(server, target):
    url = server.serve("/a", DATA)
    download(url, target)
    download(url, target)
    assert len(server.requests) == 1


def test_wrong_file_under_the_name_is_replaced(server, target):
    target.parent.mkdir()
    target.write_bytes(b"something else")
    download(server.serve("/a", DATA), target)


def test_cut_connection_is_resumed_where_it_ended(server, target):
    waits = download(server.serve("/a", DATA, cuts=[1_000_000, 500_000]), target)
    assert waits == [1, 2]
    first, second, third = ranges(server)
    assert first is None
    assert 0 < int(second[6:-1]) <= 1_000_000
    assert int(second[6:-1]) <= int(third[6:-1]) <= 1_500_000
    assert server.requests[1].headers["If-Range"] == '"one"'


def test_partial_file_of_an_earlier_run_is_taken_up(server, target):
    url = server.serve("/a", DATA, cuts=[2_000_000] * 1, statuses=[])
    with pytest.raises(Transient, match="connection"):
        fetch([url], blob(DATA), target, allow=HERE, patience=Patience(retries=0))
    assert not target.exists()
    assert len(only(target)) == 2
    download(url, target)
    assert int(ranges(server)[1][6:-1]) > 0


def test_server_without_ranges_starts_over(server, target):
    download(server.serve("/a", DATA, ranges=False, cuts=[1_000_000]), target)
    assert len(server.requests) == 2


def test_file_changed_between_requests_starts_over(server, target):
    old = b"old" * 1_000_000
    page = server.serve("/a", old[: len(DATA)], cuts=[1_000_000])
    with pytest.raises(Transient):
        fetch([page], blob(DATA), target, allow=HERE, patience=Patience(retries=0))
    server.serve("/a", DATA, etag='"two"')
    download(page, target)
    assert server.requests[1].headers["If-Range"] == '"one"'


def test_file_changed_without_a_validator_starts_over_once(server, target):
    old = bytes(len(DATA))
    page = server.serve("/a", old, cuts=[1_000_000], etag=None)
    with pytest.raises(Transient):
        fetch([page], blob(DATA), target, allow=HERE, patience=Patience(retries=0))
    server.serve("/a", DATA, etag=None)
    download(page, target)
    assert [request.headers.get("If-Range") for request in server.requests] == [None, None, None]
    assert [bool(asked) for asked in ranges(server)] == [False, True, False]


def test_weak_etag_is_no_validator(server, target):
    url = server.serve("/a", DATA, etag='W/"x"', modified="Fri, 20 Nov 2026 10:00:00 GMT", cuts=[1_000_000])
    download(url, target)
    assert server.requests[1].headers["If-Range"] == "Fri, 20 Nov 2026 10:00:00 GMT"


def test_wrong_bytes_are_refused_and_thrown_away(server, target):
    wrong = bytes([DATA[0] ^ 1]) + DATA[1:]
    assert refused(server.serve("/a", wrong), target).rule == "R14"
    assert len(server.requests) == 1


def test_wrong_bytes_of_one_mirror_do_not_stop_the_next(server, target):
    download([server.serve("/bad", bytes(len(DATA))), server.serve("/gone", statuses=[404]), server.serve("/good", DATA)], target)
    assert [request.path for request in server.requests] == ["/bad", "/gone", "/good"]


def test_second_mirror_goes_on_where_the_first_gave_up(server, target):
    download([server.serve("/a", DATA, cuts=[1_000_000] + [0] * 9), server.serve("/b", DATA)], target)
    assert server.requests[-1].path == "/b"
    assert int(ranges(server)[-1][6:-1]) > 0
    assert "If-Range" not in server.requests[-1].headers


@pytest.mark.parametrize(
    ("data", "how", "rule"),
    [
        (DATA + b"x", {}, "R25"),
        (DATA[:-1], {}, "R14"),
        (DATA + b"x", {"length": -1}, "R25"),
        (DATA, {"endless": True}, "R25"),
        (b"", {"endless": True}, "R25"),
        (DATA, {"length": len(DATA) * 1000}, "R25"),
    ],
    ids=["longer", "shorter", "longer-unsaid", "endless", "endless-zeros", "length-lie"],
)
def test_other_size_than_signed_is_refused(server, target, data, how, rule):
    assert refused(server.serve("/a", data, **how), target).rule == rule


def test_shorter_file_without_a_length_never_passes(server, target):
    with pytest.raises(Transient):
        fetch([server.serve("/a", DATA[:-1], length=-1)], blob(DATA), target, allow=HERE, patience=QUICK, sleep=Waits())
    assert not target.exists()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451, 204, 304])
def test_server_that_does_not_give_the_file_is_asked_once(server, target, status):
    with pytest.raises(Unavailable, match=str(status)):
        fetch([server.serve("/a", statuses=[status] * 9)], blob(DATA), target, allow=HERE, sleep=Waits())
    assert len(server.requests) == 1
    assert only(target) == []


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_busy_server_is_asked_again(server, target, status):
    assert download(server.serve("/a", DATA, statuses=[status] * 2), target) == [1, 2]


def test_busy_server_is_not_asked_for_ever(server, target):
    waits = Waits()
    with pytest.raises(Transient, match="503"):
        fetch([server.serve("/a", DATA, statuses=[503] * 99)], blob(DATA), target, allow=HERE, patience=QUICK, sleep=waits)
    assert waits == [1, 2, 4]


@pytest.mark.parametrize(("asked", "waited"), [("30", 30), ("999999", 300), ("Thu, 01 Jan 1970 00:00:00 GMT", 1), ("soon", 1)])
def test_the_wait_that_a_server_asks_for_is_kept_within_bounds(server, target, asked, waited):
    assert download(server.serve("/a", DATA, statuses=[503], headers={"Retry-After": asked}), target) == [waited]


def test_server_that_resumes_elsewhere_starts_over(server, target):
    url = server.serve("/a", DATA, cuts=[1_000_000], shift=10)
    download(url, target)


def test_silent_server_is_given_up(server, target):
    stop = threading.Event()
    url = server.serve("/a", DATA, pause=lambda sent: stop.wait(20) if sent else None)
    with pytest.raises(Transient):
        fetch([url], blob(DATA), target, allow=HERE, patience=Patience(idle=0.3, retries=1), sleep=Waits())
    stop.set()


def test_trickling_server_is_given_up(server, target):
    url = server.serve("/a", DATA[:300_000], pause=lambda _: threading.Event().wait(0.2))
    with pytest.raises(Transient, match="slowly"):
        fetch([url], blob(DATA[:300_000]), target, allow=HERE, patience=Patience(idle=0.3, slowest=10**9, retries=0), sleep=Waits())


def test_compressed_answer_is_not_taken_for_the_file(server, target):
    with pytest.raises(Unavailable, match="encoding"):
        fetch([server.serve("/a", DATA, headers={"Content-Encoding": "gzip"})], blob(DATA), target, allow=HERE)


def test_dead_server_then_mirror(server, target):
    with WebServer() as gone:
        dead = gone.url
    download([dead + "/a", server.serve("/a", DATA)], target)


def test_all_reasons_are_told(server, target):
    urls = [server.serve("/a", statuses=[404]), server.serve("/b", bytes(len(DATA)))]
    error = refused(urls, target)
    assert error.rule == "R14"
    assert "404" in error.why
    assert "/b" in error.why


def test_no_address_is_a_users_error(target):
    with pytest.raises(UserError, match="nothing says where"):
        fetch([], blob(DATA), target)


def test_file_url_inside_an_allowed_folder(tmp_path, target):
    (tmp_path / "pub").mkdir()
    (tmp_path / "pub" / "im age").write_bytes(DATA)
    download(f"file://{tmp_path}/pub/im%20age", target, allow=[str(tmp_path / "pub")])


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "file://{0}/pub/../secret", "file://{0}/pub/%2e%2e/secret", "file://other{0}/pub/x", "file://{0}/pub/link"]
)
def test_file_url_outside_is_refused(tmp_path, target, url):
    (tmp_path / "pub").mkdir()
    (tmp_path / "secret").write_bytes(DATA)
    (tmp_path / "pub" / "link").symlink_to(tmp_path / "secret")
    assert refused(url.format(tmp_path), target, allow=[str(tmp_path / "pub")]).rule == "R27"


def test_absent_file_url(tmp_path, target):
    with pytest.raises(Unavailable):
        fetch([f"file://{tmp_path}/x"], blob(DATA), target, allow=[str(tmp_path)])


PRIVATE = [
    "127.0.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "127.1",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "localhost",
    "0.0.0.0",
    "[::]",
]


@pytest.mark.parametrize("host", PRIVATE)
def test_ways_to_write_this_machine_are_refused(server, target, host):
    server.serve("/a", DATA)
    with pytest.raises((Refused, UserError, Transient)) as caught:
        fetch([f"http://{host}:{server.port}/a"], blob(DATA), target, patience=QUICK, sleep=Waits())
    assert server.requests == []
    if host not in ("0177.0.0.1", "[::ffff:127.0.0.1]"):
        assert isinstance(caught.value, Refused) is True
        assert caught.value.rule == "R27"


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "[fe80::1]",
        "10.1.2.3",
        "[fd00::1]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:7f00:1::]",
        "224.0.0.1",
        "100.64.0.1",
    ],
)
def test_private_addresses_are_refused(target, address):
    assert refused(f"http://{address}/latest/meta-data", target, allow=()).rule == "R27"


@pytest.mark.parametrize(
    "there",
    [
        "http://169.254.169.254/latest",
        "http://[::ffff:a9fe:a9fe]/",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "http://u:p@127.0.0.1/",
        "//10.0.0.1/x",
    ],
)
def test_redirect_is_checked_like_an_address(server, target, there):
    error = refused(server.serve("/a", location=there), target)
    assert error.rule == "R27"
    assert "u:p" not in str(error)


def test_redirects_are_followed_and_counted(server, target):
    server.serve("/end", DATA)
    server.serve("/b", location="/end?signed=1")
    download(server.serve("/a", location="/b"), target)
    assert refused(server.serve("/loop", location="/loop"), target.parents[1] / "other" / "x").rule == "R27"


def test_host_is_resolved_once_and_the_checked_address_is_used(server, target, monkeypatch):
    asked = []

    def rebinding(host):
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    monkeypatch.setattr("vmkeeper.images.addresses.resolved", rebinding)
    server.serve("/a", DATA)
    download(f"http://images.test:{server.port}/a", target)
    assert asked == ["images.test"]
    assert server.requests[0].headers["Host"] == f"images.test:{server.port}"


def test_one_private_address_among_public_ones_refuses_the_name(target, monkeypatch):
    monkeypatch.setattr("vmkeeper.images.addresses.resolved", lambda _: ["93.184.216.34", "10.0.0.1"])
    assert refused("http://images.test/a", target, allow=()).rule == "R27"


@pytest.mark.parametrize("allow", [["127.0.0.0/8"], ["127.0.0.1"], ["localhost"], ["LOCALHOST"]])
def test_listed_hosts_and_networks_are_reached(server, target, allow):
    server.serve("/a", DATA)
    host = "localhost" if allow[0].lower() == "localhost" else "127.0.0.1"
    if host == "localhost" and "127.0.0.1" not in resolved(host):
        pytest.skip("localhost is not 127.0.0.1 here")
    download(f"http://{host}:{server.port}/a", target, allow=allow)


@pytest.mark.parametrize("url", ["ftp://h/x", "gopher://h/x", "javascript:1", "http:///x", "http://user:secret@h/x", "https://secret@h/x", "x"])
def test_addresses_that_are_never_fetched(url):
    with pytest.raises(Refused) as caught:
        UrlPolicy().check(url)
    assert caught.value.rule == "R27"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://[::1", "http://h:99999/", "http://h:x/"])
def test_what_is_no_url_is_a_users_error(url):
    with pytest.raises(UserError, match="not a URL"):
        UrlPolicy().check(url)


def test_secrets_of_a_url_are_not_shown():
    assert public("https://u:p@h:1/a?token=x#y") == "https://h:1/a"


def test_killed_download_is_taken_up_by_the_next_run(server, target, tmp_path):
    arrived, go = threading.Event(), threading.Event()

    def pause(sent):
        if sent > 1_500_000 and not go.is_set():
            arrived.set()
            go.wait(30)

    url = server.serve("/a", DATA, pause=pause)
    code = f"""
from pathlib import Path
from vmkeeper.images.fetch import fetch
from vmkeeper.model.release import Blob
fetch([{url!r}], Blob(size={len(DATA)}, sha512={sha512_hex(DATA)!r}), Path({str(target)!r}), allow=["127.0.0.1"])
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    assert arrived.wait(30)
    while not any(path.stat().st_size > 1_000_000 for path in target.parent.glob("*.part")):
        threading.Event().wait(0.02)
    with pytest.raises(Transient, match="another run"):
        fetch([url], blob(DATA), target, allow=HERE)
    process.send_signal(signal.SIGKILL)
    process.wait()
    go.set()
    assert not target.exists()
    download(url, target)
    assert int(ranges(server)[-1][6:-1]) >= 1_000_000


def test_partial_files_of_other_downloads_are_dropped(tmp_path):
    for stem in ("a" * 32, "b" * 32):
        (tmp_path / f"{stem}.part").write_bytes(b"x")
        (tmp_path / f"{stem}.part.json").write_bytes(b"{}")
    assert [path.stem for path in drop_parts(tmp_path, ["a" * 128])] == ["b" * 32]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a" * 32 + ".part", "a" * 32 + ".part.json"]


def test_damaged_partial_file_heals(server, target):
    url = server.serve("/a", DATA)
    target.parent.mkdir()
    part = target.parent / f"{sha512_hex(DATA)[:32]}.part"
    for rubbish in (b"rubbish", bytes(len(DATA)), bytes(len(DATA) + 1)):
        part.write_bytes(rubbish)
        target.unlink(missing_ok=True)
        download(url, target)


def test_file_that_cannot_fit_is_said_before_anything_comes(server, target):
    wanted = Blob(size=Size(1 << 60), sha512="0" * 128)
    with pytest.raises(UserError, match="are free"):
        fetch([server.serve("/a", DATA)], wanted, target, allow=HERE)
    assert server.requests == []


def test_folder_without_right_to_write(server, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(UserError, match="could not keep"):
        fetch([server.serve("/a", DATA)], blob(DATA), tmp_path / "closed" / "x", allow=HERE)


def test_progress_ends_at_the_whole_size(server, target):
    seen = []

    class Keeps:
        def step(self, subject, text):
            seen.append((subject, text))

        def amount(self, subject, done, total, unit):
            seen.append((subject, done, total, unit))

    download(server.serve("/a", DATA, cuts=[1_000_000]), target, progress=Keeps())
    assert seen[-1] == (target.name, len(DATA), len(DATA), "B")
    assert any("trying again" in str(entry[1]) for entry in seen)


@pytest.fixture
def secure(tmp_path, monkeypatch):
    """An https server that is images.test, and a context that trusts its authority."""
    trusted = authority(**VALID)
    host = issue(name(("CN", "images.test")), trusted, usage=(ExtendedKeyUsageOID.SERVER_AUTH,), hosts=("images.test",), **VALID)
    certificate, key = host.write(tmp_path, "host")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    trust = ssl.create_default_context(cadata=trusted.pem.decode())
    monkeypatch.setattr("vmkeeper.images.addresses.resolved", lambda _: ["127.0.0.1"])
    with WebServer(tls=context) as server:
        yield server, trust


def test_https_checks_the_name_although_it_connects_to_an_address(secure, target):
    server, trust = secure
    server.serve("/a", DATA)
    download(f"https://images.test:{server.port}/a", target, tls=trust)
    assert server.requests[0].headers["Host"] == f"images.test:{server.port}"


@pytest.mark.parametrize("host", ["other.test", "127.0.0.1"])
def test_https_under_another_name_is_not_believed_and_not_tried_again(secure, target, host):
    server, trust = secure
    server.serve("/a", DATA)
    waits = Waits()
    with pytest.raises(Unavailable, match="certificate is not valid"):
        fetch([f"https://{host}:{server.port}/a"], blob(DATA), target, allow=HERE, patience=QUICK, sleep=waits, tls=trust)
    assert waits == []
    assert server.requests == []


def test_https_of_an_unknown_authority_is_not_believed(secure, target):
    server, _ = secure
    with pytest.raises(Unavailable, match="certificate is not valid"):
        fetch([f"https://images.test:{server.port}/a"], blob(DATA), target, allow=HERE, patience=QUICK)


def test_https_never_redirects_to_http(secure, server, target):
    there, trust = secure
    there.serve("/a", location=server.serve("/a", DATA))
    assert refused(f"https://images.test:{there.port}/a", target, tls=trust).rule == "R27"
    assert server.requests == []


def test_proxies_of_the_environment_are_not_used(server, target, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    download(server.serve("/a", DATA), target)
