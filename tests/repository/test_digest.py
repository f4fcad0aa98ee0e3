"""Trees byte by byte, and a folder's content as one SHA-512 (R1, R4, R23, R32)."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pygit2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.gitserver import git
from support.repo import Repo
from vmkeeper.errors import Refused
from vmkeeper.repository import inspection
from vmkeeper.repository.digest import Caps, files, tree_sha512
from vmkeeper.repository.rawtree import RawEntry, faults, parse
from vmkeeper.repository.tree import Snapshot

Raw = tuple[tuple[bytes, bytes], ...]


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return Repo(tmp_path / "repo")


def raw_tree(repo: Repo, entries: Raw, below: str = "") -> str:
    """A tree as an ordinary git never would write it: (mode, name); folders hold `below` or one good file."""
    blob = str(repo.git.create_blob(b"x"))
    folder = below or str(repo.git.odb.write(pygit2.GIT_OBJECT_TREE, b"100644 good\0" + bytes.fromhex(blob)))
    body = b"".join(mode + b" " + name + b"\0" + bytes.fromhex(folder if mode.lstrip(b"0") == b"40000" else blob) for mode, name in entries)
    return str(repo.git.odb.write(pygit2.GIT_OBJECT_TREE, body))


def snapshot_of(repo: Repo, entries: Raw, folder: str) -> Snapshot:
    """Files with these entries in `folder` ("" for the top)."""
    tree = raw_tree(repo, entries)
    if folder:
        tree = raw_tree(repo, ((b"40000", folder.encode()),), below=tree)
    commit = git(repo.folder, "commit-tree", "-m", "raw", tree)
    return repo.repository.at(commit)


FILE, FOLDER = b"100644", b"40000"
ANYWHERE: dict[str, Raw] = {
    "a way up": ((FILE, b".."),),
    "the folder itself": ((FILE, b"."),),
    "a path": ((FILE, b"a/b"),),
    "an absolute path": ((FILE, b"/etc"),),
    "no name": ((FILE, b""),),
    "git's folder": ((FOLDER, b".git"),),
    "git's folder in capitals": ((FOLDER, b".GIT"),),
    "git's folder as NTFS calls it": ((FOLDER, b"git~1"),),
    "git's folder as NTFS calls it, in capitals": ((FOLDER, b"GIT~1"),),
    "git's folder with a dot": ((FOLDER, b".git."),),
    "git's folder with a space": ((FOLDER, b".git "),),
    "git's folder as a stream": ((FOLDER, b".git::$INDEX_ALLOCATION"),),
    "git's folder with nothing in it": ((FOLDER, ".g\u200cit".encode()),),
    "git's folder with nothing after it": ((FOLDER, ".git\u200b".encode()),),
    "git's folder in wide letters": ((FOLDER, ".\uff47it".encode()),),
    "an option": ((FILE, b"-rf"),),
    "an escape sequence": ((FILE, b"a\x1b[31m"),),
    "a newline": ((FILE, b"a\nb"),),
    "right to left": ((FILE, "a\u202eb".encode()),),
    "nothing between": ((FILE, "a\u200bb".encode()),),
    "no UTF-8": ((FILE, b"a\xff"),),
    "a surrogate": ((FILE, b"a\xed\xa0\x80"),),
    "two forms of one letter": ((FILE, "e\u0301".encode()),),
    "a space at the end": ((FILE, b"a "),),
    "a backslash": ((FILE, b"a\\b"),),
    "one name twice": ((FILE, b"a"), (FILE, b"a")),
    "one name twice, apart": ((FILE, b"a"), (FILE, b"b"), (FILE, b"a")),
    "a file and a folder of one name": ((FILE, b"a"), (FOLDER, b"a")),
    "a file and a folder of one name, apart": ((FILE, b"a"), (FILE, b"a-"), (FOLDER, b"a")),
    "out of order": ((FILE, b"b"), (FILE, b"a")),
    "a folder where a file would be": ((FOLDER, b"a"), (FILE, b"a.b")),
    "a link": ((b"120000", b"a"),),
    "a submodule": ((b"160000", b"a"),),
    "a mode of old": ((b"100664", b"a"),),
    "no mode": ((b"0", b"a"),),
    "a mode with a zero before it": ((b"0100644", b"a"),),
    "a folder's mode with a zero before it": ((b"040000", b"a"),),
    "a device": ((b"060000", b"a"),),
    "set user id": ((b"104755", b"a"),),
    "a mode that is no number": ((b"10064x", b"a"),),
    "a mode that is too long": ((b"100000100644", b"a"),),
}
OURS: dict[str, Raw] = {
    "a letter": ((FILE, "é".encode()),),
    "a space": ((FILE, b"a b"),),
    "a hidden file": ((FILE, b".hidden"),),
    "a tilde": ((FILE, b"a~"),),
    "too long": ((FILE, b"a" * 129),),
}


@pytest.mark.parametrize("folder", ["", "endorsers", "docs"])
@pytest.mark.parametrize("entries", ANYWHERE.values(), ids=ANYWHERE.keys())
def test_what_git_would_not_write_is_refused_wherever_it_stands(entries: Raw, folder: str, repo: Repo) -> None:
    try:
        snapshot = snapshot_of(repo, entries, folder)
    except Refused:
        return  # libgit2 itself cannot read such a top tree
    problems = snapshot.problems(folder)
    assert problems
    assert snapshot.problems("")
    assert all(problem.hint for problem in problems)
    assert not any(char in str(problems[0]) for char in "\x1b\u202e\u200b")
    for call in (tree_sha512, files):
        with pytest.raises(Refused) as caught:
            call(snapshot, folder)
        assert caught.value.rule == ("R4" if folder == "endorsers" else "R23")
    with pytest.raises(Refused):
        tree_sha512(snapshot)


@pytest.mark.parametrize("entries", OURS.values(), ids=OURS.keys())
def test_names_are_narrow_where_they_are_ours_and_ordinary_elsewhere(entries: Raw, repo: Repo) -> None:
    for folder in ("appliances", "clusters", "endorsers", "imagelists", "sites"):
        assert snapshot_of(repo, entries, folder).problems(folder)
    for folder in ("", "docs"):
        snapshot = snapshot_of(repo, entries, folder)
        assert snapshot.problems(folder) == ()
        assert len(tree_sha512(snapshot)) == 128


def test_a_problem_deep_below_is_found_with_its_path(repo: Repo) -> None:
    tree = raw_tree(repo, ((b"120000", b"link"),))
    for name in (b"c", b"b", b"appliances"):
        tree = raw_tree(repo, ((FOLDER, name),), below=tree)
    (problem,) = repo.repository.tree(tree).problems("")
    assert str(problem.place) == "appliances/b/c/link"
    assert repo.repository.tree(tree).problems("appliances/b") == (problem,)
    assert repo.repository.tree(tree).problems("sites") == ()


@pytest.mark.parametrize("mode", [b"100644", b"120000", b"160000"])
def test_a_policy_folder_that_became_something_else_is_refused(mode: bytes, repo: Repo) -> None:
    snapshot = snapshot_of(repo, ((mode, b"endorsers"),), "")
    assert snapshot.problems("endorsers")
    for call in (tree_sha512, files):
        with pytest.raises(Refused, match="R4"):
            call(snapshot, "endorsers")


def test_a_policy_folder_that_is_gone_is_refused(repo: Repo) -> None:
    repo.commit({"README.md": "x"})
    with pytest.raises(Refused, match="R4"):
        files(repo.repository.at(repo.repository.head()), "endorsers")


def test_a_folder_that_stands_twice_is_refused_though_each_is_in_order(repo: Repo) -> None:
    snapshot = snapshot_of(repo, ((FOLDER, b"endorsers"), (FOLDER, b"endorsers")), "")
    with pytest.raises(Refused, match="twice"):
        files(snapshot, "endorsers")


def test_bytes_that_are_no_tree_are_refused(repo: Repo) -> None:
    for body in (b"100644 a", b"100644 a\0short", b"junk", b" a\0" + b"1" * 20, b"100644 a\0" + b"\0" * 19):
        tree = str(repo.git.odb.write(pygit2.GIT_OBJECT_TREE, body))
        (problem,) = inspection.tree_problems(repo.git, tree, "")
        assert "cannot be read" in problem.what
        commit = git(repo.folder, "hash-object", "-t", "commit", "-w", "--stdin", stdin=COMMIT.format(tree=tree).encode())
        with pytest.raises(Refused, match="R23"):
            repo.repository.at(commit)


COMMIT = "tree {tree}\nauthor A <a@example.org> 1 +0000\ncommitter A <a@example.org> 1 +0000\n\nx\n"


def test_a_tree_that_is_missing_is_a_problem_and_not_a_crash(repo: Repo) -> None:
    lost = bytes.fromhex("1" * 40)
    snapshot = repo.repository.tree(str(repo.git.odb.write(pygit2.GIT_OBJECT_TREE, b"40000 sites\0" + lost + b"100644 x\0" + lost)))
    (problem,) = snapshot.problems("")
    assert "not there" in problem.what
    for call in (tree_sha512, files):
        with pytest.raises(Refused):
            call(snapshot, "sites")
    with pytest.raises(Refused, match="R23"):
        snapshot.entries("sites")
    alone = repo.repository.tree(str(repo.git.odb.write(pygit2.GIT_OBJECT_TREE, b"100644 x\0" + lost)))
    with pytest.raises(Refused, match="object is not there"):
        tree_sha512(alone)


def test_a_file_that_is_a_commit_in_truth_is_refused(repo: Repo) -> None:
    commit = repo.commit({"x": "y"})
    snapshot = repo.repository.tree(str(repo.git.odb.write(pygit2.GIT_OBJECT_TREE, b"100644 x\0" + bytes.fromhex(commit))))
    with pytest.raises(Refused, match="not a file"):
        tree_sha512(snapshot)


def test_trees_that_name_one_another_over_and_over_cost_nothing(repo: Repo) -> None:
    tree = raw_tree(repo, ((FILE, b"f"),))
    for _ in range(30):
        tree = raw_tree(repo, tuple((FOLDER, f"{number:02}".encode()) for number in range(20)), below=tree)
    snapshot = repo.repository.tree(tree)
    began = time.process_time()
    assert "more than" in snapshot.problems("")[0].what
    with pytest.raises(Refused):
        tree_sha512(snapshot)
    assert time.process_time() - began < 60


def test_folders_inside_one_another_without_end_are_refused(repo: Repo) -> None:
    tree = raw_tree(repo, ((FILE, b"f"),))
    for _ in range(inspection.DEEPEST - 1):
        tree = raw_tree(repo, ((FOLDER, b"d"),), below=tree)
    assert repo.repository.tree(tree).problems("") == ()
    shared = tree
    for _ in range(200):
        tree = raw_tree(repo, ((FOLDER, b"d"),), below=tree)
    assert "inside one another" in repo.repository.tree(tree).problems("")[0].what
    both = raw_tree(repo, ((FOLDER, b"e"),), below=shared)
    assert "inside one another" in repo.repository.tree(both).problems("")[0].what


def test_at_most_a_hundred_problems_are_told(repo: Repo) -> None:
    snapshot = snapshot_of(repo, tuple((b"120000", f"{number:04}".encode()) for number in range(500)), "")
    assert len(snapshot.problems("")) == 100


def test_each_tree_is_looked_at_once(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    monkeypatch.setattr(inspection, "_seen", {})
    monkeypatch.setattr(inspection, "parse", lambda raw: looked.append(raw) or parse(raw))  # type: ignore[func-returns-value]
    repo.commit({f"appliances/{number}/appliance.yaml": str(number) for number in range(50)})
    assert repo.repository.at(repo.repository.head()).problems("") == ()
    assert len(looked) == 52
    repo.commit({"appliances/7/appliance.yaml": "new"})
    assert repo.repository.at(repo.repository.head()).problems("") == ()
    assert len(looked) == 55


def test_the_digest_is_over_modes_contents_and_paths(repo: Repo) -> None:
    repo.commit({"b/z": "1", "!x b/a": "2", "b.c": "3", "a": "", "b/é": "4"})
    snapshot = repo.repository.at(repo.repository.head())
    lines = [("100644", b"", "a"), ("100644", b"3", "b.c"), ("100755", b"2", "b/a"), ("100644", b"1", "b/z"), ("100644", b"4", "b/é")]
    text = "".join(f"{mode} {hashlib.sha512(data).hexdigest()} {path}\n" for mode, data, path in lines)
    assert tree_sha512(snapshot) == hashlib.sha512(text.encode()).hexdigest()
    below = "".join(f"{mode} {hashlib.sha512(data).hexdigest()} {path[2:]}\n" for mode, data, path in lines[2:])
    assert tree_sha512(snapshot, "b") == hashlib.sha512(below.encode()).hexdigest()
    assert files(snapshot, "b") == {"a": b"2", "z": b"1", "é": b"4"}


def test_equal_folders_have_equal_digests_wherever_they_stand(repo: Repo) -> None:
    repo.commit({"a/x/y": "1", "b/x/y": "1", "c/x/y": "2", "!x d/x/y": "1", "e/xy": "1"})
    snapshot = repo.repository.at(repo.repository.head())
    found = [tree_sha512(snapshot, folder) for folder in "abcde"]
    assert found[0] == found[1]
    assert len(set(found)) == 4


@settings(max_examples=15)
@given(st.dictionaries(st.from_regex(r"[a-c]{1,2}", fullmatch=True), st.binary(max_size=4), min_size=1, max_size=5), st.data())
def test_any_change_changes_the_digest(tmp_path_factory: pytest.TempPathFactory, content: dict[str, bytes], data: st.DataObject) -> None:
    repo = Repo(tmp_path_factory.mktemp("digest"))
    path = data.draw(st.sampled_from(sorted(content)))
    before = tree_sha512(repo.repository.at(repo.commit(content)))
    for changed in ({path: content[path] + b"x"}, {path: None}, {path: None, f"!x {path}": content[path]}, {path: None, f"{path}z": content[path]}):
        other = Repo(tmp_path_factory.mktemp("digest"))
        other.commit({**content, "other": b""})
        other.commit({"other": None, **changed})
        assert tree_sha512(other.repository.at(other.repository.head())) != before


@pytest.mark.parametrize("caps", [Caps(1, 100, 100), Caps(9, 2, 100), Caps(9, 100, 5)])
def test_more_than_the_caps_is_refused(caps: Caps, repo: Repo) -> None:
    repo.commit({"endorsers/a": "123", "endorsers/b": "456"})
    snapshot = repo.repository.at(repo.repository.head())
    for call in (tree_sha512, files):
        with pytest.raises(Refused, match="R25"):
            call(snapshot, "endorsers", caps)


# The parser by itself.


@given(st.binary(max_size=120))
def test_any_bytes_are_a_tree_or_a_value_error(raw: bytes) -> None:
    try:
        entries = parse(raw)
    except ValueError:
        return
    assert b"".join(entry.mode.encode() + b" " + entry.name + b"\0" + bytes.fromhex(entry.oid) for entry in entries) == raw
    faults(entries, ours=True)


_entries = st.lists(
    st.builds(RawEntry, st.sampled_from(["100644", "100755", "40000", "120000", "160000", "100664", "0"]), st.binary(max_size=6), st.just("0" * 40)),
    max_size=4,
)


@given(_entries, st.booleans())
def test_what_our_parser_accepts_git_accepts_too(tmp_path_factory: pytest.TempPathFactory, entries: list[RawEntry], ours: bool) -> None:
    if faults(tuple(entries), ours=ours):
        return
    folder = tmp_path_factory.mktemp("agree")
    git(folder, "init", "-q", "--bare")
    raw = b"".join(entry.mode.encode() + b" " + entry.name + b"\0" + bytes.fromhex(entry.oid) for entry in entries)
    stored = pygit2.Repository(str(folder)).odb.write(pygit2.GIT_OBJECT_TREE, raw)
    listed = git(folder, "ls-tree", "-z", str(stored)).split("\0")
    assert [line.partition("\t")[2] for line in listed if line] == [entry.name.decode() for entry in entries]


TWOFOLD = ("one name twice", "a file and a folder of one name", "out of order", "a mode of old", "no mode", "a folder's mode with a zero before it")


@pytest.mark.parametrize("kind", TWOFOLD)
def test_nothing_is_read_through_a_tree_that_readers_read_differently(kind: str, repo: Repo) -> None:
    snapshot = snapshot_of(repo, ANYWHERE[kind], "sites")
    for look in (snapshot.read, snapshot.blob_id, snapshot.executable, snapshot.tree_id):
        with pytest.raises(Refused) as caught:
            look("sites/a")
        assert caught.value.rule == "R23"
    with pytest.raises(Refused):
        snapshot.entries("sites")
    with pytest.raises(Refused):
        list(snapshot.walk(""))
    assert [entry.name for entry in snapshot.entries("")] == ["sites"]
