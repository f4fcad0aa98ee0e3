"""Commands for authors: init, check, show, plan, why, schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vmkeeper.cli.session import CHANGES, HERE, DetailedExitCode, Directory, Output, OutputOption, Session
from vmkeeper.errors import Problems
from vmkeeper.values import visible

WorktreeOption = Annotated[bool, typer.Option("--worktree", help="Read the files as they lie here instead of a commit.")]


def init(directory: Annotated[Path, typer.Argument(help="A folder that is empty or not there yet.")]) -> int:
    """Lay out a new repository."""
    from vmkeeper.execute.layout import lay_out

    session = Session(directory)
    for line in lay_out(directory):
        session.say(line)
    return 0


def check(
    revision: Annotated[str, typer.Argument(help="The commit to check.")] = "HEAD",
    directory: Directory = HERE,
    worktree: WorktreeOption = False,
    output: OutputOption = Output.text,
) -> int:
    """Validate every document of a commit and say all that is wrong at once."""
    from vmkeeper.catalogue.check import check as check_all
    from vmkeeper.catalogue.decided import remarks
    from vmkeeper.catalogue.trusted import marked

    session = Session(directory)
    catalogue = session.catalogue(revision, worktree=worktree)
    problems = check_all(catalogue, session.now)
    if output is Output.json:
        session.json(
            [
                {"file": p.place.file, "line": p.place.line, "column": p.place.column, "field": p.place.field, "what": p.what, "hint": p.hint}
                for p in problems
            ]
        )
        return 1 if problems else 0
    if problems:
        raise Problems(problems)
    counts = ", ".join(f"{len(catalogue.names(folder))} in {folder}/" for folder in ("appliances", "imagelists", "endorsers", "sites", "clusters"))
    session.say(f"All documents are sound: {counts}.")
    for sentence in (*marked(catalogue), *remarks(catalogue, session.now)):
        session.say(sentence)
    return 0


def show(
    name: Annotated[str, typer.Argument(help="An appliance.")],
    revision: Annotated[str, typer.Option("--at", help="The commit to read.")] = "HEAD",
    directory: Directory = HERE,
    worktree: WorktreeOption = False,
    output: OutputOption = Output.text,
) -> int:
    """Print an appliance with all that it inherits, and where each value came from."""
    from vmkeeper.catalogue.show import as_text, shown

    session = Session(directory)
    result = shown(session.catalogue(revision, worktree=worktree), name)
    if output is Output.json:
        session.json(result)
    else:
        session.say(as_text(result))
    return 0


def plan(
    base: Annotated[str | None, typer.Argument(help="Compare with this commit; default: what was last applied.", show_default=False)] = None,
    head: Annotated[str, typer.Argument(help="The commit to plan for.")] = "HEAD",
    directory: Directory = HERE,
    output: OutputOption = Output.text,
    detailed_exitcode: DetailedExitCode = False,
    worktree: WorktreeOption = False,
) -> int:
    """Show what a change would do, from rebuilds to the sites and clusters that follow. Changes nothing."""
    from vmkeeper.execute.planning import planned
    from vmkeeper.execute.trustplan import with_trust
    from vmkeeper.plan.render import as_json, as_markdown, as_text

    session = Session(directory)
    made = planned(session.repository, base, None if worktree else head, session.progress())
    made = with_trust(session.repository, made, session.authorities, session.now)
    if output is Output.json:
        session.json(as_json(made))
    elif output is Output.markdown:
        session.out.file.write(as_markdown(made))
    else:
        session.say(as_text(made, title=f"From {made.base[:12] or 'nothing'} to {made.head[:12] or 'the work tree'}:\n"))
    return CHANGES if detailed_exitcode and made else 0


def why(
    name: Annotated[str, typer.Argument(help="An appliance.")],
    directory: Directory = HERE,
    site: Annotated[str | None, typer.Option("--site", help="Why this site does or does not run it.", show_default=False)] = None,
    home: Annotated[Path | None, typer.Option("--home", help="The site's own folder.", show_default=False)] = None,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="What the site follows is in this bundle, instead of the network.", show_default=False)
    ] = None,
) -> int:
    """Walk the chain of causes: why an appliance was built as it was and what it waits for."""
    session = Session(directory)
    if site is not None:
        from vmkeeper.cli.site_why import why_at_site

        return why_at_site(session, name, site, home, bundle)
    from vmkeeper.execute.causes import chain_of_causes

    for line in chain_of_causes(session.repository, name):
        session.say(line)
    return 0


def schema(
    write: Annotated[
        Path | None, typer.Option("--write", help="Write schemas and reference below this folder (the project's docs/).", show_default=False)
    ] = None,
    kind: Annotated[str | None, typer.Argument(help="Print the schema of one kind of document.", show_default=False)] = None,
) -> int:
    """Print or write the JSON Schemas of the documents, so that editors complete and check them."""
    from vmkeeper.documents.reference import reference
    from vmkeeper.documents.schema import schemas
    from vmkeeper.execute.layout import write_texts

    session = Session()
    texts = schemas()
    if write is not None:
        for line in write_texts(write, {**texts, **reference()}):
            session.say(line)
        return 0
    for path, text in texts.items():
        if kind is None:
            session.say(path)
        elif Path(path).name.split(".")[0] == kind:
            session.out.file.write(text)
            return 0
    if kind is not None:
        known = ", ".join(Path(path).name.split(".")[0] for path in texts)
        raise typer.BadParameter(f"there is no kind {visible(kind)}; there are {known}")
    return 0
