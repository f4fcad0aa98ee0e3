"""How long builds take: the base against mmdebstrap alone and against its download, a child against its parent's whole build.

Run as root or as a user with subordinate ids, with network: `python bench/build.py [FOLDER]`. Everything is made from
nothing in FOLDER (default: a temporary one), with the packages as the mirror has them now. CPU seconds compare better
than wall time where the machine does other work.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pygit2

from vmkeeper.builders.debian.packages import fetch_packages
from vmkeeper.builders.registry import BUILDERS
from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.execute.refresh import refresh
from vmkeeper.images.store import Store
from vmkeeper.progress import Silent
from vmkeeper.repository.tree import Repository

ROOT = Path(__file__).resolve().parent.parent
BASE, CHILD, GRANDCHILD, TOOLS = "debian-12", "debian-12-batch", "slurm-worker", "debian-tools"


@dataclass(frozen=True)
class Took:
    """Seconds on the wall and on processors, of this process and its children."""

    wall: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.wall:6.1f} s  {self.cpu:6.1f} CPU s"


def processors() -> float:
    """CPU seconds so far of this process and the children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def measure(what: str, do: Callable[[], object]) -> Took:
    """Run, time and print."""
    wall, cpu = time.monotonic(), processors()
    do()
    took = Took(time.monotonic() - wall, processors() - cpu)
    print(f"{what:58} {took}", flush=True)
    return took


class Bench:
    """A repository with this one's appliances and their locks as of now, an empty store, an empty work folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(folder / "store")
        self.git = pygit2.init_repository(str(folder / "repository"), initial_head="main")
        shutil.copytree(ROOT / "appliances", folder / "repository/appliances")
        self.commit()

    def commit(self) -> None:
        """Commit the work tree."""
        self.git.index.add_all()
        self.git.index.write()
        who = pygit2.Signature("bench", "bench@example.org")
        parents = [] if self.git.head_is_unborn else [self.git.head.target]
        self.git.create_commit("HEAD", who, who, "bench", self.git.index.write_tree(), parents)
        repository = Repository(self.git)
        self.catalogue = Catalogue.at(repository, repository.head())

    def refresh(self) -> None:
        """Resolve all locks."""
        for each in refresh(self.catalogue, (), self.store, self.folder / "cache", Silent()):
            if each.data is not None:
                (self.folder / "repository" / each.path).write_bytes(each.data)
        self.commit()

    def fetch(self, *names: str) -> None:
        """Download the packages of appliances."""
        for name in names:
            fetch_packages(self.catalogue.recipe(name).layers[-1], self.store, self.folder / "debs" / name, Silent())

    def build(self, name: str) -> None:
        """Build an appliance and whatever it stands on."""
        recipe = self.catalogue.recipe(name)
        BUILDERS[recipe.builder.name].build(recipe, self.catalogue.content, self.store, self.folder / "work", Silent())

    def forget_layers(self) -> None:
        """Have the next build make every layer again; packages stay in the store."""
        shutil.rmtree(self.folder / "store/alias/layer")
        shutil.rmtree(self.folder / "work")

    def mmdebstrap(self) -> None:
        """The same packages by mmdebstrap, as a tar and nothing else."""
        recipe = self.catalogue.recipe(BASE)
        layer = recipe.layers[-1]
        sources = [f"deb {archive.uri} {archive.suite} {' '.join(archive.components)}" for archive in layer.archives]
        mode = "unshare" if os.geteuid() else "root"
        command = [
            "mmdebstrap",
            f"--mode={mode}",
            "--variant=minbase",
            f"--include={','.join(layer.requested)}",
            layer.release,
            str(self.folder / "mm.tar"),
        ]
        subprocess.run([*command, *sources], check=True, capture_output=True, cwd="/")


@contextmanager
def workplace() -> Iterator[Path]:
    """The folder of the command line, or a temporary one that goes at the end."""
    if len(sys.argv) > 1:
        Path(sys.argv[1]).mkdir(parents=True)
        yield Path(sys.argv[1]).resolve()
        return
    with tempfile.TemporaryDirectory(prefix="bench-build-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def main() -> None:
    """Measure and print."""
    with workplace() as folder:
        bench = Bench(folder)
        measure("refresh of all locks, nothing cached", bench.refresh)
        measure("refresh again, indexes cached", bench.refresh)
        download = measure("download of the base's packages", lambda: bench.fetch(BASE))
        measure("download of the tools' and the children's packages", lambda: bench.fetch(TOOLS, CHILD, GRANDCHILD))
        measure("tools root", lambda: bench.build(TOOLS))
        base = measure("base, layer and disk", lambda: bench.build(BASE))
        child = measure("child, layer and disk", lambda: bench.build(CHILD))
        grandchild = measure("grandchild, layer and disk", lambda: bench.build(GRANDCHILD))
        disk = measure("base again, only its disk", lambda: bench.build(BASE))
        bench.forget_layers()
        whole = measure("child with all below it, nothing but packages there", lambda: bench.build(CHILD))
        alone = measure("mmdebstrap alone, the base's packages, download included", bench.mmdebstrap) if shutil.which("mmdebstrap") else None
    print()
    print(f"base / download of its packages      {base.wall / download.wall:6.2f}")
    if alone:
        print(
            f"base / mmdebstrap alone              {(base.wall + download.wall) / alone.wall:6.2f}  (CPU {(base.cpu + download.cpu) / alone.cpu:.2f})"
        )
    print(f"child / its parent's full build      {child.wall / base.wall:6.2f}  (CPU {child.cpu / base.cpu:.2f})")
    print(f"grandchild / the base's full build   {grandchild.wall / base.wall:6.2f}")
    print(f"child / everything below it anew     {child.wall / whole.wall:6.2f}")
    print(f"disk / base                          {disk.wall / base.wall:6.2f}")


if __name__ == "__main__":
    main()
