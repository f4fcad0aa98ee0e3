"""What is said about an image beside its bytes: alias, audience, and what somebody else changed of it. A part of the cloud conformance suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.setting import OTHER_UUID, THEN, Conformance, Setting, another, by_id, ours, spec_of, wanted, write
from vmkeeper.clouds.interface import Cloud, CloudImage, ImageSpec, NotOurs
from vmkeeper.errors import Refused
from vmkeeper.model.platform import Audience

ALIAS = "debian-12-latest"


def aliases(cloud: Cloud) -> dict[str, str | None]:
    """By version of ours, the alias it is said to bear."""
    return {str(image.spec.version): image.spec.alias for image in ours(cloud).values() if image.spec}


def drifting(cloud: Cloud) -> list[tuple[str, ...]]:
    """What is otherwise than it should be of images of ours, as far as something is."""
    return [image.drift for image in ours(cloud).values() if image.drift]


def assert_borne(setting: Setting, *images: CloudImage) -> None:
    """Exactly these are what users get under the alias, where the setting can tell."""
    if setting.bearers is not None:
        assert set(setting.bearers(ALIAS)) == {image.id for image in images}


class SaidConformance(Conformance):
    """Inherited by `CloudConformance`."""

    @pytest.fixture
    def first(self, spec: ImageSpec) -> ImageSpec:
        return spec.model_copy(update={"alias": ALIAS})

    @pytest.fixture
    def second(self, setting: Setting) -> ImageSpec:
        return spec_of(another(setting), version="2026.11.2", name="debian-12 (2)", alias=ALIAS)

    @pytest.fixture
    def newer(self, setting: Setting) -> Path:
        return write(setting, "newer.raw", another(setting))

    # -- alias

    def test_an_alias_comes_with_an_upload_and_is_read_back(self, cloud: Cloud, setting: Setting, file: Path, first: ImageSpec) -> None:
        image = cloud.upload(first, file)
        assert ours(cloud)[image.id].spec == first
        assert drifting(cloud) == []
        assert_borne(setting, image)

    def test_an_alias_moves_to_the_newer_image_before_the_older_one_loses_it(
        self, cloud: Cloud, setting: Setting, file: Path, newer: Path, first: ImageSpec, second: ImageSpec
    ) -> None:
        old, new = cloud.upload(first, file), cloud.upload(second, newer)
        if setting.bearers is not None:
            assert new.id in setting.bearers(ALIAS), "there is no moment without a bearer"
        cloud.update(old.id, first.model_copy(update={"alias": None}), None)
        assert aliases(cloud) == {"2026.11.1": None, "2026.11.2": ALIAS}
        assert drifting(cloud) == []
        assert_borne(setting, new)

    def test_an_alias_moves_back_when_the_newer_image_goes(
        self, cloud: Cloud, setting: Setting, file: Path, newer: Path, first: ImageSpec, second: ImageSpec
    ) -> None:
        old, new = cloud.upload(first.model_copy(update={"alias": None}), file), cloud.upload(second, newer)
        cloud.update(old.id, first, None)
        cloud.update(new.id, second.model_copy(update={"alias": None}), THEN)
        assert aliases(cloud) == {"2026.11.1": ALIAS, "2026.11.2": None}
        assert drifting(cloud) == []
        assert_borne(setting, old)
        cloud.delete(new.id)
        assert_borne(setting, old)

    def test_an_alias_is_lost_with_an_update_that_does_not_name_it(self, cloud: Cloud, setting: Setting, file: Path, first: ImageSpec) -> None:
        image = cloud.upload(first, file)
        for _ in range(2):
            cloud.update(image.id, first.model_copy(update={"alias": None}), None)
            assert aliases(cloud) == {"2026.11.1": None}
            assert_borne(setting)
        cloud.update(image.id, first, None)
        assert_borne(setting, image)

    def test_an_alias_goes_with_its_image(self, cloud: Cloud, setting: Setting, file: Path, first: ImageSpec) -> None:
        cloud.delete(cloud.upload(first, file).id)
        assert_borne(setting)
        assert_borne(setting, cloud.upload(first, file))

    def test_an_alias_can_be_renamed(self, cloud: Cloud, setting: Setting, file: Path, first: ImageSpec) -> None:
        image = cloud.upload(first.model_copy(update={"alias": "debian"}), file)
        cloud.update(image.id, first, None)
        assert aliases(cloud) == {"2026.11.1": ALIAS}
        assert_borne(setting, image)
        assert setting.bearers is None or not setting.bearers("debian")

    def test_images_of_two_appliances_each_bear_an_alias(self, cloud: Cloud, setting: Setting, file: Path, newer: Path, first: ImageSpec) -> None:
        other = spec_of(another(setting), uuid=OTHER_UUID, name="docker-2026.11.1", alias="docker").model_copy(update={"appliance": "docker"})
        image, docker = cloud.upload(first, file), cloud.upload(other, newer)
        cloud.update(image.id, first.model_copy(update={"alias": None}), None)
        assert drifting(cloud) == []
        assert_borne(setting)
        assert setting.bearers is None or set(setting.bearers("docker")) == {docker.id}

    def test_an_image_whose_bytes_are_refused_never_bears_the_alias(
        self, cloud: Cloud, setting: Setting, file: Path, first: ImageSpec, second: ImageSpec
    ) -> None:
        image = cloud.upload(first, file)
        with pytest.raises(Refused):
            cloud.upload(second, file)
        assert aliases(cloud) == {"2026.11.1": ALIAS}
        assert drifting(cloud) == []
        assert_borne(setting, image)

    def test_a_hidden_image_is_shown_with_its_alias_by_an_upload(self, cloud: Cloud, setting: Setting, file: Path, first: ImageSpec) -> None:
        image = cloud.upload(first, file)
        cloud.update(image.id, first.model_copy(update={"alias": None}), THEN)
        assert cloud.upload(first, file).id == image.id
        assert aliases(cloud) == {"2026.11.1": ALIAS}
        assert_borne(setting, image)

    # -- audience

    @pytest.mark.parametrize("visibility", ["private", "shared", "community", "public"])
    def test_an_audience_is_read_back_and_changed(self, cloud: Cloud, setting: Setting, file: Path, spec: ImageSpec, visibility: str) -> None:
        wider = spec.model_copy(update={"audience": setting.audience(visibility)})
        image = cloud.upload(wider, file)
        for said in (wider, spec, wider):
            cloud.update(image.id, said, None)
            assert ours(cloud)[image.id].spec == said
            assert drifting(cloud) == []

    def test_projects_that_an_image_is_shared_with_come_and_go(self, cloud: Cloud, setting: Setting, file: Path, spec: ImageSpec) -> None:
        everybody = setting.audience("shared").projects
        image = cloud.upload(spec, file)
        for projects in (everybody[:1], everybody, everybody[1:], everybody[::-1]):
            said = spec.model_copy(update={"audience": Audience(visibility="shared", projects=projects)})
            cloud.update(image.id, said, None)
            assert ours(cloud)[image.id].spec == said
            assert drifting(cloud) == []

    def test_an_audience_stays_while_an_image_is_hidden(self, cloud: Cloud, setting: Setting, file: Path, spec: ImageSpec) -> None:
        shared = spec.model_copy(update={"audience": setting.audience("shared")})
        image = cloud.upload(shared, file)
        for since in (THEN, None):
            cloud.update(image.id, shared, since)
            assert ours(cloud)[image.id].spec == shared
            assert drifting(cloud) == []

    # -- what somebody else changed

    def test_an_image_that_somebody_changed_is_told_and_mended_by_an_update(
        self, cloud: Cloud, setting: Setting, file: Path, spec: ImageSpec
    ) -> None:
        image = cloud.upload(spec, file)
        wanted(setting, "meddle")(image.id)
        found = ours(cloud)[image.id]
        assert (found.spec, found.state) == (spec, "active")
        assert found.drift
        assert all(isinstance(word, str) and word for word in found.drift)
        cloud.update(image.id, spec, None)
        assert drifting(cloud) == []

    def test_an_image_that_somebody_changed_is_mended_by_an_upload(self, cloud: Cloud, setting: Setting, file: Path, spec: ImageSpec) -> None:
        image = cloud.upload(spec, file)
        wanted(setting, "meddle")(image.id)
        assert cloud.upload(spec, file).id == image.id
        assert drifting(cloud) == []

    def test_a_hidden_image_that_somebody_changed_is_mended_and_stays_hidden(
        self, cloud: Cloud, setting: Setting, file: Path, spec: ImageSpec
    ) -> None:
        image = cloud.upload(spec, file)
        cloud.update(image.id, spec, THEN)
        wanted(setting, "meddle")(image.id)
        cloud.update(image.id, spec, THEN)
        assert [(one.state, one.hidden_since, one.drift) for one in ours(cloud).values()] == [("hidden", THEN, ())]

    def test_what_somebody_changed_of_others_images_is_no_drift_of_ours(self, cloud: Cloud, setting: Setting, file: Path, spec: ImageSpec) -> None:
        theirs = setting.connect("vmkeeper:elsewhere").upload(spec, file)
        wanted(setting, "meddle")(theirs.id)
        assert drifting(cloud) == []
        with pytest.raises(NotOurs):
            cloud.update(theirs.id, spec, None)

    def test_a_mark_that_cannot_be_read_is_still_ours_and_is_not_believed(self, cloud: Cloud, setting: Setting, file: Path, spec: ImageSpec) -> None:
        image = cloud.upload(spec, file)
        wanted(setting, "spoil")(image.id)
        found = by_id(cloud)[image.id]
        assert (found.owner, found.spec) == (cloud.owner, None)
