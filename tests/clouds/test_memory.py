"""The cloud in memory passes the suite that all clouds pass; faults strike where they are told to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from conformance.cloud import CloudConformance, Setting, spec_of
from vmkeeper.clouds.interface import NoRoom
from vmkeeper.clouds.memory import MemoryCloud, World
from vmkeeper.errors import Transient
from vmkeeper.model.platform import Audience


class TestMemoryCloud(CloudConformance):
    @pytest.fixture
    def setting(self, tmp_path: Path) -> Setting:
        world = World()

        def meddle(id_: str) -> None:
            world.audiences[id_] = Audience(visibility="public")

        def spoil(id_: str) -> None:
            world.images[id_] = replace(world.images[id_], spec=None)

        def fill() -> None:
            world.room = 0

        return Setting(
            connect=lambda owner: MemoryCloud(owner, world),
            plant=world.plant,
            folder=tmp_path,
            meddle=meddle,
            spoil=spoil,
            bearers=lambda alias: {image.id for image in world.images.values() if image.spec and image.spec.alias == alias},
            fill=fill,
            projects=("one", "two"),
        )


def failing_at(method: str, moment: str):
    def fault(called: str, at: str) -> None:
        if (called, at) == (method, moment):
            raise Transient(f"{method} {moment}")

    return fault


def upload(world: World, tmp_path: Path, fault=None) -> None:
    (tmp_path / "disk").write_bytes(b"disk")
    MemoryCloud("vmkeeper:here", world, fault).upload(spec_of(b"disk"), tmp_path / "disk")


@pytest.mark.parametrize(("moment", "left"), [("before", []), ("created", ["incomplete"]), ("after", ["active"])])
def test_an_upload_cut_off_leaves_only_what_is_marked_and_the_next_one_takes_over(tmp_path: Path, moment: str, left: list[str]) -> None:
    world = World()
    with pytest.raises(Transient):
        upload(world, tmp_path, failing_at("upload", moment))
    assert [(image.owner, image.state) for image in world.images.values()] == [("vmkeeper:here", state) for state in left]
    upload(world, tmp_path)
    assert [image.state for image in world.images.values()] == ["active"]


def test_no_room_is_a_plain_outcome_with_the_reason(tmp_path: Path) -> None:
    world = World(room=3)
    with pytest.raises(NoRoom, match="3 bytes are left"):
        upload(world, tmp_path)
    assert world.images == {}
