"""Runs of a service at a real site with a cloud in memory: what becomes known of them, and what stops nothing."""

from __future__ import annotations

import gc
import json
import tracemalloc
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from support.here import Here
from support.keeping import Kept
from support.producer import NOW, SITE
from vmkeeper.errors import Transient, UserError
from vmkeeper.execute.home import Busy, SiteHome
from vmkeeper.execute.service import Keeper, Visiting
from vmkeeper.execute.site import Reconciled
from vmkeeper.execute.suspension import resume, suspend, suspension
from vmkeeper.execute.walk import Failed

DAY, MINUTES = timedelta(days=1), timedelta(minutes=5)


@pytest.fixture
def kept(here: Here) -> Kept:
    return Kept(here)


# What becomes known


def test_a_first_run_says_what_came_and_how_long_it_took_to_get_here(kept: Kept) -> None:
    visit = kept.visit()
    assert visit.error is None
    (image,) = kept.status.images
    assert (image.appliance, str(image.version), image.state, image.list) == ("debian-12", "2026.11.1", "active", "main")
    assert (image.since, image.endorsed, image.endorsers) == (NOW, NOW - DAY, ("alice",))
    assert image.lag == 86400
    assert kept.status.counts["actions register done"] == 1
    assert kept.status.counts["uploaded"] == 4096
    assert kept.status.counts["fetched"] >= 4096
    assert {"all", "look", "act", "cloud images", "cloud upload"} <= set(kept.status.run.seconds)
    assert kept.status.run.seconds["all"] >= kept.status.run.seconds["cloud upload"]


def test_a_run_with_nothing_to_do_lists_the_cloud_once(kept: Kept) -> None:
    kept.visit()
    assert kept.status.places[0].calls == {"images": 2, "upload": 1}
    kept.visit(NOW + MINUTES)
    assert kept.status.places[0].calls == {"images": 1}
    assert (kept.status.run.result, kept.status.succeeded) == ("done", NOW + MINUTES)


def test_the_status_is_read_by_nobody_else(kept: Kept) -> None:
    kept.visit()
    assert (kept.here.home.folder / "status.json").stat().st_mode & 0o777 == 0o600


def test_an_update_shows_the_new_version_and_when_the_old_one_leaves(kept: Kept) -> None:
    kept.visit()
    kept.here.producer.all("debian-12", "2026.11.2")
    kept.visit(NOW + MINUTES)
    old, new = kept.status.images
    assert (old.state, old.hidden_since, old.leaves) == ("hidden", NOW + MINUTES, NOW + MINUTES + 7 * DAY)
    assert (new.state, new.since) == ("active", NOW + MINUTES)
    assert kept.status.next == NOW + MINUTES + 7 * DAY


def test_what_waits_for_a_decision_is_in_the_status(kept: Kept) -> None:
    kept.here.producer.site(approve=[{"appliance": "rocky-9"}])
    visit = kept.visit()
    assert [one.subject for one in kept.status.waiting] == ["debian-12 2026.11.1"]
    assert "alice" in kept.status.waiting[0].why
    assert visit.round.came == "good"


def test_a_list_that_cannot_be_read_is_refused_and_the_run_is_no_failure(kept: Kept) -> None:
    kept.visit()
    (kept.here.producer.folder / "main/imagelist.signed").write_text("nonsense")
    assert kept.visit(NOW + MINUTES).round.came == "good"
    assert [one.subject for one in kept.status.refused] == ["list main"]
    assert not kept.status.lists[0].usable
    assert kept.status.lists[0].verified == NOW


def test_a_failed_action_fails_the_run_and_names_itself(kept: Kept) -> None:
    def fault(method: str, moment: str) -> None:
        if method == "upload":
            raise Transient("the cloud is full of bees")

    kept.fault = fault
    assert kept.visit().round.came == "failed"
    assert [(one.outcome, one.subject) for one in kept.status.run.actions] == [("failed", "debian-12 2026.11.1")]
    assert "bees" in kept.status.run.actions[0].text
    kept.fault = None
    assert kept.visit(NOW + MINUTES).round.came == "good"
    assert kept.status.failures == 0


def test_a_cloud_that_is_down_leaves_what_was_known(kept: Kept) -> None:
    kept.visit()

    def fault(method: str, moment: str) -> None:
        raise Transient("down")

    kept.fault = fault
    for number in range(1, 4):
        visit = kept.visit(NOW + number * MINUTES)
        assert isinstance(visit.error, Transient)
        assert visit.round.came == "failed"
    assert (kept.status.failures, len(kept.status.images), kept.status.succeeded) == (3, 1, NOW)
    assert kept.status.run.error is not None


def test_a_fault_of_our_own_is_told_as_one_and_handed_back(kept: Kept) -> None:
    kept.visit()
    kept.run = lambda _: 1 / 0  # type: ignore[assignment, return-value, method-assign]
    visit = kept.visit(NOW + MINUTES)
    assert isinstance(visit.error, ZeroDivisionError)
    assert visit.round.came == "failed"
    assert kept.status.run.result == "bug"


def test_a_moment_that_matters_is_handed_to_the_watch(kept: Kept) -> None:
    assert kept.visit().round.next == NOW + 20 * DAY
    kept.here.producer.site(approve=[{"appliance": "*", "until": "2026-11-21T00:00:00Z"}])
    assert kept.visit(NOW + MINUTES).round.next is not None
    assert kept.status.next == NOW.replace(hour=0) + DAY
    done = kept.visit(NOW.replace(hour=0) + DAY).done
    assert done is not None
    assert [outcome.action.kind for outcome in done.outcomes] == ["hide"]


def test_the_watch_follows_the_sites_file(kept: Kept) -> None:
    assert int(kept.visit().watch.interval) == 300
    kept.here.producer.site(watch={"interval": "90s"})
    assert int(kept.visit(NOW + MINUTES).watch.interval) == 90

    def fault(method: str, moment: str) -> None:
        raise Transient("down")

    kept.fault = fault
    assert int(kept.visit(NOW + 2 * MINUTES).watch.interval) == 90


def test_an_image_that_somebody_deleted_is_told_and_comes_back(kept: Kept) -> None:
    kept.visit()
    kept.here.world.images.clear()
    kept.visit(NOW + MINUTES)
    assert [(one.appliance, one.what) for one in kept.status.drifted] == [("debian-12", ("somebody deleted it",))]
    assert kept.here.usable() == ["debian-12 2026.11.1"]
    kept.visit(NOW + 2 * MINUTES)
    assert kept.status.drifted == ()


# One at a time, and no other site's folder


def test_another_run_at_work_is_no_failure_and_leaves_the_status(kept: Kept) -> None:
    kept.visit()
    before = (kept.here.home.folder / "status.json").read_bytes()
    with kept.here.home.locked():
        visit = kept.visit(NOW + MINUTES)
    assert isinstance(visit.error, Busy)
    assert visit.round.came == "busy"
    assert (kept.here.home.folder / "status.json").read_bytes() == before


@pytest.mark.parametrize("name", ["there", "here"])
def test_nothing_is_written_into_a_folder_that_is_not_the_sites(here: Here, tmp_path: Path, name: str) -> None:
    home = here.home if name == "there" else SiteHome(tmp_path / "empty")

    def run(_: Visiting) -> Reconciled:
        raise UserError("no")

    assert Keeper(home, name, lambda: NOW).visit(run).status is None
    assert not (home.folder / "status.json").exists()


def test_a_status_that_cannot_be_read_is_made_anew(kept: Kept) -> None:
    kept.visit()
    (kept.here.home.folder / "status.json").write_text('{"version": 99}')
    kept.visit(NOW + MINUTES)
    assert kept.status.images[0].since is None
    assert kept.status.images[0].endorsed == NOW - DAY


# The end


def test_once_the_end_is_asked_for_nothing_more_begins_and_the_next_run_does_the_rest(here: Here, tmp_path: Path) -> None:
    here.producer.all("rocky-9", "2026.11.1")
    here.producer.all("alma-9", "2026.11.1")
    here.producer.site(transfers={"at_once": 1, "from_one_host": 1})
    kept = Kept(here)

    def fault(method: str, moment: str) -> None:
        kept.stop = kept.stop or (method, moment) == ("upload", "created")

    kept.fault = fault
    done = kept.visit().done
    assert done is not None
    left = [outcome for outcome in done.outcomes if isinstance(outcome, Failed)]
    assert 1 <= len(here.usable()) <= 2
    assert len(left) == 3 - len(here.usable())
    assert {one.outcome for one in kept.status.run.actions} == {"done", "left"}
    assert (kept.status.failures, kept.status.succeeded) == (0, None)
    kept.stop, kept.fault = False, None
    kept.visit(NOW + MINUTES)
    assert len(here.usable()) == 3


# Suspension


def test_a_suspended_site_asks_nobody_and_changes_nothing(kept: Kept) -> None:
    kept.visit()
    suspend(kept.here.home, "new disks", NOW)
    kept.here.producer.withdraw("debian-12", "2026.11.1")
    requests = len(kept.here.server.requests)
    kept.run = lambda _: 1 / 0  # type: ignore[assignment, return-value, method-assign]
    visit = kept.visit(NOW + MINUTES)
    assert (visit.suspended, visit.error, visit.round.came) == (True, None, "good")
    assert len(kept.here.server.requests) == requests
    assert kept.here.usable() == ["debian-12 2026.11.1"]
    assert kept.status.suspended is not None
    assert kept.status.suspended.reason == "new disks"
    assert len(kept.status.images) == 1


def test_what_was_missed_is_made_up_for_once_the_site_is_resumed(kept: Kept) -> None:
    kept.visit()
    suspend(kept.here.home, "new disks", NOW)
    kept.here.producer.withdraw("debian-12", "2026.11.1")
    kept.visit(NOW + MINUTES)
    found = resume(kept.here.home)
    assert found is not None
    assert found.reason == "new disks"
    kept.visit(NOW + 2 * MINUTES)
    assert kept.here.usable() == []
    assert kept.status.suspended is None
    assert resume(kept.here.home) is None


def test_a_suspension_with_an_end_ends_then_and_the_watch_wakes_for_it(kept: Kept) -> None:
    suspend(kept.here.home, "a short while", NOW, NOW + MINUTES)
    assert kept.visit().round.next == NOW + MINUTES
    assert kept.here.usable() == []
    kept.visit(NOW + MINUTES)
    assert kept.here.usable() == ["debian-12 2026.11.1"]


def test_a_longer_suspension_keeps_its_beginning(kept: Kept) -> None:
    suspend(kept.here.home, "one", NOW)
    made = suspend(kept.here.home, "two", NOW + MINUTES, NOW + DAY)
    assert (made.since, made.reason) == (NOW, "two")
    assert suspension(kept.here.home, NOW + DAY) is None


@pytest.mark.parametrize(("reason", "until"), [("  ", None), ("x", NOW), ("x", NOW - DAY)])
def test_a_suspension_needs_a_reason_and_a_time_to_come(kept: Kept, reason: str, until: Any) -> None:
    with pytest.raises(UserError):
        suspend(kept.here.home, reason, NOW, until)


@pytest.mark.parametrize("data", ["", "{", '{"since": "2026-11-20T10:00:00Z"}', '{"since": 5, "reason": "x"}'])
def test_a_suspension_that_cannot_be_read_stops_every_run_until_it_is_ended(kept: Kept, data: str) -> None:
    (kept.here.home.folder / "suspended.json").write_text(data)
    visit = kept.visit()
    assert isinstance(visit.error, UserError)
    assert kept.here.usable() == []
    assert "suspension cannot be read" in str(visit.error)
    resume(kept.here.home)
    kept.visit(NOW + MINUTES)
    assert kept.here.usable() == ["debian-12 2026.11.1"]


# Outlets


def test_status_and_metrics_go_where_they_were_asked_for(here: Here, tmp_path: Path) -> None:
    kept = Kept(here, folder=tmp_path / "www-status", metrics_file=tmp_path / "metrics/x.prom")
    kept.visit()
    assert json.loads((tmp_path / "www-status/status.json").read_text())["site"] == "here"
    assert "debian-12" in (tmp_path / "www-status/status.html").read_text()
    assert 'vmkeeper_propagation_lag_seconds{appliance="debian-12",place="",site="here"} 86400.0' in (tmp_path / "metrics/x.prom").read_text()
    for file in (tmp_path / "www-status").iterdir():
        assert file.stat().st_mode & 0o777 == 0o644


def test_outlets_that_cannot_be_written_are_notes(here: Here, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    kept = Kept(here, folder=tmp_path / "file/x", metrics_file=tmp_path / "file/y.prom")
    visit = kept.visit()
    assert visit.error is None
    assert {note.subject for note in visit.notes} == {"status page", "metrics"}
    assert {note.subject for note in kept.status.notes} >= {"status page", "metrics"}


def test_a_notifier_that_cannot_be_told_is_a_note(here: Here) -> None:
    here.producer.site(**{**SITE, "notify": [{"name": "ann", "credentials": "ann", "on": ["registered"]}]})
    kept = Kept(here)
    visit = kept.visit()
    assert [note.subject for note in visit.notes] == ["notifier ann"]
    assert here.usable() == ["debian-12 2026.11.1"]


# Memory


def test_many_runs_take_no_more_memory_than_a_few(kept: Kept) -> None:
    done = kept.visit().done
    assert done is not None
    count = 0

    def run(visiting: Visiting) -> Reconciled:
        nonlocal count
        count += 1
        visiting.progress.amount(f"image {count}", 5, 10, "B")
        visiting.warn("repository", f"round {count}")
        if count % 3 == 0:
            raise Transient("x" * 1000)
        assert done is not None
        return done

    kept.run = run  # type: ignore[method-assign]
    sizes = []
    tracemalloc.start()
    try:
        for number in range(120):
            kept.visit(NOW + number * MINUTES)
            if number in (30, 119):
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert sizes[1] - sizes[0] < 100_000
    assert len((kept.here.home.folder / "status.json").read_bytes()) < 20_000
