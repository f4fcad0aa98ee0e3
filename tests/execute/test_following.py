"""How a site gets the followed repository: by fetch, from a bundle, or from a clone that is kept elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.gitserver import GitServer, git
from support.repo import Repo
from vmkeeper.errors import Refused, Transient, UserError
from vmkeeper.execute.following import MIRROR, follow, mirrored, opened


@pytest.fixture
def source(tmp_path: Path) -> Repo:
    repo = Repo(tmp_path / "srv/images.git")
    repo.commit({"sites/here.yaml": "title: Here\n"})
    return repo


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_a_named_source_is_fetched_and_opened(source: Repo, home: Path, tmp_path: Path) -> None:
    for text in ("title: Here\n", "title: There\n"):
        head = source.commit({"sites/here.yaml": text})
        found = follow(home, tmp_path, source=str(source.folder))
        assert found.resolve("refs/heads/main") == head
        assert found.at(head).read("sites/here.yaml") == text.encode()
    assert (home / MIRROR / "HEAD").is_file()


def test_without_a_source_the_clone_is_opened_where_it_is(source: Repo, home: Path) -> None:
    found = follow(home, source.folder)
    assert found.head() == source.repository.head()
    assert not home.exists()


def test_a_private_address_is_refused_unless_the_site_allows_it(source: Repo, home: Path) -> None:
    with GitServer(source.folder.parent) as server:
        address = server.url("images.git", "git.example.org")
        how = {"source": address, "resolve": lambda _host: ("127.0.0.1",)}
        with pytest.raises(Refused, match="R24"):
            follow(home, source.folder, **how)
        with pytest.raises(Refused, match="R27"):
            follow(home, source.folder, source=address.replace("http:", "https:"), resolve=lambda _host: ("127.0.0.1",))
        assert server.requests == []
        found = follow(home, source.folder, allowed_hosts=("git.example.org",), **how)
    assert found.resolve("refs/heads/main") == source.repository.head()


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "127.1", "[::ffff:127.0.0.1]", "[::1]", "169.254.169.254", "localhost"])
def test_other_spellings_of_private_addresses_are_refused(host: str, home: Path, tmp_path: Path) -> None:
    with pytest.raises((Refused, Transient)) as caught:
        follow(home, tmp_path, source=f"https://{host}/images.git")
    assert isinstance(caught.value, Refused)
    assert caught.value.rule == "R27"


def test_a_name_that_answers_differently_the_second_time_changes_nothing(source: Repo, home: Path) -> None:
    answers = iter([("127.0.0.1",)])
    with GitServer(source.folder.parent) as server:
        found = follow(
            home,
            source.folder,
            source=server.url("images.git", "rebinding.example.org"),
            allowed_hosts=("rebinding.example.org",),
            resolve=lambda _host: next(answers),
        )
        assert {host for _, host in server.requests} == {f"rebinding.example.org:{server.port}"}
    assert found.resolve("refs/heads/main") == source.repository.head()


def test_a_source_that_is_away_leaves_the_last_good_state(source: Repo, home: Path, tmp_path: Path) -> None:
    head = source.repository.head()
    with pytest.raises(UserError, match="no repository was fetched"):
        mirrored(home)
    follow(home, tmp_path, source=str(source.folder))
    with pytest.raises(Transient):
        follow(home, tmp_path, source="ssh://127.0.0.1:1/images.git")
    assert mirrored(home).resolve("refs/heads/main") == head


def test_a_tag_that_is_gone_at_the_source_is_gone_here_for_the_verifier_to_see(source: Repo, home: Path, tmp_path: Path) -> None:
    git(source.folder, "tag", "endorse/a/1", "main")
    assert "refs/tags/endorse/a/1" in follow(home, tmp_path, source=str(source.folder)).git.references
    git(source.folder, "tag", "-d", "endorse/a/1")
    assert "refs/tags/endorse/a/1" not in follow(home, tmp_path, source=str(source.folder)).git.references


def test_a_repository_that_two_readers_read_differently_is_not_opened(source: Repo, home: Path, tmp_path: Path) -> None:
    follow(home, tmp_path, source=str(source.folder))
    source.commit({"a": "b"})
    git(source.folder, "replace", "main", "main~1")
    for look in (lambda: follow(home, source.folder), lambda: opened(source.folder)):
        with pytest.raises(Refused) as caught:
            look()
        assert caught.value.rule == "R32"
        assert caught.value.hint
    git(home / MIRROR, "update-ref", f"refs/replace/{source.repository.head()}", "refs/heads/main")
    with pytest.raises(Refused, match="R32"):
        mirrored(home)


def test_replaced_objects_of_the_source_do_not_come_along(source: Repo, home: Path, tmp_path: Path) -> None:
    head = source.commit({"a": "b"})
    git(source.folder, "replace", "main", "main~1")
    found = follow(home, tmp_path, source=str(source.folder))
    assert found.resolve("refs/heads/main") == head
    assert found.at(head).read("a") == b"b"
    assert [name for name in found.git.references if "replace" in name] == []


def test_source_and_bundle_exclude_one_another(home: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="both"):
        follow(home, tmp_path, source=str(tmp_path), bundle=tmp_path)


def test_a_folder_without_a_repository_is_a_users_error(home: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError):
        follow(home, tmp_path)
