"""A site's report to producers: one file in a signed commit, on a branch of its own, pushed and never forced.

A run is never failed by it. Without something new to say nothing is asked of the network. Whoever else writes on the branch
is not overwritten: the next report goes on top, and readers believe only what the site's key has signed.
"""

from __future__ import annotations

import fcntl
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import pygit2
from pydantic import ValidationError
from pygit2.enums import FileMode, ObjectType

from vmkeeper.errors import Refused, Transient, UserError, VmkeeperError
from vmkeeper.execute.credentials import read_credentials
from vmkeeper.execute.home import SiteHome
from vmkeeper.execute.secrets import scrubbed
from vmkeeper.execute.sitekey import private_file, public_key
from vmkeeper.execute.statusreport import materially_other, site_report
from vmkeeper.images.addresses import UrlPolicy, resolved
from vmkeeper.model.service import Report
from vmkeeper.model.site import Site
from vmkeeper.model.status import SiteReport, Status
from vmkeeper.plan.wanted import Note
from vmkeeper.repository import signedcommit
from vmkeeper.repository.gitprogram import FetchLimits, Git, write_configuration
from vmkeeper.repository.source import Source, parse_source
from vmkeeper.run import ProgramFailed
from vmkeeper.trust.keys import ssh
from vmkeeper.values import format_time, visible

FOLDER = "report.git"
"""The repository in the site's own folder that reports are made in; one that is lost is made again."""
AGAIN = timedelta(days=7)
"""After which a report is made although nothing changed, so that a site that went silent can be told from one at rest."""
_LIMITS = FetchLimits(seconds=120, received=64 << 20, object=16 << 20)
_TRIES = 4
_MOST = 3000
"""Objects after which the repository is begun anew."""
_TIP = "refs/vmkeeper/tip"


def branch_of(site: str, report: Report) -> str:
    """The branch of a site's reports."""
    return report.branch or f"status/{site}"


def path_of(site: str) -> str:
    """The one file on it."""
    return f"status/{site}.json"


def report_status(home: SiteHome, site: Site, status: Status, now: datetime, alive: Callable[[], None] = lambda: None) -> tuple[Note, ...]:
    """Report a status where there is something new to say; a note where that failed. Never raises VmkeeperError."""
    if site.report is None:
        return ()
    said = site_report(status, names=site.report.names)
    if said is None:
        return ()
    try:
        with _alone(home) as ours:
            if ours:
                with _reporter(home, site.report, status.site) as reporter:
                    if reporter.has_news(said, now):
                        reporter.push(said, now, alive)
    except VmkeeperError as error:
        return (Note("report", scrubbed(f"{error}; {error.hint}" if error.hint else str(error))),)
    return ()


def encoded(report: SiteReport) -> bytes:
    """The file's bytes."""
    return report.model_dump_json(indent=2).encode() + b"\n"


@contextmanager
def _alone(home: SiteHome) -> Iterator[bool]:
    """Whether no other process reports; one that does says what we would, or the next run says it."""
    with (home.folder / "report.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


@contextmanager
def _reporter(home: SiteHome, report: Report, site: str) -> Iterator[_Reporter]:
    """Everything that it takes. What git is told of credentials lies in a file that nobody else can read, and no longer than this."""
    pins = home.pins()
    address = report.to or pins.source
    if address is None:
        raise UserError("it is not said where reports go", hint="name an address: report.to in the site's file")
    place = parse_source(address, pins.fetch.allowed_hosts)
    folder = home.folder / FOLDER
    if len(list(folder.glob("objects/??/*"))) > _MOST:
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700, exist_ok=True)
    if not (folder / "HEAD").exists():
        pygit2.init_repository(str(folder), bare=True)
    configuration = folder / "vmkeeper-config"
    configuration.unlink(missing_ok=True)
    try:
        write_configuration(configuration, place.scheme, place.address, _extra(home, report, place, pins.fetch.allowed_hosts))
        configuration.chmod(0o600)
        yield _Reporter(home, report, site, place, Git(folder, configuration, place.scheme, _LIMITS), pygit2.Repository(str(folder)))
    finally:
        configuration.unlink(missing_ok=True)


def _extra(home: SiteHome, report: Report, place: Source, allowed: tuple[str, ...]) -> dict[str, str]:
    """What git is to know of a web server: its checked addresses (R27), and what is shown to it."""
    if place.scheme not in ("http", "https"):
        return {}
    found = ",".join(f"[{one}]" if ":" in one else one for one in UrlPolicy(allowed).addresses(place.host, resolve=resolved))
    host = f"[{place.host}]" if ":" in place.host else place.host
    extra = {"http.curloptResolve": f"{host}:{place.port}:{found}"}
    if report.credentials is not None:
        shown = read_credentials(home.folder, report.credentials, place.address)
        if not shown.authorization:
            raise UserError(
                "reports are pushed with a password or a token", where=f"credentials/{report.credentials}.yaml", hint="write type: basic or bearer"
            )
        extra["http.extraHeader"] = f"Authorization: {shown.authorization}"
    return extra


@dataclass(frozen=True, slots=True)
class _Reporter:
    home: SiteHome
    report: Report
    site: str
    place: Source
    git: Git
    repository: pygit2.Repository

    @property
    def branch(self) -> str:
        return sys.intern(f"refs/heads/{branch_of(self.site, self.report)}")

    def has_news(self, said: SiteReport, now: datetime) -> bool:
        """Whether it differs from what was last pushed to this place, or that is long ago."""
        pushed = self.repository.references.get(self.branch)
        if pushed is None or self._pushed_to() != self.place.address:
            return True
        return self._news_to(str(pushed.target), said, now)

    def _news_to(self, commit: str, said: SiteReport, now: datetime) -> bool:
        old = self._report_at(commit)
        return old is None or materially_other(said, old) or now - old.at >= AGAIN

    def push(self, said: SiteReport, now: datetime, alive: Callable[[], None]) -> None:
        """Put it on top of the branch as it is there. Raises VmkeeperError."""
        if self.report.key is not None and public_key(self.home) != self.report.key:
            hint = "write the key that this prints as report.key into the site's file: vmkeeper site key NAME"
            raise UserError("the site's key is not the one in its file", where="report.key", hint=hint)
        for _ in range(_TRIES):
            alive()
            tip = self._tip()
            # A run that was killed may have pushed it and not written that down.
            known = tip is not None and self._is_ours(tip) and not self._news_to(tip, said, now)
            made = tip if known and tip else self._commit(said, tip)
            if made == tip or self._pushed(made):
                self.repository.references.create(self.branch, made, force=True)
                (self.git.git_dir / "pushed-to").write_text(self.place.address)
                return
        raise Transient("somebody else writes to the branch all the time", where=self.branch, hint="the next run tries again")

    def _is_ours(self, commit: str) -> bool:
        """Whether this site's key has signed it."""
        kind, raw = self.repository.odb.read(commit)
        try:
            apart = signedcommit.parse(bytes(raw))
            ssh.verify(public_key(self.home), apart.payload, apart.signature)
        except Refused:
            return False
        return kind == ObjectType.COMMIT

    def _tip(self) -> str | None:
        """What the branch is there now, fetched; None where there is no such branch."""
        listed = self._talk("ls-remote", "--", self.place.address, self.branch).split()
        if not listed:
            return None
        if listed[0] not in self.repository:
            # Of a branch that others may have written to, no more than its end.
            self._talk("fetch", "--quiet", "--no-tags", "--force", "--depth=1", "--", self.place.address, f"+{self.branch}:{_TIP}")
        return listed[0]

    def _commit(self, said: SiteReport, parent: str | None) -> str:
        """A signed commit with that one file."""
        git = self.repository
        parts = path_of(self.site).split("/")
        oid, mode = git.create_blob(encoded(said)), FileMode.BLOB
        for part in reversed(parts):
            builder = git.TreeBuilder()
            builder.insert(part, oid, mode)
            oid, mode = builder.write(), FileMode.TREE
        count = len(said.images)
        message = f"status: {self.site} has {count} usable version{'' if count == 1 else 's'}\n\nAt {format_time(said.at)}, for {said.head[:12]}.\n"
        payload = signedcommit.unsigned(str(oid), parent, f"{self.site} <{self.site}@localhost>", int(said.at.timestamp()), message)
        raw = signedcommit.signed(payload, ssh.sign(str(private_file(self.home)), payload))
        return str(git.odb.write(ObjectType.COMMIT, raw))

    def _pushed(self, commit: str) -> bool:
        """Whether the branch took it; False where it is no longer what it was. Raises Transient, UserError."""
        try:
            self._git("push", "--porcelain", "--no-verify", "--", self.place.address, f"{commit}:{self.branch}")
        except ProgramFailed as error:
            said = (error.result.stdout.decode(errors="replace") if error.result else "") + error.why
            if "[rejected]" in said or "cannot lock ref" in said:
                return False
            raise self._failure(error) from None
        return True

    def _talk(self, *words: str) -> str:
        try:
            return self._git(*words)
        except ProgramFailed as error:
            raise self._failure(error) from None

    def _git(self, *words: str) -> str:
        return self.git.run(*words).text

    def _failure(self, error: ProgramFailed) -> VmkeeperError:
        lines = [line for line in error.why.splitlines() if line.strip()]
        why = visible("; ".join(lines[-3:]))[:500]
        small = why.lower()
        if any(
            words in small
            for words in ("could not read username", "authentication failed", "returned error: 401", "returned error: 403", "permission denied")
        ):
            hint = "let the site write to its branch, and name what it shows as report.credentials"
            return UserError("the site may not push its report", where=self.place.shown, why=why, hint=hint)
        return Transient("the report could not be pushed", where=self.place.shown, why=why, hint="the next run tries again")

    def _pushed_to(self) -> str:
        file = self.git.git_dir / "pushed-to"
        return file.read_text() if file.exists() else ""

    def _report_at(self, commit: str) -> SiteReport | None:
        try:
            blob = self.repository[commit].peel(pygit2.Tree)[path_of(self.site)]
            return SiteReport.model_validate_json(blob.data) if isinstance(blob, pygit2.Blob) else None
        except (KeyError, ValidationError, pygit2.GitError):
            return None
