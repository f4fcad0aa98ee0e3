"""Status out of runs: what stays, what is counted, when the next thing changes; the page, the metrics, what producers get."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from support.producer import NOW
from support.sitescenario import uuid_of
from vmkeeper.errors import UserError
from vmkeeper.execute.metrics import MOST_APPLIANCES, MetricsServer, exposition, write_metrics
from vmkeeper.execute.runfacts import Facts
from vmkeeper.execute.statuspage import ago, page, span
from vmkeeper.execute.statusreport import Measured, after_failure, after_run, materially_other, site_report, while_suspended
from vmkeeper.model.status import ActionStatus, ImageStatus, ListStatus, PlaceStatus, Remark, Status, Suspended, Trouble
from vmkeeper.trust.memory import Memory
from vmkeeper.values import Version

ROOT, HEAD = "a" * 40, "b" * 40
HOUR = timedelta(hours=1)


def image(words: str, place: str = "", **more: Any) -> ImageStatus:
    appliance, version = words.split()
    fields = {
        "appliance": appliance,
        "version": Version(version),
        "uuid": uuid_of(appliance),
        "place": place,
        "id": f"{place}{appliance}{version}",
        "name": f"{appliance}-{version}",
        "state": "active",
        "list": "main",
        "format": "qcow2",
        "size": 1000,
        "endorsed": NOW - HOUR,
        "endorsers": ("alice",),
        "expires": NOW + timedelta(days=30),
    }
    return ImageStatus(**{**fields, **more})


def facts(*images: ImageStatus, **more: Any) -> Facts:
    fields = {
        "title": "Here",
        "platform": "local",
        "interval": 300,
        "repository": ROOT,
        "head": HEAD,
        "memory": Memory(),
        "places": tuple(PlaceStatus(name=name) for name in dict.fromkeys(one.place for one in images) or [""]),
        "images": images,
        "found": images,
        "lists": (ListStatus(name="main", usable=True, version="1", expires=NOW + timedelta(days=20)),),
        "actions": (),
    }
    return Facts(**{**fields, **more})


def action(kind: str = "register", subject: str = "debian-12 1", outcome: str = "done", **more: Any) -> ActionStatus:
    return ActionStatus(kind=kind, subject=subject, outcome=outcome, **more)  # type: ignore[arg-type]


def ran(found: Facts, before: Status | None = None, at: Any = NOW, **measured: Any) -> Status:
    return after_run(before, "here", at - timedelta(seconds=5), at, found, Measured(**measured))


BROKEN = Trouble(subject="run", what="the cloud does not answer", why="connection refused", hint="run again")

# The past


def test_an_image_that_came_in_this_run_is_usable_since_its_end() -> None:
    made = ran(facts(image("debian-12 1"), actions=(action(),)))
    assert made.images[0].since == NOW
    assert made.images[0].lag == 3600


def test_an_image_that_was_there_before_anything_was_written_down_has_no_beginning() -> None:
    first = ran(facts(image("debian-12 1")))
    assert first.images[0].since is None
    assert first.images[0].lag is None
    assert ran(facts(image("debian-12 1")), first, NOW + HOUR).images[0].since is None


def test_since_and_the_first_endorsement_stay_over_runs_that_renew_it() -> None:
    status = ran(facts(image("debian-12 1"), actions=(action(),)))
    for hours in range(1, 5):
        status = ran(facts(image("debian-12 1", endorsed=NOW + hours * HOUR)), status, NOW + hours * HOUR)
    assert (status.images[0].since, status.images[0].endorsed, status.images[0].lag) == (NOW, NOW - HOUR, 3600)


def test_an_image_that_appeared_between_two_runs_is_usable_since_the_later_one() -> None:
    status = ran(facts(image("debian-12 1"), image("rocky-9 1")), ran(facts(image("debian-12 1"))), NOW + HOUR)
    assert {one.appliance: one.since for one in status.images} == {"debian-12": None, "rocky-9": NOW + HOUR}


def test_the_same_version_at_two_places_has_two_beginnings() -> None:
    one = ran(facts(image("debian-12 1", "north"), actions=(action(place="north"),)))
    two = ran(facts(image("debian-12 1", "north"), image("debian-12 1", "south"), actions=(action(place="south"),)), one, NOW + HOUR)
    assert [image.since for image in two.images] == [NOW, NOW + HOUR]


def test_a_run_that_fails_leaves_what_was_known_and_counts() -> None:
    good = ran(facts(image("debian-12 1"), actions=(action(),)))
    one = after_failure(good, "here", NOW, NOW + HOUR, BROKEN, Measured())
    two = after_failure(one, "here", NOW, NOW + 2 * HOUR, BROKEN, Measured(), bug=True)
    assert (two.failures, two.succeeded, two.images, two.run.result) == (2, NOW, good.images, "bug")
    assert not two.places[0].seen
    again = ran(facts(image("debian-12 1")), two, NOW + 3 * HOUR)
    assert (again.failures, again.succeeded) == (0, NOW + 3 * HOUR)
    assert again.counts["runs failed"] == 1
    assert again.counts["runs bug"] == 1
    assert again.counts["runs done"] == 2


def test_a_first_run_that_fails_has_a_status_too() -> None:
    made = after_failure(None, "here", NOW, NOW, BROKEN, Measured())
    assert (made.failures, made.succeeded, made.repository, made.images) == (1, None, None, ())
    assert site_report(made) is None
    assert "does not answer" in page(made)


@pytest.mark.parametrize(("outcome", "failures", "succeeded"), [("done", 0, NOW), ("failed", 1, None), ("blocked", 1, None), ("left", 0, None)])
def test_what_actions_come_to_decides_whether_a_run_is_a_good_one(outcome: str, failures: int, succeeded: object) -> None:
    made = ran(facts(actions=(action(outcome=outcome),)))
    assert (made.failures, made.succeeded) == (failures, succeeded)
    assert made.counts[f"actions register {outcome}"] == 1


def test_a_place_that_cannot_be_listed_keeps_its_images_and_fails_the_run() -> None:
    before = ran(facts(image("debian-12 1", "north"), image("debian-12 1", "south")))
    places = (PlaceStatus(name="north"), PlaceStatus(name="south", seen=False))
    found = facts(image("debian-12 1", "north"), places=places, troubles=(BROKEN,))
    after = ran(found, before, NOW + HOUR)
    assert [one.place for one in after.images] == ["north", "south"]
    assert (after.failures, after.troubles) == (1, (BROKEN,))


def test_a_suspended_site_keeps_what_was_known() -> None:
    before = ran(facts(image("debian-12 1")))
    said = Suspended(since=NOW, reason="the disks are being changed", until=NOW + HOUR)
    made = while_suspended(before, "here", NOW, said)
    assert (made.suspended, made.images, made.next) == (said, before.images, NOW + HOUR)
    assert ran(facts(), made).suspended is None


def test_the_version_of_a_list_is_dated_from_when_it_was_first_seen() -> None:
    one = ran(facts())
    two = ran(facts(), one, NOW + HOUR)
    three = ran(facts(lists=(ListStatus(name="main", usable=False, why="gone", version="1"),)), two, NOW + 2 * HOUR)
    four = ran(facts(lists=(ListStatus(name="main", usable=True, version="2"),)), three, NOW + 3 * HOUR)
    assert [status.lists[0].changed for status in (one, two, three, four)] == [NOW, NOW, NOW, NOW + 3 * HOUR]
    assert [status.lists[0].verified for status in (one, two, three, four)] == [NOW, NOW + HOUR, NOW + HOUR, NOW + 3 * HOUR]


def test_what_changes_next_is_the_first_moment_to_come() -> None:
    hidden = image("debian-12 1", state="hidden", hidden_since=NOW, leaves=NOW + timedelta(days=7))
    active = image("debian-12 2", expires=NOW + timedelta(days=9))
    assert ran(facts(active, hidden)).next == NOW + timedelta(days=7)
    assert ran(facts(active)).next == NOW + timedelta(days=9)
    assert ran(facts(active, moments=(NOW - HOUR, NOW, NOW + HOUR))).next == NOW + HOUR
    assert ran(facts(image("debian-12 1", expires=NOW - HOUR))).next is None
    assert after_failure(ran(facts(active, moments=(NOW + HOUR,))), "here", NOW, NOW, BROKEN, Measured()).next == NOW + HOUR


def test_a_status_reads_back_as_it_was_written() -> None:
    made = ran(facts(image("debian-12 1", drift=("name is x",))), calls={("images", ""): 1}, fetched=5, seconds={"all": 1.23456})
    assert Status.model_validate_json(made.model_dump_json()) == made
    assert json.loads(made.model_dump_json())["version"] == 1


def test_what_others_did_is_told_though_it_was_mended_at_once() -> None:
    before = ran(facts(image("debian-12 1"), image("rocky-9 1"), image("alma-9 1", state="hidden")))
    found = (image("debian-12 1", drift=("visibility is private",)),)
    status = ran(facts(image("debian-12 1"), image("rocky-9 1"), found=found), before, NOW + HOUR)
    assert [(one.appliance, one.what) for one in status.drifted] == [
        ("debian-12", ("visibility is private",)),
        ("rocky-9", ("somebody deleted it",)),
    ]
    assert "somebody deleted it" in page(status)
    assert ran(facts(image("debian-12 1"), image("rocky-9 1")), status, NOW + 2 * HOUR).drifted == ()


def test_images_of_a_place_that_cannot_be_listed_were_not_deleted() -> None:
    before = ran(facts(image("debian-12 1", "north"), image("debian-12 1", "south")))
    places = (PlaceStatus(name="north"), PlaceStatus(name="south", seen=False))
    assert ran(facts(image("debian-12 1", "north"), places=places), before, NOW + HOUR).drifted == ()


# The page


class Reader(HTMLParser):
    """Elements that are not closed where they must be, and everything that leads elsewhere."""

    VOID = ("meta", "br", "link", "img", "input", "hr")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.addresses: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses |= {str(value) for name, value in attrs if name in ("src", "href")}
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    assert "script" not in reader.tags
    assert reader.addresses <= {"status.json"}
    return reader


def rich() -> Status:
    hidden = image("debian-12 0", state="hidden", hidden_since=NOW - HOUR, leaves=NOW + HOUR, in_use=True)
    found = facts(
        image("debian-12 1", "north", drift=("visibility is private",)),
        image("debian-12 1", "south"),
        hidden,
        waiting=(Remark(subject="rocky-9 2", why="nothing decides about it"),),
        refused=(Trouble(subject="list egi", what="it cannot be used", why="expired", rule="R15"),),
        notes=(Remark(subject="<script>alert('x')</script>", why='"><img src=x onerror=alert(1)>'),),
        actions=(action(), action("hide", "rocky-9 1", "failed", text="no answer", hint="try again"), action("delete", "rocky-9 0", "left")),
    )
    return ran(found, seconds={"all": 12.0})


def test_the_page_says_what_matters_and_leads_nowhere() -> None:
    reader = read(page(rich()))
    for words in ("Here", "failing", "debian-12", "visibility is private", "north", "rocky-9 2", "list egi", "R15", "no answer", "try again"):
        assert words in reader.text
    assert "<script>alert('x')</script>" in reader.text
    assert "img" not in reader.tags


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (ran(facts()), "No image is usable here"),
        (ran(facts(image("debian-12 1"))), "as it should be"),
        (ran(facts(image("debian-12 1"), waiting=(Remark(subject="x", why="y"),))), "waits for you"),
        (ran(facts(image("debian-12 1"), refused=(BROKEN,))), "needs a look"),
        (while_suspended(None, "here", NOW, Suspended(since=NOW, reason="new disks")), "new disks"),
        (after_failure(None, "here", NOW, NOW, BROKEN, Measured()), "failing"),
    ],
)
def test_the_badge_says_how_the_site_is(status: Status, words: str) -> None:
    assert words in read(page(status)).text


def test_a_page_of_ten_thousand_images_stays_readable() -> None:
    text = page(ran(facts(*(image(f"a-{number} 1") for number in range(10_000)))))
    assert len(text) < 1_000_000
    assert "and 9500 more" in text


def test_lengths_of_time_are_said_in_two_units_at_most() -> None:
    said = {0: "0 s", 59: "59 s", 61: "1 min 1 s", 3661: "1 h 1 min", 90000: "1 d 1 h", 86400 * 20 + 3600: "20 d"}
    assert {seconds: span(seconds) for seconds in said} == said
    assert (ago(NOW - HOUR, NOW), ago(NOW + HOUR, NOW), ago(NOW, NOW), ago(None, NOW)) == ("1 h ago", "in 1 h", "now", "—")


# Metrics


def metrics(status: Status) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(exposition(status).decode())
    return {(s.name, *(v for k, v in sorted(s.labels.items()) if k != "site")): s.value for family in families for s in family.samples}


def test_metrics_say_what_the_status_says() -> None:
    found = metrics(
        ran(
            rich_facts := facts(image("debian-12 1", "north", drift=("x",)), actions=(action(place="north"),)),
            fetched=7,
            uploaded=9,
            calls={("images", "north"): 2},
        )
    )
    assert rich_facts
    assert found["vmkeeper_images", "north", "active"] == 1
    assert found["vmkeeper_images", "north", "hidden"] == 0
    assert found["vmkeeper_drifted_images", "north"] == 1
    assert found["vmkeeper_propagation_lag_seconds", "debian-12", "north"] == 3600
    assert found["vmkeeper_image_expiry_timestamp_seconds", "debian-12", "north"] == (NOW + timedelta(days=30)).timestamp()
    assert found["vmkeeper_last_success_timestamp_seconds",] == NOW.timestamp()
    assert found["vmkeeper_actions_total", "register", "done", "north"] == 1
    assert found["vmkeeper_cloud_calls_total", "images", "north"] == 2
    assert (found["vmkeeper_fetched_bytes_total",], found["vmkeeper_uploaded_bytes_total",]) == (7, 9)
    assert found["vmkeeper_list_usable", "main"] == 1
    assert found["vmkeeper_suspended",] == 0


def test_sums_grow_over_runs_in_different_processes() -> None:
    one = ran(facts(actions=(action(),)), fetched=7)
    two = ran(facts(actions=(action(),)), Status.model_validate_json(one.model_dump_json()), fetched=7)
    assert metrics(two)["vmkeeper_actions_total", "register", "done", ""] == 2
    assert metrics(two)["vmkeeper_fetched_bytes_total",] == 14
    assert metrics(two)["vmkeeper_runs_total", "done"] == 2


def test_appliances_beyond_the_limit_have_no_series() -> None:
    found = metrics(ran(facts(*(image(f"a-{number} 1") for number in range(MOST_APPLIANCES + 25)))))
    assert sum(key[0] == "vmkeeper_image_expiry_timestamp_seconds" for key in found) == MOST_APPLIANCES
    assert found["vmkeeper_appliances_without_series",] == 25
    assert found["vmkeeper_images", "", "active"] == MOST_APPLIANCES + 25


def test_only_the_newest_usable_version_has_a_lag() -> None:
    found = metrics(ran(facts(image("debian-12 1", expires=NOW + HOUR), image("debian-12 2"), image("debian-12 3", state="hidden"))))
    assert found["vmkeeper_image_expiry_timestamp_seconds", "debian-12", ""] == (NOW + timedelta(days=30)).timestamp()


def test_a_suspended_or_failing_site_shows_in_its_metrics() -> None:
    said = metrics(while_suspended(None, "here", NOW, Suspended(since=NOW, reason="x")))
    assert (said["vmkeeper_suspended",], said["vmkeeper_suspended_since_timestamp_seconds",]) == (1, NOW.timestamp())
    assert metrics(after_failure(None, "here", NOW, NOW, BROKEN, Measured()))["vmkeeper_failed_runs",] == 1


def test_the_metrics_file_is_replaced_whole_and_can_be_read_by_others(tmp_path: Path) -> None:
    file = tmp_path / "node" / "vmkeeper.prom"
    for _ in range(2):
        write_metrics(file, ran(facts()))
    assert [path.name for path in file.parent.iterdir()] == ["vmkeeper.prom"]
    assert file.stat().st_mode & 0o777 == 0o644
    assert file.read_bytes().endswith(b"\n")


@pytest.fixture
def server() -> Iterator[MetricsServer]:
    made = MetricsServer("127.0.0.1:0")
    yield made
    made.close()


def test_metrics_are_served_where_it_was_asked_for(server: MetricsServer) -> None:
    url = f"http://127.0.0.1:{server.port}/metrics"
    with httpx.Client(trust_env=False) as client:
        assert client.get(url).text.strip() == ""
        server.show(ran(facts(image("debian-12 1"))))
        assert 'vmkeeper_images{place="",site="here",state="active"} 1.0' in client.get(url).text
        assert server._server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("address", ["9184", "localhost", "127.0.0.1:", ":9184", "127.0.0.1:99999", "127.0.0.1:x"])
def test_what_is_no_address_to_listen_at_is_said(address: str) -> None:
    with pytest.raises(UserError, match="not an address"):
        MetricsServer(address)


def test_an_address_that_is_taken_is_said(server: MetricsServer) -> None:
    with pytest.raises(UserError, match="could not listen"):
        MetricsServer(f"127.0.0.1:{server.port}")


# What producers get


def test_producers_are_told_what_is_usable_and_no_more() -> None:
    said = site_report(rich())
    assert said is not None
    assert [(str(one.version), one.places) for one in said.images] == [("1", ("north", "south"))]
    text = said.model_dump_json()
    for private in ("no answer", "try again", "visibility", "R15", "northdebian", "alice"):
        assert private not in text


def test_images_of_foreign_lists_are_left_out_where_that_is_wished() -> None:
    made = ran(facts(image("debian-12 1"), image("egi-x 1", foreign=True)))
    named, unnamed = site_report(made), site_report(made, names=False)
    assert named is not None
    assert unnamed is not None
    assert [one.appliance for one in named.images] == ["debian-12", "egi-x"]
    assert [one.appliance for one in unnamed.images] == ["debian-12"]


def test_a_run_in_which_nothing_happened_is_no_news_for_producers() -> None:
    one = ran(facts(image("debian-12 1")))
    two = ran(facts(image("debian-12 1"), head="c" * 40), one, NOW + HOUR)
    three = ran(facts(image("debian-12 2")), two, NOW + 2 * HOUR)
    said = [site_report(status) or pytest.fail("no report") for status in (one, two, three)]
    assert materially_other(said[0], None)
    assert not materially_other(said[1], said[0])
    assert materially_other(said[2], said[1])
