"""A made-up repository as the verifier sees it: commits, policies, people, signed tags. `support.keys` makes the keys."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from support.keys import ISSUED, NOW, Signer
from vmkeeper.documents.dump import dump
from vmkeeper.documents.kinds import KINDS
from vmkeeper.documents.load import load
from vmkeeper.errors import Refused, VmkeeperError
from vmkeeper.model.endorser import Endorser, EndorserList
from vmkeeper.model.keys import Compromise, Person
from vmkeeper.model.policy import Builder, Policy
from vmkeeper.model.release import Release
from vmkeeper.trust import statement, tagobject
from vmkeeper.trust.history import Record
from vmkeeper.trust.judge import Judgement, Sight, judge
from vmkeeper.trust.keys.interface import HeldOpenPGPKey
from vmkeeper.trust.keys.ssh import SSHVerifier
from vmkeeper.trust.memory import Memory
from vmkeeper.trust.people import Holder
from vmkeeper.trust.pins import PinnedSite, Pins
from vmkeeper.trust.refusal import Refusal, Untrusted
from vmkeeper.trust.said import (
    Chain,
    Endorsement,
    Freshness,
    ListMark,
    PolicyMark,
    PolicySignature,
    Revocation,
    SiteApproval,
    Statement,
    Withdrawal,
)
from vmkeeper.trust.signature import Verifiers
from vmkeeper.trust.tagobject import Tagger
from vmkeeper.trust.verify import Verdict, signed_files
from vmkeeper.values import Duration, sha512_hex

APPLIANCE = "debian-12"
UUID = "3f0c5a44-6c8a-4f0e-9d70-6f2f0f7f2c11"
LIST = "examples"
SSH: Verifiers = {"ssh": SSHVerifier()}
"""Verifiers where nobody has another key."""
COMMUNITY = "science"


def listed_key(signer: Signer, **state: Any) -> dict[str, Any]:
    """A key as a document lists it; an OpenPGP key lies in keys/FINGERPRINT.asc."""
    if isinstance(signer.key, HeldOpenPGPKey):
        return {"type": "openpgp", "fingerprint": signer.key.fingerprint, "file": f"keys/{signer.key.fingerprint}.asc", **state}
    return {**signer.key.model_dump(exclude_none=True), **state}


def key_files(*signers: Signer) -> dict[str, bytes]:
    """The key files of OpenPGP keys, by path relative to endorsers/."""
    return {f"keys/{one.key.fingerprint}.asc": one.key.armour.encode() for one in signers if isinstance(one.key, HeldOpenPGPKey)}


def person(name: str, *signers: Signer, **fields: Any) -> Endorser:
    keys = tuple(one if isinstance(one, dict) else listed_key(one) for one in signers)
    return Endorser.model_validate({"name": name, "full_name": name.title(), "email": f"{name}@example.org", "keys": keys, **fields})


def principal(name: str, *signers: Signer) -> Person:
    keys = tuple(one if isinstance(one, dict) else listed_key(one) for one in signers)
    return Person.model_validate({"name": name, "full_name": name.title(), "email": f"{name}@example.org", "keys": keys})


def builder(name: str, *signers: Signer, **fields: Any) -> Builder:
    return Builder.model_validate({"name": name, "id": f"https://{name}.example.org/build", "keys": tuple(map(listed_key, signers)), **fields})


def endorser_list(*people: Endorser, lifetime: str = "90d", **fields: Any) -> EndorserList:
    return EndorserList(title="Examples", community=COMMUNITY, policy="words", maximum_lifetime=Duration.parse(lifetime), endorsers=people, **fields)


def policy(*principals: Person, quorum: int = 1, **fields: Any) -> Policy:
    return Policy(**{"title": "Policy", "quorum": quorum, "principals": principals, **fields})


def holder(name: str, *signers: Signer) -> Holder:
    return Holder(name=name, full_name=name.title(), email=f"{name}@example.org", keys=tuple(signer.key for signer in signers))


def release(version: str = "2026.5.1.7", **changes: Any) -> Release:
    digest = hashlib.sha512(version.encode()).hexdigest()
    fields: dict[str, Any] = {
        "appliance": APPLIANCE,
        "uuid": UUID,
        "version": version,
        "commit": "b" * 40,
        "recipe": hashlib.sha256(version.encode()).hexdigest(),
        "builder": {"name": "debian", "version": 1},
        "rootfs": {"size": 10, "sha512": digest},
        "files": [
            {"format": "raw", "size": 4096, "virtual_size": 4096, "sha512": digest[::-1]},
            {"format": "qcow2", "size": 2048, "virtual_size": 4096, "sha512": digest},
        ],
        "manifest": {"size": 3, "sha512": "c" * 128},
        "packages": 1,
        "sbom": {"size": 3, "sha512": "d" * 128},
    }
    return Release.model_validate({**fields, **changes})


@dataclass
class World:
    """A repository in memory: files of each commit, its mainline, its tags. It is a `trust.history.History` of its head."""

    principals: dict[str, Signer] = field(default_factory=dict)
    """Who signs policies."""
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    parents: dict[str, tuple[str, ...]] = field(default_factory=dict)
    line: list[str] = field(default_factory=list)
    """The mainline, oldest first."""
    tags: dict[str, bytes | None] = field(default_factory=dict)
    fresh: bytes | None = None
    odd: tuple[Refusal, ...] = ()
    broken: dict[tuple[str, str], VmkeeperError] = field(default_factory=dict)
    """(commit, folder) → what reading it raises."""
    readings: int = 0

    def __post_init__(self) -> None:
        self.commit({"README.md": b"the root\n"})

    # The repository

    @property
    def head(self) -> str:
        return self.line[-1]

    def commit(self, files: Mapping[str, bytes | None], *, merged: bool = True, parents: Sequence[str] | None = None) -> str:
        """A commit on top of the head (or of `parents`) with these files changed; None removes."""
        before = tuple(parents) if parents is not None else tuple(self.line[-1:])
        tree = {**(self.commits[before[0]] if before else {}), **files}
        kept = {path: data for path, data in tree.items() if data is not None}
        name = hashlib.sha1(repr((len(self.commits), sorted(kept), before)).encode()).hexdigest()
        self.commits[name], self.parents[name] = kept, before
        if merged:
            self.line.append(name)
        return name

    def record_release(self, made: Release, *, provenance: bytes | None = None, merged: bool = True) -> str:
        """A commit that holds a release record."""
        path = f"appliances/{made.appliance}"
        return self.commit({f"{path}/release.yaml": dump(made), f"{path}/provenance.json": provenance}, merged=merged)

    def root(self) -> tuple[str, str]:
        return self.line[0], self.tree(self.line[0], "")

    def precedes(self, commit: str, later: str) -> bool:
        waiting, seen = [later], set()
        while waiting:
            one = waiting.pop()
            if one == commit:
                return True
            if one not in seen:
                seen.add(one)
                waiting += self.parents.get(one, ())
        return False

    def on_mainline(self, commit: str) -> bool:
        return commit in self.line

    def tree(self, commit: str, folder: str) -> str:
        return sha512_hex(b"".join(f"100644 {sha512_hex(data)} {path}\n".encode() for path, data in sorted(self.files(commit, folder).items())))

    def files(self, commit: str, folder: str) -> Mapping[str, bytes]:
        if (commit, folder) in self.broken:
            raise self.broken[commit, folder]
        prefix = f"{folder}/" if folder else ""
        found = {path.removeprefix(prefix): data for path, data in self.commits[commit].items() if path.startswith(prefix)}
        if folder and not found:
            raise Refused("R4" if folder == "endorsers" else "R23", "the folder is not there", where=folder)
        return found

    def digests(self, commit: str, appliance: str) -> tuple[str, str | None] | None:
        files = self.commits.get(commit, {}) if self.on_mainline(commit) else {}
        data, provenance = (files.get(f"appliances/{appliance}/{name}") for name in ("release.yaml", "provenance.json"))
        return (sha512_hex(data), sha512_hex(provenance) if provenance is not None else None) if data is not None else None

    def record(self, commit: str, appliance: str) -> Record | None:
        self.readings += 1
        if (commit, appliance) in self.broken:
            raise self.broken[commit, appliance]
        files = self.commits.get(commit, {})
        data = files.get(f"appliances/{appliance}/release.yaml")
        if data is None or not self.on_mainline(commit):
            return None
        return Record(sha512_hex(data), read_release(data), files.get(f"appliances/{appliance}/provenance.json"))

    # What is signed

    def propose(self, document: Policy, lists: Mapping[str, EndorserList], keys: Mapping[str, bytes] = {}, **files: bytes) -> str:
        """A commit with an endorsers/ tree."""
        gone = {path: None for path in self.commits[self.head] if path.startswith("endorsers/")}
        made = {"endorsers/policy.yaml": dump(document), **{f"endorsers/{name}.yaml": dump(one) for name, one in lists.items()}}
        return self.commit({**gone, **made, **{f"endorsers/{path}": data for path, data in {**keys, **files}.items()}})

    def enact(self, commit: str, *names: str, number: int | None = None, **changes: Any) -> list[str]:
        """Policy tags for the endorsers/ tree of a commit by these principals (all of them); their names."""
        before = self.last_policy()
        fields: dict[str, Any] = {
            "repository": self.line[0],
            "issued": ISSUED,
            "number": number or (before.number + 1 if before else 1),
            "commit": commit,
            "tree": self.tree(commit, "endorsers"),
            "previous": before.content if before else None,
            "expires": ISSUED + timedelta(days=300),
        }
        made = []
        for name in names or self.principals:
            signer = self.principals[name]
            said = PolicySignature.model_validate({**fields, "principal": name, "key": signer.id, **changes})
            made.append(self.put(said, signer))
        return made

    def last_policy(self) -> PolicySignature | None:
        said = [one for name, raw in self.tags.items() if name.startswith("policy/") and isinstance(one := said_in(raw), PolicySignature)]
        return max(said, key=lambda one: one.number, default=None)

    def statement(self, signer: Signer, commit: str, endorser: str = "alice", appliance: str = APPLIANCE, **changes: Any) -> Endorsement:
        """An endorsement of what the commit holds, next in the endorser's chain."""
        found = self.record(commit, appliance)
        if found is None:  # a side branch
            data = self.commits[commit][f"appliances/{appliance}/release.yaml"]
            found = Record(sha512_hex(data), release(str(changes.get("version", "2026.5.1.7"))))
        serial, previous = self.next(endorser)
        before = self.last_policy()
        fields: dict[str, Any] = {
            "repository": self.line[0],
            "appliance": appliance,
            "uuid": found.release.uuid,
            "path": f"appliances/{appliance}",
            "version": str(found.release.version),
            "commit": commit,
            "release": found.sha512,
            "recipe": found.release.recipe,
            "files": signed_files(found.release),
            "manifest": found.release.manifest.sha512,
            "provenance": sha512_hex(found.provenance) if found.provenance is not None else None,
            "rebuilt": False,
            "policy": before.number if before else 1,
            "endorser": endorser,
            "key": signer.id,
            "serial": serial,
            "previous": previous,
            "issued": ISSUED,
            "not_before": ISSUED,
            "expires": ISSUED + timedelta(days=30),
        }
        return Endorsement.model_validate({**fields, **changes})

    def next(self, endorser: str) -> tuple[int, str | None]:
        mine = [raw for name, raw in self.tags.items() if name.startswith(("endorse/", "withdraw/")) and name.split("/")[3] == endorser and raw]
        return len(mine) + 1, sha512_hex(mine[-1]) if mine else None

    def endorse(self, signer: Signer, commit: str, endorser: str = "alice", **changes: Any) -> str:
        """Add a tag that endorses what the commit holds; its name."""
        return self.put(self.statement(signer, commit, endorser, **changes), signer)

    def withdraw(self, signer: Signer, commit: str, endorser: str = "alice", **changes: Any) -> str:
        said = self.statement(signer, commit, endorser)
        shared = said.model_dump(exclude={"action", "recipe", "files", "manifest", "not_before", "expires", "provenance", "rebuilt", "policy"})
        return self.put(Withdrawal.model_validate({**shared, "reason": "a hole in it", **changes}), signer)

    def revoke(self, signer: Signer, holder: str, revoked: str, by: str, *, serial: int = 0, sha512: str | None = None, **changes: Any) -> str:
        fields = {"repository": self.line[0], "key": signer.id, "issued": ISSUED, "number": 1, "commit": self.head, "reason": "stolen"}
        since = Compromise(serial=serial, sha512=sha512)
        return self.put(Revocation.model_validate({**fields, "holder": holder, "revoked": revoked, "by": by, "since": since, **changes}), signer)

    def approve(self, signer: Signer, site: str, administrator: str, commit: str | None = None, **changes: Any) -> str:
        at = commit or self.head
        earlier = [one for name, raw in self.tags.items() if name.startswith(f"approve/{site}/") and isinstance(one := said_in(raw), SiteApproval)]
        before = max(earlier, key=lambda one: one.number, default=None)
        fields = {
            "repository": self.line[0],
            "key": signer.id,
            "issued": ISSUED,
            "site": site,
            "number": before.number + 1 if before else 1,
            "commit": at,
            "file": sha512_hex(self.commits[at].get(f"sites/{site}.yaml", b"")),
            "previous": before.content if before else None,
            "administrator": administrator,
        }
        return self.put(SiteApproval.model_validate({**fields, **changes}), signer)

    def vouch(self, signer: Signer, name: str = "ci", **changes: Any) -> Freshness:
        """Make the freshness statement that is true now."""
        last = self.last_policy()
        assert last is not None
        tips: dict[str, tuple[int, str]] = {}
        for tag_name, raw in self.tags.items():
            said = said_in(raw)
            if isinstance(said, Endorsement | Withdrawal) and raw is not None and tag_name.startswith(("endorse/", "withdraw/")):
                tips[said.endorser] = max(tips.get(said.endorser, (0, "")), (said.serial, sha512_hex(raw)))
        fields: dict[str, Any] = {
            "repository": self.line[0],
            "key": signer.id,
            "issued": NOW - timedelta(hours=1),
            "commit": self.head,
            "policy": PolicyMark(number=last.number, sha512=last.content),
            "chains": tuple(Chain(endorser=one, serial=serial, sha512=digest) for one, (serial, digest) in sorted(tips.items())),
            "revocations": tuple(sorted(sha512_hex(raw) for one, raw in self.tags.items() if one.startswith("revoke/") and raw is not None)),
            "lists": (),
            "builder": name,
            "expires": NOW + timedelta(hours=23),
        }
        said = Freshness.model_validate({**fields, **changes})
        self.fresh = tag(said, signer)
        return said

    def put(self, said: Statement, signer: Signer) -> str:
        self.tags[said.ref] = tag(said, signer)
        return said.ref

    # Judging it

    def pins(self, **changes: Any) -> Pins:
        """Pins of policy 1 as it is."""
        (first, *_) = [one for name, raw in self.tags.items() if name.startswith("policy/1/") and isinstance(one := said_in(raw), PolicySignature)]
        root, tree = self.root()
        fields: dict[str, Any] = {
            "repository": root,
            "tree": tree,
            "policy": PolicyMark(number=1, sha512=first.content),
            "quorum": 1,
            "principals": tuple(holder(name, signer) for name, signer in self.principals.items()),
        }
        return Pins.model_validate({**fields, **changes})

    def sight(self) -> Sight:
        return Sight(self, dict(self.tags), self.fresh, self.odd)

    def judge(self, verifiers: Verifiers, *, pins: Pins | None = None, memory: Memory | None = None, now: datetime = NOW) -> Judgement:
        return judge(self.sight(), pins or self.pins(), memory or Memory(), verifiers, now)

    def verdicts(self, verifiers: Verifiers, *, listed: str = LIST, **how: Any) -> dict[str, Verdict]:
        return {verdict.tag: verdict for verdict in self.judge(verifiers, **how).verdicts[listed]}


def first_world(root: Signer, *people: Endorser, keys: Mapping[str, bytes] = {}, quorum: int = 1, **policy_fields: Any) -> World:
    """A world with policy 1 in force: the principal `root`, and the people on the list `LIST`."""
    made = World({"root": root})
    commit = made.propose(policy(principal("root", root), **policy_fields), {LIST: endorser_list(*people, quorum=quorum)}, keys)
    made.enact(commit)
    return made


def pinned_site(name: str, *administrators: Holder, quorum: int = 1) -> PinnedSite:
    return PinnedSite(name=name, administrators=administrators, quorum=quorum)


def said_in(raw: bytes | None) -> Statement | None:
    """What a tag says, whoever signed it."""
    try:
        return statement.parse(tagobject.parse(raw).payload) if raw is not None else None
    except Refused:
        return None


def tag(
    said: Statement, signer: Signer, *, name: str | None = None, commit: str | None = None, payload: bytes | None = None, time: int | None = None
) -> bytes:
    """A signed tag object that says `said`; the other arguments make it lie."""
    tagger = Tagger(said.signer.title(), f"{said.signer}@example.org", int(said.issued.timestamp()) if time is None else time)
    body = tagobject.unsigned(commit or said.commit, name or said.ref, tagger, statement.encode(said) if payload is None else payload)
    return body + signer.sign(body).encode()


def resigned(raw: bytes, signer: Signer, change: Callable[[bytes], bytes]) -> bytes:
    """A tag object with its unsigned part changed and signed again."""
    body = change(tagobject.parse(raw).signed)
    return body + signer.sign(body).encode()


@lru_cache(maxsize=4096)
def read_release(data: bytes) -> Release:
    """A release record that is good."""
    made = load(KINDS["release"], data, "")
    assert isinstance(made, Release)
    return made


def changed(said: Statement, **changes: Any) -> Statement:
    return said.model_copy(update=changes)


def rules(verdict: Verdict) -> set[str]:
    """The rules that a verdict refuses by; empty where it accepts."""
    return {refusal.rule for refusal in getattr(verdict, "refusals", ())}


def untrusted(act: Callable[[], object]) -> set[str]:
    """The rules by which nothing can be concluded; empty where something can."""
    try:
        act()
    except Untrusted as error:
        return {refusal.rule for refusal in error.refusals}
    return set()


def only(tags: Mapping[str, Verdict]) -> Verdict:
    (verdict,) = tags.values()
    return verdict


def list_mark(uuid: str, version: str, content: bytes) -> ListMark:
    return ListMark(uuid=uuid, version=version, sha512=sha512_hex(content))
