"""Run a function in processes that are killed with SIGKILL at its first, second, third … file system call."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable
from typing import Any

CALLS = ("mkdir", "rename", "replace", "unlink", "rmdir", "fsync", "open", "fchmod", "chmod", "link")


def in_child(work: Callable[[], object]) -> int:
    """Run `work` in a forked process; returns how it ended, as os.waitstatus_to_exitcode says it."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001 - whatever it is, the parent is told
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at(number: int, work: Callable[[], object], calls: tuple[str, ...] = CALLS) -> bool:
    """Run `work` in a process that dies before its `number`-th of these calls (from 0); False where it came to its end first."""

    def run() -> None:
        left = [number]

        def dying(call: Callable[..., Any]) -> Callable[..., Any]:
            def wrapped(*args: Any, **options: Any) -> Any:
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left[0] -= 1
                return call(*args, **options)

            return wrapped

        for name in calls:
            setattr(os, name, dying(getattr(os, name)))
        work()

    code = in_child(run)
    assert code in (0, -signal.SIGKILL), f"the process ended with {code}"
    return code != 0
