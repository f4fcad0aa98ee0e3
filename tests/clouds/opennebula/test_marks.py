"""What is written on images reads back as it was, whatever is in it, and never becomes anything else."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.setting import DISK, THEN, spec_of
from vmkeeper.clouds.opennebula.marks import (
    HIDDEN,
    OURS,
    OWNER,
    SPEC,
    attribute_name,
    changed,
    check_extra,
    image_attributes,
    merged,
    nested,
    plain,
    read_mark,
)
from vmkeeper.clouds.opennebula.names import alias_names, image_names
from vmkeeper.clouds.opennebula.rights import bits
from vmkeeper.errors import UserError

ME = "vmkeeper:here"
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.sampled_from(
    ["]]>", "]]]>>", "<![CDATA[x]]>", '"', "\n", "\x00", "$USER[A]"]
)
keys = st.from_regex(r"\A[a-z0-9_.:]{1,20}\Z")


def sent(template: dict[str, Any]) -> dict[str, Any]:
    """What oned reads of what pyone sends."""
    from pyone.util import cast2one

    root = ElementTree.fromstring(cast2one(template))
    assert root.tag == "TEMPLATE"
    return {child.tag: child.text or "" for child in root}


@given(st.dictionaries(keys, texts, max_size=6), st.none() | st.integers(0, 2**32).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)))
def test_a_mark_is_read_back_from_what_goes_over_the_wire(properties: dict[str, str], hidden: datetime | None) -> None:
    spec = spec_of(DISK, properties=properties, alias="debian-12")
    written = image_attributes(ME, spec, hidden)
    read = sent(nested(written))
    assert set(read) == set(written)
    mark = read_mark(read)
    assert mark is not None
    assert (mark.owner, mark.spec, mark.unfinished) == (ME, spec, "")
    assert mark.hidden_since == hidden
    assert changed(read, written) == ()
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]*", key) for key in read)


@given(keys)
def test_a_property_never_becomes_what_oned_or_we_understand(key: str) -> None:
    name = attribute_name(key)
    assert re.match(r"(AD|HV|SL|DC|OS|HW|IMG)_|VMKEEPER_PROPERTY_", name)
    assert name not in (OWNER, SPEC, HIDDEN)


@pytest.mark.parametrize(
    ("key", "name"), [("ad:mpuri", "AD_MPURI"), ("os_distro", "OS_DISTRO"), ("path", "VMKEEPER_PROPERTY_PATH"), ("sl:os", "SL_OS")]
)
def test_known_properties_keep_their_names(key: str, name: str) -> None:
    assert attribute_name(key) == name


@given(texts)
def test_plain_text_can_always_be_sent(text: str) -> None:
    assert plain(plain(text)) == plain(text)
    if plain(text):
        assert sent(nested({"A": plain(text)}))["A"] == plain(text)


@pytest.mark.parametrize("bad", [{"A": "]]>"}, {"A": "\x01"}, {"a b": "x"}, {"A": 1}, {"A": {"b": "x"}}, {"A": ["]]>"]}, {"A-B": "x"}, {"9": "x"}])
def test_what_would_not_arrive_as_it_is_is_not_sent(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"sent|name"):
        nested(bad)


@pytest.mark.parametrize("spoilt", ["", "{", "[]", "{}", '{"name": 1}'])
def test_a_mark_that_cannot_be_read_is_still_a_mark(spoilt: str) -> None:
    mark = read_mark({OWNER: ME, SPEC: spoilt})
    assert mark is not None
    assert (mark.owner, mark.spec) == (ME, None)


@pytest.mark.parametrize("other", [{}, {OWNER: ""}, {OWNER: {"A": "x"}}, {SPEC: "{}"}])
def test_what_names_no_owner_is_no_mark(other: dict[str, Any]) -> None:
    assert read_mark(other) is None


def test_the_programs_of_others_find_what_they_read() -> None:
    spec = spec_of(DISK, properties={"ad:mpuri": "https://example.org/1", "title": "Debian", "sl:osname": "Debian"})
    written = image_attributes(ME, spec)
    assert written["AD_MPURI"] == written["CLOUDKEEPER_APPLIANCE_MPURI"] == "https://example.org/1"
    assert written["NIFTY_APPLIANCE_ID"] == written["CLOUDKEEPER_APPLIANCE_ID"] == spec.uuid
    assert written["CLOUDKEEPER_APPLIANCE_IMAGE_LIST_ID"] == spec.list
    assert written["CLOUDKEEPER_APPLIANCE_TITLE"] == "Debian"


def test_a_change_drops_what_we_had_said_and_keeps_what_others_said() -> None:
    old, new = spec_of(DISK, properties={"os_distro": "debian"}), spec_of(DISK, properties={"sl:os": "Linux"})
    current = {**image_attributes(ME, old, THEN), "LABELS": "a", "V": {"A": "1"}, "bad key": "x", "VMKEEPER_JUNK": "x", "DEV_PREFIX": "sd"}
    after = merged(current, image_attributes(ME, old), image_attributes(ME, new))
    assert after == {**image_attributes(ME, new), "LABELS": "a", "V": {"A": "1"}, "DEV_PREFIX": "sd"}


@pytest.mark.parametrize("key", ["PATH", "SOURCE", "NAME", "PERSISTENT", "SHA1", f"{OURS}OWNER"])
def test_a_sites_template_cannot_say_what_decides_about_bytes_or_ownership(key: str) -> None:
    with pytest.raises(UserError, match=key):
        check_extra({key: "x"}, "here")


@given(
    st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9 ._()-]{0,126}\Z"), st.booleans(), st.sampled_from([ME, f"{ME}/a-very-long-name-of-a-place-that-is-there"])
)
def test_names_are_such_as_oned_takes(name: str, hidden: bool, owner: str) -> None:
    names = (*image_names(owner, spec_of(DISK, name=name), hidden=hidden), *alias_names(owner, name))
    for made in names:
        assert 0 < len(made.encode()) <= 128
        assert not set(made) & set("&|:\\\";/'#{}$<>")
    assert len(set(image_names(owner, spec_of(DISK, name=name)))) == 3


def test_permissions_are_nine_bits() -> None:
    assert bits("640") == (1, 1, 0, 1, 0, 0, 0, 0, 0)
    assert bits("755") == (1, 1, 1, 1, 0, 1, 1, 0, 1)


def test_the_spec_is_json_that_needs_no_escaping() -> None:
    text = image_attributes(ME, spec_of(DISK, properties={"title": "<]]>é\n"}))[SPEC]
    assert text.isascii()
    assert not set(text) & set("<>\n")
    assert json.loads(text)["properties"] == {"title": "<]]>é\n"}
