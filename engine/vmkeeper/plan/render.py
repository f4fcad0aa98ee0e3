"""One plan, several renderings, all pure: text for people, JSON for programs, Markdown for a pull request.

The JSON is a stable interface (`version` 1). All lead with what takes something away.
"""

from __future__ import annotations

from typing import Any

from vmkeeper.plan.actions import Action
from vmkeeper.plan.forecast import Foretold
from vmkeeper.plan.plan import Plan
from vmkeeper.values import visible

STICKY = "<!-- vmkeeper plan -->"
"""Marks the one comment of a pull request that is written over."""


def as_json(plan: Plan) -> dict[str, Any]:
    """The plan as plain values."""
    actions = []
    for action in _leading(plan):
        shown = action.model_dump(mode="json")
        core = {key: shown.pop(key) for key in ("subject", "reason", "cause", "needs")}
        actions.append({"id": action.id, "kind": action.kind, **core, "destroys": action.destroys, **shown})
    return {"version": 1, "base": plan.base, "head": plan.head, "digest": plan.digest(), "summary": plan.summary, "actions": actions}


def as_text(plan: Plan, *, title: str = "") -> str:
    """The plan for a terminal."""
    if not plan:
        return "Nothing to do."
    lines = [title] if title else []
    destroying, doing, foretold = _parts(plan)
    lines += _section("Takes away", destroying) + _section("Does", doing) + _section("Then follows, each in somebody else's hands", foretold)
    lines.append(_summary(plan))
    return "\n".join(lines)


def as_markdown(plan: Plan) -> str:
    """The plan as a pull request's sticky comment."""
    if not plan:
        return f"{STICKY}\n### vmkeeper plan: nothing to do\n"
    lines = [STICKY, f"### vmkeeper plan: {_summary(plan)}", ""]
    for heading, actions in zip(("Takes away", "Does", "Then follows"), _parts(plan), strict=True):
        if actions:
            lines += [f"**{heading}**", "", "| | subject | why | cause |", "|---|---|---|---|"]
            lines += [f"| {action.kind} | {_cell(action.subject)} | {_cell(action.reason)} | {_cell(_cause(action))} |" for action in actions]
            lines.append("")
    lines.append(f"Plan `{plan.digest()[:16]}` from `{plan.base[:12] or 'nothing'}` to `{plan.head[:12] or 'the work tree'}`.")
    return "\n".join(lines) + "\n"


def _leading(plan: Plan) -> list[Action]:
    return sorted(plan.actions, key=lambda action: not action.destroys)


def _parts(plan: Plan) -> tuple[list[Action], list[Action], list[Action]]:
    destroying = [action for action in plan.actions if action.destroys]
    rest = [action for action in plan.actions if not action.destroys]
    return destroying, [a for a in rest if not isinstance(a, Foretold)], [a for a in rest if isinstance(a, Foretold)]


def _section(heading: str, actions: list[Action]) -> list[str]:
    if not actions:
        return []
    width = max(len(action.subject) for action in actions)
    lines = [f"{heading}:"]
    for action in actions:
        cause = _cause(action)
        lines.append(f"  {action.kind:<9} {action.subject:<{width}}  {action.reason}{f' ({cause})' if cause else ''}")
    return [*lines, ""]


def _summary(plan: Plan) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in plan.summary.items())


def _cause(action: Action) -> str:
    return f"{action.cause.path} in {action.cause.commit[:10]}" if action.cause else ""


def _cell(text: str) -> str:
    """Text that cannot end a table cell or become markup."""
    escaped = visible(text)
    for character in "\\`*_[]<>|":
        escaped = escaped.replace(character, f"\\{character}")
    return escaped
