"""`vmkeeper why NAME`: from the release back to the commits, files and people that made it what it is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.catalogue.recipe import Difference, differences
from vmkeeper.errors import Problem, Problems, UserError
from vmkeeper.execute.planning import open_index
from vmkeeper.model.release import Release
from vmkeeper.repository.changes import last_change
from vmkeeper.repository.tree import Repository


def chain_of_causes(repository: Repository, name: str) -> Iterator[str]:
    """Lines for a person, newest first. Raises UserError for an appliance that is not there."""
    index = open_index(repository)
    head = repository.head()
    now = Catalogue.at(repository, head, index)
    if now.appliance(name) is None:
        near = ", ".join(now.near(name))
        raise UserError(f"there is no appliance {name}", hint=f"did you mean {near}?" if near else "see vmkeeper check")
    release = now.release(name)
    chain = now.chain(name)
    yield f"{name} stands on {' → '.join(chain[:-1])}." if len(chain) > 1 else f"{name} stands on nothing else."
    if release is None:
        yield "It was never released; the next apply builds it."
        return
    yield from _awaited(repository, now, release, name)
    yield from _history(repository, now, release, name)


def _awaited(repository: Repository, now: Catalogue, release: Release, name: str) -> Iterator[str]:
    recipe = now.recipe(name)
    if recipe.digest() == release.recipe:
        yield f"Release {release.version} is of the recipe that the files give now: there is nothing to rebuild."
        return
    yield f"Release {release.version} is of another recipe than the files give now. The next apply builds it again, because:"
    yield from _explained(repository, _differences(repository, now, release.commit, name), now.snapshot.commit, release.commit)


def _history(repository: Repository, now: Catalogue, release: Release, name: str) -> Iterator[str]:
    """The release and the one before it: what differed."""
    path = f"appliances/{name}/release.yaml"
    recorded = last_change(repository, path, now.snapshot.commit)
    yield f"Release {release.version} was built from {_commit(repository, release.commit)}"
    yield f"  and recorded in {_commit(repository, recorded)}"
    before = repository.commit(recorded).parents
    previous = Catalogue.at(repository, str(before[0].id), now.index).release(name) if before else None
    if previous is None or previous.recipe == release.recipe:
        yield "  It is the first release." if previous is None else f"  It has the bytes of {previous.version}; only its tests ran again."
        return
    yield f"It replaced {previous.version}, because:"
    old = Catalogue.at(repository, release.commit, now.index)
    yield from _explained(repository, _differences(repository, old, previous.commit, name), release.commit, previous.commit)


def _differences(repository: Repository, new: Catalogue, built: str, name: str) -> tuple[Difference, ...]:
    if built not in repository.git:
        return ()
    try:
        return differences(Catalogue.at(repository, built, new.index).recipe(name), new.recipe(name))
    except Problems as error:
        return tuple(Difference(problem.place.file, str(problem)) for problem in _at_most(error.problems))


def _at_most(problems: tuple[Problem, ...]) -> tuple[Problem, ...]:
    return problems[:5]


def _explained(repository: Repository, found: tuple[Difference, ...], head: str, base: str) -> Iterator[str]:
    for difference in found:
        yield f"  {difference.what}"
        commit = last_change(repository, difference.path, head, base) if difference.path else ""
        if commit:
            yield f"    {difference.path} in {_commit(repository, commit)}"
    if not found:
        yield "  the commit it was built from is not in this clone, so the two cannot be compared"


def _commit(repository: Repository, commit: str) -> str:
    if not commit or commit not in repository.git:
        return f"{commit[:10] or 'no commit'} (not in this clone)"
    found = repository.commit(commit)
    when = datetime.fromtimestamp(found.commit_time, UTC).strftime("%Y-%m-%d")
    subject = found.message.strip().splitlines()[0] if found.message.strip() else ""
    return f"{commit[:10]} of {when} by {found.author.name}: {subject}"
