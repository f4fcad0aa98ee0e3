"""`vmkeeper verify repository` with a site's pins: what the site decided counts there too, list by list and place by place."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from support.here import Here
from support.producer import NOW
from vmkeeper.execute.audit import Judged, audit

CLOUD = {"type": "openstack", "cloud": "ours", "places": [{"name": "east"}, {"name": "west"}]}


def judged(here: Here, after: timedelta = timedelta()) -> Judged:
    (found,) = audit(here.producer.repo.folder, here.home.folder / "pins.yaml", None, NOW + after)
    return found


@pytest.mark.parametrize(
    ("site", "accepted"),
    [
        ({"approve": [{"list": "main"}]}, True),
        ({"approve": [{"list": "other"}]}, False),
        ({"approve": [{"community": "tests"}]}, True),
        ({"approve": [{"endorser": "bob"}]}, False),
        ({"approve": [{"tag": "endorse/debian-12/*"}]}, True),
        ({"approve": [{"digest": "0" * 128}]}, False),
        ({"approve": [{"appliance": "*", "until": "2026-11-20T10:00:00Z"}]}, False),
        ({"approve": [{"appliance": "*"}], "block": [{"list": "main", "reason": "r"}]}, False),
        ({"approve": [{"appliance": "*"}], "block": [{"list": "other", "reason": "r"}]}, True),
        ({"platform": CLOUD, "approve": [{"appliance": "*", "places": ["west"]}]}, True),
        ({"platform": CLOUD, "approve": [{"appliance": "*"}], "block": [{"appliance": "*", "places": ["west"], "reason": "r"}]}, True),
        (
            {
                "platform": CLOUD,
                "approve": [{"appliance": "*", "places": ["west"]}],
                "block": [{"appliance": "*", "places": ["west"], "reason": "r"}],
            },
            False,
        ),
    ],
    ids=str,
)
def test_every_decision_of_the_site_counts(here: Here, site: dict[str, Any], accepted: bool) -> None:
    here.producer.site(**site)
    found = judged(here)
    assert found.accepted == accepted
    assert {one.rule for one in found.refusals} <= {"R20"}


def test_an_approval_begins_and_ends(here: Here) -> None:
    here.producer.site(approve=[{"appliance": "*", "not_before": "2026-11-21T10:00:00Z", "until": "2026-11-22T10:00:00Z"}])
    assert [judged(here, timedelta(days=days)).accepted for days in (0, 1, 2)] == [False, True, False]
