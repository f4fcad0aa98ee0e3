"""A site as a service, as typed: watch in a process of its own, suspend and resume, the key, units, what producers see."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support import producer as production
from support.gitserver import git
from support.producer import SITE, Producer
from support.webserver import WebServer
from vmkeeper.cli import app, session

INIT = ("site", "init", "here", "--allow-host", "127.0.0.1", "--yes", "--ca")


class Typed:
    """Types commands in a repository; `out` and `err` are what the last one said."""

    def __init__(self, producer: Producer, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.producer, self.home = producer, home
        self._patch, self._capsys = monkeypatch, capsys
        monkeypatch.setenv("VMKEEPER_SITE_HOME", str(home))
        monkeypatch.chdir(producer.repo.folder)
        monkeypatch.setattr(session.Session, "now", production.NOW)
        self.ca = str(producer.authority.write(home.parent))

    def __call__(self, *words: str) -> int:
        self._patch.setattr("sys.argv", ["vmkeeper", *words])
        with pytest.raises(SystemExit) as ended:
            app.main()
        self.out, self.err = self._capsys.readouterr()
        return int(ended.value.code or 0)


@pytest.fixture
def vmkeeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Typed]:
    with WebServer(tmp_path / "www") as server:
        producer = Producer(tmp_path / "www", server.url, tmp_path)
        producer.all("debian-12", "2026.11.1")
        typed = Typed(producer, tmp_path / "home", monkeypatch, capsys)
        assert typed(*INIT, typed.ca) == 0
        yield typed


# One run


def test_a_run_writes_status_and_metrics_where_it_was_asked_to(vmkeeper: Typed, tmp_path: Path) -> None:
    assert vmkeeper("reconcile", "here", "--status", str(tmp_path / "s"), "--metrics-file", str(tmp_path / "m/x.prom")) == 0
    assert "done     register debian-12" in vmkeeper.out
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == ["status.html", "status.json"]
    assert "vmkeeper_images" in (tmp_path / "m/x.prom").read_text()


def test_metrics_are_not_served_by_one_run(vmkeeper: Typed) -> None:
    assert vmkeeper("reconcile", "here", "--metrics", "127.0.0.1:0") == 1
    assert "--metrics-file" in vmkeeper.err


@pytest.mark.parametrize("word", ["--force-retire", "--adopt"])
def test_what_is_for_one_run_is_not_watched(vmkeeper: Typed, word: str) -> None:
    assert vmkeeper("reconcile", "here", "--watch", word) == 1
    assert "for one run" in vmkeeper.err


def test_a_failed_run_has_its_error_on_the_terminal_and_in_the_status(vmkeeper: Typed) -> None:
    vmkeeper("reconcile", "here")
    (vmkeeper.home / "memory.json").write_text("{")
    assert vmkeeper("reconcile", "here") == 1
    assert "trust memory cannot be read" in vmkeeper.err
    assert "trust memory" in (vmkeeper.home / "status.json").read_text()


def test_the_page_of_the_last_run_is_written_without_another_one(vmkeeper: Typed, tmp_path: Path) -> None:
    assert vmkeeper("site", "page", "here") == 1
    assert "vmkeeper reconcile here" in vmkeeper.err
    vmkeeper("reconcile", "here")
    assert vmkeeper("site", "page", "here", "--to", str(tmp_path / "page.html")) == 0
    assert "debian-12" in (tmp_path / "page.html").read_text()
    assert vmkeeper("status", "here") == 0
    assert vmkeeper.out.startswith("last run 2026-11-20T10:00:00Z: done\n")


# Suspension


def test_a_site_is_suspended_and_resumed(vmkeeper: Typed) -> None:
    vmkeeper("reconcile", "here")
    assert vmkeeper("site", "suspend", "here", "--reason", "new disks", "--until", "2026-11-21T10:00:00Z") == 0
    assert "until 2026-11-21T10:00:00Z: new disks" in vmkeeper.out
    assert "stay usable" in vmkeeper.err
    vmkeeper.producer.withdraw("debian-12", "2026.11.1")
    assert vmkeeper("reconcile", "here") == 0
    assert "suspended since 2026-11-20T10:00:00Z until 2026-11-21T10:00:00Z (new disks)" in vmkeeper.out
    assert vmkeeper("reconcile", "here", "--output", "json") == 0
    assert json.loads(vmkeeper.out)["suspended"]["reason"] == "new disks"
    assert vmkeeper("status", "here") == 0
    assert vmkeeper.out.startswith(
        "suspended since 2026-11-20T10:00:00Z, until 2026-11-21T10:00:00Z: new disks\nlast run 2026-11-20T10:00:00Z: suspended\n"
    )
    assert vmkeeper("site", "page", "here") == 0
    assert "new disks" in vmkeeper.out
    assert vmkeeper("site", "plan", "here", "--detailed-exitcode") == 2
    assert "hide" in vmkeeper.out
    assert vmkeeper("site", "resume", "here") == 0
    assert "(new disks); it is not any more" in vmkeeper.out
    assert vmkeeper("reconcile", "here") == 0
    assert "done     hide debian-12" in vmkeeper.out
    assert vmkeeper("site", "resume", "here") == 0
    assert "was not suspended" in vmkeeper.out


def test_a_suspension_wants_a_reason_and_a_time_that_is_one(vmkeeper: Typed) -> None:
    assert vmkeeper("site", "suspend", "here") == 1
    assert vmkeeper("site", "suspend", "here", "--reason", "x", "--until", "tomorrow") == 1
    assert "2026-11-20T10:30:00Z" in vmkeeper.err
    assert vmkeeper("reconcile", "here") == 0


# The service


STARTED = """
from datetime import UTC, datetime
from vmkeeper.cli import app, session
began = datetime.now(UTC)
session.Session.now = property(lambda _: (datetime.fromisoformat("{now}") + (datetime.now(UTC) - began)).replace(microsecond=0))
app.main()
"""
"""The command with a clock that begins at the producer's time."""


class Service:
    """`reconcile --watch` in a process of its own; lines are read as they come."""

    def __init__(self, home: Path, repository: Path, *words: str, env: dict[str, str] | None = None) -> None:
        code = STARTED.format(now=production.NOW.isoformat())
        command = [sys.executable, "-c", code, "reconcile", "here", "--watch", "--home", str(home), "-C", str(repository), *words]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})
        self.lines: list[str] = []
        self.err = ""
        assert self.process.stderr is not None
        self._errors = threading.Thread(target=self._drain)
        self._errors.start()

    def _drain(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.err += line

    def until(self, pattern: str) -> str:
        """The first line from now on that matches; "" at the end."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if re.search(pattern, line):
                return self.lines[-1]
        return ""

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.until("never")
        self.process.wait()
        self._errors.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


def test_a_service_looks_again_when_told_and_ends_when_told(vmkeeper: Typed) -> None:
    with Service(vmkeeper.home, vmkeeper.producer.repo.folder) as service:
        assert "1 usable image, 1 done; next look in" in service.until("next look")
        assert any("done     register debian-12 2026.11.1" in line for line in service.lines)
        vmkeeper.producer.all("debian-12", "2026.11.2")
        service.process.send_signal(signal.SIGHUP)
        assert "1 usable image, 2 done" in service.until("next look")
        service.process.send_signal(signal.SIGTERM)
        assert "ended, as was asked" in service.until("ended")
        assert service.process.wait() == 0
        assert service.err == ""


def test_a_service_waits_for_another_run(vmkeeper: Typed) -> None:
    from vmkeeper.execute.home import SiteHome

    with SiteHome(vmkeeper.home).locked(), Service(vmkeeper.home, vmkeeper.producer.repo.folder) as service:
        assert "another run is at work; next look in 15s" in service.until("next look")


def test_a_service_serves_metrics_only_where_it_was_asked_to(vmkeeper: Typed) -> None:
    with Service(vmkeeper.home, vmkeeper.producer.repo.folder, "--metrics", "127.0.0.1:0") as service:
        service.until("next look")
        port = re.search(r"served at port (\d+)", service.err)
        assert port is not None
        with httpx.Client(trust_env=False) as client:
            assert 'vmkeeper_runs_total{result="done",site="here"} 1.0' in client.get(f"http://127.0.0.1:{port[1]}/metrics").text


def test_a_suspended_service_waits_and_goes_on_once_it_is_resumed(vmkeeper: Typed) -> None:
    vmkeeper("site", "suspend", "here", "--reason", "new disks")
    with Service(vmkeeper.home, vmkeeper.producer.repo.folder) as service:
        assert "(new disks)" in service.until("next look")
        vmkeeper("site", "resume", "here")
        service.process.send_signal(signal.SIGHUP)
        assert "1 usable image" in service.until("next look")


def test_a_service_that_fails_says_so_and_goes_on(vmkeeper: Typed) -> None:
    (vmkeeper.home / "memory.json").write_text("{")
    with Service(vmkeeper.home, vmkeeper.producer.repo.folder) as service:
        assert "did not come to its end; next look in" in service.until("next look")
        (vmkeeper.home / "memory.json").unlink()
        service.process.send_signal(signal.SIGHUP)
        assert "1 usable image" in service.until("next look")
    assert "trust memory cannot be read" in service.err


def test_a_service_writes_a_line_of_json_for_each_run(vmkeeper: Typed) -> None:
    with Service(vmkeeper.home, vmkeeper.producer.repo.folder, "--output", "json") as service:
        said = json.loads(service.until("{"))
        assert (said["version"], said["result"], said["actions"][0]["kind"]) == (1, "done", "register")
        assert said["pause"] >= 300


def test_two_services_at_one_site_take_turns(vmkeeper: Typed) -> None:
    folder = vmkeeper.producer.repo.folder
    with Service(vmkeeper.home, folder) as one, Service(vmkeeper.home, folder) as two:
        said = one.until("next look") + two.until("next look")
        assert "1 usable image" in said
        for service in (one, two):
            service.process.send_signal(signal.SIGHUP)
        assert one.until("next look")
        assert two.until("next look")
    assert vmkeeper("reconcile", "here") == 0
    assert vmkeeper.out == "Nothing to do: the site has 1 usable image, as it should.\n"


def test_a_source_that_is_gone_is_in_the_log_once_and_in_the_status(vmkeeper: Typed, tmp_path: Path) -> None:
    source = tmp_path / "source.git"
    git(tmp_path, "clone", "-q", "--mirror", vmkeeper.producer.repo.folder, source)
    assert vmkeeper(*INIT, vmkeeper.ca, "--source", str(source)) == 0
    assert vmkeeper("reconcile", "here") == 0
    source.rename(tmp_path / "away.git")
    with Service(vmkeeper.home, tmp_path) as service:
        service.until("next look")
        service.process.send_signal(signal.SIGHUP)
        service.until("next look")
    assert sum("going on with what was fetched last" in line for line in service.lines) == 1
    assert "going on with what was fetched last" in (vmkeeper.home / "status.json").read_text()


def test_a_service_that_is_killed_leaves_nothing_that_the_next_one_minds(vmkeeper: Typed) -> None:
    for _ in range(3):
        with Service(vmkeeper.home, vmkeeper.producer.repo.folder) as service:
            service.process.kill()
    with Service(vmkeeper.home, vmkeeper.producer.repo.folder) as service:
        assert "1 usable image" in service.until("next look")


def test_a_service_without_pins_does_not_begin(tmp_path: Path, vmkeeper: Typed) -> None:
    assert vmkeeper("reconcile", "here", "--watch", "--home", str(tmp_path / "none")) == 1
    assert "vmkeeper site init" in vmkeeper.err


# Key, report, propagation


def test_producers_see_what_sites_run(vmkeeper: Typed) -> None:
    assert vmkeeper("propagation") == 0
    assert "No site reports" in vmkeeper.out
    assert vmkeeper("site", "key", "here") == 0
    public = vmkeeper.out.strip()
    assert public.startswith("ssh-ed25519 ")
    assert vmkeeper("site", "key", "here") == 0
    assert vmkeeper.out.strip() == public
    report = {"to": str(vmkeeper.producer.repo.folder), "key": public}
    vmkeeper.producer.repo.commit({"sites/here.yaml": json.dumps({**SITE, "report": report})}, "report")
    assert vmkeeper(*INIT, vmkeeper.ca) == 0
    assert vmkeeper("propagation") == 0
    assert "there is no branch status/here" in vmkeeper.out
    assert vmkeeper("reconcile", "here") == 0
    assert vmkeeper.err.count("warning") == 0
    assert git(vmkeeper.producer.repo.folder, "log", "-1", "--format=%s", "status/here") == "status: here has 1 usable version"
    assert vmkeeper("propagation", "debian-12") == 0
    head, row = vmkeeper.out.splitlines()
    assert head.split() == ["APPLIANCE", "VERSION", "SITE", "SINCE", "LAG"]
    assert row.split() == ["debian-12", "2026.11.1", "here", "2026-11-20T10:00:00Z", "1d"]
    vmkeeper.producer.release("debian-12", "2026.11.2")
    vmkeeper("propagation")
    assert "newest release is 2026.11.2" in vmkeeper.out
    assert vmkeeper("propagation", "--output", "json") == 0
    (site,) = json.loads(vmkeeper.out)["sites"]
    assert (site["believed"], site["images"][0]["lag"]) == (True, 86400)
    assert vmkeeper("propagation", "rocky-9") == 0
    assert "nothing of rocky-9 is in use there" in vmkeeper.out


# Units


@pytest.mark.parametrize("kind", ["service", "timer"])
def test_units_are_what_systemd_reads(vmkeeper: Typed, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "units"
    words = ("--metrics-file", str(tmp_path / "prom dir/x.prom"), "--status", str(tmp_path / "100% $HOME"), "--user", "daemon")
    assert vmkeeper("site", "unit", "here", "--kind", kind, *words, "--to", str(folder)) == 0
    files = sorted(path.name for path in folder.iterdir())
    assert files == (["vmkeeper-here.service"] if kind == "service" else ["vmkeeper-here.service", "vmkeeper-here.timer"])
    text = (folder / "vmkeeper-here.service").read_text()
    assert ("--watch" in text) == (kind == "service")
    assert f'"{tmp_path}/prom dir"' in text
    assert f'"{tmp_path}/100%% $HOME"' in text
    assert f'"{tmp_path}/100%% $$HOME"' in text
    if not Path("/usr/bin/systemd-analyze").exists():
        pytest.skip("systemd-analyze is not on this machine")
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *(folder / name for name in files)], capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if "vmkeeper-here" in line]
    assert complaints == []
    assert done.returncode == 0


def test_units_are_printed_without_a_folder(vmkeeper: Typed) -> None:
    assert vmkeeper("site", "unit", "here") == 0
    assert vmkeeper.out.startswith("# vmkeeper-here.service\n[Unit]")
    assert f"--home {vmkeeper.home}" in vmkeeper.out
    assert f"-C {vmkeeper.producer.repo.folder}" in vmkeeper.out


def test_a_timer_serves_no_metrics(vmkeeper: Typed) -> None:
    assert vmkeeper("site", "unit", "here", "--kind", "timer", "--metrics", "127.0.0.1:9184") == 1
    assert "--metrics-file" in vmkeeper.err
