"""A site's own folder."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from support.producer import NOW
from vmkeeper.errors import Problems, Transient, UserError
from vmkeeper.execute.home import SiteHome
from vmkeeper.images.files import PREFIX
from vmkeeper.trust.memory import Memory

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILbwmQ0rdOiROpxx2nbSiNKJKRF7I4FiYJC9/V347gJI"
PINS = f"""version: 1
repository: {"a" * 40}
tree: {"b" * 128}
policy: {{number: 1, sha512: {"c" * 128}}}
quorum: 1
principals: [{{name: root, keys: [{{type: ssh, key: {KEY}}}]}}]
"""


def test_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("VMKEEPER_SITE_HOME", raising=False)
    assert SiteHome.of("here", None).folder == tmp_path / "data/vmkeeper/sites/here"
    monkeypatch.setenv("VMKEEPER_SITE_HOME", str(tmp_path / "named"))
    assert SiteHome.of("here", None).folder == tmp_path / "named"
    assert SiteHome.of("here", tmp_path / "told").folder == tmp_path / "told"


def test_pins_are_read_back_and_errors_name_the_file_and_line(tmp_path: Path) -> None:
    home = SiteHome(tmp_path / "home")
    with pytest.raises(UserError, match="pinned nobody"):
        home.pins()
    home.pin(PINS, {"a.pem": b"certificate"}, b"title: Here\n")
    assert home.pins().repository == "a" * 40
    assert [path.name for path in home.certificates()] == ["a.pem"]
    assert home.site_file() == b"title: Here\n"
    home.pin(PINS + "repositroy: x\n", {}, None)
    with pytest.raises(Problems) as error:
        home.pins()
    assert f"{home.folder}/pins.yaml:7" in str(error.value)


def test_an_empty_memory_before_the_first_run_and_no_write_where_nothing_changed(tmp_path: Path) -> None:
    home = SiteHome(tmp_path)
    assert home.memory() == Memory()
    home.remember(Memory(newest=NOW))
    written = (tmp_path / "memory.json").stat()
    home.remember(home.memory())
    assert (tmp_path / "memory.json").stat().st_ino == written.st_ino
    assert written.st_mode & 0o777 == 0o600


def test_one_run_at_a_time_clears_what_killed_ones_left_and_leaves_nothing_itself(tmp_path: Path) -> None:
    home = SiteHome(tmp_path / "home")
    for place in (home.folder, home.cache, home.folder / "tmp/deep"):
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{PREFIX}0123456789abcdef").write_text("half")
    before = tempfile.gettempdir()
    with home.locked():
        assert Path(tempfile.gettempdir()) == home.folder / "tmp"
        assert list((home.folder / "tmp").iterdir()) == []
        with pytest.raises(Transient), home.locked():
            pass
    assert tempfile.gettempdir() == before
    assert sorted(path.name for path in home.folder.rglob("*")) == ["cache", "lock"]
