"""The site administrator's and cluster commands as typed, against a real repository, list and local cloud."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.producer import Producer
from support.typed import TypedAtSite
from support.webserver import WebServer
from vmkeeper.execute.home import SiteHome

INIT = ("site", "init", "here", "--allow-host", "127.0.0.1", "--yes", "--ca")


@pytest.fixture
def vmkeeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[TypedAtSite]:
    with WebServer(tmp_path / "www") as server:
        producer = Producer(tmp_path / "www", server.url, tmp_path)
        producer.all("debian-12", "2026.11.1")
        yield TypedAtSite(producer, tmp_path / "home", monkeypatch, capsys)


def test_from_nothing_to_an_image_and_a_second_run_that_says_so(vmkeeper: TypedAtSite) -> None:
    assert vmkeeper(*INIT, vmkeeper.ca) == 0
    assert "alice" in vmkeeper.out
    assert "Next: vmkeeper reconcile here" in vmkeeper.out
    assert vmkeeper("site", "plan", "here", "--detailed-exitcode") == 2
    assert "register  debian-12 2026.11.1" in vmkeeper.out
    assert vmkeeper("reconcile", "here") == 0
    assert "done     register debian-12 2026.11.1" in vmkeeper.out
    assert vmkeeper("reconcile", "here") == 0
    assert vmkeeper.out == "Nothing to do: the site has 1 usable image, as it should.\n"
    assert vmkeeper("site", "plan", "here", "--detailed-exitcode") == 0
    assert vmkeeper("status", "here") == 0
    assert "image debian-12 2026.11.1 (raw" in vmkeeper.out
    assert vmkeeper("why", "debian-12", "--site", "here") == 0
    assert "may run at here. It is active there." in vmkeeper.out
    assert "endorsed by alice" in vmkeeper.out


def test_pinning_again_says_that_it_is_so_already(vmkeeper: TypedAtSite) -> None:
    vmkeeper(*INIT, vmkeeper.ca)
    assert vmkeeper(*INIT, vmkeeper.ca) == 0
    assert "pinned already" in vmkeeper.out


def test_pinning_is_asked_for(vmkeeper: TypedAtSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("typer.confirm", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    assert vmkeeper("site", "init", "here", "--allow-host", "127.0.0.1", "--ca", vmkeeper.ca) == 130
    assert not (vmkeeper.home / "pins.yaml").exists()


@pytest.mark.parametrize(
    "words", [("--ca", "absent.pem"), ("--ca", "HEAD"), ("--ca", "{ca}", "--signer", "HEAD"), ("--ca", "{ca}", "--signer", "absent")]
)
def test_certificates_that_are_none_are_refused_by_name(vmkeeper: TypedAtSite, words: tuple[str, ...]) -> None:
    typed = [word.format(ca=vmkeeper.ca) for word in words]
    assert vmkeeper("site", "init", "here", "--yes", *typed) == 1
    assert Path(typed[-1]).name in vmkeeper.err or "certificate" in vmkeeper.err
    assert not (vmkeeper.home / "pins.yaml").exists()


def test_pinning_again_keeps_the_hosts_unless_others_are_named(vmkeeper: TypedAtSite) -> None:
    def hosts() -> list[str]:
        return list(SiteHome(vmkeeper.home).pins().fetch.allowed_hosts)

    assert vmkeeper(*INIT, vmkeeper.ca) == 0
    assert vmkeeper("site", "init", "here", "--yes", "--ca", vmkeeper.ca) == 0
    assert hosts() == ["127.0.0.1"]
    assert vmkeeper("site", "init", "here", "--yes", "--ca", vmkeeper.ca, "--allow-host", "127.0.0.1", "--allow-host", "localhost") == 0
    assert hosts() == ["127.0.0.1", "localhost"]


def test_a_host_that_is_not_allowed_is_named_with_the_way_out(vmkeeper: TypedAtSite) -> None:
    assert vmkeeper("site", "init", "here", "--ca", vmkeeper.ca, "--yes") == 1
    assert "127.0.0.1" in vmkeeper.err
    assert "R27" in vmkeeper.err


def test_without_pins_every_command_says_how_to_get_them(vmkeeper: TypedAtSite) -> None:
    for words in (("reconcile", "here"), ("site", "plan", "here"), ("status", "here"), ("why", "debian-12", "--site", "here")):
        assert vmkeeper(*words) == 1
        assert "vmkeeper site init" in vmkeeper.err


def test_a_home_of_another_site_is_refused(vmkeeper: TypedAtSite) -> None:
    vmkeeper(*INIT, vmkeeper.ca)
    assert vmkeeper("reconcile", "hree") == 1
    assert "they are for here" in vmkeeper.err
    assert "[R20]" in vmkeeper.err


def test_a_broken_list_is_reported_and_the_status_is_1(vmkeeper: TypedAtSite) -> None:
    vmkeeper(*INIT, vmkeeper.ca)
    vmkeeper("reconcile", "here")
    (vmkeeper.producer.folder / "main/imagelist.signed").write_text("nonsense")
    assert vmkeeper("reconcile", "here") == 1
    assert "note     list main:" in vmkeeper.out
    assert "its images stay as they are" in vmkeeper.out


def test_why_names_the_rule_the_way_out_and_the_nearest_version(vmkeeper: TypedAtSite) -> None:
    vmkeeper.producer.release("debian-12", "2026.11.2")
    vmkeeper.producer.offer("debian-12", "2026.11.2")
    vmkeeper.producer.publish()
    vmkeeper(*INIT, vmkeeper.ca)
    assert vmkeeper("why", "debian-12", "--site", "here") == 0
    assert "debian-12 2026.11.2 may not run at here" in vmkeeper.out
    assert "R20: 0 of 1 endorsers of team endorse it" in vmkeeper.out
    assert "nearest version that may: 2026.11.1" in vmkeeper.out


def test_json_is_stable(vmkeeper: TypedAtSite) -> None:
    vmkeeper(*INIT, vmkeeper.ca)
    planned = vmkeeper.json("site", "plan", "here")
    assert (planned["version"], planned["summary"], planned["actions"][0]["id"]) == (1, {"register": 1}, "register:debian-12 2026.11.1")
    done = vmkeeper.json("reconcile", "here")
    assert done["digest"] == planned["digest"]
    assert [(one["id"], one["outcome"]) for one in done["outcomes"]] == [("register:debian-12 2026.11.1", "done")]
    status = vmkeeper.json("status", "here")
    assert [(image["appliance"], image["version"], image["state"]) for image in status["images"]] == [("debian-12", "2026.11.1", "active")]
    assert (status["lists"][0]["name"], status["machines"]) == ("main", [])


def test_over_the_limit_the_run_says_so_and_retires_nothing(vmkeeper: TypedAtSite) -> None:
    for name in ("a", "b", "c"):
        vmkeeper.producer.all(name, "1")
    vmkeeper(*INIT, vmkeeper.ca)
    vmkeeper("reconcile", "here")
    for name in ("a", "b", "c"):
        del vmkeeper.producer.images[name]
    vmkeeper.producer.publish()
    assert vmkeeper("reconcile", "here") == 1
    assert "3 of 4 (75 %) is over the limit of 50 %" in vmkeeper.err
    assert "--force-retire" in vmkeeper.err
    assert vmkeeper("reconcile", "here", "--force-retire") == 0
    assert vmkeeper.out.count("done     hide") == 3


def test_cluster_commands_say_what_is_missing(vmkeeper: TypedAtSite) -> None:
    vmkeeper(*INIT, vmkeeper.ca)
    assert vmkeeper("cluster", "up", "demo", "--site", "here") == 1
    assert "there is no cluster demo" in vmkeeper.err
    assert vmkeeper("cluster", "status", "demo", "--site", "here") == 0
    assert "vmkeeper cluster up demo --site here" in vmkeeper.out
    assert vmkeeper("cluster", "down", "demo", "--site", "here") == 0
    assert "Nothing to do" in vmkeeper.out


def test_a_cluster_is_planned_without_being_started(vmkeeper: TypedAtSite) -> None:
    cluster = {
        "name": "demo",
        "services": {"web": {"fixed": True, "appliance": {"name": "debian-12"}, "context": "web"}},
        "placement": [{"site": "here"}],
    }
    vmkeeper.producer.repo.commit({"clusters/demo.yaml": json.dumps(cluster), "clusters/contexts/web.yaml": '{"title": "Web"}'})
    vmkeeper(*INIT, vmkeeper.ca)
    assert vmkeeper("cluster", "plan", "demo", "--site", "here") == 1
    assert "bring it with: vmkeeper reconcile here" in vmkeeper.err
    vmkeeper("reconcile", "here")
    assert vmkeeper("cluster", "plan", "demo", "--site", "here", "--detailed-exitcode") == 2
    assert "start     demo-web  web runs from debian-12 2026.11.1" in vmkeeper.out
