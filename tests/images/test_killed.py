"""Killed with SIGKILL before any file system call, the next run ends in the same state with nothing left over."""

import json
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_killed_at_any_point_the_next_run_ends_in_the_same_state(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    command = [sys.executable, TESTS / "support" / "storing.py", tmp_path]
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300, env=environment)
    assert result.returncode == 0, result.stderr
    for name, (killed, ends) in json.loads(result.stdout).items():
        assert killed >= 5, name
        assert ends == 1, name
