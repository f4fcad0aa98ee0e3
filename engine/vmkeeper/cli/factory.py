"""Commands of the factory, run by CI or by an author at home: refresh, apply, build, test."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from platformdirs import user_cache_dir

from vmkeeper.cli.session import HERE, Directory, Output, OutputOption, Session, StoreOption
from vmkeeper.errors import UserError

if TYPE_CHECKING:
    from vmkeeper.execute.provenance import Attestor

Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="How many builds and tests run at once. Default: by processors and memory.", show_default=False)
]
_MEMORY_OF_A_TEST = 2 << 30
"""Bytes: a boot test runs up to two machines of 0.7 GiB."""


def default_workers() -> int:
    """One more than there are processors, since a boot test mostly uses one, as far as the memory goes."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min((os.cpu_count() or 1) + 1, memory // _MEMORY_OF_A_TEST, 8))


Name = Annotated[str, typer.Argument(help="An appliance.")]


def cache_folder() -> Path:
    """Where indexes and temporary files of builds lie: VMKEEPER_CACHE or the user's cache folder."""
    folder = Path(os.environ.get("VMKEEPER_CACHE") or user_cache_dir("vmkeeper"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def refresh(
    names: Annotated[list[str] | None, typer.Argument(help="Appliances; default: all.", show_default=False)] = None,
    directory: Directory = HERE,
    store: StoreOption = None,
    commit: Annotated[
        bool, typer.Option("--commit", help="Commit the changed locks to the branch instead of writing them into the work tree.")
    ] = False,
) -> int:
    """Resolve packages against the archives as they are now; writes packages.lock files and says which packages changed."""
    from vmkeeper.execute.refresh import describe
    from vmkeeper.execute.refresh import refresh as refresh_locks
    from vmkeeper.images.files import write_file
    from vmkeeper.repository.records import commit_files

    session = Session(directory, store)
    repository = session.repository
    bare = repository.git.is_bare
    if bare and not commit:
        raise UserError("a bare repository has no work tree to write locks into", hint="give --commit")
    catalogue = session.catalogue(worktree=not commit)
    found = refresh_locks(catalogue, names or (), session.store, cache_folder(), session.progress())
    lines = [line for refreshed in found for line in describe(refreshed)]
    changed = {refreshed.path: refreshed.data for refreshed in found if refreshed.data is not None}
    for line in lines:
        session.say(line)
    if not changed:
        session.say("All packages are up to date.")
    elif commit:
        made = commit_files(repository, repository.branch(), changed, "refresh: newer packages\n\n" + "\n".join(lines) + "\n")
        session.say(f"Committed as {made[:10]}.")
    else:
        for path, data in changed.items():
            write_file(Path(repository.git.workdir) / path, data)
        session.say(f"Wrote {', '.join(changed)}. Commit them, and the next apply rebuilds what they change.")
    return 0


def apply(
    directory: Directory = HERE,
    store: StoreOption = None,
    reviewed: Annotated[
        str | None, typer.Option("--plan", help="Apply only if the plan has this digest (its beginning is enough).", show_default=False)
    ] = None,
    builder_key: Annotated[
        str | None,
        typer.Option(
            "--builder-key",
            help="Sign provenance with this key of a builder of the policy: a fingerprint, an SSH key file or public key, a certificate. "
            "Default: VMKEEPER_BUILDER_KEY, git config vmkeeper.builderKey.",
            show_default=False,
        ),
    ] = None,
    workers: Workers = None,
    output: OutputOption = Output.text,
) -> int:
    """Build, test and record everything that changed since the last complete apply."""
    from vmkeeper.execute.factory import Factory
    from vmkeeper.execute.factory import apply as apply_plan
    from vmkeeper.execute.provenance import unattested
    from vmkeeper.execute.walk import Done
    from vmkeeper.plan.factory import Record
    from vmkeeper.plan.render import as_json, as_text

    session = Session(directory, store)
    attestor = _attestor(session, builder_key)
    factory = Factory(session.repository, session.store, cache_folder(), session.progress(), attestor)
    plan, outcomes = apply_plan(session.repository, factory, reviewed=reviewed, workers=workers or default_workers())
    if output is Output.json:
        session.json(
            {"plan": as_json(plan), "outcomes": [{"id": outcome.action.id, "outcome": type(outcome).__name__.lower()} for outcome in outcomes]}
        )
    elif not outcomes:
        session.say(as_text(plan))
    status = session.report(outcomes)
    if any(isinstance(outcome, Done) and isinstance(outcome.action, Record) for outcome in outcomes):
        session.warn(unattested(session.repository.at(plan.head), attestor))
    return status


def _attestor(session: Session, chosen: str | None) -> Attestor | None:
    """The builder that this machine is, if it has a builder's key."""
    from vmkeeper.execute.provenance import Attestor
    from vmkeeper.execute.signing import signing_key

    name = chosen or os.environ.get("VMKEEPER_BUILDER_KEY") or session.repository.config("vmkeeper.builderKey")
    return Attestor(signing_key(session.repository, name, session.secret)) if name else None


def build(name: Name, directory: Directory = HERE, store: StoreOption = None, workers: Workers = None) -> int:
    """Build and test one appliance of the checked-out commit, with what it stands on; records no release."""
    from vmkeeper.execute.factory import Factory, build_one

    session = Session(directory, store)
    return session.report(
        build_one(
            session.repository,
            Factory(session.repository, session.store, cache_folder(), session.progress()),
            name,
            workers=workers or default_workers(),
        )
    )


def test(
    name: Name,
    directory: Directory = HERE,
    store: StoreOption = None,
    report: Annotated[Path | None, typer.Option("--junit", help="Write the JUnit report here.", show_default=False)] = None,
) -> int:
    """Boot the built image of an appliance again and run its tests; shows what each said."""
    from vmkeeper.execute.factory import Factory, test_again
    from vmkeeper.images.files import write_file

    session = Session(directory, store)
    result = test_again(session.repository, Factory(session.repository, session.store, cache_folder(), session.progress()), name)
    for check in result.checks:
        session.say(f"{'passed' if check.passed else 'FAILED'}  {check.name} ({check.seconds:.1f} s)")
        if not check.passed:
            session.say(f"        {check.why}\n{check.output}")
    if report is not None:
        write_file(report, result.junit())
    if not result.passed:
        raise UserError(f"{name} failed its boot test", hint=result.failures[0].hint)
    return 0
