"""A repository on disk with two endorsers, alice (an SSH key file) and bob (a key in gpg), and a release to endorse."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from support.keys import GpgHome, ssh_key, ssh_public
from support.trust import APPLIANCE, release
from vmkeeper.documents.dump import dump
from vmkeeper.execute.endorsement import Desk, Signatory
from vmkeeper.execute.governance import Chamber, in_force, sign_policy
from vmkeeper.execute.signing import role, signing_key
from vmkeeper.images.store import Store
from vmkeeper.repository.tree import Repository
from vmkeeper.trust.judge import Judgement
from vmkeeper.trust.keys.certificates import Authorities

NOBODY = Authorities(())


@dataclass
class Site:
    """A repository on disk with people who can endorse."""

    folder: Path
    keys: Path
    store: Store
    alice: Path
    bob: str
    root: Path
    """The key of the policy's only principal."""

    @property
    def repository(self) -> Repository:
        return Repository.open(self.folder)

    def git(self, *words: str) -> str:
        return subprocess.run(["git", *words], cwd=self.folder, check=True, capture_output=True, text=True, timeout=60).stdout.strip()

    def commit(self, message: str = "change") -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def write(self, path: str, text: str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def build(self, version: str, packages: str = "bash 5.2 amd64\n", **changes: object) -> str:
        """Commit a release record, as apply does."""
        manifest = self.store.put_bytes(packages.encode())
        made = release(version, manifest=manifest.model_dump(), packages=packages.count("\n"), **changes)
        self.write(f"appliances/{APPLIANCE}/release.yaml", dump(made).decode())
        return self.commit(f"release: {version}")

    @property
    def chamber(self) -> Chamber:
        return Chamber(self.repository, self.repository.head(), NOBODY, lambda: datetime.now(UTC))

    def enact(self) -> str:
        """Sign the endorsers/ tree of the head as the next policy; its tag."""
        return sign_policy(self.chamber, signing_key(self.repository, str(self.root))).ref

    def judgement(self) -> Judgement:
        return in_force(self.chamber)[0]

    def desk(self, key: str | None = None, name: str | None = None) -> Desk:
        judgement, pins = in_force(self.chamber)
        chosen = signing_key(self.repository, key)
        found = role(judgement.enactments.current.policy, chosen, APPLIANCE, name)
        return Desk(self.repository, self.repository.head(), Signatory(chosen, found, pins, NOBODY, lambda: datetime.now(UTC)))


def make_site(tmp_path: Path, gpg: GpgHome, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The repository, with HOME, GNUPGHOME and git set so that alice signs."""
    monkeypatch.setenv("GNUPGHOME", str(gpg.path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    for folder in ("home", "repo", "keys", "store"):
        (tmp_path / folder).mkdir()
    bob = gpg.fingerprint("bob") if b"bob@" in gpg.run("--list-keys") else gpg.make("bob")
    made = Site(tmp_path / "repo", tmp_path / "keys", Store(tmp_path / "store"), ssh_key(tmp_path / "keys"), bob, ssh_key(tmp_path / "keys"))
    made.git("init", "-q", "-b", "main")
    for name, value in (
        ("user.name", "Somebody"),
        ("user.email", "somebody@example.org"),
        ("gpg.format", "ssh"),
        ("user.signingKey", str(made.alice)),
    ):
        made.git("config", name, value)
    made.write("endorsers/keys/bob.asc", gpg.export(bob))
    made.write("endorsers/examples.yaml", endorsers(made))
    made.write("endorsers/policy.yaml", policy(made))
    made.commit("endorsers")
    made.enact()
    made.build("2026.5.1.1")
    return made


def policy(site: Site) -> str:
    """The text of endorsers/policy.yaml."""
    return f"""title: Policy
quorum: 1
principals:
  - name: root
    full_name: Root Example
    email: root@example.org
    keys:
      - type: ssh
        key: {ssh_public(site.root)}
"""


def endorsers(site: Site, quorum: int = 1) -> str:
    """The text of endorsers/examples.yaml."""
    return f"""title: Examples
community: examples
policy: What you endorse you have looked at.
quorum: {quorum}
maximum_lifetime: 90d
endorsers:
  - name: alice
    full_name: Alice Example
    email: alice@example.org
    keys:
      - type: ssh
        key: {ssh_public(site.alice)}
    scope:
      appliances: ["debian-*"]
  - name: bob
    full_name: Bob Example
    email: bob@example.org
    keys:
      - type: openpgp
        fingerprint: {site.bob}
        file: keys/bob.asc
"""
