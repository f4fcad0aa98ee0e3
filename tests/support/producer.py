"""A producer for site tests: a repository, an endorser with a real SSH key, a list signer with a real certificate, a web server's folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from support.keys import Signer, ssh_key, ssh_public, ssh_signer
from support.repo import Repo, uuid
from support.tinyvm import boot_sector
from support.trust import tag
from vmkeeper.lists import hepix, smime
from vmkeeper.lists.hepix import HepixEndorser, HepixImage, HepixList
from vmkeeper.model.release import Release
from vmkeeper.repository.digest import tree_sha512
from vmkeeper.repository.tags import create_tag, root_commit
from vmkeeper.trust.said import Endorsement, PolicySignature, Withdrawal
from vmkeeper.trust.verify import signed_files
from vmkeeper.values import Size, sha512_hex

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
LIST = uuid("list")
PARTITION = bytes.fromhex("80000200830000000100000007000000")
"""An entry of a partition table, without which a raw disk is taken for none."""


class Authority:
    """A certificate authority and the signers it certifies."""

    def __init__(self, name: str = "Test Authority") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tests"), x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._certificate(self.name, self.key.public_key(), True)

    def signer(self, name: str = "Lister") -> smime.Signer:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tests"), x509.NameAttribute(NameOID.COMMON_NAME, name)])
        return smime.Signer(self._certificate(subject, key.public_key(), False), key)

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "authority.pem"
        file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        return file

    def _certificate(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, authority: bool) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - timedelta(days=100))
            .not_valid_after(NOW + timedelta(days=1000))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )
        if authority:
            builder = builder.add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True)
        else:
            builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            builder = builder.add_extension(x509.KeyUsage(True, True, False, False, False, False, False, False, False), critical=True)
            builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        return builder.sign(self.key, hashes.SHA256())


SITE = {
    "title": "Here",
    "platform": {"type": "local"},
    "subscribe": [{"list": "main"}],
    "approve": [{"appliance": "*"}],
    "formats": ["raw", "qcow2"],
}


class Producer:
    """Makes releases, endorses them and publishes the list below `folder`; `url` is where that folder is served."""

    def __init__(self, folder: Path, url: str, work: Path) -> None:
        self.folder, self.url = folder, url
        self.repo = Repo(work / "repository.git")
        self.key = ssh_key(_made(work / "keys"))
        self.alice: Signer = ssh_signer(self.key)
        self.authority = Authority()
        self.lister = self.authority.signer()
        self.images: dict[str, HepixImage] = {}
        self.commits: dict[tuple[str, str], str] = {}
        self.releases: dict[tuple[str, str], tuple[Release, bytes]] = {}
        self.provenances: dict[tuple[str, str], bytes] = {}
        """What lies beside release records, where a builder signs it."""
        self.chain: list[bytes] = []
        self.version = 0
        self.repo.commit(
            {
                "imagelists/main.yaml": self.list_document(),
                "endorsers/policy.yaml": self.policy_document(),
                "endorsers/team.yaml": self.endorser_document(),
                "sites/here.yaml": json.dumps(SITE),
            },
            "begin",
        )
        self.accepted: Callable[[], None] = lambda: None
        self.policies: list[PolicySignature] = []
        self.enact()

    def list_document(self) -> str:
        owner = {"name": "A Lister", "email": "lister@example.org"}
        listed = [{"appliance": name} for name in sorted(self.images)]
        fields = {"uuid": LIST, "title": "Main", "description": "All", "source": "tests", "url": self.url, "owner": owner}
        return json.dumps({**fields, "appliances": listed, "endorsed_by": "team"})

    def endorser_document(self) -> str:
        alice = {"name": "alice", "full_name": "Alice", "email": "alice@example.org", "keys": [{"type": "ssh", "key": ssh_public(self.key)}]}
        return json.dumps({"title": "Team", "community": "tests", "policy": "None.", "endorsers": [alice]})

    def policy_document(self, **changes: object) -> str:
        alice = {"name": "alice", "full_name": "Alice", "email": "alice@example.org", "keys": [{"type": "ssh", "key": ssh_public(self.key)}]}
        return json.dumps({"title": "Policy", "quorum": 1, "principals": [alice], **changes})

    def enact(self, issued: datetime = NOW - timedelta(days=2)) -> None:
        """Sign the endorsers/ tree of the head as the next policy."""
        head = self.repo.repository.head()
        said = PolicySignature(
            repository=root_commit(self.repo.repository, head),
            key=self.alice.id,
            issued=issued,
            number=len(self.policies) + 1,
            commit=head,
            tree=tree_sha512(self.repo.repository.at(head), "endorsers"),
            previous=self.policies[-1].content if self.policies else None,
            principal="alice",
            expires=issued + timedelta(days=300),
        )
        self.policies.append(said)
        create_tag(self.repo.repository, said.ref, tag(said, self.alice))

    def site(self, **changes: object) -> None:
        """Change the site's document, and have the site accept it if it is set up."""
        self.repo.commit({"sites/here.yaml": json.dumps({**SITE, **changes})}, "site")
        self.accepted()

    def release(self, name: str, version: str, *, size: int = 4096, data: bytes = b"", form: str = "raw", virtual: int = 0) -> bytes:
        """Build a release: a raw image that says its name when booted, or `data`; returns its bytes."""
        sector = boot_sector(f"{name} {version}", "halt")
        data = data or (sector[:446] + PARTITION + sector[462:]).ljust(size, b"\0")
        digest = sha512_hex(data)
        made = Release.model_validate(
            {
                "appliance": name,
                "uuid": uuid(name),
                "version": version,
                "commit": self.repo.repository.head(),
                "recipe": "a" * 64,
                "builder": {"name": "debian", "version": 1},
                "rootfs": {"size": 10, "sha512": digest},
                "files": [{"format": form, "size": len(data), "virtual_size": virtual or len(data), "sha512": digest}],
                "manifest": {"size": 3, "sha512": "c" * 128},
                "packages": 1,
                "sbom": {"size": 3, "sha512": "d" * 128},
            }
        )
        record = made.model_dump_json().encode()
        appliance = json.dumps({"uuid": uuid(name), "title": name})
        commit = self.repo.commit(
            {f"appliances/{name}/release.yaml": record, f"appliances/{name}/appliance.yaml": appliance}, f"release {name} {version}"
        )
        self.commits[name, version], self.releases[name, version] = commit, (made, record)
        _made(self.folder / "main/images").joinpath(f"{name}-{version}.{form}").write_bytes(data)
        return data

    def endorse(self, name: str, version: str, *, days: int = 60, issued: datetime = NOW - timedelta(days=1)) -> str:
        """Sign a tag for a release."""
        made, _ = self.releases[name, version]
        said = Endorsement.model_validate(
            {
                **self._said(name, version, issued),
                "recipe": made.recipe,
                "files": signed_files(made),
                "manifest": made.manifest.sha512,
                "provenance": sha512_hex(self.provenances[name, version]) if (name, version) in self.provenances else None,
                "rebuilt": False,
                "policy": len(self.policies),
                "not_before": issued,
                "expires": issued + timedelta(days=days),
            }
        )
        return self._tag(said)

    def withdraw(self, name: str, version: str, reason: str = "a hole in it", issued: datetime = NOW - timedelta(hours=1)) -> str:
        """Sign a tag that takes a release back."""
        return self._tag(Withdrawal.model_validate({**self._said(name, version, issued), "reason": reason}))

    def offer(self, name: str, version: str, **changes: object) -> None:
        """Put a release on the list (in place of another version of it)."""
        made, _ = self.releases[name, version]
        file = made.files[0]
        image = HepixImage(
            uuid=made.uuid,
            uri=f"{self.url}/main/images/{name}-{version}.{file.format}",
            version=version,
            size=file.size,
            sha512=file.sha512,
            title=name,
            description=name,
            expires=NOW + timedelta(days=50),
            hypervisor="kvm",
            format=file.format,
            arch="x86_64",
            os="linux",
            osname="Debian",
            osversion="12",
            comments="",
            group="General group",
            mpuri=f"{self.url}/main/{name}",
            user_fullname="A Lister",
            user_guid="1",
            user_uri=self.url,
        )
        self.images[name] = replace(image, **changes)  # type: ignore[arg-type]

    def publish(self, *, version: str | None = None, expires: datetime = NOW + timedelta(days=20), signer: smime.Signer | None = None) -> None:
        """Sign the list and put it where it is served."""
        signer = signer or self.lister
        self.version += 1
        made = HepixList(
            uuid=LIST,
            title="Main",
            description="All",
            source="tests",
            version=version or f"2026112010{self.version:04d}",
            uri=f"{self.url}/main/imagelist.signed",
            created=NOW - timedelta(hours=1),
            expires=expires,
            endorser=HepixEndorser(dn=str(signer.subject), ca=str(signer.issuer), email="lister@example.org", creator="A Lister"),
            vo="tests",
            images=tuple(self.images[name] for name in sorted(self.images)),
        )
        _made(self.folder / "main").joinpath("imagelist.signed").write_bytes(smime.sign(hepix.publish_text(made), signer))

    def all(self, name: str, version: str) -> None:
        """Release, endorse, offer and publish."""
        self.release(name, version)
        self.endorse(name, version)
        self.offer(name, version)
        self.publish()

    def _said(self, name: str, version: str, issued: datetime) -> dict[str, object]:
        _, record = self.releases[name, version]
        return {
            "repository": root_commit(self.repo.repository, self.repo.repository.head()),
            "appliance": name,
            "uuid": uuid(name),
            "path": f"appliances/{name}",
            "version": version,
            "commit": self.commits[name, version],
            "release": sha512_hex(record),
            "endorser": "alice",
            "key": self.alice.id,
            "serial": len(self.chain) + 1,
            "previous": sha512_hex(self.chain[-1]) if self.chain else None,
            "issued": issued,
        }

    def _tag(self, said: Endorsement | Withdrawal) -> str:
        raw = tag(said, self.alice)
        self.chain.append(raw)
        create_tag(self.repo.repository, said.ref, raw)
        return said.ref


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


__all__ = ["LIST", "NOW", "Authority", "Producer", "Size"]
