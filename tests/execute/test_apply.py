"""The factory's own steps: what is built, tested, recorded and remembered, and what a kill at any point leaves.

Builder and boot are stood in for by quick ones (the real ones have tests of their own); store, git, plan and records are real.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from support.killer import dies_at, in_child, tree
from support.quick import QuickBuilder, passing, quick_builder
from support.repo import Repo, base, child, locked, tools
from vmkeeper.boot.report import Check, TrialResult
from vmkeeper.boot.trial import Trial
from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.errors import UserError
from vmkeeper.execute import factory as module
from vmkeeper.execute.factory import Factory, apply, build_one
from vmkeeper.execute.planning import planned
from vmkeeper.execute.walk import Blocked, Done, Failed, Outcome
from vmkeeper.images.store import Store
from vmkeeper.progress import Silent
from vmkeeper.repository.tree import Repository

FILES = {
    **tools(),
    **base(extra="provision: [{name: tidy, script: provision/tidy}]"),
    "appliances/base/provision/tidy": "#!/bin/sh\n",
    "!x appliances/base/tests/10-ok": "#!/bin/sh\n",
    **child("web", "base"),
    **child("other", "base"),
}


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> QuickBuilder:
    return quick_builder(monkeypatch)


def failing(trial: Trial, *_: object) -> TrialResult:
    return TrialResult(
        trial.appliance, "tcg", trial.firmware, (Check("base/10-ok", passed=trial.appliance != "web", why="ended with status 1", hint="look at it"),)
    )


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    made = Repo(tmp_path / "repo")
    made.commit(FILES)
    made.commit(locked(made))
    return made


def run(repo: Repo, tmp_path: Path) -> dict[str, Outcome]:
    factory = Factory(repo.repository, Store(tmp_path / "store"), tmp_path / "work", Silent())
    return {outcome.action.id: outcome for outcome in apply(repo.repository, factory, workers=1)[1]}


def versions(repo: Repo) -> dict[str, str]:
    catalogue = Catalogue.at(repo.repository, repo.repository.head())
    return {name: str(release.version) for name in catalogue.names("appliances") if (release := catalogue.release(name))}


def test_everything_is_built_parents_first_and_recorded(repo: Repo, builder: QuickBuilder, tmp_path: Path) -> None:
    outcomes = run(repo, tmp_path)
    assert all(isinstance(outcome, Done) for outcome in outcomes.values())
    assert set(builder.built[:2]) == {"tools", "base"}
    assert set(versions(repo)) == {"tools", "base", "web", "other"}
    release = Catalogue.at(repo.repository, repo.repository.head()).release("web")
    assert release is not None
    assert release.tests is not None
    assert [result.name for result in release.tests.results] == ["base/10-ok"]
    assert repo.repository.commit(repo.repository.head()).author.name == "vmkeeper"


def test_a_second_apply_does_nothing(repo: Repo, builder: QuickBuilder, tmp_path: Path) -> None:
    run(repo, tmp_path)
    head = repo.repository.head()
    assert run(repo, tmp_path) == {}
    assert repo.repository.head() == head
    assert not planned(repo.repository, None, "HEAD")


def test_a_recipe_that_was_built_is_not_built_again(repo: Repo, builder: QuickBuilder, tmp_path: Path) -> None:
    run(repo, tmp_path)
    repo.commit({"appliances/other/release.yaml": None})
    builder.built.clear()
    assert isinstance(run(repo, tmp_path)["release:other"], Done)
    assert builder.built == []


def test_an_image_lost_from_the_store_is_built_again(repo: Repo, builder: QuickBuilder, tmp_path: Path) -> None:
    run(repo, tmp_path)
    shutil.rmtree(tmp_path / "store")
    repo.commit({"appliances/other/release.yaml": None})
    builder.built.clear()
    assert isinstance(run(repo, tmp_path)["release:other"], Done)
    assert builder.built == ["other"]


def test_a_failed_build_stops_its_children_and_nothing_else(repo: Repo, builder: QuickBuilder, tmp_path: Path) -> None:
    run(repo, tmp_path)
    repo.commit({**child("web", "base", "disk: {size: 3GiB}"), **child("shop", "web"), **child("other", "base", "disk: {size: 4GiB}")})
    before = versions(repo)
    builder.broken = {"web"}
    outcomes = run(repo, tmp_path)
    assert isinstance(outcomes["build:web"], Failed)
    assert isinstance(outcomes["build:shop"], Blocked)
    assert isinstance(outcomes["release:other"], Done)
    assert versions(repo)["web"] == before["web"]
    assert "shop" not in versions(repo)
    builder.broken = set()
    builder.built.clear()
    assert all(isinstance(outcome, Done) for outcome in run(repo, tmp_path).values())
    assert builder.built == ["web", "shop"]


def test_a_failed_test_means_no_release(repo: Repo, builder: QuickBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "run_trial", failing)
    outcomes = run(repo, tmp_path)
    failed = outcomes["test:web"]
    assert isinstance(failed, Failed)
    assert "ended with status 1" in str(failed.error)
    assert isinstance(outcomes["release:web"], Blocked)
    assert "web" not in versions(repo)
    assert "base" in versions(repo)
    monkeypatch.setattr(module, "run_trial", passing)
    run(repo, tmp_path)
    assert "web" in versions(repo)


def test_tests_that_passed_do_not_run_again(repo: Repo, builder: QuickBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(repo, tmp_path)
    repo.commit({"appliances/other/release.yaml": None})
    monkeypatch.setattr(module, "run_trial", lambda *_: pytest.fail("ran again"))
    assert isinstance(run(repo, tmp_path)["release:other"], Done)


def test_only_the_reviewed_plan_is_applied(repo: Repo, builder: QuickBuilder, tmp_path: Path) -> None:
    reviewed = planned(repo.repository, None, "HEAD").digest()
    repo.commit({"appliances/base/provision/tidy": "#!/bin/sh\ntrue\n"})
    factory = Factory(repo.repository, Store(tmp_path / "store"), tmp_path / "work", Silent())
    with pytest.raises(UserError, match="not the reviewed"):
        apply(repo.repository, factory, reviewed=reviewed)
    assert builder.built == []
    apply(repo.repository, factory, reviewed=planned(repo.repository, None, "HEAD").digest()[:16])
    assert builder.built


def test_building_one_appliance_builds_what_it_stands_on_and_records_nothing(repo: Repo, builder: QuickBuilder, tmp_path: Path) -> None:
    factory = Factory(repo.repository, Store(tmp_path / "store"), tmp_path / "work", Silent())
    outcomes = build_one(repo.repository, factory, "web")
    assert all(isinstance(outcome, Done) for outcome in outcomes)
    assert {"base", "web"} <= set(builder.built)
    assert "other" not in builder.built
    assert versions(repo) == {}


def test_somebody_who_pushes_meanwhile_loses_nothing(repo: Repo, builder: QuickBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pushing(trial: Trial, *_: object) -> TrialResult:
        repo.commit({f"pushed-{trial.appliance}": "x"})
        return passing(trial)

    monkeypatch.setattr(module, "run_trial", pushing)
    run(repo, tmp_path)
    snapshot = repo.repository.at(repo.repository.head())
    assert snapshot.read("pushed-web") == b"x"
    assert set(versions(repo)) == {"tools", "base", "web", "other"}


def state(folder: Path) -> dict[str, object]:
    """What an apply leaves that counts: the tree of main, whether all was applied, and every file of the store."""
    repository = Repository.open(folder / "repo")
    head = repository.head()
    releases = {name: repository.at(head).read(f"appliances/{name}/release.yaml") for name in ("tools", "base")}
    return {
        "releases": releases,
        "applied": bool(repository.applied()),
        "store": tree(folder / "store"),
        "work": tree(folder / "work") if (folder / "work").exists() else {},
    }


def test_killed_at_every_change_the_next_apply_ends_in_the_same_state(builder: QuickBuilder, tmp_path: Path) -> None:
    repo = Repo(tmp_path / "repo")
    repo.commit({**tools(), **base()})
    repo.commit(locked(repo))
    saved = tmp_path / "saved"
    shutil.copytree(repo.folder, saved)

    def begin_again() -> None:
        for name in ("repo", "store", "work"):
            shutil.rmtree(tmp_path / name, ignore_errors=True)
        shutil.copytree(saved, tmp_path / "repo")

    def work() -> None:
        repository = Repository.open(tmp_path / "repo")
        factory = Factory(repository, Store(tmp_path / "store"), tmp_path / "work", Silent())
        outcomes = apply(repository, factory, workers=1)[1]
        assert all(isinstance(outcome, Done) for outcome in outcomes), outcomes

    def killed(step: int, then: Callable[[], None]) -> None:
        dies_at(step)
        then()

    begin_again()
    assert in_child(work) == 0
    wanted = state(tmp_path)
    assert wanted["applied"]
    step = 0
    while True:
        step += 1
        begin_again()
        ended = in_child(partial(killed, step, work))
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
        assert in_child(work) == 0, f"after a kill at change {step}"
        found = state(tmp_path)
        assert found == wanted, f"after a kill at change {step}"
        assert in_child(work) == 0
        assert state(tmp_path) == wanted
    assert step > 20
