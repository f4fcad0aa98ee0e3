"""Publish once and again, killed before every file system call in turn. Run as a program: FOLDER WHAT.

FOLDER has person.pem, person.key, ca.pem. WHAT: `lists`, without the other forms, killed at every call; `everything`, killed at
every call that gives or takes a name.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

from support.certificates import NOW
from support.killpoints import CALLS, in_child, killed_at
from support.publication import DAY, URL, content, decision, desired
from vmkeeper.execute.feedsigning import Hands
from vmkeeper.execute.listkey import FileKey
from vmkeeper.execute.publication import Place, carry_out, list_signer, observe, observe_index
from vmkeeper.execute.publish import publish
from vmkeeper.execute.walk import Outcome
from vmkeeper.images.store import Store
from vmkeeper.images.targets_folder import FolderTarget
from vmkeeper.lists.hepix import read
from vmkeeper.lists.smime import load_signer, verify
from vmkeeper.plan.chosen import Desired
from vmkeeper.plan.publication import Publication, plan_lists, plan_publication
from vmkeeper.values import sha512_hex

OLD = desired(decision("debian-12 2"), decision("docker 1"))
NEW = desired(decision("debian-12 3"), decision("worker 1"))
LATER = NOW + DAY


class Runs:
    def __init__(self, work: Path, everything: bool) -> None:
        self.work, self.root, self.everything = work, work / "public", everything
        self.store = Store(work / "store")
        hands = Hands(FileKey(load_signer(work / "person.pem", work / "person.key")))
        self.place = Place(FolderTarget(self.root), self.store, hands, LATER)

    def publish(self, wanted: Desired) -> tuple[Outcome, ...]:
        if self.everything:
            return publish(self.place, [wanted]).outcomes
        return carry_out(self.place, lambda: self.lists(wanted))[1]

    def lists(self, wanted: Desired) -> Publication:
        certified, target = self.place.hands.key.certified, self.place.target
        made = plan_lists([wanted], observe(target, [wanted.name], certified, LATER), list_signer(certified), LATER)
        return plan_publication(made, observe_index(target))

    def converge(self) -> None:
        """What a killed run left is sound, the next run ends it, and the one after that has nothing to do."""
        self.sound()
        self.publish(NEW)
        self.sound()
        assert self.publish(NEW) == ()

    def sound(self) -> None:
        """The list that is served verifies and every image that it names is whole."""
        message = (self.root / "science" / "imagelist.signed").read_bytes()
        made = read(verify(message, self.work / "ca.pem", LATER).content)
        assert len(made.images) == 2
        for image in made.images:
            assert sha512_hex((self.root / image.uri.removeprefix(f"{URL}/")).read_bytes()) == image.sha512

    def state(self) -> str:
        """All names, modes and contents but for signatures, which are never the same twice; `converge` has verified them."""
        lines = []
        for path in sorted(self.root.rglob("*")):
            data = b"" if path.is_dir() else path.read_bytes()
            if path.suffix in (".p7s", ".signed"):
                data = b"signed"
            lines.append(f"{path.relative_to(self.root)} {path.stat().st_mode:o} {hashlib.sha256(data).hexdigest()}")
        return "\n".join(lines)


def main(work: Path, what: str) -> None:
    runs = Runs(work, what == "everything")
    calls = ("rename", "replace", "unlink", "rmdir") if runs.everything else CALLS
    for words in ("debian-12 2", "docker 1", "debian-12 3", "worker 1"):
        runs.store.put_bytes(content(*words.split()))
    assert in_child(lambda: runs.publish(OLD)) == 0
    start = work / "start"
    shutil.copytree(runs.root, start)
    killed, ends = 0, set()
    while True:
        shutil.rmtree(runs.root)
        shutil.copytree(start, runs.root)
        died = killed_at(killed, lambda: runs.publish(NEW), calls)
        assert in_child(runs.converge) == 0, f"does not converge after being killed at call {killed}"
        ends.add(runs.state())
        if not died:
            break
        killed += 1
    sys.stdout.write(json.dumps({"killed": killed, "ends": len(ends)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
