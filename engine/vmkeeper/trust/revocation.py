"""Taking trust in a key away: one principal of the policy in force is enough, and so is the key itself.

A place in the chain of its owner's tags says what stays good. A revocation is never taken back: a later policy that lists
the key anew does not undo it, nor does its signer's leaving; whoever left can make no new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from vmkeeper.errors import Refused
from vmkeeper.model.keys import Compromise
from vmkeeper.trust.chain import Links
from vmkeeper.trust.keys.interface import SignedBy
from vmkeeper.trust.keys.material import materials
from vmkeeper.trust.people import Holder, key_id, merged
from vmkeeper.trust.refusal import Refusal
from vmkeeper.trust.said import Revocation
from vmkeeper.trust.signature import Authenticator, Read
from vmkeeper.trust.statement import TagName
from vmkeeper.values import CommitId, visible


@dataclass(frozen=True, slots=True)
class Void:
    """A key whose signatures after a place count no more."""

    since: Compromise
    tag: str
    by: str
    reason: str
    own: bool = False
    """Whether the key itself says so; a principal's word is for what the repository's policy decides about."""


Voids = Mapping[str, tuple[Void, ...]]
"""By the key's name in statements, and by the public numbers behind it (`SignedBy.key`, `.material`)."""


@dataclass(frozen=True, slots=True)
class Office:
    """A principal with the keys that they had under one policy, and the commit of the next one; None for the policy in force."""

    holder: Holder
    until: CommitId | None


def revocations(tags: Mapping[str, bytes | None], offices: Sequence[Office], holders: Iterable[Holder], reader: Authenticator) -> tuple[Read, ...]:
    """Every revocation, judged. tags: all below revoke/. offices: every principal of every policy since the pinned one.

    holders: everybody with a key, for those who revoke their own.
    """
    deciding = merged(one.holder for one in offices)
    everybody = merged([*deciding.values(), *holders])

    def find(name: TagName) -> Holder | Refusal:
        found = everybody.get(name.signer) if name.signer == name.subject else deciding.get(name.signer)
        return found or Refusal("R10", f"{name.signer} is neither a principal nor the key's owner", name.text, "ask a principal to revoke it")

    return tuple(_rightful(one, offices, reader) for one in reader.read(tags, find))


def _rightful(read: Read, offices: Sequence[Office], reader: Authenticator) -> Read:
    """Whoever is no principal revokes with the very key; whoever was one could until they left."""
    said = read.said
    if not read.good or not isinstance(said, Revocation) or said.key == said.revoked:
        return read
    try:
        if any(_held(read, one) and _in_office(said.commit, one, reader) for one in offices):
            return read
    except Refused as error:
        return replace(read, refusals=(Refusal.of(error),))
    why = f"{said.by} is not a principal with this key, and may revoke only the key that signs"
    return replace(read, refusals=(Refusal("R10", why, f"{said.key}, {said.revoked}", "ask a principal to revoke it"),))


def _held(read: Read, office: Office) -> bool:
    said = read.said
    return said is not None and office.holder.name == said.signer and office.holder.key_like(read) is not None


def _in_office(commit: CommitId, office: Office, reader: Authenticator) -> bool:
    return office.until is None or (commit != office.until and reader.history.precedes(commit, office.until))


def void(reads: Iterable[Read], holders: Iterable[Holder]) -> dict[str, tuple[Void, ...]]:
    """Void keys, with every place that was named for each. holders: everybody with a key, for the other forms of a key pair."""
    found: dict[str, tuple[Void, ...]] = {}
    for read in reads:
        if read.good and isinstance(read.said, Revocation):
            said = read.said
            one = Void(said.since, read.tag, said.by, said.reason, said.key == said.revoked)
            found[said.revoked] = (*found.get(said.revoked, ()), one)
    forms = [(key_id(key), material) for one in holders for key in one.keys for material in materials(key)] if found else []
    return joined(found, forms)


def widened(known: Voids, reads: Iterable[Read]) -> dict[str, tuple[Void, ...]]:
    """The same, for every form of a key pair that a void key has signed in."""
    return joined(known, ((one.signed_by.key, one.signed_by.material) for one in reads if one.signed_by is not None))


def joined(known: Voids, forms: Iterable[tuple[str, str]]) -> dict[str, tuple[Void, ...]]:
    """What is said of a key by its name holds for the numbers behind it. forms: name and numbers."""
    found = dict(known)
    for name, material in forms:
        if name in known:
            found[material] = tuple(dict.fromkeys((*found.get(material, ()), *known[name])))
    return found


def joined_with(known: Voids, more: Voids) -> dict[str, tuple[Void, ...]]:
    """What either says of each key."""
    return {name: tuple(dict.fromkeys((*known.get(name, ()), *more.get(name, ())))) for name in (*known, *(one for one in more if one not in known))}


def of(signed_by: SignedBy, known: Voids) -> tuple[Void, ...]:
    """What is said against the key that signed."""
    return tuple(dict.fromkeys((*known.get(signed_by.key, ()), *known.get(signed_by.material, ()))))


def for_policies(known: Voids, links: Links) -> dict[str, tuple[Void, ...]]:
    """The same with numbers of policies for serials: a place in an endorser's chain leaves the policies that the chain names up to it."""

    def numbered(one: Void) -> Void:
        return one if one.since.sha512 is None else replace(one, since=Compromise(serial=links.last_policy(one.since)))

    return {name: tuple(map(numbered, found)) for name, found in known.items()}


def marks(read: Read, known: Voids) -> Iterator[Compromise]:
    """From where on what this key signed is void: by revocations, and by what its holder's entry says."""
    return (mark for mark, _ in against(read, known))


def against(read: Read, known: Voids) -> Iterator[tuple[Compromise, str]]:
    """The same, each with who says so: the list in force, or a revocation with its maker and reason."""
    if read.held is not None and read.held.compromised_since is not None:
        yield read.held.compromised_since, "the list in force"
    if read.signed_by is not None:
        yield from ((one.since, f"{one.tag} by {one.by}: {visible(one.reason)}") for one in of(read.signed_by, known))
