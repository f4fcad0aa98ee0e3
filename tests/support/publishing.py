"""Publish once and again, killed before every file system call in turn. Run as a program: FOLDER with person.pem, person.key, ca.pem."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

from support.certificates import NOW
from support.killpoints import in_child, killed_at
from support.publication import DAY, URL, content, decision, desired
from vmkeeper.execute.publication import carry_out, list_signer, observe, observe_index
from vmkeeper.images.store import Store
from vmkeeper.lists.hepix import read
from vmkeeper.lists.smime import load_signer, verify
from vmkeeper.plan.publication import Desired, plan_publication
from vmkeeper.values import sha512_hex

OLD = desired(decision("debian-12 2"), decision("docker 1"))
NEW = desired(decision("debian-12 3"), decision("worker 1"))
LATER = NOW + DAY


class Runs:
    def __init__(self, work: Path) -> None:
        self.work, self.root = work, work / "public"
        self.store = Store(work / "store")
        self.signer = load_signer(work / "person.pem", work / "person.key")

    def publish(self, wanted: Desired) -> None:
        published = observe(self.root, [wanted.name], self.signer, LATER)
        plan = plan_publication([wanted], published, observe_index(self.root), list_signer(self.signer), LATER).plan
        carry_out(plan, self.root, self.store, self.signer)

    def nothing_left_to_do(self) -> None:
        published = observe(self.root, [NEW.name], self.signer, LATER)
        assert not plan_publication([NEW], published, observe_index(self.root), list_signer(self.signer), LATER).plan

    def sound(self) -> None:
        """The list that is served verifies and every image that it names is whole."""
        message = (self.root / "science" / "imagelist.signed").read_bytes()
        made = read(verify(message, self.work / "ca.pem", LATER).content)
        assert len(made.images) == 2
        for image in made.images:
            assert sha512_hex((self.root / image.uri.removeprefix(f"{URL}/")).read_bytes()) == image.sha512

    def state(self) -> str:
        """All names, modes and contents; of a signed list, what it says."""
        lines = []
        for path in sorted(self.root.rglob("*")):
            data = b"" if path.is_dir() else path.read_bytes()
            if path.name == "imagelist.signed":
                data = repr(read(verify(data, self.work / "ca.pem", LATER).content)).encode()
            lines.append(f"{path.relative_to(self.root)} {path.stat().st_mode:o} {hashlib.sha256(data).hexdigest()}")
        return "\n".join(lines)


def main(work: Path) -> None:
    runs = Runs(work)
    for words in ("debian-12 2", "docker 1", "debian-12 3", "worker 1"):
        runs.store.put_bytes(content(*words.split()))
    assert in_child(lambda: runs.publish(OLD)) == 0
    start = work / "start"
    shutil.copytree(runs.root, start)
    killed, ends = 0, set()
    while True:
        shutil.rmtree(runs.root)
        shutil.copytree(start, runs.root)
        died = killed_at(killed, lambda: runs.publish(NEW))
        assert in_child(runs.sound) == 0, f"unsound after being killed at call {killed}"
        assert in_child(lambda: runs.publish(NEW)) == 0
        assert in_child(runs.nothing_left_to_do) == 0
        assert in_child(runs.sound) == 0
        ends.add(runs.state())
        if not died:
            break
        killed += 1
    sys.stdout.write(json.dumps({"killed": killed, "ends": len(ends)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
