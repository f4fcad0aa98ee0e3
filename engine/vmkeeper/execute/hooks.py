"""The hooks of a plain bare repository: a push to the main branch is applied, a signed tag is published.

What a push asks for is written down before anybody works, and one worker at a time takes all that was asked meanwhile,
so no push is lost and the newest decides. Refuses nothing itself but broken documents and signed tags that change.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import join
from typing import IO

from vmkeeper.catalogue.catalogue import Catalogue
from vmkeeper.catalogue.check import check
from vmkeeper.errors import Place, Problem, UserError
from vmkeeper.execute.planning import open_index
from vmkeeper.images.files import write_file
from vmkeeper.repository.tree import Repository
from vmkeeper.values import visible

HOOKS = {"pre-receive": "check", "post-receive": "receive"}
"""Git's hooks (githooks(5)) and the command each hands its input to."""

TASKS: Mapping[str, tuple[tuple[str, ...], ...]] = {"apply": (("check",), ("apply",)), "publish": (("publish",),)}
"""What a push can ask for, in this order, and the commands that do it; the first that fails ends its task."""

DECIDING = tuple(f"refs/tags/{kind}/" for kind in ("endorse", "withdraw", "policy", "revoke"))
"""Where tags lie that change what is published."""
KEPT = tuple(f"refs/tags/{kind}/" for kind in ("endorse", "withdraw", "revoke", "approve"))
"""Where tags lie that never change. A principal may replace a signature under policy/ that is not in force; sites see to the others."""
_OURS = "# Written by: vmkeeper hook install"
_LOG_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class Update:
    """A ref that a push moves, as git tells its hooks: object ids before and after, all zeros where there is none."""

    old: str
    new: str
    ref: str

    @property
    def created(self) -> bool:
        """Whether the ref was not there before."""
        return not self.old.strip("0")

    @property
    def deleted(self) -> bool:
        """Whether the ref is gone afterwards."""
        return not self.new.strip("0")


def parse(told: bytes) -> tuple[Update, ...]:
    """The lines `OLD NEW REF` that git writes to pre-receive and post-receive."""
    # Only \n ends a line: a ref's name may hold every other character that Unicode breaks lines at.
    lines = told.decode(errors="surrogateescape").split("\n")
    return tuple(Update(*line.split(" ", 2)) for line in lines if line)


def asked(updates: Iterable[Update], branch: str, *, publishes: bool) -> tuple[str, ...]:
    """The tasks that a push asks for. branch: the main one's full name; publishes: whether this repository's machine publishes."""
    found = set()
    for update in updates:
        if update.ref == branch and not update.deleted:
            found |= {"apply", "publish"}
        elif update.ref.startswith(DECIDING) and not update.deleted and (update.created or not update.ref.startswith(KEPT)):
            found.add("publish")
    return tuple(task for task in TASKS if task in found and (task != "publish" or publishes))


def problems(repository: Repository, updates: Iterable[Update], environ: Mapping[str, str]) -> tuple[Problem, ...]:
    """All that is wrong with a push before git accepts it: the main branch's documents, signed tags that change.

    environ: of the hook. Until a push is accepted its objects lie in GIT_QUARANTINE_PATH (git-receive-pack(1)).
    """
    if quarantine := environ.get("GIT_QUARANTINE_PATH"):
        repository.git.odb.add_disk_alternate(str(Path(quarantine).absolute()))
    branch = repository.branch()
    found: list[Problem] = []
    for update in updates:
        if update.ref == branch and not update.deleted:
            found += check(Catalogue(repository, repository.at(update.new), open_index(repository)))
        elif update.ref.startswith(KEPT) and not update.created:
            place = Place(visible(update.ref.removeprefix("refs/tags/")))
            found.append(Problem(place, "a signed tag is never changed or removed", "take an endorsement back with: vmkeeper withdraw NAME"))
    return tuple(found)


def install(repository: Repository) -> Iterator[str]:
    """Write the hooks; says what it did. Raises UserError where somebody else's hook would be lost or git would not run ours."""
    if not repository.git.is_bare:
        raise UserError("the hooks are for a bare repository", where=repository.git.path, hint="make one: git clone --bare . /srv/git/images.git")
    elsewhere = repository.config("core.hooksPath")
    if elsewhere:
        raise UserError(f"git looks for hooks in {elsewhere}", where="core.hooksPath", hint="take the setting away, or call vmkeeper hook from there")
    texts = {repository.folder / "hooks" / name: _script(command) for name, command in HOOKS.items()}
    for path, text in texts.items():
        if path.exists() and _OURS not in path.read_text(errors="replace"):
            raise UserError(
                "another hook is there", where=str(path), hint=f"take it away, or let it call: {text.splitlines()[-1].removeprefix('exec ')}"
            )
    for path, text in texts.items():
        write_file(path, text.encode(), mode=0o755)
        yield f"Wrote {path}."


def _script(command: str) -> str:
    return f"#!/bin/sh\n{_OURS}\nexec {join(vmkeeper('hook', command))}\n"


def vmkeeper(*words: str) -> list[str]:
    """The command line of this very vmkeeper; -P keeps the folder it runs in out of Python's path."""
    return [sys.executable, "-P", "-m", "vmkeeper", *words]


def outside(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what git tells its hooks, which binds every git command to one push."""
    return {name: value for name, value in environ.items() if not name.startswith("GIT_")}


class Queue:
    """What pushes have asked for and nobody has done yet: a file a task in `asked/`, in `doing/` while it is worked on.

    What a killed worker leaves in `doing/` is taken again. All of it may be deleted when no worker runs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        for name in ("asked", "doing"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    @classmethod
    def of(cls, repository: Repository) -> Queue:
        """The queue of a repository."""
        return cls(repository.private / "hook")

    def ask(self, tasks: Iterable[str]) -> None:
        """Write tasks down; asking twice is asking once."""
        for task in tasks:
            (self.folder / "asked" / task).touch()

    def waiting(self) -> tuple[str, ...]:
        """The tasks that nobody has finished."""
        return tuple(task for task in TASKS if any((self.folder / state / task).exists() for state in ("asked", "doing")))

    def take(self) -> tuple[str, ...]:
        """Take every waiting task. Only with the lock."""
        tasks = self.waiting()
        for task in tasks:
            if (self.folder / "asked" / task).exists():
                (self.folder / "asked" / task).replace(self.folder / "doing" / task)
        return tasks

    def done(self, task: str) -> None:
        """A task was worked on, well or badly."""
        (self.folder / "doing" / task).unlink(missing_ok=True)

    def lock(self) -> IO[bytes] | None:
        """The worker's lock, None where somebody has it. It ends with the last process that has it open."""
        file = (self.folder / "lock").open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        return file

    def append_log(self) -> IO[bytes]:
        """The log to write to; a long one is begun anew. Only with the lock."""
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT:
            os.truncate(self.log, 0)
        return self.log.open("ab")


def start_worker(queue: Queue, lock: IO[bytes], directory: Path) -> subprocess.Popen[bytes]:
    """Start a worker that has the lock and outlives a pusher who goes away; what it says goes to the log."""
    with queue.append_log() as log:
        return subprocess.Popen(
            vmkeeper("hook", "work"),
            cwd=directory,
            env=outside(os.environ) | {"PYTHONUNBUFFERED": "1", "VMKEEPER_HOOK_LOCK": str(lock.fileno())},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(lock.fileno(),),
            start_new_session=True,
        )


def work(queue: Queue, perform: Callable[[Sequence[str]], bool]) -> Iterator[str]:
    """Do what was asked until nothing is; gives the tasks that failed. Only with the lock.

    perform: runs a vmkeeper command and says whether it went well.
    """
    while tasks := queue.take():
        for task in tasks:
            if not all(perform(words) for words in TASKS[task]):
                yield task
            queue.done(task)
