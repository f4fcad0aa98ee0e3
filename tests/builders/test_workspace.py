"""Work folders: removed at the end, swept when their process was killed, never taken from a live one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from vmkeeper.builders.workspace import clean, locked, workspace


def test_folder_is_gone_at_the_end(tmp_path: Path) -> None:
    with workspace(tmp_path, "app") as folder:
        (folder / "file").write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_folder_is_gone_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), workspace(tmp_path, "app"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_folder_of_a_killed_process_is_swept_by_the_next(tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
from vmkeeper.builders.workspace import workspace
with workspace(Path({str(tmp_path)!r}), "app") as folder:
    print(folder, flush=True)
    input()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().decode().strip())
        assert clean(tmp_path) == ()
        assert folder.is_dir()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with workspace(tmp_path, "other"):
        assert not folder.exists()


def test_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    held: list[str] = []
    waited = threading.Event()

    def second() -> None:
        with locked(tmp_path / "lock", waiting=waited.set):
            held.append("second")

    with locked(tmp_path / "lock"):
        thread = threading.Thread(target=second)
        thread.start()
        assert waited.wait(10)
        held.append("first")
    thread.join()
    assert held == ["first", "second"]
