"""The places that every target is tried at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.places import KINDS, Place, place_of


@pytest.fixture(scope="session")
def moto() -> Iterator[Callable[[], Any]]:
    """Gives the S3 server, started when the first test asks for it."""
    started: list[Any] = []

    def start() -> Any:
        if not started:
            pytest.importorskip("s3fs", reason="needs s3fs")
            pytest.importorskip("moto", reason="needs moto[server]")
            from support.motoserver import MotoServer

            started.append(MotoServer())
        return started[0]

    yield start
    for server in started:
        server.close()


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path, moto: Callable[[], Any]) -> Iterator[Place]:
    yield from place_of(request.param, tmp_path, moto)
