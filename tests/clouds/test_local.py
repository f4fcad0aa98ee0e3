"""The cloud on this computer passes the suite that all clouds pass, survives kills, and keeps to its folder."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from conformance.cloud import THEN, CloudConformance, Setting, machine_of, ours, spec_of, write
from support import tinyvm
from vmkeeper.boot import probe
from vmkeeper.boot.machine import Machine, machines
from vmkeeper.clouds import Account, connect, local
from vmkeeper.clouds.interface import Gone, NoRoom
from vmkeeper.clouds.local import LocalCloud
from vmkeeper.errors import UserError
from vmkeeper.model.platform import LocalPlatform
from vmkeeper.values import Size

LACKING = "needs QEMU (apt-get install qemu-system-x86 qemu-utils)" if probe.lacks() else ""
DISK = tinyvm.boot_sector("cloud guest here", "obey").ljust(1 << 20, b"\0")
TCG = LocalPlatform(type="local", accelerator="tcg")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A cloud's folder; whatever still runs in it at the end is killed."""
    yield tmp_path / "cloud"
    for machine in machines(tmp_path / "cloud/machines"):
        machine.stop(grace=0)


@pytest.fixture
def cloud(place: Path) -> LocalCloud:
    return LocalCloud(place, owner="vmkeeper:here", platform=TCG, grace=20)


class TestLocalCloud(CloudConformance):
    @pytest.fixture
    def setting(self, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
        def plant(name: str, attributes: Mapping[str, str] = {}, data: bytes = b"somebody's disk") -> str:
            (place / "images").mkdir(parents=True, exist_ok=True)
            (place / "images" / name).write_bytes(data)
            return name

        def fill() -> None:
            monkeypatch.setattr(local.shutil, "disk_usage", lambda _: SimpleNamespace(free=4096))

        return Setting(
            connect=lambda owner: LocalCloud(place, owner=owner, platform=TCG, grace=0.1),
            plant=plant,
            folder=tmp_path / "files",
            disk=DISK,
            cannot_start=LACKING,
            cannot_adopt="nothing but vmkeeper makes images on this computer",
            meddle=lambda id_: (place / "images" / id_ / "disk.raw").chmod(0o644),
            fill=fill,
            projects=("one", "two"),
        )


def uploaded(cloud: LocalCloud, tmp_path: Path, data: bytes = DISK):
    file = tmp_path / "disk.raw"
    file.write_bytes(data)
    return cloud.upload(spec_of(data), file)


def until(condition, what: str) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def test_a_site_of_platform_local_is_connected(tmp_path: Path) -> None:
    def login(name: str) -> tuple[str, str]:
        raise AssertionError(name)

    places = connect(TCG, Account("desk", tmp_path, tmp_path / "cloud", login))
    assert {name: cloud.owner for name, cloud in places.items()} == {"": "vmkeeper:desk"}
    assert list(tmp_path.iterdir()) == [], "nothing is touched before the first call"


def test_image_files_are_read_only_and_named_by_what_they_are(cloud: LocalCloud, place: Path, tmp_path: Path) -> None:
    image = uploaded(cloud, tmp_path)
    file = place / "images" / image.id / "disk.raw"
    assert stat.S_IMODE(file.stat().st_mode) == 0o444
    assert file.read_bytes() == DISK
    assert image.id.startswith("debian-12-2026.11.1-")


def test_an_unchanged_update_writes_nothing(cloud: LocalCloud, place: Path, tmp_path: Path) -> None:
    image = uploaded(cloud, tmp_path)
    before = (place / "images" / image.id / "image.json").stat()
    cloud.update(image.id, image.spec, None)
    assert cloud.upload(image.spec, tmp_path / "disk.raw") == image
    assert (place / "images" / image.id / "image.json").stat() == before


def test_nothing_outside_the_folder_can_be_named(cloud: LocalCloud, place: Path, tmp_path: Path) -> None:
    image = uploaded(cloud, tmp_path)
    for id_ in ("../images/" + image.id, "..", ".", "", f"{image.id}/", "a\0b"):
        cloud.delete(id_)
        cloud.stop(id_)
        assert cloud.console(id_) == ""
        with pytest.raises(Gone):
            cloud.update(id_, image.spec, THEN)
    assert list(ours(cloud)) == [image.id]


def test_a_broken_record_stops_the_listing_and_says_where(cloud: LocalCloud, place: Path, tmp_path: Path) -> None:
    image = uploaded(cloud, tmp_path)
    (place / "images" / image.id / "image.json").write_text("{")
    with pytest.raises(UserError, match=r"image\.json"):
        cloud.images()


@pytest.mark.parametrize("spoil", [Path.unlink, lambda disk: os.truncate(disk, 100)])
def test_an_image_whose_disk_somebody_took_is_incomplete_and_uploaded_anew(cloud: LocalCloud, place: Path, tmp_path: Path, spoil) -> None:
    image = uploaded(cloud, tmp_path)
    disk = place / "images" / image.id / "disk.raw"
    disk.chmod(0o644)
    spoil(disk)
    assert [one.state for one in cloud.images()] == ["incomplete"]
    with pytest.raises(Gone):
        cloud.start(machine_of(image))
    assert uploaded(cloud, tmp_path) == image
    assert disk.read_bytes() == DISK


@pytest.mark.skipif(bool(LACKING), reason=LACKING)
class TestMachines:
    def test_guest_speaks_obeys_and_goes(self, cloud: LocalCloud, place: Path, tmp_path: Path) -> None:
        machine = cloud.start(machine_of(uploaded(cloud, tmp_path)).model_copy(update={"user_data": "#cloud-config\n", "ports": (22, 80)}))
        assert set(machine.ports) == {22, 80}
        until(lambda: "cloud guest here" in cloud.console(machine.id), "the guest speaks")
        cloud.stop(machine.id)
        assert cloud.machines() == ()
        assert list((place / "machines").iterdir()) == []

    def test_machine_that_was_killed_shows_as_failed_and_is_started_again(self, cloud: LocalCloud, place: Path, tmp_path: Path) -> None:
        spec = machine_of(uploaded(cloud, tmp_path))
        cloud.start(spec)
        os.kill(int((place / "machines/c-master-1/qemu.pid").read_text()), signal.SIGKILL)
        until(lambda: cloud.machines()[0].state == "failed", "it shows as failed")
        assert cloud.machines()[0].ports == {}
        assert cloud.start(spec).state == "running"

    def test_machine_stays_usable_when_its_image_is_hidden(self, cloud: LocalCloud, tmp_path: Path) -> None:
        image = uploaded(cloud, tmp_path)
        spec = machine_of(image)
        cloud.start(spec)
        cloud.update(image.id, image.spec, THEN)
        assert cloud.start(spec).state == "running"

    def test_memory_of_the_site_is_not_exceeded(self, place: Path, tmp_path: Path) -> None:
        small = LocalCloud(place, owner="vmkeeper:here", platform=TCG.model_copy(update={"memory": Size(200 << 20)}), grace=0)
        first = machine_of(uploaded(small, tmp_path))
        small.start(first)
        with pytest.raises(NoRoom, match="no memory"):
            small.start(first.model_copy(update={"name": "c-master-2"}))
        assert [machine.name for machine in small.machines()] == ["c-master-1"]
        small.stop("c-master-1")
        assert small.start(first.model_copy(update={"name": "c-master-2"})).state == "running"

    def test_machine_made_by_hand_keeps_its_image(self, cloud: LocalCloud, place: Path, tmp_path: Path) -> None:
        image = uploaded(cloud, tmp_path)
        spec = machine_of(image)
        cloud.start(spec)
        machine = Machine.attach(place / "machines/c-master-1")
        unmarked = machine.config.model_copy(update={"labels": {}, "name": "by-hand"})
        Machine.create(place / "machines/by-hand", unmarked)
        machine.remove(grace=0)
        cloud.update(image.id, image.spec, THEN)
        assert ours(cloud)[image.id].in_use
        assert [(each.name, each.owner) for each in cloud.machines()] == [("by-hand", None)]


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from conformance.cloud import machine_of, spec_of
    from vmkeeper.boot import folders, machine
    from vmkeeper.clouds import local
    from vmkeeper.images import files
    from vmkeeper.model.platform import LocalPlatform

    left = int(sys.argv[2])
    def step():
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    def deadly(function):
        def wrapped(*args, **kwargs):
            step()
            return function(*args, **kwargs)
        return wrapped

    effects = [(local, name) for name in ("copy_hashed", "write_file", "sync_folder", "discard")]
    effects += [(Path, "rename"), (Path, "mkdir"), (Path, "chmod"), (folders.shutil, "rmtree"), (files.os, "fsync"), (machine, "detach")]
    for owner, name in effects:
        setattr(owner, name, deadly(getattr(owner, name)))
    file = Path(sys.argv[3])
    cloud = local.LocalCloud(Path(sys.argv[1]), owner="vmkeeper:here", platform=LocalPlatform(type="local", accelerator="tcg"), grace=0)
    image = cloud.upload(spec_of(file.read_bytes()), file)
    if sys.argv[4] == "machines":
        cloud.stop(cloud.start(machine_of(image)).id)
    cloud.delete(image.id)
    print("survived")
"""


@pytest.mark.parametrize("what", ["images", pytest.param("machines", marks=pytest.mark.skipif(bool(LACKING), reason=LACKING))])
def test_killed_at_any_step_nothing_is_unmarked_and_the_next_run_gets_there(place: Path, tmp_path: Path, what: str) -> None:
    file = tmp_path / "disk.raw"
    file.write_bytes(DISK)
    cloud = LocalCloud(place, owner="vmkeeper:here", platform=TCG, grace=0)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    for step in range(1, 300):
        command = [sys.executable, "-c", textwrap.dedent(KILLED), place, str(step), file, what]
        ended = subprocess.run(command, capture_output=True, check=False, env=environment)
        assert all(image.owner == cloud.owner and image.state == "active" for image in cloud.images()), step
        assert all(machine.owner == cloud.owner for machine in cloud.machines()), step
        image = cloud.upload(spec_of(DISK), file)
        if what == "machines":
            assert cloud.start(machine_of(image)).state == "running"
            cloud.stop("c-master-1")
        cloud.delete(image.id)
        left = sorted(path.relative_to(place).as_posix() for path in place.rglob("*"))
        assert left == [name for name in ("images", "lock", "machines") if (place / name).exists()], step
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert ended.stdout == b"survived\n"
    assert step > 10


def test_two_uploads_at_once_make_one_image(cloud: LocalCloud, place: Path, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    data = os.urandom(8 << 20)
    file = write(Setting(connect=lambda _: {"": cloud}, plant=str, folder=tmp_path), "big.raw", data)
    with ThreadPoolExecutor(4) as pool:
        images = {pool.submit(LocalCloud(place, owner="vmkeeper:here").upload, spec_of(data), file) for _ in range(4)}
        assert len({future.result().id for future in images}) == 1
    assert [path.name for path in (place / "images").iterdir()] == [cloud.images()[0].id]
