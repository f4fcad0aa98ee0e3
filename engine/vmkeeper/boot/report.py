"""What a boot test found, as values and as a JUnit report. Pure.

A guest's words are strangers' words: terminal codes are taken out and what XML cannot hold is escaped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.etree import ElementTree

from vmkeeper.boot.probe import Firmware
from vmkeeper.model.release import TestResult

_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][0-9A-Za-z]|[ -/]*[0-~])")
_NOT_XML = re.compile(r"[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


def plain(words: bytes) -> str:
    """A guest's output as text: no terminal codes, line ends as `\\n`, other control characters written out as `\\xNN`."""
    text = _TERMINAL.sub("", words.decode(errors="replace")).replace("\r\n", "\n").replace("\r", "\n")
    return _NOT_XML.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was tried. `seconds` is for people; `why` says what went wrong and `hint` what to do, both "" where it passed."""

    name: str
    passed: bool
    seconds: float = 0
    output: str = ""
    why: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class TrialResult:
    """What the boot test of one image found: checks of ours first (`boot-bios`, `cloud-init`, `boot-uefi`), then the appliance's tests."""

    appliance: str
    accelerator: str
    firmware: tuple[Firmware, ...]
    checks: tuple[Check, ...]
    console: str = ""
    """The serial console of the machine that ran the tests, whole up to a limit."""
    other_console: str = ""
    """The serial console of the machine with the other firmware, where there was one."""

    @property
    def passed(self) -> bool:
        """Whether everything passed; nothing tried is not passed."""
        return bool(self.checks) and all(check.passed for check in self.checks)

    @property
    def failures(self) -> tuple[Check, ...]:
        """What did not pass."""
        return tuple(check for check in self.checks if not check.passed)

    def results(self) -> tuple[TestResult, ...]:
        """The same for a release record."""
        return tuple(TestResult(name=check.name, outcome="passed" if check.passed else "failed") for check in self.checks)

    def junit(self) -> bytes:
        """A JUnit report: one suite, a case for each check, the console as the suite's system-out."""
        suite = ElementTree.Element(
            "testsuite", name=self.appliance, tests=str(len(self.checks)), failures=str(len(self.failures)), errors="0", skipped="0"
        )
        suite.set("time", f"{sum(check.seconds for check in self.checks):.1f}")
        properties = ElementTree.SubElement(suite, "properties")
        for name, value in (("firmware", ",".join(self.firmware)), ("accelerator", self.accelerator)):
            ElementTree.SubElement(properties, "property", name=name, value=value)
        for check in self.checks:
            case = ElementTree.SubElement(suite, "testcase", classname=self.appliance, name=check.name, time=f"{check.seconds:.1f}")
            if not check.passed:
                failure = ElementTree.SubElement(case, "failure", message=_NOT_XML.sub("?", check.why))
                failure.text = _NOT_XML.sub("?", check.hint)
            if check.output:
                ElementTree.SubElement(case, "system-out").text = _NOT_XML.sub("?", check.output)
        consoles = f"{self.console}\n--- the other firmware ---\n{self.other_console}" if self.other_console else self.console
        ElementTree.SubElement(suite, "system-out").text = _NOT_XML.sub("?", consoles)
        root = ElementTree.Element("testsuites")
        root.append(suite)
        ElementTree.indent(root, " ")
        return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))
