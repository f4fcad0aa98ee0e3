"""The `foreign:` part of a site's file."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from vmkeeper.documents.kinds import KINDS
from vmkeeper.documents.load import read
from vmkeeper.model.foreign import ForeignList
from vmkeeper.model.site import Site

ENTRY: dict[str, Any] = {"name": "science", "url": "https://lists.example.org/vo/image.list", "endorser": {"dn": "/DC=org/CN=a", "ca": "CN=b,DC=org"}}


def entry(**changes: Any) -> ForeignList:
    return ForeignList.model_validate({**ENTRY, **changes})


def test_what_is_left_out_is_careful() -> None:
    made = entry()
    assert (made.new, made.sha1, made.credentials, made.uuid, made.images) == ("ask", False, None, None, ("*",))
    assert made.limits.images == 1000


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example.org",
        "http://127.0.0.1:8080/x",
        "https://a.example.org/x?token=1&b=2",
        "https://[2001:db8::1]/x",
        "https://a.example.org/~a/x;y=1",
    ],
)
def test_addresses_that_are_taken(url: str) -> None:
    assert entry(url=url).url == url


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.example.org/x",
        "file:///etc/passwd",
        "https://user:secret@a.example.org/x",
        "https://a.example.org/x#y",
        "https://a.example.org/a b",
        "",
        "//a/x",
        "https:///x",
    ],
)
def test_addresses_that_are_not(url: str) -> None:
    with pytest.raises(ValidationError):
        entry(url=url)


@pytest.mark.parametrize(
    "changes",
    [
        {"endorser": {"dn": "/CN=a"}},
        {"endorser": None},
        {"endorser": {"dn": "somebody", "ca": "/CN=b"}},
        {"new": "yes"},
        {"name": "Science"},
        {"uuid": "x"},
        {"limits": {"images": 0}},
        {"credentials": "../secret"},
        {"more": 1},
    ],
)
def test_what_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        entry(**changes)


def site(*foreign: str, subscribe: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The problems of a site's file with lists of these names."""
    lists = "".join(f"- {{name: {name}, url: 'https://a.example.org', endorser: {{dn: /CN=a, ca: /CN=b}}}}\n" for name in foreign)
    own = "".join(f"- {{list: {name}}}\n" for name in subscribe) or "  []\n"
    text = f"title: Here\nplatform: {{type: local}}\nsubscribe:\n{own}foreign:\n{lists}"
    loaded = read(KINDS["site"], text.encode(), "sites/here.yaml")
    assert (loaded.document is None) == bool(loaded.problems)
    assert loaded.document is None or isinstance(loaded.document, Site)
    return tuple(str(problem) for problem in loaded.problems)


def test_lists_have_names_of_their_own() -> None:
    assert site("science", "other") == ()
    assert "two lists are called science" in site("science", "science")[0]
    assert "two lists are called science" in site("science", subscribe=("science",))[0]


def test_no_list_s_name_begins_like_another_s_images() -> None:
    assert site("science", "sciences", "sci") == ()
    for names in (("science", "science-fed"), ("science-fed", "science")):
        (problem,) = site(*names)
        assert "science-fed begins like the names of images of science" in problem
        assert problem.startswith("sites/here.yaml:")
