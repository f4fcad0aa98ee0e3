"""Bad days of a site: half of the uploads fail, credentials end in the middle, two machines reconcile one cloud."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest

from support.here import OWNER, Here, kinds
from support.producer import NOW
from support.webserver import WebServer
from vmkeeper.clouds.memory import Fault, MemoryCloud
from vmkeeper.errors import Transient, UserError, VmkeeperError
from vmkeeper.execute.home import SiteHome
from vmkeeper.execute.site import Reconciled, reconcile
from vmkeeper.execute.walk import Done, Failed

NAMES = ("alpine", "debian-12", "fedora", "rocky", "suse", "ubuntu")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    with WebServer(tmp_path / "www") as server:
        made = Here(tmp_path, server)
        for name in NAMES:
            made.producer.release(name, "1")
            made.producer.endorse(name, "1")
            made.producer.offer(name, "1")
        made.producer.publish()
        made.producer.site(approve=[{"appliance": "*"}])
        made.init()
        yield made


def everything(version: str = "1") -> list[str]:
    return [f"{name} {version}" for name in NAMES]


def every_second(method: str, error: VmkeeperError, moment: str = "before") -> Fault:
    """Every second call of a method fails."""
    count, lock = iter(range(1000)), threading.Lock()

    def fault(called: str, at: str) -> None:
        if (called, at) == (method, moment):
            with lock:
                number = next(count)
            if number % 2:
                raise error

    return fault


def newer(here: Here) -> None:
    for name in NAMES:
        here.producer.release(name, "2")
        here.producer.endorse(name, "2")
        here.producer.offer(name, "2")
    here.producer.publish()


@pytest.mark.parametrize("moment", ["before", "created", "after"])
def test_half_of_the_uploads_fail_and_the_other_half_is_there(here: Here, moment: str) -> None:
    here.run()
    newer(here)
    done = here.run(every_second("upload", Transient("the upload broke off"), moment))
    failed = {outcome.action.subject.split()[0] for outcome in done.outcomes if isinstance(outcome, Failed)}
    assert len(failed) == len(NAMES) // 2
    old = {one.split()[0] for one in here.usable() if one.endswith(" 1")}
    assert failed <= old, "what has no newer version yet keeps the one it has"
    assert {one.split()[0] for one in here.usable()} == set(NAMES)
    left = 0
    while here.run().outcomes:
        left += 1
        assert left < 4
    assert here.usable() == everything("2")
    assert here.images("incomplete") == []


def test_credentials_that_end_in_the_middle_lose_nothing(here: Here) -> None:
    here.run()
    newer(here)
    calls = iter(range(1000))

    def ended(called: str, moment: str) -> None:
        if called != "images" and moment == "before" and next(calls) >= 3:
            raise UserError("the credentials have expired", hint="renew them")

    done = here.run(ended)
    assert any(isinstance(outcome, Failed) and "expired" in str(outcome.error) for outcome in done.outcomes)
    assert {one.split()[0] for one in here.usable()} == set(NAMES)
    while here.run().outcomes:
        pass
    assert here.usable() == everything("2")


def test_two_machines_that_reconcile_one_cloud_end_with_each_image_once(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SiteHome, "_temporary_files", lambda _home: nullcontext())  # where temporary files lie is one thing in a process
    shutil.copytree(here.home.folder, tmp_path / "second")
    homes = (here.home, SiteHome(tmp_path / "second"))

    def run(home: SiteHome) -> Reconciled:
        cloud = MemoryCloud(OWNER, here.world)
        return reconcile(here.producer.repo.repository, home, "here", lambda: NOW, connect=lambda _: {"": cloud})

    def both() -> list[Reconciled]:
        with ThreadPoolExecutor(len(homes)) as pool:
            return list(pool.map(run, homes))

    for version in ("1", "2"):
        both()
        while any(not isinstance(outcome, Done) for done in both() for outcome in done.outcomes):
            pass
        assert here.usable() == everything(version)
        assert len([image for image in here.world.images.values() if image.state == "active"]) == len(NAMES)
        if version == "1":
            newer(here)
    assert [kinds(run(home)) for home in homes] == [[], []]
