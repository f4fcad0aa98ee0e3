"""The rules asked of a real repository: what a hostile mirror or contributor can do to refs and branches."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from support.endorsing import NOBODY, Site, endorsers, make_site
from support.keys import GpgHome, ssh_key, ssh_public, ssh_signer
from support.trust import APPLIANCE, rules, tag, untrusted
from vmkeeper.execute.endorsement import candidate
from vmkeeper.execute.verification import judge, own_pins, sight
from vmkeeper.repository.tags import create_tag, raw_tags
from vmkeeper.trust.judge import Judgement
from vmkeeper.trust.memory import Memory
from vmkeeper.trust.pins import Pins
from vmkeeper.trust.said import PolicyMark
from vmkeeper.trust.verify import Accepted


@pytest.fixture(scope="module")
def gpg() -> Iterator[GpgHome]:
    home = GpgHome()
    yield home
    home.close()


@pytest.fixture
def site(tmp_path: Path, gpg: GpgHome, monkeypatch: pytest.MonkeyPatch) -> Site:
    return make_site(tmp_path, gpg, monkeypatch)


def endorse(site: Site) -> str:
    return site.desk().endorse(candidate(site.repository, site.repository.head(), APPLIANCE)).tag


def judged(site: Site, *, pins: Pins | None = None, now: datetime | None = None, head: str = "main", memory: Memory | None = None) -> Judgement:
    seen = sight(site.repository, site.git("rev-parse", head))
    return judge(seen, pins or own_pins(site.repository, seen), memory or Memory(), NOBODY, now or datetime.now(UTC))


def refusals(site: Site, **how: Any) -> dict[str, set[str]]:
    return {verdict.tag: rules(verdict) for verdict in judged(site, **how).verdicts["examples"]}


def pins_of(site: Site) -> Pins:
    return own_pins(site.repository, sight(site.repository, site.repository.head()))


def test_a_good_endorsement_is_accepted_in_clones_of_every_kind(site: Site, tmp_path: Path) -> None:
    tag, pins = endorse(site), pins_of(site)
    for kind in ("--bare", "--mirror", "--no-local"):
        target = tmp_path / kind
        subprocess.run(["git", "clone", "-q", kind, str(site.folder), str(target)], check=True, timeout=60)
        assert refusals(replace(site, folder=target), pins=pins) == {tag: set()}


@pytest.mark.parametrize("what", [{"repository": "1" * 40}, {"tree": "2" * 128}])
def test_r1_another_repository_with_the_same_files_is_refused(site: Site, what: dict[str, str]) -> None:
    endorse(site)
    assert untrusted(lambda: judged(site, pins=pins_of(site).model_copy(update=what))) == {"R1"}


def test_r1_policy_1_is_the_pinned_one(site: Site) -> None:
    pins = pins_of(site)
    other = pins.model_copy(update={"policy": PolicyMark(number=1, sha512="0" * 128)})
    assert "R1" in untrusted(lambda: judged(site, pins=other))
    site.git("tag", "-d", "policy/1/root")
    assert "R1" in untrusted(lambda: judged(site, pins=pins))


def test_r2_a_branch_that_goes_back_or_forks_is_refused(site: Site) -> None:
    first = site.git("rev-parse", "HEAD")
    site.build("2026.5.2.2")
    memory = judged(site).memory
    pins = pins_of(site)
    assert judged(site, memory=memory).memory.head == site.git("rev-parse", "HEAD")
    assert untrusted(lambda: judged(site, memory=memory, pins=pins, head="main~1")) == {"R2"}
    site.git("switch", "-q", "-C", "main", first)
    site.commit("another future")
    assert untrusted(lambda: judged(site, memory=memory, pins=pins)) == {"R2"}


def test_r3_an_endorser_who_is_only_proposed_is_refused(site: Site) -> None:
    mallory = ssh_key(site.keys)
    text = (
        endorsers(site)
        + f"""  - name: mallory
    full_name: Mallory
    email: mallory@example.org
    keys: [{{type: ssh, key: {ssh_public(mallory)}}}]
"""
    )
    site.write("endorsers/examples.yaml", text)
    site.build("2026.5.2.2")
    signer, done = ssh_signer(mallory), site.desk().endorse(candidate(site.repository, site.repository.head(), APPLIANCE))
    said = done.statement.model_copy(update={"endorser": "mallory", "key": signer.id})
    create_tag(site.repository, said.ref, tag(said, signer))
    assert refusals(site) == {done.tag: set(), said.ref: {"R3"}}
    site.enact()
    assert refusals(site) == {done.tag: set(), said.ref: {"R3"}}


def test_r4_a_policy_that_vanishes_or_becomes_a_link_stops_everything(site: Site) -> None:
    for path in ("policy.yaml", "examples.yaml"):
        file = site.folder / "endorsers" / path
        text = file.read_text()
        file.unlink()
        site.commit("remove")
        assert untrusted(lambda: judged(site)) == {"R4"}
        file.symlink_to("../README.md")
        site.commit("link")
        assert "R4" in untrusted(lambda: judged(site))
        file.unlink()
        file.write_text(text)
        site.commit("put back")
        assert refusals(site) == {}


def test_r8_a_tag_that_was_trusted_does_not_disappear(site: Site) -> None:
    tag_name = endorse(site)
    memory = judged(site).memory
    site.git("tag", "-d", tag_name)
    assert untrusted(lambda: judged(site, memory=memory)) == {"R8"}


def test_r6_a_ref_that_a_mirror_moves_is_refused(site: Site) -> None:
    first = endorse(site)
    site.build("2026.5.2.2")
    second = endorse(site)
    site.git("update-ref", f"refs/tags/{second}", f"refs/tags/{first}")
    assert refusals(site) == {first: set(), second: {"R6"}}


def test_r7_a_release_on_a_side_branch_is_refused_even_after_a_merge(site: Site) -> None:
    site.git("switch", "-q", "-c", "side")
    site.build("2026.5.2.2")
    tag = endorse(site)
    site.git("switch", "-q", "main")
    site.commit("meanwhile")
    assert refusals(site) == {tag: {"R7", "R14"}}
    site.git("merge", "-q", "--no-ff", "-m", "merge", "side")
    assert refusals(site) == {tag: {"R7", "R14"}}


def test_r7_a_rewound_branch_takes_its_endorsements_along(site: Site) -> None:
    site.build("2026.5.2.2")
    tag = endorse(site)
    assert refusals(site) == {tag: set()}
    assert refusals(site, head="main~1") == {tag: {"R7", "R14"}}


def test_r7_lightweight_and_nested_tags_are_refused(site: Site) -> None:
    tag = endorse(site)
    light, nested = (f"endorse/{APPLIANCE}/2026.5.1.1/alice/{serial}" for serial in (2, 3))
    site.git("tag", light, "HEAD")
    raw = raw_tags(site.repository)[tag] or b""
    inner = site.git("rev-parse", f"refs/tags/{tag}")
    target = raw.split(b"\n", 1)[0].split(b" ")[1]
    create_tag(site.repository, nested, raw.replace(target, inner.encode(), 1).replace(b"type commit", b"type tag", 1))
    found = refusals(site)
    assert found.pop(tag) == set()
    assert set(map(frozenset, found.values())) == {frozenset({"R7"})}
    assert len(found) == 2


def test_r32_a_tag_that_points_to_another_ref_stops_everything(site: Site) -> None:
    name = endorse(site)
    site.git("symbolic-ref", f"refs/tags/endorse/{APPLIANCE}/2026.5.1.1/alice/4", f"refs/tags/{name}")
    assert untrusted(lambda: judged(site)) == {"R32"}


def test_r9_a_mirror_that_drops_a_tag_is_noticed(site: Site) -> None:
    first = endorse(site)
    site.build("2026.5.2.2")
    second = endorse(site)
    site.git("tag", "-d", first)
    assert refusals(site) == {second: {"R9"}}


def test_r10_a_key_that_the_repository_adds_later_changes_nothing_before_it_is_signed(site: Site) -> None:
    text = (site.folder / "endorsers/examples.yaml").read_text()
    site.write("endorsers/examples.yaml", text.replace(ssh_public(site.alice), ssh_public(ssh_key(site.keys))))
    site.commit("another key")
    tag = endorse(site)
    assert refusals(site) == {tag: set()}
    site.enact()
    assert refusals(site) == {tag: {"R10"}}


def test_r13_an_endorsement_ends(site: Site) -> None:
    tag = endorse(site)
    (verdict,) = site.desk().verdicts()
    assert isinstance(verdict, Accepted)
    assert refusals(site, now=datetime.now(UTC) + timedelta(days=89)) == {tag: set()}
    assert refusals(site, now=datetime.now(UTC) + timedelta(days=91)) == {tag: {"R13"}}
    assert "R1" in untrusted(lambda: judged(site, now=datetime.now(UTC) - timedelta(days=1)))


def test_r14_an_endorsement_cannot_be_moved_to_a_changed_record(site: Site) -> None:
    tag = endorse(site)
    raw = raw_tags(site.repository)[tag] or b""
    record = site.folder / f"appliances/{APPLIANCE}/release.yaml"
    record.write_text(record.read_text().replace("2048B", "2049B").replace("size: 2KiB", "size: 2049B"))
    changed = site.commit("change the record")
    assert refusals(site) == {tag: set()}
    moved = f"endorse/{APPLIANCE}/2026.5.1.1/alice/9"
    create_tag(site.repository, moved, raw.replace(raw.split(b"\n", 1)[0], f"object {changed}".encode(), 1))
    assert refusals(site)[moved] == {"R10"}


def test_r14_a_record_that_is_broken_later_does_not_touch_what_was_endorsed(site: Site) -> None:
    record = site.folder / f"appliances/{APPLIANCE}/release.yaml"
    endorse(site)
    good = record.read_text()
    record.write_text(good + "surprise: 1\n")
    site.commit("break the record")
    desk = site.desk()
    assert all(isinstance(verdict, Accepted) for verdict in desk.verdicts())
