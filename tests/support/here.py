"""A site that follows a producer, with a cloud in memory, and what the people who govern the producer's repository do."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from support.governing import NOBODY, Person
from support.producer import NOW, Producer
from support.webserver import WebServer
from vmkeeper.clouds.interface import MachineSpec
from vmkeeper.clouds.memory import MemoryCloud, World
from vmkeeper.execute.approving import approve
from vmkeeper.execute.governance import Chamber, sign_policy, vouch
from vmkeeper.execute.home import SiteHome
from vmkeeper.execute.pinning import Wishes, pin, proposal
from vmkeeper.execute.revoking import revoke
from vmkeeper.execute.signing import SigningKey, signing_key
from vmkeeper.execute.site import Reconciled, reconcile
from vmkeeper.execute.walk import Done
from vmkeeper.repository.tags import root_commit
from vmkeeper.trust.dsse import pae, seal
from vmkeeper.trust.history import Record
from vmkeeper.trust.said import Freshness, ListMark
from vmkeeper.trust.slsa import Invocation, describe, encode
from vmkeeper.values import Duration, sha512_hex

OWNER = "vmkeeper:here"
HOSTS = ("127.0.0.1",)
BUILDER = "https://ci.example.org/build"


class Here:
    """A producer, and a site that follows it with a cloud in memory."""

    def __init__(self, folder: Path, server: WebServer) -> None:
        self.server = server
        self.producer = Producer(folder / "www", server.url, folder)
        self.home = SiteHome(folder / "home")
        self.world = World()
        self.now = NOW
        self.administrators: tuple[Person, ...] = ()
        self.ci: Person | None = None

    # The site

    def init(self, *administrators: Person, **wishes: Any) -> None:
        """Pin; the site's file is accepted anew with every change of it, unless administrators approve it."""
        ca = self.producer.authority.write(self.home.folder.parent)
        certificate = self.home.folder.parent / "lister.pem"
        certificate.write_bytes(_pem(self.producer.lister.certificate))
        named = tuple(f"{one.name}={one.key}.pub" for one in administrators)
        wished = Wishes((ca,), signer=certificate, allowed_hosts=HOSTS, administrators=named, **wishes)
        pin(self.home, proposal(self.producer.repo.repository, "here", wished, self.now), (ca,))
        if not administrators:
            self.producer.accepted = self.init

    def run(self, fault: Any = None, at: datetime | None = None, **options: Any) -> Reconciled:
        self.now = at or self.now
        cloud = MemoryCloud(OWNER, self.world, fault)
        return reconcile(self.producer.repo.repository, self.home, "here", lambda: self.now, connect=lambda _: {"": cloud}, **options)

    def usable(self) -> list[str]:
        return self.images("active")

    def images(self, state: str) -> list[str]:
        found = (image for image in self.world.images.values() if image.owner == OWNER and image.state == state and image.spec)
        return sorted(f"{image.spec.appliance} {image.spec.version}" for image in found if image.spec)

    # The repository's people

    @property
    def chamber(self) -> Chamber:
        repository = self.producer.repo.repository
        return Chamber(repository, repository.head(), NOBODY, lambda: self.now)

    def key(self, person: Person) -> SigningKey:
        return signing_key(self.producer.repo.repository, person.key)

    @property
    def alice(self) -> SigningKey:
        """The first principal and endorser."""
        return signing_key(self.producer.repo.repository, str(self.producer.key))

    def propose(self, *more: Person, team: str | None = "", **changes: Any) -> None:
        """A change of the policy. more: further principals; team: another text of the endorser list, None removes it."""
        made = json.loads(self.producer.policy_document())
        principals = [*made["principals"], *(one.document() for one in more)]
        files: dict[str, str | bytes | None] = {"endorsers/policy.yaml": self.producer.policy_document(**{"principals": principals, **changes})}
        if team != "":
            files["endorsers/team.yaml"] = team
        self.producer.repo.commit(files, "propose")

    def enact(self, *more: Person, team: str | None = "", **changes: Any) -> int:
        """A change of the policy, signed by alice; its number."""
        self.propose(*more, team=team, **changes)
        said = sign_policy(self.chamber, self.alice)
        self.producer.policies.append(said)
        return said.number

    def wants_freshness(self, ci: Person) -> None:
        """A policy by which ci builds, and says daily what is there; sites know no image then without provenance."""
        self.ci = ci
        self.enact(builders=[{"name": "ci", "id": BUILDER, "keys": [ci.listed]}], freshness={"signers": ["ci"], "maximum_validity": "48h"})

    def vouch(self, *lists: ListMark, valid: str | None = None) -> Freshness:
        assert self.ci is not None
        return vouch(self.chamber, self.key(self.ci), lists, Duration.parse(valid) if valid else None)

    def released(self, name: str, version: str) -> None:
        """A release with provenance, endorsed, offered and published."""
        producer = self.producer
        producer.release(name, version)
        if self.ci is not None:
            made, record = producer.releases[name, version]
            times = {"startedOn": NOW - timedelta(days=3), "finishedOn": NOW - timedelta(days=2)}
            run = Invocation(invocationId="urn:uuid:3f0c5a44-6c8a-4f0e-9d70-6f2f0f7f2c11", **times)
            repository = root_commit(producer.repo.repository, producer.repo.repository.head())
            said = encode(
                describe(Record(sha512_hex(record), made), repository=repository, locks={}, builder=BUILDER, program="0.1.0", invocation=run)
            )
            key = self.key(self.ci)
            data = seal(said, key.id, key.sign(pae(said)))
            producer.commits[name, version] = producer.repo.commit({f"appliances/{name}/provenance.json": data}, "provenance")
            producer.provenances[name, version] = data
        producer.endorse(name, version, issued=self.now)
        producer.offer(name, version)
        producer.publish()

    def approve(self, person: Person, **changes: Any) -> None:
        approve(self.chamber, self.key(person), "here", person.name, **changes)

    def void(self, by: SigningKey, holder: str, revoked: str, since: int = 0) -> None:
        revoke(self.chamber, by, holder, revoked, since, "stolen")

    def machine(self, name: str = "vm-1") -> str:
        """Start a machine from the one usable image."""
        (image,) = (one for one in self.world.images.values() if one.state == "active")
        cloud = MemoryCloud(OWNER, self.world)
        spec = MachineSpec(name=name, cluster="web", service="front", generation="a" * 64, image=image.id)
        return cloud.start(spec).id


def _pem(certificate: Any) -> bytes:
    return bytes(certificate.public_bytes(Encoding.PEM))


def kinds(done: Reconciled) -> list[str]:
    return [f"{outcome.action.kind} {outcome.action.subject}" for outcome in done.outcomes if isinstance(outcome, Done)]


def notes(done: Reconciled) -> str:
    return " | ".join(f"{note.subject}: {note.why}" for note in done.made.notes)
