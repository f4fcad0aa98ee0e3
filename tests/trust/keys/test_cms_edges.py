"""Lengths in the one form of a signature that tags carry: as short as they can be, at every size (X.690, 10.1)."""

from __future__ import annotations

import pytest

from support.certificates import ec_key, issue, name
from support.x509 import VALID, detached
from vmkeeper.trust.keys import cms

CONTENT = b"object 1\n\n{}\n"


@pytest.mark.parametrize(
    ("size", "length"),
    [(0, "00"), (1, "01"), (127, "7f"), (128, "8180"), (255, "81ff"), (256, "820100"), (65535, "82ffff"), (65536, "83010000")],
)
def test_lengths_take_no_more_bytes_than_they_need(size: int, length: str) -> None:
    made = cms._der(0x30, b"x" * (size // 2), b"x" * (size - size // 2))
    assert made == b"\x30" + bytes.fromhex(length) + b"x" * size


def test_short_signatures_have_the_form_of_tags_too() -> None:
    person = issue(name(("CN", "x")), key=ec_key(), **VALID)
    data = detached(person, CONTENT, digest="sha256", at=None)
    assert cms.canonical(cms.read(data)) == data


def test_an_element_of_unknown_length_is_what_lies_before_its_end() -> None:
    data = bytes.fromhex("30800201050401410000")
    element, end = cms._element(data + b"\0\0more", 0, 0)
    assert (element.tag, element.value, element.raw, end) == (0x30, b"", data, len(data))
    assert [(one.tag, one.value) for one in element.children] == [(0x02, b"\x05"), (0x04, b"A")]


@pytest.mark.parametrize("tag", ["04", "02", "80"])
def test_only_elements_made_of_others_are_of_unknown_length(tag: str) -> None:
    with pytest.raises(ValueError, match=r"^$"):
        cms._element(bytes.fromhex(f"{tag}800201050000"), 0, 0)


def test_depth_is_bounded_in_elements_of_unknown_length_too() -> None:
    for depth in (cms._DEPTH, cms._DEPTH + 1):
        data = b"\x30\x80" * (depth + 1) + b"\0\0" * (depth + 1)
        if depth == cms._DEPTH:
            assert cms._element(data, 0, 0)[1] == len(data)
        else:
            with pytest.raises(ValueError, match=r"^$"):
                cms._element(data, 0, 0)
