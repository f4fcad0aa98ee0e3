"""Which releases an entry of a site's file means: every field by itself, all of them together, and times."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmkeeper.model.decision import Approval, Block, Hold, Selection
from vmkeeper.model.site import Site
from vmkeeper.trust.selection import LATER, About, Vouched, described, fits, lacks, next_change, only
from vmkeeper.values import Version, parse_time

NOW = parse_time("2026-11-20T10:00:00Z")
DAY = timedelta(days=1)
TAGS = ("endorse/debian-12/2/alice/4", "endorse/debian-12/2/bob/1")
ABOUT = About(
    "debian-12", Version("2"), "main", "vo.example.org", (Vouched("alice", TAGS[0]), Vouched("bob", TAGS[1])), frozenset({"a" * 128, "b" * 128})
)


def approval(**fields: Any) -> Approval:
    return Approval.model_validate({"appliance": "*", **fields})


def missing(selection: Selection, about: About = ABOUT, now: datetime = NOW) -> list[str]:
    return [part for part, _ in lacks(selection, about, now)]


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"appliance": "debian-*"}, {"appliance": "slurm-*"}),
        ({"appliance": "debian-12"}, {"appliance": "debian-1"}),
        ({"version": "==2"}, {"version": "==1"}),
        ({"version": ">=1, <3"}, {"version": ">2"}),
        ({"list": "main"}, {"list": "other"}),
        ({"community": "vo.example.org"}, {"community": "vo.example"}),
        ({"community": "vo.*"}, {"community": "*.net"}),
        ({"endorser": "alice"}, {"endorser": "carol"}),
        ({"tag": "endorse/debian-12/*"}, {"tag": "endorse/slurm-*"}),
        ({"tag": TAGS[1]}, {"tag": f"{TAGS[1]}0"}),
        ({"digest": "b" * 128}, {"digest": "c" * 128}),
        ({"not_before": NOW}, {"not_before": NOW + timedelta(seconds=1)}),
        ({"until": NOW + timedelta(seconds=1)}, {"until": NOW}),
        ({}, {"places": ["north"]}),
    ],
    ids=str,
)
def test_each_field_alone_decides(fields: dict[str, Any], part: dict[str, Any]) -> None:
    good, (name,) = approval(**fields), part
    assert fits(good, ABOUT, NOW)
    bad = approval(**{**fields, **part})
    assert not fits(bad, ABOUT, NOW)
    assert missing(bad) == ["endorser" if name == "tag" else name]


def test_an_approval_that_names_places_means_nothing_before_it_is_narrowed_and_a_block_means_all_of_them() -> None:
    assert not fits(approval(places=["north"]), ABOUT, NOW)
    assert fits(Block(appliance="*", places=("north",), reason="no"), ABOUT, NOW)


def test_endorser_and_tag_are_of_one_endorsement() -> None:
    assert fits(approval(endorser="alice", tag="endorse/*/alice/*"), ABOUT, NOW)
    assert fits(approval(endorser="bob", tag="*/1"), ABOUT, NOW)
    assert not fits(approval(endorser="alice", tag="endorse/*/bob/*"), ABOUT, NOW)


def test_nothing_that_names_a_list_a_community_an_endorser_or_a_tag_means_a_release_without() -> None:
    bare = About("debian-12", Version("2"))
    for fields in ({"list": "main"}, {"community": "*"}, {"endorser": "alice"}, {"tag": "*"}, {"digest": "a" * 128}):
        assert not fits(approval(**fields), bare, NOW)
    of_a_list = replace(bare, vouched=(Vouched("science"),))
    assert fits(approval(endorser="science"), of_a_list, NOW)
    assert not fits(approval(tag="*"), of_a_list, NOW)


@pytest.mark.parametrize("odd", ["[a]", "a?c", "x.y", "(vo)", "a\\b", "a\nb"])
def test_only_the_star_has_a_meaning_in_a_community(odd: str) -> None:
    here = replace(ABOUT, community=odd)
    assert fits(approval(community=odd), here, NOW)
    assert fits(approval(community=f"*{odd[1:]}"), here, NOW)
    assert not fits(approval(community=odd), replace(ABOUT, community=odd.replace(odd[1], "z")), NOW)


def test_a_uuid_names_an_image_of_a_foreign_list_and_nothing_else() -> None:
    uuid = "0b7e9a52-6f0c-4a53-9d0a-0f2f0a1c7d11"
    assert fits(approval(appliance=uuid), replace(ABOUT, uuid=uuid), NOW)
    assert not fits(approval(appliance=uuid), ABOUT, NOW)


def test_all_that_an_entry_lacks_is_told() -> None:
    one = approval(
        appliance="x", version="==1", list="l", community="c", endorser="e", digest="0" * 128, places=["p"], not_before=NOW + DAY, until=NOW + 2 * DAY
    )
    assert missing(one) == ["appliance", "version", "list", "community", "endorser", "digest", "places", "not_before"]
    assert missing(one, now=NOW + 3 * DAY)[-1] == "until"
    said = only(lacks(one, ABOUT, NOW))
    assert said == (
        "as x and in versions ==1 and from the list l and from lists of the community c and if endorsed by e and "
        f"with a file of SHA-512 {'0' * 16}… and at p and from 2026-11-21T10:00:00Z on"
    )
    assert described(one) == (
        f"x ==1 from the list l, of the community c, endorsed by e, with a file of SHA-512 {'0' * 16}…, at p, "
        "from 2026-11-21T10:00:00Z on, until 2026-11-22T10:00:00Z"
    )
    assert described(approval(appliance="debian-*", version=">=2")) == "debian-* >=2"
    assert {"endorser", "places", "not_before", "until"} == LATER


# -- properties

TIMES = st.integers(-5, 5).map(lambda days: NOW + days * DAY)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "appliance": st.sampled_from(["*", "debian-*", "debian-12", "slurm-*"]),
        "version": st.sampled_from(["*", ">=2", "==1", "<2"]),
        "list": st.sampled_from(["main", "other"]),
        "community": st.sampled_from(["vo.*", "*.net", "vo.example.org"]),
        "endorser": st.sampled_from(["alice", "bob", "carol"]),
        "tag": st.sampled_from(["endorse/*", "*/bob/*", "endorse/slurm-*"]),
        "digest": st.sampled_from(["a" * 128, "c" * 128]),
    },
)
WINDOWS = st.tuples(st.none() | TIMES, st.none() | TIMES).filter(lambda pair: pair[0] is None or pair[1] is None or pair[0] < pair[1])


@st.composite
def approvals(draw: st.DrawFn) -> Approval:
    begin, end = draw(WINDOWS)
    fields = draw(FIELDS)
    return approval(**fields, not_before=begin, until=end)


def site(*entries: Selection, hold: tuple[Hold, ...] = ()) -> Site:
    some = [one.model_dump(exclude_unset=True) for one in entries]
    return Site.model_validate({"title": "S", "platform": {"type": "local"}, "approve": some, "hold": hold})


@given(approvals(), FIELDS, st.booleans())
def test_a_field_more_never_means_more(one: Approval, more: dict[str, Any], blocks: bool) -> None:
    narrower = approval(**{**more, **one.model_dump(exclude_unset=True)})
    if fits(narrower, ABOUT, NOW):
        assert fits(one, ABOUT, NOW)


@given(st.lists(approvals(), max_size=4), st.integers(-6 * 86400, 6 * 86400), st.integers(0, 12 * 86400))
def test_what_is_meant_changes_only_at_the_times_that_are_given(some: list[Approval], start: int, length: int) -> None:
    made, now = site(*some), NOW + timedelta(seconds=start)
    change = next_change(made, now)
    later = now + timedelta(seconds=length)
    assert change is None or change > now
    if change is None or later < change:
        assert [fits(one, ABOUT, now) for one in some] == [fits(one, ABOUT, later) for one in some]
    times = {moment for one in some for moment in (one.not_before, one.until) if moment is not None}
    assert change == min((moment for moment in times if moment > now), default=None)


def test_the_next_change_is_that_of_approvals_blocks_and_holds() -> None:
    assert next_change(site(), NOW) is None
    made = Site.model_validate(
        {
            "title": "S",
            "platform": {"type": "local"},
            "approve": [{"appliance": "a", "until": NOW + 3 * DAY}, {"appliance": "b", "until": NOW}],
            "block": [{"appliance": "a", "not_before": NOW + 2 * DAY, "reason": "r"}],
            "hold": [{"appliance": "a", "until": NOW + DAY, "reason": "r"}, {"appliance": "c", "reason": "r"}],
        }
    )
    assert [next_change(made, NOW + days * DAY) for days in (-1, 0, 1, 2, 3)] == [NOW, NOW + DAY, NOW + 2 * DAY, NOW + 3 * DAY, None]
