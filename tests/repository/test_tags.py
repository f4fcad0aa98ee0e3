"""Tag refs and raw objects as they lie, in repositories that git itself made, bare and not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from vmkeeper.errors import UserError
from vmkeeper.repository.tags import LARGEST, create_tag, delete_tag, is_ancestor, list_tags, mainline, raw_tags, root_commit
from vmkeeper.repository.tree import Repository


class Git:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *words: str, data: bytes = b"") -> str:
        named = ["git", "-C", str(self.folder), "-c", "user.name=A", "-c", "user.email=a@example.org", *words]
        return subprocess.run(named, input=data, check=True, capture_output=True, timeout=60).stdout.decode().strip()

    def commit(self, message: str) -> str:
        self("commit", "-q", "--allow-empty", "-m", message)
        return self("rev-parse", "HEAD")

    def object(self, kind: str, data: bytes) -> str:
        return self("hash-object", "-t", kind, "-w", "--literally", "--stdin", data=data)


@pytest.fixture(params=["work tree", "bare"])
def git(request: pytest.FixtureRequest, tmp_path: Path) -> Git:
    made = Git(tmp_path / "repo")
    made.folder.mkdir()
    made("init", "-q", "-b", "main")
    made.commit("root")
    made.commit("second")
    if request.param == "bare":
        subprocess.run(["git", "clone", "-q", "--bare", str(made.folder), str(tmp_path / "bare")], check=True, timeout=60)
        made.folder = tmp_path / "bare"
    return made


@pytest.fixture
def repository(git: Git) -> Repository:
    return Repository.open(git.folder)


def raw(commit: str, name: str = "endorse/a/1/alice/1", message: bytes = b"text\n") -> bytes:
    return f"object {commit}\ntype commit\ntag {name}\ntagger A <a@example.org> 1780000000 +0000\n\n".encode() + message


def test_a_tag_is_written_and_read_back_byte_for_byte(git: Git, repository: Repository) -> None:
    data = raw(git("rev-parse", "HEAD"), message=b"before\0after\n")
    oid = create_tag(repository, "endorse/a/1/alice/1", data)
    (found,) = list_tags(repository, "endorse/")
    assert (found.name, found.oid, found.kind, found.raw) == ("endorse/a/1/alice/1", oid, "tag", data)
    assert git("rev-parse", "refs/tags/endorse/a/1/alice/1") == oid
    assert git("rev-parse", "endorse/a/1/alice/1^{commit}") == git("rev-parse", "HEAD")


def test_writing_a_tag_again_changes_nothing_and_another_one_is_refused(git: Git, repository: Repository) -> None:
    data = raw(git("rev-parse", "HEAD"))
    first = create_tag(repository, "endorse/a/1/alice/1", data)
    assert create_tag(repository, "endorse/a/1/alice/1", data) == first
    with pytest.raises(UserError, match="exists already") as caught:
        create_tag(repository, "endorse/a/1/alice/1", data + b"x")
    assert caught.value.hint
    assert raw_tags(repository) == {"endorse/a/1/alice/1": data}


@pytest.mark.parametrize("name", ["a..b", "a.lock", "a b", "/a", "a/", "-\x7f", "a//b", ""])
def test_names_that_git_does_not_take_are_refused(git: Git, repository: Repository, name: str) -> None:
    with pytest.raises(UserError, match="no tag of this name"):
        create_tag(repository, name, raw(git("rev-parse", "HEAD")))
    assert list_tags(repository) == ()


def test_a_tag_below_the_name_of_another_is_refused(git: Git, repository: Repository) -> None:
    create_tag(repository, "endorse/a", raw(git("rev-parse", "HEAD")))
    with pytest.raises(UserError, match="cannot be written"):
        create_tag(repository, "endorse/a/1", raw(git("rev-parse", "HEAD")))


def test_only_the_prefixes_asked_for_are_listed_by_name(git: Git, repository: Repository) -> None:
    head = git("rev-parse", "HEAD")
    for name in ("withdraw/b", "endorse/b", "endorse/a", "v1", "endorsed/x"):
        create_tag(repository, name, raw(head, name))
    assert [ref.name for ref in list_tags(repository, "endorse/", "withdraw/")] == ["endorse/a", "endorse/b", "withdraw/b"]
    assert len(list_tags(repository)) == 5


def test_packed_refs_are_listed_as_well(git: Git, repository: Repository) -> None:
    create_tag(repository, "endorse/a", raw(git("rev-parse", "HEAD")))
    git("pack-refs", "--all")
    assert [ref.name for ref in list_tags(repository)] == ["endorse/a"]


def test_what_is_not_an_annotated_tag_is_told_and_not_read(git: Git, repository: Repository) -> None:
    head = git("rev-parse", "HEAD")
    git("tag", "light", head)
    git("tag", "tree", f"{head}^{{tree}}")
    git("update-ref", "refs/tags/blob", git.object("blob", b"hello"))
    git("update-ref", "refs/tags/large", git.object("tag", raw(head, "large", b"x" * LARGEST)))
    git("symbolic-ref", "refs/tags/symbolic", "refs/tags/light")
    missing = git.folder / ("refs" if (git.folder / "refs").exists() else ".git/refs") / "tags" / "missing"
    missing.write_text("1" * 40 + "\n")
    found = {ref.name: ref for ref in list_tags(repository)}
    assert {name: ref.kind for name, ref in found.items()} == {
        "light": "commit",
        "tree": "tree",
        "blob": "blob",
        "large": "large",
        "symbolic": "symbolic",
        "missing": "missing",
    }
    assert [name for name, ref in found.items() if ref.raw is not None] == ["large"]
    assert found["large"].raw == raw(head, "large", b"x" * LARGEST)[: LARGEST + 1]


def test_a_nested_tag_is_handed_on_as_it_lies(git: Git, repository: Repository) -> None:
    create_tag(repository, "inner", raw(git("rev-parse", "HEAD"), "inner"))
    nested = raw(git("rev-parse", "inner"), "outer").replace(b"type commit", b"type tag")
    create_tag(repository, "outer", nested)
    assert raw_tags(repository)["outer"] == nested


def test_replaced_objects_are_read_as_they_were_signed(git: Git, repository: Repository) -> None:
    data = raw(git("rev-parse", "HEAD"))
    oid = create_tag(repository, "endorse/a", data)
    other = git.object("tag", raw(git("rev-parse", "HEAD~1")))
    git("replace", "-f", oid, other)
    assert raw_tags(repository)["endorse/a"] == data
    assert git("cat-file", "tag", oid) != data.decode().strip()


def test_a_name_that_is_not_utf8_does_not_stop_the_others(git: Git, repository: Repository) -> None:
    head = git("rev-parse", "HEAD")
    create_tag(repository, "endorse/a", raw(head))
    subprocess.run([b"git", b"-C", str(git.folder).encode(), b"update-ref", b"refs/tags/endorse/\xff\xfe", head.encode()], check=True, timeout=60)
    assert [ref.name for ref in list_tags(repository)] == ["endorse/a", "endorse/\\xff\\xfe"]


def test_a_deleted_tag_is_gone(git: Git, repository: Repository) -> None:
    create_tag(repository, "endorse/a", raw(git("rev-parse", "HEAD")))
    delete_tag(repository, "endorse/a")
    assert list_tags(repository) == ()


def test_the_mainline_is_the_first_parents(tmp_path: Path) -> None:
    git = Git(tmp_path)
    git("init", "-q", "-b", "main")
    root = git.commit("root")
    git("switch", "-q", "-c", "side")
    side = git.commit("side")
    git("switch", "-q", "main")
    main = git.commit("main")
    git("merge", "-q", "--no-ff", "-m", "merge", "side")
    merge = git("rev-parse", "HEAD")
    git("switch", "-q", "-c", "other", root)
    other = git.commit("other")
    repository = Repository.open(tmp_path)
    assert mainline(repository, merge) == {root, main, merge}
    assert {commit: is_ancestor(repository, commit, merge) for commit in (root, side, main, merge, other)} == {
        root: True,
        side: True,
        main: True,
        merge: True,
        other: False,
    }
    assert root_commit(repository, merge) == root
    for wrong in ("1" * 40, git("rev-parse", "HEAD^{tree}"), "x"):
        assert not is_ancestor(repository, wrong, merge)
