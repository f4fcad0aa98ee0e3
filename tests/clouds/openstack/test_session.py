"""Which clouds.yaml counts, for which project, and that nothing of what it holds is ever told."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from openstack.config import loader

from vmkeeper.clouds import Account
from vmkeeper.clouds.openstack import session
from vmkeeper.clouds.openstack.cloud import places
from vmkeeper.clouds.openstack.session import Access
from vmkeeper.errors import UserError, VmkeeperError
from vmkeeper.model.platform import OpenStackPlatform

SECRET = "correct-horse-battery"
PLATFORM = OpenStackPlatform(type="openstack", cloud="site")


def entry(url: str = "http://127.0.0.1:9/v3", **auth: str) -> dict[str, Any]:
    login = {"auth_url": url, "username": "u", "password": SECRET, "project_name": "p", "user_domain_id": "default", "project_domain_id": "default"}
    return {"region_name": "R", "auth": login | auth}


def write(folder: Path, said: object, name: str = "clouds.yaml", mode: int = 0o600) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(said if isinstance(said, str) else json.dumps(said))
    file.chmod(mode)
    return file


def auth_of(home: Path, platform: OpenStackPlatform = PLATFORM, **more: str) -> dict[str, Any]:
    return dict(Access(platform, home, **more)._entry().config["auth"])


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The places where OpenStack's tools look are empty folders of ours."""
    folder = tmp_path / "config"
    for name in ("CONFIG_HOME", "UNIX_CONFIG_HOME", "SITE_CONFIG_HOME", "UNIX_SITE_CONFIG_HOME"):
        monkeypatch.setattr(loader, name, str(folder))
    monkeypatch.delenv("OS_CLIENT_CONFIG_FILE", raising=False)
    return folder


def test_the_sites_own_file_comes_first(tmp_path: Path, nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(nowhere, {"clouds": {"site": entry(username="machine")}})
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(write(tmp_path / "var", {"clouds": {"site": entry(username="variable")}})))
    assert auth_of(tmp_path)["username"] == "variable"
    write(tmp_path, {"clouds": {"site": entry(username="own")}})
    assert auth_of(tmp_path)["username"] == "own"


def test_without_one_the_places_count_where_openstacks_tools_look(tmp_path: Path, nowhere: Path) -> None:
    write(nowhere, {"clouds": {"site": entry(username="machine")}})
    assert auth_of(tmp_path)["username"] == "machine"


@pytest.mark.parametrize("variable", [None, "clouds.yaml", "./clouds.yaml"])
def test_a_file_in_the_current_directory_never_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None) -> None:
    repository = tmp_path / "repository"
    for name in ("clouds.yaml", "secure.yaml", "clouds-public.yaml", "clouds.json"):
        write(repository, {"clouds": {"site": entry("http://attacker.invalid")}}, name)
    monkeypatch.chdir(repository)
    monkeypatch.setattr(loader, "CONFIG_SEARCH_PATH", [str(repository), *loader.CONFIG_SEARCH_PATH[1:]])
    if variable:
        monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", variable)
    with pytest.raises(UserError, match=r"no clouds\.yaml has an entry site"):
        auth_of(tmp_path)


def test_a_vendors_file_in_the_current_directory_says_nothing_of_a_cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = tmp_path / "repository"
    write(repository, {"public-clouds": {"vendor": {"auth": {"auth_url": "http://attacker.invalid"}}}}, "clouds-public.yaml")
    write(tmp_path, {"clouds": {"site": entry() | {"profile": "vendor"}}})
    monkeypatch.chdir(repository)
    assert auth_of(tmp_path)["auth_url"] == "http://127.0.0.1:9/v3"


def test_secrets_may_be_in_a_file_of_their_own(tmp_path: Path) -> None:
    plain = entry()
    del plain["auth"]["password"]
    write(tmp_path, {"clouds": {"site": plain}})
    write(tmp_path, {"clouds": {"site": {"auth": {"password": "other"}}}}, "secure.yaml")
    assert auth_of(tmp_path)["password"] == "other"


def test_nothing_is_read_before_the_first_call(tmp_path: Path) -> None:
    def login(_name: str) -> tuple[str, str]:
        raise AssertionError

    platform = OpenStackPlatform.model_validate({"type": "openstack", "cloud": "site", "places": [{"name": "east", "region": "E"}, {"name": "west"}]})
    found = places(platform, Account(site="here", home=tmp_path / "absent", folder=tmp_path / "absent", login=login))
    assert {name: cloud.owner for name, cloud in found.items()} == {"east": "vmkeeper:here/east", "west": "vmkeeper:here/west"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (f"clouds:\n  site:\n    auth: {{password: {SECRET}\n", "clouds.yaml is not YAML that can be read"),
        ({"clouds": {"other": entry()}}, "no clouds.yaml has an entry site"),
        ({"clouds": {"site": "text"}}, "no clouds.yaml has an entry site"),
        ({"clouds": {"site": entry() | {"auth_type": "v3nonsense"}}}, "cannot be used"),
        ({"clouds": {"site": {"auth": {"password": SECRET}}}}, "cannot be used"),
        ({"clouds": {"site": entry() | {"regions": ["R1", "R2"]}}}, "cannot be used"),
        ({"clouds": {"site": {"auth": SECRET}}}, "not of the form"),
        ({"clouds": {"site": {"auth": None}}}, "not of the form"),
        ({"clouds": {"site": entry() | {"api_timeout": SECRET}}}, "not of the form"),
        ({"clouds": {"site": entry() | {"regions": [1]}}}, "not of the form"),
        ({"clouds": None}, "not of the form"),
        ("clouds: !!python/object:os.system x", "clouds.yaml is not YAML that can be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_without_what_it_holds(tmp_path: Path, said: object, message: str) -> None:
    write(tmp_path, said)
    with pytest.raises(VmkeeperError) as found:
        _ = Access(PLATFORM, tmp_path, region="R3").session
    assert isinstance(found.value, UserError)
    assert message in str(found.value)
    told = f"{found.value} {found.value.hint} {found.value.__cause__} {found.value!r}"
    assert SECRET not in told


@pytest.mark.parametrize("mode", [0o640, 0o644])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    file = write(home, {"clouds": {"site": entry()}}, mode=mode)
    home.chmod(0o700)
    assert auth_of(home)["username"] == "u", "nobody else gets into the folder"
    home.chmod(0o755)
    for folder in home.resolve().parents:
        if not folder.stat().st_mode & 0o001:
            pytest.skip(f"nobody else gets into {folder}") if folder == Path("/") else None
    real = Path.stat
    monkeypatch.setattr(Path, "stat", lambda path, **more: real(path, **more) if path == file else os.stat_result((0o40755, *[0] * 9)))
    with pytest.raises(UserError, match="others can read"):
        session._not_readable_by_others(file)


def test_a_project_is_named_by_name_or_by_id(tmp_path: Path) -> None:
    write(tmp_path, {"clouds": {"site": entry(project_name="p")}})
    assert auth_of(tmp_path, project="other")["project_name"] == "other"
    by_id = auth_of(tmp_path, project="f" * 32)
    assert by_id["project_id"] == "f" * 32
    assert "project_name" not in by_id


def test_a_projects_domain_is_the_users_where_none_is_said(tmp_path: Path) -> None:
    said = entry(project_id="1" * 32)
    del said["auth"]["project_domain_id"], said["auth"]["project_name"]
    write(tmp_path, {"clouds": {"site": said}})
    found = auth_of(tmp_path, project="other")
    assert (found["project_name"], found["project_domain_id"]) == ("other", "default")
    assert "project_id" not in found


@pytest.mark.parametrize("said", [{}, {"regions": ["R", "North"]}, {"regions": [{"name": "R"}, {"name": "North", "values": {}}]}])
def test_a_place_may_be_in_another_region_than_the_entry_names(tmp_path: Path, said: dict[str, Any]) -> None:
    write(tmp_path, {"clouds": {"site": entry() | said}})
    access = Access(PLATFORM, tmp_path, region="North")
    assert access._entry().get_region_name("image") == "North"


def test_another_place_does_not_change_the_entry(tmp_path: Path) -> None:
    write(tmp_path, {"clouds": {"site": entry()}})
    auth_of(tmp_path, project="other")
    assert auth_of(tmp_path)["project_name"] == "p"


@pytest.mark.parametrize(
    ("url", "kind", "made"),
    [
        ("http://h:9292", "image", "http://h:9292/v2"),
        ("http://h:9292/v2", "image", "http://h:9292/v2"),
        ("http://h/image/", "image", "http://h/image/v2"),
        ("http://h/image/v2.17/", "image", "http://h/image/v2"),
        ("http://h:8774/v2.1", "compute", "http://h:8774/v2.1"),
        ("http://h:8774/v2.1/" + "a" * 32, "compute", "http://h:8774/v2.1/" + "a" * 32),
        ("http://h:8774", "compute", "http://h:8774/v2.1"),
        ("http://h:9696", "network", "http://h:9696/v2.0"),
        ("http://h/volume/v3/" + "a" * 32, "block-storage", "http://h/volume/v3/" + "a" * 32),
    ],
)
def test_endpoints_with_and_without_a_version(url: str, kind: Any, made: str) -> None:
    assert session._versioned(url, kind) == made


def test_a_cloud_that_is_not_there_may_be_there_later(tmp_path: Path, unused_port: Callable[[], int]) -> None:
    from vmkeeper.errors import Transient

    write(tmp_path, {"clouds": {"site": entry(f"http://127.0.0.1:{unused_port()}/v3")}})
    with pytest.raises(Transient) as found:
        _ = Access(PLATFORM, tmp_path).project
    assert SECRET not in str(found.value)


@pytest.fixture
def unused_port() -> Callable[[], int]:
    import socket

    def port() -> int:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            return int(one.getsockname()[1])

    return port
