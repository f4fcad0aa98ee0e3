"""A run that takes foreign lists, killed with SIGKILL at every change to the file system, ends as if it had not been."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from support.foreign import Organisation, Subscriber, approved, later
from support.producer import NOW
from support.webserver import WebServer
from vmkeeper.execute.site import reconcile
from vmkeeper.execute.walk import Done
from vmkeeper.trust.memory import Memory

KILLER = Path(__file__).parent.parent / "support/killer.py"


def test_killed_at_every_change_the_next_run_ends_in_the_same_state_with_nothing_left_over(tmp_path: Path) -> None:
    with WebServer(tmp_path / "www") as server:
        org, site = Organisation(server), Subscriber(tmp_path, server)
        site.trusts(org.authority)
        org.offer("Debian 12")
        org.publish()
        site.takes(org.entry(), approve=approved("science-*"))
        repository = site.producer.repo.repository
        reconcile(repository, site.home, "here", lambda: NOW)
        org.offer("Debian 12", "1.1")
        org.publish()

        scratch = tmp_path / "scratch"
        scratch.mkdir()
        command = [sys.executable, KILLER, tmp_path / "repository.git", site.home.folder, "here", later(1).isoformat()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False, env={**os.environ, "TMPDIR": str(scratch)})
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["wrong"] == [], done.stderr
        assert found["steps"] > 15
        assert list(scratch.iterdir()) == []
        assert not [path for path in found["end"] if "vmkeeper-new" in path]

        last = reconcile(repository, site.home, "here", lambda: later(1))
        assert all(isinstance(outcome, Done) for outcome in last.outcomes)
        asked = len(org.requests())
        assert reconcile(repository, site.home, "here", lambda: later(1)).outcomes == ()
        assert [request.get("If-None-Match") for request in org.requests()[asked:]] == [org.page.etag]


def test_a_list_that_was_kept_and_not_yet_remembered_is_remembered_by_the_next_run(tmp_path: Path) -> None:
    """The moment between the two: the copy is new, the memory old. The server then says that nothing has changed."""
    with WebServer(tmp_path / "www") as server:
        org, site = Organisation(server), Subscriber(tmp_path, server)
        site.trusts(org.authority)
        org.offer("Debian 12")
        org.publish()
        site.takes(org.entry(new="approve"))
        site.run()
        before = site.home.memory()
        org.offer("Debian 12", "1.1")
        org.publish()
        site.run()
        site.home.remember(before)
        assert site.run().outcomes == ()
        assert site.home.memory().lists[org.uuid].version == "2026.11.20.2"
        site.home.remember(Memory(newest=before.newest, head=before.head, policy=before.policy, tags=before.tags))
        assert site.run().outcomes == ()
        assert site.home.memory().foreign["science"].uuid == org.uuid
