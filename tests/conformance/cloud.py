"""What every cloud must do: a test class to inherit from. A cloud's test file gives the `setting` fixture.

Nothing here knows one cloud from another, and a real cloud may hold things of other people.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from conformance.adopting import AdoptingConformance
from conformance.said import SaidConformance
from conformance.setting import (
    EXPIRES,
    LATER,
    LIST,
    OWNER,
    SIGNED,
    STRANGERS,
    THEN,
    UUID,
    Setting,
    another,
    by_id,
    machine_of,
    needs_machines,
    our_machines,
    ours,
    spec_of,
    wanted,
    write,
)
from vmkeeper.clouds.interface import Cloud, Gone, ImageSpec, InUse, NoRoom, NotOurs
from vmkeeper.errors import Refused, VmkeeperError

__all__ = [
    "EXPIRES",
    "LATER",
    "LIST",
    "OWNER",
    "SIGNED",
    "THEN",
    "UUID",
    "CloudConformance",
    "Setting",
    "by_id",
    "machine_of",
    "needs_machines",
    "our_machines",
    "ours",
    "spec_of",
    "write",
]


class CloudConformance(SaidConformance, AdoptingConformance):
    """Inherit, and give `setting`."""

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
        assert (found.drift, found.attributes, found.size, found.sha512) == ((), {}, None, None)

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

    def test_look_alikes_are_left_alone_whatever_is_done_beside_them(self, cloud: Cloud, setting: Setting, file: Path, spec: ImageSpec) -> None:
        spec = spec.model_copy(update={"alias": "debian-12-latest", "properties": {"os_distro": "debian"}})
        strangers = [setting.connect(owner) for owner in STRANGERS]
        theirs = {one.upload(spec.model_copy(update={"alias": None}), file).id for one in strangers}
        theirs |= {setting.plant(name, {"os_distro": "debian", "note": "mine"}) for name in (spec.name, "debian-12-latest")}
        before = {key: image for key, image in by_id(cloud).items() if key in theirs}
        assert len(before) == len(strangers) + 2
        assert {image.owner for image in before.values()} == {*STRANGERS, None}
        newer = spec_of(another(setting), version="2026.11.2", alias="debian-12-latest")
        mine, newest = cloud.upload(spec, file), cloud.upload(newer, write(setting, "newer.raw", another(setting)))
        cloud.update(mine.id, spec.model_copy(update={"alias": None}), THEN)
        for stranger in theirs:
            with pytest.raises(NotOurs):
                cloud.update(stranger, spec, THEN)
            with pytest.raises(NotOurs):
                cloud.delete(stranger)
        cloud.delete(mine.id)
        cloud.delete(newest.id)
        assert {key: image for key, image in by_id(cloud).items() if key in theirs} == before
        for one in strangers:
            assert [image.drift for image in ours(one).values()] == [()]

    # -- room

    def test_where_there_is_no_room_nothing_is_left_behind(self, cloud: Cloud, setting: Setting, file: Path, spec: ImageSpec) -> None:
        wanted(setting, "fill")()
        before = by_id(cloud)
        with pytest.raises(NoRoom) as full:
            cloud.upload(spec, file)
        assert full.value.why, "the cloud's own reason is told"
        assert by_id(cloud) == before

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
            assert not ours(cloud)[image.id].in_use, "use is looked up only where it matters"
            with pytest.raises(InUse):
                cloud.delete(image.id)
            cloud.update(image.id, spec, THEN)
            found = ours(cloud)[image.id]
            assert (found.state, found.in_use, len(our_machines(cloud))) == ("hidden", True, 1)
            with pytest.raises(InUse):
                cloud.delete(image.id)
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
