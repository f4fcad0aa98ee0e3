"""Some hundred broken documents: each tells every problem with its line, column, key and a way out, and nothing more."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from vmkeeper.documents.examples import EXAMPLES, FURTHER
from vmkeeper.documents.kinds import KINDS
from vmkeeper.documents.load import load, read
from vmkeeper.errors import Problem, Problems

FOLDER = Path(__file__).parent / "broken"
JARGON = re.compile(r"pydantic|Input should|Value error|valid (string|integer|dictionary)|NoneType|dict\b|tuple|https://errors|<class|Traceback")


def cases() -> list[Any]:
    return [
        pytest.param(file.stem, case, id=f"{file.stem}: {case['case']}")
        for file in sorted(FOLDER.glob("*.yaml"))
        for case in YAML(typ="safe").load(file.read_bytes())
    ]


CASES = cases()


def source(kind: str, case: dict[str, Any]) -> bytes:
    if "document" in case:
        return case["document"].encode()
    text = next(text for title, text in FURTHER[kind].items() if case["example"] in title) if "example" in case else EXAMPLES[kind]
    assert case["replace"] in text, "the case no longer fits the reference's example"
    return text.replace(case["replace"], case["by"], 1).encode()


def told(problem: Problem) -> tuple[str, str, str]:
    return f"{problem.place.line}:{problem.place.column}", problem.place.field, problem.what[:70]


@pytest.mark.parametrize(("group", "case"), CASES)
def test_each_problem_has_its_place_and_way_out(group: str, case: dict[str, Any]) -> None:
    kind = KINDS[group if group in KINDS else "appliance"]
    file = kind.path_of("demo")
    data = source(kind.name, case)
    loaded = read(kind, data, file)
    problems = [problem for problem in loaded.problems if group != "yaml" or not re.match("the key .* is missing", problem.what)]

    assert loaded.document is None
    assert [told(problem) for problem in problems or loaded.problems[:1]] == [(item["at"], item["field"], item["says"]) for item in case["problems"]]
    for problem in loaded.problems:
        assert problem.hint, problem
        assert problem.place.file == file
        assert 1 <= problem.place.line <= data.count(b"\n") + 1
        assert problem.place.column >= 1
        assert not JARGON.search(f"{problem.what} {problem.hint}"), problem
        assert str(problem).isprintable() or "\n    " in str(problem)
    with pytest.raises(Problems) as raised:
        load(kind, data, file)
    assert raised.value.problems == loaded.problems


def test_there_are_hundreds_of_cases() -> None:
    assert len(CASES) >= 350
    assert {group for group, *_ in (case.values for case in CASES)} == {"yaml", *KINDS}
