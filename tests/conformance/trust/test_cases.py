"""Every case of every module `cases_*.py`, run against the command that VMKEEPER_CONFORMANCE_COMMAND names, else against ours, kept warm."""

from __future__ import annotations

import importlib
import json
import os
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.trust.case import Case
from vmkeeper.values import visible

MODULES = sorted(path.stem for path in Path(__file__).parent.glob("cases_*.py"))
COMMAND = shlex.split(os.environ.get("VMKEEPER_CONFORMANCE_COMMAND", ""))
TIMEOUT = 120
CASES: list[Case] = [case for module in MODULES for case in importlib.import_module(f"conformance.trust.{module}").CASES]


Answer = tuple[int, str, str]
Run = Callable[[list[str], Path], Answer]


def started(words: list[str], folder: Path) -> Answer:
    """Start the named command."""
    done = subprocess.run([*COMMAND, *words], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, check=False)
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """What runs the command: exit code, standard output, standard error."""
    if COMMAND:
        yield started
        return
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, Path(__file__).with_name("warm.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "NO_COLOR": "1"},
    ) as warm:
        assert warm.stdin is not None
        assert warm.stdout is not None
        requests, answers = warm.stdin, warm.stdout

        def asked(words: list[str], folder: Path) -> Answer:
            requests.write(json.dumps([words, str(folder)]) + "\n")
            requests.flush()
            code, out, err = json.loads(answers.readline())
            return code, out, err

        yield asked
        requests.close()


def shown(run: Run, words: list[str], folder: Path, form: str) -> tuple[int, str]:
    """Exit code and standard output, with nothing on either stream that cannot be seen."""
    end = words.index("--") if "--" in words else len(words)
    status, said, errors = run([*words[:end], "--output", form, *words[end:]], folder)
    assert status in (0, 1), f"exit code {status}\n{errors}"
    assert all(visible(line) == line for text in (said, errors) for line in text.split("\n")), "characters that cannot be seen (R29)"
    return status, said


def judge(run: Run, words: list[str], folder: Path) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and verdicts; a command that prints one object gives one."""
    status, said = shown(run, words, folder, "json")
    answer = json.loads(said)
    return status, answer if isinstance(answer, list) else [answer]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case, run: Run, tmp_path: Path) -> None:
    for words in case.before(tmp_path):
        status, verdicts = judge(run, words[1:] if words[0] == "!" else words, tmp_path)
        if words[0] == "!":
            assert status == 1, "a command before the case that is to be refused"
        else:
            assert (status, [verdict["refusals"] for verdict in verdicts]) == (0, [[] for _ in verdicts]), "a command before the case"
    words = case.make(tmp_path)
    status, verdicts = judge(run, words, tmp_path)
    if case.rule == "R29":
        shown(run, words, tmp_path, "text")
    refusals = [refusal for verdict in verdicts for refusal in verdict["refusals"]]
    for verdict in verdicts:
        assert verdict["accepted"] is (not verdict["refusals"])
        assert all(isinstance(refusal[key], str) for refusal in verdict["refusals"] for key in ("rule", "why", "evidence"))
    if case.expect == "accept":
        assert (status, refusals) == (0, [])
        assert verdicts
    else:
        assert status == 1
        assert (case.named or case.rule) in {refusal["rule"] for refusal in _about(case.release, verdicts)}, refusals
    by_release = _by_release(verdicts)
    assert [one for one in case.stands if not by_release[one]["accepted"]] == [], refusals
    assert [one for one in case.absent if (tmp_path / one).exists()] == []


def _by_release(verdicts: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {f"{verdict['appliance']} {verdict['version']}": verdict for verdict in verdicts if "appliance" in verdict}


def _about(release: str, verdicts: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Refusals of a release, of its whole appliance or of the whole repository; all there are where no release is named."""
    names = {release, f"{release.partition(' ')[0]} *", "* *"}
    return [
        refusal for verdict in verdicts for refusal in verdict["refusals"] if not release or f"{verdict['appliance']} {verdict['version']}" in names
    ]


def test_names_of_cases_are_their_own() -> None:
    assert [name for name, count in Counter(map(str, CASES)).items() if count > 1] == []
