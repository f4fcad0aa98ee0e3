"""Sign what is not about a release: policies, revocations of keys, freshness statements (approvals: `approving`).

Each signature is judged before its ref is written, as whoever follows the repository would judge it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from vmkeeper.errors import Refused, UserError
from vmkeeper.execute.signing import SigningKey, owner, signed_tag
from vmkeeper.execute.verification import FRESHNESS_REF, judge, own_pins, policy_at, sight, stands, verifiers
from vmkeeper.model.keys import Compromise, X509Key
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
from vmkeeper.trust.said import Freshness, ListMark, OfEndorser, PolicySignature, Revocation, Statement
from vmkeeper.trust.signature import Authenticator, Read
from vmkeeper.trust.statement import TagName
from vmkeeper.values import CommitId, Duration, Sha512

SKEW = Duration.parse("5m")
_LONGEST_REASON = 1000


def _policy_number(name: str) -> int:
    """Of a policy's tag; 0 for every other."""
    try:
        tag = TagName.parse(name)
    except Refused:
        return 0
    return tag.number if tag.action == "policy" else 0


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
        """What those who govern go on from. Where policies fell with the keys that signed them, so that nobody can conclude
        anything, that is the last one which did not, and the refusals say what is to be mended. Raises Untrusted for anything else.
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
            numbers = {_policy_number(name) for name in seen.tags}
            for cut in sorted((one for one in numbers if one > pins.policy.number), reverse=True):
                kept = replace(seen, tags={name: raw for name, raw in seen.tags.items() if _policy_number(name) < cut}, freshness=None)
                with suppress(Untrusted):
                    return judge(kept, pins, Memory(), self.authorities, self.clock()), error.refusals
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


def revoke(chamber: Chamber, key: SigningKey, holder: str, revoked: str, since: int, reason: str) -> Revocation:
    """Void a key from a place in its owner's chain on.

    since: the last serial of the owner's tags (for who is only a principal: the last policy number) that stays good; 0: none.
    Raises UserError where the key is not the holder's, the place is not there or is not one, or the signer may not revoke it.
    """
    judgement = chamber.judgement()
    if judgement is None:
        raise UserError("no policy is in force: nobody has signed one", hint="until then no key counts, and none has to be voided")
    everybody = tuple(_people(judgement, own_pins(chamber.repository, chamber.sight(), chamber.authorities)))
    _known_key(judgement, everybody, holder, revoked)
    if not 1 <= len(reason) <= _LONGEST_REASON:
        raise UserError(f"the reason has to have 1 to {_LONGEST_REASON} characters", where="--reason")
    own = [one for one in everybody if one.name == holder] if key.id == revoked else []
    person = owner((*judgement.enactments.current.policy.principals, *own), key)
    if person is None:
        hint = "a principal revokes any key, its owner the one that signs; others ask one of them"
        raise UserError(f"your key {key.id} may not revoke a key of {holder}", hint=hint)
    taken = chamber.sight().tags
    number = next(n for n in range(1, len(taken) + 2) if f"revoke/{holder}/{person.name}/{n}" not in taken)
    said = Revocation(
        repository=judgement.reader.repository,
        key=key.id,
        issued=chamber.now(),
        holder=holder,
        revoked=revoked,
        since=_place(judgement, holder, since),
        by=person.name,
        number=number,
        commit=chamber.head,
        reason=reason,
    )
    write_tag(chamber, said, key, person)
    return said


def _known_key(judgement: Judgement, everybody: tuple[Holder, ...], holder: str, revoked: str) -> None:
    """Raises UserError where the holder has no such key. A certificate is named by its own digest, also where the policy names whose it is."""
    keys = [one for person in everybody if person.name == holder for one in person.keys]
    names = {key_id(one) for one in keys if not isinstance(one, X509Key) or one.certificate is not None}
    any_certificate = any(isinstance(one, X509Key) and one.certificate is None for one in keys)
    if revoked in names or (any_certificate and re.fullmatch(r"x509:[0-9a-f]{64}", revoked)):
        return
    reads = (*judgement.reads, *judgement.enactments.accepted)
    names |= {one.signed_by.key for one in reads if any_certificate and one.signed_by and one.said and one.said.signer == holder}
    if any_certificate:
        names.add("x509:SHA-256, of any certificate of this name")
    raise UserError(f"{holder} has no key {revoked}", hint=f"keys of {holder}: {', '.join(sorted(names)) or 'none; is the name right?'}")


def _place(judgement: Judgement, holder: str, since: int) -> Compromise:
    """The place in a holder's chain of tags; for who has signed no tag of that serial, the number of a policy."""
    if since == 0:
        return Compromise()
    tags = [one for one in judgement.reads if isinstance(one.said, OfEndorser) and one.said.endorser == holder]
    here = [one for one in tags if isinstance(one.said, OfEndorser) and one.said.serial == since]
    if len({one.sha512 for one in here}) > 1:
        hint = "stand by the serial before, and sign anew with another key what was right"
        raise UserError(f"{holder} has signed several tags with serial {since}", where=", ".join(one.tag for one in here), hint=hint)
    if here:
        return Compromise(serial=since, sha512=here[0].sha512)
    enactments = judgement.enactments
    if any(one.name == holder for each in enactments.policies for one in each.policy.principals) and since <= enactments.current.number:
        return Compromise(serial=since)
    highest = max((one.said.serial for one in tags if isinstance(one.said, OfEndorser)), default=0)
    hint = f"the highest is {highest}; 0 leaves nothing that the key has signed"
    raise UserError(f"{holder} has signed no tag with serial {since}", where="--stands-by", hint=hint)


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


def _people(judgement: Judgement, pins: Pins) -> Iterator[Holder]:
    """Everybody with a key, now or once; those who are no more may still void what they signed."""
    for one in reversed(judgement.enactments.policies):
        yield from one.policy.everybody()
    if pins.site is not None:
        yield from pins.site.administrators


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
