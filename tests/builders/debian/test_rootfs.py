"""The order in which packages are installed, and the program that runs inside the root."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.recipes import Files, layer
from vmkeeper.builders.debian.rootfs import Package, closure, inside_program, waves
from vmkeeper.model.appliance import Archive, Service
from vmkeeper.model.lock import LockedPackage
from vmkeeper.model.recipe import FileStep, ScriptStep
from vmkeeper.values import Size


def package(name: str, depends: str = "", before: str = "", provides: str = "", *, essential: bool = False) -> Package:
    first = frozenset(before.split())
    return Package(f"{name}.deb", name, essential, frozenset(depends.split()) | first, first, frozenset(provides.split()) | {name})


def names(packages: tuple[Package, ...]) -> list[str]:
    return [package.name for package in packages]


def test_closure_follows_dependencies_and_what_provides_them() -> None:
    packages = [package("a", "b awk"), package("b", "c"), package("c"), package("mawk", provides="awk"), package("other")]
    assert names(closure([packages[0]], packages)) == ["a", "b", "c", "mawk"]


def test_packages_in_a_circle_come_together() -> None:
    packages = [package("a", "b"), package("b", "a")]
    assert waves(packages) == [tuple(packages)]


def test_what_is_pre_depended_on_is_configured_before() -> None:
    packages = [package("server", "library", before="debconf"), package("debconf", "perl"), package("library"), package("perl")]
    assert [names(wave) for wave in waves(packages)] == [["debconf", "perl"], ["server", "library"]]


def test_pre_dependencies_of_pre_dependencies_come_first_of_all() -> None:
    packages = [package("c", before="b"), package("b", before="a"), package("a")]
    assert [names(wave) for wave in waves(packages)] == [["a"], ["b"], ["c"]]


def test_nothing_to_install_is_no_wave() -> None:
    assert waves([]) == []


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.tuples(st.sets(st.sampled_from("abcdefgh")), st.sets(st.sampled_from("abcdefgh")))))
def test_every_package_is_installed_exactly_once(graph: dict[str, tuple[set[str], set[str]]]) -> None:
    packages = [package(name, " ".join(depends), " ".join(before)) for name, (depends, before) in sorted(graph.items())]
    assert sorted(package.name for wave in waves(packages) for package in wave) == sorted(graph)


def locked(name: str) -> LockedPackage:
    return LockedPackage(name=name, version="1", architecture="all", archive="bookworm", path=f"pool/{name}.deb", size=Size(1), sha256="0" * 64)


def test_program_is_valid_shell_whatever_names_the_recipe_has(tmp_path: Path) -> None:
    contents = Files()
    whole = layer(
        packages=(locked("web"), locked("libweb")),
        requested=("web", "g++"),
        files=(FileStep(path="/etc/it's $(here) `now`", mode="0640", owner="root", group="adm", content=contents.add("x")),),
        services=(Service(name="getty@tty1.service", state="masked"), Service(name="web.service")),
        scripts=(ScriptStep(name="tidy", content=contents.add("#!/bin/sh\n")),),
    )
    text = inside_program(whole, [package("base", essential=True)], [package("web"), package("libweb")])
    (tmp_path / "inside.sh").write_text(text)
    shell = shutil.which("dash") or shutil.which("sh")
    assert shell
    subprocess.run([shell, "-n", str(tmp_path / "inside.sh")], check=True)
    assert "systemctl --quiet mask getty@tty1.service" in text
    assert "systemctl --quiet enable web.service" in text


def test_marks_say_what_was_asked_for() -> None:
    text = inside_program(layer(packages=(locked("web"), locked("libweb")), requested=("web",)), [], [])
    assert re.findall(r"(?m)^(?:printf %s ')?Package: (\S+)$", text) == ["libweb"]


def test_sources_name_every_archive_with_its_key() -> None:
    own = Archive(name="own", uri="http://archive.example.org/own", suite="stable", components=("main", "extra"), keyring="keyrings/own.gpg")
    debian = Archive(name="debian", uri="http://deb.debian.org/debian", suite="bookworm")
    text = inside_program(layer(archives=(debian, own)), [], [])
    assert "Suites: bookworm\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg" in text
    assert "Components: main extra\nSigned-By: /etc/apt/keyrings/own.gpg" in text


@pytest.mark.parametrize("path", ["/etc/machine-id", "/etc/ssh/ssh_host_*", "/usr/sbin/policy-rc.d", "/var/lib/systemd/random-seed"])
def test_what_machines_must_not_share_is_taken_away(path: str) -> None:
    assert path in inside_program(layer(), [], [])
