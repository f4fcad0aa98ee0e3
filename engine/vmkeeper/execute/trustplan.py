"""What the change of endorsers/ between two commits would mean once its principals have signed it: foretold actions of a plan."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import TypeVar

from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.documents.kinds import KINDS
from vmkeeper.errors import Problem, VmkeeperError
from vmkeeper.execute.governance import Chamber, proposed
from vmkeeper.execute.planning import open_index
from vmkeeper.execute.verification import decisions_under
from vmkeeper.model.base import Document
from vmkeeper.model.cluster import Cluster
from vmkeeper.model.endorser import EndorserList
from vmkeeper.model.imagelist import ImageList
from vmkeeper.model.policy import Policy
from vmkeeper.model.site import Site
from vmkeeper.plan.actions import Action, Cause
from vmkeeper.plan.impact import Change, Decisions, Users, impact, signatures
from vmkeeper.plan.plan import Plan, ordered
from vmkeeper.plan.trustchange import Trust, trust_changes
from vmkeeper.repository.changes import last_change
from vmkeeper.repository.tree import Repository, Snapshot
from vmkeeper.trust.keys.certificates import Authorities
from vmkeeper.trust.policy import FOLDER
from vmkeeper.values import CommitId

D = TypeVar("D", bound=Document)


def with_trust(repository: Repository, made: Plan, authorities: Authorities, now: datetime) -> Plan:
    """The plan between two commits with what follows from a change of endorsers/ between them; the same plan without such a
    change, and where its principals have signed it already.

    Tags are judged only where endorsers/ differs. For files that are not committed only the signatures are foretold.
    """
    index = open_index(repository)
    before = Catalogue(repository, repository.at(made.base) if made.base else repository.empty(), index)
    after = Catalogue(repository, repository.at(made.head) if made.head else repository.worktree(), index)
    if not _differ(before.snapshot, after.snapshot) or (made.head and _in_force(repository, made.head, authorities, now)):
        return made
    return replace(made, actions=ordered([*_trust_actions(repository, before, after, authorities, now), *made.actions]))


def _in_force(repository: Repository, head: CommitId, authorities: Authorities, now: datetime) -> bool:
    try:
        return proposed(Chamber(repository, head, authorities, lambda: now)).in_force
    except VmkeeperError:
        return False  # what is wrong with it is said where it is foretold


def _differ(before: Snapshot, after: Snapshot) -> bool:
    """Whether endorsers/ says something else; a README says nothing."""
    if before.tree_id(FOLDER) == after.tree_id(FOLDER):
        return False
    one, other = ({path: entry.oid for path, entry in each.walk(FOLDER) if not path.endswith(".md")} for each in (before, after))
    return one != other


def _trust_actions(repository: Repository, before: Catalogue, after: Catalogue, authorities: Authorities, now: datetime) -> tuple[Action, ...]:
    base, head = before.snapshot.commit, after.snapshot.commit

    @cache
    def cause(path: str) -> Cause | None:
        found = last_change(repository, path, head, base) if head else ""
        return Cause(commit=found, path=path) if found else None

    (old, _), (new, problems) = _trust(before), _trust(after)
    sentences = trust_changes(old, new)
    then: Decisions = {}
    problem = str(problems[0].place) if problems else ""
    try:
        then = decisions_under(repository, head, head, authorities, now) if head and not problem else {}
    except VmkeeperError as error:
        problem = str(error)
    enact = signatures(old.policy, new.policy, cause(FOLDER), sentences, problem)
    if problem or not head or new.policy is None:
        return (enact,)
    change = Change.of(_decided(repository, head, base, authorities, now), then, sentences, cause)
    return (enact, *impact(change, _users(after), now, (enact.id,)))


def _decided(repository: Repository, head: str, base: str, authorities: Authorities, now: datetime) -> Decisions:
    """What counts as endorsers/ was; nothing where it was no policy."""
    try:
        return decisions_under(repository, head, base, authorities, now) if base else {}
    except VmkeeperError:
        return {}


def _trust(catalogue: Catalogue) -> tuple[Trust, tuple[Problem, ...]]:
    """The documents of endorsers/ that can be read, and what is wrong with the others."""
    problems: list[Problem] = []
    policy, wrong = catalogue.attempt(KINDS["policy"], KINDS["policy"].path)
    problems += wrong
    lists = {}
    for name in catalogue.names(FOLDER):
        found, wrong = catalogue.attempt(KINDS["endorsers"], KINDS["endorsers"].path_of(name))
        problems += wrong
        if isinstance(found, EndorserList):
            lists[name] = found
    return Trust(policy if isinstance(policy, Policy) else None, lists), tuple(problems)


def _users(catalogue: Catalogue) -> Users:
    """Image lists, sites and clusters of a commit; what cannot be read is left to `check`."""
    return Users(_documents(catalogue, "imagelist", ImageList), _documents(catalogue, "site", Site), _documents(catalogue, "cluster", Cluster))


def _documents(catalogue: Catalogue, kind: str, model: type[D]) -> dict[str, D]:
    folder = KINDS[kind].path.split("/")[0]
    documents = {name: catalogue.attempt(KINDS[kind], KINDS[kind].path_of(name))[0] for name in catalogue.names(folder)}
    return {name: one for name, one in documents.items() if isinstance(one, model)}
