"""Kill a run at every change it makes to the file system, each time from the same beginning.

Run as a program it does so for a site's reconcile: `python killer.py REPOSITORY HOME SITE NOW`; it prints what it
found as JSON. Processes are forked from one that has everything imported, so that a run costs little.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

CHANGES = ("rename", "replace", "unlink", "rmdir", "mkdir", "link", "fsync", "chmod", "fchmod", "truncate", "ftruncate")


def dies_at(step: int) -> None:
    """From now on this process is killed just before its `step`th change (from 1)."""
    count = [0]

    def wrapped(call: Callable[..., Any]) -> Callable[..., Any]:
        def changing(*args: Any, **options: Any) -> Any:
            count[0] += 1
            if count[0] == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **options)

        return changing

    for name in CHANGES:
        setattr(os, name, wrapped(getattr(os, name)))


def in_child(work: Callable[[], None]) -> int:
    """Do the work in a forked process; 0, 1 for an exception, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - nothing of the child may go on in the parent's code
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    return os.waitstatus_to_exitcode(status)


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder with its bytes, every folder and link."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        found[name] = path.read_bytes().hex() if path.is_file() else "folder"
    return found


def main(repository: str, home: str, site: str, now: str) -> None:
    from vmkeeper.execute.home import SiteHome
    from vmkeeper.execute.site import reconcile
    from vmkeeper.repository.tree import Repository

    place, saved, work = Path(home), Path(f"{home}-saved"), Path(home)
    moment = datetime.fromisoformat(now)

    def run() -> None:
        done = reconcile(Repository.open(Path(repository)), SiteHome(place), site, lambda: moment)
        bad = [str(outcome) for outcome in done.outcomes if type(outcome).__name__ != "Done"]
        if bad:
            raise AssertionError(bad)

    def restore() -> None:
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(saved, work, symlinks=True)

    def killed(step: int) -> None:
        dies_at(step)
        run()

    shutil.copytree(work, saved, symlinks=True)
    assert in_child(run) == 0
    wanted, steps, wrong = tree(work), 0, []
    while True:
        restore()
        ended = in_child(partial(killed, steps + 1))
        if ended == 0:
            break
        steps += 1
        if ended != -signal.SIGKILL or in_child(run) != 0 or tree(work) != wanted:
            after = tree(work)
            wrong.append({"step": steps, "ended": ended, "extra": sorted(set(after) - set(wanted)), "missing": sorted(set(wanted) - set(after))})
    print(json.dumps({"steps": steps, "wrong": wrong, "end": sorted(wanted)}))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
