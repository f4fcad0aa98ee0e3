"""Errors typed by what happens next.

Every error says what happened, where, why, and the way out. Nothing here prints; `cli` turns errors
into text and exit codes. `UserError` is somebody's to mend (exit code 1), `Refused` is a failed
verification (never retried, never a warning), `Transient` may be tried again later. Anything that is
not a `VmkeeperError` is a bug (exit code 3).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, order=True, slots=True)
class Place:
    """Where a problem sits: a file of the repository, 1-based line and column (0: unknown), a field path."""

    file: str = ""
    line: int = 0
    column: int = 0
    field: str = ""

    def __str__(self) -> str:
        position = ":".join([self.file, *(str(n) for n in (self.line, self.column) if n)])
        return ": ".join(part for part in (position, self.field) if part)


@dataclass(frozen=True, order=True, slots=True)
class Problem:
    """One thing wrong in one place: `what` is a sentence, `hint` the way out; `rule` (`R21`) where a trust rule refuses it."""

    place: Place
    what: str
    hint: str = ""
    rule: str = field(default="", compare=False)

    def __str__(self) -> str:
        text = f"{self.place}: {self.what}" if str(self.place) else self.what
        return f"{text}\n    {self.hint}" if self.hint else text


class VmkeeperError(Exception):
    """The root of all expected errors.

    `what` happened (a sentence), `where` (file, field or resource), `why` (the cause as known),
    `hint` (the way out).
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | Place = "", why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = str(where)
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}: {self.why}" if self.why else head


class UserError(VmkeeperError):
    """Something a person gave us is wrong; a person mends it."""


class Problems(UserError):
    """Several problems, reported together; `problems` is sorted by place and never empty."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        count = len(self.problems)
        super().__init__(f"{count} problem{'' if count == 1 else 's'}")

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class EnvironmentLacks(UserError):
    """This machine lacks a program, a right or a feature; `hint` says how to get it."""


class Refused(VmkeeperError):
    """A verification failed. `rule` names it (docs/trust.md, `R14`); it is never retried."""

    def __init__(self, rule: str, what: str, *, where: str | Place = "", why: str = "", hint: str = "") -> None:
        super().__init__(what, where=where, why=why, hint=hint)
        self.rule = rule

    def __str__(self) -> str:
        return f"{super().__str__()} [{self.rule}]"


class Transient(VmkeeperError):
    """Failed for a reason that may pass (a network, a busy server): the next run tries again."""
