"""Whatever it is asked, the stand-in answers as oned does: with a value, a failure or a fault; and its listings stay sound XML."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from servers.opennebula.failures import Fault
from servers.opennebula.furnish import PASSWORD
from servers.opennebula.registry import METHODS
from support.oneinside import Inside

NAMES = st.sampled_from(
    [
        "NAME",
        "PATH",
        "SOURCE",
        "FORMAT",
        "SIZE",
        "TYPE",
        "PERSISTENT",
        "DISK",
        "NIC",
        "CPU",
        "MEMORY",
        "CONTEXT",
        "IMAGE",
        "IMAGE_ID",
        "IMAGE_UNAME",
        "NETWORK",
        "NETWORK_ID",
        "DATASTORE",
        "ID",
        "IMAGES",
        "VMS",
        "VM",
        "AR",
        "IP",
        "LIMIT_MB",
        "DS_MAD",
        "TM_MAD",
        "VN_MAD",
        "UMASK",
        "LABELS",
        "SAFE_DIRS",
        "X",
    ]
)
WORDS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"]), max_size=5)
"""No others come over the wire."""
TEXTS = st.one_of(
    st.sampled_from(["", "0", "1", "-1", "1.5", "abc", "YES", "fs", "dummy", "IP4", "10.0.0.1", "SYSTEM_DS", "KERNEL", "]]>", "a b"]),
    WORDS,
)
GROUPS = st.dictionaries(NAMES, TEXTS, max_size=4)


@st.composite
def templates(draw: st.DrawFn) -> str:
    root = ElementTree.Element("TEMPLATE")
    for name, value in draw(st.lists(st.tuples(NAMES, st.one_of(TEXTS, GROUPS)), max_size=8)):
        element = ElementTree.SubElement(root, name)
        if isinstance(value, str):
            element.text = value
        else:
            for inner, text in value.items():
                ElementTree.SubElement(element, inner).text = text
    return ElementTree.tostring(root, "unicode")


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "i": st.integers(-5, 5) | st.sampled_from([100, 101, 102, 2**31 - 1]),
    "s": templates()
    | TEXTS
    | st.sampled_from(["terminate", "terminate-hard", "poweroff", "resume", "hold", "release", "100000001", "8000000004", "8"]),
    "b": st.booleans(),
    "a": st.lists(st.integers(0, 3), max_size=2),
}
WRONG = st.one_of(st.none().map(lambda _: 1.5), WORDS, st.booleans(), st.integers(-2, 2))
PEACEFUL = sorted(set(METHODS) - {"one.user.passwd", "one.user.enable", "one.user.delete"})


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, str, list[Any]]:
    method = draw(st.sampled_from(PEACEFUL))
    given = [draw(VALUES[letter]) for letter in METHODS[method].signature.replace("|", "")]
    if given and draw(st.integers(0, 9)) == 0:
        given[draw(st.integers(0, len(given) - 1))] = draw(WRONG)
    return draw(st.sampled_from(["oneadmin", "oneadmin", "alice", "carol"])), method, given[: draw(st.integers(0, 3)) or None]


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Inside]:
    inside = Inside(tmp_path)
    yield inside
    inside.close()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(calls(), min_size=5, max_size=25))
def test_any_calls_are_answered(one: Inside, asked: list[tuple[str, str, list[Any]]]) -> None:
    for user, method, values in asked:
        try:
            good, value, *more = one.oned.answer(method, [f"{user}:{PASSWORD}", *values])
        except Fault:
            continue
        assert isinstance(good, bool)
        assert good or (value.startswith(f"[{method}] ") and len(more) == 3)
    one.settle()
    for pool in ("imagepool", "templatepool", "vnpool"):
        ElementTree.fromstring(one.call(f"{pool}.info", -2, -1, -1))
    ElementTree.fromstring(one.call("vmpool.infoextended", -2, -1, -1, -2))
    for pool in ("datastorepool", "userpool", "grouppool", "hostpool"):
        ElementTree.fromstring(one.call(f"{pool}.info"))
