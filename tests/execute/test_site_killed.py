"""A site's run on a local cloud, killed with SIGKILL at every change to the file system, ends as if it had not been."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from support.producer import NOW, Producer
from support.webserver import WebServer
from vmkeeper.execute.home import SiteHome
from vmkeeper.execute.pinning import Wishes, pin, proposal
from vmkeeper.execute.site import reconcile
from vmkeeper.execute.walk import Done


def test_killed_at_every_change_the_next_run_ends_in_the_same_state_with_nothing_left_over(tmp_path: Path) -> None:
    with WebServer(tmp_path / "www") as server:
        producer, home = Producer(tmp_path / "www", server.url, tmp_path), SiteHome(tmp_path / "home")
        repository = producer.repo.repository
        producer.all("debian-12", "2026.11.1")
        ca = producer.authority.write(tmp_path)
        pin(home, proposal(repository, "here", Wishes((ca,), allowed_hosts=("127.0.0.1",)), NOW), (ca,))
        reconcile(repository, home, "here", lambda: NOW)
        producer.all("debian-12", "2026.11.2")
        reconcile(repository, home, "here", lambda: NOW)
        producer.all("debian-12", "2026.11.3")
        later = NOW + timedelta(days=8)

        scratch = tmp_path / "scratch"
        scratch.mkdir()
        command = [
            sys.executable,
            Path(__file__).parent.parent / "support/killer.py",
            tmp_path / "repository.git",
            home.folder,
            "here",
            later.isoformat(),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False, env={**os.environ, "TMPDIR": str(scratch)})
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["wrong"] == [], done.stderr
        assert found["steps"] > 15
        assert list(scratch.iterdir()) == []
        assert not [path for path in found["end"] if "cache/incoming/" in path or "vmkeeper-new" in path]

        last = reconcile(repository, home, "here", lambda: later)
        assert all(isinstance(outcome, Done) for outcome in last.outcomes)
        assert reconcile(repository, home, "here", lambda: later).outcomes == ()
