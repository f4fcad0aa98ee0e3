"""Taking over images that others made. A part of the cloud conformance suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.setting import ATTRIBUTES, THEN, Conformance, Setting, another, by_id, ours, spec_of, write
from vmkeeper.clouds.interface import Cloud, Gone, ImageSpec, NotOurs
from vmkeeper.errors import Refused


class AdoptingConformance(Conformance):
    """Inherited by `CloudConformance`."""

    @pytest.fixture
    def planted(self, setting: Setting) -> str:
        """An image with our disk that another tool made."""
        if setting.cannot_adopt:
            pytest.skip(setting.cannot_adopt)
        return setting.plant("debian-12 by another tool", ATTRIBUTES, setting.disk)

    @pytest.fixture
    def adopted(self, spec: ImageSpec) -> ImageSpec:
        return spec.model_copy(update={"adopted": "cloudkeeper"})

    def test_others_images_are_listed_with_what_is_written_on_them(self, cloud: Cloud, setting: Setting, planted: str, spec: ImageSpec) -> None:
        found = by_id(cloud)[planted]
        assert (found.owner, found.spec, found.name, found.drift) == (None, None, "debian-12 by another tool", ())
        written = {key.lower(): value for key, value in found.attributes.items()}
        assert written.items() >= {key.lower(): value for key, value in ATTRIBUTES.items()}.items()
        assert found.size in (None, spec.size)
        assert found.sha512 in (None, spec.sha512)

    def test_an_adopted_image_is_ours_and_nothing_else_of_it_changed(self, cloud: Cloud, setting: Setting, planted: str, adopted: ImageSpec) -> None:
        setting.plant("debian-12 by another tool", ATTRIBUTES, setting.disk)
        before = by_id(cloud)
        cloud.adopt(planted, adopted)
        after = by_id(cloud)
        assert {key: image for key, image in after.items() if key != planted} == {key: image for key, image in before.items() if key != planted}
        found = after[planted]
        assert (found.owner, found.spec, found.state, found.name) == (cloud.owner, adopted, "active", before[planted].name)

    def test_adopting_is_idempotent(self, cloud: Cloud, planted: str, adopted: ImageSpec) -> None:
        cloud.adopt(planted, adopted)
        before = cloud.images()
        cloud.adopt(planted, adopted)
        assert cloud.images() == before

    def test_after_adopting_an_update_makes_it_what_is_said(self, cloud: Cloud, planted: str, adopted: ImageSpec) -> None:
        cloud.adopt(planted, adopted)
        said = adopted.model_copy(update={"properties": {"os_distro": "debian"}})
        cloud.update(planted, said, None)
        found = ours(cloud)[planted]
        assert (found.spec, found.name, found.drift) == (said, said.name, ())

    def test_an_adopted_image_is_not_uploaded_again(self, cloud: Cloud, planted: str, file: Path, adopted: ImageSpec) -> None:
        cloud.adopt(planted, adopted)
        assert cloud.upload(adopted, file).id == planted
        assert list(ours(cloud)) == [planted]

    def test_an_adopted_image_is_hidden_and_deleted_as_any_other(self, cloud: Cloud, planted: str, adopted: ImageSpec) -> None:
        cloud.adopt(planted, adopted)
        cloud.update(planted, adopted, THEN)
        assert [(image.state, image.hidden_since) for image in ours(cloud).values()] == [("hidden", THEN)]
        cloud.delete(planted)
        assert planted not in by_id(cloud)

    def test_bytes_that_the_cloud_knows_to_be_others_are_not_adopted(self, cloud: Cloud, setting: Setting, planted: str, adopted: ImageSpec) -> None:
        before = by_id(cloud)[planted]
        if before.sha512 is None:
            pytest.skip("the cloud does not know the SHA-512 of its images")
        with pytest.raises(Refused) as refusal:
            cloud.adopt(planted, spec_of(another(setting)))
        assert refusal.value.rule == "R14"
        assert by_id(cloud)[planted] == before

    def test_another_owners_image_is_not_adopted(self, cloud: Cloud, setting: Setting, file: Path, spec: ImageSpec) -> None:
        other = setting.connect("vmkeeper:elsewhere")
        theirs = other.upload(spec, file)
        with pytest.raises(NotOurs):
            cloud.adopt(theirs.id, spec)
        assert by_id(other)[theirs.id] == theirs

    def test_an_image_that_is_gone_is_not_adopted(self, cloud: Cloud, file: Path, spec: ImageSpec) -> None:
        image = cloud.upload(spec, file)
        cloud.delete(image.id)
        with pytest.raises(Gone):
            cloud.adopt(image.id, spec)

    def test_an_image_of_ours_is_adopted_already(self, cloud: Cloud, setting: Setting, spec: ImageSpec) -> None:
        image = cloud.upload(spec, write(setting, "again.raw", setting.disk))
        before = by_id(cloud)
        cloud.adopt(image.id, spec)
        assert by_id(cloud) == before
