"""Keys, people and signed tags for tests: real gpg and ssh-keygen keys in temporary folders, a made-up history."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vmkeeper.model.release import Release
from vmkeeper.trust import statement, tagobject
from vmkeeper.trust.keys.armour import armour
from vmkeeper.trust.keys.interface import OpenPGPVerifier, PinnedOpenPGPKey, PinnedSSHKey
from vmkeeper.trust.keys.openpgp import short_folder
from vmkeeper.trust.pins import PinnedEndorser, PinnedEndorsers, PinnedKey, key_id
from vmkeeper.trust.statement import Endorsement, Statement, Withdrawal
from vmkeeper.trust.tagobject import Tagger
from vmkeeper.trust.verify import Context, Record, Verdict, signed_files, verify
from vmkeeper.values import Duration, sha512_hex

BORN = datetime(2026, 1, 1, tzinfo=UTC)
"""When keys were made."""
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ISSUED = NOW - timedelta(days=1)
ROOT = "0" * 39 + "1"
APPLIANCE = "debian-12"
UUID = "3f0c5a44-6c8a-4f0e-9d70-6f2f0f7f2c11"
Sign = Callable[[bytes], str]


@dataclass(frozen=True)
class Signer:
    """A key as a site pins it, and the way to sign with it."""

    key: PinnedKey
    sign: Sign

    @property
    def id(self) -> str:
        return key_id(self.key)


class GpgHome:
    """A gpg home of its own, whose clock the tests set. `close` ends its agent and removes it."""

    def __init__(self) -> None:
        self.path = short_folder()

    def run(self, *arguments: str, data: bytes = b"", at: datetime = BORN, check: bool = True) -> bytes:
        command = ["gpg", "--homedir", str(self.path), "--batch", "--yes", "--faked-system-time", f"{int(at.timestamp())}!", *arguments]
        done = subprocess.run(command, input=data, capture_output=True, check=False, timeout=120)
        assert not check or done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout

    def make(self, name: str, algorithm: str = "ed25519", usage: str = "sign", expires: str = "0", *options: str) -> str:
        """Make a key without a passphrase; its fingerprint."""
        self.run(
            "--passphrase",
            "",
            "--pinentry-mode",
            "loopback",
            *options,
            "--quick-generate-key",
            f"{name} <{name}@example.org>",
            algorithm,
            usage,
            expires,
        )
        return self.fingerprint(name)

    def fingerprint(self, name: str) -> str:
        lines = self.run("--with-colons", "--list-keys", f"<{name}@example.org>").decode().splitlines()
        return next(line.split(":")[9] for line in lines if line.startswith("fpr:"))

    def export(self, fingerprint: str, *options: str) -> str:
        return self.run("--armor", *options, "--export", fingerprint).decode()

    def signer(self, fingerprint: str, *options: str, at: datetime = ISSUED) -> Signer:
        key = PinnedOpenPGPKey(type="openpgp", fingerprint=fingerprint, armour=self.export(fingerprint))
        flags = ("--armor", "--no-comments", "--no-emit-version", *(options or ("--digest-algo", "SHA512")))
        return Signer(key, lambda data: self.run(*flags, "--local-user", fingerprint, "--detach-sign", data=data, at=at).decode())

    def close(self) -> None:
        subprocess.run(["gpgconf", "--homedir", str(self.path), "--kill", "all"], check=False, timeout=60)
        shutil.rmtree(self.path, ignore_errors=True)


def ssh_key(folder: Path, kind: str = "ed25519", bits: int | None = None) -> Path:
    """A private key file without a passphrase, its .pub beside it."""
    file = folder / f"{kind}-{bits or 0}-{len(list(folder.iterdir()))}"
    size = ["-b", str(bits)] if bits else []
    subprocess.run(["ssh-keygen", "-q", "-t", kind, *size, "-N", "", "-C", "", "-f", file], check=True, timeout=120)
    return file


def ssh_public(file: Path) -> str:
    return " ".join(file.with_name(file.name + ".pub").read_text().split()[:2])


def ssh_signer(file: Path, *options: str, namespace: str = "git") -> Signer:
    def sign(data: bytes) -> str:
        command = ["ssh-keygen", "-Y", "sign", "-n", namespace, *options, "-f", str(file)]
        return subprocess.run(command, input=data, capture_output=True, check=True, timeout=60).stdout.decode()

    return Signer(PinnedSSHKey(type="ssh", key=ssh_public(file)), sign)


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def sshsig(
    public: bytes,
    inner: bytes,
    *,
    namespace: bytes = b"git",
    digest: bytes = b"sha512",
    version: int = 1,
    reserved: bytes = b"",
    magic: bytes = b"SSHSIG",
) -> str:
    """An armoured SSHSIG from its parts."""
    parts = (public, namespace, reserved, digest, inner)
    return armour("SSH", magic + version.to_bytes(4, "big") + b"".join(map(_string, parts)))


def to_sign(data: bytes, namespace: bytes = b"git", digest: str = "sha512") -> bytes:
    """The bytes that an SSH key signs for an SSHSIG over `data`."""
    return b"SSHSIG" + b"".join(map(_string, (namespace, b"", digest.encode(), hashlib.new(digest, data).digest())))


class SecurityKey:
    """A security key in software: an sk-ssh-ed25519 key with its flags and counter."""

    TYPE = b"sk-ssh-ed25519@openssh.com"

    def __init__(self, application: bytes = b"ssh:") -> None:
        self._private = Ed25519PrivateKey.generate()
        self.point = self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.application = application

    @property
    def blob(self) -> bytes:
        return b"".join(map(_string, (self.TYPE, self.point, self.application)))

    def signer(self, flags: int = 1, counter: int = 7) -> Signer:
        def sign(data: bytes) -> str:
            tail = bytes([flags]) + counter.to_bytes(4, "big")
            raw = self._private.sign(hashlib.sha256(self.application).digest() + tail + hashlib.sha256(to_sign(data)).digest())
            return sshsig(self.blob, _string(self.TYPE) + _string(raw) + tail)

        return Signer(PinnedSSHKey(type="ssh", key=f"{self.TYPE.decode()} {base64.b64encode(self.blob).decode()}"), sign)

    def plain_signer(self) -> Signer:
        """The same point, signing as a plain ssh-ed25519 key."""
        blob = b"".join(map(_string, (b"ssh-ed25519", self.point)))

        def sign(data: bytes) -> str:
            return sshsig(blob, _string(b"ssh-ed25519") + _string(self._private.sign(to_sign(data))))

        return Signer(PinnedSSHKey(type="ssh", key=f"ssh-ed25519 {base64.b64encode(blob).decode()}"), sign)


def person(name: str, *signers: Signer, **fields: Any) -> PinnedEndorser:
    return PinnedEndorser(name=name, full_name=name.title(), email=f"{name}@example.org", keys=tuple(signer.key for signer in signers), **fields)


def pinned(*people: PinnedEndorser, quorum: int = 1, lifetime: str = "90d") -> PinnedEndorsers:
    return PinnedEndorsers(name="examples", quorum=quorum, maximum_lifetime=Duration.parse(lifetime), endorsers=people)


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


def record(made: Release) -> Record:
    return Record(sha512_hex(made.model_dump_json().encode()), made)


@dataclass
class World:
    """A repository as the verifier sees it: commits of the mainline with their release records, and tags."""

    records: dict[tuple[str, str], Record] = field(default_factory=dict)
    mainline: set[str] = field(default_factory=set)
    tags: dict[str, bytes | None] = field(default_factory=dict)

    def on_mainline(self, commit: str) -> bool:
        return commit in self.mainline

    def record(self, commit: str, appliance: str) -> Record | None:
        return self.records.get((commit, appliance))

    def commit(self, made: Release, *, merged: bool = True) -> str:
        """A commit that holds a release record."""
        name = f"{len(self.records) + 16:040x}"
        self.records[name, made.appliance] = record(made)
        if merged:
            self.mainline.add(name)
        return name

    def statement(self, signer: Signer, commit: str, endorser: str = "alice", appliance: str = APPLIANCE, **changes: Any) -> Endorsement:
        """An endorsement of what the commit holds, next in the endorser's chain."""
        found = self.records[commit, appliance]
        serial, previous = self.next(endorser)
        fields: dict[str, Any] = {
            "repository": ROOT,
            "appliance": appliance,
            "uuid": found.release.uuid,
            "path": f"appliances/{appliance}",
            "version": str(found.release.version),
            "commit": commit,
            "release": found.sha512,
            "recipe": found.release.recipe,
            "files": signed_files(found.release),
            "manifest": found.release.manifest.sha512,
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
        mine = [raw for name, raw in self.tags.items() if name.split("/")[3] == endorser and raw is not None]
        return len(mine) + 1, sha512_hex(mine[-1]) if mine else None

    def endorse(self, signer: Signer, commit: str, endorser: str = "alice", **changes: Any) -> str:
        """Add a tag that endorses what the commit holds; its name."""
        said = self.statement(signer, commit, endorser, **changes)
        return self.put(said, tag(said, signer))

    def withdraw(self, signer: Signer, commit: str, endorser: str = "alice", **changes: Any) -> str:
        said = self.statement(signer, commit, endorser)
        shared = said.model_dump(exclude={"action", "recipe", "files", "manifest", "not_before", "expires"})
        taken = Withdrawal.model_validate({**shared, "reason": "a hole in it", **changes})
        return self.put(taken, tag(taken, signer))

    def put(self, said: Statement, raw: bytes | None) -> str:
        name = str(statement.tag_name(said))
        self.tags[name] = raw
        return name

    def context(self, people: PinnedEndorsers, openpgp: OpenPGPVerifier, now: datetime = NOW) -> Context:
        return Context(people, ROOT, self, openpgp, now)

    def verdicts(self, people: PinnedEndorsers, openpgp: OpenPGPVerifier, now: datetime = NOW) -> dict[str, Verdict]:
        return {verdict.tag: verdict for verdict in verify(self.tags, self.context(people, openpgp, now))}


def tag(
    said: Statement, signer: Signer, *, name: str | None = None, commit: str | None = None, payload: bytes | None = None, time: int | None = None
) -> bytes:
    """A signed tag object that says `said`; the other arguments make it lie."""
    tagger = Tagger(said.endorser.title(), f"{said.endorser}@example.org", int(said.issued.timestamp()) if time is None else time)
    body = tagobject.unsigned(
        commit or said.commit, name or str(statement.tag_name(said)), tagger, statement.encode(said) if payload is None else payload
    )
    return body + signer.sign(body).encode()


def resigned(raw: bytes, signer: Signer, change: Callable[[bytes], bytes]) -> bytes:
    """A tag object with its unsigned part changed and signed again."""
    body = change(tagobject.parse(raw).signed)
    return body + signer.sign(body).encode()


def changed(said: Statement, **changes: Any) -> Statement:
    return said.model_copy(update=changes)


def rules(verdict: Verdict) -> set[str]:
    """The rules that a verdict refuses by; empty where it accepts."""
    return {refusal.rule for refusal in getattr(verdict, "refusals", ())}


def only(tags: Mapping[str, Verdict]) -> Verdict:
    (verdict,) = tags.values()
    return verdict
