"""Templates are read by the stand-in as oned reads them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.opennebula.template import Malformed, Template, parse

GOOD = [
    ("", []),
    ('A="1"', [("A", "1")]),
    ("a=1", [("A", "1")]),
    ("A = 1 B=2", [("A", "1"), ("B", "2")]),
    ('A="one\ntwo"', [("A", "one\ntwo")]),
    ('A="say \\"so\\""', [("A", 'say "so"')]),
    ("A=\nB=1", [("A", ""), ("B", "1")]),
    ("# c\n\nA=1 # two\nB=2\n", [("A", "1"), ("B", "2")]),
    ('V=[A="1", b = "2" ]', [("V", {"A": "1", "B": "2"})]),
    ("V=[\n A=1,\n B=2\n]\nC=3", [("V", {"A": "1", "B": "2"}), ("C", "3")]),
    ("V=[]", [("V", {})]),
    ('A="x"y"', [("A", '"x"y"')]),
    ("A=1\nA=2", [("A", "2")]),
    ('K="x"\nPERSISTENT="YES"', [("K", "x"), ("PERSISTENT", "YES")]),
    ("<TEMPLATE><a>1</a><V><b>2</b></V><E/></TEMPLATE>", [("A", "1"), ("V", {"B": "2"}), ("E", "")]),
    ("<X><A><![CDATA[\"<>&\n']]></A></X>", [("A", "\"<>&\n'")]),
]

BAD = {
    "A": "syntax error, unexpected $end, expecting EQUAL or EQUAL_EMPTY at line 0, columns 1:2",
    "A=1 B": "syntax error, unexpected $end, expecting EQUAL or EQUAL_EMPTY at line 0, columns 5:6",
    'A="a "b" c"': "syntax error, unexpected VARIABLE, expecting EQUAL or EQUAL_EMPTY at line 0, columns 10:11",
    "=1": "syntax error, unexpected EQUAL, expecting $end at line 0, columns 1:2",
    "V=[A=1": "syntax error, unexpected $end, expecting COMMA or CBRACKET at line 0, columns 6:7",
    "V=[A]": "syntax error, unexpected CBRACKET, expecting EQUAL at line 0, columns 5:6",
}


@pytest.mark.parametrize(("text", "items"), GOOD)
def test_a_template_is_read(text: str, items: list[object]) -> None:
    assert parse(text).items == items


@pytest.mark.parametrize(("text", "why"), BAD.items())
def test_a_wrong_template_is_refused_with_its_place(text: str, why: str) -> None:
    with pytest.raises(Malformed) as refusal:
        parse(text)
    assert str(refusal.value) == f"Parse error: {why}"


@pytest.mark.parametrize("text", ["<A><B></A>", "<A><B><![CDATA[x]]>]]></B></A>", "A=x]]>"])
def test_what_cannot_be_xml_or_cdata_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        parse(text)


def test_groups_of_one_name_are_all_kept_where_names_are_not_single() -> None:
    text = "DISK=[IMAGE_ID=1]\nDISK=[IMAGE_ID=2]"
    assert parse(text).groups("DISK") == [{"IMAGE_ID": "2"}]
    assert parse(text, single=False).groups("DISK") == [{"IMAGE_ID": "1"}, {"IMAGE_ID": "2"}]


def test_merging_replaces_all_of_a_name() -> None:
    template = parse("DISK=[A=1]\nDISK=[A=2]\nK=1", single=False)
    template.merge(parse("DISK=[A=3]\nL=2", single=False))
    assert template.xml() == "<DISK><A><![CDATA[3]]></A></DISK><K><![CDATA[1]]></K><L><![CDATA[2]]></L>"


@given(st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,10}", fullmatch=True), st.text(st.characters(exclude_characters='"\\'))))
def test_quoted_values_without_quotes_come_back(values: dict[str, str]) -> None:
    text = "\n".join(f'{name}="{value}"' for name, value in values.items())
    assert dict(parse(text).items) == values


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(Malformed):
        assert isinstance(parse(text), Template)
