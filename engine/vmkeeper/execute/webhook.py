"""Events posted to a web address as CloudEvents (HTTP binding 1.0, structured mode): no redirects, no proxies, checked addresses (R27).

Nothing is tried twice here, and nothing of what the server answers is believed but its status.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from urllib.parse import urlsplit

import httpx

from vmkeeper.errors import Refused, Transient, UserError, VmkeeperError
from vmkeeper.execute.handlers import Stopped
from vmkeeper.images.addresses import CheckedTransport, UrlPolicy, public
from vmkeeper.images.web import Credentials
from vmkeeper.lists.events import CONTENT_TYPE, Event, cloudevent_json

_PAUSE = 0.1
_ANSWER = 200
"""Bytes of a refusal that are shown."""


class Gone(VmkeeperError):
    """Who was to be told says that it is there no more."""


class WebhookTaker:
    """Posts each event. An answer of 200 to 299 takes it; 410 means that nothing is to be posted any more; all else is tried again.

    allow: hosts that may be reached although their addresses are not public. timeout: seconds for one event in all.
    credentials: reads what is shown to this address.
    """

    batch = 1

    def __init__(
        self, url: str, *, allow: Collection[str], timeout: float, credentials: Callable[[], Credentials | None], stop: threading.Event
    ) -> None:
        self._url = url
        self._policy = UrlPolicy(allow)
        self._timeout = timeout
        self._credentials = credentials
        self._stop = stop

    def take(self, events: Sequence[Event]) -> None:
        """Post them, one after the other. Raises Gone, Refused (R27), Transient, UserError, Stopped."""
        self._policy.check(self._url)
        for event in events:
            self._within_time(lambda event=event: self._post(event))  # type: ignore[misc]

    def _within_time(self, work: Callable[[], None]) -> None:
        """Time limits of a connection begin anew with every byte, so a server that trickles is left alone in a thread of its own."""
        ended: list[BaseException | None] = []

        def run() -> None:
            try:
                work()
                ended.append(None)
            except BaseException as error:  # noqa: BLE001 - raised again below, by who waits
                ended.append(error)

        thread = threading.Thread(target=run, name="webhook", daemon=True)
        thread.start()
        for _ in range(int(self._timeout / _PAUSE) + 1):
            thread.join(_PAUSE)
            if ended or self._stop.is_set():
                break
        if ended and ended[0] is not None:
            raise ended[0]
        if not ended and self._stop.is_set():
            raise Stopped("the server had not answered yet", where=public(self._url))
        if not ended:
            raise Transient(f"the server did not answer within {self._timeout:g} s", where=public(self._url))

    def _post(self, event: Event) -> None:
        where, shown = public(self._url), self._shown()
        headers = {"Content-Type": f"{CONTENT_TYPE}; charset=utf-8", "User-Agent": "vmkeeper"}
        if shown and shown.authorization:
            headers["Authorization"] = shown.authorization
        transport = CheckedTransport(self._policy, shown.tls if shown else None)
        try:
            with (
                httpx.Client(transport=transport, timeout=self._timeout, follow_redirects=False, trust_env=False) as client,
                client.stream("POST", self._url, content=cloudevent_json(event), headers=headers) as answer,
            ):
                if not answer.is_success:
                    raise _refused(answer, where)
        except httpx.TransportError as error:
            raise Transient("the connection failed", where=where, why=str(error) or type(error).__name__) from None
        except httpx.InvalidURL as error:
            raise UserError("this is not a URL", where=where, why=str(error)) from None

    def _shown(self) -> Credentials | None:
        """The credentials. Raises Refused (R27) where they would go unencrypted to a host that is not listed."""
        shown = self._credentials()
        if shown is not None and not self._url.startswith("https:") and not self._policy.lists(urlsplit(self._url).hostname or ""):
            hint = "use its https address, or list the host as allowed"
            raise Refused("R27", "credentials are not sent over a connection that is not encrypted", where=public(self._url), hint=hint)
        return shown


def _refused(answer: httpx.Response, where: str) -> VmkeeperError:
    said = b""
    for chunk in answer.iter_raw(_ANSWER):
        said += chunk
        if len(said) >= _ANSWER:
            break
    what, why = f"the server answered {answer.status_code}", said[:_ANSWER].decode(errors="replace").strip()
    if answer.status_code == httpx.codes.GONE:
        return Gone(what, where=where, why=why, hint="take the handler out of the site's file, or give it another address")
    if answer.is_redirect:
        return Refused("R27", what, where=where, why="redirects are not followed", hint="name the address that it redirects to, if that is meant")
    return Transient(what, where=where, why=why)
