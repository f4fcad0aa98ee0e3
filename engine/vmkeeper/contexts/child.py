"""The process that renders: one request as JSON on standard input, one answer as JSON on standard output, plain values only.

`contexts.sandbox` starts it with limits on memory and processor time; it reads nothing else and writes nothing else.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from typing import Any

from vmkeeper.errors import Problems, Refused

Request = dict[str, Any]
Work = Callable[[Request], Any]


def _template() -> Work:
    from vmkeeper.contexts.templates import render

    return lambda request: render(request["text"], request["values"], request["max_output"])


def _templates() -> Work:
    from vmkeeper.contexts.templates import render

    def one(text: str, values: dict[str, Any], most: int) -> dict[str, Any]:
        try:
            return {"made": render(text, values, most)}
        except Refused as error:
            return {"refused": {"what": error.what, "where": error.where, "why": error.why, "hint": error.hint}}

    return lambda request: [one(request["text"], values, request["max_output"]) for values in request["rows"]]


def _context() -> Work:
    from vmkeeper.contexts.render import both
    from vmkeeper.model.context import Context

    def work(request: Request) -> list[Any]:
        context = Context.model_validate_json(json.dumps(request["context"]), strict=True)
        given = {name: tuple(value) if isinstance(value, list) else value for name, value in request["given"].items()}
        return list(both(request["name"], context, given, request["facts"]))

    return work


def answer(work: Work, request: Request) -> dict[str, Any]:
    """`{"made": …}`, `{"refused": {"what", "where", "why", "hint"}}` or `{"problems": […]}`."""
    try:
        return {"made": work(request)}
    except Refused as error:
        return {"refused": {"what": error.what, "where": error.where, "why": error.why, "hint": error.hint}}
    except Problems as error:
        return {"problems": [{"file": one.place.file, "field": one.place.field, "what": one.what, "hint": one.hint} for one in error.problems]}
    except (MemoryError, RecursionError) as error:
        return {"refused": {"what": "what is rendered is too large", "where": "", "why": type(error).__name__, "hint": ""}}


def main() -> None:
    """Answer one request. Processor time beyond `cpu` seconds ends the process (setitimer(2), ITIMER_PROF); loading modules is not counted."""
    request = json.load(sys.stdin)
    work = {"template": _template, "templates": _templates, "context": _context}[request["do"]]()
    signal.setitimer(signal.ITIMER_PROF, request["cpu"])
    json.dump(answer(work, request), sys.stdout)


if __name__ == "__main__":
    main()
