"""Void a stolen or lost key with a signed tag, from a place in its owner's chain on."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vmkeeper.errors import UserError
from vmkeeper.execute.governance import Chamber, write_tag
from vmkeeper.execute.signing import SigningKey, owner
from vmkeeper.execute.verification import own_pins
from vmkeeper.model.keys import Compromise, X509Key
from vmkeeper.trust.judge import Judgement
from vmkeeper.trust.people import Holder, key_id
from vmkeeper.trust.pins import Pins
from vmkeeper.trust.said import OfEndorser, Revocation

_LONGEST_REASON = 1000


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


def _people(judgement: Judgement, pins: Pins) -> Iterator[Holder]:
    """Everybody with a key, now or once; those who are no more may still void what they signed."""
    for one in reversed(judgement.enactments.policies):
        yield from one.policy.everybody()
    if pins.site is not None:
        yield from pins.site.administrators
