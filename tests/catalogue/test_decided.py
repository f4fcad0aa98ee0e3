"""`check` of a site's decisions: what can mean nothing is a problem, what is of no use is said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.endorserlists import ALICE
from support.repo import Repo, base, locked, tools
from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.catalogue.check import check
from vmkeeper.catalogue.decided import remarks
from vmkeeper.values import parse_time

NOW = parse_time("2026-11-20T10:00:00Z")
UUID = "0b7e9a52-6f0c-4a53-9d0a-0f2f0a1c7d11"
FOREIGN = {"name": "egi", "url": "https://lists.example.org/x", "endorser": {"dn": "/CN=a", "ca": "/CN=b"}}
LIST = {
    "uuid": UUID,
    "title": "Main",
    "description": "",
    "source": "tests",
    "url": "https://images.example.org",
    "owner": {"name": "A", "email": "a@example.org"},
    "appliances": [{"appliance": "base"}],
    "endorsed_by": "team",
}
TEAM = {
    "title": "Team",
    "community": "vo.example.org",
    "policy": "We looked.",
    "endorsers": [
        {
            "name": "alice",
            "full_name": "Alice",
            "email": "alice@example.org",
            "keys": [{"type": "openpgp", "fingerprint": ALICE, "file": "keys/a.asc"}],
        }
    ],
}
SITE = {"title": "Here", "platform": {"type": "openstack", "cloud": "c", "places": [{"name": "north"}, {"name": "south"}]}}
DIGEST = "ab" * 64


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    made = Repo(tmp_path_factory.mktemp("repo") / "repo")
    made.commit({**tools(), **base(), "imagelists/main.yaml": json.dumps(LIST), "endorsers/team.yaml": json.dumps(TEAM)})
    made.commit(locked(made))
    return made


def catalogue(repo: Repo, site: dict[str, Any]) -> Catalogue:
    document = {**SITE, "subscribe": [{"list": "main"}], **site}
    repo.commit({"sites/here.yaml": json.dumps(document, indent=0)})
    return Catalogue.at(repo.repository, repo.repository.head())


def problems(repo: Repo, **site: Any) -> list[tuple[str, str]]:
    found = check(catalogue(repo, site))
    assert all(one.hint and (one.place.line or one.place.file != "sites/here.yaml") for one in found)
    return [(one.place.field, one.what) for one in found if one.place.file == "sites/here.yaml"]


@pytest.mark.parametrize(
    "entry",
    [
        {"appliance": "base"},
        {"appliance": "*"},
        {"appliance": "ba*", "list": "main"},
        {"list": "main"},
        {"endorser": "alice"},
        {"community": "vo.example.org"},
        {"community": "*.org", "places": ["north"]},
        {"tag": "endorse/base/*"},
        {"tag": "*/alice/*"},
        {"tag": "end*"},
        {"digest": DIGEST},
        {"list": "egi"},
        {"list": "egi", "appliance": "egi-*"},
        {"list": "egi", "appliance": "*-debian"},
        {"list": "egi", "appliance": "e*"},
        {"list": "egi", "appliance": UUID},
        {"list": "egi", "endorser": "egi", "community": "whatever"},
        {"appliance": UUID},
        {"appliance": "egi-*", "community": "whatever"},
        {"appliance": "*", "endorser": "egi"},
    ],
    ids=str,
)
def test_a_decision_that_can_mean_something_is_sound(repo: Repo, entry: dict[str, Any]) -> None:
    assert problems(repo, foreign=[FOREIGN], approve=[entry], block=[{**entry, "reason": "no"}]) == []


@pytest.mark.parametrize(
    ("entry", "field", "says"),
    [
        ({"appliance": "bsae"}, "appliance", "bsae matches no appliance"),
        ({"list": "mian"}, "list", "the site takes no list mian"),
        ({"list": "mian", "endorser": "nobody"}, "list", "the site takes no list mian"),
        ({"endorser": "alcie"}, "endorser", "alcie endorses for no list that the site takes"),
        ({"tag": "v1*"}, "tag", "no endorsement has a tag like v1*"),
        ({"tag": "withdraw/*"}, "tag", "no endorsement has a tag like withdraw/*"),
        ({"tag": "end"}, "tag", "no endorsement has a tag like end"),
        ({"list": "egi", "appliance": "debian-12"}, "appliance", "images of the list egi have names that begin with egi-"),
        ({"list": "egi", "appliance": "egi"}, "appliance", "images of the list egi have names that begin with egi-"),
        ({"list": "egi", "endorser": "alice"}, "endorser", "the list egi answers for its images itself"),
        ({"list": "egi", "tag": "endorse/*"}, "tag", "nobody endorses images of the list egi with tags"),
        ({"list": "main", "appliance": "egi-*"}, "appliance", "egi-* matches no appliance"),
    ],
    ids=str,
)
def test_a_decision_that_can_mean_nothing_is_found(repo: Repo, entry: dict[str, Any], field: str, says: str) -> None:
    assert problems(repo, foreign=[FOREIGN], approve=[entry], block=[{**entry, "reason": "no"}]) == [
        (f"approve[0].{field}", says),
        (f"block[0].{field}", says),
    ]


def test_a_community_alone_means_no_foreign_list(repo: Repo) -> None:
    entry = {"community": "egi.eu"}
    assert problems(repo, foreign=[FOREIGN], approve=[entry]) == [("approve[0].community", "no list that the site takes speaks for egi.eu")]
    assert problems(repo, foreign=[FOREIGN], block=[{**entry, "reason": "no"}]) == []
    assert problems(repo, block=[{**entry, "reason": "no"}]) == [("block[0].community", "no list that the site takes speaks for egi.eu")]


def test_where_endorsers_cannot_be_read_nobody_is_missed(repo: Repo) -> None:
    site = {"subscribe": [{"list": "main"}, {"list": "gone"}], "approve": [{"endorser": "carol"}, {"community": "x"}]}
    assert problems(repo, **site) == [("subscribe[1].list", "there is no image list gone")]


def test_a_hold_of_nothing_is_found(repo: Repo) -> None:
    holds = [{"appliance": name, "reason": "r"} for name in ("base", "egi-*", "*", "bsae")]
    assert problems(repo, foreign=[FOREIGN], hold=holds) == [("hold[3].appliance", "bsae matches no appliance")]


def test_entries_that_are_of_no_use_are_said_and_stop_nothing(repo: Repo) -> None:
    site = {
        "approve": [
            {"appliance": "base", "until": "2026-11-20T10:00:00Z"},
            {"appliance": "base", "version": ">=2"},
            {"appliance": "base", "version": " >= 2.0"},
            {"list": "main", "places": ["north"]},
            {"appliance": "base", "endorser": "alice", "until": "2026-12-01T00:00:00Z"},
        ],
        "block": [
            {"list": "main", "places": ["north", "south"], "reason": "r"},
            {"appliance": "b*", "endorser": "alice", "until": "2027-01-01T00:00:00Z", "reason": "r"},
        ],
        "hold": [{"appliance": "base", "until": "2026-01-01T00:00:00Z", "reason": "r"}],
    }
    made = catalogue(repo, site)
    assert not [one for one in check(made) if one.place.file == "sites/here.yaml"]
    assert remarks(made, NOW) == tuple(
        f"sites/here.yaml: {sentence}"
        for sentence in (
            "approve[0] ended at 2026-11-20T10:00:00Z; it can go",
            "approve[2] says the same as approve[1]; it can go",
            "hold[0] ended at 2026-01-01T00:00:00Z; it can go",
            "approve[3] never counts, for block[0] takes all of it",
            "approve[4] never counts, for block[1] takes all of it",
        )
    )


@pytest.mark.parametrize(
    ("approve", "block"),
    [
        ({"appliance": "b*"}, {"appliance": "base"}),
        ({"appliance": "base"}, {"appliance": "base", "version": "<2"}),
        ({"appliance": "base"}, {"appliance": "base", "endorser": "alice"}),
        ({"appliance": "base"}, {"appliance": "base", "places": ["north"]}),
        ({"appliance": "base"}, {"appliance": "base", "until": "2027-01-01T00:00:00Z"}),
        ({"appliance": "base", "until": "2028-01-01T00:00:00Z"}, {"appliance": "base", "until": "2027-01-01T00:00:00Z"}),
        ({"appliance": "base"}, {"appliance": "base", "not_before": "2027-01-01T00:00:00Z"}),
    ],
)
def test_an_approval_of_which_something_is_left_is_of_use(repo: Repo, approve: dict[str, Any], block: dict[str, Any]) -> None:
    assert remarks(catalogue(repo, {"approve": [approve], "block": [{**block, "reason": "r"}]}), NOW) == ()
