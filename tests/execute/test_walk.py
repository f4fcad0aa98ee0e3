"""Carrying out plans: order, failures that stop only what depends on them, every outcome reported."""

from __future__ import annotations

import threading
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmkeeper.errors import UserError
from vmkeeper.execute.walk import Blocked, Done, Failed, failures, walk
from vmkeeper.plan.actions import Action
from vmkeeper.plan.plan import Plan, ordered


class Step(Action):
    """An action for tests."""

    kind: ClassVar[str] = "step"


def step(name: str, *needs: str) -> Step:
    return Step(subject=name, reason="test", needs=tuple(f"step:{need}" for need in needs))


def plan(*steps: Step) -> Plan:
    return Plan("", "", ordered(steps))


def test_an_action_comes_after_what_it_needs() -> None:
    seen: list[str] = []
    outcomes = walk(plan(step("c", "b"), step("b", "a"), step("a")), lambda action: seen.append(action.subject) or "ok")
    assert seen == ["a", "b", "c"]
    assert all(isinstance(outcome, Done) for outcome in outcomes)


def test_one_failure_stops_what_depends_on_it_and_nothing_else() -> None:
    def perform(action: Action) -> str:
        if action.subject == "b":
            raise UserError("no")
        return "ok"

    outcomes = {
        outcome.action.subject: outcome for outcome in walk(plan(step("a"), step("b", "a"), step("c", "b"), step("d", "c"), step("e", "a")), perform)
    }
    assert isinstance(outcomes["a"], Done)
    assert isinstance(outcomes["b"], Failed)
    assert isinstance(outcomes["c"], Blocked)
    assert isinstance(outcomes["d"], Blocked)
    assert isinstance(outcomes["e"], Done)
    assert outcomes["c"].by == "step:b"
    assert [failed.action.subject for failed in failures(tuple(outcomes.values()))] == ["b"]


def test_a_bug_is_raised_not_reported_as_a_failure() -> None:
    with pytest.raises(ZeroDivisionError):
        walk(plan(step("a")), lambda _: str(1 // 0))


def test_independent_actions_run_at_once() -> None:
    barrier = threading.Barrier(2, timeout=20)
    outcomes = walk(plan(step("a"), step("b")), lambda _: str(barrier.wait()), workers=2)
    assert all(isinstance(outcome, Done) for outcome in outcomes)


def test_two_actions_with_one_id_are_refused() -> None:
    with pytest.raises(ValueError, match="two actions"):
        ordered([step("a"), step("a")])


def test_a_need_that_nobody_meets_is_refused() -> None:
    with pytest.raises(ValueError, match="not in the plan"):
        ordered([step("a", "b")])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 12).flatmap(
        lambda n: st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=30).map(lambda edges: (n, edges))
    ),
    st.data(),
)
def test_any_plan_gives_every_action_one_outcome(graph: tuple[int, list[tuple[int, int]]], data: st.DataObject) -> None:
    count, edges = graph
    needs: dict[int, set[str]] = {index: set() for index in range(count)}
    for first, second in edges:
        if first != second:
            needs[max(first, second)].add(str(min(first, second)))
    failing = data.draw(st.sets(st.integers(0, count - 1)))
    done: list[str] = []

    def perform(action: Action) -> str:
        assert all(need.removeprefix("step:") in done for need in action.needs)
        if int(action.subject) in failing:
            raise UserError("no")
        done.append(action.subject)
        return "ok"

    outcomes = walk(plan(*(step(str(index), *needs[index]) for index in range(count))), perform, workers=3)
    assert len(outcomes) == count
    for outcome in outcomes:
        below = {need.removeprefix("step:") for need in outcome.action.needs}
        match outcome:
            case Done():
                assert below <= set(done)
            case Failed():
                assert int(outcome.action.subject) in failing
            case Blocked(_, by):
                assert by.removeprefix("step:") not in done
