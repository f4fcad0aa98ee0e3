"""`site events` as typed: what waits, trying again, leaving out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.producer import Producer
from support.telling import write_program
from support.typed import TypedAtSite
from support.webserver import WebServer

INIT = ("site", "init", "here", "--allow-host", "127.0.0.1", "--yes", "--ca")


@pytest.fixture
def vmkeeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[TypedAtSite]:
    with WebServer(tmp_path / "www") as server:
        producer = Producer(tmp_path / "www", server.url, tmp_path)
        producer.all("debian-12", "2026.11.1")
        yield TypedAtSite(producer, tmp_path / "home", monkeypatch, capsys)


def test_what_waits_is_shown_tried_again_and_left_out(vmkeeper: TypedAtSite) -> None:
    vmkeeper.producer.site(events=[{"name": "push", "program": "push"}, {"name": "list", "file": "list.jsonl"}])
    assert vmkeeper(*INIT, vmkeeper.ca) == 0
    assert vmkeeper("site", "events", "here") == 0
    assert "push runs handlers/push: it hears from the next run on" in vmkeeper.out
    assert vmkeeper("reconcile", "here") == 0
    assert "note     handler push: 5 events wait since 2026-11-20T10:00:00Z, tried 1 time" in vmkeeper.out
    assert vmkeeper("site", "events", "here") == 1
    assert "push runs handlers/push: 5 events wait since 2026-11-20T10:00:00Z\n  first: ProcessPrefix here (" in vmkeeper.out
    assert "  tried 1 time, last at 2026-11-20T10:00:00Z: " in vmkeeper.out
    assert "list appends to events/list.jsonl: nothing waits" in vmkeeper.out

    write_program(
        vmkeeper.home, "push", f'#!/bin/sh\necho $VMCATCHER_EVENT_TYPE >> {vmkeeper.home}/heard; [ "$VMCATCHER_EVENT_TYPE" != AvailablePrefix ]\n'
    )
    found = vmkeeper.json("site", "events", "here", "--deliver")
    assert vmkeeper.status == 1
    push, listed = found["handlers"]
    assert (push["waiting"], push["first"]["type"], push["attempts"], push["more"]) == (3, "AvailablePrefix", 1, False)
    assert "push ended with status 1" in push["error"]
    assert listed == {
        "name": "list", "does": "appends to events/list.jsonl", "waiting": 0, "more": False, "since": None, "first": None,
        "attempts": 0, "tried": None, "error": "", "gone": False, "lost": 0,
    }  # fmt: skip

    assert vmkeeper("site", "events", "here", "--skip", "push", "--deliver") == 0
    assert "push will not hear of AvailablePrefix debian-12 2026.11.1" in vmkeeper.err
    assert "push runs handlers/push: nothing waits" in vmkeeper.out
    assert "1 event it has never heard of" in vmkeeper.out
    assert (vmkeeper.home / "heard").read_text().split()[-2:] == ["AvailablePostfix", "ProcessPostfix"]
    assert vmkeeper("site", "events", "here", "--skip", "push") == 0
    assert "nothing waits for push" in vmkeeper.err
    assert vmkeeper("site", "events", "here", "--skip", "other") == 1
    assert "it has push, list" in vmkeeper.err


def test_a_site_without_handlers_says_so(vmkeeper: TypedAtSite) -> None:
    vmkeeper(*INIT, vmkeeper.ca)
    vmkeeper("reconcile", "here")
    assert vmkeeper("site", "events", "here", "--deliver") == 0
    assert "here has no handlers" in vmkeeper.out
    assert not (vmkeeper.home / "events").exists()


def test_what_a_handler_says_is_escaped(vmkeeper: TypedAtSite) -> None:
    vmkeeper.producer.site(events=[{"name": "push", "program": "push"}])
    vmkeeper(*INIT, vmkeeper.ca)
    write_program(vmkeeper.home, "push", "#!/bin/sh\nprintf '\\033[31mred\\n'; exit 1\n")
    vmkeeper("reconcile", "here")
    vmkeeper("site", "events", "here")
    assert "\x1b" not in vmkeeper.out
    assert "\\u001b[31mred" in vmkeeper.out
