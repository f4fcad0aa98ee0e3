"""Render what came from a repository in a process of its own, with caps on memory, processor time and output (rule R28).

Only plain values go in and out. What the child does not survive is refused, never tried again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vmkeeper.contexts.render import Value
from vmkeeper.contexts.templates import MAX_OUTPUT, check_template, check_values, is_plain
from vmkeeper.errors import Place, Problem, Problems, Refused
from vmkeeper.model.context import Context
from vmkeeper.run import Limits, ProgramFailed, run

_AT_ONCE = 100
"""Sets of values that a child fills in."""
_HINT = "make it shorter and simpler; nothing that is rendered needs long loops or large texts"


@dataclass(frozen=True, slots=True)
class RenderLimits:
    """Bytes of address space, seconds of processor time for rendering, characters of the result."""

    memory: int = 256 << 20
    cpu: float = 0.5
    output: int = MAX_OUTPUT


LIMITS = RenderLimits()


def render_template(text: str, values: Mapping[str, Any], *, limits: RenderLimits = LIMITS) -> str:
    """A Jinja2 template with values filled in. Raises Refused R28."""
    check_template(text)
    check_values(values)
    made = _ask({"do": "template", "text": text, "values": dict(values), "max_output": limits.output}, limits)
    return str(made)


def render_templates(text: str, rows: Sequence[Mapping[str, Any]], *, most: int = 1000, limits: RenderLimits = LIMITS) -> list[str | Refused]:
    """A Jinja2 template, filled in once for each set of values, in one child for every hundred: texts of at most `most` characters.

    One that does not come to an end is refused in place of a text, and so is what shares its child.
    """
    made: list[str | Refused] = []
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        try:
            check_template(text)
            for values in some:
                check_values(values)
            found = _ask({"do": "templates", "text": text, "rows": [dict(values) for values in some], "max_output": most}, limits)
            made += [Refused("R28", **one["refused"]) if "refused" in one else str(one["made"]) for one in found]
        except Refused as error:
            made += [error] * len(some)
    return made


def both(name: str, context: Context, given: Mapping[str, Value], facts: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """`render.both` in the child: the cloud-config, and its structure without addresses. Raises Refused R28, Problems."""
    for key, value in (*given.items(), *facts.items()):
        if not all(is_plain(part) for part in (value if isinstance(value, tuple) else (value,)) if isinstance(part, str)):
            raise Refused("R28", f"the value of {key} holds control or bidirectional characters", where=name)
    document = context.model_dump(mode="json", exclude_unset=True)
    filled, structure = _ask({"do": "context", "name": name, "context": document, "given": dict(given), "facts": dict(facts)}, LIMITS)
    return filled, structure


def _ask(request: dict[str, Any], limits: RenderLimits) -> Any:
    said = json.dumps({**request, "cpu": limits.cpu}).encode()
    # -I: neither the working folder nor the environment may bring modules.
    command = [sys.executable, "-I", "-m", "vmkeeper.contexts.child"]
    caps = Limits(memory=limits.memory, file_size=1, cpu=int(limits.cpu) + 2)
    try:
        result = run(command, stdin=said, check=False, timeout=60, limits=caps)
    except ProgramFailed as error:
        raise Refused("R28", "rendering does not come to an end", why=error.what, hint=_HINT) from None
    if result.status > 0 and b"MemoryError" not in result.stderr:
        raise ProgramFailed("the process that renders failed", why=result.stderr.decode(errors="replace")[-2000:], result=result)
    if result.status != 0:
        why = f"it took more than {limits.cpu:g} s of processor time or {limits.memory >> 20} MiB"
        raise Refused("R28", "rendering does not come to an end", why=why, hint=_HINT)
    return _made(json.loads(result.stdout))


def _made(answer: dict[str, Any]) -> Any:
    if "problems" in answer:
        raise Problems(Problem(Place(one["file"], field=one["field"]), one["what"], one["hint"]) for one in answer["problems"])
    if "refused" in answer:
        raise Refused("R28", **answer["refused"])
    return answer["made"]
