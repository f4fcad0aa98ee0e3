"""Fixtures with a real OpenStack: one cloud of each profile a test session, and for each test projects and users of its own.

Registered for all tests by tests/conftest.py. The profiles are in `servers.openstack.profiles`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    from servers.openstack.server import OpenStack, Request

BOOT_SECTOR = b"\xeb\xfe" + bytes(444) + bytes.fromhex("80 000200 83 000000 01000000 07000000") + bytes(48) + b"\x55\xaa"
"""512 bytes that loop for ever, with one partition of 7 sectors: Glance refuses raw data with a boot sector that has no partitions (415)."""
DISK = BOOT_SECTOR + bytes(1024 * 1024 - 512)
"""A raw disk that Glance takes."""


@dataclass(frozen=True)
class Tenants:
    """A folder with a `clouds.yaml`, whose entries are logins at a real OpenStack.

    | entry | who |
    |---|---|
    | `admin` | the administrator of the cloud: sees everybody's images, may publish |
    | `member` | a user with the role member in `project`, as a site's ordinary account |
    | `appcred` | an application credential of that user for that project |
    | `second` | the same user in `second`, a project that is also theirs |
    | `reader` | a user who may only read in `project` |
    | `stranger` | another user, a member of another project |

    project, second, stranger: the projects' names; ids: name of project to its id. url: of Keystone. glance: of Glance.
    """

    server: OpenStack
    folder: Path
    project: str
    second: str
    stranger: str
    ids: dict[str, str]

    @property
    def clouds_yaml(self) -> Path:
        return self.folder / "clouds.yaml"

    @property
    def url(self) -> str:
        return self.server.url("keystone")

    @property
    def glance(self) -> str:
        return self.server.url("glance")

    def requests(self, service: str = "glance") -> list[Request]:
        """What Glance (or another service) has answered to users in these projects."""
        return [one for one in self.server.requests(service) if one.project in self.ids.values()]


@pytest.fixture(scope="session")
def openstack_server(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Callable[[str], OpenStack]]:
    """`openstack_server(profile)` is a cloud that all tests of this session share, in whichever worker they run.

    Each worker keeps it alive while it lives, and nothing of it outlives the last one. Skips where there cannot be one.
    """
    from servers.openstack.profiles import Lacking
    from servers.openstack.server import running

    base = tmp_path_factory.getbasetemp()
    shared = (base if worker_id == "master" else base.parent) / "openstack"
    clouds: dict[str, OpenStack | Lacking] = {}
    with ExitStack() as held:

        def server(profile: str) -> OpenStack:
            if profile not in clouds:
                try:
                    clouds[profile] = held.enter_context(running(profile, shared / profile))
                except Lacking as error:
                    clouds[profile] = error  # it takes a while to find out
            found = clouds[profile]
            if isinstance(found, Lacking):
                pytest.skip(str(found))
            return found

        yield server


def tenants_of(server: OpenStack, folder: Path) -> Tenants:
    """Make new projects and users in a cloud and write their clouds.yaml into a folder."""
    from servers.openstack.keystone import Keystone, credential_entry, entry

    mark = uuid4().hex[:8]
    project, second, stranger = f"site-{mark}", f"second-{mark}", f"stranger-{mark}"
    member, reader = f"member-{mark}", f"reader-{mark}"
    url = server.url("keystone")
    with Keystone(url) as admin:
        ids = {name: admin.create_project(name) for name in (project, second, stranger)}
        user = admin.create_user(member, ids[project], "member")
        admin.grant(user, ids[second], "member")
        admin.create_user(reader, ids[project], "reader")
        admin.create_user(stranger, ids[stranger], "member")
    with Keystone(url, member, project) as login:
        credential = login.create_credential("site")
    entries = {
        "admin": server.entries()["admin"],
        "member": entry(url, member, project),
        "appcred": credential_entry(url, credential),
        "second": entry(url, member, second),
        "reader": entry(url, reader, project),
        "stranger": entry(url, stranger, stranger),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "clouds.yaml").write_text(json.dumps({"clouds": entries}, indent=1) + "\n")
    return Tenants(server, folder, project, second, stranger, ids)


@pytest.fixture
def openstack(openstack_server: Callable[[str], OpenStack], tmp_path: Path) -> Tenants:
    """New projects and users, for this test alone, at a Keystone and Glance."""
    return tenants_of(openstack_server("image"), tmp_path / "openstack")


@pytest.fixture(scope="class")
def openstack_of_class(openstack_server: Callable[[str], OpenStack], tmp_path_factory: pytest.TempPathFactory) -> Tenants:
    """New projects and users, for the tests of one class, at a Keystone and Glance."""
    return tenants_of(openstack_server("image"), tmp_path_factory.mktemp("openstack"))


@pytest.fixture
def openstack_regions(openstack_server: Callable[[str], OpenStack], tmp_path: Path) -> Tenants:
    """New projects and users, for this test alone, where there is a second region `North` with a Glance of its own."""
    return tenants_of(openstack_server("regions"), tmp_path / "openstack")


@pytest.fixture
def openstack_compute(openstack_server: Callable[[str], OpenStack], tmp_path: Path) -> Tenants:
    """New projects and users, for this test alone, at an OpenStack with servers and networks too."""
    return tenants_of(openstack_server("compute"), tmp_path / "openstack")
