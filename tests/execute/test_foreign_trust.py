"""Who may sign a foreign list: grid authorities with revocation lists, SHA-1 where it is allowed, and real lists of others."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from support.foreign import Organisation, Subscriber, approved, later
from support.here import OWNER, kinds, notes
from support.producer import NOW
from support.webserver import WebServer
from support.x509 import Grid, revocation_list
from vmkeeper.clouds.memory import MemoryCloud
from vmkeeper.execute.observe import look
from vmkeeper.execute.site import plan_view
from vmkeeper.lists import hepix
from vmkeeper.lists.smime import Signer
from vmkeeper.plan.site import RegisterImage
from vmkeeper.plan.wanted import Current, Unusable

SAMPLES = Path(__file__).parents[1] / "fixtures" / "cloudkeeper"


@pytest.fixture(scope="module")
def grid() -> Grid:
    return Grid()


@pytest.fixture
def org(server: WebServer, grid: Grid) -> Organisation:
    made = Organisation(server)
    made.signer = Signer(grid.alice.certificate, grid.alice.key, (grid.middle.certificate,))
    made.offer("Debian 12")
    made.publish()
    return made


@pytest.fixture
def site(tmp_path: Path, server: WebServer, org: Organisation, grid: Grid) -> Subscriber:
    made = Subscriber(tmp_path, server)
    revoke(made, grid)
    made.takes(org.entry(), approve=approved("science-*"))
    made.run()
    return made


def revoke(site: Subscriber, grid: Grid, *revoked, **how) -> None:
    for name, data in grid.files(*revoked, **{"made": later(-1), "until": later(6), **how}).items():
        (site.home.ca / name).write_bytes(data)


def test_a_signer_of_a_grid_s_authority_counts(site: Subscriber) -> None:
    assert site.usable() == ["science-debian-12 1.0"]


@pytest.mark.parametrize("away", [False, True], ids=["the list unchanged", "the server away"])
def test_a_revoked_signer_s_images_go_at_once(site: Subscriber, org: Organisation, grid: Grid, away: bool) -> None:
    revoke(site, grid, grid.alice)
    if away:
        org.page.statuses = [503] * 5
    done = site.run()
    assert kinds(done) == ["hide science-debian-12 1.0"]
    assert "R12" in done.outcomes[0].action.reason
    assert site.run().outcomes == ()


def test_a_list_that_a_revoked_signer_made_does_not_take_the_good_one_s_images(site: Subscriber, org: Organisation, grid: Grid) -> None:
    """Somebody with the stolen old key, of the same name, puts up another list."""
    stolen = grid.person("Alice")
    assert stolen.certificate.subject == grid.alice.certificate.subject
    org.publish(signer=Signer(stolen.certificate, stolen.key, ()))
    revoke(site, grid, stolen)
    done = site.run()
    assert done.outcomes == ()
    assert "R12" in notes(done)
    assert "its images stay as they are" in notes(done)
    assert site.usable() == ["science-debian-12 1.0"]


def test_a_stale_revocation_list_is_told_and_retires_nothing(site: Subscriber, org: Organisation, grid: Grid) -> None:
    done = site.run(at=later(10))
    assert done.outcomes == ()
    assert "R18" in notes(done)
    revoke(site, grid, made=later(9), until=later(17))
    assert notes(site.run()) == ""


def test_a_revocation_list_of_nobody_s_is_refused(site: Subscriber, grid: Grid) -> None:
    forged = revocation_list(grid.middle, signed_by=grid.person("Mallory"), made=later(-1), until=later(6))
    stem = f"{grid.middle.certificate.serial_number:08x}"[:8]
    (site.home.ca / f"{stem}.r0").write_bytes(forged.public_bytes(Encoding.PEM))
    done = site.run()
    assert done.outcomes == ()
    assert "R18" in notes(done)


def test_an_authority_that_is_taken_out_of_the_folder_counts_no_more(site: Subscriber) -> None:
    for file in site.home.ca.glob("*.[r0]*"):
        file.unlink()
    done = site.run()
    assert done.outcomes == ()
    assert "R19" in notes(done)


@pytest.mark.parametrize(
    "dn", ["/DC=org/DC=grid/O=People/CN=Alice", "CN=Alice,O=People,DC=grid,DC=org", "DC = org, DC = grid, O = People, CN = Alice"]
)
def test_the_signer_s_name_may_be_written_in_any_usual_way(site: Subscriber, org: Organisation, dn: str) -> None:
    site.takes(org.entry(endorser={"dn": dn, "ca": "/DC=org/DC=grid/CN=Grid Users"}), approve=approved("science-*"))
    assert notes(site.run()) == ""


@pytest.mark.parametrize(
    "dn", ["/DC=org/DC=grid/O=People/CN=alice", "/DC=org/DC=grid/O=People\\/CN=Alice", "/CN=Alice", "CN=Alice,DC=org,DC=grid,O=People"]
)
def test_another_name_is_another_name(site: Subscriber, org: Organisation, dn: str) -> None:
    site.takes(org.entry(endorser={"dn": dn, "ca": "/DC=org/DC=grid/CN=Grid Users"}), approve=approved("science-*"))
    assert "R15" in notes(site.run()) or "is not a distinguished name" in notes(site.run())


def signed_by_openssl(org: Organisation, grid: Grid, folder: Path, *options: str) -> bytes:
    """A list as vmcaster signs it: by openssl."""
    certificate, key = grid.alice.write(folder, "alice")
    (folder / "list.json").write_text(hepix.write(org.list()))
    command = ["openssl", "smime", "-sign", "-signer", certificate, "-inkey", key, "-in", folder / "list.json", *options]
    return subprocess.run([str(word) for word in command], check=True, capture_output=True).stdout


def test_sha1_counts_only_where_the_site_says_so_for_this_list(site: Subscriber, org: Organisation, grid: Grid, tmp_path: Path) -> None:
    org.put(signed_by_openssl(org, grid, tmp_path, "-md", "sha1"))
    done = site.run()
    assert done.outcomes == ()
    assert "R11" in notes(done)
    site.takes(org.entry(sha1=True), approve=approved("science-*"))
    assert notes(site.run()) == ""
    assert site.home.memory().lists[org.uuid].version == "2026.11.20.2"


def test_what_openssl_signs_is_taken(site: Subscriber, org: Organisation, grid: Grid, tmp_path: Path) -> None:
    org.put(signed_by_openssl(org, grid, tmp_path, "-md", "sha256"))
    assert notes(site.run()) == ""


def test_links_to_the_system_s_folder_serve(site: Subscriber, org: Organisation, tmp_path: Path) -> None:
    system = tmp_path / "certificates"
    system.mkdir()
    for file in list(site.home.ca.iterdir()):
        file.rename(system / file.name)
        file.symlink_to(system / file.name)
    org.publish()
    assert notes(site.run()) == ""


# cloudkeeper's sample lists

SIGNER = "/C=AU/ST=Some-State/O=Internet Widgits Pty Ltd"


def sample(server: WebServer, site: Subscriber, file: str, name: str, **changes: Any) -> dict[str, Any]:
    """An item of `foreign:` for one of the sample lists."""
    url = server.serve(f"/{file}", (SAMPLES / "lists" / file).read_bytes())
    (site.home.ca / "9da13359.0").write_bytes((SAMPLES / "ca/9da13359.0").read_bytes())
    return {"name": name, "url": url, "endorser": {"dn": SIGNER, "ca": SIGNER}, **changes}


@pytest.fixture
def reader(tmp_path: Path, server: WebServer) -> Subscriber:
    return Subscriber(tmp_path, server)


def test_cloudkeeper_s_lists_are_taken_and_their_images_wait_for_a_decision(server: WebServer, reader: Subscriber) -> None:
    reader.takes(sample(server, reader, "imagelist01.signed", "appdb"), sample(server, reader, "imagelist02.signed", "second"))
    done = reader.run()
    assert [type(found.state) for found in done.view.lists] == [Current, Current]
    decided = sorted(f"{decision.appliance} {decision.version}" for decision in done.view.decisions)
    assert len(decided) == 4
    assert [words.split()[1] for words in decided] == ["20141029", "3.3.0.1"] * 2
    assert notes(done).count("it waits for a decision") == 4
    assert reader.run().made.notes == done.made.notes


def test_an_approved_image_of_cloudkeeper_s_list_would_be_registered_as_the_site_s_first_format(server: WebServer, reader: Subscriber) -> None:
    reader.takes(sample(server, reader, "imagelist01.signed", "appdb", new="approve"), formats=["qcow2", "raw"])
    view = look(reader.producer.repo.repository, reader.home, "here", NOW, connect=lambda _: {"": MemoryCloud(OWNER, reader.world)})
    actions = plan_view(view, NOW).plan.actions
    assert sorted(type(action).__name__ for action in actions) == ["RegisterImage", "RegisterImage"]
    cernvm = next(action for action in actions if isinstance(action, RegisterImage) and "cernvm" in action.subject)
    assert (cernvm.store_as, cernvm.spec.format, cernvm.spec.signed.format, cernvm.spec.signed.size) == ("qcow2", "qcow2", "ova", 121243136)
    assert cernvm.spec.properties["hv:version"] == "3.3.0-1"
    assert cernvm.spec.expires.year == 2499


def test_a_list_that_a_stranger_signed_and_one_with_another_signer_s_name_are_refused(server: WebServer, reader: Subscriber) -> None:
    narnia = "/C=NA/ST=Narnia/L=Aver/O=TEST/OU=TEST/CN=TEST"
    reader.takes(
        sample(server, reader, "imagelist_invalid.signed", "stranger", endorser={"dn": narnia, "ca": narnia}),
        sample(server, reader, "imagelist01.signed", "named", endorser={"dn": "/C=AU/ST=Some-State/O=Internet Widgits", "ca": SIGNER}),
        sample(server, reader, "imagelist02.signed", "good"),
    )
    states = {found.name: found.state for found in reader.run().view.lists}
    assert isinstance(states["good"], Current)
    assert isinstance(states["stranger"], Unusable)
    assert "R19" in states["stranger"].why
    assert isinstance(states["named"], Unusable)
    assert "R15" in states["named"].why


def test_the_authority_s_end_is_the_end_of_its_lists(server: WebServer, reader: Subscriber) -> None:
    reader.takes(sample(server, reader, "imagelist01.signed", "appdb"))
    done = reader.run(at=datetime(2028, 2, 18, tzinfo=UTC))
    assert "R19" in notes(done)
