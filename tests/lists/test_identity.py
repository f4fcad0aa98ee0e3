"""A list that is read and written again, as a mirror does: the same in all that we know, and all else as it was, in its place and order."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from support.lists import EXTRA, FILLED, JSON, LISTS, TEXTS, TIMES, VERSIONS
from vmkeeper.lists.hepix import KNOWN_KEYS, publish_text, read, version_key, write
from vmkeeper.values import format_time

Pairs = list[tuple[str, Any]]
MIB = 1 << 20

TIME = TIMES.map(format_time)
WHOLE = st.integers(0, 10**12)
SIZES = st.integers(1, 1 << 50).flatmap(lambda size: st.sampled_from([size, str(size)]))
UUIDS = st.uuids().map(str).flatmap(lambda text: st.sampled_from([text, text.upper()]))
RAM = st.integers(0, 1 << 21).flatmap(lambda mib: st.sampled_from([mib, str(mib), mib * MIB, str(mib * MIB)]) if mib < MIB else st.just(mib * MIB))
NUMBERS = st.integers(0, 4096).flatmap(lambda number: st.sampled_from([number, str(number)]))
DIGESTS = st.text("0123456789abcdefABCDEF", min_size=128, max_size=128)
TEXT_OR_NUMBER = TEXTS | WHOLE

LIST_KEYS = {
    "dc:date:created": TIME, "dc:date:expires": TIME, "dc:identifier": UUIDS, "dc:description": TEXT_OR_NUMBER, "dc:title": TEXT_OR_NUMBER,
    "dc:source": TEXTS, "hv:version": VERSIONS | WHOLE, "hv:uri": FILLED,
}  # fmt: skip
IMAGE_KEYS = {"dc:identifier": UUIDS, "hv:uri": FILLED, "hv:version": VERSIONS | WHOLE, "hv:size": SIZES, "sl:checksum:sha512": DIGESTS}
IMAGE_MAY = {
    "dc:date:expires": TIME, "hv:format": FILLED, "hv:ram_minimum": RAM, "ad:ram_recommended": RAM, "hv:core_minimum": NUMBERS,
    "ad:core_recommended": NUMBERS,
}  # fmt: skip
IMAGE_MAY |= dict.fromkeys(KNOWN_KEYS["image"] - IMAGE_KEYS.keys() - IMAGE_MAY.keys(), TEXT_OR_NUMBER)


def shuffled(draw: Any, known: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """Known and unknown keys in any order."""
    return dict(draw(st.permutations([*known.items(), *extra.items()])))


@st.composite
def documents(draw: Any) -> dict[str, Any]:
    """Lists as anybody may write them: each value in each of its forms, unknown keys at every level."""
    identifiers = draw(st.lists(UUIDS, max_size=3, unique_by=str.lower))
    images = []
    for identifier in identifiers:
        made = {**draw(st.fixed_dictionaries(IMAGE_KEYS, optional=IMAGE_MAY)), "dc:identifier": identifier}
        images.append(shuffled(draw, {"hv:image": shuffled(draw, made, draw(EXTRA))}, draw(EXTRA)))
    endorser = draw(st.fixed_dictionaries({"hv:dn": FILLED, "hv:ca": FILLED}, optional={"hv:email": TEXTS, "dc:creator": TEXTS}))
    body = draw(st.fixed_dictionaries(LIST_KEYS, optional={"ad:vo": TEXTS}))
    body |= {"hv:images": images, "hv:endorser": shuffled(draw, {"hv:x509": shuffled(draw, endorser, draw(EXTRA))}, draw(EXTRA))}
    return shuffled(draw, {"hv:imagelist": shuffled(draw, body, draw(EXTRA))}, draw(EXTRA))


def meant(key: str, value: Any) -> Any:
    """A known value in the one form that we write."""
    if key in ("dc:identifier", "sl:checksum:sha512"):
        return str(value).lower()
    if key in ("hv:size", "hv:core_minimum", "ad:core_recommended"):
        return int(value)
    if key in ("hv:ram_minimum", "ad:ram_recommended"):
        amount = int(value) if int(value) >= MIB else int(value) * MIB
        return amount // MIB if amount < MIB * MIB else amount
    return str(value)


def known_of(value: dict[str, Any], level: str) -> dict[str, Any]:
    return {key: meant(key, value[key]) for key in KNOWN_KEYS[level] & value.keys() if key not in ("hv:endorser", "hv:images")}


def unknown_of(value: dict[str, Any], *known: str) -> Pairs:
    return [(key, item) for key, item in value.items() if key not in known]


@settings(max_examples=200, deadline=None)
@given(document=documents(), escaped=st.booleans())
def test_a_list_comes_back_as_it_was(document: dict[str, Any], escaped: bool) -> None:
    again = json.loads(write(read(json.dumps(document, ensure_ascii=escaped).encode())))
    one, two = document["hv:imagelist"], again["hv:imagelist"]
    assert unknown_of(again, "hv:imagelist") == unknown_of(document, "hv:imagelist")
    assert known_of(two, "list") == known_of(one, "list")
    assert unknown_of(two, *KNOWN_KEYS["list"]) == unknown_of(one, *KNOWN_KEYS["list"])
    first, second = one["hv:endorser"], two["hv:endorser"]
    assert unknown_of(second, "hv:x509") == unknown_of(first, "hv:x509")
    assert known_of(second["hv:x509"], "endorser") == known_of(first["hv:x509"], "endorser")
    assert unknown_of(second["hv:x509"], *KNOWN_KEYS["endorser"]) == unknown_of(first["hv:x509"], *KNOWN_KEYS["endorser"])
    assert len(two["hv:images"]) == len(one["hv:images"])
    for first, second in zip(one["hv:images"], two["hv:images"], strict=True):
        assert unknown_of(second, "hv:image") == unknown_of(first, "hv:image")
        assert known_of(second["hv:image"], "image") == known_of(first["hv:image"], "image")
        assert unknown_of(second["hv:image"], *KNOWN_KEYS["image"]) == unknown_of(first["hv:image"], *KNOWN_KEYS["image"])


@settings(max_examples=100, deadline=None)
@given(documents())
def test_writing_once_is_enough(document: dict[str, Any]) -> None:
    once = write(read(json.dumps(document).encode()))
    assert write(read(once.encode())) == once


@settings(max_examples=100, deadline=None)
@given(LISTS)
def test_what_is_held_comes_back(found: Any) -> None:
    assert read(write(found).encode()) == found


@settings(max_examples=100, deadline=None)
@given(LISTS, JSON)
def test_no_unknown_value_changes_what_is_known(found: Any, value: Any) -> None:
    """A key that nobody knows, with any value at every level, changes nothing that we know and nothing that is published."""
    document = json.loads(write(found))
    body = document["hv:imagelist"]
    for holder in (
        body,
        body["hv:endorser"],
        body["hv:endorser"]["hv:x509"],
        *(one for item in body["hv:images"] for one in (item, item["hv:image"])),
    ):
        holder["z:new"] = value
    again = read(json.dumps(document).encode())
    assert (again.uuid, again.version, again.expires, again.endorser.dn) == (found.uuid, found.version, found.expires, found.endorser.dn)
    assert [(one.uuid, one.size, one.sha512) for one in again.images] == [(one.uuid, one.size, one.sha512) for one in found.images]


PARTS = st.text("0123456789.-,/abrc", min_size=1, max_size=12)


@given(PARTS, PARTS, PARTS)
def test_versions_are_in_one_order(one: str, two: str, three: str) -> None:
    keys = [version_key(text) for text in (one, two, three)]
    assert sum((keys[0] < keys[1], keys[0] == keys[1], keys[0] > keys[1])) == 1
    if keys[0] <= keys[1] <= keys[2]:
        assert keys[0] <= keys[2]
    assert version_key(f"{one}.1") > keys[0]


def test_publishing_is_the_same_text_whenever_it_is_read_and_written() -> None:
    from support.lists import image_list

    text = publish_text(image_list())
    assert publish_text(read(text.encode())) == text
