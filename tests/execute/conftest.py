"""What tests of foreign lists begin with: a web server, and an organisation that publishes one image there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.foreign import Organisation
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
