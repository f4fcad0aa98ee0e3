"""Whose endorsements count for a list, and what a list does when it is one person's."""

from __future__ import annotations

import pytest

from support.publication import KEY, decision
from vmkeeper.errors import UserError
from vmkeeper.plan.chosen import decisions
from vmkeeper.trust.keys.interface import SignedBy
from vmkeeper.trust.people import TrustedEndorser, TrustedEndorsers
from vmkeeper.trust.refusal import Refusal
from vmkeeper.trust.said import Endorsement, Withdrawal
from vmkeeper.trust.verify import Accepted, Rejected, Verdict
from vmkeeper.values import Duration


def person(name: str) -> TrustedEndorser:
    return TrustedEndorser.model_validate({"name": name, "keys": [{"type": "ssh", "key": "ssh-ed25519 " + "A" * 68}]})


TEAM = TrustedEndorsers(
    name="team", community="example", quorum=2, rebuilds=2, maximum_lifetime=Duration.parse("180d"), endorsers=(person("alice"), person("bob"))
)


def endorsed(words: str, by: str) -> Accepted:
    (accepted,) = decision(words, by=(by,)).endorsements
    assert isinstance(accepted.statement, Endorsement)
    own = accepted.statement.model_copy(update={"rebuilt": True})
    return Accepted(accepted.tag, accepted.sha512, own, SignedBy(KEY, f"{by} key"))


def withdrawn(words: str, by: str) -> Accepted:
    said = endorsed(words, by).statement
    fields = said.model_dump(include=set(Withdrawal.model_fields) - {"action", "reason", "serial", "previous"})
    taken = Withdrawal.model_validate({**fields, "serial": 2, "previous": "7" * 128, "reason": "a hole in it"})
    return Accepted(taken.ref, "8" * 128, taken, SignedBy(KEY, f"{by} key"))


def accepted(verdicts: list[Verdict], endorser: str | None) -> set[str]:
    return {f"{one.appliance} {one.version}" for one in decisions(verdicts, TEAM, endorser)[1] if one.accepted}


def test_one_endorsers_word_is_enough_on_their_own_list_and_no_other() -> None:
    said: list[Verdict] = [endorsed("debian-12 1", "alice"), endorsed("debian-12 2", "bob")]
    assert accepted(said, None) == set()
    assert accepted(said, "alice") == {"debian-12 1"}
    assert accepted(said, "bob") == {"debian-12 2"}


def test_a_quorum_is_needed_on_the_list_of_all() -> None:
    said: list[Verdict] = [endorsed("debian-12 1", "alice"), endorsed("debian-12 1", "bob")]
    assert accepted(said, None) == accepted(said, "alice") == {"debian-12 1"}
    endorsers, (one,) = decisions(said, TEAM, "alice")
    assert (endorsers.quorum, endorsers.rebuilds, [verdict.signed_by.material for verdict in one.endorsements]) == (1, 1, ["alice key"])


@pytest.mark.parametrize("by", ["alice", "bob"])
def test_whoever_withdraws_it_takes_it_off_every_list(by: str) -> None:
    said: list[Verdict] = [endorsed("debian-12 1", "alice"), endorsed("debian-12 1", "bob"), withdrawn("debian-12 1", by)]
    assert accepted(said, "alice") == accepted(said, None) == set()


def test_what_others_did_badly_is_not_told_on_this_list() -> None:
    bad = Rejected("endorse/debian-12/1/bob/1", (Refusal("R13", "it has expired"),))
    mine = Rejected("endorse/debian-12/1/alice/1", (Refusal("R13", "it has expired"),))
    odd = Rejected("something else", (Refusal("R6", "no name of ours"),))
    _, (one,) = decisions([bad, mine, odd], TEAM, "alice")
    assert [refusal.why for refusal in one.refusals if refusal.rule == "R13"] == ["endorse/debian-12/1/alice/1: it has expired"]


def test_an_endorser_who_is_not_on_the_list_in_force() -> None:
    with pytest.raises(UserError, match="carol is not an endorser") as caught:
        decisions([], TEAM, "carol")
    assert "alice, bob" in caught.value.hint
