"""A site's decisions as they are carried out: by list, digest, place and time, from the file to the cloud and back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from support.here import Here, kinds, notes
from support.producer import NOW
from vmkeeper.clouds import owner_of
from vmkeeper.clouds.memory import MemoryCloud, World
from vmkeeper.execute.site import Reconciled, reconcile
from vmkeeper.plan.wanted import label
from vmkeeper.trust.selection import next_change
from vmkeeper.values import format_time

DAY = timedelta(days=1)
PLACES = ("east", "west")
CLOUD = {"type": "openstack", "cloud": "ours", "places": [{"name": name} for name in PLACES]}


def usable(world: World) -> list[str]:
    return sorted(label(image.spec) for image in world.images.values() if image.state == "active" and image.spec)


def decide(here: Here, **fields: Any) -> None:
    here.producer.site(**fields)


@pytest.mark.parametrize(
    ("entry", "runs"),
    [
        ({"list": "main"}, True),
        ({"list": "main", "endorser": "alice", "community": "test*"}, True),
        ({"tag": "endorse/debian-12/2026.11.1/alice/1"}, True),
        ({"appliance": "*", "list": "other"}, False),
        ({"digest": "0" * 128}, False),
        ({"community": "elsewhere"}, False),
        ({"tag": "endorse/debian-12/2026.11.1/bob/1"}, False),
    ],
    ids=str,
)
def test_what_is_approved_comes_and_nothing_else(here: Here, entry: dict[str, Any], runs: bool) -> None:
    decide(here, approve=[entry])
    done = here.run()
    assert usable(here.world) == (["debian-12 2026.11.1"] if runs else [])
    assert ("the site approves debian-12 2026.11.1 only" in notes(done)) == (not runs)
    assert kinds(here.run()) == []


def test_an_approval_by_digest_is_of_those_bytes_only(here: Here) -> None:
    (file,) = here.producer.releases["debian-12", "2026.11.1"][0].files
    decide(here, approve=[{"digest": file.sha512}])
    here.run()
    here.producer.all("debian-12", "2026.11.2")
    assert "with a file of SHA-512" in notes(done := here.run())
    assert usable(here.world) == ["debian-12 2026.11.1"]
    assert [(one.appliance, str(one.version)) for one in done.made.waiting] == [("debian-12", "2026.11.2")]


def test_a_window_opens_and_closes_at_its_times(here: Here) -> None:
    decide(here, approve=[{"appliance": "*", "not_before": format_time(NOW + DAY), "until": format_time(NOW + 2 * DAY)}])
    done = here.run()
    assert (usable(here.world), done.made.waiting) == ([], ())
    assert f"only from {format_time(NOW + DAY)} on" in notes(done)
    assert next_change(done.view.site, here.now) == NOW + DAY
    here.now = NOW + DAY
    assert usable_after(here) == ["debian-12 2026.11.1"]
    here.now = NOW + 2 * DAY - timedelta(seconds=1)
    assert kinds(here.run()) == []
    here.now = NOW + 2 * DAY
    done = here.run()
    assert kinds(done) == ["hide debian-12 2026.11.1"]
    assert f"until {format_time(NOW + 2 * DAY)}, which is over" in done.outcomes[0].action.reason
    assert (usable(here.world), next_change(done.view.site, here.now)) == ([], None)


def test_the_end_of_a_window_needs_no_force_and_the_end_of_an_approval_does(here: Here) -> None:
    for name in ("base", "worker", "desktop"):
        here.producer.all(name, "1")
    decide(here, approve=[{"list": "main", "until": format_time(NOW + DAY)}])
    assert len(usable_after(here)) == 4
    decide(here, approve=[{"appliance": "base"}])
    done = here.run()
    assert done.made.refusal is not None
    assert len(usable(here.world)) == 4
    decide(here, approve=[{"list": "main", "until": format_time(NOW + DAY)}, {"appliance": "base"}])
    here.now = NOW + DAY
    done = here.run()
    assert (done.made.refusal, usable(here.world)) == (None, ["base 1"])


def usable_after(here: Here) -> list[str]:
    here.run()
    return usable(here.world)


def test_a_block_for_a_time_hides_and_shows_again(here: Here) -> None:
    here.run()
    decide(here, block=[{"list": "main", "until": format_time(NOW + DAY), "reason": "looked into"}])
    assert usable_after(here) == []
    here.now = NOW + DAY
    done = here.run()
    assert (kinds(done), usable(here.world)) == (["show debian-12 2026.11.1"], ["debian-12 2026.11.1"])


def test_places_have_what_is_decided_for_them(here: Here) -> None:
    worlds = {name: World() for name in PLACES}

    def run() -> Reconciled:
        clouds = {name: MemoryCloud(owner_of("here", name), world) for name, world in worlds.items()}
        return reconcile(here.producer.repo.repository, here.home, "here", lambda: here.now, connect=lambda _: clouds)

    def images() -> list[list[str]]:
        return [usable(worlds[name]) for name in PLACES]

    one = ["debian-12 2026.11.1"]
    decide(here, platform=CLOUD, approve=[])
    done = run()
    assert [(each.appliance, each.places) for each in done.made.waiting] == [("debian-12", ())]
    decide(here, platform=CLOUD, approve=[{"appliance": "*", "places": ["west"]}])
    done = run()
    assert (images(), done.made.waiting) == ([[], one], ())
    assert "only at west" in notes(done)
    decide(here, platform=CLOUD, approve=[{"appliance": "*"}], block=[{"appliance": "debian-*", "places": ["west"], "reason": "full"}])
    run()
    assert images() == [one, []]
    decide(here, platform=CLOUD, approve=[{"appliance": "*"}])
    run()
    assert images() == [one, one]
    assert kinds(run()) == []


def test_what_a_site_passes_over_is_neither_noted_nor_waited_for(here: Here) -> None:
    for new, told in (("ask", 1), ("refuse", 0)):
        decide(here, approve=[], subscribe=[{"list": "main", "new": new}])
        done = here.run()
        assert len(done.made.waiting) == told
        assert ("does not approve debian-12" in notes(done)) == bool(told)
