"""The command line as a user meets it: what it prints, where, and with which exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.repo import Repo, base, child, locked, released, tools


def vmkeeper(*words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "vmkeeper", *map(str, words)], cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    made = Repo(tmp_path_factory.mktemp("cli") / "repo")
    made.commit({**tools(), **base(), **child("web", "base")})
    made.commit(locked(made))
    made.commit(released(made))
    made.repository.set_applied(made.repository.head())
    return made


def test_init_makes_a_repository_that_checks_and_plans(tmp_path: Path) -> None:
    assert vmkeeper("init", tmp_path / "new").returncode == 0
    done = vmkeeper("check", cwd=tmp_path / "new")
    assert (done.returncode, done.stderr) == (0, "")
    assert "All documents are sound" in done.stdout
    assert vmkeeper("plan", "--detailed-exitcode", "-C", tmp_path / "new").stdout.strip() == "Nothing to do."


def test_init_touches_nothing_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    done = vmkeeper("init", tmp_path)
    assert done.returncode == 1
    assert "not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_no_repository_is_a_users_error_with_a_way_out(tmp_path: Path) -> None:
    done = vmkeeper("check", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "→" in done.stderr


def test_nothing_to_do_and_changes_have_different_exit_codes(repo: Repo) -> None:
    assert vmkeeper("plan", "--detailed-exitcode", "-C", repo.folder).returncode == 0
    assert vmkeeper("plan", "--detailed-exitcode", "HEAD~2", "-C", repo.folder).returncode == 0
    assert vmkeeper("plan", "HEAD~3", "-C", repo.folder).returncode == 1
    first = repo.repository.head()
    repo.commit(child("web", "base", "services: [{name: ssh.service}]"))
    changed = vmkeeper("plan", "--detailed-exitcode", "-C", repo.folder)
    assert (changed.returncode, vmkeeper("plan", "-C", repo.folder).returncode) == (2, 0)
    assert "build" in changed.stdout
    assert vmkeeper("plan", first, first, "--detailed-exitcode", "-C", repo.folder).returncode == 0


def test_json_is_all_there_is_on_standard_output(repo: Repo) -> None:
    done = vmkeeper("plan", "HEAD~1", "--output", "json", "-C", repo.folder)
    shown = json.loads(done.stdout)
    assert shown["version"] == 1
    for action in shown["actions"]:
        assert {"id", "kind", "subject", "reason", "cause", "needs"} <= set(action)


def test_check_prints_every_problem_and_json_of_them(repo: Repo, tmp_path: Path) -> None:
    other = Repo(tmp_path / "broken")
    other.commit({**tools(), **base(), **child("web", "bsae"), "sites/x.yml": "a"})
    done = vmkeeper("check", "-C", other.folder)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "appliances/web/appliance.yaml:4" in done.stderr
    assert "did you mean base?" in done.stderr
    problems = json.loads(vmkeeper("check", "-C", other.folder, "--output", "json").stdout)
    assert {"file", "line", "column", "field", "what", "hint"} == set(problems[0])


def test_show_says_where_each_value_came_from(repo: Repo) -> None:
    done = vmkeeper("show", "web", "-C", repo.folder)
    assert "base → web" in done.stdout
    assert "appliances/base/appliance.yaml:" in done.stdout
    assert {value["field"] for value in json.loads(vmkeeper("show", "web", "-C", repo.folder, "-o", "json").stdout)["values"]} >= {
        "disk.size",
        "uuid",
    }


def test_show_of_an_unknown_appliance_offers_a_near_one(repo: Repo) -> None:
    assert "there is no appliance wbe" in vmkeeper("show", "wbe", "-C", repo.folder).stderr


def test_why_walks_back_to_the_commit(repo: Repo) -> None:
    done = vmkeeper("why", "web", "-C", repo.folder)
    assert done.returncode == 0, done.stderr
    assert "was built from" in done.stdout
    assert "A Tester" in done.stdout


def test_an_unknown_option_is_a_users_error(repo: Repo) -> None:
    done = vmkeeper("plan", "--no-such-option", "-C", repo.folder)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_a_bug_is_reported_as_one(repo: Repo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from vmkeeper.cli import app

    monkeypatch.setattr(app, "app", lambda **_: 1 // 0)
    with pytest.raises(SystemExit) as caught:
        app.main()
    assert caught.value.code == 3
    assert "bug in vmkeeper" in capsys.readouterr().err


def test_an_interrupt_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    from vmkeeper.cli import app

    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(app, "app", interrupted)
    with pytest.raises(SystemExit) as caught:
        app.main()
    assert caught.value.code == 130


def test_the_schema_of_a_kind_is_json(tmp_path: Path) -> None:
    assert json.loads(vmkeeper("schema", "appliance").stdout)["title"]
    assert "there is no kind" in vmkeeper("schema", "nonsense").stderr
    assert vmkeeper("schema", "--write", tmp_path).returncode == 0
    assert (tmp_path / "schemas/appliance.json").exists()


def test_a_bare_repository_needs_commit_to_refresh(repo: Repo) -> None:
    assert "--commit" in vmkeeper("refresh", "-C", repo.folder).stderr


def test_every_command_has_help() -> None:
    from typer.main import get_command

    from vmkeeper.cli.app import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    for name in (
        "init",
        "check",
        "plan",
        "apply",
        "build",
        "test",
        "endorse",
        "withdraw",
        "publish",
        "reconcile",
        "status",
        "why",
        "refresh",
        "cluster",
        "schema",
        "show",
    ):
        assert commands[name].help or commands[name].commands, name
