"""A site against a real repository, real signed tags, a really signed list and a web server on this machine."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from support.here import HOSTS, OWNER, Here, kinds, notes
from support.producer import NOW, Authority
from support.repo import Repo
from vmkeeper.clouds.memory import MemoryCloud
from vmkeeper.errors import Refused, Transient, UserError
from vmkeeper.execute.home import SiteHome
from vmkeeper.execute.pinning import Proposal, Wishes, pin, proposal
from vmkeeper.execute.site import reconcile
from vmkeeper.execute.walk import Done, Failed


def test_an_endorsed_and_approved_image_comes_and_the_second_run_does_nothing(here: Here) -> None:
    done = here.run()
    assert kinds(done) == ["register debian-12 2026.11.1"]
    (image,) = here.world.images.values()
    assert image.spec is not None
    assert (image.owner, image.spec.list, image.spec.virtual_size) == (OWNER, here.home.pins().image_lists[0].uuid, image.spec.size)
    assert image.spec.properties["ad:mpuri"].endswith("/main/debian-12")
    assert [path.name for path in here.home.cache.rglob("*") if path.is_file()] == [image.spec.sha512]
    calls, requests = len(here.world.calls), len(here.server.requests)
    assert here.run().outcomes == ()
    assert here.world.calls[calls:] == ["images"]
    assert [request.path for request in here.server.requests[requests:]] == ["/main/imagelist.signed"]


def test_an_update_registers_before_it_hides_and_the_old_one_goes_after_the_grace_period(here: Here) -> None:
    here.run()
    here.producer.all("debian-12", "2026.11.2")
    assert kinds(here.run()) == ["register debian-12 2026.11.2", "hide debian-12 2026.11.1"]
    assert (here.usable(), here.images("hidden")) == (["debian-12 2026.11.2"], ["debian-12 2026.11.1"])
    assert here.run(at=NOW + timedelta(days=6)).outcomes == ()
    assert kinds(here.run(at=NOW + timedelta(days=7))) == ["delete debian-12 2026.11.1"]
    assert here.run().outcomes == ()


def test_an_expired_endorsement_hides_its_image(here: Here) -> None:
    here.run()
    here.producer.publish(expires=NOW + timedelta(days=200))
    done = here.run(at=NOW + timedelta(days=59))
    assert kinds(done) == ["hide debian-12 2026.11.1"]
    assert here.usable() == []


def test_a_withdrawal_hides_the_image_and_says_why(here: Here) -> None:
    here.run()
    here.producer.withdraw("debian-12", "2026.11.1")
    done = here.run()
    assert kinds(done) == ["hide debian-12 2026.11.1"]
    assert "a hole in it" in done.outcomes[0].action.reason
    assert here.run().outcomes == ()


def test_removal_from_the_list_hides_the_image(here: Here) -> None:
    here.run()
    here.producer.images.clear()
    here.producer.publish()
    assert kinds(here.run()) == ["hide debian-12 2026.11.1"]


def test_a_list_that_expires_in_place_expires_its_images(here: Here) -> None:
    here.run()
    assert kinds(here.run(at=NOW + timedelta(days=20))) == ["hide debian-12 2026.11.1"]


def test_without_an_endorsement_nothing_comes(here: Here) -> None:
    here.producer.release("docker", "2026.11.1")
    here.producer.offer("docker", "2026.11.1")
    here.producer.publish()
    done = here.run()
    assert here.usable() == ["debian-12 2026.11.1"]
    assert "0 of 1 endorsers of team endorse it" in notes(done)


def test_without_an_approval_nothing_comes_and_with_one_it_does(here: Here) -> None:
    here.producer.site(approve=[])
    assert "does not approve debian-12" in notes(here.run())
    assert here.usable() == []
    here.producer.site(approve=[{"appliance": "debian-*", "version": ">=2026.11", "endorser": "alice"}])
    here.run()
    assert here.usable() == ["debian-12 2026.11.1"]


def test_a_block_hides_the_image(here: Here) -> None:
    here.run()
    here.producer.site(block=[{"appliance": "debian-12", "reason": "eats our disks"}])
    assert "eats our disks" in here.run().outcomes[0].action.reason
    assert here.usable() == []


def test_a_list_with_other_bytes_than_were_endorsed_brings_nothing(here: Here) -> None:
    here.producer.offer("debian-12", "2026.11.1", sha512="0" * 128)
    here.producer.publish()
    assert "R14" in notes(here.run())
    assert here.usable() == []


def test_other_bytes_from_the_server_are_refused_and_leave_nothing(here: Here) -> None:
    file = here.producer.folder / "main/images/debian-12-2026.11.1.raw"
    good = file.read_bytes()
    file.write_bytes(good[:-1] + b"!")
    (outcome,) = here.run().outcomes
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, Refused)
    assert here.world.images == {}
    file.write_bytes(good)
    here.run()
    assert here.usable() == ["debian-12 2026.11.1"]


def test_an_image_that_is_not_what_it_is_declared_to_be_is_refused_although_it_is_endorsed(here: Here) -> None:
    here.producer.release("odd", "1", data=b"QFI\xfb\0\0\0\3".ljust(4096, b"\0"))
    here.producer.endorse("odd", "1")
    here.producer.offer("odd", "1")
    here.producer.publish()
    outcomes = {outcome.action.subject: outcome for outcome in here.run().outcomes}
    odd = outcomes["odd 1"]
    assert isinstance(odd, Failed)
    assert isinstance(odd.error, Refused)
    assert odd.error.rule == "R26"
    assert here.usable() == ["debian-12 2026.11.1"]


@pytest.mark.parametrize("spoil", ["signer", "authority", "content", "uuid", "gone", "server"])
def test_a_list_that_cannot_be_trusted_changes_nothing(here: Here, spoil: str) -> None:
    here.run()
    before = dict(here.world.images)
    file = here.producer.folder / "main/imagelist.signed"
    match spoil:
        case "signer":
            here.producer.publish(signer=here.producer.authority.signer("Mallory"))
        case "authority":
            here.producer.publish(signer=Authority().signer())
        case "content":
            file.write_bytes(file.read_bytes().replace(b"2026.11.1", b"2026.11.9"))
        case "uuid":
            file.write_bytes(b"")
        case "gone":
            file.unlink()
        case "server":
            here.server.serve("/main/imagelist.signed", statuses=[503] * 9)
    done = here.run()
    assert done.outcomes == ()
    assert "its images stay as they are" in notes(done)
    assert here.world.images == before


def test_the_same_version_with_other_content_is_refused(here: Here) -> None:
    here.producer.publish(version="20261120100100")
    here.run()
    here.producer.images.clear()
    here.producer.publish(version="20261120100100")
    assert "R15" in notes(here.run())
    assert here.usable() == ["debian-12 2026.11.1"]


def test_an_older_list_is_refused(here: Here) -> None:
    here.run()
    here.producer.publish(version="2026112009")
    assert "older version" in notes(here.run())
    assert here.usable() == ["debian-12 2026.11.1"]


def test_a_list_that_cannot_be_read_until_it_has_expired_expires_its_images(here: Here) -> None:
    here.run()
    (here.producer.folder / "main/imagelist.signed").unlink()
    assert here.run(at=NOW + timedelta(days=19)).outcomes == ()
    assert kinds(here.run(at=NOW + timedelta(days=20))) == ["hide debian-12 2026.11.1"]


def test_the_clock_must_not_go_backwards(here: Here) -> None:
    here.run()
    with pytest.raises(Refused, match="clock") as refusal:
        here.run(at=NOW - timedelta(minutes=6))
    assert refusal.value.rule == "R13"
    here.run(at=NOW - timedelta(minutes=4))


def test_another_repository_is_refused(here: Here, tmp_path: Path) -> None:
    other = Repo(tmp_path / "other.git")
    snapshot = here.producer.repo.repository.at(here.producer.repo.repository.head())
    other.commit({"sites/here.yaml": snapshot.read("sites/here.yaml")})
    with pytest.raises(Refused) as refusal:
        reconcile(other.repository, here.home, "here", lambda: NOW, connect=lambda _: {"": MemoryCloud(OWNER, here.world)})
    assert refusal.value.rule == "R1"


@pytest.mark.parametrize("how", ["gone", "moved"])
def test_a_trusted_tag_that_is_gone_or_another_stops_the_run(here: Here, how: str) -> None:
    here.run()
    name = "refs/tags/endorse/debian-12/2026.11.1/alice/1"
    oid = here.producer.repo.git.references[name].target
    here.producer.repo.git.references.delete(name)
    if how == "moved":
        raw = here.producer.repo.git.odb.read(oid)[1]
        moved = here.producer.repo.git.odb.write(4, raw.replace(b"2026", b"2027", 1))
        here.producer.repo.git.references.create(name, moved)
    with pytest.raises(Refused) as refusal:
        here.run()
    assert refusal.value.rule == "R8"
    assert here.usable() == ["debian-12 2026.11.1"]


def test_a_site_that_pinned_nobody_says_what_to_do(here: Here, tmp_path: Path) -> None:
    here.home = SiteHome(tmp_path / "elsewhere")
    with pytest.raises(UserError) as error:
        here.run()
    assert "vmkeeper site init" in error.value.hint


def test_two_runs_at_once_are_refused(here: Here) -> None:
    with here.home.locked(), pytest.raises(Transient):
        here.run()


def test_a_lost_memory_is_not_taken_for_an_empty_one(here: Here) -> None:
    here.run()
    (here.home.folder / "memory.json").write_text("{")
    with pytest.raises(UserError, match="memory"):
        here.run()


def test_a_cloud_that_cannot_be_listed_stops_the_run_before_anything_is_done(here: Here) -> None:
    here.run()
    before = dict(here.world.images)

    def fault(method: str, moment: str) -> None:
        raise Transient("down")

    with pytest.raises(Transient):
        here.run(fault, at=NOW + timedelta(days=300))
    assert here.world.images == before


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


STEPS = [("images", "after"), ("upload", "before"), ("upload", "created"), ("upload", "after"), ("update", "before"), ("update", "after")]


@pytest.mark.parametrize(("method", "moment"), STEPS)
def test_killed_at_any_call_the_next_run_ends_in_the_same_state(here: Here, method: str, moment: str) -> None:
    here.run()
    here.producer.all("debian-12", "2026.11.2")

    def fault(called: str, at: str) -> None:
        if (called, at) == (method, moment):
            raise Killed

    with pytest.raises(Killed):
        here.run(fault)
    assert len(here.usable()) >= 1
    here.run()
    assert (here.usable(), here.images("hidden")) == (["debian-12 2026.11.2"], ["debian-12 2026.11.1"])
    assert list((here.home.cache / "incoming").iterdir()) == []
    assert here.run().outcomes == ()


def test_an_image_in_another_format_is_converted_and_stays_what_was_signed(here: Here) -> None:
    here.producer.site(formats=["qcow2"])
    done = here.run()
    assert kinds(done) == ["register debian-12 2026.11.1"]
    assert isinstance(done.outcomes[0], Done)
    assert "converted from raw" in done.outcomes[0].text
    (image,) = here.world.images.values()
    assert image.spec is not None
    assert image.spec.source is not None
    assert (image.spec.format, image.spec.source.format) == ("qcow2", "raw")
    assert image.spec.sha512 != image.spec.source.sha512
    requests = len(here.server.requests)
    assert here.run().outcomes == ()
    assert [request.path for request in here.server.requests[requests:]] == ["/main/imagelist.signed"]
    here.world.images.clear()
    again = here.run()
    assert kinds(again) == ["register debian-12 2026.11.1"]
    assert next(iter(here.world.images.values())).spec == image.spec
    assert not [request.path for request in here.server.requests[requests:] if "images" in request.path]


def test_pins_come_from_a_fetched_list_too(here: Here) -> None:
    ca = here.home.certificates()
    made = proposal(here.producer.repo.repository, "here", Wishes(ca, allowed_hosts=HOSTS), NOW)
    assert made.pins == here.home.pins()


def test_pinning_another_repository_forgets_its_tags_and_not_the_time(here: Here) -> None:
    here.run()
    assert here.home.memory().tags
    pin(here.home, Proposal(here.home.pins().model_copy(update={"repository": "f" * 40}), here.home.site_file()), ())
    assert here.home.memory().tags == {}
    assert here.home.memory().newest == NOW
