"""A refusal is safe to print, bounded, and says the same as text, as data and as an error."""

from __future__ import annotations

import pytest

from vmkeeper.errors import Refused
from vmkeeper.trust.refusal import Refusal, Untrusted


@pytest.mark.parametrize("field", ["rule", "why", "evidence", "hint"])
def test_r29_no_field_holds_what_a_terminal_obeys(field: str) -> None:
    made = Refusal(**{"rule": "R1", "why": "why", field: "a\x1b[31m\u202e\n\x9b\udcffé"})  # type: ignore[arg-type]
    text = getattr(made, field)
    assert not {"\x1b", "\u202e", "\n", "\x9b", "\udcff"} & set(text)
    assert (text[0], text[-1]) == ("a", "é")
    assert "\\udcff" in text


def test_long_texts_are_cut_with_a_sign() -> None:
    assert Refusal("R1", "x" * 400).why == "x" * 400
    assert Refusal("R1", "x" * 401).why == "x" * 400 + "…"
    escaped = Refusal("R1", "why", "\x1b" * 400).evidence
    assert (len(escaped), escaped[-1]) == (401, "…")


def test_fields_that_are_left_out_are_empty() -> None:
    made = Refusal("R1", "why")
    assert (made.evidence, made.hint) == ("", "")


@pytest.mark.parametrize(
    ("made", "text", "value"),
    [
        (Refusal("R1", "why"), "R1: why", {"rule": "R1", "why": "why", "evidence": ""}),
        (Refusal("R1", "why", "seen"), "R1: why (seen)", {"rule": "R1", "why": "why", "evidence": "seen"}),
        (Refusal("R1", "why", "", "do"), "R1: why", {"rule": "R1", "why": "why", "evidence": "", "hint": "do"}),
        (Refusal("R1", "why", "seen", "do"), "R1: why (seen)", {"rule": "R1", "why": "why", "evidence": "seen", "hint": "do"}),
    ],
)
def test_text_and_data_say_the_same(made: Refusal, text: str, value: dict[str, str]) -> None:
    assert str(made) == text
    assert made.as_json() == value


@pytest.mark.parametrize(
    ("error", "made"),
    [
        (Refused("R2", "what", why="because", where="there", hint="do"), Refusal("R2", "what", "because", "do")),
        (Refused("R2", "what", where="there", hint="do"), Refusal("R2", "what", "there", "do")),
        (Refused("R2", "what"), Refusal("R2", "what")),
    ],
)
def test_an_error_becomes_a_refusal_with_its_cause_or_its_place(error: Refused, made: Refusal) -> None:
    assert Refusal.of(error) == made


def test_refusals_are_ordered_by_rule_and_words() -> None:
    ordered = [Refusal("R1", "a"), Refusal("R1", "b"), Refusal("R1", "b", "c"), Refusal("R2", "a")]
    assert sorted([ordered[3], ordered[1], ordered[0], ordered[2]]) == ordered


def test_what_cannot_be_trusted_says_all_of_it_once() -> None:
    one, other = Refusal("R1", "first", "seen", "do"), Refusal("R2", "second", "there", "then")
    error = Untrusted(refusal for refusal in (one, other, one))
    assert error.refusals == (one, other)
    assert (error.rule, error.what, error.why, error.hint) == ("R1", "first", "seen; and R2: second (there)", "do")
    alone = Untrusted([one])
    assert (alone.why, alone.refusals) == ("seen", (one,))
    three = Untrusted([one, other, Refusal("R3", "third")])
    assert three.why == "seen; and R2: second (there); R3: third"
