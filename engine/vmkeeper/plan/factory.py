"""What a commit asks of the factory: which recipes to build, which images to test, which releases to record.

The difference between two commits chooses which appliances are looked at and says why; whether there is
anything to do comes from comparing each one's recipe with its release record. What will follow at endorsers,
publishers, sites and clusters is told as forecasts, which `apply` does not carry out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.catalogue.inherit import definition
from vmkeeper.catalogue.recipe import Difference, differences
from vmkeeper.errors import Problem, Problems
from vmkeeper.model.release import Release
from vmkeeper.plan.actions import Action, Cause
from vmkeeper.plan.forecast import Uses, forecasts, uses
from vmkeeper.plan.plan import Plan, ordered
from vmkeeper.repository.changes import RECORD, Change
from vmkeeper.values import CommitId, Name, Sha256, Version

CauseOf = Callable[[str], Cause | None]
"""The commit between base and head that last changed a path."""


class Build(Action):
    """Make the root file system and image files of a recipe and put them into the store."""

    kind: ClassVar[str] = "build"
    recipe: Sha256
    commit: CommitId


class Test(Action):
    """Boot the image of a recipe as a user would and run its tests."""

    __test__ = False
    kind: ClassVar[str] = "test"
    recipe: Sha256
    tests: Sha256
    commit: CommitId


class Record(Action):
    """Commit the release record of a recipe that was built and tested."""

    kind: ClassVar[str] = "release"
    recipe: Sha256
    tests: Sha256 | None
    version: Version
    built: CommitId
    """The commit that the record names as built."""
    commit: CommitId


FACTORY = (Build, Test, Record)
"""What `apply` carries out; all else in a plan is foretold."""


@dataclass(frozen=True, slots=True)
class Head:
    """The commit that is built: its id, its committer's time, its height on the first-parent line."""

    commit: CommitId
    time: datetime
    height: int
    top: int
    """Height of the branch's head, which is more where release records lie on top."""


def release_version(head: Head, previous: Version | None) -> Version:
    """`YEAR.MONTH.DAY.HEIGHT` of a commit, never below the previous release's date: only the commit decides it.

    Where one commit is built twice, because a newer builder gives other bytes, the height is that of the records' last.
    """
    date: tuple[int, ...] = (head.time.year, head.time.month, head.time.day)
    if previous is not None:
        date = max(date, previous.numbers[:3])
    number = head.height if previous is None or (*date, head.height) > previous.numbers else head.top
    return Version(".".join(str(each) for each in (*date, number)))


def scope(changed: Iterable[Change], head: Catalogue) -> tuple[frozenset[Name], frozenset[Name]]:
    """The appliances of the head that a difference concerns, and those that it removed."""
    touched: set[str] = set()
    recorded: set[str] = set()
    for change in changed:
        parts = change.path.split("/")
        if parts[0] == "appliances" and len(parts) > 2:
            (recorded if RECORD.fullmatch(change.path) else touched).add(parts[1])
    there = {name for name in touched | recorded if head.snapshot.blob_id(definition(name))}
    removed = touched - there
    return frozenset(there | head.graph.dependants(touched) if touched else there), frozenset(removed)


def plan(base: Catalogue, head: Catalogue, at: Head, changed: Iterable[Change], cause: CauseOf) -> Plan:
    """The plan that leads from `base` to `head`. Raises Problems for every appliance concerned that is broken."""
    names, removed = scope(changed, head)
    actions: list[Action] = []
    problems: list[Problem] = []
    built: set[str] = set()
    for name in sorted(names, key=lambda each: (_depth(head, each), each)):
        try:
            actions += _appliance(name, base, head, at, built, cause)
        except Problems as error:
            problems += error.problems
    if problems:
        raise Problems(problems)
    concerned: Mapping[str, Uses] = uses(head, built | removed) if built or removed else {}
    actions = [*forecasts(removed, built, concerned, {action.id for action in actions}, cause), *actions]
    return Plan(base.snapshot.commit, head.snapshot.commit, ordered(_met(actions)))


def plan_one(head: Catalogue, name: Name, at: Head) -> Plan:
    """The plan that builds and tests one appliance with whatever it stands on, whether recorded or not."""
    actions = [action for member in head.chain(name) for action in _appliance(member, head, head, at, set(), lambda _: None)]
    return Plan("", head.snapshot.commit, ordered(_met(actions)))


def _met(actions: list[Action]) -> list[Action]:
    """The same actions without needs that nothing in the plan meets: what they name was built before."""
    ids = {action.id for action in actions}
    return [action.model_copy(update={"needs": tuple(need for need in action.needs if need in ids)}) for action in actions]


def _depth(head: Catalogue, name: str) -> int:
    try:
        return len(head.chain(name))
    except Problems:
        return 0


def _appliance(name: str, base: Catalogue, head: Catalogue, at: Head, built: set[str], cause: CauseOf) -> list[Action]:
    recipe = head.recipe(name)
    digest = recipe.digest()
    release = head.release(name)
    whole = head.resolved(name).appliance
    tests = None if whole.abstract else head.tests_digest(name)
    same_bytes = release is not None and release.recipe == digest
    if same_bytes and release is not None and (release.tests.inputs if release.tests else None) == tests:
        return []
    if same_bytes and release is not None and tests is not None:
        reason, why = "its tests changed", cause(f"appliances/{name}/tests")
        test = Test(subject=name, reason=reason, cause=why, recipe=digest, tests=tests, commit=at.commit)
        record = Record(
            subject=name,
            reason=reason,
            cause=why,
            needs=(test.id,),
            recipe=digest,
            tests=tests,
            version=release.version,
            built=release.commit,
            commit=at.commit,
        )
        return [test, record]
    reason, why = _reason(name, base, head, release, cause)
    below = [*head.chain(name)[:-1], *([whole.builder.tools] if whole.builder.tools and not whole.abstract else [])]
    needs = tuple(f"build:{member}" for member in below)
    built.add(name)
    build = Build(subject=name, reason=reason, cause=why, needs=needs, recipe=digest, commit=at.commit)
    version = release_version(at, release.version if release else None)
    made: list[Action] = [build]
    if tests is not None:
        made.append(Test(subject=name, reason=reason, cause=why, needs=(build.id,), recipe=digest, tests=tests, commit=at.commit))
    made.append(
        Record(
            subject=name,
            reason=reason,
            cause=why,
            needs=(made[-1].id,),
            recipe=digest,
            tests=tests,
            version=version,
            built=at.commit,
            commit=at.commit,
        )
    )
    return made


def _reason(name: str, base: Catalogue, head: Catalogue, release: Release | None, cause: CauseOf) -> tuple[str, Cause | None]:
    if release is None:
        return "it was never released", cause(definition(name))
    found = _differences(name, base, head)
    if not found:
        return f"release {release.version} is of another recipe", cause(f"appliances/{name}/release.yaml")
    reason = "; ".join(difference.what for difference in found[:3]) + (f"; and {len(found) - 3} more" if len(found) > 3 else "")
    causes = [why for difference in found if difference.path and (why := cause(difference.path)) is not None]
    return reason, causes[0] if causes else None


def _differences(name: str, base: Catalogue, head: Catalogue) -> tuple[Difference, ...]:
    try:
        return differences(base.recipe(name), head.recipe(name))
    except Problems:
        return ()  # the base did not have it in a form that could be built
