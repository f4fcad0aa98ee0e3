"""Which trust rule a problem of a document belongs to: the guards' have one, what a kind may say is no matter of trust."""

from __future__ import annotations

import pytest

from vmkeeper.documents.guard import read_yaml
from vmkeeper.documents.json_guard import read_json
from vmkeeper.documents.kinds import KINDS
from vmkeeper.documents.load import read
from vmkeeper.errors import Place, Problem, Problems


def test_what_the_yaml_guard_refuses_is_rule_21() -> None:
    problems = read_yaml(b"a: &x 1\nb: *x\nc: !t 1\na: 2\n", "f").problems
    assert len(problems) == 4
    assert {problem.rule for problem in problems} == {"R21"}


def test_what_the_json_guard_refuses_is_rule_22() -> None:
    with pytest.raises(Problems) as error:
        read_json(b'{"n": 1, "n": NaN}', "f")
    assert len(error.value.problems) == 2
    assert {problem.rule for problem in error.value.problems} == {"R22"}


def test_what_a_kind_may_not_say_has_no_rule() -> None:
    problems = read(KINDS["context"], b"title: 1\nunknown: x\ncloud_init: {a: &x 1}\n", "clusters/contexts/c.yaml").problems
    assert sorted(problem.rule for problem in problems) == ["", "", "R21"]


def test_a_rule_makes_no_other_problem() -> None:
    assert Problem(Place("f"), "what") == Problem(Place("f"), "what", rule="R21")
