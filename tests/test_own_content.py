"""What this repository itself holds is sound, and is what the README says it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.catalogue.check import check
from vmkeeper.repository.tree import Repository

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def own() -> Catalogue:
    repository = Repository.open(ROOT)
    return Catalogue(repository, repository.worktree())


def test_every_document_is_sound(own: Catalogue) -> None:
    assert check(own) == ()


def test_there_is_a_base_a_child_and_a_grandchild_with_a_service(own: Catalogue) -> None:
    assert own.chain("debian-12") == ("debian-12",)
    assert own.chain("debian-12-docker") == ("debian-12", "debian-12-docker")
    assert own.chain("slurm-worker") == ("debian-12", "debian-12-batch", "slurm-worker")
    assert any(service.name == "slurmd.service" for service in own.resolved("slurm-worker").appliance.services)


def test_every_image_is_tested_and_published(own: Catalogue) -> None:
    images = {name for name in own.names("appliances") if not own.resolved(name).appliance.abstract}
    listed = own.image_list("science")
    assert listed is not None
    assert {entry.appliance for entry in listed.appliances} == images
    assert all(own.tests(name) for name in images)


def test_there_is_a_list_an_endorser_list_a_site_and_a_cluster(own: Catalogue) -> None:
    assert [own.names(folder) for folder in ("imagelists", "endorsers", "sites", "clusters")] == [("science",), ("science",), ("laptop",), ("slurm",)]


def test_no_private_key_lies_in_the_repository() -> None:
    for path in ROOT.glob("endorsers/**/*"):
        assert not path.is_file() or b"PRIVATE KEY" not in path.read_bytes()
