"""A change on a branch of its own: what is committed, by whom, and that nothing which is there is moved."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from support.repo import Repo
from vmkeeper.errors import UserError
from vmkeeper.repository.proposal import Proposed, propose, tree_of

FILES = {"sites/here.yaml": b"title: Here\n", "sites/there.yaml": b"title: There\n", "README": b"r\n"}


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    made = Repo(tmp_path / "repo")
    made.commit({path: data.decode() for path, data in FILES.items()}, "begin")
    for name, value in (("user.name", "Ann"), ("user.email", "ann@example.org")):
        made.repository.git.config[name] = value
    return made


def git(repo: Repo, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=repo.folder, capture_output=True, text=True, check=True).stdout


def change(repo: Repo, text: str = "title: Changed\n", branch: str = "site/here/approve-a") -> Proposed:
    return propose(repo.repository, repo.repository.head(), {"sites/here.yaml": text.encode()}, "a change\n", branch)


def test_one_commit_on_top_with_that_file_alone(repo: Repo) -> None:
    head = repo.repository.head()
    made = change(repo)
    assert (made.branch, made.new) == ("site/here/approve-a", True)
    assert git(repo, "rev-parse", made.branch).strip() == made.commit
    assert git(repo, "log", "-1", "--format=%an|%ae|%cn|%P|%s", made.commit).strip() == f"Ann|ann@example.org|Ann|{head}|a change"
    assert git(repo, "diff", "--name-only", head, made.commit) == "sites/here.yaml\n"
    assert git(repo, "rev-parse", "HEAD").strip() == head
    assert git(repo, "fsck", "--strict") == ""


def test_the_same_change_is_found_and_another_gets_the_next_name(repo: Repo) -> None:
    first = change(repo)
    assert change(repo) == Proposed(first.branch, first.commit, new=False)
    second = change(repo, "title: Other\n")
    assert (second.branch, second.new) == ("site/here/approve-a-2", True)
    assert change(repo, "title: Other\n") == Proposed(second.branch, second.commit, new=False)
    assert git(repo, "rev-parse", first.branch).strip() == first.commit


def test_a_branch_that_went_on_is_left_alone(repo: Repo) -> None:
    first = change(repo)
    git(
        repo,
        "update-ref",
        f"refs/heads/{first.branch}",
        git(repo, "commit-tree", "-p", first.commit, "-m", "more", f"{first.commit}^{{tree}}").strip(),
    )
    tip = git(repo, "rev-parse", first.branch)
    assert change(repo).branch == "site/here/approve-a-2"
    assert git(repo, "rev-parse", first.branch) == tip


def test_a_branch_in_the_way_is_said(repo: Repo) -> None:
    git(repo, "branch", "site")
    with pytest.raises(UserError, match="cannot be made"):
        change(repo)
    assert git(repo, "for-each-ref", "--format=%(refname:short)", "refs/heads/site") == "site\n"


@pytest.mark.parametrize("name", ["user.name", "user.email"])
def test_somebody_must_have_decided(repo: Repo, name: str) -> None:
    repo.repository.git.config[name] = ""
    with pytest.raises(UserError, match="git does not know who you are"):
        change(repo)
    assert git(repo, "for-each-ref", "refs/heads/site") == ""


def test_the_tree_of_a_change_is_known_without_a_commit(repo: Repo) -> None:
    made = change(repo)
    assert (
        tree_of(repo.repository, repo.repository.head(), {"sites/here.yaml": b"title: Changed\n"})
        == git(repo, "rev-parse", f"{made.commit}^{{tree}}").strip()
    )
    assert tree_of(repo.repository, repo.repository.head(), {}) == git(repo, "rev-parse", "HEAD^{tree}").strip()
