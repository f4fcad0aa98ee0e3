"""The forge's workflows: pinned actions, least rights, no text of strangers in scripts, commands that exist."""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
import subprocess
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from ruamel.yaml import YAML

from vmkeeper.cli.app import app
from vmkeeper.plan.render import STICKY

FOLDER = Path(__file__).parents[1] / ".github" / "workflows"
FILES = {path.name: path.read_text() for path in sorted(FOLDER.glob("*.yml"))}
WORKFLOWS: dict[str, Any] = {name: YAML(typ="safe", pure=True).load(text) for name, text in FILES.items()}

RIGHTS = {
    "pull-request.yml": {"plan": {"contents": "read"}},
    "plan-comment.yml": {"comment": {"actions": "read", "pull-requests": "write"}},
    "merge.yml": {"apply": {"contents": "write"}},
    "endorse.yml": {"publish": {"contents": "read"}},
    "freshness.yml": {"state": {"contents": "write"}},
    "schedule.yml": {"publish": {"contents": "read"}, "refresh": {"contents": "write", "pull-requests": "write"}},
    "test.yml": {"test": {"contents": "read"}},
}
"""What each job may do, and nothing else."""

HARMLESS = {
    "github.token",
    "github.repository",
    "runner.temp",
    "!cancelled()",
    "github.ref",
}
"""Expressions that hold nothing a stranger wrote. The names of events in plan-comment.yml go through the environment."""


def jobs(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from WORKFLOWS[name]["jobs"].items()


def steps(name: str) -> Iterator[dict[str, Any]]:
    for _, job in jobs(name):
        yield from job.get("steps", ())


def scripts(name: str) -> list[str]:
    return [step["run"] for step in steps(name) if "run" in step]


def every(field: str) -> list[tuple[str, dict[str, Any]]]:
    return [(name, step) for name in FILES for step in steps(name) if field in step]


def test_these_are_the_workflows() -> None:
    assert set(FILES) == set(RIGHTS)


@pytest.mark.parametrize("name", FILES)
def test_rights_are_none_but_those_a_job_needs(name: str) -> None:
    assert WORKFLOWS[name]["permissions"] == {}
    assert {job: content["permissions"] for job, content in jobs(name)} == RIGHTS[name]


@pytest.mark.parametrize(("name", "step"), every("uses"))
def test_actions_are_pinned_by_commit_and_say_their_version(name: str, step: dict[str, Any]) -> None:
    assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", step["uses"])
    assert re.search(rf"uses: {step['uses']} # v\d+\.\d+\.\d+\n", FILES[name])


def test_other_workflows_are_called_only_from_here() -> None:
    called = [job["uses"] for name in FILES for _, job in jobs(name) if "uses" in job]
    assert called == ["./.github/workflows/endorse.yml"]


@pytest.mark.parametrize(("name", "step"), [(name, step) for name, step in every("uses") if "checkout" in step["uses"]])
def test_history_is_whole_and_no_token_is_left_behind(name: str, step: dict[str, Any]) -> None:
    assert step["with"]["fetch-depth"] == 0
    assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("name", FILES)
def test_no_workflow_runs_with_rights_on_what_strangers_propose(name: str) -> None:
    events = WORKFLOWS[name]["on"]
    assert "pull_request_target" not in FILES[name]
    if "pull_request" in events:
        assert "secrets." not in FILES[name]
        assert all(right == "read" for rights in RIGHTS[name].values() for right in rights.values())
    if "workflow_run" in events:
        assert not [step for step in steps(name) if "uses" in step]
        assert "git " not in "".join(scripts(name))


@pytest.mark.parametrize("name", FILES)
def test_scripts_hold_no_expressions(name: str) -> None:
    for script in scripts(name):
        assert "${{" not in script


@pytest.mark.parametrize("name", FILES)
def test_text_of_strangers_reaches_scripts_only_through_the_environment(name: str) -> None:
    text = FILES[name]
    for step in steps(name):
        for value in step.get("env", {}).values():
            text = text.replace(str(value), "")
    for expression in re.findall(r"\$\{\{ *(.*?) *\}\}", text):
        assert expression in HARMLESS or re.fullmatch(r"(vars|secrets)\.VMKEEPER_[A-Z]+( \|\| '[a-z0-9.-]+')?", expression)


@pytest.mark.parametrize(("name", "script"), [(name, script) for name in FILES for script in scripts(name)])
def test_scripts_are_sound_posix_shell(name: str, script: str) -> None:
    assert WORKFLOWS[name]["defaults"]["run"]["shell"] == "sh -eu {0}"
    done = subprocess.run(["sh", "-n"], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for used in re.findall(r"(?<!\S)\.ci/\w+", script):
        assert (FOLDER.parents[1] / used).stat().st_mode & 0o111


def commands() -> list[tuple[str, list[str]]]:
    found = []
    for name in FILES:
        for script in scripts(name):
            found += [(name, shlex.split(words)) for words in re.findall(r"\.venv/bin/vmkeeper ([^\n|;&>]*)", script)]
    return found


def test_the_loop_is_there() -> None:
    assert {words[0] for _, words in commands()} == {"check", "plan", "apply", "publish", "freshness", "refresh"}


@pytest.mark.parametrize(("name", "words"), commands())
def test_every_command_exists_with_its_options(name: str, words: list[str]) -> None:
    group: Any = typer.main.get_command(app)
    command = group.commands[words[0]]
    known = {option: parameter for parameter in command.params for option in parameter.opts if option.startswith("-")}
    rest = list(words[1:])
    arguments = []
    while rest:
        word = rest.pop(0)
        if word.startswith("-"):
            assert word in known
            if not known[word].is_flag:
                rest.pop(0)
        else:
            arguments.append(word)
    assert len(arguments) <= sum(parameter.param_type_name == "argument" for parameter in command.params)


def test_its_own_records_start_no_apply() -> None:
    assert WORKFLOWS["merge.yml"]["on"]["push"]["paths-ignore"] == ["appliances/*/release.yaml", "appliances/*/provenance.json"]
    assert WORKFLOWS["merge.yml"]["concurrency"] == {"group": "apply", "cancel-in-progress": False}


def test_signed_tags_and_every_day_publish() -> None:
    for name in ("endorse.yml", "freshness.yml"):
        assert WORKFLOWS[name]["on"]["push"]["tags"] == ["endorse/**", "withdraw/**", "policy/**", "revoke/**"]
    crons = [entry["cron"] for entry in WORKFLOWS["schedule.yml"]["on"]["schedule"]]
    assert len(crons) == 2
    for job, other in (("publish", crons[1]), ("refresh", crons[0])):
        assert f"github.event.schedule != '{other}'" in WORKFLOWS["schedule.yml"]["jobs"][job]["if"]


def test_the_comment_follows_the_plan() -> None:
    assert WORKFLOWS["plan-comment.yml"]["on"]["workflow_run"]["workflows"] == [WORKFLOWS["pull-request.yml"]["name"]]
    (upload,) = [step["with"] for step in steps("pull-request.yml") if "upload-artifact" in step.get("uses", "")]
    assert upload["name"] == "plan"
    assert upload["path"].endswith("/plan.md")


class TestPushes:
    """The scripts that push, with real git against a bare repository."""

    @pytest.fixture
    def origin(self, tmp_path: Path) -> Path:
        self.git(tmp_path, "init", "--quiet", "--bare", "--initial-branch", "main", "origin.git")
        self.git(tmp_path, "clone", "--quiet", "origin.git", "seed")
        self.commit(tmp_path / "seed", "README.md")
        self.git(tmp_path / "seed", "push", "--quiet", "origin", "HEAD:main")
        self.git(tmp_path, "clone", "--quiet", "origin.git", "runner")
        return tmp_path / "origin.git"

    def git(self, folder: Path, *words: str) -> str:
        return subprocess.run(["git", *words], cwd=folder, env=self.env(folder), check=True, capture_output=True, text=True).stdout.strip()

    def env(self, folder: Path) -> dict[str, str]:
        who = {f"GIT_{role}_{field}": value for role in ("AUTHOR", "COMMITTER") for field, value in (("NAME", "T"), ("EMAIL", "t@example.org"))}
        return {
            **who,
            "PATH": f"{folder.parent}/bin:/usr/bin:/bin",
            "HOME": str(folder),
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "RUNNER_TEMP": str(folder.parent),
        }

    def commit(self, folder: Path, path: str) -> str:
        (folder / path).write_text(path)
        self.git(folder, "add", "--all")
        self.git(folder, "commit", "--quiet", "--message", f"change {path}", "--message", "hello 1.0 → 1.1")
        return self.git(folder, "rev-parse", "HEAD")

    def run(self, name: str, step: str, runner: Path) -> subprocess.CompletedProcess[str]:
        (script,) = [each["run"] for each in steps(name) if each.get("name", "").startswith(step)]
        return subprocess.run(["sh", "-eu"], input=script, cwd=runner, env=self.env(runner), capture_output=True, text=True, check=False)

    def test_records_are_pushed_on_top_of_what_others_pushed_meanwhile(self, origin: Path) -> None:
        runner, seed = origin.parent / "runner", origin.parent / "seed"
        applied = self.git(runner, "rev-parse", "HEAD")
        self.commit(runner, "release.yaml")
        self.git(runner, "update-ref", "refs/vmkeeper/applied", applied)
        theirs = self.commit(seed, "theirs")
        self.git(seed, "push", "--quiet", "origin", "HEAD:main")
        done = self.run("merge.yml", "Push the records", runner)
        assert done.returncode == 0, done.stderr
        assert self.git(origin, "rev-parse", "refs/vmkeeper/applied") == applied
        assert self.git(origin, "rev-parse", "main^") == theirs
        assert self.git(origin, "ls-tree", "--name-only", "main").split() == ["README.md", "release.yaml", "theirs"]

    def test_records_are_pushed_when_nothing_was_ever_applied_in_full(self, origin: Path) -> None:
        runner = origin.parent / "runner"
        record = self.commit(runner, "release.yaml")
        assert self.run("merge.yml", "Push the records", runner).returncode == 0
        assert self.git(origin, "rev-parse", "main") == record
        assert self.run("merge.yml", "Push the records", runner).returncode == 0

    @pytest.mark.parametrize(("number", "call"), [("", "pr create"), ("12", "pr edit 12")])
    def test_newer_packages_are_proposed_once(self, origin: Path, number: str, call: str) -> None:
        runner, calls = origin.parent / "runner", origin.parent / "calls"
        (origin.parent / "bin").mkdir()
        fake = origin.parent / "bin" / "gh"
        fake.write_text(f'#!/bin/sh\necho "$*" >>{calls}\ncase "$*" in "pr list"*) echo {number} ;; esac\n')
        fake.chmod(0o755)
        assert self.run("schedule.yml", "Propose", runner).returncode == 0
        assert not calls.exists()
        self.git(runner, "switch", "--quiet", "--create", "vmkeeper/refresh")
        locks = self.commit(runner, "packages.lock")
        done = self.run("schedule.yml", "Propose", runner)
        assert done.returncode == 0, done.stderr
        assert self.git(origin, "rev-parse", "vmkeeper/refresh") == locks
        assert call in calls.read_text().splitlines()[-1]
        assert (origin.parent / "body.md").read_text().strip() == "hello 1.0 → 1.1"


class TestPlanComment:
    """The one script that reads what strangers made, against a `gh` that answers from files."""

    @pytest.fixture(autouse=True)
    def _programs(self) -> None:
        for program in ("jq", "unzip", "iconv"):
            if shutil.which(program) is None:
                pytest.skip(f"{program} is not on this machine")

    def comment(
        self, tmp_path: Path, plan: bytes, *, comments: Sequence[dict[str, Any]] = (), size: int = 500, head: str = "abc"
    ) -> tuple[int, str, str]:
        answers = tmp_path / "answers"
        answers.mkdir()
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("plan.md", plan)
            file.writestr("../../evil", "x")
        (answers / "zip").write_bytes(archive.getvalue())
        (answers / "pulls").write_text(json.dumps([{"number": 6, "head": {"sha": "old"}}, {"number": 7, "head": {"sha": head}}]))
        (answers / "artifacts").write_text(
            json.dumps({"artifacts": [{"name": "other", "size_in_bytes": 1, "id": 1}, {"name": "plan", "size_in_bytes": size, "id": 2}]})
        )
        (answers / "comments").write_text(json.dumps(list(comments)))
        (tmp_path / "bin").mkdir()
        fake = tmp_path / "bin" / "gh"
        fake.write_text(
            f"""#!/bin/sh
case "$*" in
*body=@plan.md*) printf '%s\\n' "$*" >{tmp_path}/call; cp plan.md {tmp_path}/posted ;;
*/pulls*) printf '%s\\n' "$*" >{tmp_path}/asked; cat {answers}/pulls ;;
*/zip) cat {answers}/zip ;;
*/artifacts) cat {answers}/artifacts ;;
*/comments) cat {answers}/comments ;;
*) exit 9 ;;
esac
"""
        )
        fake.chmod(0o755)
        (script,) = scripts("plan-comment.yml")
        env = {name: "" for (step,) in [list(steps("plan-comment.yml"))] for name in step["env"]}
        env |= {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "TMPDIR": str(tmp_path), "REPOSITORY": "o/r", "RUN": "5", "COMMIT": "abc"}
        env |= {"OWNER": "$(touch owned)", "BRANCH": "`touch owned`; '", "MARKER": next(steps("plan-comment.yml"))["env"]["MARKER"]}
        done = subprocess.run(["sh", "-eu"], input=script, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert not list(tmp_path.rglob("owned"))
        assert not list(tmp_path.rglob("evil"))
        posted = (tmp_path / "posted").read_text() if (tmp_path / "posted").exists() else ""
        return done.returncode, (tmp_path / "call").read_text().strip() if posted else done.stdout, posted

    def test_the_marker_is_the_plans(self) -> None:
        assert next(steps("plan-comment.yml"))["env"]["MARKER"] == STICKY
        assert f"'{STICKY}'" in FILES["pull-request.yml"]

    def test_the_first_plan_is_a_new_comment(self, tmp_path: Path) -> None:
        status, call, posted = self.comment(
            tmp_path, f"{STICKY}\nhello\n".encode(), comments=[{"id": 3, "user": {"login": "somebody"}, "body": f"{STICKY} mine"}]
        )
        assert (status, posted) == (0, f"{STICKY}\nhello\n")
        assert call == "api --method POST repos/o/r/issues/7/comments -F body=@plan.md"
        assert "head=$(touch owned):`touch owned`; '" in (tmp_path / "asked").read_text()

    def test_the_next_plan_is_written_over_it(self, tmp_path: Path) -> None:
        ours = {"id": 4, "user": {"login": "github-actions[bot]"}, "body": f"{STICKY}\nold"}
        assert (
            self.comment(tmp_path, f"{STICKY}\nnew\n".encode(), comments=[ours])[1]
            == "api --method PATCH repos/o/r/issues/comments/4 -F body=@plan.md"
        )

    def test_a_long_plan_is_cut_between_characters(self, tmp_path: Path) -> None:
        _, _, posted = self.comment(tmp_path, f"{STICKY}\n{'é' * 100_000}".encode())
        assert 59_990 <= len(posted.encode()) <= 60_000
        assert set(posted.removeprefix(f"{STICKY}\n")) == {"é"}

    def test_what_is_no_plan_is_not_posted(self, tmp_path: Path) -> None:
        assert self.comment(tmp_path, b"Dear all,\n")[::2] == (1, "")

    def test_a_large_archive_is_not_fetched(self, tmp_path: Path) -> None:
        assert self.comment(tmp_path, f"{STICKY}\n".encode(), size=2_000_000)[::2] == (0, "")

    def test_a_run_that_is_not_the_newest_comments_nothing(self, tmp_path: Path) -> None:
        assert self.comment(tmp_path, f"{STICKY}\n".encode(), head="newer")[::2] == (0, "")
