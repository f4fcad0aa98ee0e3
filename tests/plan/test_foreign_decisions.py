"""Decisions about images of another organisation's list: what names them, what approves nobody else's, what each field takes away."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.lists import NOW, image, image_list
from support.sitescenario import site
from vmkeeper.lists.hepix import HepixList
from vmkeeper.model.foreign import ForeignList
from vmkeeper.model.site import Site
from vmkeeper.plan.foreign import Taken, held, take
from vmkeeper.plan.names import foreign_names
from vmkeeper.plan.waiting import waiting
from vmkeeper.plan.wanted import Allowed, Current, NotAllowed, Subscribed
from vmkeeper.trust.approval import Decision

IMAGE = image()
DIGEST, UUID, VERSION, VO = IMAGE.sha512, IMAGE.uuid, IMAGE.version, "science.example.org"
DAY = timedelta(days=1)
CLOUD = {"type": "openstack", "cloud": "c", "places": [{"name": "north"}, {"name": "south"}]}


def foreign(**changes: Any) -> ForeignList:
    return ForeignList.model_validate({"name": "egi", "url": "https://lists.example.org/egi", "endorser": {"dn": "/CN=a", "ca": "/CN=b"}, **changes})


def taken(here: Site, source: HepixList | None = None, **entry: Any) -> Taken:
    source = source or image_list()
    made = foreign(**entry)
    return take(source, made, here, NOW, names=foreign_names(made.name, source.images, {}, ()))


def decision(here: Site, source: HepixList | None = None, **entry: Any) -> Decision:
    (found,) = taken(here, source, **entry).decisions
    return found


def approving(*entries: dict[str, Any], **fields: Any) -> Site:
    return site({"approve": list(entries), **fields})


@pytest.mark.parametrize(
    "entry",
    [
        {"list": "egi"},
        {"list": "egi", "appliance": "*"},
        {"list": "egi", "appliance": "*debian*"},
        {"appliance": "*", "endorser": "egi"},
        {"appliance": "egi-*"},
        {"appliance": "egi-debian-12"},
        {"appliance": UUID},
        {"digest": DIGEST},
        {"list": "egi", "digest": DIGEST, "version": f"=={VERSION}", "community": "science.*"},
        {"list": "egi", "not_before": NOW, "until": NOW + DAY},
    ],
    ids=str,
)
def test_an_approval_that_names_the_list_or_the_image_approves_it(entry: dict[str, Any]) -> None:
    made = taken(approving(entry))
    assert [one.accepted for one in made.decisions] == [True]
    assert [offer.spec.appliance for offer in made.offers] == ["egi-debian-12"]
    (standing,) = made.standings.values()
    assert isinstance(standing, Allowed)


@pytest.mark.parametrize(
    "entry",
    [
        {"appliance": "*"},
        {"community": VO},
        {"community": "*"},
        {"appliance": "*", "community": VO, "version": "*"},
        {"appliance": "e*"},
        {"appliance": "*debian-12"},
        {"list": "main"},
        {"list": "main", "appliance": "egi-*"},
        {"endorser": "alice"},
        {"tag": "*"},
        {"tag": "endorse/*", "list": "egi"},
        {"digest": "cd" * 64},
        {"list": "egi", "digest": "cd" * 64},
        {"list": "egi", "community": "other.*"},
        {"list": "egi", "endorser": "alice"},
        {"list": "egi", "appliance": "debian-12"},
        {"appliance": "11111111-2222-4333-8444-555555555556"},
    ],
    ids=str,
)
def test_what_does_not_name_it_approves_nothing_of_another_organisation(entry: dict[str, Any]) -> None:
    found = decision(approving(entry))
    assert not found.accepted
    assert not found.blocked
    assert decision(approving(entry, {"list": "egi"})).accepted, "and takes nothing away"


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"version": "==9"}, "does not approve egi-debian-12 2026.11.20.7 (* ==9 from the list egi)"),
        ({"not_before": NOW + DAY}, "only from 2026-11-21T12:00:00Z on"),
        ({"until": NOW}, "only until 2026-11-20T12:00:00Z, which is over"),
        ({"endorser": "alice"}, "only if endorsed by alice (endorsed by egi)"),
    ],
    ids=str,
)
@pytest.mark.parametrize("new", ["approve", "ask", "refuse"])
def test_an_approval_that_names_the_list_leaves_out_what_it_does_not_mean_whatever_becomes_of_new_ones(
    entry: dict[str, Any], told: str, new: str
) -> None:
    found = decision(approving({"list": "egi", **entry}), new=new)
    assert [told in str(refusal) for refusal in found.refusals] == [True]


def test_the_end_of_an_approval_is_a_matter_of_time() -> None:
    spec = taken(approving({"list": "egi"})).offers[0].spec
    for entry, ground in (({"until": NOW}, "expired"), ({"not_before": NOW + DAY}, "unapproved"), ({"until": NOW, "version": "==9"}, "unapproved")):
        (standing,) = held(spec.list, foreign(), approving({"list": "egi", **entry}), [spec], NOW).standings.values()
        assert isinstance(standing, NotAllowed)
        assert standing.ground == ground


def test_a_new_image_runs_waits_or_is_passed_over() -> None:
    assert decision(approving(), new="approve").accepted
    asked, refused = decision(approving(), new="ask"), decision(approving(), new="refuse")
    assert (asked.undecided, asked.refusals[0].why) == (True, "it waits for a decision")
    assert (refused.undecided, refused.refusals[0].why) == (False, "the site passes over what it does not approve of egi")


@pytest.mark.parametrize(
    "entry",
    [
        {"appliance": "*"},
        {"list": "egi"},
        {"community": "science.*"},
        {"endorser": "egi"},
        {"digest": DIGEST},
        {"appliance": UUID},
        {"appliance": "*-12", "version": ">2026"},
        {"list": "egi", "until": NOW + DAY},
    ],
    ids=str,
)
def test_a_block_need_not_name_the_list_and_wins(entry: dict[str, Any]) -> None:
    here = approving({"list": "egi"}, {"digest": DIGEST}, block=[{**entry, "reason": "a hole"}])
    found = decision(here, new="approve")
    assert (found.blocked, found.accepted) == (True, False)
    assert "a hole" in found.refusals[0].evidence
    spec = taken(approving({"list": "egi"})).offers[0].spec
    (standing,) = held(spec.list, foreign(), here, [spec], NOW).standings.values()
    assert isinstance(standing, NotAllowed)
    assert standing.ground == "blocked"


@pytest.mark.parametrize(
    "entry",
    [
        {"list": "main"},
        {"community": "x.*"},
        {"endorser": "alice"},
        {"tag": "*"},
        {"digest": "cd" * 64},
        {"list": "egi", "until": NOW},
        {"appliance": "*", "not_before": NOW + DAY},
    ],
    ids=str,
)
def test_a_block_of_something_else_blocks_nothing(entry: dict[str, Any]) -> None:
    assert decision(approving({"list": "egi"}, block=[{**entry, "reason": "a hole"}])).accepted


def test_what_the_site_has_is_judged_by_the_same_fields_while_the_list_is_away() -> None:
    spec = taken(approving({"list": "egi"})).offers[0].spec
    for entry, good in (
        ({"list": "egi", "community": "science.*"}, True),
        ({"list": "egi", "community": "other.*"}, False),
        ({"digest": DIGEST}, True),
        ({"digest": "cd" * 64}, False),
        ({"list": "egi", "until": NOW}, False),
    ):
        (found,) = held(spec.list, foreign(), approving(entry), [spec], NOW).decisions
        assert found.accepted == good, entry
        assert not found.undecided


def test_what_is_approved_at_one_place_is_decided_at_the_others() -> None:
    here = site({"platform": CLOUD, "approve": [{"list": "egi", "places": ["north"]}]})
    for new in ("approve", "ask", "refuse"):
        assert decision(here.at("north"), new=new).accepted
        south = decision(here.at("south"), new=new)
        assert (south.accepted, south.undecided, "only at north" in south.refusals[0].why) == (False, False, True)
        assert not decision(here, new=new).accepted, "of the site as a whole nothing is concluded"


def test_what_waits_is_data() -> None:
    second = image(uuid="22222222-2222-4333-8444-555555555555", title="Fedora", sha512="ef" * 64)
    source = image_list(IMAGE, second, image(uuid="32222222-2222-4333-8444-555555555555", title="Old", expires=NOW))
    here = site({"foreign": [foreign().model_dump(exclude_unset=True)], "approve": [{"appliance": "egi-debian-12", "version": "<2026"}]})
    made = taken(here, source)
    lists = [Subscribed("egi", source.uuid, Current(source.expires, tuple(made.offers), tuple(made.others)))]
    found = waiting(here, lists, made.decisions, NOW)
    assert [one.as_json() for one in found] == [
        {
            "list": "egi",
            "appliance": name,
            "version": VERSION,
            "sha512": digest,
            "endorsers": ["egi"],
            "since": "2026-11-20T12:00:00Z",
            "places": [],
        }
        for name, digest in (("egi-debian-12", DIGEST), ("egi-fedora", "ef" * 64))
    ]
    assert waiting(here, lists, made.decisions, source.expires) == ()
    assert waiting(here, [replace(lists[0], name="other")], made.decisions, NOW) == ()


ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "appliance": st.sampled_from(["*", "egi-*", "egi-debian-12", UUID, "debian-*"]),
        "version": st.sampled_from(["*", f"=={VERSION}", "<1"]),
        "list": st.sampled_from(["egi", "main"]),
        "community": st.sampled_from(["science.*", "x"]),
        "endorser": st.sampled_from(["egi", "alice"]),
        "tag": st.just("*"),
        "digest": st.sampled_from([DIGEST, "cd" * 64]),
        "until": st.sampled_from([NOW, NOW + DAY]),
    },
).map(lambda fields: {"appliance": "*", **fields})


@given(st.lists(ENTRIES, max_size=3), st.lists(ENTRIES, max_size=2), ENTRIES, st.sampled_from(["ask", "refuse"]))
def test_one_block_more_never_allows_and_one_approval_more_never_takes_away(
    approve: list[dict[str, Any]], block: list[dict[str, Any]], entry: dict[str, Any], new: str
) -> None:
    def accepted(some: list[dict[str, Any]], against: list[dict[str, Any]]) -> bool:
        return decision(site({"approve": some, "block": [{**one, "reason": "r"} for one in against]}), new=new).accepted

    now = accepted(approve, block)
    assert accepted(approve, [*block, entry]) <= now
    assert accepted([*approve, entry], block) >= now
