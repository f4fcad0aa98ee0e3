"""Formats as lists write them and as addresses end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmkeeper.plan.formats import INPUTS, PACKED, format_named, format_of, stored_as

KNOWN = [*INPUTS, *(f"{name}.{packing}" for name in INPUTS for packing in PACKED)]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("QCOW2", "qcow2"),
        (" Raw ", "raw"),
        (".ova", "ova"),
        ("img", "raw"),
        ("img.gz", "raw.gz"),
        ("vpc", "vhd"),
        ("tgz", "tar.gz"),
        ("VMDK.BZ2", "vmdk.bz2"),
        ("floppy", ""),
        ("gz", ""),
        ("qcow2.gz.gz", ""),
        ("qcow2.rar", ""),
        ("qcow2.", "qcow2"),
        ("", ""),
    ],
)
def test_formats_are_read_as_lists_write_them(written: str, read: str) -> None:
    assert format_named(written) == read


@pytest.mark.parametrize(
    ("address", "read"),
    [
        ("https://images.example.org/a/debian-12.4.qcow2", "qcow2"),
        ("https://images.example.org/a/debian.raw.xz?download=1#x", "raw.xz"),
        ("https://images.example.org/appliance.OVA", "ova"),
        ("https://images.example.org/qcow2", ""),
        ("https://images.example.org/debian-12.4", ""),
        ("https://images.example.org/", ""),
        ("https://images.example.org/x.tgz", "tar.gz"),
    ],
)
def test_an_address_tells_a_format_by_its_end(address: str, read: str) -> None:
    assert format_of(address) == read


@given(st.sampled_from(KNOWN), st.lists(st.sampled_from(["qcow2", "raw", "vmdk", "vdi", "vhd", "ova"]), min_size=1, unique=True))
def test_what_a_site_takes_is_stored_as_it_comes_and_all_else_as_its_first_format(found: str, wanted: list) -> None:
    assert stored_as(found, wanted) == (found if found in wanted else wanted[0])


@given(st.text(max_size=20))
def test_no_other_format_is_stored(text: str) -> None:
    if text not in KNOWN:
        assert stored_as(text, ["qcow2"]) is None
