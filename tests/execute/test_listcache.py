"""Lists are asked for only where they have changed, and what is kept counts for nothing by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.foreign import Organisation, Subscriber, approved, later
from support.here import kinds, notes
from support.webserver import WebServer
from vmkeeper.execute.listcache import ListCache

MODIFIED = "Fri, 20 Nov 2026 09:00:00 GMT"


@pytest.fixture
def site(tmp_path: Path, server: WebServer, org: Organisation) -> Subscriber:
    made = Subscriber(tmp_path, server)
    made.trusts(org.authority)
    made.takes(org.entry(), approve=approved("science-*"))
    made.run()
    return made


def conditions(org: Organisation) -> list[tuple[str | None, str | None]]:
    return [(headers.get("If-None-Match"), headers.get("If-Modified-Since")) for headers in org.requests()]


def test_a_changed_list_comes_whole_and_its_new_mark_is_kept(site: Subscriber, org: Organisation) -> None:
    old = org.page.etag
    org.offer("Fedora 40")
    org.publish()
    new = org.page.etag
    assert kinds(site.run()) == ["register science-fedora-40 1.0"]
    site.run()
    assert conditions(org) == [(None, None), (old, None), (new, None)]


def test_a_date_serves_where_there_is_no_etag(site: Subscriber, org: Organisation) -> None:
    org.put(org.page.data, etag=None, modified=MODIFIED)
    site.run()
    site.run()
    assert conditions(org)[2:] == [(None, MODIFIED)]
    assert notes(site.run()) == ""


def test_both_are_sent_back_as_they_came(site: Subscriber, org: Organisation) -> None:
    org.put(org.page.data, etag='W/"a b"', modified=MODIFIED)
    site.run()
    site.run()
    assert conditions(org)[2:] == [('W/"a b"', MODIFIED)]


def test_a_server_that_marks_nothing_is_asked_for_everything(site: Subscriber, org: Organisation) -> None:
    org.put(org.page.data, etag=None)
    site.run()
    site.run()
    assert conditions(org)[2:] == [(None, None)]


@pytest.mark.parametrize("mark", ["x" * 1001, "\x80\xff", '"a\tb"'], ids=["long", "no ASCII", "a tab"])
def test_a_mark_that_is_not_fit_to_be_sent_is_not(site: Subscriber, org: Organisation, mark: str) -> None:
    org.put(org.page.data, etag=mark)
    site.run()
    site.run()
    assert conditions(org)[2:] == [(None, None)]


def test_an_expired_list_is_asked_for_without_condition(site: Subscriber, org: Organisation) -> None:
    """A server that says 304 for ever cannot hold a new list back beyond the end of the old one."""
    org.page.unchanged = "always"
    assert notes(site.run(at=later(19))) == ""
    org.publish(expires=later(40))
    org.page.unchanged = "well"
    done = site.run(at=later(21))
    assert conditions(org)[-1] == (None, None)
    assert [kind.split()[0] for kind in kinds(done)] == ["update"]


def test_what_is_kept_is_verified_again_and_asked_for_anew_where_it_fails(site: Subscriber, org: Organisation) -> None:
    org.signer = org.authority.signer("Successor")
    etag = org.page.etag
    org.publish()
    org.page.etag, org.page.unchanged = etag, "well"  # the server gives another list the same mark
    site.takes(org.entry(), approve=approved("science-*"))
    asked = len(org.requests())
    done = site.run()
    assert notes(done) == ""
    assert conditions(org)[asked:] == [(etag, None), (None, None)]
    assert done.view.signed[0].version == "2026.11.20.2"


def test_a_list_that_is_refused_does_not_replace_the_one_that_counted(site: Subscriber, org: Organisation) -> None:
    kept = site.home.lists.joinpath("science").read_bytes()
    good, etag = org.page.data, org.page.etag
    org.put(b"nonsense")
    assert "R17" in notes(site.run())
    assert site.home.lists.joinpath("science").read_bytes() == kept
    org.put(good, etag=etag)
    assert notes(site.run()) == ""
    assert conditions(org)[-1] == (etag, None)


def damages(data: bytes) -> dict[str, bytes]:
    line, _, message = data.partition(b"\n")
    return {
        "empty": b"",
        "cut": data[:-1],
        "changed": line + b"\n" + message.replace(b"Debian", b"Doobie"),
        "no head": message,
        "another head": b"{}\n" + message,
        "a line without end": b"x" * 100_000,
    }


@pytest.mark.parametrize("damage", damages(b""))
def test_a_damaged_copy_is_as_good_as_none(site: Subscriber, org: Organisation, damage: str) -> None:
    file = site.home.lists / "science"
    good = file.read_bytes()
    file.write_bytes(damages(good)[damage])
    assert notes(site.run()) == ""
    assert conditions(org)[-1] == (None, None)
    assert file.read_bytes() == good


def test_a_copy_is_for_its_address_only(site: Subscriber, org: Organisation) -> None:
    org.server.pages["/moved"] = org.page
    site.takes(org.entry(url=f"{org.server.url}/moved"), approve=approved("science-*"))
    site.run()
    assert "If-None-Match" not in org.server.requests[-1].headers
    assert ListCache(site.home.lists, ()).kept("science", org.url) is None


def test_the_copy_is_not_what_is_trusted(site: Subscriber, org: Organisation) -> None:
    """Somebody who can write the copy, and its head with the right digest, gains nothing."""
    cache = ListCache(site.home.lists, ())
    thief = Organisation(org.server, name="thief")
    thief.offer("Evil", serve=False)
    message = thief.publish()
    cache._keep("science", org.url, message, cache.kept("science", org.url).validators, later(20))  # type: ignore[union-attr]
    done = site.run()
    assert (done.outcomes, notes(done)) == ((), "")
    assert site.usable() == ["science-debian-12 1.0"]


def test_own_lists_come_the_same_way(site: Subscriber) -> None:
    site.producer.all("debian-12", "2026.11.1")
    site.takes(subscribe=[{"list": "main"}], approve=approved("debian-12"))
    site.run()

    def asked() -> list[str | None]:
        return [one.headers.get("If-None-Match") for one in site.server.requests if one.path == "/main/imagelist.signed"]

    before = len(asked())
    assert site.run().outcomes == ()
    assert len(asked()) == before + 1
    assert asked()[-1] is not None
    assert site.kept_lists() == ["main"]
    site.producer.all("debian-12", "2026.11.2")
    assert "register debian-12 2026.11.2" in kinds(site.run())


def test_somebody_who_may_only_look_sees_a_plan(site: Subscriber, org: Organisation, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("vmkeeper.execute.listcache.write_file", denied)
    org.offer("Fedora 40")
    org.publish()
    assert kinds(site.run()) == ["register science-fedora-40 1.0"]


def test_without_room_for_the_copy_the_list_is_told_and_the_next_run_goes_on(
    site: Subscriber, org: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    org.offer("Fedora 40")
    org.publish()
    with monkeypatch.context() as patched:
        patched.setattr("vmkeeper.execute.listcache.write_file", full)
        done = site.run()
        assert done.outcomes == ()
        assert "No space left on device" in notes(done)
    assert kinds(site.run()) == ["register science-fedora-40 1.0"]
