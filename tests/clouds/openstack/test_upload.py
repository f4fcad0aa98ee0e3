"""Uploads to a real Glance: cut off anywhere, by several at once, of the wrong bytes, and without room."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from clouds.openstack.hands import SPEC, By, Connected, one
from conformance.setting import by_id, ours, spec_of
from support.openstack import DISK, Tenants
from vmkeeper.clouds.interface import NoRoom
from vmkeeper.clouds.openstack import images, upload
from vmkeeper.clouds.openstack.cloud import OpenStackCloud
from vmkeeper.clouds.openstack.glance import Glance
from vmkeeper.errors import Refused, Transient, UserError

# -- uploads that were cut off


def test_an_upload_that_was_killed_before_its_bytes_came_is_begun_anew(connected: Connected, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = connected()
    _cut_off(cloud, file, monkeypatch, Glance, "put")
    assert one(cloud).state == "incomplete"
    cloud.upload(SPEC, file)
    assert (one(cloud).state, one(cloud).drift) == ("active", ())


def test_an_upload_that_was_killed_after_its_bytes_had_come_is_finished_without_sending_them_again(
    connected: Connected, file: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    cloud = connected()
    _cut_off(cloud, file, monkeypatch, images, "holds")
    assert one(cloud).state == "incomplete"
    asked.clear()
    cloud.upload(SPEC, file)
    assert not [call for call in asked if call.startswith("PUT")]
    assert (one(cloud).state, one(cloud).drift) == ("active", ())


def test_an_upload_from_another_machine_is_waited_for_until_it_must_be_dead(
    connected: Connected, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _cut_off(connected(folder="another machine's"), file, monkeypatch, Glance, "put")
    cloud = connected()
    with pytest.raises(Transient, match="from elsewhere"):
        cloud.upload(SPEC, file)
    monkeypatch.setattr(upload, "PATIENCE", -upload.PATIENCE)
    cloud.upload(SPEC, file)
    assert one(cloud).state == "active"


def test_an_upload_that_another_machine_has_just_begun_is_not_made_twice(connected: Connected, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _cut_off(connected(folder="another machine's"), file, monkeypatch, Glance, "put")
    cloud = connected()
    monkeypatch.setattr(images.Images, "_with_key", lambda *_: [])  # it was not there yet when this one looked
    with pytest.raises(Transient, match="from elsewhere"):
        cloud.upload(SPEC, file)
    assert len(ours(cloud)) == 1


UPLOADER = """
import sys
from pathlib import Path
from vmkeeper.clouds.interface import ImageSpec
from vmkeeper.clouds.openstack.cloud import OpenStackCloud
from vmkeeper.clouds.openstack.session import Access
from vmkeeper.model.platform import OpenStackPlatform
home, locks, file, owner, spec = sys.argv[1:]
access = Access(OpenStackPlatform(type="openstack", cloud="member"), Path(home))
print(OpenStackCloud(access, owner=owner, folder=Path(locks)).upload(ImageSpec.model_validate_json(spec), Path(file)).id)
"""


def test_several_processes_make_one_image(connected: Connected, tenants: Tenants, owner: str, file: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", UPLOADER, str(tenants.folder), str(tmp_path / "locks"), str(file), owner, SPEC.model_dump_json()]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    told = [process.communicate(timeout=300)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert set(told) == {one(connected()).id}
    assert one(connected()).state == "active"


def test_bytes_that_change_in_the_cloud_are_refused(connected: Connected, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    show = Glance.show
    monkeypatch.setattr(Glance, "show", lambda self, id_: show(self, id_) | {"os_hash_value": "0" * 128})
    cloud = connected()
    with pytest.raises(Refused) as refusal:
        cloud.upload(SPEC, file)
    assert refusal.value.rule == "R14"
    assert ours(cloud) == {}


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", None])
def test_other_hashes_that_a_glance_makes_are_compared_too(tmp_path: Path, file: Path, algorithm: str | None) -> None:
    good = {"size": len(DISK), "os_hash_algo": algorithm, "os_hash_value": hashlib.new(algorithm, DISK).hexdigest() if algorithm else None}
    good["checksum"] = hashlib.md5(DISK).hexdigest()
    assert upload.holds(good, SPEC, file)
    assert not upload.holds(good | {"os_hash_value": "0" * 64, "checksum": "0" * 32}, SPEC, file)
    assert not upload.holds(good | {"size": 7}, SPEC, file)
    file.write_bytes(DISK[:-1] + b"!")
    assert not upload.holds(good, SPEC, file)


def test_a_deleted_image_comes_back_again_and_again(connected: Connected, file: Path) -> None:
    cloud = connected()
    had = set()
    for _ in range(4):
        had.add(cloud.upload(SPEC, file).id)
        cloud.delete(one(cloud).id)
    assert len(had) == 4, "Glance gives out no id twice"


def test_ids_that_somebody_took_before_us_do_not_stand_in_the_way(connected: Connected, hands: By, owner: str, tenants: Tenants, file: Path) -> None:
    first, second, *_ = upload.new_ids(owner, tenants.ids[tenants.project], SPEC)
    for taken in (first, second):
        assert hands("stranger").api.post("/images", json={"id": taken, "name": "x"}).status_code == 201
    cloud = connected()
    assert cloud.upload(SPEC, file).state == "active"


def test_a_spoilt_image_of_the_same_key_does_not_stand_in_the_way(connected: Connected, hands: By, file: Path) -> None:
    cloud = connected()
    spoilt = cloud.upload(SPEC, file).id
    hands("member").change(spoilt, vmkeeper_spec="{")
    assert cloud.upload(SPEC, file).id != spoilt
    assert by_id(cloud)[spoilt].spec is None


# -- room


def test_a_quota_is_asked_before_the_bytes_go(connected: Connected, file: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str]) -> None:
    cloud = connected()
    for usage in ({"image_size_total": (100, 100)}, {"image_count_total": (5, 5)}):
        monkeypatch.setattr(Glance, "usage", lambda *_, usage=usage: usage)
        with pytest.raises(NoRoom, match="no quota left"):
            cloud.upload(SPEC, file)
    assert not [call for call in asked if call.startswith(("POST", "PUT"))]
    monkeypatch.setattr(Glance, "usage", lambda *_: {"image_size_total": (99, 100), "image_count_total": (4, 5)})
    assert cloud.upload(SPEC, file).state == "active"


def test_data_that_glance_finds_unsafe_is_told(connected: Connected, tmp_path: Path) -> None:
    data = bytes(510) + b"\x55\xaa" + bytes(1024)
    (tmp_path / "unsafe.raw").write_bytes(data)
    cloud = connected()
    with pytest.raises(UserError, match="safety checks"):
        cloud.upload(spec_of(data), tmp_path / "unsafe.raw")
    assert ours(cloud) == {}


def _cut_off(cloud: OpenStackCloud, file: Path, monkeypatch: pytest.MonkeyPatch, where: object, name: str) -> None:
    """An upload that ends where `name` is called."""

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(where, name, killed)
        with pytest.raises(KeyboardInterrupt):
            cloud.upload(SPEC, file)
