"""Policies, revocations, approvals and freshness statements: signed by people with real keys, judged as a site would."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from support.governing import Court, Person, by_openpgp, by_ssh, by_x509, released
from support.keys import GpgHome
from support.x509 import Grid
from vmkeeper.errors import Refused, UserError, VmkeeperError
from vmkeeper.execute.approving import approve
from vmkeeper.execute.governance import sign_policy, vouch
from vmkeeper.execute.pinning import Wishes, proposal
from vmkeeper.execute.revoking import revoke
from vmkeeper.execute.verification import FRESHNESS_REF, judge, own_pins, read_pins
from vmkeeper.model.keys import Compromise
from vmkeeper.repository.tags import raw_ref
from vmkeeper.trust.freshness import Frozen
from vmkeeper.trust.keys.certificates import Authorities
from vmkeeper.trust.memory import Memory
from vmkeeper.trust.people import Holder
from vmkeeper.trust.pins import PinnedSite, Pins, to_yaml
from vmkeeper.trust.refusal import Untrusted
from vmkeeper.trust.said import ListMark, PolicySignature
from vmkeeper.values import Duration, sha512_hex


@pytest.fixture(scope="module")
def gpg() -> Iterator[GpgHome]:
    home = GpgHome()
    yield home
    home.close()


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Person]:
    folder = tmp_path_factory.mktemp("keys")
    return {name: by_ssh(name, folder) for name in ("alice", "bob", "carol", "dave", "mallory", "ci")}


@pytest.fixture
def court(tmp_path: Path) -> Court:
    return Court(tmp_path / "repository.git")


# Policies


def test_the_first_policy_is_in_force_once_its_own_principal_has_signed_it(court: Court, people: dict[str, Person]) -> None:
    alice = people["alice"]
    court.propose(alice)
    before = court.proposed()
    assert (before.number, before.previous, before.signed, before.in_force) == (1, None, (), False)
    assert list(before.missing()) == ["1 more of its own principals: alice"]
    said = court.sign(alice)
    assert (said.ref, said.number, said.previous, said.tree) == ("policy/1/alice", 1, None, before.tree)
    after = court.proposed()
    assert (court.number(), after.number, after.in_force, after.settled) == (1, 2, True, True)


def test_three_people_with_three_kinds_of_keys_sign_the_same_content(
    tmp_path: Path, gpg: GpgHome, people: dict[str, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GNUPGHOME", str(gpg.path))
    grid = Grid()
    court = Court(tmp_path / "repository.git", grid.authorities())
    alice, bob, erin = people["alice"], by_openpgp("bob", gpg), by_x509("erin", grid.erin, tmp_path / "certificates")
    court.propose(alice, bob, erin, quorum=2)
    assert list(court.proposed().missing()) == ["2 more of its own principals: alice, bob, erin"]
    first = court.sign(erin, "90d")
    assert (court.number(), court.proposed().signed) == (0, ("erin",))
    assert list(court.proposed().missing()) == ["1 more of its own principals: alice, bob"]
    court.repo.commit({"README.md": "Something else.\n"})
    court.later(minutes=10)
    second = court.sign(bob)
    assert (second.content, second.commit, second.expires, second.key) == (first.content, first.commit, first.expires, bob.id)
    assert court.number() == 1
    court.propose(alice, bob, erin, quorum=3)
    for person, number in ((alice, 1), (erin, 1), (bob, 2)):
        assert court.sign(person).number == 2
        assert court.number() == number
    assert len({one.content for one in map(court.said, court.tags("policy/2/")) if isinstance(one, PolicySignature)}) == 1


def test_signing_again_changes_nothing(court: Court, people: dict[str, Person]) -> None:
    court.propose(people["alice"], people["bob"], quorum=2)
    said = court.sign(people["alice"])
    before = court.tags("policy/")
    court.later(hours=1)
    assert court.sign(people["alice"]) == said
    assert court.tags("policy/") == before


def test_a_key_of_nobody_signs_nothing(court: Court, people: dict[str, Person]) -> None:
    court.propose(people["alice"])
    with pytest.raises(UserError, match="belongs to no principal") as error:
        court.sign(people["mallory"])
    assert "alice ssh:SHA256:" in error.value.hint
    assert court.tags("policy/") == {}


def test_an_endorser_is_no_principal(court: Court, people: dict[str, Person]) -> None:
    court.propose(people["alice"], endorsers=(people["bob"],))
    with pytest.raises(UserError, match="belongs to no principal"):
        court.sign(people["bob"])


@pytest.mark.parametrize("valid", ["401d", "0s"])
def test_a_validity_that_the_policy_does_not_allow_is_refused(court: Court, people: dict[str, Person], valid: str) -> None:
    court.propose(people["alice"])
    with pytest.raises(UserError, match="not a validity"):
        court.sign(people["alice"], valid)


def test_a_pending_signature_is_replaced_only_when_asked(court: Court, people: dict[str, Person]) -> None:
    alice, bob = people["alice"], people["bob"]
    court.propose(alice, bob, quorum=2)
    old = court.sign(alice)
    court.propose(alice, bob, people["carol"], quorum=2)
    with pytest.raises(UserError, match="signed another policy 1") as error:
        court.sign(alice)
    assert "--replace" in error.value.hint
    assert court.said("policy/1/alice") == old
    new = court.sign(alice, replace=True)
    assert (court.said("policy/1/alice"), new.tree != old.tree) == (new, True)
    court.sign(bob)
    assert court.number() == 1


def test_a_signature_that_cannot_be_made_leaves_the_one_to_be_replaced(court: Court, people: dict[str, Person]) -> None:
    alice, bob = people["alice"], people["bob"]
    court.propose(alice, bob, quorum=2)
    old = court.sign(alice)
    court.propose(alice, bob, people["carol"], quorum=2)
    key = court.key(alice)
    broken = type(key)("ssh", "/nonexistent/key", key.id)
    with pytest.raises(VmkeeperError):
        sign_policy(court.chamber, broken, replace=True)
    assert court.said("policy/1/alice") == old


def test_two_first_policies_of_which_one_has_its_quorum_are_no_riddle(court: Court, people: dict[str, Person]) -> None:
    """Whoever may push tags can put a policy of theirs beside the real one; it does not confuse those who have pinned nothing."""
    alice, mallory = people["alice"], people["mallory"]
    court.propose(alice)
    said = court.sign(alice)
    stranger = said.model_copy(update={"principal": "mallory", "key": court.key(mallory).id, "expires": said.expires - timedelta(days=1)})
    court.put(stranger, mallory)
    assert own_pins(court.repo.repository, court.chamber.sight()).policy.sha512 == said.content
    assert court.number() == 1
    court.propose(alice, people["bob"])
    assert court.sign(alice).number == 2


def test_a_lightweight_tag_of_a_stranger_does_not_stop_the_first_policy(court: Court, people: dict[str, Person]) -> None:
    court.propose(people["alice"])
    court.repo.git.references.create("refs/tags/policy/1/alice", court.repo.git.head.target)
    assert court.proposed().signed == ()
    assert court.sign(people["alice"], replace=True).number == 1
    assert court.number() == 1


def test_a_renewal_before_it_expires_has_the_same_tree_and_a_higher_number(court: Court, people: dict[str, Person]) -> None:
    alice, bob = people["alice"], people["bob"]
    court.propose(alice, bob, quorum=2)
    court.sign(alice, "30d"), court.sign(bob)
    court.later(days=20)
    first = court.sign(alice, "60d")
    pending = court.proposed()
    assert (pending.in_force, pending.settled, pending.number) == (True, False, 2)
    assert list(pending.missing()) == ["1 more of its own principals: bob", "1 more of policy 1's principals: bob"]
    second = court.sign(bob)
    assert (second.number, second.expires, second.content) == (2, first.expires, first.content)
    assert (court.number(), court.proposed().settled) == (2, True)
    court.later(days=61)
    judgement = court.chamber.judgement()
    assert judgement is not None
    assert isinstance(judgement.frozen["team"], Frozen)
    assert judgement.frozen["team"].refusals[0].rule == "R13"
    assert court.sign(alice, "30d").number == 3


def test_what_can_not_come_into_force_any_more_is_not_signed_alike(court: Court, people: dict[str, Person]) -> None:
    alice, bob = people["alice"], people["bob"]
    court.propose(alice, bob, quorum=2)
    stale = court.sign(alice, "1d")
    court.later(days=2)
    assert court.proposed().signed == ()
    said = court.sign(bob)
    assert said.expires > stale.expires
    assert court.sign(alice, replace=True).content == said.content
    assert court.number() == 1


def test_root_principals_rotate_from_one_to_the_next(court: Court, people: dict[str, Person]) -> None:
    alice, bob, carol = people["alice"], people["bob"], people["carol"]
    court.propose(alice)
    court.sign(alice)
    pins = own_pins(court.repo.repository, court.chamber.sight())
    for old, new in ((alice, bob), (bob, carol)):
        court.propose(new)
        missing = " and ".join(court.proposed().missing())
        assert f"its own principals: {new.name}" in missing
        assert f"principals: {old.name}" in missing
        court.sign(new)
        number = court.number()
        court.sign(old)
        assert court.number() == number + 1
    assert court.number() == 3
    judgement = judge(court.chamber.sight(), pins, Memory(), Authorities(()), court.now)
    assert [[one.name for one in each.policy.principals] for each in judgement.enactments.policies] == [["alice"], ["bob"], ["carol"]]
    court.propose(alice)
    court.sign(alice)
    assert court.number() == 3
    assert list(court.proposed().missing()) == ["1 more of policy 3's principals: carol"]


BROKEN = {
    "no policy": {"endorsers/policy.yaml": None},
    "not YAML": {"endorsers/policy.yaml": "title: [\n"},
    "an alias": {"endorsers/policy.yaml": "title: &a x\nquorum: 1\nprincipals: *a\n"},
    "a list with an unknown field": {"endorsers/team.yaml": "title: x\ncommunity: y\npolicy: z\nendorsers: []\nextra: 1\n"},
    "a key file that is gone": {"endorsers/other.yaml": json.dumps({
        "title": "x", "community": "y", "policy": "z",
        "endorsers": [{"name": "zoe", "full_name": "Z", "email": "z@example.org", "keys": [{"type": "openpgp", "fingerprint": "A" * 40, "file": "keys/z.asc"}]}],
    })},
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_tree_that_cannot_be_a_policy_is_refused_and_the_one_in_force_stays(court: Court, people: dict[str, Person], case: str) -> None:
    court.propose(people["alice"])
    court.sign(people["alice"])
    court.repo.commit(BROKEN[case])
    with pytest.raises(Refused) as refused:
        court.sign(people["alice"])
    assert refused.value.rule in {"R4", "R21", "R22"}
    assert list(court.tags("policy/")) == ["policy/1/alice"]


def test_one_key_under_two_names_is_no_policy(court: Court, people: dict[str, Person]) -> None:
    from dataclasses import replace

    court.propose(people["alice"], endorsers=(replace(people["alice"], name="alias"),))
    with pytest.raises(Untrusted) as refused:
        court.sign(people["alice"])
    assert refused.value.rule == "R5"


def test_what_a_revoked_principal_signed_is_not_counted_as_signed(court: Court, people: dict[str, Person]) -> None:
    alice, bob, carol = people["alice"], people["bob"], people["carol"]
    court.propose(alice, bob, carol, quorum=2)
    court.sign(alice), court.sign(bob)
    court.propose(alice, bob, carol, people["dave"], quorum=2)
    court.sign(alice)
    revoke(court.chamber, court.key(bob), "alice", court.key(alice).id, 1, "stolen")
    assert court.proposed().signed == ()
    court.sign(bob)
    assert court.number() == 1
    court.sign(carol)
    assert court.number() == 2


def test_a_policy_that_fell_with_a_stolen_key_is_signed_again_alike(court: Court, people: dict[str, Person]) -> None:
    """Sites remember its content, so that another content under its number would be refused by them."""
    alice, bob = people["alice"], people["bob"]
    court.propose(alice, bob)
    court.sign(alice)
    pins = own_pins(court.repo.repository, court.chamber.sight())
    court.propose(alice, bob, endorsers=(people["carol"],))
    fell = court.sign(alice)
    memory = judge(court.chamber.sight(), pins, Memory(), court.authorities, court.now).memory
    revoke(court.chamber, court.key(bob), "alice", court.key(alice).id, 1, "stolen")
    with pytest.raises(Untrusted, match="keys that are revoked"):
        judge(court.chamber.sight(), pins, memory, court.authorities, court.now)
    found = court.proposed()
    assert (found.number, found.signed, [one.rule for one in found.fallen]) == (2, (), ["R12"])
    court.later(hours=1)
    assert court.sign(bob).content == fell.content
    assert judge(court.chamber.sight(), pins, memory, court.authorities, court.now).enactments.current.number == 2
    assert court.proposed().fallen == ()


def test_a_list_is_dropped_with_the_policy_that_is_without_it(court: Court, people: dict[str, Person]) -> None:
    alice = people["alice"]
    court.propose(alice, endorsers=(people["carol"],))
    court.sign(alice)
    pins = own_pins(court.repo.repository, court.chamber.sight())
    court.repo.commit({"endorsers/team.yaml": None})
    with pytest.raises(Untrusted, match="has vanished"):
        judge(court.chamber.sight(), pins, Memory(), court.authorities, court.now)
    found = court.proposed()
    assert (found.number, [one.rule for one in found.fallen]) == (2, ["R4"])
    court.sign(alice)
    assert judge(court.chamber.sight(), pins, Memory(), court.authorities, court.now).enactments.current.policy.lists == {}
    assert court.proposed().settled


# Revocations


@pytest.fixture
def governed(court: Court, people: dict[str, Person]) -> Court:
    """Policy 1 by alice and bob (one suffices), carol and dave endorse; carol has endorsed two versions."""
    court.propose(people["alice"], people["bob"], endorsers=(people["carol"], people["dave"]))
    court.sign(people["alice"])
    court.endorse(people["carol"], "1.1")
    court.endorse(people["carol"], "1.2")
    assert released(court, "1.1")
    assert released(court, "1.2")
    return court


def test_one_principal_voids_a_key_from_a_place_on(governed: Court, people: dict[str, Person]) -> None:
    carol = governed.key(people["carol"]).id
    said = revoke(governed.chamber, governed.key(people["bob"]), "carol", carol, 1, "a stolen laptop")
    first = governed.tags("endorse/")["endorse/worker/1.1/carol/1"]
    assert first is not None
    assert (said.ref, said.since) == ("revoke/carol/bob/1", Compromise(serial=1, sha512=sha512_hex(first)))
    assert released(governed, "1.1")
    assert not released(governed, "1.2")
    again = revoke(governed.chamber, governed.key(people["bob"]), "carol", carol, 0, "all of it")
    assert (again.ref, again.since) == ("revoke/carol/bob/2", Compromise())
    assert not released(governed, "1.1")


def test_the_key_voids_itself_and_no_other(governed: Court, people: dict[str, Person]) -> None:
    carol, dave = governed.key(people["carol"]), governed.key(people["dave"])
    with pytest.raises(UserError, match="may not revoke a key of dave"):
        revoke(governed.chamber, carol, "dave", dave.id, 0, "x")
    assert revoke(governed.chamber, carol, "carol", carol.id, 2, "lost").ref == "revoke/carol/carol/1"
    assert released(governed, "1.2")
    governed.endorse(people["carol"], "1.3")
    assert not released(governed, "1.3")


def test_a_stranger_voids_nothing(governed: Court, people: dict[str, Person]) -> None:
    with pytest.raises(UserError, match="may not revoke") as error:
        revoke(governed.chamber, governed.key(people["mallory"]), "carol", governed.key(people["carol"]).id, 0, "x")
    assert "a principal revokes any key" in error.value.hint
    assert governed.tags("revoke/") == {}


@pytest.mark.parametrize(
    ("holder", "whose", "since", "reason", "expected"),
    [
        ("carol", "dave", 0, "x", "carol has no key"),
        ("nobody", "carol", 0, "x", "nobody has no key"),
        ("carol", "carol", 3, "x", "no tag with serial 3"),
        ("dave", "dave", 1, "x", "no tag with serial 1"),
        ("alice", "alice", 2, "x", "no tag with serial 2"),
        ("carol", "carol", 1, "", "1 to 1000"),
        ("carol", "carol", 1, "x" * 1001, "1 to 1000"),
    ],
)
def test_what_makes_no_sense_is_said(
    governed: Court, people: dict[str, Person], holder: str, whose: str, since: int, reason: str, expected: str
) -> None:
    with pytest.raises(UserError, match=expected) as error:
        revoke(governed.chamber, governed.key(people["bob"]), holder, governed.key(people[whose]).id, since, reason)
    assert error.value.hint or error.value.where
    assert governed.tags("revoke/") == {}


def test_a_serial_that_was_signed_twice_is_no_place_to_stand_by(governed: Court, people: dict[str, Person]) -> None:
    """A thief signs with the owner's serial: nobody can tell by the number which tag is meant."""
    governed.endorse(people["carol"], "6.6.6", serial=2, previous=governed.said("endorse/worker/1.2/carol/2").previous)  # type: ignore[union-attr]
    with pytest.raises(UserError, match="several tags with serial 2") as error:
        revoke(governed.chamber, governed.key(people["bob"]), "carol", governed.key(people["carol"]).id, 2, "stolen")
    assert "endorse/worker/6.6.6/carol/2" in error.value.where
    revoke(governed.chamber, governed.key(people["bob"]), "carol", governed.key(people["carol"]).id, 1, "stolen")
    assert released(governed, "1.1")


def test_a_principals_key_is_void_after_a_policy_number(governed: Court, people: dict[str, Person]) -> None:
    said = revoke(governed.chamber, governed.key(people["bob"]), "alice", governed.key(people["alice"]).id, 1, "stolen")
    assert said.since == Compromise(serial=1)
    assert governed.number() == 1
    governed.propose(people["alice"], endorsers=(people["mallory"],))
    governed.sign(people["alice"])
    assert governed.number() == 1


def test_who_was_taken_off_the_list_can_still_be_voided(governed: Court, people: dict[str, Person]) -> None:
    governed.propose(people["alice"], people["bob"], endorsers=(people["dave"],))
    governed.sign(people["alice"])
    carol = governed.key(people["carol"])
    assert revoke(governed.chamber, governed.key(people["alice"]), "carol", carol.id, 0, "stolen").by == "alice"
    assert revoke(governed.chamber, carol, "carol", carol.id, 0, "stolen").ref == "revoke/carol/carol/1"


def test_a_certificate_is_named_by_its_digest(tmp_path: Path, people: dict[str, Person]) -> None:
    grid = Grid()
    court = Court(tmp_path / "repository.git", grid.authorities())
    erin = by_x509("erin", grid.erin, tmp_path / "certificates")
    court.propose(people["alice"], endorsers=(erin,))
    court.sign(people["alice"])
    court.endorse(erin, "1.1")
    for wrong in ("x509:/DC=org/CN=Erin", "x509:", "erin"):
        with pytest.raises(UserError, match="erin has no key") as error:
            revoke(court.chamber, court.key(people["alice"]), "erin", wrong, 0, "stolen")
        assert erin.id in error.value.hint
    with pytest.raises(UserError, match="alice has no key x509"):
        revoke(court.chamber, court.key(people["alice"]), "alice", erin.id, 0, "stolen")
    assert released(court, "1.1")
    revoke(court.chamber, court.key(people["alice"]), "erin", erin.id, 0, "stolen")
    assert not released(court, "1.1")


def test_a_builder_voids_its_own_key_and_a_principal_any(fresh: Court, people: dict[str, Person]) -> None:
    vouch(fresh.chamber, fresh.key(people["ci"]), ())
    assert frozen(fresh) == []
    revoke(fresh.chamber, fresh.key(people["ci"]), "ci", fresh.key(people["ci"]).id, 0, "lost")
    assert frozen(fresh) == ["R12"]
    revoke(fresh.chamber, fresh.key(people["alice"]), "dave", fresh.key(people["dave"]).id, 0, "lost")
    with pytest.raises(UserError, match="no tag with serial 1"):
        revoke(fresh.chamber, fresh.key(people["alice"]), "dave", fresh.key(people["dave"]).id, 1, "lost")


def test_before_a_policy_nothing_is_revoked_or_vouched_for(court: Court, people: dict[str, Person]) -> None:
    court.propose(people["alice"])
    for act in (
        lambda: revoke(court.chamber, court.key(people["alice"]), "alice", court.key(people["alice"]).id, 0, "x"),
        lambda: vouch(court.chamber, court.key(people["alice"]), ()),
    ):
        with pytest.raises(UserError, match="nobody has signed one"):
            act()


# Approvals


def site_pins(court: Court, *people: Person, quorum: int = 1) -> Pins:
    holders = tuple(Holder.model_validate({"name": one.name, "keys": [one.listed]}) for one in people)
    pinned = PinnedSite(name="here", administrators=holders, quorum=quorum)
    return own_pins(court.repo.repository, court.chamber.sight()).model_copy(update={"site": pinned})


def in_force(court: Court, pins: Pins) -> list[bytes]:
    return [one.data for one in judge(court.chamber.sight(), pins, Memory(), court.authorities, court.now).consents]


def test_approvals_are_numbered_one_by_one_and_the_same_file_once(governed: Court, people: dict[str, Person]) -> None:
    alice, pins = governed.key(people["alice"]), site_pins(governed, people["alice"])
    for number, text in enumerate((b"title: One\n", b"title: Two\n", b"title: One\n"), 1):
        governed.repo.commit({"sites/here.yaml": text})
        said, new = approve(governed.chamber, alice, "here", "alice")
        assert (said.ref, new) == (f"approve/here/{number}/alice", True)
        assert approve(governed.chamber, alice, "here", "alice") == (said, False)
        assert in_force(governed, pins)[-1] == text
    assert len(in_force(governed, pins)) == 3


@pytest.mark.parametrize("with_pins", [True, False])
def test_a_second_administrator_approves_the_same(governed: Court, people: dict[str, Person], with_pins: bool) -> None:
    pins = site_pins(governed, people["alice"], people["bob"], quorum=2)
    given = pins if with_pins else None
    governed.repo.commit({"sites/here.yaml": "title: One\n"})
    first, _ = approve(governed.chamber, governed.key(people["alice"]), "here", "alice", given)
    assert in_force(governed, pins) == []
    governed.repo.commit({"README.md": "x"})
    second, new = approve(governed.chamber, governed.key(people["bob"]), "here", "bob", given)
    assert (second.content, second.ref, new) == (first.content, "approve/here/1/bob", True)
    assert in_force(governed, pins) == [b"title: One\n"]


def test_with_the_pins_a_file_that_changed_between_two_approvals_stops_nobody(governed: Court, people: dict[str, Person]) -> None:
    alice, bob = governed.key(people["alice"]), governed.key(people["bob"])
    pins = site_pins(governed, people["alice"], people["bob"], quorum=2)
    governed.repo.commit({"sites/here.yaml": "title: One\n"})
    approve(governed.chamber, alice, "here", None, pins)
    governed.repo.commit({"sites/here.yaml": "title: Two\n"})
    said, _ = approve(governed.chamber, bob, "here", None, pins)
    assert said.ref == "approve/here/1/bob"
    with pytest.raises(UserError, match="another file as number 1") as error:
        approve(governed.chamber, alice, "here", None, pins)
    assert "--replace" in error.value.hint
    approve(governed.chamber, alice, "here", None, pins, replace=True)
    assert in_force(governed, pins) == [b"title: Two\n"]


def test_with_the_pins_strangers_tags_do_not_count(governed: Court, people: dict[str, Person]) -> None:
    pins = site_pins(governed, people["alice"])
    governed.repo.commit({"sites/here.yaml": "title: Evil\n"})
    approve(governed.chamber, governed.key(people["mallory"]), "here", "mallory")
    governed.repo.commit({"sites/here.yaml": "title: One\n"})
    said, _ = approve(governed.chamber, governed.key(people["alice"]), "here", None, pins)
    assert (said.number, said.previous) == (1, None)
    assert in_force(governed, pins) == [b"title: One\n"]


def test_with_the_pins_only_an_administrators_key_approves(governed: Court, people: dict[str, Person]) -> None:
    pins = site_pins(governed, people["alice"], people["bob"])
    governed.repo.commit({"sites/here.yaml": "title: One\n"})
    with pytest.raises(UserError, match="belongs to no administrator"):
        approve(governed.chamber, governed.key(people["mallory"]), "here", "alice", pins)
    with pytest.raises(UserError, match="is alice's, not bob's"):
        approve(governed.chamber, governed.key(people["alice"]), "here", "bob", pins)
    assert governed.tags("approve/") == {}


def test_a_file_that_is_not_there_and_a_person_without_a_name_are_said(governed: Court, people: dict[str, Person]) -> None:
    governed.repo.commit({"sites/there.yaml": "title: There\n"})
    with pytest.raises(UserError, match="no such file") as error:
        approve(governed.chamber, governed.key(people["alice"]), "here", "alice")
    assert error.value.where == "sites/here.yaml"
    with pytest.raises(UserError, match="not said who you are"):
        approve(governed.chamber, governed.key(people["alice"]), "there")


def test_no_folder_of_sites_is_no_file_either(governed: Court, people: dict[str, Person]) -> None:
    with pytest.raises(UserError, match="no such file"):
        approve(governed.chamber, governed.key(people["alice"]), "here", "alice")


@pytest.mark.parametrize("name", ["Alice", "a/b", "..", "x y"])
def test_a_name_that_no_tag_can_have_is_refused(governed: Court, people: dict[str, Person], name: str) -> None:
    governed.repo.commit({"sites/here.yaml": "title: One\n"})
    with pytest.raises(UserError):
        approve(governed.chamber, governed.key(people["alice"]), "here", name)


def test_an_administrator_voids_the_own_key_where_the_pins_are_known(governed: Court, people: dict[str, Person], tmp_path: Path) -> None:
    mallory, pins = governed.key(people["mallory"]), site_pins(governed, people["mallory"])
    governed.repo.commit({"sites/here.yaml": "title: One\n"})
    approve(governed.chamber, mallory, "here", None, pins)
    assert in_force(governed, pins) == [b"title: One\n"]
    (tmp_path / "pins.yaml").write_text(to_yaml(pins))
    governed.repo.git.config["vmkeeper.pins"] = str(tmp_path / "pins.yaml")
    revoke(governed.chamber, mallory, "mallory", mallory.id, 0, "lost")
    assert in_force(governed, pins) == []


def test_administrators_of_three_kinds_are_pinned_from_their_public_keys(
    tmp_path: Path, gpg: GpgHome, people: dict[str, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GNUPGHOME", str(gpg.path))
    grid = Grid()
    court = Court(tmp_path / "repository.git", grid.authorities())
    ann, ben, erin = people["bob"], by_openpgp("ben", gpg), by_x509("erin", grid.erin, tmp_path / "certificates")
    court.propose(people["alice"])
    court.sign(people["alice"])
    court.repo.commit({"sites/here.yaml": json.dumps({"title": "Here", "platform": {"type": "local"}})})
    (tmp_path / "ben.asc").write_bytes(ben.file)
    named = (f"ann={ann.key}.pub", f"ben={tmp_path}/ben.asc", f"erin={erin.key}")
    proposed_pins = proposal(court.repo.repository, "here", Wishes((), administrators=named, quorum=3), court.now)
    assert proposed_pins.site is None
    pins = read_pins(to_yaml(proposed_pins.pins).encode(), "")
    assert pins == proposed_pins.pins
    for count, person in enumerate((ann, ben, erin)):
        assert len(in_force(court, pins)) == 0, count
        approve(court.chamber, court.key(person), "here", None, pins)
    assert len(in_force(court, pins)) == 1


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n", b"-----BEGIN CERTIFICATE-----\n", b"ssh-ed25519 AAAA\n"]
)
def test_what_is_no_public_key_is_no_administrators(governed: Court, tmp_path: Path, content: bytes) -> None:
    governed.repo.commit({"sites/here.yaml": json.dumps({"title": "Here", "platform": {"type": "local"}})})
    (tmp_path / "key.pub").write_bytes(content)
    with pytest.raises(VmkeeperError):
        proposal(governed.repo.repository, "here", Wishes((), administrators=(f"ann={tmp_path}/key.pub",)), governed.now)


# Freshness


@pytest.fixture
def fresh(court: Court, people: dict[str, Person]) -> Court:
    """Policy 1 that asks for freshness statements by ci; carol has endorsed one version."""
    builders = [{"name": name, "id": f"https://{name}.example.org", "keys": [people[name].listed]} for name in ("ci", "dave")]
    court.propose(people["alice"], endorsers=(people["carol"],), builders=builders, freshness={"signers": ["ci"], "maximum_validity": "48h"})
    court.sign(people["alice"])
    court.endorse(people["carol"], "1.1")
    return court


def frozen(court: Court) -> list[str]:
    judgement = court.chamber.judgement()
    assert judgement is not None
    return [one.rule for each in judgement.frozen.values() for one in each.refusals]


def test_a_statement_names_what_is_there_and_a_later_one_takes_its_place(fresh: Court, people: dict[str, Person]) -> None:
    assert frozen(fresh) == ["R13"]
    mark = ListMark(uuid="11111111-2222-4333-8444-555555555555", version="7", sha512="e" * 128)
    said = vouch(fresh.chamber, fresh.key(people["ci"]), (mark,))
    assert (said.commit, said.policy.number, said.lists, said.builder) == (fresh.repo.repository.head(), 1, (mark,), "ci")
    assert said.expires == fresh.now + timedelta(hours=48)
    assert frozen(fresh) == []
    before = raw_ref(fresh.repo.repository, FRESHNESS_REF)
    revoke(fresh.chamber, fresh.key(people["alice"]), "dave", fresh.key(people["dave"]).id, 0, "x")
    fresh.endorse(people["carol"], "1.2")
    fresh.later(hours=24)
    second = vouch(fresh.chamber, fresh.key(people["ci"]), (), Duration.parse("30h"))
    assert raw_ref(fresh.repo.repository, FRESHNESS_REF) != before
    assert (len(second.revocations), [one.serial for one in second.chains]) == (1, [2])
    fresh.later(hours=29)
    assert frozen(fresh) == []
    fresh.later(hours=2)
    assert frozen(fresh) == ["R13"]


def test_a_statement_is_not_replaced_by_one_who_sees_less(fresh: Court, people: dict[str, Person]) -> None:
    fresh.endorse(people["carol"], "1.2")
    vouch(fresh.chamber, fresh.key(people["ci"]), ())
    fresh.repo.git.references.delete("refs/tags/endorse/worker/1.2/carol/2")
    before = raw_ref(fresh.repo.repository, FRESHNESS_REF)
    with pytest.raises(Untrusted) as refused:
        vouch(fresh.chamber, fresh.key(people["ci"]), ())
    assert refused.value.rule == "R8"
    assert raw_ref(fresh.repo.repository, FRESHNESS_REF) == before


@pytest.mark.parametrize("who", ["alice", "carol", "dave", "mallory"])
def test_only_the_named_builder_makes_statements(fresh: Court, people: dict[str, Person], who: str) -> None:
    with pytest.raises(UserError, match="may not make freshness statements") as error:
        vouch(fresh.chamber, fresh.key(people[who]), ())
    assert "freshness:" in error.value.hint
    assert raw_ref(fresh.repo.repository, FRESHNESS_REF) is None


@pytest.mark.parametrize("valid", ["49h", "0s"])
def test_a_statement_is_not_made_for_longer_than_allowed(fresh: Court, people: dict[str, Person], valid: str) -> None:
    with pytest.raises(UserError, match="not a validity"):
        vouch(fresh.chamber, fresh.key(people["ci"]), (), Duration.parse(valid))


def test_a_policy_without_freshness_has_no_statements(governed: Court, people: dict[str, Person]) -> None:
    with pytest.raises(UserError, match="may not make freshness"):
        vouch(governed.chamber, governed.key(people["alice"]), ())
