"""`check`: everything wrong with a commit at once, each with file, line and way out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from support.endorserlists import ALICE, ARMOURED
from support.repo import Repo, base, child, locked, tools
from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.catalogue.check import check
from vmkeeper.errors import Problem

LIST = """
uuid: 5b0f4a0e-6b1c-4f2e-9d3a-2f1e0d9c8b7a
title: Science
description: Images
source: Example
url: https://images.example.org
owner: {name: Example, email: images@example.org}
appliances:
  - {appliance: base}
endorsed_by: science
"""
ENDORSERS = """
title: Science
community: science
policy: We looked.
endorsers:
  - name: alice
    full_name: Alice Example
    email: alice@example.org
    keys:
      - {type: openpgp, fingerprint: D6A445C0626F104130C83A5C308784701F8D9507, file: keys/alice.asc}
"""
SITE = """
title: Laptop
platform: {type: local}
subscribe: [{list: science}]
approve: [{appliance: base}]
"""
CLUSTER = """
name: one
services:
  node: {fixed: true, appliance: {name: base}, context: plain}
placement: [{site: laptop}]
"""
SOUND: dict[str, str] = {
    **tools(),
    **base(),
    **child("web", "base"),
    "imagelists/science.yaml": LIST,
    "endorsers/science.yaml": ENDORSERS,
    "endorsers/keys/alice.asc": ARMOURED[ALICE],
    "sites/laptop.yaml": SITE,
    "clusters/one.yaml": CLUSTER,
    "clusters/contexts/plain.yaml": "title: Plain\n",
}


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    made = Repo(tmp_path / "repo")
    made.commit(SOUND)
    made.commit(locked(made))
    return made


def found(repo: Repo, files: Mapping[str, str | bytes | None]) -> tuple[Problem, ...]:
    repo.commit(files)
    return check(Catalogue.at(repo.repository, repo.repository.head()))


def test_a_sound_repository_has_no_problems(repo: Repo) -> None:
    assert found(repo, {"README.md": "hello"}) == ()


CASES: list[tuple[str, dict[str, str | bytes | None], str, int, str]] = [
    ("unknown parent", child("web", "bsae"), "appliances/web/appliance.yaml", 4, "did you mean base?"),
    ("list of an unknown appliance", {"imagelists/science.yaml": LIST.replace("appliance: base", "appliance: bass")}, "imagelists/science.yaml", 9, "did you mean base?"),
    ("list of an abstract appliance", {"imagelists/science.yaml": LIST.replace("appliance: base", "appliance: tools")}, "imagelists/science.yaml", 9, "abstract"),
    ("list twice", {"imagelists/science.yaml": LIST.replace("  - {appliance: base}", "  - {appliance: base}\n  - {appliance: base}")}, "imagelists/science.yaml", 10, "twice"),
    ("unknown endorser list", {"imagelists/science.yaml": LIST.replace("endorsed_by: science", "endorsed_by: scince")}, "imagelists/science.yaml", 10, "did you mean science?"),
    ("missing key file", {"endorsers/keys/alice.asc": None}, "endorsers/science.yaml", 10, "gpg --armor --export"),
    ("unknown subscription", {"sites/laptop.yaml": SITE.replace("list: science", "list: sience")}, "sites/laptop.yaml", 4, "did you mean science?"),
    ("approval of nothing", {"sites/laptop.yaml": SITE.replace("appliance: base", "appliance: basee")}, "sites/laptop.yaml", 5, "did you mean base?"),
    ("cluster with an unknown appliance", {"clusters/one.yaml": CLUSTER.replace("name: base", "name: bsae")}, "clusters/one.yaml", 4, "did you mean base?"),
    ("cluster with an unknown context", {"clusters/one.yaml": CLUSTER.replace("context: plain", "context: plane")}, "clusters/one.yaml", 4, "did you mean plain?"),
    ("cluster at an unknown site", {"clusters/one.yaml": CLUSTER.replace("site: laptop", "site: desktop")}, "clusters/one.yaml", 5, "laptop"),
    ("cluster named otherwise", {"clusters/two.yaml": CLUSTER}, "clusters/two.yaml", 2, "rename"),
    ("context that extends nothing", {"clusters/contexts/plain.yaml": "extends: other\n"}, "clusters/contexts/plain.yaml", 1, "there are: plain"),
    ("context that extends itself", {"clusters/contexts/plain.yaml": "extends: plain\n"}, "clusters/contexts/plain.yaml", 1, "circle"),
    ("stale lock", {"appliances/base/appliance.yaml": SOUND["appliances/base/appliance.yaml"].replace("cloud-init]", "cloud-init, vim]")}, "appliances/base/packages.lock", 0, "vmkeeper refresh base"),
    ("missing lock", child("web", "base", "packages: [nginx]"), "appliances/web/packages.lock", 0, "vmkeeper refresh web"),
    ("test that cannot run", {"appliances/web/tests/10-http": "#!/bin/sh\n"}, "appliances/web/tests/10-http", 0, "chmod"),
    ("folder among tests", {"!x appliances/web/tests/sub/x": "#!/bin/sh\n"}, "appliances/web/tests/sub", 0, "folder"),
    ("folder without definition", {"appliances/none/files/x": "x"}, "appliances/none", 0, "no appliance.yaml"),
    ("misspelt document", {"sites/laptop.yml": SITE}, "sites/laptop.yml", 0, "laptop.yaml"),
    ("uuid twice", {"appliances/copy/appliance.yaml": SOUND["appliances/web/appliance.yaml"]}, "appliances/web/appliance.yaml", 2, "copy bears"),
    ("missing file", child("web", "base", "files: [{name: m, path: /etc/m, source: files/m}]"), "appliances/web/appliance.yaml", 5, "add the file"),
    ("bad yaml", {"sites/laptop.yaml": "title: [\n"}, "sites/laptop.yaml", 2, ""),
    ("misspelt key", {"sites/laptop.yaml": SITE.replace("approve", "aprove")}, "sites/laptop.yaml", 5, "approve"),
]  # fmt: skip


@pytest.mark.parametrize(("files", "file", "line", "fragment"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_fault_is_found(repo: Repo, files: dict[str, str | bytes | None], file: str, line: int, fragment: str) -> None:
    problems = found(repo, files)
    assert any(p.place.file == file and p.place.line == line and fragment in str(p) for p in problems), "\n".join(map(str, problems))
    assert all(problem.hint for problem in problems), "every problem has a way out"


def test_all_faults_of_a_commit_are_said_at_once(repo: Repo) -> None:
    files: dict[str, str | bytes | None] = {}
    for case in CASES:
        if case[0] in (
            "list of an unknown appliance",
            "approval of nothing",
            "cluster with an unknown context",
            "folder without definition",
            "test that cannot run",
        ):
            files |= case[1]
    assert len({problem.place.file for problem in found(repo, files)}) == 5


def test_a_fault_in_a_parent_is_said_once(repo: Repo) -> None:
    problems = found(repo, {**child("shop", "web"), "appliances/base/appliance.yaml": SOUND["appliances/base/appliance.yaml"].replace("2GiB", "2GB")})
    assert [problem.place.file for problem in problems] == ["appliances/base/appliance.yaml"]
