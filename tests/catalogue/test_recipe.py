"""Recipes: what is in the digest, what is not, and which layers appliances share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from support.repo import Repo, base, child, lock, tools
from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.catalogue.recipe import differences
from vmkeeper.errors import Problems
from vmkeeper.model.recipe import layer_keys

SCRIPT = "provision: [{name: tidy, script: provision/tidy}]"
FILES = {
    **tools(),
    **base(extra=SCRIPT),
    "appliances/base/provision/tidy": "#!/bin/sh\n",
    "!x appliances/base/tests/10-ssh": "#!/bin/sh\n",
    **child("web", "base", "packages: [nginx]\nfiles: [{name: motd, path: /etc/motd, source: files/motd}]"),
    "appliances/web/packages.lock": lock("b"),
    "appliances/web/files/motd": "hello\n",
    **child("shop", "web"),
    **child("other", "base"),
}


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    made = Repo(tmp_path / "repo")
    made.commit(FILES)
    return made


def catalogue(repo: Repo, files: Mapping[str, str | bytes | None] | None = None) -> Catalogue:
    commit = repo.commit(files) if files else repo.repository.head()
    return Catalogue.at(repo.repository, commit)


def digests(of: Catalogue) -> dict[str, str]:
    return {name: of.recipe(name).digest() for name in of.names("appliances")}


def changed(repo: Repo, files: Mapping[str, str | bytes | None]) -> set[str]:
    before = digests(catalogue(repo))
    after = digests(catalogue(repo, files))
    return {name for name in before.keys() & after.keys() if before[name] != after[name]}


AFFECTED: list[tuple[str, dict[str, str | bytes | None], set[str]]] = [
    ("the readme", {"README.md": "hello"}, set()),
    ("a script at the root", {"appliances/base/provision/tidy": "#!/bin/sh\nrm -f /x\n"}, {"base", "web", "shop", "other"}),
    ("a file in the middle", {"appliances/web/files/motd": "bye\n"}, {"web", "shop"}),
    ("a file that nobody names", {"appliances/web/files/unused": "x"}, set()),
    ("a test", {"!x appliances/base/tests/10-ssh": "#!/bin/sh\nfalse\n"}, set()),
    ("a new test", {"!x appliances/web/tests/10-http": "#!/bin/sh\n"}, set()),
    ("a title", {"appliances/web/appliance.yaml": FILES["appliances/web/appliance.yaml"].replace("A child", "The child")}, set()),
    ("a description", {"appliances/other/appliance.yaml": FILES["appliances/other/appliance.yaml"] + "description: hello\n"}, set()),
    ("a label", {"appliances/other/appliance.yaml": FILES["appliances/other/appliance.yaml"] + "labels: {a: b}\n"}, set()),
    ("a comment", {"appliances/base/appliance.yaml": FILES["appliances/base/appliance.yaml"] + "# hello\n"}, set()),
    ("a lock in the middle", {"appliances/web/packages.lock": lock("c")}, {"web", "shop"}),
    ("the root's lock", {"appliances/base/packages.lock": lock("c")}, {"base", "web", "shop", "other"}),
    ("the tools' lock", {"appliances/tools/packages.lock": lock("c")}, {"tools", "base", "web", "shop", "other"}),
    ("a leaf's disk", {"appliances/shop/appliance.yaml": FILES["appliances/shop/appliance.yaml"] + "disk: {size: 5GiB}\n"}, {"shop"}),
    ("the root's disk", {"appliances/base/appliance.yaml": FILES["appliances/base/appliance.yaml"].replace("2GiB", "3GiB")}, {"base", "web", "shop", "other"}),
    ("a leaf's service", {"appliances/other/appliance.yaml": FILES["appliances/other/appliance.yaml"] + "services: [{name: ssh.service}]\n"}, {"other"}),
    ("memory for the test", {"appliances/other/appliance.yaml": FILES["appliances/other/appliance.yaml"] + "requirements: {memory: 2GiB}\n"}, set()),
    ("a site", {"sites/home.yaml": "title: x\n"}, set()),
]  # fmt: skip


@pytest.mark.parametrize(("files", "affected"), [case[1:] for case in AFFECTED], ids=[case[0] for case in AFFECTED])
def test_a_change_reaches_exactly(repo: Repo, files: dict[str, str | bytes | None], affected: set[str]) -> None:
    assert changed(repo, files) == affected


def test_the_digest_does_not_depend_on_where_a_file_was_found(repo: Repo) -> None:
    moved = FILES["appliances/web/appliance.yaml"].replace("files/motd", "files/greeting")
    assert changed(repo, {"appliances/web/appliance.yaml": moved, "appliances/web/files/greeting": "hello\n"}) == set()


def test_a_child_shares_its_parents_layers(repo: Repo) -> None:
    of = catalogue(repo)
    keys = {name: layer_keys(of.recipe(name).layers, of.recipe(name).builder) for name in ("base", "web", "shop")}
    assert keys["web"][:1] == keys["base"]
    assert keys["shop"][:2] == keys["web"]
    assert len(set(keys["shop"])) == 3


def test_a_child_that_adds_no_packages_needs_no_lock(repo: Repo) -> None:
    assert catalogue(repo).recipe("shop").layers[-1].packages == ()


def test_dropping_a_package_builds_from_nothing(repo: Repo) -> None:
    files = {**child("slim", "web", "drop: {packages: [nginx]}"), "appliances/slim/packages.lock": lock("e")}
    recipe = catalogue(repo, files).recipe("slim")
    (layer,) = recipe.layers
    assert "nginx" not in layer.requested
    assert [step.content.appliance for step in layer.files] == ["web"]
    assert [step.content.appliance for step in layer.scripts] == ["base"]


def test_dropping_a_format_still_starts_from_the_parent(repo: Repo) -> None:
    assert len(catalogue(repo, child("raw", "web", "drop: {formats: [qcow2]}\nformats: [raw]")).recipe("raw").layers) == 3


def test_another_release_builds_from_nothing(repo: Repo) -> None:
    extra = """
    drop: {archives: [main]}
    distribution:
      release: trixie
      version: "13"
      archives: [{name: new, uri: http://deb.debian.org/debian, suite: trixie}]
    """
    files = {**child("next", "base", extra), "appliances/next/packages.lock": lock("e")}
    (layer,) = catalogue(repo, files).recipe("next").layers
    assert [archive.name for archive in layer.archives] == ["new"]
    assert layer.release == "trixie"


def problems(repo: Repo, files: Mapping[str, str | bytes | None], name: str) -> str:
    with pytest.raises(Problems) as caught:
        catalogue(repo, files).recipe(name)
    return str(caught.value)


def test_a_missing_lock_says_how_to_make_it(repo: Repo) -> None:
    assert "vmkeeper refresh lone" in problems(repo, child("lone", "base", "packages: [vim]"), "lone")


def test_a_missing_file_names_who_wants_it(repo: Repo) -> None:
    assert "files/motd is not in appliances/web/" in problems(repo, {"appliances/web/files/motd": None}, "shop")


def test_a_missing_parent_offers_the_near_miss(repo: Repo) -> None:
    text = problems(repo, child("lost", "bsae"), "lost")
    assert "there is no appliance bsae" in text
    assert "did you mean base?" in text


def test_a_circle_is_shown_whole(repo: Repo) -> None:
    assert "one → two → one" in problems(repo, {**child("one", "two"), **child("two", "one")}, "one")


def test_inheriting_from_oneself_is_a_circle(repo: Repo) -> None:
    assert "me → me" in problems(repo, child("me", "me"), "me")


def test_a_chain_that_never_ends_is_cut(repo: Repo) -> None:
    files: dict[str, str] = {}
    for index in range(20):
        files |= child(f"c{index}", f"c{index - 1}" if index else "base")
    assert "more than 16" in problems(repo, files, "c19")


def test_tools_must_be_abstract(repo: Repo) -> None:
    extra = "builder: {tools: web}"
    assert "web is not abstract" in problems(repo, child("odd", "base", extra), "odd")


def test_a_script_that_is_a_link_is_missing(repo: Repo) -> None:
    index = __import__("pygit2").Index()
    git = repo.git
    index.read_tree(git[repo.repository.head()].tree)
    from pygit2 import IndexEntry
    from pygit2.enums import FileMode

    index.add(IndexEntry("appliances/base/provision/tidy", git.create_blob(b"/etc/passwd"), FileMode.LINK))
    who = __import__("pygit2").Signature("A", "a@example.org", 1, 0)
    commit = git.create_commit("refs/heads/main", who, who, "link", index.write_tree(git), [git.head.target])
    with pytest.raises(Problems, match="provision/tidy is not in"):
        Catalogue.at(repo.repository, str(commit)).recipe("base")


@pytest.mark.parametrize(("files", "affected"), [case[1:] for case in AFFECTED], ids=[case[0] for case in AFFECTED])
def test_differences_are_said_exactly_where_digests_differ(repo: Repo, files: dict[str, str | bytes | None], affected: set[str]) -> None:
    before = catalogue(repo)
    after = catalogue(repo, files)
    for name in before.names("appliances"):
        found = differences(before.recipe(name), after.recipe(name))
        assert bool(found) == (name in affected)
        for difference in found:
            assert not difference.path or after.snapshot.blob_id(difference.path)


def test_a_difference_names_the_file_that_says_it(repo: Repo) -> None:
    before = catalogue(repo)
    after = catalogue(repo, {"appliances/base/provision/tidy": "#!/bin/sh\ntrue\n"})
    (difference,) = differences(before.recipe("shop"), after.recipe("shop"))
    assert difference.path == "appliances/base/provision/tidy"
    assert difference.what == "provision/tidy of base changed"
