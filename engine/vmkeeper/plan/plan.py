"""A plan: ordered actions as data, with a digest by which a reviewed plan is applied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from graphlib import TopologicalSorter

from vmkeeper.plan.actions import Action
from vmkeeper.values import Sha256, canonical_json, sha256_hex


@dataclass(frozen=True, slots=True)
class Plan:
    """Actions in an order in which each comes after what it needs. `base` and `head` are commits or ""."""

    base: str
    head: str
    actions: tuple[Action, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.actions)

    @property
    def summary(self) -> dict[str, int]:
        """How many actions of each kind, by kind."""
        return dict(sorted(Counter(action.kind for action in self.actions).items()))

    def digest(self) -> Sha256:
        """SHA-256 over everything that the actions say which are carried out, and their order."""
        actions = [{"kind": action.kind, **action.model_dump(mode="json")} for action in self.actions if not action.foretold]
        return sha256_hex(canonical_json({"base": self.base, "head": self.head, "actions": actions}))


def ordered(actions: Iterable[Action]) -> tuple[Action, ...]:
    """Sort by needs, then by the order given. Raises ValueError for a repeated id or a need nobody meets."""
    by_id: dict[str, Action] = {}
    for action in actions:
        if action.id in by_id:
            raise ValueError(f"two actions have the id {action.id}")
        by_id[action.id] = action
    for action in by_id.values():
        for need in action.needs:
            if need not in by_id:
                raise ValueError(f"{action.id} needs {need}, which is not in the plan")
    order = TopologicalSorter({key: action.needs for key, action in by_id.items()}).static_order()
    return tuple(by_id[key] for key in order)
