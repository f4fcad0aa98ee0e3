"""How long the whole verifier takes over a repository of new endorsements, and again with the memory; on one core.

    python bench/verify.py [COUNT]

COUNT (1,000) releases of 100 appliances are each endorsed by one of three endorsers, with SSH keys and again with OpenPGP
keys. Compared with `git verify-tag` on the same tags one by one, measured on a sample, evenly taken, and scaled.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.keys import GpgHome, Signer, ssh_key, ssh_signer
from support.trust import LIST, endorser_list, key_files, person, policy, principal, release, tag
from vmkeeper.documents.dump import dump
from vmkeeper.execute.verification import judge, own_pins, sight
from vmkeeper.repository.digest import tree_sha512
from vmkeeper.repository.records import commit_files
from vmkeeper.repository.tags import create_tag, root_commit
from vmkeeper.repository.tree import Repository
from vmkeeper.trust.judge import Judgement
from vmkeeper.trust.keys.certificates import Authorities
from vmkeeper.trust.memory import Memory
from vmkeeper.trust.said import Endorsement, PolicySignature
from vmkeeper.trust.verify import Accepted, signed_files
from vmkeeper.values import sha512_hex

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
APPLIANCES, SAMPLE = 100, 40
NOW = datetime.now(UTC).replace(microsecond=0)


def repository(folder: Path, root: Signer, endorsers: Sequence[Signer]) -> Repository:
    """A repository with policy 1 in force, COUNT releases and an endorsement of each."""
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", folder], check=True)
    where = ["git", "-C", folder, "-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    empty = subprocess.run([*where, "hash-object", "-t", "tree", "-w", "/dev/null"], check=True, capture_output=True, text=True).stdout.strip()
    first = subprocess.run([*where, "commit-tree", empty, "-m", "root"], check=True, capture_output=True, text=True).stdout.strip()
    subprocess.run([*where, "update-ref", "refs/heads/main", first], check=True)
    made = Repository.open(folder)
    people = [person(f"endorser{number}", signer) for number, signer in enumerate(endorsers)]
    files: dict[str, bytes | None] = {f"endorsers/{path}": data for path, data in key_files(root, *endorsers).items()}
    files |= {"endorsers/policy.yaml": dump(policy(principal("root", root))), f"endorsers/{LIST}.yaml": dump(endorser_list(*people))}
    head = commit_files(made, "refs/heads/main", files, "policy")
    tree = tree_sha512(made.at(head), "endorsers")
    begin = NOW - timedelta(hours=2)
    said = PolicySignature(
        repository=root_commit(made, head),
        key=root.id,
        issued=begin,
        number=1,
        commit=head,
        tree=tree,
        previous=None,
        principal="root",
        expires=begin + timedelta(days=300),
    )
    create_tag(made, said.ref, tag(said, root))
    before: list[tuple[int, str | None]] = [(0, None)] * len(endorsers)
    for number in range(COUNT):
        _endorse(made, said.repository, number, endorsers, before)
    return made


def _endorse(made: Repository, root: str, number: int, endorsers: Sequence[Signer], before: list[tuple[int, str | None]]) -> None:
    name, version, who = f"appliance-{number % APPLIANCES}", f"2026.1.{number + 1}", number % len(endorsers)
    found = release(version, appliance=name)
    record = dump(found)
    commit = commit_files(made, "refs/heads/main", {f"appliances/{name}/release.yaml": record}, f"release {name} {version}")
    serial, previous = before[who]
    issued = NOW - timedelta(hours=1)
    said = Endorsement(
        repository=root,
        key=endorsers[who].id,
        issued=issued,
        appliance=name,
        uuid=found.uuid,
        path=f"appliances/{name}",
        version=version,
        commit=commit,
        release=sha512_hex(record),
        recipe=found.recipe,
        files=signed_files(found),
        manifest=found.manifest.sha512,
        provenance=None,
        rebuilt=False,
        policy=1,
        endorser=f"endorser{who}",
        serial=serial + 1,
        previous=previous,
        not_before=issued,
        expires=issued + timedelta(days=30),
    )
    raw = tag(said, endorsers[who])
    before[who] = (serial + 1, sha512_hex(raw))
    create_tag(made, said.ref, raw)


def timed(folder: Path, memory: Memory) -> tuple[float, Judgement]:
    """Processor seconds, of programs that were asked too, to judge everything."""
    began = _cpu()
    made = Repository.open(folder)
    seen = sight(made, made.head())
    judgement = judge(seen, own_pins(made, seen), memory, Authorities(()), datetime.now(UTC))
    took = _cpu() - began
    accepted = sum(isinstance(one, Accepted) for one in judgement.verdicts[LIST])
    assert accepted == COUNT, f"{accepted} of {COUNT} accepted"
    return took, judgement


def git(folder: Path, signers: Sequence[Signer], home: GpgHome | None) -> float:
    """Processor seconds of `git verify-tag` for all tags, from a sample."""
    listed = subprocess.run(["git", "-C", folder, "tag", "-l", "endorse/*"], check=True, capture_output=True, text=True).stdout.split()
    sample = listed[:: max(1, len(listed) // SAMPLE)]
    allowed = folder / "allowed_signers"
    allowed.write_text("".join(f"* {getattr(signer.key, 'key', '')}\n" for signer in signers))
    environment = {**os.environ, **({"GNUPGHOME": str(home.path)} if home else {})}
    began = _cpu()
    for name in sample:
        command = ["git", "-C", folder, "-c", f"gpg.ssh.allowedSignersFile={allowed}", "verify-tag", name]
        subprocess.run(command, check=True, capture_output=True, env=environment)
    return (_cpu() - began) / len(sample) * len(listed)


def _cpu() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def main() -> None:
    """Measure both kinds of keys and print the ratios."""
    home = GpgHome()
    try:
        with tempfile.TemporaryDirectory() as work:
            keys = Path(work) / "keys"
            keys.mkdir()
            root = ssh_signer(ssh_key(keys))
            kinds = {
                "SSH": [ssh_signer(ssh_key(keys)) for _ in range(3)],
                "OpenPGP": [home.signer(home.make(f"signer{number}"), at=NOW - timedelta(hours=1)) for number in range(3)],
            }
            for kind, signers in kinds.items():
                folder = Path(work) / kind
                repository(folder, root, signers)
                new, judgement = timed(folder, Memory())
                again, _ = timed(folder, judgement.memory)
                peer = git(folder, signers, home if kind == "OpenPGP" else None)
                print(f"{kind}: {COUNT} new endorsements {new:.2f} s, again with the memory {again:.2f} s, git verify-tag {peer:.2f} s")
                print(f"  new / git verify-tag {new / peer:.2f}; again / new {again / new:.2f}")
    finally:
        home.close()


if __name__ == "__main__":
    began = time.monotonic()
    main()
    print(f"measured in {time.monotonic() - began:.0f} s")
