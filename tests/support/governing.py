"""A bare repository whose policy is governed by people with real keys of all three kinds, through what the commands call."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from support.certificates import Identity
from support.keys import GpgHome, ssh_key, ssh_public
from support.repo import Repo, uuid
from support.x509 import digest_of, held
from vmkeeper.execute.governance import Chamber, Proposed, proposed, sign_policy
from vmkeeper.execute.signing import SigningKey, signed_tag, signing_key
from vmkeeper.model.release import Release
from vmkeeper.repository.tags import create_tag, raw_tags
from vmkeeper.trust import statement, tagobject
from vmkeeper.trust.keys.certificates import Authorities
from vmkeeper.trust.said import Endorsement, PolicySignature, Statement
from vmkeeper.trust.verify import signed_files
from vmkeeper.values import Duration, sha512_hex

NOBODY = Authorities(())
"""Real time: gpg asks the clock when it signs."""


@dataclass(frozen=True)
class Person:
    """Somebody with a key: as documents list it, how it signs, and its file below endorsers/."""

    name: str
    listed: dict[str, Any]
    key: str
    """As --key takes it."""
    id: str
    file: bytes = b""

    def document(self, **fields: Any) -> dict[str, Any]:
        return {"name": self.name, "full_name": self.name.title(), "email": f"{self.name}@example.org", "keys": [self.listed], **fields}


def by_ssh(name: str, folder: Path) -> Person:
    file = ssh_key(folder)
    public = ssh_public(file)
    return Person(name, {"type": "ssh", "key": public}, str(file), "")


def by_openpgp(name: str, gpg: GpgHome) -> Person:
    fingerprint = gpg.make(name)
    listed = {"type": "openpgp", "fingerprint": fingerprint, "file": f"keys/{name}.asc"}
    return Person(name, listed, fingerprint, f"openpgp:{fingerprint}", gpg.export(fingerprint).encode())


def by_x509(name: str, identity: Identity, folder: Path, *, pinned: bool = False) -> Person:
    certificate, _ = identity.write(folder, name)
    listed = held(identity, pinned=pinned).model_dump(mode="json", exclude_none=True)
    return Person(name, listed, str(certificate), f"x509:{digest_of(identity)}")


class Court:
    """The repository. `chamber` is what its people see; `now` their clock."""

    def __init__(self, folder: Path, authorities: Authorities = NOBODY) -> None:
        self.repo = Repo(folder)
        self.authorities = authorities
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.repo.commit({"README.md": "A repository.\n"})

    @property
    def chamber(self) -> Chamber:
        return Chamber(self.repo.repository, self.repo.repository.head(), self.authorities, lambda: self.now)

    def later(self, **much: float) -> None:
        self.now += timedelta(**much)

    def key(self, person: Person) -> SigningKey:
        return signing_key(self.repo.repository, person.key)

    def propose(
        self, *principals: Person, quorum: int = 1, endorsers: tuple[Person, ...] = (), marks: dict[str, Any] | None = None, **fields: Any
    ) -> str:
        """Commit an endorsers/ tree. marks: what is said of each endorser, by name."""
        document = {"title": "Policy", "quorum": quorum, "principals": [one.document() for one in principals], **fields}
        team = [one.document(**(marks or {}).get(one.name, {})) for one in endorsers]
        files: dict[str, str | bytes | None] = {
            "endorsers/policy.yaml": json.dumps(document),
            "endorsers/team.yaml": json.dumps({"title": "Team", "community": "tests", "policy": "None.", "endorsers": team}),
        }
        files |= {f"endorsers/{one.listed['file']}": one.file for one in (*principals, *endorsers) if one.file}
        return self.repo.commit(files, "propose")

    def sign(self, person: Person, valid: str | None = None, **how: Any) -> PolicySignature:
        return sign_policy(self.chamber, self.key(person), Duration.parse(valid) if valid else None, **how)

    def proposed(self) -> Proposed:
        return proposed(self.chamber)

    def number(self) -> int:
        """The policy in force; 0 for none."""
        found = self.chamber.judgement()
        return found.enactments.current.number if found else 0

    def tags(self, *prefixes: str) -> dict[str, bytes | None]:
        return raw_tags(self.repo.repository, *prefixes)

    def said(self, name: str) -> Statement:
        raw = self.tags(name)[name]
        assert raw is not None
        return statement.parse(tagobject.parse(raw).payload)

    def put(self, said: Statement, person: Person) -> str:
        """A tag as its signer wrote it, past every check."""
        create_tag(self.repo.repository, said.ref, signed_tag(said, self.key(person), person.name, f"{person.name}@example.org"))
        return said.ref

    def endorse(self, person: Person, version: str, **changes: Any) -> str:
        """A release and the next endorsement of it in the person's chain."""
        digest = sha512_hex(version.encode())
        fields = {
            "appliance": "worker",
            "uuid": uuid("worker"),
            "version": version,
            "commit": self.repo.repository.head(),
            "recipe": "a" * 64,
            "builder": {"name": "debian", "version": 1},
            "rootfs": {"size": 10, "sha512": digest},
            "files": [{"format": "raw", "size": 4096, "virtual_size": 4096, "sha512": digest}],
            "manifest": {"size": 3, "sha512": "c" * 128},
            "packages": 1,
            "sbom": {"size": 3, "sha512": "d" * 128},
        }
        made = Release.model_validate(fields)
        record = made.model_dump_json().encode()
        commit = self.repo.commit({"appliances/worker/release.yaml": record}, f"release {version}")
        mine = {
            one.serial: raw
            for name, raw in self.tags("endorse/").items()
            if isinstance(one := self.said(name), Endorsement) and one.endorser == person.name
        }
        last = mine.get(len(mine))
        said: dict[str, Any] = {
            "repository": self.chamber.sight().history.root()[0],
            "key": self.key(person).id,
            "issued": self.now,
            "appliance": "worker",
            "uuid": made.uuid,
            "path": "appliances/worker",
            "version": version,
            "commit": commit,
            "release": sha512_hex(record),
            "endorser": person.name,
            "serial": len(mine) + 1,
            "previous": sha512_hex(last) if last else None,
            "recipe": made.recipe,
            "files": signed_files(made),
            "manifest": made.manifest.sha512,
            "provenance": None,
            "rebuilt": False,
            "policy": self.number(),
            "not_before": self.now,
            "expires": self.now + timedelta(days=30),
        }
        return self.put(Endorsement.model_validate({**said, **changes}), person)


def released(court: Court, version: str) -> bool:
    """Whether an endorsement of the version counts in the court's eyes."""
    from vmkeeper.trust.verify import Accepted

    found = court.chamber.judgement()
    assert found is not None
    return any(isinstance(one, Accepted) and one.tag.split("/")[2] == version for one in found.verdicts["team"])
