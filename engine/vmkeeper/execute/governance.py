"""Sign policies and freshness statements, and see what is in force for those who do (revocations: `revoking`, approvals: `approving`).

Each signature is judged before its ref is written, as whoever follows the repository would judge it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from vmkeeper.errors import Refused, UserError
from vmkeeper.execute.signing import SigningKey, owner, signed_tag
from vmkeeper.execute.verification import FRESHNESS_REF, RepositoryHistory, judge, own_pins, policy_at, sight, stands, unverified, verifiers
from vmkeeper.repository.tags import create_tag, delete_tag, move_ref
from vmkeeper.repository.tree import Repository
from vmkeeper.trust.chain import Links
from vmkeeper.trust.enactment import Enacted
from vmkeeper.trust.judge import Judgement, Sight
from vmkeeper.trust.keys.certificates import Authorities
from vmkeeper.trust.memory import Memory
from vmkeeper.trust.people import Holder, key_id
from vmkeeper.trust.pins import Pins
from vmkeeper.trust.policy import FOLDER, Policy
from vmkeeper.trust.refusal import Refusal, Untrusted
from vmkeeper.trust.revocation import for_policies, marks
from vmkeeper.trust.said import Freshness, ListMark, PolicySignature, Statement
from vmkeeper.trust.signature import Authenticator, Read
from vmkeeper.trust.statement import TagName
from vmkeeper.values import CommitId, Duration, Sha512

SKEW = Duration.parse("5m")


@dataclass(frozen=True, slots=True)
class Chamber:
    """A repository at a head, as the people who govern it see it."""

    repository: Repository
    head: CommitId
    authorities: Authorities
    clock: Callable[[], datetime]

    def sight(self, extra: Mapping[str, bytes] | None = None) -> Sight:
        """What is there now."""
        return sight(self.repository, self.head, extra)

    def judgement(self) -> Judgement | None:
        """What is in force; None before enough principals have signed a first policy. See `standing`."""
        return self.standing()[0]

    def standing(self) -> tuple[Judgement | None, tuple[Refusal, ...]]:
        """What those who govern go on from, and why nobody can follow the repository as it is, if so.

        Where policies fell with the keys that signed them it is the last one that did not; where the head drops a file of
        the policy in force, for the next one to drop it, it is that policy. Raises Untrusted for anything else.
        """
        seen = self.sight()
        try:
            pins = own_pins(self.repository, seen, self.authorities)
        except UserError:
            if self.repository.config("vmkeeper.pins") is not None:
                raise
            return None, ()
        if self.repository.config("vmkeeper.pins") is None and not stands(seen, pins, self.authorities, self.clock()):
            return None, ()
        try:
            return judge(seen, pins, Memory(), self.authorities, self.clock()), ()
        except Untrusted as error:
            for earlier in _earlier(self, seen):
                with suppress(Untrusted):
                    return judge(earlier, pins, Memory(), self.authorities, self.clock()), error.refusals
            raise

    def now(self) -> datetime:
        """The time, to the second."""
        return self.clock().replace(microsecond=0)


@dataclass(frozen=True, slots=True)
class Proposed:
    """The policy that endorsers/ at the head would be, and who has signed it."""

    policy: Policy
    tree: Sha512
    number: int
    previous: Enacted | None
    """The policy in force; None before the first."""
    said: PolicySignature | None
    """What has been signed of just this tree, to be signed alike; None where nobody has."""
    signatures: tuple[PolicySignature, ...]
    """Who has signed it alike, with keys that count."""
    fallen: tuple[Refusal, ...] = ()
    """Why nobody follows the policy in force: others after it fell with the keys that signed them."""

    @property
    def signed(self) -> tuple[str, ...]:
        """Principals who have."""
        return tuple(one.principal for one in self.signatures)

    @property
    def in_force(self) -> bool:
        """Whether the policy in force has this very tree."""
        return self.previous is not None and self.previous.said.tree == self.tree

    @property
    def settled(self) -> bool:
        """Whether nothing is proposed: the policy in force has this tree, and nobody has begun to renew it."""
        return self.in_force and not self.signatures

    def missing(self) -> Iterator[str]:
        """What still lacks, in words."""
        groups = [(self.policy.document.quorum, self.policy.principals, "its own")]
        if self.previous is not None:
            before = self.previous.policy
            groups.append((before.document.quorum, before.principals, f"policy {self.previous.number}'s"))
        for quorum, people, whose in groups:
            names = [one.name for one in people]
            have = [name for name in self.signed if name in names]
            if len(have) < quorum:
                others = ", ".join(name for name in names if name not in have)
                yield f"{quorum - len(have)} more of {whose} principals: {others}"


class _Earlier(RepositoryHistory):
    """The same mainline with the files of an earlier head."""

    def __init__(self, chamber: Chamber, head: CommitId) -> None:
        super().__init__(chamber.repository, chamber.head)
        self.root(), self.on_mainline(head)  # both are read once, from the real head
        self.head = head


def _earlier(chamber: Chamber, seen: Sight) -> Iterator[Sight]:
    """What is there without the newest policies, one more at a time; and with endorsers/ as each of them found it."""
    policies = {name: raw for name, raw in seen.tags.items() if _policy_number(name)}
    for number in sorted({_policy_number(name) for name in policies}, reverse=True):
        kept = {name: raw for name, raw in seen.tags.items() if _policy_number(name) <= number}
        yield replace(seen, tags=kept, freshness=None)
        for commit in {said.commit for name, raw in policies.items() if _policy_number(name) == number and (said := unverified(raw))}:
            if seen.history.on_mainline(commit):
                yield replace(seen, tags=kept, freshness=None, history=_Earlier(chamber, commit))


def _policy_number(name: str) -> int:
    """Of a policy's tag; 0 for every other."""
    try:
        tag = TagName.parse(name)
    except Refused:
        return 0
    return tag.number if tag.action == "policy" else 0


def proposed(chamber: Chamber) -> Proposed:
    """What is proposed at the head. Raises Refused where endorsers/ cannot be a policy."""
    seen, (judgement, fallen) = chamber.sight(), chamber.standing()
    policy, tree = policy_at(seen, chamber.head), seen.history.tree(chamber.head, FOLDER)
    current = judgement.enactments.current if judgement else None
    number = current.number + 1 if current else 1
    people = {one.name: one for one in (*policy.principals, *(current.policy.principals if current else ()))}
    tags = {name: raw for name, raw in seen.tags.items() if name.startswith(f"policy/{number}/")}
    with verifiers(chamber.authorities) as known:
        reader = Authenticator(seen.history.root()[0], seen.history, known, chamber.clock(), SKEW)
        reads = reader.read(tags, lambda name: people.get(name.signer) or Refusal("R5", f"{name.signer} is no principal"))
    alike = [(one, read) for read in reads if (one := _signed(read)) and one.tree == tree and _may_follow(one, policy, current, chamber.clock())]
    counted = [one for one, read in alike if _counts(read, one, judgement)]
    # sites remember a policy that fell: only its very content can take its place without new pins
    said = min(counted or [one for one, _ in alike if fallen], key=lambda one: (one.issued, one.ref), default=None)
    return Proposed(policy, tree, number, current, said, tuple(one for one in counted if said and one.content == said.content), fallen)


def _signed(read: Read) -> PolicySignature | None:
    return read.said if read.good and not read.late and isinstance(read.said, PolicySignature) else None


def _counts(read: Read, said: PolicySignature, judgement: Judgement | None) -> bool:
    """Whether the key that signed is not revoked."""
    void = for_policies(judgement.void, Links(judgement.objects, {})) if judgement else {}
    return all(said.number <= mark.serial for mark in marks(read, void))


def _may_follow(said: PolicySignature, policy: Policy, current: Enacted | None, now: datetime) -> bool:
    """Whether what somebody signed can come into force at all, so that signing it alike makes sense."""
    lifetime = (said.expires - said.issued).total_seconds()
    return said.expires > now and 0 < lifetime <= policy.document.maximum_lifetime and said.previous == (current.said.content if current else None)


def sign_policy(chamber: Chamber, key: SigningKey, lifetime: Duration | None = None, *, replace: bool = False) -> PolicySignature:
    """Sign the endorsers/ tree at the head as the next policy, alike with those who have; returns what is signed now.

    lifetime: seconds; default and maximum: the policy's own. replace: take an own signature of the same number back that is
    not in force yet. Raises UserError where the key is no principal's or the signer has signed another tree.
    """
    found = proposed(chamber)
    current = found.previous
    person = owner((*found.policy.principals, *(current.policy.principals if current else ())), key)
    if person is None:
        known = ", ".join(f"{one.name} {key_id(held)}" for one in found.policy.principals for held in one.keys)
        raise UserError(f"your key {key.id} belongs to no principal", where=f"{FOLDER}/policy.yaml", hint=f"principals are: {known}")
    longest = found.policy.document.maximum_lifetime
    seconds = lifetime if lifetime is not None else longest
    if not 0 < seconds <= longest:
        raise UserError(f"{seconds} is not a validity that the policy allows", hint=f"give --valid with at most {longest}")
    now = chamber.now()
    if found.said is not None:
        shared = found.said.model_dump(include={"commit", "tree", "previous", "expires"})
    else:
        previous = current.said.content if current else None
        shared = {"commit": chamber.head, "tree": found.tree, "previous": previous, "expires": now + timedelta(seconds=int(seconds))}
    root = chamber.sight().history.root()[0]
    said = PolicySignature(repository=root, key=key.id, issued=now, number=found.number, principal=person.name, **shared)
    for one in found.signatures:
        if one.principal == said.principal:
            return one
    if said.ref in chamber.sight().tags and not replace:
        hint = "take that one back, unless others have it in force: vmkeeper policy sign --replace"
        raise UserError(f"you have signed another policy {found.number}", where=said.ref, hint=hint)
    write_tag(chamber, said, key, person, replace=replace)
    return said


def vouch(chamber: Chamber, key: SigningKey, lists: tuple[ListMark, ...], lifetime: Duration | None = None) -> Freshness:
    """Sign and publish a statement of what is there now. lists: published image lists. lifetime: seconds."""
    judgement, _pins = in_force(chamber)
    policy = judgement.enactments.current.policy
    builder = owner(policy.freshness_signers(), key)
    asked = policy.document.freshness
    if builder is None or asked is None:
        hint = "name the builder of this key under freshness: in endorsers/policy.yaml, and have the policy signed"
        raise UserError(f"the key {key.id} may not make freshness statements", hint=hint)
    seconds = lifetime if lifetime is not None else asked.maximum_validity
    if not 0 < seconds <= asked.maximum_validity:
        raise UserError(f"{seconds} is not a validity that the policy allows", hint=f"give at most {asked.maximum_validity}")
    now = chamber.now()
    said = Freshness(
        repository=judgement.reader.repository,
        key=key.id,
        issued=now,
        commit=chamber.head,
        policy=judgement.enactments.current.mark,
        chains=judgement.tips,
        revocations=tuple(sorted(one.sha512 for one in judgement.revoked if one.good)),
        lists=tuple(sorted(lists, key=lambda one: one.uuid)),
        builder=builder.name,
        expires=now + timedelta(seconds=int(seconds)),
    )
    move_ref(chamber.repository, FRESHNESS_REF, signed_tag(said, key, builder.name, builder.email))
    return said


def in_force(chamber: Chamber) -> tuple[Judgement, Pins]:
    """What is in force, and what its people go by. Raises UserError where nobody has signed a policy yet, Untrusted."""
    seen = chamber.sight()
    pins = own_pins(chamber.repository, seen, chamber.authorities)
    return judge(seen, pins, Memory(), chamber.authorities, chamber.clock()), pins


def write_tag(chamber: Chamber, said: Statement, key: SigningKey, person: Holder | None, *, replace: bool = False) -> None:
    """Sign, read it back as a stranger would, and only then write the tag.

    person: whose key it must be; None where only those who follow the repository can say. replace: put it in the place of another.
    """
    name, email = (person.full_name or person.name, person.email) if person else (said.signer, "")
    raw = signed_tag(said, key, name, email)
    if person is not None:
        with verifiers(chamber.authorities) as known:
            reader = Authenticator(said.repository, chamber.sight().history, known, chamber.clock(), SKEW)
            (read,) = reader.read({said.ref: raw}, lambda _name: person)
        for first in read.refusals:
            raise Refused(first.rule, f"nobody would accept this signature: {first.why}", where=said.ref, why=first.evidence, hint=first.hint)
    if replace and said.ref in chamber.sight().tags:
        delete_tag(chamber.repository, said.ref)
    create_tag(chamber.repository, said.ref, raw)
