"""`check` knows that approvals and clusters may name images of other organisations' lists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.repo import Repo, base, locked, tools
from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.catalogue.check import check

FOREIGN = {"name": "science", "url": "https://lists.example.org/x", "endorser": {"dn": "/CN=a", "ca": "/CN=b"}}
CLUSTER = {"name": "one", "services": {"node": {"fixed": True, "appliance": {"name": "base"}, "context": "plain"}}, "placement": [{"site": "laptop"}]}
UUID = "0b7e9a52-6f0c-4a53-9d0a-0f2f0a1c7d11"


def problems(folder: Path, cluster: Any = CLUSTER, **site: Any) -> list[str]:
    repo = Repo(folder / "repo")
    document = {"title": "Laptop", "platform": {"type": "local"}, "foreign": [FOREIGN], **site}
    repo.commit(
        {
            **tools(),
            **base(),
            "sites/laptop.yaml": json.dumps(document),
            "clusters/one.yaml": json.dumps(cluster),
            "clusters/contexts/plain.yaml": "title: Plain\n",
        }
    )
    repo.commit(locked(repo))
    return [str(problem) for problem in check(Catalogue.at(repo.repository, repo.repository.head()))]


@pytest.mark.parametrize(
    "approval", [{"appliance": "science-ubuntu"}, {"appliance": "science-*"}, {"appliance": UUID}, {"appliance": "*", "endorser": "science"}]
)
def test_a_decision_about_foreign_images_is_sound(tmp_path: Path, approval: dict[str, str]) -> None:
    assert problems(tmp_path, approve=[approval]) == []


@pytest.mark.parametrize("approval", [{"appliance": "sience-ubuntu"}, {"appliance": "sci*ubuntu"}, {"appliance": "ubuntu", "endorser": "alice"}])
def test_a_decision_about_nothing_is_found(tmp_path: Path, approval: dict[str, str]) -> None:
    (problem,) = problems(tmp_path, approve=[approval])
    assert "matches no appliance" in problem


def test_a_uuid_is_a_name_only_where_there_are_foreign_lists(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, foreign=[], block=[{"appliance": UUID, "reason": "no"}])
    assert "matches no appliance" in problem


def test_a_cluster_may_be_made_of_foreign_images_of_its_site(tmp_path: Path) -> None:
    services = {"node": {"fixed": True, "appliance": {"name": "science-ubuntu"}, "context": "plain"}}
    assert problems(tmp_path, {**CLUSTER, "services": services}) == []
    other = {"node": {"fixed": True, "appliance": {"name": "siense-ubuntu"}, "context": "plain"}}
    (problem,) = problems(tmp_path / "other", {**CLUSTER, "services": other})
    assert "there is no appliance siense-ubuntu" in problem
