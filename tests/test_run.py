"""Running real programs: input, output, limits, and that nothing is left behind."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import pytest

from vmkeeper.errors import EnvironmentLacks
from vmkeeper.run import Limits, ProgramFailed, environment, program, run


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def eventually(condition: object, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.02)
    return False


def test_output_and_status_come_back() -> None:
    result = run(["sh", "-c", "echo out; echo err >&2"])
    assert (result.status, result.stdout, result.stderr, result.text) == (0, b"out\n", b"err\n", "out\n")


def test_bytes_are_fed_and_an_empty_input_is_the_default() -> None:
    assert run(["cat"], stdin=b"\x00\xff" * 100_000).stdout == b"\x00\xff" * 100_000
    assert run(["cat"]).stdout == b""


def test_a_file_is_read_and_another_written(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"x" * 1000)
    with (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("wb") as target:
        assert run(["cat"], stdin=source, stdout=target).stdout == b""
    assert (tmp_path / "out").read_bytes() == b"x" * 1000


def test_a_failure_tells_status_and_words() -> None:
    with pytest.raises(ProgramFailed) as raised:
        run(["sh", "-c", "echo it is broken >&2; exit 3"], hint="mend it")
    assert raised.value.result is not None
    assert raised.value.result.status == 3
    assert "sh failed with status 3" in str(raised.value)
    assert raised.value.why == "it is broken"
    assert raised.value.hint == "mend it"


def test_a_failure_without_words_on_standard_error_tells_standard_output() -> None:
    with pytest.raises(ProgramFailed) as raised:
        run(["sh", "-c", "echo said here; exit 1"])
    assert raised.value.why == "said here"
    with pytest.raises(ProgramFailed) as raised:
        run(["false"])
    assert raised.value.why == "it said nothing"


def test_a_failure_tells_only_the_end_of_many_words() -> None:
    with pytest.raises(ProgramFailed) as raised:
        run(python("import sys; sys.stderr.write('x' * 100000 + 'the end'); sys.exit(1)"))
    assert raised.value.why.endswith("the end")
    assert len(raised.value.why) <= 4000


def test_a_failure_may_be_a_result() -> None:
    assert run(["sh", "-c", "exit 7"], check=False).status == 7
    assert run(["sh", "-c", "kill -TERM $$"], check=False).status == -15


@pytest.mark.parametrize("command", ["no-such-program-here", "/no/such/program"])
def test_a_missing_program_is_what_the_machine_lacks(command: str) -> None:
    with pytest.raises(EnvironmentLacks) as raised:
        run([command, "x"])
    assert command in str(raised.value)
    assert raised.value.hint


def test_a_program_is_found_or_its_package_is_named() -> None:
    assert Path(program("sh")).is_file()
    with pytest.raises(EnvironmentLacks) as raised:
        program("no-such-program-here", package="some-package")
    assert raised.value.hint == "apt-get install some-package"


def test_a_timeout_kills_the_program_and_its_children(tmp_path: Path) -> None:
    note = tmp_path / "pids"
    with pytest.raises(ProgramFailed) as raised:
        run(["sh", "-c", f"sleep 600 & echo $! $$ > {note}.new; mv {note}.new {note}; wait"], timeout=1, hint="wait longer")
    assert "did not end within 1 s" in str(raised.value)
    assert raised.value.result is None
    assert raised.value.hint == "wait longer"
    pids = [int(pid) for pid in note.read_text().split()]
    assert len(pids) == 2
    assert eventually(lambda: all(gone(pid) for pid in pids))


def test_a_program_that_ignores_signals_is_killed_too(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with pytest.raises(ProgramFailed):
        run(["sh", "-c", f"trap '' TERM INT HUP; echo $$ > {note}; while :; do sleep 1; done"], timeout=0.5)
    assert eventually(lambda: gone(int(note.read_text())))


def test_a_program_that_writes_without_end_is_stopped_by_its_time() -> None:
    with pytest.raises(ProgramFailed), open(os.devnull, "wb") as nowhere:  # noqa: PTH123
        run(["yes"], stdout=nowhere, timeout=0.3)


def test_an_interrupt_ends_the_program_and_goes_on(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from vmkeeper.run import run\n"
        f"run(['sh', '-c', 'echo $$ > {note}.new; mv {note}.new {note}; sleep 600'])\n"
    )
    import signal
    import subprocess

    import vmkeeper

    engine = str(Path(vmkeeper.__path__[0]).parent)
    process = subprocess.Popen([sys.executable, "-c", code, engine], stderr=subprocess.DEVNULL)
    try:
        assert eventually(note.exists)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) != 0
        assert eventually(lambda: gone(int(note.read_text())))
    finally:
        process.kill()
        process.wait()


def test_the_environment_is_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    monkeypatch.setenv("SECRET_TOKEN", "x")
    monkeypatch.setenv("PYTHONPATH", "/x")
    monkeypatch.setenv("GNUPGHOME", "/keys")
    seen = dict(line.split("=", 1) for line in run(["env"], env={"EXTRA": "1"}).text.splitlines() if "=" in line)
    assert seen["LC_ALL"] == "C.UTF-8"
    assert seen["TZ"] == "UTC"
    assert seen["EXTRA"] == "1"
    assert seen["GNUPGHOME"] == "/keys"
    assert not {"SECRET_TOKEN", "PYTHONPATH", "LANG"} & set(seen)
    assert seen["PATH"].endswith(":/usr/sbin:/sbin")


def test_what_is_given_wins_over_what_is_fixed() -> None:
    assert environment({"LC_ALL": "C", "PATH": "/bin"})["PATH"] == "/bin"


def test_words_are_passed_as_they_are() -> None:
    words = ["a b", "$HOME", "*", ";", "'", '"', "\n", "-x", "é"]
    assert run(python("import sys; print(sys.argv[1:])") + words).text.strip() == str(words)


def test_it_runs_where_it_is_told(tmp_path: Path) -> None:
    assert run(["pwd"], cwd=tmp_path).text.strip() == str(tmp_path.resolve())


def test_memory_is_limited() -> None:
    code = "x = bytearray(800 * 2**20)"
    assert run(python(code), limits=Limits(memory=400 * 2**20), check=False).status != 0
    assert run(python("x = bytearray(10 * 2**20)"), limits=Limits(memory=400 * 2**20)).status == 0


def test_the_size_of_files_is_limited(tmp_path: Path) -> None:
    target = tmp_path / "big"
    assert run(["dd", "if=/dev/zero", f"of={target}", "bs=1024", "count=4096"], limits=Limits(file_size=2**20), check=False).status != 0
    assert target.stat().st_size <= 2**20


def test_processor_time_is_limited() -> None:
    assert run(python("while True: pass"), limits=Limits(cpu=1), check=False, timeout=120).status < 0


def test_programs_run_side_by_side() -> None:
    results: list[bytes] = []
    threads = [threading.Thread(target=lambda n=n: results.append(run(["cat"], stdin=str(n).encode() * 1000).stdout)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == sorted(str(n).encode() * 1000 for n in range(4))
