"""The OpenStack that the tests run against listens on 127.0.0.1 alone, and ends with its last user."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from servers.openstack import processes
from servers.openstack.installation import installed
from servers.openstack.profiles import Lacking, NotStarted, State
from servers.openstack.server import OpenStack, running, stop

ROOT = Path(__file__).parents[2]


def listening(process: int) -> set[str]:
    """Addresses at which a process listens, as /proc/net/tcp writes them."""
    sockets = {str(path.readlink()) for path in Path(f"/proc/{process}/fd").iterdir()}
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/{process}/net/{name}").read_text().splitlines()[1:]]
    return {line[1].split(":")[0] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in sockets}


@pytest.mark.parametrize("profile", ["image", "noauth", "compute"])
def test_every_service_listens_on_loopback_alone(openstack_server: Callable[[str], OpenStack], profile: str) -> None:
    for process, _ in openstack_server(profile).state.processes.values():
        assert listening(process) == {"0100007F"}


def ended(state: State) -> bool:
    limit = time.monotonic() + 60
    while any(processes.runs(state, service) for service in state.services) and time.monotonic() < limit:
        time.sleep(0.1)
    return not any(processes.runs(state, service) for service in state.services)


@pytest.fixture
def alone(openstack_server: Callable[[str], OpenStack], tmp_path: Path) -> Iterator[Path]:
    """A folder for a cloud of the test's own."""
    openstack_server("noauth")  # skips here where there cannot be one
    folder = tmp_path / "alone"
    yield folder
    stop(folder)


def test_a_cloud_ends_with_its_last_user(alone: Path) -> None:
    with running("noauth", alone) as first:
        with running("noauth", alone) as second:
            assert first.state.processes == second.state.processes
        assert all(processes.runs(first.state, service) for service in first.state.services)
        assert httpx.get(f"{first.url('glance')}/v2/images", timeout=60, trust_env=False).status_code == 200
    assert ended(first.state)


def test_a_cloud_goes_on_with_what_its_folder_holds(alone: Path) -> None:
    with running("noauth", alone) as cloud:
        httpx.post(f"{cloud.url('glance')}/v2/images", json={"name": "kept"}, timeout=60, trust_env=False).raise_for_status()
    with running("noauth", alone) as again:
        listed = httpx.get(f"{again.url('glance')}/v2/images", timeout=60, trust_env=False).json()["images"]
        assert [image["name"] for image in listed] == ["kept"]
        with pytest.raises(NotStarted, match="holds a cloud of profile noauth"), running("image", alone):
            pass


def test_a_cloud_ends_when_its_user_is_killed(alone: Path) -> None:
    program = "import sys, signal; from pathlib import Path; from tests.servers.openstack.server import running\n"
    program += "with running('noauth', Path(sys.argv[1])) as c: print(c.clouds_yaml, flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", program, str(alone)], stdout=subprocess.PIPE, text=True, cwd=ROOT) as user:
        assert user.stdout is not None
        assert user.stdout.readline().strip() == str(alone / "clouds.yaml")
        state = State.read(alone)
        assert state is not None
        assert not ended_now(state)
        user.send_signal(signal.SIGKILL)
    assert ended(state)


def ended_now(state: State) -> bool:
    return not all(processes.runs(state, service) for service in state.services)


def test_a_service_that_dies_is_started_again_for_the_next_user(alone: Path) -> None:
    with running("noauth", alone) as cloud:
        os.kill(cloud.state.processes["glance"][0], signal.SIGKILL)
        assert ended(cloud.state)
        with running("noauth", alone) as again:
            assert httpx.get(f"{again.url('glance')}/v2/images", timeout=60, trust_env=False).status_code == 200


@pytest.mark.parametrize("left", ["half made", "a copy of another"])
def test_a_cloud_that_was_cut_off_while_it_was_made_is_made_anew(alone: Path, left: str) -> None:
    with running("noauth", alone) as cloud:
        httpx.post(f"{cloud.url('glance')}/v2/images", json={"name": "of the first one"}, timeout=60, trust_env=False).raise_for_status()
    assert ended(cloud.state)
    state = json.loads((alone / "state.json").read_text())
    state |= {"complete": False} if left == "half made" else {"folder": str(alone.parent / "elsewhere")}
    (alone / "state.json").write_text(json.dumps(state))
    with running("noauth", alone) as again:
        assert httpx.get(f"{again.url('glance')}/v2/images", timeout=60, trust_env=False).json()["images"] == []


@pytest.mark.usefixtures("alone")
def test_the_program_runs_a_command_and_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.servers.openstack", "--profile", "noauth", "--folder", str(tmp_path / "kept"), "--"]
    inner = [sys.executable, "-c", "import os, sys; print(open(os.environ['OS_CLIENT_CONFIG_FILE']).read()); sys.exit(7)"]
    done = subprocess.run([*command, *inner], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 7
    assert list(json.loads(done.stdout)["clouds"]) == ["noauth"]
    state = State.read(tmp_path / "kept")
    assert state is not None
    assert ended(state)


@pytest.mark.usefixtures("alone")
def test_the_program_ends_with_its_cloud_when_it_is_terminated(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.servers.openstack", "--profile", "noauth", "--folder", str(tmp_path / "kept")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as program:
        assert program.stdout is not None
        path = Path(program.stdout.readline().strip())
        assert path.name == "clouds.yaml"
        state = State.read(path.parent)
        assert state is not None
        program.terminate()
        assert program.wait() == 0
    assert all(not processes.runs(state, service) for service in state.services)


def test_without_packages_it_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMKEEPER_TEST_OPENSTACK", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(Lacking, match=r"pip could not install OpenStack's packages: .*alembic"):
        installed("image")


def test_the_frozen_lists_name_only_versions() -> None:
    for path in (ROOT / "tests" / "servers" / "openstack").glob("*.lock"):
        for line in path.read_text().splitlines():
            name, version = line.split("==")
            assert name.replace("-", "").replace("_", "").replace(".", "").isalnum()
            assert version[0].isdigit()
            assert all(part.isalnum() for part in version.split("."))
