"""Endorser lists that are based on others: what they may say, and which lists count.

A derived list may ask for more and take people, keys and scope away. It never keeps whom or what its source does not
have, it bears its source's marks on retired and stolen keys, and it looks at a remote source often enough.
Pure: documents, digests and the time come in, refusals go out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from vmkeeper.documents.places import Path, field
from vmkeeper.model.endorser import Base, Endorser, EndorserList, Pattern
from vmkeeper.model.keys import Compromise, Key, OpenPGPKey, X509Key, identity
from vmkeeper.trust.refusal import Refusal
from vmkeeper.values import Duration, Name, Sha512, format_time

SKEW = Duration.parse("5m")
"""How far in the future a synchronisation may seem to lie."""
KeyFile = Callable[[str], bytes | None]
"""Bytes of a key file by its path relative to endorsers/; None where there is none."""
OUT_OF_CIRCLE = "let one of them be based on nothing, or on something else"
_SYNC = "run: vmkeeper policy sync, and have the policy signed"


@dataclass(frozen=True, slots=True)
class Deviation:
    """Where a derived list goes beyond its source: `path` in the derived list, the rule, and the way out."""

    path: Path
    rule: str
    why: str
    hint: str

    def refusal(self, name: Name) -> Refusal:
        """The same for the list of that name, as the verifier says it."""
        return Refusal(self.rule, self.why, f"endorsers/{name}.yaml, {field(self.path)}", self.hint)


@dataclass(frozen=True, slots=True)
class Source:
    """What endorsers/sources/NAME/ holds: the remote list as it was last taken, and the SHA-512 of list.yaml."""

    list: EndorserList
    sha512: Sha512


def effective(
    lists: Mapping[Name, EndorserList], sources: Mapping[Name, Source], key_file: KeyFile, now: datetime, skew: Duration = SKEW
) -> dict[Name, tuple[Refusal, ...]]:
    """What is wrong with each list of a policy; a list counts only with nothing. All that cannot be read is left out by the caller.

    lists: by name, from endorsers/NAME.yaml. sources: by name, from endorsers/sources/NAME/. A list based on one that is refused
    is refused too, as are lists that are based on one another in a circle (R5).
    """
    own = {name: tuple(one.refusal(name) for one in _own(name, lists, sources, key_file, now, skew)) for name in lists}
    return {name: (*own[name], *_below(name, lists, own)) for name in lists}


def _own(
    name: Name, lists: Mapping[Name, EndorserList], sources: Mapping[Name, Source], key_file: KeyFile, now: datetime, skew: Duration
) -> Iterator[Deviation]:
    """Where one list deviates from that on which it is directly based."""
    derived = lists[name]
    base = derived.based_on
    if base is None:
        return
    if base.source is None:
        if base.list not in lists:
            yield Deviation(("based_on", "list"), "R4", f"there is no list {base.list} to be based on", "restore it, or take based_on out")
            return
        source, folder = lists[base.list], ""
    elif base.source not in sources:
        yield Deviation(("based_on", "source"), "R4", f"there is no list of the source {base.source}", _SYNC)
        return
    else:
        source, folder = sources[base.source].list, f"sources/{base.source}/"
        yield from unread(base, sources[base.source].sha512)
        yield from lag(base, now, skew)
    yield from deviations(derived, source)
    yield from stale_keys(derived, source, key_file, folder)


def _below(name: Name, lists: Mapping[Name, EndorserList], own: Mapping[Name, tuple[Refusal, ...]]) -> Iterator[Refusal]:
    """What is wrong further down the chain of lists that a list is based on."""
    found = chain(name, lists)
    first = found.index(found[-1])
    if first < len(found) - 1:
        yield Refusal("R5", "lists are based on one another in a circle", " → ".join(found[first:]), OUT_OF_CIRCLE)
    for below in dict.fromkeys(found):
        for refusal in own[below] if below != name else ():
            yield Refusal(refusal.rule, f"it is based on {below}, which is refused: {refusal.why}", refusal.evidence, refusal.hint)


def chain(name: Name, lists: Mapping[Name, EndorserList]) -> tuple[Name, ...]:
    """A list and those of this repository that it is based on, one after another; in a circle the last is there twice."""
    found = [name]
    while (base := lists[found[-1]].based_on) is not None and base.source is None and base.list in lists:
        found.append(base.list)
        if base.list in found[:-1]:
            break
    return tuple(found)


def unread(base: Base, sha512: Sha512) -> tuple[Deviation, ...]:
    """R13: what lies here is not what was taken from the source when the list says that it was."""
    if base.synchronised is None:
        return (Deviation(("based_on",), "R13", f"the list was never compared with its source {base.source}", _SYNC),)
    if base.synchronised.list != sha512:
        what = f"endorsers/sources/{base.source}/list.yaml is not the list that was taken from the source"
        return (Deviation(("based_on", "synchronised", "list"), "R13", what, _SYNC),)
    return ()


def lag(base: Base, now: datetime, skew: Duration = SKEW) -> tuple[Deviation, ...]:
    """R13: a remote source was not looked at for longer than the list allows, or at a time that has not come."""
    if base.synchronised is None:
        return ()
    at, where = base.synchronised.at, ("based_on", "synchronised", "at")
    if at > now + timedelta(seconds=skew):
        return (Deviation(where, "R13", f"the source {base.source} was looked at in the future, at {format_time(at)}", _SYNC),)
    if now >= at + timedelta(seconds=base.maximum_lag):
        since = f"the source {base.source} was not looked at since {format_time(at)}, longer than {base.maximum_lag}"
        return (Deviation(where, "R13", since, _SYNC),)
    return ()


def deviations(derived: EndorserList, source: EndorserList) -> tuple[Deviation, ...]:
    """Where a list goes beyond the one that it is based on, in the order of its fields; () where it only asks for more."""
    found = [*_thresholds(derived, source)]
    there = {endorser.name: endorser for endorser in source.endorsers}
    for index, endorser in enumerate(derived.endorsers):
        path: Path = ("endorsers", index)
        if endorser.name not in there:
            found.append(Deviation((*path, "name"), "R12", f"{endorser.name} is not on the list that this one is based on", "take them off the list"))
        else:
            found += _person(endorser, there[endorser.name], path)
    return tuple(found)


def _thresholds(derived: EndorserList, source: EndorserList) -> Iterator[Deviation]:
    for criterion in source.criteria:
        if criterion not in derived.criteria:
            yield Deviation(("criteria",), "R5", f"a criterion of the list that this one is based on is missing: {criterion}", "add it, word by word")
    for name, ours, theirs in (("quorum", derived.quorum, source.quorum), ("rebuilds", derived.rebuilds, source.rebuilds)):
        if ours < theirs:
            yield Deviation((name,), "R5", f"{name} {ours} is less than {theirs} on the list that this one is based on", f"write {theirs} or more")
    if derived.maximum_lifetime > source.maximum_lifetime:
        longest = source.maximum_lifetime
        why = f"{derived.maximum_lifetime} is longer than {longest} on the list that this one is based on"
        yield Deviation(("maximum_lifetime",), "R13", why, f"write {longest} or less")


def _person(ours: Endorser, theirs: Endorser, path: Path) -> Iterator[Deviation]:
    held = {identity(key): key for key in theirs.keys}
    for index, key in enumerate(ours.keys):
        at = (*path, "keys", index)
        if identity(key) not in held:
            yield Deviation(at, "R12", f"{ours.name} does not have this key on the list that this one is based on", "take the key off the list")
        else:
            yield from _key(ours.name, key, held[identity(key)], at)
    for name, patterns, wider in (
        ("appliances", ours.scope.appliances, theirs.scope.appliances),
        ("communities", ours.scope.communities, theirs.scope.communities),
    ):
        for index, pattern in enumerate(patterns):
            if not covered(pattern, wider):
                why = f"{ours.name} may not answer for {pattern} on the list that this one is based on"
                yield Deviation((*path, "scope", name, index), "R10", why, f"stay within {', '.join(wider)}")
    if theirs.not_before is not None and (ours.not_before is None or ours.not_before < theirs.not_before):
        begins = format_time(theirs.not_before)
        yield Deviation((*path, "not_before"), "R12", f"{ours.name} begins before their source lets them", f'write not_before: "{begins}" or later')
    if theirs.expires is not None and (ours.expires is None or ours.expires > theirs.expires):
        ends = format_time(theirs.expires)
        yield Deviation((*path, "expires"), "R12", f"{ours.name} stays longer than their source lets them", f'write expires: "{ends}" or earlier')


def _key(name: Name, ours: Key, theirs: Key, path: Path) -> Iterator[Deviation]:
    """Marks and limits of a key that must be carried over."""
    match ours, theirs:
        case X509Key(certificate=mine), X509Key(certificate=str(wanted)) if mine != wanted:
            why = f"any certificate with the name of {name} would serve, their source takes one"
            yield Deviation((*path, "certificate"), "R12", why, f'write certificate: "{wanted}"')
    if theirs.retired is not None and (ours.retired is None or ours.retired > theirs.retired):
        since = format_time(theirs.retired)
        yield Deviation((*path, "retired"), "R12", f"the source has retired this key of {name}", f'write retired: "{since}", or take the key out')
    stolen = theirs.compromised_since
    if stolen is not None and not voids(ours.compromised_since, stolen):
        why = f"the source says that this key of {name} was stolen after serial {stolen.serial}"
        yield Deviation((*path, "compromised_since"), "R12", why, "write compromised_since as the source has it, or take the key out")


def voids(ours: Compromise | None, theirs: Compromise) -> bool:
    """Whether a mark surely voids all that another one voids: the same place, or no place at all.

    An earlier place may lie in a chain of the thief's; only the tags themselves could tell.
    """
    return ours == theirs or (ours is not None and ours.sha512 is None and ours.serial <= theirs.serial)


def covered(pattern: Pattern, wider: tuple[Pattern, ...]) -> bool:
    """Whether one of `wider` matches every name that `pattern` matches.

    A `*` of `pattern` can only be taken by a `*` of the wider one, as if it were a letter that no name has.
    """
    return any(fnmatchcase(pattern, each) for each in wider)


def stale_keys(derived: EndorserList, source: EndorserList, key_file: KeyFile, folder: str = "") -> tuple[Deviation, ...]:
    """R12: key files that differ from the source's, which may have been revoked there since.

    The source's paths are relative to endorsers/ too, or to `folder` (with a / at its end) below it.
    """
    theirs = {identity(key): key.file for person in source.endorsers for key in person.keys if isinstance(key, OpenPGPKey)}
    found = []
    for index, person in enumerate(derived.endorsers):
        for number, key in enumerate(person.keys):
            if isinstance(key, OpenPGPKey) and identity(key) in theirs and key_file(key.file) != key_file(folder + theirs[identity(key)]):
                path: Path = ("endorsers", index, "keys", number, "file")
                found.append(Deviation(path, "R12", f"endorsers/{key.file} is not the key file of the list that this one is based on", _SYNC))
    return tuple(found)
