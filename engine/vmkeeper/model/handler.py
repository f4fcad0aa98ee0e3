"""A part of `sites/NAME.yaml`: who is told what happens to images at the site."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import StringConstraints, model_validator

from vmkeeper.model.base import Document, Inconsistent
from vmkeeper.values import Duration, Name

EventName = Literal[
    "ProcessPrefix",
    "SubscriptionImageNew",
    "AvailablePrefix",
    "AvailablePostfix",
    "ExpirePrefix",
    "ExpirePostfix",
    "ProcessPostfix",
]
"""The events of vmcatcher, under its names, in the order that leaves no gap."""

HandlerFile = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,100}$")]
WebhookUrl = Annotated[str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.:\[\]_-]+(/[A-Za-z0-9._~%+@=&?,:;-]*)*$", max_length=2000)]


class Handler(Document):
    """Somebody who is told: a program, a web address or a file; one of them."""

    name: Name
    """What the handler is called; events that it has not taken yet are kept under this name."""
    program: HandlerFile | None = None
    """A program in handlers/ of the site's own folder; it finds the event in its environment as vmcatcher's handlers do."""
    webhook: WebhookUrl | None = None
    """An address to which each event is posted as CloudEvents JSON."""
    file: HandlerFile | None = None
    """A file in events/ of the site's own folder, to which each event is appended as one line of JSON."""
    credentials: Name | None = None
    """What is shown to the web server: credentials/NAME.yaml in the site's own folder."""
    events: tuple[EventName, ...] = ()
    """Which events; none: all."""
    replaced: bool = True
    """Whether the handler is also told of the expiry of a version that a newer one has replaced. To one that knows an image by
    its UUID alone, that would be the expiry of the new version."""
    timeout: Duration = Duration.parse("5m")
    """How long one event may take."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(way is not None for way in (self.program, self.webhook, self.file)) != 1:
            raise Inconsistent("a handler is a program, a webhook or a file", hint="write one of program, webhook and file")
        if self.credentials is not None and self.webhook is None:
            raise Inconsistent("only a webhook has credentials", "credentials", hint="leave them out")
        if self.file is not None and (self.file == "spool" or self.file.endswith((".log", ".log.1"))):
            raise Inconsistent(f"{self.file} is a name that vmkeeper uses in events/ itself", "file", hint="call it EVENTS.jsonl or the like")
        return self
