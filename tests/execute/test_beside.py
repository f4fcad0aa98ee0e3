"""Patches and compressed files beside images: made once, named by the list, usable by who fetches them, gone with what they are for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from support.certificates import PUBLISHER, Identity, authority, issue
from support.publication import DAY, NOW, URL, decision, desired, large_content
from vmkeeper.execute.beside import MEMORY
from vmkeeper.execute.feedsigning import Hands
from vmkeeper.execute.listkey import FileKey
from vmkeeper.execute.publication import Place
from vmkeeper.execute.publish import publish
from vmkeeper.execute.walk import Done, Failed
from vmkeeper.images import patch
from vmkeeper.images.store import Store
from vmkeeper.images.targets_folder import FolderTarget
from vmkeeper.lists import extension
from vmkeeper.lists.hepix import HepixImage, HepixList, read
from vmkeeper.lists.smime import Signer, verify
from vmkeeper.model.release import Blob
from vmkeeper.plan.chosen import Desired
from vmkeeper.run import program
from vmkeeper.trust.approval import Decision
from vmkeeper.values import Size, sha512_hex

BUILT = ("debian-12 1", "debian-12 2", "debian-12 3", "debian-12 4", "docker 1")


def one(words: str) -> Decision:
    return decision(words, large=True)


def wanted(*words: str, **more: Any) -> Desired:
    return desired(*(one(word) for word in words), inherits={"docker": "debian-12"}, **more)


class Press:
    def __init__(self, folder: Path, trusted: Identity) -> None:
        person = issue(PUBLISHER, trusted)
        self.trusted, self.root, self.work = trusted, folder / "public", folder / "work"
        self.key = FileKey(Signer(person.certificate, person.key))
        self.store = Store(folder / "store")
        for words in BUILT:
            self.store.put_bytes(large_content(*words.split()))

    def publish(self, *lists: Desired, now: object = NOW) -> list[str]:
        place = Place(FolderTarget(self.root), self.store, Hands(self.key), now, self.work)  # type: ignore[arg-type]
        outcomes = publish(place, lists).outcomes
        assert all(isinstance(outcome, Done) for outcome in outcomes), outcomes
        return [f"{outcome.action.kind} {outcome.action.subject}" for outcome in outcomes if outcome.action.kind not in ("feed", "digest")]

    def list(self) -> HepixList:
        return read(verify((self.root / "science/imagelist.signed").read_bytes(), [self.trusted.certificate], NOW).content)

    def image(self, name: str) -> HepixImage:
        return next(image for image in self.list().images if f"/{name}-" in image.uri)

    def file(self, uri: str) -> Path:
        return self.root / uri.removeprefix(f"{URL}/")

    def held(self) -> set[str]:
        return {path.name for path in (self.root / "science/images").rglob("*") if path.is_file()}

    def usable(self) -> None:
        """Everything that the list names beside images gives them, and nothing lies there that nobody names."""
        named = set()
        for image in self.list().images:
            blob, ways = Blob(size=image.size, sha512=image.sha512), extension.read(image)
            assert ways.ignored == ()
            named.add(self.file(image.uri).name)
            for way in ways.patches:
                base = self.store.local_path(way["base_sha512"])
                assert base is not None
                patch.apply(base, self.file(way["uri"]), self.root.parent / "out", blob, memory=MEMORY)
                named.add(self.file(way["uri"]).name)
            if ways.compressed:
                patch.expand(self.file(ways.compressed["uri"]), self.root.parent / "out", blob)
                assert self.file(ways.compressed["uri"]).stat().st_size == ways.compressed["size"]
                named.add(self.file(ways.compressed["uri"]).name)
        assert self.held() == named


@pytest.fixture(scope="module")
def trusted() -> Identity:
    return authority()


@pytest.fixture
def press(tmp_path: Path, trusted: Identity) -> Press:
    program("zstd")
    return Press(tmp_path, trusted)


def bases(image: HepixImage) -> set[str]:
    known = {sha512_hex(large_content(*words.split())): words for words in BUILT}
    return {known[way["base_sha512"]] for way in extension.read(image).patches}


def test_the_first_release_is_published_compressed(press: Press) -> None:
    done = press.publish(wanted("debian-12 1"))
    assert done[:3] == ["compress debian-12 1 qcow2", "publish science/debian-12", "publish science/debian-12 compressed"]
    press.usable()
    ways = extension.read(press.image("debian-12"))
    assert ways.compressed is not None
    assert ways.compressed["size"] < press.image("debian-12").size * 0.6


def test_an_update_comes_with_patches_from_the_releases_before(press: Press) -> None:
    for last in (1, 2, 3, 4):
        press.publish(wanted(*(f"debian-12 {number}" for number in range(1, last + 1))), now=NOW + last * DAY)
        press.usable()
        assert bases(press.image("debian-12")) == {f"debian-12 {number}" for number in range(max(1, last - 2), last)}
    assert all(way["size"] < 2000 for way in extension.read(press.image("debian-12")).patches)


def test_a_child_comes_with_a_patch_from_its_parents_newest(press: Press) -> None:
    press.publish(wanted("debian-12 1", "debian-12 2", "docker 1"))
    press.usable()
    assert bases(press.image("docker")) == {"debian-12 2"}


def test_what_was_made_is_not_made_again_even_by_another_store(press: Press, tmp_path: Path) -> None:
    both = wanted("debian-12 1", "debian-12 2")
    press.publish(both)
    before = {path: path.stat().st_mtime_ns for path in press.root.rglob("*")}
    assert press.publish(both, now=NOW + DAY) == []
    press.store = Store(tmp_path / "other")
    press.store.put_bytes(large_content("debian-12", "2"))
    assert press.publish(both, now=NOW + DAY) == []
    assert {path: path.stat().st_mtime_ns for path in press.root.rglob("*")} == before


def test_two_lists_share_what_is_made(press: Press) -> None:
    done = press.publish(wanted("debian-12 1", "debian-12 2"), wanted("debian-12 1", "debian-12 2", name="teaching"))
    assert len([line for line in done if line.startswith(("patch", "compress"))]) == 2
    assert len([line for line in done if line.startswith("publish")]) == 6


@pytest.mark.parametrize(
    ("patches", "files"),
    [({"previous": 0, "parent": False, "compressed": False}, 1), ({"previous": 0}, 2), ({"previous": 1, "compressed": False}, 2), ({}, 4)],
)
def test_the_list_says_what_is_wanted(press: Press, patches: dict[str, object], files: int) -> None:
    press.publish(wanted("debian-12 1", "debian-12 2", "debian-12 3", patches=patches))
    press.usable()
    assert len(press.held()) == files


def test_patches_that_are_no_longer_wanted_go(press: Press) -> None:
    both = ("debian-12 1", "debian-12 2")
    press.publish(wanted(*both))
    version = press.list().version
    done = press.publish(wanted(*both, patches={"previous": 0, "compressed": False}), now=NOW + DAY)
    assert done[0] == "sign science"
    assert [line.split()[0] for line in done[1:]] == ["remove", "remove"]
    press.usable()
    assert press.list().version > version


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_lost_patch_is_put_back(press: Press, damage: str) -> None:
    both = wanted("debian-12 1", "debian-12 2")
    press.publish(both)
    (file,) = (path for path in press.root.rglob("*.zst") if ".from-" in path.name)
    file.unlink() if damage == "gone" else file.write_bytes(b"cut")
    assert press.publish(both, now=NOW + DAY) == ["publish science/debian-12 from debian-12 1"]
    press.usable()


def test_what_the_store_lost_is_made_again(press: Press) -> None:
    both = wanted("debian-12 1", "debian-12 2")
    press.publish(both)
    digests = {sha512_hex(path.read_bytes()) for path in press.root.rglob("*.zst")}
    for path in list(press.root.rglob("*.zst")):
        path.unlink()
    for digest in digests:
        path = press.store.local_path(digest)
        assert path is not None
        path.unlink()
    done = press.publish(both, now=NOW + DAY)
    assert sorted(line.split()[0] for line in done) == ["compress", "patch", "publish", "publish"]
    press.usable()


def test_without_the_base_there_is_no_patch_and_nothing_fails(press: Press) -> None:
    path = press.store.local_path(sha512_hex(large_content("debian-12", "1")))
    assert path is not None
    path.unlink()
    press.publish(wanted("debian-12 1", "debian-12 2"))
    assert bases(press.image("debian-12")) == set()


def test_what_saves_little_is_not_offered_and_not_tried_again(press: Press) -> None:
    data = Random(7).randbytes(2 << 20)
    press.store.put_bytes(data)
    made = decision("debian-12 6", large=True)
    file = made.statement.files[0].model_copy(update={"size": len(data), "sha512": sha512_hex(data)})
    endorsed = replace(made.endorsements[0], statement=made.statement.model_copy(update={"files": (file,)}))
    random = desired(one("debian-12 1"), replace(made, endorsements=(endorsed,)))
    assert press.publish(random)[:2] == ["compress debian-12 6 qcow2", "patch debian-12 6 qcow2 from debian-12 1"]
    assert press.held() == {"debian-12-6.qcow2"}
    assert press.publish(random, now=NOW + DAY) == []


def test_a_failure_to_make_one_stops_nothing(press: Press, monkeypatch: pytest.MonkeyPatch) -> None:
    path = press.store.local_path(sha512_hex(large_content("debian-12", "1")))
    assert path is not None
    path.chmod(0o644)
    path.write_bytes(bytes(path.stat().st_size))
    place = Place(FolderTarget(press.root), press.store, Hands(press.key), NOW, press.work)
    outcomes = publish(place, [wanted("debian-12 1", "debian-12 2")]).outcomes
    (failed,) = (outcome for outcome in outcomes if not isinstance(outcome, Done))
    assert isinstance(failed, Failed)
    assert failed.action.kind == "patch"
    press.usable()
    assert bases(press.image("debian-12")) == set()


def test_catalogue_and_list_name_the_same(press: Press) -> None:
    press.publish(wanted("debian-12 1", "debian-12 2"))
    text = json.dumps(json.loads((press.root / "catalogue.json").read_bytes()))
    for way in extension.read(press.image("debian-12")).patches:
        assert way["sha512"] in text
        assert way["base_sha512"] in text


def test_withdrawing_everything_removes_what_lies_beside(press: Press) -> None:
    press.publish(wanted("debian-12 1", "debian-12 2"))
    press.publish(desired(), now=NOW + DAY)
    assert not (press.root / "science/images").exists()


def test_sizes_are_bytes(press: Press) -> None:
    press.publish(wanted("debian-12 1", "debian-12 2"))
    (way,) = extension.read(press.image("debian-12")).patches
    assert way["base_size"] == Size(len(large_content("debian-12", "1")))


def test_what_a_killed_run_was_making_goes(press: Press) -> None:
    left = press.work / "publish" / "beside-0123"
    left.mkdir(parents=True)
    (left / "made").write_bytes(b"half")
    press.publish(wanted("debian-12 1", "debian-12 2"))
    assert list((press.work / "publish").iterdir()) == []
