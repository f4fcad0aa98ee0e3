"""Which policy is in force: the chain of policy tags from the pinned one on.

Rules: R3 (only what the principals of the policy before have signed comes into force), R4 (its tree is there, whole), R5 (a
quorum of the old and of the new principals, each person and each key pair once), R7, R12 (no revoked key), R13 (in date),
R16 (numbers rise by one).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from vmkeeper.errors import Refused
from vmkeeper.trust.people import Holder
from vmkeeper.trust.pins import Pins
from vmkeeper.trust.policy import FOLDER, Policy, read_policy
from vmkeeper.trust.refusal import Refusal, Untrusted
from vmkeeper.trust.revocation import Voids, marks
from vmkeeper.trust.said import PolicyMark, PolicySignature
from vmkeeper.trust.signature import Authenticator, Read
from vmkeeper.trust.statement import TagName
from vmkeeper.values import Sha512, format_time


@dataclass(frozen=True, slots=True)
class Enacted:
    """A policy in force, now or once, and the signatures that brought it there."""

    policy: Policy
    said: PolicySignature
    signatures: tuple[Read, ...]

    @property
    def number(self) -> int:
        """1, 2, 3, …"""
        return self.said.number

    @property
    def mark(self) -> PolicyMark:
        """By number and content."""
        return PolicyMark(number=self.number, sha512=self.said.content)


@dataclass(frozen=True, slots=True)
class Enactments:
    """Every policy since the pinned one, the one in force last; and what stands in the way of the tags that are not among them."""

    policies: tuple[Enacted, ...]
    pending: tuple[Read, ...]
    refusals: tuple[Refusal, ...]

    @property
    def current(self) -> Enacted:
        """The policy in force."""
        return self.policies[-1]

    def numbered(self, number: int) -> Enacted | None:
        """The policy of that number, if it was ever in force here."""
        return next((one for one in self.policies if one.number == number), None)

    @property
    def accepted(self) -> tuple[Read, ...]:
        """The signatures of all of them."""
        return tuple(read for one in self.policies for read in one.signatures)


def enact(tags: Mapping[str, bytes | None], pins: Pins, reader: Authenticator, void: Voids) -> Enactments:
    """The policies that are and were in force. tags: all below policy/. void: revoked keys, with the last policy that each signed rightly.

    The pinned policy was accepted by its content, so nobody can take it away afterwards.

    Raises Untrusted where the pinned policy itself is not there or not good (R1), or one policy contradicts another (R3).
    """
    by_number: defaultdict[int, dict[str, bytes | None]] = defaultdict(dict)
    for name, raw in tags.items():
        try:
            by_number[TagName.parse(name).number][name] = raw
        except Refused:
            continue
    first = pins.policy.number
    made = _step(by_number.pop(first, {}), pins.principals, pins.quorum, None, reader, {}, wanted=pins.policy.sha512)
    if not isinstance(made, Enacted):
        why = Refusal(
            "R1", f"policy {first}, which is pinned, is not there as it was signed", made.evidence, "fetch all tags; else pin the site again"
        )
        raise Untrusted([why, *made.refusals])
    policies: list[Enacted] = [made]
    refusals: list[Refusal] = []
    pending: tuple[Read, ...] = ()
    while made.number + 1 in by_number:
        step = _step(by_number.pop(made.number + 1), made.policy.principals, made.policy.document.quorum, made, reader, void)
        if not isinstance(step, Enacted):
            refusals, pending = list(step.refusals), step.reads
            break
        policies.append(made := step)
    for number in sorted(by_number):
        if number > policies[-1].number:
            ahead = f"policy {number} is not the one after {policies[-1].number}"
            refusals.append(Refusal("R16", ahead, ", ".join(sorted(by_number[number])), "policies come into force one by one"))
    return Enactments(tuple(policies), pending, tuple(refusals))


@dataclass(frozen=True, slots=True)
class _NotYet:
    """Why the tags of a number do not make a policy."""

    refusals: tuple[Refusal, ...]
    reads: tuple[Read, ...] = ()

    @property
    def evidence(self) -> str:
        return "; ".join(str(one) for one in self.refusals)


def _step(
    tags: Mapping[str, bytes | None],
    principals: Sequence[Holder],
    quorum: int,
    before: Enacted | None,
    reader: Authenticator,
    void: Voids,
    wanted: Sha512 | None = None,
) -> Enacted | _NotYet:
    """The policy that the tags of one number bring into force after `before`; `wanted` is the content of the pinned one."""
    reads = _read(tags, principals, reader)
    signed = _by_content(reads, void)
    enough = [group for content, group in signed.items() if wanted in (None, content) and _pairs(group) >= quorum]
    if len(enough) != 1:
        what = f"{quorum} of {len(principals)} principals must sign it" if not enough else "principals signed two different ones"
        return _NotYet((Refusal("R5", what, ", ".join(sorted(tags))), *(refusal for one in reads for refusal in one.refusals)), reads)
    agreed, chosen = enough[0], _said(enough[0][0])
    try:
        refusals = list(_follows(chosen, before, reader))
        policy = None if refusals else _policy(chosen, reader)
    except Untrusted as error:
        return _NotYet(error.refusals, reads)
    except Refused as error:
        return _NotYet((Refusal.of(error),), reads)
    if policy is None:
        return _NotYet(tuple(refusals), reads)
    own = _by_content(_read(tags, policy.principals, reader), void).get(chosen.content, [])
    for group, least, whose in ((agreed, quorum, ""), (own, policy.document.quorum, "of its own ")):
        if _pairs(group) < least:
            return _NotYet((Refusal("R5", f"{least} {whose}{len(policy.principals)} principals must sign it too", ", ".join(sorted(tags))),), reads)
        late = [refusal for one in group for refusal in _dates(_said(one), policy)]
        if _pairs(one for one in group if not list(_dates(_said(one), policy))) < least:
            return _NotYet(tuple(late), reads)
    signatures = {one.tag: one for one in (*agreed, *own)}
    return Enacted(policy, chosen, tuple(signatures[name] for name in sorted(signatures)))


def _read(tags: Mapping[str, bytes | None], principals: Sequence[Holder], reader: Authenticator) -> tuple[Read, ...]:
    known = {one.name: one for one in principals}

    def find(name: TagName) -> Holder | Refusal:
        return known.get(name.signer) or Refusal("R3", f"{name.signer} is not a principal of the policy before", name.text)

    return reader.read(dict(sorted(tags.items())), find)


def _said(read: Read) -> PolicySignature:
    assert isinstance(read.said, PolicySignature)
    return read.said


def _by_content(reads: Iterable[Read], void: Voids) -> dict[Sha512, list[Read]]:
    """Good signatures by keys that were neither revoked, compromised nor expired when they signed, by what they agree on."""
    found: defaultdict[Sha512, list[Read]] = defaultdict(list)
    for one in reads:
        if one.good and not one.late and all(_said(one).number <= mark.serial for mark in marks(one, void)):
            found[_said(one).content].append(one)
    return dict(found)


def _pairs(agreed: Iterable[Read]) -> int:
    """R5: how many different key pairs there are. Each principal has one tag of a number, for it bears their name."""
    return len({one.signed_by.material for one in agreed if one.signed_by is not None})


def _policy(said: PolicySignature, reader: Authenticator) -> Policy:
    """What was signed. Raises Refused, Untrusted where it is not there or not a policy."""
    tree = reader.history.tree(said.commit, FOLDER)
    if tree != said.tree:
        raise Refused("R4", "the endorsers/ tree is not the one that was signed", why=f"{tree}, signed {said.tree}")
    return read_policy(reader.history.files(said.commit, FOLDER))


def _follows(said: PolicySignature, before: Enacted | None, reader: Authenticator) -> Iterable[Refusal]:
    if before is None:
        return
    if said.previous != before.said.content:
        yield Refusal("R3", "the policy does not follow the one before", f"{said.previous}, not {before.said.content}")
    if not reader.history.precedes(before.said.commit, said.commit):
        yield Refusal("R3", "the policy's commit comes before that of the policy before", f"{said.commit}, {before.said.commit}")


def _dates(said: PolicySignature, policy: Policy) -> Iterable[Refusal]:
    lifetime = int((said.expires - said.issued).total_seconds())
    longest = policy.document.maximum_lifetime
    if not 0 < lifetime <= longest:
        yield Refusal("R13", "the policy's lifetime is not allowed", f"{lifetime} s, at most {longest}", "sign it again, for a shorter time")


def expired(current: Enacted, now: datetime) -> Refusal | None:
    """R13: the policy in force has run out."""
    if now < current.said.expires:
        return None
    hint = "the principals sign the next one: vmkeeper policy sign"
    return Refusal("R13", f"policy {current.number} has expired", format_time(current.said.expires), hint)


def lapsed(current: Enacted, now: datetime) -> Refusal | None:
    """R12: too few of the keys that signed the policy in force are in date, so that an expired key cannot bring in another one backdated."""
    valid = [one for one in current.signatures if one.signed_by is None or one.signed_by.valid_until is None or now < one.signed_by.valid_until]
    if _pairs(valid) >= min(current.policy.document.quorum, _pairs(current.signatures)):
        return None
    why = f"keys that signed policy {current.number} have expired"
    expired_ones = ", ".join(one.tag for one in current.signatures if one not in valid)
    return Refusal("R12", why, expired_ones, "the principals sign the next policy with keys that are in date: vmkeeper policy sign")
