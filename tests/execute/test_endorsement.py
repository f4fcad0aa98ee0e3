"""Endorsing in a real repository with the user's own gpg and ssh-keygen, and what git makes of the tags."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from support.endorsing import NOBODY, Site, endorsers, make_site
from support.keys import GpgHome, SecurityKey, ssh_key, ssh_public
from support.trust import APPLIANCE, UUID, World, release
from vmkeeper.errors import Refused, UserError
from vmkeeper.execute.endorsement import Desk, Signatory, candidate, same_bytes
from vmkeeper.execute.evidence import describe, evidence, package_changes
from vmkeeper.execute.governance import in_force
from vmkeeper.execute.signing import role, signing_key
from vmkeeper.execute.verification import RepositoryHistory
from vmkeeper.images.store import Store
from vmkeeper.repository.tags import create_tag, list_tags
from vmkeeper.trust.verify import Accepted
from vmkeeper.values import Duration, Version, sha512_hex


@pytest.fixture(scope="module")
def gpg(request: pytest.FixtureRequest) -> Iterator[GpgHome]:
    home = GpgHome()
    yield home
    home.close()


@pytest.fixture
def site(tmp_path: Path, gpg: GpgHome, monkeypatch: pytest.MonkeyPatch) -> Site:
    return make_site(tmp_path, gpg, monkeypatch)


def test_an_ssh_key_of_gits_configuration_endorses(site: Site) -> None:
    desk, chosen = site.desk(), candidate(site.repository, site.repository.head(), APPLIANCE)
    done = desk.endorse(chosen)
    assert done.tag == f"endorse/{APPLIANCE}/2026.5.1.1/alice/1"
    assert done.new
    assert site.git("rev-parse", f"{done.tag}^{{commit}}") == site.git("rev-parse", "HEAD")
    assert done.statement.expires - done.statement.not_before == timedelta(days=90)
    (verdict,) = site.judgement().verdicts["examples"]
    assert isinstance(verdict, Accepted)


def test_an_openpgp_key_endorses(site: Site) -> None:
    done = site.desk(site.bob).endorse(candidate(site.repository, site.repository.head(), APPLIANCE), Duration.parse("10d"))
    assert done.tag == f"endorse/{APPLIANCE}/2026.5.1.1/bob/1"
    assert done.statement.key == f"openpgp:{site.bob}"
    site.git("verify-tag", done.tag)


def test_git_calls_an_ssh_signed_endorsement_good(site: Site) -> None:
    done = site.desk().endorse(candidate(site.repository, site.repository.head(), APPLIANCE))
    allowed = site.keys / "allowed"
    allowed.write_text(f'alice@example.org namespaces="git" {ssh_public(site.alice)}\n')
    site.git("-c", f"gpg.ssh.allowedSignersFile={allowed}", "verify-tag", done.tag)


def test_the_agent_signs_for_a_key_given_literally(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    started = subprocess.run(["ssh-agent", "-s"], capture_output=True, text=True, check=True, timeout=30).stdout
    values = dict(part.split("=", 1) for part in started.replace("\n", ";").split(";") if "=" in part)
    monkeypatch.setenv("SSH_AUTH_SOCK", values["SSH_AUTH_SOCK"])
    try:
        subprocess.run(["ssh-add", "-q", str(site.alice)], check=True, timeout=30, capture_output=True)
        site.alice.unlink()
        done = site.desk(f"key::{ssh_public(site.alice)}").endorse(candidate(site.repository, site.repository.head(), APPLIANCE))
    finally:
        subprocess.run(
            ["ssh-agent", "-k"], env={"SSH_AGENT_PID": values["SSH_AGENT_PID"], "PATH": "/usr/bin:/bin"}, check=True, timeout=30, capture_output=True
        )
    assert done.new


def test_endorsing_again_changes_nothing(site: Site) -> None:
    chosen = candidate(site.repository, site.repository.head(), APPLIANCE)
    first = site.desk().endorse(chosen)
    before = list_tags(site.repository)
    again = site.desk().endorse(chosen)
    assert (again.tag, again.new) == (first.tag, False)
    assert list_tags(site.repository) == before


def test_an_endorsement_that_soon_ends_is_renewed(site: Site) -> None:
    chosen = candidate(site.repository, site.repository.head(), APPLIANCE)
    site.desk().endorse(chosen, Duration.parse("10d"))
    renewed = site.desk().endorse(chosen, Duration.parse("90d"))
    assert renewed.new
    assert renewed.statement.serial == 2


def test_serials_and_digests_chain_over_appliances_versions_and_kinds(site: Site) -> None:
    tags = []
    for version in ("2026.5.2.2", "2026.5.3.3"):
        site.build(version)
        tags.append(site.desk().endorse(candidate(site.repository, site.repository.head(), APPLIANCE)).tag)
    tags.append(site.desk().withdraw(APPLIANCE, Version("2026.5.2.2"), "a hole").tag)
    assert [int(tag.rsplit("/", 1)[1]) for tag in tags] == [1, 2, 3]
    objects = {ref.name: ref.raw for ref in list_tags(site.repository)}
    verdicts = {verdict.tag: verdict for verdict in site.desk().verdicts()}
    for before, after in pairwise(tags):
        statement = verdicts[after].statement
        assert statement is not None
        assert statement.previous == sha512_hex(objects[before] or b"")
    assert all(isinstance(verdict, Accepted) for verdict in verdicts.values())


def test_a_withdrawal_by_another_endorser_of_the_list_is_possible_and_not_repeated(site: Site) -> None:
    site.desk().endorse(candidate(site.repository, site.repository.head(), APPLIANCE))
    done = site.desk(site.bob).withdraw(APPLIANCE, Version("2026.5.1.1"), "a hole")
    assert done.tag == f"withdraw/{APPLIANCE}/2026.5.1.1/bob/1"
    assert not site.desk(site.bob).withdraw(APPLIANCE, Version("2026.5.1.1"), "a hole").new


def test_after_a_withdrawal_the_same_release_can_be_endorsed_anew(site: Site) -> None:
    chosen = candidate(site.repository, site.repository.head(), APPLIANCE)
    site.desk().endorse(chosen)
    site.desk().withdraw(APPLIANCE, Version("2026.5.1.1"), "a false alarm")
    again = site.desk().endorse(chosen)
    assert again.new
    assert again.statement.serial == 3


def test_the_tag_is_put_on_the_commit_that_brought_the_release(site: Site) -> None:
    brought = site.git("rev-parse", "HEAD")
    site.write("README.md", "text\n")
    site.commit()
    done = site.desk().endorse(candidate(site.repository, site.repository.head(), APPLIANCE))
    assert site.git("rev-parse", f"{done.tag}^{{commit}}") == brought


def test_a_bare_repository_can_be_endorsed_in(site: Site, tmp_path: Path) -> None:
    subprocess.run(["git", "clone", "-q", "--bare", str(site.folder), str(tmp_path / "bare.git")], check=True, timeout=60)
    for name, value in (("gpg.format", "ssh"), ("user.signingKey", str(site.alice))):
        subprocess.run(["git", "-C", str(tmp_path / "bare.git"), "config", name, value], check=True, timeout=60)
    site.folder = tmp_path / "bare.git"
    assert site.desk().endorse(candidate(site.repository, site.repository.head(), APPLIANCE)).new


@pytest.mark.parametrize("valid", ["91d", "0s"])
def test_a_validity_that_the_list_does_not_allow_is_refused(site: Site, valid: str) -> None:
    with pytest.raises(UserError, match="not a validity"):
        site.desk().endorse(candidate(site.repository, site.repository.head(), APPLIANCE), Duration.parse(valid))
    assert list_tags(site.repository, "endorse/") == ()


def test_a_rebuild_with_the_same_bytes_is_endorsed(site: Site) -> None:
    chosen = candidate(site.repository, site.repository.head(), APPLIANCE)
    done = site.desk().endorse(chosen, rebuild=lambda made: {file.format: file.sha512 for file in made.files})
    assert done.new


@pytest.mark.parametrize("rebuilt", [{}, {"raw": "0" * 128}, {"qcow2": "0" * 128, "raw": "1" * 128}])
def test_a_rebuild_with_other_bytes_is_not_signed(site: Site, rebuilt: dict[str, str]) -> None:
    with pytest.raises(Refused, match="other bytes") as caught:
        site.desk().endorse(candidate(site.repository, site.repository.head(), APPLIANCE), rebuild=lambda _: rebuilt)
    assert caught.value.rule == "R14"
    assert list_tags(site.repository, "endorse/") == ()
    with pytest.raises(Refused):
        same_bytes(release(), rebuilt)


def test_a_key_that_no_list_knows_is_told_so(site: Site) -> None:
    stranger = ssh_key(site.keys)
    with pytest.raises(UserError, match="belongs to no endorser"):
        site.desk(str(stranger))


def test_an_appliance_out_of_scope_is_refused(site: Site) -> None:
    chosen = signing_key(site.repository)
    with pytest.raises(Refused, match="may not answer for slurm-worker") as caught:
        role(site.judgement().enactments.current.policy, chosen, "slurm-worker")
    assert caught.value.rule == "R10"


def test_with_several_lists_the_shortest_validity_counts(site: Site) -> None:
    site.write("endorsers/strict.yaml", endorsers(site).replace("90d", "30d"))
    site.commit()
    assert site.desk().role.endorsers.name == "examples"
    site.enact()
    assert site.desk().role.endorsers.name == "strict"
    assert site.desk(name="examples").role.endorsers.name == "examples"


def test_a_key_with_two_names_is_no_policy(site: Site) -> None:
    site.write("endorsers/other.yaml", endorsers(site).replace("name: alice", "name: al"))
    site.commit()
    with pytest.raises(Refused, match="one key belongs to al and alice") as caught:
        site.enact()
    assert caught.value.rule == "R5"


def test_a_list_or_key_file_that_is_not_there_is_named(site: Site) -> None:
    with pytest.raises(UserError, match="no endorser list nobody"):
        site.desk(name="nobody")
    (site.folder / "endorsers/keys/bob.asc").unlink()
    site.commit()
    with pytest.raises(Refused, match="no such key file") as caught:
        site.enact()
    assert caught.value.rule == "R4"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gpg.format": "pgp", "user.signingKey": "0xABC"}, "gpg.format pgp is not known"),
        ({"gpg.format": "openpgp", "user.signingKey": "nobody@example.org"}, "no secret key for nobody"),
        ({"gpg.format": "ssh", "user.signingKey": "/nowhere/id"}, "no SSH key file"),
        ({"gpg.format": "ssh", "user.signingKey": ""}, "no key to sign with"),
    ],
)
def test_a_signing_key_that_cannot_serve_is_explained(site: Site, settings: dict[str, str], message: str) -> None:
    for name, value in settings.items():
        site.git("config", name, value)
    with pytest.raises(UserError, match=message) as caught:
        signing_key(site.repository)
    assert caught.value.hint


def test_without_a_signing_key_the_openpgp_key_of_the_mail_address_serves(site: Site) -> None:
    site.git("config", "gpg.format", "openpgp")
    site.git("config", "--unset", "user.signingKey")
    site.git("config", "user.email", "bob@example.org")
    assert signing_key(site.repository).id == f"openpgp:{site.bob}"


def test_an_appliance_without_release_or_image_cannot_be_endorsed(site: Site) -> None:
    with pytest.raises(UserError, match="no release"):
        candidate(site.repository, site.repository.head(), "other")
    site.build("2026.5.2.2", files=[])
    with pytest.raises(UserError, match="abstract"):
        candidate(site.repository, site.repository.head(), APPLIANCE)


def test_a_version_that_nobody_endorsed_cannot_be_withdrawn(site: Site) -> None:
    site.desk().endorse(candidate(site.repository, site.repository.head(), APPLIANCE))
    with pytest.raises(UserError, match="nobody on examples has endorsed") as caught:
        site.desk().withdraw(APPLIANCE, Version("1.0"), "why not")
    assert "2026.5.1.1" in caught.value.hint


def test_a_signature_that_no_site_would_accept_writes_no_tag(site: Site) -> None:
    done = site.desk().endorse(candidate(site.repository, site.repository.head(), APPLIANCE))
    site.git("tag", "-d", done.tag)
    site.build("2026.5.2.2")
    second = site.desk().endorse(candidate(site.repository, site.repository.head(), APPLIANCE))
    raw = {ref.name: ref.raw for ref in list_tags(site.repository)}[second.tag]
    create_tag(site.repository, f"endorse/{APPLIANCE}/9/alice/1", raw or b"")
    site.git("tag", "-d", second.tag)
    before = list_tags(site.repository)
    judgement, pins = in_force(site.chamber)
    alice = role(judgement.enactments.current.policy, signing_key(site.repository), APPLIANCE)
    who = Signatory(signing_key(site.repository, site.bob), alice, pins, NOBODY, lambda: datetime.now(UTC))
    desk, chosen = Desk(site.repository, site.repository.head(), who), candidate(site.repository, site.repository.head(), APPLIANCE)
    with pytest.raises(Refused, match="no site would accept"):
        desk.endorse(chosen)
    assert list_tags(site.repository) == before


def test_the_evidence_compares_with_the_last_endorsed_release(site: Site) -> None:
    site.desk().endorse(candidate(site.repository, site.repository.head(), APPLIANCE))
    site.build(
        "2026.5.2.2", "bash 5.3 amd64\ncurl 8.0 amd64\n", lint=[{"rule": "shell-history", "path": "/root/.bash_history", "what": "not \x1b[31mempty"}]
    )
    found = evidence(candidate(site.repository, site.repository.head(), APPLIANCE), site.desk().verdicts(), site.store)
    assert found.last is not None
    assert found.last.version == "2026.5.1.1"
    text = "\n".join(describe(found))
    for expected in (
        "since 2026.5.1.1: 1 new, 0 gone, 1 changed",
        "+ curl:amd64 8.0",
        "~ bash:amd64 5.2 → 5.3",
        "not boot-tested",
        "shell-history",
        UUID[:0],
    ):
        assert expected in text


def test_the_evidence_says_when_there_is_nothing_to_compare_with(site: Site) -> None:
    chosen = candidate(site.repository, site.repository.head(), APPLIANCE)
    assert "nothing of this appliance was endorsed before" in "\n".join(describe(evidence(chosen, site.desk().verdicts(), site.store)))
    site.desk().endorse(chosen)
    site.build("2026.5.2.2")
    found = evidence(candidate(site.repository, site.repository.head(), APPLIANCE), site.desk().verdicts(), Store(site.keys / "empty"))
    assert "is not possible" in "\n".join(describe(found))


def test_packages_of_two_architectures_are_told_apart() -> None:
    changes = package_changes("a 1 amd64\na 1 i386\nb 1 all\n", "a 1 amd64\na 2 i386\nc 1 all\n")
    assert changes.changed == (("a:i386", "1", "2"),)
    assert changes.added == (("c:all", "1"),)
    assert changes.removed == (("b:all", "1"),)


def test_a_long_list_of_changes_is_cut() -> None:
    from vmkeeper.execute.endorsement import Candidate
    from vmkeeper.execute.evidence import Evidence
    from vmkeeper.trust.history import Record

    signer = SecurityKey().plain_signer()
    world = World()
    said = world.statement(signer, world.record_release(release("1")))
    changes = package_changes("\n", "".join(f"p{number} 1 all\n" for number in range(50)) + "\n")
    lines = list(describe(Evidence(Candidate("b" * 40, Record("0" * 128, release("2"))), said, changes)))
    assert "  and 10 more" in lines


def test_a_record_off_the_mainline_is_not_read(site: Site) -> None:
    history = RepositoryHistory(site.repository, site.repository.head())
    site.git("switch", "-q", "-c", "side")
    side = site.build("2026.6.1.9")
    assert history.record(side, APPLIANCE) is None
    assert not history.on_mainline(side)
    assert history.record(site.git("rev-parse", "main"), "other") is None
