"""From bytes to what somebody said: the words of each refusal, dates, names, and every kind of key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from support.keys import BORN, ISSUED, NOW, GpgHome, SecurityKey, Signer, ssh_key, ssh_signer
from support.trust import APPLIANCE, LIST, SSH, World, first_world, key_files, person, release, tag
from support.x509 import Grid, x509_signer
from vmkeeper.errors import Refused
from vmkeeper.model.keys import SSHKey, X509Key
from vmkeeper.trust.keys.interface import SignedBy
from vmkeeper.trust.keys.openpgp import GpgVerifier
from vmkeeper.trust.keys.x509 import X509Verifier
from vmkeeper.trust.memory import SeenTag
from vmkeeper.trust.people import Holder
from vmkeeper.trust.refusal import Refusal
from vmkeeper.trust.signature import FRESHNESS, Authenticator, Read, Verifiers, held_digest, retirement
from vmkeeper.trust.verify import Accepted
from vmkeeper.values import Duration, sha512_hex

A = SecurityKey().plain_signer()
KEY = SecurityKey()
ALICE = KEY.plain_signer()


def world() -> World:
    made = first_world(A, person("alice", ALICE))
    made.record_release(release("1"))
    return made


def reader(made: World, *, now: datetime = NOW, seen: dict[str, SeenTag] | None = None, verifiers: Verifiers = SSH) -> Authenticator:
    return Authenticator(made.line[0], made, verifiers, now, Duration.parse("5m"), seen or {})


def read(made: World, name: str, *keys: Any, **how: Any) -> Read:
    holder = Holder(name="alice", keys=keys or (ALICE.key,))
    (found,) = reader(made, **how).read({name: made.tags[name]}, lambda _name: holder)
    return found


def told(found: Read) -> list[tuple[str, str, str, str]]:
    return [(one.rule, one.why, one.evidence, one.hint) for one in found.refusals]


def test_a_good_tag_is_read_whole() -> None:
    made = world()
    name = made.endorse(ALICE, made.head)
    found = read(made, name)
    raw = made.tags[name]
    assert raw is not None
    assert (found.good, found.tag, found.sha512, found.held) == (True, name, sha512_hex(raw), ALICE.key)
    assert found.said is not None
    assert found.said.ref == name
    assert found.signed_by is not None
    assert (found.signed_by.key, found.late) == (ALICE.id, False)


def test_what_is_no_tag_says_so() -> None:
    made = world()
    made.tags["endorse/a/1/alice/1"] = None
    found = read(made, "endorse/a/1/alice/1")
    assert told(found) == [("R7", "the ref is not an annotated tag", "", "sign a tag with vmkeeper")]
    assert (found.sha512, found.said, found.signed_by, found.held, found.good, found.late) == ("", None, None, None, False, False)


def test_r6_what_does_not_agree_on_the_name_says_all_three() -> None:
    made = world()
    said = made.statement(ALICE, made.head)
    moved = f"endorse/{APPLIANCE}/9/alice/1"
    made.tags[moved] = tag(said, ALICE, name="v1")
    hint = "a signed tag must not be moved or renamed"
    assert told(read(made, moved)) == [("R6", "ref, tag header and payload do not agree on the name", f"{moved}, v1, {said.ref}", hint)]


def test_r10_a_key_that_is_another_persons_says_whose() -> None:
    made = world()
    name = made.endorse(A, made.head)
    fingerprint = A.id.removeprefix("ssh:")
    hint = "if the key is new, it comes into force with the next policy"
    assert told(read(made, name)) == [("R10", "the signature is by a key that is not one of alice's", fingerprint, hint)]


def test_r10_a_statement_that_names_another_key_says_both() -> None:
    made = world()
    name = made.endorse(ALICE, made.head, key=A.id)
    assert told(read(made, name)) == [("R10", "the statement names another key than the one that signed", f"{A.id}, {ALICE.id}", "")]


def test_r1_r7_another_repository_or_commit_says_both() -> None:
    made = world()
    name = made.endorse(ALICE, made.head, repository="9" * 40)
    assert told(read(made, name)) == [("R1", "the statement is about another repository", f"root commit {'9' * 40}, pinned {made.line[0]}", "")]
    said = made.statement(ALICE, made.head)
    made.tags[said.ref] = tag(said, ALICE, commit=made.line[0])
    assert told(read(made, said.ref)) == [("R7", "the tag points to another commit than it speaks of", f"{made.line[0]}, {said.commit}", "")]
    side = made.record_release(release("2"), merged=False)
    name = made.endorse(ALICE, side, version="2")
    assert told(read(made, name)) == [("R7", "the tag's commit is not on the mainline", side, "sign a commit that has been merged")]


def test_r13_dates_say_what_is_wrong_and_what_to_check() -> None:
    made = world()
    said = made.statement(ALICE, made.head)
    seconds = int(ISSUED.timestamp())
    for time in (seconds - 1, seconds + 1):
        made.tags[said.ref] = tag(said, ALICE, time=time)
        assert told(read(made, said.ref)) == [("R13", "the tagger's date is not the date of issue", f"{time}, 2026-05-31T12:00:00Z", "")]
    late = NOW + timedelta(minutes=5, seconds=1)
    name = made.endorse(ALICE, made.head, issued=late, not_before=late)
    assert told(read(made, name)) == [
        ("R13", "the statement was issued in the future", "2026-06-01T12:05:01Z", "check the clock here, with: date -u")
    ]
    assert read(made, name, now=NOW + timedelta(seconds=1)).good
    for takes_away in (made.withdraw(ALICE, made.head, issued=late), made.revoke(ALICE, "alice", ALICE.id, "alice", issued=late)):
        assert read(made, takes_away).good


def test_r13_a_signature_of_the_future_says_when(gpg_home: GpgHome, openpgp: GpgVerifier) -> None:
    made = world()
    fingerprint = gpg_home.make("futurist")
    signer = gpg_home.signer(fingerprint, at=NOW + timedelta(minutes=6))
    name = made.endorse(signer, made.head)
    found = read(made, name, signer.key, verifiers={"openpgp": openpgp})
    assert told(found) == [("R13", "the signature was made in the future", "2026-06-01T12:06:00Z", "check the clock here, with: date -u")]


def test_r12_a_retired_key_signs_nothing_more_whatever_date_is_written() -> None:
    said = world().statement(ALICE, world().head)
    key = SSHKey.model_validate({**ALICE.key.model_dump(), "retired": ISSUED})
    second = timedelta(seconds=1)
    expected = Refusal("R12", "the key was retired before it signed this", "2026-05-31T12:00:00Z", "sign with the key that replaced it")
    for made, refused in ((None, True), (ISSUED - second, True), (ISSUED, True)):
        assert list(retirement(key, said, SignedBy("k", "m", made))) == ([expected] if refused else [])
    later = key.model_copy(update={"retired": ISSUED + second})
    assert list(retirement(later, said, SignedBy("k", "m", ISSUED))) == []
    assert [one.rule for one in retirement(later, said, SignedBy("k", "m", ISSUED + second))] == ["R12"]
    assert list(retirement(ALICE.key, said, SignedBy("k", "m", NOW))) == []


def test_r12_a_retired_key_is_refused_for_policies_too() -> None:
    made = world()
    name = made.endorse(ALICE, made.head)
    retired = SSHKey.model_validate({**ALICE.key.model_dump(), "retired": ISSUED})
    assert [one[0] for one in told(read(made, name, retired))] == ["R12"]


def test_a_key_is_late_from_its_last_moment_on() -> None:
    said = world().statement(ALICE, world().head)
    second = timedelta(seconds=1)

    def late(until: datetime | None, made: datetime | None = None) -> bool:
        return Read("t", "", (), said, SignedBy("k", "m", made, until), ALICE.key).late

    assert [late(None), late(ISSUED), late(ISSUED + second), late(ISSUED - second)] == [False, True, False, True]
    assert late(ISSUED + second, ISSUED + second)
    assert not late(ISSUED + 2 * second, ISSUED + second)
    assert not Read("t", "", (), None, SignedBy("k", "m", None, ISSUED)).late


def test_what_was_seen_is_not_asked_about_again_but_only_that() -> None:
    made = world()
    name = made.endorse(ALICE, made.head)
    raw = made.tags[name]
    assert raw is not None
    seen = SeenTag(sha512=sha512_hex(raw), held=held_digest(ALICE.key), key=ALICE.id, material="m", made=BORN, valid_until=NOW)
    found = read(made, name, seen={name: seen}, verifiers={})
    assert found.signed_by == SignedBy(ALICE.id, "m", BORN, NOW)
    for other in ({"sha512": "0" * 128}, {"held": "0" * 64}):
        with pytest.raises(KeyError):
            read(made, name, seen={name: seen.model_copy(update=other)}, verifiers={})
    with pytest.raises(KeyError):
        read(made, name, seen={"another": seen}, verifiers={})


def test_a_held_key_is_the_same_whatever_is_said_about_it() -> None:
    marked = SSHKey.model_validate({**ALICE.key.model_dump(), "retired": NOW, "compromised_since": {"serial": 1}})
    assert held_digest(marked) == held_digest(ALICE.key)
    assert held_digest(A.key) != held_digest(ALICE.key)


def test_who_may_not_sign_is_told_with_every_reason() -> None:
    made = world()
    name = made.endorse(ALICE, made.head)
    one, two = Refusal("R3", "a"), Refusal("R12", "b")
    for answer, expected in ((one, (one,)), ((one, two), (one, two))):
        (found,) = reader(made).read({name: made.tags[name]}, lambda _name, answer=answer: answer)  # type: ignore[misc]
        assert (found.refusals, found.said, found.held) == (expected, None, None)


def test_tags_are_read_in_the_order_given() -> None:
    made = world()
    names = [made.endorse(ALICE, made.head) for _ in range(4)]
    holder = Holder(name="alice", keys=(ALICE.key,))
    found = reader(made).read({name: made.tags[name] for name in reversed(names)}, lambda _name: holder)
    assert [one.tag for one in found] == list(reversed(names))


def test_claims_are_prepared_together_by_kind() -> None:
    made = world()
    names = [made.endorse(ALICE, made.head) for _ in range(3)]
    prepared: list[int] = []

    class Together:
        def prepare(self, claims: list[Any], now: datetime) -> None:
            prepared.append(len(claims))
            assert now == NOW

        def verify(self, claim: Any, now: datetime) -> SignedBy:
            return SSH["ssh"].verify(claim, now)

    holder = Holder(name="alice", keys=(ALICE.key,))
    found = reader(made, verifiers={"ssh": Together()}).read({name: made.tags[name] for name in names}, lambda _name: holder)  # type: ignore[dict-item]
    assert (all(one.good for one in found), prepared) == (True, [3])


def test_the_freshness_statement_has_a_name_of_its_own() -> None:
    assert (FRESHNESS.text, FRESHNESS.action, FRESHNESS.signer, FRESHNESS.number) == ("freshness", "freshness", "", 0)


def test_a_plain_key_and_a_security_key_with_one_point_are_told_apart() -> None:
    made = world()
    name = made.endorse(KEY.signer(), made.head)
    assert [one[0] for one in told(read(made, name, ALICE.key))] == ["R10"]
    assert read(made, name, ALICE.key, KEY.signer().key).held == KEY.signer().key


@pytest.fixture(scope="module")
def grid() -> Grid:
    return Grid()


def test_every_kind_of_key_endorses(gpg_home: GpgHome, openpgp: GpgVerifier, grid: Grid, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("kinds")
    verifiers: Verifiers = {**SSH, "openpgp": openpgp, "x509": X509Verifier(grid.authorities())}
    signers: list[Signer] = [
        x509_signer(grid.alice),
        x509_signer(grid.erin, pinned=True),
        gpg_home.signer(gpg_home.make("kinds")),
        ssh_signer(ssh_key(folder)),
        ssh_signer(ssh_key(folder, "ecdsa", 256)),
        KEY.signer(),
    ]
    for signer in signers:
        made = first_world(A, person("alice", signer), keys=key_files(signer))
        name = made.endorse(signer, made.record_release(release("1")))
        assert isinstance(made.verdicts(verifiers)[name], Accepted), signer.id


def test_r10_a_holder_whose_names_cannot_be_read_has_signed_nothing(grid: Grid) -> None:
    made = world()
    signer = x509_signer(grid.alice)
    name = made.endorse(signer, made.head, key="x509:" + "1" * 64)
    assert isinstance(signer.key, X509Key)
    broken = signer.key.model_copy(update={"subject": "nothing"})
    assert [one[0] for one in told(read(made, name, broken))] == ["R10"]
    other = signer.key.model_copy(update={"subject": "/CN=Other"})
    found = told(read(made, name, other))
    assert [one[0] for one in found] == ["R10"]
    assert " by " in found[0][2]


def test_a_verifier_that_refuses_is_heard() -> None:
    made = world()
    name = made.endorse(ALICE, made.head)

    class No:
        def prepare(self, claims: Any, now: Any) -> None:
            return None

        def verify(self, claim: Any, now: Any) -> SignedBy:
            raise Refused("R18", "no list", why="stale", hint="fetch it")

    assert told(read(made, name, verifiers={"ssh": No()})) == [("R18", "no list", "stale", "fetch it")]
    assert datetime.now(UTC) > BORN
    assert LIST == "examples"
