"""What a machine lacks is found out first and said with the way out, all at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.recipes import Files, layer, recipe
from vmkeeper.builders.debian import builder, sandbox
from vmkeeper.builders.registry import BUILDERS
from vmkeeper.errors import EnvironmentLacks
from vmkeeper.images.store import Store
from vmkeeper.progress import Silent
from vmkeeper.run import ProgramFailed

BUILDER = BUILDERS["debian"]


def test_all_missing_programs_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "_has", lambda name: name not in ("dpkg-deb", "unshare"))
    said = "\n".join(map(str, BUILDER.lacks()))
    assert "dpkg-deb" in said
    assert "apt-get install dpkg" in said
    assert "apt-get install util-linux" in said


def test_ordinary_user_without_subordinate_ids_is_told_how_to_get_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    monkeypatch.setattr(sandbox.shutil, "which", lambda _name, **_: None)
    monkeypatch.setattr(sandbox, "_subordinates", lambda *_: False)
    said = "\n".join(map(str, sandbox.lacks()))
    assert "apt-get install uidmap" in said
    assert "usermod --add-subuids 100000-165535" in said
    assert "/etc/subuid" in said
    assert "/etc/subgid" in said


@pytest.mark.parametrize(
    ("text", "enough"),
    [
        ("builder:100000:65536\n", True),
        ("other:100000:65536\n", False),
        ("builder:100000:1000\n", False),
        (f"{os.geteuid()}:100000:70000\n", True),
        ("builder:nonsense\n", False),
        ("", False),
    ],
)
def test_subordinate_ids_are_read_as_subuid_says(tmp_path: Path, text: str, *, enough: bool) -> None:
    (tmp_path / "subuid").write_text(text)
    assert sandbox._subordinates(tmp_path / "subuid", "builder") is enough
    assert sandbox._subordinates(tmp_path / "none", "builder") is False


def test_forbidden_namespaces_are_reported_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise ProgramFailed("unshare failed with status 1", why="unshare: unshare failed: Operation not permitted")

    monkeypatch.setattr(sandbox, "run", forbidden)
    monkeypatch.setattr(sandbox, "_subordinates", lambda *_: True)
    monkeypatch.setattr(sandbox.shutil, "which", lambda name, **_: f"/usr/bin/{name}")
    problems = sandbox.lacks()
    assert len(problems) == 1
    assert "Operation not permitted" in problems[0].what
    assert problems[0].hint


def test_image_for_another_architecture_is_not_begun(tmp_path: Path) -> None:
    foreign = recipe(layer()).model_copy(update={"architecture": "aarch64"})
    with pytest.raises(EnvironmentLacks, match="aarch64"):
        BUILDER.build(foreign, Files(), Store(tmp_path / "store"), tmp_path / "work", Silent())
