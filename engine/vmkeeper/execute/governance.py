"""Sign what is not about a release: policies, revocations of keys, a site's approvals, freshness statements.

Each is judged before its ref is written, as whoever follows the repository would judge it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from vmkeeper.errors import Refused, UserError
from vmkeeper.execute.signing import SigningKey, owner, signed_tag
from vmkeeper.execute.verification import FRESHNESS_REF, judge, own_pins, policy_at, sight, verifiers
from vmkeeper.model.keys import Compromise
from vmkeeper.repository.tags import create_tag, delete_tag, move_ref
from vmkeeper.repository.tree import Repository
from vmkeeper.trust import statement, tagobject
from vmkeeper.trust.enactment import Enacted
from vmkeeper.trust.judge import Judgement, Sight
from vmkeeper.trust.keys.certificates import Authorities
from vmkeeper.trust.memory import Memory
from vmkeeper.trust.people import Holder, key_id
from vmkeeper.trust.pins import Pins
from vmkeeper.trust.policy import FOLDER, Policy
from vmkeeper.trust.refusal import Refusal
from vmkeeper.trust.said import Freshness, ListMark, OfEndorser, PolicySignature, Revocation, SiteApproval, Statement
from vmkeeper.trust.signature import Authenticator
from vmkeeper.values import CommitId, Duration, Sha512, sha512_hex

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
        """What is in force; None where nobody has signed a policy yet."""
        signed = any(name.startswith("policy/1/") for name in self.sight().tags)
        return in_force(self)[0] if signed or self.repository.config("vmkeeper.pins") else None

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
    """What others have signed of just this tree, to be signed alike."""
    signed: tuple[str, ...]
    """Principals who have."""

    @property
    def in_force(self) -> bool:
        """Whether the policy in force has this very tree."""
        return self.previous is not None and self.previous.said.tree == self.tree

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
    seen, judgement = chamber.sight(), chamber.judgement()
    policy, tree = policy_at(seen, chamber.head), seen.history.tree(chamber.head, FOLDER)
    current = judgement.enactments.current if judgement else None
    number = current.number + 1 if current else 1
    people = {one.name: one for one in (*policy.principals, *(current.policy.principals if current else ()))}
    tags = {name: raw for name, raw in seen.tags.items() if name.startswith(f"policy/{number}/")}
    with verifiers(chamber.authorities) as known:
        reader = Authenticator(seen.history.root()[0], seen.history, known, chamber.clock(), SKEW)
        reads = reader.read(tags, lambda name: people.get(name.signer) or Refusal("R5", f"{name.signer} is no principal"))
    good = [one.said for one in reads if one.good and isinstance(one.said, PolicySignature) and one.said.tree == tree]
    said = min(good, key=lambda one: (one.issued, one.ref), default=None)
    signed = tuple(one.principal for one in good if said is not None and one.content == said.content)
    return Proposed(policy, tree, number, current, said, signed)


def sign_policy(chamber: Chamber, key: SigningKey, lifetime: Duration | None = None, *, replace: bool = False) -> PolicySignature:
    """Sign the endorsers/ tree at the head as the next policy, alike with those who have; returns what was signed.

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
    if said.principal in found.signed:
        return said
    if said.ref in chamber.sight().tags:
        if not replace:
            hint = "take that one back, unless others have it in force: vmkeeper policy sign --replace"
            raise UserError(f"you have signed another policy {found.number}", where=said.ref, hint=hint)
        delete_tag(chamber.repository, said.ref)
    _write(chamber, said, key, person)
    return said


def revoke(chamber: Chamber, key: SigningKey, holder: str, revoked: str, since: int, reason: str) -> Revocation:
    """Void a key from a place in its owner's chain on: `since` is the last serial (for a principal's key, policy number) that stays good."""
    judgement, _pins = in_force(chamber)
    current, everybody = judgement.enactments.current.policy, tuple(_people(judgement))
    if revoked not in {key_id(one) for person in everybody if person.name == holder for one in person.keys} and not revoked.startswith("x509:"):
        keys = ", ".join(sorted({key_id(one) for person in everybody if person.name == holder for one in person.keys}))
        raise UserError(f"{holder} has no key {revoked}", hint=f"keys of {holder}: {keys or 'none; is the name right?'}")
    own = [one for one in everybody if one.name == holder] if key.id == revoked else []
    person = owner((*current.principals, *own), key)
    if person is None:
        hint = "a principal revokes any key, its owner the one that signs; others ask one of them"
        raise UserError(f"your key {key.id} may not revoke a key of {holder}", hint=hint)
    chain = {
        one.said.serial: one.sha512 for one in judgement.reads if isinstance(one.said, OfEndorser) and one.said.endorser == holder and one.said.key
    }
    if since and since not in chain and holder not in {one.name for one in current.principals}:
        raise UserError(f"{holder} has signed no tag with serial {since}", hint=f"the highest is {max(chain, default=0)}; 0 leaves nothing")
    taken = chamber.sight().tags
    number = next(n for n in range(1, len(taken) + 2) if f"revoke/{holder}/{person.name}/{n}" not in taken)
    said = Revocation(
        repository=judgement.reader.repository,
        key=key.id,
        issued=chamber.now(),
        holder=holder,
        revoked=revoked,
        since=Compromise(serial=since, sha512=chain.get(since)),
        by=person.name,
        number=number,
        commit=chamber.head,
        reason=reason,
    )
    _write(chamber, said, key, person)
    return said


def approve(chamber: Chamber, key: SigningKey, site: str, name: str) -> tuple[SiteApproval, bool]:
    """Sign sites/NAME.yaml at the head as the site's next one; returns what was signed and whether it is new.

    name: how the site's pins call the administrator. Only the site itself can say whose signatures count there.
    """
    seen = chamber.sight()
    path = f"{site}.yaml"
    data = seen.history.files(chamber.head, "sites").get(path)
    if data is None:
        raise UserError("there is no such file", where=f"sites/{path}", hint="write and commit it first")
    file, chain = sha512_hex(data), _approvals(seen, site)
    last = chain[-1] if chain else []
    for said in last:
        if said.file == file:
            if said.administrator == name:
                return said, False
            shared = said.model_dump(include={"number", "commit", "file", "previous"})
            break
    else:
        shared = {"number": len(chain) + 1, "commit": chamber.head, "file": file, "previous": last[0].content if last else None}
    made = SiteApproval(repository=seen.history.root()[0], key=key.id, issued=chamber.now(), site=site, administrator=name, **shared)
    _write(chamber, made, key, Holder.model_construct(name=name, full_name=name, email="", keys=()))
    return made, True


def _approvals(seen: Sight, site: str) -> list[list[SiteApproval]]:
    """What is signed for a site, number by number from 1 without a gap. Nothing is verified: sites do that."""
    found: dict[int, list[SiteApproval]] = {}
    for name, raw in seen.tags.items():
        said = _unverified(raw) if name.startswith(f"approve/{site}/") else None
        if isinstance(said, SiteApproval) and said.ref == name:
            found.setdefault(said.number, []).append(said)
    return [found[number] for number in range(1, len(found) + 1) if all(n in found for n in range(1, number + 1))]


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
    """What is in force, and what its people go by. Raises UserError where nobody has signed a policy yet."""
    seen = chamber.sight()
    pins = own_pins(chamber.repository, seen)
    return judge(seen, pins, Memory(), chamber.authorities, chamber.clock()), pins


def _people(judgement: Judgement) -> Iterator[Holder]:
    policy = judgement.enactments.current.policy
    yield from policy.principals
    yield from policy.builders
    for one in policy.lists.values():
        yield from one.endorsers


def _write(chamber: Chamber, said: Statement, key: SigningKey, person: Holder) -> None:
    """Sign, read it back as a stranger would, and only then write the tag."""
    raw = signed_tag(said, key, person.full_name, person.email)
    with verifiers(chamber.authorities) as known:
        history = chamber.sight().history
        reader = Authenticator(said.repository, history, known, chamber.clock(), SKEW)
        if person.keys:
            (read,) = reader.read({said.ref: raw}, lambda _name: person)
            if read.refusals:
                first = read.refusals[0]
                raise Refused(first.rule, f"nobody would accept this signature: {first.why}", where=said.ref, why=first.evidence, hint=first.hint)
    create_tag(chamber.repository, said.ref, raw)


def _unverified(raw: bytes | None) -> Statement | None:
    try:
        return statement.parse(tagobject.parse(raw).payload) if raw is not None else None
    except Refused:
        return None
