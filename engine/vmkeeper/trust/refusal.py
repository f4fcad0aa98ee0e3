"""A refusal as data: the rule, why, the evidence and the way out, safe to print whatever a stranger wrote."""

from __future__ import annotations

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
        """The data of a `Refused`: what happened becomes why, its cause the evidence."""
        return cls(error.rule, error.what, error.why, error.hint)

    def __str__(self) -> str:
        return f"{self.rule}: {self.why}" + (f" ({self.evidence})" if self.evidence else "")

    def as_json(self) -> dict[str, str]:
        """`{"rule", "why", "evidence"}` and `"hint"` where there is one."""
        return {"rule": self.rule, "why": self.why, "evidence": self.evidence, **({"hint": self.hint} if self.hint else {})}
