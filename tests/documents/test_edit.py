"""Changing a document that people wrote: what is not changed stays as it is written."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from vmkeeper.documents.edit import Editable, in_one_line, quoted, time
from vmkeeper.documents.examples import EXAMPLES
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


@pytest.mark.parametrize("text", [HAND_WRITTEN, *EXAMPLES.values()], ids=["hand-written", *EXAMPLES])
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
