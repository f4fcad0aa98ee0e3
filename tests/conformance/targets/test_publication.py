"""Publications at every kind of place: in the right order, nothing twice, whatever breaks in between, and read by a site."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from support.certificates import NOW, PUBLISHER, Identity, authority, issue
from support.here import Here
from support.places import WEB, Place
from support.producer import NOW as PRODUCED
from support.publication import DAY, URL, content, decision, desired
from support.repo import BASE, TOOLS, uuid
from support.webserver import WebServer
from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.errors import Transient
from vmkeeper.execute.feedsigning import Hands
from vmkeeper.execute.listkey import FileKey
from vmkeeper.execute.publication import Place as Publisher
from vmkeeper.execute.publication import carry_out, list_signer, observe, observe_index, performer
from vmkeeper.execute.publication import desired as desired_at
from vmkeeper.execute.publish import publish
from vmkeeper.execute.walk import Done, Outcome, walk
from vmkeeper.images.store import Store
from vmkeeper.images.targets import Target
from vmkeeper.images.targets_http import MANIFEST
from vmkeeper.images.targets_lease import LEASE, LOCK_FILE
from vmkeeper.lists.hepix import HepixList, read
from vmkeeper.lists.smime import Signer, verify
from vmkeeper.plan.chosen import Desired
from vmkeeper.plan.publication import Publication, plan_lists, plan_publication
from vmkeeper.trust.keys.certificates import Authorities
from vmkeeper.values import sha512_hex

OLD = desired(decision("debian-12 2"), decision("docker 1"))
NEW = desired(decision("debian-12 2"), decision("debian-12 3"), decision("worker 1"))
BACK = desired(decision("debian-12 2"), decision("debian-12 3", refused="withdrawn"), decision("docker 1"))
"""The old state again, with a reason."""


@pytest.fixture(scope="module")
def trusted() -> Identity:
    return authority()


@pytest.fixture(scope="module")
def signer(trusted: Identity) -> Signer:
    person = issue(PUBLISHER, trusted)
    return Signer(person.certificate, person.key)


@dataclass
class Press:
    """A publisher at a place."""

    place: Place
    store: Store
    signer: Signer
    trusted: Identity

    def at(self, now: datetime, target: Target | None = None) -> Publisher:
        return Publisher(target or self.place.open(), self.store, Hands(FileKey(self.signer)), now)

    def publish(self, *lists: Desired, now: datetime = NOW) -> tuple[Outcome, ...]:
        return publish(self.at(now), lists).outcomes

    def lists_only(self, wanted: Desired, now: datetime) -> tuple[Outcome, ...]:
        """Without the other forms, which takes fewer requests."""
        here = self.at(now)
        return carry_out(here, lambda: self.planned(here, wanted))[1]

    def planned(self, here: Publisher, wanted: Desired) -> Publication:
        published = observe(here.target, [wanted.name], self.signer, here.now)
        return plan_publication(plan_lists([wanted], published, list_signer(self.signer), here.now), observe_index(here.target))

    def list(self, now: datetime) -> HepixList:
        return read(verify(self.place.held()["science/imagelist.signed"], [self.trusted.certificate], now).content)

    def sound(self, now: datetime) -> HepixList:
        """The list that is there verifies, and every image that it names is there whole."""
        made, held = self.list(now), self.place.held()
        for image in made.images:
            assert sha512_hex(held[image.uri.removeprefix(f"{URL}/")]) == image.sha512
        return made


@pytest.fixture
def press(place: Place, tmp_path: Path, signer: Signer, trusted: Identity) -> Press:
    store = Store(tmp_path / "store")
    for words in ("debian-12 2", "docker 1", "debian-12 3", "worker 1"):
        store.put_bytes(content(*words.split()))
    return Press(place, store, signer, trusted)


def done(outcomes: tuple[Outcome, ...]) -> list[str]:
    assert [type(outcome) for outcome in outcomes] == [Done] * len(outcomes), outcomes
    return [outcome.action.kind for outcome in outcomes if outcome.action.kind != "digest"]


def test_lists_are_published_updated_and_left_alone(press: Press) -> None:
    first = done(press.publish(OLD))
    assert first[:4] == ["publish", "publish", "sign", "index"]
    assert set(first[4:]) == {"feed"}
    press.sound(NOW)
    before = press.place.held()
    changes = list(press.place.server.changes) if press.place.kind in ("sftp", "http") else []
    assert press.publish(OLD, now=NOW + DAY) == ()
    assert press.place.held() == before
    assert changes == (press.place.server.changes if press.place.kind in ("sftp", "http") else [])
    second = done(press.publish(NEW, now=NOW + DAY))
    assert second[:3] == ["publish", "publish", "sign"]
    assert second[-2:] == ["remove", "remove"]
    made = press.sound(NOW + DAY)
    assert {image.version for image in made.images} == {"3", "1"}
    assert len([path for path in press.place.held() if "/images/" in path]) == 2
    catalogue = json.loads(press.place.held()["catalogue.json"])
    assert made.version in json.dumps(catalogue)


def test_a_run_that_breaks_at_any_change_leaves_what_is_sound_and_the_next_one_ends_it(press: Press) -> None:
    """The place stops changing after the first, second, … change of a run, for good, as when the publisher was killed there."""
    if press.place.kind == "folder":
        pytest.skip("killed at every call in tests/execute/test_publication.py")
    now, number = NOW, 0
    done(press.lists_only(OLD, now))
    while True:
        now += timedelta(minutes=5)
        wanted = (NEW, BACK)[number % 2]
        press.place.break_after(number)
        with suppress(Transient):
            press.lists_only(wanted, now)
        struck = press.place.heal()
        press.sound(now)
        press.place.now[0] += LEASE + timedelta(seconds=1)
        done(press.lists_only(wanted, now))
        made = press.sound(now)
        assert press.lists_only(wanted, now) == ()
        held = {path for path in press.place.held() if path not in (MANIFEST, LOCK_FILE)}
        assert held == {"imagelists.json", "science/imagelist.signed"} | {image.uri.removeprefix(f"{URL}/") for image in made.images}
        if not struck:
            break
        number += 1
    assert number >= 5


def test_a_publisher_who_planned_before_another_one_published_does_not_undo_it(press: Press) -> None:
    done(press.lists_only(OLD, NOW))
    late = press.at(NOW + DAY)
    made = press.planned(late, NEW)
    third = desired(decision("debian-12 2"))
    done(press.lists_only(third, NOW + DAY))
    before = press.list(NOW + DAY)
    try:
        outcomes = carry_out(late, lambda: made)[1]
    except Transient:
        pass
    else:
        assert any(type(outcome).__name__ == "Failed" and "meanwhile" in str(outcome.error) for outcome in outcomes)
    assert press.sound(NOW + DAY) == before
    done(press.lists_only(NEW, NOW + DAY))
    press.sound(NOW + DAY)


def test_a_publisher_who_looked_while_another_one_was_at_work_takes_nothing_away(press: Press) -> None:
    """What lay there without a list that names it is named by now."""
    if press.place.kind in WEB:
        pytest.skip("an HTTP server has no lock")
    done(press.lists_only(OLD, NOW))
    first, second = press.at(NOW + DAY), press.at(NOW + DAY)
    plans = []

    def late() -> Publication:
        plans.append(press.planned(second, NEW))
        if len(plans) == 1:
            with first.target.alone():
                for outcome in walk(found.plan, performer(first)):
                    assert isinstance(outcome, Done)
        return plans[-1]

    found = press.planned(first, NEW)
    with first.target.alone():
        performer(first)(found.plan.actions[0])
    carry_out(second, late)
    assert plans[0].plan
    assert not plans[1].plan
    assert len(press.sound(NOW + DAY).images) == 2


def test_only_reading_where_nothing_changed(press: Press) -> None:
    """A target that lets nothing be written is never asked to."""
    done(press.publish(OLD))
    target = press.place.open()

    class Reading:
        name = target.name
        files, read, leftovers = target.files, target.read, target.leftovers

        def __getattr__(self, name: str) -> Any:
            raise AssertionError(name)

    assert publish(press.at(NOW + DAY, Reading()), [OLD]).outcomes == ()  # type: ignore[arg-type]


@pytest.fixture
def here(tmp_path: Path, place: Place) -> Iterator[Here]:
    if place.kind == "memory":
        pytest.skip("nobody can fetch from it")
    with WebServer(tmp_path / "unused") as server:
        server.url = place.url
        yield Here(tmp_path / "site", server)


def test_a_repository_that_is_published_there_is_read_by_a_site(here: Here, place: Place, tmp_path: Path) -> None:
    producer, store = here.producer, Store(tmp_path / "store")
    documents = {"tools": TOOLS.format(uuid=uuid("tools"))}
    producer.repo.commit({f"appliances/{name}/appliance.yaml": text for name, text in documents.items()}, "tools")

    def publish_now() -> None:
        definition = BASE.format(uuid=uuid("debian-12"))
        producer.repo.commit({"appliances/debian-12/appliance.yaml": definition, "imagelists/main.yaml": producer.list_document()}, "list")
        repository = producer.repo.repository
        head = repository.head()
        lists, _ = desired_at(Catalogue.at(repository, head), head, (), PRODUCED, Authorities(()))
        done(publish(Publisher(place.open(), store, Hands(FileKey(producer.lister)), PRODUCED, tmp_path / "work"), lists).outcomes)

    for version in ("2026.11.1", "2026.11.2"):
        store.put_bytes(producer.release("debian-12", version, size=2 << 20))
        producer.offer("debian-12", version)
        producer.endorse("debian-12", version)
        publish_now()
        here.init() if version.endswith("1") else None
        here.run()
        assert here.usable() == [f"debian-12 {version}"]
    producer.withdraw("debian-12", "2026.11.2")
    producer.withdraw("debian-12", "2026.11.1")
    publish_now()
    here.run()
    assert here.usable() == []
