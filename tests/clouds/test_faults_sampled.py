"""Faults at the requests of every kind of cloud: a sample in an ordinary test run.

VMKEEPER_FAULTS=all tries every kind of fault at every request (hours), a number so many lives of a site. The same as a program
that prints what it came to: `python -m tests.conformance.faults --family NAME`.
"""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from conformance.faults_families import MemoryFamily
from conformance.faults_harness import Family, campaign
from conformance.faults_local import LocalFamily
from support.openstack import Tenants

CHOSEN = os.environ.get("VMKEEPER_FAULTS", "")


def tried(family: Family, lives: int) -> None:
    """A campaign in which nothing goes wrong. lives: of the sample; 0 for all faults."""
    totals = campaign(family, sample=0 if CHOSEN == "all" else int(CHOSEN or lives))
    assert not totals.wrong, str(totals)
    assert totals.tried.total() >= lives
    assert totals.survived == totals.tried


def test_memory(tmp_path: Path) -> None:
    tried(MemoryFamily(tmp_path), 0)


def test_local(tmp_path: Path) -> None:
    tried(LocalFamily(tmp_path), 12)


def test_ec2(tmp_path: Path) -> None:
    pytest.importorskip("boto3", reason="needs boto3")
    pytest.importorskip("moto", reason="needs moto[server]")
    from conformance.faults_ec2 import Ec2Family
    from support.ec2server import Ec2Server

    with closing(Ec2Server()) as server, closing(Ec2Family(tmp_path, server)) as family:
        tried(family, 2)


def test_openstack(tmp_path: Path, openstack: Tenants) -> None:
    from conformance.faults_openstack import OpenStackFamily

    with closing(OpenStackFamily(tmp_path, openstack)) as family:
        tried(family, 2)


@pytest.mark.parametrize("transport", ["path", "http"])
def test_opennebula(tmp_path: Path, transport: str) -> None:
    pytest.importorskip("pyone", reason="needs pyone")
    from conformance.faults_opennebula import OpenNebulaFamily
    from support.opennebula import standing_in

    with standing_in() as one, closing(OpenNebulaFamily(tmp_path, one, transport)) as family:
        tried(family, 5)
