"""The loop of `reconcile --watch`: pauses, back-off, moments that matter, faults, signals, flat memory."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from vmkeeper.execute.servicemanager import ServiceManager
from vmkeeper.execute.watching import Pause, Round, Wishes, pause_after, signals, watch
from vmkeeper.model.service import Watch
from vmkeeper.values import Duration

NOW = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
WATCH = Watch(interval=Duration.parse("5m"), jitter=20, longest=Duration.parse("1h"))


def after(came: str = "good", failures: int = 0, chance: float = 0, **more: object) -> Pause:
    return pause_after(Round(came, WATCH, **more), failures, NOW, chance)  # type: ignore[arg-type]


def test_a_good_round_is_followed_by_the_interval_and_some_chance() -> None:
    assert after().seconds == 300
    assert after(chance=0.5).seconds == 330
    assert after(chance=1).seconds == 360


def test_failures_double_the_pause_up_to_the_longest() -> None:
    assert [after("failed", failures).seconds for failures in range(1, 6)] == [600, 1200, 2400, 3600, 3600]
    assert after("failed", 10**9).seconds == 3600
    assert "2 rounds failed" in after("failed", 2).why


def test_a_longest_pause_below_the_interval_does_not_make_failures_faster() -> None:
    odd = Watch(interval=Duration.parse("2h"), longest=Duration.parse("1h"))
    assert pause_after(Round("failed", odd), 3, NOW, 0).seconds == 7200


def test_another_run_at_work_is_waited_for_shortly() -> None:
    assert after("busy").seconds == 15
    assert "another run" in after("busy").why


def test_a_moment_that_matters_ends_the_pause_and_not_before_it_has_come() -> None:
    made = after(next=NOW + timedelta(seconds=42))
    assert 42 < made.seconds < 43
    assert after(next=NOW + timedelta(days=1)).seconds == 300
    assert after("failed", 3, next=NOW + timedelta(seconds=42)).seconds < 43
    assert after(next=NOW).seconds == 300
    assert after(next=NOW - timedelta(days=1)).seconds == 300


@given(
    came=st.sampled_from(["good", "failed", "busy"]),
    failures=st.integers(0, 10**6),
    chance=st.floats(0, 1),
    interval=st.integers(1, 10**6),
    longest=st.integers(1, 10**6),
    jitter=st.integers(0, 100),
    moment=st.integers(-(10**6), 10**6),
)
def test_no_pause_is_so_short_that_it_spins_or_longer_than_was_asked(
    came: str, failures: int, chance: float, interval: int, longest: int, jitter: int, moment: int
) -> None:
    settings = Watch(interval=Duration(interval), longest=Duration(longest), jitter=jitter)
    made = pause_after(Round(came, settings, NOW + timedelta(seconds=moment)), failures, NOW, chance)  # type: ignore[arg-type]
    assert 1 <= made.seconds <= max(interval, longest) * 2 + 1


class Told:
    def __init__(self, wishes: Wishes, rounds: int) -> None:
        self.wishes, self.left = wishes, rounds
        self.pauses: list[Pause] = []
        self.faults: list[Exception] = []

    def rest(self, pause: Pause) -> None:
        self.pauses.append(pause)
        self.left -= 1
        if self.left <= 0:
            self.wishes.ask_end()
        else:
            self.wishes.ask_look()


def run(rounds: int, round_: object) -> Told:
    wishes = Wishes()
    told = Told(wishes, rounds)
    watch(round_, wishes, clock=lambda: NOW, chance=lambda: 0, fault=told.faults.append, resting=told.rest)  # type: ignore[arg-type]
    return told


def test_failures_are_counted_until_a_round_is_good_and_other_runs_do_not_count() -> None:
    came = iter(["failed", "failed", "busy", "failed", "good", "failed"])
    told = run(6, lambda: Round(next(came), WATCH))  # type: ignore[arg-type]
    assert [pause.seconds for pause in told.pauses] == [600, 1200, 15, 2400, 300, 600]


def test_a_fault_in_a_round_is_told_and_the_service_goes_on() -> None:
    came = iter([Round("good", WATCH), ZeroDivisionError("a bug"), Round("good", WATCH)])

    def round_() -> Round:
        one = next(came)
        if isinstance(one, Exception):
            raise one
        return one

    told = run(3, round_)
    assert [str(fault) for fault in told.faults] == ["a bug"]
    assert [pause.seconds for pause in told.pauses] == [300, 600, 300]


def test_settings_that_change_in_the_sites_file_hold_from_the_next_pause_on() -> None:
    settings = iter([WATCH, Watch(interval=Duration.parse("1m"))])
    assert [pause.seconds for pause in run(2, lambda: Round("good", next(settings))).pauses] == [300, 60]


def test_an_end_that_was_asked_for_before_begins_nothing() -> None:
    wishes = Wishes()
    wishes.ask_end()
    assert watch(lambda: 1 / 0, wishes, clock=lambda: NOW, chance=lambda: 0, fault=lambda _: None) == 0  # type: ignore[arg-type, return-value]


def test_a_look_that_is_asked_for_during_a_round_follows_at_once() -> None:
    wishes, seen = Wishes(), []

    def round_() -> Round:
        seen.append(1)
        wishes.ask_end() if len(seen) == 2 else wishes.ask_look()
        return Round("good", WATCH)

    assert watch(round_, wishes, clock=lambda: NOW, chance=lambda: 0, fault=lambda _: None) == 2


def test_two_thousand_rounds_take_no_more_memory_than_a_few() -> None:
    wishes, count, sizes = Wishes(), 0, []

    def round_() -> Round:
        nonlocal count
        count += 1
        if count in (200, 2000):
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
        (wishes.ask_end if count == 2000 else wishes.ask_look)()
        if count % 7 == 0:
            raise ValueError(f"fault {count}" * 100)
        return Round("good", WATCH, NOW + timedelta(seconds=count))

    tracemalloc.start()
    try:
        watch(round_, wishes, clock=lambda: NOW, chance=lambda: 0, fault=lambda _: None)
    finally:
        tracemalloc.stop()
    assert count == 2000
    assert sizes[1] - sizes[0] < 20_000


SERVICE = """
import signal, sys, time
from datetime import UTC, datetime
from vmkeeper.execute.watching import Round, Wishes, signals, watch
wishes, rounds = Wishes(), 0
def round_():
    global rounds
    rounds += 1
    print("round", rounds, flush=True)
    if "slow" in sys.argv:
        for _ in range(1200):
            if wishes.end.is_set() and "patient" in sys.argv:
                break
            time.sleep(0.05)
        print("finished", flush=True)
    return Round("good")
with signals(wishes):
    watch(round_, wishes, clock=lambda: datetime.now(UTC), chance=lambda: 0, fault=print, resting=lambda _: print("resting", flush=True))
print("ended", flush=True)
"""


def started(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", SERVICE, *words], stdout=subprocess.PIPE, text=True)


def read_to(process: subprocess.Popen[str], wanted: str) -> list[str]:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.strip())
        if lines[-1] == wanted:
            break
    return lines


def test_sighup_looks_now_and_sigterm_ends_the_pause() -> None:
    with started() as process:
        read_to(process, "resting")
        process.send_signal(signal.SIGHUP)
        assert "round 2" in read_to(process, "resting")
        process.send_signal(signal.SIGTERM)
        assert read_to(process, "ended")[-1] == "ended"
        assert process.wait() == 0


def test_sigint_ends_after_the_running_round() -> None:
    with started("slow", "patient") as process:
        read_to(process, "round 1")
        process.send_signal(signal.SIGINT)
        assert read_to(process, "ended") == ["finished", "ended"]
        assert process.wait() == 0


def test_a_second_signal_ends_at_once() -> None:
    with started("slow") as process:
        read_to(process, "round 1")
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        while process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        assert process.returncode == -signal.SIGTERM
        assert "finished" not in read_to(process, "ended")


def test_handlers_of_signals_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with signals(Wishes()):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_service_manager_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(30)
        alive = threading.Event()
        manager = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "20000"}, alive=alive.is_set)
        manager.ready()
        assert listening.recv(1000).decode() == f"READY=1\nMAINPID={os.getpid()}"
        manager.says("three  images\nof four")
        assert listening.recv(1000) == b"STATUS=three images of four"
        alive.set()
        assert listening.recv(1000) == b"WATCHDOG=1"
        assert listening.recv(1000) == b"WATCHDOG=1"
        manager.ending()
        while (said := listening.recv(1000)) == b"WATCHDOG=1":
            pass
        assert said == b"STOPPING=1"


def test_without_a_service_manager_nothing_is_told_and_one_that_is_gone_is_no_error(tmp_path: Path) -> None:
    for environment in (
        {},
        {"NOTIFY_SOCKET": str(tmp_path / "gone")},
        {"NOTIFY_SOCKET": "vsock:1:2"},
        {"NOTIFY_SOCKET": "@gone", "WATCHDOG_USEC": "x"},
    ):
        manager = ServiceManager(environment)
        manager.ready()
        manager.says("something")
        manager.ending()


def test_a_watchdog_of_another_process_is_not_ours(tmp_path: Path) -> None:
    threads = threading.active_count()
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}).ready()
    assert threading.active_count() == threads
