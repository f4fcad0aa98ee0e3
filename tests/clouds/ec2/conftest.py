"""One EC2 server for all tests here; each has a bucket of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.ec2place import Ec2Region
from support.ec2server import Ec2Server


@pytest.fixture(scope="session")
def ec2_server() -> Iterator[Ec2Server]:
    pytest.importorskip("boto3", reason="needs boto3")
    pytest.importorskip("moto", reason="needs moto[server]")
    server = Ec2Server()
    yield server
    server.close()


@pytest.fixture
def region(ec2_server: Ec2Server) -> Iterator[Ec2Region]:
    made = Ec2Region(ec2_server)
    yield made
    made.empty()
