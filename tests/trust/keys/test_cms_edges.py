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
