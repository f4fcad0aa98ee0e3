"""A site's OpenStack account, and somebody else's hands in the same cloud."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import requests

from clouds.openstack.hands import Hands
from support.openstack import DISK, Tenants, tenants_of
from vmkeeper.clouds.openstack.cloud import OpenStackCloud
from vmkeeper.clouds.openstack.session import Access
from vmkeeper.model.platform import OpenStackPlatform

if TYPE_CHECKING:
    from servers.openstack.server import OpenStack


@pytest.fixture(scope="module")
def tenants(openstack_server: Callable[[str], OpenStack], tmp_path_factory: pytest.TempPathFactory) -> Tenants:
    """Projects and users for the tests of one file, each of which is a site of its own."""
    return tenants_of(openstack_server("image"), tmp_path_factory.mktemp("openstack"))


@pytest.fixture
def owner() -> str:
    """The mark of a site that nothing was done for before."""
    return f"vmkeeper:site-{uuid4().hex[:8]}"


@pytest.fixture
def hands(tenants: Tenants) -> Callable[[str], Hands]:
    """`hands(entry)`: somebody at work."""
    return lambda entry: Hands(tenants, entry)


@pytest.fixture
def connected(tenants: Tenants, owner: str, tmp_path: Path) -> Callable[..., OpenStackCloud]:
    """`connected(entry, **platform)`: the site's cloud."""

    def connect(entry: str = "member", *, folder: str = "locks", home: Path = tenants.folder, **platform: Any) -> OpenStackCloud:
        access = Access(OpenStackPlatform(type="openstack", cloud=entry, **platform), home)
        return OpenStackCloud(access, owner=owner, folder=tmp_path / folder)

    return connect


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "disk.raw"
    path.write_bytes(DISK)
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of all services from now on, as `METHOD /path?query`; logging in is left out."""
    found: list[str] = []
    send = requests.Session.send

    def noted(session: requests.Session, request: requests.PreparedRequest, **more: Any) -> requests.Response:
        parts = urlsplit(str(request.url))
        if not parts.path.startswith("/v3"):
            found.append(f"{request.method} {parts.path}" + (f"?{parts.query}" if parts.query else ""))
        return send(session, request, **more)

    monkeypatch.setattr(requests.Session, "send", noted)
    return found
