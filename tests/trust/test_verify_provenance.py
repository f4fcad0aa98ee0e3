"""R31 as a site asks it: every endorsed release has provenance of its own, by a builder of the policy in force."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from support.keys import ISSUED, NOW, SecurityKey, Signer
from support.trust import SSH, World, builder, first_world, person, release
from vmkeeper.documents.dump import dump
from vmkeeper.model.release import Release
from vmkeeper.trust import dsse, slsa
from vmkeeper.trust.history import Record
from vmkeeper.trust.refusal import Refusal
from vmkeeper.trust.verify import Rejected
from vmkeeper.values import Duration, sha512_hex

ROOT, ALICE, BOB, CI, OTHER, MALLORY = (SecurityKey().plain_signer() for _ in range(6))
ID = "https://ci.example.org/build"


def world() -> World:
    return first_world(ROOT, person("alice", ALICE), person("bob", BOB), builders=(builder("ci", CI), builder("other", OTHER)))


def provenance(made: World, about: Release, signer: Signer = CI, *, finished: datetime = ISSUED, **changes: Any) -> bytes:
    """What a builder signs about a release."""
    run = slsa.Invocation(invocationId="urn:uuid:3f0c5a44-6c8a-4f0e-9d70-6f2f0f7f2c11", startedOn=ISSUED - timedelta(days=1), finishedOn=finished)
    fields = {"repository": made.line[0], "locks": {}, "builder": ID, "program": "0.1.0", "invocation": run, **changes}
    payload = slsa.encode(slsa.describe(Record(sha512_hex(dump(about)), about), **fields))
    return dsse.seal(payload, signer.id, signer.sign(dsse.pae(payload)))


def recorded(made: World, version: str = "1", **how: Any) -> str:
    one = release(version)
    return made.record_release(one, provenance=provenance(made, one, **how))


def refusals(made: World, name: str, **how: Any) -> tuple[Refusal, ...]:
    verdict = made.verdicts(SSH, **how)[name]
    return verdict.refusals if isinstance(verdict, Rejected) else ()


def test_a_release_with_provenance_by_a_builder_of_the_policy_counts() -> None:
    made = world()
    assert refusals(made, made.endorse(ALICE, recorded(made))) == ()


@pytest.mark.parametrize(
    ("how", "rule", "evidence"),
    [
        ({"signer": MALLORY}, "R31", MALLORY.id),
        ({"signer": OTHER}, "R31", f"{ID}, not https://other.example.org/build"),
        ({"repository": "9" * 40}, "R31", ""),
        ({"finished": NOW + timedelta(minutes=5, seconds=1)}, "R13", "2026-06-01T12:05:01Z"),
    ],
    ids=["a stranger's key", "another builder's key", "another repository", "the future"],
)
def test_other_provenance_is_refused_by_its_own_rule(how: dict[str, Any], rule: str, evidence: str) -> None:
    made = world()
    (found,) = refusals(made, made.endorse(ALICE, recorded(made, **how)))
    assert found.rule == rule
    assert found.evidence == (evidence or f"{'9' * 40}, not {made.line[0]}")


def test_the_provenance_of_one_release_does_not_serve_another() -> None:
    made = world()
    one, other = release("1"), release("2")
    borrowed = made.record_release(other, provenance=provenance(made, one))
    good = made.endorse(ALICE, recorded(made))
    bad = made.endorse(ALICE, borrowed)
    assert refusals(made, good) == ()
    assert [refusal.rule for refusal in refusals(made, bad)] == ["R31"]


def test_r13_clocks_may_differ_by_what_the_site_allows() -> None:
    made = world()
    name = made.endorse(ALICE, recorded(made, finished=NOW + timedelta(seconds=60)))
    for skew, rules in (("60s", []), ("59s", ["R13"])):
        assert [one.rule for one in refusals(made, name, pins=made.pins(clock_skew=Duration.parse(skew)))] == rules


def test_r12_a_builders_key_that_is_revoked_vouches_for_nothing() -> None:
    made = world()
    name = made.endorse(ALICE, recorded(made))
    made.revoke(ROOT, "ci", CI.id, "root")
    assert [(one.rule, one.evidence) for one in refusals(made, name)] == [("R12", CI.id)]


def test_provenance_is_verified_once_for_however_many_endorse_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from vmkeeper.trust import verify

    made = world()
    commit, bad = recorded(made), recorded(made, "2", signer=MALLORY)
    names = [made.endorse(ALICE, commit), made.endorse(BOB, commit, "bob")]
    refused = [made.endorse(ALICE, bad), made.endorse(BOB, bad, "bob")]
    asked: list[str] = []
    really = verify.verify_provenance

    def counted(data: bytes, record: Record, **how: Any) -> object:
        asked.append(str(record.release.version))
        return really(data, record, **how)

    monkeypatch.setattr(verify, "verify_provenance", counted)
    found = made.verdicts(SSH)
    assert not any(isinstance(found[name], Rejected) for name in names)
    assert [[one.rule for one in found[name].refusals] for name in refused] == [["R31"], ["R31"]]  # type: ignore[union-attr]
    assert asked == ["1", "2"]
