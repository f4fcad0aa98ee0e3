"""A campaign of faults against one cloud: every request of every step of a site's life, spoilt in every way, one at a time.

After each fault the next runs, left alone, must end where an undisturbed life is at that step: the same things are there, and
nothing else; what others have is as it was. All the while, what was usable before and after a step was usable at every moment,
and what was there before and after it was never away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from conformance.faults_scenario import BUG, LEGACY, Ran, Step

RUNS = 4
"""The most undisturbed runs after a fault, the last of which finds nothing to do."""


@dataclass(frozen=True, order=True)
class Thing:
    """Something that is at a cloud, as seen behind the client's back."""

    kind: str
    """image, alias, or whatever else the cloud has: snapshot, object, template, file."""
    owner: str
    """`ours`, another owner, or ""."""
    label: str
    """`APPLIANCE VERSION` of an image of ours, else a name."""
    state: str = ""
    detail: tuple[str, ...] = ()
    """What else counts. No ids and no times of the cloud's own."""


@dataclass(frozen=True)
class Disturbed:
    """A run, the requests it made by what kind they are, and whether the fault struck."""

    ran: Ran
    labels: tuple[str, ...]
    struck: bool


class Family(Protocol):
    """One kind of cloud, with a server of its own."""

    name: str
    kinds: Sequence[str]
    """What can happen to a request."""
    steps: Sequence[Step]
    """The site's life there."""

    def begin(self) -> None:
        """A new site with a mark of its own; what another tool and other people made is there."""

    def run(self, step: Step, kind: str = "", at: int = 0, *, fresh: bool = False) -> Disturbed:
        """One run of the site, whose request number `at` (from 1) is spoilt. fresh: with all that a new process has to do first."""

    def inventory(self) -> Iterable[Thing]:
        """Everything that is at the cloud, whoever made it."""

    def glance(self) -> Iterable[Thing]:
        """The images and aliases of it."""

    def watch(self, moment: object) -> None:
        """Call this after each request that changed something; None ends it."""

    def reset(self) -> None:
        """Remove all that is there."""


@dataclass(frozen=True)
class Trial:
    """One fault: at this request of this step."""

    step: str
    kind: str
    at: int
    label: str

    def __str__(self) -> str:
        return f"{self.kind} at request {self.at} ({self.label}) of {self.step}"


@dataclass
class Totals:
    """What a campaign came to."""

    family: str
    requests: int = 0
    tried: Counter[str] = field(default_factory=Counter)
    survived: Counter[str] = field(default_factory=Counter)
    runs: Counter[int] = field(default_factory=Counter)
    """How many undisturbed runs it took until there was nothing to do."""
    looks: int = 0
    """Moments at which the cloud was looked at."""
    wrong: list[tuple[Trial, list[str]]] = field(default_factory=list)
    whole: bool = True
    """Whether the campaign came to its end."""

    def __str__(self) -> str:
        rows = [f"  {kind:<12} {self.tried[kind]:>5} tried {self.survived[kind]:>5} survived" for kind in self.tried]
        head = f"{self.family}: {self.requests} requests in an undisturbed life, {self.tried.total()} faults, {self.survived.total()} survived"
        head += "" if self.whole else " (not all that there are)"
        ends = ", ".join(f"{runs}: {count}" for runs, count in sorted(self.runs.items()))
        wrong = [f"  WRONG {trial}\n" + "\n".join(f"      {word}" for word in words) for trial, words in self.wrong]
        return "\n".join([head, *rows, f"  runs until nothing was left to do: {ends}; {self.looks} looks in between", *wrong])


@dataclass(frozen=True)
class Reference:
    """An undisturbed life: what is there before the first step and after each, and the requests of each step's first run."""

    states: tuple[frozenset[Thing], ...]
    labels: tuple[tuple[str, ...], ...]


def campaign(
    family: Family,
    *,
    sample: int = 0,
    kinds: Sequence[str] = (),
    first: int = 1,
    told: Callable[[str], object] = str,
    enough: Callable[[], bool] = lambda: False,
) -> Totals:
    """Try all faults, or only so many lives with a fault in each step. kinds: only these. told: hears of what goes wrong at once.

    first: the request of each step with which all faults begin. enough: asked before each life; then the campaign ends with what
    was tried so far.
    """
    family.reset()
    steps = family.steps
    reference = undisturbed(family)
    totals = Totals(family.name, requests=sum(map(len, reference.labels)))
    every = tuple(kinds) or tuple(family.kinds)
    for faults in _sampled(reference.labels, every, sample) if sample else _every(reference.labels, every, first):
        if enough():
            totals.whole = False
            break
        wrong = len(totals.wrong)
        _life(family, steps, reference, faults, totals)
        for trial, words in totals.wrong[wrong:]:
            told(f"{family.name}: {trial}: {' | '.join(words)}")
    family.reset()
    return totals


Fault = tuple[str, int]
"""A kind, and the request that it strikes, from 1; with 0, none."""


def _every(labels: Sequence[Sequence[str]], kinds: Sequence[str], first: int) -> Iterator[list[Fault]]:
    """Lives that together have every kind of fault at every request, one in each step."""
    for at in range(first, max(map(len, labels)) + 1):
        for kind in kinds:
            yield [(kind, at if at <= len(each) else 0) for each in labels]


def _sampled(labels: Sequence[Sequence[str]], kinds: Sequence[str], lives: int) -> Iterator[list[Fault]]:
    """So many lives with a fault in each step: kinds in turn, each where there was none of it yet, at writes as at readings."""
    met: Counter[tuple[str, str]] = Counter()
    turns: Counter[str] = Counter()
    stride = len(labels) + (len(labels) % len(kinds) == 0)
    for life in range(lives):
        faults = []
        for index, each in enumerate(labels):
            kind = kinds[(life * stride + index) % len(kinds)]
            at = min(range(1, len(each) + 1), key=lambda at: (met[kind, each[at - 1]], turns[each[at - 1]], at))
            met[kind, each[at - 1]] += 1
            turns[each[at - 1]] += 1
            faults.append((kind, at))
        yield faults


def undisturbed(family: Family) -> Reference:
    """A life without faults; it must come to rest at each step and leave nothing."""
    family.begin()
    states, labels = [frozenset(family.inventory())], []
    others = {thing for thing in states[0] if thing.owner != "ours" and not thing.label.startswith(LEGACY)}
    for step in family.steps:
        done = family.run(step, fresh=True)
        assert not done.ran.problems, f"{family.name}: {step.name}: {done.ran.problems}"
        assert done.ran.actions, f"{family.name}: {step.name} did nothing"
        again = family.run(step).ran
        assert again.quiet, f"{family.name}: {step.name} comes to no rest: {again}"
        states.append(frozenset(family.inventory()))
        labels.append(done.labels)
        assert others <= states[-1], f"{family.name}: {step.name} touched what is others': {sorted(others - states[-1])}"
    assert not [thing for thing in states[-1] if thing.owner == "ours"], states[-1]
    return Reference(tuple(states), tuple(labels))


def _life(family: Family, steps: Sequence[Step], reference: Reference, faults: Sequence[Fault], totals: Totals) -> None:
    """One life with at most one fault in each step, up to the last one. After a step that went wrong it is given up."""
    family.begin()
    last_fault = max((index for index, (_, at) in enumerate(faults) if at), default=-1)
    for index, (step, (kind, at)) in enumerate(zip(steps[: last_fault + 1], faults, strict=False)):
        guard = Guard(reference.states[index], reference.states[index + 1])
        family.watch(lambda guard=guard: guard.look(family.glance()))
        try:
            done = family.run(step, kind if at else "", at)
            runs, last = 0, done.ran
            while runs < RUNS and (runs == 0 or not last.quiet):
                last, runs = family.run(step).ran, runs + 1
        finally:
            family.watch(None)
        totals.looks += guard.looks
        words = [word for word in done.ran.problems if word.startswith(BUG)]
        words += [*guard.wrong, *([] if last.quiet else [f"no rest after {runs} runs: {last.actions} {last.problems}"])]
        words += _differences(reference.states[index + 1], frozenset(family.inventory()))
        if done.struck:
            totals.tried[kind] += 1
            totals.runs[runs] += 1
        if words:
            label = done.labels[at - 1] if 0 < at <= len(done.labels) else "no fault"
            totals.wrong.append((Trial(step.name, kind, at, label), [*words, f"the disturbed run: {done.ran}"]))
            family.reset()
            return
        if done.struck:
            totals.survived[kind] += 1


class Guard:
    """What must hold at every moment of a step."""

    def __init__(self, before: frozenset[Thing], after: frozenset[Thing]) -> None:
        self._usable = _usable(before) & _usable(after)
        self._there = _there(before) & _there(after)
        self._named = _aliases(before) & _aliases(after)
        self._others = {thing for thing in before & after if thing.owner != "ours" and thing.kind == "image"}
        self.looks = 0
        self.wrong: list[str] = []

    def look(self, things: Iterable[Thing]) -> None:
        """One moment."""
        now = frozenset(things)
        self.looks += 1
        lost = {
            "no usable image of": self._usable - _usable(now),
            "deleted too early:": self._there - _there(now),
            "nothing is called": self._named - _aliases(now),
            "others' was touched:": {f"{thing}" for thing in self._others - now},
        }
        self.wrong += [word for what, names in lost.items() if names and (word := f"{what} {', '.join(sorted(names))}") not in self.wrong]


def _usable(things: Iterable[Thing]) -> set[str]:
    return {thing.label.split()[0] for thing in _ours(things) if thing.state == "active"}


def _there(things: Iterable[Thing]) -> set[str]:
    return {thing.label for thing in _ours(things) if thing.state != "incomplete"}


def _aliases(things: Iterable[Thing]) -> set[str]:
    return {thing.label for thing in things if thing.kind == "alias" and thing.owner == "ours"}


def _ours(things: Iterable[Thing]) -> Iterator[Thing]:
    return (thing for thing in things if thing.kind == "image" and thing.owner == "ours")


def _differences(wanted: frozenset[Thing], found: frozenset[Thing]) -> list[str]:
    return [*(f"left over: {thing}" for thing in sorted(found - wanted)), *(f"missing: {thing}" for thing in sorted(wanted - found))]
