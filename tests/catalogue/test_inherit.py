"""Inheritance: scalars replace, maps merge, lists append, drop takes away."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from support.repo import BASE, uuid
from vmkeeper.catalogue.inherit import Resolved, resolve
from vmkeeper.errors import Problem
from vmkeeper.model.appliance import Appliance
from vmkeeper.values import Size

ROOT: dict[str, Any] = YAML(typ="safe", pure=True).load(BASE.format(uuid=uuid("base")))


def appliance(**values: Any) -> Appliance:
    return Appliance.model_validate({"uuid": uuid("x"), "title": "x", **values})


def root(**values: Any) -> Appliance:
    return Appliance.model_validate({**ROOT, **values})


def good(*chain: Appliance) -> Resolved:
    resolved, problems = resolve([(f"a{index}", member) for index, member in enumerate(chain)])
    assert not problems
    assert resolved is not None
    return resolved


def bad(*chain: Appliance) -> tuple[Problem, ...]:
    resolved, problems = resolve([(f"a{index}", member) for index, member in enumerate(chain)])
    assert resolved is None
    assert problems
    return problems


def test_a_scalar_of_the_child_replaces_the_parents() -> None:
    assert good(root(), appliance(disk={"size": "4GiB"})).appliance.disk.size == Size.parse("4GiB")


def test_a_scalar_that_the_child_does_not_give_is_the_parents() -> None:
    assert good(root(users={"default": "cloud"}), appliance(users={"sudo": False})).appliance.users.default == "cloud"


def test_maps_merge_key_by_key() -> None:
    disk = good(root(disk={"size": "3GiB", "boot": ["uefi"]}), appliance(disk={"label": "data"})).appliance.disk
    assert (disk.size, disk.boot, disk.label) == (Size.parse("3GiB"), ("uefi",), "data")


def test_lists_append_in_the_order_of_the_chain() -> None:
    resolved = good(root(packages=["aa"]), appliance(packages=["cc", "bb"]), appliance(packages=["dd"]))
    assert resolved.appliance.packages == ("aa", "cc", "bb", "dd")
    assert [resolved.origins[f"packages[{i}]"].appliance for i in range(4)] == ["a0", "a1", "a1", "a2"]


def test_a_package_named_again_is_one() -> None:
    assert good(root(packages=["aa"]), appliance(packages=["aa", "bb"])).appliance.packages == ("aa", "bb")


def test_a_service_named_again_supersedes_the_state() -> None:
    services = good(
        root(services=[{"name": "ssh.service"}, {"name": "a.timer"}]), appliance(services=[{"name": "ssh.service", "state": "masked"}])
    ).appliance.services
    assert [(service.name, service.state) for service in services] == [("ssh.service", "masked"), ("a.timer", "enabled")]


FILE = {"name": "motd", "path": "/etc/motd", "source": "files/motd"}


def test_a_file_named_again_is_an_error_that_names_both() -> None:
    (problem,) = bad(root(files=[FILE]), appliance(files=[FILE]))
    assert "inherited from a0" in problem.what
    assert "drop" in problem.hint
    assert problem.place.file == "appliances/a1/appliance.yaml"


def test_a_dropped_item_may_be_given_anew() -> None:
    files = good(root(files=[FILE]), appliance(drop={"files": ["motd"]}, files=[{**FILE, "path": "/etc/issue"}])).appliance.files
    assert [file.path for file in files] == ["/etc/issue"]


@pytest.mark.parametrize(
    ("kind", "inherited", "name", "field"),
    [
        ("packages", {"packages": ["aa", "bb"]}, "aa", "packages"),
        ("files", {"files": [FILE]}, "motd", "files"),
        ("provision", {"provision": [{"name": "tidy", "script": "provision/tidy"}]}, "tidy", "provision"),
        ("services", {"services": [{"name": "ssh.service"}]}, "ssh.service", "services"),
    ],
)
def test_drop_takes_an_inherited_item_away(kind: str, inherited: dict[str, Any], name: str, field: str) -> None:
    kept = getattr(good(root(**inherited), appliance(drop={kind: [name]})).appliance, field)
    assert name not in [getattr(item, "name", item) for item in kept]


def test_drop_reaches_into_maps() -> None:
    resolved = good(root(), appliance(drop={"boot": ["bios"]}))
    assert resolved.appliance.disk.boot == ("uefi",)


def test_dropping_what_is_not_inherited_is_an_error_that_lists_what_is() -> None:
    (problem,) = bad(root(packages=["aa"]), appliance(drop={"packages": ["zz"]}))
    assert "zz is not inherited" in problem.what
    assert "aa" in problem.hint


def test_a_grandchild_cannot_drop_what_its_parent_dropped() -> None:
    assert bad(root(packages=["aa"]), appliance(drop={"packages": ["aa"]}), appliance(drop={"packages": ["aa"]}))


def test_another_architecture_conflicts() -> None:
    (problem,) = bad(root(), appliance(architecture="aarch64"))
    assert "conflicts with x86_64 of a0" in problem.what


def test_the_same_architecture_said_again_is_fine() -> None:
    assert good(root(), appliance(architecture="x86_64")).appliance.architecture == "x86_64"


def test_identity_is_not_inherited() -> None:
    resolved = good(root(title="Root", labels={"a": "b"}, abstract=True), appliance(title="Child"))
    assert (resolved.appliance.title, resolved.appliance.abstract, resolved.appliance.labels) == ("Child", False, {})
    assert resolved.appliance.uuid == uuid("x")


def test_everything_missing_is_said_at_once() -> None:
    fields = {problem.place.field for problem in bad(appliance())}
    assert {"distribution.name", "distribution.archives", "builder.name", "builder.tools", "formats", "disk.boot", "users.default"} <= fields


def test_an_abstract_appliance_needs_no_disk() -> None:
    values = {key: ROOT[key] for key in ("distribution", "architecture")}
    assert good(appliance(abstract=True, builder={"name": "debian"}, **values)).appliance.formats == ()


NAMES = st.text("abcdefgh", min_size=2, max_size=5)


@given(st.lists(st.lists(NAMES, max_size=5, unique=True), min_size=1, max_size=5))
def test_packages_of_any_chain_are_the_union_in_first_order(chain: list[list[str]]) -> None:
    members = [root(packages=chain[0]), *(appliance(packages=packages) for packages in chain[1:])]
    expected = list(dict.fromkeys(package for packages in chain for package in packages))
    resolved = good(*members)
    assert list(resolved.appliance.packages) == expected
    for index, package in enumerate(expected):
        first = next(i for i, packages in enumerate(chain) if package in packages)
        assert resolved.origins[f"packages[{index}]"].appliance == f"a{first}"


@given(st.lists(NAMES, min_size=1, max_size=6, unique=True), st.data())
def test_origins_follow_what_drop_moves(packages: list[str], data: st.DataObject) -> None:
    gone = data.draw(st.sets(st.sampled_from(packages)))
    added = data.draw(st.lists(NAMES.filter(lambda name: name not in packages), max_size=3, unique=True))
    resolved = good(root(packages=packages), appliance(drop={"packages": sorted(gone)}, packages=added))
    kept = [package for package in packages if package not in gone]
    assert list(resolved.appliance.packages) == kept + added
    for index, package in enumerate(kept):
        assert resolved.origins[f"packages[{index}]"].field == f"packages[{packages.index(package)}]"
    assert f"packages[{len(kept + added)}]" not in resolved.origins


@given(st.sampled_from(["2GiB", "3GiB", None]), st.sampled_from(["4GiB", None]), st.sampled_from(["5GiB", None]))
def test_the_nearest_scalar_wins(first: str | None, second: str | None, third: str | None) -> None:
    disks = [{"size": size} if size else {} for size in (second, third)]
    resolved = good(root(disk={"boot": ["bios"], **({"size": first} if first else {})}), *(appliance(disk=disk) for disk in disks))
    expected = third or second or first or "2GiB"
    assert str(resolved.appliance.disk.size) == expected


def test_resolving_twice_changes_nothing() -> None:
    once = good(root(packages=["aa"]), appliance(packages=["bb"])).appliance
    again = good(once).appliance
    assert again == once
