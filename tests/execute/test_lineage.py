"""The chain behind what runs at a site, link by link, and what is told where a link does not hold any more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from support.governing import Person, by_ssh
from support.here import BUILDER, OWNER, Here
from support.producer import NOW
from support.webserver import WebServer
from vmkeeper.clouds.memory import MemoryCloud
from vmkeeper.errors import UserError
from vmkeeper.execute.lineage import Link, lineage
from vmkeeper.execute.observe import look


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Person]:
    folder = tmp_path_factory.mktemp("keys")
    return {name: by_ssh(name, folder) for name in ("ann", "ben", "bob", "ci")}


@pytest.fixture
def here(tmp_path: Path, people: dict[str, Person]) -> Iterator[Here]:
    """A site with administrators, under policy 2 with a builder; a machine runs from the one image."""
    with WebServer(tmp_path / "www") as server:
        made = Here(tmp_path, server)
        made.wants_freshness(people["ci"])
        made.released("debian-12", "2026.11.1")
        made.vouch()
        made.init(people["ann"], people["ben"], quorum=2)
        made.approve(people["ann"])
        made.approve(people["ben"])
        made.run()
        made.machine("vm-1")
        yield made


def chains(here: Here, subject: str = "") -> list[tuple[Link, ...]]:
    cloud = MemoryCloud(OWNER, here.world)
    repository = here.producer.repo.repository
    view = look(repository, here.home, "here", here.now, connect=lambda _: {"": cloud})
    return list(lineage(view, repository, subject))


def test_from_the_machine_to_the_approval_with_who_and_when(here: Here, people: dict[str, Person]) -> None:
    (chain,) = chains(here)
    assert [link.kind for link in chain] == ["machine", "image", "release", "source", "provenance", "endorsement", "policy", "approval"]
    machine, image, release, source, provenance, endorsement, policy, approval = chain
    assert (machine.name, machine.note) == ("vm-1", "running, service front of cluster web")
    commit = here.producer.commits["debian-12", "2026.11.1"]
    made, _ = here.producer.releases["debian-12", "2026.11.1"]
    assert (image.name, image.who) == ("debian-12 2026.11.1", "here")
    assert made.files[0].sha512 in image.note
    assert (release.name, release.who) == ("debian-12 2026.11.1", "A Tester")
    assert commit in release.note
    assert (source.name, made.recipe in source.note) == (made.commit, True)
    assert (provenance.name, provenance.who, provenance.when) == ("https://ci.example.org/build", here.key(people["ci"]).id, "2026-11-18T10:00:00Z")
    assert (endorsement.name, endorsement.who, endorsement.when) == ("endorse/debian-12/2026.11.1/alice/1", "alice", "2026-11-20T10:00:00Z")
    assert here.alice.id in endorsement.note
    assert "under policy 2" in endorsement.note
    assert (policy.name, policy.who) == ("policy 2", "alice")
    assert "in force until" in policy.note
    assert (approval.name, approval.who, approval.when) == ("approve/here/1", "ann, ben", "2026-11-20T10:00:00Z")
    assert all(set(link.as_json()) == {"kind", "name", "who", "when", "note"} for link in chain)


def test_it_is_found_by_machine_image_appliance_and_cluster(here: Here) -> None:
    (image,) = here.world.images.values()
    for subject in ("vm-1", image.id, image.name, "debian-12", "web"):
        assert len(chains(here, subject)) == 1
    with pytest.raises(UserError, match="nothing called vm-2") as error:
        chains(here, "vm-2")
    assert "debian-12" in error.value.hint
    assert "vm-1" in error.value.hint


def test_other_peoples_machines_are_not_told(here: Here) -> None:
    from dataclasses import replace

    (machine,) = here.world.machines.values()
    here.world.machines["other"] = replace(machine, id="other", name="foreign", owner="somebody")
    assert [link.name for link in chains(here)[0] if link.kind == "machine"] == ["vm-1"]


def test_what_is_refused_now_says_why(here: Here, people: dict[str, Person]) -> None:
    here.producer.withdraw("debian-12", "2026.11.1", "a hole in it", issued=NOW)
    here.now += timedelta(hours=1)
    here.vouch()
    here.run()
    (chain,) = chains(here)
    refused = [link for link in chain if link.kind == "refused"]
    assert "hidden as" in chain[1].note
    assert any("a hole in it" in link.note for link in refused)


def test_an_endorsement_that_does_not_hold_any_more_is_named_with_the_rule(here: Here, people: dict[str, Person]) -> None:
    here.now += timedelta(hours=1)
    team = json.loads(here.producer.endorser_document())
    builders = [{"name": "ci", "id": BUILDER, "keys": [people["ci"].listed]}]
    here.enact(team=json.dumps({**team, "endorsers": [people["bob"].document()]}), builders=builders)
    (chain,) = chains(here)
    refused = [f"{link.name}: {link.note}" for link in chain if link.kind == "refused"]
    assert refused[0].startswith("endorse/debian-12/2026.11.1/alice/1: R12: ")
    assert any(one.startswith("debian-12 2026.11.1: R20: 0 of 1 endorsers") for one in refused)
    assert [link.kind for link in chain if link.kind == "endorsement"] == []


def test_an_older_policy_under_which_it_was_endorsed_is_told_too(here: Here, people: dict[str, Person]) -> None:
    here.now += timedelta(hours=1)
    here.enact(people["bob"], builders=[{"name": "ci", "id": BUILDER, "keys": [people["ci"].listed]}])
    (chain,) = chains(here)
    policies = [(link.name, link.note) for link in chain if link.kind == "policy"]
    assert [name for name, _ in policies] == ["policy 2", "policy 3"]
    assert "followed by policy 3" in policies[0][1]
    assert "in force until" in policies[1][1]


def test_a_site_without_administrators_and_without_builders_has_a_shorter_chain(tmp_path: Path) -> None:
    with WebServer(tmp_path / "www") as server:
        here = Here(tmp_path, server)
        here.producer.all("debian-12", "2026.11.1")
        here.init()
        here.run()
        (chain,) = chains(here)
        with pytest.raises(UserError, match="nothing called x"):
            chains(here, "x")
    assert [link.kind for link in chain] == ["image", "release", "source", "endorsement", "policy", "approval"]
    assert chain[-1].note == "accepted here with vmkeeper site init"


def test_a_source_that_is_nowhere_and_provenance_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    """Without builders nobody checks either; the endorser answers for the bytes alone."""
    with WebServer(tmp_path / "www") as server:
        here = Here(tmp_path, server)
        producer, one = here.producer, ("debian-12", "2026.11.1")
        producer.release(*one)
        made = producer.releases[one][0].model_copy(update={"commit": "b" * 40})
        record = made.model_dump_json().encode()
        producer.releases[one], producer.provenances[one] = (made, record), b"nonsense"
        files = {"appliances/debian-12/release.yaml": record, "appliances/debian-12/provenance.json": b"nonsense"}
        producer.commits[one] = producer.repo.commit(files, "odd")
        producer.endorse(*one)
        producer.offer(*one)
        producer.publish()
        here.init()
        here.run()
        (chain,) = chains(here)
    notes = {link.kind: link.note for link in chain}
    assert "not in this repository's history" in notes["source"]
    assert "it cannot be read" in notes["provenance"]
    assert "endorsement" in notes


def test_an_empty_site_has_no_chains_and_says_what_it_has(tmp_path: Path) -> None:
    with WebServer(tmp_path / "www") as server:
        here = Here(tmp_path, server)
        here.producer.publish()
        here.init()
        assert chains(here) == []
        with pytest.raises(UserError, match="nothing called debian-12") as error:
            chains(here, "debian-12")
    assert "no images" in error.value.hint
