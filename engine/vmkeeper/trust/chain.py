"""Rule R9: each endorser's tags form one chain, serial by serial, each naming the digest of the one before.

Dropping, reordering or forking tags shows. Only well signed statements can break a chain, so strangers' tags cannot.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from vmkeeper.errors import Refused
from vmkeeper.model.keys import Compromise
from vmkeeper.trust import statement, tagobject
from vmkeeper.trust.refusal import Refusal
from vmkeeper.trust.said import OfEndorser
from vmkeeper.values import Sha512


def breaks(signed: Mapping[str, tuple[str, OfEndorser]], objects: Mapping[str, bytes]) -> dict[str, Refusal]:
    """Tags whose place in their endorser's chain is wrong.

    signed: well signed tags by name, each with the SHA-512 of its object and what it says. objects: all tag objects by
    SHA-512; earlier links need no signature of their own, for they are bound by digest.
    """
    at: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
    for digest, said in signed.values():
        at[said.endorser, said.serial].add(digest)
    read = dict(signed.values())
    known: dict[str, str] = {}
    found = {}
    for name, (digest, said) in signed.items():
        if len(at[said.endorser, said.serial]) > 1:
            why = f"{said.endorser} signed two tags with the serial {said.serial}"
            found[name] = Refusal("R9", why, name, "the endorser has to take one of the two away")
        elif gap := _gap(digest, said, read, objects, known):
            found[name] = Refusal(
                "R9", f"the chain of {said.endorser}'s tags is broken", gap, "fetch all tags; if that does not help, the mirror drops some"
            )
    return found


def _gap(digest: str, said: OfEndorser, read: Mapping[str, OfEndorser], objects: Mapping[str, bytes], known: dict[str, str]) -> str:
    """Why the chain behind a statement does not reach back to serial 1, or "". `known` remembers answers by digest."""
    passed, gap = [], ""
    while digest not in known:
        passed.append(digest)
        if said.previous is None:
            break
        before = read.get(said.previous) or _read(objects.get(said.previous))
        if before is None:
            gap = f"the tag with serial {said.serial - 1} is missing"
            break
        if (before.endorser, before.serial) != (said.endorser, said.serial - 1):
            gap = f"serial {said.serial} of {said.endorser} follows serial {before.serial} of {before.endorser}"
            break
        digest, said = said.previous, before
    else:
        gap = known[digest]
    known.update(dict.fromkeys(passed, gap))
    return gap


def behind(mark: Compromise, objects: Mapping[str, bytes]) -> frozenset[Sha512]:
    """The tags that an owner stands by: the one with the mark's digest and those it follows, as far as they are there.

    A place in the chain cannot be backdated, for every link is bound by digest. The mark's serial must be that of its tag.
    """
    passed: set[Sha512] = set()
    digest, serial = mark.sha512, mark.serial
    while digest is not None:
        said = _read(objects.get(digest))
        if said is None or said.serial != serial:
            break
        passed.add(digest)
        digest, serial = said.previous, serial - 1
    return frozenset(passed)


def _read(raw: bytes | None) -> OfEndorser | None:
    try:
        said = statement.parse(tagobject.parse(raw).payload) if raw is not None else None
    except Refused:
        return None
    return said if isinstance(said, OfEndorser) else None
