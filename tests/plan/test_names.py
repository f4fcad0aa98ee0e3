"""What images of foreign lists are called: readable, unique, and the same for good."""

from __future__ import annotations

import re
from uuid import NAMESPACE_DNS, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from support.lists import image
from vmkeeper.lists.hepix import HepixImage
from vmkeeper.plan.names import foreign_names
from vmkeeper.values import Name

NAME = TypeAdapter(Name)


def one(title: str | None, key: str = "") -> HepixImage:
    return image(uuid=str(uuid5(NAMESPACE_DNS, key or title or "")), title=title)


def named(*images: HepixImage, known: dict[str, str] | None = None, others: tuple[str, ...] = (), called: str = "egi") -> list[str]:
    names = foreign_names(called, images, known or {}, others)
    return [names[each.uuid] for each in images]


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Debian 12", "egi-debian-12"),
        ("Image for EGI Ubuntu 22.04 [Ubuntu/22.04/KVM]", "egi-image-for-egi-ubuntu-22.04-ubuntu-22.04-kvm"),
        ("CernVM (µCernVM) v4.7", "egi-cernvm-cernvm-v4.7"),
        ("Ελλάδα 7", "egi-7"),
        ("a..b", "egi-a-b"),
        (".hidden.", "egi-hidden"),
        ("x.lock", "egi-x-lock"),
        ("--", None),
        ("", None),
        (None, None),
        ("日本", None),
        ("\x1b[31mred", "egi-31mred"),
        ("w" * 100, "egi-" + "w" * 60),
    ],
)
def test_titles_become_names(title: str | None, name: str | None) -> None:
    entry = one(title, key="k")
    assert named(entry) == [name or f"egi-{entry.uuid[:8]}"]


def test_two_new_images_of_one_title_both_bear_their_uuid() -> None:
    first, second = one("Debian", "a"), one("debian", "b")
    assert named(first, second) == [f"egi-debian-{first.uuid[:8]}", f"egi-debian-{second.uuid[:8]}"]


def test_a_known_image_keeps_its_name_and_the_new_one_gets_another() -> None:
    first, second = one("Debian", "a"), one("Debian", "b")
    (name,) = named(first)
    assert named(second, first, known={first.uuid: name}) == [f"egi-debian-{second.uuid[:8]}", "egi-debian"]


def test_names_of_other_lists_are_not_taken() -> None:
    entry = one("a-b")
    assert named(entry, others=("egi-a-b",)) == [f"egi-a-b-{entry.uuid[:8]}"]
    assert named(entry, others=("egi-a-b", f"egi-a-b-{entry.uuid[:8]}")) == [f"egi-{entry.uuid}"]


TITLES = st.one_of(st.none(), st.text(max_size=80), st.sampled_from(["Debian", "debian", "DEBIAN!", "Fedora"]))
LISTS = st.lists(st.tuples(TITLES, st.integers(0, 40)), max_size=12, unique_by=lambda each: each[1]).map(
    lambda items: [one(title, f"k{key}") for title, key in items]
)


@given(LISTS, LISTS, st.from_regex(re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?"), fullmatch=True))
def test_names_are_names_unique_and_stay(before: list[HepixImage], after: list[HepixImage], called: str) -> None:
    known = foreign_names(called, before, {}, ())
    names = foreign_names(called, after, known, ())
    assert known.items() <= names.items()
    assert len(set(names.values())) == len(names)
    for name in names.values():
        assert NAME.validate_python(name) == name
        assert name.startswith(f"{called}-")
    assert foreign_names(called, after, names, ()) == names
