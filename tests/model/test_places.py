"""A site narrowed to one of its places: which of its decisions hold there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmkeeper.model.site import Site
from vmkeeper.trust.selection import About, fits
from vmkeeper.values import Version, parse_time

NOW = parse_time("2026-11-20T10:00:00Z")
PLACES = ("east", "north", "south")
CLOUD = {"type": "openstack", "cloud": "c", "places": [{"name": name} for name in PLACES]}
ABOUT = About("debian-12", Version("1"))


def site(**fields: Any) -> Site:
    return Site.model_validate({"title": "S", "platform": CLOUD, **fields})


def allowed(one: Site) -> bool:
    """As `decide` does it, for a release that is endorsed."""
    return any(fits(each, ABOUT, NOW) for each in one.approve) and not any(fits(each, ABOUT, NOW) for each in one.block)


def test_decisions_hold_where_they_say() -> None:
    made = site(
        approve=[{"appliance": "a"}, {"appliance": "b", "places": ["north", "south"]}],
        block=[{"appliance": "c", "reason": "r"}, {"appliance": "d", "places": ["south"], "reason": "r"}],
        hold=[{"appliance": "e", "reason": "r"}, {"appliance": "f", "places": ["north"], "reason": "r"}],
    )
    north, east = made.at("north"), made.at("east")
    assert [(one.appliance, one.places) for one in north.approve] == [("a", ()), ("b", ())]
    assert [one.appliance for one in north.block] == ["c"]
    assert [one.appliance for one in north.hold] == ["e", "f"]
    assert [(one.appliance, one.places) for one in east.approve] == [("a", ()), ("b", ("north", "south"))], "it says where it is approved"
    assert ([one.appliance for one in east.block], [one.appliance for one in east.hold]) == (["c"], ["e"])
    assert made.everywhere() == tuple(made.at(name) for name in PLACES)


def test_a_site_with_one_place_is_what_it_is() -> None:
    made = Site.model_validate({"title": "S", "platform": {"type": "local"}, "approve": [{"appliance": "a"}]})
    assert made.at("") == made
    assert made.everywhere() == (made,)


@pytest.mark.parametrize(("platform", "place"), [(CLOUD, ""), (CLOUD, "west"), ({"type": "local"}, "north")])
def test_a_place_that_is_not_there_is_an_error(platform: dict[str, Any], place: str) -> None:
    with pytest.raises(ValueError, match="has no place"):
        site(platform=platform).at(place)


SOME = st.lists(st.sampled_from(PLACES), unique=True, max_size=3)
APPROVALS = st.lists(st.fixed_dictionaries({"appliance": st.sampled_from(["*", "debian-12", "slurm"]), "places": SOME}), max_size=3)
BLOCKS = st.lists(st.fixed_dictionaries({"appliance": st.sampled_from(["debian-*", "slurm"]), "places": SOME, "reason": st.just("r")}), max_size=2)


@given(APPROVALS, BLOCKS)
def test_the_site_as_a_whole_allows_what_all_of_its_places_do_and_no_place_more_than_its_own_entries_say(
    approve: list[dict[str, Any]], block: list[dict[str, Any]]
) -> None:
    made = site(approve=approve, block=block)
    for place in PLACES:
        said = [one for one in approve if not one["places"] or place in one["places"]]
        against = [one for one in block if not one["places"] or place in one["places"]]
        without = [{name: value for name, value in one.items() if name != "places"} for one in said]
        other = [{name: value for name, value in one.items() if name != "places"} for one in against]
        assert allowed(made.at(place)) == allowed(site(approve=without, block=other))
        if allowed(made):
            assert allowed(made.at(place))
    everywhere = site(approve=[{**one, "places": []} for one in approve], block=[one for one in block if not one["places"]])
    if any(allowed(here) for here in made.everywhere()):
        assert allowed(everywhere), "narrowing to a place never allows what no entry of the site as a whole would"


@given(APPROVALS, BLOCKS, st.sampled_from(PLACES))
def test_narrowing_twice_is_narrowing_once(approve: list[dict[str, Any]], block: list[dict[str, Any]], place: str) -> None:
    once = site(approve=approve, block=block).at(place)
    assert once.at(place) == once
