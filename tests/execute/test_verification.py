"""The rules asked of a real repository: what a hostile mirror or contributor can do to refs and branches."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support.endorsing import Site, make_site
from support.trust import APPLIANCE, GpgHome, rules
from vmkeeper.execute.endorsement import candidate
from vmkeeper.execute.verification import judge
from vmkeeper.repository.tags import create_tag, raw_tags, root_commit
from vmkeeper.trust.pins import TrustedEndorsers
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


def refusals(
    site: Site, *, pinned: TrustedEndorsers | None = None, root: str = "", now: datetime | None = None, head: str = "main"
) -> dict[str, set[str]]:
    repository, commit = site.repository, site.git("rev-parse", head)
    people = pinned or site.person()[1].pinned
    return {v.tag: rules(v) for v in judge(repository, commit, root or root_commit(repository, commit), people, now or datetime.now(UTC))}


def test_a_good_endorsement_is_accepted_in_clones_of_every_kind(site: Site, tmp_path: Path) -> None:
    tag = endorse(site)
    pinned = site.person()[1].pinned
    root = root_commit(site.repository, site.repository.head())
    for kind in ("--bare", "--mirror", "--no-local"):
        target = tmp_path / kind
        subprocess.run(["git", "clone", "-q", kind, str(site.folder), str(target)], check=True, timeout=60)
        clone = Site(target, site.keys, site.store, site.alice, site.bob)
        assert refusals(clone, pinned=pinned, root=root) == {tag: set()}


def test_r1_another_repository_with_the_same_files_is_refused(site: Site) -> None:
    tag = endorse(site)
    assert refusals(site, root="1" * 40) == {tag: {"R1"}}


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
    site.git("symbolic-ref", f"refs/tags/endorse/{APPLIANCE}/2026.5.1.1/alice/4", f"refs/tags/{tag}")
    found = refusals(site)
    assert found.pop(tag) == set()
    assert set(map(frozenset, found.values())) == {frozenset({"R7"})}
    assert len(found) == 3


def test_r9_a_mirror_that_drops_a_tag_is_noticed(site: Site) -> None:
    first = endorse(site)
    site.build("2026.5.2.2")
    second = endorse(site)
    site.git("tag", "-d", first)
    assert refusals(site) == {second: {"R9"}}


def test_r10_a_key_that_the_repository_adds_later_changes_nothing_for_who_pinned_before(site: Site) -> None:
    pinned = site.person()[1].pinned
    before = pinned.model_copy(update={"endorsers": tuple(one for one in pinned.endorsers if one.name != "alice")})
    tag = endorse(site)
    assert refusals(site, pinned=before) == {tag: {"R10"}}
    assert refusals(site) == {tag: set()}


def test_r13_an_endorsement_ends(site: Site) -> None:
    tag = endorse(site)
    (verdict,) = site.desk().verdicts()
    assert isinstance(verdict, Accepted)
    assert refusals(site, now=datetime.now(UTC) + timedelta(days=89)) == {tag: set()}
    assert refusals(site, now=datetime.now(UTC) + timedelta(days=91)) == {tag: {"R13"}}
    assert refusals(site, now=datetime.now(UTC) - timedelta(days=1)) == {tag: {"R13"}}


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
