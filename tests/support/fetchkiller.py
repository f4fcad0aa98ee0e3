"""Fetch, killed before every file system call in turn. Run as a program: SOURCE MIRROR; it prints how often it was killed."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from support.killpoints import in_child, killed_at
from vmkeeper.repository.fetch import fetch
from vmkeeper.repository.tree import Repository


def main(source: Path, mirror: Path) -> None:
    def run() -> None:
        fetch(str(source), mirror, addresses=lambda _host: ())

    def refs(folder: Path) -> dict[str, str]:
        git = Repository.open(folder).git
        return {name: str(git.references[name].target) for name in git.listall_references() if not name.startswith("refs/pull/")}

    saved = mirror.with_name("saved.git")
    shutil.copytree(mirror, saved)
    before, after, killed = refs(mirror), refs(source), 0
    assert before != after
    while True:
        shutil.rmtree(mirror)
        shutil.copytree(saved, mirror)
        died = killed_at(killed, run)
        found = refs(mirror)
        assert found in (before, after), f"half a fetch after being killed at call {killed}"
        head = Repository.open(mirror)
        assert head.at(head.resolve("refs/heads/main")).read("README.md") in (b"one", b"two")
        assert in_child(run) == 0
        assert refs(mirror) == after
        if not died:
            break
        killed += 1
    shutil.rmtree(saved)
    sys.stdout.write(str(killed))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
