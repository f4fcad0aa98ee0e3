"""A refusal as data: the rule, why, the evidence and the way out, safe to print whatever a stranger wrote."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vmkeeper.errors import Refused
from vmkeeper.values import visible

_LONGEST = 400


@dataclass(frozen=True, order=True, slots=True)
class Refusal:
    """One rule that is not met. Texts hold no control or bidirectional characters (rule R29) and are cut at 400."""

    rule: str
    why: str
    evidence: str = ""
    hint: str = ""

    def __post_init__(self) -> None:
        for name in ("rule", "why", "evidence", "hint"):
            text = visible(getattr(self, name).encode(errors="backslashreplace").decode())
            object.__setattr__(self, name, text if len(text) <= _LONGEST else text[:_LONGEST] + "…")

    @classmethod
    def of(cls, error: Refused) -> Refusal:
        """The data of a `Refused`: what happened becomes why, its cause (or its place) the evidence."""
        return cls(error.rule, error.what, error.why or error.where, error.hint)

    def __str__(self) -> str:
        return f"{self.rule}: {self.why}" + (f" ({self.evidence})" if self.evidence else "")

    def as_json(self) -> dict[str, str]:
        """`{"rule", "why", "evidence"}` and `"hint"` where there is one."""
        return {"rule": self.rule, "why": self.why, "evidence": self.evidence, **({"hint": self.hint} if self.hint else {})}


class Untrusted(Refused):
    """Nothing can be concluded from what is there; `refusals` says why, all of it."""

    def __init__(self, refusals: Iterable[Refusal]) -> None:
        self.refusals = tuple(dict.fromkeys(refusals))
        first, *others = self.refusals
        more = f"; and {'; '.join(map(str, others))}" if others else ""
        super().__init__(first.rule, first.why, why=first.evidence + more, hint=first.hint)
