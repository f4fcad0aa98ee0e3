"""Rule R21: YAML that two readers cannot read as two documents, and plain scalars that mean what an author expects."""

from __future__ import annotations

import pytest

from vmkeeper.documents.guard import MAX_BYTES, MAX_DEPTH, MAX_NODES, UNSEEN, read_yaml
from vmkeeper.documents.places import Tree, field
from vmkeeper.errors import Place
from vmkeeper.values import visible


def tree(text: str | bytes) -> Tree:
    return read_yaml(text.encode() if isinstance(text, str) else text, "x.yaml")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        *[(word, None) for word in ("null", "Null", "NULL", "~", "")],
        *[(word, True) for word in ("true", "True", "TRUE")],
        *[(word, False) for word in ("false", "False", "FALSE")],
        ("0", 0), ("12", 12), ("-3", -3), ("+7", 7), ("999999999999999999", 999999999999999999),
        ("1.5", 1.5), ("-0.25", -0.25), ("2026.10", 2026.1),
        *[(word, word) for word in ("yes", "Yes", "no", "on", "Off", "y", "n", "tRUE", "nULL")],
        *[(word, word) for word in ("0777", "007", "-01", "0o17", "0x1F", "0b1", "1_000", "1,000", "1e3", "1.5e3", "12e4", ".5")],
        *[(word, word) for word in ("5.", "1.2.3", "12:30", "12:30:00", "NaN", "Infinity", "=", "9" * 19, "1234567e89")],
        *[(word, word) for word in ("190:20:30", "2026-11-20", "2026-11-20T10:30:00Z", ".inf", "-.inf", ".nan")],
        *[(word, word) for word in ("a b", "a#b", "http://x/y:z", "x-y", "-x", "?x", ":x", "é", "١٢")],
        ('"12"', "12"), ("'true'", "true"), ('""', ""), ("'null'", "null"), ('"a\\tb\\n"', "a\tb\n"), ("|-\n  12", "12"), (">-\n  a\n  b", "a b"),
    ],
)  # fmt: skip
def test_a_plain_scalar_means_what_a_careful_author_expects(written: str, meant: object) -> None:
    found = tree(f"key: {written}\n")
    assert not found.problems
    value = found.at(("key",))
    assert value == meant
    assert type(value) is type(meant)


def test_keys_are_always_text() -> None:
    assert tree("12: a\ntrue: b\nnull: c\non: d\n1.5: e\n'': f\n").value == {"12": "a", "true": "b", "null": "c", "on": "d", "1.5": "e", "": "f"}


def test_every_key_and_value_knows_its_place() -> None:
    found = tree("# head\ntitle: x\nfiles:\n  - {name: a, path: /b}\n  - name: 'c'\n    path: |\n      d\nempty:\n")
    assert not found.problems
    places = found.places
    assert places.of("title") == Place("x.yaml", 2, 8, "title")
    assert places.of_key("title") == Place("x.yaml", 2, 1, "title")
    assert places.of("files", 0, "path") == Place("x.yaml", 4, 21, "files[0].path")
    assert places.of("files", 1) == Place("x.yaml", 5, 5, "files[1]")
    assert places.of("files", 1, "name") == Place("x.yaml", 5, 11, "files[1].name")
    assert places.of("empty") == Place("x.yaml", 8, 1, "empty")
    assert places.around("files", 1, "mode") == Place("x.yaml", 5, 5, "files[1].mode")
    assert places.around("users") == Place("x.yaml", 2, 1, "users")
    assert places.of("users", "sudo") == Place("x.yaml", 2, 1, "users.sudo")
    assert places.values["files", 1, "name"].quoted


def test_columns_count_characters_not_bytes() -> None:
    assert tree("a: [é𝄞, x]\n").places.of("a", 1).column == 9


def test_windows_line_ends_change_nothing() -> None:
    text = "title: x\nfiles:\n- name: a\n  text: |\n    b\n    c\n"
    dos, unix = tree(text.replace("\n", "\r\n")), tree(text)
    assert dos.value == unix.value
    assert dos.places.values == unix.places.values
    assert not dos.problems


def test_one_explicit_document_is_fine() -> None:
    assert tree("---\na: 1\n...\n").value == {"a": 1}
    assert not tree("---\na: 1\n...\n").problems


def test_the_same_key_in_different_maps_is_fine() -> None:
    assert not tree("a: {x: 1}\nb: {x: 1}\nc:\n- x: 1\n- x: 2\n").problems


@pytest.mark.parametrize("text", ["%YAML 1.2\n---\na: 1\n", "%TAG !e! tag:e,2026:\n---\na: 1\n", "%X y\n---\na: 1\n"])
def test_directives_are_refused(text: str) -> None:
    assert [problem.what for problem in tree(text).problems] == ["a YAML directive is not allowed"]


def test_a_percent_sign_inside_text_is_no_directive() -> None:
    assert not tree("--- # 100%\na: |\n  x\n  %YAML\nb: 50%\n").problems


def test_a_document_of_the_largest_size_is_read_and_one_byte_more_is_not() -> None:
    text = "a: b\n#"
    assert not tree(text + "x" * (MAX_BYTES - len(text))).problems
    refused = tree(text + "x" * (MAX_BYTES - len(text) + 1))
    assert not refused.readable
    assert str(MAX_BYTES) in refused.problems[0].what


def test_the_deepest_document_is_read_and_one_level_more_is_not() -> None:
    assert not tree("[" * MAX_DEPTH + "]" * MAX_DEPTH).problems
    assert not tree("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)).readable
    assert not tree("".join(f"{' ' * n}a:\n" for n in range(MAX_DEPTH + 1))).readable


def test_as_many_values_as_allowed_and_one_more() -> None:
    assert not tree("- a\n" * (MAX_NODES - 1)).problems
    refused = tree("- a\n" * MAX_NODES)
    assert not refused.readable
    assert refused.problems[0].place.line == MAX_NODES


@pytest.mark.parametrize(
    ("data", "line", "column"),
    [
        (b"\xff", 1, 1),
        (b"a: \xc3(\n", 1, 4),
        ("é: ü\nb: ".encode() + b"\xe9\n", 2, 4),
        ("a: 1".encode("utf-16"), 1, 1),
        (b"a: \xed\xa0\x80", 1, 4),
        (b"a: \xc0\x80", 1, 4),
    ],
)
def test_bytes_that_are_not_utf8_are_pointed_at(data: bytes, line: int, column: int) -> None:
    found = tree(data)
    assert not found.readable
    assert (found.problems[0].place.line, found.problems[0].place.column) == (line, column)
    assert "UTF-8" in found.problems[0].hint


def test_everything_that_output_escapes_is_refused_in_documents() -> None:
    for code in range(0x11000):
        character = chr(code)
        if visible(character) != character and character not in "\t\n\r":
            assert UNSEEN.fullmatch(character), hex(code)
            if not 0xD800 <= code < 0xE000:
                assert not tree(f"a: b{character}c\n").readable, hex(code)
            written = f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
            if code < 0xD800 or code > 0xDF00:
                assert tree(f'a: "{written}"\n').problems, hex(code)


def test_a_value_with_a_tag_is_reported_once_and_not_checked_further() -> None:
    found = tree("a: !x [1, {b: *c}]\n")
    assert {problem.place.field for problem in found.problems} == {"a", "a[1].b"}
    assert {("a",), ("a", 1, "b")} <= found.broken


def test_merge_keys_of_quoted_text_are_ordinary_keys() -> None:
    assert tree("'<<': a\n").value == {"<<": "a"}
    assert not tree("'<<': a\n").problems


def test_conflicts_of_a_merge_are_recognised() -> None:
    found = tree("a: 1\n<<<<<<< ours\nb: 2\n=======\nb: 3\n>>>>>>> theirs\n")
    assert [(problem.place.line, problem.what) for problem in found.problems] == [(2, "a conflict of a merge is left here")]


def test_fields_are_written_as_people_write_them() -> None:
    assert field(("packages", 3, "name")) == "packages[3].name"
    assert field(("labels", "a b")) == 'labels["a b"]'
    assert field(("a", "b\x1b[31m")) == 'a["b\\u001b[31m"]'
    assert field(()) == ""
