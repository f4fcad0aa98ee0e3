"""A site whose cloud has several places: each gets every image, fetched once, and one that is down stops nothing at the others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from support.foreign import Organisation
from support.here import Here, kinds, notes
from support.producer import NOW
from support.webserver import WebServer
from vmkeeper.clouds import owner_of
from vmkeeper.clouds.memory import MemoryCloud, World
from vmkeeper.errors import Transient, UserError
from vmkeeper.execute.site import Reconciled, reconcile
from vmkeeper.execute.there import FILE
from vmkeeper.execute.walk import Failed
from vmkeeper.plan.wanted import Unusable, label

PLACES = ("east", "west")
PLATFORM = {"type": "openstack", "cloud": "ours", "places": [{"name": name, "region": name} for name in PLACES]}
Fault = Callable[[str, str], None]


class Spread:
    """A site with two places, each a cloud in memory of its own."""

    def __init__(self, here: Here) -> None:
        self.here = here
        self.worlds = {name: World() for name in PLACES}
        self.faults: dict[str, Fault] = {}

    def clouds(self) -> dict[str, MemoryCloud]:
        return {name: MemoryCloud(owner_of("here", name), world, self.faults.get(name)) for name, world in self.worlds.items()}

    def run(self, **options: Any) -> Reconciled:
        here = self.here
        return reconcile(here.producer.repo.repository, here.home, "here", lambda: here.now, connect=lambda _: self.clouds(), **options)

    def images(self, place: str, state: str = "active") -> list[str]:
        found = (image for image in self.worlds[place].images.values() if image.state == state and image.owner == owner_of("here", place))
        return sorted(label(image.spec) for image in found if image.spec)


def down(method: str, moment: str) -> None:
    raise Transient("the region is down", why="503")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Spread]:
    with WebServer(tmp_path / "www") as server:
        here = Here(tmp_path, server)
        here.producer.all("debian-12", "2026.11.1")
        here.producer.site(platform=PLATFORM)
        here.init()
        yield Spread(here)


def test_every_place_gets_every_image_under_its_own_mark_and_the_file_is_fetched_once(site: Spread) -> None:
    done = site.run()
    assert sorted(kinds(done)) == ["register debian-12 2026.11.1 @east", "register debian-12 2026.11.1 @west"]
    assert {place: site.images(place) for place in PLACES} == {"east": ["debian-12 2026.11.1"], "west": ["debian-12 2026.11.1"]}
    assert len([one for one in site.here.server.requests if "images" in one.path]) == 1
    calls = {place: len(world.calls) for place, world in site.worlds.items()}
    assert site.run().outcomes == ()
    assert {place: world.calls[calls[place] :] for place, world in site.worlds.items()} == {"east": ["images"], "west": ["images"]}


def test_actions_of_one_place_need_none_of_another(site: Spread) -> None:
    site.run()
    site.here.producer.all("debian-12", "2026.11.2")
    done = site.run()
    needs = {outcome.action.id: outcome.action.needs for outcome in done.outcomes}
    for place in PLACES:
        assert needs[f"hide:debian-12 2026.11.1 @{place}"] == (f"register:debian-12 2026.11.2 @{place}",)
    subjects = [outcome.action.subject for outcome in done.outcomes]
    assert subjects.index("debian-12 2026.11.2 @west") - subjects.index("debian-12 2026.11.2 @east") == 1, "a file is used at once where it is needed"


def test_a_place_that_cannot_be_listed_is_told_and_stops_nothing_elsewhere(site: Spread) -> None:
    site.faults["east"] = down
    done = site.run()
    assert kinds(done) == ["register debian-12 2026.11.1 @west"]
    assert list(done.view.unreachable) == ["east"]
    assert "place east: it cannot be listed, so nothing is done there: the region is down" in notes(done)
    site.faults.clear()
    assert kinds(site.run()) == ["register debian-12 2026.11.1 @east"]


def test_the_first_place_may_be_the_one_that_is_down(site: Spread) -> None:
    site.run()
    site.faults["west"] = down
    site.here.producer.withdraw("debian-12", "2026.11.1")
    assert kinds(site.run()) == ["hide debian-12 2026.11.1 @east"]
    site.faults = {"east": down}
    assert kinds(site.run()) == ["hide debian-12 2026.11.1 @west"]


def test_where_no_place_can_be_listed_nothing_is_done_and_each_reason_is_told(site: Spread) -> None:
    def forbidden(method: str, moment: str) -> None:
        raise UserError("the credentials do not serve")

    site.faults = {"east": down, "west": forbidden}
    with pytest.raises(Transient, match="no place of the cloud can be listed") as error:
        site.run()
    assert "east: the region is down" in str(error.value)
    assert "west: the credentials do not serve" in str(error.value)
    site.faults = dict.fromkeys(PLACES, forbidden)
    with pytest.raises(UserError):
        site.run()


def test_a_failure_at_one_place_leaves_the_other_done(site: Spread) -> None:
    def full(method: str, moment: str) -> None:
        if method == "upload":
            raise Transient("the upload broke off")

    site.faults["east"] = full
    done = site.run()
    failed = [outcome.action.subject for outcome in done.outcomes if isinstance(outcome, Failed)]
    assert failed == ["debian-12 2026.11.1 @east"]
    assert site.images("west") == ["debian-12 2026.11.1"]
    site.faults.clear()
    assert kinds(site.run()) == ["register debian-12 2026.11.1 @east"]


def test_an_approval_for_one_place_brings_the_image_there_alone(site: Spread) -> None:
    site.here.producer.site(platform=PLATFORM, approve=[{"appliance": "debian-*", "places": ["west"]}])
    done = site.run()
    assert kinds(done) == ["register debian-12 2026.11.1 @west"]
    assert "debian-12 2026.11.1 @east: " in notes(done)
    assert site.run().outcomes == ()


def test_a_block_for_one_place_hides_the_image_there_alone(site: Spread) -> None:
    site.run()
    site.here.producer.site(platform=PLATFORM, block=[{"appliance": "debian-*", "places": ["east"], "reason": "its network is slow"}])
    done = site.run()
    assert kinds(done) == ["hide debian-12 2026.11.1 @east"]
    assert "its network is slow" in done.outcomes[0].action.reason
    assert len([one for one in site.here.server.requests if "imagelist" in one.path]) == 2, (
        "a list is asked for once a run, whatever is decided where"
    )


def test_a_hold_for_one_place_holds_there_alone(site: Spread) -> None:
    site.run()
    site.here.producer.site(platform=PLATFORM, hold=[{"appliance": "debian-*", "places": ["east"], "reason": "a workshop"}])
    site.here.producer.all("debian-12", "2026.11.2")
    done = site.run()
    assert sorted(kinds(done)) == ["hide debian-12 2026.11.1 @west", "register debian-12 2026.11.2 @west"]
    assert "debian-12 2026.11.2 @east: held back: a workshop" in notes(done)


def test_the_retire_limit_holds_for_each_place(site: Spread) -> None:
    for name in ("a", "b", "c"):
        site.here.producer.all(name, "1")
    site.here.producer.site(platform=PLATFORM, approve=[{"appliance": "*"}], retire={"limit": "10%"})
    site.run()
    site.here.producer.site(platform=PLATFORM, approve=[{"appliance": "*", "places": ["west"]}], retire={"limit": "10%"})
    done = site.run()
    assert done.outcomes == ()
    assert done.made.refusal is not None
    assert str(done.made.refusal).startswith("at east: too many images would be retired: 4 of 4")
    assert len(kinds(site.run(force_retire=True))) == 4
    assert len(site.images("west")) == 4


def test_others_images_and_another_places_marks_are_left_alone(site: Spread) -> None:
    site.run()
    (image,) = site.worlds["west"].images.values()
    site.worlds["east"].images["stray"] = image
    site.worlds["east"].plant(image.name)
    before = dict(site.worlds["east"].images)
    site.here.producer.withdraw("debian-12", "2026.11.1")
    site.run()
    after = site.worlds["east"].images
    assert [key for key in before if after[key] != before[key]] == [next(key for key, one in before.items() if one.owner == "vmkeeper:here/east")]


def test_images_of_a_place_that_the_site_has_no_more_are_told_and_left_alone(site: Spread) -> None:
    site.run()
    site.here.producer.site(platform={**PLATFORM, "places": [{"name": "west", "region": "west"}]})
    (image,) = site.worlds["east"].images.values()
    site.worlds = {"west": site.worlds["west"]}
    for key, owner in (("a", "vmkeeper:here/east"), ("b", "vmkeeper:here"), ("c", "vmkeeper:hereabouts"), ("d", "vmkeeper:elsewhere/east")):
        site.worlds["west"].images[key] = replace(image, id=key, owner=owner)
    done = site.run()
    assert done.outcomes == ()
    assert [note.why for note in done.made.notes if note.subject == "place west"] == [
        "1 image with the mark vmkeeper:here, which the site has not (any more): left alone",
        "1 image with the mark vmkeeper:here/east, which the site has not (any more): left alone",
    ]


def test_what_somebody_deleted_is_known_for_each_place(site: Spread) -> None:
    site.run()
    site.worlds["east"].images.clear()
    done = site.run()
    assert [(outcome.action.subject, outcome.action.reason) for outcome in done.outcomes] == [
        ("debian-12 2026.11.1 @east", "somebody deleted it at the cloud")
    ]
    assert site.run().outcomes == ()


def test_what_was_there_is_remembered_while_a_place_is_down(site: Spread) -> None:
    site.here.producer.site(platform=PLATFORM, drift="leave")
    site.run()
    site.faults["east"] = down
    site.run()
    site.faults.clear()
    site.worlds["east"].images.clear()
    for _ in range(2):
        done = site.run()
        assert done.outcomes == ()
        assert "debian-12 2026.11.1 @east: somebody deleted it at the cloud; it is left so (drift: leave)" in notes(done)


@pytest.mark.parametrize("damage", [b"", b"{", b'{"version": 1, "places": {"east": 3}}', b"\xff\xfe"])
def test_a_damaged_record_of_what_was_there_counts_as_none_and_is_told(site: Spread, damage: bytes) -> None:
    site.run()
    (site.here.home.folder / FILE).write_bytes(damage)
    site.worlds["east"].images.clear()
    done = site.run()
    assert [(outcome.action.subject, outcome.action.reason) for outcome in done.outcomes] == [
        ("debian-12 2026.11.1 @east", "endorsed, approved and not here yet")
    ]
    assert "there.json: it cannot be read" in notes(done)
    assert set(json.loads((site.here.home.folder / FILE).read_text())["places"]) == set(PLACES)
    assert "there.json" not in notes(site.run())


def test_a_run_that_changes_nothing_writes_no_record(site: Spread) -> None:
    site.run()
    before = (site.here.home.folder / FILE).stat()
    site.run()
    after = (site.here.home.folder / FILE).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_version_that_goes_is_told_once_when_the_last_place_lost_it(site: Spread) -> None:
    journal = {"name": "journal", "file": "events.jsonl"}
    site.here.producer.site(platform=PLATFORM, events=[journal])
    site.run()

    def told() -> list[str]:
        lines = (site.here.home.folder / "events/events.jsonl").read_text().splitlines()
        return [json.loads(line)["type"].rpartition(".")[2] for line in lines]

    assert [name for name in told() if not name.startswith("Process")] == ["SubscriptionImageNew", "AvailablePrefix", "AvailablePostfix"]
    site.here.producer.site(platform=PLATFORM, events=[journal], block=[{"appliance": "*", "places": ["east"], "reason": "no"}])
    site.run()
    assert [name for name in told() if name.startswith("Expire")] == []
    site.here.producer.site(platform=PLATFORM, events=[journal], block=[{"appliance": "*", "reason": "no"}])
    site.run()
    assert [name for name in told() if name.startswith("Expire")] == ["ExpirePrefix", "ExpirePostfix"]


def test_hidden_images_go_at_each_place_after_their_grace_period(site: Spread) -> None:
    site.run()
    site.here.producer.all("debian-12", "2026.11.2")
    site.run()
    site.here.now = NOW + timedelta(days=8)
    assert sorted(kinds(site.run())) == ["delete debian-12 2026.11.1 @east", "delete debian-12 2026.11.1 @west"]
    assert {place: site.images(place, "hidden") for place in PLACES} == {"east": [], "west": []}


class TestForeignLists:
    """Lists of other organisations, at a site with several places."""

    @pytest.fixture
    def science(self, site: Spread) -> Organisation:
        made = Organisation(site.here.server)
        made.offer("Ubuntu 22.04", "1.0")
        made.publish()
        (site.here.home.ca / "0badcafe.0").write_bytes(made.authority.certificate.public_bytes(Encoding.PEM))
        return made

    def takes(self, site: Spread, science: Organisation, **changes: Any) -> None:
        site.here.producer.site(platform=PLATFORM, subscribe=[], foreign=[science.entry()], **changes)

    def test_an_approval_for_one_place_brings_the_image_there_and_the_list_is_asked_for_once(self, site: Spread, science: Organisation) -> None:
        self.takes(site, science, approve=[{"appliance": "science-*", "places": ["east"]}])
        done = site.run()
        assert kinds(done) == ["register science-ubuntu-22.04 1.0 @east"]
        assert len(science.requests()) == 1
        assert set(done.view.memory.foreign["science"].names.values()) == {"science-ubuntu-22.04"}
        assert site.run().outcomes == ()
        assert len(science.requests()) == 2

    def test_a_list_that_is_down_leaves_both_places_as_they_are(self, site: Spread, science: Organisation) -> None:
        self.takes(
            site, science, approve=[{"appliance": "science-*", "places": ["east"]}, {"appliance": "science-*", "places": ["west"], "version": "*"}]
        )
        assert len(kinds(site.run())) == 2
        science.page.statuses = [503] * 20
        done = site.run()
        assert done.outcomes == ()
        assert [site.images(place) for place in PLACES] == [["science-ubuntu-22.04 1.0"]] * 2

    def test_a_list_with_another_signer_is_refused_for_every_place(self, site: Spread, science: Organisation) -> None:
        self.takes(site, science, approve=[{"appliance": "science-*", "places": ["east"]}])
        science.publish(signer=science.authority.signer("Mallory"))
        done = site.run()
        assert done.outcomes == ()
        assert all(isinstance(found.state, Unusable) for said in done.view.decided.values() for found in said.lists)
