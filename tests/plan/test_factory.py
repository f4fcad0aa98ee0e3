"""Planning: which appliances a difference concerns, in which order, why, and what follows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.repo import Repo, base, child, lock, released, tools
from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.errors import Problems
from vmkeeper.execute.planning import planned
from vmkeeper.plan.factory import Head, release_version
from vmkeeper.plan.plan import Plan
from vmkeeper.values import Version

LIST = """
uuid: 5b0f4a0e-6b1c-4f2e-9d3a-2f1e0d9c8b7a
title: Science
description: Images
source: Example
url: https://images.example.org
owner: {name: Example, email: images@example.org}
appliances: [{appliance: web}]
endorsed_by: science
"""
SITE = """
title: Laptop
platform: {type: local}
subscribe: [{list: science}]
approve: [{appliance: "*"}]
"""
CLUSTER = """
name: shop
services:
  front: {fixed: true, appliance: {name: web}, context: plain}
"""
FILES = {
    **tools(),
    **base(extra="provision: [{name: tidy, script: provision/tidy}]"),
    "appliances/base/provision/tidy": "#!/bin/sh\n",
    **child("web", "base"),
    **child("shop", "web"),
    **child("other", "base"),
    "imagelists/science.yaml": LIST,
    "sites/laptop.yaml": SITE,
    "clusters/shop.yaml": CLUSTER,
    "clusters/contexts/plain.yaml": "title: plain\n",
}


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    """A repository in which everything is released."""
    made = Repo(tmp_path / "repo")
    made.commit(FILES)
    made.commit(released(made))
    made.repository.set_applied(made.repository.head())
    return made


def after(repo: Repo, files: Mapping[str, str | bytes | None]) -> Plan:
    repo.commit(files, "the change")
    return planned(repo.repository, None, "HEAD")


def doing(plan: Plan) -> set[str]:
    return {action.id for action in plan.actions if action.kind in ("build", "test", "release")}


def all_of(*names: str) -> set[str]:
    return {f"{kind}:{name}" for name in names for kind in ("build", "test", "release")}


def test_nothing_changed_is_nothing_to_do(repo: Repo) -> None:
    assert not planned(repo.repository, None, "HEAD")


def test_a_readme_rebuilds_nothing(repo: Repo) -> None:
    assert not after(repo, {"README.md": "hello"})


def test_a_script_three_levels_up_rebuilds_exactly_the_affected(repo: Repo) -> None:
    plan = after(repo, {"appliances/base/provision/tidy": "#!/bin/sh\ntrue\n"})
    assert doing(plan) == all_of("base", "web", "shop", "other")


def test_a_child_rebuilds_itself_and_its_descendants_only(repo: Repo) -> None:
    assert doing(after(repo, child("web", "base", "services: [{name: ssh.service}]"))) == all_of("web", "shop")


def test_the_tools_rebuild_everything_made_with_them(repo: Repo) -> None:
    plan = after(repo, {"appliances/tools/packages.lock": lock("f")})
    assert doing(plan) == all_of("base", "web", "shop", "other") | {"build:tools", "release:tools"}
    order = [action.id for action in plan.actions]
    assert order.index("build:tools") < order.index("build:base") < order.index("build:web") < order.index("build:shop")


def test_every_action_names_its_cause(repo: Repo) -> None:
    plan = after(repo, {"appliances/base/provision/tidy": "#!/bin/sh\ntrue\n"})
    for action in plan.actions:
        if action.id in doing(plan):
            assert action.reason == "provision/tidy of base changed"
            assert action.cause is not None
            assert (action.cause.path, action.cause.commit) == ("appliances/base/provision/tidy", repo.repository.head())


def test_the_cause_is_the_commit_that_changed_the_file_not_the_last_one(repo: Repo) -> None:
    culprit = repo.commit({"appliances/base/provision/tidy": "#!/bin/sh\ntrue\n"})
    plan = after(repo, {"README.md": "later"})
    assert {action.cause.commit for action in plan.actions if action.cause} == {culprit}


def test_a_changed_test_tests_again_without_building(repo: Repo) -> None:
    plan = after(repo, {"!x appliances/web/tests/10-http": "#!/bin/sh\n"})
    assert doing(plan) == {"test:web", "release:web", "test:shop", "release:shop"}
    records = [action for action in plan.actions if action.kind == "release"]
    release = Catalogue.at(repo.repository, repo.repository.head()).release("web")
    assert release is not None
    assert {str(record.model_dump()["version"]) for record in records} == {str(release.version)}


def test_a_missed_run_is_caught_by_the_next(repo: Repo) -> None:
    repo.commit({"appliances/base/provision/tidy": "#!/bin/sh\ntrue\n"})
    assert doing(after(repo, {"README.md": "x"})) == all_of("base", "web", "shop", "other")


def test_recording_the_releases_empties_the_plan(repo: Repo) -> None:
    assert after(repo, {"appliances/base/provision/tidy": "#!/bin/sh\ntrue\n"})
    assert not after(repo, released(repo))


def test_undoing_a_change_before_it_was_applied_does_nothing(repo: Repo) -> None:
    repo.commit({"appliances/base/provision/tidy": "#!/bin/sh\ntrue\n"})
    assert not after(repo, {"appliances/base/provision/tidy": "#!/bin/sh\n"})


def test_a_release_record_that_was_removed_is_made_again(repo: Repo) -> None:
    assert doing(after(repo, {"appliances/other/release.yaml": None})) == all_of("other")


def test_a_removed_appliance_leads_the_plan_with_what_is_taken_away(repo: Repo) -> None:
    plan = after(
        repo,
        {
            "appliances/shop/appliance.yaml": None,
            "appliances/shop/release.yaml": None,
            "clusters/shop.yaml": CLUSTER.replace("web", "shop"),
            "imagelists/science.yaml": LIST.replace("web", "shop"),
        },
    )
    assert [action.id for action in plan.actions if action.destroys] == ["unlist:science/shop", "hide:laptop/shop", "stop:shop/shop"]
    assert not doing(plan)


def test_what_follows_a_new_release_is_foretold(repo: Repo) -> None:
    plan = after(repo, child("web", "base", "services: [{name: ssh.service}]"))
    foretold = {action.id for action in plan.actions} - doing(plan)
    assert foretold == {"endorse:web", "publish:science/web", "register:laptop/web", "replace:shop/web"}


def test_removing_a_parent_is_a_problem_that_names_the_child(repo: Repo) -> None:
    with pytest.raises(Problems, match="there is no appliance web"):
        after(repo, {"appliances/web/appliance.yaml": None, "appliances/web/release.yaml": None})


def test_all_broken_appliances_are_reported_at_once(repo: Repo) -> None:
    with pytest.raises(Problems) as caught:
        after(repo, {**child("one", "nobody"), **child("two", "noone")})
    assert len(caught.value.problems) == 2


def test_a_plan_from_nothing_builds_everything_parents_first(repo: Repo) -> None:
    repo.commit({f"appliances/{name}/release.yaml": None for name in ("tools", "base", "web", "shop", "other")})
    repo.git.references.delete("refs/vmkeeper/applied")
    plan = planned(repo.repository, None, "HEAD")
    assert doing(plan) == all_of("base", "web", "shop", "other") | {"build:tools", "release:tools"}


def test_base_and_head_can_be_named(repo: Repo) -> None:
    before = repo.repository.head()
    middle = repo.commit({"appliances/base/provision/tidy": "#!/bin/sh\ntrue\n"})
    repo.commit({"appliances/base/provision/tidy": "#!/bin/sh\n"})
    assert not planned(repo.repository, before, "HEAD")
    assert doing(planned(repo.repository, before, middle)) == all_of("base", "web", "shop", "other")


def test_the_digest_names_the_plan(repo: Repo) -> None:
    first = after(repo, {"appliances/web/appliance.yaml": child("web", "base", "disk: {size: 3GiB}")["appliances/web/appliance.yaml"]})
    again = planned(repo.repository, None, "HEAD")
    assert first.digest() == again.digest()
    other = after(repo, {"appliances/web/appliance.yaml": child("web", "base", "disk: {size: 4GiB}")["appliances/web/appliance.yaml"]})
    assert first.digest() != other.digest()


def head(year: int, month: int, day: int, height: int, top: int = 0) -> Head:
    return Head("0" * 40, datetime(year, month, day, tzinfo=UTC), height, top or height)


def test_a_version_is_the_commits_date_and_height() -> None:
    assert str(release_version(head(2026, 11, 20, 7), None)) == "2026.11.20.7"


def test_a_commit_with_an_old_date_does_not_go_backwards() -> None:
    assert str(release_version(head(2025, 1, 1, 8), Version("2026.11.20.7"))) == "2026.11.20.8"


def test_a_commit_built_again_by_a_newer_builder_gets_a_newer_version() -> None:
    assert str(release_version(head(2026, 11, 20, 7, top=9), Version("2026.11.20.7"))) == "2026.11.20.9"


@given(st.lists(st.dates(datetime(2000, 1, 1).date(), datetime(2100, 1, 1).date()), min_size=2, max_size=20))  # noqa: DTZ001
def test_versions_rise_along_the_mainline_whatever_the_dates(dates: list[datetime]) -> None:
    previous: Version | None = None
    for index, date in enumerate(dates):
        version = release_version(head(date.year, date.month, date.day, index + 1), previous)
        assert previous is None or version > previous
        previous = version


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["base", "web", "shop", "other", "tools"]), min_size=1, max_size=4))
def test_after_any_changes_and_their_releases_there_is_nothing_to_do(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    repo = Repo(tmp_path_factory.mktemp("repo"))
    repo.commit(FILES)
    for index, name in enumerate(names):
        text = repo.repository.at(repo.repository.head()).read(f"appliances/{name}/appliance.yaml") or b""
        repo.commit({f"appliances/{name}/appliance.yaml": text.split(b"\nlabels")[0] + f"\nlabels: {{x: '{index}'}}\n".encode()})
    repo.commit(released(repo))
    assert not planned(repo.repository, None, "HEAD")
