"""The command policy sync: bring lists that are based on another repository's to what that has in force."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vmkeeper.cli.session import HERE, Directory, Output, OutputOption, Session
from vmkeeper.errors import Problem, Problems, VmkeeperError

if TYPE_CHECKING:
    from vmkeeper.execute.sources import Synchronised


def sync(
    names: Annotated[
        list[str] | None, typer.Argument(help="Endorser lists; default: all that are based on a remote one.", show_default=False)
    ] = None,
    directory: Directory = HERE,
    output: OutputOption = Output.text,
) -> int:
    """Fetch and verify the lists that lists here are based on. Takes off whom they dropped, and says whom they gained."""
    from pathlib import Path

    from vmkeeper.cli.session import show_error
    from vmkeeper.execute.sources import derived_lists, synchronise

    session = Session(directory)
    repository = session.repository
    chosen = names or (() if repository.git.is_bare else derived_lists(Path(repository.git.workdir)))
    found: list[Synchronised] = []
    failed: list[tuple[str, VmkeeperError]] = []
    for name in chosen:
        try:
            found.append(synchronise(repository, name, session.authorities, session.now, session.progress()))
        except VmkeeperError as error:
            failed.append((name, error))
    problems = [problem for one in found for problem in one.problems]
    if output is Output.json:
        session.json(
            {"version": 1, "lists": [_as_json(one) for one in found], "failed": [{"name": n, "why": str(e), "hint": e.hint} for n, e in failed]}
        )
    else:
        for one in found:
            _say(session, one)
        if not chosen:
            session.say("No endorser list here is based on one of another repository.")
    for name, why in failed:
        session.err.print(f"{name} could not be synchronised:", markup=False)
        show_error(session.err, why)
    if problems:
        raise Problems(problems)
    return 1 if failed else 0


def _say(session: Session, one: Synchronised) -> None:
    session.say(f"{one.name}: policy {one.policy} of {one.source} is in force there.")
    for sentence in one.narrowed:
        session.say(f"  taken away  {sentence}")
    for sentence in one.proposed:
        session.say(f"  to decide   {sentence}")
    for path in one.written:
        session.say(f"  changed     {path}")
    session.say("  Commit endorsers/ and have it signed: vmkeeper policy sign")


def _as_json(one: Synchronised) -> dict[str, object]:
    return {
        "name": one.name,
        "source": one.source,
        "policy": one.policy,
        "narrowed": list(one.narrowed),
        "proposed": list(one.proposed),
        "written": list(one.written),
        "problems": [_problem(problem) for problem in one.problems],
    }


def _problem(problem: Problem) -> dict[str, str]:
    return {"file": problem.place.file, "field": problem.place.field, "what": problem.what, "hint": problem.hint}
