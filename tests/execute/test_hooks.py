"""A plain bare repository with our hooks: real pushes are checked, applied and published; none is lost."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from support.forge import MAIN, PATIENCE, ZERO, Forge, outside_git, set_up, until, vmkeeper
from support.repo import Repo, base, locked, released, tools
from vmkeeper.errors import UserError
from vmkeeper.execute.hooks import HOOKS, Queue, Update, asked, install, outside, parse, work
from vmkeeper.repository.tree import APPLIED, Repository

OBJECT_IDS = st.text("0123456789abcdef", min_size=40, max_size=40)


@pytest.fixture
def forge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Forge:
    monkeypatch.setenv("VMKEEPER_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("VMKEEPER_CACHE", str(tmp_path / "cache"))
    repo = Repo(tmp_path / "forge.git")
    repo.commit(base() | tools() | {"README.md": "Ours.\n"})
    repo.commit(locked(repo))
    repo.commit(released(repo))
    return set_up(repo.folder, tmp_path / "clone")


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
        (forge.folder / "hooks" / "pre-receive").unlink()
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
        forge.repository.git.config["receive.unpackLimit"] = 1
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
        forge.repository.git.config["vmkeeper.public"] = str(tmp_path / "public")
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
        with (forge.repository.private / "apply.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            forge.commit("README.md", "First.\n")
            first = forge.pushing()
            until(lambda: "waiting for another apply" in forge.log)
            forge.commit("README.md", "Second.\n")
            second = forge.pushing()
            until((Queue.of(forge.repository).folder / "asked" / "apply").exists)
            until(lambda: forge.ref(MAIN) == forge.git("rev-parse", "HEAD").stdout.strip())
            third_commit = forge.commit("README.md", "Third.\n")
            third = forge.pushing()
            until(lambda: forge.ref(MAIN) == third_commit)
        said = [push.communicate(timeout=PATIENCE)[1] for push in (first, second, third)]
        assert [push.returncode for push in (first, second, third)] == [0, 0, 0]
        assert "taken along" in said[1]
        assert forge.applied() == third_commit
        assert not Queue.of(forge.repository).waiting()
        assert forge.log.count("vmkeeper apply\n") <= 3

    def test_a_pusher_who_goes_away_stops_nothing(self, forge: Forge) -> None:
        with (forge.repository.private / "apply.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            commit = forge.commit("README.md", "Gone.\n")
            push = forge.pushing()
            until(lambda: "waiting for another apply" in forge.log)
            os.killpg(push.pid, signal.SIGKILL)
            push.communicate(timeout=PATIENCE)
        until(lambda: forge.applied() == commit)

    def test_a_killed_worker_is_said_and_the_next_push_goes_on(self, forge: Forge) -> None:
        with (forge.repository.private / "apply.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            forge.commit("README.md", "Killed.\n")
            push = forge.pushing()
            until(lambda: "waiting for another apply" in forge.log)
            for process in forge.workers():
                os.kill(process, signal.SIGKILL)
            assert "remote: The run was broken off." in push.communicate(timeout=PATIENCE)[1]
        assert Queue.of(forge.repository).waiting() == ("apply",)
        assert forge.applied() == ""
        forge.git("tag", "v1")
        forge.push("v1")
        assert forge.applied() == ""
        commit = forge.commit("README.md", "Again.\n")
        forge.push()
        assert forge.applied() == commit

    def test_what_a_killed_worker_left_is_taken_again(self, forge: Forge) -> None:
        queue = Queue.of(forge.repository)
        queue.ask(["apply"])
        assert queue.take() == ("apply",)
        done = vmkeeper(forge.folder, "hook", "work")
        assert done.returncode == 0, done.stderr
        assert forge.applied() == forge.ref(MAIN)
        assert queue.waiting() == ()

    def test_with_nothing_asked_work_does_nothing(self, forge: Forge) -> None:
        done = vmkeeper(forge.folder, "hook", "work")
        assert (done.returncode, done.stdout) == (0, "")
        assert forge.applied() == ""


class TestInstall:
    @pytest.fixture
    def bare(self, tmp_path: Path) -> Repository:
        return Repo(tmp_path / "forge.git").repository

    def test_the_hooks_are_executable_and_installing_again_is_fine(self, bare: Repository) -> None:
        for _ in range(2):
            assert [line.split()[0] for line in install(bare)] == ["Wrote", "Wrote"]
        for name in HOOKS:
            path = bare.folder / "hooks" / name
            assert path.stat().st_mode & 0o777 == 0o755
            assert subprocess.run(["sh", "-n", str(path)], check=False).returncode == 0

    def test_somebody_elses_hook_is_kept(self, bare: Repository) -> None:
        path = bare.folder / "hooks" / "post-receive"
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\nmail -s pushed somebody\n")
        with pytest.raises(UserError, match="another hook is there") as error:
            list(install(bare))
        assert "vmkeeper hook receive" in error.value.hint
        assert path.read_text().endswith("somebody\n")
        assert not (bare.folder / "hooks" / "pre-receive").exists()

    def test_a_work_tree_is_refused(self, tmp_path: Path) -> None:
        subprocess.run(["git", "init", "--quiet", str(tmp_path)], env=outside_git(), check=True)
        with pytest.raises(UserError, match="for a bare repository"):
            list(install(Repository.open(tmp_path)))

    def test_hooks_that_git_would_not_run_are_refused(self, bare: Repository) -> None:
        bare.git.config["core.hooksPath"] = "/elsewhere"
        with pytest.raises(UserError, match="/elsewhere"):
            list(install(bare))


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
            (f"{ZERO} {'b' * 40} refs/tags/policy/1/alice", ("publish",)),
            (f"{'a' * 40} {'b' * 40} refs/tags/policy/1/alice", ("publish",)),
            (f"{'a' * 40} {ZERO} refs/tags/policy/1/alice", ()),
            (f"{ZERO} {'b' * 40} refs/tags/revoke/alice/bob/1", ("publish",)),
            (f"{ZERO} {'b' * 40} refs/tags/approve/here/1/carol", ()),
            (f"{ZERO} {'b' * 40} {APPLIED}", ()),
        ],
    )
    def test_what_a_push_asks_for(self, line: str, tasks: tuple[str, ...]) -> None:
        assert asked(parse(line.encode()), MAIN, publishes=True) == tasks
        assert asked(parse(line.encode()), MAIN, publishes=False) == tuple(task for task in tasks if task != "publish")

    @given(st.lists(st.tuples(OBJECT_IDS, OBJECT_IDS, st.binary(min_size=1).filter(lambda name: b"\n" not in name))))
    @example([(ZERO, "b" * 40, f"refs/heads/x\u2028{ZERO} {'b' * 40} {MAIN}".encode())])
    def test_any_ref_name_is_one_name(self, told: list[tuple[str, str, bytes]]) -> None:
        text = b"".join(f"{old} {new} ".encode() + name + b"\n" for old, new, name in told)
        assert parse(text) == tuple(Update(old, new, name.decode(errors="surrogateescape")) for old, new, name in told)

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
