"""The index: a cache that may be deleted, damaged or out of date without changing any answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.repo import Repo, base, child, lock, tools
from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.catalogue.index import Index


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    made = Repo(tmp_path / "repo")
    made.commit({**tools(), **base(), **child("web", "base"), **child("shop", "web"), **child("other", "base")})
    return made


def graph(repo: Repo, index: Index, commit: str = "") -> Index:
    return Catalogue.at(repo.repository, commit or repo.repository.head(), index).graph


def test_dependants_are_found_through_the_generations(repo: Repo) -> None:
    found = graph(repo, Index())
    assert found.dependants(["base"]) == {"web", "shop", "other"}
    assert found.dependants(["shop"]) == set()
    assert found.dependants(["tools"]) == {"base", "web", "shop", "other"}
    assert found.dependants([]) == set()


def test_a_circle_does_not_hang(repo: Repo) -> None:
    repo.commit({**child("one", "two"), **child("two", "one")})
    assert graph(repo, Index()).dependants(["one"]) == {"one", "two"}


def test_the_index_follows_commits_back_and_forth(repo: Repo, tmp_path: Path) -> None:
    index = Index(tmp_path / "index.sqlite")
    first = repo.repository.head()
    assert graph(repo, index).dependants(["web"]) == {"shop"}
    repo.commit({**child("shop", "other"), "appliances/other/appliance.yaml": None})
    assert graph(repo, index).dependants(["web"]) == set()
    assert graph(repo, index).dependants(["other"]) == {"shop"}
    assert graph(repo, index, first).dependants(["web"]) == {"shop"}


def test_an_index_that_was_deleted_is_made_again(repo: Repo, tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    graph(repo, Index(path))
    path.unlink()
    assert graph(repo, Index(path)).dependants(["web"]) == {"shop"}


def test_an_index_that_is_garbage_is_made_again(repo: Repo, tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    path.write_bytes(b"not a database" * 1000)
    assert graph(repo, Index(path)).dependants(["web"]) == {"shop"}


def test_a_document_is_parsed_once(repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = Index(tmp_path / "index.sqlite")
    known = Catalogue.at(repo.repository, repo.repository.head(), index).resolved("shop")
    monkeypatch.setattr("vmkeeper.catalogue.catalogue.read", lambda *_: pytest.fail("parsed again"))
    assert Catalogue.at(repo.repository, repo.repository.head(), Index(tmp_path / "index.sqlite")).resolved("shop") == known


def test_an_index_cannot_smuggle_in_what_the_models_refuse(repo: Repo, tmp_path: Path) -> None:
    index = Index(tmp_path / "index.sqlite")
    catalogue = Catalogue.at(repo.repository, repo.repository.head(), index)
    blob = catalogue.snapshot.blob_id("appliances/shop/appliance.yaml")
    index.remember("appliance", blob, '{"uuid": "no", "title": "evil"}')
    found = catalogue.appliance("shop")
    assert found is not None
    assert found.title == "A child"


def test_appliances_with_one_uuid_are_found(repo: Repo) -> None:
    appliance = child("shop", "web")["appliances/shop/appliance.yaml"]
    repo.commit({"appliances/copy/appliance.yaml": appliance})
    index = graph(repo, Index())
    uuid = next(node.uuid for node in index.nodes() if node.name == "copy")
    assert index.with_uuid(uuid) == ("copy", "shop")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("abcdef")), max_size=12))
def test_following_commit_by_commit_equals_reading_anew(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str]]) -> None:
    repo = Repo(tmp_path_factory.mktemp("repo"))
    repo.commit(base())
    followed = Index()
    for name, parent in steps:
        path = f"appliances/{name}/appliance.yaml"
        there = repo.repository.at(repo.repository.head()).blob_id(path)
        repo.commit({path: None} if there and name == parent else child(name, parent), "step")
        assert graph(repo, followed).nodes() == graph(repo, Index()).nodes()


def test_planning_reads_only_what_changed(repo: Repo, tmp_path: Path) -> None:
    index = Index(tmp_path / "index.sqlite")
    many: dict[str, str] = {}
    for number in range(200):
        many |= child(f"n{number}", "base")
    repo.commit(many)
    graph(repo, index)
    repo.commit({**child("n7", "web"), "appliances/n7/packages.lock": lock()})
    catalogue = Catalogue.at(repo.repository, repo.repository.head(), Index(tmp_path / "index.sqlite"))
    read: list[str] = []
    original = catalogue.attempt
    catalogue.attempt = lambda kind, path: (read.append(path), original(kind, path))[1]  # type: ignore[method-assign]
    assert "n7" in catalogue.graph.dependants(["web"])
    assert read == ["appliances/n7/appliance.yaml"]
