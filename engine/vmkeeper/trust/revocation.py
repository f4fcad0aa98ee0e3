"""Taking trust in a key away: one principal of the policy in force is enough, and so is the key itself.

A place in the chain of its owner's tags says what stays good. A revocation is never taken back; a later policy that
lists the key anew does not undo it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vmkeeper.model.keys import Compromise
from vmkeeper.trust.people import Holder
from vmkeeper.trust.refusal import Refusal
from vmkeeper.trust.said import Revocation
from vmkeeper.trust.signature import Authenticator, Read
from vmkeeper.trust.statement import TagName


@dataclass(frozen=True, slots=True)
class Void:
    """A key whose signatures after a place count no more."""

    since: Compromise
    tag: str
    by: str
    reason: str


def revocations(tags: Mapping[str, bytes | None], principals: Sequence[Holder], holders: Iterable[Holder], reader: Authenticator) -> tuple[Read, ...]:
    """Every revocation, judged. tags: all below revoke/. holders: everybody with a key, for those who revoke their own."""
    deciding = {one.name: one for one in principals}
    everybody: dict[str, Holder] = {}
    for one in holders:
        known = everybody.get(one.name)
        keys = tuple(dict.fromkeys([*(known.keys if known else ()), *one.keys]))
        everybody[one.name] = Holder(name=one.name, full_name=one.full_name, email=one.email, keys=keys)

    def find(name: TagName) -> Holder | Refusal:
        found = deciding.get(name.signer) or (everybody.get(name.signer) if name.signer == name.subject else None)
        return found or Refusal("R10", f"{name.signer} is neither a principal nor the key's owner", name.text)

    return tuple(_own(one, deciding) for one in reader.read(tags, find))


def _own(read: Read, deciding: Mapping[str, Holder]) -> Read:
    """Whoever is no principal revokes with the very key."""
    said = read.said
    if read.good and isinstance(said, Revocation) and said.by not in deciding and said.key != said.revoked:
        why = Refusal("R10", f"{said.by} may revoke only the key that signs", f"{said.key}, {said.revoked}", "ask a principal to revoke it")
        return Read(read.tag, read.sha512, (why,), said, read.signed_by, read.held)
    return read


def void(reads: Iterable[Read]) -> dict[str, Void]:
    """Void keys by id; of several revocations the one that leaves least."""
    found: dict[str, Void] = {}
    for read in reads:
        if read.good and isinstance(read.said, Revocation):
            said = read.said
            if said.revoked not in found or said.since.serial < found[said.revoked].since.serial:
                found[said.revoked] = Void(said.since, read.tag, said.by, said.reason)
    return found
