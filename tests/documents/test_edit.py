"""Changing a document that people wrote: what is not changed stays as it is written."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmkeeper.documents.edit import Editable, in_one_line, quoted, time, with_items
from vmkeeper.documents.examples import examples
from vmkeeper.documents.guard import read_yaml

OWN = sorted(path for folder in ("endorsers", "sites", "imagelists", "clusters") for path in (Path(__file__).parents[2] / folder).rglob("*.yaml"))
HAND_WRITTEN = """\
# A list.
title: 'One'   # single quotes
policy: >-
  Two lines
  in one.

endorsers:   # people
  # the first
  - name: alice
    keys:
      - {type: ssh, key: a}   # hers
      - type: ssh
        key: "b"
    expires: 2027-01-01T00:00:00Z
  - name: bob
# the end
"""


@pytest.mark.parametrize("text", [HAND_WRITTEN, *(text for _, text in examples().values())], ids=["hand-written", *examples()])
def test_an_unchanged_document_says_the_same(text: str) -> None:
    again = Editable(text.encode()).data()
    assert read_yaml(again, "x").value == read_yaml(text.encode(), "x").value
    assert Editable(again).data() == again


@pytest.mark.parametrize("path", OWN, ids=str)
def test_the_repository_s_own_documents_say_the_same(path: Path) -> None:
    again = Editable(path.read_bytes()).data()
    assert read_yaml(again, "x").value == read_yaml(path.read_bytes(), "x").value


def test_comments_quotes_and_indentation_stay() -> None:
    text = Editable(HAND_WRITTEN.encode())
    text.tree["endorsers"][0]["retired"] = time(datetime(2026, 11, 20, 10, 30, tzinfo=UTC))
    text.tree["based_on"] = in_one_line({"policy": 4, "list": quoted("ab")})
    made = text.data().decode()
    for kept in ("# A list.\n", "title: 'One'   # single quotes", "endorsers:   # people\n  # the first\n  - name: alice\n", "{type: ssh, key: a}   # hers\n",
                 '        key: "b"\n', "    expires: 2027-01-01T00:00:00Z\n", "  - name: bob\n"):  # fmt: skip
        assert kept in made
    assert '    retired: "2026-11-20T10:30:00Z"\n' in made
    assert 'based_on: {policy: 4, list: "ab"}\n' in made


def test_items_without_indentation_stay_so() -> None:
    text = Editable(b"title: x\npeople:\n- name: alice\n- name: bob\n")
    del text.tree["people"][0]
    assert text.data() == b"title: x\npeople:\n- name: bob\n"


def test_a_list_that_is_emptied_is_written_as_one() -> None:
    text = Editable(b"title: x\npeople:\n  # the first\n  - name: alice  # hers\nend: 1\n")
    text.empty("people")
    assert read_yaml(text.data(), "x").value == {"title": "x", "people": [], "end": 1}


def test_long_texts_are_not_folded() -> None:
    long = " ".join(["word"] * 200)
    text = Editable(f"title: {long}\nquorum: 1\n".encode())
    text.tree["quorum"] = 2
    assert text.data() == f"title: {long}\nquorum: 2\n".encode()


# -- items added to a list

BLOCK = "title: x\napprove:\n- appliance: debian-*  # ours\n- {appliance: a, version: '>=2'}  # b\n\n# retirement\nretire: {grace: 7d}\n"
INDENTED = (
    "title: x\napprove:   # c\n  - appliance: debian-*\n    version: '>2'   # v\n    # still about it\n  # about nothing\nretire:\n  grace: 7d\n"
)
LINE = '{appliance: new, version: "==2"}'
ITEM = {"appliance": "new", "version": "==2"}
WAYS = {
    "a list of lines": (BLOCK, BLOCK.replace("  # b\n", f"  # b\n- {LINE}\n")),
    "an indented list": (INDENTED, INDENTED.replace("# still about it\n", f"# still about it\n  - {LINE}\n")),
    "no list yet": ("# top\ntitle:   x   # t\nsubscribe:\n  - list: a\n", f"# top\ntitle:   x   # t\nsubscribe:\n  - list: a\napprove:\n  - {LINE}\n"),
    "no list and no newline": ("title: x\n# end", f"title: x\n# end\napprove:\n- {LINE}\n"),
    "an empty list": ("title: x\napprove: []  # none yet\nkeep: 1\n", f"title: x\napprove:  # none yet\n- {LINE}\nkeep: 1\n"),
    "a list in one line": ("approve: [{appliance: a}]  # one\nkeep: 1\n", f"approve: [{{appliance: a}}, {LINE}]  # one\nkeep: 1\n"),
    "a list in brackets, over lines": ("approve: [\n  {appliance: a},\n  {appliance: b}   # last\n]\n", f"approve: [\n  {{appliance: a}},\n  {{appliance: b}}, {LINE}   # last\n]\n"),
    "a comma at the end": ("approve: [\n  {appliance: a},\n]\n", f"approve: [\n  {{appliance: a}}, {LINE},\n]\n"),
    "no newline at the end": ("title: x\napprove:\n- appliance: a", f"title: x\napprove:\n- appliance: a\n- {LINE}\n"),
    "text over lines": ("approve:\n- appliance: a\n  reason: |\n    because\n    of it\n# c\nkeep: 1\n", f"approve:\n- appliance: a\n  reason: |\n    because\n    of it\n- {LINE}\n# c\nkeep: 1\n"),
    "a list inside the last item": ("approve:\n- appliance: a\n  places:\n  - p\n  - q\nkeep: 1\n", f"approve:\n- appliance: a\n  places:\n  - p\n  - q\n- {LINE}\nkeep: 1\n"),
    "lines of another system": ("approve:\r\n- appliance: a\r\nkeep: 1\r\n", f"approve:\r\n- appliance: a\r\n- {LINE}\r\nkeep: 1\r\n"),
    "dashes on their own": ("approve:\n-\n  appliance: a\nkeep: 1\n", f"approve:\n-\n  appliance: a\n- {LINE}\nkeep: 1\n"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), WAYS.values(), ids=WAYS)
def test_an_item_is_added_and_every_other_byte_stays(text: str, wanted: str) -> None:
    assert with_items(text.encode(), "approve", [ITEM]).decode() == wanted


@pytest.mark.parametrize("name", [name for name, (kind, _) in examples().items() if kind == "site"])
@pytest.mark.parametrize("key", ["approve", "block", "hold", "formats"])
def test_items_are_added_to_any_site(name: str, key: str) -> None:
    text = examples()[name][1]
    items = [ITEM, {"appliance": "x", "digest": "0" * 128, "places": ["a", "b"], "reason": 'say "no": #1\\'}]
    before, made = read_yaml(text.encode(), "x").value, with_items(text.encode(), key, items)
    assert isinstance(before, dict)
    assert read_yaml(made, "x").value == {**before, key: [*before.get(key, []), *items]}
    lines = made.decode().split("\n")
    assert [line for line in text.split("\n") if line not in lines and not line.startswith(f"{key}: [")] == []


def test_a_long_item_has_a_line_for_each_key() -> None:
    made = with_items(b"title: x\n", "approve", [{"appliance": "x", "digest": "0" * 128, "places": ["a"]}]).decode()
    assert made == f'title: x\napprove:\n- appliance: x\n  digest: "{"0" * 128}"\n  places:\n  - a\n'


@pytest.mark.parametrize("text", ["approve: [appliance: a]\ntitle: x\n", "title: x\n...\n", "approve:\n- a\n  b\n- ? x\n  : y\n"])
def test_what_text_alone_does_not_do_is_written_anew(text: str) -> None:
    before, made = read_yaml(text.encode(), "x").value, with_items(text.encode(), "approve", [ITEM])
    assert isinstance(before, dict)
    assert read_yaml(made, "x").value == {**before, "approve": [*before.get("approve", []), ITEM]}


VALUES = st.dictionaries(
    st.sampled_from(["appliance", "version", "list", "reason"]),
    st.text(st.characters(exclude_categories=["Cc", "Cs", "Cf", "Zl", "Zp", "Cn", "Co"]), min_size=1, max_size=150),
    min_size=1,
)


@given(st.lists(VALUES, min_size=1, max_size=3), st.sampled_from([text for text, _ in WAYS.values()]))
def test_any_item_is_read_back(items: list[dict[str, str]], text: str) -> None:
    before = read_yaml(text.encode(), "x").value
    assert isinstance(before, dict)
    assert read_yaml(with_items(text.encode(), "approve", items), "x").value == {**before, "approve": [*before.get("approve", []), *items]}
