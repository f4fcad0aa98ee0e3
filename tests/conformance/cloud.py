"""What every cloud must do: a test class to inherit from. A cloud's test file gives the `setting` fixture.

Nothing here knows one cloud from another, and a real cloud may hold things of other people.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from vmkeeper.clouds.interface import Cloud, CloudImage, Gone, ImageSpec, InUse, MachineSpec, NotOurs, SourceFile
from vmkeeper.errors import Refused, VmkeeperError
from vmkeeper.values import Size, Version

LIST = "7f6f1c1e-8d5e-4a52-9a0e-0d8d0c7f5a11"
UUID = "0b0f8a0e-3c1c-4f5e-8b7a-2f8b3f0f7a21"
THEN = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
LATER = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
EXPIRES = datetime(2027, 5, 1, tzinfo=UTC)
SIGNED = SourceFile(format="ova", size=Size(4096), sha512="5" * 128)
"""The file that a converted image was made from."""


@dataclass(frozen=True)
class Setting:
    """A cloud to try: `connect(owner)` gives one owner's view, `plant(name)` makes an image without our mark and returns its id."""

    connect: Callable[[str], Cloud]
    plant: Callable[[str], str]
    folder: Path
    """Where image files for uploading are written."""
    disk: bytes = b"\xeb\xfe" + bytes(508) + b"\x55\xaa" + bytes(1024 * 1024 - 512)
    """A raw disk; the default boots into an endless loop."""
    cannot_start: str = ""
    """Why machines cannot be started here, or ""."""


def spec_of(
    data: bytes, *, version: str = "2026.11.1", name: str = "debian-12", uuid: str = UUID, properties: dict[str, str] | None = None
) -> ImageSpec:
    """The spec of an image whose file has these bytes."""
    return ImageSpec(
        name=name,
        appliance="debian-12",
        uuid=uuid,
        version=Version(version),
        format="raw",
        size=Size(len(data)),
        virtual_size=Size(len(data)),
        sha512=hashlib.sha512(data).hexdigest(),
        list=LIST,
        expires=EXPIRES,
        properties=properties or {},
    )


class CloudConformance:
    """Inherit, and give `setting`."""

    @pytest.fixture
    def setting(self, tmp_path: Path) -> Setting:
        raise NotImplementedError

    @pytest.fixture
    def cloud(self, setting: Setting) -> Cloud:
        return setting.connect("vmkeeper:conformance")

    @pytest.fixture
    def spec(self, setting: Setting) -> ImageSpec:
        return spec_of(setting.disk)

    @pytest.fixture
    def file(self, setting: Setting) -> Path:
        return write(setting, "disk.raw", setting.disk)

    # -- listing

    def test_no_image_of_ours_at_first(self, cloud: Cloud) -> None:
        assert ours(cloud) == {}

    def test_an_uploaded_image_is_read_back_whole(self, cloud: Cloud, file: Path, spec: ImageSpec) -> None:
        spec = spec.model_copy(
            update={"properties": {"ad:mpuri": "https://example.org/x?a='\"<&>", "os_distro": "debian", "note": "grüße\n2nd line"}}
        )
        image = cloud.upload(spec, file)
        (found,) = ours(cloud).values()
        assert found == image
        assert found.spec == spec
        assert (found.name, found.state, found.owner, found.hidden_since, found.in_use) == (spec.name, "active", cloud.owner, None, False)

    def test_a_listing_is_in_order_of_ids_and_holds_everybodys_images(self, cloud: Cloud, setting: Setting, file: Path, spec: ImageSpec) -> None:
        planted = setting.plant("somebody's image")
        cloud.upload(spec, file)
        listed = cloud.images()
        assert [image.id for image in listed] == sorted(image.id for image in listed)
        assert len({image.id for image in listed}) == len(listed)
        foreign = next(image for image in listed if image.id == planted)
        assert (foreign.owner, foreign.spec) == (None, None)

    def test_another_client_sees_the_same(self, cloud: Cloud, setting: Setting, file: Path, spec: ImageSpec) -> None:
        cloud.upload(spec, file)
        assert setting.connect(cloud.owner).images() == cloud.images()

    def test_two_images_may_bear_one_name(self, cloud: Cloud, setting: Setting, file: Path, spec: ImageSpec) -> None:
        data = setting.disk[:-1] + b"x"
        newer = spec_of(data, version="2026.11.2")
        assert cloud.upload(spec, file).id != cloud.upload(newer, write(setting, "newer.raw", data)).id
        assert sorted(str(i.spec.version) for i in ours(cloud).values() if i.spec) == ["2026.11.1", "2026.11.2"]

    # -- upload

    def test_the_uploaded_file_is_left_as_it_was(self, cloud: Cloud, setting: Setting, file: Path, spec: ImageSpec) -> None:
        cloud.upload(spec, file)
        assert file.read_bytes() == setting.disk

    def test_an_upload_outlives_its_source_file(self, cloud: Cloud, file: Path, spec: ImageSpec) -> None:
        cloud.upload(spec, file)
        file.unlink()
        assert len(ours(cloud)) == 1

    def test_uploading_again_makes_no_second_image(self, cloud: Cloud, file: Path, spec: ImageSpec) -> None:
        assert cloud.upload(spec, file).id == cloud.upload(spec, file).id
        assert len(ours(cloud)) == 1

    def test_two_uploads_at_once_make_one_image(self, cloud: Cloud, setting: Setting, file: Path, spec: ImageSpec) -> None:
        clients = [setting.connect(cloud.owner) for _ in range(3)]
        with ThreadPoolExecutor(len(clients)) as pool:
            made = list(pool.map(lambda client: client.upload(spec, file), clients))
        assert len({image.id for image in made}) == 1
        assert [image.state for image in ours(cloud).values()] == ["active"]

    def test_uploading_a_hidden_image_again_makes_it_active(self, cloud: Cloud, file: Path, spec: ImageSpec) -> None:
        image = cloud.upload(spec, file)
        cloud.update(image.id, spec, THEN)
        assert cloud.upload(spec, file).id == image.id
        assert [(i.state, i.hidden_since) for i in ours(cloud).values()] == [("active", None)]

    @pytest.mark.parametrize("spoil", [lambda d: d[:-1] + b"!", lambda d: d[:-1], lambda d: d + b"\0", lambda d: b"", lambda d: b"\x01" + d[1:]])
    def test_other_bytes_are_refused_and_leave_nothing(
        self, cloud: Cloud, setting: Setting, spec: ImageSpec, spoil: Callable[[bytes], bytes]
    ) -> None:
        before = cloud.images()
        with pytest.raises(Refused) as refusal:
            cloud.upload(spec, write(setting, "spoilt.raw", spoil(setting.disk)))
        assert refusal.value.rule == "R14"
        assert cloud.images() == before

    def test_a_refused_upload_does_not_stand_in_the_way_of_the_right_one(self, cloud: Cloud, setting: Setting, file: Path, spec: ImageSpec) -> None:
        with pytest.raises(Refused):
            cloud.upload(spec, write(setting, "spoilt.raw", setting.disk[:-1]))
        assert cloud.upload(spec, file).state == "active"
        assert len(ours(cloud)) == 1

    def test_a_missing_file_is_an_error_and_leaves_nothing(self, cloud: Cloud, setting: Setting, spec: ImageSpec) -> None:
        with pytest.raises(VmkeeperError):
            cloud.upload(spec, setting.folder / "absent.raw")
        assert ours(cloud) == {}

    def test_a_converted_image_is_read_back_with_what_it_was_made_from(self, cloud: Cloud, file: Path, spec: ImageSpec) -> None:
        converted = spec.model_copy(update={"source": SIGNED})
        image = cloud.upload(converted, file)
        assert ours(cloud)[image.id].spec == converted
        assert converted.signed == SIGNED
        assert converted.key != spec.key

    def test_an_image_that_was_converted_to_other_bytes_is_not_uploaded_again(
        self, cloud: Cloud, setting: Setting, file: Path, spec: ImageSpec
    ) -> None:
        image = cloud.upload(spec.model_copy(update={"source": SIGNED}), file)
        data = setting.disk[:-1] + b"x"
        again = spec_of(data, name="debian-12 (again)").model_copy(update={"source": SIGNED})
        cloud.update(image.id, spec.model_copy(update={"source": SIGNED}), THEN)
        assert cloud.upload(again, write(setting, "again.raw", data)).id == image.id
        (found,) = ours(cloud).values()
        assert found.spec is not None
        assert (found.name, found.state, found.spec.name) == ("debian-12 (again)", "active", "debian-12 (again)")
        assert found.spec.sha512 == spec.sha512
        assert found.spec.same_bytes(spec)

    # -- update

    def test_hiding_and_showing(self, cloud: Cloud, file: Path, spec: ImageSpec) -> None:
        image = cloud.upload(spec, file)
        cloud.update(image.id, spec, THEN)
        assert [(i.state, i.hidden_since) for i in ours(cloud).values()] == [("hidden", THEN)]
        cloud.update(image.id, spec, None)
        assert [(i.state, i.hidden_since) for i in ours(cloud).values()] == [("active", None)]

    def test_hiding_again_with_another_time(self, cloud: Cloud, file: Path, spec: ImageSpec) -> None:
        image = cloud.upload(spec, file)
        cloud.update(image.id, spec, THEN)
        cloud.update(image.id, spec, LATER)
        assert ours(cloud)[image.id].hidden_since == LATER

    def test_an_update_changes_all_that_is_said_and_drops_what_is_not_said_any_more(self, cloud: Cloud, file: Path, spec: ImageSpec) -> None:
        image = cloud.upload(spec.model_copy(update={"properties": {"a": "1", "b": "2"}}), file)
        changed = spec.model_copy(update={"name": "debian-12 (old)", "expires": LATER, "properties": {"b": "3"}})
        cloud.update(image.id, changed, None)
        found = ours(cloud)[image.id]
        assert (found.spec, found.name) == (changed, "debian-12 (old)")

    def test_an_update_is_idempotent(self, cloud: Cloud, file: Path, spec: ImageSpec) -> None:
        image = cloud.upload(spec, file)
        for _ in range(2):
            cloud.update(image.id, spec, THEN)
        assert ours(cloud)[image.id].hidden_since == THEN

    def test_an_update_cannot_change_the_bytes(self, cloud: Cloud, file: Path, spec: ImageSpec) -> None:
        image = cloud.upload(spec, file)
        with pytest.raises(ValueError, match="bytes"):
            cloud.update(image.id, spec.model_copy(update={"sha512": "0" * 128}), None)
        assert ours(cloud)[image.id].spec == spec

    def test_an_image_that_is_gone_cannot_be_updated(self, cloud: Cloud, file: Path, spec: ImageSpec) -> None:
        image = cloud.upload(spec, file)
        cloud.delete(image.id)
        with pytest.raises(Gone):
            cloud.update(image.id, spec, None)

    # -- delete

    def test_deleting_and_deleting_again(self, cloud: Cloud, file: Path, spec: ImageSpec) -> None:
        image = cloud.upload(spec, file)
        cloud.delete(image.id)
        assert ours(cloud) == {}
        cloud.delete(image.id)

    def test_a_deleted_image_can_be_uploaded_again(self, cloud: Cloud, file: Path, spec: ImageSpec) -> None:
        cloud.delete(cloud.upload(spec, file).id)
        assert cloud.upload(spec, file).state == "active"

    # -- what belongs to others

    def test_images_without_our_mark_are_left_alone(self, cloud: Cloud, setting: Setting, file: Path, spec: ImageSpec) -> None:
        planted = setting.plant(spec.name)
        before = by_id(cloud)[planted]
        with pytest.raises(NotOurs):
            cloud.update(planted, spec, THEN)
        with pytest.raises(NotOurs):
            cloud.delete(planted)
        assert cloud.upload(spec, file).id != planted
        assert by_id(cloud)[planted] == before

    def test_images_of_another_owner_are_left_alone(self, cloud: Cloud, setting: Setting, file: Path, spec: ImageSpec) -> None:
        other = setting.connect("vmkeeper:elsewhere")
        theirs = other.upload(spec, file)
        mine = cloud.upload(spec, file)
        assert mine.id != theirs.id
        with pytest.raises(NotOurs):
            cloud.update(theirs.id, spec, THEN)
        with pytest.raises(NotOurs):
            cloud.delete(theirs.id)
        cloud.delete(mine.id)
        assert by_id(other)[theirs.id] == theirs

    # -- machines

    def test_a_machine_is_started_once_and_removed(self, cloud: Cloud, setting: Setting, file: Path, spec: ImageSpec) -> None:
        needs_machines(setting)
        wanted = machine_of(cloud.upload(spec, file))
        machine = cloud.start(wanted)
        try:
            again = cloud.start(wanted)
            (found,) = our_machines(cloud)
            assert machine.id == again.id == found.id
            assert (found.name, found.cluster, found.service, found.generation) == (wanted.name, "c", "master", wanted.generation)
            assert (found.owner, found.image) == (cloud.owner, wanted.image)
            assert found.state in ("starting", "running")
            assert set(found.ports) == {22}
            assert isinstance(cloud.console(found.id), str)
        finally:
            cloud.stop(machine.id)
        assert our_machines(cloud) == ()
        cloud.stop(machine.id)

    def test_an_image_in_use_is_not_deleted_but_can_be_hidden(self, cloud: Cloud, setting: Setting, file: Path, spec: ImageSpec) -> None:
        needs_machines(setting)
        image = cloud.upload(spec, file)
        machine = cloud.start(machine_of(image))
        try:
            assert ours(cloud)[image.id].in_use
            with pytest.raises(InUse):
                cloud.delete(image.id)
            cloud.update(image.id, spec, THEN)
            assert (ours(cloud)[image.id].state, len(our_machines(cloud))) == ("hidden", 1)
        finally:
            cloud.stop(machine.id)
        assert not ours(cloud)[image.id].in_use
        cloud.delete(image.id)

    def test_a_name_with_another_generation_is_taken(self, cloud: Cloud, setting: Setting, file: Path, spec: ImageSpec) -> None:
        needs_machines(setting)
        wanted = machine_of(cloud.upload(spec, file))
        machine = cloud.start(wanted)
        try:
            with pytest.raises(NotOurs):
                cloud.start(wanted.model_copy(update={"generation": "f" * 64}))
            assert [m.generation for m in our_machines(cloud)] == [wanted.generation]
        finally:
            cloud.stop(machine.id)

    def test_no_machine_starts_from_a_hidden_or_missing_image(self, cloud: Cloud, setting: Setting, file: Path, spec: ImageSpec) -> None:
        needs_machines(setting)
        image = cloud.upload(spec, file)
        cloud.update(image.id, spec, THEN)
        with pytest.raises(Gone):
            cloud.start(machine_of(image))
        cloud.delete(image.id)
        with pytest.raises(Gone):
            cloud.start(machine_of(image))
        assert our_machines(cloud) == ()

    def test_machines_of_another_owner_are_left_alone(self, cloud: Cloud, setting: Setting, file: Path, spec: ImageSpec) -> None:
        needs_machines(setting)
        other = setting.connect("vmkeeper:elsewhere")
        machine = other.start(machine_of(other.upload(spec, file)))
        try:
            with pytest.raises(NotOurs):
                cloud.stop(machine.id)
            assert [m.id for m in our_machines(other)] == [machine.id]
        finally:
            other.stop(machine.id)


def ours(cloud: Cloud) -> dict[str, CloudImage]:
    """Our images by id."""
    return {image.id: image for image in cloud.images() if image.owner == cloud.owner}


def by_id(cloud: Cloud) -> dict[str, CloudImage]:
    """All images by id."""
    return {image.id: image for image in cloud.images()}


def our_machines(cloud: Cloud) -> tuple:
    """Our machines, in order of name."""
    return tuple(machine for machine in cloud.machines() if machine.owner == cloud.owner)


def machine_of(image: CloudImage) -> MachineSpec:
    """A small machine from an image."""
    return MachineSpec(name="c-master-1", cluster="c", service="master", generation="a" * 64, image=image.id, memory=Size.parse("128MiB"))


def write(setting: Setting, name: str, data: bytes) -> Path:
    """A file for uploading."""
    setting.folder.mkdir(parents=True, exist_ok=True)
    path = setting.folder / name
    path.write_bytes(data)
    return path


def needs_machines(setting: Setting) -> None:
    """Skip where machines cannot be started."""
    if setting.cannot_start:
        pytest.skip(setting.cannot_start)
