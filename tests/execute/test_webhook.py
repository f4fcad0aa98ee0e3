"""Events posted to a real web server on this machine, which takes them, refuses them, stalls or is somewhere it must not be."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from support.httpserver import HttpServer
from support.sitescenario import NOW
from support.telling import TellingSite, handler, told
from vmkeeper.errors import Refused, Transient, UserError, VmkeeperError
from vmkeeper.execute.handlers import Stopped
from vmkeeper.execute.webhook import Gone, WebhookTaker
from vmkeeper.images.web import Credentials
from vmkeeper.lists.events import Event, make

SESSION = "3f0c5a44-6c8a-4f0e-9d70-6f2f0f7f2c11"


class Receiver(HttpServer):
    """Answers posts with `statuses` (used up, then 204); `hold` keeps an answer back until it is released."""

    def __init__(self) -> None:
        super().__init__(self.handle, version="HTTP/1.0")
        self.statuses: list[int] = []
        self.headers: dict[str, str] = {}
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.hold = False
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.port}"

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        if handler.command != "POST":
            self.got.append((handler.path, {}, b""))
            handler.send_response(200)
            handler.end_headers()
            return
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        self.got.append((handler.path, {name.lower(): value for name, value in handler.headers.items()}, body))
        if self.hold:
            self.released.wait(120)
        handler.send_response(self.statuses.pop(0) if self.statuses else 204)
        for name, value in self.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(b"because \x1b[31m I say so")

    @property
    def types(self) -> list[str]:
        return [json.loads(body)["type"].removeprefix("vmkeeper.") for _, _, body in self.got]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made
        made.released.set()


def event() -> Event:
    return make("ProcessPrefix", SESSION, "here", NOW)


def taker(
    url: str,
    *,
    allow: tuple[str, ...] = ("127.0.0.1",),
    timeout: float = 3600,
    credentials: Callable[[], Credentials | None] = lambda: None,
    stop: threading.Event | None = None,
) -> WebhookTaker:
    return WebhookTaker(url, allow=allow, timeout=timeout, credentials=credentials, stop=stop or threading.Event())


def test_an_event_arrives_as_cloudevents_json(receiver: Receiver) -> None:
    taker(f"{receiver.url}/hook?site=here").take([event()])
    ((path, headers, body),) = receiver.got
    assert path == "/hook?site=here"
    assert headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert "authorization" not in headers
    assert json.loads(body)["id"] == event().id


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_every_success_takes_it(status: int, receiver: Receiver) -> None:
    receiver.statuses = [status]
    taker(receiver.url).take([event()])


@pytest.mark.parametrize(
    ("status", "error"), [(400, Transient), (401, Transient), (404, Transient), (413, Transient), (429, Transient), (500, Transient), (503, Transient), (410, Gone)]
)  # fmt: skip
def test_every_other_answer_does_not(status: int, error: type[VmkeeperError], receiver: Receiver) -> None:
    receiver.statuses = [status]
    with pytest.raises(error, match=f"the server answered {status}") as refused:
        taker(f"{receiver.url}/hook?token=secret").take([event()])
    assert "I say so" in refused.value.why
    assert "secret" not in str(refused.value)


def test_a_redirect_is_not_followed(receiver: Receiver) -> None:
    receiver.statuses, receiver.headers = [307], {"Location": f"{receiver.url}/elsewhere"}
    with pytest.raises(Refused, match="the server answered 307") as refused:
        taker(receiver.url).take([event()])
    assert refused.value.rule == "R27"
    assert len(receiver.got) == 1


def test_an_address_that_is_not_public_must_be_listed(receiver: Receiver) -> None:
    with pytest.raises(Refused, match="not a public address"):
        taker(receiver.url, allow=()).take([event()])
    with pytest.raises(Refused, match="more than one way"):
        taker(receiver.url.replace("127.0.0.1", "2130706433")).take([event()])
    with pytest.raises(Refused, match="user name"):
        taker(receiver.url.replace("http://", "http://a:b@")).take([event()])
    assert receiver.got == []


def test_credentials_are_shown_to_their_address(receiver: Receiver) -> None:
    shown = Credentials(receiver.url, "Bearer letmein")
    taker(receiver.url, credentials=lambda: shown).take([event()])
    assert receiver.got[0][1]["authorization"] == "Bearer letmein"


def test_credentials_are_not_sent_unencrypted_to_a_host_that_is_not_listed() -> None:
    with pytest.raises(Refused, match="not encrypted"):
        taker("http://192.0.2.1/", allow=(), credentials=lambda: Credentials("http://192.0.2.1:80", "Bearer x")).take([event()])


def test_credentials_that_cannot_be_read_are_told(tmp_path: Path, receiver: Receiver) -> None:
    here = TellingSite(tmp_path, handler("hook", webhook=receiver.url, credentials="none-there"))
    (note,) = here.run("register debian-12 1")[1]
    assert "there are no credentials of this name" in note.why
    assert receiver.got == []


def test_a_server_that_is_not_there_is_tried_again(receiver: Receiver) -> None:
    with pytest.raises(Transient, match="the connection failed"):
        taker("http://127.0.0.1:9").take([event()])


def test_a_server_that_stalls_is_left_after_the_time_in_all(receiver: Receiver) -> None:
    receiver.hold = True
    with pytest.raises(Transient, match=r"did not answer within 0.3 s|the connection failed"):
        taker(receiver.url, timeout=0.3).take([event()])
    receiver.released.set()


def test_a_run_that_is_broken_off_does_not_wait_for_an_answer(receiver: Receiver) -> None:
    receiver.hold = True
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        taker(receiver.url, stop=stop).take([event()])
    receiver.released.set()


def test_what_is_no_url_is_a_users_error() -> None:
    with pytest.raises(UserError):
        taker("http://127.0.0.1:99999/").take([event()])


# -- as a handler of a site


def test_a_site_posts_its_events_in_order_and_what_is_refused_waits(tmp_path: Path, receiver: Receiver) -> None:
    here = TellingSite(tmp_path, handler("hook", webhook=f"{receiver.url}/hook"), handler("list"))
    receiver.statuses = [204, 204, 503]
    (note,) = here.run("register debian-12 1")[1]
    assert (note.subject, "3 events wait" in note.why, "the server answered 503" in note.why) == ("handler hook", True, True)
    assert here.run()[1] == ()
    assert receiver.types == [one.split()[0] for one in told(tmp_path)][:3] + [one.split()[0] for one in told(tmp_path)][2:]


def test_a_server_that_says_it_is_gone_is_told_nothing_more_until_it_has_another_address(tmp_path: Path, receiver: Receiver) -> None:
    here = TellingSite(tmp_path, handler("hook", webhook=f"{receiver.url}/old"))
    receiver.statuses = [410]
    (note,) = here.run("register debian-12 1")[1]
    assert "it is not told anything any more" in note.why
    (again,) = here.run("hide debian-12 1")[1]
    assert again == note
    assert len(receiver.got) == 1
    assert here.waiting() == []
    here.handlers = (handler("hook", webhook=f"{receiver.url}/new"),)
    assert here.run("show debian-12 1")[1] == ()
    assert receiver.types[1:] == ["ProcessPrefix", "AvailablePrefix", "AvailablePostfix", "ProcessPostfix"]
