"""Whatever bytes come: a document or problems, never another exception."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmkeeper.documents.examples import EXAMPLES
from vmkeeper.documents.guard import MAX_BYTES, UNSEEN, read_yaml
from vmkeeper.documents.json_guard import read_json
from vmkeeper.documents.kinds import KINDS
from vmkeeper.documents.load import read
from vmkeeper.errors import Problems

PIECES = [
    "\t",
    "\n",
    " ",
    "- ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    ",",
    "&a ",
    "*a",
    "!x ",
    "|",
    ">",
    "'",
    '"',
    "#",
    "%",
    "@",
    "`",
    "---\n",
    "...\n",
    "? ",
    "<<: ",
    "\\",
]
PIECES += [
    "\\x",
    "\x00",
    "\x85",
    "\u2028",
    "\ufeff",
    "\u202e",
    "null",
    "true",
    "1e9",
    "~",
    "- - - ",
    "{a: ",
    "\r",
    "\\ud800",
    "%YAML 1.1\n",
    "é",
    "𝄞",
]
kinds = st.sampled_from(sorted(KINDS))
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=40).map("".join)


def sound(kind: str, data: bytes) -> None:
    loaded = read(KINDS[kind], data, "x.yaml")
    assert (loaded.document is None) == bool(loaded.problems)
    for problem in loaded.problems:
        assert problem.what
        assert problem.hint
        assert not UNSEEN.search(str(problem))
        str(problem).encode()


@given(kinds, st.binary(max_size=300))
@settings(deadline=None, max_examples=200)
def test_any_bytes(kind: str, data: bytes) -> None:
    sound(kind, data)


@given(kinds, texts)
@settings(deadline=None, max_examples=300)
def test_any_text_of_yaml_signs(kind: str, text: str) -> None:
    sound(kind, text.encode(errors="surrogatepass"))


@given(kinds, st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), st.sampled_from(PIECES) | st.text(max_size=8)), min_size=1, max_size=3))
@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow])
def test_any_change_of_a_valid_document(kind: str, changes: list[tuple[float, int, str]]) -> None:
    text = EXAMPLES[kind]
    for where, length, by in changes:
        start = int(where * len(text))
        text = text[:start] + by + text[start + length :]
    sound(kind, text.encode(errors="surrogatepass"))


@given(kinds, st.floats(0, 1), st.integers(0, 255))
@settings(deadline=None, max_examples=200)
def test_any_single_byte_changed(kind: str, where: float, byte: int) -> None:
    data = bytearray(EXAMPLES[kind].encode())
    data[int(where * (len(data) - 1))] = byte
    sound(kind, bytes(data))


@pytest.mark.parametrize(
    "unit",
    [
        "[",
        "{a: ",
        "- ",
        "? ",
        ": ",
        "a,",
        "[[],",
        "a:\n",
        "'",
        '"',
        "#",
        "\n",
        "{? ",
        "!",
        "&a ",
        "*a ",
        "|\n",
        "a: b\n",
        "\\",
        '"\\x41',
        "a\n ",
        "- {a: b, c: d}\n",
    ],
)
def test_a_full_file_of_one_sign(unit: str) -> None:
    sound("appliance", ("packages:\n" + unit * MAX_BYTES)[:MAX_BYTES].encode())


def test_tens_of_thousands_of_wrong_keys_make_a_short_report() -> None:
    data = "".join(f"k{i}: 1\n" for i in range(15_000)).encode()
    problems = read(KINDS["appliance"], data, "x").problems
    assert len(problems) <= 101
    assert any("more problems" in problem.what for problem in problems)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode(errors="surrogatepass")))
@settings(deadline=None, max_examples=300)
def test_any_bytes_as_json(data: bytes) -> None:
    try:
        read_json(data, "x.json")
    except Problems as error:
        told = [problem.hint and problem.place.line for problem in error.problems]
        assert all(told)


@given(texts)
@settings(deadline=None, max_examples=200)
def test_the_guard_alone_never_raises(text: str) -> None:
    tree = read_yaml(text.encode(errors="surrogatepass"), "x")
    assert tree.readable or tree.problems


@pytest.mark.parametrize("unit", ["- &a x\n", "- !x y\n", "- *a\n", "? a\n", "- {a: 1, a: 2}\n"])
def test_a_file_full_of_refused_signs_makes_a_short_report(unit: str) -> None:
    problems = read(KINDS["appliance"], (unit * MAX_BYTES)[:MAX_BYTES].encode(), "x").problems
    assert 0 < len(problems) <= 101
    assert any("not read any further" in problem.what for problem in problems)


def test_a_full_file_that_begins_with_an_open_bracket() -> None:
    sound("appliance", ("packages: [" + "a," * MAX_BYTES)[:MAX_BYTES].encode())
