"""Write a bundle, killed before every few file system calls. Run as a program: REPOSITORY PUBLIC DISK; it prints how often it was killed."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from support.killpoints import in_child, killed_at
from vmkeeper.errors import UserError
from vmkeeper.execute.bundle import open_bundle, read_bundle, write_bundle
from vmkeeper.repository.tree import Repository

_STRIDE = 13


def main(repository: Path, public: Path, disk: Path) -> None:
    mirror = disk.with_name("mirror.git")

    def run() -> None:
        write_bundle(Repository.open(repository), "main", disk, public=str(public))

    def names() -> list[str]:
        return sorted(str(path.relative_to(disk)) for path in disk.rglob("*"))

    def taken() -> None:
        open_bundle(disk, mirror)

    assert in_child(run) == 0
    whole, killed = names(), 0
    while True:
        shutil.rmtree(disk, ignore_errors=True)
        died = killed_at(killed * _STRIDE, run)
        try:
            read_bundle(disk)
        except UserError:
            assert died
        else:
            assert in_child(taken) == 0
        assert in_child(run) == 0
        assert names() == whole, sorted(set(names()) ^ set(whole))
        if not died:
            break
        killed += 1
    assert in_child(taken) == 0
    sys.stdout.write(str(killed))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
