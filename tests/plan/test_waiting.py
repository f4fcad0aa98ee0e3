"""Which releases of a site's own lists wait for a decision, and how that is said of several places."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from support.sitescenario import FAR, NOW, site, spec
from vmkeeper.plan.supply import Supply
from vmkeeper.plan.waiting import Waiting, at_places, waiting
from vmkeeper.plan.wanted import Current, Offer, Subscribed, Unusable
from vmkeeper.trust.approval import Decision
from vmkeeper.trust.freshness import Frozen
from vmkeeper.trust.refusal import Refusal
from vmkeeper.values import Version

SITE = {"subscribe": [{"list": "main"}], "formats": ["qcow2", "raw"]}
NOT_YET = (Refusal("R20", "the site does not approve it"),)


def offer(words: str, kind: str = "qcow2") -> Offer:
    return Offer(spec(words, kind=kind), Supply(uri="https://images.example.org/x"))


def listed(*offers: Offer) -> Subscribed:
    return Subscribed("main", offers[0].spec.list if offers else "", Current(FAR, offers))


def undecided(words: str, *offers: Offer, **changes: Any) -> Decision:
    appliance, version = words.split()
    digests = tuple(sorted(one.spec.sha512 for one in offers))
    return replace(Decision(appliance, Version(version), NOT_YET, list="main", undecided=True, digests=digests, since=NOW), **changes)


def accepted(words: str) -> Decision:
    appliance, version = words.split()
    return Decision(appliance, Version(version), (), list="main")


def labels(found: tuple[Waiting, ...]) -> list[str]:
    return [f"{one.appliance} {one.version}" for one in found]


def test_what_is_offered_and_undecided_waits_with_the_file_that_would_be_taken() -> None:
    raw, qcow2 = offer("debian-12 2", "raw"), offer("debian-12 2")
    (found,) = waiting(site(SITE), [listed(raw, qcow2)], [undecided("debian-12 2", raw, qcow2)], NOW)
    assert (found.list, found.digest, found.endorsers, found.since) == ("main", qcow2.spec.sha512, (), NOW)
    (found,) = waiting(site({**SITE, "formats": ["raw"]}), [listed(raw, qcow2)], [undecided("debian-12 2", raw, qcow2)], NOW)
    assert found.digest == raw.spec.sha512


def test_only_what_is_newer_than_all_that_may_run_waits() -> None:
    offers = [offer(f"debian-12 {version}") for version in "123"]
    decisions = [undecided("debian-12 1", offers[0]), accepted("debian-12 2"), undecided("debian-12 3", offers[2])]
    assert labels(waiting(site(SITE), [listed(*offers)], decisions, NOW)) == ["debian-12 3"]
    assert labels(waiting(site(SITE), [listed(*offers)], [*decisions[::2], accepted("slurm-node 9")], NOW)) == ["debian-12 1", "debian-12 3"]


def test_what_is_not_offered_offered_with_other_bytes_or_decided_does_not_wait() -> None:
    one = offer("debian-12 2")
    assert waiting(site(SITE), [listed()], [undecided("debian-12 2", one)], NOW) == ()
    assert waiting(site(SITE), [listed(one)], [undecided("debian-12 2", offer("debian-12 3"))], NOW) == ()
    assert waiting(site(SITE), [listed(one)], [undecided("debian-12 2", one, undecided=False)], NOW) == ()
    assert waiting(site(SITE), [listed(one)], [undecided("debian-12 2", one, list="other")], NOW) == ()


def test_a_list_that_offers_nothing_now_has_nothing_that_waits() -> None:
    one = offer("debian-12 2")
    decisions = [undecided("debian-12 2", one)]
    good = listed(one)
    frozen = replace(good, frozen=Frozen(NOW, (Refusal("R13", "nothing fresh"),)))
    expired = replace(good, state=Current(NOW, (one,)))
    assert [len(waiting(site(SITE), [found], decisions, NOW)) for found in (good, frozen, expired, replace(good, state=Unusable("gone")))] == [
        1,
        0,
        0,
        0,
    ]


def test_a_site_that_passes_new_ones_over_is_not_asked() -> None:
    one = offer("debian-12 2")
    here = site({**SITE, "subscribe": [{"list": "main", "new": "refuse"}]})
    assert waiting(here, [listed(one)], [undecided("debian-12 2", one)], NOW) == ()


def test_what_waits_at_some_places_names_them() -> None:
    one = Waiting("main", "a", Version("1"), "x", ("alice",), NOW)
    two = replace(one, appliance="b")
    assert at_places([("", (two, one))]) == (one, two)
    assert at_places([("north", (one, two)), ("south", (two,))]) == (replace(one, places=("north",)), two)
    assert at_places([]) == ()
    assert at_places([("north", (one,)), ("south", (replace(one, since=NOW + timedelta(1)),))])[0].places == ("north",)
