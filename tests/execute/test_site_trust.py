"""What becomes of a site's images when policies, keys, statements and approvals change: real tags, a real list, a cloud in memory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from support.governing import Person, by_ssh
from support.here import Here, kinds, notes
from support.producer import LIST, NOW
from support.webserver import WebServer
from vmkeeper.errors import Refused, UserError
from vmkeeper.execute.fresh import published_marks
from vmkeeper.execute.governance import sign_policy
from vmkeeper.execute.walk import Done
from vmkeeper.images.targets_folder import FolderTarget
from vmkeeper.repository.tags import delete_tag
from vmkeeper.trust.refusal import Untrusted

FIRST, SECOND = "debian-12 2026.11.1", "debian-12 2026.11.2"
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Person]:
    folder = tmp_path_factory.mktemp("keys")
    return {name: by_ssh(name, folder) for name in ("ann", "ben", "bob", "ci", "mallory")}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    with WebServer(tmp_path / "www") as server:
        yield Here(tmp_path, server)


@pytest.fixture
def ready(here: Here) -> Here:
    """One version runs at the site."""
    here.producer.all("debian-12", "2026.11.1")
    here.init()
    assert kinds(here.run()) == [f"register {FIRST}"]
    return here


@pytest.fixture
def fresh(here: Here, people: dict[str, Person]) -> Here:
    """The same under a policy that asks for freshness statements, with one made now."""
    here.wants_freshness(people["ci"])
    here.released("debian-12", "2026.11.1")
    here.vouch()
    here.init()
    assert kinds(here.run()) == [f"register {FIRST}"]
    return here


def refused(here: Here, rule: str) -> Untrusted | Refused:
    """The next run concludes nothing and leaves everything as it is."""
    images, memory = dict(here.world.images), here.home.memory()
    with pytest.raises(Refused) as caught:
        here.run()
    assert caught.value.rule == rule
    assert here.world.images == images
    assert here.home.memory() == memory
    return caught.value


# Whose file it is


def test_a_file_is_in_force_only_by_its_administrators_signatures(here: Here, people: dict[str, Person]) -> None:
    here.producer.all("debian-12", "2026.11.1")
    here.init(people["ann"], people["ben"], quorum=2)
    why = refused(here, "R20")
    assert "no approval" in why.what
    assert "vmkeeper approve here" in why.hint
    here.approve(people["ann"])
    assert "2 of 2 administrators must approve" in refused(here, "R20").why
    here.approve(people["ben"])
    assert kinds(here.run()) == [f"register {FIRST}"]
    assert here.run().outcomes == ()


def test_what_a_maintainer_merges_is_only_noted(here: Here, people: dict[str, Person]) -> None:
    here.producer.all("debian-12", "2026.11.1")
    here.init(people["ann"])
    here.approve(people["ann"])
    here.run()
    here.producer.site(block=[{"appliance": "*", "reason": "mine now"}])
    done = here.run()
    assert done.outcomes == ()
    assert "it counts once approved" in notes(done)
    here.approve(people["mallory"])
    assert here.run().outcomes == ()
    here.approve(people["ann"], pins=here.home.pins())
    assert kinds(here.run()) == [f"hide {FIRST}"]


def test_an_approval_that_is_gone_stops_the_site(here: Here, people: dict[str, Person]) -> None:
    here.producer.all("debian-12", "2026.11.1")
    here.init(people["ann"])
    here.approve(people["ann"])
    here.run()
    delete_tag(here.producer.repo.repository, "approve/here/1/ann")
    assert "approve/here/1/ann" in str(refused(here, "R8"))


def test_a_lost_administrators_key_approves_nothing_more(here: Here, people: dict[str, Person]) -> None:
    here.producer.all("debian-12", "2026.11.1")
    here.init(people["ann"])
    here.approve(people["ann"])
    here.run()
    here.init(people["ben"])
    assert "no approval" in refused(here, "R20").what
    here.approve(people["ben"], pins=here.home.pins())
    assert here.run().outcomes == ()


def test_the_accepted_file_is_this_one_and_no_other(ready: Here) -> None:
    file = ready.home.folder / "site.yaml"
    good = file.read_bytes()
    file.write_bytes(good.replace(b'"*"', b'"debian-*"'))
    assert "not the one that was accepted" in refused(ready, "R20").what
    file.unlink()
    assert "vmkeeper site init here" in refused(ready, "R20").hint
    file.write_bytes(good)
    ready.producer.accepted = lambda: None
    ready.producer.site(approve=[])
    done = ready.run()
    assert (done.outcomes, ready.usable()) == ((), [FIRST])
    assert "it counts once approved" in notes(done) or "accepted" in notes(done)
    ready.init()
    assert kinds(ready.run()) == [f"hide {FIRST}"]


# Freshness


def test_without_a_statement_nothing_new_is_registered_and_what_is_there_stays(here: Here, people: dict[str, Person]) -> None:
    here.producer.all("debian-12", "2026.11.1")
    here.init()
    here.run()
    here.wants_freshness(people["ci"])
    here.released("debian-12", "2026.11.2")
    done = here.run()
    assert kinds(done) == [f"hide {FIRST}"]  # it has no provenance, which the new policy asks for
    assert "nothing new is registered: R13: no freshness statement is there" in notes(done)
    here.vouch()
    assert kinds(here.run()) == [f"register {SECOND}"]


def test_a_stale_statement_freezes_then_hides_and_a_fresh_one_goes_on(fresh: Here) -> None:
    machine = fresh.machine()
    fresh.released("debian-12", "2026.11.2")
    fresh.producer.publish(expires=NOW + 200 * DAY)
    done = fresh.run(at=NOW + 3 * DAY)
    assert done.outcomes == ()
    assert f"{SECOND}: nothing new is registered since 2026-11-22T10:00:00Z: R13: the freshness statement is too old" in notes(done)
    assert fresh.run(at=NOW + 2 * DAY + 30 * DAY - timedelta(seconds=1)).outcomes == ()
    done = fresh.run(at=NOW + 32 * DAY)
    assert kinds(done) == [f"hide {FIRST}"]
    assert "nothing fresh since 2026-11-22T10:00:00Z, longer than the site's grace of 30d" in done.outcomes[0].action.reason
    assert fresh.world.machines[machine].state == "running"
    done = fresh.run(at=NOW + 45 * DAY)
    assert (done.outcomes, fresh.images("hidden")) == ((), [FIRST])
    assert "stays, because a machine uses it" in notes(done)
    fresh.vouch()
    assert f"register {SECOND}" in kinds(fresh.run())
    assert fresh.usable() == [SECOND]


def test_what_was_hidden_for_staleness_is_shown_again(fresh: Here) -> None:
    fresh.producer.publish(expires=NOW + 200 * DAY)
    assert kinds(fresh.run(at=NOW + 32 * DAY)) == [f"hide {FIRST}"]
    assert fresh.run().outcomes == ()
    fresh.vouch()
    assert kinds(fresh.run()) == [f"show {FIRST}"]
    assert fresh.run().outcomes == ()


def test_the_sites_own_grace_counts(fresh: Here) -> None:
    fresh.producer.site(retire={"stale_grace": "1d", "grace": "7d"})
    fresh.vouch()
    assert fresh.run(at=NOW + 3 * DAY - timedelta(seconds=1)).outcomes == ()
    assert kinds(fresh.run(at=NOW + 3 * DAY)) == [f"hide {FIRST}"]


def test_the_site_may_ask_for_a_fresher_statement_than_its_signer(fresh: Here) -> None:
    pins = fresh.home.folder / "pins.yaml"
    pins.write_text(pins.read_text().replace("maximum_staleness: 3d", "maximum_staleness: 12h"))
    assert fresh.home.pins().maximum_staleness == 12 * 3600
    fresh.released("debian-12", "2026.11.2")
    assert "nothing new is registered since 2026-11-20T22:00:00Z" in notes(fresh.run(at=NOW + DAY))


def test_a_tag_that_the_statement_names_and_is_withheld_stops_everything(fresh: Here) -> None:
    fresh.producer.withdraw("debian-12", "2026.11.1", issued=NOW)
    fresh.vouch()
    git = fresh.producer.repo.git
    name = "refs/tags/withdraw/debian-12/2026.11.1/alice/2"
    tag = git.references[name].target
    git.references.delete(name)
    assert "a tag of alice is withheld" in refused(fresh, "R8").what
    git.references.create(name, tag)
    assert kinds(fresh.run()) == [f"hide {FIRST}"]


def test_a_statement_that_goes_back_or_is_gone_freezes(fresh: Here) -> None:
    git = fresh.producer.repo.git
    old = git.references["refs/vmkeeper/freshness"].target
    fresh.now += timedelta(hours=5)
    fresh.vouch()
    fresh.run()
    fresh.released("debian-12", "2026.11.2")
    git.create_reference_direct("refs/vmkeeper/freshness", old, True)
    done = fresh.run()
    assert (done.outcomes, fresh.usable()) == ((), [FIRST])
    assert "an older freshness statement than the last one" in notes(done)
    git.references.delete("refs/vmkeeper/freshness")
    assert "nothing new is registered since 2026-11-22T15:00:00Z: R13: no freshness statement is there" in notes(fresh.run())


def test_a_list_older_than_the_statement_saw_brings_nothing(fresh: Here) -> None:
    folder = fresh.producer.folder
    old = (folder / "main/imagelist.signed").read_bytes()
    fresh.released("debian-12", "2026.11.2")
    marks = published_marks(FolderTarget(folder))
    assert [(one.uuid, one.version) for one in marks] == [(LIST, "20261120100002")]
    fresh.vouch(*marks)
    new = (folder / "main/imagelist.signed").read_bytes()
    (folder / "main/imagelist.signed").write_bytes(old)
    done = fresh.run()
    assert done.outcomes == ()
    assert "an older list than the published one" in notes(done)
    (folder / "main/imagelist.signed").write_bytes(new)
    assert f"register {SECOND}" in kinds(fresh.run())


def test_a_list_of_the_same_version_with_other_content_than_the_statement_saw_brings_nothing(fresh: Here) -> None:
    fresh.producer.publish(version="20261120100100")
    fresh.vouch(*published_marks(FolderTarget(fresh.producer.folder)))
    fresh.released("debian-12", "2026.11.2")
    fresh.producer.publish(version="20261120100100")
    done = fresh.run()
    assert done.outcomes == ()
    assert "R15" in notes(done)


def test_what_is_no_list_is_passed_over(tmp_path: Path, ready: Here) -> None:
    for name, data in (("a", b""), ("b", b"nonsense"), ("c", b"Content-Type: text/plain\n\nx")):
        (tmp_path / "public" / name).mkdir(parents=True)
        (tmp_path / "public" / name / "imagelist.signed").write_bytes(data)
    shutil.copytree(ready.producer.folder / "main", tmp_path / "public/main")
    assert [one.uuid for one in published_marks(FolderTarget(tmp_path / "public"))] == [LIST]
    assert published_marks(FolderTarget(tmp_path / "nothing")) == ()


# Policies


def test_an_expired_policy_freezes_and_a_renewed_one_goes_on(ready: Here) -> None:
    ready.producer.repo.git  # noqa: B018
    at = NOW - 2 * DAY + timedelta(days=300)
    ready.producer.endorse("debian-12", "2026.11.1", days=180, issued=at - 100 * DAY)
    ready.producer.offer("debian-12", "2026.11.1", expires=at + 100 * DAY)
    ready.producer.publish(expires=at + 100 * DAY)
    ready.run(at=at - timedelta(seconds=1))
    assert ready.usable() == [FIRST]
    ready.now = at
    ready.released("debian-12", "2026.11.2")
    ready.producer.offer("debian-12", "2026.11.2", expires=at + 100 * DAY)
    ready.producer.publish(expires=at + 100 * DAY)
    done = ready.run()
    assert (done.outcomes, ready.usable()) == ((), [FIRST])
    assert "R13: policy 1 has expired" in notes(done)
    ready.producer.policies.append(sign_policy(ready.chamber, ready.alice))
    assert f"register {SECOND}" in kinds(ready.run())


def test_after_the_grace_an_expired_policy_hides_what_is_there(ready: Here) -> None:
    at = NOW - 2 * DAY + timedelta(days=330)
    ready.producer.endorse("debian-12", "2026.11.1", days=180, issued=at - 100 * DAY)
    ready.producer.offer("debian-12", "2026.11.1", expires=at + 100 * DAY)
    ready.producer.publish(expires=at + 100 * DAY)
    ready.run(at=at - timedelta(seconds=1))
    assert ready.usable() == [FIRST]
    assert kinds(ready.run(at=at)) == [f"hide {FIRST}"]


def test_a_list_that_the_policy_dropped_hides_its_images(ready: Here) -> None:
    ready.enact(team=None)
    done = ready.run()
    assert kinds(done) == [f"hide {FIRST}"]
    assert "policy 2 in force has no endorser list team" in notes(done) + done.outcomes[0].action.reason
    assert "stay as they are" not in notes(done)


def test_a_list_that_vanished_unsigned_stops_everything(ready: Here) -> None:
    ready.propose(team=None)
    assert "has vanished" in refused(ready, "R4").what


def test_an_endorser_whom_the_next_policy_drops_hides_what_only_they_endorsed(ready: Here, people: dict[str, Person]) -> None:
    team = json.loads(ready.producer.endorser_document())
    ready.enact(team=json.dumps({**team, "endorsers": [people["bob"].document()]}))
    done = ready.run()
    assert kinds(done) == [f"hide {FIRST}"]
    assert "alice was an endorser until policy 1" in done.outcomes[0].action.reason
    assert ready.run().outcomes == ()


def test_what_is_only_proposed_changes_nothing(ready: Here, people: dict[str, Person]) -> None:
    team = json.loads(ready.producer.endorser_document())
    ready.propose(team=json.dumps({**team, "endorsers": [people["mallory"].document()]}))
    assert ready.run().outcomes == ()
    assert ready.usable() == [FIRST]


# Stolen keys


def test_one_principal_voids_a_stolen_key_and_its_images_are_hidden(here: Here, people: dict[str, Person]) -> None:
    here.enact(people["bob"])
    here.producer.all("debian-12", "2026.11.1")
    here.init()
    here.run()
    machine = here.machine()
    here.void(here.key(people["bob"]), "alice", here.alice.id)
    done = here.run()
    assert kinds(done) == [f"hide {FIRST}"]
    assert "not one of the tags that its owner stands by" in done.outcomes[0].action.reason
    assert here.world.machines[machine].state == "running"


def test_what_the_owner_stands_by_stays(here: Here, people: dict[str, Person]) -> None:
    here.enact(people["bob"])
    here.producer.all("debian-12", "2026.11.1")
    here.init()
    here.run()
    here.void(here.key(people["bob"]), "alice", here.alice.id, 1)
    assert here.run().outcomes == ()
    here.producer.all("debian-12", "2026.11.2")
    done = here.run()
    assert (done.outcomes, here.usable()) == ((), [FIRST])
    assert "what stands is serial 1 and those before" in notes(done)


def test_a_strangers_revocation_does_nothing(ready: Here, people: dict[str, Person]) -> None:
    with pytest.raises(UserError):
        ready.void(ready.key(people["mallory"]), "alice", ready.alice.id)
    assert ready.run().outcomes == ()


def test_a_withdrawal_reaches_the_plan_and_machines_go_on(ready: Here) -> None:
    machine = ready.machine()
    ready.producer.withdraw("debian-12", "2026.11.1", "it phones home")
    done = ready.run()
    assert kinds(done) == [f"hide {FIRST}"]
    assert "it phones home" in done.outcomes[0].action.reason
    assert all(isinstance(outcome, Done) for outcome in done.outcomes)
    assert ready.world.machines[machine].state == "running"


# Pinning again


def test_after_the_root_is_lost_a_site_goes_on_with_new_pins(ready: Here, people: dict[str, Person]) -> None:
    """The old principals are gone: their successor signs the next number, which the chain does not lead to."""
    team = json.loads(ready.producer.endorser_document())
    ready.propose(principals=[people["bob"].document()], team=json.dumps(team))
    said = sign_policy(ready.chamber, ready.key(people["bob"]))
    assert said.number == 2
    assert ready.run().outcomes == ()
    assert ready.home.pins().policy.number == 1
    ready.init(policy=2)
    pins = ready.home.pins()
    assert (pins.policy.number, pins.policy.sha512, [one.name for one in pins.principals]) == (2, said.content, ["bob"])
    done = ready.run()
    assert (done.outcomes, ready.usable()) == ((), [FIRST])
    ready.producer.policies.append(said)
    ready.producer.all("debian-12", "2026.11.2")
    assert f"register {SECOND}" in kinds(ready.run())


def test_a_policy_that_is_not_there_cannot_be_pinned(ready: Here) -> None:
    with pytest.raises(UserError, match="policy 2"):
        ready.init(policy=2)


def test_pinning_again_takes_a_policy_in_the_place_of_one_that_thieves_had_in_force(here: Here, people: dict[str, Person]) -> None:
    here.enact(people["bob"])
    here.producer.all("debian-12", "2026.11.1")
    here.init()
    here.run()
    evil = json.loads(here.producer.endorser_document())
    here.enact(people["bob"], team=json.dumps({**evil, "endorsers": [*evil["endorsers"], people["mallory"].document()]}))
    here.run()
    assert here.home.memory().policy is not None
    here.void(here.key(people["bob"]), "alice", here.alice.id, 2)
    assert "keys that are revoked" in refused(here, "R12").what
    here.propose(people["bob"], team=json.dumps({**evil, "endorsers": [people["bob"].document()]}))
    sign_policy(here.chamber, here.key(people["bob"]))
    assert "the policy went back" in str(refused(here, "R3"))
    here.init()
    assert kinds(here.run()) == [f"hide {FIRST}"]
