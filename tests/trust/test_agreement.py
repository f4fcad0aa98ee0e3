"""git's own verdict beside ours on the same tag objects: where they agree, and each place where git is content with less."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from support.keys import BORN, ISSUED, NOW, GpgHome, Signer, ssh_key, ssh_signer
from support.trust import LIST, World, endorser_list, key_files, person, policy, principal, release, resigned, rules, tag
from vmkeeper.repository.tags import create_tag, raw_tags
from vmkeeper.repository.tree import Repository
from vmkeeper.trust import tagobject
from vmkeeper.trust.judge import PREFIXES
from vmkeeper.trust.keys.interface import SSHKey
from vmkeeper.trust.keys.openpgp import GpgVerifier
from vmkeeper.trust.keys.ssh import SSHVerifier

EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


class Git:
    """A repository of git, which is set to know the same keys."""

    def __init__(self, folder: Path, home: GpgHome) -> None:
        self.folder, self.home = folder, home
        self.env = {**os.environ, "GNUPGHOME": str(home.path), "HOME": str(folder), "LC_ALL": "C.UTF-8"}
        self("init", "-q", "-b", "main")
        self("hash-object", "-t", "tree", "-w", "/dev/null")
        self.repository = Repository.open(folder)
        self.clock = NOW

    def __call__(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        named = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *words]
        return subprocess.run(named, cwd=self.folder, env=self.env, check=check, capture_output=True, text=True, timeout=60)

    def trust(self, signer: Signer) -> None:
        if isinstance(signer.key, SSHKey):
            allowed = self.folder / "allowed"
            allowed.write_text(f'alice namespaces="git" {signer.key.key}\n')
            self("config", "gpg.ssh.allowedSignersFile", str(allowed))
        wrapper = self.folder / "gpg"
        wrapper.write_text(f'#!/bin/sh\nexec gpg --faked-system-time {int(self.clock.timestamp())}! "$@"\n')
        wrapper.chmod(0o755)
        self("config", "gpg.program", str(wrapper))

    def good(self, name: str) -> bool:
        return self("verify-tag", name, check=False).returncode == 0


class GitWorld(World):
    """A world whose commits are there in git, under the same names (though empty)."""

    def __init__(self, git: Git, root: Signer) -> None:
        self._git = git
        super().__init__({"root": root})

    def commit(self, files: Mapping[str, bytes | None], *, merged: bool = True, parents: Sequence[str] | None = None) -> str:
        made = super().commit(files, merged=merged, parents=parents)
        before = [word for parent in self.parents[made] for word in ("-p", parent)]
        name = self._git("commit-tree", EMPTY_TREE, "-m", made, *before).stdout.strip()
        self.commits[name], self.parents[name] = self.commits.pop(made), self.parents.pop(made)
        self.line = [name if one == made else one for one in self.line]
        return name


@pytest.fixture
def git(tmp_path: Path, gpg_home: GpgHome) -> Git:
    return Git(tmp_path, gpg_home)


class Case:
    """An endorsement by alice, whose key the policy in force and git know."""

    def __init__(self, git: Git, signer: Signer, openpgp: GpgVerifier) -> None:
        self.git, self.signer, self.verifiers = git, signer, {"openpgp": openpgp, "ssh": SSHVerifier()}
        (git.folder / "keys").mkdir()
        self.world = GitWorld(git, ssh_signer(ssh_key(git.folder / "keys")))
        self.enact(signer)
        self.commit = self.world.record_release(release())
        git("update-ref", "refs/heads/main", self.commit)
        git.trust(signer)
        self.said = self.world.statement(signer, self.commit)
        self.raw = tag(self.said, signer)
        self.name = self.said.ref

    def enact(self, signer: Signer) -> None:
        """Put a policy in force that knows this key."""
        people = {LIST: endorser_list(person("alice", signer))}
        self.world.enact(self.world.propose(policy(principal("root", self.world.principals["root"])), people, key_files(signer)))

    def ours(self, name: str = "") -> set[str]:
        """The rules that our verifier refuses a tag of the repository by."""
        found = {one: raw for one, raw in raw_tags(self.git.repository).items() if one.startswith(PREFIXES)}
        self.world.tags |= found
        return rules(self.world.verdicts(self.verifiers, now=self.git.clock)[name or self.name])

    def put(self, raw: bytes, name: str = "") -> None:
        create_tag(self.git.repository, name or self.name, raw)


@pytest.fixture(params=["pgp", "ssh"])
def case(request: pytest.FixtureRequest, git: Git, openpgp: GpgVerifier) -> Case:
    return Case(git, request.getfixturevalue(request.param), openpgp)


@pytest.fixture
def pgp_case(git: Git, pgp: Signer, openpgp: GpgVerifier) -> Case:
    return Case(git, pgp, openpgp)


def test_git_and_we_agree_on_a_good_endorsement(case: Case) -> None:
    case.put(case.raw)
    assert case.git.good(case.name)
    assert case.ours() == set()
    assert case.git("fsck", "--strict", "--no-dangling").stdout == ""
    assert case.git("tag", "-v", case.name).stdout.splitlines()[2] == f"tag {case.name}"
    assert case.git("cat-file", "tag", case.name).stdout.encode() == case.raw


@pytest.mark.parametrize("change", [lambda raw: raw.replace(b'"serial":1', b'"serial":2'), lambda raw: raw.replace(b"Alice", b"Alicf", 1)])
def test_git_and_we_agree_on_a_changed_endorsement(case: Case, change: Callable[[bytes], bytes]) -> None:
    case.put(change(case.raw))
    assert not case.git.good(case.name)
    assert case.ours() == {"R10"}


def test_git_and_we_agree_on_an_unknown_key(case: Case, other_ssh: Signer) -> None:
    case.put(tag(case.said, other_ssh))
    assert not case.git.good(case.name)
    assert case.ours() == {"R10"}


def test_git_and_we_agree_on_a_revoked_key(git: Git, gpg_home: GpgHome, openpgp: GpgVerifier) -> None:
    fingerprint = gpg_home.make("agreerevoked")
    case = Case(git, gpg_home.signer(fingerprint), openpgp)
    case.put(case.raw)
    assert case.git.good(case.name)
    certificate = (gpg_home.path / "openpgp-revocs.d" / f"{fingerprint}.rev").read_text().replace(":-----BEGIN", "-----BEGIN")
    gpg_home.run("--import", data=certificate.encode(), at=ISSUED)
    case.enact(gpg_home.signer(fingerprint))
    assert not case.git.good(case.name)
    assert case.ours() == {"R12"}


def test_git_and_we_agree_on_an_expired_key(git: Git, gpg_home: GpgHome, openpgp: GpgVerifier) -> None:
    case = Case(git, gpg_home.signer(gpg_home.make("agreeexpired", "ed25519", "sign", "160d")), openpgp)
    case.put(case.raw)
    assert case.git.good(case.name)
    git.clock = BORN + timedelta(days=161)
    git.trust(case.signer)
    assert not case.git.good(case.name)
    assert case.ours() == {"R12"}


def test_disagreement_r6_git_takes_v9_pointing_at_the_object_of_v1(case: Case) -> None:
    case.put(case.raw)
    moved = "endorse/debian-12/9/alice/1"
    case.git("update-ref", f"refs/tags/{moved}", f"refs/tags/{case.name}")
    assert case.git.good(moved)
    assert case.ours(moved) == {"R6"}
    assert case.ours() == set()


@pytest.mark.parametrize("kind", ["tree", "blob", "tag"])
def test_disagreement_r7_git_takes_signed_tags_of_anything(case: Case, kind: str) -> None:
    targets = {"tree": "HEAD^{tree}", "blob": "", "tag": ""}
    case.put(case.raw, "inner")
    if kind == "blob":
        target = case.git("hash-object", "-w", "allowed" if (case.git.folder / "allowed").exists() else "gpg").stdout.strip()
    else:
        target = case.git("rev-parse", targets[kind] or "refs/tags/inner").stdout.strip()
    head = f"object {case.commit}\ntype commit\n".encode()
    case.put(resigned(case.raw, case.signer, lambda body: body.replace(head, f"object {target}\ntype {kind}\n".encode())))
    assert case.git.good(case.name)
    assert case.ours() == {"R7"}


def test_disagreement_r10_git_looks_at_the_last_of_two_signatures(case: Case, other_ssh: Signer) -> None:
    parsed = tagobject.parse(case.raw)
    strangers = parsed.signed + other_ssh.sign(parsed.signed).encode()
    case.put(strangers + case.signer.sign(strangers).encode())
    assert case.git.good(case.name)
    assert case.ours() == {"R10"}


def test_disagreement_r10_git_takes_text_after_an_openpgp_signature(pgp_case: Case) -> None:
    pgp_case.put(pgp_case.raw + b"and more\n")
    assert pgp_case.git.good(pgp_case.name)
    assert pgp_case.ours() == {"R10"}


def test_disagreement_r10_git_takes_comments_in_the_armour(pgp_case: Case) -> None:
    pgp_case.put(pgp_case.raw.replace(b"SIGNATURE-----\n\n", b"SIGNATURE-----\nComment: trust me\n\n", 1))
    assert pgp_case.git.good(pgp_case.name)
    assert pgp_case.ours() == {"R10"}


@pytest.mark.parametrize("options", [("--digest-algo", "SHA1"), ("--digest-algo", "SHA512", "--textmode")])
def test_disagreement_r11_git_takes_weak_hashes_and_text_signatures(
    git: Git, gpg_home: GpgHome, openpgp: GpgVerifier, options: tuple[str, ...]
) -> None:
    name = f"agree{len(options)}"
    case = Case(git, gpg_home.signer(gpg_home.make(name, "rsa2048"), *options), openpgp)
    case.put(case.raw)
    assert case.git.good(case.name)
    assert case.ours() == {"R11"}


def test_disagreement_r11_git_takes_short_keys(git: Git, gpg_home: GpgHome, openpgp: GpgVerifier) -> None:
    case = Case(git, gpg_home.signer(gpg_home.make("agreeshort", "rsa1024")), openpgp)
    case.put(case.raw)
    assert case.git.good(case.name)
    assert case.ours() == {"R11"}


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body.replace(b"\ntagger", b"\nx y\ntagger", 1),
        lambda body: body.replace(b"\n\n", b"\n\nRelease notes.\n\n", 1),
        lambda body: body.replace(b" +0000\n", b" -0130\n", 1),
    ],
)
def test_disagreement_r32_git_takes_other_headers_and_messages(case: Case, change: Callable[[bytes], bytes]) -> None:
    case.put(resigned(case.raw, case.signer, change))
    assert case.git.good(case.name)
    assert case.ours() == {"R32"}


def test_disagreement_r32_git_leaves_a_gpgsig_header_out_of_what_it_verifies(case: Case) -> None:
    case.put(case.raw.replace(b"\n\n", b"\ngpgsig nobody signed this\n\n", 1))
    assert case.git.good(case.name)
    assert case.ours() == {"R32"}


def test_disagreement_r32_git_reads_a_replaced_object(case: Case) -> None:
    forged = case.raw.replace(b'"serial":1', b'"serial":2')
    create_tag(case.git.repository, "forged", forged)
    case.put(forged)
    create_tag(case.git.repository, "good", case.raw)
    case.git("replace", case.git("rev-parse", f"refs/tags/{case.name}").stdout.strip(), case.git("rev-parse", "refs/tags/good").stdout.strip())
    assert case.git.good(case.name)
    assert case.ours() == {"R10"}


def test_git_and_we_agree_on_a_tag_that_is_none(case: Case) -> None:
    case.git("tag", case.name)
    assert not case.git.good(case.name)
    assert case.ours() == {"R7"}
