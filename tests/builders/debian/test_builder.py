"""The Debian builder on this machine: real packages, real layers; the same bytes whoever builds, with the packages' own owners."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from support.builds import as_ordinary_user, command, environment, ordinary_user
from support.recipes import BOOKWORM, Files, layer, recipe
from vmkeeper.builders.debian import sandbox
from vmkeeper.builders.debian.packages import fetch_packages
from vmkeeper.builders.interface import LockRequest
from vmkeeper.builders.registry import BUILDERS
from vmkeeper.errors import UserError
from vmkeeper.images.store import Store
from vmkeeper.model.recipe import FileStep, Layer, Recipe, ScriptStep, layer_keys
from vmkeeper.progress import Silent

pytestmark = [
    pytest.mark.machine,
    pytest.mark.network,
    pytest.mark.skipif(shutil.which("apt-get") is None, reason="this machine has no apt-get"),
]
BUILDER = BUILDERS["debian"]
BASE = ("iputils-ping", "openssh-client", "passwd")
CHILD = ("netcat-openbsd",)

_OWNERS_OF_OTHERS = {"usr/bin/ssh-agent": "_ssh"}
"""Files that a package hands over to a group that it makes itself."""


class Steps:
    """Remembers what was told."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def step(self, subject: str, text: str) -> None:
        self.said.append((subject, text))

    def amount(self, subject: str, done: int, total: int, unit: str) -> None:
        pass


class Ground:
    """A store with the packages of a small base and its child, which is all that a build needs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(folder / "store")
        self.work = folder / "work"
        self.files = Files()
        request = LockRequest("base", "x86_64", BOOKWORM, BASE)
        lock = BUILDER.refresh(request, self.store, folder / "cache", Silent())
        child = BUILDER.refresh(LockRequest("child", "x86_64", BOOKWORM, CHILD, {}, (lock,)), self.store, folder / "cache", Silent())
        self.base = layer("base", lock.packages, requested=BASE, date=lock.date)
        motd = FileStep(path="/etc/deep/motd", mode="0640", owner="root", group="mail", content=self.files.add("hello\n"))
        script = ScriptStep(name="probe", content=self.files.add(PROBE))
        self.child = layer(
            "child",
            child.packages,
            requested=CHILD,
            files=(motd,),
            scripts=(script,),
            date=child.date,
        )

    def build(self, *layers: Layer, progress: Steps | None = None, work: Path | None = None) -> Recipe:
        made = recipe(*layers)
        BUILDER.build(made, self.files, self.store, work or self.work, progress or Steps())
        return made

    def blob(self, *layers: Layer) -> Path:
        """The tar of a layer in the store."""
        record = self.store.alias("layer", layer_keys(layers, BUILDER.version)[-1])
        assert record is not None
        path = self.store.local_path(record["sha512"])
        assert path is not None
        return path

    def tar(self, *layers: Layer) -> tarfile.TarFile:
        return tarfile.open(self.blob(*layers), "r:")


PROBE = """#!/bin/sh
set -eu
{
    id -u
    pwd
    env | sort
    ls /sys/class/net
    grep CapBnd /proc/self/status
    mount -t tmpfs none /mnt 2>/dev/null && echo could mount
    true
} >/probe
echo rotten >/var/log/some.log
echo leftover >/tmp/leftover
"""


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    lacks = BUILDER.lacks()
    if lacks:
        pytest.skip("; ".join(map(str, lacks)))
    with tempfile.TemporaryDirectory(prefix="ground-") as name:
        # Not pytest's own folder: other users cannot enter that.
        Path(name).chmod(0o755)
        made = Ground(Path(name))
        made.build(made.base, made.child)
        yield made


def test_child_starts_from_its_parents_layer(ground: Ground) -> None:
    steps = Steps()
    other = ground.child.model_copy(update={"scripts": ()})
    ground.build(ground.base, other, progress=steps)
    assert {subject for subject, text in steps.said if text.startswith(("installing", "provisioning"))} == {"child"}


def test_what_was_built_is_not_built_again(ground: Ground) -> None:
    steps = Steps()
    ground.build(ground.base, ground.child, progress=steps)
    assert steps.said == []


def test_nothing_is_left_in_the_work_folder(ground: Ground) -> None:
    assert list((ground.work / "builds").iterdir()) == []


def test_root_file_system_holds_what_the_layer_says(ground: Ground) -> None:
    with ground.tar(ground.base, ground.child) as tar:
        motd = tar.getmember("./etc/deep/motd")
        assert (motd.mode, motd.uid, motd.gid) == (0o640, 0, 8)
        status = text_of(tar, "./var/lib/dpkg/status")
        assert status.count("Status: install ok installed") == len(ground.base.packages) + len(ground.child.packages)
        marks = text_of(tar, "./var/lib/apt/extended_states")
        assert "Package: netcat-openbsd\n" not in marks
        assert "Package: libbsd0\n" in marks or "Package: libbsd0" not in status
        assert "deb.debian.org/debian-security" in text_of(tar, "./etc/apt/sources.list.d/vmkeeper.sources")
        assert "file:" not in text_of(tar, "./etc/apt/sources.list.d/vmkeeper.sources")
        names = tar.getnames()
    for gone in ("./tmp/leftover", "./var/log/some.log", "./usr/sbin/policy-rc.d", "./usr/local/sbin/update-initramfs", "./etc/passwd-"):
        assert gone not in names
    assert not [name for name in names if name.startswith(("./dev/", "./proc/", "./sys/", "./run/", "./var/log/apt/"))]


def test_script_runs_alone_without_network_and_rights_over_the_machine(ground: Ground) -> None:
    with ground.tar(ground.base, ground.child) as tar:
        probe = text_of(tar, "./probe").splitlines()
    assert probe[:2] == ["0", "/"]
    names = {line.split("=")[0] for line in probe if "=" in line}
    allowed = "DEBCONF_NONINTERACTIVE_SEEN DEBIAN_FRONTEND HOME LC_ALL OLDPWD PATH PWD PYTHONHASHSEED SHLVL SOURCE_DATE_EPOCH SYSTEMD_OFFLINE _"
    assert names <= set(allowed.split())
    assert "lo" in probe
    assert not [line for line in probe if line.startswith(("eth", "en", "ens"))]
    assert "could mount" not in probe


def test_times_are_never_later_than_the_layers(ground: Ground) -> None:
    with ground.tar(ground.base, ground.child) as tar:
        assert max(member.mtime for member in tar) <= ground.child.date.timestamp()


def test_owners_and_modes_are_as_the_packages_gave_them(ground: Ground) -> None:
    debs = fetch_packages(ground.base, ground.store, ground.folder / "debs", Silent())
    with ground.tar(ground.base) as tar:
        members = {member.name.removeprefix("./"): member for member in tar}
        groups = {line.split(":")[0]: int(line.split(":")[2]) for line in text_of(tar, "./etc/group").splitlines()}
    compared = 0
    for deb in debs:
        for given in package_files(deb):
            path = given.name.removeprefix("./").rstrip("/")
            path = f"usr/{path}" if path.startswith(("bin/", "sbin/", "lib/", "lib64/")) else path
            if not path.startswith("usr/") or not given.isreg():
                continue
            made = members[path]
            gid = groups[_OWNERS_OF_OTHERS[path]] if path in _OWNERS_OF_OTHERS else given.gid
            mode = 0o2755 if path in _OWNERS_OF_OTHERS else given.mode
            assert (made.uid, made.gid, made.mode) == (given.uid, gid, mode), path
            compared += 1
    assert compared > 2000
    assert members["usr/bin/chage"].mode == 0o2755
    assert members["usr/bin/chage"].gid == groups["shadow"] == 42
    assert members["usr/sbin/unix_chkpwd"].gid == 42
    assert (members["etc/shadow"].mode, members["etc/shadow"].gid) == (0o640, 42)
    assert "SCHILY.xattr.security.capability" in members["usr/bin/ping"].pax_headers


def test_another_user_without_network_makes_the_same_bytes(ground: Ground) -> None:
    """The packages are in the store, so nothing but them, the recipe and the builder decides."""
    user = ordinary_user()
    if user is None:
        pytest.skip("needs root, an ordinary user with subordinate ids, and a Python that it may run")
    folder = ground.folder / "user"
    folder.mkdir()
    shutil.copytree(ground.folder / "store", folder / "store", ignore=shutil.ignore_patterns("layer"))
    made = recipe(ground.base, ground.child)
    for path in (ground.blob(ground.base), ground.blob(ground.base, ground.child)):
        (folder / "store" / path.relative_to(ground.folder / "store")).unlink()
    written = write_out(ground, made, folder)
    shutil.chown(folder, user[0])
    for path in folder.rglob("*"):
        shutil.chown(path, user[0])
    built = as_ordinary_user(user, [*written, folder / "store", folder / "work"])
    assert built["rootfs"] == ground.blob(*made.layers).name
    assert list((folder / "work/builds").iterdir()) == []


def test_a_root_made_on_disk_is_the_same_as_one_made_in_memory(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ground.blob(ground.base, ground.child)
    path.unlink()
    monkeypatch.setattr(sandbox, "memory_is_ample", lambda: False)
    ground.build(ground.base, ground.child)
    assert ground.blob(ground.base, ground.child) == path


def test_a_script_that_fails_is_named_with_its_words(ground: Ground) -> None:
    broken = ScriptStep(name="broken", content=ground.files.add("#!/bin/sh\necho alas >&2\nexit 3\n"))
    with pytest.raises(UserError) as caught:
        ground.build(ground.base, layer("fails", scripts=(broken,), date=ground.base.date))
    assert "the script broken failed" in str(caught.value)
    assert "alas" in str(caught.value)
    assert "appliances/fails" in str(caught.value)


def test_a_file_for_a_user_that_is_not_there_is_named(ground: Ground) -> None:
    step = FileStep(path="/etc/x", mode="0644", owner="nobody-knows", group="root", content=ground.files.add("x"))
    with pytest.raises(UserError, match="placing the file /etc/x"):
        ground.build(ground.base, layer("fails", files=(step,), date=ground.base.date))


def test_killed_build_leaves_nothing_and_the_next_one_ends_well(ground: Ground) -> None:
    slow = ScriptStep(name="slow", content=ground.files.add("#!/bin/sh\nsleep 2\necho done >/done\n"))
    made = recipe(ground.base, layer("slow", scripts=(slow,), date=ground.base.date))
    folder = ground.folder / "killed"
    folder.mkdir()
    words = [*write_out(ground, made, folder), ground.folder / "store", ground.work]
    with subprocess.Popen(command(*words), env={**os.environ, **environment()}, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        wait_for(lambda: list((ground.work / "builds").glob("slow-*/input/inside.sh")))
        process.send_signal(signal.SIGKILL)
    assert list((ground.work / "builds").glob("slow-*"))
    assert ground.store.alias("layer", layer_keys(made.layers, BUILDER.version)[-1]) is None
    ground.build(*made.layers)
    assert list((ground.work / "builds").iterdir()) == []
    with ground.tar(*made.layers) as tar:
        assert text_of(tar, "./done") == "done\n"


def test_two_builds_of_one_layer_make_it_once(ground: Ground) -> None:
    slow = ScriptStep(name="slow", content=ground.files.add("#!/bin/sh\nsleep 1\n"))
    layers = (ground.base, layer("shared", scripts=(slow,), date=ground.base.date))
    steps = Steps()
    threads = [threading.Thread(target=ground.build, args=layers, kwargs={"progress": steps}) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert steps.said.count(("shared", "provisioning")) == 1
    assert steps.said.count(("shared", "waiting for another build of the same layer")) == 1


def test_layer_lost_from_the_store_is_made_again(ground: Ground) -> None:
    key = layer_keys((ground.base, ground.child), BUILDER.version)[-1]
    before = ground.store.alias("layer", key)
    assert before is not None
    path = ground.store.local_path(before["sha512"])
    assert path is not None
    path.unlink()
    ground.build(ground.base, ground.child)
    assert ground.store.alias("layer", key) == before
    assert path.is_file()


def write_out(ground: Ground, made: Recipe, folder: Path) -> list[Path]:
    """The recipe and its files as `support.builds` takes them."""
    (folder / "recipe.json").write_text(made.model_dump_json())
    (folder / "contents").mkdir()
    for one in made.layers:
        for step in (*one.files, *one.scripts):
            (folder / "contents" / step.content.sha256).write_bytes(ground.files(step.content))
    return [folder / "recipe.json", folder / "contents"]


def wait_for(there: object) -> None:
    end = time.monotonic() + 120
    while not there():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.05)


def text_of(tar: tarfile.TarFile, name: str) -> str:
    file = tar.extractfile(name)
    assert file is not None
    return file.read().decode()


def package_files(deb: Path) -> list[tarfile.TarInfo]:
    data = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(deb)], check=True, capture_output=True).stdout
    stream: IO[bytes] = io.BytesIO(data)
    with tarfile.open(fileobj=stream) as tar:
        return tar.getmembers()
