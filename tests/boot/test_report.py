"""The report of a boot test: any words of a guest become well-formed XML and harmless text."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmkeeper.boot.report import Check, TrialResult, plain
from vmkeeper.model.release import TestResult

GOOD = Check("boot-bios", passed=True, seconds=31.24)
BAD = Check("debian-12/10-login", passed=False, seconds=2, output="no such user", why="ended with status 1", hint="its output says why")


def result(*checks: Check, console: str = "login:", other: str = "") -> TrialResult:
    return TrialResult("debian-12", "tcg", ("bios", "uefi") if other else ("bios",), checks, console, other)


def test_everything_must_pass_and_something_must_be_tried() -> None:
    assert result(GOOD).passed
    assert not result(GOOD, BAD).passed
    assert not result().passed
    assert result(GOOD, BAD).failures == (BAD,)


def test_release_record_gets_names_and_outcomes_only() -> None:
    assert result(GOOD, BAD).results() == (TestResult(name="boot-bios", outcome="passed"), TestResult(name="debian-12/10-login", outcome="failed"))


def test_junit_report_says_what_failed_why_and_what_the_console_said() -> None:
    root = ElementTree.fromstring(result(GOOD, BAD, other="UEFI here").junit())
    (suite,) = root.findall("testsuite")
    assert {key: suite.get(key) for key in ("name", "tests", "failures", "errors", "skipped")} == {
        "name": "debian-12",
        "tests": "2",
        "failures": "1",
        "errors": "0",
        "skipped": "0",
    }
    good, bad = suite.findall("testcase")
    assert (good.get("name"), good.get("time"), list(good)) == ("boot-bios", "31.2", [])
    failure = bad.find("failure")
    assert failure is not None
    assert (failure.get("message"), failure.text) == ("ended with status 1", "its output says why")
    assert bad.findtext("system-out") == "no such user"
    assert {p.get("name"): p.get("value") for p in suite.iter("property")} == {"firmware": "bios,uefi", "accelerator": "tcg"}
    assert "login:" in (suite.findtext("system-out") or "")
    assert "UEFI here" in (suite.findtext("system-out") or "")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (b"a\r\nb\rc\n", "a\nb\nc\n"),
        (b"\x1b[0;32m  OK  \x1b[0m] done", "  OK  ] done"),
        (b"\x1bc\x1b[?7l\x1b[2J\x1b[0mSeaBIOS", "SeaBIOS"),
        (b"\x1b]0;title\x07x\x1b(By", "xy"),
        (b"bell\x07 nul\0 del\x7f", "bell\\x07 nul\\x00 del\\x7f"),
        ("grüße \u202etxt.exe \ufeff".encode(), "grüße \\x202etxt.exe \\xfeff"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        ("\x9b31m csi".encode(), "\\x9b31m csi"),
    ],
)
def test_words_of_a_guest_become_harmless_text(words: bytes, text: str) -> None:
    assert plain(words) == text


@settings(deadline=None)
@given(words=st.binary(), why=st.text(), hint=st.text())
def test_any_words_make_a_well_formed_report(words: bytes, why: str, hint: str) -> None:
    check = Check("a/b", passed=False, output=plain(words), why=why, hint=hint)
    root = ElementTree.fromstring(result(check, console=plain(words)).junit())
    assert root.findtext("testsuite/testcase/system-out", "") == check.output
    assert root.findtext("testsuite/system-out", "") == check.output
