"""Files below .git that make git and libgit2 read different things out of one repository (R32)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from support.gitserver import git
from support.repo import Repo
from vmkeeper.repository.oddities import oddities


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    made = Repo(tmp_path / "images.git")
    made.commit({"a": "one"})
    made.commit({"a": "two"})
    git(made.folder, "tag", "-a", "-m", "x", "endorse/a/1", "main")
    return made


def replaced(repo: Repo) -> None:
    git(repo.folder, "replace", "main", "main~1")


def replaced_packed(repo: Repo) -> None:
    replaced(repo)
    git(repo.folder, "pack-refs", "--all")


def grafted(repo: Repo) -> None:
    (repo.folder / "info").mkdir(exist_ok=True)
    (repo.folder / "info/grafts").write_text(f"{repo.repository.head()}\n")


def cut_off(repo: Repo) -> None:
    (repo.folder / "shallow").write_text(f"{repo.repository.head()}\n")


def partial(repo: Repo) -> None:
    git(repo.folder, "config", "remote.origin.promisor", "true")


def partial_extension(repo: Repo) -> None:
    git(repo.folder, "config", "extensions.partialClone", "origin")


def promised(repo: Repo) -> None:
    (repo.folder / "objects/pack/pack-1.promisor").write_text("")


def symbolic_tag(repo: Repo) -> None:
    git(repo.folder, "symbolic-ref", "refs/tags/endorse/a/2", "refs/tags/endorse/a/1")


def linked_tag(repo: Repo) -> None:
    (repo.folder / "refs/tags/endorse/a/2").symlink_to("1")


def linked_folder(repo: Repo) -> None:
    (repo.folder / "refs/tags/withdraw").symlink_to("endorse")


def cases(repo: Repo) -> None:
    (repo.folder / "refs/tags/endorse/A").mkdir()
    (repo.folder / "refs/tags/endorse/A/1").write_text(repo.repository.head() + "\n")


def letters(repo: Repo) -> None:
    for form in ("\u00e9", "e\u0301"):
        git(repo.folder, "update-ref", f"refs/tags/{form}", "main")


def no_head(repo: Repo) -> None:
    (repo.folder / "HEAD").unlink()


def head_is_a_link(repo: Repo) -> None:
    (repo.folder / "HEAD").unlink()
    (repo.folder / "HEAD").symlink_to("refs/heads/main")


def other_hash(repo: Repo) -> None:
    git(repo.folder, "config", "core.repositoryFormatVersion", "1")
    git(repo.folder, "config", "extensions.objectFormat", "sha256")


def reftable(repo: Repo) -> None:
    (repo.folder / "reftable").mkdir()


def config_is_broken(repo: Repo) -> None:
    (repo.folder / "config").write_text("[core\n")


def broken_ref(repo: Repo) -> None:
    (repo.folder / "refs/tags/broken").write_text("not an id\n")


ANYWHERE: dict[Callable[[Repo], None], str] = {
    replaced: "refs/replace/",
    replaced_packed: "refs/replace/",
    grafted: "info/grafts",
    cut_off: "shallow",
    partial: "config",
    partial_extension: "config",
    promised: "objects/pack/pack-1.promisor",
    symbolic_tag: "refs/tags/endorse/a/2",
    linked_tag: "refs/tags/endorse/a/2",
    linked_folder: "refs/tags/withdraw",
    cases: "refs/tags/endorse/A/1",
    letters: "refs/tags/e",
    no_head: "HEAD",
    head_is_a_link: "HEAD",
    other_hash: "config",
    reftable: "reftable",
    config_is_broken: "config",
    broken_ref: "",
}


@pytest.mark.parametrize("spoil", ANYWHERE, ids=lambda spoil: spoil.__name__)
def test_what_two_readers_read_differently_is_a_problem_with_its_place(spoil: Callable[[Repo], None], repo: Repo) -> None:
    assert oddities(repo.folder) == ()
    spoil(repo)
    for ours in (False, True):
        found = oddities(repo.folder, ours=ours)
        assert found
        assert found[0].place.file.startswith(ANYWHERE[spoil])
        assert found[0].hint


def test_an_ordinary_clone_may_borrow_objects_and_a_mirror_of_ours_may_not(repo: Repo, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--shared", repo.folder, tmp_path / "clone")
    git(tmp_path / "clone", "commit-graph", "write", "--reachable")
    assert oddities(tmp_path / "clone/.git") == ()
    found = oddities(tmp_path / "clone/.git", ours=True)
    assert [problem.place.file for problem in found] == ["objects/info/alternates", "objects/info/commit-graph"]


def test_a_shallow_and_a_partial_clone_are_odd(repo: Repo, tmp_path: Path) -> None:
    git(repo.folder, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{repo.folder}", tmp_path / "shallow")
    git(tmp_path, "clone", "-q", "--no-checkout", "--filter=blob:none", f"file://{repo.folder}", tmp_path / "partial")
    assert [problem.place.file for problem in oddities(tmp_path / "shallow/.git")] == ["shallow"]
    assert {problem.place.file.split("/")[0] for problem in oddities(tmp_path / "partial/.git")} == {"config", "objects"}


def test_branches_of_others_and_empty_files_are_not_odd(repo: Repo) -> None:
    (repo.folder / "shallow").write_text("")
    git(repo.folder, "update-ref", "refs/remotes/origin/X", "main")
    git(repo.folder, "update-ref", "refs/remotes/origin/x", "main")
    git(repo.folder, "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/x")
    assert oddities(repo.folder) == ()
