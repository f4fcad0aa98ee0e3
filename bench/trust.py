"""How long it takes to authenticate new signed tags, and `git verify-tag` on the same ones, one by one; on one core.

    python bench/trust.py [COUNT]

For each kind of key COUNT (1,000) tag objects are signed by three signers in a real repository. Nothing is remembered
from an earlier run. git is measured on a sample, evenly taken, and scaled to all tags.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.keys import GpgHome, Signer, ssh_key, ssh_signer
from vmkeeper.repository.tags import create_tag, raw_tags
from vmkeeper.repository.tree import Repository
from vmkeeper.trust import tagobject
from vmkeeper.trust.keys.interface import Claim, KeyVerifier
from vmkeeper.trust.keys.openpgp import GpgVerifier
from vmkeeper.trust.keys.ssh import SSHVerifier
from vmkeeper.trust.tagobject import Tagger

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
SAMPLE = 60
SSH, OPENPGP = (("ed25519", None), ("ecdsa", 256), ("rsa", 3072)), ("ed25519", "nistp256", "rsa3072")


def ssh_signers(folder: Path) -> list[Signer]:
    """Three signers with key files."""
    return [ssh_signer(ssh_key(folder, kind, bits)) for kind, bits in SSH]


def openpgp_signers(home: GpgHome) -> list[Signer]:
    """Three signers with gpg keys."""
    return [home.signer(home.make(f"signer{number}", algorithm)) for number, algorithm in enumerate(OPENPGP)]


def tags(repository: Repository, signers: Sequence[Signer], prefix: str, count: int) -> None:
    """Make `count` signed tags on the head, their signers taking turns."""
    head = repository.head()
    now = int(datetime.now(UTC).timestamp())
    for number in range(count):
        name = f"{prefix}/{number}"
        payload = json.dumps({"predicate": {"serial": number, "files": ["0123456789abcdef" * 8] * 6}}).encode()
        body = tagobject.unsigned(head, name, Tagger("Somebody", "somebody@example.org", now), payload)
        create_tag(repository, name, body + signers[number % len(signers)].sign(body).encode())


def claims(repository: Repository, signers: Sequence[Signer], prefix: str) -> Iterator[Claim]:
    """The claims of all tags, read from the repository."""
    for name, raw in raw_tags(repository, f"{prefix}/").items():
        assert raw is not None
        tag = tagobject.parse(raw)
        yield Claim(signers[int(name.split("/")[1]) % len(signers)].key, tag.signed, tag.signature)


def authenticate(repository: Repository, signers: Sequence[Signer], prefix: str, verifier: KeyVerifier) -> int:
    """Verify every tag; how many were good."""
    now = datetime.now(UTC)
    found = list(claims(repository, signers, prefix))
    verifier.prepare(found, now)
    return len([verifier.verify(claim, now) for claim in found])


def git_verify(folder: Path, names: Sequence[str], env: Mapping[str, str]) -> None:
    """`git verify-tag` for each name."""
    for name in names:
        subprocess.run(["git", "verify-tag", name], cwd=folder, env={**os.environ, **env}, check=True, capture_output=True)


@dataclass(frozen=True)
class Cost:
    """Seconds by the clock, and of processor time with all programs that were run."""

    clock: float
    processor: float


def cost(work: Callable[[], object]) -> Cost:
    """What some work costs."""
    start, before = time.perf_counter(), os.times()
    work()
    after = os.times()
    return Cost(time.perf_counter() - start, sum(after[:4]) - sum(before[:4]))


def report(what: str, ours: Cost, git: Cost) -> None:
    """One line of the result; `git` is for the sample."""
    scale = COUNT / SAMPLE
    print(f"{what}: {COUNT} tags, ours {ours.clock:.2f} s, processor {ours.processor:.2f} s, {ours.processor / COUNT * 1000:.2f} ms a tag")
    print(f"    git verify-tag one by one {git.clock * scale:.1f} s, processor {git.processor * scale:.1f} s (scaled from {SAMPLE})")
    print(f"    ratio by the clock {git.clock * scale / ours.clock:.1f}, of processor time {git.processor * scale / ours.processor:.1f}")


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary) / "repository"
        subprocess.run(["git", "init", "-q", "-b", "main", folder], check=True)
        subprocess.run(
            ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "-q", "--allow-empty", "-m", "x"], cwd=folder, check=True
        )
        repository = Repository.open(folder)
        home = GpgHome()
        stack.callback(home.close)
        (Path(temporary) / "keys").mkdir()
        kinds = {"ssh": ssh_signers(Path(temporary) / "keys"), "openpgp": openpgp_signers(home)}
        allowed = Path(temporary) / "allowed"
        allowed.write_text("".join(f'somebody namespaces="git" {getattr(signer.key, "key")}\n' for signer in kinds["ssh"]))  # noqa: B009
        subprocess.run(["git", "config", "gpg.ssh.allowedSignersFile", allowed], cwd=folder, check=True)
        for kind, signers in kinds.items():
            tags(repository, signers, kind, COUNT)
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        for kind, signers in kinds.items():
            verifier = stack.enter_context(GpgVerifier()) if kind == "openpgp" else SSHVerifier()
            ours = cost(lambda: authenticate(repository, signers, kind, verifier))  # noqa: B023 - called at once
            names = [f"{kind}/{COUNT * number // SAMPLE}" for number in range(SAMPLE)]
            report(kind, ours, cost(lambda: git_verify(folder, names, {"GNUPGHOME": str(home.path)})))  # noqa: B023


if __name__ == "__main__":
    main()
