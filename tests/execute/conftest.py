"""What many tests begin with: a web server, an organisation that publishes one image there, a site that follows a producer with one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.foreign import Organisation
from support.here import Here
from support.webserver import WebServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    with WebServer(tmp_path / "www") as made:
        yield made


@pytest.fixture
def org(server: WebServer) -> Organisation:
    made = Organisation(server)
    made.offer("Debian 12")
    made.publish()
    return made


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    """A site that follows a producer with one image, and has not run yet."""
    with WebServer(tmp_path / "www") as server:
        made = Here(tmp_path, server)
        made.producer.all("debian-12", "2026.11.1")
        made.init()
        yield made
