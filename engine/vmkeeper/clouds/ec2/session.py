"""A session with one region: clients made at their first use, and every call with its errors mapped and its answer looked at."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.loaders import create_loader

from vmkeeper.clouds.ec2.errors import mapped, part

Login = Callable[[], tuple[str, str] | None]
"""Access key and secret, or None for what boto3 finds by itself. Raises UserError."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds. How long one request may take, how often it is tried, and how often and how long we look whether something is done."""

    connect: float = 10
    read: float = 60
    attempts: int = 4
    poll: float = 5
    importing: float = 4 * 3600
    """The longest that importing a snapshot may take."""
    settling: float = 60
    """The longest until a change shows."""


@dataclass(slots=True)
class Session:
    """One region of one account. Nothing is asked before the first call."""

    region: str
    endpoint: str | None = None
    profile: str | None = None
    login: Login = lambda: None
    named: str = ""
    """What the credentials are called, for messages."""
    pace: Pace = Pace()
    _clients: dict[str, Any] = field(default_factory=dict)
    _session: Any = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def where(self) -> str:
        """Whose cloud it is and which region, for messages."""
        return f"EC2 {self.region} ({self.named or self.profile or 'default credentials'})"

    def client(self, service: str) -> Any:
        """boto3's client of a service."""
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._made(service)
            return self._clients[service]

    def call(self, service: str, operation: str, doing: str, *needs: str, **parameters: Any) -> Mapping[str, Any]:
        """One request; `needs` are the parts that its answer must have."""
        with mapped(doing, self.where, service):
            answer: Mapping[str, Any] = getattr(self.client(service), operation)(**parameters)
        for name in needs:
            part(answer, name, doing, self.where)
        return answer

    def listed(self, service: str, operation: str, items: str, doing: str, *, proof: str = "", **parameters: Any) -> Iterator[Mapping[str, Any]]:
        """The items of all pages. proof: a part that each page has even where it holds no items; left out, the items."""
        with mapped(doing, self.where, service):
            pages = iter(self.client(service).get_paginator(operation).paginate(**parameters))
        while True:
            with mapped(doing, self.where, service):
                page = next(pages, None)
            if page is None:
                return
            part(page, proof or items, doing, self.where)
            yield from page.get(items, ())

    def _made(self, service: str) -> Any:
        with mapped("open a session", self.where, service):
            if self._session is None:
                login = self.login()
                keys = {"aws_access_key_id": login[0], "aws_secret_access_key": login[1]} if login else {}
                own = botocore.session.Session(profile=self.profile)
                own.register_component("data_loader", _loader(own.get_config_variable("data_path")))
                self._session = boto3.session.Session(region_name=self.region, botocore_session=own, **keys)
            settings = Config(
                connect_timeout=self.pace.connect,
                read_timeout=self.pace.read,
                retries={"mode": "standard", "total_max_attempts": self.pace.attempts},
                s3={"addressing_style": "path"} if self.endpoint else None,
                user_agent_extra="vmkeeper",
            )
            return self._session.client(service, endpoint_url=self.endpoint, config=settings)


@cache
def _loader(path: str | None) -> Any:
    """What describes the services; read once for all regions, for it is large."""
    return create_loader(path)
