"""Locks: what is resolved from signed indexes of a small archive, and the pure parts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.debarchive import DebArchive, Signer
from support.webserver import WebServer
from vmkeeper.builders.debian.lock import Upgrade, changes, lock_inputs, refresh
from vmkeeper.builders.debian.packages import fetch_packages
from vmkeeper.builders.interface import LockRequest
from vmkeeper.errors import Problems, Refused, Transient, UserError
from vmkeeper.images.store import Store
from vmkeeper.model.appliance import Archive
from vmkeeper.model.lock import LockedArchive, LockedPackage, PackagesLock
from vmkeeper.model.recipe import Layer
from vmkeeper.progress import Silent
from vmkeeper.values import Size

pytestmark = pytest.mark.skipif(shutil.which("apt-get") is None, reason="apt-get is not on this machine")
DATE = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def signer() -> Iterator[Signer]:
    made = Signer()
    yield made
    made.close()


@pytest.fixture
def archive(tmp_path: Path, signer: Signer) -> DebArchive:
    made = DebArchive(tmp_path / "www", signer)
    made.add("base", "1:1.0", Essential="yes", Depends="libbase")
    made.add("libbase", "2.0")
    made.add("web", "1.0", Depends="libweb (>= 1), base", Recommends="manual")
    made.add("libweb", "1.1")
    made.add("manual", "1.0")
    made.publish(DATE)
    return made


@pytest.fixture
def server(archive: DebArchive) -> Iterator[WebServer]:
    with WebServer(archive.folder) as made:
        yield made


class Place:
    """A store, a cache and the archive behind its address."""

    def __init__(self, tmp_path: Path, archive: DebArchive, server: WebServer) -> None:
        self.store = Store(tmp_path / "store")
        self.cache = tmp_path / "cache"
        self.work = tmp_path / "work"
        self.archive = archive.at(server.url)
        self.keyring = archive.signer.keyring()

    def refresh(self, *requested: str, below: tuple[PackagesLock, ...] = ()) -> PackagesLock:
        request = LockRequest("app", "x86_64", (self.archive,), requested, {"tiny": self.keyring}, below)
        return refresh(request, self.store, self.cache, Silent())

    def fetch(self, lock: PackagesLock) -> tuple[Path, ...]:
        return fetch_packages(layer(lock, self.archive), self.store, self.work, Silent())


def layer(lock: PackagesLock, archive: Archive) -> Layer:
    return Layer(
        appliance="app",
        architecture="x86_64",
        release="tiny",
        archives=(archive,),
        requested=(),
        packages=lock.packages,
        files=(),
        services=(),
        scripts=(),
        date=lock.date,
    )


@pytest.fixture
def place(tmp_path: Path, archive: DebArchive, server: WebServer) -> Place:
    return Place(tmp_path, archive, server)


def names(lock: PackagesLock) -> list[str]:
    return [package.name for package in lock.packages]


def test_first_layer_has_what_is_essential_and_no_recommendations(place: Place) -> None:
    lock = place.refresh("web")
    assert names(lock) == ["base", "libbase", "libweb", "web"]
    assert lock.packages[0].version == "1:1.0"
    assert lock.packages[0].path == "pool/base_1%3a1.0.deb"
    assert lock.date == DATE
    assert [archive.name for archive in lock.archives] == ["tiny"]


def test_a_lock_says_what_it_was_asked_for(place: Place) -> None:
    lock = place.refresh("web")
    expected = lock_inputs(architecture="x86_64", archives=(place.archive,), requested=("web",), keyrings={"tiny": _sha256(place.keyring)}, below=())
    assert lock.inputs == expected


def test_two_refreshes_of_the_same_archive_are_equal(place: Place) -> None:
    assert place.refresh("web") == place.refresh("web")


def test_child_locks_only_what_its_parent_lacks(place: Place) -> None:
    parent = place.refresh()
    assert names(parent) == ["base", "libbase"]
    child = place.refresh("web", below=(parent,))
    assert names(child) == ["libweb", "web"]
    assert names(place.refresh("base", below=(parent,))) == []


def test_child_upgrades_what_it_cannot_do_without(place: Place, archive: DebArchive) -> None:
    parent = place.refresh()
    place.fetch(parent)
    archive.add("libbase", "3.0")
    archive.add("modern", "1.0", Depends="libbase (>= 3)")
    archive.publish(DATE + timedelta(days=1))
    child = place.refresh("modern", below=(parent,))
    assert [(package.name, package.version) for package in child.packages] == [("libbase", "3.0"), ("modern", "1.0")]
    assert child.date == DATE + timedelta(days=1)


def test_childs_date_is_never_before_its_parents(place: Place, archive: DebArchive) -> None:
    parent = place.refresh().model_copy(update={"date": DATE + timedelta(days=30)})
    assert place.refresh("web", below=(parent,)).date == parent.date


def test_every_unknown_package_is_named(place: Place) -> None:
    with pytest.raises(Problems) as caught:
        place.refresh("web", "no-such-thing", "nor-this")
    said = str(caught.value)
    assert "no-such-thing" in said
    assert "nor-this" in said
    assert "appliances/app/appliance.yaml" in said


def test_packages_that_exclude_each_other_are_explained(place: Place, archive: DebArchive) -> None:
    archive.add("loner", "1.0", Conflicts="libweb")
    archive.publish(DATE)
    with pytest.raises(UserError, match="libweb"):
        place.refresh("web", "loner")


def test_child_never_removes_a_package_of_its_parent(place: Place, archive: DebArchive) -> None:
    archive.add("rival", "1.0", Conflicts="libbase", Provides="libbase")
    archive.publish(DATE)
    parent = place.refresh("web")
    with pytest.raises(UserError):
        place.refresh("rival", below=(parent,))


def test_parents_package_gone_from_archive_and_store(place: Place, archive: DebArchive) -> None:
    parent = place.refresh()
    archive.drop("libbase", "2.0")
    archive.add("libbase", "2.1")
    archive.publish(DATE)
    with pytest.raises(Problems, match=r"libbase 2\.0"):
        place.refresh("web", below=(parent,))


def test_parents_package_gone_from_archive_but_in_store(place: Place, archive: DebArchive) -> None:
    parent = place.refresh()
    place.fetch(parent)
    archive.drop("libbase", "2.0")
    archive.add("libbase", "2.1")
    archive.publish(DATE)
    assert names(place.refresh("web", below=(parent,))) == ["libweb", "web"]


def test_archive_signed_by_another_key_is_refused(place: Place, archive: DebArchive) -> None:
    stranger = Signer("stranger")
    archive.publish(DATE, signer=stranger)
    stranger.close()
    with pytest.raises(Refused):
        place.refresh("web")


def test_archive_changed_after_signing_is_refused(place: Place, archive: DebArchive) -> None:
    release = archive.folder / "dists/tiny/InRelease"
    release.write_text(release.read_text().replace("Origin: Tiny", "Origin: Tuny"))
    with pytest.raises(Refused):
        place.refresh("web")


def test_index_that_is_not_the_signed_one_is_refused(place: Place, archive: DebArchive) -> None:
    index = archive.folder / "dists/tiny/main/binary-amd64/Packages"
    index.write_bytes(index.read_bytes().replace(b"Version: 1.1", b"Version: 6.6"))
    with pytest.raises((Refused, Transient)):
        place.refresh("web")


def test_suite_that_is_not_there(place: Place) -> None:
    place.archive = place.archive.model_copy(update={"suite": "nowhere"})
    with pytest.raises(UserError, match="does not have"):
        place.refresh("web")


def test_archive_that_does_not_answer_may_answer_later(place: Place) -> None:
    place.archive = place.archive.model_copy(update={"uri": "http://127.0.0.1:9"})
    with pytest.raises(Transient):
        place.refresh("web")


# -- fetching what is locked


def test_packages_come_from_the_archive_once_and_then_from_the_store(place: Place, server: WebServer, tmp_path: Path) -> None:
    lock = place.refresh("web")
    paths = place.fetch(lock)
    assert [path.name for path in paths] == ["base_1%3a1.0_all.deb", "libbase_2.0_all.deb", "libweb_1.1_all.deb", "web_1.0_all.deb"]
    before = len(server.requests)
    place.work = tmp_path / "other"
    assert [path.read_bytes() for path in place.fetch(lock)] == [path.read_bytes() for path in paths]
    assert len(server.requests) == before


def test_store_suffices_when_the_archive_is_gone(place: Place, tmp_path: Path) -> None:
    lock = place.refresh("web")
    place.fetch(lock)
    place.archive = place.archive.model_copy(update={"uri": "http://127.0.0.1:9"})
    place.work = tmp_path / "other"
    assert len(place.fetch(lock)) == 4


def test_all_dropped_packages_are_named_with_the_way_out(place: Place, archive: DebArchive) -> None:
    lock = place.refresh("web")
    archive.drop("libweb", "1.1")
    archive.drop("libbase", "2.0")
    with pytest.raises(Problems) as caught:
        place.fetch(lock)
    said = str(caught.value)
    assert "libweb 1.1" in said
    assert "libbase 2.0" in said
    assert "vmkeeper refresh app" in said


def test_changed_package_is_refused(place: Place, archive: DebArchive) -> None:
    lock = place.refresh("web")
    path = archive.folder / "pool/web_1.0.deb"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(Refused, match="web"):
        place.fetch(lock)
    assert place.store.alias("deb", lock.packages[-1].sha256) is None


def test_package_longer_than_its_lock_is_refused(place: Place, archive: DebArchive) -> None:
    lock = place.refresh("web")
    with (archive.folder / "pool/web_1.0.deb").open("ab") as file:
        file.write(b"more")
    with pytest.raises(Refused, match="web"):
        place.fetch(lock)


def test_interrupted_download_is_tried_again(place: Place, server: WebServer, archive: DebArchive) -> None:
    lock = place.refresh("web")
    server.serve("/pool/web_1.0.deb", (archive.folder / "pool/web_1.0.deb").read_bytes(), cuts=[100])
    assert len(place.fetch(lock)) == 4


def test_archive_that_keeps_failing_is_transient(place: Place, server: WebServer) -> None:
    lock = place.refresh("web")
    server.serve("/pool/web_1.0.deb", b"", statuses=[503] * 20)
    with pytest.raises(Transient, match="web"):
        place.fetch(lock)


def test_damaged_store_is_noticed_and_mended(place: Place) -> None:
    lock = place.refresh("web")
    place.fetch(lock)
    record = place.store.alias("deb", lock.packages[0].sha256)
    assert record is not None
    path = place.store.local_path(record["sha512"])
    assert path is not None
    shutil.rmtree(place.work)
    path.chmod(0o644)
    path.write_bytes(b"\0" * path.stat().st_size)
    with pytest.raises(Refused):
        place.fetch(lock)
    assert len(place.fetch(lock)) == 4


# -- pure parts


def locked(name: str, version: str = "1") -> LockedPackage:
    return LockedPackage(name=name, version=version, architecture="all", archive="tiny", path=f"pool/{name}.deb", size=Size(1), sha256="0" * 64)


def test_changes_name_what_came_went_and_moved() -> None:
    found = changes([locked("aa"), locked("bb"), locked("cc")], [locked("bb"), locked("cc", "2"), locked("dd")])
    assert [package.name for package in found.added] == ["dd"]
    assert [package.name for package in found.removed] == ["aa"]
    assert found.upgraded == (Upgrade("cc", "1", "2"),)
    assert not changes([locked("aa")], [locked("aa")])


@given(
    st.dictionaries(st.sampled_from(["aa", "bb", "cc", "dd"]), st.sampled_from("123")),
    st.dictionaries(st.sampled_from(["aa", "bb", "cc", "dd"]), st.sampled_from("123")),
)
def test_changes_account_for_every_package(old: dict[str, str], new: dict[str, str]) -> None:
    found = changes([locked(*item) for item in old.items()], [locked(*item) for item in new.items()])
    result = dict(old)
    for package in found.removed:
        del result[package.name]
    result |= {package.name: package.version for package in found.added} | {upgrade.name: upgrade.new for upgrade in found.upgraded}
    assert result == new


ARCHIVE = Archive(name="tiny", uri="http://archive.example.org/tiny", suite="tiny")
LOCK = PackagesLock(inputs="0" * 64, date=DATE, archives=(LockedArchive(name="tiny", release_sha256="0" * 64, date=DATE),), packages=())


def test_order_of_requested_packages_does_not_make_a_lock_stale() -> None:
    assert lock_inputs(architecture="x86_64", archives=(ARCHIVE,), requested=("aa", "bb")) == lock_inputs(
        architecture="x86_64", archives=(ARCHIVE,), requested=("bb", "aa", "aa")
    )


@pytest.mark.parametrize(
    "other",
    [
        {"architecture": "aarch64"},
        {"archives": ()},
        {"archives": (ARCHIVE.model_copy(update={"suite": "other"}),)},
        {"requested": ("bb",)},
        {"keyrings": {"tiny": "1" * 64}},
        {"below": ()},
        {"below": (LOCK.model_copy(update={"inputs": "1" * 64}),)},
    ],
)
def test_everything_that_was_asked_for_counts(other: dict[str, object]) -> None:
    asked: dict[str, object] = {"architecture": "x86_64", "archives": (ARCHIVE,), "requested": ("aa",), "keyrings": {}, "below": (LOCK,)}
    assert lock_inputs(**asked) != lock_inputs(**{**asked, **other})  # type: ignore[arg-type]


def _sha256(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()
