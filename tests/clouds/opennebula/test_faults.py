"""Whatever breaks between vmkeeper and oned, and wherever a run is killed, the next runs end where they should, and users never lose their image."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from conformance.setting import DISK, THEN, ours, spec_of
from support.killpoints import in_child
from support.onesite import bearers, owned_by, platform_for, pool, templates, tidy
from support.opennebula import Setting, standing_in
from vmkeeper.clouds import Account
from vmkeeper.clouds.interface import Cloud, ImageSpec
from vmkeeper.clouds.opennebula.account import Patience
from vmkeeper.clouds.opennebula.cloud import places
from vmkeeper.clouds.opennebula.session import Session
from vmkeeper.errors import VmkeeperError

ALIAS = "debian-12-latest"
HASTY = Patience(transfer=20, others=0.2, gone=3, stop=3, answer=1, allocate=2, poll=0.05)


@pytest.fixture(scope="module", params=["6.10.0.1", "7.4.0"])
def one(request: pytest.FixtureRequest) -> Iterator[Setting]:
    with standing_in(request.param) as setting:
        yield setting


@pytest.fixture(scope="module")
def newest() -> Iterator[Setting]:
    """One version, for what takes long."""
    with standing_in("7.4.0") as setting:
        yield setting


@dataclass
class Site:
    """A site with a version 1 that is to be replaced by version 2."""

    one: Setting
    folder: Path
    transport: str

    def __post_init__(self) -> None:
        self.old = spec_of(DISK, name="debian-12-1", alias=ALIAS)
        self.new = spec_of(DISK[:-1] + b"2", version="2026.11.2", name="debian-12-2", alias=ALIAS)
        for name, data in ((self.old, DISK), (self.new, DISK[:-1] + b"2")):
            self.file(name).write_bytes(data)

    def file(self, spec: ImageSpec) -> Path:
        return self.folder / f"{spec.version}.raw"

    def cloud(self) -> Cloud:
        account = Account("faulty", self.folder, self.folder, lambda _name: (self.one.user, self.one.password))
        return places(platform_for(self.one, self.transport), account, patience=HASTY)[""]

    def replace(self) -> None:
        """What a site's run does: the new version, then the old one hidden, then deleted. Every step only where it is wanted."""
        cloud = self.cloud()
        found = {image.spec.key: image for image in ours(cloud).values() if image.spec}
        new, old = found.get(self.new.key), found.get(self.old.key)
        if new is None or new.state == "incomplete" or new.drift:
            cloud.upload(self.new, self.file(self.new))
        if old is not None and old.state == "active":
            cloud.update(old.id, self.old.model_copy(update={"alias": None}), THEN)
        if old is not None:
            cloud.delete(old.id)

    def assert_replaced(self) -> None:
        (image,) = ours(self.cloud()).values()
        assert (image.spec, image.state, image.drift, image.name) == (self.new, "active", (), "debian-12-2")
        assert len(pool(self.one, "one.imagepool.info")) == 1
        assert [t.findtext("NAME") for t in templates(self.one).values()] == [ALIAS]
        assert bearers(self.one, ALIAS) == {image.id}
        assert self.one.folder is not None
        assert list(self.one.folder.iterdir()) == []

    def assert_usable(self) -> None:
        """Users of the alias get an image that can be used, whatever happened."""
        (template,) = templates(self.one).values()
        assert template.findtext("TEMPLATE/DISK/IMAGE_ID") in usable(self.one)


def failure(work: Callable[[], None]) -> VmkeeperError | None:
    try:
        work()
    except VmkeeperError as error:
        return error
    return None


def usable(one: Setting) -> set[str]:
    """Ids of images that are READY and have bytes."""
    images = pool(one, "one.imagepool.info").values()
    return {image.findtext("ID", "") for image in images if image.findtext("STATE") == "1" and image.findtext("SOURCE")}


@contextmanager
def site_at(one: Setting, tmp_path: Path, transport: str = "path") -> Iterator[Site]:
    with tidy(one):
        site = Site(one, tmp_path, transport)
        site.cloud().upload(site.old, site.file(site.old))
        yield site
        assert one.standin is not None
        one.standin.truth()
        one.standin.settle()


@contextmanager
def around_calls(before: Callable[[], None], after: Callable[[], None]) -> Iterator[None]:
    """Both are called around everything that is asked of oned."""
    real = {name: getattr(Session, name) for name in ("call", "read")}

    def wrapped(name: str) -> Callable[..., object]:
        def asking(*given: object, **options: object) -> object:
            before()
            answer = real[name](*given, **options)
            after()
            return answer

        return asking

    for name in real:
        setattr(Session, name, wrapped(name))
    try:
        yield
    finally:
        for name, method in real.items():
            setattr(Session, name, method)


def killed_run(site: Site, number: int, moment: str) -> int:
    """How a run ends that is killed at its `number`-th call to oned, before or after it had its effect."""
    count = [0]

    def before() -> None:
        count[0] += 1
        if count[0] == number and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)

    def after() -> None:
        if count[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def run() -> None:
        with around_calls(before, after):
            site.replace()

    return in_child(run)


def calls_of(site: Site) -> int:
    """How many calls a whole replacement takes."""
    count: list[None] = []
    with around_calls(lambda: count.append(None), lambda: None):
        site.replace()
    return len(count)


@pytest.mark.parametrize(("transport", "moment", "step"), [("path", "after", 1), ("path", "before", 3), ("http", "after", 2)])
def test_a_run_that_is_killed_at_any_call_is_finished_by_the_next(newest: Setting, tmp_path: Path, transport: str, moment: str, step: int) -> None:
    one = newest
    with site_at(one, tmp_path, transport) as site:
        number = calls_of(site)
        site.assert_replaced()
    assert number > 20
    deaths = 0
    for at in range(1, number + 1, step):
        with site_at(one, tmp_path, transport) as site:
            deaths += killed_run(site, at, moment) == -signal.SIGKILL
            site.assert_usable()
            site.replace()
            site.replace()
            site.assert_replaced()
    assert deaths >= (number - 4) // step, "how often it looks while it waits differs a little"


@pytest.mark.parametrize(("lie", "step"), [("drop-after", 1), ("http-503", 3), ("html", 5), ("half", 5), ("drop-before", 5)])
def test_a_broken_exchange_at_any_call_is_mended_by_the_next_run(newest: Setting, tmp_path: Path, lie: str, step: int) -> None:
    one = newest
    assert one.standin is not None
    failed = 0
    for skip in range(0, 30, step):
        with site_at(one, tmp_path) as site:
            one.standin.lie(lie, skip=skip)
            told = failure(site.replace)
            failed += told is not None
            assert f"{one.user}:{one.password}" not in f"{told} {told and told.hint}"
            one.standin.truth()
            site.assert_usable()
            for _ in range(2):
                site.replace()
            site.assert_replaced()
    assert failed


def test_an_answer_that_does_not_come_is_waited_for_in_vain_only_for_a_time(one: Setting, tmp_path: Path) -> None:
    assert one.standin is not None
    with site_at(one, tmp_path) as site:
        one.standin.lie("hang", method="one.image.allocate", seconds=4)
        with pytest.raises(VmkeeperError, match="does not answer"):
            site.replace()
        one.standin.truth()
        site.replace()
        site.replace()
        site.assert_replaced()


@pytest.mark.parametrize("lie", ["no-space", "empty-size", "bare-error", "error-image"])
@pytest.mark.parametrize("count", [1, 2, 30])
def test_what_a_driver_says_falsely_is_asked_again_and_never_believed_for_ever(one: Setting, tmp_path: Path, lie: str, count: int) -> None:
    assert one.standin is not None
    with site_at(one, tmp_path) as site:
        one.standin.lie(lie, count=count)
        with suppress(VmkeeperError):
            site.replace()
        site.assert_usable()
        one.standin.truth()
        site.replace()
        site.replace()
        site.assert_replaced()


def test_a_deletion_that_the_driver_loses_is_asked_for_again(one: Setting, tmp_path: Path) -> None:
    assert one.standin is not None
    with site_at(one, tmp_path) as site:
        one.standin.lie("stuck-delete")
        site.replace()
        site.assert_replaced()


def test_a_deletion_that_never_ends_is_told_and_tried_by_the_next_run(one: Setting, tmp_path: Path) -> None:
    assert one.standin is not None
    with site_at(one, tmp_path) as site:
        one.standin.lie("stuck-delete", count=20)
        with pytest.raises(VmkeeperError, match="does not go"):
            site.replace()
        one.standin.truth()
        site.replace()
        site.assert_replaced()


def test_oned_that_is_killed_while_it_copies_leaves_nothing_behind(tmp_path: Path) -> None:
    with standing_in("7.4.0", "--delay", "0.5") as one, site_at(one, tmp_path) as site:
        assert one.standin is not None
        timer = threading.Timer(0.8, one.standin.kill)
        timer.start()
        with suppress(VmkeeperError):
            site.replace()
        timer.join()
        with pytest.raises(VmkeeperError, match="cannot be reached"):
            site.cloud().images()
        one.standin.start()
        for _ in range(4):
            with suppress(VmkeeperError):
                site.replace()
        site.assert_replaced()


def test_users_of_an_alias_find_a_usable_image_at_every_moment(one: Setting, tmp_path: Path) -> None:
    assert one.standin is not None
    with site_at(one, tmp_path) as site:
        (number,) = templates(one)
        seen: list[str] = []
        with watching(lambda: seen.append(pointed_to(one, number))):
            for step in range(3):
                site.replace()
                data = DISK[:-1] + bytes([step + 3])
                site.old, site.new = site.new, spec_of(data, version=f"2027.{step}", name=f"debian-12-next-{step}", alias=ALIAS)
                site.file(site.new).write_bytes(data)
        assert len(set(seen)) >= 3, "it was switched under the watcher's eyes"


def pointed_to(one: Setting, template: int) -> str:
    """The image that a template points to, which must be one that can be used at this moment by anybody who may use the template."""
    found = one.xml("one.template.info", template).findtext("TEMPLATE/DISK/IMAGE_ID", "")
    image = one.xml("one.image.info", int(found)) if one.answer("one.image.info", int(found))[0] else None
    again = one.xml("one.template.info", template).findtext("TEMPLATE/DISK/IMAGE_ID", "")
    if again == found:
        assert image is not None, "the template points to nothing"
        assert image.findtext("STATE") in ("1", "2"), "the template points to an image that cannot be used"
    return found


@contextmanager
def watching(look: Callable[[], None]) -> Iterator[None]:
    """`look` is called again and again meanwhile; what it raises is raised here."""
    over, wrong = threading.Event(), []

    def go() -> None:
        while not over.is_set():
            try:
                look()
            except BaseException as error:  # noqa: BLE001 - told in the main thread
                wrong.append(error)
                return

    thread = threading.Thread(target=go)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if wrong:
        raise wrong[0]


def test_two_sites_at_one_oned_do_not_come_into_each_others_way(one: Setting, tmp_path: Path) -> None:
    with tidy(one):
        first, second = owned_by(one, tmp_path, "vmkeeper:one"), owned_by(one, tmp_path, "vmkeeper:two")
        spec = spec_of(DISK, alias=ALIAS)
        (tmp_path / "disk.raw").write_bytes(DISK)
        made = [cloud.upload(spec, tmp_path / "disk.raw") for cloud in (first, second)]
        assert made[0].id != made[1].id
        assert bearers(one, ALIAS) == {image.id for image in made}
        first.delete(made[0].id)
        assert bearers(one, ALIAS) == {made[1].id}
        assert ours(second)[made[1].id].drift == ()


def test_of_several_at_once_some_are_told_no_reason_and_all_have_the_one_image(one: Setting, tmp_path: Path) -> None:
    assert one.standin is not None
    with tidy(one):
        (tmp_path / "disk.raw").write_bytes(DISK)
        one.standin.lie("bare-error", count=3)
        clients = [owned_by(one, tmp_path, "vmkeeper:one") for _ in range(3)]
        with ThreadPoolExecutor(3) as workers:
            made = list(workers.map(lambda client: client.upload(spec_of(DISK, alias=ALIAS), tmp_path / "disk.raw"), clients))
        assert len({image.id for image in made}) == 1
        assert [image.drift for image in ours(clients[0]).values()] == [()]
        assert len(templates(one)) == 1
        one.standin.truth()
