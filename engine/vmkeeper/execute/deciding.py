"""Write decisions into a site's file and propose them as a commit on a branch of its own. Nothing is signed and nothing comes into force here."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.catalogue.check import site_problems
from vmkeeper.catalogue.decided import useless
from vmkeeper.documents.edit import with_items
from vmkeeper.errors import Problems, UserError
from vmkeeper.execute.decisions import read_site
from vmkeeper.execute.verification import mainline_head
from vmkeeper.images.files import write_file
from vmkeeper.model.decision import Approval, Block, Hold
from vmkeeper.model.site import Site
from vmkeeper.plan.waiting import Waiting
from vmkeeper.repository.proposal import propose, tree_of
from vmkeeper.repository.tree import Repository
from vmkeeper.trust.people import matches
from vmkeeper.trust.selection import described
from vmkeeper.values import Duration, Version, VersionConstraint, format_time

Verb = Literal["approve", "block", "hold"]
Entry = Mapping[str, Any]
"""An entry of a site's file as it is written there: plain values, only what is given."""

_LONGEST_BRANCH = 60


@dataclass(frozen=True, slots=True)
class Decided:
    """What came of decisions. branch and commit: "" where the work tree was edited, or where all was there already."""

    path: str
    entries: tuple[Entry, ...]
    """What was added."""
    there: tuple[Entry, ...]
    """What the file said before already."""
    before: bytes
    after: bytes
    site: Site
    """As the file says it now."""
    branch: str = ""
    commit: str = ""
    new: bool = True
    """Whether the branch was made now; False where an earlier call had made the same one."""

    def useless(self, now: datetime) -> tuple[str, ...]:
        """Sentences about entries that are of no use since the change."""
        old = set(useless(read_site(self.before, Path(self.path).stem), now))
        return tuple(sentence for sentence in useless(self.site, now) if sentence not in old)

    @property
    def diff(self) -> str:
        """The change as `diff -u` shows it."""
        old, new = (data.decode().splitlines(keepends=True) for data in (self.before, self.after))
        lines = difflib.unified_diff(old, new, f"a/{self.path}", f"b/{self.path}")
        return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def decide(repository: Repository, site: str, verb: Verb, entries: Sequence[Entry], *, here: bool = False) -> Decided:
    """Add entries under `approve:`, `block:` or `hold:` of sites/NAME.yaml, keep the rest of the file as it is written, and propose that.

    The commit is on a new branch on top of the followed branch's head; the work tree is not touched. here: the work tree's
    file is edited instead, and nothing is committed. Entries that are there already are left out; with nothing left, nothing is
    done. Raises Problems with everything that `check` would find in the file, and UserError.
    """
    path = f"sites/{site}.yaml"
    head = "" if here else mainline_head(repository)
    before = _read(repository, path, head)
    old = read_site(before, site)
    models: Mapping[str, type[Approval | Block | Hold]] = {"approve": Approval, "block": Block, "hold": Hold}
    present, new, there = list(getattr(old, verb)), list[Entry](), list[Entry]()
    for entry in entries:
        known = _model(models[verb], entry)
        (there if known in present else new).append(entry)
        present += [known] if known else []
    if not new:
        return Decided(path, (), tuple(there), before, before, old)
    after = with_items(before, verb, new)
    made = read_site(after, site)
    _checked(repository, head, path, after, site, made)
    if here:
        write_file(Path(repository.git.workdir) / path, after)
        return Decided(path, tuple(new), tuple(there), before, after, made)
    what = ", ".join(_words(getattr(made, verb)[len(getattr(old, verb)) :]))
    message = f"sites/{site}: {verb} {what}\n" if len(new) == 1 else f"sites/{site}: {verb} {len(new)} releases\n\n{_listed(made, old, verb)}"
    proposed = propose(repository, head, {path: after}, message, f"site/{site}/{verb}-{_slug(new[0])}")
    return Decided(path, tuple(new), tuple(there), before, after, made, proposed.branch, proposed.commit, proposed.new)


def entries_of(waiting: Sequence[Waiting], more: Entry) -> tuple[Entry, ...]:
    """What approves releases that wait, each by name, version and list. more: what is added to each, such as `until`."""
    found = []
    for one in waiting:
        where = {"places": list(one.places)} if one.places and "places" not in more else {}
        found.append({"appliance": one.appliance, "version": f"=={one.version}", "list": one.list, **where, **more})
    return tuple(found)


def version_of(text: str) -> str:
    """A version constraint as it is typed; a version alone means that one."""
    try:
        return f"=={Version(text)}"
    except ValueError:
        return text


def moment_of(text: str, now: datetime) -> str:
    """A time as it is typed: one of a document, a day (its beginning, UTC), or how long from now, such as 14d."""
    try:
        return format_time(now + timedelta(seconds=Duration.parse(text)))
    except ValueError:
        return f"{text}T00:00:00Z" if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) else text


def _read(repository: Repository, path: str, head: str) -> bytes:
    if head:
        data = repository.at(head).read(path)
    else:
        if repository.git.is_bare:
            raise UserError("a bare repository has no work tree", where=str(repository.folder), hint="leave --here out")
        file = Path(repository.git.workdir) / path
        data = file.read_bytes() if file.is_file() and not file.is_symlink() else None
    if data is None:
        hint = "write it first" if not head else "write and commit it first"
        raise UserError("there is no such file", where=path, hint=hint)
    return data


def _model(model: type[Approval | Block | Hold], entry: Entry) -> Approval | Block | Hold | None:
    """The entry as it would be read; None for one that is wrong, which reading the whole file says with all that is wrong."""
    try:
        return model.model_validate(entry)
    except ValidationError:
        return None


def _checked(repository: Repository, head: str, path: str, data: bytes, name: str, site: Site) -> None:
    """Raises Problems with what the other documents of the commit (or of the work tree) say against the file."""
    snapshot = repository.tree(tree_of(repository, head, {path: data})) if head else repository.worktree()
    catalogue = Catalogue(repository, snapshot)
    found = list(site_problems(catalogue, name, site))
    if found:
        raise Problems(catalogue.located(found) if head else found)


def _words(entries: Sequence[Approval | Block | Hold]) -> list[str]:
    return [described(one) if not isinstance(one, Hold) else one.appliance for one in entries]


def _listed(made: Site, old: Site, verb: Verb) -> str:
    return "".join(f"- {one}\n" for one in _words(getattr(made, verb)[len(getattr(old, verb)) :]))


def _slug(entry: Entry) -> str:
    """What a branch is called after: `debian-12-2026.11`."""
    parts = [entry.get("appliance", ""), entry.get("version", ""), entry.get("list", ""), entry.get("endorser", "")]
    found = re.sub(r"[^a-z0-9.]+", "-", "-".join(str(part) for part in parts if part).lower()).strip("-.")
    found = re.sub(r"\.{2,}|\.-|-\.", "-", found)[:_LONGEST_BRANCH].strip("-.")
    return (found.removesuffix(".lock") or "some") if found else "some"


def choose(waiting: Sequence[Waiting], chosen: Entry) -> tuple[Waiting, ...]:
    """Those of the releases that wait which are chosen. Raises UserError where something is given that says nothing about them."""
    if odd := [name for name in ("community", "tag") if name in chosen]:
        raise UserError(f"releases that wait are not chosen by {' and '.join(odd)}", hint="choose by appliance, version, list, endorser or digest")
    try:
        versions = VersionConstraint(chosen.get("version", "*"))
    except ValueError as error:
        raise UserError(str(error), where="--version") from None
    return tuple(
        one
        for one in waiting
        if matches(chosen.get("appliance", "*"), one.appliance)
        and one.version in versions
        and chosen.get("list", one.list) == one.list
        and ("endorser" not in chosen or chosen["endorser"] in one.endorsers)
        and chosen.get("digest", one.digest) == one.digest
    )
