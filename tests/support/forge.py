"""A plain bare repository with our hooks, and a clone from which real pushes go to it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vmkeeper.execute.hooks import outside
from vmkeeper.repository.tree import Repository

ZERO = "0" * 40
MAIN = "refs/heads/main"
PATIENCE = 120.0


@dataclass
class Forge:
    """A bare repository with the hooks, and a clone of it to push from."""

    folder: Path
    clone: Path

    @property
    def repository(self) -> Repository:
        return Repository.open(self.folder)

    @property
    def log(self) -> str:
        path = self.folder / "vmkeeper" / "hook" / "log"
        return path.read_text() if path.exists() else ""

    def git(self, *words: str, check: bool = True, patience: float = PATIENCE) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(["git", *words], cwd=self.clone, env=outside_git(), capture_output=True, text=True, timeout=patience, check=False)
        assert not check or done.returncode == 0, done.stderr
        return done

    def commit(self, path: str, text: str) -> str:
        (self.clone / path).parent.mkdir(parents=True, exist_ok=True)
        (self.clone / path).write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", f"change {path}")
        return self.git("rev-parse", "HEAD").stdout.strip()

    def push(self, *words: str, check: bool = True, patience: float = PATIENCE) -> str:
        """What the pusher reads; with `check` the push has to succeed."""
        return self.git("push", "origin", *(words or ("main",)), check=check, patience=patience).stderr

    def pushing(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["git", "push", "origin", "main"], cwd=self.clone, env=outside_git(), stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def workers(self) -> list[int]:
        """The processes that work in the repository after a push: a worker and the command that it runs."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (path / "cmdline").read_bytes().split(b"\0")
                if (path / "cwd").resolve() == self.folder and (b"work" in words or b"apply" in words):
                    found.append(int(path.name))
        assert found
        return found

    def applied(self) -> str:
        return self.repository.applied()

    def ref(self, name: str) -> str:
        return subprocess.run(
            ["git", "rev-parse", "--verify", "--quiet", name], cwd=self.folder, env=outside_git(), capture_output=True, text=True, check=False
        ).stdout.strip()


def outside_git() -> dict[str, str]:
    """An environment in which no other git repository or configuration is seen."""
    return outside(os.environ) | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8"}


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def vmkeeper(folder: Path, *words: str, patience: float = PATIENCE) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "vmkeeper", *words, "-C", str(folder)]
    return subprocess.run(
        command, cwd="/", env=outside_git(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=patience, check=False
    )


def set_up(folder: Path, clone: Path) -> Forge:
    """Install the hooks in a bare repository and clone it."""
    done = vmkeeper(folder, "hook", "install")
    assert done.returncode == 0, done.stderr
    subprocess.run(["git", "clone", "--quiet", f"file://{folder}", str(clone)], env=outside_git(), check=True)
    made = Forge(folder, clone)
    made.git("config", "user.name", "A Tester")
    made.git("config", "user.email", "tester@example.org")
    return made
