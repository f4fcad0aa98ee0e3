"""Carry out a plan: its needs are edges, outcomes are values, one failure stops only what depends on it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from graphlib import TopologicalSorter

from vmkeeper.errors import Transient, VmkeeperError
from vmkeeper.plan.actions import Action
from vmkeeper.plan.plan import Plan
from vmkeeper.progress import Progress, Silent


class Ended(Transient):
    """The run was to end before the action had begun."""


@dataclass(frozen=True, slots=True)
class Done:
    """The action was carried out; `text` says what came of it."""

    action: Action
    text: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The action was tried and failed."""

    action: Action
    error: VmkeeperError


@dataclass(frozen=True, slots=True)
class Blocked:
    """The action was not tried, because an action it needs (`by`, an id) failed or was blocked."""

    action: Action
    by: str


Outcome = Done | Failed | Blocked


def walk(
    plan: Plan,
    perform: Callable[[Action], str],
    *,
    workers: int = 1,
    progress: Progress | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Outcome, ...]:
    """Perform every action whose needs are done, up to `workers` at once; outcomes come in the plan's order.

    `perform` returns a sentence on what it did and raises VmkeeperError to fail. Any other exception is a bug:
    the running actions are awaited and it is raised. stop: once it says so no action begins any more; those that have not
    begun fail with `Ended`.
    """
    progress = progress or Silent()
    actions = {action.id: action for action in plan.actions}
    outcomes: dict[str, Outcome] = {}
    sorter = TopologicalSorter({key: action.needs for key, action in actions.items()})
    sorter.prepare()
    running: dict[Future[str], str] = {}
    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="walk") as pool:
        while sorter.is_active():
            for key in sorter.get_ready():
                blocker = next((need for need in actions[key].needs if not isinstance(outcomes[need], Done)), None)
                if blocker is None:
                    running[pool.submit(_perform, perform, actions[key], progress, stop)] = key
                else:
                    outcomes[key] = Blocked(actions[key], blocker)
                    sorter.done(key)
            if running:
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    key = running.pop(future)
                    outcomes[key] = _outcome(actions[key], future)
                    sorter.done(key)
    return tuple(outcomes[key] for key in actions)


def failures(outcomes: tuple[Outcome, ...]) -> tuple[Failed, ...]:
    """The outcomes that are failures of their own."""
    return tuple(outcome for outcome in outcomes if isinstance(outcome, Failed))


def _perform(perform: Callable[[Action], str], action: Action, progress: Progress, stop: Callable[[], bool]) -> str:
    if stop():
        raise Ended("the run was to end before this began", where=action.subject, hint="run it again")
    progress.step(action.subject, action.kind)
    return perform(action)


def _outcome(action: Action, future: Future[str]) -> Outcome:
    try:
        return Done(action, future.result())
    except VmkeeperError as error:
        return Failed(action, error)
