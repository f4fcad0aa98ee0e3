"""Reading git: trees and blobs only, and nothing that could surprise (rule R23)."""

from __future__ import annotations

from pathlib import Path

import pygit2
import pytest
from pygit2.enums import FileMode

from support.repo import Repo
from vmkeeper.errors import Refused, UserError
from vmkeeper.repository.changes import changes, height, last_change
from vmkeeper.repository.records import commit_files
from vmkeeper.repository.tree import Repository
from vmkeeper.run import run


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    made = Repo(tmp_path / "repo")
    made.commit({"a/b.yaml": "one", "!x a/run": "#!/bin/sh\n", "top": "x"})
    return made


def tree_of(repo: Repo, entries: list[tuple[str, bytes, int]]) -> str:
    """A tree written byte by byte, as an ordinary git never would."""
    body = b"".join(
        f"{mode:o} ".encode() + name.encode("utf-8", "surrogateescape") + b"\0" + bytes.fromhex(str(repo.git.create_blob(data)))
        for name, data, mode in entries
    )
    return str(repo.git.odb.write(pygit2.GIT_OBJECT_TREE, body))


def test_files_of_a_commit_are_read_from_its_tree(repo: Repo) -> None:
    snapshot = repo.repository.at(repo.repository.head())
    assert snapshot.read("a/b.yaml") == b"one"
    assert snapshot.read("a") is None
    assert snapshot.read("a/none") is None
    assert snapshot.read("top/below") is None
    assert snapshot.executable("a/run")
    assert not snapshot.executable("a/b.yaml")
    assert [entry.name for entry in snapshot.entries("a")] == ["b.yaml", "run"]
    assert [path for path, _ in snapshot.walk("")] == ["a/b.yaml", "a/run", "top"]


STRANGE = ["..", "a\x1b[31m", "-rf", ".git\u200b", "a\u202eb", "con\n", " ", "e\u0301"]


@pytest.mark.parametrize("name", STRANGE, ids=ascii)
def test_a_strange_name_is_no_file_and_a_problem(repo: Repo, name: str) -> None:
    snapshot = repo.repository.tree(tree_of(repo, [(name, b"x", 0o100644), ("good", b"x", 0o100644)]))
    assert [entry.name for entry in snapshot.entries("")] == ["good"]
    (problem,) = snapshot.problems("")
    assert "\x1b" not in str(problem)
    assert "\u202e" not in str(problem)


def test_one_name_twice_is_a_problem(repo: Repo) -> None:
    snapshot = repo.repository.tree(tree_of(repo, [("same", b"x", 0o100644), ("same", b"y", 0o100644)]))
    assert "twice" in snapshot.problems("")[0].what
    for look in (lambda: snapshot.read("same"), lambda: snapshot.entries(""), lambda: snapshot.tree_id("same"), lambda: list(snapshot.walk(""))):
        with pytest.raises(Refused, match="R23"):
            look()


def test_links_and_submodules_are_not_read(repo: Repo) -> None:
    snapshot = repo.repository.tree(tree_of(repo, [("link", b"/etc/passwd", FileMode.LINK), ("sub", b"x", FileMode.COMMIT)]))
    assert snapshot.entries("") == ()
    assert snapshot.read("link") is None
    assert len(snapshot.problems("")) == 2


def test_a_folder_that_is_no_repository_says_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        Repository.open(tmp_path)
    assert "vmkeeper init" in caught.value.hint


def test_a_revision_that_names_nothing_is_a_users_error(repo: Repo) -> None:
    for revision in ("nothing", "HEAD~99", "--all", "\x1b[31m", ""):
        with pytest.raises(UserError):
            repo.repository.resolve(revision)


def test_a_repository_without_commits_says_so(tmp_path: Path) -> None:
    pygit2.init_repository(str(tmp_path / "empty"))
    with pytest.raises(UserError, match="no commit"):
        Repository.open(tmp_path / "empty").head()


@pytest.fixture
def worktree(tmp_path: Path) -> Repository:
    folder = tmp_path / "work"
    git = pygit2.init_repository(str(folder), initial_head="main")
    (folder / "kept").write_text("1")
    (folder / "gone").write_text("1")
    (folder / ".gitignore").write_text("*.tmp\n")
    git.index.add_all()
    git.index.write()
    who = pygit2.Signature("A", "a@example.org", 1, 0)
    git.create_commit("refs/heads/main", who, who, "first", git.index.write_tree(), [])
    return Repository.open(folder)


def test_the_work_tree_reads_as_if_it_were_committed(worktree: Repository) -> None:
    top = Path(worktree.git.workdir)
    (top / "kept").write_text("2")
    (top / "gone").unlink()
    (top / "new").mkdir()
    (top / "new/file").write_text("3")
    (top / "x.tmp").write_text("ignored")
    (top / "run").write_text("#!/bin/sh\n")
    (top / "run").chmod(0o755)
    snapshot = worktree.worktree()
    assert [path for path, _ in snapshot.walk("")] == ["kept", "new/file", "run"]
    assert snapshot.read("kept") == b"2"
    assert snapshot.executable("run")
    assert worktree.at(worktree.head()).read("kept") == b"1"


def test_changes_name_every_path_that_differs(repo: Repo) -> None:
    first = repo.repository.head()
    second = repo.commit({"a/b.yaml": "two", "c": "new", "top": None})
    found = changes(repo.repository.at(first), repo.repository.at(second))
    assert [(change.path, change.kind) for change in found] == [("a/b.yaml", "changed"), ("c", "added"), ("top", "removed")]


def test_the_last_change_of_a_path_is_found_on_the_mainline(repo: Repo) -> None:
    first = repo.repository.head()
    culprit = repo.commit({"a/b.yaml": "two"})
    last = repo.commit({"c": "new"})
    assert last_change(repo.repository, "a/b.yaml", last) == culprit
    assert last_change(repo.repository, "a/b.yaml", last, culprit) == ""
    assert last_change(repo.repository, "a", last) == culprit
    assert last_change(repo.repository, "top", last) == first
    assert last_change(repo.repository, "never", last) == ""


def test_height_counts_the_first_parent_line(repo: Repo) -> None:
    assert height(repo.repository, repo.repository.head()) == 1
    assert height(repo.repository, repo.commit({"x": "y"})) == 2


def test_a_shallow_clone_cannot_give_versions(repo: Repo, tmp_path: Path) -> None:
    repo.commit({"x": "y"})
    run(["git", "clone", "-q", "--depth=1", f"file://{repo.folder}", tmp_path / "shallow"])
    opened = Repository.open(tmp_path / "shallow")
    with pytest.raises(UserError, match="shallow"):
        height(opened, opened.head())


def test_a_record_is_committed_beside_what_others_commit(repo: Repo) -> None:
    before = repo.repository.head()
    other = repo.commit({"other": "1"})
    made = commit_files(repo.repository, "refs/heads/main", {"a/record.yaml": b"r"}, "record\n")
    snapshot = repo.repository.at(made)
    assert (snapshot.read("a/record.yaml"), snapshot.read("other"), snapshot.read("a/b.yaml")) == (b"r", b"1", b"one")
    assert str(repo.repository.commit(made).parent_ids[0]) == other != before
    assert repo.repository.commit(made).author.name == "vmkeeper"


def test_a_record_that_is_there_already_makes_no_commit(repo: Repo) -> None:
    made = commit_files(repo.repository, "refs/heads/main", {"r": b"1"}, "record\n")
    assert commit_files(repo.repository, "refs/heads/main", {"r": b"1"}, "record\n") == made


def test_the_work_tree_follows_a_record_but_keeps_edits(worktree: Repository) -> None:
    top = Path(worktree.git.workdir)
    (top / "gone").write_text("edited by a person")
    commit_files(worktree, "refs/heads/main", {"kept": b"9", "gone": b"9", "deep/new": b"9"}, "record\n")
    assert (top / "kept").read_text() == "9"
    assert (top / "gone").read_text() == "edited by a person"
    assert (top / "deep/new").read_text() == "9"
    assert set(worktree.git.status()) == {"gone"}
