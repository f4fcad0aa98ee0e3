"""Programs and files that take events: real programs that hang, fork, shout, die or were never programs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from support.sitescenario import NOW
from support.telling import TellingSite, lines, write_program
from vmkeeper.errors import EnvironmentLacks, UserError, VmkeeperError
from vmkeeper.execute import handlers
from vmkeeper.execute.handlers import LOG_LIMIT, FileTaker, ProgramTaker, Stopped, end_marked
from vmkeeper.lists.events import Event, event_image, make
from vmkeeper.model.handler import Handler

SESSION = "3f0c5a44-6c8a-4f0e-9d70-6f2f0f7f2c11"
FOREVER = 3600.0


def events(count: int = 1, session: str = SESSION) -> list[Event]:
    made = []
    for number in range(count):
        said = TellingSite.spec(f"debian-12 {number + 1}")
        made.append(make("AvailablePostfix", session, "here", NOW, key=said.key, image=event_image(said)))
    return made


def taker(home: Path, text: str, *, timeout: float = FOREVER, stop: threading.Event | None = None) -> ProgramTaker:
    program = write_program(home, "program", text)
    folders = {"CACHE": str(home / "images"), "DOWNLOAD": str(home / "images/partial"), "EXPIRE": str(home / "images/expired")}
    return ProgramTaker(
        "one", program, home / "events" / "one.log", folders, timeout=timeout, find=lambda _event: None, stop=stop or threading.Event()
    )


def alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def log(home: Path) -> str:
    return (home / "events" / "one.log").read_text()


# -- programs


def test_a_program_sees_the_event_and_nothing_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMKEEPER_SECRET", "do not tell")
    monkeypatch.setenv("VMCATCHER_EVENT_VO", "of another event")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    text = f"#!{sys.executable} -I\nimport json, os, sys\njson.dump([dict(os.environ), sys.argv, os.getcwd(), sys.stdin.read(), os.listdir('/proc/self/fd')], open({str(tmp_path / 'seen')!r}, 'w'))\n"
    with (tmp_path / "open").open("w") as held:
        os.set_inheritable(held.fileno(), True)
        taker(tmp_path, text).take(events())
    env, argv, cwd, stdin, descriptors = json.loads((tmp_path / "seen").read_text())
    assert {name for name in env if not name.startswith("VMCATCHER_")} == {"PATH", "HOME", "LANG"}
    assert (env["LANG"], env["PATH"], env["HOME"]) == ("C.UTF-8", os.environ["PATH"], os.environ["HOME"])
    assert env["VMCATCHER_EVENT_VO"] == "tests"
    assert env["VMCATCHER_HANDLER"] == "one"
    assert argv == [str(tmp_path / "handlers" / "program")]
    assert (cwd, stdin) == (str(tmp_path / "handlers"), "")
    assert len(descriptors) <= 5


def test_what_a_list_says_is_not_run_by_any_shell_of_ours(tmp_path: Path) -> None:
    event = events()[0]
    assert event.image is not None
    evil = f"`touch {tmp_path}/evil`; $(touch {tmp_path}/evil) | touch {tmp_path}/evil"
    event = event.model_copy(update={"image": event.image.model_copy(update={"title": evil})})
    taker(tmp_path, '#!/bin/sh\nprintf "%s" "$VMCATCHER_EVENT_DC_TITLE"\n').take([event])
    assert evil in log(tmp_path)
    assert not (tmp_path / "evil").exists()


def test_each_event_is_one_start_and_the_log_says_which(tmp_path: Path) -> None:
    taker(tmp_path, "#!/bin/sh\necho it is version $VMCATCHER_EVENT_HV_VERSION\necho and this too >&2\n").take(events(2))
    text = log(tmp_path)
    assert text.splitlines()[1:3] == ["it is version 1", "and this too"]
    assert [line.split(" (")[0] for line in text.splitlines() if line.startswith("--")] == [
        "-- AvailablePostfix debian-12 1",
        "-- AvailablePostfix debian-12 2",
    ]
    assert (tmp_path / "events" / "one.log").stat().st_mode & 0o777 == 0o600


def test_a_status_that_is_not_0_is_told_with_the_last_words(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="program ended with status 7") as failed:
        taker(tmp_path, "#!/bin/sh\necho out of cheese >&2\nexit 7\n").take(events())
    assert "out of cheese" in failed.value.why
    assert "one.log" in failed.value.hint


def test_a_program_that_a_signal_ends_has_not_taken_the_event(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="program was ended by signal 15"):
        taker(tmp_path, "#!/bin/sh\nkill -TERM $$\n").take(events())


@pytest.mark.parametrize(
    ("how", "error", "says"),
    [
        (lambda path: path.unlink(), EnvironmentLacks, "there is no such handler"),
        (lambda path: path.chmod(0o644), UserError, "not a program that can be run"),
        (lambda path: path.chmod(0o757), UserError, "anybody may write this program"),
        (lambda path: path.parent.chmod(0o777), UserError, "anybody may write this program"),
        (lambda path: (path.unlink(), path.mkdir()), UserError, "not a program that can be run"),
        (lambda path: path.write_text("echo no interpreter is named\n"), UserError, "cannot be started"),
        (lambda path: path.write_text("#!/nowhere/sh\n"), UserError, "cannot be started"),
    ],
)
def test_what_is_no_program_is_refused_with_a_reason(how: Any, error: type[VmkeeperError], says: str, tmp_path: Path) -> None:
    made = taker(tmp_path, "#!/bin/sh\n")
    how(tmp_path / "handlers" / "program")
    with pytest.raises(error, match=says) as refused:
        made.take(events())
    assert refused.value.hint


@pytest.mark.parametrize("name", ["../program", "/bin/sh", "a/b", ".hidden", "-rf", ""])
def test_a_program_is_named_and_never_a_path(name: str) -> None:
    with pytest.raises(ValueError, match="program"):
        Handler.model_validate({"name": "one", "program": name})


STUBBORN = """#!{python} -I
import os, signal, subprocess, sys, time
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    signal.signal(number, signal.SIG_IGN)
code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(3600)"
child = subprocess.Popen([sys.executable, "-I", "-c", code])
free = subprocess.Popen([sys.executable, "-I", "-c", code], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        with open({pids!r} + ".daemon", "w") as file:
            file.write(str(os.getpid()))
        time.sleep(3600)
    os._exit(0)
while not os.path.exists({pids!r} + ".daemon"):
    time.sleep(0.01)
with open({pids!r} + ".new", "w") as file:
    file.write(f"{{os.getpid()}} {{child.pid}} {{free.pid}} ")
    file.write(open({pids!r} + ".daemon").read())
os.rename({pids!r} + ".new", {pids!r})
time.sleep(3600)
"""


def stubborn(home: Path, **options: Any) -> ProgramTaker:
    return taker(home, STUBBORN.format(python=sys.executable, pids=str(home / "pids")), **options)


def until(condition: Any) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_program_that_hangs_and_ignores_sigterm_is_ended_with_all_that_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "_GRACE", 0.2)
    made, ready = stubborn(tmp_path, timeout=0), tmp_path / "pids"
    monkeypatch.setattr(handlers.time, "monotonic", lambda: 1.0 if ready.exists() else 0.0)
    with pytest.raises(UserError, match="not done within 0 s and was ended"):
        made.take(events())
    monkeypatch.undo()
    pids = [int(word) for word in ready.read_text().split()]
    assert len(pids) == 4
    until(lambda: not any(alive(pid) for pid in pids))


def test_a_run_that_is_broken_off_ends_its_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "_GRACE", 0.2)
    stop = threading.Event()
    raised: list[VmkeeperError] = []

    def take() -> None:
        try:
            stubborn(tmp_path, stop=stop).take(events())
        except VmkeeperError as error:
            raised.append(error)

    thread = threading.Thread(target=take)
    thread.start()
    until((tmp_path / "pids").exists)
    stop.set()
    thread.join()
    assert isinstance(raised[0], Stopped)
    until(lambda: not any(alive(int(pid)) for pid in (tmp_path / "pids").read_text().split()))


def test_what_a_killed_run_left_running_is_ended_before_the_event_is_told_again(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        stubborn(tmp_path).take(events())
        os._exit(0)
    until((tmp_path / "pids").exists)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pids = [int(word) for word in (tmp_path / "pids").read_text().split()]
    assert any(alive(pid) for pid in pids)
    taker(tmp_path, "#!/bin/sh\n").take(events())
    until(lambda: not any(alive(pid) for pid in pids))


def test_only_processes_that_bear_all_marks_are_ended() -> None:
    command = [sys.executable, "-I", "-c", "import time; time.sleep(3600)"]
    mine, other = ({"PATH": os.environ["PATH"], "VMCATCHER_HANDLER": "test-of-marks", "VMCATCHER_EVENT_ID": str(number)} for number in (1, 2))
    with subprocess.Popen(command, env=mine) as first, subprocess.Popen(command, env=other) as second:
        until(lambda: all(b"test-of-marks" in Path(f"/proc/{process.pid}/environ").read_bytes() for process in (first, second)))
        end_marked((b"VMCATCHER_HANDLER=test-of-marks", b"VMCATCHER_EVENT_ID=1"))
        assert first.wait() == -signal.SIGKILL
        assert second.poll() is None
        second.kill()


def test_a_job_that_a_program_leaves_in_the_background_goes_on(tmp_path: Path) -> None:
    taker(tmp_path, f"#!/bin/sh\nsleep 3600 & echo $! > {tmp_path}/pid\n").take(events())
    pid = int((tmp_path / "pid").read_text())
    assert alive(pid)
    os.kill(pid, signal.SIGKILL)


def test_a_log_does_not_grow_without_end(tmp_path: Path) -> None:
    text = f"#!/bin/sh\nhead -c {LOG_LIMIT} /dev/zero | tr '\\0' x\n"
    made = taker(tmp_path, text)
    for _ in range(4):
        made.take(events())
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "events").iterdir()}
    assert set(sizes) == {"one.log", "one.log.1"}
    assert max(sizes.values()) < 2 * LOG_LIMIT


def test_a_program_that_shouts_without_end_fills_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "LOG_LIMIT", 4096)
    monkeypatch.setattr(handlers, "_PAUSE", 0.01)
    text = f"#!/bin/sh\nuntil [ -e {tmp_path}/enough ]; do echo so it goes on and on and on; done\necho the end\n"
    made = taker(tmp_path, text)
    thread = threading.Thread(target=made.take, args=(events(),))
    thread.start()
    until(lambda: (tmp_path / "events" / "one.log").exists() and "so much" in log(tmp_path))
    (tmp_path / "enough").touch()
    thread.join()
    assert log(tmp_path).endswith("the end\n")


def test_the_log_is_never_written_through_a_link(tmp_path: Path) -> None:
    made = taker(tmp_path, "#!/bin/sh\n")
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "one.log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="could not write a log"):
        made.take(events())
    assert not (tmp_path / "elsewhere").exists()


# -- files


def test_lines_are_appended(tmp_path: Path) -> None:
    made = FileTaker(tmp_path / "events" / "list.jsonl")
    made.take(events(2))
    made.take(events(1, SESSION.replace("3", "4")))
    assert [line["subject"].rpartition("/")[2] for line in lines(tmp_path)] == ["1", "2", "1"]


@pytest.mark.parametrize("cut", [0, 1, 30])
def test_after_a_crash_each_line_is_there_once_and_whole(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "events" / "list.jsonl"
    made = FileTaker(path)
    made.take(events(3))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - cut])
    made.take(events(5)[1:])
    assert [line["subject"].rpartition("/")[2] for line in lines(tmp_path)] == ["1", "2", "3", "4", "5"]


def test_a_line_that_somebody_else_wrote_stays(tmp_path: Path) -> None:
    path = tmp_path / "events" / "list.jsonl"
    path.parent.mkdir()
    path.write_text("not json\n")
    FileTaker(path).take(events(1))
    assert path.read_text().splitlines()[0] == "not json"
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.parametrize("spoil", [lambda path: path.mkdir(), lambda path: path.symlink_to("/nowhere")])
def test_a_file_that_cannot_be_written_is_told(spoil: Any, tmp_path: Path) -> None:
    path = tmp_path / "events" / "list.jsonl"
    path.parent.mkdir()
    spoil(path)
    with pytest.raises(UserError, match="could not append events"):
        FileTaker(path).take(events(1))
