"""A bundle is audited as the repository that it was made from."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.producer import NOW, Producer
from vmkeeper.errors import VmkeeperError
from vmkeeper.execute.audit import audit
from vmkeeper.execute.bundle import REPOSITORY, write_bundle
from vmkeeper.execute.pinning import Wishes, proposal
from vmkeeper.trust.pins import to_yaml


@pytest.fixture
def producer(tmp_path: Path) -> Producer:
    made = Producer(tmp_path / "www", "https://images.example.org", tmp_path)
    made.all("debian-12", "2026.11.1")
    return made


def test_the_repository_and_its_bundle_get_the_same_verdicts(producer: Producer, tmp_path: Path) -> None:
    repository = producer.repo.repository
    lister = tmp_path / "lister.pem"
    lister.write_bytes(producer.authority.write(tmp_path / "ca").read_bytes())
    made = proposal(repository, "here", Wishes((tmp_path / "ca/authority.pem",), signer=lister), NOW)
    pins = tmp_path / "pins.yaml"
    pins.write_text(to_yaml(made.pins))
    write_bundle(repository, "main", tmp_path / "disk", public=str(tmp_path / "www"))
    verdicts = [[one.as_json() for one in audit(place, pins, None, NOW)] for place in (producer.repo.folder, tmp_path / "disk")]
    assert verdicts[0] == verdicts[1] == [{"appliance": "debian-12", "version": "2026.11.1", "accepted": True, "refusals": []}]

    producer.withdraw("debian-12", "2026.11.1")
    write_bundle(repository, "main", tmp_path / "disk", public=str(tmp_path / "www"))
    (verdict,) = audit(tmp_path / "disk", pins, None, NOW)
    assert [one.rule for one in verdict.refusals] == ["R20"]

    packed = tmp_path / "disk" / REPOSITORY
    packed.write_bytes(packed.read_bytes()[:-30] + bytes(30))
    try:
        (verdict,) = audit(tmp_path / "disk", pins, None, NOW)
    except VmkeeperError:
        return
    assert not verdict.accepted
