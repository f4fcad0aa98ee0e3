"""Handlers as vmcatcher's users wrote them, unchanged, at a real run of a site with a local cloud: they find what vmcatcher gave them.

They differ in what they hold on to: one keeps a journal of all variables, one moves the file away, one copies it below the
image's UUID and removes it when the file has turned up among the expired ones, one knows nothing but the UUID.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from support.producer import LIST, NOW, Producer
from support.repo import uuid
from support.telling import write_program
from support.webserver import WebServer
from vmkeeper.execute.home import SiteHome
from vmkeeper.execute.pinning import Wishes, pin, proposal
from vmkeeper.execute.site import Reconciled, reconcile

UUID = uuid("debian-12")

JOURNAL = """#!{python}
# One line of JSON an event, every variable that begins with VMCATCHER_.
import json, os, sys
said = dict((name, value) for name, value in os.environ.items() if name.startswith("VMCATCHER_"))
with open({out!r}, "a") as journal:
    json.dump(said, journal, sort_keys=True)
    journal.write("\\n")
"""

MOVER = """#!/bin/sh
# Takes each image out of the cache into a store of its own.
[ "$VMCATCHER_EVENT_TYPE" = "AvailablePostfix" ] || exit 0
mv "$VMCATCHER_CACHE_DIR_CACHE/$VMCATCHER_EVENT_FILENAME" "{out}/$VMCATCHER_EVENT_DC_IDENTIFIER-$VMCATCHER_EVENT_HV_VERSION"
"""

PUSHER = """#!{python}
# Writes a description and a job for an uploader; takes them back when the image's file has expired.
import os, sys
kind = os.getenv("VMCATCHER_EVENT_TYPE")
if kind in ("ProcessPrefix", "ProcessPostfix", "ExpirePrefix", "AvailablePrefix", "SubscriptionImageNew"):
    sys.stderr.write("ignoring " + kind)
    sys.exit(0)
identifier = os.environ["VMCATCHER_EVENT_DC_IDENTIFIER"]
job, about = os.path.join({out!r}, identifier + ".job"), os.path.join({out!r}, identifier + ".meta")
if kind == "ExpirePostfix":
    if os.path.isfile(os.environ["VMCATCHER_CACHE_DIR_EXPIRE"] + "/" + os.environ["VMCATCHER_EVENT_FILENAME"]):
        os.remove(job)
        os.remove(about)
elif kind == "AvailablePostfix":
    with open(job, "w") as file:
        file.write("file=" + os.environ["VMCATCHER_CACHE_DIR_CACHE"] + identifier)
    with open(about, "w") as file:
        file.write("name=%s version=%s format=%s vo=%s" % tuple(os.environ["VMCATCHER_EVENT_" + one] for one in ("DC_TITLE", "HV_VERSION", "HV_FORMAT", "VO")))
"""

BY_UUID = """#!/bin/bash
# Knows an image by its UUID alone.
case "$VMCATCHER_EVENT_TYPE" in
  AvailablePostfix) cp "${{VMCATCHER_CACHE_DIR_CACHE}}/${{VMCATCHER_EVENT_DC_IDENTIFIER}}" "{out}/${{VMCATCHER_EVENT_DC_IDENTIFIER}}" ;;
  ExpirePostfix) rm "{out}/${{VMCATCHER_EVENT_DC_IDENTIFIER}}" ;;
esac
"""


class Site:
    def __init__(self, folder: Path, server: WebServer) -> None:
        self.producer, self.home = Producer(folder / "www", server.url, folder), SiteHome(folder / "home")
        self.out = folder / "out"
        self.out.mkdir()
        self.ca = self.producer.authority.write(folder)
        self.now = NOW
        self.first = b""

    def handlers(self, *handlers: dict[str, Any], **programs: str) -> None:
        """Programs under their names, and what the site's file says of handlers."""
        for name, text in programs.items():
            write_program(self.home.folder, name, text.format(python=sys.executable, out=str(self.out / "journal" if text is JOURNAL else self.out)))
        self.producer.site(events=list(handlers))
        repository = self.producer.repo.repository
        pin(self.home, proposal(repository, "here", Wishes((self.ca,), allowed_hosts=("127.0.0.1",)), self.now), (self.ca,))

    def run(self, at: datetime | None = None) -> Reconciled:
        self.now = at or self.now
        return reconcile(self.producer.repo.repository, self.home, "here", lambda: self.now)

    def journal(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in (self.out / "journal").read_text().splitlines()]

    def update(self, version: str) -> bytes:
        """A new version is offered and comes; its bytes."""
        data = self.producer.release("debian-12", version)
        self.producer.endorse("debian-12", version)
        self.producer.offer("debian-12", version)
        self.producer.publish()
        done = self.run()
        assert [note.why for note in done.made.notes] == []
        return data


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with WebServer(tmp_path / "www") as server:
        made = Site(tmp_path, server)
        made.producer.all("debian-12", "2026.11.1")
        made.first = (tmp_path / "www/main/images/debian-12-2026.11.1.raw").read_bytes()
        yield made


def test_the_journal_has_what_vmcatcher_told_in_the_order_that_leaves_no_gap(site: Site) -> None:
    site.handlers({"name": "journal", "program": "journal"}, journal=JOURNAL)
    done = site.run()
    assert done.made.notes == ()
    assert [line["VMCATCHER_EVENT_TYPE"] for line in site.journal()] == [
        "ProcessPrefix", "SubscriptionImageNew", "AvailablePrefix", "AvailablePostfix", "ProcessPostfix",
    ]  # fmt: skip
    release, _ = site.producer.releases["debian-12", "2026.11.1"]
    available = {name.removeprefix("VMCATCHER_EVENT_"): value for name, value in site.journal()[3].items()}
    assert {
        "DC_DESCRIPTION": "debian-12",
        "DC_IDENTIFIER": UUID,
        "DC_TITLE": "debian-12",
        "HV_HYPERVISOR": "kvm",
        "HV_SIZE": str(int(release.files[0].size)),
        "HV_URI": f"{site.producer.url}/main/images/debian-12-2026.11.1.raw",
        "HV_FORMAT": "raw",
        "HV_VERSION": "2026.11.1",
        "SL_ARCH": "x86_64",
        "SL_CHECKSUM_SHA512": release.files[0].sha512,
        "SL_OS": "linux",
        "SL_OSVERSION": "12",
        "FILENAME": UUID,
        "IL_DC_IDENTIFIER": LIST,
        "AD_MPURI": f"{site.producer.url}/main/debian-12",
        "VO": "tests",
    }.items() <= available.items()
    assert "SL_COMMENTS" not in available
    assert len({line["VMCATCHER_EVENT_UUID_SESSION"] for line in site.journal()}) == 1
    site.update("2026.11.2")
    assert [(line["VMCATCHER_EVENT_TYPE"], line.get("VMCATCHER_EVENT_HV_VERSION")) for line in site.journal()[5:]] == [
        ("ProcessPrefix", None),
        ("AvailablePrefix", "2026.11.2"),
        ("AvailablePostfix", "2026.11.2"),
        ("ExpirePrefix", "2026.11.1"),
        ("ExpirePostfix", "2026.11.1"),
        ("ProcessPostfix", None),
    ]
    site.run()
    assert len(site.journal()) == 11


def test_a_list_that_expires_in_place_expires_its_images_for_handlers_too(site: Site) -> None:
    site.handlers({"name": "journal", "program": "journal"}, journal=JOURNAL)
    site.run()
    site.run(at=NOW + timedelta(days=21))
    assert [line["VMCATCHER_EVENT_TYPE"] for line in site.journal()[5:]] == ["ProcessPrefix", "ExpirePrefix", "ExpirePostfix", "ProcessPostfix"]


def test_a_handler_may_move_the_files_away(site: Site) -> None:
    site.handlers({"name": "mover", "program": "mover"}, mover=MOVER)
    site.run()
    second = site.update("2026.11.2")
    assert sorted(path.name for path in site.out.iterdir()) == [f"{UUID}-2026.11.1", f"{UUID}-2026.11.2"]
    assert (site.out / f"{UUID}-2026.11.2").read_bytes() == second
    assert not (site.home.folder / "images" / UUID).exists()
    assert len(list((site.home.folder / "cloud").rglob("*"))) > 2


def test_a_handler_that_looks_among_the_expired_files_loses_nothing_at_an_update(site: Site) -> None:
    site.handlers({"name": "pusher", "program": "pusher"}, pusher=PUSHER)
    site.run()
    second = site.update("2026.11.2")
    job = (site.out / f"{UUID}.job").read_text().removeprefix("file=")
    assert Path(job).read_bytes() == second
    assert (site.out / f"{UUID}.meta").read_text() == "name=debian-12 version=2026.11.2 format=raw vo=tests"
    site.producer.withdraw("debian-12", "2026.11.2")
    assert [note.subject for note in site.run().made.notes if note.subject.startswith("handler")] == []
    assert " version=2026.11.1 " in (site.out / f"{UUID}.meta").read_text()
    assert Path(job).read_bytes() == site.first
    site.run(at=NOW + timedelta(days=21))
    assert list(site.out.iterdir()) == []
    assert not Path(job).exists()


def test_a_handler_that_knows_the_uuid_alone_is_not_told_of_what_was_replaced(site: Site) -> None:
    site.handlers({"name": "uuid", "program": "by_uuid", "replaced": False}, by_uuid=BY_UUID)
    site.run()
    second = site.update("2026.11.2")
    assert (site.out / UUID).read_bytes() == second
    site.producer.withdraw("debian-12", "2026.11.2")
    site.run()
    assert (site.out / UUID).read_bytes() == site.first
    site.run(at=NOW + timedelta(days=21))
    assert list(site.out.iterdir()) == []


def test_several_handlers_one_of_them_broken_and_a_webhook_that_is_not_there(site: Site) -> None:
    site.handlers(
        {"name": "journal", "program": "journal"},
        {"name": "mover", "program": "mover"},
        {"name": "nowhere", "webhook": "http://127.0.0.1:9/"},
        {"name": "lines", "file": "events.jsonl"},
        journal=JOURNAL,
        mover="#!/bin/sh\nexit 3\n",
    )
    done = site.run()
    notes = {note.subject: note.why for note in done.made.notes}
    assert set(notes) == {"handler mover", "handler nowhere"}
    assert "mover ended with status 3" in notes["handler mover"]
    assert "the connection failed" in notes["handler nowhere"]
    assert [type(outcome).__name__ for outcome in done.outcomes] == ["Done"]
    assert len(site.journal()) == len((site.home.folder / "events" / "events.jsonl").read_text().splitlines()) == 5
    site.handlers({"name": "journal", "program": "journal"}, {"name": "mover", "program": "mover"}, mover=MOVER)
    notes = {note.subject: note.why for note in site.run().made.notes}
    assert notes == {
        "handler lines": "the site's file does not have it any more",
        "handler nowhere": "the site's file does not have it any more; 5 events that it had not taken are dropped",
    }
    assert [path.name for path in site.out.iterdir() if path.name.startswith(UUID)] == [f"{UUID}-2026.11.1"]


def test_a_handler_that_takes_its_time_does_not_keep_the_next_run_from_working(site: Site) -> None:
    site.handlers({"name": "slow", "program": "slow"}, slow="#!/bin/sh\nuntil flock -n {out}/../home/lock true; do sleep 0.05; done\n")
    assert site.run().made.notes == ()


def test_a_program_is_never_taken_from_the_repository(site: Site) -> None:
    site.handlers({"name": "evil", "program": "evil.sh"})
    site.producer.repo.commit({"handlers/evil.sh": f"#!/bin/sh\ntouch {site.out}/evil\n"}, "evil")
    (note,) = site.run().made.notes
    assert "there is no such handler" in note.why
    assert list(site.out.iterdir()) == []
