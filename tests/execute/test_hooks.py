"""A plain bare repository with our hooks: real pushes are checked, applied and published; none is lost."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.repo import Repo, base, locked, released, tools
from vmkeeper.errors import UserError
from vmkeeper.execute.hooks import HOOKS, Queue, Update, asked, install, outside, parse, work
from vmkeeper.repository.tree import APPLIED, Repository

ZERO = "0" * 40
MAIN = "refs/heads/main"
PATIENCE = 120.0


@dataclass
class Forge:
    """A bare repository with the hooks, and a clone of it to push from."""

    repo: Repo
    clone: Path

    @property
    def log(self) -> str:
        path = self.repo.folder / "vmkeeper" / "hook" / "log"
        return path.read_text() if path.exists() else ""

    def git(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(["git", *words], cwd=self.clone, env=clean(), capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert not check or done.returncode == 0, done.stderr
        return done

    def commit(self, path: str, text: str) -> str:
        (self.clone / path).parent.mkdir(parents=True, exist_ok=True)
        (self.clone / path).write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", f"change {path}")
        return self.git("rev-parse", "HEAD").stdout.strip()

    def push(self, *words: str, check: bool = True) -> str:
        """What the pusher reads; with `check` the push has to succeed."""
        return self.git("push", "origin", *(words or ("main",)), check=check).stderr

    def pushing(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["git", "push", "origin", "main"], cwd=self.clone, env=clean(), stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def applied(self) -> str:
        return Repository.open(self.repo.folder).applied()

    def ref(self, name: str) -> str:
        return subprocess.run(
            ["git", "rev-parse", "--verify", "--quiet", name], cwd=self.repo.folder, env=clean(), capture_output=True, text=True, check=False
        ).stdout.strip()


def clean() -> dict[str, str]:
    """An environment in which no other git repository or configuration is seen."""
    return outside(os.environ) | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8"}


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def vmkeeper(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "vmkeeper", *words, "-C", str(folder)]
    return subprocess.run(command, cwd="/", env=clean(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False)


@pytest.fixture
def forge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Forge:
    monkeypatch.setenv("VMKEEPER_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("VMKEEPER_CACHE", str(tmp_path / "cache"))
    repo = Repo(tmp_path / "forge.git")
    repo.commit(base() | tools() | {"README.md": "Ours.\n"})
    repo.commit(locked(repo))
    repo.commit(released(repo))
    done = vmkeeper(repo.folder, "hook", "install")
    assert done.returncode == 0, done.stderr
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", f"file://{repo.folder}", str(clone)], env=clean(), check=True)
    made = Forge(repo, clone)
    made.git("config", "user.name", "A Tester")
    made.git("config", "user.email", "tester@example.org")
    return made


class TestPush:
    def test_a_good_push_is_applied_and_the_pusher_reads_it(self, forge: Forge) -> None:
        commit = forge.commit("README.md", "Ours, all of it.\n")
        said = forge.push()
        assert "remote: vmkeeper check" in said
        assert "remote: All documents are sound: 2 in appliances/" in said
        assert "remote: vmkeeper apply" in said
        assert "remote: Nothing to do." in said
        assert forge.applied() == forge.ref(MAIN) == commit

    def test_broken_documents_are_refused_all_at_once_with_file_and_line(self, forge: Forge) -> None:
        before = forge.ref(MAIN)
        forge.commit("appliances/base/appliance.yaml", (forge.clone / "appliances/base/appliance.yaml").read_text() + "pakages: [vim]\n")
        forge.commit("imagelists/science.yaml", "uuid: nothing\n")
        said = forge.push(check=False)
        lines = (forge.clone / "appliances/base/appliance.yaml").read_text().splitlines()
        assert f"remote: error appliances/base/appliance.yaml:{lines.index('pakages: [vim]') + 1}:1" in said
        assert "did you mean packages" in said
        assert "remote: error imagelists/science.yaml:1:" in said
        assert "[remote rejected] main -> main (pre-receive hook declined)" in said
        assert forge.ref(MAIN) == before
        assert forge.applied() == ""

    def test_after_a_refused_push_the_mended_one_is_applied(self, forge: Forge) -> None:
        good = (forge.clone / "appliances/base/appliance.yaml").read_text()
        forge.commit("appliances/base/appliance.yaml", good + "title: [\n")
        assert "hook declined" in forge.push(check=False)
        commit = forge.commit("appliances/base/appliance.yaml", good)
        forge.push()
        assert forge.applied() == commit

    def test_the_first_push_into_an_empty_repository_is_checked_and_applied(self, tmp_path: Path, forge: Forge) -> None:
        empty = Repo(tmp_path / "empty.git")
        assert vmkeeper(empty.folder, "hook", "install").returncode == 0
        forge.git("remote", "set-url", "origin", f"file://{empty.folder}")
        commit = forge.git("rev-parse", "HEAD").stdout.strip()
        assert "remote: Nothing to do." in forge.push()
        assert Repository.open(empty.folder).applied() == commit

    def test_another_branch_may_hold_anything_and_starts_nothing(self, forge: Forge) -> None:
        forge.git("switch", "--quiet", "--create", "draft")
        forge.commit("appliances/base/appliance.yaml", "nonsense\n")
        assert "remote:" not in forge.push("draft")
        assert forge.applied() == ""

    def test_a_failed_apply_is_said_and_the_push_stays(self, forge: Forge) -> None:
        (forge.repo.folder / "hooks" / "pre-receive").unlink()
        commit = forge.commit("appliances/base/appliance.yaml", "nonsense\n")
        said = forge.push()
        assert "remote: error appliances/base/appliance.yaml:1" in said
        assert "remote: FAILED: apply. What was pushed stays" in said
        assert forge.ref(MAIN) == commit
        assert forge.applied() == ""

    def test_a_link_in_a_pushed_tree_is_refused(self, forge: Forge) -> None:
        (forge.clone / "appliances/base/files").symlink_to("/etc")
        forge.git("add", "--all")
        forge.git("commit", "--quiet", "--message", "a link")
        assert "remote: error appliances/base/files: a symbolic link is not read" in forge.push(check=False)

    def test_many_objects_arrive_as_a_pack_and_are_read_before_they_are_accepted(self, forge: Forge) -> None:
        forge.repo.git.config["receive.unpackLimit"] = 1
        for number in range(5):
            (forge.clone / f"clusters/README-{number}.md").parent.mkdir(exist_ok=True)
            (forge.clone / f"docs-{number}.md").write_text(str(number) * 100)
        commit = forge.commit("appliances/base/README.md", "About it.\n")
        forge.push()
        assert forge.applied() == commit


class TestTags:
    def test_a_signed_tag_is_published_only_where_that_is_configured(self, forge: Forge) -> None:
        forge.git("tag", "endorse/base/1/alice/1")
        said = forge.push("endorse/base/1/alice/1")
        assert "remote: Nothing is published from here: git config vmkeeper.public is not set." in said
        assert "vmkeeper publish" not in said

    def test_a_signed_tag_starts_publishing(self, forge: Forge, tmp_path: Path) -> None:
        forge.repo.git.config["vmkeeper.public"] = str(tmp_path / "public")
        forge.git("tag", "withdraw/base/1/alice/1")
        said = forge.push("withdraw/base/1/alice/1")
        assert "remote: vmkeeper publish" in said
        assert "remote: error --certificate is not given" in said
        assert "remote: FAILED: publish." in said
        assert "vmkeeper apply" not in said

    def test_a_signed_tag_is_never_moved_or_removed(self, forge: Forge) -> None:
        tag = "endorse/base/1/alice/1"
        forge.git("tag", tag)
        forge.push(tag)
        before = forge.ref(f"refs/tags/{tag}")
        assert f"{tag}: a signed tag is never changed or removed" in forge.push("--delete", tag, check=False)
        forge.commit("README.md", "Another.\n")
        forge.git("tag", "--force", tag)
        assert f"{tag}: a signed tag is never changed or removed" in forge.push("--force", tag, check=False)
        assert forge.ref(f"refs/tags/{tag}") == before

    def test_other_tags_start_nothing(self, forge: Forge) -> None:
        forge.git("tag", "v1")
        assert "remote:" not in forge.push("v1")


class TestManyPushes:
    def test_pushes_during_an_apply_are_taken_along_and_the_newest_decides(self, forge: Forge) -> None:
        with (forge.repo.repository.private / "apply.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            forge.commit("README.md", "First.\n")
            first = forge.pushing()
            until(lambda: "waiting for another apply" in forge.log)
            forge.commit("README.md", "Second.\n")
            second = forge.pushing()
            until(lambda: (Queue.of(forge.repo.repository).folder / "asked" / "apply").exists())
            third_commit = ""
            until(lambda: forge.ref(MAIN) == forge.git("rev-parse", "HEAD").stdout.strip())
            third_commit = forge.commit("README.md", "Third.\n")
            third = forge.pushing()
            until(lambda: forge.ref(MAIN) == third_commit)
        said = [push.communicate(timeout=PATIENCE)[1] for push in (first, second, third)]
        assert [push.returncode for push in (first, second, third)] == [0, 0, 0]
        assert "taken along" in said[1]
        assert forge.applied() == third_commit
        assert not Queue.of(forge.repo.repository).waiting()
        assert forge.log.count("vmkeeper apply\n") <= 3

    def test_a_pusher_who_goes_away_stops_nothing(self, forge: Forge) -> None:
        with (forge.repo.repository.private / "apply.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            commit = forge.commit("README.md", "Gone.\n")
            push = forge.pushing()
            until(lambda: "waiting for another apply" in forge.log)
            os.killpg(push.pid, signal.SIGKILL)
            push.communicate(timeout=PATIENCE)
        until(lambda: forge.applied() == commit)

    def test_what_a_killed_worker_left_is_taken_again(self, forge: Forge) -> None:
        queue = Queue.of(forge.repo.repository)
        queue.ask(["apply"])
        assert queue.take() == ("apply",)
        done = vmkeeper(forge.repo.folder, "hook", "work")
        assert done.returncode == 0, done.stderr
        assert forge.applied() == forge.ref(MAIN)
        assert queue.waiting() == ()

    def test_with_nothing_asked_work_does_nothing(self, forge: Forge) -> None:
        done = vmkeeper(forge.repo.folder, "hook", "work")
        assert (done.returncode, done.stdout) == (0, "")
        assert forge.applied() == ""


class TestInstall:
    def test_the_hooks_are_executable_and_installing_again_is_fine(self, forge: Forge) -> None:
        for _ in range(2):
            assert [line.split()[0] for line in install(forge.repo.repository)] == ["Wrote", "Wrote"]
        for name in HOOKS:
            path = forge.repo.folder / "hooks" / name
            assert path.stat().st_mode & 0o777 == 0o755
            assert subprocess.run(["sh", "-n", str(path)], check=False).returncode == 0

    def test_somebody_elses_hook_is_kept(self, forge: Forge) -> None:
        path = forge.repo.folder / "hooks" / "post-receive"
        path.write_text("#!/bin/sh\nmail -s pushed somebody\n")
        with pytest.raises(UserError, match="another hook is there") as error:
            list(install(forge.repo.repository))
        assert "vmkeeper hook receive" in error.value.hint
        assert path.read_text().endswith("somebody\n")

    def test_a_work_tree_is_refused(self, forge: Forge) -> None:
        with pytest.raises(UserError, match="for a bare repository"):
            list(install(Repository.open(forge.clone)))

    def test_hooks_that_git_would_not_run_are_refused(self, forge: Forge) -> None:
        forge.repo.git.config["core.hooksPath"] = "/elsewhere"
        with pytest.raises(UserError, match="/elsewhere"):
            list(install(forge.repo.repository))


class TestDecisions:
    @pytest.mark.parametrize(
        ("line", "tasks"),
        [
            (f"{'a' * 40} {'b' * 40} {MAIN}", ("apply", "publish")),
            (f"{ZERO} {'b' * 40} {MAIN}", ("apply", "publish")),
            (f"{'a' * 40} {ZERO} {MAIN}", ()),
            (f"{'a' * 40} {'b' * 40} refs/heads/main2", ()),
            (f"{ZERO} {'b' * 40} refs/tags/endorse/base/1/alice/1", ("publish",)),
            (f"{ZERO} {'b' * 40} refs/tags/withdraw/base/1/alice/1", ("publish",)),
            (f"{'a' * 40} {'b' * 40} refs/tags/endorse/base/1/alice/1", ()),
            (f"{ZERO} {'b' * 40} refs/heads/endorse/base", ()),
            (f"{ZERO} {'b' * 40} refs/tags/policy/1/alice", ()),
            (f"{ZERO} {'b' * 40} {APPLIED}", ()),
        ],
    )
    def test_what_a_push_asks_for(self, line: str, tasks: tuple[str, ...]) -> None:
        assert asked(parse(line.encode()), MAIN, publishes=True) == tasks
        assert asked(parse(line.encode()), MAIN, publishes=False) == tuple(task for task in tasks if task != "publish")

    @given(
        st.lists(
            st.tuples(*[st.text("0123456789abcdef", min_size=40, max_size=40)] * 2, st.binary(min_size=1).filter(lambda name: not name.split() == []))
        )
    )
    def test_any_ref_name_is_read(self, told: list[tuple[str, str, bytes]]) -> None:
        kept = [(old, new, name) for old, new, name in told if len(name.decode(errors="surrogateescape").splitlines()) == 1 and b"\n" not in name]
        text = b"".join(f"{old} {new} ".encode() + name + b"\n" for old, new, name in kept)
        assert parse(text) == tuple(Update(old, new, name.decode(errors="surrogateescape")) for old, new, name in kept)

    def test_git_cannot_bind_what_hooks_start(self) -> None:
        assert outside({"GIT_DIR": ".", "GIT_QUARANTINE_PATH": "x", "PATH": "/bin", "VMKEEPER_STORE": "s"}) == {"PATH": "/bin", "VMKEEPER_STORE": "s"}

    def test_what_is_asked_during_the_work_is_worked_on_too(self, tmp_path: Path) -> None:
        queue = Queue(tmp_path)
        queue.ask(["apply"])
        did: list[str] = []

        def perform(words: tuple[str, ...]) -> bool:
            did.append(words[0])
            if did == ["check", "apply"]:
                queue.ask(["apply", "publish"])
            return True

        assert list(work(queue, perform)) == []
        assert did == ["check", "apply", "check", "apply", "publish"]
        assert queue.waiting() == ()

    def test_a_failed_task_ends_there_and_the_next_is_tried(self, tmp_path: Path) -> None:
        queue = Queue(tmp_path)
        queue.ask(["publish", "apply"])
        did: list[str] = []
        assert list(work(queue, lambda words: did.append(words[0]) or words[0] != "check")) == ["apply"]
        assert did == ["check", "publish"]
        assert queue.waiting() == ()

    def test_only_one_worker_has_the_lock(self, tmp_path: Path) -> None:
        first = Queue(tmp_path).lock()
        assert first is not None
        assert Queue(tmp_path).lock() is None
        first.close()
        again = Queue(tmp_path).lock()
        assert again is not None
        again.close()
