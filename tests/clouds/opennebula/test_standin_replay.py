"""The stand-in answers every recorded call as the real oned did that was recorded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.onebefore import PREPARE
from support.onelines import compared
from support.onerecordings import FIXTURES, recorded
from support.onereplay import Replay
from support.webserver import WebServer

FILES = ("probe", "probe2", "probe3", "probe4", "probe6", "probe8")
RECORDED = {"6.10.0.1": 446, "7.4.0": 403}
"""Answers of oned that were recorded; the rest is OneFlow's, another server's, and figures of time."""
NOT_ANSWERED_ALIKE = {
    "host info": "the dummy monitor's list of PCI devices, which nothing here reads",
    "bad syntax": "the line number is memory that oned did not initialise",
}
"""Label → why the stand-in's answer differs."""


@pytest.fixture(params=list(RECORDED))
def replay(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Replay]:
    with WebServer(tmp_path) as web:
        one = Replay(request.param, tmp_path, web)
        one.standin.tell(scheduling=False)
        try:
            yield one
        finally:
            one.close()


def test_every_recorded_answer_is_given(replay: Replay) -> None:
    for file in FILES:
        for exchange in recorded(replay.version, file) if (FIXTURES / replay.version / f"{file}.txt").exists() else ():
            if prepare := PREPARE.get((exchange.label, exchange.method)):
                prepare(replay, exchange)
            if exchange.kind != "line":
                replay.play(exchange)
            elif (given := compared(replay, exchange)) is not None:
                replay.note(exchange, given)
    assert {name.partition(" ")[2] for name in replay.missed} == set(NOT_ANSWERED_ALIKE), replay.missed
    assert replay.matched == RECORDED[replay.version] - len(NOT_ANSWERED_ALIKE)
