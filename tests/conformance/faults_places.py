"""Opens the families of the fault campaign, each with its server, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from conformance.faults_families import MemoryFamily
from conformance.faults_harness import Family


@contextmanager
def memory(folder: Path) -> Iterator[Family]:
    yield MemoryFamily(folder)


@contextmanager
def local(folder: Path) -> Iterator[Family]:
    from conformance.faults_local import LocalFamily

    yield LocalFamily(folder)


@contextmanager
def ec2(folder: Path) -> Iterator[Family]:
    from conformance.faults_ec2 import Ec2Family
    from support.ec2server import Ec2Server

    server = Ec2Server()
    try:
        family = Ec2Family(folder, server)
        try:
            yield family
        finally:
            family.close()
    finally:
        server.close()


@contextmanager
def openstack(folder: Path) -> Iterator[Family]:
    from conformance.faults_openstack import OpenStackFamily
    from servers.openstack.server import running
    from support.openstack import tenants_of

    with running("image", folder / "openstack") as server:
        family = OpenStackFamily(folder, tenants_of(server, folder / "tenants"))
        try:
            yield family
        finally:
            family.close()


@contextmanager
def opennebula(folder: Path) -> Iterator[Family]:
    from conformance.faults_opennebula import OpenNebulaFamily
    from support.opennebula import standing_in

    with standing_in() as one:
        family = OpenNebulaFamily(folder, one)
        try:
            yield family
        finally:
            family.close()


_OPENED: dict[str, Callable[[Path], object]] = {"memory": memory, "local": local, "ec2": ec2, "openstack": openstack, "opennebula": opennebula}
FAMILIES = tuple(_OPENED)


@contextmanager
def opened(name: str, folder: Path) -> Iterator[Family]:
    """A family with a server of its own."""
    with _OPENED[name](folder) as family:  # type: ignore[attr-defined]
        yield family
