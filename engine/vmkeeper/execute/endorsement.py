"""Endorse a release, and take an endorsement back. A tag is verified as a site would before its ref is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from vmkeeper.errors import Refused, UserError
from vmkeeper.execute.provenance import attested
from vmkeeper.execute.signing import Role, SigningKey, signed_tag
from vmkeeper.execute.verification import RepositoryHistory, judge, sight
from vmkeeper.model.release import Release
from vmkeeper.repository.changes import last_change
from vmkeeper.repository.tags import create_tag
from vmkeeper.repository.tree import Repository
from vmkeeper.trust.history import Record
from vmkeeper.trust.judge import Judgement
from vmkeeper.trust.keys.certificates import Authorities
from vmkeeper.trust.memory import Memory
from vmkeeper.trust.pins import Pins
from vmkeeper.trust.provenance import Attested
from vmkeeper.trust.said import Endorsement, Withdrawal
from vmkeeper.trust.verify import Accepted, Rejected, Verdict, said_by, signed_files
from vmkeeper.values import CommitId, Duration, Version, sha512_hex

Clock = Callable[[], datetime]
Rebuild = Callable[[Release], Mapping[str, str]]
"""Builds a release again; the SHA-512 of each image file by format."""


S = TypeVar("S", Endorsement, Withdrawal)


@dataclass(frozen=True, slots=True)
class Signed(Generic[S]):
    """A tag that now exists. `new` is False where it was there already."""

    tag: str
    statement: S
    new: bool


@dataclass(frozen=True, slots=True)
class Candidate:
    """A release that can be endorsed: the mainline commit that brought its record, and the record."""

    commit: CommitId
    record: Record

    @property
    def release(self) -> Release:
        """What the record says."""
        return self.record.release


def candidate(repository: Repository, head: CommitId, appliance: str) -> Candidate:
    """The release of an appliance at `head`. Raises UserError where it has none, or no image."""
    path = f"appliances/{appliance}/release.yaml"
    commit = last_change(repository, path, head)
    record = RepositoryHistory(repository, head).record(commit, appliance) if commit else None
    if record is None:
        raise UserError(f"{appliance} has no release", where=path, hint="build it with: vmkeeper apply")
    if not record.release.files:
        raise UserError(f"{appliance} is abstract: it has no image to endorse", where=path, hint="endorse the appliances that inherit from it")
    return Candidate(commit, record)


@dataclass(frozen=True, slots=True)
class Signatory:
    """Who signs, what they go by, and the time."""

    key: SigningKey
    role: Role
    pins: Pins
    authorities: Authorities
    clock: Clock


class Desk:
    """Where one endorser signs: their list, their key, and all tags as they stand."""

    def __init__(self, repository: Repository, head: CommitId, who: Signatory) -> None:
        self._repository = repository
        self._head = head
        self._who = who
        self.role = who.role

    def judgement(self, extra: Mapping[str, bytes] | None = None) -> Judgement:
        """The repository with `extra` tags, as a site with the endorser's list sees it now."""
        who = self._who
        pins = who.pins.model_copy(update={"endorsers": (self.role.endorsers.name,), "image_lists": (), "site": None})
        return judge(sight(self._repository, self._head, extra), pins, Memory(), who.authorities, who.clock())

    def verdicts(self, extra: Mapping[str, bytes] | None = None) -> tuple[Verdict, ...]:
        """What the endorser's list makes of all tags of the repository and `extra` ones."""
        return self.judgement(extra).verdicts[self.role.endorsers.name]

    def attested(self, chosen: Candidate) -> Attested | None:
        """Who built a release, by its provenance; None where it has none. Raises Refused where it is not to be believed."""
        judgement, who = self.judgement(), self._who
        builders = judgement.enactments.current.policy.builders
        if not builders:
            return None
        return attested(chosen.record, who.pins.repository, builders, who.authorities, who.clock(), judgement.void)

    def endorse(self, chosen: Candidate, lifetime: Duration | None = None, rebuild: Rebuild | None = None) -> Signed[Endorsement]:
        """Sign an endorsement of a release and write its tag.

        lifetime: seconds of validity; default and maximum: the list's. One that stands for more than half of that
        time is not signed again. rebuild: builds the release again; other bytes are refused (R14). Raises Refused
        where the result would not pass at a site.
        """
        longest = self.role.endorsers.maximum_lifetime
        seconds = lifetime if lifetime is not None else longest
        if not 0 < seconds <= longest:
            raise UserError(f"{seconds} is not a validity that {self.role.endorsers.name} allows", hint=f"give --valid with at most {longest}")
        judgement = self.judgement()
        verdicts = judgement.verdicts[self.role.endorsers.name]
        standing = self._standing(verdicts, chosen, self._who.clock() + timedelta(seconds=int(seconds) // 2))
        if rebuild is not None:
            same_bytes(chosen.release, rebuild(chosen.release))
        if standing is not None and (standing.rebuilt or rebuild is None):
            return Signed(standing.ref, standing, new=False)
        release, issued = chosen.release, self._who.clock().replace(microsecond=0)
        said = Endorsement(
            **self._shared(chosen.commit, chosen.record.sha512, release.appliance, release.uuid, release.version, judgement, issued),
            recipe=release.recipe,
            files=signed_files(release),
            manifest=release.manifest.sha512,
            provenance=sha512_hex(chosen.record.provenance) if chosen.record.provenance is not None else None,
            rebuilt=rebuild is not None,
            policy=judgement.enactments.current.number,
            not_before=issued,
            expires=issued + timedelta(seconds=int(seconds)),
        )
        return self._sign(said)

    def withdraw(self, appliance: str, version: Version, reason: str) -> Signed[Withdrawal]:
        """Sign a withdrawal of a version and write its tag; one that stands is not signed again.

        Raises UserError where nobody on the list has endorsed that version.
        """
        judgement = self.judgement()
        verdicts = judgement.verdicts[self.role.endorsers.name]
        about = [said for said in said_by(verdicts) if said.appliance == appliance and Version(said.version) == version]
        mine = [said for said in about if said.endorser == self.role.endorser.name]
        latest = max(mine, key=lambda said: said.serial, default=None)
        if isinstance(latest, Withdrawal):
            return Signed(latest.ref, latest, new=False)
        endorsed = [said for said in [*about, *mine] if isinstance(said, Endorsement)]
        if not endorsed:
            known = sorted({Version(said.version) for said in said_by(verdicts) if said.appliance == appliance})
            raise UserError(
                f"nobody on {self.role.endorsers.name} has endorsed {appliance} {version}",
                hint=f"endorsed are: {', '.join(map(str, known)) or 'none'}",
            )
        of = endorsed[-1]
        issued = self._who.clock().replace(microsecond=0)
        said = Withdrawal(**self._shared(of.commit, of.release, appliance, of.uuid, Version(of.version), judgement, issued), reason=reason)
        return self._sign(said)

    def _shared(
        self, commit: CommitId, record: str, appliance: str, uuid: str, version: Version, judgement: Judgement, issued: datetime
    ) -> dict[str, Any]:
        """The fields of every statement, with the next link of the endorser's chain, which never follows what a thief signed."""
        name = self.role.endorser.name
        last = max(
            (
                verdict
                for verdict in judgement.verdicts[self.role.endorsers.name]
                if verdict.statement is not None and verdict.statement.endorser == name and verdict.statement.repository == self._who.pins.repository
                if verdict.sha512 not in judgement.stolen
            ),
            key=lambda verdict: verdict.statement.serial if verdict.statement else 0,
            default=None,
        )
        return {
            "repository": self._who.pins.repository,
            "appliance": appliance,
            "uuid": uuid,
            "path": f"appliances/{appliance}",
            "version": str(version),
            "commit": commit,
            "release": record,
            "endorser": name,
            "key": self._who.key.id,
            "serial": last.statement.serial + 1 if last and last.statement else 1,
            "previous": last.sha512 if last else None,
            "issued": issued,
        }

    def _standing(self, verdicts: tuple[Verdict, ...], chosen: Candidate, until: datetime) -> Endorsement | None:
        """The endorser's accepted endorsement of just this release that is in force at least until then."""
        name, release = self.role.endorser.name, chosen.release
        mine = [
            verdict
            for verdict in verdicts
            if isinstance(verdict, Accepted)
            and (verdict.statement.endorser, verdict.statement.appliance, verdict.statement.version)
            == (name, release.appliance, str(release.version))
        ]
        latest = max(mine, key=lambda verdict: verdict.statement.serial, default=None)
        if latest is None or not isinstance(latest.statement, Endorsement):
            return None
        said = latest.statement
        return said if said.release == chosen.record.sha512 and said.expires >= until else None

    def _sign(self, said: S) -> Signed[S]:
        person, name = self.role.endorser, said.ref
        raw = signed_tag(said, self._who.key, person.full_name, person.email)
        verdict = next(verdict for verdict in self.verdicts({name: raw}) if verdict.tag == name)
        if isinstance(verdict, Rejected):
            first = verdict.refusals[0]
            raise Refused(first.rule, f"no site would accept this signature: {first.why}", where=name, why=first.evidence, hint=first.hint)
        create_tag(self._repository, name, raw)
        return Signed(name, said, new=True)


def same_bytes(release: Release, rebuilt: Mapping[str, str]) -> None:
    """Raise Refused (R14) unless a rebuild has exactly the release's images: SHA-512 by format."""
    recorded: dict[str, str] = {file.format: file.sha512 for file in release.files}
    differing = sorted(name for name in {*recorded, *rebuilt} if recorded.get(name) != rebuilt.get(name))
    if differing:
        raise Refused(
            "R14",
            f"building {release.appliance} {release.version} again gives other bytes",
            why=", ".join(differing),
            hint="do not endorse it before you know why; compare the two images with diffoscope",
        )
