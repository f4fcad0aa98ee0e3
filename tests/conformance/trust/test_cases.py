"""Every case of every module `cases_*.py`, run against the command that VMKEEPER_CONFORMANCE_COMMAND names."""

from __future__ import annotations

import importlib
import json
import os
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from conformance.trust.case import Case
from vmkeeper.values import visible

MODULES = sorted(path.stem for path in Path(__file__).parent.glob("cases_*.py"))
COMMAND = shlex.split(os.environ.get("VMKEEPER_CONFORMANCE_COMMAND", "")) or [sys.executable, "-m", "vmkeeper"]
TIMEOUT = 120
CASES: list[Case] = [case for module in MODULES for case in importlib.import_module(f"conformance.trust.{module}").CASES]


def judge(words: list[str], folder: Path) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and verdicts; a command that prints one object gives one."""
    done = subprocess.run([*COMMAND, *words, "--output", "json"], cwd=folder, capture_output=True, timeout=TIMEOUT, check=False)
    said = done.stdout.decode()
    assert done.returncode in (0, 1), f"exit code {done.returncode}\n{done.stderr.decode(errors='replace')}"
    assert all(visible(line) == line for text in (said, done.stderr.decode()) for line in text.splitlines()), "characters that cannot be seen (R29)"
    answer = json.loads(said)
    return done.returncode, answer if isinstance(answer, list) else [answer]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case, tmp_path: Path) -> None:
    for words in case.before(tmp_path):
        status, verdicts = judge(words, tmp_path)
        assert (status, [verdict["refusals"] for verdict in verdicts]) == (0, [[] for _ in verdicts]), "a command before the case"
    status, verdicts = judge(case.make(tmp_path), tmp_path)
    refusals = [refusal for verdict in verdicts for refusal in verdict["refusals"]]
    for verdict in verdicts:
        assert verdict["accepted"] is (not verdict["refusals"])
        assert all(isinstance(refusal[key], str) for refusal in verdict["refusals"] for key in ("rule", "why", "evidence"))
    if case.expect == "accept":
        assert (status, refusals) == (0, [])
        assert verdicts
    else:
        assert status == 1
        assert case.rule in {refusal["rule"] for refusal in refusals}, refusals


def test_names_of_cases_are_their_own() -> None:
    assert [name for name, count in Counter(map(str, CASES)).items() if count > 1] == []
