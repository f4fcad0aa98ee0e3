"""What sites say they run, read from the branches that they report on. Only what a site's own key has signed is believed.

A report says what a site says of itself; nothing follows from it but this table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import pygit2
from pydantic import ValidationError
from pygit2.enums import ObjectType, ReferenceType

from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.documents.kinds import KINDS
from vmkeeper.documents.load import read as read_document
from vmkeeper.errors import Refused
from vmkeeper.execute.reporting import branch_of, path_of
from vmkeeper.model.site import Site
from vmkeeper.model.status import ReportedImage, SiteReport
from vmkeeper.repository import signedcommit
from vmkeeper.repository.tags import root_commit
from vmkeeper.repository.tree import Repository
from vmkeeper.trust.keys import ssh

_LARGEST = 16 << 20
_LATE = 3
"""Intervals of silence, at least a week of them, after which a site is said to be silent."""
_SILENT = timedelta(days=8)


@dataclass(frozen=True, slots=True)
class SiteSaid:
    """What one site says. report is None where nothing of it can be believed, and `why` says why."""

    site: str
    report: SiteReport | None
    why: str = ""


def reports(repository: Repository, head: str) -> tuple[SiteSaid, ...]:
    """What each site with `report:` in its file at a commit says, by name; the newest of what its branches hold here."""
    catalogue = Catalogue.at(repository, head)
    root = root_commit(repository, head)
    return tuple(said for name in sorted(catalogue.names("sites")) if (said := _said(repository, catalogue, root, name)) is not None)


def use_of(said: SiteSaid, appliance: str | None = None) -> tuple[ReportedImage, ...]:
    """The images that a site says are usable, of one appliance or of all."""
    return tuple(one for one in said.report.images if appliance in (None, one.appliance)) if said.report else ()


def lag_of(image: ReportedImage) -> int | None:
    """Seconds from endorsement to use."""
    return max(0, int((image.since - image.endorsed).total_seconds())) if image.since and image.endorsed else None


def silent(report: SiteReport, now: datetime) -> bool:
    """Whether a site has not reported for longer than one does that has nothing to say."""
    return now - report.at > _SILENT


def _said(repository: Repository, catalogue: Catalogue, root: str, name: str) -> SiteSaid | None:
    path = f"sites/{name}.yaml"
    site = read_document(KINDS["site"], catalogue.snapshot.read(path) or b"", path).document
    if not isinstance(site, Site) or site.report is None:
        return None
    if site.report.key is None:
        return SiteSaid(name, None, "its file names no key: nothing that it reports can be believed")
    found: list[SiteReport] = []
    why: list[str] = []
    for ref in _branches(repository, branch_of(name, site.report)):
        try:
            found.append(_verified(repository.git, ref, name, site.report.key, root))
        except Refused as error:
            why.append(f"{ref}: {error}")
    if found:
        return SiteSaid(name, max(found, key=lambda one: one.at))
    return SiteSaid(name, None, "; ".join(why) or f"there is no branch {branch_of(name, site.report)} here; git fetch brings it")


def _branches(repository: Repository, branch: str) -> Iterator[str]:
    wanted = re.compile(rf"refs/(heads|remotes/[^/]+)/{re.escape(branch)}")
    for name in sorted(repository.git.references):
        if wanted.fullmatch(name) and repository.git.references[name].type == ReferenceType.DIRECT:
            yield name


def _verified(git: pygit2.Repository, ref: str, site: str, key: str, root: str) -> SiteReport:
    """The report at the end of a branch. Raises Refused (R10)."""
    oid = git.references[ref].target
    kind, raw = git.odb.read(oid)
    if kind != ObjectType.COMMIT:
        raise Refused("R10", "the branch does not end in a commit")
    commit = signedcommit.parse(bytes(raw))
    if not commit.signature:
        raise Refused("R10", "the commit is not signed", hint="only reports that the site's key has signed count")
    ssh.verify(key, commit.payload, commit.signature)
    try:
        blob = git[commit.tree].peel(pygit2.Tree)[path_of(site)]
        if not isinstance(blob, pygit2.Blob) or blob.size > _LARGEST:
            raise KeyError
        said = SiteReport.model_validate_json(blob.data)
    except (KeyError, ValidationError, pygit2.GitError):
        raise Refused("R10", "the commit holds no report that can be read", where=path_of(site)) from None
    if (said.site, said.repository) != (site, root):
        raise Refused("R10", "the report is another site's, or about another repository", why=f"{said.site}, {said.repository[:12]}")
    return said
