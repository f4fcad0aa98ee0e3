"""Rule R9: each endorser's tags form one chain, serial by serial, each naming the digest of the one before.

Dropping, reordering, moving or forking tags shows. Only well signed statements can break a chain, so strangers' tags
cannot. Where a tag is proven to be missing, nothing that was signed before it counts: it may have been a withdrawal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from vmkeeper.errors import Refused
from vmkeeper.model.keys import Compromise
from vmkeeper.trust import statement, tagobject
from vmkeeper.trust.refusal import Refusal
from vmkeeper.trust.said import Chain, Endorsement, OfEndorser
from vmkeeper.values import CommitId, Sha512

_FETCH = "fetch all tags; if that does not help, the mirror drops some"


class Links:
    """Tag objects by digest, as links of chains. They need no signatures of their own: whoever names them binds them by digest."""

    def __init__(self, objects: Mapping[Sha512, bytes], known: Mapping[Sha512, OfEndorser]) -> None:
        self._objects = objects
        self._said: dict[Sha512, OfEndorser | None] = dict(known)
        self._behind: dict[Compromise, frozenset[Sha512]] = {}

    def __contains__(self, digest: Sha512) -> bool:
        return digest in self._objects

    def said(self, digest: Sha512) -> OfEndorser | None:
        """What the tag with this digest says; None where it is not there, or is no endorser's."""
        if digest not in self._objects:
            return None
        if digest not in self._said:
            self._said[digest] = _read(self._objects[digest])
        return self._said[digest]

    def behind(self, mark: Compromise) -> frozenset[Sha512]:
        """The tags that an owner stands by: the one with the mark's digest and those it follows, as far as they are there.

        A place in the chain cannot be backdated, for every link is bound by digest. The mark's serial must be that of its tag.
        """
        if mark not in self._behind:
            passed: set[Sha512] = set()
            digest, serial = mark.sha512, mark.serial
            while digest is not None and (said := self.said(digest)) is not None and said.serial == serial:
                passed.add(digest)
                digest, serial = said.previous, serial - 1
            self._behind[mark] = frozenset(passed)
        return self._behind[mark]

    def last_policy(self, mark: Compromise) -> int:
        """The highest policy that an owner's endorsements up to a mark name as in force; 0 where they name none."""
        said = (self.said(digest) for digest in self.behind(mark))
        return max((one.policy for one in said if isinstance(one, Endorsement)), default=0)

    def missing(self, tip: Chain) -> int | None:
        """The highest serial of a chain with this tip whose tag is not there; None where nothing is missing."""
        digest, serial = tip.sha512, tip.serial
        while digest in self._objects:
            said = self.said(digest)
            if said is None or said.previous is None or (said.endorser, said.serial) != (tip.endorser, serial):
                return None
            digest, serial = said.previous, serial - 1
        return serial


class _Gap(NamedTuple):
    """Why the chain behind a statement does not reach back to serial 1, and the serial of the tag that is missing (0: none is)."""

    why: str
    missing: int = 0


_WHOLE = _Gap("")


def breaks(signed: Mapping[str, tuple[Sha512, OfEndorser]], links: Links, repository: CommitId) -> dict[str, Refusal]:
    """Tags whose place in their endorser's chain is wrong.

    signed: well signed tags by name, each with the SHA-512 of its object and what it says. links: all that is there.
    repository: the root commit that every link must be about.
    """
    at: defaultdict[tuple[str, int], set[Sha512]] = defaultdict(set)
    for digest, said in signed.values():
        at[said.endorser, said.serial].add(digest)
    known: dict[Sha512, _Gap] = {}
    gaps = {name: _gap(digest, said, links, repository, known) for name, (digest, said) in signed.items()}
    missing: dict[str, int] = {}
    for name, (_, said) in signed.items():
        missing[said.endorser] = max(missing.get(said.endorser, 0), gaps[name].missing)
    found = {}
    for name, (_, said) in signed.items():
        if len(at[said.endorser, said.serial]) > 1:
            why = f"{said.endorser} signed two tags with the serial {said.serial}"
            found[name] = Refusal("R9", why, name, "the endorser has to take one of the two away")
        elif gaps[name].why:
            found[name] = Refusal("R9", f"the chain of {said.endorser}'s tags is broken", gaps[name].why, _FETCH)
        elif said.serial <= missing[said.endorser]:
            why = f"a tag of {said.endorser} that is not older is missing, and may take this one back"
            found[name] = Refusal("R9", why, f"the tag with serial {missing[said.endorser]} is missing", _FETCH)
    return found


def _gap(digest: Sha512, said: OfEndorser, links: Links, repository: CommitId, known: dict[Sha512, _Gap]) -> _Gap:
    """What breaks the chain behind a statement. `known` remembers answers by digest."""
    passed, gap = [], _WHOLE
    while digest not in known:
        passed.append(digest)
        if said.previous is None:
            break
        before = links.said(said.previous)
        if before is None:
            there = said.previous in links
            gap = _Gap(f"serial {said.serial} of {said.endorser} follows something else than a statement") if there else _missing(said.serial - 1)
            break
        if (before.endorser, before.serial, before.repository) != (said.endorser, said.serial - 1, repository):
            gap = _Gap(f"serial {said.serial} of {said.endorser} follows serial {before.serial} of {before.endorser}")
            break
        digest, said = said.previous, before
    else:
        gap = known[digest]
    known.update(dict.fromkeys(passed, gap))
    return gap


def _missing(serial: int) -> _Gap:
    return _Gap(f"the tag with serial {serial} is missing", serial)


def _read(raw: bytes) -> OfEndorser | None:
    try:
        said = statement.parse(tagobject.parse(raw).payload)
    except Refused:
        return None
    return said if isinstance(said, OfEndorser) else None
